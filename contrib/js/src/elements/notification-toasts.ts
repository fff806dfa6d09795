// SPDX-License-Identifier: MIT
import { css, html, nothing } from 'lit';
import { property, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import type { RealtimeManager } from '../manager.js';
import { ScopewireElement, define } from './base.js';
import * as icons from './icons.js';
import { CREATED, addressOf, fromBroadcast, type Notification } from './notifications.js';
import { theme } from './theme.js';

const MOST = 3;

/** Shows new notifications for some seconds; not while a pointer or the focus is on them. */
export class NotificationToasts extends ScopewireElement {
	/** Milliseconds. */
	@property({ type: Number }) duration = 6000;
	@state() private toasts: Notification[] = [];
	#timer: ReturnType<typeof setTimeout> | undefined;

	static override styles = [theme, css`
		:host { position: fixed; z-index: var(--scopewire-z, 1000); inset-block-end: 20px; inset-inline-end: 20px;
			inline-size: min(360px, calc(100vw - 40px)); pointer-events: none; }
		ul { display: grid; gap: 10px; }
		li {
			display: grid; grid-template-columns: 1fr auto; gap: 2px 8px; padding: 12px 8px 12px 16px; pointer-events: auto;
			position: relative; overflow: hidden; border: 1px solid var(--_line); border-radius: var(--_radius);
			background: var(--_surface); box-shadow: var(--_shadow); animation: rise 220ms ease-out;
		}
		li::before { content: ''; position: absolute; inset-block: 0; inset-inline-start: 0; inline-size: 3px; background: var(--_accent); }
		.title { font-weight: 650; text-align: start; color: inherit; }
		button.title:hover { text-decoration: underline; text-underline-offset: 3px; }
		.message { grid-column: 1; color: var(--_muted); font-size: 13px; overflow-wrap: anywhere; }
		.close { grid-row: 1 / span 2; grid-column: 2; align-self: start; display: grid; place-items: center; inline-size: 28px; block-size: 28px; color: var(--_muted); }
		.close svg { inline-size: 16px; block-size: 16px; }
		.close:hover { background: var(--_hover); color: var(--_ink); }
	`];

	protected override start(manager: RealtimeManager): void {
		void this.#follow(manager);
		this.during(() => clearTimeout(this.#timer));
	}

	async #follow(manager: RealtimeManager): Promise<void> {
		const name = await manager.userChannel();
		if (!name || !this.isConnected) return;
		const channel = manager.channel(name)
			.on(CREATED, (payload) => this.show(fromBroadcast(payload)))
			.on('NotificationReceived', (payload) => this.show(fromBroadcast(payload.notification ?? payload)));
		this.during(() => channel.leave());
	}

	/** Also for messages of the application's own. */
	show(toast: Partial<Notification> & { title: string }): void {
		const whole: Notification = { id: crypto.randomUUID(), type: 'toast', message: null, data: null,
			read_at: null, created_at: new Date().toISOString(), ...toast };
		if (this.toasts.some((n) => n.id === whole.id)) return;
		this.toasts = [...this.toasts, whole].slice(-MOST);
		this.#plan();
	}

	#plan(): void {
		clearTimeout(this.#timer);
		this.#timer = setTimeout(() => {
			const isInUse = this.matches(':hover') || this.shadowRoot!.activeElement !== null;
			if (!isInUse) this.toasts = this.toasts.slice(1);
			if (this.toasts.length) this.#plan();
		}, this.duration);
	}

	#close(id: string): void {
		this.toasts = this.toasts.filter((n) => n.id !== id);
	}

	#open(toast: Notification): void {
		this.#close(toast.id);
		const address = addressOf(toast);
		if (this.send('scopewire-open', toast) && address) location.assign(address);
	}

	override render() {
		return html`<div role="status" aria-live="polite"><ul part="list">${repeat(this.toasts, (n) => n.id, (n) => html`
			<li part="toast" data-id=${n.id}>
				${addressOf(n) ? html`<button class="title" @click=${() => this.#open(n)}>${n.title}</button>`
					: html`<span class="title">${n.title}</span>`}
				${n.message ? html`<span class="message">${n.message}</span>` : nothing}
				<button class="close" part="close" aria-label=${this.t.close} @click=${() => this.#close(n.id)}>${icons.close}</button>
			</li>`)}</ul></div>`;
	}
}

define('scopewire-notification-toasts', NotificationToasts);
