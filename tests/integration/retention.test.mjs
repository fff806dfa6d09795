// SPDX-License-Identifier: MIT
// The log's old partitions go by age and by size while SQL and HTTP publish; what is kept is
// whole, in order, and with the sockets; a detach that was cut short is finished.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import pg from 'pg';
import { startDaemon, waitFor } from '../lib/harness.mjs';

const ROWS = 1000; // the smallest partition_rows

/** A daemon whose partitions are small from the first serial on. */
async function start(t, database) {
	const daemon = await startDaemon({ database: { partition_rows: ROWS, ...database } }, t);
	const end = Number((await one(daemon, `SELECT log_partition_end('realtime_events') AS v`)).v);
	// The migration's own partitions are of a million.
	await daemon.query(`SELECT setval('realtime_events_serial', $1)`, [end - 1]);
	await daemon.restart();
	await waitFor(async () => (await one(daemon,
		`SELECT log_partition_end('realtime_events') > $1 AS v`, [end])).v, 'small partitions');
	return Object.assign(daemon, { first: end });
}

/** How many serials one publish of this file takes at most. */
const MOST_AT_ONCE = 100;

const one = async (daemon, sql, values) => (await daemon.query(sql, values))[0];
const bounds = async (daemon) => (await daemon.query(`SELECT lower::int, upper::int
	FROM log_partitions WHERE parent = 'realtime_events' AND lower IS NOT NULL ORDER BY lower`));
const horizon = async (daemon) => Number((await one(daemon, 'SELECT log_horizon() AS v')).v);
const KEPT = `SELECT serial::int, (payload->>'n')::int AS n FROM realtime_events ORDER BY serial`;
const kept = (daemon) => daemon.query(KEPT);

function session(daemon) {
	const { host, name, user } = daemon.database;
	const client = new pg.Client({ host, database: name, user, port: 5432,
		options: '-c search_path=scopewire,public' });
	client.on('error', () => {});
	return client.connect().then(() => client);
}

/**
 * Runs check(query) in one snapshot of a moment at which no partition is leaving.  The daemon may
 * choose further ones at any time; it cannot drop one while the transaction has locks on them.
 */
async function atRest(daemon, check) {
	const client = await session(daemon);
	const query = async (sql, values) => (await client.query(sql, values)).rows;
	try {
		return await waitFor(async () => {
			await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
			await client.query('LOCK TABLE realtime_events, realtime_deliveries IN ACCESS SHARE MODE');
			const isAtRest = !(await query('SELECT FROM log_leaving')).length;
			const result = isAtRest && { value: await check(query) };
			await client.query('COMMIT');
			return result;
		}, 'no partition is leaving', 120000).then((result) => result.value);
	} finally {
		await client.end();
	}
}

/**
 * Partitions of the log and of its delivery records have the same bounds, and none is loose.  The
 * result of check(query, first serial), in the same snapshot.
 */
const assertWhole = (daemon, check = () => undefined) => atRest(daemon, async (query) => {
	const loose = await query(`SELECT c.relname FROM pg_class c
		WHERE c.relname ~ '^realtime_(events|deliveries)_\\d+$' AND c.relkind = 'r'
		AND c.oid NOT IN (SELECT inhrelid FROM pg_inherits)`);
	assert.deepEqual(loose, []);
	const odd = await query(`SELECT lower, upper, count(*) FROM log_partitions
		WHERE lower IS NOT NULL GROUP BY 1, 2 HAVING count(*) <> 2`);
	assert.deepEqual(odd, []);
	const parts = await query(`SELECT DISTINCT lower::int, upper::int FROM log_partitions
		WHERE parent = 'realtime_events' AND lower IS NOT NULL ORDER BY lower`);
	parts.forEach((p, i) => assert.ok(!i || p.lower >= parts[i - 1].upper));
	const [{ low }] = await query('SELECT log_horizon()::int AS low');
	// Serials of publishes that failed because there was no partition yet are in none.
	assert.ok(low < parts[0].lower && low >= parts[0].lower - 1 - MOST_AT_ONCE, `${low}, ${parts[0].lower}`);
	await check(query, low);
});

/** Publishes through both ways until stop() is called; every event carries its number. */
function publishing(daemon) {
	let n = 0, running = true;
	const numbers = { sql: [], http: [] };
	const api = daemon.api();
	const http = (async () => {
		while (running) {
			const batch = Array.from({ length: 10 }, () => ++n);
			const answer = await api.post('/batch_events', { batch: batch.map((m) =>
				({ name: 'Http', channel: 'c', data: JSON.stringify({ n: m }) })) });
			assert.equal(answer.status, 200, answer.text);
			numbers.http.push(...batch);
		}
	})();
	const sql = (async () => {
		const client = await session(daemon);
		while (running) {
			const from = n + 1;
			n += 100;
			await client.query(`SELECT broadcast('c', 'Sql', json_build_object('n', m))
				FROM generate_series($1::int, $2::int) m`, [from, from + 99]);
			numbers.sql.push(...Array.from({ length: 100 }, (_, i) => from + i));
		}
		await client.end();
	})();
	return { numbers, get n() { return n; },
		stop: async () => { running = false; await Promise.all([http, sql]); } };
}

test('partitions are dropped by size during publishing, and no event is missed', async (t) => {
	const daemon = await start(t, { retention_size: 4 });
	const wire = await daemon.connect();
	await wire.subscribe('c');
	const work = publishing(daemon);
	const target = daemon.first + 8 * ROWS;
	await waitFor(async () => await horizon(daemon) >= target, 'eight partitions gone', 120000);
	await work.stop();
	const { http, sql } = work.numbers;
	await waitFor(() => wire.all((f) => f.event === 'Http' || f.event === 'Sql').length >=
		http.length + sql.length, 'all events');

	const frames = wire.all((f) => f.event === 'Http' || f.event === 'Sql');
	const seen = frames.map((f) => JSON.parse(f.data).n);
	assert.deepEqual([...seen].sort((a, b) => a - b), [...http, ...sql].sort((a, b) => a - b));
	frames.forEach((f, i) => assert.ok(!i || f.serial > frames[i - 1].serial));

	// What is kept is just what went to the socket above the horizon.
	await assertWhole(daemon, async (query, low) => assert.deepEqual(
		(await query(KEPT)).map((r) => r.n),
		frames.filter((f) => f.serial > low).map((f) => JSON.parse(f.data).n)));
	await waitFor(async () => (await one(daemon, `SELECT count(*) = count(*) FILTER
		(WHERE d.sockets = 1) AS v FROM realtime_events e
		LEFT JOIN realtime_deliveries d USING (serial)`)).v, 'the delivery records of what is kept');
});

test('partitions are dropped by age, also in a quiet log', async (t) => {
	const daemon = await start(t, { retention_age: '10h' });
	const publish = (n) => daemon.query(`SELECT broadcast('c', 'E', json_build_object('n', $1::int))`,
		[n]);
	const age = (hours) => daemon.query(`UPDATE realtime_events SET delivered_at =
		delivered_at - $1 * interval '1 hour' WHERE delivered`, [hours]);
	const sequenced = (n) => waitFor(async () => (await one(daemon, `SELECT count(*)::int AS n
		FROM realtime_events WHERE delivered AND (payload->>'n')::int = $1`, [n])).n, `event ${n}`);
	await publish(1);
	await sequenced(1);
	const [row] = await kept(daemon);
	assert.equal(row.serial, daemon.first);

	// Old enough to close the partition (an eighth), too young to go.
	await age(2);
	await waitFor(async () => (await one(daemon, 'SELECT log_next_serial()::int AS v')).v ===
		daemon.first + ROWS, 'the next partition');
	await publish(2);
	await sequenced(2);
	assert.deepEqual((await kept(daemon)).map((r) => r.serial),
		[daemon.first, daemon.first + ROWS]);

	await daemon.query(`UPDATE realtime_events SET delivered_at = delivered_at - interval '9 hour'
		WHERE serial = $1`, [daemon.first]);
	await waitFor(async () => await horizon(daemon) === daemon.first + ROWS - 1, 'the first to go');
	await assertWhole(daemon);
	assert.deepEqual((await kept(daemon)).map((r) => r.n), [2]);

	// A log without new events is removed too, and continues at its last serial.
	await age(11);
	await waitFor(async () => await horizon(daemon) === daemon.first + 2 * ROWS - 1, 'all to go');
	const wire = await daemon.connect();
	await wire.subscribe('c');
	await publish(3);
	assert.equal((await wire.next({ event: 'E' })).serial, daemon.first + 2 * ROWS);
	await assertWhole(daemon);
});

test('a reading transaction keeps its partition, and kill -9 during a drop loses nothing',
	async (t) => {
		const daemon = await start(t, { retention_size: 1 });
		// The migration's own partitions would go first, and be the ones that wait.
		for (const { leaf } of await daemon.query(`SELECT leaf FROM log_partitions
			WHERE lower IS NOT NULL AND upper <= $1`, [daemon.first]))
			await daemon.query(`DROP TABLE ${leaf}`);
		const reader = await session(daemon);
		t.after(() => reader.end());
		const publish = async (from, to) => {
			await daemon.query(`SELECT broadcast('c', 'E', json_build_object('n', n))
				FROM generate_series($1::int, $2::int) n`, [from, to]);
			await waitFor(async () => (await one(daemon, `SELECT max((payload->>'n')::int) AS n
				FROM realtime_events WHERE delivered`)).n === to, 'the last one');
		};
		await publish(1, 500);
		await reader.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
		assert.equal((await reader.query('SELECT count(*)::int AS n FROM realtime_events'))
			.rows[0].n, 500);
		await publish(501, 3500);
		const pending = () => daemon.query(`SELECT FROM log_leaving JOIN log_partitions USING (leaf)
			WHERE lower = $1`, [daemon.first]);
		for (let round = 0; round < 3; round++) {
			await waitFor(async () => (await pending()).length, 'a partition that waits');
			// The reader's snapshot is whole, and the horizon was published before.
			assert.equal((await reader.query('SELECT count(*)::int AS n FROM realtime_events'))
				.rows[0].n, 500);
			assert.ok(await horizon(daemon) >= daemon.first);
			await daemon.kill();
			await publish_while_down(daemon, 3501 + round * 10);
			await daemon.start();
		}
		assert.equal((await pending()).length, 2, 'of events and of delivery records');
		await reader.query('COMMIT');
		await assertWhole(daemon, async (query, low) => {
			const rows = await query(KEPT);
			assert.ok(rows.every((r) => r.serial > low));
			// A row for each number from the first kept one to the last, in order.
			assert.deepEqual(rows.map((r) => r.n),
				Array.from({ length: 3530 - rows[0].n + 1 }, (_, i) => rows[0].n + i));
		});
	});

/** Ten events, numbered from from on, that the daemon finds at its start. */
function publish_while_down(daemon, from) {
	return daemon.query(`SELECT broadcast('c', 'E', json_build_object('n', n))
		FROM generate_series($1::int, $1::int + 9) n`, [from]);
}

test('a partition waits for a live node that has not delivered it, not for a dead one', async (t) => {
	const daemon = await start(t, { retention_size: 1 });
	await daemon.query(`INSERT INTO node_cursor (node, epoch, serial)
		SELECT 'other', epoch, $1 FROM log_meta`, [daemon.first]);
	await daemon.query(`SELECT broadcast('c', 'E', json_build_object('n', n))
		FROM generate_series(1, 5000) n`);
	await waitFor(async () => (await one(daemon, `SELECT max((payload->>'n')::int) AS n
		FROM realtime_events WHERE delivered`)).n === 5000, 'the last one');
	await daemon.restart(); // it looks at once
	await waitFor(async () => (await one(daemon, `SELECT count(*)::int AS n FROM node_cursor
		WHERE at > now() - interval '5 s' AND node <> 'other'`)).n, 'its cursor');
	const due = () => one(daemon, 'SELECT retention_cut(0, 1) AS v');
	assert.ok(Number((await due()).v ?? 0) <= daemon.first); // the migration's empty ones may go
	assert.ok(await horizon(daemon) < daemon.first);
	await daemon.query(`UPDATE node_cursor SET at = now() - interval '1 hour' WHERE node = 'other'`);
	await waitFor(async () => await horizon(daemon) >= daemon.first + 4 * ROWS - 1, 'what is old');
});

test('a partition that an administrator detached is not dropped', async (t) => {
	const daemon = await start(t, { retention_size: 1 });
	await daemon.stop();
	await daemon.query(`SELECT ensure_partitions(4, ${ROWS})`);
	const [first] = await bounds(daemon);
	const leaf = `realtime_events_${String(first.lower).padStart(12, '0')}`;
	await daemon.query(`ALTER TABLE realtime_events DETACH PARTITION ${leaf}`);
	await daemon.start();
	const next = (await bounds(daemon))[0].lower;
	await waitFor(async () => await horizon(daemon) >= next - 1, 'the horizon to be raised');
	assert.equal((await one(daemon, `SELECT to_regclass($1) IS NOT NULL AS is_there`, [leaf]))
		.is_there, true);
});

test('what needs the newest events locks the newest partitions only', async (t) => {
	const daemon = await start(t, {});
	const app = daemon.app.id;
	await daemon.query(`SELECT ensure_partitions(100, ${ROWS})`);
	let last;
	const publish = async (id, toTheEnd) => {
		await daemon.query(`SELECT setval('realtime_events_serial', log_partition_end('realtime_events') - $1)`,
			[toTheEnd]);
		await daemon.query(`SELECT broadcast('cache-c', 'E', '{}', event_id => $1)`, [id]);
		last = await waitFor(async () => (await one(daemon, `SELECT serial AS v FROM realtime_events
			WHERE event_id = $1 AND serial > 0`, [id]))?.v, 'the event in the log');
	};
	await publish('of-two-hours-ago', 2 * ROWS);
	await daemon.query(`UPDATE realtime_events SET created_at = created_at - interval '2 h',
		delivered_at = delivered_at - interval '2 h' WHERE serial > 0`);
	await publish('newest', 10);
	const epoch = (await one(daemon, 'SELECT epoch FROM log_meta')).epoch;
	const client = await session(daemon);
	t.after(() => client.end());
	const events = (channels) => `SELECT body::json->>'position' AS v FROM sync_events('${app}',
		'{"server":true}', '${JSON.stringify(channels)}', NULL, NULL, '${epoch}:${last - 1}', NULL, NULL,
		NULL, NULL, false, 10, NULL)`;
	const calls = [
		['log_begin()', 'SELECT count(log_begin(NULL, NULL, NULL))::text AS v', '1'],
		['position()', 'SELECT scopewire.position() AS v', `${epoch}:${last}`],
		['GET events', events([]), `${epoch}:${last}`],
		['GET events of a channel', events(['cache-c']), `${epoch}:${last}`],
		['the last event of a cache channel',
			`SELECT serial::text AS v FROM replay_cached('${app}', true, 'cache-c', 3600)`, String(last)],
		['a cache channel without an event',
			`SELECT count(*)::text AS v FROM replay_cached('${app}', true, 'cache-d', 3600)`, '0'],
		['an answer with a serial',
			`SELECT body::json->>'serial' AS v FROM answer_with_serial('${app}', '{"event_id":"newest"}')`,
			String(last)],
	];
	for (const [name, sql, value] of calls) {
		// More than the five executions after which PostgreSQL may plan without the values.
		for (let i = 0; i < 7; i++) {
			await client.query('BEGIN');
			assert.equal((await client.query(sql)).rows[0].v, value, name);
			const { rows } = await client.query(`SELECT DISTINCT c.relname FROM pg_locks l
				JOIN pg_class c ON c.oid = l.relation WHERE l.pid = pg_backend_pid()
				AND c.relname ~ '^realtime_events_\\d+$'`);
			await client.query('ROLLBACK');
			assert.ok(rows.length >= 1 && rows.length < 10, `${name}, call ${i}: ${rows.length} partitions`);
		}
	}
});
