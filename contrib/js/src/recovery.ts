// SPDX-License-Identifier: MIT
import type { PusherLike } from './client.js';

const FAST_MS = 800;
const SLOW_MS = 4000;
const FAST_FOR_MS = 120_000;
const PROBE_MS = 4000;
const HANDSHAKE_MS = 5000;

/**
 * Reconnects soon after the server is back.  pusher-js alone may wait up to 15 s.  While there is no
 * connection, /up is requested about once a second, after two minutes every four to eight seconds, at
 * random times, so that clients do not come back all at once; when it answers, pusher-js connects anew.
 */
export class Recovery {
	#timer: ReturnType<typeof setTimeout> | undefined;
	#since = 0;
	#startedAt = 0;
	readonly #wake = () => { if (this.#since) this.#plan(0); };

	constructor(private readonly pusher: PusherLike, private readonly healthUrl: string) {
		addEventListener('online', this.#wake);
		document.addEventListener('visibilitychange', this.#wake);
	}

	stop(): void {
		this.connected();
		removeEventListener('online', this.#wake);
		document.removeEventListener('visibilitychange', this.#wake);
	}

	connected(): void {
		clearTimeout(this.#timer);
		this.#since = 0;
	}

	/** The connection was lost, and the application did not ask for that. */
	lost(): void {
		if (this.#since) return;
		this.#since = Date.now();
		this.#plan(this.#pause());
	}

	/**
	 * The server stops, and wants its clients to spread their return over this time: pusher-js would
	 * connect at once.
	 */
	sentAway(withinMs: number): void {
		this.#since ||= Date.now();
		this.#plan(Math.random() * withinMs);
		this.pusher.disconnect();
	}

	#pause(): number {
		const base = Date.now() - this.#since < FAST_FOR_MS ? FAST_MS : SLOW_MS;
		return base * (1 + Math.random() * (base === FAST_MS ? 0.5 : 1));
	}

	#plan(delay: number): void {
		clearTimeout(this.#timer);
		this.#timer = setTimeout(() => void this.#probe(), delay);
	}

	async #probe(): Promise<void> {
		const isUp = navigator.onLine && await answers(this.healthUrl);
		if (!this.#since || this.pusher.connection.state === 'connected') return;
		if (isUp && Date.now() - this.#startedAt > HANDSHAKE_MS) {
			this.#startedAt = Date.now();
			this.pusher.disconnect();
			this.pusher.connect();
		}
		this.#plan(this.#pause());
	}
}

async function answers(url: string): Promise<boolean> {
	try {
		const response = await fetch(url, { mode: 'no-cors', cache: 'no-store',
			signal: AbortSignal.timeout(PROBE_MS) });
		return response.type === 'opaque' || response.status < 500;
	} catch {
		return false;
	}
}
