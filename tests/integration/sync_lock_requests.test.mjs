// SPDX-License-Identifier: MIT
// Edit locks that change hands: requested, granted, refused, taken by right.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { Sync, failed, newDatabase, ok, query, startDaemon, waitFor, withoutEvent } from '../lib/harness.mjs';

const event = (name) => ({ event: `App\\Events\\${name}` });

let daemon, server;
let serial = 0;
before(async () => {
	daemon = await startDaemon({ sections: { sync: { lock_steal_roles: 'editor chief' } } });
	server = Sync.server(daemon);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument, can_write) VALUES
		('invoice.{id}', 'role', 'staff', true), ('invoice.{id}', 'role', 'guest', false)`);
});
after(() => daemon?.stop());

const staff = (id, claims = {}) => Sync.user(daemon, id, { roles: ['staff'], ...claims });
const ada = () => staff(1, { name: 'Ada' });
const grace = () => staff(2, { name: 'Grace' });
/** A field of a resource that no other test uses. */
const fresh = (field = 'title') => ({ resource_type: 'invoice', resource_id: `i${++serial}`, field });
const channelOf = (r) => `private-${r.resource_type}.${r.resource_id}`;
const held = async (r) => ok(await server.get('locks', r)).lock;
const payload = (frame) => JSON.parse(frame.data);

/** A connection on the user's own channel, or on another one. */
async function listener(channel) {
	const wire = await daemon.connect();
	await wire.subscribe(typeof channel === 'number' ? `private-App.Models.User.${channel}` : channel);
	return wire;
}

describe('request', () => {
	test('the holder receives the request, once, and sees it with its lock', async () => {
		const r = fresh();
		const wire = await listener(1);
		const lock = ok(await ada().post('locks', r)).lock;
		const asked = ok(await grace().post('locks/request', { ...r, wait: 60 }));
		assert.equal(asked.repeated, false);
		assert.equal(Date.parse(asked.request.expires_at) - Date.parse(asked.request.requested_at), 60000);
		assert.deepEqual(payload(await wire.next(event('LockRequested'))), asked.request);
		assert.deepEqual({ ...r, user_id: 2, name: 'Grace' }, { resource_type: asked.request.resource_type,
			resource_id: asked.request.resource_id, field: asked.request.field,
			user_id: asked.request.user_id, name: asked.request.name });
		assert.deepEqual(asked.lock, { ...lock, requests: [asked.request] });
		// The same request again: no second event, and more time.
		const again = ok(await grace().post('locks/request', { ...r, wait: 300 }));
		assert.equal(again.repeated, true);
		assert.ok(again.request.expires_at > asked.request.expires_at);
		// A holder who was away reads it from its list, and from the answer that extends the lock.
		const [mine] = ok(await ada().get('locks', { user_id: 1 })).locks;
		assert.deepEqual(mine.requests, [again.request]);
		assert.deepEqual(ok(await ada().post('locks', r)).lock.requests, [again.request]);
		ok(await staff(3).post('locks/request', r));
		assert.equal(payload(await wire.next(event('LockRequested'))).user_id, 3);
		await wire.close();
	});

	test('a holder that connects again receives what was requested meanwhile', async () => {
		const r = fresh();
		const { position } = ok(await ada().post('locks', r));
		const { request } = ok(await grace().post('locks/request', r));
		const wire = await daemon.connect();
		await wire.subscribe('private-App.Models.User.1', { since: position });
		assert.deepEqual(payload(await wire.next(event('LockRequested'))), request);
		await wire.close();
	});

	test('a request ends by itself, and with the lock that it is for', async () => {
		const r = fresh();
		ok(await ada().post('locks', r));
		ok(await grace().post('locks/request', { ...r, wait: 1 }));
		await waitFor(async () => (await held(r)).requests.length === 0, 'expired');
		failed(await ada().post('locks/grant', { ...r, to: 2 }), 404, 'unknown_request', 'to');
		ok(await grace().post('locks/request', r));
		ok(await ada().post('locks/release', r));
		ok(await ada().post('locks', r));
		assert.deepEqual((await held(r)).requests, []);
		await waitFor(async () => (await daemon.query(
			'SELECT FROM lock_requests WHERE resource_id = $1', [r.resource_id])).length === 0, 'deleted');
	});

	test('a lock that no user holds cannot be requested', async () => {
		const r = fresh();
		const answer = await grace().post('locks/request', r);
		failed(answer, 409, 'not_locked');
		assert.equal(answer.json.lock, null);
	});

	test('at most 20 users request a lock', async () => {
		const r = fresh();
		ok(await ada().post('locks', r));
		for (let id = 100; id < 120; id++) ok(await staff(id).post('locks/request', r));
		failed(await staff(120).post('locks/request', r), 429, 'too_many_requests', 'resource_id');
		ok(await staff(119).post('locks/request', r));
	});

	test('only a user who may change the resource requests its lock', async () => {
		const r = fresh();
		ok(await ada().post('locks', r));
		failed(await Sync.user(daemon, 5, { roles: ['guest'] }).post('locks/request', r), 403,
			'write_forbidden', 'resource_id');
		failed(await Sync.user(daemon, 5).post('locks/request', r), 403, 'channel_forbidden', 'resource_id');
		failed(await grace().post('locks/request', { ...r, user_id: 3 }), 403, 'forbidden', 'user_id');
		failed(await server.post('locks/request', r), 400, 'missing_field', 'user_id');
		failed(await grace().post('locks/request', { ...r, wait: 301 }), 400, 'invalid_value', 'wait');
		ok(await server.post('locks/request', { ...r, user_id: 2 }));
	});

	test('a deleted user has no requests any more', async () => {
		const r = fresh();
		ok(await ada().post('locks', r));
		ok(await staff(40).post('locks/request', r));
		ok(await server.delete('users/40'));
		assert.deepEqual((await held(r)).requests, []);
	});
});

describe('grant', () => {
	test('the user of the request is the holder at once; both receive it, and so does the channel', async () => {
		const r = fresh();
		const [first, second, all] = [await listener(1), await listener(2), await listener(channelOf(r))];
		const before = ok(await ada().post('locks', r)).lock;
		ok(await grace().post('locks/request', { ...r, ttl: 77 }));
		ok(await staff(3).post('locks/request', r));
		const { granted, lock } = ok(await ada().post('locks/grant', { ...r, to: 2, token: before.token }));
		assert.equal(granted, true);
		assert.deepEqual([lock.user_id, lock.name, lock.ttl], [2, 'Grace', 77]);
		assert.ok(lock.token > before.token);
		// The other request was for Ada, not for Grace.
		assert.deepEqual(lock.requests, []);
		assert.deepEqual(await held(r), lock);
		const told = { ...r, lock, previous: { user_id: 1, name: 'Ada', token: before.token } };
		for (const wire of [first, second])
			assert.deepEqual(payload(await wire.next(event('LockGranted'))), { ...told, socket_id: null });
		await all.next({ ...event('LockChanged'), data: { action: 'acquired' } });
		assert.deepEqual(payload(await all.next(event('LockChanged'))), { action: 'granted', ...told });
		failed(await ada().post('locks', { ...r, token: before.token }), 409, 'locked');
		for (const wire of [first, second, all]) await wire.close();
	});

	test('the event names the connection that requested the lock', async () => {
		const r = fresh();
		const wire = await listener(2);
		ok(await ada().post('locks', r));
		ok(await server.post('locks/request', { ...r, user_id: 2, socket_id: wire.socketId }));
		ok(await ada().post('locks/grant', { ...r, to: 2 }));
		assert.equal(payload(await wire.next(event('LockGranted'))).socket_id, wire.socketId);
		await wire.close();
	});

	test('only the holder grants, and only with the token that is valid', async () => {
		const r = fresh();
		const { token } = ok(await ada().post('locks', r)).lock;
		ok(await grace().post('locks/request', r));
		failed(await grace().post('locks/grant', { ...r, to: 2 }), 409, 'lock_lost');
		failed(await ada().post('locks/grant', { ...r, to: 2, token: token + 1 }), 409, 'lock_lost');
		failed(await ada().post('locks/grant', { ...r, to: 3 }), 404, 'unknown_request', 'to');
		failed(await ada().post('locks/grant', r), 400, 'missing_field', 'to');
		assert.equal((await held(r)).token, token);
		ok(await server.post('locks/grant', { ...r, user_id: 1, to: 2 }));
		assert.equal((await held(r)).user_id, 2);
	});

	test('of many that grant at once, one succeeds', async () => {
		const r = fresh();
		ok(await ada().post('locks', r));
		const askers = Array.from({ length: 10 }, (_, i) => 200 + i);
		for (const id of askers) ok(await staff(id).post('locks/request', r));
		const answers = await Promise.all(askers.map((to) => ada().post('locks/grant', { ...r, to })));
		const granted = answers.filter((a) => a.status === 200);
		assert.equal(granted.length, 1);
		for (const a of answers) if (a.status !== 200) failed(a, 409, 'lock_lost');
		assert.equal((await held(r)).token, granted[0].json.lock.token);
	});

	test('a lock passes from one tab of a user to another', async () => {
		const r = fresh();
		const { token } = ok(await ada().post('locks', r)).lock;
		ok(await ada().post('locks/request', r));
		assert.ok(ok(await ada().post('locks/grant', { ...r, to: 1, token })).lock.token > token);
	});
});

describe('refuse', () => {
	test('the user of the request receives the reason, and the holder keeps the lock', async () => {
		const r = fresh();
		const wire = await listener(2);
		const { lock } = ok(await ada().post('locks', r));
		ok(await grace().post('locks/request', r));
		assert.deepEqual(withoutEvent(ok(await ada().post('locks/refuse', { ...r, to: 2, reason: 'Almost done' }))),
			{ refused: true, lock });
		assert.deepEqual(payload(await wire.next(event('LockRefused'))),
			{ ...r, user_id: 1, name: 'Ada', reason: 'Almost done' });
		failed(await ada().post('locks/refuse', { ...r, to: 2 }), 404, 'unknown_request', 'to');
		// Sent again, it is a new request.
		assert.equal(ok(await grace().post('locks/request', r)).repeated, false);
		ok(await ada().post('locks/refuse', { ...r, to: 2 }));
		assert.equal(payload(await wire.next(event('LockRefused'))).reason, null);
		failed(await grace().post('locks/refuse', { ...r, to: 2 }), 409, 'lock_lost');
		await wire.close();
	});
});

describe('steal', () => {
	test('the server, and a role of sync.lock_steal_roles, take a lock from its holder', async () => {
		const r = fresh();
		const [first, all] = [await listener(1), await listener(channelOf(r))];
		const before = ok(await ada().post('locks', r)).lock;
		failed(await grace().post('locks/steal', r), 403, 'forbidden');
		// The role alone is not enough: the resource must be the user's to change.
		failed(await Sync.user(daemon, 6, { roles: ['guest', 'editor'] }).post('locks/steal', r), 403,
			'write_forbidden', 'resource_id');
		const chief = staff(7, { name: 'Linus', roles: ['staff', 'chief'] });
		const { stolen, lock } = ok(await chief.post('locks/steal', { ...r, ttl: 60 }));
		assert.equal(stolen, true);
		assert.deepEqual([lock.user_id, lock.name, lock.ttl], [7, 'Linus', 60]);
		assert.deepEqual(payload(await first.next(event('LockStolen'))), { ...r, lock, token: before.token });
		await all.next({ ...event('LockChanged'), data: { action: 'acquired' } });
		assert.deepEqual(payload(await all.next(event('LockChanged'))), { action: 'stolen', ...r, lock,
			previous: { user_id: 1, name: 'Ada', token: before.token } });
		assert.equal(ok(await server.post('locks/steal', { ...r, user_id: 2 })).lock.user_id, 2);
		failed(await server.post('locks/steal', r), 400, 'missing_field', 'user_id');
		for (const wire of [first, all]) await wire.close();
	});

	test('a lock that no user holds is acquired', async () => {
		const r = fresh();
		const { stolen, lock } = ok(await server.post('locks/steal', { ...r, user_id: 3 }));
		assert.equal(stolen, false);
		assert.equal(lock.user_id, 3);
	});
});

/** Between a daemon and its database: loses the answer to the first statement that has this text, once it has come. */
class LossyDatabase {
	losing = null;
	lost = 0;

	async start(t) {
		const database = await newDatabase();
		const open = new Set();
		const listener = net.createServer((near) => {
			const far = net.connect(`${database.host}/.s.PGSQL.5432`);
			let isLosing = false;
			for (const socket of [near, far]) {
				open.add(socket);
				socket.on('error', () => {}).on('close', () => {
					open.delete(socket);
					near.destroy();
					far.destroy();
				});
			}
			near.on('data', (data) => {
				if (this.losing && data.includes(this.losing)) {
					isLosing = true;
					this.losing = null;
				}
				far.write(data);
			});
			far.on('data', (data) => {
				if (!isLosing) return void near.write(data);
				// ReadyForQuery: it is committed.
				if (!data.includes(READY)) return undefined;
				this.lost++;
				return near.destroy();
			});
		});
		await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
		t.after(() => {
			for (const socket of open) socket.destroy();
			listener.close();
		});
		const dsn = `host=127.0.0.1 port=${listener.address().port} dbname=${database.name} user=${database.user} sslmode=disable`;
		this.daemon = await startDaemon({ databaseMode: 'none', database: { dsn } }, t);
		this.query = (sql) => query(database.host, database.name, sql);
		return this;
	}
}
const READY = Buffer.from('Z\0\0\0\x05I', 'latin1');

describe('a connection to the database that breaks after the commit', () => {
	test('a grant, a refusal and a steal are done once, and not answered as refused', async (t) => {
		const lossy = await new LossyDatabase().start(t);
		const s = Sync.server(lossy.daemon);
		const events = async () => (await lossy.query(`SELECT event_type FROM realtime_events ORDER BY serial`))
			.map((e) => e.event_type.split('\\').at(-1));
		const lose = async (name, body) => {
			lossy.losing = `sync_lock_${name}(`;
			const answer = await s.post(`locks/${name}`, body);
			assert.equal(answer.status, 503, JSON.stringify(answer.json));
			assert.equal(lossy.losing, null);
		};
		const r = fresh();
		ok(await s.post('locks', { ...r, user_id: 1 }));
		ok(await s.post('locks/request', { ...r, user_id: 2 }));
		await lose('refuse', { ...r, user_id: 1, to: 2 });
		await waitFor(async () => (await events()).includes('LockRefused'), 'refused');
		ok(await s.post('locks/request', { ...r, user_id: 2 }));
		await lose('grant', { ...r, user_id: 1, to: 2 });
		await waitFor(async () => (await events()).includes('LockGranted'), 'granted');
		await lose('steal', { ...r, user_id: 3 });
		await waitFor(async () => (await events()).includes('LockStolen'), 'taken');
		assert.equal(ok(await s.get('locks', r)).lock.user_id, 3);
		assert.equal((await events()).filter((e) => e === 'LockStolen').length, 1);
		assert.equal(lossy.lost, 3);
	});

	test('with an idempotency key it is repeated, and answered as the first time', async (t) => {
		const lossy = await new LossyDatabase().start(t);
		const s = Sync.server(lossy.daemon);
		const r = fresh();
		ok(await s.post('locks', { ...r, user_id: 1 }));
		ok(await s.post('locks/request', { ...r, user_id: 2 }));
		lossy.losing = 'sync_lock_grant(';
		const answer = ok(await s.call('POST', 'locks/grant',
			{ body: { ...r, user_id: 1, to: 2 }, headers: { 'Idempotency-Key': 'one' } }));
		assert.deepEqual([lossy.lost, answer.granted, answer.lock.user_id], [1, true, 2]);
	});
});

describe('sync.user_channels', () => {
	test('events for a user go to each channel; one without {id} is ignored', async (t) => {
		const own = await startDaemon({ sections: { sync: {
			user_channels: 'private-User.{id} everyone private-App.Models.User.{id}' } } }, t);
		const r = fresh();
		const s = Sync.server(own);
		ok(await s.post('locks', { ...r, user_id: 1 }));
		ok(await s.post('locks/request', { ...r, user_id: 2 }));
		ok(await s.post('notifications', { to: 1, title: 'Due' }), 201);
		const told = async () => (await own.query(`SELECT DISTINCT channel, event_type FROM realtime_events
			WHERE channel LIKE '%1' AND channel NOT LIKE 'private-invoice%' ORDER BY 1, 2`))
			.map((e) => `${e.channel} ${e.event_type.split('\\').at(-1)}`);
		assert.deepEqual((await told()).sort(), ['private-App.Models.User.1', 'private-User.1'].flatMap((c) =>
			['BroadcastNotificationCreated', 'LockRequested', 'NotificationsUnread'].map((e) => `${c} ${e}`)));
		assert.match(own.logText, /sync\.user_channels: "everyone" is not the name of a private channel/);
		await own.stop();
	});
});
