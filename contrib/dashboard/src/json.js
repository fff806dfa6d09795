// SPDX-License-Identifier: MIT
// A JSON value as coloured text.  Everything is a text node of lit: nothing of it becomes HTML.
import { html } from 'lit';
import { Written } from './api.js';

const MOST = 200000;

const span = (kind, text) => html`<span class=${kind}>${text}</span>`;

function* printed(value, depth) {
	const inner = '  '.repeat(depth + 1), outer = '  '.repeat(depth);
	if (typeof value === 'string') yield span('js-s', JSON.stringify(value));
	else if (value === null || typeof value !== 'object' || value instanceof Written) yield span('js-n', String(value));
	else if (Array.isArray(value)) {
		if (!value.length) return yield '[]';
		yield '[\n';
		for (const [i, item] of value.entries()) {
			yield inner;
			yield* printed(item, depth + 1);
			yield i < value.length - 1 ? ',\n' : '\n';
		}
		yield `${outer}]`;
	} else {
		const names = Object.keys(value);
		if (!names.length) return yield '{}';
		yield '{\n';
		for (const [i, name] of names.entries()) {
			yield inner;
			yield span('js-k', JSON.stringify(name));
			yield ': ';
			yield* printed(value[name], depth + 1);
			yield i < names.length - 1 ? ',\n' : '\n';
		}
		yield `${outer}}`;
	}
}

/** The value on one line, as it would be sent. */
export function line(value) {
	if (value instanceof Written) return value.text;
	if (Array.isArray(value)) return `[${value.map(line).join(',')}]`;
	if (value && typeof value === 'object')
		return `{${Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}:${line(v)}`).join(',')}}`;
	return JSON.stringify(value) ?? 'null';
}

export function block(value, label = 'Data') {
	const text = line(value);
	return html`<pre class="json" tabindex="0" role="region" aria-label=${label}>${text.length > MOST
		? text : [...printed(value, 0)]}</pre>`;
}
