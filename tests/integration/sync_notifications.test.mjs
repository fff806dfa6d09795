// SPDX-License-Identifier: MIT
// Notifications: to whom, how they are pushed, what is unread.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { APP, Sync, binaries, failed, ok, query, startDaemon, waitFor, withoutEvent } from
	'../lib/harness.mjs';

const GRANTS = fileURLToPath(new URL('../../sql/grants.sql', import.meta.url));

const OTHER = { id: 'other', key: 'other-key', secret: 'other-secret' };
const CREATED = 'Illuminate\\Notifications\\Events\\BroadcastNotificationCreated';
const UNREAD = 'App\\Events\\NotificationsUnread';
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

let daemon, server;
before(async () => {
	daemon = await startDaemon({ apps: [APP, OTHER],
		sections: { sync: { max_notification_recipients: 20 } } });
	server = Sync.server(daemon);
	for (const [id, roles] of Object.entries({ 11: ['admin'], 12: ['admin', 'staff'], 13: ['staff'],
		14: [] }))
		assert.equal((await server.put(`users/${id}`, { roles })).status, 200);
	await Sync.server(daemon, OTHER).put('users/15', { roles: ['admin'] });
	await waitFor(async () => (await daemon.query('SELECT FROM scopewire.sync_settings')).length > 0);
});
after(() => daemon?.stop());

const send = async (fields, as = server) =>
	ok(await as.post('notifications', { title: 'T', ...fields }), 201);
const sentTo = (answer) => answer.notifications.map((n) => n.user_id);
const list = async (user, query) => ok(await Sync.user(daemon, user).get('notifications', query));
const read = async (user, fields) =>
	withoutEvent(ok(await Sync.user(daemon, user).post('notifications/read', fields)));
const channel = (user) => `private-App.Models.User.${user}`;

describe('sending', () => {
	test('a notification is stored and pushed as by Laravel, with the unread count', async () => {
		const [mine, other] = await Promise.all([daemon.connect(), daemon.connect()]);
		await mine.subscribe(channel(101));
		await other.subscribe(channel(102));
		const answer = await send({ recipient_type: 'user', recipient_id: 101, title: 'Invoice',
			message: 'It is due ✓', type: 'App\\Notifications\\InvoiceDue',
			data: { invoice_id: 5, id: 'not this', title: 'nor this' } });
		assert.equal(answer.recipients, 1);
		const [{ id, user_id: to }] = answer.notifications;
		assert.match(id, UUID);
		assert.equal(to, 101);

		const frame = await mine.next({ event: CREATED, channel: channel(101) });
		const { created_at: at, ...payload } = JSON.parse(frame.data);
		assert.match(at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
		assert.deepEqual(payload, { id, type: 'App\\Notifications\\InvoiceDue', title: 'Invoice',
			message: 'It is due ✓', body: 'It is due ✓', invoice_id: 5 });
		const badge = await mine.next({ event: UNREAD, channel: channel(101) });
		assert.deepEqual(JSON.parse(badge.data), { unread: 1 });
		await other.ping();
		assert.equal(other.all({ channel: channel(102), event: CREATED }).length, 0);

		const page = await list(101);
		assert.deepEqual(page.notifications, [{ id, type: 'App\\Notifications\\InvoiceDue',
			title: 'Invoice', message: 'It is due ✓', read_at: null, created_at: at,
			data: { invoice_id: 5, id: 'not this', title: 'nor this' } }]);
		assert.equal(page.unread, 1);
		await Promise.all([mine.close(), other.close()]);
	});

	test('either format is accepted, for one user, several, or roles', async () => {
		const to = async (fields) => sentTo(await send(fields));
		assert.deepEqual(await to({ to: 103, body: 'B' }), [103]);
		assert.deepEqual(await to({ to: '103' }), [103]);
		assert.deepEqual(await to({ to: 'user:103' }), [103]);
		assert.deepEqual(await to({ to: [104, '103', 103] }), [103, 104]);
		assert.deepEqual(await to({ to: 'admin' }), [11, 12]);
		assert.deepEqual(await to({ to: 'role:staff' }), [12, 13]);
		assert.deepEqual(await to({ to: ['admin', 13, 'role:staff'] }), [11, 12, 13]);
		assert.deepEqual(await to({ recipient_type: 'role', recipient_role: 'admin', message: 'M' }),
			[11, 12]);
		assert.deepEqual(await to({ recipient_role: ['admin', 'staff'] }), [11, 12, 13]);
		assert.deepEqual(await to({ recipient_type: 'users', recipient_id: [13, 14] }), [13, 14]);
		assert.deepEqual(await to({ recipient_id: 14, recipient_role: 'admin' }), [11, 12, 14]);
		assert.deepEqual((await list(103)).notifications.map((n) => n.message), [null, null, null, 'B']);
		assert.deepEqual(ok(await server.post('notifications', { title: 'T', to: 'nobody-has-it',
			allow_empty: true })), { recipients: 0, notifications: [] });
	});

	test('apps do not see each other', async () => {
		assert.deepEqual(sentTo(await send({ to: 'admin' }, Sync.server(daemon, OTHER))), [15]);
		assert.deepEqual((await list(15)).notifications, []);
		assert.equal((await list(15)).unread, 0);
		const other = ok(await Sync.user(daemon, 15, {}, OTHER).get('notifications'));
		assert.equal(other.unread, 1);
		failed(await Sync.user(daemon, 15).post('notifications/read',
			{ id: other.notifications[0].id }), 404, 'unknown_notification', 'id');
	});

	test('the signed query of the Pusher API works', async () => {
		const api = daemon.api();
		const answer = ok(await api.post('/sync/notifications', { to: 105, title: 'Signed' }));
		const page = ok(await api.get('/sync/notifications', { user_id: 105 }));
		assert.deepEqual(page.notifications.map((n) => n.id), answer.notifications.map((n) => n.id));
		assert.deepEqual(withoutEvent(ok(await api.post('/sync/notifications/read', { user_id: 105, all: true }))),
			{ read: 1, unread: 0 });
	});

	test("a notification of a rolled-back transaction does not exist", async () => {
		const socket = await daemon.connect();
		await socket.subscribe(channel(106));
		await daemon.query(`DO $$ BEGIN
			PERFORM scopewire.notification_send('{106}', 'Undone', app => '${APP.id}');
			RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END $$`);
		const [row] = await daemon.query(
			"SELECT * FROM scopewire.notification_send('{106}', 'Done', app => $1)", [APP.id]);
		const frame = await socket.next({ event: CREATED });
		assert.equal(JSON.parse(frame.data).id, row.id);
		await socket.next({ event: UNREAD, data: { unread: 1 } });
		assert.equal((await list(106)).unread, 1);
		await daemon.query('SELECT scopewire.notifications_read(106, NULL, $1)', [APP.id]);
		await socket.next({ event: UNREAD, data: { unread: 0 } });
		await socket.close();
	});

	test("an application's role with grants.sql can send", async (t) => {
		const { host, name } = daemon.database, role = `portal_${name}`;
		await query(host, name, `CREATE ROLE ${role} LOGIN`, [], 'postgres');
		t.after(() => query(host, name, `DROP OWNED BY ${role}; DROP ROLE ${role}`, [], 'postgres'));
		execFileSync(path.join(binaries(), 'psql'), ['-X', '-q', '-h', host, '-U', 'scopewire',
			'-v', `role=${role}`, '-v', 'schema=scopewire', '-f', GRANTS, name], { stdio: 'pipe' });
		const as = (sql) => query(host, name, sql, [APP.id], role);
		const socket = await daemon.connect();
		await socket.subscribe(channel(109));
		await socket.subscribe('private-admin');
		await as("SELECT scopewire.notification_send('{109}', 'Granted', app => $1)");
		await socket.next({ event: CREATED, data: { title: 'Granted' } });
		await as('SELECT scopewire.notifications_read(109, app => $1)');
		await socket.next({ event: UNREAD, data: { unread: 0 } });
		await as("SELECT scopewire.activity_add('granted', app => $1)");
		await socket.next({ event: 'App\\Events\\ActivityFeedUpdated' });
		assert.equal((await as('SELECT FROM scopewire.notifications WHERE user_id = 109 AND app = $1'))
			.length, 1);
		for (const denied of ['DELETE FROM scopewire.notifications WHERE app = $1',
			'UPDATE scopewire.notification_boxes SET unread = 0 WHERE app = $1',
			'SELECT FROM scopewire.users WHERE app = $1',
			'INSERT INTO scopewire.sync_settings VALUES ($1, $1)',
			'SELECT scopewire.sync_settings_put(to_json($1::text))',
			'SELECT scopewire.activities_place(1) WHERE $1::text <> $$$$'])
			await assert.rejects(as(denied), { code: '42501' }, denied);
		await socket.close();
	});

	test('only the server can send', async () => {
		failed(await Sync.user(daemon, 11, { roles: ['admin'] })
			.post('notifications', { to: 12, title: 'x' }), 403, 'forbidden');
		failed(await new Sync(daemon).post('notifications', { to: 12, title: 'x' }), 401, 'unauthorized');
	});

	test('sending: invalid fields are 400, and nothing is sent', async () => {
		const post = (fields) => server.post('notifications', { title: 'T', ...fields });
		failed(await post({ to: 107, title: undefined }), 400, 'missing_field', 'title');
		failed(await post({ to: 107, title: '' }), 400, 'invalid_value', 'title');
		failed(await post({ to: 107, title: 'x'.repeat(256) }), 400, 'invalid_value', 'title');
		failed(await post({ to: 107, message: 'x'.repeat(4001) }), 400, 'invalid_value', 'message');
		failed(await post({ to: 107, message: 'a', body: 'b' }), 400, 'invalid_value', 'body');
		failed(await post({ to: 107, data: [1] }), 400, 'invalid_value', 'data');
		failed(await post({ to: 107, type: '' }), 400, 'invalid_value', 'type');
		failed(await post({}), 400, 'missing_field', 'to');
		for (const bad of [0, -1, '-1', '0', '9223372036854775808', 1.5, 'user:', 'user:x', '', true,
			{}, [[1]], [null], [107, 'x'.repeat(65)], 'x'.repeat(65)])
			failed(await post({ to: bad }), 400, 'invalid_value', 'to');
		for (const bad of [0, 'x', '9223372036854775808', { id: 107 }, [107, 'admin']])
			failed(await post({ recipient_id: bad }), 400, 'invalid_value', 'recipient_id');
		for (const bad of [1, '', ['admin', 1], {}])
			failed(await post({ recipient_role: bad }), 400, 'invalid_value', 'recipient_role');
		failed(await post({ recipient_type: 'all', recipient_id: 107 }),
			400, 'invalid_value', 'recipient_type');
		failed(await post({ recipient_type: 'user' }), 400, 'missing_field', 'recipient_id');
		failed(await post({ recipient_type: 'role', recipient_id: 107 }),
			400, 'missing_field', 'recipient_role');
		failed(await post({ recipient_type: 'user', recipient_id: 107, recipient_role: 'admin' }),
			400, 'invalid_value', 'recipient_role');
		failed(await post({ to: 107, recipient_id: 107 }), 400, 'invalid_value', 'to');
		failed(await post({ to: 107, recipient_type: 'user', recipient_id: 107 }),
			400, 'invalid_value', 'to');
		failed(await post({ to: 107, url: '/x' }), 400, 'unknown_field', 'url');
		failed(await post({ to: 107, data: { text: 'x'.repeat(10300) } }), 413, 'too_large', 'data');
		assert.deepEqual((await list(107)).notifications, []);
		assert.equal((await list(107)).unread, 0);
	});

	test('the number of recipients is limited', async () => {
		const some = (n) => Array.from({ length: n }, (_, i) => 2000 + i);
		failed(await server.post('notifications', { title: 'T', to: some(21) }),
			400, 'too_many_recipients');
		assert.equal((await list(2000)).unread, 0);
		assert.equal((await send({ to: some(20) })).recipients, 20);
		for (let id = 3000; id < 3021; id++) await server.put(`users/${id}`, { roles: ['crowd'] });
		failed(await server.post('notifications', { title: 'T', to: 'crowd' }),
			400, 'too_many_recipients');
	});

	test('SQL in a field is stored as text', async () => {
		const text = `'); DROP TABLE notifications; --"\\ $1 {x}`;
		await send({ to: 108, title: text, message: text, type: text, data: { [text]: text } });
		const [n] = (await list(108)).notifications;
		assert.deepEqual([n.title, n.message, n.type, n.data], [text, text, text, { [text]: text }]);
		ok(await server.post('notifications', { title: 'T', to: text, allow_empty: true }));
		ok(await server.post('notifications', { title: 'T', recipient_role: text, allow_empty: true }));
		failed(await server.get('notifications', { user_id: text }), 400, 'invalid_value', 'user_id');
		failed(await server.get('notifications', { user_id: 1, cursor: text }),
			400, 'invalid_cursor', 'cursor');
		failed(await server.post('notifications/read', { user_id: 1, ids: [text] }),
			400, 'invalid_value', 'ids');
	});
});

describe('listing', () => {
	before(async () => {
		for (let i = 1; i <= 7; i++) await send({ to: 201, title: `n${i}` });
	});
	const titles = (page) => page.notifications.map((n) => n.title);

	test('notifications are listed newest first, in pages in both directions', async () => {
		const first = await list(201, { limit: 3 });
		const second = await list(201, { limit: 3, cursor: first.next_cursor });
		const third = await list(201, { limit: 3, cursor: second.next_cursor });
		assert.deepEqual([first, second, third].map(titles),
			[['n7', 'n6', 'n5'], ['n4', 'n3', 'n2'], ['n1']]);
		assert.equal(third.next_cursor, null);
		const up = await list(201, { limit: 2, cursor: third.prev_cursor });
		assert.deepEqual(titles(up), ['n3', 'n2']);
		assert.equal(up.has_newer, true);
		await send({ to: 201, title: 'n8' });
		const news = await list(201, { cursor: first.prev_cursor });
		assert.deepEqual(titles(news), ['n8']);
		assert.equal(news.has_newer, false);
		assert.deepEqual(titles(await list(201, { cursor: news.prev_cursor })), []);
	});

	test('unread notifications can be listed alone', async () => {
		const all = (await list(201)).notifications;
		await read(201, { ids: all.filter((_, i) => i % 2).map((n) => n.id) });
		const page = await list(201, { unread: true, limit: 2 });
		assert.deepEqual(titles(page), ['n8', 'n6']);
		assert.equal(page.unread, 4);
		const rest = await list(201, { unread: true, cursor: page.next_cursor });
		assert.deepEqual(titles(rest), ['n4', 'n2']);
		assert.equal(rest.next_cursor, null);
	});

	test('only the user and the server can list', async () => {
		assert.equal(ok(await server.get('notifications', { user_id: 201 })).unread, 4);
		failed(await server.get('notifications'), 400, 'missing_field', 'user_id');
		failed(await Sync.user(daemon, 202).get('notifications', { user_id: 201 }),
			403, 'forbidden', 'user_id');
		const page = await list(202);
		assert.deepEqual(page, { notifications: [], unread: 0, next_cursor: null,
			prev_cursor: (await list(202)).prev_cursor, has_newer: false, position: page.position,
			channels: ['private-App.Models.User.202'] });
	});

	test('listing: invalid fields are 400 with the field\'s name', async () => {
		const get = (query) => Sync.user(daemon, 201).get('notifications', query);
		failed(await get({ unread: 'maybe' }), 400, 'invalid_value', 'unread');
		for (const limit of ['0', '201', 'x', '9223372036854775808'])
			failed(await get({ limit }), 400, 'invalid_value', 'limit');
		failed(await get({ cursor: 'AAAA' }), 400, 'invalid_cursor', 'cursor');
		failed(await get({ user_id: '9223372036854775808' }), 400, 'invalid_value', 'user_id');
		failed(await get({ unred: 'true' }), 400, 'unknown_field', 'unred');
	});

	test('an unchanged list is 304', async () => {
		const user = Sync.user(daemon, 201), etag = (await user.get('notifications')).headers.etag;
		const headers = { 'If-None-Match': etag };
		assert.equal((await user.call('GET', 'notifications', { headers })).status, 304);
		await send({ to: 201 });
		assert.equal((await user.call('GET', 'notifications', { headers })).status, 200);
	});
});

describe('marking as read', () => {
	test('one, several or all are marked, once, and each new count is pushed', async () => {
		const socket = await daemon.connect();
		await socket.subscribe(channel(301));
		const made = [];
		for (let i = 0; i < 5; i++) made.push((await send({ to: 301 })).notifications[0].id);
		assert.deepEqual(await read(301, { id: made[0] }), { read: 1, unread: 4 });
		assert.deepEqual(await read(301, { id: made[0] }), { read: 0, unread: 4 });
		assert.deepEqual(await read(301, { id: made[0].toUpperCase() }), { read: 0, unread: 4 });
		assert.deepEqual(await read(301, { ids: [made[0], made[1], made[2], made[2]] }),
			{ read: 2, unread: 2 });
		assert.deepEqual(await read(301, { all: true }), { read: 2, unread: 0 });
		assert.deepEqual(await read(301, { all: true }), { read: 0, unread: 0 });
		await socket.next({ event: UNREAD, data: { unread: 0 } });
		await socket.ping();
		assert.deepEqual(socket.all({ event: UNREAD }).map((f) => JSON.parse(f.data).unread),
			[1, 2, 3, 4, 5, 4, 2, 0]);
		const page = await list(301);
		assert.ok(page.notifications.every((n) => n.read_at >= n.created_at));
		await send({ to: 301 });
		assert.deepEqual(withoutEvent(ok(await server.post('notifications/read', { user_id: 301, all: true }))),
			{ read: 1, unread: 0 });
		await socket.close();
	});

	test('marking: invalid fields are 400, and nothing is marked', async () => {
		const { notifications: [{ id }] } = await send({ to: 302 });
		const { notifications: [{ id: foreign }] } = await send({ to: 303 });
		const post = (fields) => Sync.user(daemon, 302).post('notifications/read', fields);
		failed(await post({}), 400, 'missing_field', 'id');
		failed(await post({ all: false }), 400, 'missing_field', 'id');
		failed(await post({ id, all: true }), 400, 'missing_field', 'id');
		failed(await post({ id: 'x' }), 400, 'invalid_value', 'id');
		failed(await post({ id: `${id}x` }), 400, 'invalid_value', 'id');
		failed(await post({ ids: [] }), 400, 'invalid_value', 'ids');
		failed(await post({ ids: Array(201).fill(id) }), 400, 'invalid_value', 'ids');
		failed(await post({ id: foreign }), 404, 'unknown_notification', 'id');
		failed(await post({ ids: [id, foreign] }), 404, 'unknown_notification', 'ids');
		failed(await post({ user_id: 303, all: true }), 403, 'forbidden', 'user_id');
		failed(await server.post('notifications/read', { all: true }), 400, 'missing_field', 'user_id');
		assert.equal((await list(302)).unread, 1);
		assert.equal((await list(303)).unread, 1);
	});

	test('deleted notifications are not counted', async () => {
		const ids = [];
		for (let i = 0; i < 3; i++) ids.push((await send({ to: 304 })).notifications[0].id);
		await read(304, { id: ids[0] });
		await daemon.query('DELETE FROM scopewire.notifications WHERE id = ANY($1)', [ids.slice(0, 2)]);
		assert.equal((await list(304)).unread, 1);
		const [{ n }] = await daemon.query('SELECT scopewire.unread_count($1, 304)::int AS n', [APP.id]);
		assert.equal(n, 1);
	});
});

describe('many at once', () => {
	/** A connection of our own, so that a transaction can last. */
	async function client() {
		const { host, name, user } = daemon.database;
		const own = new pg.Client({ host, database: name, user, port: 5432 });
		await own.connect();
		return own;
	}

	test('open transactions that notify the same users do not block each other, and have no deadlock',
		async (t) => {
			const [one, two] = [await client(), await client()];
			t.after(() => Promise.all([one.end(), two.end()]));
			const sendTo = (own, user) => own.query(
				`SELECT scopewire.notification_send($1, 'T', app => $2)`, [[user], APP.id]);
			for (const own of [one, two])
				await own.query(`BEGIN; SET LOCAL lock_timeout = '20s'`);
			await sendTo(one, 411);
			await sendTo(two, 412);
			await sendTo(one, 412);
			await sendTo(two, 411);
			for (const [own, user] of [[one, 411], [two, 412], [one, 412], [two, 411]])
				await own.query('SELECT scopewire.notifications_read($1, NULL, $2)', [user, APP.id]);
			await send({ to: 411, title: 'between' });      // neither does the API wait
			await one.query('COMMIT');
			await two.query('COMMIT');
			for (const user of [411, 412]) {
				const { notifications, unread } = await list(user);
				assert.equal(notifications.length, user === 411 ? 3 : 2);
				assert.equal(unread, user === 411 ? 1 : 0);
			}
		});

	test('counts follow DELETE and TRUNCATE, and are broadcast', async () => {
		const socket = await daemon.connect();
		for (const user of [421, 422]) {
			await socket.subscribe(channel(user));
			await send({ to: user });
			await send({ to: user });
		}
		await daemon.query('DELETE FROM scopewire.notifications WHERE user_id = 421 AND number = 1');
		await socket.next({ event: UNREAD, channel: channel(421), data: { unread: 1 } });
		await socket.ping();
		const seen = socket.frames.length;
		await daemon.query('TRUNCATE scopewire.notifications');
		for (const user of [421, 422]) {
			await waitFor(() => socket.frames.slice(seen).some((f) => f.event === UNREAD
				&& f.channel === channel(user) && JSON.parse(f.data).unread === 0), `0 for ${user}`);
			assert.deepEqual([(await list(user)).unread, (await list(user)).notifications], [0, []]);
		}
		await send({ to: 421, title: 'next' });
		assert.deepEqual((await list(421)).notifications.map((n) => n.title), ['next']);
		await socket.close();
	});

	test('under load counts stay exact and pages skip nothing', async () => {
		const users = [401, 402, 403], socket = await daemon.connect();
		for (const user of users) await socket.subscribe(channel(user));
		let writing = true;
		const seen = new Map(users.map((user) => [user, []]));
		const follow = async (user) => {
			let { prev_cursor: cursor } = await list(user);
			for (let rest = true; writing || rest;) {
				const last = !writing;
				const page = await list(user, { cursor, limit: 4 });
				seen.get(user).unshift(...page.notifications.map((n) => n.id));
				cursor = page.prev_cursor;
				rest = !last || page.has_newer;
			}
		};
		const followers = users.map(follow);
		const writer = async (n) => {
			const own = await client();
			for (let i = 0; i < 15; i++) {
				const to = users.filter((_, at) => (i + n) % 3 !== at);
				await own.query('BEGIN');
				await own.query("SELECT scopewire.notification_send($1, 'T', app => $2), pg_sleep($3)",
					[(i + n) % 2 ? to : to.reverse(), APP.id, (i % 3) / 100]);
				await own.query((i + n) % 4 ? 'COMMIT' : 'ROLLBACK');
			}
			await own.end();
		};
		const reader = async (user) => {
			for (let i = 0; i < 10; i++) {
				const page = await list(user, { unread: true, limit: 2 });
				if (page.notifications.length)
					await read(user, { ids: page.notifications.map((n) => n.id) });
			}
		};
		await Promise.all([1, 2, 3, 4].map(writer).concat(users.map(reader)));
		writing = false;
		await Promise.all(followers);

		for (const user of users) {
			const rows = await daemon.query(`SELECT id, read_at FROM scopewire.notifications
				WHERE app = $1 AND user_id = $2 ORDER BY number DESC`, [APP.id, user]);
			assert.ok(rows.length > 20);
			assert.deepEqual(seen.get(user), rows.map((r) => r.id));
			const { unread } = await list(user);
			assert.equal(unread, rows.filter((r) => !r.read_at).length);
			await waitFor(() => socket.all({ event: CREATED, channel: channel(user) }).length === rows.length);
			await waitFor(() => {
				const badges = socket.all({ event: UNREAD, channel: channel(user) });
				return JSON.parse(badges.at(-1).data).unread === unread;
			});
		}
		await socket.close();
	});
});

describe('further calls', () => {
	const ids = async (user, query) => (await list(user, query)).notifications.map((n) => n.id);

	test('an unknown role, or an empty list, is an error that names it, unless it is allowed', async () => {
		const post = (fields) => server.post('notifications', { title: 'T', ...fields });
		for (const [field, value] of [['to', 'role:ghosts'], ['recipient_role', ['admin', 'ghosts']]]) {
			const answer = await post({ [field]: value });
			failed(answer, 404, 'unknown_recipient', field);
			assert.match(answer.json.error.message, /"ghosts"/);
		}
		failed(await post({ to: [] }), 404, 'unknown_recipient', 'to');
		assert.deepEqual(sentTo(ok(await post({ recipient_role: ['admin', 'ghosts'], allow_empty: true }),
			201)), [11, 12]);
		assert.match((await post({ to: 'user:ghost' })).json.error.message, /"user:ghost"/);
	});

	test('read notifications can be unread again, and the count is pushed', async () => {
		const wire = await daemon.connect();
		await wire.subscribe(channel(701));
		const made = [await send({ to: 701 }), await send({ to: 701 })].map((a) => a.notifications[0].id);
		await read(701, { all: true });
		const answer = ok(await Sync.user(daemon, 701).post('notifications/unread', { id: made[0] }));
		assert.deepEqual([answer.marked, answer.unread], [1, 1]);
		await wire.next((f) => f.event === UNREAD && JSON.parse(f.data).unread === 0);
		await wire.next((f) => f.event === UNREAD && JSON.parse(f.data).unread === 1);
		assert.deepEqual(await ids(701, { unread: true }), [made[0]]);
		failed(await Sync.user(daemon, 702).post('notifications/unread', { id: made[0] }), 404,
			'unknown_notification', 'id');
		await wire.close();
	});

	test('one, several or all are deleted, and the count follows', async () => {
		const made = [];
		for (let i = 0; i < 4; i++) made.push((await send({ to: 703 })).notifications[0].id);
		const remove = (body) => Sync.user(daemon, 703).delete('notifications', body);
		assert.deepEqual((({ deleted, unread }) => [deleted, unread])(ok(await remove({ id: made[0] }))), [1, 3]);
		failed(await remove({ ids: [made[0], made[1]] }), 404, 'unknown_notification', 'ids');
		assert.equal(ok(await remove({ ids: made.slice(1, 3) })).unread, 1);
		assert.deepEqual(await ids(703), [made[3]]);
		assert.equal(ok(await server.post('notifications/delete', { user_id: 703, all: true })).deleted, 1);
		assert.deepEqual((await list(703)).unread, 0);
	});

	test('deleting and marking the same user\'s at once has no deadlock', async () => {
		for (let i = 0; i < 20; i++) await send({ to: 704 });
		const user = Sync.user(daemon, 704);
		const answers = await Promise.all(Array.from({ length: 24 }, (_, i) => (i % 3 === 0
			? user.post('notifications/read', { all: true }) : i % 3 === 1
				? user.post('notifications/unread', { all: true })
				: user.delete('notifications', { all: true }))));
		for (const answer of answers) ok(answer);
		assert.deepEqual(await ids(704), []);
		assert.equal((await list(704)).unread, 0);
	});

	test('types are a filter, bound to the cursor', async () => {
		for (const type of ['a', 'b', 'c', 'a']) await send({ to: 705, type });
		const types = async (query) => (await list(705, query)).notifications.map((n) => n.type);
		assert.deepEqual(await types({ type: 'a' }), ['a', 'a']);
		assert.deepEqual(await types({ type: 'a,c' }), ['a', 'c', 'a']);
		const { next_cursor: cursor } = await list(705, { type: 'a', limit: 1 });
		assert.deepEqual(await types({ type: 'a', cursor }), ['a']);
		failed(await Sync.user(daemon, 705).get('notifications', { type: 'b', cursor }), 400,
			'invalid_cursor', 'cursor');
	});

	test('the server gets the unread counts of several users', async () => {
		await send({ to: [706, 707] });
		await send({ to: 707 });
		assert.deepEqual(ok(await server.get('notifications/counts', { user_ids: '708,707,706' })).counts,
			[{ user_id: 706, unread: 1 }, { user_id: 707, unread: 2 }, { user_id: 708, unread: 0 }]);
		failed(await server.get('notifications/counts', { user_ids: '7,x' }), 400, 'invalid_value', 'user_ids');
	});
});

test('a notification goes to the channel of any notifiable', async (t) => {
	const own = await startDaemon({}, t);
	const api = Sync.server(own);
	const send = (more) => api.post('notifications', { title: 'Due', ...more });
	const channels = async () => (await own.query(`SELECT channel FROM realtime_events
		WHERE event_type LIKE '%BroadcastNotificationCreated' ORDER BY channel`)).map((e) => e.channel);
	ok(await send({ to: [7, 8], channel: 'private-App.Models.Customer.{id}' }), 201);
	ok(await send({ to: 7, channel: 'presence-desk.3' }), 201);
	ok(await send({ to: 7 }), 201);
	assert.deepEqual(await channels(), ['presence-desk.3', 'private-App.Models.Customer.7',
		'private-App.Models.Customer.8', 'private-App.Models.User.7']);
	// The inbox and its count are those of the user.
	assert.equal(ok(await api.get('notifications', { user_id: 7 })).unread, 3);
	failed(await send({ to: [7, 8], channel: 'presence-desk.3' }), 400, 'invalid_value', 'channel');
	for (const channel of ['desk', 'private-a b.{id}', 'private-encrypted-x.{id}', 'private-' + 'x'.repeat(151), '#server-to-user-{id}'])
		failed(await send({ to: 7, channel }), 400, 'invalid_value', 'channel');
	await own.query(`SELECT notification_send('{9}', 'Due', channel => 'private-desk.{id}', app => $1)`, [own.app.id]);
	assert.equal((await channels()).at(-1), 'private-desk.9');
	await own.stop();
});
