// SPDX-License-Identifier: MIT
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { BatchAuthorizer } from '../../src/authorizer.js';

// An application's endpoint over HTTP, which answers as the test specifies; the daemon's own is in the
// tests in the browser.
let server: Server | undefined;
let bodies: any[];

afterEach(() => { server?.closeAllConnections(); server?.close(); });

const answer = (status: number, body: unknown) => ({ status, body });

/** The endpoint's address; bodies has what it received. */
async function endpoint(reply: (body: any) => { status: number; body: unknown }): Promise<string> {
	bodies = [];
	server = createServer(async (request, response) => {
		let text = '';
		for await (const part of request) text += part;
		bodies.push(JSON.parse(text));
		const { status, body } = reply(bodies.at(-1));
		response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
	});
	await new Promise<void>((resolve) => { server!.listen(0, '127.0.0.1', resolve); });
	return `http://127.0.0.1:${(server.address() as AddressInfo).port}/auth`;
}

test('channels of one turn are one request, and a denied one fails alone', async () => {
	const address = await endpoint(({ channel_names }) => answer(200, { channels: Object.fromEntries(channel_names.map(
		(n: string) => [n, n === 'private-b' ? { status: 403 } : { auth: `key:${n}` }])) }));
	const authorizer = new BatchAuthorizer({ endpoint: address });
	const all = await Promise.allSettled(['private-a', 'private-b', 'private-c'].map((n) => authorizer.authorize('1.2', n)));
	expect(bodies).toEqual([{ socket_id: '1.2', channel_names: ['private-a', 'private-b', 'private-c'] }]);
	expect(all.map((r) => r.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
	expect((all[1] as PromiseRejectedResult).reason.message).toContain('(403)');
});

test('more than 100 channels are several requests', async () => {
	const address = await endpoint(({ channel_names }) => answer(200, { channels: Object.fromEntries(channel_names.map(
		(n: string) => [n, { auth: 'key:x' }])) }));
	const authorizer = new BatchAuthorizer({ endpoint: address });
	await Promise.all(Array.from({ length: 150 }, (_, i) => authorizer.authorize('1.2', `private-${i}`)));
	// the requests are sent together: they arrive in any order
	expect(bodies.map((b) => b.channel_names.length).sort()).toEqual([100, 50]);
});

test('an endpoint without batches is remembered', async () => {
	const address = await endpoint((body) => (body.channel_names ? answer(400, {}) : answer(200, { auth: 'key:x' })));
	const authorizer = new BatchAuthorizer({ endpoint: address });
	for (let i = 0; i < 2; i++)
		await Promise.all(['private-a', 'private-b'].map((n) => authorizer.authorize('1.2', n)));
	const received = bodies.map((b) => (b.channel_names ? 'batch' : b.channel_name));
	expect(received[0]).toBe('batch');
	expect(received.slice(1).sort()).toEqual(['private-a', 'private-a', 'private-b', 'private-b']);
});

test('an endpoint that is away for a moment still gets batches later', async () => {
	let isAway = true;
	const address = await endpoint((body) => (isAway ? answer(503, {})
		: answer(200, { channels: Object.fromEntries(body.channel_names.map((n: string) => [n, { auth: 'k:x' }])) })));
	const authorizer = new BatchAuthorizer({ endpoint: address });
	await Promise.allSettled(['private-a', 'private-b'].map((n) => authorizer.authorize('1.2', n)));
	isAway = false;
	await Promise.all(['private-a', 'private-b'].map((n) => authorizer.authorize('1.2', n)));
	expect(bodies.at(-1)).toHaveProperty('channel_names');
});
