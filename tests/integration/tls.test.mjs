// SPDX-License-Identifier: MIT
// What is special to TLS: requests in one record, the end of a connection, the first head, the stop.
process.env.SCOPEWIRE_TEST_TLS = '1';
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import tls from 'node:tls';
import { APP, Raw, frame, pause, signedQuery, startDaemon, suiteCertificate, waitFor }
	from '../lib/harness.mjs';

const FREE = { ...APP, durability: 'none', max_request_bytes: '300000', max_connections: '0' };
const PATH = `/apps/${APP.id}/events`;
const EVENT = JSON.stringify({ name: 'n', channel: 'c', data: 'd' });
const UPGRADE = `GET /app/${APP.key}?protocol=7 HTTP/1.1\r\nHost: localhost\r\n` +
	'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
	'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
let daemon, wss;

before(async () => {
	daemon = await startDaemon({ app: FREE, server: { request_timeout_ms: 120000, workers: 1 } });
	wss = { base: `wss://${daemon.address}`, ca: suiteCertificate().ca };
});
after(() => daemon?.stop());

/** A signed POST as text. */
function post(body = EVENT, { more = '', send = body } = {}) {
	return `POST ${PATH}?${signedQuery(APP, 'POST', PATH, {}, body)} HTTP/1.1\r\nHost: localhost\r\n` +
		(/Transfer-Encoding/.test(more) ? '' : `Content-Length: ${Buffer.byteLength(body)}\r\n`) +
		`${more}\r\n${send}`;
}

const statuses = (raw) => [...raw.text.matchAll(/HTTP\/1.1 (\d+) /g)].map((m) => Number(m[1]));

/** Whether a thread of the process runs, or would if a CPU were free. */
const runs = (pid) => fs.readdirSync(`/proc/${pid}/task`).some((thread) => {
	try {
		return /\) R /.test(fs.readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8'));
	} catch {
		return false;    // it has just ended
	}
});

/** Waits until all threads of the daemon wait for a while.  On a busy machine one that never waits uses little CPU. */
async function idle(pid = daemon.pid) {
	await waitFor(async () => {
		for (let n = 0; n < 10; n++) {
			if (runs(pid)) return false;
			await pause(20);
		}
		return true;
	}, 'the daemon to be idle');
}

describe('requests in one write', () => {
	const cases = {
		'two that are refused at once': [post().replace(/\?\S*/, '').repeat(2), [401, 401]],
		'two that are answered': [post().repeat(2), [200, 200]],
		'a GET behind a POST': [`${post()}GET /up HTTP/1.1\r\nHost: h\r\n\r\n`, [200, 200]],
		'a POST behind a GET': [`GET /up HTTP/1.1\r\nHost: h\r\n\r\n${post()}`, [200, 200]],
		'an unknown route, HEAD, OPTIONS, DELETE': [
			['GET /none', 'HEAD /up', 'OPTIONS /api/sync/heartbeat', 'DELETE /api/sync/locks/1']
				.map((line) => `${line} HTTP/1.1\r\nHost: h\r\n\r\n`).join(''), [404, 200, 204, 404]],
		'a chunked body and one more': [post(EVENT, { more: 'Transfer-Encoding: chunked\r\n',
			send: `5\r\n${EVENT.slice(0, 5)}\r\n${(EVENT.length - 5).toString(16)}\r\n` +
				`${EVENT.slice(5)}\r\n0\r\n\r\n` }) + post(), [200, 200]],
	};
	for (const [name, [bytes, wanted]] of Object.entries(cases))
		test(`${name}: all are answered in order, then the daemon is idle`, async () => {
			const raw = await Raw.connect(daemon.port);
			raw.write(bytes);
			await waitFor(() => raw.ended || statuses(raw).length >= wanted.length, 'the answers');
			assert.deepEqual(statuses(raw), wanted);
			await idle();    // with the connection, and without it
			raw.destroy();
			await idle();
		});

	test('half of a second request is answered once the rest is there', async () => {
		const raw = await Raw.connect(daemon.port);
		raw.write(post() + post().slice(0, -5));
		await waitFor(() => raw.ended || statuses(raw).length, 'the first answer');
		await idle();
		raw.write(post().slice(-5));
		await waitFor(() => raw.ended || statuses(raw).length === 2, 'the second answer');
		assert.deepEqual(statuses(raw), [200, 200]);
		raw.destroy();
	});

	test('half a request is answered with 408, and WebSocket connections work meanwhile', async (t) => {
		const hasty = await startDaemon({ app: FREE, server: { request_timeout_ms: 8000 } }, t);
		const halves = await Promise.all(Array.from({ length: 20 }, async (_, i) =>
			(await Raw.connect(hasty.port)).write(post().slice(0, -1 - i))));
		const wire = await hasty.connect({ ...wss, base: `wss://${hasty.address}` });
		await wire.subscribe('c');
		await waitFor(() => halves.every((raw) => raw.ended), 'the connections to be closed');
		for (const raw of halves) assert.deepEqual(statuses(raw), [408]);
		await wire.close();
		await idle(hasty.pid);
	});

	test('an upgrade behind a request is answered with 426', async () => {
		const raw = await Raw.connect(daemon.port);
		raw.write(`GET /up HTTP/1.1\r\nHost: h\r\n\r\n${UPGRADE}\r\n`);
		await waitFor(() => raw.ended, 'the server to close');
		assert.deepEqual(statuses(raw), [200, 426]);
	});
});

test('a request with Expect: 100-continue is continued at once', async () => {
	const body = JSON.stringify({ name: 'n', channel: 'c', data: 'x'.repeat(9000) });
	const raw = await Raw.connect(daemon.port);
	raw.write(post(body, { more: 'Expect: 100-continue\r\n', send: '' }));
	await waitFor(() => raw.ended || /^HTTP\/1.1 100 /.test(raw.text), '100');
	raw.write(body);
	await waitFor(() => raw.ended || statuses(raw).length === 2, 'the answer');
	assert.deepEqual(statuses(raw), [100, 200]);
	raw.destroy();
});

test('a client that closes its side receives the answer, with and without close_notify', async () => {
	for (const abrupt of [false, true]) {
		const raw = await Raw.connect(daemon.port);
		raw.socket.allowHalfOpen = true;
		raw.write(post());
		if (abrupt) await new Promise((sent) => raw.socket.write('', sent));
		if (abrupt) raw.tcp.end();
		else raw.socket.end();
		await waitFor(() => raw.ended && statuses(raw).length, 'the answer');
		assert.deepEqual(statuses(raw), [200]);
		raw.destroy();
	}
});

test('large bodies pass both ways while the client reads slowly', async () => {
	const raw = await Raw.connect(daemon.port);
	const body = JSON.stringify({ name: 'n', channel: 'c', data: 'x'.repeat(250000) });
	raw.socket.pause();
	for (let i = 0; i < 5; i++) raw.write(post(body));
	await idle();
	raw.socket.resume();
	await waitFor(() => raw.ended || statuses(raw).length === 5, 'the answers');
	assert.deepEqual(statuses(raw), Array(5).fill(413));
	raw.destroy();
});

test('a session is resumed, and each version from TLS 1.2 on is served', async () => {
	for (const version of ['TLSv1.2', 'TLSv1.3']) {
		const options = { ...suiteCertificate(), minVersion: version, maxVersion: version };
		const first = await Raw.connect(daemon.port, '127.0.0.1', options);
		let session = first.socket.getSession();
		first.socket.on('session', (s) => { session = s; });
		first.write('GET /up HTTP/1.1\r\nHost: h\r\n\r\n');
		await waitFor(() => first.text.endsWith('}'), 'the answer');
		const second = await Raw.connect(daemon.port, '127.0.0.1', { ...options, session });
		assert.equal(second.socket.isSessionReused(), true, version);
		first.destroy();
		second.destroy();
	}
	await assert.rejects(Raw.connect(daemon.port, '127.0.0.1', { ...suiteCertificate(),
		minVersion: 'TLSv1', maxVersion: 'TLSv1.1' }));
});

test('http/1.1 is negotiated', async () => {
	const socket = tls.connect({ port: daemon.port, host: '127.0.0.1', ALPNProtocols: ['h2', 'http/1.1'],
		...suiteCertificate() });
	await new Promise((resolve, reject) => {
		socket.on('secureConnect', resolve).on('error', reject);
	});
	assert.equal(socket.alpnProtocol, 'http/1.1');
	socket.destroy();
});

describe('WebSocket', () => {
	test('frames in the write of the handshake are read, and the unmasked are refused', async () => {
		const ping = '{"event":"pusher:ping"}';
		for (const [mask, code] of [[true, undefined], [false, 1002]]) {
			const raw = await Raw.connect(daemon.port);
			raw.write(Buffer.concat([Buffer.from(`${UPGRADE}\r\n`), frame(ping, { mask })]));
			await waitFor(() => raw.received.includes('\r\n\r\n') || raw.ended, 'the answer');
			const end = raw.received.indexOf('\r\n\r\n') + 4;
			assert.match(raw.text, /^HTTP\/1.1 101 /);
			raw.received = raw.received.subarray(end);
			raw.upgraded = true;
			raw.socket.emit('data', Buffer.alloc(0));     // frames behind the head are parsed
			if (code) assert.equal(await raw.closeCode(), code);
			else await waitFor(() => raw.messages.some((m) => m.event === 'pusher:pong'), 'a pong');
			raw.destroy();
		}
	});

	test('a head that arrives byte by byte is read', async () => {
		const raw = await Raw.connect(daemon.port);
		raw.socket.setNoDelay(true);
		for (const byte of `${UPGRADE}\r\n`)
			await new Promise((sent) => raw.socket.write(byte, sent));
		await waitFor(() => raw.received.includes('pusher:connection_established') || raw.ended,
			'the connection');
		assert.match(raw.text, /^HTTP\/1.1 101 /);
		raw.destroy();
	});

	test('connections without a complete head do not delay others', async () => {
		const waiting = await Promise.all(Array.from({ length: 300 }, async () =>
			(await Raw.connect(daemon.port)).write(`GET /app/${APP.key} HTTP/1.1\r\n`)));
		const wire = await daemon.connect(wss);
		assert.ok(waiting.every((raw) => !raw.ended), 'none of them was dropped yet');
		await wire.close();
		for (const raw of waiting) raw.destroy();
	});
});
