// SPDX-License-Identifier: MIT
import { LitElement, html, nothing, type TemplateResult } from 'lit';
import { property } from 'lit/decorators.js';
import { Directive, directive, type ElementPart } from 'lit/directive.js';
import { RealtimeManager } from '../manager.js';
import { onTextsChange, texts, type Texts } from './texts.js';

export interface Person { id?: string | number | null; name?: string | null; avatar?: string | null }

/**
 * An element that follows the page's RealtimeManager, or the one in its property "manager".  start() is
 * called when there is one and the element is in the page; what was given to during() ends with it.
 */
export abstract class ScopewireElement extends LitElement {
	@property({ attribute: false }) manager: RealtimeManager | null = null;
	/** Texts of this element alone; setTexts() is for the whole page. */
	@property({ attribute: false }) texts: Partial<Texts> = {};
	#ending: (() => void)[] = [];

	protected get t(): Texts {
		return { ...texts(), ...this.texts };
	}

	protected get language(): string | undefined {
		return this.closest('[lang]')?.getAttribute('lang') || document.documentElement.lang || undefined;
	}

	override connectedCallback(): void {
		super.connectedCallback();
		this.during(onTextsChange(() => this.requestUpdate()));
		if (this.manager) {
			this.start(this.manager);
			return;
		}
		this.during(RealtimeManager.whenCurrent((manager) => {
			this.manager = manager;
			this.start(manager);
		}));
	}

	override disconnectedCallback(): void {
		super.disconnectedCallback();
		this.end();
	}

	/** Attributes that select what is shown have changed: begin anew. */
	protected restart(): void {
		if (!this.isConnected || !this.manager) return;
		this.end();
		this.during(onTextsChange(() => this.requestUpdate()));
		this.start(this.manager);
	}

	protected abstract start(manager: RealtimeManager): void;

	protected during(end: () => void): void {
		this.#ending.push(end);
	}

	protected end(): void {
		for (const end of this.#ending.splice(0)) end();
	}

	/** That the user is signed out, and where to sign in: in another window, so that nothing in this one is lost. */
	protected get signedOutLine(): TemplateResult {
		const { manager, t } = this;
		return html`${t.signedOut}${manager?.loginUrl ? html` <a class="link" part="sign-in" target="_blank"
			href=${manager.loginUrl}>${t.signIn}</a>` : nothing}`;
	}

	protected send(name: string, detail?: unknown): boolean {
		return this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true, cancelable: true }));
	}
}

class Vars extends Directive {
	override render(_vars: Record<string, string>): unknown {
		return nothing;
	}

	override update(part: ElementPart, [vars]: [Record<string, string>]): unknown {
		for (const [name, value] of Object.entries(vars)) (part.element as HTMLElement).style.setProperty(name, value);
		return nothing;
	}
}

/** Sets CSS variables of an element without a style attribute, which a strict policy would block. */
export const vars = directive(Vars);

/** A colour of their own for each person, the same everywhere. */
export function hueOf(id: unknown): number {
	let hash = 5381;
	for (const c of String(id)) hash = (hash * 33 + c.codePointAt(0)!) % 65521;
	return Math.round(hash * 137.508) % 360;
}

export function initials(name: string): string {
	const words = name.trim().split(/\s+/);
	const first = [...words[0] ?? ''][0] ?? '?';
	const last = words.length > 1 ? [...words.at(-1)!][0] ?? '' : '';
	return (first + last).toLocaleUpperCase();
}

/** A person's picture, or initials; decorative, as the name is in the text next to it. */
export function avatar({ id, name, avatar: source }: Person, size = 32): TemplateResult {
	return html`<span class="avatar" part="avatar" aria-hidden="true"
		${vars({ '--_hue': String(hueOf(id ?? name)), '--_size': `${size}px` })}
		>${source ? html`<img src=${source} alt="" loading="lazy">` : initials(name ?? '?')}</span>`;
}

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
	['year', 31_557_600], ['month', 2_629_800], ['week', 604_800], ['day', 86_400], ['hour', 3600], ['minute', 60]];

/** "3 minutes ago" in the page's language. */
export function relativeTime(time: string | number | Date, language: string | undefined, justNow: string): string {
	const seconds = (new Date(time).getTime() - Date.now()) / 1000;
	for (const [unit, length] of STEPS)
		if (Math.abs(seconds) >= length)
			return new Intl.RelativeTimeFormat(language, { numeric: 'auto' }).format(Math.round(seconds / length), unit);
	return justNow;
}

export function timeTag(time: string | undefined | null, language: string | undefined, justNow: string) {
	if (!time) return nothing;
	const full = new Intl.DateTimeFormat(language, { dateStyle: 'long', timeStyle: 'short' }).format(new Date(time));
	return html`<time class="muted small" part="time" datetime=${time} title=${full}
		>${relativeTime(time, language, justNow)}</time>`;
}

const ticking = new Set<LitElement>();
let ticker: ReturnType<typeof setInterval> | undefined;

/** Renders the element again twice a minute, for its relative times. */
export function tickTimes(element: LitElement): () => void {
	ticking.add(element);
	ticker ??= setInterval(() => {
		if (document.visibilityState === 'visible') for (const one of ticking) one.requestUpdate();
	}, 30_000);
	return () => {
		ticking.delete(element);
		if (!ticking.size) {
			clearInterval(ticker);
			ticker = undefined;
		}
	};
}

export function define(name: string, element: CustomElementConstructor): void {
	if (!customElements.get(name)) customElements.define(name, element);
}
