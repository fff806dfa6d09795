// SPDX-License-Identifier: MIT
import { ApiError, type SyncApi } from './api.js';

export type PresenceStatus = 'online' | 'away' | 'busy' | 'offline';

export interface PresenceOptions {
	location?: string;
	status?: PresenceStatus;
	info?: Record<string, unknown>;
	/** A user with no visible tab for this time is away; 0: never. */
	awayAfterMs?: number;
}

interface Answer { ttl: number; unread_count: number; status: PresenceStatus }

const FIRST_TTL_S = 90;
const SOON_MS = 200;     // several channels are subscribed at once

/**
 * Keeps the user's presence, and ties it to the connection of the tab: when the tab is closed the user is
 * offline after the daemon's grace period.  Browsers run the timers of a hidden tab once a minute, so a beat that is due
 * is also sent when a frame arrives on the socket; frames are not delayed.
 */
export class Heartbeat {
	#timer: ReturnType<typeof setTimeout> | undefined;
	#dueAt = 0;
	#ttlMs = FIRST_TTL_S * 1000;
	#hiddenSince = 0;
	#isRunning = false;
	#soon: ReturnType<typeof setTimeout> | undefined;
	/** The socket ids that the last heartbeat named, and that the daemon did not accept. */
	#tied: string | undefined;
	#refused: string | undefined;
	#stopVisible: (() => void) | null = null;
	readonly #onVisibility = () => { void this.#visibilityChanged(); };
	onAnswer: (answer: Answer) => void = () => {};

	constructor(private readonly api: SyncApi, private readonly lockName: string,
		private options: PresenceOptions,
		/** The connection, once the daemon may know whose it is. */
		private readonly socketId: () => string | undefined = () => undefined) {}

	start(): void {
		if (this.#isRunning) return;
		this.#isRunning = true;
		document.addEventListener('visibilitychange', this.#onVisibility);
		void this.#visibilityChanged();
	}

	stop(): void {
		this.#isRunning = false;
		clearTimeout(this.#timer);
		clearTimeout(this.#soon);
		this.#stopVisible?.();
		this.#stopVisible = null;
		document.removeEventListener('visibilitychange', this.#onVisibility);
	}

	/** Changes what is sent, and sends it. */
	async set(options: PresenceOptions): Promise<void> {
		this.options = { ...this.options, ...options };
		await this.#beat();
	}

	/** Called for each frame from the server. */
	tick(): void {
		if (this.#isRunning && Date.now() >= this.#dueAt) void this.#beat();
	}

	/** Called for each guarded channel: from then on the daemon may know whose connection it is. */
	subscribed(): void {
		if (!this.#isRunning || (this.#tied !== undefined && this.socketId() === this.#tied)) return;
		this.#refused = undefined;
		clearTimeout(this.#soon);
		this.#soon = setTimeout(() => void this.#beat(), SOON_MS);
	}

	async #visibilityChanged(): Promise<void> {
		const isHidden = document.visibilityState === 'hidden';
		this.#hiddenSince = isHidden ? Date.now() : 0;
		this.#stopVisible?.();
		this.#stopVisible = isHidden ? null : holdShared(this.lockName);
		await this.#beat();
	}

	async #status(): Promise<PresenceStatus | undefined> {
		const { awayAfterMs = 300_000, status } = this.options;
		if (status && status !== 'online') return status;
		if (!this.#hiddenSince || !awayAfterMs) return 'online';
		if (await isHeld(this.lockName)) return 'online';     // another tab is visible
		return Date.now() - this.#hiddenSince >= awayAfterMs ? 'away' : 'online';
	}

	/** Without the connection while the daemon does not know that it is the user's: the TTL alone counts then. */
	async #post(body: Record<string, unknown>): Promise<Answer> {
		const socketId = this.socketId();
		if (!socketId || socketId === this.#refused) return this.api.post<Answer>('heartbeat', body);
		try {
			const answer = await this.api.post<Answer>('heartbeat', { ...body, socket_id: socketId });
			this.#tied = socketId;
			return answer;
		} catch (error) {
			if (!(error instanceof ApiError) || !['socket_forbidden', 'unknown_socket'].includes(error.code))
				throw error;
			this.#refused = socketId;
			return this.api.post<Answer>('heartbeat', body);
		}
	}

	async #beat(): Promise<void> {
		clearTimeout(this.#timer);
		this.#dueAt = Date.now() + this.#ttlMs / 3;
		try {
			const { location, info } = this.options;
			const answer = await this.#post({ status: await this.#status(),
				...(location !== undefined && { location }), ...(info && { info }) });
			this.#ttlMs = answer.ttl * 1000;
			this.onAnswer(answer);
		} catch { /* the next beat tries again */ }
		this.#dueAt = Math.min(this.#dueAt, Date.now() + this.#ttlMs / 3);
		if (this.#isRunning)
			this.#timer = setTimeout(() => this.tick(), Math.max(250, this.#dueAt - Date.now()));
	}
}

/** Holds a shared lock until the returned function is called. */
function holdShared(name: string): () => void {
	let release = () => {};
	const held = new Promise<void>((resolve) => { release = resolve; });
	navigator.locks?.request(name, { mode: 'shared' }, () => held).catch(() => {});
	return release;
}

async function isHeld(name: string): Promise<boolean> {
	const state = await navigator.locks?.query();
	return Boolean(state?.held?.some((lock) => lock.name === name));
}
