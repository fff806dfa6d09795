// SPDX-License-Identifier: MIT
import { css, html, nothing, type PropertyValues } from 'lit';
import { property, state } from 'lit/decorators.js';
import { EditLock, type Lock } from '../lock.js';
import type { RealtimeManager } from '../manager.js';
import { ScopewireElement, define, hueOf, vars } from './base.js';
import { theme } from './theme.js';

/** How long a request outlives the countdown of a holder whose timers are late. */
const MARGIN_S = 20;

/**
 * Goes around one field: shows who edits it, and lets others wait, request it, and receive it.  The lock is
 * one of the daemon; what is saved is protected by its version.
 */
export class FieldLock extends ScopewireElement {
	@property({ attribute: 'resource-type' }) resourceType = '';
	@property({ attribute: 'resource-id' }) resourceId = '';
	/** The resource by its channel, such as private-note.7, in place of its type and id. */
	@property() channel = '';
	/** The field's name; default: the name of the slotted field. */
	@property() field = '';
	/** Seconds until a request is granted if the holder does not answer. */
	@property({ type: Number }) wait = 10;
	@state() private holder: Lock | null = null;
	@state() private asker: { name: string; id: number | string; left: number } | null = null;
	@state() private asked: 'no' | 'asked' | 'refused' = 'no';
	#lock: EditLock | null = null;
	#countdown: ReturnType<typeof setInterval> | undefined;
	#unanswered: ReturnType<typeof setTimeout> | undefined;

	static override styles = [theme, css`
		:host { position: relative; }
		.box { border-radius: var(--scopewire-field-radius, 10px); outline: 2px solid transparent; outline-offset: 4px; transition: outline-color 160ms; }
		.box.theirs { outline-color: light-dark(oklch(0.55 0.15 var(--_hue)), oklch(0.75 0.13 var(--_hue))); }
		.box.theirs ::slotted(*) { pointer-events: none; }
		.line { display: flex; flex-wrap: wrap; gap: 2px 10px; align-items: center; min-block-size: 26px; margin-block-start: 2px; font-size: 12.5px; }
		.who { display: inline-flex; gap: 6px; align-items: center; font-weight: 600; color: light-dark(oklch(0.42 0.13 var(--_hue)), oklch(0.85 0.1 var(--_hue))); animation: fade 160ms; }
		.who::before { content: ''; inline-size: 8px; block-size: 8px; border-radius: 50%; background: currentColor; }
	`];

	protected override start(manager: RealtimeManager): void {
		const [type, id] = this.#resource;
		if (!type || !id || !this.fieldName) return;
		const lock = new EditLock(manager, { type, id, field: this.fieldName });
		this.#lock = lock;
		lock.on('change', () => this.#changed());
		lock.on('request', ({ user_id, name }) => this.#askedBy(user_id, name ?? this.t.someone));
		lock.on('refused', () => this.#wasRefused());
		lock.on('granted', () => this.#input?.focus());
		this.addEventListener('focusin', this.#focused);
		this.addEventListener('focusout', this.#blurred);
		this.during(() => {
			this.#stopCountdown();
			clearTimeout(this.#unanswered);
			lock.stop();
			this.#lock = null;
			this.removeEventListener('focusin', this.#focused);
			this.removeEventListener('focusout', this.#blurred);
		});
	}

	/** A form gives its locks their resource. */
	override willUpdate(changed: PropertyValues<this>): void {
		if (!changed.has('channel') && !changed.has('resourceType') && !changed.has('resourceId')) return;
		const [type, id] = this.#resource;
		if (type !== this.#lock?.thing.type || id !== this.#lock?.thing.id) this.restart();
	}

	get #resource(): [string, string] {
		if (this.resourceType) return [this.resourceType, this.resourceId];
		const [, type = '', id = ''] = /^(?:private-|presence-)?([^.]+)\.(.+)$/.exec(this.channel) ?? [];
		return [type, id];
	}

	get #input(): HTMLInputElement | null {
		return this.querySelector<HTMLInputElement>('input, textarea, select, [contenteditable]');
	}

	get fieldName(): string {
		return this.field || this.#input?.name || '';
	}

	/** Another user holds it, or another tab of this one. */
	get isLocked(): boolean {
		return this.holder !== null;
	}

	get isMine(): boolean {
		return Boolean(this.#lock?.isMine);
	}

	readonly #focused = (event: Event) => {
		if (event.composedPath()[0] !== this && this.contains(event.target as Node) && !this.isLocked) this.take();
	};

	readonly #blurred = () => {
		setTimeout(() => {
			if (!this.contains(document.activeElement) && !this.asker) this.release();
		});
	};

	take(): void {
		if (!this.isLocked) void this.#lock?.take();
	}

	release(): void {
		this.#stopCountdown();
		void this.#lock?.release();
	}

	/** Requests the field from its holder. */
	ask(): void {
		const wait = this.wait + MARGIN_S;
		this.asked = 'asked';
		clearTimeout(this.#unanswered);
		this.#unanswered = setTimeout(() => { this.asked = 'no'; }, wait * 1000);
		void this.#lock?.request(Math.min(wait, 300)).then((isSent) => {
			if (!isSent && this.asked === 'asked') this.asked = 'no';
		});
	}

	/** Takes the field from another window of this user. */
	takeHere(): void {
		void this.#lock?.takeHere();
	}

	#wasRefused(): void {
		clearTimeout(this.#unanswered);
		if (this.asked === 'asked') this.asked = 'refused';
	}

	#changed(): void {
		const lock = this.#lock!;
		const before = this.holder;
		const wasAsked = this.asked === 'asked';
		this.holder = lock.isTheirs ? lock.lock : null;
		if (!lock.isMine) this.#stopCountdown();
		if (this.holder?.token === before?.token) return;
		if (this.holder) this.send('scopewire-lock', { field: this.fieldName, holder: this.holder });
		this.asked = 'no';
		clearTimeout(this.#unanswered);
		this.#setReadOnly(Boolean(this.holder));
		if (this.holder) return;
		this.send('scopewire-unlock', { field: this.fieldName });
		if (wasAsked) this.#input?.focus();
	}

	#setReadOnly(isReadOnly: boolean): void {
		const input = this.#input;
		if (!input) return;
		if (isReadOnly && document.activeElement === input) input.blur();
		if (input.localName === 'select') input.disabled = isReadOnly;
		else input.readOnly = isReadOnly;
	}

	#askedBy(id: number | string, name: string): void {
		if (this.asker) return;
		this.asker = { id, name, left: this.wait };
		this.#countdown = setInterval(() => {
			const left = this.asker!.left - 1;
			if (left > 0) this.asker = { ...this.asker!, left };
			else this.#pass();
		}, 1000);
	}

	#stopCountdown(): void {
		clearInterval(this.#countdown);
		this.asker = null;
	}

	#pass(): void {
		const to = this.asker!.id;
		this.#stopCountdown();
		void this.#lock?.grant(to);
		this.#input?.blur();
	}

	#keep(): void {
		const to = this.asker!.id;
		this.#stopCountdown();
		void this.#lock?.refuse(to);
		this.#input?.focus();
	}

	#line() {
		const { t, holder, asker } = this;
		if (asker) return html`<span>${t.asksFor(asker.name, asker.left)}</span>
			<button class="link" part="pass" @click=${() => this.#pass()}>${t.handOver}</button>
			<button class="link" part="keep" @click=${() => this.#keep()}>${t.keep}</button>`;
		if (!holder) return nothing;
		if (String(holder.user_id) === this.manager?.userId)
			return html`<span class="who" part="holder">${t.editingElsewhere}</span>
				<button class="link" part="take" @click=${() => this.takeHere()}>${t.editHere}</button>`;
		const words = this.asked === 'refused' ? t.refused(holder.name ?? t.someone) : t.editing(holder.name ?? t.someone);
		return html`<span class="who" part="holder">${words}</span>${this.asked === 'asked'
			? html`<span class="muted">${t.asked}…</span>`
			: html`<button class="link" part="ask" @click=${() => this.ask()}>${t.askForIt}</button>`}`;
	}

	override render() {
		const hue = vars({ '--_hue': String(hueOf(this.holder?.user_id ?? '')) });
		return html`<div ${hue}><div class="box ${this.holder ? 'theirs' : ''}" part="ring"><slot></slot></div>
			<div class="line" part="line" role="status" aria-live="polite">${this.#line()}</div></div>`;
	}
}

define('scopewire-field-lock', FieldLock);
