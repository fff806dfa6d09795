// SPDX-License-Identifier: MIT
// No call of one user, application or transaction makes the others wait.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, Sync, failed, ok, startDaemon, waitFor } from '../lib/harness.mjs';

/** A transaction of the application that stays open until it is ended. */
async function transaction(daemon, t, sql) {
	const session = await daemon.session();
	t.after(() => session.end());
	await session.query('BEGIN');
	await session.query(sql);
	return { end: () => session.query('ROLLBACK') };
}

/** The sessions of the daemon that wait for a lock. */
const blocked = async (daemon) => Number((await daemon.query(`SELECT count(*) AS n
	FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`))[0].n);

// A call that changes this user waits until the transaction ends.
const USER_ADDED = `INSERT INTO users (app, id) VALUES ('${APP.id}', 1)`;

describe('an open transaction of the application', () => {
	let daemon, server;
	before(async () => {
		// A wait without end: what is answered while the calls are blocked was not behind them.
		daemon = await startDaemon({ sections: { sync: { lock_wait_ms: 600000,
			statement_timeout_ms: 600000 } } });
		server = Sync.server(daemon);
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument, can_write) VALUES
			('note.{id}', 'role', 'staff', true)`);
	});
	after(() => daemon?.stop());

	test('blocks its own calls, and no other call waits', async (t) => {
		const open = await transaction(daemon, t, USER_ADDED);
		const waiting = Array.from({ length: 20 },
			() => server.put('users/1', { name: 'blocked' }));
		await waitFor(async () => await blocked(daemon) > 0, 'calls are blocked');
		const user = Sync.user(daemon, 3, { roles: ['staff'] });
		for (let i = 0; i < 20; i++) {
			ok(await server.post('heartbeat', { user_id: 5, status: 'online' }));
			ok(await server.get('online-users'));
			ok(await server.put('users/5', { name: `Ada ${i}` }));
			ok(await user.post('changes', { client_id: 'c', mutations: [{ mutation_id: `m${i}`,
				resource_type: 'note', resource_id: '1', op: 'upsert', data: { i },
				expected_version: null }] }));
			ok(await user.call('POST', '/broadcasting/auth',
				{ body: { socket_id: '1.2', channel_name: `private-note.${i}` } }));
			ok(await server.post('notifications', { to: 2, title: 'x' }), 201);
		}
		const key = { idempotency_key: 'k1' };
		assert.equal((await daemon.api().trigger('news', 'Made', {}, key)).status, 200);
		assert.ok(await blocked(daemon) > 0);
		await open.end();
		for (const answer of await Promise.all(waiting)) ok(answer);
	});
});

test('a call that another transaction blocks is 503 with Retry-After; nothing was changed', async (t) => {
	const daemon = await startDaemon({ sections: { sync: { lock_wait_ms: 400 } } }, t);
	const server = Sync.server(daemon);
	const open = await transaction(daemon, t, USER_ADDED);
	const answers = await Promise.all(Array.from({ length: 20 },
		() => server.put('users/1', { name: 'blocked' })));
	for (const answer of answers) {
		failed(answer, 503, 'database_locked');
		assert.ok(Number(answer.headers['retry-after']) > 0);
	}
	await open.end();
	assert.equal((await daemon.query('SELECT count(*)::int AS n FROM users'))[0].n, 0);
	ok(await server.put('users/1', { name: 'after' }));
});

describe('rates of users', () => {
	test('a user has rates of its own, and none of the application\'s server', async (t) => {
		const daemon = await startDaemon({ app: { max_backend_events_per_second: 2,
			max_read_requests_per_second: 2, max_user_requests_per_second: 20 } }, t);
		const [ada, bob] = [Sync.user(daemon, 1), Sync.user(daemon, 2)];
		const beat = { status: 'online' };
		let refused;
		await waitFor(async () => {
			const answers = await Promise.all(Array.from({ length: 10 },
				() => ada.post('heartbeat', beat)));
			return refused = answers.find((answer) => answer.status === 429);
		}, 'the user is refused');
		failed(refused, 429, 'rate_limited');
		assert.match(refused.json.error.message, /max_user_requests_per_second \(20\)/);
		assert.ok(Number(refused.headers['retry-after']) > 0);
		ok(await bob.post('heartbeat', beat));
		assert.equal((await daemon.api().trigger('news', 'Made', {})).status, 200);
		assert.equal((await daemon.api().trigger('news', 'Made', {})).status, 200);
		await waitFor(async () => (await ada.post('heartbeat', beat)).status === 200, 'served again');
	});

	test('all users together have a rate, which the server does not use', async (t) => {
		const daemon = await startDaemon({ app: { max_all_users_requests_per_second: 5 } }, t);
		let refused;
		await waitFor(async () => {
			const answers = await Promise.all(Array.from({ length: 10 },
				(_, i) => Sync.user(daemon, 1 + i).post('heartbeat', { status: 'online' })));
			return refused = answers.find((answer) => answer.status === 429);
		}, 'a user is refused');
		assert.match(refused.json.error.message, /max_all_users_requests_per_second \(5\)/);
		for (let i = 0; i < 20; i++)
			ok(await Sync.server(daemon).post('heartbeat', { user_id: 7, status: 'online' }));
	});

	test('each change of a batch counts, and the bytes of a body', async (t) => {
		const daemon = await startDaemon({ app: { max_user_requests_per_second: 50,
			max_user_bytes_per_second: 40000 } }, t);
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument, can_write)
			VALUES ('note.{id}', 'role', 'staff', true)`);
		const user = (id) => Sync.user(daemon, id, { roles: ['staff'] });
		const batch = (n, text = '') => ({ client_id: 'c', mutations: Array.from({ length: n },
			(_, i) => ({ mutation_id: `${n}-${i}-${text.length}`, resource_type: 'note',
				resource_id: String(i), op: 'upsert', data: { text }, expected_version: null })) });
		// Four batches of 50 stay under the limit of bytes, so that only that of changes refuses them.
		const refusal = async (id, body) => {
			let refused;
			await waitFor(async () => {
				refused = (await Promise.all([1, 2, 3].map(() => user(id).post('changes', body))))
					.find((answer) => answer.status === 429);
				return refused;
			}, 'the user is refused');
			return refused.json.error.message;
		};
		ok(await user(1).post('changes', batch(50)));
		assert.match(await refusal(1, batch(50)), /max_user_requests_per_second/);
		assert.match(await refusal(2, batch(1, 'x'.repeat(30000))), /max_user_bytes_per_second/);
	});

	test('what a user adds in a day is limited, and that of another user is not touched', async (t) => {
		const daemon = await startDaemon({ app: { max_user_bytes_per_day: 40000 } }, t);
		const add = (id) => Sync.user(daemon, id).post('heartbeat', { info: { text: 'x'.repeat(1000) } });
		let refused, accepted = 0;
		await waitFor(async () => {
			const answer = await add(1);
			if (answer.status === 429) refused = answer;
			else accepted++;
			return refused;
		}, 'the user is refused');
		assert.match(refused.json.error.message, /The user exceeds max_user_bytes_per_day \(40000\)/);
		assert.ok(accepted > 20 && accepted < 60, `${accepted} accepted`);
		ok(await add(2));
		ok(await Sync.user(daemon, 1).get('notifications', { user_id: 1 }));
	});
});

test('calls that wait are limited per user and per application', async (t) => {
	const daemon = await startDaemon({ sections: { sync: { lock_wait_ms: 600000,
		statement_timeout_ms: 600000, max_user_calls: 3, max_app_calls: 10 } } }, t);
	const server = Sync.server(daemon);
	const open = await transaction(daemon, t, `LOCK TABLE notifications IN ACCESS EXCLUSIVE MODE`);
	const waiting = [], refusals = [];
	const list = (who, user_id) => who.get('notifications', { user_id }).then((answer) => {
		if (answer.status === 429) refusals.push(answer);
		return answer;
	});
	for (let i = 0; i < 5; i++) waiting.push(list(Sync.user(daemon, 1)));
	await waitFor(() => refusals.length === 2, 'a user is refused');
	failed(refusals[0], 429, 'rate_limited');
	assert.match(refusals[0].json.error.message, /The user exceeds sync\.max_user_calls \(3\)/);
	for (let i = 0; i < 9; i++) waiting.push(list(server, 1));
	await waitFor(() => refusals.length === 4, 'the application is refused');
	assert.match(refusals[3].json.error.message, /The application exceeds sync\.max_app_calls \(10\)/);
	await open.end();
	const answers = await Promise.all(waiting);
	assert.equal(answers.filter((answer) => answer.status === 200).length, 10);
	ok(await list(Sync.user(daemon, 1)));
});

describe('batches of the data sync', () => {
	let daemon, staff;
	const change = (id, op, data) => ({ client_id: 'c', mutations: [{ mutation_id: `${op}-${id}`,
		resource_type: 'note', resource_id: id, op, data, expected_version: null }] });
	before(async () => {
		daemon = await startDaemon({ sections: { sync: { lock_wait_ms: 400 } } });
		staff = Sync.user(daemon, 1, { roles: ['staff'] });
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument, can_write)
			VALUES ('note.{id}', 'role', 'staff', true)`);
	});
	after(() => daemon?.stop());

	test('for different resources do not wait for each other', async (t) => {
		const open = await transaction(daemon, t, `SELECT mutations_lock(
			ROW('${APP.id}', '{}', 9, 'other', NULL, '', 0)::sync_batch,
			'[{"resource_type": "note", "resource_id": "held"}]')`);
		failed(await staff.post('changes', change('held', 'upsert', {})), 503, 'database_locked');
		ok(await staff.post('changes', change('free', 'upsert', {})));
		await open.end();
		ok(await staff.post('changes', change('held', 'upsert', {})));
	});

	test('a patch costs as much as it has members, also nested', async (t) => {
		const members = (n, value) =>
			Object.fromEntries(Array.from({ length: n }, (_, i) => [`m${i}`, value(i)]));
		const first = { flat: members(2000, () => 1), deep: members(2000, () => ({ a: 1 })) };
		const patch = { flat: members(2000, () => 2), deep: members(2000, (i) => (i % 2 ? { b: 2 } : null)) };
		ok(await staff.post('changes', change('wide', 'upsert', first)));
		const [result] = ok(await staff.post('changes', change('wide', 'patch', patch))).results;
		assert.equal(result.status, 200, JSON.stringify(result));
		const { data } = ok(await staff.get('changes', { resources: 'note:wide' })).changes[0];
		assert.deepEqual(data, { flat: patch.flat, deep: Object.fromEntries(
			Object.entries(patch.deep).filter(([, v]) => v).map(([k]) => [k, { a: 1, b: 2 }])) });
		const superuser = await daemon.session.call({ database: { ...daemon.database, user: 'postgres' } });
		t.after(() => superuser.end());
		await superuser.query(`BEGIN; SET LOCAL track_functions = 'pl'`);
		await superuser.query('SELECT json_merge_patch($1, $2)', [first, patch]);
		const { rows: [{ calls }] } = await superuser.query(`SELECT pg_stat_get_xact_function_calls(
			'json_merge_patch'::regproc)::int AS calls`);
		const objects = 3 + Object.values(patch.deep).filter(Boolean).length;
		assert.ok(calls > 0 && calls <= objects + 1, `${calls} calls for ${objects} objects`);
	});

	test('a patch larger than a resource may be is refused before it is applied', async () => {
		ok(await staff.post('changes', change('small', 'upsert', {})));
		const [result] = ok(await staff.post('changes',
			change('small', 'patch', { a: null, b: 'x'.repeat(70000) }))).results;
		assert.equal(result.error.code, 'data_too_large');
	});
});

test('pages of notifications and activities end at about 1 MB, and the next one goes on', async (t) => {
	const daemon = await startDaemon({ app: { max_event_payload_bytes: 0 } }, t);
	const server = Sync.server(daemon);
	await daemon.query(`SELECT notification_send('{1}', 'n' || i, NULL, 'notification',
		jsonb_build_object('text', repeat('x', 100000))) FROM generate_series(1, 25) i`);
	await daemon.query(`SELECT activity_add('made', metadata => jsonb_build_object('text',
		repeat('x', 100000))) FROM generate_series(1, 25) i`);
	for (const [path, query, list] of [['notifications', { user_id: 1 }, 'notifications'],
		['activities', {}, 'activities']]) {
		const seen = new Set();
		let cursor, pages = 0;
		do {
			const page = await server.get(path, { ...query, limit: 200, cursor });
			assert.ok(page.text.length < 1200000, `${path}: ${page.text.length} bytes`);
			for (const one of ok(page)[list]) seen.add(one.id);
			cursor = page.json.next_cursor;
			pages++;
		} while (cursor);
		assert.equal(seen.size, 25, path);
		assert.ok(pages >= 3, path);
	}
});
test('users of a killed process are offline unless they connect again', async (t) => {
	const daemon = await startDaemon({ sections: { sync: { presence_ttl_s: 3600 } } }, t);
	const server = Sync.server(daemon);
	const online = async () => ok(await server.get('online-users')).users.map((u) => u.user_id).sort();
	const signIn = async (id) => {
		const wire = await daemon.connect();
		wire.sendSignin({ id: String(id) });
		await wire.next({ event: 'pusher:signin_success' });
		return wire;
	};
	await signIn(1);
	await signIn(2);
	await waitFor(async () => (await online()).length === 2, 'both are online');
	await daemon.kill();
	await daemon.start();
	const back = await signIn(2);
	await waitFor(async () => (await online()).length === 1, 'one is offline');
	assert.deepEqual(await online(), [2]);
	await back.close();
});
