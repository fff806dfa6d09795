// SPDX-License-Identifier: MIT
import { css, html, nothing, type PropertyValues } from 'lit';
import { property, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import type { RealtimeManager } from '../manager.js';
import { ScopewireElement, define, tickTimes, timeTag } from './base.js';
import * as icons from './icons.js';
import { Loading } from './loading.js';
import { CREATED, addressOf, daemonNotifications, endpointNotifications, fromBroadcast, type Notification,
	type NotificationSource } from './notifications.js';
import { Popover } from './popover.js';
import { theme } from './theme.js';

type Step = { read: string[] | 'all'; unread: number };

/**
 * A bell with the number of unread notifications, and an inbox.  All tabs of a browser show the same; other
 * devices follow by NotificationsUnread.
 */
export class NotificationBell extends ScopewireElement {
	/** The application's endpoint, in place of the daemon's table: /scopewire/notifications for Laravel's own. */
	@property() src = '';
	/** Another store. */
	@property({ attribute: false }) source: NotificationSource | null = null;
	@state() private items: Notification[] = [];
	@state() private unread = 0;
	@state() private next: string | null = null;
	@state() private onlyUnread = false;
	@state() private condition: 'idle' | 'loading' | 'ready' | 'failed' = 'idle';
	readonly #popover = new Popover(this, { button: '.bell', panel: '.panel' });
	#loading = new Loading();
	#tabs: BroadcastChannel | null = null;

	static override styles = [theme, css`
		:host { display: inline-block; vertical-align: middle; }
		.bell { position: relative; display: grid; place-items: center; inline-size: 40px; block-size: 40px; border-radius: 10px; }
		.bell:hover, .bell[aria-expanded="true"] { background: var(--_hover); }
		.bell svg { inline-size: 22px; block-size: 22px; }
		.badge {
			position: absolute; inset-block-start: 3px; inset-inline-end: 1px; min-inline-size: 18px; block-size: 18px;
			padding-inline: 5px; border-radius: 9px; background: var(--_bad); color: light-dark(#fff, #14172b);
			font-size: 11px; font-weight: 700; line-height: 18px; text-align: center; font-variant-numeric: tabular-nums;
			box-shadow: 0 0 0 2px var(--_surface); animation: rise 180ms ease-out;
		}
		.panel {
			position: fixed; inset: auto; margin: 0; inline-size: min(400px, calc(100vw - 16px)); padding: 0;
			border: 1px solid var(--_line); border-radius: 14px; background: var(--_surface); color: var(--_ink);
			box-shadow: var(--_shadow); overflow: hidden; animation: rise 160ms ease-out;
		}
		.panel:popover-open { display: flex; flex-direction: column; }
		.panel:focus { outline: none; }
		header { display: flex; align-items: center; gap: 8px; padding: 14px 16px 10px; }
		header h2 { flex: 1; }
		.tabs { display: flex; gap: 4px; padding: 0 12px 10px; border-block-end: 1px solid var(--_line); }
		.tabs button { padding: 4px 10px; font-size: 13px; font-weight: 550; color: var(--_muted); border-radius: 999px; }
		.tabs button[aria-pressed="true"] { background: var(--_soft); color: var(--_accent); }
		.scroll { overflow-y: auto; overscroll-behavior: contain; min-block-size: 220px; }
		li { position: relative; border-block-end: 1px solid var(--_line); animation: fade 200ms; }
		li:last-child { border-block-end: 0; }
		.item { display: grid; grid-template-columns: 10px 1fr; gap: 2px 10px; inline-size: 100%; padding: 12px 16px; text-align: start; border-radius: 0; color: inherit; }
		.item:hover { background: var(--_hover); }
		.item:focus-visible { outline-offset: -2px; }
		.mark { grid-row: span 2; inline-size: 8px; block-size: 8px; margin-block-start: 7px; border-radius: 50%; }
		.is-unread .mark { background: var(--_accent); }
		.title { display: flex; gap: 10px; align-items: baseline; justify-content: space-between; font-weight: 500; }
		.is-unread .title { font-weight: 650; }
		.message { color: var(--_muted); font-size: 13px; overflow-wrap: anywhere; }
		footer { padding: 8px; text-align: center; }
	`];

	/** The daemon counts its own table alone, and sends that number as the badge "notifications". */
	get #badge(): string {
		return this.#isOwn ? 'inbox' : 'notifications';
	}

	get #isOwn(): boolean {
		return Boolean(this.source || this.src);
	}

	protected override start(manager: RealtimeManager): void {
		this.unread = manager.badges[this.#badge] ?? 0;
		this.during(manager.on('badge', ({ name, count }) => {
			if (name === this.#badge) this.#count(count);
		}));
		this.during(tickTimes(this));
		void this.#follow(manager);
	}

	override willUpdate(changed: PropertyValues<this>): void {
		if (this.hasUpdated && (changed.has('src') || changed.has('source'))) {
			this.#loading.forget();
			this.restart();
		}
	}

	async #follow(manager: RealtimeManager): Promise<void> {
		const name = await manager.userChannel();
		if (!name || !this.isConnected) return;
		const channel = manager.channel(name)
			.on(CREATED, (payload) => this.#add(fromBroadcast(payload)))
			.on('NotificationReceived', (payload) => this.#add(fromBroadcast(payload.notification ?? payload)))
			.onReady(() => void this.reload())
			.onResync(() => void this.reload());
		this.during(() => channel.leave());
		this.#tabs = new BroadcastChannel(`scopewire:${manager.pusher.key}:${name}`);
		this.#tabs.onmessage = ({ data }: MessageEvent<Step>) => {
			this.#markLocally(data.read);
			if (this.#isOwn) this.#loading.apply(() => this.#setUnread(data.unread));
		};
		this.during(() => {
			this.#tabs?.close();
			this.#tabs = null;
		});
	}

	get #store(): NotificationSource {
		const manager = this.manager!;
		return this.source ?? (this.src ? endpointNotifications(manager, this.src) : daemonNotifications(manager));
	}

	/** Loads the newest page again. */
	async reload(): Promise<void> {
		if (this.condition === 'idle') this.condition = 'loading';
		try {
			await this.#loading.load(() => this.#store.load({ unread: this.onlyUnread }), (page) => {
				this.items = page.notifications;
				this.next = page.next_cursor;
				this.#setUnread(page.unread);
				this.condition = 'ready';
			});
		} catch {
			this.condition = this.items.length ? 'ready' : 'failed';
		}
	}

	async #more(): Promise<void> {
		if (!this.next) return;
		const page = await this.#store.load({ cursor: this.next, unread: this.onlyUnread });
		const known = new Set(this.items.map((n) => n.id));
		this.items = [...this.items, ...page.notifications.filter((n) => !known.has(n.id))];
		this.next = page.next_cursor;
	}

	#add(notification: Notification): void {
		if (this.items.some((n) => n.id === notification.id)) return;
		this.send('scopewire-notification', notification);
		this.#loading.apply(() => {
			const others = this.items.filter((n) => n.id !== notification.id);
			const isCounted = others.length < this.items.length;
			this.items = [notification, ...others];
			if (this.#isOwn && !isCounted) this.#setUnread(this.unread + 1);      // the daemon sends the number of its own
		});
	}

	/** Another device read some: which ones is loaded again. */
	#count(count: number): void {
		if (count === this.unread) return;
		const isLess = count < this.unread;
		this.#loading.apply(() => this.#setUnread(count));
		if (isLess && this.items.filter((n) => !n.read_at).length > count) void this.reload();
	}

	#setUnread(count: number): void {
		this.unread = count;
		this.manager?.setBadge(this.#badge, count);
	}

	#markLocally(read: string[] | 'all'): void {
		const now = new Date().toISOString();
		this.#loading.apply(() => {
			this.items = this.items.map((n) =>
				(!n.read_at && (read === 'all' || read.includes(n.id)) ? { ...n, read_at: now } : n));
		});
	}

	async #read(read: string[] | 'all'): Promise<void> {
		const marked = new Set(this.items.filter((n) => !n.read_at && (read === 'all' || read.includes(n.id))).map((n) => n.id));
		this.#markLocally(read);
		try {
			const unread = await this.#store.read(read);
			this.#loading.apply(() => this.#setUnread(unread));
			this.#tabs?.postMessage({ read, unread } satisfies Step);
		} catch {
			this.#loading.apply(() => {
				this.items = this.items.map((n) => (marked.has(n.id) ? { ...n, read_at: null } : n));
			});
		}
	}

	/** The button goes with the last unread one; without focus in the panel, Escape would not close it. */
	#readAll(): void {
		this.shadowRoot!.querySelector<HTMLElement>('.panel')?.focus({ preventScroll: true });
		void this.#read('all');
	}

	#open(notification: Notification): void {
		if (!notification.read_at) void this.#read([notification.id]);
		const address = addressOf(notification);
		if (this.send('scopewire-open', notification) && address) location.assign(address);
	}

	#filter(onlyUnread: boolean): void {
		this.onlyUnread = onlyUnread;
		this.#loading.forget();
		void this.reload();
	}

	#arrows(event: KeyboardEvent): void {
		const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
		if (!step) return;
		event.preventDefault();
		const all = [...this.shadowRoot!.querySelectorAll<HTMLElement>('.item')];
		const at = all.indexOf(this.shadowRoot!.activeElement as HTMLElement);
		all[Math.max(0, Math.min(all.length - 1, at + step))]?.focus();
	}

	#item(notification: Notification) {
		const { id, title, message, read_at, created_at } = notification;
		return html`<li class=${read_at ? '' : 'is-unread'} data-id=${id}>
			<button class="item" part="item" @click=${() => this.#open(notification)}>
				<span class="mark" part="mark"></span>
				<span class="title" part="title"><span>${title}${read_at ? nothing
					: html`<span class="hidden-text"> (${this.t.onlyUnread})</span>`}</span>
					${timeTag(created_at, this.language, this.t.justNow)}</span>
				${message ? html`<span class="message" part="message">${message}</span>` : nothing}
			</button></li>`;
	}

	#list() {
		const { t } = this;
		if (this.condition === 'failed')
			return html`<div class="empty"><b>${t.loadFailed}</b>
				<button class="link" @click=${() => void this.reload()}>${t.retry}</button></div>`;
		if (this.condition !== 'ready')
			return html`<div class="empty muted">${t.loading}</div>`;
		if (!this.items.length)
			return html`<div class="empty">${icons.bell}<b>${t.noNotifications}</b>
				<span class="muted small">${t.noNotificationsHint}</span></div>`;
		return html`<ul @keydown=${this.#arrows} part="list">${repeat(this.items, (n) => n.id, (n) => this.#item(n))}</ul>
			${this.next ? html`<footer><button class="link" @click=${() => void this.#more()}>${t.loadMore}</button></footer>` : nothing}`;
	}

	#panel() {
		const { t } = this;
		return html`<div class="panel" part="panel" popover="manual" role="dialog" tabindex="-1" aria-labelledby="heading">
			<header><h2 id="heading">${t.notifications}</h2>
				<button class="link" part="mark-all" ?hidden=${!this.unread}
					@click=${() => this.#readAll()}>${t.markAllRead}</button></header>
			<div class="tabs">
				${[false, true].map((only) => html`<button aria-pressed=${String(this.onlyUnread === only)}
					@click=${() => this.#filter(only)}>${only ? t.onlyUnread : t.allNotifications}</button>`)}
			</div>
			<div class="scroll" tabindex="-1">${this.#list()}</div></div>`;
	}

	override render() {
		const { t, unread } = this;
		return html`<button class="bell" part="button" aria-haspopup="dialog" aria-expanded=${String(this.#popover.isOpen)}
				aria-label="${t.notifications}, ${t.unread(unread)}" @click=${() => this.#popover.toggle()}>
				${icons.bell}${unread ? html`<span class="badge" part="badge" aria-hidden="true">${unread > 99 ? '99+' : unread}</span>` : nothing}
			</button><span class="hidden-text" role="status" aria-live="polite">${unread ? t.unread(unread) : ''}</span>
			${this.#popover.isOpen ? this.#panel() : nothing}`;
	}
}

define('scopewire-notification-bell', NotificationBell);
