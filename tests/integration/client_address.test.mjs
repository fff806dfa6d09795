// SPDX-License-Identifier: MIT
// Who a client is behind proxies, and limits per client address.
import { test, describe, before, after } from 'node:test';
import assert from 'node:assert/strict';
import http from 'node:http';
import { Raw, Sync, authorize, request, startDaemon, waitFor } from '../lib/harness.mjs';

const forwarded = (address, more = {}) => ({ 'X-Forwarded-For': address, ...more });

/** The code of pusher:error when the handshake is refused, else undefined. */
async function refusal(daemon, headers, more = {}) {
	const wire = daemon.wire({ headers, ...more });
	const first = await wire.next((f) => f.event === 'pusher:error' ||
		f.event === 'pusher:connection_established');
	if (first.event === 'pusher:error') {
		const { code } = await wire.closed;
		const data = typeof first.data === 'string' ? JSON.parse(first.data) : first.data;
		assert.equal(code, data.code);
		return data;
	}
	await wire.close();
	return undefined;
}

/** The status of a signed GET with several headers of one name. */
function statusWith(daemon, headers) {
	const url = new URL(daemon.url);
	return new Promise((resolve, reject) => {
		http.get({ host: url.hostname, port: url.port, path: '/api/sync/online-users',
			headers: { Authorization: `Basic ${Buffer.from(`${daemon.app.key}:${daemon.app.secret}`)
				.toString('base64')}`, ...headers } }, (res) => {
			res.resume();
			res.on('end', () => resolve(res.statusCode));
		}).on('error', reject);
	});
}

describe('an application with tls_only behind a proxy', () => {
	let daemon, distrusting;
	before(async () => {
		daemon = await startDaemon({ app: { tls_only: 'yes' } });
		distrusting = await startDaemon({ app: { tls_only: 'yes' },
			server: { trusted_proxies: '192.0.2.0/24' } });
	});
	after(async () => {
		await daemon.stop();
		await distrusting.stop();
	});

	const cases = [
		['https', forwarded('198.51.100.1', { 'X-Forwarded-Proto': 'https' }), true],
		['wss', forwarded('198.51.100.1', { 'X-Forwarded-Proto': 'wss' }), true],
		['http', forwarded('198.51.100.1', { 'X-Forwarded-Proto': 'http' }), false],
		['the last of a list', forwarded('198.51.100.1', { 'X-Forwarded-Proto': 'https, http' }), false],
		['Forwarded', { Forwarded: 'for=198.51.100.1;proto=https' }, true],
		['Forwarded with http', { Forwarded: 'for=198.51.100.1;proto=http' }, false],
		['an address without a scheme', forwarded('198.51.100.1'), false],
	];
	for (const [name, headers, isSecure] of cases) {
		test(`WebSocket: ${name} is ${isSecure ? 'secure' : 'refused'}`, async () => {
			assert.equal((await refusal(daemon, headers))?.code, isSecure ? undefined : 4000);
			assert.equal((await refusal(distrusting, headers))?.code, 4000);
		});

		test(`HTTP: ${name} is ${isSecure ? 'secure' : 'refused'}`, async () => {
			assert.equal(await statusWith(daemon, headers), isSecure ? 200 : 403);
		});
	}

	test('of several X-Forwarded-For headers the last address counts', async () => {
		assert.equal(await statusWith(daemon, { 'X-Forwarded-For': ['127.0.0.1', '198.51.100.1'] }),
			403);
	});

	test('the log names the client, not the proxy', async () => {
		await refusal(daemon, forwarded('198.51.100.77', { 'X-Forwarded-Proto': 'http' }));
		await waitFor(() => /connection refused: 4000.*client 198\.51\.100\.77/.test(daemon.logText),
			'the line for the connection');
		await statusWith(daemon, forwarded('198.51.100.78'));
		await waitFor(() => /request refused: GET .*403.*Client 198\.51\.100\.78/.test(daemon.logText),
			'the line for the request');
	});
});

describe('limits per client address', () => {
	test('connections over max_connections_per_address are refused with 4100', async (t) => {
		const daemon = await startDaemon({ server: { max_connections_per_address: 2 } }, t);
		const from = (address) => daemon.connect({ headers: forwarded(address) });
		const first = await from('198.51.100.1');
		const second = await from('198.51.100.1, 127.0.0.1');
		assert.equal((await refusal(daemon, forwarded('198.51.100.1'))).code, 4100);
		const other = await from('198.51.100.2');
		const v6 = [await from('2001:db8::1'), await from('2001:db8::2')];
		assert.equal((await refusal(daemon, forwarded('2001:db8::3'))).code, 4100);
		await (await from('2001:db8:0:1::3')).close();
		await waitFor(() => /max_connections_per_address/.test(daemon.logText), 'a line in the log');
		await second.close();
		await waitFor(async () => !await refusal(daemon, forwarded('198.51.100.1')),
			'the place is free again');
		const local = await Promise.all([1, 2, 3, 4].map(() => daemon.connect()));
		await Promise.all([first, other, ...v6, ...local].map((w) => w.close()));
	});

	const long = '9.9.9.9, '.repeat(200) + '198.51.100.1';
	const written = [
		['a long X-Forwarded-For', forwarded(long)],
		['a long X-Forwarded-For and a Forwarded of the client',
			forwarded(long, { Forwarded: 'for=203.0.113.9' })],
		['two X-Forwarded-For', { 'X-Forwarded-For': ['203.0.113.9', '198.51.100.1'] }],
		['a long Forwarded', { Forwarded: 'for=9.9.9.9, '.repeat(200) + 'for=198.51.100.1' }],
		['two Forwarded', { Forwarded: ['for=203.0.113.9', 'for=198.51.100.1'] }],
	];
	for (const [name, headers] of written) {
		test(`${name}: the proxy's address of the client counts`, async (t) => {
			const daemon = await startDaemon({ server: { max_connections_per_address: 1 } }, t);
			const first = await daemon.connect({ headers });
			assert.equal((await refusal(daemon, headers))?.code, 4100);
			await waitFor(() => /connection refused: 4100.*client 198\.51\.100\.1\b/
				.test(daemon.logText), 'the line with the client');
			await first.close();
		});
	}

	test('behind a proxy, requests in progress count as connections of their client', async (t) => {
		const daemon = await startDaemon({ server: { max_connections_per_address: 2 } }, t);
		const half = async (address) => {
			const raw = await Raw.connect(daemon.port);
			t.after(() => raw.destroy());
			raw.write('POST /api/sync/heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n' +
				`X-Forwarded-For: ${address}\r\n\r\n`);
			return raw;
		};
		const status = (address) => statusWith(daemon, address ? forwarded(address) : {});
		const first = await half('198.51.100.1');
		await half('203.0.113.9, 198.51.100.1');
		await waitFor(async () => await status('198.51.100.1') === 429, 'the limit');
		assert.equal((await refusal(daemon, forwarded('198.51.100.1')))?.code, 4100);
		assert.equal(await status('198.51.100.2'), 200);
		for (let i = 0; i < 3; i++) await half('127.0.0.1');
		assert.equal(await status(), 200);
		await waitFor(() => /request refused: GET .*429.*max_connections_per_address.*198\.51\.100\.1\b/
			.test(daemon.logText), 'a line in the log');
		first.destroy();
		await waitFor(async () => await status('198.51.100.1') === 200, 'the place is free again');
		for (let i = 0; i < 5; i++) assert.equal(await status('198.51.100.1'), 200);
	});

	test('of several X-Forwarded-Proto the last counts', async (t) => {
		const daemon = await startDaemon({ app: { tls_only: 'yes' } }, t);
		const headers = (list) => forwarded('198.51.100.1', { 'X-Forwarded-Proto': list });
		assert.equal((await refusal(daemon, headers(['https', 'http'])))?.code, 4000);
		assert.equal(await refusal(daemon, headers(['http', 'https'])), undefined);
	});

	test('handshakes over max_handshakes_per_address are refused with 4100', async (t) => {
		const daemon = await startDaemon({ server: { max_handshakes_per_address: 1 } }, t);
		const answers = await Promise.all(Array.from({ length: 20 },
			() => refusal(daemon, forwarded('198.51.100.1'))));
		assert.ok(answers.some((a) => !a));
		assert.match(answers.find((a) => a?.code === 4100).message, /max_handshakes_per_address/);
		assert.equal(await refusal(daemon, forwarded('198.51.100.2')), undefined);
		await waitFor(async () => !await refusal(daemon, forwarded('198.51.100.1')),
			'a handshake later');
		await waitFor(() => /connection refused: 4100.*max_handshakes_per_address/.test(daemon.logText),
			'a line in the log');
	});

	test('a header of somebody who is not a trusted proxy does not change the address', async (t) => {
		const daemon = await startDaemon({ server: { trusted_proxies: 'none',
			max_connections_per_address: 1 } }, t);
		const wires = await Promise.all([1, 2, 3].map((n) => daemon.connect({
			headers: forwarded('198.51.100.1') })));
		assert.equal(wires.length, 3);
		await Promise.all(wires.map((w) => w.close()));
	});
});

describe('answers that a client does not read', () => {
	const HEAD = 'HTTP/1.1\r\nHost: x\r\n';
	const target = '/api/sync/events?limit=100';

	/** A daemon whose event log fills an answer of about a megabyte. */
	async function filled(t, server) {
		const daemon = await startDaemon({ server, sections: { admin: { listen: '127.0.0.1:0', local_read: 'yes' } } }, t);
		await daemon.query(`SELECT broadcast('news', 'Big', json_build_object('text', repeat('x', 9000)))
			FROM generate_series(1, 100)`);
		const basic = `Basic ${Buffer.from(`${daemon.app.key}:${daemon.app.secret}`).toString('base64')}`;
		const get = (address) => `GET ${target} ${HEAD}Authorization: ${basic}\r\nX-Forwarded-For: ${address}\r\n\r\n`;
		await waitFor(async () => (await Sync.server(daemon).get('events', { limit: '100' })).json.events.length === 100,
			'the events are in the log');
		const [, at] = /admin: listening on (\S+)/.exec(daemon.logText);
		const metric = async (name) => Number(new RegExp(`^scopewire_${name.replace(/[{}]/g, '\\$&')} (\\S+)$`, 'm')
			.exec((await request(`http://${at}/metrics`)).text)?.[1] ?? 0);
		const open = async () => {
			const raw = await Raw.connect(daemon.port);
			t.after(() => raw.destroy());
			return raw;
		};
		return { daemon, basic, get, metric, open };
	}

	/** Requests more answers than the kernel takes, and reads none. */
	async function stalled({ open, get, metric }, address) {
		const raw = await open();
		raw.socket.pause();
		raw.write(get(address).repeat(60));
		// What the kernel still takes is unread for a moment only: an answer that waits is the same at many looks.
		let before, same = 0;
		await waitFor(async () => {
			const now = await metric('http_unread_bytes');
			same = now > 500_000 && now === before ? same + 1 : 0;
			before = now;
			return same >= 50;
		}, 'an answer waits to be read');
		return raw;
	}

	test('their sum for one address is bounded; one more is refused, and its connection closed', async (t) => {
		const world = await filled(t, { max_unread_bytes_per_address: 1_000_000 });
		const first = await stalled(world, '198.51.100.1');
		const second = await world.open();
		second.write(world.get('198.51.100.1'));
		await waitFor(() => second.ended, 'the second connection is closed');
		assert.match(second.received.toString(), /^HTTP\/1\.1 503 [\s\S]*"unread_answers"[\s\S]*max_unread_bytes_per_address/);
		assert.match(second.received.toString(), /\r\nRetry-After: 1\r\n/);
		await waitFor(() => /request refused: .*503.*max_unread_bytes_per_address/.test(world.daemon.logText),
			'a line in the log');
		assert.equal(await world.metric('rate_limited_total{scope="unread_answers"}'), 1);
		const other = await world.open();
		other.write(world.get('198.51.100.2'));
		await waitFor(() => other.received.length > 900_000, 'another address is served');
		first.destroy();
		await waitFor(async () => await world.metric('http_unread_bytes') === 0, 'nothing waits');
		const third = await world.open();
		third.write(world.get('198.51.100.1'));
		await waitFor(() => third.received.length > 900_000, 'served again');
	});

	function post(target, authorization, address, value) {
		const body = JSON.stringify(value);
		return `POST ${target} ${HEAD}Authorization: ${authorization}\r\nX-Forwarded-For: ${address}\r\n` +
			`Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
	}

	test('a request that writes is refused before it is carried out', async (t) => {
		const world = await filled(t, { max_unread_bytes_per_address: 500_000 });
		await stalled(world, '198.51.100.1');
		const write = (address) => post('/api/sync/activities', world.basic, address, { type: 'written' });
		const answered = async () => {
			const raw = await world.open();
			raw.write(write('198.51.100.1'));
			await waitFor(() => raw.ended || /"id"/.test(raw.received.toString()), 'an answer');
			return raw.received.toString();
		};
		let done = 0; // while the kernel still takes answers
		const refused = await waitFor(async () => {
			const text = await answered();
			if (!/^HTTP\/1\.1 201 /.test(text)) return text;
			done++;
		}, 'a refusal');
		assert.match(refused, /^HTTP\/1\.1 503 [\s\S]*"unread_answers"/);
		assert.equal((await world.daemon.query('SELECT FROM activities')).length, done);
		const other = await world.open();
		other.write(write('198.51.100.2'));
		await waitFor(() => /^HTTP\/1\.1 20/.test(other.received.toString()), 'another address is served');
		assert.equal((await world.daemon.query('SELECT FROM activities')).length, done + 1);
	});

	test('a request that was carried out is answered, also when its answer goes over the limit', async (t) => {
		const world = await filled(t, { max_unread_bytes_per_address: 950_000 });
		await stalled(world, '198.51.100.1');
		const { daemon } = world;
		await daemon.query(`INSERT INTO channel_rules (pattern, rule) VALUES ('{name}', 'anyone')`);
		const wire = await daemon.connect();
		await authorize(wire, Sync.user(daemon, 1), 'presence-known');
		const second = await world.open();
		second.write(post('/broadcasting/auth', Sync.user(daemon, 1).authorization, '198.51.100.1',
			{ socket_id: wire.socketId,
				channel_names: Array.from({ length: 100 }, (_, i) => `presence-${'x'.repeat(150)}${i}`) }));
		await waitFor(() => second.ended || second.received.length > 30_000, 'an answer');
		assert.match(second.received.toString(), /^HTTP\/1\.1 200 /);
		await wire.close();
	});

	test('one answer alone is never refused, however large', async (t) => {
		const world = await filled(t, { max_unread_bytes_per_address: 1 });
		const raw = await world.open();
		raw.write(world.get('198.51.100.1').repeat(2));
		await waitFor(() => raw.received.length > 1_800_000, 'both are served');
	});
});
