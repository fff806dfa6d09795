// SPDX-License-Identifier: MIT
// The occupied channels, and one of them.
import { html, nothing } from 'lit';
import { get } from '../api.js';
import { count, time } from '../format.js';
import { line } from '../json.js';
import { Page, go, link } from '../page.js';
import { badge, empty, facts, field, heading, problem, table, valuesOf, waiting } from '../parts.js';
import { rulesList } from './explain.js';

const KINDS = [['private-encrypted-', 'encrypted'], ['private-', 'private'], ['presence-', 'presence'], ['cache-', 'cache'], ['#', 'user']];
const kind = (channel) => KINDS.find(([prefix]) => channel.startsWith(prefix))?.[1] ?? 'public';

class Channels extends Page {
	connectedCallback() {
		super.connectedCallback();
		this.every(5000, () => this.reload());
	}

	async load() {
		const { channel, prefix } = this.params;
		return channel ? { one: await get('channel', { app: this.app, channel }) }
			: { list: await get('channels', { app: this.app, prefix }) };
	}

	#list({ channels, more }) {
		if (!channels.length) return empty(this.params.prefix ? 'No channel begins like this' : 'No channel is occupied',
			'A channel is here while at least one connection is subscribed to it. A channel without subscribers can be opened by its full name.');
		return html`${table('Channels', [{ name: 'Channel' }, { name: 'Kind' }, { name: 'Subscriptions', class: 'number' }, { name: 'Users', class: 'number' }],
			channels.map((c) => [html`<a href=${link('channels', { channel: c.channel })}><code>${c.channel}</code></a>`, badge(kind(c.channel)),
				count(c.subscriptions), c.users === undefined ? '–' : count(c.users)]))}
			${more ? html`<p class="muted">Only the first 1000 are shown.</p>` : nothing}`;
	}

	#all() {
		const { data, error } = this.state;
		const { prefix = '' } = this.params;
		return html`${heading('Channels', `Occupied channels of ${this.app}.`)}
			<form class="filter" @submit=${(e) => { e.preventDefault(); go('channels', this.#wanted(e)); }}>
				${field('Beginning of the name, or a full name', html`<input name="name" type="search" .value=${prefix} placeholder="private-orders." spellcheck="false" autocapitalize="off">`)}
				<button class="button" value="prefix">Filter</button><button class="button" value="channel">Open channel</button></form>
			${data?.list ? problem(error) : waiting(this.state)}
			${data?.list ? html`<section class="card flush">${this.#list(data.list)}</section>` : nothing}`;
	}

	#wanted(event) {
		return { [event.submitter?.value ?? 'prefix']: valuesOf(event.target).name };
	}

	#events(events) {
		if (!events?.length) return empty('No events in the log', 'Events with durability none, and client events, are not stored.');
		return table('Last events', [{ name: 'Time' }, { name: 'Event' }, { name: 'Data', class: 'cut' }, { name: 'Connections', class: 'number' }, { name: '', class: 'action' }],
			events.map((e) => [time(e.created_at, { ms: true }), html`<a href=${link('events', { channel: e.channel, serial: e.serial })}>${e.event}</a>`,
				html`<span class="mono">${line(e.data).slice(0, 120)}</span>`, count(e.deliveries.reduce((n, d) => n + d.sockets, 0)),
				html`<a href=${link('events', { channel: e.channel, after: e.serial - 1 })}>Replay from here</a>`]));
	}

	#one() {
		const { data, error } = this.state;
		const { channel } = this.params;
		const c = data?.one;
		return html`${heading(html`<code>${channel}</code>`, html`<a href="#/channels">All channels</a>`,
			html`<a class="button" href=${link('tail', { channel })}>Live tail</a><a class="button" href=${link('send', { receiver: channel })}>Send an event</a>`)}
			${c ? problem(error) : waiting(this.state)}
			${c ? html`<div class="grid two"><section class="card"><h2>Now</h2>${facts([['Kind', badge(kind(channel))],
				['Occupied', c.occupied ? badge('yes', 'good') : badge('no')], ['Subscriptions', count(c.subscriptions)],
				kind(channel) === 'presence' && ['Members', c.members.length ? html`<span class="chips">${c.members.map((m) => html`<a class="chip" href=${link('connections', { user: m })}>${m}</a>`)}</span>${c.more_members ? ' and more' : nothing}` : '–']])}
				<p><a href=${link('connections', { channel })}>Connections on this channel</a></p></section>
			<section class="card"><h2>Channel rules</h2>${c.database ? rulesList(c.database.rules) : problem('The database is away.')}
				<h3>Why is a user allowed or refused?</h3><sw-explain .app=${this.app} .channel=${channel}></sw-explain></section></div>
			<section class="card"><h2>Last events</h2>${this.#events(c.database?.events)}</section>` : nothing}`;
	}

	render() {
		return this.params.channel ? this.#one() : this.#all();
	}
}
customElements.define('sw-channels', Channels);
