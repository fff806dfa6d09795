// SPDX-License-Identifier: MIT
// Edit locks: who holds what, until when, and that a late holder cannot write.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import pg from 'pg';
import { APP, Sync, failed, jwt, ok, startDaemon, waitFor, withoutEvent } from
	'../lib/harness.mjs';

const OTHER = { id: 'other', key: 'other-key', secret: 'other-secret' };
const CHANGED = { event: 'App\\Events\\LockChanged' };

let daemon, server;
let serial = 0;
before(async () => {
	daemon = await startDaemon({ apps: [APP, OTHER] });
	server = Sync.server(daemon);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument, can_write) VALUES
		('invoice.{id}', 'role', 'staff', true), ('client.{id}', 'owner', 'id', true)`);
});
after(() => daemon?.stop());

const staff = (id, claims = {}) => Sync.user(daemon, id, { roles: ['staff'], ...claims });
/** A resource that no other test uses. */
const fresh = () => ({ resource_type: 'invoice', resource_id: `i${++serial}` });
const held = async (resource) => ok(await server.get('locks', resource)).lock;
/** Makes a lock's time be over, as far as the database can tell. */
const age = (resource) => daemon.query(`UPDATE locks SET expires_at = now() - interval '1 s'
	WHERE resource_id = $1 AND user_id IS NOT NULL`, [resource.resource_id]);
const channelOf = (r) => `private-${r.resource_type}.${r.resource_id}`;
async function listener(resource) {
	const wire = await daemon.connect();
	await wire.subscribe(channelOf(resource));
	return wire;
}
const payload = (frame) => JSON.parse(frame.data);

describe('acquire, renew, release', () => {
	test('an acquired lock is published with its holder', async () => {
		const r = fresh();
		const wire = await listener(r);
		const { lock, renewed } = ok(await staff(1, { name: 'Ada' })
			.post('locks', { ...r, ttl: 30 }));
		assert.equal(renewed, false);
		assert.deepEqual({ ...r, user_id: 1, name: 'Ada', ttl: 30 },
			{ resource_type: lock.resource_type, resource_id: lock.resource_id,
				user_id: lock.user_id, name: lock.name, ttl: lock.ttl });
		assert.ok(Number.isInteger(lock.token) && lock.token > 0);
		const left = Date.parse(lock.expires_at) - Date.parse(lock.renewed_at);
		assert.equal(left, 30000);
		assert.deepEqual(await held(r), lock);
		const told = await wire.next({ ...CHANGED, channel: channelOf(r) });
		assert.deepEqual(payload(told), { action: 'acquired', ...r, field: null, lock, previous: null });
		await wire.close();
	});

	test('another user gets 409 with the holder, and the lock after its release', async () => {
		const r = fresh();
		const first = ok(await staff(1, { name: 'Ada' }).post('locks', r)).lock;
		const refused = await staff(2).post('locks', r);
		failed(refused, 409, 'locked');
		assert.deepEqual(refused.json.lock, first);
		failed(await staff(2).post('locks/release', r), 409, 'locked');
		failed(await staff(2).delete('locks', { ...r, token: first.token }), 409, 'locked');
		const wire = await listener(r);
		assert.deepEqual(withoutEvent(ok(await staff(1).delete('locks', r))), { released: true, lock: null });
		const told = payload(await wire.next({ ...CHANGED, data: { action: 'released' } }));
		assert.deepEqual(told, { action: 'released', ...r, field: null, lock: null,
			previous: { user_id: 1, name: 'Ada', token: first.token } });
		const second = ok(await staff(2).post('locks', r)).lock;
		assert.ok(second.token > first.token);
		await wire.close();
	});

	test('the holder renews with or without its token, and no event is published', async () => {
		const r = fresh();
		const wire = await listener(r);
		const first = ok(await staff(1).post('locks', { ...r, ttl: 60 })).lock;
		assert.equal(payload(await wire.next(CHANGED)).action, 'acquired');
		const again = ok(await staff(1).post('locks', { ...r, ttl: 600, token: first.token }));
		assert.equal(again.renewed, true);
		assert.equal(again.lock.token, first.token);
		assert.equal(again.lock.acquired_at, first.acquired_at);
		assert.ok(again.lock.expires_at > first.expires_at);
		assert.equal(ok(await staff(1).post('locks', r)).lock.token, first.token);
		failed(await staff(1).post('locks', { ...r, token: first.token + 1 }), 409, 'lock_lost');
		ok(await staff(1).post('locks/release', { ...r, token: first.token }));
		const told = payload(await wire.next(CHANGED));
		assert.equal(told.action, 'released');
		await wire.close();
	});

	test('a renewal of a lost lock is refused', async () => {
		const r = fresh();
		const { token } = ok(await staff(1).post('locks', r)).lock;
		await age(r);
		failed(await staff(1).post('locks', { ...r, token }), 409, 'lock_lost');
		const other = ok(await staff(2).post('locks', r)).lock;
		const late = await staff(1).post('locks', { ...r, token });
		failed(late, 409, 'locked');
		assert.deepEqual(late.json.lock, other);
		// And a tab of the same user with an old token does not let go of the newer lock.
		ok(await staff(2).post('locks/release', r));
		const mine = ok(await staff(1).post('locks', r)).lock;
		failed(await staff(1).post('locks/release', { ...r, token }), 409, 'lock_lost');
		assert.equal((await held(r)).token, mine.token);
	});

	test('releasing a free lock succeeds', async () => {
		const r = fresh();
		assert.deepEqual(ok(await staff(1).post('locks/release', r)),
			{ released: false, lock: null });
		ok(await staff(1).post('locks', r));
		ok(await staff(1).post('locks/release', r));
		assert.equal(ok(await staff(1).post('locks/release', r)).released, false);
	});

	test('the server acts for users, and may force', async () => {
		const r = fresh();
		await server.put('users/7', { name: 'Grace' });
		const lock = ok(await server.post('locks', { ...r, user_id: 7 })).lock;
		assert.equal(lock.name, 'Grace');
		failed(await server.post('locks/release', r), 400, 'missing_field', 'user_id');
		failed(await server.post('locks/release', { ...r, user_id: 8 }), 409, 'locked');
		failed(await staff(7).post('locks/release', { ...r, force: true }), 403, 'forbidden',
			'force');
		failed(await server.post('locks/release', { ...r, force: true, token: lock.token + 1 }),
			409, 'lock_lost');
		const wire = await listener(r);
		assert.equal(ok(await server.delete('locks', { ...r, force: true })).released, true);
		await wire.next({ ...CHANGED, data: { action: 'forced' } });
		await wire.close();
	});

	test('the signed query works', async () => {
		const r = fresh();
		const api = daemon.api();
		const lock = ok(await api.post('/sync/locks', { ...r, user_id: 3 })).lock;
		assert.deepEqual(ok(await api.get('/sync/locks', r)).lock, lock);
		assert.equal(ok(await api.post('/sync/locks/release', { ...r, user_id: 3 })).released,
			true);
	});

	test('DELETE accepts its fields in the query', async () => {
		const r = fresh();
		ok(await staff(1).post('locks', r));
		assert.equal(ok(await staff(1).call('DELETE', 'locks', { query: r })).released, true);
	});

	test('the sender\'s socket does not receive the event', async () => {
		const r = fresh();
		const [mine, theirs] = [await listener(r), await listener(r)];
		ok(await staff(1).post('/broadcasting/user-auth', { socket_id: mine.socketId }));
		ok(await staff(1).post('locks', { ...r, socket_id: mine.socketId }));
		ok(await staff(1).post('locks/release', r));
		assert.equal(payload(await theirs.next(CHANGED)).action, 'acquired');
		assert.equal(payload(await mine.next(CHANGED)).action, 'released');
		await mine.close();
		await theirs.close();
	});
});

describe('fields', () => {
	test('fields of a resource are locked apart from each other and from the whole', async () => {
		const r = fresh();
		const wire = await listener(r);
		const whole = ok(await staff(1).post('locks', r)).lock;
		const title = ok(await staff(2).post('locks', { ...r, field: 'items[0].title' })).lock;
		assert.equal(whole.field, null);
		assert.equal(title.field, 'items[0].title');
		failed(await staff(1).post('locks', { ...r, field: 'items[0].title' }), 409, 'locked');
		ok(await staff(1).post('locks', { ...r, field: 'text' }));
		assert.deepEqual([payload(await wire.next(CHANGED)), payload(await wire.next(CHANGED))]
			.map((e) => e.field), [null, 'items[0].title']);
		assert.deepEqual(ok(await server.get('locks', { ...r, field: 'items[0].title' })).lock, title);
		assert.deepEqual(await held(r), whole);
		ok(await staff(2).post('locks/release', { ...r, field: 'items[0].title' }));
		assert.deepEqual(await held(r), whole);
		// The token of the whole resource is the one that a write is held to.
		const [{ is }] = await daemon.query(`SELECT lock_check($1, $2, $3, $4) AS is`,
			[r.resource_type, r.resource_id, whole.token, APP.id]);
		assert.equal(is, true);
		for (const field of ['', 'a b', 'x'.repeat(65), 'ä', `'; --`])
			failed(await staff(1).post('locks', { ...r, field }), 400, 'invalid_value', 'field');
		failed(await server.get('locks', { field: 'title' }), 400, 'missing_field', 'resource_id');
		await wire.close();
	});
});

describe('expiry', () => {
	test('an expiry is published once, and the lock is free', async () => {
		const r = fresh();
		const wire = await listener(r);
		const { token } = ok(await staff(1, { name: 'Ada' }).post('locks', { ...r, ttl: 1 })).lock;
		await wire.next({ ...CHANGED, data: { action: 'acquired' } });
		const told = payload(await wire.next(CHANGED));
		assert.deepEqual(told, { action: 'expired', ...r, field: null, lock: null,
			previous: { user_id: 1, name: 'Ada', token } });
		assert.equal(await held(r), null);
		assert.equal(ok(await server.get('locks', r)).last_token, token);
		// The next broadcast is the next holder's: there is none between.
		ok(await staff(2).post('locks', r));
		assert.equal(payload(await wire.next(CHANGED)).action, 'acquired');
		await wire.close();
	});

	test('by default a lock that is renewed once a minute stays', async () => {
		const r = fresh();
		const wire = await listener(r);
		const { token } = ok(await staff(1).post('locks', r)).lock;
		for (let minute = 0; minute < 3; minute++) {
			await daemon.query(`UPDATE locks SET renewed_at = renewed_at - interval '61 s',
				expires_at = expires_at - interval '61 s' WHERE resource_id = $1`, [r.resource_id]);
			const other = fresh();
			ok(await staff(2).post('locks', other));
			await age(other);
			await waitFor(async () => await held(other) === null && (await daemon.query(
				'SELECT FROM locks WHERE resource_id = $1 AND user_id IS NULL', [other.resource_id])).length,
			'expired locks are freed');
			failed(await staff(2).post('locks', r), 409, 'locked');
			assert.equal(ok(await staff(1).post('locks', { ...r, token })).renewed, true);
		}
		ok(await staff(1).post('locks/release', { ...r, token }));
		assert.deepEqual(['acquired', 'released'], [payload(await wire.next(CHANGED)).action,
			payload(await wire.next(CHANGED)).action]);
		await wire.close();
	});

	test('an expired lock can be acquired before and after the sweep', async () => {
		const r = fresh();
		const first = ok(await staff(1).post('locks', r)).lock;
		await age(r);
		const second = ok(await staff(2).post('locks', r)).lock;
		assert.ok(second.token > first.token);
		assert.equal((await held(r)).user_id, 2);
	});

	test('an expiry while the daemon was down is published at its start', async (t) => {
		const own = await startDaemon({}, t);
		const r = fresh();
		const s = Sync.server(own);
		ok(await s.post('locks', { ...r, user_id: 1, ttl: 1 }));
		await own.stop();
		await own.query(`UPDATE locks SET expires_at = now() - interval '1 h'`);
		await own.start();
		const told = await waitFor(async () => {
			const rows = await own.query(`SELECT payload FROM realtime_events
				WHERE channel = $1 AND serial > 0 AND payload->>'action' = 'expired'`, [channelOf(r)]);
			return rows.length ? rows : null;
		});
		assert.equal(told.length, 1);
		ok(await s.post('locks', { ...r, user_id: 2 }));
		const again = await own.query(`SELECT payload FROM realtime_events
			WHERE channel = $1 AND payload->>'action' = 'expired'`, [channelOf(r)]);
		assert.equal(again.length, 1);
	});

	test('locks of a removed application do not delay the sweep', async () => {
		await daemon.query(`INSERT INTO locks VALUES ('gone', 'invoice', 'x', 1, 1, NULL, 1,
			now(), now(), now() - interval '1 h')`);
		const r = fresh();
		ok(await staff(1).post('locks', { ...r, ttl: 1 }));
		await waitFor(async () => (await daemon.query(`SELECT count(*)::int AS n FROM locks
			WHERE user_id IS NOT NULL AND (app = 'gone' OR resource_id = $1)`,
		[r.resource_id]))[0].n === 0);
	});

	test('tokens keep rising after a resource was deleted', async () => {
		const r = fresh();
		const first = ok(await staff(1).post('locks', r)).lock;
		ok(await staff(1).post('locks/release', r));
		await daemon.query(`UPDATE locks SET expires_at = now() - interval '31 days'
			WHERE resource_id = $1`, [r.resource_id]);
		await daemon.query('SELECT locks_prune(1000)');     // or the daemon, which does it each minute
		assert.equal((await daemon.query('SELECT FROM locks WHERE resource_id = $1',
			[r.resource_id])).length, 0);
		const second = ok(await staff(1).post('locks', r)).lock;
		assert.ok(second.token > first.token);
	});
});

describe('races', () => {
	test('50 clients at once: one holder, and tokens only rise', async () => {
		const r = fresh();
		const wire = await listener(r);
		const tokens = [];
		for (let round = 0; round < 6; round++) {
			const answers = await Promise.all(Array.from({ length: 50 }, (_, i) =>
				staff(100 + i).post('locks', r)));
			const winners = answers.filter((a) => a.status === 200);
			assert.equal(winners.length, 1);
			const { lock } = winners[0].json;
			for (const a of answers)
				if (a !== winners[0]) {
					failed(a, 409, 'locked');
					assert.deepEqual(a.json.lock, lock);
				}
			tokens.push(lock.token);
			// Every second time it is left to expire instead.
			if (round % 2) await age(r);
			else ok(await staff(lock.user_id).post('locks/release', r));
		}
		for (let i = 1; i < tokens.length; i++) assert.ok(tokens[i] > tokens[i - 1], tokens.join());
		const told = [];
		while (told.length < tokens.length) {
			const { action, lock } = payload(await wire.next(CHANGED));
			if (action === 'acquired') told.push(lock.token);
		}
		assert.deepEqual(told, tokens);
		await wire.close();
	});

	test('many clients that take over expired locks never get the same token', async () => {
		const r = fresh();
		const given = [];
		await Promise.all(Array.from({ length: 20 }, async (_, i) => {
			for (let n = 0; n < 5; n++) {
				const answer = await staff(200 + i).post('locks', r);
				if (answer.status === 200 && !answer.json.renewed) given.push(answer.json.lock.token);
				else if (answer.status !== 200) failed(answer, 409, 'locked');
				if (answer.status === 200) await staff(200 + i).post('locks/release', r);
			}
		}));
		assert.ok(given.length >= 5);
		assert.equal(new Set(given).size, given.length);
		assert.equal(ok(await server.get('locks', r)).last_token, Math.max(...given));
	});

	test('an application\'s open transaction delays newer tokens', async () => {
		const r = fresh();
		const { token } = ok(await staff(1).post('locks', r)).lock;
		await age(r);
		const at = daemon.database;
		const client = new pg.Client({ host: at.host, database: at.name, user: at.user, port: 5432,
			options: '-c search_path=scopewire' });
		await client.connect();
		try {
			await client.query('BEGIN');
			const ask = async (t) => (await client.query(
				'SELECT lock_check($1, $2, $3, $4) AS ok', [r.resource_type, r.resource_id, t, APP.id]))
				.rows[0].ok;
			assert.equal(await ask(token), true);
			assert.equal(await ask(token + 1), false);
			const other = staff(2).post('locks', r);
			await waitFor(async () => await daemon.lockWaiters() > 0, 'the other waits');
			await client.query('COMMIT');
			assert.ok(ok(await other).lock.token > token);
			assert.equal(await ask(token), false);
			assert.equal(await ask(null), false);
		} finally {
			await client.end();
		}
	});
});

describe('lists', () => {
	test('held locks are listed in pages, by type and by user', async () => {
		const made = Array.from({ length: 7 }, (_, i) => ({ resource_type: 'page', resource_id: `p${i}` }));
		for (const [i, r] of made.entries())
			ok(await server.post('locks', { ...r, user_id: 50 + i % 2 }));
		const ids = [];
		let cursor;
		do {
			const page = ok(await server.get('locks', { resource_type: 'page', limit: 3, cursor }));
			assert.ok(page.locks.length <= 3);
			ids.push(...page.locks.map((l) => l.resource_id));
			cursor = page.next_cursor ?? undefined;
		} while (cursor);
		assert.deepEqual(ids, made.map((r) => r.resource_id));
		const whole = ok(await server.get('locks', { resource_type: 'page', limit: 7 }));
		assert.equal(whole.next_cursor, null);
		const of51 = ok(await server.get('locks', { resource_type: 'page', user_id: 51 }));
		assert.deepEqual(of51.locks.map((l) => l.resource_id), ['p1', 'p3', 'p5']);
		await age(made[0]);
		assert.equal(ok(await server.get('locks', { resource_type: 'page' })).locks.length, 6);
	});

	test('a user\'s locks are found among many, and its own ones also without a rule', async () => {
		await daemon.query(`INSERT INTO locks (app, resource_type, resource_id, token, user_id, ttl,
			acquired_at, renewed_at, expires_at) SELECT $1, 'many', n::text, nextval('lock_token'), 70, 1,
			now(), now(), now() + interval '1 h' FROM generate_series(1, 600) n`, [APP.id]);
		const secret = { resource_type: 'secret', resource_id: 1 };
		ok(await server.post('locks', { ...secret, user_id: 71 }));
		const seen = ok(await Sync.user(daemon, 71).get('locks', { user_id: 71 }));
		assert.deepEqual(seen.locks.map((l) => l.resource_type), ['secret']);
		assert.equal(seen.next_cursor, null);
		assert.deepEqual(ok(await server.get('locks', { user_id: 71 })).locks, seen.locks);
		assert.deepEqual(ok(await Sync.user(daemon, 70).get('locks', { user_id: 71 })).locks, []);
		await daemon.query('DELETE FROM locks WHERE user_id IN (70, 71)');
	});

	test('a user sees locks of channels that it may join', async () => {
		for (const id of [60, 61]) ok(await server.post('locks', { resource_type: 'client',
			resource_id: id, user_id: id }));
		const seen = ok(await Sync.user(daemon, 60).get('locks', { resource_type: 'client' }));
		assert.deepEqual(seen.locks.map((l) => l.resource_id), ['60']);
		assert.equal(ok(await Sync.user(daemon, 62).get('locks')).locks.length, 0);
		failed(await Sync.user(daemon, 62).get('locks', { resource_type: 'client', resource_id: 60 }),
			403, 'channel_forbidden', 'resource_id');
	});

	test('an unchanged list is 304', async () => {
		const r = fresh();
		const first = await server.get('locks', r);
		const again = await server.call('GET', 'locks',
			{ query: r, headers: { 'If-None-Match': first.headers.etag } });
		assert.equal(again.status, 304);
	});
});

describe('rights and refusals', () => {
	test('a user acts only as itself, on channels that it may join', async () => {
		const r = fresh();
		failed(await Sync.user(daemon, 1).post('locks', r), 403, 'channel_forbidden', 'resource_id');
		failed(await staff(1).post('locks', { ...r, user_id: 2 }), 403, 'forbidden', 'user_id');
		failed(await Sync.user(daemon, 1).post('locks/release', { ...r, user_id: 2 }), 403,
			'forbidden', 'user_id');
		ok(await staff(1).post('locks', r));
		failed(await Sync.user(daemon, 2).post('locks/release', r), 403, 'channel_forbidden',
			'resource_id');
		// Who has lost the right may still let go.
		assert.equal(ok(await Sync.user(daemon, 1).post('locks/release', r)).released, true);
		failed(await new Sync(daemon, `Bearer ${jwt('wrong', { sub: '1', aud: APP.id,
			exp: Date.now() / 1000 + 60 | 0 })}`).post('locks', r), 401, 'bad_token');
	});

	test('apps do not see each other', async () => {
		const r = fresh();
		const mine = ok(await server.post('locks', { ...r, user_id: 1 })).lock;
		const other = Sync.server(daemon, OTHER);
		assert.equal(ok(await other.get('locks', r)).lock, null);
		ok(await other.post('locks', { ...r, user_id: 2 }));
		assert.deepEqual(await held(r), mine);
		const told = await daemon.query(`SELECT app FROM realtime_events WHERE channel = $1
			ORDER BY serial`, [channelOf(r)]);
		assert.deepEqual(told.map((e) => e.app).sort(), [APP.id, OTHER.id]);
	});

	test('invalid fields are refused', async () => {
		const r = fresh();
		const post = (more) => server.post('locks', { ...r, user_id: 1, ...more });
		failed(await server.post('locks', r), 400, 'missing_field', 'user_id');
		failed(await post({ resource_id: undefined }), 400, 'missing_field', 'resource_id');
		failed(await post({ resource_type: undefined }), 400, 'missing_field', 'resource_type');
		for (const ttl of [0, -1, 3601, '9223372036854775808', 'x', 1.5])
			failed(await post({ ttl }), 400, 'invalid_value', 'ttl');
		for (const token of [0, -1, '9223372036854775808'])
			failed(await post({ token }), 400, 'invalid_value', 'token');
		for (const user_id of [0, -1, '9223372036854775808', 'ada'])
			failed(await post({ user_id }), 400, 'invalid_value', 'user_id');
		for (const resource_type of ['', 'a.b', 'a:b', 'ä', 'x'.repeat(65), 'encrypted-x', 'cache-x',
			`'); DROP TABLE locks; --`, 'a b', 'a\nb'])
			failed(await post({ resource_type }), 400, 'invalid_value', 'resource_type');
		for (const resource_id of ['', 'a,b', 'a:b', 'ä', 'x'.repeat(65), `1' OR '1'='1`, '1\n'])
			failed(await post({ resource_id }), 400, 'invalid_value', 'resource_id');
		failed(await post({ socket_id: 'x' }), 400, 'invalid_value', 'socket_id');
		failed(await post({ colour: 'red' }), 400, 'unknown_field', 'colour');
		failed(await server.post('locks/release', { ...r, user_id: 1, force: 'perhaps' }), 400,
			'invalid_value', 'force');
		failed(await server.get('locks', { cursor: 'x' }), 400, 'invalid_cursor', 'cursor');
		failed(await server.get('locks', { cursor: `'; --` }), 400, 'invalid_cursor', 'cursor');
		failed(await server.get('locks', { limit: 201 }), 400, 'invalid_value', 'limit');
		failed(await server.get('locks', { resource_id: '1' }), 400, 'invalid_value', 'resource_type');
		failed(await server.get('locks', { resource_type: `x' OR true --`, resource_id: 1 }), 400,
			'invalid_value', 'resource_type');
		assert.equal(ok(await server.get('locks', { resource_type: `x' OR true --` })).locks.length, 0);
		assert.equal(await held(r), null);
	});

	test('the largest numbers are accepted', async () => {
		const r = fresh();
		const lock = ok(await server.post('locks', { ...r, user_id: '9223372036854775807' }));
		assert.ok(lock);
		const raw = await server.get('locks', r);
		assert.match(raw.text, /"user_id" ?: ?9223372036854775807/);
		failed(await server.post('locks', { ...r, user_id: '9223372036854775807',
			token: '9223372036854775807' }), 409, 'lock_lost');
	});

	// As in the functions: the row of a lock is a parameter, and the plan is a general one.
	test('the conditions of statements about locks use the primary keys', async () => {
		const { host, name: database, user } = daemon.database;
		const client = new pg.Client({ host, database, user, port: 5432,
			options: '-c search_path=scopewire -c plan_cache_mode=force_generic_plan -c enable_seqscan=off' });
		const row = `'(app,invoice,1,7,,,30,2026-01-01,2026-01-01,2026-01-01,"",{})'`;
		await client.connect();
		try {
			for (const [types, statement, values, condition] of [
				['text, text, text, text', 'SELECT FROM locks x WHERE lock_has_key(x, $1, $2, $3, $4) FOR UPDATE',
					`'app', 'invoice', '1', ''`, /Index Cond: .*app .*resource_type .*resource_id .*field /],
				['locks', 'UPDATE locks x SET ttl = 1 WHERE lock_is_same(x, $1)', row,
					/Index Cond: .*app .*resource_type .*resource_id .*field /],
				['locks', 'DELETE FROM lock_requests r WHERE lock_request_is_for(r, $1)', row,
					/Index Cond: .*app .*resource_type .*resource_id .*field /],
			]) {
				await client.query(`PREPARE look(${types}) AS ${statement}`);
				const { rows } = await client.query(`EXPLAIN EXECUTE look(${values})`);
				assert.match(rows.map((r) => r['QUERY PLAN']).join('\n'), condition);
				await client.query('DEALLOCATE look');
			}
		} finally {
			await client.end();
		}
	});
});
