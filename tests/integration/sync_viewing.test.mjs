// SPDX-License-Identifier: MIT
// Who views or edits what: tabs, expiry, the life of a socket, what is broadcast to whom.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, Sync, failed, ok, query, startDaemon, waitFor, withoutEvent } from
	'../lib/harness.mjs';

const OTHER = { id: 'other', key: 'other-key', secret: 'other-secret' };
const EVENT = 'App\\Events\\ViewersChanged';
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const INJECTION = `'); DROP TABLE viewers; --"\\ $1 {}`;

const start = (t, sync = {}, options = {}) =>
	startDaemon({ apps: [APP, OTHER], sections: { sync }, ...options }, t);

/** [[user_id, mode], ...] of a list, as answered or broadcast. */
const modes = (list) => list.viewers.map((v) => [v.user_id, v.mode]);

/** A resource of a test's own, and the calls about it. */
let serial = 0;
function resource(daemon, type = 'invoice', app = daemon.app) {
	const id = String(++serial);
	const named = (more) => ({ resource_type: type, resource_id: id, ...more });
	const server = Sync.server(daemon, app);
	return { id, type, channel: `private-${type}.${id}`, server, named,
		start: (user_id, more = {}) => server.post('start-viewing', named({ user_id, ...more })),
		stop: (user_id, more = {}) => server.post('stop-viewing', named({ user_id, ...more })),
		viewers: async () => ok(await server.get('viewers', named())) };
}

async function subscribed(daemon, channel, app = daemon.app) {
	const wire = await daemon.connect({ app });
	await wire.subscribe(channel);
	return wire;
}

const next = async (wire) => JSON.parse((await wire.next({ event: EVENT })).data);

/** The broadcasts received, after all that were committed before have arrived. */
async function toldBy(daemon, wire, channel) {
	const mark = `mark-${Math.random()}`;
	await daemon.query('SELECT broadcast($1, $2, $3, NULL, NULL, $4)',
		[channel, mark, '{}', wire.app.id]);
	await wire.next({ event: mark });
	return wire.all({ event: EVENT, channel }).map((f) => modes(JSON.parse(f.data)));
}

describe('start, stop, viewers', () => {
	let daemon;
	before(async () => { daemon = await start(undefined, { viewing_grace_ms: '0' }); });
	after(() => daemon?.stop());

	test('a viewer starts, is listed and stops', async () => {
		const r = resource(daemon);
		await r.server.put('users/1', { name: 'Ada', avatar: '/ada.png' });
		const wire = await subscribed(daemon, r.channel);
		const first = ok(await r.start(1));
		assert.equal(first.ttl, 150);
		assert.match(first.expires_at, TIME);
		const [viewer] = first.viewers;
		assert.deepEqual(viewer, { user_id: 1, name: 'Ada', avatar: '/ada.png', mode: 'viewing',
			tabs: 1, since: viewer.since, expires_at: first.expires_at });
		const told = await next(wire);
		assert.deepEqual(told, { resource_type: 'invoice', resource_id: r.id, count: 1,
			truncated: false, viewers: [viewer] });
		ok(await r.start(2, { mode: 'editing' }));
		ok(await r.start(1)); // again: renewed, not told
		ok(await r.start(1, { mode: 'editing' }));
		ok(await r.start(1, { mode: 'viewing', ttl: 3600 }));
		const list = await r.viewers();
		assert.deepEqual(modes(list), [[1, 'viewing'], [2, 'editing']]);
		assert.equal(list.viewers[0].since, viewer.since);
		assert.ok(list.viewers[0].expires_at > viewer.expires_at);
		assert.deepEqual(withoutEvent(ok(await r.stop(1))), { resource_type: 'invoice', resource_id: r.id,
			user_id: 1, stopped: true });
		assert.equal(ok(await r.stop(1)).stopped, false);
		ok(await r.stop(2));
		const last = await r.viewers();
		assert.deepEqual(last, { resource_type: 'invoice', resource_id: r.id, count: 0,
			truncated: false, viewers: [], next_cursor: null, position: last.position });
		assert.deepEqual(await toldBy(daemon, wire, r.channel), [[[1, 'viewing']],
			[[1, 'viewing'], [2, 'editing']], [[1, 'editing'], [2, 'editing']],
			[[1, 'viewing'], [2, 'editing']], [[2, 'editing']], []]);
		await wire.close();
	});

	test('several tabs of a user are one viewer', async () => {
		const r = resource(daemon);
		const wire = await subscribed(daemon, r.channel);
		const [a, b] = [await daemon.connect(), await daemon.connect()];
		ok(await r.start(1, { socket_id: a.socketId }));
		const both = ok(await r.start(1, { socket_id: b.socketId, mode: 'editing' }));
		assert.equal(both.count, 1);
		assert.equal(both.viewers[0].tabs, 2);
		assert.equal(both.viewers[0].mode, 'editing'); // one tab that edits is enough
		assert.equal(ok(await r.stop(1, { socket_id: b.socketId })).stopped, true);
		assert.deepEqual(modes(await r.viewers()), [[1, 'viewing']]);
		ok(await r.start(1, { socket_id: b.socketId }));
		assert.equal(ok(await r.stop(1)).stopped, true); // all of them
		assert.equal((await r.viewers()).count, 0);
		assert.deepEqual(await toldBy(daemon, wire, r.channel),
			[[[1, 'viewing']], [[1, 'editing']], [[1, 'viewing']], []]);
		await Promise.all([a, b, wire].map((w) => w.close()));
	});

	test('a user has 20 tabs at most', async () => {
		const r = resource(daemon);
		const tabs = await Promise.all(Array.from({ length: 25 }, () => daemon.connect()));
		for (const tab of tabs) ok(await r.start(1, { socket_id: tab.socketId }));
		assert.equal((await r.viewers()).viewers[0].tabs, 20);
		await Promise.all(tabs.map((tab) => tab.close()));
	});

	test('with many changes at once the last event has the whole list', async () => {
		const r = resource(daemon);
		const wire = await subscribed(daemon, r.channel);
		const n = 40;
		await Promise.all(Array.from({ length: n }, async (_, i) => ok(await r.start(i + 1))));
		const told = await toldBy(daemon, wire, r.channel);
		assert.equal(told.length, n);
		told.forEach((list, i) => assert.equal(list.length, i + 1));
		await wire.close();
	});

	test('documents, projects and clients also publish to their presence channels', async () => {
		const r = resource(daemon, 'document');
		const wire = await daemon.connect();
		await wire.subscribe(`presence-document.${r.id}`, { channelData: { user_id: 'w' } });
		ok(await r.start(1));
		assert.deepEqual(modes(await next(wire)), [[1, 'viewing']]);
		await wire.close();
	});

	test('the channels of a type are configured in a table', async () => {
		await daemon.query(`INSERT INTO viewing_channels VALUES
			('ticket', '{"private-desk.{type}.{id}"}')`);
		const r = resource(daemon, 'ticket');
		const wire = await subscribed(daemon, `private-desk.ticket.${r.id}`);
		ok(await r.start(1));
		assert.deepEqual(modes(await next(wire)), [[1, 'viewing']]);
		await wire.close();
	});

	test('a list over the payload limit is cut and marked', async (t) => {
		const small = { ...APP, max_event_payload_bytes: '400' };
		const own = await start(t, {}, { apps: [small] });
		await waitFor(async () =>
			(await own.query('SELECT max_payload_bytes AS n FROM log_apps'))[0]?.n === 400);
		const r = resource(own);
		const wire = await subscribed(own, r.channel);
		for (let i = 1; i <= 3; i++) ok(await r.start(i));
		assert.equal((await next(wire)).truncated, false);
		assert.equal((await next(wire)).count, 2);
		const third = await next(wire);
		assert.equal(third.count, 3);
		assert.equal(third.truncated, true);
		assert.ok(third.viewers.length < 3);
		assert.equal((await r.viewers()).viewers.length, 3);
		assert.equal(ok(await r.server.get('viewers', r.named({ limit: 2 }))).truncated, true);
		await wire.close();
	});

	test('a user acts only as itself, on channels that it may join', async () => {
		const r = resource(daemon);
		const user = Sync.user(daemon, 5, { name: 'Five', avatar: '/5.png' });
		failed(await user.post('start-viewing', r.named()), 403, 'channel_forbidden', 'resource_id');
		failed(await user.get('viewers', r.named()), 403, 'channel_forbidden', 'resource_id');
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument)
			VALUES ('invoice.{id}', 'role', 'staff')`);
		failed(await user.post('start-viewing', r.named()), 403, 'channel_forbidden', 'resource_id');
		const staff = Sync.user(daemon, 5, { name: 'Five', avatar: '/5.png', roles: ['staff'] });
		const [viewer] = ok(await staff.post('start-viewing', r.named())).viewers;
		assert.equal(viewer.user_id, 5);
		assert.equal(viewer.name, 'Five');
		assert.equal(viewer.avatar, '/5.png');
		assert.equal(ok(await staff.get('viewers', r.named())).count, 1);
		failed(await staff.post('start-viewing', r.named({ user_id: 6 })), 403, 'forbidden', 'user_id');
		failed(await staff.post('stop-viewing', r.named({ user_id: 6 })), 403, 'forbidden', 'user_id');
		assert.equal(ok(await user.post('stop-viewing', r.named())).stopped, true);
		failed(await new Sync(daemon).get('viewers', r.named()), 401, 'unauthorized');
	});

	test('types whose channels are of another kind are refused', async () => {
		const server = Sync.server(daemon);
		for (const type of ['cache-plan', 'encrypted-plan']) {
			failed(await server.post('start-viewing', { resource_type: type, resource_id: 1, user_id: 66 }), 400,
				'invalid_value', 'resource_type');
			failed(await server.get('viewers', { resources: `${type}:1` }), 400, 'invalid_value', 'resources');
		}
		for (const resources of ['plan', 'plan:', ':1', 'plan:1:2', 'a.b:1', 'plan:/', `${'t'.repeat(65)}:1`]) {
			failed(await server.get('viewers', { resources }), 400, 'invalid_value', 'resources');
		}
		assert.deepEqual(await daemon.query(`SELECT FROM realtime_events
			WHERE channel IN ('private-cache-plan.1', 'private-encrypted-plan.1')`), []);
	});

	test('several resources are listed in one call; those that are refused have an error', async () => {
		const [one, two, three] = [resource(daemon), resource(daemon), resource(daemon)];
		ok(await one.start(61));
		ok(await two.start(61, { mode: 'editing' }));
		ok(await two.start(62));
		await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule) VALUES ($1, 'anyone')`, [`invoice.${two.id}`]);
		const resources = [three, two, one].map((r) => `invoice:${r.id}`).join();
		const { resources: all, next_cursor: cursor } = ok(await Sync.server(daemon).get('viewers', { resources }));
		assert.equal(cursor, null);
		assert.deepEqual(all.map((r) => [r.resource_id, modes(r)]),
			[[three.id, []], [two.id, [[61, 'editing'], [62, 'viewing']]], [one.id, [[61, 'viewing']]]]);
		const seen = ok(await Sync.user(daemon, 62).get('viewers', { resources })).resources;
		assert.deepEqual(seen.map((r) => [r.resource_id, r.count, r.error?.code]),
			[[three.id, undefined, 'channel_forbidden'], [two.id, 2, undefined], [one.id, undefined, 'channel_forbidden']]);
		for (const wrong of ['invoice', 'invoice:', ':1', 'invoice:1:2', 'in.voice:1', ''])
			failed(await Sync.server(daemon).get('viewers', { resources: wrong }), 400, 'invalid_value', 'resources');
		const many = Array.from({ length: 100 }, (_, n) => `crowd:${n}`).join();
		for (let id = 1000; id < 1015; id++)
			ok(await Sync.server(daemon).post('start-viewing', { resource_type: 'crowd', resource_id: 0, user_id: id }));
		const [crowd] = ok(await Sync.server(daemon).get('viewers', { resources: many, limit: 200 })).resources;
		assert.deepEqual([crowd.count, crowd.viewers.length, crowd.truncated], [15, 10, true], 'at most 1,000 viewers in all');
		failed(await Sync.server(daemon).get('viewers', { resources: `invoice:1,invoice:1` }), 400, 'invalid_value', 'resources');
		failed(await Sync.server(daemon).get('viewers', { resources, user_id: 61 }), 400, 'invalid_value', 'resources');
		failed(await Sync.server(daemon).get('viewers', { resource_type: 'invoice' }), 400, 'missing_field', 'resource_id');
		failed(await Sync.user(daemon, 62).get('viewers'), 400, 'missing_field', 'resource_type');
	});

	test('predicates of several resources are evaluated together', async () => {
		const all = Array.from({ length: 60 }, () => resource(daemon, 'memo'));
		await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule, argument)
			VALUES ('memo.{id}', 'sql', '{user} = 63 AND {id}::bigint % 2 = 0')`);
		const resources = all.map((r) => `memo:${r.id}`).join();
		const seen = ok(await Sync.user(daemon, 63).get('viewers', { resources })).resources;
		assert.deepEqual(seen.map((r) => r.error === undefined), all.map((r) => Number(r.id) % 2 === 0));
	});

	test('what a user views, and all that is viewed', async () => {
		const [one, two] = [resource(daemon, 'plan'), resource(daemon, 'plan')];
		ok(await one.start(64));
		ok(await two.start(64, { mode: 'editing' }));
		const { user_id: id, viewing } = ok(await Sync.user(daemon, 64).get('viewers', { user_id: 64 }));
		assert.equal(id, 64);
		assert.deepEqual(viewing.map((r) => [r.resource_type, r.resource_id, r.mode, r.tabs]),
			[['plan', one.id, 'viewing', 1], ['plan', two.id, 'editing', 1]]);
		failed(await Sync.user(daemon, 65).get('viewers', { user_id: 64 }), 403, 'forbidden', 'user_id');
		for (let n = 0; n < 101; n++)
			ok(await Sync.server(daemon).post('start-viewing', { resource_type: 'sheet', resource_id: `s${n}`, user_id: 64 }));
		const found = [];
		let cursor;
		do {
			const page = ok(await Sync.server(daemon).get('viewers', { limit: 1, ...(cursor && { cursor }) }));
			found.push(...page.resources);
			cursor = page.next_cursor;
		} while (cursor);
		assert.equal(found.filter((r) => r.resource_type === 'sheet' && r.count === 1).length, 101);
		const names = found.map((r) => `${r.resource_type}:${r.resource_id}`);
		assert.equal(new Set(names).size, names.length);
		failed(await Sync.server(daemon).get('viewers', { cursor: 'x' }), 400, 'invalid_cursor', 'cursor');
	});

	test('a predicate can admit users', async () => {
		const r = resource(daemon, 'ledger');
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument)
			VALUES ('ledger.{id}', 'sql', '{id}::bigint = ${r.id} AND {user} = 70')`);
		assert.equal(ok(await Sync.user(daemon, 70).post('start-viewing', r.named())).count, 1);
		assert.equal(ok(await Sync.user(daemon, 70).get('viewers', r.named())).count, 1);
		failed(await Sync.user(daemon, 71).get('viewers', r.named()), 403, 'channel_forbidden',
			'resource_id');
	});

	test('apps do not see each other', async () => {
		const r = resource(daemon);
		ok(await r.start(1));
		const other = Sync.server(daemon, OTHER);
		assert.equal(ok(await other.get('viewers', r.named())).count, 0);
		assert.equal(ok(await other.post('stop-viewing', r.named({ user_id: 1 }))).stopped, false);
		assert.equal((await r.viewers()).count, 1);
	});

	test('the signed query works', async () => {
		const r = resource(daemon);
		const api = daemon.api();
		ok(await api.post('/sync/start-viewing', r.named({ user_id: 1 })));
		assert.deepEqual(modes(ok(await api.get('/sync/viewers', r.named()))), [[1, 'viewing']]);
		ok(await api.post('/sync/stop-viewing', r.named({ user_id: 1 })));
		assert.equal((await r.viewers()).count, 0);
	});

	test('invalid fields are refused', async () => {
		const server = Sync.server(daemon);
		const good = { resource_type: 'invoice', resource_id: '1', user_id: 1 };
		for (const path of ['start-viewing', 'stop-viewing']) {
			const post = (more) => server.post(path, { ...good, ...more });
			for (const field of Object.keys(good))
				failed(await post({ [field]: undefined }), 400, 'missing_field', field);
			for (const user_id of [0, -1, 'x', '9223372036854775808', INJECTION])
				failed(await post({ user_id }), 400, 'invalid_value', 'user_id');
			failed(await post({ resource_type: 'x'.repeat(65) }), 400, 'invalid_value', 'resource_type');
			failed(await post({ resource_id: 'x'.repeat(65) }), 400, 'invalid_value', 'resource_id');
			for (const socket_id of ['x', 1, '1', INJECTION])
				failed(await post({ socket_id }), 400, 'invalid_value', 'socket_id');
			failed(await post({ colour: 'red' }), 400, 'unknown_field', 'colour');
			failed(await server.post(path, '{'), 400, 'invalid_json');
		}
		const begin = (more) => server.post('start-viewing', { ...good, ...more });
		failed(await begin({ mode: 'looking' }), 400, 'invalid_value', 'mode');
		for (const ttl of [0, 3601, -1, 'x', '99999999999999999999'])
			failed(await begin({ ttl }), 400, 'invalid_value', 'ttl');
		for (const text of [INJECTION, 'a b', 'é', 'a.b'])
			failed(await begin({ resource_type: text }), 400, 'invalid_value', 'resource_type');
		for (const text of [INJECTION, 'a b', 'é'])
			failed(await begin({ resource_id: text }), 400, 'invalid_value', 'resource_id');
		const get = (more) => server.get('viewers', { resource_type: 'x', resource_id: 1, ...more });
		for (const limit of ['0', '201', 'x'])
			failed(await get({ limit }), 400, 'invalid_value', 'limit');
		failed(await get({ resource_type: INJECTION }), 400, 'invalid_value', 'resource_type');
		failed(await get({ resource_id: INJECTION }), 400, 'invalid_value', 'resource_id');
		failed(await server.get('viewers', { resource_type: 'x' }), 400, 'missing_field', 'resource_id');
		assert.equal(ok(await server.post('stop-viewing',
			{ ...good, resource_type: INJECTION, resource_id: INJECTION })).stopped, false);
		assert.equal(ok(await begin({ resource_id: 'INV-2026.7' })).resource_id, 'INV-2026.7');
	});
});

describe('expiry', () => {
	test('a viewer that does not renew expires, and that is published once', async (t) => {
		const daemon = await start(t, { viewing_ttl_s: '1' });
		const r = resource(daemon);
		const wire = await subscribed(daemon, r.channel);
		ok(await r.start(1, { ttl: 60 }));
		assert.equal(ok(await r.start(2)).ttl, 1);
		await waitFor(async () => (await r.viewers()).count === 1);
		await waitFor(async () => (await daemon.query('SELECT FROM viewers')).length === 1);
		assert.deepEqual(await toldBy(daemon, wire, r.channel),
			[[[1, 'viewing']], [[1, 'viewing'], [2, 'viewing']], [[1, 'viewing']]]);
		await wire.close();
	});

	test('by default a viewer that renews once a minute, as hidden tabs do, stays', async (t) => {
		const daemon = await start(t);
		const r = resource(daemon);
		const wire = await subscribed(daemon, r.channel);
		ok(await r.start(1));
		for (let minute = 0; minute < 3; minute++) {
			await daemon.query(`UPDATE viewers SET since = since - interval '61 s',
				expires_at = expires_at - interval '61 s'`);
			ok(await r.start(2, { ttl: 1 }));
			await waitFor(async () => (await daemon.query('SELECT FROM viewers')).length === 1,
				'expired viewers are removed');
			assert.deepEqual(modes(await r.viewers()), [[1, 'viewing']]);
			ok(await r.start(1));
		}
		for (const list of await toldBy(daemon, wire, r.channel))
			assert.ok(list.some(([id]) => id === 1), 'no list without the viewer is sent');
		await wire.close();
	});

	test('a viewer expires after the daemon was killed', async (t) => {
		const daemon = await start(t);
		const r = resource(daemon);
		ok(await r.start(1));
		ok(await r.start(2, { ttl: 3600 }));
		await daemon.kill();
		await daemon.query(`UPDATE viewers SET expires_at = now() - interval '1 min' WHERE user_id = 1`);
		await daemon.start();
		const told = await waitFor(async () => {
			const rows = await daemon.query(`SELECT payload FROM realtime_events
				WHERE event_type = $1 ORDER BY id`, [EVENT]);
			return rows.length >= 3 ? rows : undefined;
		});
		assert.deepEqual(modes(told.at(-1).payload), [[2, 'viewing']]);
		assert.deepEqual(modes(await r.viewers()), [[2, 'viewing']]);
	});
});

test('all viewers of a resource are listed in pages, however many', async (t) => {
	const daemon = await start(t);
	const r = resource(daemon);
	const at = `now() + (n % 7) * interval '1 us'`;
	await daemon.query(`INSERT INTO viewers (app, resource_type, resource_id, user_id, tab, mode, since, expires_at)
		SELECT $1, $2, $3, n, tab, 'viewing', ${at}, now() + interval '1 h'
		FROM generate_series(1, 450) n, unnest('{1.1,1.2}'::text[]) tab`, [APP.id, r.type, r.id]);
	const list = (more) => r.server.get('viewers', r.named(more));
	const seen = [];
	const sizes = [];
	for (let cursor; cursor !== null;) {
		const page = ok(await list({ limit: 200, ...(cursor && { cursor }) }));
		assert.equal(page.count, 450);
		assert.equal(page.truncated, page.next_cursor !== null);
		seen.push(...page.viewers.map((v) => v.user_id));
		sizes.push(page.viewers.length);
		cursor = page.next_cursor;
	}
	assert.deepEqual(sizes, [200, 200, 50]);
	assert.equal(new Set(seen).size, 450);
	assert.deepEqual(seen, [...seen].sort((a, b) => a % 7 - b % 7 || a - b));
	// A viewer who comes or goes between two pages changes no other's place.
	const first = ok(await list({ limit: 200 }));
	await daemon.query('DELETE FROM viewers WHERE user_id = $1', [seen[3]]);
	ok(await r.start(1000));
	const second = ok(await list({ limit: 200, cursor: first.next_cursor }));
	assert.deepEqual(second.viewers.map((v) => v.user_id), seen.slice(200, 400));
	const other = resource(daemon);
	failed(await other.server.get('viewers', other.named({ cursor: first.next_cursor })), 400, 'invalid_cursor', 'cursor');
	assert.equal(ok(await list({ limit: 200, cursor: second.next_cursor })).viewers.at(-1).user_id, 1000);
});

describe('sockets', () => {
	test('a viewer whose socket closed is removed after the grace period, not before', async (t) => {
		const daemon = await start(t, { viewing_grace_ms: '1500' });
		const [r, s] = [resource(daemon), resource(daemon, 'project')];
		const wire = await subscribed(daemon, r.channel);
		await wire.subscribe(s.channel);
		const tab = await daemon.connect();
		const tabs = { socket_id: tab.socketId, ttl: 3600 };
		ok(await r.start(1, tabs));
		ok(await s.start(1, tabs));
		ok(await r.start(2)); // has none
		const before = (await daemon.query('SELECT clock_timestamp() AS at'))[0].at;
		await tab.terminate();
		await wire.next({ event: EVENT, channel: s.channel, data: { count: 0 } });
		const [{ created_at }] = await daemon.query(`SELECT created_at FROM realtime_events
			WHERE channel = $1 ORDER BY serial DESC LIMIT 1`, [s.channel]);
		assert.ok(created_at - before >= 1500, `${created_at - before} ms`);
		await waitFor(async () => (await r.viewers()).count === 1);
		assert.deepEqual(modes(await r.viewers()), [[2, 'viewing']]);
		await wire.close();
	});

	test('a viewer that returns within the grace period never left', async (t) => {
		// A busy machine needs some seconds to come back.
		const daemon = await start(t, { viewing_grace_ms: '8000' });
		const r = resource(daemon);
		const wire = await subscribed(daemon, r.channel);
		const [first, second] = [await daemon.connect(), await daemon.connect()];
		ok(await r.start(1, { socket_id: first.socketId }));
		await first.close();
		ok(await r.start(1, { socket_id: second.socketId }));
		await waitFor(async () => (await r.viewers()).viewers[0].tabs === 1);
		assert.deepEqual(await toldBy(daemon, wire, r.channel), [[[1, 'viewing']]]);
		await second.close();
		await waitFor(async () => (await r.viewers()).count === 0);
		await wire.close();
	});

	test('a socket closed while the database is away is published afterwards', async (t) => {
		const daemon = await start(t, { viewing_grace_ms: '0' });
		const r = resource(daemon);
		const tab = await daemon.connect();
		const wire = await subscribed(daemon, r.channel);
		ok(await r.start(1, { socket_id: tab.socketId, ttl: 3600 }));
		const { host, name } = daemon.database;
		const super_ = (sql, values) => query(host, 'postgres', sql, values, 'postgres');
		await super_(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
		await super_('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [name]);
		const refused = await waitFor(async () => {
			const answer = await r.start(2);
			return answer.json?.error?.code === 'database_away' ? answer : undefined;
		});
		assert.equal(refused.status, 503);
		assert.ok(refused.headers['retry-after']);
		assert.equal((await r.server.get('viewers', r.named())).status, 503);
		assert.equal((await r.stop(2)).status, 503);
		await tab.close();
		await super_(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
		await wire.next({ event: EVENT, data: { count: 0 } });
		assert.equal((await r.viewers()).count, 0);
		await wire.close();
	});

	test('a socket that is not open, or of another application, is refused', async (t) => {
		const daemon = await startDaemon({ apps: [APP,
			{ id: 'other', key: 'other-key', secret: 'other-secret' }] }, t);
		const r = resource(daemon);
		const [closed, foreign] = [await daemon.connect(),
			await daemon.connect({ app: daemon.apps[1] })];
		await closed.close();
		await waitFor(async () => {
			const answer = await r.start(1, { socket_id: closed.socketId });
			return answer.json?.error?.code === 'unknown_socket';
		}, 'the closed socket is refused');
		for (const socket_id of ['1.1', '99999999999.1', foreign.socketId])
			failed(await r.start(1, { socket_id }), 400, 'unknown_socket', 'socket_id');
		await foreign.close();
	});

	test('a viewer without a socket is removed by the TTL', async (t) => {
		const daemon = await start(t);
		const r = resource(daemon);
		ok(await r.start(1, { ttl: 1 }));
		await waitFor(async () => (await r.viewers()).count === 0);
	});

	test('a user views 200 resources at most', async (t) => {
		const daemon = await start(t);
		await daemon.query(`INSERT INTO viewers (app, resource_type, resource_id, user_id, tab, mode,
			since, expires_at) SELECT '${daemon.app.id}', 'invoice', 'n' || i, 1, '', 'viewing', now(),
			now() + interval '1 hour' FROM generate_series(1, 200) i`);
		const r = resource(daemon);
		failed(await r.start(1), 429, 'too_many_viewed', 'resource_id');
		ok(await r.start(2));
		await daemon.query(`DELETE FROM viewers WHERE resource_id = 'n7'`);
		ok(await r.start(1));
	});

	test('the sockets of a killed process view nothing any more', async (t) => {
		const daemon = await start(t);
		const r = resource(daemon);
		const tab = await daemon.connect();
		ok(await r.start(1, { socket_id: tab.socketId, ttl: 3600 }));
		ok(await r.start(2, { ttl: 3600 }));
		await daemon.kill();
		await daemon.start();
		await waitFor(async () => (await r.viewers()).count === 1, 'the tab is removed');
		assert.equal((await r.viewers()).viewers[0].user_id, 2);
	});
});
