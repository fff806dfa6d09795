// SPDX-License-Identifier: MIT
import { css, html, nothing, type PropertyValues } from 'lit';
import { property, query, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import type { RealtimeManager } from '../manager.js';
import { ScopewireElement, avatar, define, tickTimes, timeTag } from './base.js';
import * as icons from './icons.js';
import { Loading } from './loading.js';
import { theme } from './theme.js';

export interface Activity {
	id: number;
	type: string;
	description: string | null;
	user_id: number | string | null;
	user: { id: number | string; name: string | null; avatar: string | null } | null;
	subject_type: string | null;
	subject_id: string | null;
	client_id: string | null;
	project_id: string | null;
	metadata: Record<string, unknown> | null;
	created_at: string;
}

interface Page { activities: Activity[]; unread: number | null; read_up_to: number | null; next_cursor: string | null }

const READ_AFTER_MS = 1500;
const AT_TOP_PX = 24;

/** What happened, live.  New rows do not move what is being read: they wait behind a pill "n new". */
export class ActivityFeed extends ScopewireElement {
	/** global, client, project, user, subject or type, as GET activities has them. */
	@property() feed = 'global';
	@property({ attribute: 'client-id' }) clientId = '';
	@property({ attribute: 'project-id' }) projectId = '';
	@property({ attribute: 'user-id' }) userId = '';
	@property({ attribute: 'subject-type' }) subjectType = '';
	@property({ attribute: 'subject-id' }) subjectId = '';
	/** Types for the filter, separated by commas, each "type" or "type:label". */
	@property() types = '';
	/** The channel of the live rows; default: the feed's own. */
	@property() channel = '';
	/** Words for a row; the default shows name and description. */
	@property({ attribute: false }) describe: ((activity: Activity) => unknown) | null = null;
	@state() private rows: Activity[] = [];
	@state() private waiting: Activity[] = [];
	@state() private next: string | null = null;
	@state() private readUpTo: number | null = null;
	@state() private type = '';
	@state() private condition: 'loading' | 'ready' | 'failed' = 'loading';
	@query('.scroll') private scroller!: HTMLElement;
	#loading = new Loading();
	#isLoadingMore = false;
	#observer: IntersectionObserver | null = null;
	#reading: ReturnType<typeof setTimeout> | undefined;

	static override styles = [theme, css`
		:host { display: flex; flex-direction: column; block-size: var(--scopewire-height, 480px); }
		.card { display: flex; flex-direction: column; flex: 1; min-block-size: 0; position: relative; }
		header { display: flex; align-items: center; gap: 12px; min-block-size: 52px; padding: 8px 16px; border-block-end: 1px solid var(--_line); }
		header h2 { flex: 1; }
		select { padding: 5px 8px; border: 1px solid var(--_line); border-radius: 8px; background: var(--_surface); font-size: 13px; }
		.scroll { flex: 1; overflow-y: auto; overscroll-behavior: contain; overflow-anchor: auto; }
		li.row { display: grid; grid-template-columns: 32px 1fr; gap: 12px; padding: 12px 16px; }
		li.row.fresh { animation: arrive 1600ms ease-out; }
		@keyframes arrive { from { background: var(--_soft); } }
		.text { min-inline-size: 0; overflow-wrap: anywhere; }
		.text b { font-weight: 600; }
		.divider { display: flex; align-items: center; gap: 12px; padding: 4px 16px; color: var(--_accent); font-size: 12px; font-weight: 650; }
		.divider::before, .divider::after { content: ''; flex: 1; block-size: 1px; background: currentColor; opacity: 0.35; }
		.new {
			position: absolute; inset-block-start: 64px; inset-inline: 0; margin-inline: auto; inline-size: fit-content; z-index: 1;
			display: flex; gap: 6px; align-items: center; padding: 6px 14px; border-radius: 999px; background: var(--_accent);
			color: var(--_on-accent); font-size: 13px; font-weight: 600; box-shadow: var(--_shadow); animation: rise 180ms ease-out;
		}
		.new svg { inline-size: 14px; block-size: 14px; }
		.end { padding: 14px; text-align: center; min-block-size: 50px; }
		.skeleton-row { display: grid; grid-template-columns: 32px 1fr; gap: 12px; padding: 12px 16px; }
		.skeleton-row i { block-size: 14px; margin-block: 4px; }
		.skeleton-row i:first-child { block-size: 32px; border-radius: 50%; margin: 0; }
	`];

	protected override start(manager: RealtimeManager): void {
		this.condition = 'loading';
		this.rows = [];
		this.waiting = [];
		this.#loading.forget();
		const channel = manager.channel(this.#channelName)
			.on('ActivityFeedUpdated', ({ activity }: { activity: Activity }) => this.#arrived(activity))
			.onReady(() => void this.reload())
			.onResync(() => void this.reload())
			.onError(() => void this.reload());
		this.during(() => channel.leave());
		this.during(tickTimes(this));
		this.during(() => clearTimeout(this.#reading));
	}

	override willUpdate(changed: PropertyValues<this>): void {
		const selects = ['feed', 'clientId', 'projectId', 'userId', 'subjectType', 'subjectId', 'channel'] as const;
		if (this.hasUpdated && selects.some((name) => changed.has(name))) this.restart();
	}

	protected override updated(): void {
		const sentinel = this.shadowRoot!.querySelector('.sentinel');
		this.#observer?.disconnect();
		if (!sentinel) return;
		this.#observer = new IntersectionObserver(([entry]) => {
			if (entry?.isIntersecting) void this.#more();
		}, { root: this.scroller, rootMargin: '200px' });
		this.#observer.observe(sentinel);
	}

	override disconnectedCallback(): void {
		super.disconnectedCallback();
		this.#observer?.disconnect();
	}

	get #channelName(): string {
		if (this.channel) return this.channel;
		if (this.clientId) return `private-client.${this.clientId}`;
		if (this.projectId) return `private-project.${this.projectId}`;
		return 'private-admin';
	}

	get #selection(): Record<string, string> {
		return { feed: this.feed, client_id: this.clientId, project_id: this.projectId, user_id: this.userId,
			subject_type: this.subjectType, subject_id: this.subjectId };
	}

	/** Loads the newest page again; what is known stays until it is there. */
	async reload(): Promise<void> {
		try {
			await this.#loading.load(() => this.manager!.api.get<Page>('activities',
				{ ...this.#selection, ...(this.type && { type: this.type }), limit: 30 }), (page) => {
				this.rows = page.activities;
				this.waiting = [];
				this.next = page.next_cursor;
				this.readUpTo ??= page.read_up_to ?? 0;
				this.condition = 'ready';
				this.#planReading();
			});
		} catch {
			this.condition = this.rows.length ? 'ready' : 'failed';
		}
	}

	async #more(): Promise<void> {
		if (!this.next || this.#isLoadingMore) return;
		this.#isLoadingMore = true;
		try {
			const page = await this.manager!.api.get<Page>('activities',
				{ ...this.#selection, ...(this.type && { type: this.type }), limit: 30, cursor: this.next });
			const known = new Set(this.rows.map((a) => a.id));
			this.rows = [...this.rows, ...page.activities.filter((a) => !known.has(a.id))];
			this.next = page.next_cursor;
		} catch { /* the next scroll tries again */ } finally {
			this.#isLoadingMore = false;
		}
	}

	#belongs(activity: Activity): boolean {
		const is = (wanted: string, value: unknown) => !wanted || wanted === String(value);
		return is(this.type, activity.type) && is(this.clientId, activity.client_id)
			&& is(this.projectId, activity.project_id) && is(this.subjectType, activity.subject_type)
			&& is(this.subjectId, activity.subject_id) && is(this.userId, activity.user_id);
	}

	#isKnown({ id }: Activity): boolean {
		return [...this.rows, ...this.waiting].some((a) => a.id === id);
	}

	#arrived(activity: Activity): void {
		if (!this.#belongs(activity)) return;
		if (!this.#isKnown(activity)) this.send('scopewire-activity', activity);
		this.#loading.apply(() => this.#put(activity));
	}

	/** What the user did is not new to the user. */
	#isOwn(activity: Activity): boolean {
		return activity.user_id !== null && String(activity.user_id) === this.manager?.userId;
	}

	#put(activity: Activity): void {
		if (this.#isKnown(activity)) return;
		const isAtTop = (this.scroller?.scrollTop ?? 0) <= AT_TOP_PX && document.visibilityState === 'visible';
		// An own row waits only for those before it, so that the order stays.
		if (!isAtTop && (this.waiting.length || !this.#isOwn(activity))) {
			this.waiting = [activity, ...this.waiting];
			return;
		}
		this.rows = [activity, ...this.rows];
		this.#planReading();
	}

	#showWaiting(): void {
		this.rows = [...this.waiting, ...this.rows];
		this.waiting = [];
		this.scroller.scrollTo({ top: 0 });
		this.scroller.focus({ preventScroll: true });
		this.#planReading();
	}

	/** Rows that were seen for a moment are read; the divider stays where it was for this visit. */
	#planReading(): void {
		clearTimeout(this.#reading);
		this.#reading = setTimeout(() => {
			if (document.visibilityState !== 'visible' || !this.rows.length || this.type) return;
			this.manager?.api.post<{ unread: number }>('activities/read', Object.fromEntries(
				Object.entries(this.#selection).filter(([, value]) => value !== '')))
				.then(({ unread }) => this.manager?.setBadge(`activity:${this.#channelName}`, unread))
				.catch(() => {});
		}, READ_AFTER_MS);
	}

	#filter(event: Event): void {
		this.type = (event.target as HTMLSelectElement).value;
		this.condition = 'loading';
		this.rows = [];
		this.#loading.forget();
		void this.reload();
	}

	/** The first row that the user has read, if another user's row is above it. */
	get #divided(): number {
		const { readUpTo, rows } = this;
		const at = readUpTo ? rows.findIndex((a) => a.id <= readUpTo) : -1;
		return rows.slice(0, Math.max(at, 0)).some((a) => !this.#isOwn(a)) ? at : -1;
	}

	#row(activity: Activity, isDivided: boolean) {
		const name = activity.user?.name ?? this.t.someone;
		const text = activity.description ?? activity.type.replaceAll(/[_.-]+/g, ' ');
		const isFresh = Date.now() - Date.parse(activity.created_at) < 5000;
		return html`${isDivided ? html`<li class="divider" part="divider">${this.t.newDivider}</li>` : nothing}
			<li class="row ${isFresh ? 'fresh' : ''}" part="row" data-id=${activity.id}>
				${avatar({ id: activity.user_id, name, avatar: activity.user?.avatar ?? null })}
				<div class="text" part="text">${this.describe?.(activity) ?? html`<b>${name}</b> <span>${text}</span>`}
					<div>${timeTag(activity.created_at, this.language, this.t.justNow)}</div></div>
			</li>`;
	}

	#list() {
		const { t } = this;
		if (this.condition === 'loading')
			return html`<div aria-hidden="true">${[70, 55, 80, 45].map(() => html`<div class="skeleton-row">
				<i class="skeleton"></i><i class="skeleton"></i></div>`)}</div>`;
		if (this.condition === 'failed')
			return html`<div class="empty"><b>${t.loadFailed}</b>
				<button class="link" @click=${() => void this.reload()}>${t.retry}</button></div>`;
		if (!this.rows.length)
			return html`<div class="empty">${icons.pulse}<b>${t.noActivity}</b><span class="muted small">${t.noActivityHint}</span></div>`;
		const divided = this.#divided;
		return html`<ul part="list">${repeat(this.rows, (a) => a.id, (a, i) => this.#row(a, i === divided))}</ul>
			<div class="end muted small">${this.next
				? html`<span class="sentinel"></span><button class="link" @click=${() => void this.#more()}>${t.loadMore}</button>`
				: t.endOfFeed}</div>`;
	}

	get #filters(): [string, string][] {
		return this.types.split(',').map((part) => part.trim()).filter(Boolean).map((part) => {
			const [type, label] = part.split(':');
			return [type!, label ?? type!.replaceAll(/[_.-]+/g, ' ')];
		});
	}

	override render() {
		const { t } = this;
		const count = this.waiting.filter((a) => !this.#isOwn(a)).length;
		return html`<section class="card" part="card" aria-labelledby="heading">
			<header part="header"><h2 id="heading"><slot name="title">${t.activity}</slot></h2>
				${this.#filters.length ? html`<select aria-label=${t.filter} part="filter" @change=${this.#filter}>
					<option value="">${t.filterAll}</option>
					${this.#filters.map(([type, label]) => html`<option value=${type}>${label}</option>`)}</select>` : nothing}
			</header>
			<span class="hidden-text" role="status" aria-live="polite">${count ? t.newItems(count) : ''}</span>
			${count ? html`<button class="new" part="new" @click=${this.#showWaiting}>${icons.up}${t.newItems(count)}</button>` : nothing}
			<div class="scroll" part="scroll" tabindex="0" role="group" aria-labelledby="heading">${this.#list()}</div></section>`;
	}
}

define('scopewire-activity-feed', ActivityFeed);
