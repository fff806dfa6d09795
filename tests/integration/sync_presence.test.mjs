// SPDX-License-Identifier: MIT
// Presence: heartbeats in batches, who is online, expiry, and users known by their sockets.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, Sync, failed, ok, query, startDaemon, waitFor } from '../lib/harness.mjs';

const OTHER = { id: 'other', key: 'other-key', secret: 'other-secret', member_removed_delay_ms: '0' };
const CHANNELS = ['presence-presence.online', 'presence-online'];
const EVENT = 'App\\Events\\UserPresenceChanged';
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const INJECTION = `'); DROP TABLE user_presence; --"\\ $1 {}`;

const start = (t, sync = {}, options = {}) =>
	startDaemon({ apps: [APP, OTHER], sections: { sync }, ...options }, t);

/** A socket on the channels that receive presence, as user watcher. */
async function watch(daemon, { app = daemon.app, channels = CHANNELS } = {}) {
	const wire = await daemon.connect({ app });
	for (const channel of channels)
		await wire.subscribe(channel, { channelData: { user_id: 'watcher' } });
	return wire;
}

/** The statuses of a user that a channel has received so far. */
const told = (wire, userId, channel = CHANNELS[0]) => wire.all({ event: EVENT, channel })
	.map((f) => JSON.parse(f.data)).filter((d) => d.user_id === userId).map((d) => d.status);

const change = (wire, userId, status, more = {}) => wire.next({ event: EVENT,
	channel: CHANNELS[0], data: { user_id: userId, status, ...more } });

/** Everything that was committed before now has reached the sockets when this returns. */
async function settled(daemon, wire) {
	const mark = `mark-${Math.random()}`;
	await daemon.query('SELECT broadcast($1, $2, $3, NULL, NULL, $4)',
		[CHANNELS[0], mark, '{}', wire.app.id]);
	await wire.next({ event: mark });
}

const row = async (daemon, id, app = APP.id) => (await daemon.query(
	'SELECT * FROM user_presence WHERE app = $1 AND user_id = $2', [app, id]))[0];

/** Takes the daemon's database away from all but one session, and gives it back. */
async function away(daemon, kept = 0) {
	const { host, name } = daemon.database;
	await query(host, 'postgres', `ALTER DATABASE ${name} ALLOW_CONNECTIONS false`, [], 'postgres');
	await query(host, 'postgres', 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity '
		+ 'WHERE datname = $1 AND pid <> $2', [name, kept], 'postgres');
}

async function back(daemon) {
	const { host, name } = daemon.database;
	await query(host, 'postgres', `ALTER DATABASE ${name} ALLOW_CONNECTIONS true`, [], 'postgres');
}

const lasting = { presence_ttl_s: '3600' };

describe('heartbeats', () => {
	let daemon, server;
	before(async () => {
		daemon = await start(undefined, lasting);
		server = Sync.server(daemon);
	});
	after(() => daemon?.stop());

	test('a heartbeat is answered and stored', async () => {
		await server.put('users/1', { name: 'Ada' });
		const said = ok(await server.post('heartbeat', { user_id: 1, location: '/invoices',
			status: 'busy', info: { device: 'laptop' } }));
		assert.match(said.last_seen_at, TIME);
		assert.deepEqual(said, { user_id: 1, status: 'busy', last_seen_at: said.last_seen_at,
			ttl: 3600, unread_count: 0 });
		const kept = await row(daemon, 1);
		assert.equal(kept.status, 'busy');
		assert.equal(kept.location, '/invoices');
		assert.deepEqual(kept.info, { device: 'laptop' });
		assert.equal(kept.last_seen_at.toISOString(), said.last_seen_at);
	});

	test('omitted fields keep their value; an omitted status is online', async () => {
		await server.post('heartbeat', { user_id: 2, location: '/a', status: 'away', info: { a: 1 } });
		assert.equal(ok(await server.post('heartbeat', { user_id: 2 })).status, 'online');
		assert.equal((await row(daemon, 2)).location, '/a');
		assert.deepEqual((await row(daemon, 2)).info, { a: 1 });
		ok(await server.post('heartbeat', { user_id: 2, location: '', info: {} }));
		assert.equal((await row(daemon, 2)).location, '');
	});

	test('only a change of status is published, once on each channel', async () => {
		const wire = await watch(daemon);
		await server.post('heartbeat', { user_id: 3, location: '/a', info: { x: 1 } });
		const came = JSON.parse((await change(wire, 3, 'online')).data);
		assert.deepEqual(came, { user_id: 3, name: null, status: 'online',
			previous_status: 'offline', location: '/a', info: { x: 1 },
			last_seen_at: came.last_seen_at });
		assert.match(came.last_seen_at, TIME);
		await server.post('heartbeat', { user_id: 3, location: '/b' });
		await server.post('heartbeat', { user_id: 3, status: 'online' });
		await server.post('heartbeat', { user_id: 3, status: 'away' });
		await change(wire, 3, 'away', { previous_status: 'online', location: '/b' });
		await server.post('heartbeat', { user_id: 3, status: 'offline' });
		await change(wire, 3, 'offline', { previous_status: 'away' });
		await settled(daemon, wire);
		for (const channel of CHANNELS)
			assert.deepEqual(told(wire, 3, channel), ['online', 'away', 'offline']);
		await wire.close();
	});

	test('a first heartbeat with status offline changes nothing', async () => {
		const wire = await watch(daemon);
		assert.equal(ok(await server.post('heartbeat', { user_id: 4, status: 'offline' })).status,
			'offline');
		await settled(daemon, wire);
		assert.deepEqual(told(wire, 4), []);
		await wire.close();
	});

	test('many heartbeats at once take few statements, and each is answered', async () => {
		const wire = await watch(daemon);
		const n = 120;
		const answers = await Promise.all(Array.from({ length: 3 * n }, (_, i) =>
			server.post('heartbeat', { user_id: 1000 + (i % n), location: `/${i}` })));
		answers.forEach((a, i) => assert.equal(ok(a).user_id, 1000 + (i % n)));
		const [{ batches }] = await daemon.query('SELECT count(DISTINCT last_seen_at)::int AS batches '
			+ 'FROM user_presence WHERE user_id BETWEEN 1000 AND 1999');
		assert.ok(batches < n / 4, `${batches} statements`);
		await settled(daemon, wire);
		for (let i = 0; i < n; i++) assert.deepEqual(told(wire, 1000 + i), ['online']);
		await wire.close();
	});

	test('a heartbeat that the database refuses fails alone', async () => {
		await daemon.query('ALTER TABLE user_presence ADD CONSTRAINT no_666 CHECK (user_id <> 666)');
		const answers = await Promise.all([661, 662, 666, 667].map((user_id) =>
			server.post('heartbeat', { user_id })));
		await daemon.query('ALTER TABLE user_presence DROP CONSTRAINT no_666');
		assert.deepEqual(answers.map((a) => a.status), [200, 200, 400, 200]);
		assert.equal(await row(daemon, 666), undefined);
		for (const id of [661, 662, 667]) assert.equal((await row(daemon, id)).status, 'online');
	});

	test('a heartbeat returns the count of unread notifications', async () => {
		await daemon.query('INSERT INTO notification_boxes (app, user_id, last, unread) '
			+ 'VALUES ($1, 7, 9, 5)', [APP.id]);
		const [a, b] = await Promise.all([6, 7].map((user_id) =>
			server.post('heartbeat', { user_id })));
		assert.equal(ok(a).unread_count, 0);
		assert.equal(ok(b).unread_count, 5);
	});

	test('the signed query works', async () => {
		const said = ok(await daemon.api().post('/sync/heartbeat', { user_id: 8, location: '/s' }));
		assert.equal(said.status, 'online');
		assert.equal((await row(daemon, 8)).location, '/s');
	});

	test('a user can send heartbeats only for itself', async () => {
		const five = Sync.user(daemon, 5);
		assert.equal(ok(await five.post('heartbeat', { location: '/me' })).user_id, 5);
		assert.equal(ok(await five.post('heartbeat', { user_id: 5 })).user_id, 5);
		failed(await five.post('heartbeat', { user_id: 6 }), 403, 'forbidden', 'user_id');
		failed(await new Sync(daemon).post('heartbeat', { user_id: 5 }), 401, 'unauthorized');
	});

	test('apps do not see each other', async () => {
		const wire = await watch(daemon, { app: OTHER });
		ok(await server.post('heartbeat', { user_id: 50, location: '/ours' }));
		ok(await Sync.server(daemon, OTHER).post('heartbeat', { user_id: 51 }));
		await change(wire, 51, 'online');
		assert.deepEqual(told(wire, 50), []);
		assert.equal(await row(daemon, 50, OTHER.id), undefined);
		const users = ok(await Sync.server(daemon, OTHER).get('online-users')).users;
		assert.deepEqual(users.map((u) => u.user_id), [51]);
		await wire.close();
	});

	test('heartbeats: invalid fields are refused', async () => {
		const post = (body) => server.post('heartbeat', body);
		failed(await post({}), 400, 'missing_field', 'user_id');
		for (const user_id of [0, -1, 'x', 1.5, '9223372036854775808', true, [], INJECTION])
			failed(await post({ user_id }), 400, 'invalid_value', 'user_id');
		failed(await post('{"user_id":99999999999999999999}'), 400, 'invalid_json');
		failed(await post({ user_id: 1, status: 'asleep' }), 400, 'invalid_value', 'status');
		failed(await post({ user_id: 1, status: INJECTION }), 400, 'invalid_value', 'status');
		failed(await post({ user_id: 1, location: 'x'.repeat(256) }), 400, 'invalid_value', 'location');
		failed(await post({ user_id: 1, location: 1 }), 400, 'invalid_value', 'location');
		failed(await post({ user_id: 1, info: 'x' }), 400, 'invalid_value', 'info');
		failed(await post({ user_id: 1, info: { x: 'x'.repeat(2048) } }), 400, 'invalid_value', 'info');
		failed(await post({ user_id: 1, place: '/' }), 400, 'unknown_field', 'place');
		failed(await server.get('heartbeat'), 405, 'method_not_allowed');
	});

	test('SQL and JSON quotes in a field are stored as text', async () => {
		ok(await server.post('heartbeat', { user_id: 9, location: INJECTION,
			info: { [INJECTION]: INJECTION } }));
		const kept = await row(daemon, 9);
		assert.equal(kept.location, INJECTION);
		assert.deepEqual(kept.info, { [INJECTION]: INJECTION });
		const big = '9223372036854775807';
		assert.match((await server.post('heartbeat', { user_id: big })).text, /"user_id":9223372036854775807/);
		assert.equal((await row(daemon, big)).status, 'online');
	});

	test('an event over the payload limit has fewer fields, or is left out', async (t) => {
		const small = { ...APP, max_event_payload_bytes: '100' };
		const own = await start(t, lasting, { apps: [small] });
		const wire = await watch(own, { app: small });
		await waitFor(async () => (await own.query('SELECT max_payload_bytes AS n FROM log_apps'))[0]?.n === 100);
		ok(await Sync.server(own).post('heartbeat', { user_id: 1, location: 'x'.repeat(200) }));
		assert.deepEqual(JSON.parse((await change(wire, 1, 'online')).data),
			{ user_id: 1, status: 'online', truncated: true });
		await wire.close();
	});
});

describe('online-users', () => {
	let daemon, server;
	before(async () => {
		daemon = await start(undefined, lasting);
		server = Sync.server(daemon);
		await server.put('users/1', { name: 'Ada', avatar: '/ada.png' });
		await Promise.all(Array.from({ length: 25 }, (_, i) => server.post('heartbeat', {
			user_id: i + 1, location: i % 2 ? '/odd' : '/even', info: { i },
			status: ['online', 'away', 'busy', 'online', 'offline'][i % 5] })));
	});
	after(() => daemon?.stop());

	const ids = (answer) => ok(answer).users.map((u) => u.user_id);
	const having = (f) => Array.from({ length: 25 }, (_, i) => i).filter(f).map((i) => i + 1);

	test('all users who are not offline are listed, with their fields', async () => {
		const answer = await server.get('online-users');
		assert.deepEqual(ids(answer), having((i) => i % 5 !== 4));
		const { users, count, next_cursor, prev_cursor } = answer.json;
		assert.equal(count, 20);
		assert.equal(next_cursor, null);
		assert.equal(prev_cursor, null);
		assert.match(users[0].last_seen_at, TIME);
		assert.deepEqual(users[0], { user_id: 1, name: 'Ada', avatar: '/ada.png', status: 'online',
			location: '/even', info: { i: 0 }, last_seen_at: users[0].last_seen_at });
	});

	test('the list can be filtered by status and location', async () => {
		const get = (q) => server.get('online-users', q);
		assert.deepEqual(ids(await get({ status: 'away' })), having((i) => i % 5 === 1));
		assert.deepEqual(ids(await get({ status: 'offline' })), having((i) => i % 5 === 4));
		assert.deepEqual(ids(await get({ location: '/odd' })),
			having((i) => i % 5 !== 4 && i % 2));
		const both = await get({ location: '/odd', status: 'busy' });
		assert.deepEqual(ids(both), having((i) => i % 5 === 2 && i % 2));
		assert.equal(both.json.count, both.json.users.length);
		assert.deepEqual(ids(await get({ location: INJECTION })), []);
	});

	test('the list has pages in both directions', async () => {
		const all = having((i) => i % 5 !== 4);
		let page = ok(await server.get('online-users', { limit: 6 }));
		const seen = [page.users];
		while (page.next_cursor) {
			assert.equal(page.count, 20);
			page = ok(await server.get('online-users', { limit: 6, cursor: page.next_cursor }));
			seen.push(page.users);
		}
		assert.deepEqual(seen.map((p) => p.length), [6, 6, 6, 2]);
		assert.deepEqual(seen.flat().map((u) => u.user_id), all);
		for (const expected of seen.slice(0, -1).reverse()) {
			page = ok(await server.get('online-users', { limit: 6, cursor: page.prev_cursor }));
			assert.deepEqual(page.users, expected);
		}
		assert.equal(page.prev_cursor, null);
	});

	test('lists: invalid fields are refused', async () => {
		const get = (q) => server.get('online-users', q);
		for (const limit of ['0', '201', '-1', 'x', '99999999999999999999'])
			failed(await get({ limit }), 400, 'invalid_value', 'limit');
		const forged = (parts) => Buffer.from(JSON.stringify(parts)).toString('base64url');
		for (const cursor of ['x', '!', 'bnVsbA', forged(['after']), forged(['up', '1']),
			forged(['after', 'x']), forged(['after', null]), forged([null, '1']),
			forged(['after', '99999999999999999999']), INJECTION])
			failed(await get({ cursor }), 400, 'invalid_cursor', 'cursor');
		failed(await get({ status: 'all' }), 400, 'invalid_value', 'status');
		failed(await get({ colour: 'x' }), 400, 'unknown_field', 'colour');
	});

	test('a user sees the list when it may join a presence channel of the settings', async () => {
		failed(await Sync.user(daemon, 1).get('online-users'), 403, 'channel_forbidden');
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument)
			VALUES ('online', 'role', 'staff')`);
		failed(await Sync.user(daemon, 1).get('online-users'), 403, 'channel_forbidden');
		assert.equal(ok(await Sync.user(daemon, 1, { roles: ['staff'] }).get('online-users')).count, 20);
	});

	test('a predicate for any of these channels is enough', async () => {
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument)
			VALUES ('online', 'sql', '{user} = 71'), ('presence.online', 'sql', '{user} = 70')`);
		for (const id of [70, 71])
			assert.equal(ok(await Sync.user(daemon, id).get('online-users')).count, 20);
		failed(await Sync.user(daemon, 72).get('online-users'), 403, 'channel_forbidden');
	});

	test('an unchanged list is 304', async () => {
		const headers = { 'If-None-Match': (await server.get('online-users')).headers.etag };
		assert.equal((await server.call('GET', 'online-users', { headers })).status, 304);
		await server.post('heartbeat', { user_id: 1 });
		assert.equal((await server.call('GET', 'online-users', { headers })).status, 200);
	});
});

describe('expiry', () => {
	const quick = { presence_ttl_s: '1' };

	test('an expiry while the daemon runs is published once', async (t) => {
		const daemon = await start(t, quick);
		const wire = await watch(daemon);
		ok(await Sync.server(daemon).post('heartbeat', { user_id: 1, status: 'busy' }));
		await change(wire, 1, 'offline', { previous_status: 'busy' });
		assert.equal(ok(await Sync.server(daemon).get('online-users')).count, 0);
		ok(await Sync.server(daemon).post('heartbeat', { user_id: 1 }));
		await change(wire, 1, 'online', { previous_status: 'offline' });
		await change(wire, 1, 'offline');
		await settled(daemon, wire);
		assert.deepEqual(told(wire, 1), ['busy', 'offline', 'online', 'offline']);
		await wire.close();
	});

	test('by default a user with a heartbeat once a minute stays online', async (t) => {
		const daemon = await start(t);
		const server = Sync.server(daemon), wire = await watch(daemon);
		ok(await server.post('heartbeat', { user_id: 1 }));
		for (let minute = 0; minute < 3; minute++) {
			ok(await server.post('heartbeat', { user_id: 2 + minute }));
			await daemon.query(`UPDATE user_presence SET last_seen_at = last_seen_at - age.it,
				heartbeat_at = heartbeat_at - age.it
				FROM (VALUES (true, interval '61 s'), (false, interval '1 h')) age (renews, it)
				WHERE age.renews = (user_id = 1)`);
			await change(wire, 2 + minute, 'offline');
			ok(await server.post('heartbeat', { user_id: 1 }));
		}
		await settled(daemon, wire);
		assert.deepEqual(told(wire, 1), ['online']);
		await wire.close();
	});

	test('an expiry after the daemon was killed is published once', async (t) => {
		const daemon = await start(t, lasting);
		const server = Sync.server(daemon);
		ok(await server.post('heartbeat', { user_id: 1 }));
		ok(await server.post('heartbeat', { user_id: 2 }));
		await daemon.kill();
		await daemon.query(`UPDATE user_presence SET last_seen_at = now() - interval '2 hours'
			WHERE user_id = 1`);
		await daemon.start();
		assert.deepEqual(ok(await server.get('online-users')).users.map((u) => u.user_id), [2]);
		const [{ n }] = await waitFor(async () => {
			const rows = await daemon.query(`SELECT count(*)::int AS n FROM realtime_events
				WHERE channel = $1 AND payload->>'user_id' = '1'
				AND payload->>'status' = 'offline'`, [CHANNELS[0]]);
			return rows[0].n ? rows : undefined;
		});
		assert.equal(n, 1);
		assert.equal((await row(daemon, 1)).status, 'offline');
		assert.equal((await row(daemon, 2)).status, 'online');
	});
});

describe('sockets', () => {
	// Connections renew the presence of their users in a third of it; a busy machine can be late by seconds.
	const TTL_S = 6;
	const quick = { presence_ttl_s: String(TTL_S) };
	const GRACE_MS = 6000;

	async function signedIn(daemon, id, app = daemon.app) {
		const wire = await daemon.connect({ app });
		wire.sendSignin({ id: String(id), user_info: {} });
		await wire.next({ event: 'pusher:signin_success' });
		return wire;
	}

	test('a signed-in user is online for longer than the TTL, and goes after the grace', async (t) => {
		const daemon = await start(t, quick, { apps: [{ ...APP, member_removed_delay_ms: GRACE_MS }] });
		const watcher = await watch(daemon);
		const wire = await signedIn(daemon, 1);
		await change(watcher, 1, 'online');
		const first = (await row(daemon, 1)).last_seen_at;
		await waitFor(async () => (await row(daemon, 1)).last_seen_at - first > 1000 * TTL_S);
		await wire.close();
		const second = await signedIn(daemon, 1); // within the grace
		const closed = (await daemon.query('SELECT now() AS at'))[0].at;
		await second.terminate();
		await change(watcher, 1, 'offline');
		// The grace is counted from the death; the database's clock is this machine's.
		const { changed_at } = await row(daemon, 1);
		assert.ok(changed_at - closed >= GRACE_MS - 100, `${changed_at - closed} ms`);
		await settled(daemon, watcher);
		assert.deepEqual(told(watcher, 1), ['online', 'offline']);
		await watcher.close();
	});

	test('a presence member is online; a user id that is no number is ignored', async (t) => {
		const daemon = await start(t, lasting);
		const app = OTHER; // no grace
		const watcher = await watch(daemon, { app });
		const wire = await daemon.connect({ app });
		await wire.subscribe('presence-project.1', { channelData: { user_id: '12' } });
		await wire.subscribe('presence-project.2', { channelData: { user_id: '12' } });
		await change(watcher, 12, 'online');
		wire.unsubscribe('presence-project.1');
		await wire.ping();
		ok(await Sync.server(daemon, OTHER).post('heartbeat', { user_id: 13 }));
		await change(watcher, 13, 'online');
		assert.equal((await row(daemon, 12, OTHER.id)).status, 'online');
		await wire.close();
		await change(watcher, 12, 'offline', { previous_status: 'online' });
		const users = (await daemon.query('SELECT user_id FROM user_presence ORDER BY 1'))
			.map((r) => Number(r.user_id));
		assert.deepEqual(users, [12, 13]); // not the watcher
		await watcher.close();
	});

	test('a heartbeat\'s status stays, offline until a new socket', async (t) => {
		const daemon = await start(t, quick, { apps: [{ ...APP, member_removed_delay_ms: '0' }] });
		const server = Sync.server(daemon);
		const watcher = await watch(daemon);
		const wire = await signedIn(daemon, 1);
		await change(watcher, 1, 'online');
		for (const status of ['away', 'busy', 'offline']) {
			ok(await server.post('heartbeat', { user_id: 1, status }));
			await change(watcher, 1, status);
			// Another user's life shows that two rounds of the socket feed went by.
			const other = await signedIn(daemon, 2);
			const first = await waitFor(async () => (await row(daemon, 2))?.last_seen_at);
			await waitFor(async () => (await row(daemon, 2)).last_seen_at - first > 1000 * TTL_S / 3 * 2);
			await other.close();
			assert.equal((await row(daemon, 1)).status, status);
		}
		await wire.close();
		const again = await signedIn(daemon, 1);
		await change(watcher, 1, 'online', { previous_status: 'offline' });
		assert.deepEqual(told(watcher, 1), ['online', 'away', 'busy', 'offline', 'online']);
		await again.close();
		await change(watcher, 1, 'offline');
		await watcher.close();
	});

	test('a heartbeat outlives the socket by its TTL', async (t) => {
		const daemon = await start(t, lasting);
		const watcher = await watch(daemon, { app: OTHER });
		const server = Sync.server(daemon, OTHER);
		const wire = await signedIn(daemon, 1, { ...OTHER, enable_user_authentication: 'yes' })
			.catch(() => undefined);
		assert.equal(wire, undefined); // OTHER has no sign-in: by a presence channel then
		const member = await daemon.connect({ app: OTHER });
		await member.subscribe('presence-x', { channelData: { user_id: '1' } });
		await change(watcher, 1, 'online');
		ok(await server.post('heartbeat', { user_id: 1, status: 'busy' }));
		await change(watcher, 1, 'busy');
		await member.close();
		ok(await server.post('heartbeat', { user_id: 2 }));
		await change(watcher, 2, 'online');
		assert.equal((await row(daemon, 1, OTHER.id)).status, 'busy');
		await watcher.close();
	});

	test('sockets do not count with presence_from_sockets = no', async (t) => {
		const daemon = await start(t, { ...lasting, presence_from_sockets: 'no' });
		const wire = await signedIn(daemon, 1);
		ok(await Sync.server(daemon).post('heartbeat', { user_id: 2 }));
		assert.equal(await row(daemon, 1), undefined);
		await wire.close();
	});

	test('a user connected while the database is away stays online', async (t) => {
		const daemon = await start(t, quick);
		const watcher = await watch(daemon);
		const wire = await signedIn(daemon, 1);
		await change(watcher, 1, 'online');
		const session = await daemon.session();
		await away(daemon, session.processID);
		const server = Sync.server(daemon);
		const refused = await waitFor(async () => {
			const answer = await server.post('heartbeat', { user_id: 2 });
			return answer.json?.error?.code === 'database_away' ? answer : undefined;
		});
		assert.equal(refused.status, 503);
		assert.ok(refused.headers['retry-after']);
		const listed = await server.get('online-users');
		assert.equal(listed.status, 503);
		await session.query(`UPDATE user_presence SET last_seen_at = last_seen_at - interval '1 hour'`);
		await session.end();
		await wire.ping(); // sockets are unaffected
		await back(daemon);
		await waitFor(async () => (await server.post('heartbeat', { user_id: 3 })).status === 200);
		await change(watcher, 3, 'online');
		const first = (await row(daemon, 1)).last_seen_at;
		await waitFor(async () => (await row(daemon, 1)).last_seen_at > first);
		await settled(daemon, watcher);
		assert.ok(!told(watcher, 1).includes('offline'), told(watcher, 1).join());
		await Promise.all([wire.close(), watcher.close()]);
	});
});

describe('settings', () => {
	test('channels and event names can be configured, also none', async (t) => {
		const daemon = await start(t, { ...lasting, event_namespace: '',
			presence_channels: 'private-staff, bad name!' });
		assert.match(daemon.logText, /presence_channels: "name!" is not a channel's name/);
		const wire = await daemon.connect();
		await wire.subscribe('private-staff');
		await waitFor(async () => (await daemon.query(`SELECT sync_event('x') AS name`))[0].name === 'x');
		ok(await Sync.server(daemon).post('heartbeat', { user_id: 1 }));
		await wire.next({ event: 'UserPresenceChanged', channel: 'private-staff' });
		await wire.close();
		daemon.options.sections.sync.presence_channels = '';
		await daemon.restart();
		ok(await Sync.server(daemon).post('heartbeat', { user_id: 2 }));
		failed(await Sync.user(daemon, 1).get('online-users'), 403, 'channel_forbidden');
		const [{ n }] = await daemon.query(`SELECT count(*)::int AS n FROM realtime_events
			WHERE payload->>'user_id' = '2'`);
		assert.equal(n, 0);
	});
});

describe('filters, names, and heartbeats without a wait', () => {
	let daemon, server;
	before(async () => {
		daemon = await startDaemon();
		server = Sync.server(daemon);
		await daemon.query(`INSERT INTO channel_rules (pattern, rule) VALUES ('online', 'anyone')`);
	});
	after(() => daemon?.stop());

	const users = async (query) => ok(await server.get('online-users', query)).users;
	const ids = async (query) => (await users(query)).map((u) => u.user_id);

	test('user_ids, location and location_prefix', async () => {
		for (const [user_id, location] of [[1, '/a/1'], [2, '/a/2'], [3, '/a_2'], [4, '/b']])
			ok(await server.post('heartbeat', { user_id, location }));
		assert.deepEqual(await ids({ user_ids: '4,2,99' }), [2, 4]);
		assert.deepEqual(await ids({ location_prefix: '/a/' }), [1, 2]);
		assert.deepEqual(await ids({ location_prefix: '/a_' }), [3]);
		assert.deepEqual(await ids({ location_prefix: '/a', user_ids: '2,3', location: '/a_2' }), [3]);
		const { next_cursor: cursor } = ok(await server.get('online-users', { user_ids: '1,2', limit: 1 }));
		failed(await server.get('online-users', { user_ids: '1,3', cursor }), 400, 'invalid_cursor',
			'cursor');
		const many = (n) => Array.from({ length: n }, (_, i) => i + 1).join();
		assert.deepEqual(await ids({ user_ids: many(200) }), [1, 2, 3, 4]);
		failed(await server.get('online-users', { user_ids: many(201) }), 400, 'invalid_value', 'user_ids');
		failed(await server.get('online-users', { user_ids: '1,-2' }), 400, 'invalid_value', 'user_ids');
	});

	test('name, avatar and user_info are the body\'s or the token\'s; a stored user\'s come first', async () => {
		ok(await Sync.user(daemon, 11, { name: 'Ada', avatar: '/ada.png' }).post('heartbeat',
			{ user_info: { device: 'phone' } }));
		ok(await server.post('heartbeat', { user_id: 12, name: 'Grace' }));
		ok(await server.put('users/13', { name: 'Stored' }));
		ok(await server.post('heartbeat', { user_id: 13, name: 'Sent' }));
		ok(await server.post('heartbeat', { user_id: 11 })); // leaves them as they are
		assert.deepEqual((await users({ user_ids: '11,12,13' }))
			.map((u) => [u.name, u.avatar, u.info?.device]),
		[['Ada', '/ada.png', 'phone'], ['Grace', null, undefined], ['Stored', null, undefined]]);
		const [row] = await daemon.query(`SELECT payload FROM realtime_events
			WHERE payload->>'user_id' = '12' AND channel = 'presence-online'`);
		assert.equal(row.payload.name, 'Grace');
		failed(await server.post('heartbeat', { user_id: 1, info: {}, user_info: {} }), 400,
			'invalid_value', 'user_info');
	});

	test('with "wait": false the answer is 202, and the heartbeat is written', async () => {
		// it cannot be written while this transaction has the row
		ok(await server.post('heartbeat', { user_id: 21 }));
		const other = await daemon.session();
		await other.query('BEGIN; SELECT FROM user_presence WHERE user_id = 21 FOR UPDATE');
		const answer = await server.post('heartbeat', { user_id: 21, status: 'busy', wait: false });
		assert.deepEqual(ok(answer, 202), { user_id: 21, status: 'busy', ttl: 150 });
		await other.query('COMMIT');
		await other.end();
		await waitFor(async () => (await users({ user_ids: '21' }))[0].status === 'busy', 'the status');
	});
});

describe('in a cluster', () => {
	const NODES = `INSERT INTO nodes (name, number, instance, backend, mark, process, address, version, driver, prefix, redis,
		lease) SELECT 'n' || i, 4000 + i, 'i' || i, 0, i, 0, '', '', 'postgres', '', '', clock_timestamp() + interval '1 h' FROM generate_series(1, 2) i`;
	const beat = (node, beats, came, gone) => [`SELECT presence_beat($1, $2, $3, 150, '{}', ${node})`,
		[beats, came, gone].map((ids) => ids && JSON.stringify(ids.map((id) => ({ app: APP.id, id }))))];
	let daemon;
	before(async () => { daemon = await start(undefined, { presence_from_sockets: 'no' }); });
	after(() => daemon?.stop());

	const inTransaction = async (run) => {
		const session = await daemon.session();
		await session.query('BEGIN');
		await session.query(NODES);
		await run(session, async () => (await session.query(`SELECT status, connected_at IS NULL AS is_gone FROM user_presence
			WHERE user_id = 41`)).rows[0]);
		await session.query('ROLLBACK');
		await session.end();
	};

	test('a user is offline when the last connection on the last node has closed', () => inTransaction(async (session, status) => {
		await session.query(...beat(4001, [41], [41], null));
		await session.query(...beat(4002, [41], [41], null));
		await session.query(...beat(4001, null, null, [41]));
		assert.deepEqual(await status(), { status: 'online', is_gone: false });
		await session.query(...beat(4002, null, null, [41]));
		assert.deepEqual(await status(), { status: 'offline', is_gone: true });
	}));

	test('a node that has ended keeps no user, unless it may register again', () => inTransaction(async (session, status) => {
		await session.query(...beat(4001, [41], [41], null));
		await session.query(...beat(4002, [41], [41], null));
		await session.query(`DELETE FROM nodes WHERE name = 'n2'`);
		await session.query('SAVEPOINT here');
		await session.query('DELETE FROM daemon');
		await session.query(`INSERT INTO node_generation (known_from) VALUES (clock_timestamp() + interval '1 h')
			ON CONFLICT (only_row) DO UPDATE SET known_from = excluded.known_from`);
		await session.query(...beat(4001, null, null, [41]));
		assert.deepEqual(await status(), { status: 'online', is_gone: false });
		await session.query('ROLLBACK TO here');
		await session.query(...beat(4001, null, null, [41]));
		assert.deepEqual(await status(), { status: 'offline', is_gone: true });
	}));

	test('users of a node that has ended expire soon, those of others do not', () => inTransaction(async (session) => {
		await session.query(...beat(4001, [41], [41], null));
		await session.query(...beat(4002, [42], [42], null));
		await session.query(`UPDATE user_presence SET last_seen_at = now() - interval '1 s'`);
		await session.query(`UPDATE daemon SET since = now()`);
		await session.query(`DELETE FROM nodes WHERE name = 'n2'`);
		await session.query('SELECT presence_forget_sockets(150)');
		const { rows } = await session.query(`SELECT user_id::integer AS id FROM user_presence
			WHERE user_id IN (41, 42) AND last_seen_at < now() - interval '129 s'`);
		assert.deepEqual(rows, [{ id: 42 }]);
	}));

	test('batches of two nodes with users in different lists cannot deadlock', async () => {
		await daemon.query(`INSERT INTO user_presence (app, user_id, status) SELECT $1, unnest('{51,52}'::bigint[]), 'offline'`, [APP.id]);
		await daemon.query(NODES);
		const [one, two, blocker] = [await daemon.session(), await daemon.session(), await daemon.session()];
		await blocker.query('BEGIN');
		await blocker.query('SELECT FROM user_presence WHERE user_id = 51 FOR UPDATE');
		await two.query('BEGIN');
		// It would have 52, which came, and wait for 51.
		const first = one.query(...beat(4001, [51, 52], [52], null));
		await waitFor(async () => await daemon.lockWaiters() === 1, 'the first batch waits');
		await two.query(`SET LOCAL lock_timeout = '60s'`);
		await two.query('SELECT FROM user_presence WHERE user_id = 52 FOR UPDATE NOWAIT');
		await two.query('ROLLBACK');
		await blocker.query('ROLLBACK');
		await first;
		await daemon.query(`DELETE FROM nodes WHERE name ~ '^n[12]$'`);
		for (const session of [one, two, blocker]) await session.end();
	});
});

describe('users of an earlier process', () => {
	const FORGET = 'SELECT presence_forget_sockets(150)';
	let daemon;
	before(async () => { daemon = await start(undefined); });
	after(() => daemon?.stop());

	const seen = async (ids, seconds) => {
		await daemon.query(`INSERT INTO user_presence (app, user_id, status, last_seen_at)
			SELECT $1, unnest($2::bigint[]), 'online',
			       (SELECT since FROM daemon) + $3 * interval '1 s'`, [APP.id, ids, seconds]);
	};
	const age = async (id) => (await daemon.query(`SELECT extract(epoch FROM now() - last_seen_at)::integer AS age
		FROM user_presence WHERE user_id = $1`, [id]))[0].age;

	test('who was seen since the start stays, who was seen before ends soon', async () => {
		await seen([11], -1);
		await seen([12], 0);
		await daemon.query(FORGET);
		assert.ok(await age(11) >= 130);
		assert.ok(await age(12) < 130);
	});

	test('forgetting them waits for no heartbeats and cannot deadlock with them', async () => {
		await seen([21, 22], -1);
		const [beats, forget] = [await daemon.session(), await daemon.session()];
		const beat = (id) => beats.query(`UPDATE user_presence SET last_seen_at = now() WHERE user_id = $1`, [id]);
		await beats.query('BEGIN');
		await beat(22);
		await forget.query('BEGIN');
		await forget.query(`SET LOCAL lock_timeout = '60s'`);
		await forget.query(FORGET);
		const second = beat(21);
		await waitFor(async () => await daemon.lockWaiters() === 1, 'the second heartbeat waits');
		await forget.query('COMMIT');
		await second;
		await beats.query('COMMIT');
		assert.ok(await age(21) < 130 && await age(22) < 130);
		await Promise.all([beats.end(), forget.end()]);
	});
});
