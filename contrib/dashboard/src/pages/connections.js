// SPDX-License-Identifier: MIT
// The connections of a node, and the recorder of one of them, which stays for a while after it closed.
import { html, nothing } from 'lit';
import { canWrite, get, post } from '../api.js';
import { bytes, count, time } from '../format.js';
import { Page, go, link } from '../page.js';
import { badge, confirm, empty, facts, field, heading, problem, say, table, valuesOf, waiting, writeNotice } from '../parts.js';

const BAD = /refused|slow|resync|subscription_ended|closing/;
const words = (step) => step.replaceAll('_', ' ');

const closed = (c) => html`${badge(`closed${c.close_code ? ` ${c.close_code}` : ''}`)}`;

class Connections extends Page {
	connectedCallback() {
		super.connectedCallback();
		this.every(5000, () => this.reload());
	}

	async load() {
		const { socket_id, ...filters } = this.params;
		if (socket_id) return { one: await get(`connections/${encodeURIComponent(socket_id)}`) };
		return { list: await get('connections', { app: this.app, ...filters, limit: 100 }) };
	}

	#onFilter(event) {
		event.preventDefault();
		go('connections', valuesOf(event.target));
	}

	#list({ connections, cursor }) {
		if (!connections.length) return empty('No connection fits', 'Connections that closed are kept for a while: try the state closed, or fewer filters.');
		return html`${table('Connections', [{ name: 'Socket' }, { name: 'User' }, { name: 'Address' }, { name: 'Connected' }, { name: 'Subscriptions', class: 'number' },
			{ name: 'Outbox', class: 'number' }, { name: 'State' }], connections.map((c) => [
			html`<a href=${link('connections', { socket_id: c.socket_id })}><code>${c.socket_id}</code></a>`, c.user_id ?? '–', html`<code>${c.address}</code>`,
			time(c.connected_at), count(c.subscriptions), bytes(c.outbox_bytes), c.closed_at ? closed(c) : badge('open', 'good')]))}
			${cursor ? html`<p class="pager"><a class="button" href=${link('connections', { ...this.params, cursor })}>Older</a></p>` : nothing}`;
	}

	#all() {
		const { data, error } = this.state;
		const p = this.params;
		const text = (name, label, placeholder = '') => field(label, html`<input name=${name} .value=${p[name] ?? ''} placeholder=${placeholder} spellcheck="false" autocapitalize="off">`);
		return html`${heading('Connections', `Connections of ${this.app}, open and recently closed, with what happened on each.`)}
			<form class="card search" role="search" @submit=${this.#onFilter}><div class="row">${text('user', 'User id')}${text('channel', 'Channel')}${text('address', 'Address', '192.0.2.7')}
				${field('State', html`<select name="state">${[['', 'open and closed'], ['open', 'open'], ['closed', 'closed']].map(([v, t]) => html`<option value=${v} ?selected=${(p.state ?? '') === v}>${t}</option>`)}</select>`)}
				<button class="button primary">Search</button></div></form>
			${data?.list ? problem(error) : waiting(this.state)}
			${data?.list ? html`<section class="card flush">${this.#list(data.list)}</section>` : nothing}`;
	}

	async #disconnect(c) {
		if (!await confirm({ title: 'Close this connection?', text: 'Its client is sent away with 4009 and does not connect again by itself.', action: 'Disconnect' })) return;
		try {
			await post(`connections/${encodeURIComponent(c.socket_id)}/disconnect`, {});
			say('The connection was closed.');
			this.reload();
		} catch (error) {
			say(error.message, 'bad');
		}
	}

	#steps({ steps }) {
		if (!steps?.length) return empty('No steps', 'The recorder has nothing about this connection.');
		return html`<ol class="steps" aria-label="Steps">${steps.map((s) => html`<li class=${BAD.test(s.step) ? 'bad' : ''}>
			<span class="muted mono">${time(s.at, { ms: true })}</span><span><b>${words(s.step)}</b>
			${s.channel ? html` <a href=${link('channels', { channel: s.channel })}><code>${s.channel}</code></a>` : nothing}
			${s.times > 1 ? html` ${badge(`${count(s.times)} times`)}` : nothing}${s.code ? html` ${badge(String(s.code))}` : nothing}${s.detail ? html`<span class="detail">${s.detail}</span>` : nothing}</span></li>`)}</ol>`;
	}

	#one() {
		const { data, error } = this.state;
		const c = data?.one;
		return html`${heading(html`Connection <code>${this.params.socket_id}</code>`, html`<a href="#/connections">All connections</a>`,
			c && !c.closed_at ? html`<button class="button danger" ?disabled=${!canWrite()} @click=${() => this.#disconnect(c)}>Disconnect</button>` : nothing)}
			${c && !c.closed_at ? writeNotice('Disconnecting') : nothing}
			${c ? problem(error) : waiting(this.state)}
			${c ? html`<div class="grid wider"><section class="card"><h2>Connection</h2>${facts([
				['State', c.closed_at ? closed(c) : badge('open', 'good')],
				['User', c.user_id ? html`<a href=${link('connections', { user: c.user_id })}>${c.user_id}</a>` : 'not signed in'],
				['Application', c.app], ['Address', html`<code>${c.address}</code>`], ['Connected', time(c.connected_at, { ms: true })],
				c.closed_at && ['Closed', time(c.closed_at, { ms: true })],
				['Outbox', bytes(c.outbox_bytes)], ['Worker', String(c.worker)]])}
				<h3>Channels</h3>${c.channels?.length ? html`<ul class="plain">${c.channels.map((n) => html`<li><a href=${link('channels', { channel: n })}><code>${n}</code></a></li>`)}</ul>` : html`<p class="muted">Not subscribed to a channel.</p>`}
			</section><section class="card"><h2>What happened</h2>${this.#steps(c)}</section></div>` : nothing}`;
	}

	render() {
		return this.params.socket_id ? this.#one() : this.#all();
	}
}
customElements.define('sw-connections', Connections);
