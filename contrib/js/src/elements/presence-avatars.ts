// SPDX-License-Identifier: MIT
import { css, html, nothing, type PropertyValues } from 'lit';
import { property, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import type { Subscription } from '../channel.js';
import type { PresenceStatus } from '../heartbeat.js';
import type { RealtimeManager } from '../manager.js';
import { ScopewireElement, avatar, define, relativeTime, tickTimes, vars } from './base.js';
import { Loading } from './loading.js';
import { Popover } from './popover.js';
import { theme } from './theme.js';

/** Of the size: more would cover the first letter of the next face. */
const OVERLAP = 0.15;
/** Without a connection for so long, what is known of others is out of date: not after a short interruption. */
const UNKNOWN_AFTER_MS = 1500;

interface Shown {
	id: string;
	name: string;
	avatar: string | null;
	status: PresenceStatus;
	lastSeen: string | null;
	isLeaving: boolean;
}

interface Row { user_id: number | string; name: string | null; avatar: string | null; status: PresenceStatus; last_seen_at: string }

/** Who is on a presence channel: a stack of pictures with "+n", and a list with states. */
export class PresenceAvatars extends ScopewireElement {
	/** A presence channel, such as presence-project.7. */
	@property() channel = 'presence-online';
	@property({ type: Number }) max = 5;
	@property({ type: Number }) size = 32;
	/** Milliseconds for which a member who left is shown grey. */
	@property({ type: Number }) grace = 4000;
	@state() private people = new Map<string, Shown>();
	@state() private isUnknown = false;
	readonly #loading = new Loading();
	readonly #popover = new Popover(this, { button: '.stack', panel: '.panel' }, 'bottom-start');
	readonly #leaving = new Map<string, ReturnType<typeof setTimeout>>();
	readonly #states = new Map<string, { status: PresenceStatus; lastSeen: string }>();
	#unknown: ReturnType<typeof setTimeout> | undefined;

	static override styles = [theme, css`
		:host { display: inline-block; vertical-align: middle; min-block-size: 40px; }
		.stack { display: flex; align-items: center; padding: 4px 6px; border-radius: 999px; min-inline-size: 44px; min-block-size: 40px; }
		.stack:hover { background: var(--_hover); }
		.face { position: relative; display: inline-grid; border-radius: 50%; box-shadow: 0 0 0 2px var(--_surface); animation: fade 240ms; }
		.stack .face, .more { margin-inline-start: var(--_overlap); }
		.face:nth-child(1) { z-index: 5; } .face:nth-child(2) { z-index: 4; } .face:nth-child(3) { z-index: 3; } .face:nth-child(4) { z-index: 2; }
		.stack { isolation: isolate; }
		.stack .face:first-of-type { margin-inline-start: 0; }
		/* Grey, but the initials can still be read. */
		.is-leaving .avatar { background: var(--_hover); color: var(--_muted); }
		.is-leaving img { filter: grayscale(1); opacity: 0.55; }
		.dot { position: absolute; inset-block-end: 0; inset-inline-end: 0; inline-size: 9px; block-size: 9px; border-radius: 50%; background: var(--_good); box-shadow: 0 0 0 2px var(--_surface); transition: background-color 200ms; }
		.dot.away, .dot.busy { background: var(--_warn); }
		.dot.offline { background: var(--_muted); }
		.dot.unknown { background: var(--_surface); border: 2px solid var(--_muted); }
		.is-unknown .avatar { filter: saturate(0.25); transition: filter 200ms; }
		.more { display: inline-grid; place-items: center; border-radius: 999px; padding-inline: 8px; min-inline-size: var(--_size); block-size: var(--_size); background: var(--_hover); color: var(--_ink); font-size: 12px; font-weight: 650; box-shadow: 0 0 0 2px var(--_surface); }
		.none { padding-inline: 8px; color: var(--_muted); font-size: 13px; }
		.panel { position: fixed; inset: auto; margin: 0; inline-size: 260px; padding: 8px; border: 1px solid var(--_line); border-radius: 12px; background: var(--_surface); color: var(--_ink); box-shadow: var(--_shadow); overflow-y: auto; animation: rise 160ms ease-out; }
		.panel:focus { outline: none; }
		.panel li { display: flex; gap: 10px; align-items: center; padding: 6px 8px; }
		.panel .who { min-inline-size: 0; }
		.panel .who b { display: block; font-weight: 550; line-height: 1.3; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
	`];

	protected override start(manager: RealtimeManager): void {
		const channel: Subscription = manager.channel(this.channel);
		channel.onReady(() => this.#all(channel))
			.on('pusher:member_added', ({ id, info }) => this.#joined(String(id), info ?? {}))
			.on('pusher:member_removed', ({ id }) => this.#left(String(id)));
		this.during(() => channel.leave());
		const states = manager.channel('presence-online')
			.on('UserPresenceChanged', (row: Row) => this.#loading.apply(() => this.#stateOf(row)))
			.onReady(() => void this.#loadStates(manager));
		this.during(() => states.leave());
		this.during(manager.on('status', ({ state }) => this.#follow(state === 'connected')));
		this.#follow(manager.status.state === 'connected');
		this.during(() => {
			clearTimeout(this.#unknown);
			this.#unknown = undefined;
		});
		this.during(tickTimes(this));
		this.during(() => {
			for (const timer of this.#leaving.values()) clearTimeout(timer);
			this.#leaving.clear();
		});
	}

	override willUpdate(changed: PropertyValues<this>): void {
		if (this.hasUpdated && changed.has('channel')) this.restart();
	}

	/** Without a connection it is not known who is here: the dots are hollow until all members are known again. */
	#follow(isConnected: boolean): void {
		if (!isConnected) {
			this.#unknown ??= setTimeout(() => { this.isUnknown = true; }, UNKNOWN_AFTER_MS);
			return;
		}
		clearTimeout(this.#unknown);
		this.#unknown = undefined;
	}

	#all(channel: Subscription): void {
		this.isUnknown = false;
		this.people = new Map();
		for (const { id, info } of channel.members) this.#joined(id, info);
	}

	#joined(id: string, info: Record<string, unknown>): void {
		clearTimeout(this.#leaving.get(id));
		this.#leaving.delete(id);
		const known = this.#states.get(id);
		this.people = new Map(this.people).set(id, { id, name: String(info.name ?? id),
			avatar: typeof info.avatar === 'string' ? info.avatar : null, isLeaving: false,
			status: known && known.status !== 'offline' ? known.status : 'online', lastSeen: known?.lastSeen ?? null });
	}

	/** Shown grey first: most are back at once, after a reload of the page. */
	#left(id: string): void {
		const person = this.people.get(id);
		if (!person) return;
		this.people = new Map(this.people).set(id, { ...person, isLeaving: true, lastSeen: new Date().toISOString() });
		this.#leaving.set(id, setTimeout(() => {
			this.#leaving.delete(id);
			const left = new Map(this.people);
			left.delete(id);
			this.people = left;
		}, this.grace));
	}

	#stateOf({ user_id, status, last_seen_at }: Row): void {
		const id = String(user_id);
		this.#states.set(id, { status, lastSeen: last_seen_at });
		const person = this.people.get(id);
		if (person) this.people = new Map(this.people).set(id, { ...person, status, lastSeen: last_seen_at });
	}

	async #loadStates(manager: RealtimeManager): Promise<void> {
		try {
			await this.#loading.load(() => manager.api.get<{ users: Row[] }>('online-users', { limit: 200 }),
				({ users }) => users.forEach((row) => this.#stateOf(row)));
		} catch { /* without states all members are online */ }
	}

	#word(person: Shown): string {
		if (this.isUnknown) return this.t.notKnown;
		if (person.isLeaving) return this.t.leaving;
		if (person.status === 'online' || person.status === 'busy') return this.t[person.status];
		const seen = person.lastSeen
			? this.t.lastSeen(relativeTime(person.lastSeen, this.language, this.t.justNow)) : '';
		return person.status === 'away' ? [this.t.away, seen].filter(Boolean).join(', ') : seen || this.t.leaving;
	}

	#face(person: Shown) {
		return html`<span class="face ${person.isLeaving ? 'is-leaving' : ''}" part="face" data-id=${person.id} title=${person.name}>
			${avatar(person, this.size)}<span class="dot ${this.isUnknown ? 'unknown' : person.isLeaving ? 'offline' : person.status}" part="dot"></span></span>`;
	}

	override render() {
		const { t } = this;
		const all = [...this.people.values()];
		const more = all.length - this.max;
		const here = this.isUnknown && all.length ? t.notKnownHere : t.peopleHere(all.filter((p) => !p.isLeaving).length);
		return html`<button class="stack ${this.isUnknown ? 'is-unknown' : ''}" part="stack" ${vars({ '--_size': `${this.size}px`, '--_overlap': `${-OVERLAP * this.size}px` })}
				aria-haspopup="dialog" aria-expanded=${String(this.#popover.isOpen)}
				@click=${() => this.#popover.toggle()}>
				${repeat(all.slice(0, this.max), (p) => p.id, (p) => this.#face(p))}
				${more > 0 ? html`<span class="more" part="more">+${more}</span>` : nothing}
				<span class=${all.length ? 'hidden-text' : 'none'}>${here}</span>
			</button><span class="hidden-text" role="status" aria-live="polite">${here}</span>
			${this.#popover.isOpen ? html`<div class="panel" part="panel" popover="manual" role="dialog" tabindex="-1" aria-label=${here}>
				<ul>${repeat(all, (p) => p.id, (p) => html`<li>${this.#face(p)}<span class="who"><b>${p.name}${
					p.id === this.manager?.userId ? html` <span class="muted small">(${t.you})</span>` : nothing}</b>
					<span class="muted small">${this.#word(p)}</span></span></li>`)}</ul></div>` : nothing}`;
	}
}

define('scopewire-presence-avatars', PresenceAvatars);
