// SPDX-License-Identifier: MIT
/** A token, or a function that fetches a new one from the application. */
export type TokenSource = string | ((reason: 'first' | 'expiring' | 'refused') => string | Promise<string>);

const EARLY_MS = 60_000;
const LONGEST_TIMER_MS = 2_000_000_000;

/** The claims of a JSON Web Token; empty if it is none.  The server checks the signature. */
export function claimsOf(token: string): { sub?: string; exp?: number; name?: string; roles?: string[] } {
	try {
		const part = token.split('.')[1]!.replaceAll('-', '+').replaceAll('_', '/');
		const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
		return JSON.parse(new TextDecoder().decode(bytes));
	} catch {
		return {};
	}
}

/**
 * Keeps a valid token: fetched at first use, again a minute before it expires, and when the server
 * refused it.  Requests that need one at the same time share one fetch.  After stop() only get() and
 * refresh() fetch one.
 */
export class Tokens {
	#current: string | null = null;
	#fetching: Promise<string> | null = null;
	#timer: ReturnType<typeof setTimeout> | undefined;
	#isStopped = false;
	/** Called with each new token. */
	onChange: (token: string) => void = () => {};
	onError: (error: unknown) => void = () => {};

	constructor(private readonly source: TokenSource | undefined) {}

	get isAvailable(): boolean {
		return this.source !== undefined;
	}

	get claims() {
		return this.#current ? claimsOf(this.#current) : {};
	}

	/** Milliseconds until it expires; infinite if that is not known. */
	get remainingMs(): number {
		const { exp } = this.claims;
		return exp === undefined ? Infinity : exp * 1000 - Date.now();
	}

	/** A token with some time left, or undefined if there is no source. */
	async get(): Promise<string | undefined> {
		if (this.source === undefined) return undefined;
		if (!this.#current) return this.refresh('first');
		const spare = Math.min(EARLY_MS, 5000);
		if (this.remainingMs < spare && typeof this.source === 'function') return this.refresh('expiring');
		return this.#current;
	}

	refresh(reason: 'first' | 'expiring' | 'refused' = 'expiring'): Promise<string> {
		this.#fetching ??= this.#fetch(reason).finally(() => { this.#fetching = null; });
		return this.#fetching;
	}

	async #fetch(reason: 'first' | 'expiring' | 'refused'): Promise<string> {
		const { source } = this;
		if (source === undefined) throw new Error('scopewire: no token source; set the option token');
		const token = typeof source === 'function' ? await source(reason) : source;
		const isNew = token !== this.#current;
		this.#current = token;
		if (typeof source === 'function') this.#schedule();
		if (isNew) this.onChange(token);
		return token;
	}

	/** Refreshes early; a token that lives less than two minutes at half of its time. */
	#schedule(): void {
		clearTimeout(this.#timer);
		if (this.#isStopped) return;
		const left = this.remainingMs;
		if (!Number.isFinite(left)) return;
		const delay = Math.max(1000, left > 2 * EARLY_MS ? left - EARLY_MS : left / 2);
		this.#timer = setTimeout(() => {
			this.refresh().catch((error: unknown) => {
				this.onError(error);
				if (this.#isStopped) return;
				this.#timer = setTimeout(() => this.#schedule(), 5000);
			});
		}, Math.min(delay, LONGEST_TIMER_MS));
	}

	stop(): void {
		this.#isStopped = true;
		clearTimeout(this.#timer);
	}
}
