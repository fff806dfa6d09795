// SPDX-License-Identifier: MIT
import { html } from 'lit';
import { canWrite, get, post } from '../api.js';
import { ago, count, time } from '../format.js';
import { Page, link } from '../page.js';
import { badge, confirm, empty, heading, problem, say, table, waiting, writeNotice } from '../parts.js';

const user = (id) => html`<a href=${link('connections', { user: id })}>${id}</a>`;
const resource = (r) => html`<code>${r.resource_type} ${r.resource_id}${r.field ? ` ${r.field}` : ''}</code>`;

class Sync extends Page {
	connectedCallback() {
		super.connectedCallback();
		this.every(5000, () => this.reload());
	}

	async load() {
		return get('sync', { app: this.app });
	}

	async #release(lock) {
		if (!await confirm({ title: 'Release the lock?', text: `User ${lock.user} edits ${lock.resource_type} ${lock.resource_id}${lock.field ? ` ${lock.field}` : ''}. What they have `
			+ 'not saved may be lost, and they are notified.', action: 'Release' })) return;
		try {
			await post('lock-release', { app: this.app, resource_type: lock.resource_type, resource_id: lock.resource_id,
				field: lock.field });
			say('The lock was released.');
			this.reload();
		} catch (error) {
			say(error.message, 'bad');
		}
	}

	#locks({ locks }) {
		if (!locks.length) return empty('No locks', 'No user has a resource open for editing.');
		return table('Locks', [{ name: 'Resource' }, { name: 'User' }, { name: 'Name' }, { name: 'Since' }, { name: 'Until' }, { name: '', class: 'action' }],
			locks.map((l) => [resource(l), user(l.user), l.name ?? '–', time(l.acquired_at), time(l.expires_at),
				html`<button class="link" ?disabled=${!canWrite()} @click=${() => this.#release(l)}>Release</button>`]));
	}

	#online({ online }) {
		if (!online.length) return empty('No user is online', 'No heartbeat has come, and no connection is signed in.');
		return table('Online', [{ name: 'User' }, { name: 'Status' }, { name: 'Location' }, { name: 'Last seen' }],
			online.map((u) => [user(u.user), badge(u.status, u.status === 'online' ? 'good' : ''), u.location ?? '–', time(u.last_seen_at)]));
	}

	#viewers({ viewers }) {
		if (!viewers.length) return empty('No viewers', 'No page of a resource is open.');
		return table('Viewers', [{ name: 'Resource' }, { name: 'User' }, { name: 'Mode' }, { name: 'Since' }],
			viewers.map((v) => [resource(v), user(v.user), v.mode, time(v.since)]));
	}

	#unread({ notifications: n }) {
		if (!n.unread) return empty('Nothing is unread', 'Every notification was read.');
		return html`<p>${count(n.unread)} unread of ${count(n.users)} user${n.users === 1 ? '' : 's'}${n.oldest_unread
			? html`; the oldest is ${ago(n.oldest_unread)} old` : ''}.</p>
			${table('Unread notifications', [{ name: 'User' }, { name: 'Unread', class: 'number' }], n.most.map((m) => [user(m.user), count(m.unread)]))}`;
	}

	#changes({ changes }) {
		if (!changes.length) return empty('No offline changes', 'No client has sent changes to /api/sync/data.');
		return table('Offline changes', [{ name: 'Time' }, { name: 'User' }, { name: 'Resource' }, { name: 'Change' }, { name: 'Result' }],
			changes.map((c) => [time(c.at), c.user === 0 ? 'server' : user(c.user), resource(c), c.op,
				badge(c.status === '200' ? 'ok' : c.status, c.status === '200' ? 'good' : 'warn')]));
	}

	render() {
		const { data, error } = this.state;
		const card = (title, n, body) => html`<section class="card"><h2>${title}${n === null ? '' : html` <span class="badge">${count(n)}</span>`}</h2>${body}</section>`;
		return html`${heading('Sync', `Users, locks and viewers of ${this.app}.`)}
			${writeNotice('Releasing a lock')}
			${data ? problem(error) : waiting(this.state)}
			${data ? html`${card('Edit locks', data.locks.length, this.#locks(data))}
				<div class="grid two">${card('Online', data.online.length, this.#online(data))}${card('Viewers', data.viewers.length, this.#viewers(data))}
				${card('Unread notifications', null, this.#unread(data))}${card('Offline changes', null, this.#changes(data))}</div>` : ''}`;
	}
}
customElements.define('sw-sync', Sync);
