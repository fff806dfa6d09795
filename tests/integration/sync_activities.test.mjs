// SPDX-License-Identifier: MIT
// The activity feed: what is added, who sees it, and cursors that neither skip nor repeat.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import pg from 'pg';
import { APP, Sync, failed, ok, startDaemon, waitFor } from '../lib/harness.mjs';

const OTHER = { id: 'other', key: 'other-key', secret: 'other-secret' };
const SMALL = { id: 'small', key: 'small-key', secret: 'small-secret',
	max_event_payload_bytes: '2000' };
const EVENT = 'App\\Events\\ActivityFeedUpdated';

let daemon, server, admin;
before(async () => {
	daemon = await startDaemon({ apps: [APP, OTHER, SMALL],
		sections: { sync: { user_activity_types: 'own, x, comment_*' } } });
	server = Sync.server(daemon);
	admin = Sync.user(daemon, 900, { roles: ['admin'] });
	await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule, argument) VALUES
		('admin', 'role', 'admin'), ('client.{id}', 'role', 'staff'), ('client.{id}', 'owner', 'id'),
		('project.{id}', 'owner', 'id')`);
});
after(() => daemon?.stop());

const add = async (fields, as = server) => ok(await as.post('activities', fields), 201).activity;
const list = async (query, as = server) => ok(await as.get('activities', query));
const allPlaced = () => waitFor(async () => (await daemon.query(
	'SELECT FROM scopewire.activities WHERE position IS NULL')).length === 0);
const ids = (page) => page.activities.map((a) => a.id);

describe('adding an activity', () => {
	test('every field is returned, with the user', async () => {
		await server.put('users/7', { name: 'Ada', avatar: 'https://x.example/a.png' });
		const activity = await add({ type: 'invoice_paid', description: 'Paid ✓', user_id: 7,
			subject_type: 'App\\Models\\Invoice', subject_id: 42,
			metadata: { client_id: 1001, project_id: 'p-1', amount: 12.5 } });
		assert.ok(Number.isSafeInteger(activity.id));
		assert.match(activity.created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
		const { id, created_at: at, ...rest } = activity;
		assert.deepEqual(rest, { type: 'invoice_paid', description: 'Paid ✓', user_id: 7,
			user: { id: 7, name: 'Ada', avatar: 'https://x.example/a.png' },
			subject_type: 'App\\Models\\Invoice', subject_id: '42', client_id: '1001',
			project_id: 'p-1', metadata: { client_id: 1001, project_id: 'p-1', amount: 12.5 } });
		const page = await list({ feed: 'client', client_id: 1001 });
		assert.deepEqual(page.activities, [{ id, ...rest, created_at: at }]);
	});

	test('an activity is published to admins and the client, without the sender\'s socket', async () => {
		const [one, two, other] = await Promise.all([daemon.connect(), daemon.connect(),
			daemon.connect({ app: OTHER })]);
		for (const s of [one, two]) {
			await s.subscribe('private-admin');
			await s.subscribe('private-client.1002');
			await s.subscribe('private-client.1003');
		}
		await other.subscribe('private-admin');
		const activity = await add({ type: 'a', metadata: { client_id: 1002 } });
		for (const s of [one, two]) {
			for (const channel of ['private-admin', 'private-client.1002']) {
				const frame = await s.next((f) => f.event === EVENT && f.channel === channel);
				assert.deepEqual(JSON.parse(frame.data), { activity });
			}
		}
		await add({ type: 'b', metadata: { client_id: '1002' }, socket_id: one.socketId });
		await two.next({ event: EVENT, data: { activity: { type: 'b' } } });
		const last = await add({ type: 'c' });
		await one.next({ event: EVENT, data: { activity: { id: last.id } } });
		assert.deepEqual(one.all({ event: EVENT }).map((f) => JSON.parse(f.data).activity.type),
			['a', 'a', 'c']);
		await other.ping();
		assert.equal(other.all({ event: EVENT }).length, 0);
		await Promise.all([one.close(), two.close(), other.close()]);
	});

	test("an activity of a rolled-back transaction does not exist", async () => {
		const socket = await daemon.connect();
		await socket.subscribe('private-admin');
		await daemon.query(`DO $$ BEGIN
			PERFORM scopewire.activity_add('undone', app => '${APP.id}'); RAISE division_by_zero;
			EXCEPTION WHEN division_by_zero THEN NULL; END $$`);
		const [{ id }] = await daemon.query(`SELECT scopewire.activity_add('done', 'By SQL', 7,
			'Invoice', '1', '{"client_id": 1004}', '${APP.id}') AS id`);
		const frame = await socket.next({ event: EVENT });
		assert.equal(JSON.parse(frame.data).activity.id, Number(id));
		assert.deepEqual(ids(await list({ feed: 'client', client_id: '1004' })), [Number(id)]);
		assert.deepEqual((await list({ feed: 'type', type: 'undone' })).activities, []);
		await socket.close();
	});

	test('the signed query of the Pusher API works', async () => {
		const answer = ok(await daemon.api().post('/sync/activities', { type: 'signed' }));
		const page = ok(await daemon.api().get('/sync/activities', { feed: 'type', type: 'signed' }));
		assert.deepEqual(ids(page), [answer.activity.id]);
		ok(await daemon.api().post('/sync/activities/read', { feed: 'global', reader_id: 1 }));
	});

	test('a user adds its own activities on channels that it may join', async () => {
		const user = Sync.user(daemon, 1005);
		assert.equal((await add({ type: 'own', metadata: { client_id: 1005 } }, user)).user_id, 1005);
		assert.equal((await add({ type: 'own', user: 1005 }, user)).user_id, 1005);
		failed(await user.post('activities', { type: 'x', user_id: 7 }), 403, 'forbidden', 'user_id');
		failed(await user.post('activities', { type: 'x', user: 7 }), 403, 'forbidden', 'user');
		failed(await user.post('activities', { type: 'x', metadata: { client_id: 1 } }),
			403, 'channel_forbidden', 'metadata');
		failed(await user.post('activities', { type: 'x', metadata: { project_id: 1 } }),
			403, 'channel_forbidden', 'metadata');
		failed(await new Sync(daemon).post('activities', { type: 'x' }), 401, 'unauthorized');
	});

	test('a user adds only activities of the types in sync.user_activity_types', async () => {
		const user = Sync.user(daemon, 1006);
		for (const type of ['own', 'comment_added', 'comment_'])
			assert.equal((await add({ type }, user)).type, type);
		for (const type of ['invoice_paid', 'owner', 'Own', 'comment', '*']) {
			const answer = await user.post('activities', { type });
			failed(answer, 403, 'type_forbidden', 'type');
			assert.match(answer.json.error.message, /sync\.user_activity_types/);
		}
		assert.equal((await add({ type: 'invoice_paid' })).type, 'invoice_paid', 'the server adds all');
	});

	test('adding: invalid fields are 400 with the field\'s name', async () => {
		const post = (fields) => server.post('activities', { type: 'x', ...fields });
		failed(await post({ type: undefined }), 400, 'missing_field', 'type');
		failed(await post({ type: '' }), 400, 'invalid_value', 'type');
		failed(await post({ type: 'x'.repeat(101) }), 400, 'invalid_value', 'type');
		failed(await post({ description: 'x'.repeat(2001) }), 400, 'invalid_value', 'description');
		failed(await post({ user_id: '9223372036854775808' }), 400, 'invalid_value', 'user_id');
		failed(await post({ user_id: 1, user: 2 }), 400, 'invalid_value', 'user');
		failed(await post({ subject_id: 1 }), 400, 'missing_field', 'subject_type');
		failed(await post({ subject_type: 'a', subject_id: 'x'.repeat(65) }),
			400, 'invalid_value', 'subject_id');
		failed(await post({ metadata: [1] }), 400, 'invalid_value', 'metadata');
		failed(await post({ metadata: 'x' }), 400, 'invalid_value', 'metadata');
		for (const id of ['', 'a.b', 'a b', 'ä', { a: 1 }, 1.5, 'x'.repeat(65)]) {
			failed(await post({ metadata: { client_id: id } }), 400, 'invalid_value', 'metadata');
			failed(await post({ metadata: { project_id: id } }), 400, 'invalid_value', 'metadata');
		}
		failed(await post({ socket_id: 'x' }), 400, 'invalid_value', 'socket_id');
		failed(await post({ clientid: 1 }), 400, 'unknown_field', 'clientid');
		failed(await post({ metadata: { text: 'x'.repeat(10000) } }), 413, 'too_large', 'metadata');
		failed(await Sync.server(daemon, SMALL).post('activities',
			{ type: 'x', description: 'x'.repeat(2000) }), 413, 'too_large', 'metadata');
		assert.deepEqual((await list({ feed: 'type', type: 'x' })).activities, []);
	});

	test('SQL in a field is stored as text', async () => {
		const text = `'); DROP TABLE activities; --"\\ $1 {x}`;
		const activity = await add({ type: text, description: text, subject_type: text,
			subject_id: text, metadata: { [text]: text } });
		assert.equal(activity.description, text);
		for (const query of [{ feed: 'type', type: text }, { feed: 'subject', subject_type: text },
			{ feed: 'subject', subject_type: text, subject_id: text },
			{ metadata: JSON.stringify({ [text]: text }) }])
			assert.deepEqual(ids(await list(query)), [activity.id]);
		failed(await server.get('activities', { feed: 'client', client_id: text }),
			400, 'invalid_value', 'client_id');
		failed(await server.get('activities', { feed: 'project', project_id: text }),
			400, 'invalid_value', 'project_id');
		failed(await server.get('activities', { feed: text }), 400, 'invalid_value', 'feed');
		failed(await server.get('activities', { user_id: text }), 400, 'invalid_value', 'user_id');
		failed(await server.get('activities', { metadata: text }), 400, 'invalid_value', 'metadata');
		failed(await server.get('activities', { cursor: text }), 400, 'invalid_cursor', 'cursor');
		ok(await server.post('activities/read', { feed: 'type', type: text, reader_id: 1 }));
	});
});

describe('feeds', () => {
	let all;
	before(async () => {
		all = {};
		for (const [name, fields] of Object.entries({
			client: { metadata: { client_id: 50, state: 'paid', tags: ['a', 'b'] } },
			both: { metadata: { client_id: 50, project_id: 60 } },
			project: { metadata: { project_id: 60 } },
			user: { user_id: 50 },
			nobody: {},
			elsewhere: { user_id: 60, metadata: { client_id: 61 } },
		}))
			all[name] = (await add({ type: 'feed', subject_type: 'Doc', subject_id: 5, ...fields })).id;
		await add({ type: 'feed', subject_type: 'Doc', subject_id: 6, metadata: { client_id: 50 } },
			Sync.server(daemon, OTHER));
	});
	const named = (page) => page.activities
		.map((a) => Object.keys(all).find((name) => all[name] === a.id)).filter(Boolean);

	test('a feed lists newest first and only its own activities', async () => {
		assert.deepEqual(named(await list({})),
			['elsewhere', 'nobody', 'user', 'project', 'both', 'client']);
		assert.deepEqual(named(await list({ feed: 'client', client_id: 50 })), ['both', 'client']);
		assert.deepEqual(named(await list({ feed: 'project', project_id: 60 })), ['project', 'both']);
		assert.deepEqual(named(await list({ feed: 'user', user_id: 50 })), ['user']);
		assert.equal(named(await list({ feed: 'type', type: 'feed' })).length, 6);
		assert.equal(named(await list({ feed: 'subject', subject_type: 'Doc' })).length, 6);
		assert.equal(named(await list({ feed: 'subject', subject_type: 'Doc', subject_id: 5 })).length, 6);
		assert.deepEqual(ids(await list({ feed: 'subject', subject_type: 'Doc', subject_id: 6 })), []);
	});

	test('further fields filter a feed', async () => {
		const client = { feed: 'client', client_id: 50 };
		assert.deepEqual(named(await list({ ...client, project_id: 60 })), ['both']);
		assert.deepEqual(named(await list({ ...client, metadata: '{"state":"paid"}' })), ['client']);
		assert.deepEqual(named(await list({ metadata: '{"tags":["b"]}' })), ['client']);
		assert.deepEqual(named(await list({ ...client, type: 'other' })), []);
		assert.deepEqual(named(await list({ user_id: 60, subject_id: 5, subject_type: 'Doc' })),
			['elsewhere']);
	});

	test('a user sees activities of channels that it may join', async () => {
		const user = Sync.user(daemon, 50), query = { feed: 'type', type: 'feed' };
		assert.deepEqual(named(await list({ feed: 'client', client_id: 50 }, user)), ['both', 'client']);
		assert.deepEqual(named(await list({ feed: 'user', user_id: 50 }, user)), ['user']);
		assert.deepEqual(named(await list(query, user)), ['user', 'both', 'client']);
		assert.deepEqual(named(await list({ feed: 'subject', subject_type: 'Doc' }, user)),
			['user', 'both', 'client']);
		assert.deepEqual(named(await list({ feed: 'subject', subject_type: 'Doc', user_id: 60 }, user)), []);
		assert.deepEqual(named(await list(query, Sync.user(daemon, 60))),
			['elsewhere', 'project', 'both']);
		assert.deepEqual(named(await list(query, Sync.user(daemon, 61, { roles: ['staff'] }))),
			['elsewhere', 'both', 'client']);
		assert.deepEqual(named(await list(query, Sync.user(daemon, 62))), []);
		assert.equal(named(await list(query, admin)).length, 6);
		assert.equal(named(await list({}, admin)).length, 6);
		assert.deepEqual(named(await list({ feed: 'user', user_id: 50 }, admin)), ['user']);
	});

	test('a user sees no other activities', async () => {
		const user = Sync.user(daemon, 50);
		failed(await user.get('activities'), 403, 'channel_forbidden', 'feed');
		failed(await user.get('activities', { feed: 'client', client_id: 61 }),
			403, 'channel_forbidden', 'client_id');
		failed(await user.get('activities', { feed: 'project', project_id: 60 }),
			403, 'channel_forbidden', 'project_id');
		failed(await user.get('activities', { feed: 'user', user_id: 60 }),
			403, 'channel_forbidden', 'user_id');
		failed(await user.post('activities/read', { feed: 'client', client_id: 61 }),
			403, 'channel_forbidden', 'client_id');
		failed(await user.post('activities/read', { feed: 'user', user_id: 50, reader_id: 60 }),
			403, 'forbidden', 'reader_id');
		failed(await user.get('activities', { feed: 'user', user_id: 50, reader_id: 60 }),
			403, 'forbidden', 'reader_id');
	});

	test('hidden activities leave no trace in a page', async () => {
		const nobody = Sync.user(daemon, 63);
		const hidden = await list({ feed: 'subject', subject_type: 'Doc', subject_id: 5 }, nobody);
		const missing = await list({ feed: 'subject', subject_type: 'Doc', subject_id: 7 }, nobody);
		// a cursor begins with a hash of the list that it belongs to, which the caller has named
		const position = (page) => JSON.parse(Buffer.from(page.prev_cursor, 'base64url')).slice(1);
		assert.deepEqual({ ...hidden, prev_cursor: position(hidden) },
			{ ...missing, prev_cursor: position(missing) });
		assert.equal(hidden.unread, 0);
	});

	test('feeds: invalid fields are 400 with the field\'s name', async () => {
		const get = (query) => server.get('activities', query);
		for (const [feed, field] of Object.entries({ client: 'client_id', project: 'project_id',
			user: 'user_id', subject: 'subject_type', type: 'type' }))
			failed(await get({ feed }), 400, 'missing_field', field);
		failed(await get({ subject_id: 1 }), 400, 'missing_field', 'subject_type');
		for (const limit of ['0', '201', 'x', '-1', '99999999999999999999'])
			failed(await get({ limit }), 400, 'invalid_value', 'limit');
		failed(await get({ feed: 'user', user_id: '9223372036854775808' }),
			400, 'invalid_value', 'user_id');
		failed(await get({ colour: 'red' }), 400, 'unknown_field', 'colour');
		const cursor = (...parts) => Buffer.from(JSON.stringify(parts)).toString('base64url');
		for (const bad of ['x', 'AAAA', cursor('newer'), cursor('sideways', '1'), cursor('newer', '-1'),
			cursor('newer', '1'.repeat(19)), cursor('newer', 'x'), cursor('newer', null),
			cursor(null, '1'), Buffer.from('{"a":1}').toString('base64url')])
			failed(await get({ cursor: bad }), 400, 'invalid_cursor', 'cursor');
		failed(await get({ cursor: 'A'.repeat(201) }), 400, 'invalid_value', 'cursor');
	});

	test('an unchanged feed is 304', async () => {
		const query = { feed: 'client', client_id: 50 };
		const etag = (await server.get('activities', query)).headers.etag;
		const again = await server.call('GET', 'activities', { query,
			headers: { 'If-None-Match': etag } });
		assert.equal(again.status, 304);
	});
});

describe('pages', () => {
	const fill = async (client, n) => {
		const made = [];
		for (let i = 0; i < n; i++)
			made.unshift((await add({ type: 'page', metadata: { client_id: client, i } })).id);
		return made;
	};

	test('pages lead to the oldest activity and back', async () => {
		const made = await fill('pages', 7), feed = { feed: 'client', client_id: 'pages', limit: 3 };
		const first = await list(feed);
		assert.equal(first.has_newer, false);
		const second = await list({ ...feed, cursor: first.next_cursor });
		const third = await list({ ...feed, cursor: second.next_cursor });
		assert.equal(third.has_newer, true);
		assert.deepEqual([first, second, third].map(ids),
			[made.slice(0, 3), made.slice(3, 6), made.slice(6)]);
		assert.equal(third.next_cursor, null);

		const up = await list({ ...feed, cursor: third.prev_cursor });
		assert.deepEqual(ids(up), made.slice(3, 6));
		assert.equal(up.has_newer, true);
		const top = await list({ ...feed, cursor: up.prev_cursor });
		assert.deepEqual(ids(top), made.slice(0, 3));
		assert.equal(top.has_newer, false);
		assert.deepEqual(ids(await list({ ...feed, cursor: top.prev_cursor })), []);
		assert.deepEqual(ids(await list({ ...feed, cursor: top.next_cursor })), made.slice(3, 6));

		const fresh = await fill('pages', 2);
		const news = await list({ ...feed, cursor: first.prev_cursor });
		assert.deepEqual(ids(news), fresh);
		assert.deepEqual(ids(await list({ ...feed, cursor: news.next_cursor })), made.slice(0, 3));
		assert.deepEqual(ids(await list({ ...feed, cursor: second.next_cursor })), made.slice(6));
	});

	test('the position of an empty feed finds its first activities', async () => {
		const feed = { feed: 'client', client_id: 'empty' };
		const none = await list(feed);
		assert.deepEqual(none.activities, []);
		assert.equal(none.next_cursor, null);
		const made = await fill('empty', 2);
		assert.deepEqual(ids(await list({ ...feed, cursor: none.prev_cursor })), made);
	});

	test('a page that hides most rows reads a limited number and returns where to continue', async () => {
		await daemon.query(`SELECT scopewire.activity_add('crowd', metadata => CASE i % 700 WHEN 5
			THEN '{"client_id": "seen"}' ELSE '{"client_id": "hidden"}' END::jsonb,
			app => '${APP.id}') FROM generate_series(1, 2500) i`);
		await allPlaced();
		const user = Sync.user(daemon, 77), found = [];
		await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule)
			VALUES ('client.seen', 'anyone')`);
		let cursor, pages = 0;
		do {
			const page = await list({ feed: 'type', type: 'crowd', cursor }, user);
			assert.ok(page.activities.every((a) => a.client_id === 'seen'));
			found.push(...ids(page));
			cursor = page.next_cursor ?? undefined;
			pages++;
		} while (cursor);
		assert.equal(pages, 13);
		assert.equal(found.length, 4);
		assert.deepEqual(found, [...found].sort((a, b) => b - a));
		const filtered = await list({ feed: 'type', type: 'crowd', metadata: '{"client_id":"seen"}' });
		assert.ok(filtered.activities.length < 4 && filtered.next_cursor);
	});
});

describe('unread counts', () => {
	const feed = { feed: 'client', client_id: 80 };
	const user = () => Sync.user(daemon, 80);

	test('new activities are counted for each user and feed', async () => {
		const made = [];
		for (let i = 0; i < 3; i++) made.push(await add({ type: 'r', metadata: { client_id: 80 } }));
		let page = await list(feed, user());
		assert.equal(page.unread, 3);
		assert.equal(page.read_up_to, null);
		const read = ok(await user().post('activities/read', { ...feed, up_to: made[1].id }));
		assert.deepEqual(read, { unread: 1, read_up_to: made[1].id });
		page = await list(feed, user());
		assert.equal(page.unread, 1);
		assert.equal(page.read_up_to, made[1].id);
		assert.equal((await list({ ...feed, reader_id: 80 })).unread, 1);
		assert.equal((await list({ ...feed, reader_id: 81 })).unread, 3);
		assert.equal((await list(feed)).unread, null);
		assert.equal((await list({ feed: 'type', type: 'r' }, user())).unread, 3);

		assert.equal(ok(await user().post('activities/read', { ...feed, up_to: made[0].id })).unread, 1);
		assert.equal(ok(await user().post('activities/read', feed)).unread, 0);
		assert.equal(ok(await user().post('activities/read', feed)).unread, 0);
		await add({ type: 'r', metadata: { client_id: 80 } });
		assert.equal((await list(feed, user())).unread, 1);
		assert.equal(ok(await server.post('activities/read', { ...feed, reader_id: 80 })).unread, 0);
	});

	test('what the reader did is not new to the reader', async () => {
		const of = { feed: 'client', client_id: 80 };
		ok(await server.post('activities/read', { ...of, reader_id: 80 }));
		for (const id of [80, 81, 80]) await add({ type: 'own', user_id: id, metadata: { client_id: 80 } });
		assert.equal((await list(of, user())).unread, 1);
		assert.equal((await list({ ...of, reader_id: 82 })).activities.length >= 3, true);
		const newest = (await list(of, user())).activities[0];
		assert.deepEqual(ok(await user().post('activities/read', of)), { unread: 0, read_up_to: newest.id });
	});

	test('only activities that the user may see are counted', async () => {
		await add({ type: 'mixed', metadata: { client_id: 80 } });
		await add({ type: 'mixed', metadata: { client_id: 81 } });
		assert.equal((await list({ feed: 'type', type: 'mixed' }, user())).unread, 1);
	});

	test('counts: invalid fields are 400 with the field\'s name', async () => {
		const post = (fields) => server.post('activities/read', fields);
		failed(await post(feed), 400, 'missing_field', 'reader_id');
		failed(await post({ ...feed, reader_id: 80, up_to: 999999999 }), 404, 'unknown_activity', 'up_to');
		failed(await post({ ...feed, reader_id: 80, up_to: 0 }), 400, 'invalid_value', 'up_to');
		const foreign = await add({ type: 'x' }, Sync.server(daemon, OTHER));
		failed(await post({ ...feed, reader_id: 80, up_to: foreign.id }),
			404, 'unknown_activity', 'up_to');
		failed(await post({ ...feed, reader_id: 80, metadata: {} }), 400, 'unknown_field', 'metadata');
	});

	test('positions are kept for a limited number of feeds', async () => {
		await daemon.query(`INSERT INTO scopewire.activity_reads (app, user_id, feed, position)
			SELECT '${APP.id}', 82, 'type:' || i, 0 FROM generate_series(1, 1000) i`);
		const read = (type) => server.post('activities/read', { feed: 'type', type, reader_id: 82 });
		failed(await read('one-more'), 409, 'too_many_feeds', 'feed');
		ok(await read('7'));
	});
});

describe('cursors while rows arrive', () => {
	const random = (seed) => () => {
		seed = (seed * 1103515245 + 12345) % 2147483648;
		return seed / 2147483648;
	};

	/** Adds n rows in transactions that take a while, some of which are undone. */
	async function write(client, n, dice) {
		const kept = [];
		for (let left = n; left > 0;) {
			const rows = Math.min(left, 1 + Math.floor(dice() * 4));
			const undone = dice() < 0.25, pause = dice() < 0.5 ? dice() * 0.03 : 0;
			left -= rows;
			const sql = `SELECT scopewire.activity_add('p', metadata => '{"client_id": "${client}"}',
				app => '${APP.id}') AS id, pg_sleep(${pause}) FROM generate_series(1, ${rows})`;
			try {
				const made = await daemon.query(undone
					? `WITH made AS MATERIALIZED (${sql}) SELECT 1 / (count(*) - ${rows}) FROM made` : sql);
				kept.push(...made.map((r) => Number(r.id)));
			} catch (error) {
				assert.ok(undone && error.code === '22012', error.message);
			}
		}
		return kept;
	}

	for (const seed of [1, 2, 3]) {
		test(`neither skip nor repeat, both ways (${seed})`, async () => {
			const client = `flow-${seed}`, dice = random(seed);
			const feed = { feed: 'client', client_id: client };
			let writing = true, upward = [], cursor = (await list(feed)).prev_cursor;
			const writers = Promise.all(Array.from({ length: 6 },
				() => write(client, 60, dice))).finally(() => { writing = false; });

			const downs = [];
			const follow = async () => {
				for (let rest = true; writing || rest;) {
					const last = !writing;
					const page = await list({ ...feed, cursor, limit: 1 + Math.floor(dice() * 9) });
					upward = [...ids(page), ...upward];
					cursor = page.prev_cursor;
					rest = !last || page.has_newer;
				}
			};
			const walkDown = async () => {
				for (let n = 0; n < 4; n++) {
					await waitFor(() => upward.length > n * 40 || !writing);
					const before = [...upward], seen = [];
					let at, top;
					do {
						const page = await list({ ...feed, cursor: at, limit: 7 });
						top ??= page.prev_cursor;
						seen.push(...ids(page));
						at = page.next_cursor ?? undefined;
					} while (at);
					downs.push({ before, seen, top });
				}
			};
			await Promise.all([follow(), walkDown()]);
			const kept = (await writers).flat();

			assert.deepEqual([...upward].sort((a, b) => a - b), kept.sort((a, b) => a - b));
			assert.notDeepEqual(upward, [...kept].sort((a, b) => b - a),
				'all ids came to light in their order: nothing was put to the test');
			const all = ids(await list({ ...feed, limit: 200 }));
			assert.deepEqual(all, upward.slice(0, 200));
			for (const { before, seen, top } of downs) {
				assert.deepEqual(seen, upward.slice(upward.indexOf(seen[0])));
				assert.ok(before.every((id) => seen.includes(id)));
				const rest = [];
				for (let at = top, more = true; more;) {
					const page = await list({ ...feed, cursor: at });
					rest.unshift(...ids(page));
					({ prev_cursor: at, has_newer: more } = page);
				}
				assert.deepEqual([...rest, ...seen], upward);
			}
		});
	}

	test('a row that commits late is new at its commit, whatever its id', async () => {
		const feed = { feed: 'client', client_id: 'late' };
		const { host, name, user } = daemon.database;
		const slow = new pg.Client({ host, database: name, user, port: 5432 });
		await slow.connect();
		await slow.query('BEGIN');
		const { rows: [{ id }] } = await slow.query(`SELECT scopewire.activity_add('late',
			app => '${APP.id}', metadata => '{"client_id": "late"}') AS id`);
		const quick = await add({ type: 'quick', metadata: { client_id: 'late' } });
		assert.ok(Number(id) < quick.id);
		const page = await list(feed);
		assert.deepEqual(ids(page), [quick.id], 'nobody waits for the slow one');
		await slow.query('COMMIT');
		await slow.end();
		const news = await list({ ...feed, cursor: page.prev_cursor });
		assert.deepEqual(ids(news), [Number(id)]);
		assert.deepEqual(ids(await list({ ...feed, cursor: news.next_cursor })), [quick.id]);
	});
});

describe('retention', () => {
	test('old rows are deleted in batches, younger ones stay', async (t) => {
		const own = await startDaemon({ sections: { sync: { activity_retention_days: 30 } } }, t);
		const s = Sync.server(own);
		await own.stop();
		await own.query(`INSERT INTO scopewire.activities (app, type, created_at)
			SELECT '${APP.id}', 'old', now() - interval '31 days' FROM generate_series(1, 2500)`);
		await own.query(`INSERT INTO scopewire.activities (app, type, created_at)
			SELECT '${APP.id}', 'young', now() - interval '29 days' FROM generate_series(1, 3)`);
		await own.start();
		await waitFor(async () => (await own.query(
			"SELECT count(*)::int AS n FROM scopewire.activities WHERE type = 'old'"))[0].n === 0);
		assert.equal((await list({}, s)).activities.length, 3);
	});

	test('rows get their place in the feed without a reader', async () => {
		await add({ type: 'unread' });
		await allPlaced();
	});
});

describe('import, deletion and further filters', () => {
	let own, admin;
	const types = (page) => page.activities.map((a) => a.type);
	const get = async (query, as = admin) => ok(await as.get('activities', query));
	before(async () => {
		own = await startDaemon({ sections: { sync: { user_activity_types: 'x' } } });
		admin = Sync.server(own);
		await own.query(`INSERT INTO channel_rules (pattern, rule, argument)
			VALUES ('client.{id}', 'owner', 'id'), ('project.{id}', 'anyone', NULL)`);
	});
	after(() => own?.stop());

	test('up to 500 are stored with their own times, all or none, without a broadcast', async () => {
		const post = (activities) => admin.post('activities/bulk', { activities });
		const many = Array.from({ length: 500 }, (_, i) => ({ type: `t${i % 3}`, client_id: i % 5,
			metadata: i % 2 ? [] : { n: i }, created_at: `2020-01-${10 + i % 10}T00:00:00Z` }));
		const { added, ids } = ok(await post(many), 201);
		assert.deepEqual([added, new Set(ids).size], [500, 500]);
		assert.deepEqual(await own.query('SELECT FROM realtime_events'), []);
		const [newest] = (await get({ limit: 1 })).activities;
		assert.deepEqual([newest.id, newest.created_at, newest.client_id],
			[ids[499], '2020-01-19T00:00:00.000Z', '4']);
		failed(await post([...many, many[0]]), 400, 'invalid_value', 'activities');
		for (const [wrong, code] of [[{}, 'invalid_value'], [{ type: 'x', user_id: 'y' }, 'invalid_value'],
			[{ type: 'x', created_at: 'soon' }, 'invalid_value'], [{ type: '' }, 'invalid_value'],
			[{ type: 'x', metadata: [1] }, 'invalid_value'], [{ type: 'x', client_id: 'a.b' }, 'invalid_value'],
			[{ type: 'x', subject_id: 1 }, 'missing_field'], [{ type: 'x', tpye: 1 }, 'unknown_field'],
			[{ type: 'x', client_id: 1, metadata: { client_id: 2 } }, 'invalid_value']]) {
			const answer = await post([{ type: 'undone' }, wrong]);
			assert.equal(answer.status, 400, answer.text);
			assert.equal(answer.json.error.code, code, answer.text);
		}
		assert.deepEqual((await own.query(`SELECT FROM activities WHERE type = 'undone'`)), []);
	});

	test('from, until, several types and several clients are filters', async () => {
		const day = (n) => `2020-01-${n}T00:00:00Z`;
		const page = await get({ from: day(12), until: day(14), limit: 200 });
		assert.equal(page.activities.length, 100);
		assert.ok(page.activities.every((a) => a.created_at >= '2020-01-12' && a.created_at < '2020-01-14'));
		assert.deepEqual([...new Set(types(await get({ types: 't0,t2', limit: 200 })))].sort(), ['t0', 't2']);
		const clients = await get({ client_ids: '1,3', from: day(11), until: day(12), limit: 200 });
		assert.deepEqual([...new Set(clients.activities.map((a) => a.client_id))], ['1']);
		assert.equal(clients.activities.length, 50);
		failed(await admin.get('activities', { from: 'soon' }), 400, 'invalid_value', 'from');
		failed(await admin.get('activities', { types: 't0', cursor: page.next_cursor ?? page.prev_cursor }),
			400, 'invalid_cursor', 'cursor');
	});

	test('client_id and project_id are fields; project subscribers receive the activity', async () => {
		const wire = await own.connect();
		await wire.subscribe('private-project.9');
		const { activity } = ok(await admin.post('activities', { type: 'x', client_id: 8, project_id: 9 }), 201);
		assert.deepEqual([activity.client_id, activity.project_id], ['8', '9']);
		const frame = await wire.next({ event: 'App\\Events\\ActivityFeedUpdated', channel: 'private-project.9' });
		assert.equal(JSON.parse(frame.data).activity.id, activity.id);
		failed(await admin.post('activities', { type: 'x', client_id: 8, metadata: { client_id: 9 } }), 400,
			'invalid_value', 'client_id');
		failed(await Sync.user(own, 7).post('activities', { type: 'x', client_id: 8 }), 403,
			'channel_forbidden', 'metadata');
		await wire.close();
	});

	test('feed=mine has all that the caller may see', async () => {
		for (const [type, fields] of [['of-my-client', { client_id: 71 }], ['of-another', { client_id: 72 }],
			['of-a-project', { project_id: 5 }], ['by-me', { user_id: 71 }], ['global', {}]])
			ok(await admin.post('activities', { type, ...fields }), 201);
		const seen = types(await get({ feed: 'mine', limit: 200 }, Sync.user(own, 71)));
		assert.deepEqual(seen.filter((type) => /-/.test(type)), ['by-me', 'of-a-project', 'of-my-client']);
		assert.ok(!seen.includes('global'));
		assert.deepEqual(types(await get({ feed: 'mine', limit: 5 })),
			['global', 'by-me', 'of-a-project', 'of-another', 'of-my-client']);
	});

	test('activities are deleted by id, by ids and by subject', async () => {
		const ids = [];
		for (const subject_id of [1, 1, 2, 3])
			ids.push(ok(await admin.post('activities', { type: 'gone', subject_type: 'Doc', subject_id }), 201)
				.activity.id);
		const remove = (body) => admin.delete('activities', body);
		assert.deepEqual(ok(await remove({ subject_type: 'Doc', subject_id: 1 })), { deleted: 2 });
		assert.deepEqual(ok(await remove({ id: ids[2] })), { deleted: 1 });
		assert.deepEqual(ok(await admin.post('activities/delete', { ids: [...ids] })), { deleted: 1 });
		assert.deepEqual(types(await get({ feed: 'type', type: 'gone' })), []);
		failed(await remove({ subject_type: 'Doc' }), 400, 'missing_field', 'subject_id');
		failed(await remove({ id: ids[0], ids }), 400, 'missing_field', 'id');
		failed(await Sync.user(own, 7).delete('activities', { id: 1 }), 403, 'forbidden');
	});
});
