// SPDX-License-Identifier: MIT
// sync.user_id = text: each call of sync_contract_calls.mjs with a ULID for each id of a user, then what
// comes from connections and from SQL, rules that end access, lists in pages, exports and erasure.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import yaml from 'yaml';
import { APP, Sync, authorize, failed, join, ok, startDaemon, waitFor } from '../lib/harness.mjs';
import { withAdmin } from '../lib/ctl.mjs';
import { calls, prepare } from './sync_contract_calls.mjs';

const TEXT = { sync: { user_id: 'text', user_activity_types: 'x' } };
/** Not an id of either type, where the calls have a number or a text that is none. */
const NO_ID = 'a.b';
const ulid = (n) => `01JDY8Q5T3M8W2K4N6P7R9${String(n).padStart(4, 'S')}`;
const asId = (value) => (value === 0 || value === 'x' ? NO_ID : ulid(value));
/** All characters that an id may have, in as many bytes. */
const LONGEST = `Az09-_=@;${'x'.repeat(119)}`;

const spec = yaml.parse(fs.readFileSync(fileURLToPath(new URL('../../docs/openapi.yaml', import.meta.url)), 'utf8'));
const operations = new Map(Object.entries(spec.paths).flatMap(([path, item]) =>
	Object.entries(item).filter(([, o]) => o.operationId)
		.map(([method, o]) => [o.operationId, { method: method.toUpperCase(), path }])));

const ID_FIELDS = /^(user_id|user_ids|reader_id|recipient_id|user|updated_by)$/;

/** The fields of a request with texts for ids; path: of users/{id}. */
function withTexts(operation, fields) {
	const map = (value) => (Array.isArray(value) ? value.map(asId) : asId(value));
	return fields && typeof fields === 'object' ? Object.fromEntries(Object.entries(fields).map(([name, value]) => {
		if (value === undefined || value === null) return [name, value];
		if (ID_FIELDS.test(name) || (name === 'ids' && operation === 'listUsers')) return [name, map(value)];
		if (name === 'to' && /Lock$/.test(operation)) return [name, map(value)];
		if (name === 'to' && typeof value !== 'string') return [name, [value].flat().map((n) => `user:${ulid(n)}`)];
		if (name === 'users') return [name, value.map((u) => ({ ...u, id: asId(u.id) }))];
		return [name, value];
	})) : fields;
}

/** No id in the answer is a number. */
function hasTexts(value, at = '') {
	for (const [name, inner] of Object.entries(value && typeof value === 'object' ? value : {})) {
		if (/^(user_id|updated_by)$/.test(name)) assert.ok(inner === null || typeof inner === 'string', `${at}${name}: ${inner}`);
		hasTexts(inner, `${at}${name}.`);
	}
}

describe('the calls of the contract', () => {
	let daemon, context;
	before(async () => {
		daemon = await startDaemon({ sections: TEXT });
		context = await prepare(daemon);
		ok(await Sync.server(daemon).put(`users/${ulid(7)}`, { name: 'Ada' }));
	});
	after(() => daemon?.stop());

	async function run(call) {
		const o = operations.get(call.operation);
		const id = /users/.test(o.path) ? asId(call.path?.id ?? 7) : call.path?.id ?? 1;
		const who = call.anonymous ? new Sync(daemon) : call.as && call.as !== 'server'
			? Sync.user(daemon, ulid(call.as.id), call.as) : Sync.server(daemon);
		const answer = await who.call(o.method, o.path.replace('{id}', encodeURIComponent(id)), {
			query: withTexts(call.operation, call.query), body: withTexts(call.operation, call.body), headers: call.headers });
		assert.equal(answer.status, call.status ?? 200, `${call.operation}: ${answer.text}`);
		if (call.code) assert.equal(answer.json.error.code, call.code, answer.text);
		hasTexts(answer.json);
		// As the scenarios expect them: numbers, and in the texts of channel_data their digits.
		return answer.json && JSON.parse(answer.text.replace(/"01JDY8Q5T3M8W2K4N6P7R9S*(\d+)"/g, '$1')
			.replace(/01JDY8Q5T3M8W2K4N6P7R9S*(\d+)/g, '$1'));
	}

	for (const [name, scenario] of Object.entries(calls)) {
		test(`answer as with numbers: ${name}`, () => scenario(run, context, Object.assign(
			Object.create(daemon), { query: (sql, values) => daemon.query(sql.replace(/, 70, 'made up/,
				`, '${ulid(70)}', 'made up`), values) })));
	}
});

describe('a daemon with text ids', () => {
	let daemon, server;
	before(async () => {
		daemon = await startDaemon({ sections: TEXT });
		server = Sync.server(daemon);
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument) VALUES
			('App.Models.User.{id}', 'owner', 'id'), ('team.{id}', 'role', 'staff'),
			('presence.online', 'anyone', NULL), ('desk.{id}', 'sql', '{user} = ''u'' || {id} AND ARRAY[{user}] && ''{u7}''::text[]')`);
	});
	after(() => daemon?.stop());
	const user = (id, claims) => Sync.user(daemon, id, claims);
	const online = async (query) => ok(await server.get('online-users', query)).users.map((u) => u.user_id);

	test('an id has all of its characters, up to 128, in paths, bodies and queries', async () => {
		ok(await server.put(`users/${encodeURIComponent(LONGEST)}`, { name: 'Long' }));
		assert.equal(ok(await server.get(`users/${encodeURIComponent(LONGEST)}`)).user.id, LONGEST);
		assert.equal(ok(await user(LONGEST).post('heartbeat', {})).user_id, LONGEST);
		assert.deepEqual(ok(await server.get('users', { ids: LONGEST })).users.map((u) => u.id), [LONGEST]);
		assert.deepEqual(await online({ user_ids: LONGEST }), [LONGEST]);
		for (const id of [`${LONGEST}y`, 'a.b', 'a b', 'é', 'a,b'])
			failed(await server.put(`users/${encodeURIComponent(id)}`, {}), 400, 'invalid_value', 'id');
		failed(await server.post('heartbeat', { user_id: true }), 400, 'invalid_value', 'user_id');
		failed(await server.put('users', { users: [{ id: true }] }), 400, 'invalid_value', 'users[0].id');
	});

	test('a number is its digits: in fields, in tokens and in lists', async () => {
		ok(await server.put('users', { users: [{ id: 7, name: 'Seven' }, { id: '007', name: 'Bond' }] }));
		assert.equal(ok(await server.get('users/7')).user.name, 'Seven');
		assert.equal(ok(await server.get('users/007')).user.name, 'Bond');
		assert.equal(ok(await server.post('heartbeat', { user_id: 7 })).user_id, '7');
		assert.equal(ok(await user(undefined, { sub: 7 }).post('heartbeat', {})).user_id, '7');
		failed(await user('a.b').post('heartbeat', {}), 401, 'bad_token', undefined);
	});

	test('lists in the order of ids have pages in both directions', async () => {
		const ids = Array.from({ length: 7 }, (_, i) => `page-${'x'.repeat(100)}${i}`);
		ok(await server.put('users', { users: ids.map((id) => ({ id, roles: ['paged'] })) }));
		for (const id of ids) ok(await server.post('heartbeat', { user_id: id, location: '/paged' }));
		for (const [path, query, of] of [['users', { role: 'paged' }, (u) => u.id],
			['online-users', { location: '/paged' }, (u) => u.user_id]]) {
			const seen = [];
			let page, cursor;
			do {
				page = ok(await server.get(path, { ...query, limit: 3, cursor }));
				seen.push(...page.users.map(of));
				cursor = page.users.length ? page.next_cursor ?? undefined : undefined;
			} while (cursor);
			assert.deepEqual(seen, ids, path);
			if (path === 'users') continue;
			const first = ok(await server.get(path, { ...query, limit: 3 }));
			const second = ok(await server.get(path, { ...query, limit: 3, cursor: first.next_cursor }));
			assert.deepEqual(ok(await server.get(path, { ...query, limit: 3, cursor: second.prev_cursor })).users,
				first.users);
		}
	});

	test('a connection of a user is known, and makes the user present', async (t) => {
		const wire = await join(t, user(ulid(21), { name: 'Grace' }), 'presence-presence.online');
		await waitFor(async () => (await online()).includes(ulid(21)), 'the user is online');
		const here = { resource_type: 'team', resource_id: 1 };
		ok(await user(ulid(21), { roles: ['staff'] }).post('start-viewing', { ...here, socket_id: wire.socketId }));
		failed(await user(ulid(22), { roles: ['staff'] }).post('start-viewing', { ...here, socket_id: wire.socketId }),
			403, 'socket_forbidden', 'socket_id');
		wire.send({ event: 'client-scopewire:heartbeat', data: { status: 'busy', location: '/desk' } });
		await waitFor(async () => (await online({ status: 'busy' })).includes(ulid(21)), 'its heartbeat is stored');
	});

	test('a user receives its notifications, and may join only its own channel', async (t) => {
		const own = `private-App.Models.User.${ulid(31)}`;
		const wire = await join(t, user(ulid(31)), own);
		failed(await user(ulid(32)).post('/broadcasting/auth', { socket_id: wire.socketId, channel_name: own }),
			403, 'channel_forbidden', 'channel_name');
		const { notifications: [{ id, user_id }] } = ok(await server.post('notifications',
			{ to: `user:${ulid(31)}`, title: 'Due' }), 201);
		assert.equal(user_id, ulid(31));
		assert.equal(JSON.parse((await wire.next({ event: 'Illuminate\\Notifications\\Events\\BroadcastNotificationCreated' })).data).id, id);
		const [sent] = await daemon.query(`SELECT user_id FROM notification_send(ARRAY[$1], 'From SQL', app => $2)`,
			[ulid(31), APP.id]);
		assert.equal(sent.user_id, ulid(31));
		await waitFor(async () => ok(await user(ulid(31)).get('notifications')).unread === 2, 'both are unread');
		await daemon.query(`SELECT activity_add('paid', user_id => $1, app => $2), user_put($1, 'Ida', app => $2)`,
			[ulid(31), APP.id]);
		assert.equal(ok(await user(ulid(31)).get('activities', { feed: 'user' })).activities[0].user.name, 'Ida');
	});

	test('a predicate has the id as text', async () => {
		const may = async (id, channel) => ok(await server.post('may', { user_id: id, channels: [channel] })).results[0].allowed;
		assert.equal(await may('u7', 'private-desk.7'), true);
		assert.equal(await may('u8', 'private-desk.8'), false);
	});

	test('a changed user loses access at once', async (t) => {
		ok(await server.put(`users/${ulid(41)}`, { roles: ['staff'] }));
		const wire = await join(t, user(ulid(41)), 'private-team.1');
		ok(await server.put(`users/${ulid(41)}`, { roles: [] }));
		await wire.next({ event: 'pusher:subscription_error', channel: 'private-team.1' });
	});

	test('of the server and of each user a mutation is repeated for itself', async () => {
		const post = async (who) => ok(await who.post('changes', { client_id: 'c', mutations: [{ mutation_id: 'm1',
			resource_type: 'team', resource_id: 9, op: 'upsert', data: {}, expected_version: null }] })).results[0];
		await daemon.query(`UPDATE channel_rules SET can_write = true WHERE pattern = 'team.{id}'`);
		const staff = user(ulid(51), { roles: ['staff'] });
		for (const [who, repeated] of [[server, undefined], [server, true], [staff, undefined], [staff, true]]) {
			const result = await waitFor(async () => {
				const one = await post(who);
				return one.status === 200 && one;
			}, 'the rule is known');
			assert.equal(result.repeated, repeated);
		}
		const [change] = ok(await server.get('changes', { resources: 'team:9' })).changes;
		assert.equal(change.updated_by, ulid(51));
	});

	test('keys of idempotency are of each user', async () => {
		const headers = { 'Idempotency-Key': 'k' };
		for (const id of [61, 62])
			assert.equal(ok(await user(ulid(id)).call('POST', 'heartbeat', { body: {}, headers })).user_id, ulid(id));
	});
});

test('a daemon with another sync.user_id does not start on its schema', async () => {
	for (const [type, other] of [['text', 'bigint'], ['bigint', 'text']]) {
		const daemon = await startDaemon({ sections: { sync: { user_id: type } } });
		await daemon.stop();
		const refused = await startDaemon({ database: daemon.database, sections: { sync: { user_id: other } } })
			.then(() => null, (e) => e);
		assert.match(refused?.message ?? '', new RegExp(`schema "scopewire" are of the type ${type}, but `
			+ `sync\\.user_id is ${other}: set the option to ${type}, or .*user_id\\.sql`));
	}
});

test('what is stored about a user is exported and erased', async (t) => {
	const { daemon, ctl } = await withAdmin(t, undefined, { sections: TEXT });
	const server = Sync.server(daemon);
	for (const n of [7, 8]) {
		ok(await server.put(`users/${ulid(n)}`, { name: `Name ${n}` }));
		ok(await server.post('heartbeat', { user_id: ulid(n) }));
		ok(await server.post('notifications', { to: `user:${ulid(n)}`, title: 'Due' }), 201);
		await daemon.query(`SELECT broadcast('news', 'Told', json_build_object('user_id', $1::text)),
			broadcast('news', 'Quoted', to_json('{"user_id":"' || $1 || '"}')), broadcast('news', 'Longer',
			json_build_object('user_id', $1 || 'x'))`, [ulid(n)]);
	}
	await waitFor(async () => !(await daemon.query('SELECT FROM realtime_events WHERE serial = 0')).length, 'all have serials');
	const read = async () => {
		const shown = await ctl(['user', 'export', ulid(7)]);
		assert.equal(shown.code, 0, shown.error);
		return shown.out.trim().split('\n').map((line) => JSON.parse(line));
	};
	const [{ data, events, user }] = await read();
	assert.equal(user, ulid(7));
	assert.deepEqual([data.user.name, data.presence.user_id, data.notifications.length], ['Name 7', ulid(7), 1]);
	assert.deepEqual(events.map((e) => e.event).filter((name) => !name.includes('\\')), ['Told', 'Quoted']);
	const erased = await ctl(['user', 'erase', ulid(7), '--json']);
	assert.equal(erased.code, 0, erased.error);
	const [left] = await read();
	assert.deepEqual([left.data.user, left.data.presence, left.data.notifications], [null, null, []]);
	assert.ok(left.data.audit.some((row) => row.action === 'user-erase'));
	assert.equal(ok(await server.get(`users/${ulid(8)}`)).user.name, 'Name 8');
});
