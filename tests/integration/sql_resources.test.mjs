// SPDX-License-Identifier: MIT
// Resources of the offline data sync that an application changes in its own transactions.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { APP, Sync, binaries, ok, query, startDaemon, startNodes, waitFor } from '../lib/harness.mjs';

const OTHER = { id: 'other', key: 'other-key', secret: 'other-secret' };
const CHANGED = { event: 'App\\Events\\DataChanged' };

let daemon, server, serial = 0;
before(async () => {
	daemon = await startDaemon({ apps: [APP, OTHER], sections: { sync: { lock_wait_ms: 1000 } } });
	server = Sync.server(daemon);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument, can_write) VALUES ('note.{id}', 'anyone', NULL, true)`);
});
after(() => daemon?.stop());

const fresh = () => `s${++serial}`;
const put = (id, data, more = '') => [`SELECT scopewire.resource_put('note', $1, $2, app => '${APP.id}' ${more}) AS id`, [id, data]];
const remove = (id) => [`SELECT scopewire.resource_delete('note', $1, app => '${APP.id}') AS id`, [id]];
/** The resource as the API shows it; undefined: it never existed. */
const now = async (id, of = server) => ok(await of.get('changes', { resources: `note:${id}` })).changes[0];
const state = async (id, of) => {
	const found = await now(id, of);
	return found && [found.version, found.data];
};
const becomes = (id, wanted, of) => waitFor(async () => {
	const found = await state(id, of);
	return JSON.stringify(found) === JSON.stringify(wanted);
}, `note:${id} is ${JSON.stringify(wanted)}`);
const upsert = (resource_id, data, expected_version) => ({ mutation_id: `m${++serial}`, resource_type: 'note', resource_id,
	op: 'upsert', data, expected_version });
const pending = async () => Number((await daemon.query('SELECT count(*) AS n FROM sync_pending'))[0].n);
/** Runs fn in a session that ends with the test. */
async function session(t, of = daemon) {
	const own = await of.session();
	t.after(() => own.end());
	return own;
}
/** The daemon does nothing meanwhile: what its job would do is seen not to be done by others. */
function freeze(t) {
	process.kill(daemon.pid, 'SIGSTOP');
	t.after(() => process.kill(daemon.pid, 'SIGCONT'));
}

describe('a transaction', () => {
	test('that commits changes the resource, once, and all but the excluded socket receive the event', async (t) => {
		const own = await session(t), id = fresh();
		const [one, two] = [await daemon.connect(), await daemon.connect()];
		const socket_id = one.socketId;
		for (const wire of [one, two]) await wire.subscribe(`private-note.${id}`);
		await own.query('BEGIN');
		await own.query(...put(id, { n: 1 }, `, exclude_socket => '${socket_id}'`));
		const { rows: [{ id: mutation_id }] } = await own.query(...put(id, { n: 2 }, `, exclude_socket => '${socket_id}'`));
		assert.equal(await now(id), undefined, 'before the commit');
		await own.query('COMMIT');
		assert.deepEqual(await state(id), [1, { n: 2 }]);
		const { data } = await two.next(CHANGED);
		const { updated_at, ...event } = JSON.parse(data);
		assert.deepEqual(event, { op: 'upsert', resource_type: 'note', resource_id: id, version: 1, user_id: null,
			client_id: 'sql', mutation_id });
		assert.match(updated_at, /Z$/);
		await own.query(...remove(id));
		assert.equal(JSON.parse((await one.next(CHANGED)).data).op, 'delete', 'the first event it receives');
		for (const what of ['deleted', 'there is nothing to delete any more']) {
			const [row] = await daemon.query('SELECT version, data FROM sync_entity WHERE resource_id = $1', [id]);
			assert.deepEqual(row, { version: '2', data: null }, what);
			await own.query(...remove(id));
		}
		assert.equal(await pending(), 0);
	});

	test('that rolls back changes nothing, nor does one whose session ends', async (t) => {
		const own = await session(t), lost = await daemon.session(), id = fresh();
		await own.query('BEGIN');
		await own.query(...put(id, { n: 1 }));
		await own.query('ROLLBACK');
		await lost.query('BEGIN');
		await lost.query(...put(id, { n: 2 }));
		await lost.end();
		await own.query('BEGIN');
		await own.query(...put(id, { n: 3 }));
		await assert.rejects(own.query('SELECT 1 / 0'));
		await own.query('COMMIT');
		assert.equal(await now(id), undefined);
		assert.equal(await pending(), 0);
	});

	test('changes what its savepoints leave', async (t) => {
		const own = await session(t), [id, second] = [fresh(), fresh()];
		await own.query('BEGIN');
		await own.query(...put(id, { n: 1 }));
		await own.query('SAVEPOINT s');
		await own.query(...put(id, { n: 2 }));
		await own.query(...put(second, { n: 2 }));
		await own.query('ROLLBACK TO s');
		await own.query('COMMIT');
		assert.deepEqual([await state(id), await now(second)], [[1, { n: 1 }], undefined]);
		await own.query('BEGIN');
		await own.query('SAVEPOINT s');
		await own.query(...remove(id));
		await own.query('ROLLBACK TO s');
		await own.query(...put(second, { n: 3 }));
		await own.query('COMMIT');
		assert.deepEqual([await state(id), await state(second)], [[1, { n: 1 }], [1, { n: 3 }]]);
	});

	test('with SET CONSTRAINTS IMMEDIATE changes the resource at that time, and undoes it with itself', async (t) => {
		const own = await session(t), id = fresh();
		await own.query('BEGIN');
		await own.query(...put(id, { n: 1 }));
		await own.query('SET CONSTRAINTS ALL IMMEDIATE');
		await own.query(...put(id, { n: 2 }));
		assert.deepEqual((await own.query(`SELECT version FROM scopewire.sync_entity WHERE resource_id = $1`, [id])).rows,
			[{ version: '2' }]);
		await own.query('ROLLBACK');
		assert.equal(await now(id), undefined);
	});

	test('has changed the resource when it commits without a daemon, whose clients receive the event later', async (t) => {
		const own = await session(t), id = fresh();
		await daemon.stop();
		await own.query(...put(id, { n: 1 }));
		assert.deepEqual((await own.query(`SELECT version, data FROM scopewire.sync_entity WHERE resource_id = $1`, [id])).rows,
			[{ version: '1', data: { n: 1 } }]);
		await daemon.start();
		assert.deepEqual(await state(id), [1, { n: 1 }]);
		await waitFor(async () => (await daemon.query(`SELECT FROM realtime_events WHERE channel = $1 AND delivered`,
			[`private-note.${id}`])).length === 1, 'the event');
	});
});

describe('what the commit leaves to the daemon', () => {
	test('more than 100 changes', async (t) => {
		const own = await session(t), ids = Array.from({ length: 250 }, fresh);
		await own.query('BEGIN');
		await own.query(`SELECT scopewire.resource_put('note', i, '{"n":1}', app => '${APP.id}') FROM unnest($1::text[]) i`, [ids]);
		await own.query('COMMIT');
		for (const id of [ids[0], ids[100], ids[249]]) await becomes(id, [1, { n: 1 }]);
		await waitFor(async () => await pending() === 0, 'all changes');
		const [{ n, last }] = await daemon.query(`SELECT count(*)::int AS n, max(version)::int AS last FROM sync_entity
			WHERE resource_id = ANY ($1)`, [ids]);
		assert.deepEqual([n, last], [250, 1]);
	});

	test('exactly 100 changes are not left', async (t) => {
		freeze(t);
		const own = await session(t), ids = Array.from({ length: 100 }, fresh);
		await own.query(`SELECT scopewire.resource_put('note', i, '{"n":1}', app => '${APP.id}') FROM unnest($1::text[]) i`, [ids]);
		assert.equal(await pending(), 0);
	});

	for (const level of ['REPEATABLE READ', 'SERIALIZABLE'])
		test(`transactions with ${level}, which conflict with no other`, async (t) => {
			const [own, two] = [await session(t), await session(t)], id = fresh();
			await own.query(`BEGIN ISOLATION LEVEL ${level}`);
			await own.query('SELECT FROM scopewire.users');
			ok(await server.post('changes', { client_id: 'c', mutations: [upsert(id, { n: 0 }, 0)] }));
			await two.query(`BEGIN ISOLATION LEVEL ${level}`);
			await two.query(...put(id, { n: 1 }));
			await own.query(...put(id, { n: 2 }));
			await two.query('COMMIT');
			await own.query('COMMIT');
			await waitFor(async () => await pending() === 0, 'both changes');
			const [version, data] = await state(id);
			assert.ok(version >= 2, String(version));
			assert.deepEqual(data, { n: 2 }, 'the order of the calls');
		});

	test('changes of several applications', async (t) => {
		const own = await session(t), id = fresh();
		await own.query('BEGIN');
		await own.query(...put(id, { n: 1 }));
		await own.query(`SELECT scopewire.resource_put('note', $1, '{"n":2}', app => '${OTHER.id}')`, [id]);
		await own.query('COMMIT');
		await becomes(id, [1, { n: 1 }]);
		await becomes(id, [1, { n: 2 }], Sync.server(daemon, OTHER));
	});

	const held = {
		'of the resource': (id) => `SELECT pg_advisory_xact_lock(scopewire.lock_key('sync_entity'),
			scopewire.mutation_lock('${APP.id}', 'resource', 'note', '${id}'))`,
		'of the feed': () => `SELECT pg_advisory_xact_lock(scopewire.lock_key('sync_feed'), hashtext('${APP.id}'))`,
		'of its row of edit locks': (id) => `UPDATE scopewire.locks SET ttl = ttl WHERE resource_id = '${id}'`,
	};
	for (const [whose, sql] of Object.entries(held))
		test(`a change whose lock ${whose} is held: the commit does not wait for it`, async (t) => {
			const [holder, own] = [await session(t), await session(t)], id = fresh();
			ok(await server.post('locks', { resource_type: 'note', resource_id: id, user_id: 1 }));
			await holder.query('BEGIN');
			await holder.query(sql(id));
			await own.query(`SET lock_timeout = '7s'`);
			const since = process.hrtime.bigint();
			await own.query('BEGIN');
			await own.query(...put(id, { n: 1 }));
			await own.query('COMMIT');
			const ms = Number(process.hrtime.bigint() - since) / 1e6;
			assert.ok(ms >= 200 && ms < 5000, `${ms} ms`);
			assert.equal((await own.query('SHOW lock_timeout')).rows[0].lock_timeout, '7s');
			assert.equal(await now(id), undefined);
			await holder.query('ROLLBACK');
			await becomes(id, [1, { n: 1 }]);
		});

	test('with a notification waits for the row of the user as long as the application\'s lock_timeout allows', async (t) => {
		const [own, other] = [await session(t), await session(t)], id = fresh();
		await own.query(`SELECT scopewire.notification_send('{4711}', 'a', app => '${APP.id}')`);
		await other.query(`BEGIN; SELECT FROM scopewire.notification_boxes WHERE user_id = '4711' FOR UPDATE`);
		await own.query(`SET lock_timeout = '300ms'; BEGIN`);
		await own.query(...put(id, { n: 1 }));
		await own.query(`SELECT scopewire.notification_send('{4711}', 'b', app => '${APP.id}')`);
		let answer;
		own.query('COMMIT').then(() => { answer = 'committed'; }, ({ code }) => { answer = code; });
		await waitFor(() => answer, 'the end of the commit');
		assert.equal(answer, '55P03');
		await other.query('ROLLBACK');
		assert.equal(await now(id), undefined);
	});

	test('many changes with a lock that is held wait once', async (t) => {
		const [holder, own] = [await session(t), await session(t)], ids = Array.from({ length: 60 }, fresh);
		await holder.query('BEGIN');
		for (const id of ids) await holder.query(held['of the resource'](id));
		const since = process.hrtime.bigint();
		await own.query(`SELECT scopewire.resource_put('note', i, '{"n":1}', app => '${APP.id}') FROM unnest($1::text[]) i`, [ids]);
		const ms = Number(process.hrtime.bigint() - since) / 1e6;
		assert.ok(ms < 5000, `${ms} ms`);
		// Others are not behind them.
		const other = fresh();
		await own.query(`BEGIN ISOLATION LEVEL REPEATABLE READ`);
		await own.query(...put(other, { n: 1 }));
		await own.query('COMMIT');
		await holder.query('ROLLBACK');
		for (const id of [other, ...ids]) await becomes(id, [1, { n: 1 }]);
	});
});

describe('the order of changes', () => {
	/** A change that is committed and not applied; the daemon does not run its job. */
	async function leave(own, ...call) {
		await own.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
		await own.query(...call);
		await own.query('COMMIT');
	}
	const post = async (own, mutations) => (await own.query(`SET search_path = scopewire, pg_temp;
		SELECT body FROM sync_changes_post('${APP.id}', '{"server":true}', 'c1', NULL, NULL, '${JSON.stringify(mutations)}')`))
		.at(-1).rows[0].body.results;

	test('a mutation of a client is decided on what was committed before', async (t) => {
		freeze(t);
		const own = await session(t), id = fresh();
		await own.query(...put(id, { n: 1 }));
		await leave(own, ...put(id, { n: 2 }));
		const patch = { ...upsert(id, { by: 'client' }, 2), op: 'patch' };
		const results = await post(own, [upsert(id, { n: 9 }, 1), upsert(fresh(), {}, 0)]);
		assert.deepEqual(results.map((one) => one.status), [409, 200]);
		assert.deepEqual(results[0].current.data, { n: 2 });
		assert.deepEqual((await post(own, [patch])).map((one) => one.version), [3]);
		await leave(own, ...remove(id));
		assert.deepEqual((await post(own, [upsert(id, { n: 5 }, null)])).map((one) => one.version), [5]);
		const { rows: [row] } = await own.query('SELECT version, data FROM sync_entity WHERE resource_id = $1', [id]);
		assert.deepEqual(row, { version: '5', data: { n: 5 } });
		assert.equal(await pending(), 0);
	});

	test('a commit applies what earlier ones left, and each change counts once', async (t) => {
		freeze(t);
		const own = await session(t), id = fresh();
		await leave(own, ...put(id, { n: 1 }));
		await leave(own, ...put(id, { n: 2 }));
		await own.query(...put(id, { n: 3 }));
		assert.deepEqual((await own.query('SELECT version, data FROM scopewire.sync_entity WHERE resource_id = $1', [id])).rows,
			[{ version: '1', data: { n: 3 } }]);
		assert.equal(await pending(), 0);
	});

	test('of transactions that lock a row of their own is that of their commits; clients lose nothing', async (t) => {
		const ids = [fresh(), fresh(), fresh()], writers = await Promise.all([1, 2, 3].map(() => session(t)));
		await daemon.query(`CREATE TABLE public.docs (id text PRIMARY KEY, n integer NOT NULL);
			INSERT INTO public.docs SELECT i, 0 FROM unnest('{${ids}}'::text[]) i`);
		await Promise.all([...writers.map(async (own, w) => {
			for (let i = 0; i < 40; i++) {
				// In opposite orders: the rows are locked in one order, the resources are changed in another.
				await own.query(i % 7 ? 'BEGIN' : 'BEGIN ISOLATION LEVEL REPEATABLE READ');
				try {
					const { rows } = await own.query(`UPDATE docs d SET n = n + 1 FROM (SELECT id FROM docs ORDER BY id FOR UPDATE) o
						WHERE o.id = d.id RETURNING d.id, d.n`);
					for (const row of i % 2 ? rows : rows.reverse()) await own.query(...put(row.id, { n: row.n, w }));
					await own.query('COMMIT');
				} catch (e) {
					assert.equal(e.code, '40001');           // of the table docs
					await own.query('ROLLBACK');
				}
			}
		}), (async () => {
			let version = 0, accepted = 0;
			for (let i = 0; i < 60; i++) {
				const [result] = ok(await Sync.user(daemon, 7).post('changes', { client_id: 'phone',
					mutations: [{ ...upsert(ids[0], { client: i }, version), op: version ? 'patch' : 'upsert' }] })).results;
				if (result.status === 200) accepted++;
				version = result.version ?? result.current?.version ?? 0;
			}
			return accepted;
		})()]);
		await waitFor(async () => await pending() === 0, 'all changes');
		for (const id of ids.slice(1)) {
			const [{ n }] = await daemon.query('SELECT n FROM public.docs WHERE id = $1', [id]);
			assert.equal((await now(id)).data.n, n);
		}
		// A client's last patch is on top of the application's last state.
		const [{ n }] = await daemon.query('SELECT n FROM public.docs WHERE id = $1', [ids[0]]);
		assert.equal((await now(ids[0])).data.n, n);
	});
});

describe('the daemon\'s job', () => {
	let slow;
	const note = (id) => [`SELECT scopewire.resource_put('note', $1, '{"n":1}', app => '${APP.id}')`, [id]];
	const version = async (id) => (await slow.query('SELECT version::int FROM sync_entity WHERE resource_id = $1', [id]))[0]?.version;
	const left = async () => Number((await slow.query('SELECT count(*) AS n FROM sync_pending'))[0].n);
	/** Changes that the commit leaves to the job. */
	async function leave(own, ids) {
		await own.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
		for (const id of ids) await own.query(...note(id));
		await own.query('COMMIT');
	}
	before(async () => {
		slow = await startDaemon({ sections: { sync: { statement_timeout_ms: '2000', lock_wait_ms: '1000' } } });
		await slow.query(`CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				PERFORM pg_catalog.pg_sleep(CASE WHEN NEW.resource_id ~ '^endless' THEN 60 ELSE 0.05 END); RETURN NULL; END $$;
			CREATE TRIGGER slow AFTER INSERT ON sync_change FOR EACH ROW EXECUTE FUNCTION public.slow()`);
	});
	after(() => slow?.stop());

	test('applies many changes on a slow database', async (t) => {
		// The first 100 of them in one statement would need five seconds.
		await leave(await session(t, slow), Array.from({ length: 120 }, fresh));
		await waitFor(async () => await left() === 0, 'all changes', 60000);
	});

	test('goes on after changes that exceed the time of a statement, which are logged', async (t) => {
		const own = await session(t, slow), id = fresh(), endless = [1, 2, 3].map((n) => `endless${n}`);
		await leave(own, [...endless, id]);
		await waitFor(async () => await version(id) === 1, 'the change after them', 60000);
		for (const one of endless)
			await waitFor(() => new RegExp(`the change of note:${one} .* is not applied: canceling statement due to statement timeout`)
				.test(slow.logText), `the line about ${one}`, 60000);
		// They are due again, and come after those not tried before.
		const later = fresh();
		await own.query('UPDATE scopewire.sync_pending SET retry_at = now()');
		await leave(own, [later]);
		await waitFor(async () => await version(later) === 1, 'the change after them', 60000);
		assert.equal(await left(), 3);
		await slow.query('DELETE FROM sync_pending');
	});

	test('goes on after a change that waits for a row of edit locks', async (t) => {
		const [holder, own] = [await session(t, slow), await session(t, slow)], [held, id] = [fresh(), fresh()];
		ok(await Sync.server(slow).post('locks', { resource_type: 'note', resource_id: held, user_id: 1 }));
		await holder.query('BEGIN');
		await holder.query(`UPDATE scopewire.locks SET ttl = ttl WHERE resource_id = $1`, [held]);
		await leave(own, [held, id]);
		await waitFor(async () => await version(id) === 1, 'the change after it', 60000);
		assert.equal(await version(held), undefined);
		await holder.query('ROLLBACK');
		await waitFor(async () => await version(held) === 1, 'the change that waited', 60000);
		assert.doesNotMatch(slow.logText, new RegExp(`the change of note:${held} `));
	});
});

test('several nodes apply each change once', async (t) => {
	const nodes = await startNodes(t, 2), own = await session(t, nodes[0]);
	const ids = Array.from({ length: 300 }, fresh);
	const app = nodes[0].app.id;
	await own.query(`SELECT scopewire.resource_put('note', i, '{"n":1}', app => '${app}') FROM unnest($1::text[]) i`, [ids]);
	await waitFor(async () => Number((await nodes[1].query('SELECT count(*) AS n FROM sync_pending'))[0].n) === 0, 'all changes');
	const [{ n, last, events }] = await nodes[1].query(`SELECT count(*)::int AS n, max(version)::int AS last,
		(SELECT count(*)::int FROM realtime_events WHERE event_type = $1) AS events FROM sync_entity`, [CHANGED.event]);
	assert.deepEqual([n, last, events], [300, 1, 300]);
});

describe('a call is refused', () => {
	const cases = [
		[`'no.te', '1', '{}'`, /^resource_type must be 1 to 64 letters/, 'SW400'],
		[`NULL, '1', '{}'`, /^resource_type must be/, 'SW400'],
		[`'note', 'a b', '{}'`, /^resource_id must be 1 to 64 letters/, 'SW400'],
		[`'note', '', '{}'`, /^resource_id must be/, 'SW400'],
		[`'note', '1', NULL`, /^data must be an object/, 'SW400'],
		[`'note', '1', 'null'`, /^data must be an object/, 'SW400'],
		[`'note', '1', '[1]'`, /^data must be an object/, 'SW400'],
		[`'note', '1', jsonb_build_object('a', repeat('x', 65536))`, /a resource may have 65536/, 'SW400'],
		[`'note', '1', (repeat('{"a":', 40) || '1' || repeat('}', 40))::jsonb`, /nested deeper than 32/, 'SW400'],
		[`'note', '1', '{"n":1e-400}'`, /^The number 0\.0+ is neither a 64-bit integer nor a double/, 'SW400'],
		[`'note', '1', '{"a":[{"n":1.123456789012345678}]}'`, /^The number 1\.123456789012345678 is/, 'SW400'],
		[`'note', '1', '{"n":1e309}'`, /^The number 1000000000/, 'SW400'],
		[`'note', '1', '{}', exclude_socket => 'x'`, /^exclude_socket must be a socket id/, 'SW400'],
		[`'note', '1', '{}', app => 'none'`, /^the application "none" is not known/, '22023'],
		[`'note', '1', '{}', app => NULL`, /there are several applications/, '22023'],
	];
	for (const [call, message, code] of cases)
		test(call.slice(0, 60), async () => {
			const named = /app =>/.test(call) ? call : `${call}, app => '${APP.id}'`;
			await assert.rejects(daemon.query(`SELECT resource_put(${named})`), (e) => {
				assert.match(e.message, message);
				assert.equal(e.code, code);
				return true;
			});
		});

	test('numbers that are doubles or 64-bit integers are accepted', async (t) => {
		const own = await session(t), id = fresh();
		await own.query(`SET extra_float_digits = 0`);
		const data = `{"n":[0.1,1.5e300,9223372036854775807,-9223372036854775808,0.3333333333333333,2.2250738585072014e-308,1.0]}`;
		await own.query(...put(id, data));
		assert.equal((await state(id))[0], 1);
	});

	test('without the right, and granted by grants.sql', async (t) => {
		const { host, name } = daemon.database, role = `writer_${name}`;
		const admin = (text) => query(host, name, text, [], 'postgres');
		await admin(`CREATE ROLE ${role} LOGIN`);
		t.after(() => admin(`DROP OWNED BY ${role}; DROP ROLE ${role}`));
		const id = fresh(), call = `SELECT scopewire.resource_put('note', '${id}', '{"n":1}', app => '${APP.id}')`;
		await assert.rejects(query(host, name, call, [], role), /permission denied/);
		await daemon.query(`GRANT USAGE ON SCHEMA scopewire TO ${role}`);
		await assert.rejects(query(host, name, call, [], role), /permission denied for function resource_put/);
		execFileSync(path.join(binaries(), 'psql'), ['-X', '-q', '-h', host, '-U', 'scopewire', '-v', 'schema=scopewire',
			'-v', `role=${role}`, '-f', fileURLToPath(new URL('../../sql/grants.sql', import.meta.url)), name], { stdio: 'pipe' });
		await query(host, name, call, [], role);
		assert.deepEqual(await state(id), [1, { n: 1 }]);
		for (const text of ['SELECT * FROM scopewire.sync_pending', 'DELETE FROM scopewire.sync_pending',
			`SELECT scopewire.sync_pending_work(1)`, `SELECT scopewire.sync_pending_apply('${APP.id}', '[]')`])
			await assert.rejects(query(host, name, text, [], role), /permission denied/, text);
	});
});

describe('validation', () => {
	let rules;
	const admin = (text) => query(daemon.database.host, daemon.database.name, text, [], 'postgres');
	before(async () => {
		rules = `rules_${daemon.database.name}`;
		await admin(`CREATE ROLE ${rules} NOLOGIN; GRANT ${rules} TO scopewire`);
		await daemon.query('SELECT channel_predicates_as($1)', [rules]);
		await daemon.query(`CREATE FUNCTION public.note_is_valid(after jsonb, before jsonb, info jsonb) RETURNS text
			LANGUAGE sql STABLE AS $$ SELECT CASE WHEN before->>'state' = 'paid' AND NOT coalesce(after ? 'refund', false) THEN 'It is paid.'
				WHEN NOT coalesce(info->'server' = 'true', false) AND after->>'state' = 'paid' THEN 'Only the server.' END $$;
			SELECT scopewire.sync_validate_with('note', 'public.note_is_valid(jsonb,jsonb,jsonb)')`);
	});
	after(async () => {
		await daemon.query(`SELECT sync_validate_with('note', NULL); SELECT channel_predicates_as(current_user)`);
		await admin(`DROP OWNED BY ${rules}; DROP ROLE ${rules}`);
	});

	test('is done at the call, also against what the transaction has pending', async (t) => {
		const own = await session(t), id = fresh();
		await own.query(`SELECT pg_advisory_lock(hashtext('mine')); PREPARE mine AS SELECT 1`);
		await own.query('BEGIN');
		await own.query(...put(id, { state: 'draft' }));
		await own.query(...put(id, { state: 'paid' }));
		await own.query('SAVEPOINT s');
		for (const call of [put(id, { state: 'draft' }), remove(id)])
			await assert.rejects(own.query(...call), { code: 'SW422', message: 'It is paid.' })
				.then(() => own.query('ROLLBACK TO s'));
		await own.query('COMMIT');
		assert.deepEqual(await state(id), [1, { state: 'paid' }]);
		await assert.rejects(own.query(...put(id, {})), { code: 'SW422' });
		// What the session has is the application's.
		await own.query('EXECUTE mine');
		assert.deepEqual((await own.query(`SELECT pg_advisory_unlock(hashtext('mine')) AS held`)).rows, [{ held: true }]);
	});

	test('a change that is not valid any more stays, is logged, and is tried again', async (t) => {
		const own = await session(t), id = fresh();
		await own.query('BEGIN');
		await own.query(...put(id, { from: 'application' }));
		ok(await server.post('changes', { client_id: 'c1', mutations: [upsert(id, { state: 'paid' }, 0)] }));
		await own.query('COMMIT');
		assert.deepEqual(await state(id), [1, { state: 'paid' }]);
		await waitFor(() => new RegExp(`the change of note:${id} that the application ${APP.id} made in SQL at \\S+ is not ` +
			'applied: It is paid').test(daemon.logText), 'the line of the log');
		await daemon.query(`UPDATE sync_entity SET data = '{}' WHERE resource_id = $1`, [id]);
		await daemon.query('UPDATE sync_pending SET retry_at = now()');
		await becomes(id, [2, { from: 'application' }]);
		assert.equal(daemon.logText.split(`the change of note:${id} `).length, 2, 'logged once');
	});

	test('a change that is not valid does not replace a newer one of a client', async (t) => {
		const own = await session(t), id = fresh();
		await own.query('BEGIN');
		await own.query(...put(id, { from: 'application' }));
		ok(await server.post('changes', { client_id: 'c1', mutations: [upsert(id, { state: 'paid' }, 0)] }));
		await own.query('COMMIT');
		const [refused] = ok(await server.post('changes', { client_id: 'c1', mutations: [upsert(id, {}, null)] })).results;
		assert.equal(refused.status, 422);
		assert.equal(await pending(), 1);
		const [done] = ok(await server.post('changes', { client_id: 'c1', mutations: [upsert(id, { refund: 1 }, 1)] })).results;
		assert.equal(done.version, 2, JSON.stringify(done));
		assert.equal(await pending(), 0);
		assert.deepEqual(await state(id), [2, { refund: 1 }]);
	});
});
