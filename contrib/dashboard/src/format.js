// SPDX-License-Identifier: MIT
// Values as people read them.
import { html } from 'lit';

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

const two = (n) => String(n).padStart(2, '0');

export function count(n) {
	if (n === null || n === undefined) return '–';
	return (n > 0 && n < 10 && !Number.isInteger(n) ? fine : whole).format(n);
}

/** Microseconds. */
export function duration(us) {
	if (us === null || us === undefined) return '–';
	if (us < 1000) return `${(us / 1000).toFixed(2)} ms`;
	if (us < 100000) return `${(us / 1000).toFixed(1)} ms`;
	return us < 1e6 ? `${Math.round(us / 1000)} ms` : `${(us / 1e6).toFixed(1)} s`;
}

export function bytes(n) {
	if (n === null || n === undefined) return '–';
	if (n < 1024) return `${n} B`;
	return n < 1048576 ? `${(n / 1024).toFixed(1)} KB` : `${(n / 1048576).toFixed(1)} MB`;
}

export function clock(when, withMs = true) {
	const d = new Date(when);
	const time = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
	return withMs ? `${time}.${String(d.getMilliseconds()).padStart(3, '0')}` : time;
}

const day = (d) => `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;

/** A time element: the time of day, with the day if it is not today. */
export function time(when, { ms = false } = {}) {
	if (!when) return '–';
	const d = new Date(when);
	if (Number.isNaN(d.getTime())) return String(when);
	const date = day(d) === day(new Date()) ? '' : `${day(d)} `;
	return html`<time datetime=${d.toISOString()} title=${d.toISOString()}>${date}${clock(d, ms)}</time>`;
}

export function ago(when) {
	const s = Math.max(0, (Date.now() - new Date(when)) / 1000);
	if (s < 90) return `${Math.round(s)} s`;
	if (s < 5400) return `${Math.round(s / 60)} min`;
	return s < 129600 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
}

/** For <input type="datetime-local">, which has no time zone. */
export const toLocal = (iso) => {
	if (!iso) return '';
	const d = new Date(iso);
	return Number.isNaN(d.getTime()) ? '' : `${day(d)}T${clock(d, false)}`;
};
export const fromLocal = (text) => (text ? new Date(text).toISOString() : '');
