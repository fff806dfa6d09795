// SPDX-License-Identifier: MIT
import type { ChannelAuthorization, ChannelAuthorizer } from './client.js';
import type { Tokens } from './tokens.js';

const MOST_NAMES = 100;

export interface AuthorizerOptions {
	/** Of the daemon or of Laravel: https://ws.example.com/broadcasting/auth */
	endpoint: string;
	/** Headers of each request, such as X-CSRF-TOKEN. */
	headers?: Record<string, string> | (() => Record<string, string>);
	/** 'include' when the endpoint of another origin needs cookies. */
	credentials?: RequestCredentials;
	/** false: one request for each channel. */
	batch?: boolean;
}

type Answer = ChannelAuthorization & { status?: number; error?: unknown; message?: string };

interface Waiting {
	channel: string;
	callback: (error: Error | null, data: ChannelAuthorization | null) => void;
}

/**
 * Authorizes all channels that are subscribed in one turn with one request.  An endpoint that does not
 * know channel_names[] gets a request for each channel from then on.
 */
export class BatchAuthorizer {
	readonly #waiting = new Map<string, Waiting[]>();
	#knowsBatches: boolean;

	constructor(private readonly options: AuthorizerOptions, private readonly tokens?: Tokens) {
		this.#knowsBatches = options.batch !== false;
	}

	/** For pusher-js: {channelAuthorization: {customHandler: authorizer.handler}}. */
	readonly handler: ChannelAuthorizer = ({ socketId, channelName }, callback) => {
		const queue = this.#waiting.get(socketId);
		if (queue) {
			queue.push({ channel: channelName, callback });
			return;
		}
		this.#waiting.set(socketId, [{ channel: channelName, callback }]);
		queueMicrotask(() => setTimeout(() => this.#flush(socketId)));
	};

	/** One channel, as a promise. */
	authorize(socketId: string, channelName: string): Promise<ChannelAuthorization> {
		return new Promise((resolve, reject) => {
			this.handler({ socketId, channelName },
				(error, data) => (data ? resolve(data) : reject(error ?? new Error('not authorized'))));
		});
	}

	#flush(socketId: string): void {
		const all = this.#waiting.get(socketId) ?? [];
		this.#waiting.delete(socketId);
		for (let i = 0; i < all.length; i += MOST_NAMES) {
			const part = all.slice(i, i + MOST_NAMES);
			if (part.length > 1 && this.#knowsBatches) void this.#together(socketId, part);
			else for (const one of part) void this.#single(socketId, one);
		}
	}

	async #together(socketId: string, waiting: Waiting[]): Promise<void> {
		let answers: Record<string, Answer> | null = null;
		try {
			const response = await this.#post({ socket_id: socketId,
				channel_names: waiting.map((w) => w.channel) });
			answers = response.ok ? (await response.json() as { channels?: Record<string, Answer> }).channels ?? null
				: null;
			if (!answers && response.status < 500 && response.status !== 401 && response.status !== 429)
				this.#knowsBatches = false;
		} catch { /* each channel's own request reports the error */ }
		for (const one of waiting) {
			const answer = answers?.[one.channel];
			if (answer?.auth) one.callback(null, answer);
			else if (answer) one.callback(refused(one.channel, answer.status ?? 403), null);
			else void this.#single(socketId, one);
		}
	}

	async #single(socketId: string, { channel, callback }: Waiting): Promise<void> {
		try {
			const response = await this.#post({ socket_id: socketId, channel_name: channel });
			if (!response.ok) throw refused(channel, response.status);
			callback(null, await response.json() as ChannelAuthorization);
		} catch (error) {
			callback(error as Error, null);
		}
	}

	async #post(body: Record<string, unknown>): Promise<Response> {
		const first = await this.#send(body);
		if (first.status !== 401 || !this.tokens?.isAvailable) return first;
		await this.tokens.refresh('refused');
		return this.#send(body);
	}

	async #send(body: Record<string, unknown>): Promise<Response> {
		const { endpoint, headers = {}, credentials } = this.options;
		const token = await this.tokens?.get();
		return fetch(endpoint, {
			method: 'POST', ...(credentials && { credentials }), body: JSON.stringify(body),
			headers: { Accept: 'application/json', 'Content-Type': 'application/json',
				...(token && { Authorization: `Bearer ${token}` }),
				...(typeof headers === 'function' ? headers() : headers) },
		});
	}
}

/** The error in the form that pusher-js passes to pusher:subscription_error. */
function refused(channel: string, status: number): Error {
	return Object.assign(new Error(`scopewire: ${channel} was not authorized (${status})`),
		{ type: 'AuthError', status });
}
