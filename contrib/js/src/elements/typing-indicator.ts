// SPDX-License-Identifier: MIT
import { css, html, nothing, type PropertyValues } from 'lit';
import { property, state } from 'lit/decorators.js';
import type { Subscription } from '../channel.js';
import type { RealtimeManager } from '../manager.js';
import { ScopewireElement, define } from './base.js';
import { theme } from './theme.js';

const REPEAT_MS = 2500;
const EXPIRES_MS = 6000;
const NAMED = 2;

/** user_id: on a private channel the server does not say who sent it. */
interface Typing { name: string; user_id?: string; topic?: string; typing: boolean }

/** "Ann and 2 others are typing", in a line of fixed height; it expires by itself. */
export class TypingIndicator extends ScopewireElement {
	/** A private or presence channel on which users may send client events. */
	@property() channel = '';
	/** The id of the field that is typed into, in the same document. */
	@property() for = '';
	/** Tells several indicators on one channel apart. */
	@property() topic = '';
	@state() private names = new Map<string, string>();
	readonly #expiring = new Map<string, ReturnType<typeof setTimeout>>();
	#subscription: Subscription | null = null;
	#sentAt = 0;
	#field: HTMLElement | null = null;

	static override styles = [theme, css`
		:host { block-size: 22px; font-size: 12.5px; line-height: 22px; color: var(--_muted); overflow: hidden; }
		.line { display: inline-flex; gap: 8px; align-items: center; max-inline-size: 100%; animation: fade 160ms; }
		.line > span:last-child { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
		.wave { display: inline-flex; gap: 3px; }
		.wave i { inline-size: 5px; block-size: 5px; border-radius: 50%; background: currentColor; animation: bob 1s ease-in-out infinite; }
		.wave i:nth-child(2) { animation-delay: 140ms; }
		.wave i:nth-child(3) { animation-delay: 280ms; }
		@keyframes bob { 0%, 60%, 100% { translate: 0 1px; opacity: 0.5; } 30% { translate: 0 -2px; opacity: 1; } }
	`];

	protected override start(manager: RealtimeManager): void {
		if (!this.channel) return;
		const channel = manager.channel(this.channel)
			.onWhisper('typing', (data: Typing, from) => this.#received(data, from?.user_id));
		this.#subscription = channel;
		this.during(() => {
			channel.leave();
			this.#subscription = null;
			for (const timer of this.#expiring.values()) clearTimeout(timer);
			this.#expiring.clear();
			this.names = new Map();
		});
		this.#listen();
	}

	override willUpdate(changed: PropertyValues<this>): void {
		if (this.hasUpdated && (changed.has('channel') || changed.has('for'))) this.restart();
	}

	#listen(): void {
		if (this.for) this.#field = (this.getRootNode() as Document | ShadowRoot).getElementById(this.for);
		if (this.#field) this.#follow(this.#field);
	}

	/** Follows typing in a field, in place of the one that "for" names. */
	watch(field: HTMLElement): void {
		this.#field = field;
		if (this.#subscription) this.#follow(field);
	}

	#follow(field: HTMLElement): void {
		const typed = () => this.typed(Boolean((field as HTMLInputElement).value ?? field.textContent));
		const left = () => this.typed(false);
		field.addEventListener('input', typed);
		field.addEventListener('blur', left);
		this.during(() => {
			field.removeEventListener('input', typed);
			field.removeEventListener('blur', left);
		});
	}

	/** Sends that this user types, or has stopped. */
	typed(isTyping: boolean): void {
		const now = Date.now();
		if (isTyping ? now - this.#sentAt < REPEAT_MS : !this.#sentAt) return;
		this.#sentAt = isTyping ? now : 0;
		this.#subscription?.whisper('typing', { typing: isTyping, name: this.manager?.userName ?? '',
			...(this.manager?.userId && { user_id: this.manager.userId }), ...(this.topic && { topic: this.topic }) } satisfies Typing);
	}

	#received({ typing, name, user_id, topic }: Typing, from?: string): void {
		if ((topic ?? '') !== this.topic) return;
		const id = String(from ?? user_id ?? name);
		if (id === this.manager?.userId) return;     // another window of this user
		const known = this.#subscription?.members.find((m) => m.id === id)?.info.name;
		clearTimeout(this.#expiring.get(id));
		const names = new Map(this.names);
		if (typing) {
			names.set(id, String(known ?? name ?? this.t.someone));
			this.#expiring.set(id, setTimeout(() => this.#forget(id), EXPIRES_MS));
		} else names.delete(id);
		this.names = names;
	}

	#forget(id: string): void {
		this.names = new Map([...this.names].filter(([known]) => known !== id));
	}

	override render() {
		const all = [...this.names.values()];
		const named = all.length > NAMED ? all.slice(0, 1) : all;
		return html`<div role="status" aria-live="polite" part="region">${all.length ? html`<span class="line" part="line">
			<span class="wave" aria-hidden="true"><i></i><i></i><i></i></span>
			<span>${this.t.typing(named, all.length - named.length)}</span></span>` : nothing}</div>`;
	}
}

define('scopewire-typing-indicator', TypingIndicator);
