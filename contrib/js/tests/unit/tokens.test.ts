// SPDX-License-Identifier: MIT
import { afterEach, expect, test, vi } from 'vitest';
import { Tokens, claimsOf } from '../../src/tokens.js';

const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
const token = (claims: object) => `${part({ alg: 'HS256' })}.${part(claims)}.signature`;
const inSeconds = (n: number) => Math.floor(Date.now() / 1000) + n;

afterEach(() => { vi.useRealTimers(); });

test('claims are read, also names outside ASCII', () => {
	expect(claimsOf(token({ sub: '7', name: 'Zoë Åström' }))).toEqual({ sub: '7', name: 'Zoë Åström' });
});

test('text that is no token has no claims', () => {
	for (const text of ['', 'x', 'a.b.c', '..']) expect(claimsOf(text)).toEqual({});
});

test('calls at the same time share one fetch', async () => {
	const source = vi.fn(async () => token({ exp: inSeconds(3600) }));
	const tokens = new Tokens(source);
	await Promise.all([tokens.get(), tokens.get(), tokens.refresh()]);
	expect(source).toHaveBeenCalledTimes(1);
	tokens.stop();
});

test('a token is fetched again a minute before it expires', async () => {
	vi.useFakeTimers();
	const source = vi.fn(async () => token({ exp: inSeconds(600) }));
	const tokens = new Tokens(source);
	await tokens.get();
	await vi.advanceTimersByTimeAsync(530_000);
	expect(source).toHaveBeenCalledTimes(1);
	await vi.advanceTimersByTimeAsync(15_000);
	expect(source).toHaveBeenCalledTimes(2);
	tokens.stop();
});

test('a token that arrives after stop() is not renewed, nor is one whose fetch fails then', async () => {
	vi.useFakeTimers();
	for (const end of [async () => token({ exp: inSeconds(600) }), async () => { throw new Error('away'); }]) {
		let go = () => {};
		const source = vi.fn().mockResolvedValueOnce(token({ exp: inSeconds(600) }))
			.mockImplementationOnce(() => new Promise<void>((resolve) => { go = resolve; }).then(end))
			.mockResolvedValue(token({ exp: inSeconds(1200) }));
		const tokens = new Tokens(source);
		await tokens.get();
		await vi.advanceTimersByTimeAsync(545_000);
		expect(source).toHaveBeenCalledTimes(2);
		tokens.stop();
		go();
		await vi.advanceTimersByTimeAsync(1_200_000);
		expect(source).toHaveBeenCalledTimes(2);
	}
});

test('a refresh that fails is tried again, and the old token stays', async () => {
	vi.useFakeTimers();
	const good = token({ exp: inSeconds(600) });
	const source = vi.fn().mockResolvedValueOnce(good).mockRejectedValueOnce(new Error('away'))
		.mockResolvedValue(token({ exp: inSeconds(1200) }));
	const tokens = new Tokens(source);
	const errors: unknown[] = [];
	tokens.onError = (error) => errors.push(error);
	await tokens.get();
	await vi.advanceTimersByTimeAsync(545_000);
	expect(errors).toHaveLength(1);
	expect(await tokens.get()).toBe(good);
	await vi.advanceTimersByTimeAsync(40_000);
	expect(await tokens.get()).not.toBe(good);
	tokens.stop();
});
