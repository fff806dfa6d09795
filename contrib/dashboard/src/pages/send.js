// SPDX-License-Identifier: MIT
import { html, nothing } from 'lit';
import { canWrite, get, post } from '../api.js';
import { time } from '../format.js';
import { line } from '../json.js';
import { Page, go, link } from '../page.js';
import { badge, empty, field, heading, problem, say, table, valuesOf, waiting, writeNotice } from '../parts.js';

const SHOWN = 20;

/** Why the text is not the data of an event; '' if it is. */
function fault(text) {
	try {
		JSON.parse(text);
		return '';
	} catch (error) {
		return `The data is not JSON: ${error.message}`;
	}
}

class Send extends Page {
	static properties = { trouble: { state: true }, sent: { state: true }, busy: { state: true } };

	constructor() {
		super();
		Object.assign(this, { trouble: '', sent: null, busy: false });
	}

	async load() {
		return (await get('audit', { action: 'send', limit: SHOWN })).audit;
	}

	async #onSend(event) {
		event.preventDefault();
		const { to, receiver, event: name, data } = valuesOf(event.target);
		this.sent = null;
		this.trouble = fault(data);
		if (this.trouble) return;
		this.busy = true;
		try {
			// The data goes as it was written; JSON.stringify() would change its numbers.
			const rest = JSON.stringify({ app: this.app, [to]: receiver, event: name });
			this.sent = await post('send', `${rest.slice(0, -1)},"data":${data}}`);
			say('The event was sent.');
			this.reload();
		} catch (error) {
			this.trouble = error.message;
		}
		this.busy = false;
	}

	/** Fills the form with an earlier event; its data is in the log. */
	async #again(row) {
		const { user, channel, event } = row.arguments;
		let data;
		try {
			const { events } = await get('events', { app: row.arguments.app ?? this.app, event,
				channel: channel ?? `#server-to-user-${user}`, limit: 1 });
			data = events[0] && line(events[0].data);
		} catch { /* only the data is missing */ }
		go('send', { to: user ? 'user' : 'channel', receiver: user ?? channel, event, data });
	}

	#form() {
		const { to = 'channel', receiver = '', event = '', data = '{"text":"Hello"}' } = this.params;
		return html`<form class="card stack" @submit=${this.#onSend}>
			<fieldset class="choice"><legend>To</legend>
				<label><input type="radio" name="to" value="channel" ?checked=${to !== 'user'}> a channel</label>
				<label><input type="radio" name="to" value="user" ?checked=${to === 'user'}> a signed-in user</label></fieldset>
			<div class="row">${field('Channel or user id', html`<input name="receiver" required maxlength="200" .value=${receiver}
					placeholder="private-orders.12" spellcheck="false" autocapitalize="off">`)}
				${field('Event', html`<input name="event" required maxlength="200" .value=${event} placeholder="OrderPaid"
					spellcheck="false" autocapitalize="off">`)}</div>
			${field('Data (JSON)', html`<textarea name="data" rows="7" required spellcheck="false" class="mono" .value=${data}></textarea>`)}
			${problem(this.trouble)}
			${this.sent ? html`<p class="notice good">Sent to <code>${this.sent.channel}</code> with the id
				<code>${this.sent.event_id}</code>. <a href=${link('events', { channel: this.sent.channel })}>Find it in the log</a></p>` : nothing}
			<div class="actions"><button class="button primary" ?disabled=${!canWrite() || this.busy}>Send</button></div></form>`;
	}

	#history() {
		const { data } = this.state;
		if (!data) return waiting(this.state);
		if (!data.length) return empty('Nothing was sent yet', 'What is sent here or with scopewirectl send is listed here.');
		return table('What was sent', [{ name: 'Time' }, { name: 'To' }, { name: 'Event' }, { name: 'By' }, { name: 'Result' }, { name: '', class: 'action' }],
			data.map((row) => [time(row.at), row.arguments?.user ? html`user ${row.arguments.user}` : html`<code>${row.arguments?.channel}</code>`,
				row.arguments?.event, row.token, row.result === 'ok' ? badge('ok', 'good') : badge(row.result, 'bad'),
				row.arguments?.event ? html`<button class="link" @click=${() => this.#again(row)}>Use again</button>` : nothing]));
	}

	render() {
		return html`${heading('Send an event', `Publishes an event of the application ${this.app}. It is in the log, and in the record of changes.`)}
			${writeNotice('Sending')}
			${this.#form()}<section class="card"><h2>Sent before</h2>${this.#history()}</section>`;
	}
}
customElements.define('sw-send', Send);
