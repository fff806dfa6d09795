// SPDX-License-Identifier: MIT
// Idempotency keys of the sync API: a retry changes nothing more and receives the first answer.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { PROGRAM, Sync, failed, startDaemon } from '../lib/harness.mjs';

let daemon, server;
before(async () => {
	daemon = await startDaemon({ sections: { sync: { user_activity_types: '*' } } });
	server = Sync.server(daemon);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, can_write)
		VALUES ('{type}.{id}', 'anyone', true)`);
});
after(() => daemon?.stop());

let n = 0;
const freshKey = () => `key-${++n}`;
const keyed = (sync, key, method, path, body) =>
	sync.call(method, path, { body, headers: { 'Idempotency-Key': key } });
const count = async (from) => (await daemon.query(`SELECT count(*)::integer AS n FROM ${from}`))[0].n;

/** A first answer and its repeat, which must be equal byte for byte. */
function assertRepeated(first, second) {
	assert.ok(first.status < 300, first.text);
	assert.equal(first.headers['idempotent-replayed'], undefined);
	assert.equal(second.headers['idempotent-replayed'], 'true', second.text);
	assert.equal(second.status, first.status);
	assert.equal(second.text, first.text);
}

const at = { resource_type: 'note', resource_id: 1 };
const WRITES = {
	'POST activities': { type: 'paid', metadata: { client_id: 5 } },
	'POST activities/bulk': { activities: [{ type: 'paid' }] },
	'POST activities/read': { reader_id: 7 },
	'POST activities/delete': { id: 999999 },
	'DELETE activities': { id: 999999 },
	'POST changes': { client_id: 'c', mutations: [{ mutation_id: 'm', ...at, op: 'upsert', data: { a: 1 },
		expected_version: 0 }] },
	'POST heartbeat': { user_id: 7, location: '/x', info: { a: 1 } },
	'POST locks': { ...at, user_id: 7 },
	'DELETE locks': { ...at, user_id: 7 },
	'POST locks/release': { ...at, user_id: 7 },
	'POST locks/steal': { ...at, user_id: 7 },
	'POST locks/request': { ...at, user_id: 8 },
	'POST locks/grant': { ...at, user_id: 7, to: 8 },
	'POST locks/refuse': { ...at, user_id: 8, to: 9 },
	'POST notifications': { to: 7, title: 'Due' },
	'POST notifications/read': { user_id: 7, all: true },
	'POST notifications/unread': { user_id: 7, all: true },
	'POST notifications/delete': { user_id: 7, all: true },
	'DELETE notifications': { user_id: 7, all: true },
	'PUT rules': { pattern: 'made.{id}', rule: 'anyone' },
	'POST rules': { pattern: 'made.{id}', rule: 'role', argument: 'x' },
	'DELETE rules/999998': {},
	'POST rules/999999/delete': {},
	'POST start-viewing': { ...at, user_id: 7 },
	'POST stop-viewing': { ...at, user_id: 7 },
	'PUT users/7': { name: 'Ada' },
	'POST users/7': { name: 'Ada', roles: ['x'] },
	'PUT users': { users: [{ id: 7, name: 'Ada' }] },
	'POST users': { users: [{ id: 8, name: 'Bob' }] },
	'DELETE users/7': {},
	'POST users/8/delete': {},
};

/** What a call presumes that those before it do not do. */
const PREPARE = {
	'POST locks/refuse': () => server.post('locks/request', { ...at, user_id: 9 }),
};

/** POST because of the size of its question: it changes nothing. */
const READS = ['POST may'];

test('every route that writes is among those of the tests', () => {
	const routes = execFileSync(PROGRAM, ['--print-routes'], { encoding: 'utf8' }).split('\n')
		.map((line) => line.match(/^(POST|PUT|DELETE|PATCH) +\/api\/sync\/(\S+)/)).filter(Boolean)
		.map(([, method, path]) => `${method} ${path}`);
	const tried = new Set(Object.keys(WRITES).map((call) => call.replace(/\/\d+/, '/{id}')));
	assert.ok(routes.length > 25, `${routes.length} routes`);
	assert.deepEqual(routes.filter((route) => !tried.has(route)), READS);
});

describe('every write', () => {
	for (const [call, body] of Object.entries(WRITES)) {
		const [method, path] = call.split(' ');
		test(`${call} with the same key receives the first answer`, async () => {
			const key = freshKey();
			await PREPARE[call]?.();
			assertRepeated(await keyed(server, key, method, path, body),
				await keyed(server, key, method, path, body));
			failed(await keyed(server, key, method, path, `${JSON.stringify(body)} `), 422,
				'idempotency_key_reused');
		});
	}
});

test('a retry adds no second row and no second event', async () => {
	const key = freshKey();
	const before = await count("realtime_events WHERE event_type LIKE '%ActivityFeedUpdated'");
	const answers = await Promise.all(Array.from({ length: 8 }, () =>
		keyed(server, key, 'POST', 'activities', { type: 'once' })));
	assert.deepEqual(new Set(answers.map((a) => a.text)), new Set([answers[0].text]));
	assert.equal(answers.filter((a) => a.headers['idempotent-replayed']).length, 7);
	assert.equal(await count("activities WHERE type = 'once'"), 1);
	assert.equal(await count("realtime_events WHERE event_type LIKE '%ActivityFeedUpdated'"), before + 1);
});

test('a key is that of its caller: users and the server do not see the answers of others', async () => {
	const key = freshKey();
	const add = (sync) => keyed(sync, key, 'POST', 'activities', { type: 'own' });
	const answers = [await add(server), await add(Sync.user(daemon, 1)), await add(Sync.user(daemon, 2))];
	for (const answer of answers) assert.equal(answer.status, 201, answer.text);
	assert.equal(new Set(answers.map((a) => a.json.activity.id)).size, 3);
	assertRepeated(answers[1], await add(Sync.user(daemon, 1)));
});

test('a publish and a call of the sync API can have the same key', async () => {
	const key = freshKey();
	assert.equal((await daemon.api().post('/events', { name: 'E', channel: 'c', data: '{}',
		idempotency_key: key })).status, 200);
	assert.equal((await keyed(server, key, 'POST', 'activities', { type: 'x' })).status, 201);
});

test('a refused request does not use up its key', async () => {
	const key = freshKey();
	await server.post('locks', { ...at, resource_id: 'held', user_id: 1 });
	const lock = () => keyed(server, key, 'POST', 'locks', { ...at, resource_id: 'held', user_id: 2 });
	failed(await lock(), 409, 'locked');
	failed(await keyed(server, key, 'POST', 'activities', {}), 400, 'missing_field', 'type');
	await server.delete('locks', { ...at, resource_id: 'held', user_id: 1 });
	const got = await lock();
	assert.equal(got.status, 200, got.text);
	assertRepeated(got, await lock());
});

test('a key is stored with what the request did, or not at all', async () => {
	const key = freshKey();
	await daemon.query(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'no'; END $$;
		CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON activities DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION refuse()`);
	const add = () => keyed(server, key, 'POST', 'activities', { type: 'atomic' });
	failed(await add(), 500, 'internal');
	assert.equal(await count(`idempotency_keys WHERE key = 'sync ${key}'`), 0);
	await daemon.query('DROP TRIGGER refuse ON activities');
	assertRepeated(await add(), await add());
});

test('a key that has expired can be used again', async () => {
	const key = freshKey();
	const add = (type) => keyed(server, key, 'POST', 'activities', { type });
	await add('old');
	await daemon.query(`UPDATE idempotency_keys SET created_at = now() - interval '24 hours 1 second'
		WHERE key = 'sync ${key}'`);
	const fresh = await add('new');
	assert.equal(fresh.status, 201, fresh.text);
	assert.equal(fresh.json.activity.type, 'new');
});

test('a predicate that decides about the channel does not disturb the key', async () => {
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument)
		VALUES ('client.{id}', 'sql', '{id} = ''5''')`);
	const key = freshKey();
	const add = () => keyed(Sync.user(daemon, 3), key, 'POST', 'activities',
		{ type: 'x', metadata: { client_id: 5 } });
	assertRepeated(await add(), await add());
});

test('the signed form of a call accepts a key; the signature may differ', async () => {
	const key = freshKey();
	const add = () => daemon.api().call('POST', '/sync/activities', { body: { type: 'signed' },
		headers: { 'Idempotency-Key': key } });
	assertRepeated(await add(), await add());
});

test('a key that is not printable ASCII without a space is 400', async () => {
	for (const key of ['a b', 'x'.repeat(256), 'é'])
		failed(await keyed(server, key, 'POST', 'activities', { type: 'x' }), 400,
			'invalid_idempotency_key');
});
