// SPDX-License-Identifier: MIT
import type { Tokens } from './tokens.js';

/** An answer that is an error, or no answer: status 0, code "network". */
export class ApiError extends Error {
	constructor(readonly status: number, readonly code: string, message: string,
		readonly body: Record<string, unknown> = {}, readonly retryAfterMs = 0) {
		super(message);
		this.name = 'ApiError';
	}

	/** The session or the token has ended: 419 is Laravel's answer to a form of an ended session. */
	get isSignedOut(): boolean {
		return this.status === 401 || this.status === 419;
	}

	/** The same request may succeed later. */
	get isTemporary(): boolean {
		return this.status === 0 || this.status === 429 || this.status >= 500;
	}
}

/** Of an error that has one; 0 otherwise. */
export const statusOf = (error: unknown): number => Number((error as { status?: unknown } | null)?.status) || 0;

export type Fields = Record<string, unknown>;

export interface CallOptions {
	idempotencyKey?: string;
	keepalive?: boolean;
	signal?: AbortSignal;
}

function queryOf(fields: Fields): string {
	const query = new URLSearchParams();
	for (const [name, value] of Object.entries(fields))
		if (value !== undefined && value !== null && value !== '') query.set(name, String(value));
	const text = query.toString();
	return text && `?${text}`;
}

export async function errorOf(response: Response): Promise<ApiError> {
	const text = await response.text();
	let body: { error?: { code?: string; message?: string }; message?: string } = {};
	try {
		body = JSON.parse(text);
	} catch { /* not ours: a proxy's page */ }
	const seconds = Number(response.headers.get('Retry-After'));
	return new ApiError(response.status, body.error?.code ?? 'http',
		body.error?.message ?? body.message ?? `the server answered ${response.status}`,
		body as Record<string, unknown>, seconds > 0 ? seconds * 1000 : 0);
}

/** The sync API as the user of the token; a token that was refused is refreshed once. */
export class SyncApi {
	constructor(readonly base: string, private readonly tokens: Tokens) {}

	get<T>(path: string, fields: Fields = {}, options: CallOptions = {}): Promise<T> {
		return this.call('GET', path + queryOf(fields), undefined, options);
	}

	post<T>(path: string, body: Fields = {}, options: CallOptions = {}): Promise<T> {
		return this.call('POST', path, body, options);
	}

	async call<T>(method: string, path: string, body: unknown, options: CallOptions): Promise<T> {
		let response = await this.#send(method, path, body, options);
		if (response.status === 401 && this.tokens.isAvailable) {
			await this.#token(() => this.tokens.refresh('refused'));
			response = await this.#send(method, path, body, options);
		}
		if (!response.ok) throw await errorOf(response);
		return response.status === 204 ? undefined as T : await response.json() as T;
	}

	/** A source of tokens may throw an error with the status of the application's answer. */
	async #token<T>(get: () => Promise<T>): Promise<T> {
		try {
			return await get();
		} catch (error) {
			throw new ApiError(statusOf(error), 'token', error instanceof Error ? error.message : String(error));
		}
	}

	async #send(method: string, path: string, body: unknown, options: CallOptions): Promise<Response> {
		const token = await this.#token(() => this.tokens.get());
		try {
			return await fetch(this.base + path, {
				method, keepalive: options.keepalive ?? false,
				...(options.signal && { signal: options.signal }),
				headers: {
					Accept: 'application/json',
					...(token && { Authorization: `Bearer ${token}` }),
					...(body !== undefined && { 'Content-Type': 'application/json' }),
					...(options.idempotencyKey && { 'Idempotency-Key': options.idempotencyKey }),
				},
				...(body !== undefined && { body: JSON.stringify(body) }),
			});
		} catch (error) {
			if (options.signal?.aborted) throw error;
			throw new ApiError(0, 'network', 'the server cannot be reached');
		}
	}
}
