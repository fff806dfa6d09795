// SPDX-License-Identifier: MIT
import { ApiError } from './api.js';
import type { Subscription } from './channel.js';
import { Emitter } from './emitter.js';
import type { RealtimeManager } from './manager.js';

export interface LockRequest {
	resource_type: string;
	resource_id: string;
	field: string | null;
	user_id: number | string;
	name: string | null;
	requested_at: string;
	expires_at: string;
}

export interface Lock {
	resource_type: string;
	resource_id: string;
	field: string | null;
	user_id: number | string;
	name: string | null;
	token: number;
	ttl: number;
	acquired_at: string;
	renewed_at: string;
	expires_at: string;
	requests: LockRequest[];
}

export interface LockEvents {
	/** The lock has another holder, or none: see lock and isMine. */
	change: Lock | null;
	/** Another user, or another tab of this one, would like to have the lock, which is this tab's. */
	request: LockRequest;
	/** The holder keeps the lock. */
	refused: { user_id: number | string; name: string | null; reason: string | null };
	/** The holder gave the lock to this tab. */
	granted: Lock;
}

export interface LockedThing {
	type: string;
	id: string;
	/** One field of it. */
	field?: string;
}

/** Browsers run the timers of a hidden tab once a minute, so it is extended in time even then. */
const TTL_S = 150;
const EXTEND_MS = TTL_S * 1000 / 3;

/**
 * An edit lock of the daemon, as this tab sees it.  It ends with the tab's connection.  The tabs of a user
 * differ by the token of the lock: only one of them has it.
 */
export class EditLock extends Emitter<LockEvents> {
	lock: Lock | null = null;
	#token = 0;
	/** Of the newest event or answer: older ones change nothing. */
	#newest = 0;
	/** The request of this tab that is not answered yet, with the socket that it was sent for. */
	#request: { socketId: string | undefined; ends: ReturnType<typeof setTimeout> } | null = null;
	#isStopped = false;
	/** Who has the lock was read once. */
	#isKnown = false;
	/** The answer to the newest attempt to acquire it was lost: this tab may have it. */
	#isUncertain = false;
	/** Calls are made one after the other: a release never overtakes what it releases. */
	#calls: Promise<unknown> = Promise.resolve();
	#extending: ReturnType<typeof setInterval> | undefined;
	#outdating: ReturnType<typeof setTimeout> | undefined;
	readonly #ending: (() => void)[] = [];

	constructor(private readonly manager: RealtimeManager, readonly thing: LockedThing) {
		super();
		const resource = manager.channel(`private-${thing.type}.${thing.id}`)
			.on('LockChanged', (event) => this.#changed(event))
			.onReady(() => void this.reload())
			.onResync(() => void this.reload());
		this.#ending.push(() => resource.leave(), () => clearTimeout(this.#outdating), manager.on('status', ({ state }) => {
			if (state !== 'connected') {
				this.#outdate();
				return;
			}
			clearTimeout(this.#outdating);
			this.#outdating = undefined;
			if (this.isMine) void this.#extend();
		}));
		void this.#followUser();
	}

	get isMine(): boolean {
		return this.#token !== 0 && this.lock?.token === this.#token;
	}

	/** Another tab has it: of another user, or of this one. */
	get isTheirs(): boolean {
		return this.lock !== null && !this.isMine;
	}

	/** This user has it, in this tab or another one. */
	get isOwn(): boolean {
		return this.lock !== null && String(this.lock.user_id) === this.manager.userId;
	}

	get isRequesting(): boolean {
		return this.#request !== null;
	}

	/** Releases the lock if it is this tab's, and listens no more. */
	stop(): void {
		if (this.#isStopped) return;
		void this.release();
		this.#endRequest();
		this.#isStopped = true;
		for (const end of this.#ending.splice(0)) end();
	}

	/** Resolves to whether this tab has the lock; false too when the daemon cannot be reached. */
	take(): Promise<boolean> {
		return this.#next(async () => {
			// Before a reload this user may have had it in this window: extending that lock would keep it without a holder.
			if (!this.#isKnown) await this.#read();
			if (this.isMine || this.#isStopped) return this.isMine;
			if (this.isTheirs && !(this.#isUncertain && this.isOwn)) return false;
			return this.#acquire({});
		});
	}

	release(): Promise<void> {
		return this.#next(async () => {
			if (!this.isMine) return;
			const token = this.#token;
			this.#lose();
			this.#set(null, token);
			await this.#post('locks/release', { token });
		});
	}

	/** Requests the lock from its holder; wait: seconds until the request ends. */
	request(wait: number): Promise<boolean> {
		this.#beginRequest(wait);
		return this.#next(async () => {
			const answer = await this.#post<{ lock: Lock }>('locks/request', { ttl: TTL_S, wait }, true);
			// Its time begins when it is stored, which may be long after the call.
			if (answer && this.#request) this.#beginRequest(wait);
			else this.#endRequest();
			if (!answer && !this.lock) return this.#acquire({});
			return Boolean(answer);
		});
	}

	/** Takes the lock from another tab of this user, which is not asked; false if another user has it by now. */
	takeHere(): Promise<boolean> {
		return this.#next(async () => {
			if (this.isMine || this.#isStopped) return this.isMine;
			const { lock } = this;
			if (!lock) return this.#acquire({});
			if (!this.isOwn) return false;
			if (!await this.#post('locks/request', { ttl: TTL_S, wait: 30 }, true)) return false;
			const answer = await this.#post<{ lock: Lock }>('locks/grant', { to: lock.user_id, token: lock.token });
			if (!answer || this.#isStopped) return false;
			this.#own(answer.lock);
			this.emit('granted', answer.lock);
			return true;
		});
	}

	#beginRequest(wait: number): void {
		this.#endRequest();
		this.#request = { socketId: this.manager.socketId, ends: setTimeout(() => this.#endRequest(), wait * 1000) };
	}

	#endRequest(): void {
		clearTimeout(this.#request?.ends);
		this.#request = null;
	}

	/** Gives the lock to a user who requested it. */
	grant(to: number | string): Promise<void> {
		return this.#next(async () => {
			if (!this.isMine) return;
			const answer = await this.#post<{ lock: Lock }>('locks/grant', { to, token: this.#token });
			if (answer) this.#take(answer.lock);
		});
	}

	/** Keeps the lock. */
	refuse(to: number | string, reason?: string): Promise<void> {
		return this.#next(async () => {
			if (this.isMine) await this.#post('locks/refuse', { to, token: this.#token, ...(reason && { reason }) });
		});
	}

	/** Reads who has the lock. */
	reload(): Promise<void> {
		return this.#next(() => this.#read());
	}

	/** In #calls only: an answer that another call overtook is older than what that one has changed. */
	async #read(): Promise<void> {
		try {
			const answer = await this.manager.api.get<{ lock: Lock | null; last_token: number }>('locks', this.#fields);
			this.#isKnown = true;
			if (!this.#isStopped) this.#take(answer.lock, answer.last_token);
		} catch { /* the next event or subscription has the state */ }
	}

	get #fields(): Record<string, string> {
		const { type, id, field } = this.thing;
		return { resource_type: type, resource_id: id, ...(field && { field }) };
	}

	#next<T>(call: () => Promise<T>): Promise<T> {
		const made = this.#calls.then(call);
		this.#calls = made.catch(() => {});
		return made;
	}

	/** Null when it was refused: the lock is then the one that the answer has. */
	async #post<T>(path: string, body: Record<string, unknown>, isTied = false): Promise<T | null> {
		const { api, socketId } = this.manager;
		const tie = isTied && socketId ? { socket_id: socketId } : {};
		try {
			return await api.post<T>(path, { ...this.#fields, ...body, ...tie }, { keepalive: true });
		} catch (error) {
			if (!(error instanceof ApiError)) throw error;
			if (path === 'locks') this.#isUncertain = error.isTemporary;
			// The daemon does not know that the connection is the user's: the lock ends by its time.
			if ('socket_id' in tie && ['socket_forbidden', 'unknown_socket'].includes(error.code))
				return this.#post(path, body);
			if (error.status === 409) this.#take(error.body.lock as Lock | null);
			return null;
		}
	}

	async #acquire(more: { token?: number }): Promise<boolean> {
		const answer = await this.#post<{ lock: Lock; renewed: boolean; alone: boolean }>('locks', { ttl: TTL_S, ...more }, true);
		if (!answer) return false;
		this.#isUncertain = false;
		// Another tab of this user has it; if only this one's socket has, an earlier answer was lost.
		if (answer.renewed && !answer.alone && answer.lock.token !== this.#token) {
			this.#take(answer.lock);
			return false;
		}
		this.#own(answer.lock);
		return true;
	}

	/** Also after a reconnect: the lock is tied to the new connection then. */
	#extend(): Promise<unknown> {
		return this.#next(async () => {
			if (!this.isMine || this.#isStopped) return;
			const known = new Set(this.lock!.requests.map((r) => r.user_id));
			if (!await this.#acquire({ token: this.#token })) {
				if (!this.lock && !this.isMine) await this.#acquire({});
				return;
			}
			for (const request of this.lock!.requests)
				if (!known.has(request.user_id)) this.emit('request', request);
		});
	}

	#own(lock: Lock): void {
		this.#token = lock.token;
		this.#endRequest();
		clearInterval(this.#extending);
		this.#extending = setInterval(() => void this.#extend(), EXTEND_MS);
		this.#take(lock);
	}

	/** Without a connection it is not known whether the holder still has it: its time is what counts then. */
	#outdate(): void {
		if (this.isTheirs) this.#outdating ??= setTimeout(() => {
			if (this.isTheirs) this.#set(null, 0);
		}, this.lock!.ttl * 1000);
	}

	#lose(): void {
		this.#token = 0;
		clearInterval(this.#extending);
	}

	/** The state of the lock in an answer or an event. */
	#take(lock: Lock | null, newest = lock?.token ?? 0): void {
		if (this.#token && lock?.token !== this.#token) this.#lose();
		this.#set(lock, newest);
	}

	#set(lock: Lock | null, newest: number): void {
		const isOther = this.lock?.token !== lock?.token;
		this.lock = lock;
		this.#newest = Math.max(this.#newest, newest);
		if (isOther) this.emit('change', lock);
	}

	#isFor({ field }: { field: string | null }): boolean {
		return (field ?? '') === (this.thing.field ?? '');
	}

	#changed(event: { field: string | null; lock: Lock | null; previous: { token: number } | null }): void {
		const token = event.lock?.token ?? event.previous?.token ?? 0;
		if (!this.#isFor(event)) return;
		void this.#next(async () => {
			if (token >= this.#newest && !(event.lock === null && this.lock && this.lock.token > token))
				this.#take(event.lock, token);
		});
	}

	async #followUser(): Promise<void> {
		const name = await this.manager.userChannel();
		if (this.#isStopped || !name) return;
		const isThis = (event: LockRequest) => event.resource_type === this.thing.type
			&& event.resource_id === this.thing.id && this.#isFor(event);
		const own: Subscription = this.manager.channel(name)
			.on('LockRequested', (request: LockRequest) => {
				if (!isThis(request) || !this.isMine) return;
				this.lock = { ...this.lock!, requests: [...this.lock!.requests, request] };
				this.emit('request', request);
			})
			.on('LockRefused', (answer) => {
				if (!isThis(answer) || !this.#request) return;
				this.#endRequest();
				this.emit('refused', answer);
			})
			.on('LockGranted', (event) => {
				if (!isThis(event) || !this.#request || String(event.lock.user_id) !== this.manager.userId) return;
				const { socketId } = this.#request;
				this.#endRequest();
				// Another tab of this user requested it too, and the lock is tied to that one.
				if (event.socket_id && event.socket_id !== socketId) return;
				void this.#next(async () => {
					if (this.#isStopped || event.lock.token < this.#newest) return;
					this.#own(event.lock);
					this.emit('granted', event.lock);
				});
			});
		this.#ending.push(() => own.leave());
	}
}
