// SPDX-License-Identifier: MIT
// The protocol over real sockets: both families, a prefix, TLS, and what ends a connection.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, Raw, frame, startDaemon, waitFor, within, tlsServer }
	from '../lib/harness.mjs';
import { APP_PATH, light } from './ws_witness.mjs';

/** A connection that is upgraded, told an error with that code, and closed with it. */
async function refused(wire, code) {
	const error = await wire.next({ event: 'pusher:error' });
	assert.equal(error.data.code, code);
	assert.equal(wire.frames.length, 1);
	assert.equal((await within(wire.closed, 'the close')).code, code);
}

describe('one daemon, every address family, path and transport', () => {
	const { ca, ...tls } = tlsServer();
	let daemon;

	before(async () => {
		// With a database: without one it is not known which applications there are.
		daemon = await startDaemon(light({ databaseMode: 'own', server: { host: '*', path: '/ws', workers: 2, ...tls },
		apps: [{ ...APP, durability: 'none', member_removed_delay_ms: 0 },
			{ id: 'secure', key: 'secure-key', secret: 's', tls_only: 'yes' },
			{ id: 'off', key: 'off-key', secret: 's', enabled: 'no' },
			{ id: 'strict', key: 'strict-key', secret: 's',
				allowed_origins: 'app.example.com, https://*.example.org' }] }));
	});
	after(() => daemon?.stop());

	const ways = { 'IPv4': 'ws://127.0.0.1', 'IPv6': 'ws://[::1]', 'TLS over IPv4': 'wss://127.0.0.1',
		'TLS over IPv6': 'wss://[::1]' };
	for (const [name, base] of Object.entries(ways)) {
		for (const prefix of ['/app/', '/ws/app/']) {
			test(`${name}, ${prefix}: connect, subscribe, hear, whisper, leave`, async () => {
				const options = { base: `${base}:${daemon.port}`, path: prefix, ca };
				const [a, b] = await Promise.all([daemon.connect(options), daemon.connect(options)]);
				assert.match(a.socketId, /^\d+\.\d+$/);
				assert.notEqual(a.socketId, b.socketId);
				assert.equal(a.activity_timeout, 120);
				await a.subscribe('presence-room', { channelData: { user_id: 'a' } });
				await b.subscribe('presence-room', { channelData: { user_id: 'b' } });
				await a.next({ event: 'pusher_internal:member_added', data: { user_id: 'b' } });
				await daemon.api().trigger('presence-room', 'made', { big: 'x'.repeat(9000) },
					{ socket_id: a.socketId });
				await b.next({ event: 'made', data: { big: 'x'.repeat(9000) } });
				a.send({ event: 'client-typing', channel: 'presence-room', data: { n: 1 } });
				await b.next({ event: 'client-typing', data: { n: 1 }, user_id: 'a' });
				assert.equal(a.all({ event: 'made' }).length, 0);
				await b.close();
				await a.next({ event: 'pusher_internal:member_removed', data: { user_id: 'b' } });
				await a.close();
			});
		}
	}

	test('errors are sent after the upgrade, with their codes', async () => {
		await refused(daemon.wire({ key: 'nobody' }), 4001);
		await refused(daemon.wire({ key: 'off-key' }), 4003);
		await refused(daemon.wire({ key: 'secure-key' }), 4000);
		await refused(daemon.wire({ path: '/nowhere/' }), 4005);
		await refused(daemon.wire({ path: '/', key: '' }), 4005);
		await refused(daemon.wire({ key: 'a/b' }), 4005);
		await refused(daemon.wire({ search: '?protocol=3' }), 4007);
		await refused(daemon.wire({ search: '?protocol=99' }), 4007);
		await refused(daemon.wire({ search: '?protocol=x' }), 4006);
		await refused(daemon.wire({ search: '?protocol=' }), 4006);
		await refused(daemon.wire({ key: 'x'.repeat(2000) }), 4005);
		for (const search of ['', '?', '?protocol=4', '?a=b&protocol=7&c', '?client=js&version=8.6.0'])
			await (await daemon.connect({ search })).close();
	});

	test('an app can require TLS', async () => {
		await (await daemon.connect({ key: 'secure-key', base: `wss://localhost:${daemon.port}`,
			ca })).close();
	});

	test('origins outside allowed_origins are refused', async () => {
		const origin = (value) => daemon.wire({ key: 'strict-key', origin: value });
		for (const good of ['https://app.example.com', 'http://app.example.com:8080',
			'https://x.example.org', undefined]) {
			const wire = await origin(good).established();
			await wire.close();
		}
		for (const bad of ['https://example.com', 'https://app.example.com.evil.net', 'null',
			'http://x.example.org', 'https://evil.net/app.example.com',
			`https://${'x'.repeat(3000)}.example.net`])
			await refused(origin(bad), 4009);
	});

	test('large and malformed messages are handled over TLS', async () => {
		const raw = await Raw.connect(daemon.port, '127.0.0.1', { ca });
		await raw.upgrade(APP_PATH);
		const name = 'e'.repeat(40000);
		raw.write(frame(JSON.stringify({ event: 'pusher:ping', data: name })));
		await waitFor(() => raw.messages.some((m) => m.event === 'pusher:pong'), 'the pong');
		raw.write(frame('x'.repeat(200000)));
		await waitFor(() => raw.messages.some((m) => m.event === 'pusher:error'), 'the error');
		raw.write(frame('{}', { mask: false }));
		assert.equal(await raw.closeCode(), 1002);
		await waitFor(() => raw.ended, 'the end');
		raw.destroy();
	});

	test('an incomplete or invalid TLS handshake does no harm', async (t) => {
		// Its own daemon: handshakes that are complete need longer on a busy machine.
		const hasty = await startDaemon(light({ server: { request_timeout_ms: 1000, ...tls } }), t);
		for (const bytes of [[0x16], [0x16, 3, 1, 0x40, 0], [0x16, ...Buffer.from('GET / HTTP/1.1')],
			[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]]) {
			const raw = await Raw.connect(hasty.port);
			raw.write(Buffer.from(bytes));
			await waitFor(() => raw.ended, `the end after ${bytes}`);
			raw.destroy();
		}
		assert.equal((await hasty.http('/up')).status, 200);
	});
});

describe('limits of connections', () => {
	test('the app\'s limit is 4004, the node\'s limit 4100', async (t) => {
		const daemon = await startDaemon(light({ server: { max_connections: 3, workers: 2 },
			apps: [{ ...APP, max_connections: 2 }, { id: 'b', key: 'b-key', secret: 's' }] }), t);
		const open = [await daemon.connect(), await daemon.connect()];
		await refused(daemon.wire(), 4004);
		open.push(await daemon.connect({ key: 'b-key' }));
		await refused(daemon.wire({ key: 'b-key' }), 4100);
		await open.pop().close();
		// The client can have closed before the daemon counts it.
		await waitFor(async () => (await daemon.api({ id: 'b', key: 'b-key', secret: 's' }).get('/connections')).json.connections === 0,
			'none left');
		open.push(await daemon.connect({ key: 'b-key' }));
		await open.shift().terminate();
		await open.pop().close();
		await waitFor(async () => (await daemon.api().get('/connections')).json.connections === 1,
			'one left');
		open.push(await daemon.connect());
		await refused(daemon.wire(), 4004);
	});
});

describe('numbers and strings', () => {
	test('what a client sends is received byte for byte', async (t) => {
		const daemon = await startDaemon(light({ app: { enable_client_messages: 'yes',
			enable_user_authentication: 'yes' } }), t);
		const [a, b] = await Promise.all([daemon.connect(), daemon.connect()]);
		const info = '{"big":18446744073709551615,"exp":1E+400,"zero":-0.0,"half":"\\ud800",' +
			'"nul":"\\u0000","\\u0000":1,"":2,"twice":1,"twice":2,"deep":[[[[[[[[[[0]]]]]]]]]]}';
		await a.subscribe('presence-x', { channelData: { user_id: '1' } });
		await b.subscribe('presence-x', { channelData: `{"user_id":9007199254740993,"user_info":${info}}` });
		const added = await a.next({ event: 'pusher_internal:member_added' });
		assert.equal(added.data, `{"user_id":"9007199254740993","user_info":${info}}`);
		for (const data of [info, '18446744073709551615', '1e999', '-0', '"\\udfff"', '""', 'null',
			'{}', JSON.stringify('x'.repeat(9000))]) {
			b.send(`{"event":"client-x","channel":"presence-x","data":${data}}`);
			await a.next({ event: 'client-x' });
			assert.ok(a.texts.at(-1).includes(`"data":${data},"user_id"`), a.texts.at(-1));
		}
		b.send('{"event":"client-x","channel":"presence-x"}');
		assert.ok(!('data' in await a.next({ event: 'client-x' })));
		const user = `{"id":"7","user_info":${info}}`;
		a.sendSignin(user);
		assert.equal((await a.next({ event: 'pusher:signin_success' })).data.user_data, user);
	});

	test('a number that clients would read differently is no user_id', async (t) => {
		const daemon = await startDaemon(light(), t);
		const wire = await daemon.connect();
		for (const id of ['1e3', '7.0', '-0', '1.5']) {
			wire.sendSubscribe('presence-x', { channelData: `{"user_id":${id}}` });
			const error = await wire.next({ event: 'pusher:subscription_error' });
			assert.match(error.data.error, /whole number/);
		}
	});
});

describe('liveness', () => {
	test('a silent client is pinged, and closed with 4201', async (t) => {
		// Those who answer have some seconds for it: this process, which answers for them, can be busy.
		const daemon = await startDaemon(light({ app: { ping_interval: 1, pong_timeout: 8 } }), t);
		const silently = { autoPong: false };
		/** Answers each ping in its own way; any frame is a sign of life. */
		const answering = async (answer) => {
			const wire = await daemon.connect(silently);
			wire.on('change', () => {
				if (wire.frames.at(-1)?.event === 'pusher:ping') answer(wire);
			});
			return wire;
		};
		const [silent, ...alive] = await Promise.all([daemon.connect(silently),
			answering((w) => w.send({ event: 'pusher:pong' })),
			answering((w) => w.send({ event: 'pusher:ping' })),
			answering((w) => w.socket.pong()),
			answering((w) => w.socket.ping('x'))]);
		const error = await silent.next({ event: 'pusher:error' });
		assert.equal(error.data.code, 4201);
		assert.equal(silent.all({ event: 'pusher:ping' }).length, 1);
		assert.equal((await within(silent.closed, 'the close')).code, 4201);
		for (const wire of alive) {
			await waitFor(() => wire.all({ event: 'pusher:ping' }).length >= 3, 'three pings');
			assert.equal(wire.closeCode, undefined);
		}
	});

	test('a client that answers only PING frames stays connected, on both ports', async (t) => {
		const { ca, ...tls } = tlsServer();
		const daemon = await startDaemon(light({ server: tls,
			app: { ping_interval: 1, pong_timeout: 5 } }), t);
		const wires = await Promise.all([daemon.connect(),
			daemon.connect({ base: `wss://127.0.0.1:${daemon.port}`, ca })]);
		for (const wire of wires) {
			let pings = 0;
			wire.socket.on('ping', () => { pings++; });
			await wire.subscribe('busy');
			await waitFor(() => pings >= 3, 'three PING frames');
			await daemon.api().trigger('busy', 'made', '1');
			await wire.next({ event: 'made' });
			assert.equal(wire.closeCode, undefined);
			assert.ok(wire.all({ event: 'pusher:ping' }).length >= 3);
		}
	});

	test('a WebSocket ping is answered', async (t) => {
		const daemon = await startDaemon(light(), t);
		const wire = await daemon.connect();
		const pong = new Promise((resolve) => wire.socket.once('pong', resolve));
		wire.socket.ping('hello');
		assert.equal((await within(pong, 'the pong')).toString(), 'hello');
	});
});

describe('stop', () => {
	test('a stop closes all clients with 4200, spread over drain_ms', async (t) => {
		const drain = 3000, n = 60;
		const daemon = await startDaemon(light({ server: { drain_ms: drain, workers: 2 } }));
		t.after(() => daemon.stop());
		const wires = await Promise.all(Array.from({ length: n }, () => daemon.connect()));
		const began = Date.now();
		const times = wires.map((w) => w.closed.then(({ code }) => {
			assert.equal(code, 4200);
			assert.equal(w.frames.at(-1).data.code, 4200);
			return Date.now() - began;
		}));
		await daemon.stop();
		const all = (await Promise.all(times)).sort((a, b) => a - b);
		assert.ok(all[n - 1] - all[0] > drain / 6, `spread over ${all[n - 1] - all[0]} ms`);
	});

	test('a stop does not wait for clients that do not answer', async () => {
		const daemon = await startDaemon(light({ server: { drain_ms: 100 } }));
		const raw = await Raw.connect(daemon.port);
		await raw.upgrade(APP_PATH);
		raw.socket.pause();
		const half = await Raw.connect(daemon.port);
		half.write('GET /app/');
		await daemon.stop();
		raw.destroy();
		half.destroy();
	});
});

describe('reload', () => {
	test('SIGHUP applies new apps and options and closes no client', async (t) => {
		const daemon = await startDaemon(light({ databaseMode: 'own', app: { enable_client_messages: 'no' } }), t);
		const [a, b] = await Promise.all([daemon.connect(), daemon.connect()]);
		await a.subscribe('private-x');
		await b.subscribe('private-x');
		a.send({ event: 'client-one', channel: 'private-x', data: 1 });
		await a.next({ event: 'pusher:error' });
		await refused(daemon.wire({ key: 'new-key' }), 4001);

		daemon.apps[0].enable_client_messages = 'yes';
		daemon.apps.push({ id: 'new', key: 'new-key', secret: 's' });
		daemon.writeConfig();
		process.kill(daemon.pid, 'SIGHUP');
		await waitFor(() => daemon.logText.includes('configuration reloaded'), 'the reload');
		await waitFor(async () => {
			a.send({ event: 'client-two', channel: 'private-x', data: 2 });
			await a.ping();
			await b.ping();
			return b.all({ event: 'client-two' }).length;
		}, 'a whisper to arrive');
		await (await daemon.connect({ key: 'new-key' })).close();
		assert.equal(b.closeCode, undefined);
		assert.equal((await daemon.api().trigger('private-x', 'still', '1')).status, 200);
		await a.next({ event: 'still' });
	});

	test('an invalid file changes nothing and is logged', async (t) => {
		const daemon = await startDaemon(light(), t);
		const wire = await daemon.connect();
		daemon.apps[0].ping_interval = 'often';
		daemon.writeConfig();
		process.kill(daemon.pid, 'SIGHUP');
		await waitFor(() => /reload refused, nothing changed: .*ping_interval/.test(daemon.logText),
			'the refusal');
		await wire.ping();
		await (await daemon.connect()).close();
	});

	test('an app removed from the file closes its clients', async (t) => {
		const daemon = await startDaemon(light({ apps: [{ ...APP, durability: 'none' },
			{ id: 'old', key: 'old-key', secret: 's' }] }), t);
		const [stays, goes] = [await daemon.connect(), await daemon.connect({ key: 'old-key' })];
		daemon.apps.pop();
		daemon.writeConfig();
		process.kill(daemon.pid, 'SIGHUP');
		assert.equal((await within(goes.closed, 'the close')).code, 4001);
		await stays.ping();
	});

	test('rows of the table apps apply without a restart', async (t) => {
		const daemon = await startDaemon({}, t);
		await daemon.query(`INSERT INTO apps (id, key, secret, enable_client_messages)
			VALUES ('table', 'table-key', 'table-secret', false)`);
		const app = { id: 'table', key: 'table-key', secret: 'table-secret' };
		/** Connects anew until the app is known. */
		const wire = await waitFor(async () => {
			const one = daemon.wire({ app });
			const first = await one.next((f) => f.event);
			if (first.event !== 'pusher:error') return one;
			one.terminate();
			return null;
		}, 'the app to be known');
		Object.assign(wire, JSON.parse(wire.frames[0].data));
		wire.socketId = wire.socket_id;
		await wire.subscribe('private-x');
		assert.equal((await daemon.api(app).trigger('private-x', 'made', '1')).status, 200);
		await wire.next({ event: 'made' });
		await daemon.query(`UPDATE apps SET enable_client_messages = true`);
		const other = await daemon.connect({ app });
		await other.subscribe('private-x');
		await waitFor(async () => {
			wire.send({ event: 'client-x', channel: 'private-x', data: 1 });
			await wire.ping();
			await other.ping();
			return other.all({ event: 'client-x' }).length;
		}, 'a whisper to arrive');
		await daemon.query(`DELETE FROM apps`);
		assert.equal((await within(wire.closed, 'the close')).code, 4001);
		await (await daemon.connect()).close();
	});
});
