// SPDX-License-Identifier: MIT
import { css, html, nothing, type TemplateResult } from 'lit';
import { property, state } from 'lit/decorators.js';
import type { RealtimeManager, Status } from '../manager.js';
import { ScopewireElement, define } from './base.js';
import { theme } from './theme.js';

const RECOVERED_MS = 5000;

/**
 * Shows a lost connection after some seconds of it, then what is being caught up, and what was recovered.
 * It takes no room in the page unless it has the attribute "inline".
 */
export class ConnectionStatus extends ScopewireElement {
	/** Milliseconds without a connection before it is shown. */
	@property({ type: Number }) delay = 5000;
	/** Also shows "Connected". */
	@property({ type: Boolean }) always = false;
	@state() private status: Status | null = null;
	@state() private isLate = false;
	@state() private recovered: number | null = null;
	#late: ReturnType<typeof setTimeout> | undefined;
	#done: ReturnType<typeof setTimeout> | undefined;

	static override styles = [theme, css`
		:host { position: fixed; z-index: var(--scopewire-z, 1000); inset-block-end: 20px; inset-inline: 0;
			display: grid; justify-items: center; pointer-events: none; }
		:host([inline]) { position: static; display: block; min-block-size: 36px; }
		.pill {
			display: inline-flex; align-items: center; gap: 10px; max-inline-size: min(92vw, 520px);
			min-block-size: 36px; padding: 7px 14px; border-radius: 999px; pointer-events: auto;
			background: var(--_surface); border: 1px solid var(--_line); box-shadow: var(--_shadow);
			font-size: 13px; font-weight: 550; line-height: 20px; animation: rise 220ms ease-out;
		}
		:host([inline]) .pill { box-shadow: none; }
		.dot { inline-size: 8px; block-size: 8px; border-radius: 50%; flex: none; background: var(--_warn); }
		.good .dot { background: var(--_good); }
		.bad .dot { background: var(--_bad); }
		.busy .dot { animation: pulse 900ms ease-in-out infinite alternate; }
		.queue { color: var(--_muted); font-weight: 450; padding-inline-start: 10px; border-inline-start: 1px solid var(--_line); }
	`];

	protected override start(manager: RealtimeManager): void {
		this.#take(manager.status);
		this.during(manager.on('status', (status) => this.#take(status)));
		this.during(manager.on('recovered', ({ events }) => this.#showRecovered(events)));
		this.during(() => {
			clearTimeout(this.#late);
			clearTimeout(this.#done);
		});
	}

	#take(status: Status): void {
		const before = this.status;
		this.status = status;
		if (status.state === 'connected') {
			clearTimeout(this.#late);
			this.#late = undefined;
			return;
		}
		this.recovered = null;
		if (before && before.state !== 'connected' && this.#late !== undefined) return;
		this.isLate = this.delay <= 0;
		clearTimeout(this.#late);
		this.#late = setTimeout(() => { this.isLate = true; }, this.delay);
	}

	/** Only if the interruption was shown, or something was recovered. */
	#showRecovered(events: number): void {
		if (events || this.isLate) {
			this.recovered = events;
			clearTimeout(this.#done);
			this.#done = setTimeout(() => { this.recovered = null; }, RECOVERED_MS);
		}
		this.isLate = false;
	}

	/** What to show: its kind and its text. */
	get #message(): { kind: string; text: string | TemplateResult; canRetry?: boolean } | null {
		const { t, status } = this;
		if (!status) return null;
		if (status.state === 'connected') {
			if (status.catchingUp !== null && (this.isLate || status.catchingUp > 0))
				return { kind: 'busy', text: t.catchingUp(status.catchingUp) };
			if (this.recovered !== null) return { kind: 'good', text: t.recovered(this.recovered) };
			if (status.isSignedOut) return { kind: 'bad', text: this.signedOutLine };
			return this.always || status.queued ? { kind: 'good', text: t.connected } : null;
		}
		if (!this.isLate) return this.always ? { kind: 'busy', text: t.connecting } : null;
		if (!status.isOnline) return { kind: 'bad', text: t.offline };
		const canRetry = status.state === 'failed' || status.state === 'disconnected';
		return { kind: canRetry ? 'bad' : 'busy', text: t[status.state], canRetry };
	}

	override render() {
		const message = this.#message;
		const queued = this.status?.queued ?? 0;
		return html`<div role="status" aria-live="polite" part="region">${!message ? nothing : html`
			<div class="pill ${message.kind}" part="pill" data-state=${this.status!.state}>
				<span class="dot" part="dot"></span>
				<span part="text">${message.text}</span>
				${queued ? html`<span class="queue" part="queue">${this.t.queued(queued)}</span>` : nothing}
				${message.canRetry ? html`<button class="link" part="retry"
					@click=${() => this.manager?.connect()}>${this.t.retry}</button>` : nothing}
			</div>`}</div>`;
	}
}

define('scopewire-connection-status', ConnectionStatus);
