// SPDX-License-Identifier: MIT
// What happens now.  Server-sent events are read with fetch(): EventSource cannot send a token.
import { html, nothing } from 'lit';
import { repeat } from 'lit/directives/repeat.js';
import { parse, stream } from '../api.js';
import { count, time } from '../format.js';
import { block } from '../json.js';
import { Page, go, link } from '../page.js';
import { badge, empty, field, heading, problem, valuesOf } from '../parts.js';

const KEPT = 500;
const AGAIN_MS = 2000;
const KINDS = { event: ['Events', ''], refusal: ['Refusals', 'bad'], connection: ['Connections', 'info'] };

const words = (name) => name.replaceAll('_', ' ');

/** Data is text: JSON, unless it was cut or the client sent something else. */
function shown(data) {
	try {
		return block(parse(data));
	} catch {
		return html`<pre class="json" tabindex="0" role="region" aria-label="Data">${data}</pre>`;
	}
}

class Tail extends Page {
	static properties = { rows: { state: true }, paused: { state: true }, connection: { state: true }, trouble: { state: true }, held: { state: true } };

	#abort;
	#waiting = [];
	#number = 0;
	#retry;

	constructor() {
		super();
		Object.assign(this, { rows: [], paused: false, connection: 'closed', trouble: '', held: 0 });
	}

	willUpdate(changed) {
		if (changed.has('params') || changed.has('app')) this.#open();
	}

	disconnectedCallback() {
		super.disconnectedCallback();
		this.#abort?.abort();
		clearTimeout(this.#retry);
	}

	async #open() {
		this.#abort?.abort();
		clearTimeout(this.#retry);
		const abort = this.#abort = new AbortController();
		const { channel, event, user, kinds } = this.params;
		this.connection = 'opening';
		this.trouble = '';
		try {
			await stream('tail', { app: this.app, channel, event, user, kinds }, (kind, data) => this.#on(kind, data), abort.signal);
		} catch (error) {
			if (abort.signal.aborted) return;
			this.trouble = error.message ?? 'The stream was cut.';
		}
		if (abort.signal.aborted) return;
		this.connection = 'closed';
		this.#retry = setTimeout(() => this.#open(), AGAIN_MS);
	}

	#on(kind, data) {
		if (kind === 'open') this.connection = 'open';
		if (!data) return;
		const row = { ...data, kind, number: ++this.#number };
		if (this.paused) {
			this.#waiting = [row, ...this.#waiting].slice(0, KEPT);
			this.held = this.#waiting.length;
		} else this.rows = [row, ...this.rows].slice(0, KEPT);
	}

	#pause() {
		this.paused = !this.paused;
		if (this.paused) return;
		this.rows = [...this.#waiting, ...this.rows].slice(0, KEPT);
		this.#waiting = [];
		this.held = 0;
	}

	#onFilter(event) {
		event.preventDefault();
		const kinds = new FormData(event.target).getAll('kinds');
		const { kinds: one, ...rest } = valuesOf(event.target);
		this.rows = [];
		go('tail', { ...rest, kinds: kinds.length === Object.keys(KINDS).length ? '' : kinds.join(',') });
	}

	#row(r) {
		if (r.kind === 'lost') return html`<li class="lost">${count(r.lost)} more came faster than they could be shown.</li>`;
		const channel = r.channel ? html`<code>${r.channel}</code>` : nothing;
		return html`<li><details class="entry"><summary><span class="muted mono">${time(r.at, { ms: true })}</span>
				${badge(r.kind, KINDS[r.kind]?.[1])}<b>${r.kind === 'event' ? r.event : words(r.event ?? '')}</b>${channel}
				${r.code ? badge(String(r.code)) : nothing}${r.reason ? html`<span class=${r.kind === 'refusal' ? 'bad-text' : 'muted'}>${r.reason}</span>` : nothing}
				<span class="end muted">${r.reached === undefined || r.reached === null ? (r.user_id ?? r.socket_id ?? '') : `${count(r.reached)} reached`}</span></summary>
			<p class="muted">${r.serial ? html`<a href=${link('events', { serial: r.serial })}>Serial ${r.serial}</a> ` : nothing}
				${r.socket_id ? html`<a href=${link('connections', { socket_id: r.socket_id })}>Connection ${r.socket_id}</a> ` : nothing}
				${r.user_id ? html`<a href=${link('connections', { user: r.user_id })}>User ${r.user_id}</a>` : nothing}</p>
			${r.data === undefined || r.data === null ? nothing : html`${shown(r.data)}
				${r.cut ? html`<p class="muted">The data is longer. The event in the log has all of it.</p>` : nothing}`}</details></li>`;
	}

	#form() {
		const p = this.params;
		const chosen = p.kinds ? p.kinds.split(',') : Object.keys(KINDS);
		const text = (name, label, placeholder) => field(label, html`<input name=${name} .value=${p[name] ?? ''} placeholder=${placeholder} spellcheck="false" autocapitalize="off">`);
		return html`<form class="card search" @submit=${this.#onFilter}><div class="row">${text('channel', 'Channel', 'private-orders.*')}${text('event', 'Event', 'OrderPaid')}${text('user', 'User id', '7')}
			<button class="button primary">Apply</button></div><fieldset class="choice"><legend class="hidden">Show</legend>${Object.entries(KINDS).map(([name, [title]]) => html`<label>
			<input type="checkbox" name="kinds" value=${name} ?checked=${chosen.includes(name)}> ${title}</label>`)}</fieldset></form>`;
	}

	render() {
		const states = { open: badge('live', 'good'), opening: badge('connecting'), closed: badge('not connected', 'warn') };
		return html`${heading('Live tail', html`Events, refusals and connections as they happen. ${states[this.connection]}`,
			html`<button class="button" aria-pressed=${this.paused} @click=${this.#pause}>${this.paused ? `Go on${this.held ? ` (${this.held} new)` : ''}` : 'Pause'}</button>
				<button class="button" @click=${() => { this.rows = []; }}>Clear</button>`)}
			${this.#form()}${problem(this.trouble)}
			<section class="card flush">${this.rows.length ? html`<ul class="tail" aria-label="What happened">${repeat(this.rows, (r) => r.number, (r) => this.#row(r))}</ul>`
				: empty('Waiting for something to happen', 'What fits the filters is shown here from now on. The past is in Events.')}</section>`;
	}
}
customElements.define('sw-tail', Tail);
