// SPDX-License-Identifier: MIT
import { css, html, nothing, type PropertyValues } from 'lit';
import { property, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import type { RealtimeManager } from '../manager.js';
import { ScopewireElement, define, tickTimes, timeTag } from './base.js';
import './comment-thread.js';
import * as icons from './icons.js';
import { Loading } from './loading.js';
import './presence-avatars.js';
import { theme } from './theme.js';

export interface ProjectFile { id: string | number; name: string; size?: number | string; url?: string; user?: { name: string } | null; created_at?: string }
export interface TimeEntry { id: string | number; task?: string; description?: string; hours: number; user?: { name: string } | null; created_at?: string }
/** What the application's endpoint answers. */
interface Lists { updates?: ProjectUpdate[]; files?: ProjectFile[]; time_entries?: TimeEntry[] }
export interface ProjectUpdate { id: string | number; title?: string; text?: string; description?: string; user?: { name: string } | null; created_at?: string }

type Tab = 'updates' | 'files' | 'comments' | 'time';

const TABS: Tab[] = ['updates', 'files', 'comments', 'time'];
const now = () => new Date().toISOString();

/** A project's page in one element: updates, files, comments, time entries, and who is viewing it. */
export class ProjectUpdates extends ScopewireElement {
	@property({ attribute: 'project-id' }) projectId = '';
	@property() heading = '';
	/** The application's endpoint: GET gives {updates?, files?, time_entries?}. */
	@property() src = '';
	/** The endpoint of the comments; see comment-thread. */
	@property({ attribute: 'comments-src' }) commentsSrc = '';
	@property({ attribute: false }) updates: ProjectUpdate[] = [];
	@property({ attribute: false }) files: ProjectFile[] = [];
	@property({ attribute: false }) entries: TimeEntry[] = [];
	@property() tab: Tab = 'updates';
	#loading = new Loading();
	@state() private unseen: Record<string, number> = {};

	static override styles = [theme, css`
		header { display: flex; align-items: center; gap: 12px; padding: 16px 20px 6px; }
		header h2 { flex: 1; font-size: 18px; min-inline-size: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
		.tabs { display: flex; gap: 4px; padding-inline: 12px; border-block-end: 1px solid var(--_line); overflow-x: auto; }
		.tabs button { position: relative; padding: 10px; border-radius: 8px 8px 0 0; color: var(--_muted); font-weight: 550; white-space: nowrap; }
		.tabs button:hover { color: var(--_ink); }
		.tabs button:focus-visible { outline-offset: -3px; }
		.tabs button[aria-selected="true"] { color: var(--_accent); }
		.tabs button[aria-selected="true"]::after { content: ''; position: absolute; inset-inline: 10px; inset-block-end: -1px; block-size: 2px; border-radius: 2px; background: currentColor; }
		.count { display: inline-block; min-inline-size: 18px; margin-inline-start: 6px; padding-inline: 5px; border-radius: 9px; background: var(--_soft); color: var(--_accent); font-size: 11px; font-weight: 700; line-height: 18px; text-align: center; }
		.panel { min-block-size: 300px; }
		.panel:focus-visible { outline-offset: -2px; }
		li { display: grid; grid-template-columns: 34px 1fr auto; gap: 12px; align-items: center; padding: 12px 20px; border-block-end: 1px solid var(--_line); animation: fade 240ms; }
		li:last-child { border-block-end: 0; }
		.mark { display: grid; place-items: center; inline-size: 34px; block-size: 34px; border-radius: 10px; background: var(--_sunken); color: var(--_muted); }
		.mark svg { inline-size: 18px; block-size: 18px; }
		.what { min-inline-size: 0; }
		.what b, .what a { display: block; font-weight: 550; color: inherit; overflow-wrap: anywhere; }
		.what a { text-decoration: none; }
		.what a:hover { text-decoration: underline; text-underline-offset: 3px; }
		.figure { font-variant-numeric: tabular-nums; font-weight: 600; }
		scopewire-comment-thread::part(card) { border: 0; border-radius: 0; }
		scopewire-comment-thread::part(header) { display: none; }
	`];

	protected override start(manager: RealtimeManager): void {
		if (!this.projectId) return;
		this.#loading.forget();
		const channel = manager.channel(`private-project.${this.projectId}`)
			.on('ProjectUpdated', (data) => this.#add('updates', data.update ?? data.project ?? data))
			.on('FileUploaded', (data) => this.#add('files', data.file ?? data))
			.on('FileDeleted', (data) => this.#removeFile((data.file ?? data).id))
			.on('TimeEntryUpdated', (data) => this.#add('time', data.entry ?? data.time_entry ?? data))
			.on('CommentAdded', () => this.#mark('comments'))
			.onReady(() => void this.reload())
			.onResync(() => void this.reload());
		this.during(() => channel.leave());
		this.during(tickTimes(this));
	}

	override willUpdate(changed: PropertyValues<this>): void {
		if (changed.has('tab')) this.unseen = { ...this.unseen, [this.tab]: 0 };
		if (this.hasUpdated && changed.has('projectId')) this.restart();
	}

	async reload(): Promise<void> {
		if (!this.src || !this.manager) return;
		await this.#loading.load(async () => {
			const response = await this.manager!.fetch(this.src, { headers: { Accept: 'application/json' } });
			return await (response.ok ? response.json() : {}) as Lists;
		}, ({ updates, files, time_entries }) => {
			this.updates = updates ?? this.updates;
			this.files = files ?? this.files;
			this.entries = time_entries ?? this.entries;
		});
	}

	#add(tab: Exclude<Tab, 'comments'>, data: Record<string, any>): void {
		const row = { created_at: now(), ...data, id: data.id ?? crypto.randomUUID() };
		const put = <T extends { id: string | number }>(list: T[]) => [row as unknown as T, ...list.filter((x) => x.id !== row.id)];
		this.#loading.apply(() => {
			if (tab === 'updates') this.updates = put(this.updates);
			else if (tab === 'files') this.files = put(this.files);
			else this.entries = put(this.entries);
		});
		this.#mark(tab);
		this.send('scopewire-project', { kind: tab, data: row });
	}

	#removeFile(id: string | number): void {
		this.#loading.apply(() => { this.files = this.files.filter((file) => file.id !== id); });
	}

	#mark(tab: Tab): void {
		if (this.tab !== tab) this.unseen = { ...this.unseen, [tab]: (this.unseen[tab] ?? 0) + 1 };
	}

	#key(event: KeyboardEvent): void {
		const isRtl = getComputedStyle(this).direction === 'rtl';
		const step = { ArrowRight: isRtl ? -1 : 1, ArrowLeft: isRtl ? 1 : -1 }[event.key];
		if (!step) return;
		event.preventDefault();
		this.tab = TABS[(TABS.indexOf(this.tab) + step + TABS.length) % TABS.length]!;
		void this.updateComplete.then(() => this.shadowRoot!.querySelector<HTMLElement>('[aria-selected="true"]')?.focus());
	}

	#row(mark: unknown, title: unknown, name: string | undefined, at: string | undefined, figure: unknown = nothing) {
		return html`<li part="row"><span class="mark" aria-hidden="true">${mark}</span><div class="what">${title}
			<span class="muted small">${name ? html`${name} · ` : nothing}${timeTag(at, this.language, this.t.justNow)}</span></div>${figure}</li>`;
	}

	#empty(mark: unknown, text: string) {
		return html`<div class="empty">${mark}<b>${text}</b></div>`;
	}

	#content() {
		const { t } = this;
		if (this.tab === 'updates') return this.updates.length
			? html`<ul>${repeat(this.updates, (u) => u.id, (u) => this.#row(icons.pulse,
				html`<b>${u.title ?? u.text ?? u.description ?? ''}</b>`, u.user?.name, u.created_at))}</ul>`
			: this.#empty(icons.pulse, t.noUpdates);
		if (this.tab === 'files') return this.files.length
			? html`<ul>${repeat(this.files, (f) => f.id, (f) => this.#row(icons.file,
				f.url && /^(https?:|\/(?!\/))/.test(f.url) ? html`<a href=${f.url}>${f.name}</a>` : html`<b>${f.name}</b>`,
				f.user?.name, f.created_at, html`<span class="muted small">${f.size ?? ''}</span>`))}</ul>`
			: this.#empty(icons.file, t.noFiles);
		if (this.tab === 'time') return this.entries.length
			? html`<ul>${repeat(this.entries, (e) => e.id, (e) => this.#row(icons.clock,
				html`<b>${e.task ?? e.description ?? ''}</b>`, e.user?.name, e.created_at,
				html`<span class="figure">${t.hours(Number(e.hours))}</span>`))}</ul>`
			: this.#empty(icons.clock, t.noTime);
		return html`<scopewire-comment-thread .manager=${this.manager} .texts=${this.texts} src=${this.commentsSrc}
			channel=${`private-project.${this.projectId}`} subject-type="project" subject-id=${this.projectId}
			project-id=${this.projectId}></scopewire-comment-thread>`;
	}

	override render() {
		const { t } = this;
		return html`<section class="card" part="card" aria-labelledby="heading">
			<header part="header"><h2 id="heading">${this.heading || t.updates}</h2>
				<scopewire-presence-avatars .manager=${this.manager} channel=${`presence-project.${this.projectId}`}
					size="28"></scopewire-presence-avatars></header>
			<div class="tabs" role="tablist" aria-labelledby="heading" part="tabs" @keydown=${this.#key}>${TABS.map((tab) => html`
				<button role="tab" id=${`tab-${tab}`} aria-controls="panel" aria-selected=${String(this.tab === tab)}
					tabindex=${this.tab === tab ? 0 : -1} @click=${() => { this.tab = tab; }}>${t[tab]}${this.unseen[tab]
						? html`<span class="count">${this.unseen[tab]}</span>` : nothing}</button>`)}</div>
			<div class="panel" id="panel" role="tabpanel" tabindex="0" aria-labelledby=${`tab-${this.tab}`} part="panel">${this.#content()}</div>
		</section>`;
	}
}

define('scopewire-project-updates', ProjectUpdates);
