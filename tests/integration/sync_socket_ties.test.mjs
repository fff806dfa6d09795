// SPDX-License-Identifier: MIT
// What is tied to a socket ends with it: edit locks and the requests for them.  Viewers, which are
// tied too, are in sync_viewing.test.mjs.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, Sync, failed, ok, startDaemon, waitFor } from '../lib/harness.mjs';

const CHANGED = { event: 'App\\Events\\LockChanged' };
/** The grace of those who come back within it: a busy machine needs some seconds for that. */
const GRACE_MS = '8000';

const start = (t, sync = {}) => startDaemon({ sections: { sync } }, t);
const payload = (frame) => JSON.parse(frame.data);

/** A lock of a test's own, and the calls about it. */
let serial = 0;
function lockOf(daemon, field = 'title') {
	const at = { resource_type: 'invoice', resource_id: `s${++serial}`, field };
	const server = Sync.server(daemon);
	const call = (name) => (more) => server.post(name, { ...at, ...more });
	return { acquire: call('locks'), request: call('locks/request'), grant: call('locks/grant'),
		steal: call('locks/steal'), channel: `private-invoice.${at.resource_id}`,
		held: async () => ok(await server.get('locks', at)).lock };
}

async function listener(daemon, channel) {
	const wire = await daemon.connect();
	await wire.subscribe(channel);
	return wire;
}

test('a lock whose socket ended is released after the grace period, not before', async (t) => {
	const daemon = await start(t, { viewing_grace_ms: '1200' });
	const lock = lockOf(daemon);
	const wire = await listener(daemon, lock.channel);
	const tab = await daemon.connect();
	const { lock: { token } } = ok(await lock.acquire({ user_id: 1, ttl: 3600, socket_id: tab.socketId }));
	const [{ at }] = await daemon.query('SELECT clock_timestamp() AS at');
	await tab.terminate();
	const told = payload(await wire.next({ ...CHANGED, data: { action: 'disconnected' } }));
	assert.equal(told.lock, null);
	assert.deepEqual(told.previous, { user_id: 1, name: null, token });
	const [{ created_at }] = await daemon.query(`SELECT created_at FROM realtime_events
		WHERE channel = $1 AND payload->>'action' = 'disconnected'`, [lock.channel]);
	assert.ok(created_at - at >= 1200, `${created_at - at} ms`);
	assert.equal(await lock.held(), null);
	failed(await lock.acquire({ user_id: 1, token }), 409, 'lock_lost');
	await wire.close();
});

test('a holder that extends the lock from its next socket never lost it', async (t) => {
	const daemon = await start(t, { viewing_grace_ms: GRACE_MS });
	const [kept, marker] = [lockOf(daemon), lockOf(daemon)];
	const [first, second] = [await daemon.connect(), await daemon.connect()];
	const { lock: { token } } = ok(await kept.acquire({ user_id: 1, socket_id: first.socketId }));
	ok(await marker.acquire({ user_id: 1, socket_id: first.socketId }));
	await first.close();
	ok(await kept.acquire({ user_id: 1, token, socket_id: second.socketId }));
	await waitFor(async () => await marker.held() === null, 'the socket was swept');
	assert.equal((await kept.held()).token, token);
	await second.close();
	await waitFor(async () => await kept.held() === null, 'released with the second one');
});

test('a lock lives as long as the last of its holder\'s sockets', async (t) => {
	const daemon = await start(t, { viewing_grace_ms: '0' });
	const lock = lockOf(daemon);
	const [one, two] = [await daemon.connect(), await daemon.connect()];
	for (const { socketId } of [one, two, one]) ok(await lock.acquire({ user_id: 1, socket_id: socketId }));
	await one.close();
	await waitFor(async () => (await daemon.query('SELECT sockets FROM locks'))[0].sockets.length === 1);
	assert.equal((await lock.held()).user_id, 1);
	await two.close();
	await waitFor(async () => await lock.held() === null);
});

test('a lock without a socket ends by its time alone', async (t) => {
	const daemon = await start(t, { viewing_grace_ms: '0' });
	const [free, tied] = [lockOf(daemon), lockOf(daemon)];
	const tab = await daemon.connect();
	ok(await free.acquire({ user_id: 1 }));
	ok(await tied.acquire({ user_id: 1, socket_id: tab.socketId }));
	await tab.close();
	await waitFor(async () => await tied.held() === null);
	assert.equal((await free.held()).user_id, 1);
});

for (const [how, end] of [['a stop', (daemon) => daemon.stop()], ['kill -9', (daemon) => daemon.kill()]])
	test(`after ${how} what was tied to sockets ends at the next start, unless it is renewed`, async (t) => {
		const daemon = await start(t, { viewing_grace_ms: GRACE_MS });
		const [lost, kept, free] = [lockOf(daemon), lockOf(daemon), lockOf(daemon)];
		const tab = await daemon.connect();
		const tied = { user_id: 1, ttl: 3600, socket_id: tab.socketId };
		for (const lock of [lost, kept]) ok(await lock.acquire(tied));
		ok(await free.acquire({ user_id: 1, ttl: 3600 }));
		for (const lock of [free, kept])
			ok(await lock.request({ user_id: 2, wait: 300, socket_id: tab.socketId }));
		await end(daemon);
		await daemon.start();
		const again = await daemon.connect();
		ok(await kept.acquire({ ...tied, socket_id: again.socketId }));
		ok(await kept.request({ user_id: 2, wait: 300, socket_id: again.socketId }));
		await waitFor(async () => await lost.held() === null, 'ended');
		assert.equal((await daemon.query(`SELECT FROM realtime_events
			WHERE channel = $1 AND payload->>'action' = 'disconnected'`, [lost.channel])).length, 1);
		await waitFor(async () => (await free.held()).requests.length === 0, 'the request ended');
		assert.equal((await free.held()).user_id, 1);
		assert.deepEqual(await daemon.query(`SELECT sockets FROM locks WHERE resource_id = $1`,
			[kept.channel.split('.')[1]]), [{ sockets: [again.socketId] }]);
		assert.ok(Date.parse((await kept.held()).expires_at) > Date.now() + 600_000);
		assert.equal((await kept.held()).requests.length, 1, 'renewed from the new socket');
		await again.close();
		await waitFor(async () => await kept.held() === null, 'tied to the new socket');
	});

test('the sockets of an earlier process are found however many, and the open ones are kept', async (t) => {
	const daemon = await start(t, { viewing_grace_ms: '0' });
	await daemon.stop();
	await daemon.query(`INSERT INTO viewers (app, resource_type, resource_id, user_id, tab, mode, since, expires_at)
		SELECT $1, 'invoice', n % 700, 1 + n % 40, '1.' || n, 'viewing', now(), now() + interval '1 h'
		FROM generate_series(1, 6000) n`, [daemon.app.id]);
	await daemon.query(`INSERT INTO viewers (app, resource_type, resource_id, user_id, tab, mode, since, expires_at)
		VALUES ($1, 'invoice', '7', 99, '', 'viewing', now(), now() + interval '1 h')`, [daemon.app.id]);
	await daemon.start();
	const wire = await daemon.connect();
	ok(await Sync.server(daemon).post('start-viewing', { resource_type: 'invoice', resource_id: '7', user_id: 3,
		socket_id: wire.socketId }));
	// Each resource is changed in several parts, and each change is broadcast: a busy machine needs a minute.
	await waitFor(async () => (await daemon.query('SELECT FROM viewers')).length === 2, 'all are removed', 300000);
	assert.deepEqual(await daemon.query('SELECT user_id::integer, tab FROM viewers ORDER BY 1'),
		[{ user_id: 3, tab: wire.socketId }, { user_id: 99, tab: '' }]);
	await wire.close();
});

test('what is tied to many sockets of an earlier process ends on a slow database, too', async (t) => {
	const COUNT = 200;
	const daemon = await start(t, { viewing_grace_ms: '0', statement_timeout_ms: '2000' });
	await daemon.stop();
	await daemon.query(`INSERT INTO viewers (app, resource_type, resource_id, user_id, tab, mode, since, expires_at)
		SELECT $1, 'invoice', n, n, '1.' || n, 'viewing', now(), now() + interval '1 h' FROM generate_series(1, $2) n`,
	[daemon.app.id, COUNT]);
	await daemon.query(`INSERT INTO locks (app, resource_type, resource_id, token, user_id, ttl, sockets, acquired_at,
		renewed_at, expires_at) SELECT $1, 'invoice', n, n, n, 3600, ARRAY['1.' || n], now(), now(), now() + interval '1 h'
		FROM generate_series(1, $2) n`, [daemon.app.id, COUNT]);
	// All of them in one statement would need four seconds, twice.
	await daemon.query(`CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN PERFORM pg_catalog.pg_sleep(0.02); RETURN NULL; END $$;
		CREATE TRIGGER slow AFTER DELETE ON viewers FOR EACH ROW EXECUTE FUNCTION public.slow();
		CREATE TRIGGER slow AFTER UPDATE ON locks FOR EACH ROW EXECUTE FUNCTION public.slow()`);
	await daemon.start();
	await waitFor(async () => (await daemon.query('SELECT FROM viewers')).length === 0, 'the viewers');
	await waitFor(async () => (await daemon.query('SELECT FROM locks WHERE user_id IS NOT NULL')).length === 0, 'the locks');
});

test('a request ends with the socket that it came from', async (t) => {
	const daemon = await start(t, { viewing_grace_ms: '0' });
	const lock = lockOf(daemon);
	const tab = await daemon.connect();
	ok(await lock.acquire({ user_id: 1 }));
	ok(await lock.request({ user_id: 2, wait: 300, socket_id: tab.socketId }));
	assert.equal((await lock.held()).requests.length, 1);
	await tab.close();
	await waitFor(async () => (await lock.held()).requests.length === 0);
	failed(await lock.grant({ user_id: 1, to: 2 }), 404, 'unknown_request', 'to');
});

test('a lock that was granted or taken is tied to the socket of its new holder', async (t) => {
	const daemon = await start(t, { viewing_grace_ms: '0' });
	const lock = lockOf(daemon);
	const [one, two, three] = [await daemon.connect(), await daemon.connect(), await daemon.connect()];
	ok(await lock.acquire({ user_id: 1, socket_id: one.socketId }));
	ok(await lock.request({ user_id: 2, socket_id: two.socketId }));
	ok(await lock.grant({ user_id: 1, to: 2 }));
	await one.close();
	ok(await lock.steal({ user_id: 3, socket_id: three.socketId }));
	await two.close();
	const marker = lockOf(daemon);
	const four = await daemon.connect();
	ok(await marker.acquire({ user_id: 1, socket_id: four.socketId }));
	await four.close();
	await waitFor(async () => await marker.held() === null, 'the earlier sockets were swept');
	assert.equal((await lock.held()).user_id, 3);
	await three.close();
	await waitFor(async () => await lock.held() === null);
	const last = await daemon.connect();
	ok(await lock.acquire({ user_id: 1 }));
	ok(await lock.request({ user_id: 2, socket_id: last.socketId }));
	ok(await lock.grant({ user_id: 1, to: 2 }));
	await last.close();
	await waitFor(async () => await lock.held() === null, 'granted');
});

test('a socket that is not open is refused, with what to send', async (t) => {
	const daemon = await start(t);
	const lock = lockOf(daemon);
	ok(await lock.acquire({ user_id: 1 }));
	for (const call of [lock.acquire, lock.steal, lock.request]) {
		const answer = await call({ user_id: 1, socket_id: '1.2' });
		failed(answer, 400, 'unknown_socket', 'socket_id');
		assert.match(answer.json.error.message, /open connection, or none/);
	}
});

test('a socket id with a zero before a number is refused: it would not end with its connection', async (t) => {
	const daemon = await start(t);
	const lock = lockOf(daemon);
	const tab = await daemon.connect();
	const [first, second] = tab.socketId.split('.');
	ok(await lock.acquire({ user_id: 1 }));
	for (const socket_id of [`0${tab.socketId}`, `${first}.0${second}`]) {
		for (const call of [lock.acquire, lock.steal, lock.request])
			failed(await call({ user_id: 1, socket_id }), 400, 'invalid_value', 'socket_id');
		for (const [path, body] of [['heartbeat', {}],
			['start-viewing', { resource_type: 'invoice', resource_id: '7' }]])
			failed(await Sync.server(daemon).post(path, { user_id: 1, socket_id, ...body }),
				400, 'invalid_value', 'socket_id');
		await assert.rejects(daemon.query(`SELECT broadcast('news', 'Told', '{}'::json, exclude_socket => $1)`,
			[socket_id]), { code: '22023', message: /is not a socket id/ });
		await assert.rejects(daemon.query('SELECT viewing_tab($1)', [socket_id]), /must be a socket id/);
	}
	await tab.close();
});

test('a lock ends with its last socket also when that one extended it long ago', async (t) => {
	const daemon = await start(t, { viewing_grace_ms: '0' });
	const [lock, clock] = [lockOf(daemon), lockOf(daemon)];
	const [one, two] = [await daemon.connect(), await daemon.connect()];
	ok(await lock.acquire({ user_id: 1, ttl: 1, socket_id: one.socketId }));
	ok(await lock.acquire({ user_id: 1, ttl: 3600, socket_id: two.socketId }));
	ok(await clock.acquire({ user_id: 1, ttl: 3 }));
	await waitFor(async () => await clock.held() === null, 'longer than the first TTL');
	await one.close();
	await waitFor(async () => (await daemon.query('SELECT sockets FROM locks WHERE user_id IS NOT NULL'))[0].sockets.length === 1,
		'the first socket was swept');
	await two.close();
	await waitFor(async () => await lock.held() === null, 'released');
});

test('a sweep and the removal of a user, whose locks and requests cross, do not deadlock', async (t) => {
	const daemon = await start(t);
	const socket = '9.9';
	const resources = Array.from({ length: 13 }, (_, i) => `d${100 + i}`);
	const last = resources.at(-1);
	// User 1 has the locks of a closed socket; user 5 has the last one, and requests the first.
	for (const resource_id of resources)
		ok(await Sync.server(daemon).post('locks', { resource_type: 'invoice', resource_id, user_id: resource_id === last ? 5 : 1 }));
	ok(await Sync.server(daemon).post('locks/request', { resource_type: 'invoice', resource_id: resources[0], user_id: 5, wait: 300 }));
	await daemon.query('UPDATE locks SET sockets = ARRAY[$1]', [socket]);
	const [blocker, sweep, removal] = [await daemon.session(), await daemon.session(), await daemon.session()];
	const swept = async () => Number((await sweep.query('SELECT locks_sweep($1::text[]) AS n', [[socket]])).rows[0].n);
	await blocker.query('BEGIN');
	await blocker.query('SELECT FROM locks WHERE resource_id = $1 FOR UPDATE', [resources.at(-2)]);
	// It ends all locks but the one before the last; it has the time for that on a busy machine, too.
	await sweep.query(`SET statement_timeout = '10min'`);
	await sweep.query('BEGIN');
	assert.equal(await swept(), 500, 'there is more to sweep');
	const removed = removal.query('SELECT user_release_locks((SELECT app FROM locks LIMIT 1), 5) AS n');
	await waitFor(async () => await daemon.lockWaiters() === 1, 'the removal waits');
	await sweep.query('COMMIT');
	await removed;
	await blocker.query('COMMIT');
	assert.equal(await swept(), 1);
	assert.deepEqual(await daemon.query('SELECT FROM locks WHERE user_id IS NOT NULL'), []);
	assert.deepEqual(await daemon.query('SELECT FROM lock_requests'), []);
	for (const session of [blocker, sweep, removal]) await session.end();
});

test('a transaction that stays open delays the sweep of what it has locked only', async (t) => {
	const daemon = await start(t, { viewing_grace_ms: '0', presence_ttl_s: '3600' });
	const free = lockOf(daemon);
	const server = Sync.server(daemon);
	const tab = await daemon.connect();
	const checked = { resource_type: 'invoice', resource_id: 'checked' };
	const { lock: { token } } = ok(await server.post('locks', { ...checked, user_id: 1, ttl: 3600, socket_id: tab.socketId }));
	const holder = async () => ok(await server.get('locks', checked)).lock?.user_id;
	ok(await free.acquire({ user_id: 1, ttl: 3600, socket_id: tab.socketId }));
	for (const [resource_id, user_id] of [['v1', 1], ['v2', 2]])
		ok(await server.post('start-viewing', { resource_type: 'invoice', resource_id, user_id, ttl: 3600, socket_id: tab.socketId }));
	ok(await server.post('heartbeat', { user_id: 1, socket_id: tab.socketId }));
	const [own, removal] = [await daemon.session(), await daemon.session()];
	await own.query('BEGIN');
	assert.equal((await own.query(`SELECT lock_check('invoice', 'checked', $1) AS is_newest`, [token])).rows[0].is_newest, true);
	await removal.query('BEGIN');
	await removal.query('SELECT user_delete(2)');
	await tab.close();
	await waitFor(async () => await free.held() === null, 'the other lock is released');
	await waitFor(async () => (await daemon.query('SELECT resource_id AS r FROM viewers')).map(({ r }) => r).join() === 'v2',
		'the other viewer is deleted');
	await waitFor(async () => (await daemon.query('SELECT status FROM user_presence'))[0].status === 'offline');
	assert.equal(await holder(), 1);
	await own.query('COMMIT');
	await removal.query('ROLLBACK');
	await waitFor(async () => await holder() === undefined, 'released afterwards');
	await waitFor(async () => (await daemon.query('SELECT FROM viewers')).length === 0, 'and the viewer');
	await Promise.all([own.end(), removal.end()]);
});

// ---- presence ----

const ONLINE = 'presence-presence.online';
const PRESENT = { event: 'App\\Events\\UserPresenceChanged', channel: ONLINE };
const lasting = { viewing_grace_ms: '0', presence_ttl_s: '3600' };

/** Heartbeats of user 1 and what is stored and broadcast about it. */
async function presenceOf(daemon) {
	const server = Sync.server(daemon);
	const wire = await daemon.connect();
	await wire.subscribe(ONLINE, { channelData: { user_id: 'watcher' } });
	const row = async () => (await daemon.query(`SELECT status, sockets, is_tied, heartbeat_at, last_seen_at
		FROM user_presence WHERE user_id = 1`))[0];
	return { wire, row, beat: (more, headers) => server.call('POST', 'heartbeat', { body: { user_id: 1, ...more }, headers }),
		becomes: (status) => wire.next({ ...PRESENT, data: { user_id: 1, status } }),
		has: (sockets) => waitFor(async () => String((await row()).sockets) === String(sockets), `sockets ${sockets}`),
		told: () => wire.all(PRESENT).map((f) => payload(f)).filter((d) => d.user_id === 1).map((d) => d.status) };
}

test('a user whose heartbeat named a socket is offline after the grace period of its end, not before', async (t) => {
	const daemon = await start(t, { presence_ttl_s: '3600', viewing_grace_ms: '1200' });
	const user = await presenceOf(daemon);
	const tab = await daemon.connect();
	ok(await user.beat({ socket_id: tab.socketId, status: 'busy' }));
	await user.becomes('busy');
	const [{ at }] = await daemon.query('SELECT clock_timestamp() AS at');
	await tab.terminate();
	assert.equal(payload(await user.becomes('offline')).previous_status, 'busy');
	const [{ changed_at }] = await daemon.query('SELECT changed_at FROM user_presence WHERE user_id = 1');
	assert.ok(changed_at - at >= 1200, `${changed_at - at} ms`);
	const { sockets, is_tied, heartbeat_at } = await user.row();
	assert.deepEqual({ sockets, is_tied, heartbeat_at }, { sockets: [], is_tied: false, heartbeat_at: null });
	assert.deepEqual(ok(await Sync.server(daemon).get('online-users', { user_ids: '1' })).users, []);
});

test('a user with heartbeats of several sockets is offline with the last of them', async (t) => {
	const daemon = await start(t, lasting);
	const user = await presenceOf(daemon);
	const [one, two] = [await daemon.connect(), await daemon.connect()];
	// Also without waiting, and with a key, which has a statement of its own.
	ok(await user.beat({ socket_id: one.socketId }, { 'Idempotency-Key': 'beat-1' }));
	await Promise.all([one, two, one].map(({ socketId }) => user.beat({ socket_id: socketId, wait: false })));
	await user.has([one.socketId, two.socketId]);
	await one.close();
	await user.has([two.socketId]);
	assert.equal((await user.row()).status, 'online');
	await two.close();
	await user.becomes('offline');
	assert.deepEqual(user.told(), ['online', 'offline']);
});

test('a heartbeat without a socket, after one with it, lasts for the TTL', async (t) => {
	const daemon = await start(t, lasting);
	const user = await presenceOf(daemon);
	const [tab, next] = [await daemon.connect(), await daemon.connect()];
	ok(await user.beat({ socket_id: tab.socketId }));
	ok(await user.beat({}));
	await tab.close();
	await user.has([]);
	assert.equal((await user.row()).status, 'online');
	ok(await user.beat({ socket_id: next.socketId }));
	await next.close();
	await user.becomes('offline');
});

test('a heartbeat with keep_sockets leaves the presence to the sockets of the heartbeats before it', async (t) => {
	const daemon = await start(t, lasting);
	const user = await presenceOf(daemon);
	const [tab, next] = [await daemon.connect(), await daemon.connect()];
	for (const headers of [{}, { 'Idempotency-Key': 'kept' }]) {
		ok(await user.beat({ socket_id: tab.socketId, location: '/a' }));
		ok(await user.beat({ keep_sockets: true, location: '/b' }, headers));
		const { sockets, is_tied } = await user.row();
		assert.deepEqual({ sockets, is_tied }, { sockets: [tab.socketId], is_tied: true });
	}
	// Long before the end of the socket.
	await daemon.query(`UPDATE user_presence SET kept_at = kept_at - interval '1 min'`);
	await tab.close();
	await user.becomes('offline');
	// Without a socket before it, the TTL applies; and to one whose sockets are not the user's any more.
	ok(await user.beat({ keep_sockets: true }));
	await user.becomes('online');
	assert.equal((await user.row()).is_tied, false);
	ok(await user.beat({ socket_id: next.socketId }));
	ok(await user.beat({}));
	ok(await user.beat({ keep_sockets: true }));
	assert.equal((await user.row()).is_tied, false);
	failed(await user.beat({ keep_sockets: 7 }), 400, 'invalid_value', 'keep_sockets');
});

test('heartbeats of one batch count in their order, with and without keep_sockets', async (t) => {
	const daemon = await start(t, { ...lasting, presence_batch_ms: '300' });
	const user = await presenceOf(daemon);
	const tab = await daemon.connect();
	const tied = { socket_id: tab.socketId }, kept = { keep_sockets: true };
	for (const [beats, is_tied] of [[[tied, kept], true], [[kept, {}], false], [[kept, tied], true], [[{}, kept], false],
		[[tied], true], [[kept, kept], true]]) {
		const [last] = beats.slice(-1);
		for (const beat of beats.slice(0, -1)) ok(await user.beat({ ...beat, wait: false }), 202);
		ok(await user.beat(last));
		assert.equal((await user.row()).is_tied, is_tied, JSON.stringify(beats));
	}
});

test('a page that is requested when the sockets of the one before it close keeps its user online', async (t) => {
	const daemon = await start(t, { presence_ttl_s: '3600', viewing_grace_ms: '300' });
	const user = await presenceOf(daemon);
	const tab = await daemon.connect();
	ok(await user.beat({ socket_id: tab.socketId }));
	ok(await user.beat({ keep_sockets: true, location: '/next' }));
	await tab.close();
	await user.has([]);
	const { status, is_tied } = await user.row();
	assert.deepEqual({ status, is_tied }, { status: 'online', is_tied: false });
	assert.deepEqual(user.told(), ['online']);
});

test('a heartbeat with the status offline ends the ties', async (t) => {
	const daemon = await start(t, lasting);
	const user = await presenceOf(daemon);
	const tab = await daemon.connect();
	ok(await user.beat({ socket_id: tab.socketId }));
	ok(await user.beat({ socket_id: tab.socketId, status: 'offline' }));
	const { sockets, is_tied } = await user.row();
	assert.deepEqual({ sockets, is_tied }, { sockets: [], is_tied: false });
	ok(await user.beat({}));
	await tab.close();
	const marker = lockOf(daemon);
	const last = await daemon.connect();
	ok(await marker.acquire({ user_id: 2, socket_id: last.socketId }));
	await last.close();
	await waitFor(async () => await marker.held() === null, 'both sockets were swept');
	assert.equal((await user.row()).status, 'online');
});

test('a user with another connection stays online when the socket of its heartbeats ends', async (t) => {
	const daemon = await start(t, { ...lasting, presence_from_sockets: 'true' });
	const user = await presenceOf(daemon);
	const member = await daemon.connect();
	await member.subscribe('presence-room', { channelData: { user_id: '1' } });
	await user.becomes('online');
	const tab = await daemon.connect();
	ok(await user.beat({ socket_id: tab.socketId }));
	await tab.close();
	await user.has([]);
	assert.equal((await user.row()).status, 'online');
	await member.close();
	await user.becomes('offline');
	assert.deepEqual(user.told(), ['online', 'offline']);
});

test('a user whose connection closed while the database was away is offline with its socket', async (t) => {
	const daemon = await start(t, lasting);
	const user = await presenceOf(daemon);
	const [old, next] = [await daemon.connect(), await daemon.connect()];
	ok(await user.beat({ socket_id: old.socketId }));
	await daemon.query(`UPDATE daemon SET since = since - interval '3 h'`);
	await daemon.query(`UPDATE user_presence SET connected_at = now() - interval '2 h'`);
	await old.close();
	await user.becomes('offline');
	// The expiry forgets it too.
	ok(await user.beat({ socket_id: next.socketId }));
	await daemon.query(`UPDATE user_presence SET connected_at = now(), last_seen_at = now() - interval '2 h'`);
	await waitFor(async () => (await user.row()).status === 'offline', 'expired');
	assert.equal((await daemon.query('SELECT connected_at FROM user_presence'))[0].connected_at, null);
	await next.close();
});

test('a socket that closes while its heartbeat waits for the database leaves no user behind', async (t) => {
	const daemon = await start(t, lasting);
	const user = await presenceOf(daemon);
	const tab = await daemon.connect();
	ok(await user.beat({}));
	const other = await daemon.session();
	await other.query('BEGIN; SELECT FROM user_presence WHERE user_id = 1 FOR UPDATE');
	const beat = user.beat({ socket_id: tab.socketId });
	await waitFor(async () => await daemon.lockWaiters() > 0, 'the heartbeat waits');
	await tab.close();
	await other.query('COMMIT');
	ok(await beat);
	await user.becomes('offline');
	await other.end();
});

test('a heartbeat with the socket of another user, or a closed one, is refused', async (t) => {
	const daemon = await start(t);
	const [mine, other] = [await daemon.connect(), await daemon.connect()];
	await mine.subscribe('presence-room', { channelData: { user_id: '1' } });
	await other.subscribe('presence-room', { channelData: { user_id: '2' } });
	const user = Sync.user(daemon, 1);
	failed(await user.post('heartbeat', { socket_id: other.socketId }), 403, 'socket_forbidden', 'socket_id');
	failed(await user.post('heartbeat', { socket_id: '1.2' }), 400, 'unknown_socket', 'socket_id');
	failed(await Sync.server(daemon).post('heartbeat', { user_id: 1, socket_id: '1.2' }), 400, 'unknown_socket', 'socket_id');
	failed(await user.post('heartbeat', { socket_id: 7 }), 400, 'invalid_value', 'socket_id');
	ok(await user.post('heartbeat', { socket_id: mine.socketId }));
});

test('after kill -9 users whose heartbeats named sockets are offline; others keep their TTL', async (t) => {
	const daemon = await start(t, lasting);
	const user = await presenceOf(daemon);
	const tab = await daemon.connect();
	ok(await user.beat({ socket_id: tab.socketId }));
	ok(await user.beat({ user_id: 2 }));
	await daemon.kill();
	await daemon.start();
	await waitFor(async () => (await user.row()).status === 'offline', 'ended with its socket');
	const [other] = await daemon.query(`SELECT status, extract(epoch FROM now() - last_seen_at)::float8 AS s
		FROM user_presence WHERE user_id = 2`);
	assert.equal(other.status, 'online');
	assert.ok(other.s < 3000);
});

// ---- heartbeats on the WebSocket ----

const HEARTBEAT = 'client-scopewire:heartbeat';

test('a user comes back within the grace period with a heartbeat of its next socket, and never left', async (t) => {
	const daemon = await start(t, { presence_ttl_s: '3600', viewing_grace_ms: GRACE_MS });
	const user = await presenceOf(daemon);
	const [one, two, marker] = [await daemon.connect(), await daemon.connect(), lockOf(daemon)];
	ok(await user.beat({ socket_id: one.socketId }));
	ok(await marker.acquire({ user_id: 2, socket_id: one.socketId }));
	await one.close();
	ok(await user.beat({ socket_id: two.socketId }));
	await waitFor(async () => await marker.held() === null, 'the first socket was swept');
	await user.has([two.socketId]);
	assert.deepEqual(user.told(), ['online']);
});

test('a heartbeat on the WebSocket is that of the user whose connection it is, and ends with it', async (t) => {
	const daemon = await start(t, lasting);
	const user = await presenceOf(daemon);
	const tab = await daemon.connect();
	await tab.subscribe('presence-room', { channelData: { user_id: '1' } });
	tab.send({ event: HEARTBEAT, data: { status: 'away', location: '/a', user_info: { device: 'phone' }, name: 'Ada' } });
	const told = payload(await user.becomes('away'));
	assert.deepEqual({ ...told, last_seen_at: null }, { user_id: 1, name: 'Ada', status: 'away', previous_status: 'offline',
		location: '/a', info: { device: 'phone' }, last_seen_at: null });
	await user.has([tab.socketId]);
	// The data can be a string, as in frames of the server, and can be absent.
	tab.send({ event: HEARTBEAT, data: '{"status":"busy"}' });
	await user.becomes('busy');
	tab.send({ event: HEARTBEAT });
	await user.becomes('online');
	await tab.close();
	await user.becomes('offline');
	assert.deepEqual(user.wire.all({ event: HEARTBEAT }), []);
});

test('a heartbeat on the WebSocket needs neither a channel nor client events', async (t) => {
	const daemon = await startDaemon({ apps: [{ ...APP, enable_client_messages: 'no' }],
		sections: { sync: lasting } }, t);
	const user = await presenceOf(daemon);
	const tab = await daemon.connect();
	tab.sendSignin({ id: '1' });
	await tab.next({ event: 'pusher:signin_success' });
	tab.send({ event: HEARTBEAT, data: {} });
	await user.becomes('online');
	// So does a connection for which the daemon authorized a subscription.
	const other = await daemon.connect();
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument) VALUES ('of.{id}', 'owner', 'id')`);
	ok(await Sync.user(daemon, 2).call('POST', '/broadcasting/auth',
		{ body: { socket_id: other.socketId, channel_name: 'private-of.2' } }));
	other.send({ event: HEARTBEAT, data: {} });
	await user.wire.next({ ...PRESENT, data: { user_id: 2, status: 'online' } });
});

test('a heartbeat on the WebSocket that is not valid, or whose user is not known, is refused', async (t) => {
	const daemon = await startDaemon({ apps: [{ ...APP, max_client_events_per_second: '20' }] }, t);
	const tab = await daemon.connect();
	const refused = async (data, pattern) => {
		tab.send({ event: HEARTBEAT, data });
		const { data: text } = await tab.next({ event: 'pusher:error' });
		const { code, message } = typeof text === 'string' ? JSON.parse(text) : text;
		assert.equal(code, null);
		assert.match(message, pattern);
	};
	await refused({}, /whose connection/);
	await tab.subscribe('presence-room', { channelData: { user_id: 'ada' } });
	await refused({}, /type sync\.user_id/);
	await tab.close();
	const known = await daemon.connect();
	await known.subscribe('presence-room', { channelData: { user_id: '1' } });
	for (const [data, pattern] of [
		[7, /data must be an object/], [{ status: 'gone' }, /status must be/], [{ user_id: 2 }, /a field that is none of/],
		[{ location: 'x'.repeat(256) }, /location must be/], [{ location: 5 }, /location must be/],
		[{ name: 'x'.repeat(256) }, /name must be/], [{ avatar: 'x'.repeat(2049) }, /avatar must be/],
		[{ info: [1] }, /info must be/], [{ info: { x: 'x'.repeat(2048) } }, /info must be/],
		[{ info: {}, user_info: {} }, /same field/], [{ location: 'a\0b' }, /data must be an object/],
	]) {
		known.send({ event: HEARTBEAT, data });
		const frame = await known.next({ event: 'pusher:error' });
		assert.match(JSON.stringify(frame.data), pattern);
	}
	// The connection of a user may make a row, but no heartbeat was taken.
	assert.deepEqual(await daemon.query('SELECT FROM user_presence WHERE heartbeat_at IS NOT NULL'), []);
});

test('heartbeats on the WebSocket count as client events of the connection', async (t) => {
	const daemon = await startDaemon({ apps: [{ ...APP, max_client_events_per_second: '2' }] }, t);
	const tab = await daemon.connect();
	await tab.subscribe('presence-room', { channelData: { user_id: '1' } });
	for (let i = 0; i < 10; i++) tab.send({ event: HEARTBEAT, data: {} });
	assert.match(JSON.stringify(await tab.next({ event: 'pusher:error' })), /4301/);
});
