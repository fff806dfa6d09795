// SPDX-License-Identifier: MIT
// Pieces that several pages are made of.
import { html, nothing, render, svg } from 'lit';
import { canWrite, session } from './api.js';

/** A page's heading with a sentence about it, and its buttons. */
export const heading = (title, text, actions = nothing) => html`
	<header class="heading"><div><h1 tabindex="-1">${title}</h1><p>${text}</p></div>
		${actions === nothing ? nothing : html`<div class="actions">${actions}</div>`}</header>`;

export const empty = (title, text, more = nothing) => html`
	<div class="empty"><p class="empty-title">${title}</p><p>${text}</p>${more}</div>`;

export const problem = (text) => (text ? html`<p class="notice bad" role="alert">${text}</p>` : nothing);

/** What a page shows before there is data. */
export function waiting(state) {
	if (state.error) return problem(state.error);
	return html`<p class="loading" role="status">Loading …</p>`;
}

/** Shows why a form cannot be used; nothing with the right token. */
export function writeNotice(what) {
	if (canWrite()) return nothing;
	const who = session.token ? html`The token <b>${session.token}</b> has the scope ${session.scope}.`
		: 'You read without a token.';
	return html`<p class="notice">${what} needs a token with the scope <b>write</b>. ${who}
		<a href="#/sign-in">Sign in with another token</a></p>`;
}

/** columns: [{name, class}], rows: [[cell, ...]]. */
export function table(label, columns, rows) {
	return html`<div class="table" role="region" aria-label=${label} tabindex="0"><table>
		<thead><tr>${columns.map((c) => html`<th scope="col" class=${c.class ?? ''}>${c.name || html`<span class="hidden">Action</span>`}</th>`)}</tr></thead>
		<tbody>${rows.map((row) => html`<tr>${row.map((cell, i) => html`<td class=${columns[i].class ?? ''}>${cell}</td>`)}</tr>`)}
		</tbody></table></div>`;
}

export const badge = (text, kind = '') => html`<span class="badge ${kind}">${text}</span>`;

export const field = (label, control, hint = nothing) => html`
	<label class="field"><span>${label}</span>${control}${hint === nothing ? nothing : html`<small>${hint}</small>`}</label>`;

export const facts = (pairs) => html`<dl class="facts">${pairs.filter(Boolean).map(([name, value]) => html`
	<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

/** The values of a form's named fields. */
export const valuesOf = (form) => Object.fromEntries([...new FormData(form)].map(([k, v]) => [k, v.trim()]));

/** Shows a message, which a screen reader reads out. */
export function say(text, kind = 'good') {
	window.dispatchEvent(new CustomEvent('sw-say', { detail: { text, kind } }));
}

/** A question before something that cannot be undone: resolves to true or false. */
export function confirm({ title, text, action }) {
	const dialog = document.createElement('dialog');
	dialog.className = 'confirm';
	dialog.setAttribute('aria-labelledby', 'confirm-title');
	render(html`<form method="dialog"><h2 id="confirm-title">${title}</h2><p>${text}</p><div class="actions">
		<button class="button" value="no" autofocus>Cancel</button>
		<button class="button danger" value="yes">${action}</button></div></form>`, dialog);
	document.body.append(dialog);
	dialog.showModal();
	return new Promise((resolve) => {
		dialog.addEventListener('close', () => {
			dialog.remove();
			resolve(dialog.returnValue === 'yes');
		}, { once: true });
	});
}

const PATHS = {
	overview: svg`<path d="M3 13h4l3-8 4 14 3-6h4"/>`,
	tail: svg`<path d="M4 6h16M4 12h16M4 18h10"/>`,
	channels: svg`<path d="M5 9h14M5 15h14M10 4 8 20M16 4l-2 16"/>`,
	connections: svg`<circle cx="6" cy="12" r="3"/><circle cx="18" cy="6" r="3"/><circle cx="18" cy="18" r="3"/><path d="m8.7 10.6 6.6-3.2M8.7 13.4l6.6 3.2"/>`,
	nodes: svg`<rect x="4" y="4" width="16" height="6" rx="1.5"/><rect x="4" y="14" width="16" height="6" rx="1.5"/><path d="M8 7h.01M8 17h.01"/>`,
	events: svg`<circle cx="11" cy="11" r="6.5"/><path d="m16 16 4.5 4.5"/>`,
	send: svg`<path d="M20 4 10 14M20 4l-6 16-4-6-6-4z"/>`,
	settings: svg`<path d="M4 7h9M19 7h1M4 17h1M11 17h9"/><circle cx="16" cy="7" r="2.5"/><circle cx="8" cy="17" r="2.5"/>`,
	webhooks: svg`<path d="M9 15a4 4 0 0 1 0-6l2-2a4 4 0 0 1 6 6l-1 1M15 9a4 4 0 0 1 0 6l-2 2a4 4 0 0 1-6-6l1-1"/>`,
	sync: svg`<circle cx="9" cy="8" r="3.5"/><path d="M3 20c0-3.5 2.5-6 6-6s6 2.5 6 6M16 5a3.5 3.5 0 0 1 0 6.5M18 14.5c2 .8 3 2.800 3 5.500"/>`,
};

export const icon = (name) => html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">${PATHS[name]}</svg>`;
