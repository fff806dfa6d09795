// SPDX-License-Identifier: MIT
// A daemon with 10,000 connections that is stopped under load: /ready is false first, clients are sent away one
// portion after the other with the time over which to return, and no committed event is lost.
import test from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { APP, request, startDaemon, waitFor } from '../lib/harness.mjs';

const CONNECTIONS = 10000, AT_ONCE = 200, DRAIN_MS = 8000, PUBLISHERS = 4;
const HANDSHAKE = `GET /app/${APP.key}?protocol=7 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n` +
	'Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n';

/**
 * A connection that keeps the last bytes only: 10,000 clients of the other tests need too much memory.
 * Resolves when it is established; hint is that of the error 4200.
 */
function light(port) {
	const self = { hint: undefined };
	self.established = new Promise((resolve, reject) => {
		const socket = self.socket = net.connect(port, '127.0.0.1', () => socket.write(HANDSHAKE));
		let tail = '';
		socket.on('data', (bytes) => {
			tail = (tail + bytes.toString('latin1')).slice(-2000);
			if (tail.includes('connection_established')) resolve(self);
			const found = /"reconnect_within_ms":(\d+)/.exec(tail);
			if (found && /"code":4200/.test(tail)) self.hint = Number(found[1]);
		});
		socket.on('error', () => {});
		socket.on('close', () => { self.isClosed = true; reject(new Error('closed')); });
	});
	self.established.catch(() => {});
	return self;
}

test('10,000 clients are sent away under load, and nothing is lost', { timeout: 300000 }, async (t) => {
	const daemon = await startDaemon({ app: { max_replay_events: 0 }, server: { drain_wait_ms: 5000, drain_ms: DRAIN_MS },
		sections: { admin: { listen: '127.0.0.1:0', local_read: 'yes' } } }, t);
	const [, admin] = /admin: listening on (\S+)/.exec(daemon.logText);
	const open = async () => Number(/^scopewire_connections (\d+)$/m.exec(
		(await request(`http://${admin}/metrics`)).text)[1]);
	const clients = [];
	t.after(() => clients.forEach((one) => one.socket.destroy()));
	while (clients.length < CONNECTIONS) {
		const some = Array.from({ length: AT_ONCE }, () => light(daemon.port));
		clients.push(...some);
		await Promise.all(some.map((one) => one.established));
	}
	const reader = await daemon.connect();
	await reader.subscribe('orders');
	assert.equal(await open(), CONNECTIONS + 1);

	const accepted = [];
	let isOver = false;
	const publishers = Array.from({ length: PUBLISHERS }, async (_, p) => {
		const api = daemon.api();
		for (let n = 0; !isOver; n++) {
			const answer = await api.trigger('orders', 'E', { id: `${p}-${n}` }).catch(() => null);
			if (answer?.status !== 200) return;
			accepted.push(`${p}-${n}`);
		}
	});
	await waitFor(() => accepted.length > 50, 'events are accepted');

	process.kill(daemon.pid, 'SIGTERM');
	const seen = new Set();
	await waitFor(async () => (await daemon.http('/ready')).status === 503, '/ready is false');
	assert.equal(clients.filter((one) => one.hint !== undefined || one.isClosed).length, 0,
		'/ready was false before a client was sent away');
	const during = accepted.length;
	await waitFor(() => accepted.length > during, 'events are accepted while /ready is false');
	for (;;) {
		const n = await open().catch(() => null);
		if (n === null) break;
		seen.add(n);
	}
	assert.equal((await daemon.child.ended).code, 0, daemon.logText.slice(-2000));
	isOver = true;
	await Promise.all(publishers);
	await waitFor(() => clients.every((one) => one.isClosed), 'all connections are closed');

	assert.deepEqual([...new Set(clients.map((one) => one.hint))], [DRAIN_MS], 'all have the hint');
	const between = [...seen].filter((n) => n > 0 && n < CONNECTIONS);
	assert.ok(between.length >= 3, `the number of connections fell in steps: ${[...seen].slice(0, 20)}`);

	// What the reader got, and what it gets when it returns, is each event that was accepted, once and in order.
	const position = reader.all({ event: 'E' }).map((frame) => JSON.parse(frame.data).id);
	await daemon.stop();
	await daemon.start();
	const again = await daemon.connect();
	again.sendSubscribe('orders', { since: `${reader.epoch}:0` });
	await again.next({ event: 'scopewire:replayed' });
	const all = again.all({ event: 'E' }).map((frame) => JSON.parse(frame.data).id);
	assert.equal(new Set(all).size, all.length);
	for (const id of accepted) assert.ok(all.includes(id), `${id} is in the log`);
	assert.deepEqual(position, all.slice(0, position.length));
});
