// SPDX-License-Identifier: MIT
// Nothing that is published from SQL waits for the fallback: here the fallback runs
// once an hour, so an event that arrives was announced by NOTIFY, or found by polling.
import { test, describe, before, after } from 'node:test';
import assert from 'node:assert/strict';
import pg from 'pg';
import { startCluster, startDaemon, query, waitFor } from '../lib/harness.mjs';

const HOUR_MS = 3600000;
const CHANNEL = 'private-client.1';

const publish = (client, event, data = {}) =>
	client.query('SELECT broadcast($1, $2, $3)', [CHANNEL, event, data]);

/** Whether the daemon polls: it holds the lock "polling" then. */
const polls = async (daemon) => (await daemon.query(`SELECT FROM pg_locks
	WHERE locktype = 'advisory' AND objid = lock_key('polling')::oid AND mode = 'ExclusiveLock' AND granted
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)).length > 0;

/** Publishes from four sessions until stop() is called; {sent, stop()}. */
function burst(daemon) {
	const run = { sent: 0, stopped: false };
	const publishers = Array.from({ length: 4 }, async () => {
		const client = await daemon.session();
		while (!run.stopped) await publish(client, 'Burst', { n: ++run.sent });
		await client.end();
	});
	run.stop = async () => {
		run.stopped = true;
		await Promise.all(publishers);
	};
	return run;
}

describe('wake-ups without the fallback poll', () => {
	let daemon, wire, late;
	before(async () => {
		daemon = await startDaemon({ database: { sql_fallback_ms: HOUR_MS } });
		wire = await daemon.connect();
		await wire.subscribe(CHANNEL);
		late = await daemon.session();
	});
	after(async () => {
		await late.end();
		await daemon.stop();
	});

	test('an event inserted during polling and committed afterwards is delivered', async () => {
		const run = burst(daemon);
		await waitFor(() => polls(daemon), 'polling');
		await late.query('BEGIN');
		await publish(late, 'Late');
		await run.stop();
		await waitFor(async () => !await polls(daemon), 'no polling');
		await late.query('COMMIT');
		await wire.next({ event: 'Late' });
		await waitFor(() => wire.all({ event: 'Burst' }).length >= run.sent, 'the burst');
		assert.equal(wire.all({ event: 'Burst' }).length, run.sent);
	});

	test('an open transaction that published does not stop polling', async () => {
		await late.query('BEGIN');
		await publish(late, 'Open');
		const run = burst(daemon);
		await waitFor(() => polls(daemon), 'polling');
		await run.stop();
		await late.query('COMMIT');
		await wire.next({ event: 'Open' });
	});

	test('an event inserted before the polling connection is cut is delivered', async () => {
		const run = burst(daemon);
		await waitFor(() => polls(daemon), 'polling');
		await late.query('BEGIN');
		await publish(late, 'Orphan');
		await run.stop();
		await daemon.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE application_name = 'scopewired' AND datname = current_database()`);
		await publish(late, 'Beside');
		await waitFor(async () => !await polls(daemon), 'no polling');
		await late.query('COMMIT');
		await wire.next({ event: 'Beside' });
		assert.equal(wire.all({ event: 'Orphan' }).length, 1);
	});

	test('an event is delivered after another node releases the lock of the drain', async () => {
		await waitFor(async () => !await polls(daemon), 'no polling');
		await late.query('BEGIN; LOCK TABLE log_lock_drain IN EXCLUSIVE MODE');
		await daemon.query(`SELECT broadcast($1, 'Waiting', '{}')`, [CHANNEL]);
		const tried = () => daemon.query(`SELECT query_start FROM pg_stat_activity
			WHERE application_name = 'scopewired' AND query LIKE '%drain(%'
			AND datname = current_database() AND query_start > now() - interval '1 s'`);
		await waitFor(async () => (await tried()).length, 'a look');
		await late.query('ROLLBACK');
		await wire.next({ event: 'Waiting' });
	});

	test('the daemon retries when the lock of the serials is held for too long', async () => {
		await late.query('BEGIN; LOCK TABLE log_lock_serials IN EXCLUSIVE MODE');
		await daemon.query(`SELECT broadcast($1, 'Blocked', '{}')`, [CHANNEL]);
		const attempts = new Set();
		await waitFor(async () => {
			const rows = await daemon.query(`SELECT a.query_start::text AS at
				FROM pg_locks l JOIN pg_stat_activity a USING (pid)
				WHERE l.relation = 'log_lock_serials'::regclass AND NOT l.granted
				AND a.datname = current_database()`);
			for (const row of rows) attempts.add(row.at);
			return attempts.size > 1;
		}, 'a second attempt');
		await late.query('ROLLBACK');
		await wire.next({ event: 'Blocked' });
	});
});

test('drained rows are not scanned again while an old snapshot is open', async (t) => {
	const daemon = await startDaemon({}, t);
	const old = await daemon.session();
	t.after(() => old.end());
	await old.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
	await old.query('SELECT FROM realtime_events');
	const mark = async () => (await daemon.query(`SELECT low::int, (SELECT max(id)::int
		FROM realtime_events) AS last FROM drain_mark`))[0];
	await daemon.query(`SELECT broadcast('c', 'E', '{}') FROM generate_series(1, 5000)`);
	await waitFor(async () => (await mark()).last >= 5000, 'the drain');
	const { last } = await mark();
	await waitFor(async () => {
		await daemon.query(`SELECT broadcast('c', 'E', '{}')`);
		return (await mark()).low >= last;
	}, 'the mark behind them');
	const [{ low }] = await daemon.query('SELECT low FROM drain_mark');
	const rows = await daemon.query(`SELECT FROM realtime_events WHERE serial = 0 AND id <= $1`,
		[low]);
	assert.equal(rows.length, 0);
	// Who has an id below the mark's next place and commits late is waited for.
	const late = await daemon.session();
	t.after(() => late.end());
	await late.query('BEGIN');
	await late.query(`SELECT broadcast('c', 'Late', '{}')`);
	const [{ id }] = (await late.query(`SELECT id::int FROM realtime_events
		WHERE serial = 0 AND event_type = 'Late'`)).rows;
	for (let n = 0; n < 20; n++) {
		await daemon.query(`UPDATE drain_mark SET at = '-infinity'`);
		await daemon.query(`SELECT broadcast('c', 'E', '{}')`);
		await waitFor(async () => !(await daemon.query(
			'SELECT FROM realtime_events_pending')).length, 'the drain');
	}
	assert.ok((await mark()).low < id, 'the mark stays below who may yet commit');
	await late.query('COMMIT');
	await waitFor(async () => (await daemon.query(
		`SELECT FROM realtime_events WHERE event_type = 'Late' AND serial > 0`)).length, 'Late');
});

test('a NOTIFY queue that fills up is logged', async (t) => {
	const cluster = await startCluster();
	t.after(() => cluster.stop());
	await query(cluster.socket, 'postgres', 'CREATE DATABASE queue OWNER scopewire', [], 'postgres');
	const listener = new pg.Client({ host: cluster.socket, database: 'queue', user: 'scopewire',
		port: 5432 });
	await listener.connect();
	await listener.query('LISTEN elsewhere');
	await listener.query('BEGIN'); // from here on it takes nothing
	for (let n = 0; n < 20; n++)
		await query(cluster.socket, 'queue', `SELECT pg_notify('elsewhere', repeat($1, 7000))`,
			[String(n % 10)]);
	const [{ usage }] = await query(cluster.socket, 'queue',
		'SELECT pg_notification_queue_usage() AS usage');
	assert.ok(usage > 0, 'the queue holds something');
	const database = { host: cluster.socket, name: 'queue', user: 'scopewire' };
	const calm = await startDaemon({ databaseMode: 'none', database }, t);
	await waitFor(() => query(cluster.socket, 'queue', 'SELECT FROM node_cursor').then(
		(rows) => rows.length > 0), 'upkeep');
	assert.doesNotMatch(calm.logText, /queue of notifications/);
	await calm.stop();
	const daemon = await startDaemon({ databaseMode: 'none',
		database: { ...database, notify_queue_alarm: 0 } }, t);
	await waitFor(() => /queue of notifications is \d+ % full/.test(daemon.logText), 'the alarm');
	await listener.end();
});
