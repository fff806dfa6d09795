// SPDX-License-Identifier: MIT
// Thousands of changed cursors, positions and ids go to each list of the sync API, and to each SQL function
// that takes one: the answer is a refusal with its reason, or a page of that list, never an error of the
// server and never another order or a gap.
// SCOPEWIRE_CURSOR_SEED repeats a run, SCOPEWIRE_CURSOR_ROUNDS sets its length.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { Sync, ok, randomFrom, startDaemon, waitFor } from '../lib/harness.mjs';

const SEED = Number(process.env.SCOPEWIRE_CURSOR_SEED ?? Date.now() % 1000000);
const ROUNDS = Number(process.env.SCOPEWIRE_CURSOR_ROUNDS ?? 200);
const ROWS = 12;
const random = randomFrom(SEED);
const below = (n) => Math.floor(random() * n);
const one = (list) => list[below(list.length)];

/** Texts in the place of a number, a time, an id or a word. */
const PARTS = ['', ' ', '0', '-1', '+1', '1e3', '007', '1.5', '9'.repeat(18), '9'.repeat(19), '9'.repeat(400),
	'9223372036854775807', '-9223372036854775808', 'NaN', 'Infinity', '-infinity', 'epoch', 'now', 'abc', 'newer',
	'older', 'after', 'before', '2026-13-45', '2026-01-01T00:00:00Z', '294277-01-01', '10000 BC', '٣', '１', '\u00e9',
	'\u{1f600}', '\\', '\'', '"', '%s', '%1$s', '$1', '{}', '[]', 'null', '\n', '1\n', '{1', '00000000-0000-0000-0000-000000000000'];
const VALUES = [null, true, 7, 1e300, -0, [], ['1'], {}, { a: 1 }];
const CHARACTERS = [...'AZaz09-_=+/:;,.%&#? {}[]"\'\\', '\u0001', '\u007f', '\u00ff', '\u{1f600}'];

const encode = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** The parts of a cursor that was given out, one or two of them changed; the list's mark stays. */
function changeParts(text) {
	let parts;
	try {
		parts = JSON.parse(Buffer.from(text, 'base64url').toString());
	} catch {
		return `${text.split(':')[0]}:${one(PARTS)}`;     // a position
	}
	const changed = [...parts];
	switch (below(6)) {
	case 0: changed.push(one(PARTS)); break;
	case 1: changed.pop(); break;
	case 2: changed[1 + below(parts.length - 1)] = one(VALUES); break;
	case 3: changed[below(parts.length)] = one(PARTS); break;
	default: for (let i = 1; i < parts.length; i++) if (below(2)) changed[i] = one(PARTS);
	}
	return encode(changed);
}

function changeText(text) {
	const at = below(text.length + 1);
	switch (below(7)) {
	case 0: return text.slice(0, at) + one(CHARACTERS) + text.slice(at);
	case 1: return text.slice(0, at) + text.slice(at + 1);
	case 2: return text.slice(0, at) + one(CHARACTERS) + text.slice(at + 1);
	case 3: return text.slice(0, at);
	case 4: return text + text;
	case 5: return text.toUpperCase();
	default: return [...text].reverse().join('');
	}
}

/** others: what other lists gave out. */
function mutate(text, others) {
	switch (below(10)) {
	case 0: return one(others);
	case 1: return one(PARTS) || ' ';
	case 2: return encode(one(['', '{', '[', 'null', '[]', '{}', '[[]]', '"a"', '[1', '\u0000', '["\\u0000"]', '["\\ud800"]', '[]'.repeat(50)]));
	case 3: return Buffer.from(Array.from({ length: 1 + below(40) }, () => below(256))).toString('base64url');
	case 4: case 5: return changeText(text);
	default: return changeParts(text);
	}
}

let daemon, server;

/** path, query, and the ids of a page in the order of the list. */
const LISTS = [
	{ path: 'activities', query: {}, ids: (b) => b.activities.map((a) => a.id) },
	{ path: 'notifications', query: { user_id: 1 }, ids: (b) => b.notifications.map((n) => n.id) },
	{ path: 'online-users', query: {}, ids: (b) => b.users.map((u) => u.user_id) },
	{ path: 'users', query: {}, ids: (b) => b.users.map((u) => u.id) },
	{ path: 'locks', query: {}, ids: (b) => b.locks.map((l) => l.resource_id) },
	{ path: 'viewers', query: { resource_type: 'note', resource_id: 'v' }, ids: (b) => b.viewers.map((v) => v.user_id) },
	{ path: 'versions', query: { types: 'note' }, ids: (b) => b.versions.map((v) => v.resource_id) },
	{ path: 'events', query: { channels: 'news' }, ids: (b) => b.events.map((e) => e.serial) },
];

before(async () => {
	console.log(`# SCOPEWIRE_CURSOR_SEED=${SEED}`);
	// None of the rows ends by its time while the lists are read.
	daemon = await startDaemon({ sections: { sync: { presence_ttl_s: 86400, viewing_ttl_s: 3600 } } });
	server = Sync.server(daemon);
	const each = Array.from({ length: ROWS }, (_, i) => i + 1);
	ok(await server.put('users', { users: each.map((id) => ({ id, name: `user ${id}` })) }));
	for (const id of each) {
		ok(await server.post('activities', { type: 'made', user_id: id }), 201);
		ok(await server.post('heartbeat', { user_id: id, status: 'online' }));
		ok(await server.post('locks', { resource_type: 'note', resource_id: `n${id}`, user_id: id, ttl: 3600 }));
		ok(await server.post('start-viewing', { resource_type: 'note', resource_id: 'v', user_id: id }));
		assert.ok((await server.post('notifications', { to: 1, title: `title ${id}` })).status < 300);
		assert.ok((await server.post('changes', { client_id: 'maker', mutations: [{ id, resource_type: 'made',
			resource_id: `m${id}`, op: 'upsert', data: { n: id } }] })).status < 400);
	}
	await daemon.query(`INSERT INTO sync_entity (app, resource_type, resource_id, version, position, data, updated_at)
		SELECT $1, 'note', 'e' || n, 1, 1000 + n, '{}', now() FROM generate_series(100, 100 + $2) n`, [daemon.app.id, ROWS - 1]);
	await daemon.query(`SELECT broadcast('news', 'E', '{}') FROM generate_series(1, $1)`, [ROWS]);
	await waitFor(async () => ok(await server.get('events', { channels: 'news' })).events.length === ROWS, 'the events');
});
after(() => daemon?.stop());

/** The whole list, and every cursor that was given out while it was read. */
async function walk({ path, query, ids }) {
	const all = [], cursors = new Set();
	for (let cursor; ;) {
		const page = ok(await server.get(path, { ...query, limit: 3, cursor }));
		all.push(...ids(page));
		for (const name of ['next_cursor', 'prev_cursor']) if (page[name]) cursors.add(page[name]);
		cursor = page.next_cursor;
		if (!cursor) break;
	}
	assert.ok(cursors.size >= 2, path);
	return { all, cursors: [...cursors] };
}

/** The page is a part of the list without a gap, in its order. */
function assertPart(all, page, what) {
	const at = page.length ? all.indexOf(page[0]) : 0;
	assert.deepEqual(page, all.slice(at, at + page.length), what);
	assert.ok(at >= 0 && page.length <= 3, what);
}

function assertAnswer(answer, what) {
	assert.ok(answer.status === 200 || answer.status === 400, `${answer.status} ${answer.text} for ${what}`);
	if (answer.status === 200) return answer.json;
	assert.match(answer.json.error.code, /^(invalid_cursor|invalid_since|invalid_value|invalid_utf8|bad_request)$/, `${answer.text} for ${what}`);
	assert.match(answer.json.error.message, /.{10}/s);
	return null;
}

describe('a changed cursor is refused, or gives a part of its list', () => {
	const walks = new Map();
	before(async () => {
		for (const list of LISTS) walks.set(list, await walk(list));
	});

	for (const list of LISTS)
		test(`GET ${list.path}`, async () => {
			const { all, cursors } = walks.get(list);
			const others = [...walks].filter(([l]) => l !== list).flatMap(([, w]) => w.cursors);
			assert.equal(all.length, ROWS);
			for (let i = 0; i < ROUNDS; i++) {
				const cursor = mutate(one(cursors), others);
				const what = `seed ${SEED}, ${list.path} ${JSON.stringify(cursor)}`;
				const body = assertAnswer(await server.get(list.path, { ...list.query, limit: 3, cursor }), what);
				if (body) assertPart(all, list.ids(body), what);
			}
			for (const cursor of others) {
				const answer = await server.get(list.path, { ...list.query, limit: 3, cursor });
				assert.equal(answer.json.error?.code, 'invalid_cursor', `${list.path} took a cursor of another list`);
			}
		});

	test('since of GET changes, and of GET events', async () => {
		const { position, since: given } = ok(await server.get('changes', { types: 'made', limit: 3 }));
		assert.ok(given);
		for (let i = 0; i < ROUNDS; i++)
			for (const [path, query, from] of [
				['changes', { types: 'made' }, given], ['events', { channels: 'news' }, position]]) {
				const since = mutate(below(4) ? from : position, [position, given]);
				const answer = await server.get(path, { ...query, limit: 3, since });
				const what = `seed ${SEED}, ${path} since ${JSON.stringify(since)}`;
				// An epoch of another database, or a serial that is not there any more or yet.
				if (![409, 410].includes(answer.status)) assertAnswer(answer, what);
			}
	});

	test('ids', async () => {
		const calls = [
			(id) => server.get('viewers', { resource_type: 'note', resource_id: id }),
			(id) => server.get('versions', { resources: `note:${id}` }),
			(id) => server.get('locks', { resource_type: 'note', resource_id: id }),
			(id) => server.get('notifications', { user_id: id }),
			(id) => server.get('online-users', { user_ids: id }),
			(id) => server.post('notifications/read', { user_id: 1, ids: [id] }),
			(id) => server.get('notifications/counts', { user_ids: id }),
			(id) => server.get(`users/${encodeURIComponent(id)}`),
			(id) => server.get('users', { ids: id }),
		];
		for (let i = 0; i < ROUNDS; i++) {
			const id = below(2) ? one(PARTS) : changeText(one(['12', 'n1', 'v', '0b9f4c2e-6c0f-4b43-9a41-2f4b8a1f6d10']));
			for (const [n, call] of calls.entries()) {
				const { status, text } = await call(id);
				assert.ok(status === 200 || (status >= 400 && status < 500), `${status} ${text}: seed ${SEED}, call ${n}, ${JSON.stringify(id)}`);
			}
		}
	});

	test('none of it was an error of the server', () => {
		assert.doesNotMatch(daemon.logText, / error: /);
	});
});

/** A value for each other parameter of a function, by its name or its type. */
function argument({ name, type }) {
	if (/app$/.test(name)) return daemon.app.id;
	if (/caller$/.test(name)) return '{"server": true}';
	if (/scope$/.test(name)) return '["users", "x"]';
	return { integer: 3, bigint: 7, boolean: false, 'text[]': '{}' }[type] ?? null;
}

test('each SQL function that takes a cursor, a position or an event id refuses it as a value, or answers', async () => {
	const found = await daemon.query(`SELECT p.oid::regprocedure::text AS signature, p.proname AS name,
		p.proargnames[:p.pronargs] AS names,
		ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS x(t, at) ORDER BY at) AS types
		FROM pg_proc p WHERE p.pronamespace = 'scopewire'::regnamespace AND p.prokind = 'f'
		AND p.prorettype <> 'trigger'::regtype`);
	const wanted = /(cursor|since|page_at|position|event_id|socket_id|socket)$/;
	const functions = found.map(({ name, names, types }) => ({ name,
		parameters: types.map((type, i) => ({ type, name: names?.[i] ?? '' })) }))
		.filter(({ parameters }) => parameters.some((p) => p.type === 'text' && wanted.test(p.name)));
	assert.ok(functions.length >= 12, functions.map((f) => f.name).join(' '));
	for (const name of ['cursor_read', 'keyset_read', 'cursor_id', 'sync_events', 'sync_users_list', 'event_report'])
		assert.ok(functions.some((f) => f.name === name), name);
	const client = await daemon.session();
	await client.query(`SET lock_timeout = '10s'`);
	const { rows: [{ cursor }] } = await client.query(`SELECT cursor_make('["users", "x"]', 'newer', '5') AS cursor`);
	for (const { name, parameters } of functions) {
		const sql = `SELECT * FROM ${name}(${parameters.map(({ type }, i) => `$${i + 1}::${type}`).join(', ')})`;
		for (let i = 0; i < ROUNDS / 2; i++) {
			const values = parameters.map((p) => p.type === 'text' && wanted.test(p.name)
				? mutate(cursor, ['1:5', 'e:1']) : argument(p));
			await client.query('BEGIN');
			const error = await client.query(sql, values).then(() => null, (e) => e);
			await client.query('ROLLBACK');
			if (error && !/^(SW4|22|23|P0001|42501)/.test(error.code ?? 'none'))
				assert.fail(`seed ${SEED}: ${error.code} ${error.message}: ${name}(${JSON.stringify(values)})`);
		}
	}
	await client.end();
});
