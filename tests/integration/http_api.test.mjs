// SPDX-License-Identifier: MIT
// The HTTP API over the network (protocol A9): every call, its answers and its statuses.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, Api, Raw, md5, request, signedQuery, startDaemon, suiteAgent,
	waitFor, within } from '../lib/harness.mjs';

const LIMITED = { id: 'limited', key: 'limited-key', secret: 'limited-secret', durability: 'none',
	max_backend_events_per_second: '5', max_read_requests_per_second: '3' };
const DISABLED = { id: 'disabled', key: 'disabled-key', secret: 'disabled-secret', enabled: 'no' };
const MAIN = { ...APP, channel_durability: 'free-*:none, soon-*:async',
	max_presence_members: '10', max_request_bytes: '50000' };

let daemon, api;

before(async () => {
	daemon = await startDaemon({ apps: [MAIN, LIMITED, DISABLED], server: { path: '/ws' } });
	api = daemon.api();
});
after(() => daemon?.stop());

const isText = (answer, status, pattern) => {
	assert.equal(answer.status, status, answer.text);
	assert.match(answer.text, pattern);
	assert.match(answer.headers['content-type'], /^text\/plain/);
};
const isJson = (answer, wanted, status = 200) => {
	assert.equal(answer.status, status, answer.text);
	assert.equal(answer.headers['content-type'], 'application/json');
	assert.deepEqual(answer.json, wanted);
};

describe('POST /events', () => {
	test('commits, then delivers with id and serial, then answers {}', async () => {
		const client = await daemon.connect();
		await client.subscribe('orders');
		isJson(await api.trigger('orders', 'App\\Events\\Made', { a: 'ä"\\\n' }), {});
		const frame = await client.next({ event: 'App\\Events\\Made' });
		assert.equal(frame.channel, 'orders');
		assert.equal(frame.data, JSON.stringify({ a: 'ä"\\\n' }));
		const [row] = await daemon.query(
			'SELECT * FROM realtime_events WHERE event_id = $1', [frame.id]);
		assert.equal(row.serial, String(frame.serial));
		assert.equal(row.event_type, 'App\\Events\\Made');
		assert.equal(row.delivered, true);
		client.terminate();
	});

	test('one trigger may have channels of every durability', async () => {
		const client = await daemon.connect();
		for (const c of ['mixed', 'free-x', 'soon-x']) await client.subscribe(c);
		isJson(await api.trigger(['mixed', 'free-x', 'soon-x'], 'mix', 'd'), {});
		for (const c of ['mixed', 'free-x', 'soon-x'])
			await waitFor(() => client.all({ event: 'mix', channel: c }).length === 1, c);
		const rows = () => daemon.query(
			"SELECT channel FROM realtime_events WHERE event_type = 'mix' ORDER BY channel");
		await waitFor(async () => (await rows()).length === 2, 'two rows');
		assert.deepEqual((await rows()).map((r) => r.channel), ['mixed', 'soon-x']);
		client.terminate();
	});

	test('socket_id leaves one connection out', async () => {
		const [a, b] = [await daemon.connect(), await daemon.connect()];
		await a.subscribe('both');
		await b.subscribe('both');
		isJson(await api.trigger('both', 'first', '1', { socket_id: a.socketId }), {});
		isJson(await api.trigger('both', 'second', '2'), {});
		await b.next({ event: 'first' });
		await a.next({ event: 'second' });
		assert.equal(a.all({ event: 'first' }).length, 0);
		a.terminate();
		b.terminate();
	});

	test('info is read after publishing', async () => {
		const client = await daemon.connect();
		await client.subscribe('presence-room', { channelData: { user_id: '1' } });
		await client.subscribe('plain');
		isJson(await api.trigger(['presence-room', 'plain'], 'n', 'd',
			{ info: 'user_count,subscription_count' }), { channels: {
			'presence-room': { user_count: 1, subscription_count: 1 },
			plain: { subscription_count: 1 } } });
		client.terminate();
	});

	test('the member channel works, and so does the configured path prefix', async () => {
		isJson(await api.post('/events', { name: 'n', channel: 'c', data: 'd' }), {});
		isJson(await daemon.api(daemon.app, `${daemon.url}/ws`)
			.post('/events', { name: 'n', channel: 'c', data: 'd' }), {});
		isJson(await daemon.api(daemon.app, `${daemon.url}/ws/`)
			.post('/events', { name: 'n', channel: 'c', data: 'd' }), {});
	});

	test('a signature counts over the path from /apps on and over the whole path', async () => {
		const { app } = daemon;
		const status = async (method, sent, signed) => {
			const body = method === 'POST' ? '{"name":"n","channel":"c","data":"d"}' : '';
			const query = signedQuery(app, method, signed, {}, body);
			return (await request(`${daemon.url}${sent}?${query}`, { method, body,
				headers: body ? { 'Content-Type': 'application/json' } : {} })).status;
		};
		for (const [method, rest] of [['POST', 'events'], ['GET', 'channels'], ['GET', 'channels/c'],
			['GET', 'sync/online-users']]) {
			const bare = `/apps/${app.id}/${rest}`, whole = `/ws${bare}`;
			assert.equal(await status(method, whole, whole), 200, `${method} ${whole}`);
			assert.equal(await status(method, whole, bare), 200);
			assert.equal(await status(method, bare, bare), 200);
			assert.equal(await status(method, bare, whole), 401);
			assert.equal(await status(method, whole, `/other${bare}`), 401);
			assert.equal(await status(method, whole, `${whole}/`), 401);
		}
	});

	test('data with NUL is delivered and logged unchanged; other strings may not have one', async () => {
		const client = await daemon.connect();
		await client.subscribe('nul');
		for (const data of ['a\0b', '{"t":"a\\u0000b","n":18446744073709551616}', '']) {
			isJson(await api.post('/events', { name: 'nul', channel: 'nul', data }), {});
			assert.equal((await client.next({ event: 'nul' })).data, data);
			const [row] = await daemon.query(`SELECT payload::text AS text, payload_is_text AS is_text
				FROM realtime_events WHERE channel = 'nul' ORDER BY serial DESC LIMIT 1`);
			assert.equal(row.is_text ? JSON.parse(row.text) : row.text, data);
		}
		isJson(await api.post('/batch_events', { batch: [{ name: 'nul', channel: 'nul', data: '\0' }] }),
			{});
		assert.equal((await client.next({ event: 'nul' })).data, '\0');
		client.terminate();
		isText(await api.post('/events', { name: 'a\0b', channel: 'c', data: '' }), 400, /NUL/);
		isText(await api.post('/events', { name: 'a', channel: 'c\0d', data: '' }), 400, /channel name/i);
		isText(await api.post('/events', '{"name":"n","channel":"c","data":"d","\\u0000":1}'), 400,
			/a name with NUL/);
		isText(await api.post('/events', '{"name":"n","channel":"c","data":"d","x":1e999}'), 400,
			/a number that is too large/);
		isText(await api.post('/events', '{"name":"n","channel":"c","data":"\\ud800"}'), 400,
			/half of a surrogate pair/);
		isText(await api.post('/events', '{"name":"n","channel":"c","data":"d"'), 400,
			/not valid JSON \(line 1/);
	});

	test('limits on channels, names and payload are enforced', async () => {
		isJson(await api.trigger('c', 'n', 'x'.repeat(10240)), {});
		isText(await api.trigger('c', 'n', 'x'.repeat(10241)), 413, /at most 10240/);
		isText(await api.trigger('c', 'n', 'x'.repeat(50000)), 413, /50000 bytes/);
		const fromSql = (n) => daemon.query(
			`SELECT broadcast('c', 'n', ('"' || repeat('x', ${n}) || '"')::json, app => '${APP.id}')`);
		await fromSql(10200);
		await assert.rejects(fromSql(10300), /10240/);
		isJson(await api.trigger('c', 'n'.repeat(200), 'd'), {});
		isText(await api.trigger('c', 'n'.repeat(201), 'd'), 400, /200/);
		isJson(await api.trigger('c'.repeat(200), 'n', 'd'), {});
		isText(await api.trigger('c'.repeat(201), 'n', 'd'), 400, /200/);
		const many = Array.from({ length: 101 }, (_, i) => `free-${i}`);
		isJson(await api.trigger(many.slice(1), 'n', 'd'), {});
		isText(await api.trigger(many, 'n', 'd'), 400, /100 channels/);
	});
});

describe('POST /batch_events', () => {
	test('delivers in order and answers {} or aligned arrays', async () => {
		const client = await daemon.connect();
		await client.subscribe('batch');
		const event = (name, more) => ({ name, channel: 'batch', data: name, ...more });
		isJson(await api.post('/batch_events', { batch: [event('a'), event('b'), event('c')] }), {});
		for (const name of 'abc') await client.next({ event: name });
		assert.deepEqual(client.frames.filter((f) => /^[abc]$/.test(f.event)).map((f) => f.event),
			['a', 'b', 'c']);
		isJson(await api.post('/batch_events', { batch: [event('a'),
			event('b', { info: 'subscription_count' })] }),
		{ batch: [{}, { subscription_count: 1 }] });
		client.terminate();
	});

	test('a batch is published completely or not at all', async () => {
		isText(await api.post('/batch_events', { batch: [{ name: 'half', channel: 'c', data: '1' },
			{ name: 'half', channel: 'no such name', data: '2' }] }), 400, /Invalid channel name/);
		isText(await api.post('/batch_events', { batch: Array(11).fill(
			{ name: 'half', channel: 'c', data: 'd' }) }), 400, /at most 10 events/);
		isJson(await api.post('/events', { name: 'whole', channel: 'c', data: 'd' }), {});
		assert.deepEqual(await daemon.query(
			"SELECT event_type FROM realtime_events WHERE event_type = 'half'"), []);
	});
});

describe('reading state', () => {
	let client;
	before(async () => {
		client = await daemon.connect();
		await client.subscribe('presence-read',
			{ channelData: { user_id: '7', user_info: { name: 'Ada' } } });
		await client.subscribe('read-a');
	});
	after(() => client.terminate());

	test('GET /channels does not list users\' own channels', async () => {
		const user = await daemon.connect();
		user.sendSignin({ id: 'listed' });
		await user.next({ event: 'pusher:signin_success' });
		await user.subscribe('#server-to-user-listed');
		const { channels } = (await api.get('/channels')).json;
		assert.ok(channels['read-a']);
		assert.deepEqual(Object.keys(channels).filter((name) => /^[#!]/.test(name)), []);
		user.terminate();
	});

	test('GET /channels lists occupied channels with the requested info', async () => {
		isJson(await api.get('/channels', { filter_by_prefix: 'presence-read', info: 'user_count' }),
			{ channels: { 'presence-read': { user_count: 1 } } });
		isJson(await api.get('/channels', { filter_by_prefix: 'read-' }), { channels: { 'read-a': {} } });
		isJson(await api.get('/channels', { filter_by_prefix: 'nobody' }), { channels: {} });
		isText(await api.get('/channels', { info: 'user_count' }), 400, /filter_by_prefix/);
		isText(await api.get('/channels', { info: 'what' }), 400, /Unknown attribute/);
		const all = await api.get('/channels');
		assert.ok(all.json.channels['presence-read'] && all.json.channels['read-a']);
	});

	test('GET /channels/{name} returns the state of one channel', async () => {
		isJson(await api.get('/channels/read-a'), { occupied: true });
		isJson(await api.get('/channels/presence-read', { info: 'user_count,subscription_count' }),
			{ occupied: true, user_count: 1, subscription_count: 1 });
		isJson(await api.get('/channels/empty', { info: 'subscription_count' }),
			{ occupied: false, subscription_count: 0 });
		isText(await api.get('/channels/read-a', { info: 'user_count' }), 400, /presence/);
	});

	test('GET /channels/{name} returns a cache channel\'s last event', async () => {
		isJson(await api.get('/channels/cache-x', { info: 'cache' }), { occupied: false, cache: null });
		await api.trigger('cache-x', 'n', '{"k":"ü"}');
		const { json } = await api.get('/channels/cache-x', { info: 'cache' });
		assert.equal(json.cache.data, '{"k":"ü"}');
		assert.ok(json.cache.ttl > 1790 && json.cache.ttl <= 1800);
		isText(await api.get('/channels/read-a', { info: 'cache' }), 400, /cache/);
	});

	test('GET /channels/{name}/users lists presence members', async () => {
		isJson(await api.get('/channels/presence-read/users'), { users: [{ id: '7' }] });
		isJson(await api.get('/channels/presence-none/users'), { users: [] });
		isText(await api.get('/channels/read-a/users'), 400, /presence/);
	});

	test('GET /connections counts the connections', async () => {
		const { status, json } = await api.get('/connections');
		assert.equal(status, 200);
		assert.ok(json.connections >= 1);
	});

	test('PHP arrays in the query are signed joined', async () => {
		const params = { info: 'user_count,subscription_count' };
		const query = new URL(`http://x/?${signedQuery(
			daemon.app, 'GET', '/apps/client-portal/channels/presence-read', params)}`).searchParams;
		query.delete('info');
		query.append('info[0]', 'user_count');
		query.append('info[1]', 'subscription_count');
		isJson(await daemon.http(`/apps/client-portal/channels/presence-read?${query}`),
			{ occupied: true, user_count: 1, subscription_count: 1 });
	});

	test('HEAD returns the headers of GET', async () => {
		const head = await api.call('HEAD', '/channels/read-a');
		assert.equal(head.status, 200);
		assert.equal(head.headers['content-length'], '17');
		assert.equal(head.text, '');
	});
});

describe('users', () => {
	test('POST /users/{id}/events reaches the signed-in user', async () => {
		const client = await daemon.connect();
		client.sendSignin({ id: '42' });
		await client.next({ event: 'pusher:signin_success' });
		await client.subscribe('#server-to-user-42');
		isJson(await api.post('/users/42/events', { name: 'hello', data: '{}' }), {});
		await client.next({ event: 'hello', channel: '#server-to-user-42' });
		isJson(await api.trigger('#server-to-user-42', 'again', '{}'), {});
		await client.next({ event: 'again' });
		client.terminate();
	});

	test('POST /users/{id}/terminate_connections closes with 4009', async () => {
		const [one, other] = [await daemon.connect(), await daemon.connect()];
		one.sendSignin({ id: 'u1' });
		await one.next({ event: 'pusher:signin_success' });
		other.sendSignin({ id: 'u2' });
		await other.next({ event: 'pusher:signin_success' });
		isJson(await api.post('/users/u1/terminate_connections', {}), {});
		assert.equal((await one.closed).code, 4009);
		assert.equal(one.frames.at(-1).data.code, 4009);
		assert.equal(other.closeCode, undefined);
		other.terminate();
	});

	test('POST /users/{id}/revoke ends the user\'s subscriptions and keeps the connection', async () => {
		const [signedIn, member, other] = [await daemon.connect(), await daemon.connect(),
			await daemon.connect()];
		signedIn.sendSignin({ id: 'r1' });
		await signedIn.next({ event: 'pusher:signin_success' });
		for (const channel of ['private-r.1', 'private-r.2', 'private-encrypted-r.1', 'r.public'])
			await signedIn.subscribe(channel);
		await member.subscribe('presence-r.1', { channelData: { user_id: 'r1' } });
		await other.subscribe('presence-r.1', { channelData: { user_id: 'r2' } });
		for (const channel of ['private-r.1', 'private-r.2']) await other.subscribe(channel);
		isJson(await api.post('/users/r1/revoke', { channels: ['private-r.1', 'presence-r.1', 'private-none'] }), {});
		for (const [wire, channel] of [[signedIn, 'private-r.1'], [member, 'presence-r.1']]) {
			const { data } = await wire.next({ event: 'pusher:subscription_error', channel });
			assert.equal(data.status, 403);
			assert.equal(data.type, 'AuthError');
		}
		await other.next({ event: 'pusher_internal:member_removed', channel: 'presence-r.1' });
		isJson(await api.trigger(['private-r.1', 'private-r.2', 'presence-r.1'], 'after', '{}'), {});
		for (const channel of ['private-r.1', 'private-r.2', 'presence-r.1'])
			await other.next({ event: 'after', channel });
		await signedIn.next({ event: 'after', channel: 'private-r.2' });
		await member.ping();
		await signedIn.ping();
		assert.ok(![...signedIn.frames, ...member.frames].some((f) =>
			f.event === 'after' && f.channel !== 'private-r.2'));
		// By pattern; an application that still authorizes lets the client return.
		await signedIn.subscribe('private-r.1');
		isJson(await api.post('/users/r1/revoke', { pattern: 'private-*r.*' }), {});
		const ended = [await signedIn.next({ event: 'pusher:subscription_error' }),
			await signedIn.next({ event: 'pusher:subscription_error' })];
		assert.deepEqual(ended.map((f) => f.channel).sort(), ['private-r.1', 'private-r.2']);
		isJson(await api.trigger(['private-encrypted-r.1'], 'after', '{}'), {});
		isJson(await api.trigger(['r.public'], 'last', '{}'), {});
		await signedIn.next({ event: 'last', channel: 'r.public' });
		assert.ok(!signedIn.frames.some((f) => f.event === 'after' && f.channel === 'private-encrypted-r.1'));
		for (const wire of [signedIn, member, other]) wire.terminate();
	});

	test('an invalid revoke is 400 with the reason', async () => {
		for (const body of [{}, [], { channels: [] }, { channels: 'private-x' }, { channels: [1] },
			{ channels: ['a b'] }, { channels: Array(101).fill('private-x') }, { pattern: '' },
			{ pattern: 'a b' }, { pattern: 1 }, { pattern: 'x'.repeat(201) },
			{ channels: ['private-x'], pattern: 'private-*' }]) {
			const answer = await api.post('/users/r1/revoke', body);
			assert.equal(answer.status, 400, JSON.stringify(body));
			assert.ok(answer.text.length > 10);
		}
	});

	test('terminate closes a presence member whatever the id, beside a signed-in connection', async () => {
		for (const id of ['u3', 'a/b', 'ünï %2F?#', '10']) {
			const [signedIn, member, other] = [await daemon.connect(), await daemon.connect(),
				await daemon.connect()];
			if (id === 'u3') {
				signedIn.sendSignin({ id });
				await signedIn.next({ event: 'pusher:signin_success' });
			}
			await member.subscribe('presence-all', { channelData: { user_id: id } });
			await other.subscribe('presence-all', { channelData: { user_id: 'somebody' } });
			const at = (user) => `/apps/${APP.id}/users/${user}/terminate_connections`;
			const query = signedQuery(APP, 'POST', at(id), {}, '{}');
			isJson(await request(`${daemon.url}${at(encodeURIComponent(id))}?${query}`,
				{ method: 'POST', body: '{}' }), {});
			for (const wire of id === 'u3' ? [member, signedIn] : [member])
				assert.equal((await within(wire.closed, `the close of ${id}`)).code, 4009);
			await other.ping();
			signedIn.terminate();
			other.terminate();
		}
	});
});

test('the legacy POST /channels/{name}/events publishes', async () => {
	const client = await daemon.connect();
	await client.subscribe('old');
	const answer = await api.call('POST', '/channels/old/events',
		{ params: { name: 'then' }, body: 'the body is the data' });
	isJson(answer, {}, 202);
	await client.next({ event: 'then', data: 'the body is the data' });
	client.terminate();
});

describe('rights', () => {
	const bad = {
		'no signature': { auth_signature: undefined },
		'no key': { auth_key: undefined },
		'another key': { auth_key: 'limited-key' },
		'an old timestamp': { auth_timestamp: Math.floor(Date.now() / 1000) - 700 },
		'a future timestamp': { auth_timestamp: Math.floor(Date.now() / 1000) + 700 },
		'no number as timestamp': { auth_timestamp: 'now' },
		'another version': { auth_version: '2.0' },
		'the md5 of another body': { body_md5: md5('another') },
		'no md5': { body_md5: undefined },
		'a short signature': { auth_signature: 'abcd' },
		'an empty signature': { auth_signature: '' },
		'a long signature': { auth_signature: 'a'.repeat(500) },
		'a signature of zeros': { auth_signature: '0'.repeat(64) },
	};
	for (const [what, override] of Object.entries(bad))
		test(`401 for ${what}`, async () => {
			isText(await api.post('/events', { name: 'n', channel: 'c', data: 'd' }, { override }),
				401, /\w+ \w+/);
		});

	test('unknown app is 404, disabled app 403, wrong method 405', async () => {
		isText(await daemon.api({ ...MAIN, id: 'nobody' }).get('/channels'), 404, /application/);
		isText(await daemon.api(DISABLED).get('/channels'), 403, /disabled/);
		isText(await daemon.http('/apps/client-portal/nothing'), 404, /does not exist/);
		isText(await daemon.http('/what'), 404, /does not exist/);
		const wrong = await daemon.http('/apps/client-portal/events');
		isText(wrong, 405, /POST/);
		assert.equal(wrong.headers.allow, 'POST');
		const deleted = await daemon.http('/up', { method: 'DELETE' });
		assert.equal(deleted.headers.allow, 'GET, HEAD');
	});

	test('over the rate limit is 429 with Retry-After', async () => {
		const limited = daemon.api(LIMITED);
		/** Those of many calls that are refused, of which so many a second are not; the answers may take seconds. */
		const refusedOf = async (call, per_second) => {
			const began = performance.now();
			const answers = await Promise.all(Array.from({ length: 100 }, call));
			const refused = answers.filter((a) => a.status === 429);
			const seconds = (performance.now() - began) / 1000;
			assert.ok(refused.length >= answers.length - per_second * (2 + seconds), `${refused.length} refused in ${seconds} s`);
			assert.ok(refused.length > 0, `none refused in ${seconds} s`);
			return refused;
		};
		const refused = await refusedOf(() => limited.trigger('c', 'n', 'd'), 5);
		assert.match(refused[0].headers['retry-after'], /^[1-9]/);
		await refusedOf(() => limited.get('/channels'), 3);
	});
});

describe('other rules', () => {
	test('GET /up, /live and / are answered without a signature', async () => {
		for (const path of ['/up', '/live', '/ws/up']) isJson(await daemon.http(path), { health: 'OK' });
		assert.equal((await daemon.http('/')).text, 'OK');
	});

	test('the Pusher API sends no CORS headers', async () => {
		const answer = await daemon.http('/up', { headers: { Origin: 'http://evil.example' } });
		assert.equal(answer.headers['access-control-allow-origin'], undefined);
	});

	test('HTTP connections are kept alive', async () => {
		const agent = suiteAgent({ keepAlive: true, maxSockets: 1 });
		let sockets = 0;
		agent.on('free', () => {});
		const kept = new Api(daemon.url, daemon.app, { agent });
		const create = agent.createConnection;
		agent.createConnection = function count(...args) {
			sockets++;
			return create.apply(this, args);
		};
		for (let i = 0; i < 20; i++) {
			const answer = await kept.trigger('c', 'n', 'd');
			assert.equal(answer.status, 200);
			assert.notEqual(answer.headers.connection, 'close');
		}
		assert.equal(sockets, 1);
		agent.destroy();
	});

	test('a WebSocket handshake on a kept connection gets 426', async () => {
		const raw = await Raw.connect(daemon.port);
		raw.write('GET /up HTTP/1.1\r\nHost: x\r\n\r\n');
		await waitFor(() => raw.text.includes('{"health":"OK"}'));
		raw.write('GET /app/local-reverb-key?protocol=7 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n' +
			'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
			'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
		await waitFor(() => raw.ended, 'the close');
		const second = raw.text.split('{"health":"OK"}')[1];
		assert.match(second, /^HTTP\/1.1 426 /);
		assert.match(second, /\r\nUpgrade: websocket\r\n/i);
		assert.match(second, /\r\nConnection: close\r\n/i);
		raw.destroy();
	});

	test('the demo is off by default', async () => {
		isText(await daemon.http('/demo/config'), 404, /does not exist/);
		isText(await request(`${daemon.url}/demo/publish`, { method: 'POST', body: '{}' }), 404,
			/does not exist/);
	});
});

test('without a database durable publishes get 503 and the others work', async (t) => {
	const alone = await startDaemon({ databaseMode: 'none', app: MAIN,
		database: { host: '/nonexistent', required: 'no', commit_timeout_ms: '200' } }, t);
	const client = await alone.connect();
	await client.subscribe('c');
	await client.subscribe('free-c');
	const refused = await alone.api(MAIN).trigger(['c', 'free-c'], 'n', 'd');
	isText(refused, 503, /try again/);
	assert.match(refused.headers['retry-after'], /^[1-9]/);
	isJson(await alone.api(MAIN).trigger('free-c', 'live', 'd'), {});
	await client.next({ event: 'live' });
	assert.equal(client.all({ event: 'n' }).length, 0);
	client.terminate();
});
