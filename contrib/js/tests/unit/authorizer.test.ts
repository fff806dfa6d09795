// SPDX-License-Identifier: MIT
import { afterEach, expect, test, vi } from 'vitest';
import { BatchAuthorizer } from '../../src/authorizer.js';

const answer = (status: number, body: unknown) =>
	new Response(JSON.stringify(body), { status, headers: { 'Content-Type': 'application/json' } });
const bodies = (mock: ReturnType<typeof vi.fn>) => mock.mock.calls.map(([, init]) => JSON.parse(init.body));

afterEach(() => { vi.unstubAllGlobals(); });

function stub(reply: (body: any) => Response) {
	const mock = vi.fn(async (_url: string, init: RequestInit) => reply(JSON.parse(String(init.body))));
	vi.stubGlobal('fetch', mock);
	return mock;
}

test('channels of one turn are one request, and a denied one fails alone', async () => {
	const mock = stub(({ channel_names }) => answer(200, { channels: Object.fromEntries(channel_names.map(
		(n: string) => [n, n === 'private-b' ? { status: 403 } : { auth: `key:${n}` }])) }));
	const authorizer = new BatchAuthorizer({ endpoint: '/auth' });
	const all = await Promise.allSettled(['private-a', 'private-b', 'private-c'].map((n) => authorizer.authorize('1.2', n)));
	expect(bodies(mock)).toEqual([{ socket_id: '1.2', channel_names: ['private-a', 'private-b', 'private-c'] }]);
	expect(all.map((r) => r.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
	expect((all[1] as PromiseRejectedResult).reason.message).toContain('(403)');
});

test('more than 100 channels are several requests', async () => {
	const mock = stub(({ channel_names }) => answer(200, { channels: Object.fromEntries(channel_names.map(
		(n: string) => [n, { auth: 'key:x' }])) }));
	const authorizer = new BatchAuthorizer({ endpoint: '/auth' });
	await Promise.all(Array.from({ length: 150 }, (_, i) => authorizer.authorize('1.2', `private-${i}`)));
	expect(bodies(mock).map((b) => b.channel_names.length)).toEqual([100, 50]);
});

test('an endpoint without batches is remembered', async () => {
	const mock = stub((body) => (body.channel_names ? answer(400, {}) : answer(200, { auth: 'key:x' })));
	const authorizer = new BatchAuthorizer({ endpoint: '/auth' });
	for (let i = 0; i < 2; i++)
		await Promise.all(['private-a', 'private-b'].map((n) => authorizer.authorize('1.2', n)));
	expect(bodies(mock).map((b) => (b.channel_names ? 'batch' : b.channel_name)))
		.toEqual(['batch', 'private-a', 'private-b', 'private-a', 'private-b']);
});

test('an endpoint that is away for a moment still gets batches later', async () => {
	let isAway = true;
	const mock = stub((body) => (isAway ? answer(503, {})
		: answer(200, { channels: Object.fromEntries(body.channel_names.map((n: string) => [n, { auth: 'k:x' }])) })));
	const authorizer = new BatchAuthorizer({ endpoint: '/auth' });
	await Promise.allSettled(['private-a', 'private-b'].map((n) => authorizer.authorize('1.2', n)));
	isAway = false;
	await Promise.all(['private-a', 'private-b'].map((n) => authorizer.authorize('1.2', n)));
	expect(bodies(mock).at(-1)).toHaveProperty('channel_names');
});
