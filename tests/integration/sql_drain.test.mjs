// SPDX-License-Identifier: MIT
// Draining what SQL published: cut short by kill -9, a large backlog beside HTTP publishes, mixed
// with async ones, and checks that no search_path of a caller gets around.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { binaries, query, startDaemon, waitFor } from '../lib/harness.mjs';

const GRANTS = fileURLToPath(new URL('../../sql/grants.sql', import.meta.url));
const upTo = (n) => Array.from({ length: n }, (_, i) => i + 1);
const numbers = (wire, event) => wire.all({ event }).map((f) => JSON.parse(f.data).n);

const publishMany = (daemon, channel, n) => daemon.query(`SELECT broadcast($1, 'Many',
	json_build_object('n', n)) FROM generate_series(1, $2::integer) n`, [channel, n]);

const progress = async (daemon) => (await daemon.query(`SELECT
	count(*) FILTER (WHERE serial = 0)::int AS waiting,
	count(*) FILTER (WHERE serial > 0)::int AS drained FROM realtime_events`))[0];

/** Every event of publishMany() has one serial, and serials rise in the order of n. */
async function assertDrained(daemon, n) {
	const rows = await daemon.query(`SELECT (payload->>'n')::int AS n FROM realtime_events
		WHERE event_type = 'Many' AND serial > 0 ORDER BY serial`);
	assert.deepEqual(rows.map((row) => row.n), upTo(n));
}

test('kill -9 in the middle of a drain loses and repeats no event', async (t) => {
	const COUNT = 30000;
	const daemon = await startDaemon({}, t);
	const wire = await daemon.connect();
	await wire.subscribe('c');
	// While the lock of the serials goes from one session to the other, the drainer gets it for a batch at most between them.
	let [holder, next] = [await daemon.session(), await daemon.session()];
	const lock = (session) => session.query('BEGIN; LOCK TABLE log_lock_serials IN EXCLUSIVE MODE');
	await lock(holder);
	await publishMany(daemon, 'c', COUNT);
	await waitFor(async () => {
		await waitFor(async () => await daemon.lockWaiters('relation') > 0, 'the drainer waits');
		const taken = lock(next);
		await waitFor(async () => await daemon.lockWaiters('relation') > 1, 'the other session waits, too');
		await holder.query('COMMIT');
		await taken;
		[holder, next] = [next, holder];
		return (await progress(daemon)).drained > 0;
	}, 'the drain to begin');
	const { waiting, drained } = await progress(daemon);
	assert.ok(waiting > 0 && drained > 0, `in the middle: ${drained} drained, ${waiting} wait`);
	await holder.query('COMMIT');
	await daemon.kill();
	const seen = numbers(wire, 'Many');
	assert.deepEqual(seen, upTo(seen.length), 'the first ones, in order, once');
	await daemon.start();
	await waitFor(async () => (await progress(daemon)).waiting === 0, 'all drained');
	await assertDrained(daemon, COUNT);
});

test('a large backlog is drained while HTTP publishes', async (t) => {
	const COUNT = 100000;
	// Far below what the backlog takes in all, far above what one publish should wait.
	const daemon = await startDaemon({ database: { commit_timeout_ms: 10000 } }, t);
	await daemon.stop();
	await publishMany(daemon, 'backlog', COUNT);
	await daemon.start();
	const wire = await daemon.connect();
	await wire.subscribe('http');
	let beside = 0;
	for (let n = 1; n <= 20; n++) {
		const { status } = await daemon.api().trigger('http', 'Http', { n });
		assert.equal(status, 200);
		if ((await progress(daemon)).waiting > 0) beside++;
	}
	t.diagnostic(`${beside} of 20 were acknowledged while the backlog was drained`);
	await wire.next({ event: 'Http', data: { n: 20 } });
	assert.deepEqual(numbers(wire, 'Http'), upTo(20));
	await waitFor(async () => (await progress(daemon)).waiting === 0, 'all drained');
	await assertDrained(daemon, COUNT);
});

test('async HTTP and SQL events on one channel are delivered in the order of serials', async (t) => {
	const daemon = await startDaemon({ app: { channel_durability: 'async-*:async' } }, t);
	const wires = await Promise.all([1, 2].map(() => daemon.connect()));
	for (const wire of wires) await wire.subscribe('async-1');
	const api = daemon.api();
	const { host, name, user } = daemon.database;
	const client = new pg.Client({ host, database: name, user, port: 5432,
		options: '-c search_path=scopewire,public' });
	await client.connect();
	t.after(() => client.end());
	const http = async () => {
		for (let n = 1; n <= 300; n++)
			assert.equal((await api.trigger('async-1', 'Http', { n })).status, 200);
	};
	const sql = async () => {
		for (let n = 1; n <= 300; n++)
			await client.query(`SELECT broadcast('async-1', 'Sql', $1)`, [{ n }]);
	};
	await Promise.all([http(), sql()]);
	for (const wire of wires) {
		await waitFor(() => wire.all({ event: 'Sql' }).length >= 300
			&& wire.all({ event: 'Http' }).length >= 300, 'all of both');
		assert.deepEqual(numbers(wire, 'Http'), upTo(300));
		assert.deepEqual(numbers(wire, 'Sql'), upTo(300));
		const serials = wire.all({ event: 'Sql' }).map((frame) => frame.serial);
		assert.ok(serials.every((serial, i) => !i || serial > serials[i - 1]));
	}
	await waitFor(async () => (await progress(daemon)).drained === 600, 'both in the log');
	const rows = await daemon.query(`SELECT event_type, array_agg((payload->>'n')::int
		ORDER BY serial) AS n FROM realtime_events GROUP BY 1`);
	for (const row of rows) assert.deepEqual(row.n, upTo(300), row.event_type);
});

test('no search_path of a caller bypasses the checks', async (t) => {
	const daemon = await startDaemon({}, t);
	const { host, name } = daemon.database;
	const role = `path_${name}`;
	const owner = (text) => query(host, name, text, [], 'postgres');
	await owner(`CREATE ROLE ${role} LOGIN`);
	await owner(`CREATE SCHEMA own AUTHORIZATION ${role}`);
	execFileSync(path.join(binaries(), 'psql'), ['-X', '-q', '-h', host, '-U', 'scopewire',
		'-v', `role=${role}`, '-v', 'schema=scopewire', '-f', GRANTS, name], { stdio: 'pipe' });
	const client = new pg.Client({ host, database: name, user: role, port: 5432 });
	await client.connect();
	t.after(() => client.end());
	await client.query(`SET search_path = own, pg_catalog`);
	await client.query(`CREATE FUNCTION own.yes(text, text) RETURNS boolean LANGUAGE sql
			AS 'SELECT true';
		CREATE FUNCTION own.octet_length(text) RETURNS integer LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION own.less(integer, integer) RETURNS boolean LANGUAGE sql
			AS 'SELECT true';
		CREATE OPERATOR own.~ (LEFTARG = text, RIGHTARG = text, FUNCTION = own.yes);
		CREATE OPERATOR own.!~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = own.yes);
		CREATE OPERATOR own.<= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = own.less);
		CREATE DOMAIN own.text AS pg_catalog.text DEFAULT 'x';
		CREATE TABLE own.log_apps (app pg_catalog.text, is_default boolean DEFAULT true,
			max_channel_bytes integer DEFAULT 0, max_event_bytes integer DEFAULT 0,
			max_payload_bytes integer DEFAULT 0);
		INSERT INTO own.log_apps VALUES ('other')`);
	const refused = async (sql, code) => {
		const error = await client.query(sql).then(() => assert.fail(`${sql}: taken`), (e) => e);
		assert.equal(error.code, code, `${sql}: ${error.message}`);
	};
	await refused(`SELECT scopewire.broadcast('a b', 'E', '{}')`, '22023');
	await refused(`SELECT scopewire.broadcast('a', 'pusher:error', '{}')`, '22023');
	await refused(`SELECT scopewire.broadcast(repeat('a', 201), 'E', '{}')`, '22001');
	await refused(`SELECT scopewire.broadcast('a', 'E', '{}', 'an id')`, '22023');
	await refused(`INSERT INTO scopewire.realtime_events(channel, event_type, payload)
		VALUES ('a b', 'E', '{}')`, '22023');
	await client.query(`SELECT scopewire.broadcast('a', 'E', '{}')`);
	const [row] = await daemon.query('SELECT app FROM realtime_events');
	assert.equal(row.app, 'client-portal');
	await client.end();
	await owner(`DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`);
});
