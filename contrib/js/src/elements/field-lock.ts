// SPDX-License-Identifier: MIT
import { css, html, nothing, type PropertyValues } from 'lit';
import { property, state } from 'lit/decorators.js';
import type { Subscription } from '../channel.js';
import type { RealtimeManager } from '../manager.js';
import { ScopewireElement, define, hueOf, vars } from './base.js';
import { theme } from './theme.js';

type Action = 'hold' | 'release' | 'ask' | 'refuse';

interface Message { field: string; action: Action; id: string; name: string; at: number }

interface Holder { id: string; name: string; at: number }

const HOLD_MS = 2500;
const EXPIRES_MS = 7000;

/**
 * Goes around one field: shows who edits it, and lets others wait, ask for it, and receive it.  It is an
 * agreement among browsers; what is saved is protected by its version.
 */
export class FieldLock extends ScopewireElement {
	/** A private or presence channel on which users may send client events. */
	@property() channel = '';
	/** The field's name on that channel; default: the name of the slotted field. */
	@property() field = '';
	/** Seconds until a request is granted if the holder does not answer. */
	@property({ type: Number }) wait = 10;
	@state() private holder: Holder | null = null;
	@state() private asker: { name: string; id: string; left: number } | null = null;
	@state() private asked: 'no' | 'asked' | 'refused' = 'no';
	#subscription: Subscription | null = null;
	#holding: ReturnType<typeof setInterval> | undefined;
	#expiring: ReturnType<typeof setTimeout> | undefined;
	#countdown: ReturnType<typeof setInterval> | undefined;
	#since = 0;
	readonly #tab = crypto.randomUUID();

	static override styles = [theme, css`
		:host { position: relative; }
		.box { border-radius: var(--scopewire-field-radius, 10px); outline: 2px solid transparent; outline-offset: 4px; transition: outline-color 160ms; }
		.box.theirs { outline-color: light-dark(oklch(0.55 0.15 var(--_hue)), oklch(0.75 0.13 var(--_hue))); }
		.box.theirs ::slotted(*) { pointer-events: none; }
		.line { display: flex; flex-wrap: wrap; gap: 2px 10px; align-items: center; min-block-size: 26px; margin-block-start: 6px; font-size: 12.5px; }
		.who { display: inline-flex; gap: 6px; align-items: center; font-weight: 600; color: light-dark(oklch(0.42 0.13 var(--_hue)), oklch(0.85 0.1 var(--_hue))); animation: fade 160ms; }
		.who::before { content: ''; inline-size: 8px; block-size: 8px; border-radius: 50%; background: currentColor; }
	`];

	protected override start(manager: RealtimeManager): void {
		if (!this.channel) return;
		const channel = manager.channel(this.channel).onWhisper('field-lock', (message: Message) => this.#received(message));
		this.#subscription = channel;
		this.addEventListener('focusin', this.#focused);
		this.addEventListener('focusout', this.#blurred);
		this.during(() => {
			this.release();
			channel.leave();
			this.#subscription = null;
			this.removeEventListener('focusin', this.#focused);
			this.removeEventListener('focusout', this.#blurred);
			clearTimeout(this.#expiring);
		});
	}

	/** A form gives its locks their channel. */
	override willUpdate(changed: PropertyValues<this>): void {
		if (changed.has('channel') && this.channel && this.#subscription?.name !== this.channel) this.restart();
	}

	get #input(): HTMLInputElement | null {
		return this.querySelector<HTMLInputElement>('input, textarea, select, [contenteditable]');
	}

	get fieldName(): string {
		return this.field || this.#input?.name || '';
	}

	/** Another user holds it. */
	get isLocked(): boolean {
		return this.holder !== null;
	}

	get isMine(): boolean {
		return this.#holding !== undefined;
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
		if (this.isMine || this.isLocked) return;
		this.#since = Date.now();
		this.#say('hold');
		this.#holding = setInterval(() => this.#say('hold'), HOLD_MS);
		this.asked = 'no';
	}

	release(): void {
		this.#stopCountdown();
		if (!this.isMine) return;
		clearInterval(this.#holding);
		this.#holding = undefined;
		this.#say('release');
	}

	/** Asks the holder for the field. */
	ask(): void {
		this.asked = 'asked';
		this.#say('ask');
	}

	#say(action: Action): void {
		this.#subscription?.whisper('field-lock', { field: this.fieldName, action, id: this.#id,
			name: this.manager?.userName ?? this.t.someone, at: this.#since } satisfies Message);
	}

	/** Tabs of one user are different holders: they too would overwrite each other. */
	get #id(): string {
		return `${this.manager?.userId ?? ''}:${this.#tab}`;
	}

	#received({ field, action, id, name, at }: Message): void {
		if (field !== this.fieldName) return;
		if (action === 'hold') this.#held({ id, name, at });
		else if (action === 'release' && this.holder?.id === id) this.#free();
		else if (action === 'ask' && this.isMine) this.#askedBy(id, name);
		else if (action === 'refuse' && this.asked === 'asked') this.asked = 'refused';
	}

	/** Two users may begin at the same moment: the earlier one keeps it. */
	#held(holder: Holder): void {
		if (this.isMine) {
			const isMineEarlier = this.#since < holder.at || (this.#since === holder.at && this.#id < holder.id);
			if (isMineEarlier) {
				this.#say('hold');
				return;
			}
			clearInterval(this.#holding);
			this.#holding = undefined;
			this.#stopCountdown();
		}
		clearTimeout(this.#expiring);
		this.#expiring = setTimeout(() => this.#free(), EXPIRES_MS);
		const isNew = this.holder?.id !== holder.id;
		this.holder = holder;
		if (isNew) this.#setReadOnly(true);
		if (isNew) this.send('scopewire-lock', { field: this.fieldName, holder });
	}

	#free(): void {
		clearTimeout(this.#expiring);
		const wasAsked = this.asked === 'asked';
		this.holder = null;
		this.asked = 'no';
		this.#setReadOnly(false);
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

	#askedBy(id: string, name: string): void {
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
		this.#stopCountdown();
		this.#input?.blur();
		this.release();
	}

	#keep(): void {
		this.#stopCountdown();
		this.#say('refuse');
		this.#input?.focus();
	}

	#line() {
		const { t, holder, asker } = this;
		if (asker) return html`<span>${t.asksFor(asker.name, asker.left)}</span>
			<button class="link" part="pass" @click=${() => this.#pass()}>${t.handOver}</button>
			<button class="link" part="keep" @click=${() => this.#keep()}>${t.keep}</button>`;
		if (!holder) return nothing;
		const words = this.asked === 'refused' ? t.refused(holder.name) : t.editing(holder.name);
		return html`<span class="who" part="holder">${words}</span>${this.asked === 'asked'
			? html`<span class="muted">${t.asked}…</span>`
			: html`<button class="link" part="ask" @click=${() => this.ask()}>${t.askForIt}</button>`}`;
	}

	override render() {
		const hue = vars({ '--_hue': String(hueOf(this.holder?.id.split(':')[0] ?? '')) });
		return html`<div ${hue}><div class="box ${this.holder ? 'theirs' : ''}" part="ring"><slot></slot></div>
			<div class="line" part="line" role="status" aria-live="polite">${this.#line()}</div></div>`;
	}
}

define('scopewire-field-lock', FieldLock);
