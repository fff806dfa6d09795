// SPDX-License-Identifier: MIT
// The WebSocket opening handshake (RFC 6455 section 4.2), with and without TLS.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { Raw, startDaemon, tlsServer, waitFor } from '../lib/harness.mjs';
import { APP_PATH, light } from './ws_witness.mjs';

const { ca, ...TLS } = tlsServer();
const HALF_HEADS = 200;
let daemon;

before(async () => {
	daemon = await startDaemon(light({ server: { request_timeout_ms: 120000, workers: 1, ...TLS },
		log: { level: 'info' } }));
});
after(() => daemon?.stop());

const head = (path = APP_PATH, more = '') => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n` +
	'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
	`Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${more}\r\n`;

test('a handshake that RFC 6455 does not allow is answered with its reason, on both ports', async () => {
	const key = /Sec-WebSocket-Key.*\r\n/, version = /Sec-WebSocket-Version.*\r\n/;
	for (const [from, to, status] of [[key, '', 400], [key, 'Sec-WebSocket-Key: short\r\n', 400],
		[/Connection.*\r\n/, '', 400], [/Upgrade: .*\r\n/, '', 426], [version, '', 426],
		...['8', '99', 'abc', '13, 8', '013', ''].map((v) =>
			[version, `Sec-WebSocket-Version: ${v}\r\n`, 426])])
		for (const tls of [undefined, { ca }]) {
			const raw = await Raw.connect(daemon.port, '127.0.0.1', tls);
			raw.write(head().replace(from, to));
			await waitFor(() => raw.ended, 'the end');
			assert.match(raw.text, new RegExp(`^HTTP/1.1 ${status} `), `${from} ${to}`);
			if (status === 426) assert.match(raw.text, /\r\nSec-WebSocket-Version: 13\r\n/);
		}
});

test('the first subprotocol that the client offers is selected, on both ports', async () => {
	for (const tls of [undefined, { ca }])
		for (const [offer, selected] of [['x, y', 'x'], ['v10.stomp', 'v10.stomp'], [undefined, undefined]]) {
			const raw = await Raw.connect(daemon.port, '127.0.0.1', tls);
			const answer = await raw.upgrade(APP_PATH, { 'Sec-WebSocket-Protocol': offer,
				'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits',
				Connection: 'keep-alive, Upgrade' });
			assert.match(answer, /^HTTP\/1.1 101 /);
			assert.equal(/Sec-WebSocket-Protocol: (.*)\r\n/i.exec(answer)?.[1], selected);
			assert.doesNotMatch(answer, /Extensions/i);
			await waitFor(() => raw.messages.length, 'the greeting');
			raw.destroy();
		}
});

test('a head over the limit is 431 and in the log, on both ports', async () => {
	for (const tls of [undefined, { ca }])
		for (const path of [APP_PATH, '/apps/1/channels', '/up', '/api/sync/events']) {
			const raw = await Raw.connect(daemon.port, '127.0.0.1', tls);
			raw.write(head(path, `Cookie: a=${'x'.repeat(16500)}\r\n`));
			await waitFor(() => raw.ended, 'the end');
			assert.match(raw.text, /^HTTP\/1.1 431 /, path);
		}
	await waitFor(() => /431/.test(daemon.logText), 'a log line');
});

test('half of a handshake delays no other client, on both ports', async () => {
	for (const tls of [undefined, { ca }]) {
		const halves = await Promise.all(Array.from({ length: HALF_HEADS }, async () =>
			(await Raw.connect(daemon.port, '127.0.0.1', tls))
				.write(`GET ${APP_PATH} HTTP/1.1\r\n`)));
		const raw = await Raw.connect(daemon.port, '127.0.0.1', tls);
		assert.match(await raw.upgrade(APP_PATH), /^HTTP\/1.1 101 /);
		await waitFor(() => raw.messages.length, 'the greeting');
		for (const one of [...halves, raw]) one.destroy();
	}
});

test('the protocol counts whatever its length is, and after arguments of any length', async () => {
	const long = 'x'.repeat(200);
	for (const query of [`protocol=${'9'.repeat(40)}`, `version=${long}&protocol=3`, `protocol=3&version=${long}`]) {
		const wire = daemon.wire({ search: `?${query}` });
		assert.equal((await wire.next({ event: 'pusher:error' })).data.code, 4007, query);
		await wire.closed;
	}
});
