// SPDX-License-Identifier: MIT
import { html, nothing } from 'lit';
import { canWrite, get, post } from '../api.js';
import { bytes, count, fromLocal, time, toLocal } from '../format.js';
import { block, line } from '../json.js';
import { Page, go, link } from '../page.js';
import { badge, confirm, empty, facts, field, heading, problem, say, valuesOf, waiting, writeNotice } from '../parts.js';
import './explain.js';

const FILTERS = ['channel', 'event', 'text', 'path', 'value', 'from', 'until', 'before', 'after'];
const PREVIEW = 160;

const sockets = (event) => event.deliveries.reduce((n, d) => n + d.sockets, 0);

/** How an event reached clients, in a word. */
function reached(event) {
	if (!event.delivered) return badge('waits', 'warn');
	if (!event.deliveries.length) return badge('no record yet');
	const n = sockets(event);
	return n ? badge(`${count(n)} connection${n === 1 ? '' : 's'}`, 'good') : badge('no subscriber', 'warn');
}

class Events extends Page {
	static properties = { open: { state: true }, trouble: { state: true } };

	async load() {
		const { serial, ...rest } = this.params;
		const filters = Object.fromEntries(FILTERS.map((name) => [name, rest[name]]));
		const wanted = serial && get('events', { after: BigInt(serial) - 1n, before: BigInt(serial) + 1n, limit: 1 });
		const [list, one] = await Promise.all([get('events', { app: this.app, ...filters }), wanted]);
		return { ...list, one: one?.events[0] ?? null };
	}

	updated() {
		const dialog = this.querySelector('dialog.sheet');
		if (dialog && !dialog.open) dialog.showModal();
	}

	#onSearch(event) {
		event.preventDefault();
		const { from, until, ...values } = valuesOf(event.target);
		if (!values.path) delete values.value;
		go('events', { ...values, from: fromLocal(from), until: fromLocal(until) });
	}

	#close() {
		const { serial, ...rest } = this.params;
		if (serial) go('events', rest);
	}

	async #resend(event, user) {
		const target = user ? `the connections of user ${user}` : `all subscribers of ${event.channel}`;
		if (!await confirm({ title: 'Send this event again?', text: `A copy with a serial of its own goes to ${target}.`, action: 'Send again' })) return;
		try {
			const sent = await post('resend', { serial: event.serial, ...(user && { user }) });
			say(`Sent again to ${sent.channel} with the id ${sent.event_id}.`);
			this.reload();
		} catch (error) {
			say(error.message, 'bad');
		}
	}

	#form() {
		const p = this.params;
		const text = (name, label, placeholder, hint) => field(label, html`<input name=${name} .value=${p[name] ?? ''} placeholder=${placeholder}
			spellcheck="false" autocapitalize="off" maxlength="200">`, hint);
		const advanced = ['path', 'value', 'until'].some((name) => p[name]);
		return html`<form class="card search" @submit=${this.#onSearch} role="search">
			<div class="row">${text('channel', 'Channel', 'private-orders.*')}${text('event', 'Event', 'OrderPaid')}
				${text('text', 'Text in the data', '4711')}
				${field('From', html`<input name="from" type="datetime-local" step="1" .value=${toLocal(p.from)}>`)}
				<button class="button primary">Search</button></div>
			<details ?open=${advanced}><summary>More filters</summary><div class="row">
				${text('path', 'Path in the data', 'order.number')}${text('value', 'has the value', '4711')}
				${field('Until', html`<input name="until" type="datetime-local" step="1" .value=${toLocal(p.until)}>`)}</div></details></form>`;
	}

	#row(event) {
		const data = line(event.data);
		return html`<li><a class="event" href=${link('events', { ...this.params, serial: event.serial })}>
			<span class="event-time">${time(event.created_at, { ms: true })}</span>
			<span class="event-name"><b>${event.event}</b><code>${event.channel}</code></span>
			<span class="event-data mono">${data.length > PREVIEW ? `${data.slice(0, PREVIEW)} …` : data}</span>
			<span class="event-end">${reached(event)}<span class="muted mono">${event.serial}</span></span></a></li>`;
	}

	#list({ events, more }) {
		const filtered = FILTERS.some((name) => this.params[name]);
		if (!events.length)
			return filtered ? empty('No event fits', 'The search looked at all events of the log. Try fewer filters, or a channel with * at its end.')
				: empty('The log is empty', 'Events with durability commit or async are stored here when they are published.',
					html`<p><a class="button" href=${link('send')}>Send an event</a></p>`);
		const { serial, ...rest } = this.params;
		return html`<ul class="events" aria-label="Events">${events.map((e) => this.#row(e))}</ul>
			${more ? html`<p class="pager">${rest.after ? html`<a class="button" href=${link('events', { ...rest, after: events.at(-1).serial })}>Newer</a>`
				: html`<a class="button" href=${link('events', { ...rest, before: events.at(-1).serial })}>Older</a>`}</p>` : nothing}`;
	}

	#delivery(event) {
		const lead = !event.delivered ? 'It waits for its delivery.' : !event.deliveries.length
			? 'It was delivered; the record of it is written within a second.'
			: sockets(event) ? nothing : 'No client was subscribed to the channel at that moment. Clients that recover by replay receive it later.';
		return html`${lead === nothing ? nothing : html`<p class="muted">${lead}</p>`}
			${event.deliveries.map((d) => html`<p class="delivery"><span>Node <code>${d.node}</code></span>
				<b>${count(d.sockets)} connection${d.sockets === 1 ? '' : 's'}</b><span class="muted">${time(d.at, { ms: true })}</span></p>`)}`;
	}

	#sheet(event) {
		const text = line(event.data);
		return html`<dialog class="sheet" aria-labelledby="sheet-title" @close=${this.#close}>
			<header><div><h2 id="sheet-title">${event.event}</h2><p><a href=${link('channels', { channel: event.channel })}><code>${event.channel}</code></a></p></div>
				<form method="dialog"><button class="button" autofocus>Close</button></form></header>
			<div class="sheet-body">
				${facts([['Serial', html`<code>${event.serial}</code>`], ['Id', html`<code>${event.event_id}</code>`], ['Published', time(event.created_at, { ms: true })],
					['From', event.origin?.toUpperCase()], ['Application', event.app], ['Size', bytes(new Blob([text]).size)]])}
				<h3>Delivery</h3>${this.#delivery(event)}
				<h3>Data</h3>${block(event.data)}
				<div class="actions"><button class="button" @click=${() => this.#copy(text)}>Copy the data</button>
					<a class="button" href=${link('send', { receiver: event.channel, event: event.event, data: text })}>Change and send</a>
					<a class="button" href=${link('events', { channel: event.channel, after: event.serial })}>What followed on the channel</a></div>
				<h3>Did a user not get it?</h3>
				<sw-explain .app=${event.app} .channel=${event.channel}></sw-explain>
				<h3>Send again</h3>${writeNotice('Sending again')}
				<form class="row" @submit=${(e) => { e.preventDefault(); this.#resend(event, valuesOf(e.target).user); }}>
					${field('Only to the user', html`<input name="user" placeholder="all subscribers" maxlength="200" autocapitalize="off">`)}
					<button class="button" ?disabled=${!canWrite()}>Send again</button></form>
			</div></dialog>`;
	}

	async #copy(text) {
		try {
			await navigator.clipboard.writeText(text);
			say('Copied.');
		} catch {
			say('The browser does not allow copying here.', 'bad');
		}
	}

	render() {
		const { data, error } = this.state;
		const missing = this.params.serial && data && !data.one;
		return html`${heading('Events', 'Every stored event, with the record of its delivery. The newest are first.')}
			${this.#form()}
			${data ? problem(error) : waiting(this.state)}
			${missing ? problem(`The log has no event with the serial ${this.params.serial}.`) : nothing}
			${data ? html`<section class="card flush">${this.#list(data)}</section>` : nothing}
			${data?.one ? this.#sheet(data.one) : nothing}`;
	}
}
customElements.define('sw-events', Events);
