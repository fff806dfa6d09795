// SPDX-License-Identifier: MIT
import DOMPurify from 'dompurify';
import { css, html, nothing, type PropertyValues } from 'lit';
import { property, query, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import { unsafeHTML } from 'lit/directives/unsafe-html.js';
import { ApiError, statusOf } from '../api.js';
import type { RealtimeManager } from '../manager.js';
import { backoff, whenBack } from '../retry.js';
import { ScopewireElement, avatar, define, tickTimes, timeTag } from './base.js';
import { COMMENT_TYPE, activityComments, commentOf, endpointComments, type Comment, type CommentSource } from './comments.js';
import * as icons from './icons.js';
import { Loading } from './loading.js';
import { theme } from './theme.js';
import './typing-indicator.js';
import type { TypingIndicator } from './typing-indicator.js';

type Failure = 'network' | 'server' | 'signedOut' | 'refused';

/** problem: the server's words, of a comment that it refused. */
interface Draft extends Comment { state?: 'sending' | 'failed'; failure?: Failure; problem?: string }

/** fetch() throws a TypeError when there is no answer. */
function failureOf(error: unknown): Failure {
	const status = statusOf(error);
	if (status === 401 || status === 419) return 'signedOut';
	if (status === 429 || status >= 500) return 'server';
	return error instanceof TypeError || error instanceof ApiError && status === 0 ? 'network' : 'refused';
}

/**
 * Comments on something: live, with a composer.  A comment is shown at once, and marked if it was not sent; then it
 * is sent again by itself, unless the server refused it: client_ref makes sure that it is stored once.
 */
export class CommentThread extends ScopewireElement {
	/** A private or presence channel; CommentAdded and typing arrive there. */
	@property() channel = '';
	/** The application's endpoint; without it comments are activities of the subject. */
	@property() src = '';
	@property({ attribute: 'subject-type' }) subjectType = '';
	@property({ attribute: 'subject-id' }) subjectId = '';
	@property({ attribute: 'project-id' }) projectId = '';
	@property({ attribute: 'client-id' }) clientId = '';
	/** The text is HTML: shown after DOMPurify. */
	@property({ type: Boolean }) rich = false;
	@property({ attribute: false }) source: CommentSource | null = null;
	@state() private comments: Draft[] = [];     // oldest first
	@state() private next: string | null = null;
	@state() private condition: 'loading' | 'ready' | 'failed' = 'loading';
	@state() private hasText = false;
	#loading = new Loading();
	/** By client_ref. */
	readonly #underWay = new Set<string>();
	#isResending = false;
	#failures = 0;
	#retry: ReturnType<typeof setTimeout> | undefined;
	@query('textarea') private field!: HTMLTextAreaElement;
	@query('.scroll') private scroller!: HTMLElement;

	static override styles = [theme, css`
		:host { display: flex; flex-direction: column; max-block-size: var(--scopewire-height, 560px); }
		.card { display: flex; flex-direction: column; min-block-size: 0; flex: 1; }
		header { padding: 14px 16px; border-block-end: 1px solid var(--_line); }
		.scroll { flex: 1; min-block-size: 180px; overflow-y: auto; overscroll-behavior: contain; padding-block: 6px; }
		li { display: grid; grid-template-columns: 32px 1fr; gap: 12px; padding: 10px 16px; animation: fade 200ms; }
		.head { display: flex; gap: 8px; align-items: baseline; flex-wrap: wrap; }
		.head b { font-weight: 600; }
		.body { white-space: pre-wrap; overflow-wrap: anywhere; min-inline-size: 0; }
		.body.rich { white-space: normal; }
		.is-sending .body { color: var(--_muted); }
		.problem { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: center; color: var(--_bad); font-size: 12.5px; }
		.older { text-align: center; padding: 6px; }
		form { border-block-start: 1px solid var(--_line); padding: 8px 16px 14px; background: var(--_surface); }
		.compose { display: flex; gap: 8px; align-items: flex-end; }
		textarea {
			flex: 1; field-sizing: content; min-block-size: 38px; max-block-size: 160px; padding: 8px 12px; resize: none;
			border: 1px solid var(--_line); border-radius: 10px; background: var(--_sunken); line-height: 20px;
		}
		textarea:focus { outline: 2px solid var(--_accent); outline-offset: -1px; border-color: transparent; background: var(--_surface); }
		textarea::placeholder { color: var(--_muted); opacity: 1; }
		.compose .button { block-size: 38px; padding-inline: 16px; }
	`];

	protected override start(manager: RealtimeManager): void {
		this.condition = 'loading';
		this.#loading.forget();
		this.during(tickTimes(this));
		this.during(whenBack(manager, () => void this.#resend()));
		this.during(() => clearTimeout(this.#retry));
		if (!this.channel) {
			void this.reload();
			return;
		}
		const channel = manager.channel(this.channel)
			.on('CommentAdded', (data) => this.#arrived(data.comment ?? data))
			.onReady(() => void this.reload())
			.onResync(() => void this.reload())
			.onError(() => void this.reload());
		this.during(() => channel.leave());
		if (!this.src && !this.source) this.#followActivities(manager);
	}

	/** Comments that are activities arrive on the channel of their project or client. */
	#followActivities(manager: RealtimeManager): void {
		const names = [this.projectId && `private-project.${this.projectId}`, this.clientId && `private-client.${this.clientId}`];
		for (const name of names.filter(Boolean) as string[]) {
			const channel = manager.channel(name).on('ActivityFeedUpdated', ({ activity }) => {
				const isOurs = activity.type === COMMENT_TYPE && activity.subject_type === this.subjectType
					&& String(activity.subject_id) === this.subjectId;
				if (isOurs) this.#arrived(commentOf(activity));
			}).onResync(() => void this.reload());
			this.during(() => channel.leave());
		}
	}

	override willUpdate(changed: PropertyValues<this>): void {
		const selects = ['channel', 'src', 'subjectType', 'subjectId', 'source'] as const;
		if (this.hasUpdated && selects.some((name) => changed.has(name))) {
			this.comments = [];
			this.restart();
		}
	}

	protected override firstUpdated(): void {
		this.shadowRoot!.querySelector<TypingIndicator>('scopewire-typing-indicator')?.watch(this.field);
	}

	get #store(): CommentSource {
		const manager = this.manager!;
		if (this.source) return this.source;
		if (this.src) return endpointComments(manager, this.src);
		return activityComments(manager, { type: this.subjectType, id: this.subjectId }, {
			...(this.projectId && { project_id: this.projectId }), ...(this.clientId && { client_id: this.clientId }) });
	}

	async reload(): Promise<void> {
		try {
			await this.#loading.load(() => this.#store.load(), (page) => {
				const unsent = this.comments.filter((c) => c.state
					&& !page.comments.some((p) => p.client_ref === c.client_ref));
				this.comments = [...[...page.comments].reverse(), ...unsent];
				this.next = page.next_cursor;
				this.condition = 'ready';
				this.#toEnd();
			});
		} catch {
			this.condition = this.comments.length ? 'ready' : 'failed';
		}
	}

	async #older(): Promise<void> {
		if (!this.next) return;
		const page = await this.#store.load(this.next).catch(() => null);
		if (!page) return;
		const known = new Set(this.comments.map((c) => String(c.id)));
		this.comments = [...page.comments.filter((c) => !known.has(String(c.id))).reverse(), ...this.comments];
		this.next = page.next_cursor;
	}

	#toEnd(): void {
		void this.updateComplete.then(() => { this.scroller.scrollTop = this.scroller.scrollHeight; });
	}

	/** A stored comment takes the place of its optimistic copy. */
	#arrived(comment: Comment): void {
		const find = () => this.comments.findIndex((c) => String(c.id) === String(comment.id)
			|| Boolean(comment.client_ref && c.client_ref === comment.client_ref));
		const isAtEnd = this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight < 60;
		if (find() < 0) this.send('scopewire-comment', comment);
		this.#loading.apply(() => {
			const at = find();
			this.comments = at >= 0 ? this.comments.with(at, comment) : [...this.comments, comment];
		});
		if (isAtEnd) this.#toEnd();
	}

	#submit(event: Event): void {
		event.preventDefault();
		const body = this.field.value.trim();
		if (!body || !this.manager) return;
		this.field.value = '';
		this.hasText = false;
		this.shadowRoot!.querySelector<TypingIndicator>('scopewire-typing-indicator')?.typed(false);
		const ref = crypto.randomUUID();
		const { userId, userName } = this.manager;
		const draft: Draft = { id: ref, client_ref: ref, body, created_at: new Date().toISOString(), state: 'sending',
			user: { id: userId ?? null, name: userName ?? this.t.you } };
		this.comments = [...this.comments, draft];
		this.#toEnd();
		void this.#deliver(draft);
	}

	/** Resolves to whether it is stored. */
	async #deliver(draft: Draft): Promise<boolean> {
		const ref = draft.client_ref!;
		if (this.#underWay.has(ref)) return false;
		this.#underWay.add(ref);
		try {
			this.#arrived(await this.#store.send(draft.body, ref));
			this.#failures = 0;
			this.manager?.setSignedOut(false);
			return true;
		} catch (error) {
			this.#failed(draft, error);
			return false;
		} finally {
			this.#underWay.delete(ref);
		}
	}

	#failed(draft: Draft, error: unknown): void {
		const failure = failureOf(error);
		this.#change(draft, { state: 'failed', failure, problem: error instanceof Error ? error.message : String(error) });
		if (failure === 'signedOut') this.manager?.setSignedOut(true);
		if (failure !== 'network' && failure !== 'server') return;
		const pause = Math.max(error instanceof ApiError ? error.retryAfterMs : 0, backoff(this.#failures++));
		clearTimeout(this.#retry);
		this.#retry = setTimeout(() => void this.#resend(), pause);
	}

	/** In order, until one fails again.  They stay marked meanwhile. */
	async #resend(): Promise<void> {
		if (this.#isResending || !this.isConnected) return;
		this.#isResending = true;
		try {
			for (const draft of this.comments)
				if (draft.state === 'failed' && draft.failure !== 'refused' && !await this.#deliver(draft)) return;
		} finally {
			this.#isResending = false;
		}
	}

	#sendAgain(draft: Draft): void {
		this.#change(draft, { state: 'sending' });
		void this.#deliver(draft);
	}

	/** One that is stored after all, as its event shows, is no draft any more. */
	#change(draft: Draft, change: Partial<Draft>): void {
		this.comments = this.comments.map((c) => (c.state && c.client_ref === draft.client_ref ? { ...c, ...change } : c));
	}

	#discard(draft: Draft): void {
		this.comments = this.comments.filter((c) => c.client_ref !== draft.client_ref);
		if (draft.failure === 'signedOut' && !this.comments.some((c) => c.failure === 'signedOut')) this.manager?.setSignedOut(false);
		this.field.focus();
	}

	#key(event: KeyboardEvent): void {
		if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
		event.preventDefault();
		this.#submit(event);
	}

	#problem({ failure, problem = '' }: Draft) {
		const { t } = this;
		if (failure === 'signedOut') return this.signedOutLine;
		return failure === 'network' ? t.notReached : failure === 'server' ? t.serverFailed : problem;
	}

	#comment(comment: Draft) {
		const { t } = this;
		const name = comment.user?.name ?? t.someone;
		return html`<li part="comment" class=${comment.state ? `is-${comment.state}` : ''} data-id=${comment.id}>
			${avatar(comment.user ?? { name })}
			<div><div class="head"><b>${name}</b>${comment.state === 'sending'
				? html`<span class="muted small">${t.sending}</span>`
				: timeTag(comment.created_at, this.language, t.justNow)}</div>
			${this.rich ? html`<div class="body rich" part="body" dir="auto">${unsafeHTML(DOMPurify.sanitize(comment.body))}</div>`
				: html`<div class="body" part="body" dir="auto">${comment.body}</div>`}
			${comment.state === 'failed' ? html`<div class="problem" role="alert"><span>${t.notSent} ${this.#problem(comment)}</span>
				<button class="link" @click=${() => this.#sendAgain(comment)}>${t.sendAgain}</button>
				<button class="link" @click=${() => this.#discard(comment)}>${t.discard}</button></div>` : nothing}
			</div></li>`;
	}

	#list() {
		const { t } = this;
		if (this.condition === 'failed')
			return html`<div class="empty"><b>${t.loadFailed}</b>
				<button class="link" @click=${() => void this.reload()}>${t.retry}</button></div>`;
		if (!this.comments.length)
			return this.condition === 'loading' ? html`<div class="empty muted">${t.loading}</div>`
				: html`<div class="empty">${icons.chat}<b>${t.noComments}</b><span class="muted small">${t.noCommentsHint}</span></div>`;
		return html`${this.next ? html`<div class="older"><button class="link" @click=${() => void this.#older()}>${t.loadMore}</button></div>` : nothing}
			<div role="log" aria-live="polite" aria-labelledby="heading"><ul part="list">${repeat(this.comments,
				(c) => c.client_ref ?? c.id, (c) => this.#comment(c))}</ul></div>`;
	}

	override render() {
		const { t } = this;
		return html`<section class="card" part="card" aria-labelledby="heading">
			<header part="header"><h2 id="heading"><slot name="title">${t.comments}</slot></h2></header>
			<div class="scroll" part="scroll" tabindex="0" role="group" aria-labelledby="heading">${this.#list()}</div>
			<form part="composer" @submit=${this.#submit}>
				<scopewire-typing-indicator .manager=${this.manager} channel=${this.channel}
					topic=${`comments:${this.subjectType}:${this.subjectId}`} exportparts="line"></scopewire-typing-indicator>
				<div class="compose"><textarea rows="1" aria-label=${t.writeComment} placeholder=${t.writeComment}
					@keydown=${this.#key} @input=${() => { this.hasText = this.field.value.trim() !== ''; }}></textarea>
				<button class="button primary" part="send" ?disabled=${!this.hasText}>${t.send}</button></div>
			</form></section>`;
	}
}

define('scopewire-comment-thread', CommentThread);
