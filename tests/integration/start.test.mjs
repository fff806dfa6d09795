// SPDX-License-Identifier: MIT
// The start: what it waits for, that a signal ends it, one daemon at a time on a database, a
// database that comes later, and the answers of /ready.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import http from 'node:http';
import path from 'node:path';
import pg from 'pg';
import { fileURLToPath } from 'node:url';
import { Daemon, PROGRAM, Sync, end, freePort, logged, newDatabase, query, start, startCluster, startDaemon,
	startPooler, tempFolder, useEverything, waitFor } from '../lib/harness.mjs';

const MIGRATE_LOCK = fs.readFileSync(new URL('../../src/pg/locks.h', import.meta.url), 'utf8')
	.match(/PG_LOCK_MIGRATE = (\d+);/)[1];
const EX = { OK: 0, DATAERR: 65, UNAVAILABLE: 69, OSERR: 71, CONFIG: 78 };

/** A daemon that is not started yet, stopped after the test. */
function other(t, database, options = {}) {
	const daemon = new Daemon(options);
	daemon.database = database;
	t.after(() => daemon.child && end(daemon.child, 'SIGKILL'));
	return daemon;
}

const ready = async (daemon) => {
	const { status, text } = await daemon.http('/ready');
	assert.equal(text, status === 200 ? '{"ready":true}' : '{"ready":false}');
	return status;
};

/** Spawns the daemon, waits for the line, sends the signal, and expects a clean end. */
async function endsAtOnce(daemon, line, signal) {
	await daemon.spawn();
	await logged(daemon.child, line);
	const { code } = await end(daemon.child, signal);
	assert.equal(code, EX.OK, daemon.child.log);
	assert.doesNotMatch(daemon.child.log, / ready: | error: /);
}

describe('one daemon at a time uses a database', { concurrency: 2 }, () => {
	test('a second one exits, names the first, and changes nothing of it', async (t) => {
		const first = await startDaemon({ server: { node: 'first-node' } }, t);
		const second = other(t, first.database, { app: { id: 'other', key: 'other' },
			database: { takeover_wait_s: 5 } });
		await second.spawn();
		await logged(second.child, /still waiting after \d+ s for the end of the daemon .*first-node/);
		const { code } = await second.child.ended;
		assert.equal(code, EX.UNAVAILABLE, second.child.log);
		for (const part of [/another daemon uses this database/, /first-node/, /listens on 127\.0\.0\.1:\d/,
			new RegExp(`process ${first.pid}\\b`), /since \d{4}-\d\d-\d\d \d\d:/, /client-portal/])
			assert.match(second.child.log.split('\n').find((line) => / error: /.test(line)), part);
		assert.deepEqual(await first.query('SELECT app FROM log_apps'), [{ app: 'client-portal' }]);
		await first.query(`SELECT broadcast('c', 'E', '{}', app => 'client-portal')`);
		assert.equal((await first.api().trigger('c', 'E', '{}')).status, 200);
		assert.equal(await ready(first), 200);
	});

	test('a second one takes over as soon as the first has ended', async (t) => {
		const first = await startDaemon({}, t);
		const second = other(t, first.database, { app: { id: 'other', key: 'other' } });
		await second.spawn();
		await logged(second.child, /still waiting after \d+ s for the end of the daemon/);
		await first.stop();
		second.port = Number((await logged(second.child, /ready: listening on \S+:(\d+)/))[1]);
		assert.equal((await second.api().trigger('c', 'E', '{}')).status, 200);
		await waitFor(async () => (await second.query('SELECT app FROM log_apps')).every(
			({ app }) => app === 'other'), 'the applications of the second');
		await second.stop();
	});

	for (const pooled of [false, true])
		test(`one that was killed is not waited for${pooled ? ', behind a pool of sessions either' : ''}`,
			async (t) => {
				const database = await newDatabase();
				const pooler = pooled && await startPooler(database);
				if (pooler) t.after(() => end(pooler.child, 'SIGTERM'));
				const first = other(t, database, { database: { takeover_wait_s: 0,
					...pooler && { dsn: pooler.dsn } } });
				await first.start();
				await first.kill();
				await waitFor(async () => (await query(database.host, database.name,
					`SELECT FROM daemon WHERE daemon_is_alive(backend, mark)`)).length === 0,
				'the end of its session');
				await first.start();
				assert.equal((await first.api().trigger('c', 'E', '{}')).status, 200);
				await first.stop();
			});

	test('one whose session is lost takes the database again, and a waiting one does not', async (t) => {
		const first = await startDaemon({}, t);
		const second = other(t, first.database, { app: { id: 'other', key: 'other' } });
		await second.spawn();
		await logged(second.child, /still waiting after \d+ s for the end of the daemon/);
		for (let i = 0; i < 3; i++) {
			const [{ backend }] = await first.query('SELECT backend FROM daemon');
			await first.query('SELECT pg_terminate_backend($1)', [backend]);
			await waitFor(async () => (await first.query(`SELECT FROM daemon WHERE backend <> $1
				AND daemon_is_alive(backend, mark)`, [backend])).length === 1, 'a new session');
		}
		await waitFor(async () => await ready(first) === 200, 'the first is ready');
		assert.doesNotMatch(second.child.log, /ready: /);
		await end(second.child, 'SIGTERM');
		assert.doesNotMatch(first.logText, /another daemon now uses the database/);
	});

	test('one that lost the database to another one ends', async (t) => {
		const first = await startDaemon({}, t);
		const session = await first.session();
		t.after(() => session.end());
		await session.query(`SELECT pg_advisory_lock(lock_key('daemon'), 1)`);
		const { child } = first;
		await session.query(`WITH gone AS (SELECT backend FROM daemon)
			UPDATE daemon SET instance = 'other', node = 'other-node', backend = pg_backend_pid(), mark = 1
			FROM gone RETURNING pg_terminate_backend(gone.backend)`);
		const { code } = await child.ended;
		assert.equal(code, EX.UNAVAILABLE, child.log);
		assert.match(child.log, /error: another daemon now uses the database: other-node/);
		first.child = null;
	});

	test('a role that holds every lock that it can hinders neither the start nor publishing', async (t) => {
		const database = await newDatabase();
		const first = other(t, database);
		await first.start();
		await first.stop();
		const owner = (sql) => query(database.host, database.name, sql, [], database.user);
		await query(database.host, 'postgres', `CREATE ROLE ${database.name} LOGIN`, [], 'postgres');
		// The row of one that did not have the time to delete it.
		await owner('DELETE FROM daemon');
		await owner(`INSERT INTO daemon (instance, backend, mark, node, process, address)
			VALUES ('gone', 1, 1, 'n', 1, 'a')`);
		const keys = (await owner(`SELECT lock_key(n) AS key FROM unnest('{polling,activities,sync_feed,
			sync_entity,viewing,daemon}'::text[]) n`)).map((row) => row.key);
		const session = await first.session.call({ database: { ...database, user: database.name } });
		t.after(() => session.end());
		for (const key of [...keys, 7775, 7777, 7778, 7779]) // the last four were the log's
			await session.query('SELECT pg_advisory_lock(n), pg_advisory_lock(n, 1) FROM (SELECT $1::integer) x (n)', [key]);
		await session.query('SELECT pg_advisory_lock(n) FROM (SELECT $1::bigint) x (n)', [MIGRATE_LOCK]);
		for (const { name } of await owner(`SELECT relname AS name FROM pg_class WHERE relname LIKE 'log\\_lock\\_%'`))
			for (const mode of ['ACCESS SHARE', 'ROW SHARE', 'EXCLUSIVE'])
				await assert.rejects(session.query(`BEGIN; LOCK TABLE scopewire.${name} IN ${mode} MODE`),
					/permission denied/).then(() => session.query('ROLLBACK'));
		await first.start();
		assert.equal(await ready(first), 200);
		const wire = await first.connect();
		await wire.subscribe('c');
		assert.equal((await first.api().trigger('c', 'FromHttp', '{}')).status, 200);
		await wire.next({ event: 'FromHttp' });
		await owner(`SELECT broadcast('c', 'FromSql', '{}')`);
		await wire.next({ event: 'FromSql' });
		await wire.close();
		await first.stop();
	});
});

describe('a start that waits logs for what, and a signal ends it', { concurrency: 2 }, () => {
	test('for the lock of migrations', async (t) => {
		const database = await newDatabase();
		const daemon = other(t, database);
		const session = await daemon.session();
		t.after(() => session.end());
		const [{ pid }] = (await session.query('SELECT pg_backend_pid() AS pid')).rows;
		await session.query(`SET application_name = 'psql'`);
		await session.query('SELECT pg_advisory_lock(n) FROM (SELECT $1::bigint) AS x (n)', [MIGRATE_LOCK]);
		const line = new RegExp(`still waiting after \\d+ s for .*migrations.* process ${pid} of the role scopewire \\(psql\\)`);
		for (const signal of ['SIGTERM', 'SIGINT']) await endsAtOnce(daemon, line, signal);
		await session.query('SELECT pg_advisory_unlock_all()');
		await daemon.start();
		await daemon.stop();
	});

	test('for a database server that does not answer', async (t) => {
		const mute = net.createServer((socket) => t.after(() => socket.destroy())).listen(0, '127.0.0.1');
		t.after(() => mute.close());
		await new Promise((resolve) => mute.once('listening', resolve));
		const daemon = other(t, { host: '127.0.0.1', port: mute.address().port },
			{ database: { connect_timeout_s: 600 } });
		await endsAtOnce(daemon, new RegExp(`still waiting after \\d+ s for .*127\\.0\\.0\\.1:${mute.address().port}`),
			'SIGTERM');
	});

	test('for the lock of migrations in a session of another role, for a bounded time', async (t) => {
		const database = await newDatabase();
		const role = `${database.name}_other`;
		await query(database.host, 'postgres', `CREATE ROLE ${role} LOGIN`, [], 'postgres');
		const holder = new pg.Client({ host: database.host, database: database.name, user: role, port: 5432 });
		await holder.connect();
		t.after(() => holder.end());
		const { rows: [{ pid }] } = await holder.query(
			'SELECT pg_backend_pid() AS pid, pg_advisory_lock(n) FROM (SELECT $1::bigint) x (n)', [MIGRATE_LOCK]);
		const daemon = other(t, database, { database: { takeover_wait_s: 1 } });
		await daemon.spawn();
		const { code } = await daemon.child.ended;
		assert.equal(code, EX.UNAVAILABLE, daemon.child.log);
		assert.match(daemon.child.log, new RegExp(`still waiting after \\d+ s for .*process ${pid} of the role ${role}|`
			+ `error: .*process ${pid} of the role ${role}`));
		assert.match(daemon.child.log, new RegExp(`error: .*migrations have to be applied, but process ${pid} of the role `
			+ `${role} .*within 1 s: end that session \\(SELECT pg_terminate_backend\\(${pid}\\)\\).*REVOKE CONNECT`));
		daemon.child = null;
		// One of the daemon's own role migrates: it is waited for.
		await holder.query('SELECT pg_advisory_unlock_all()');
		const own = new pg.Client({ host: database.host, database: database.name, user: database.user, port: 5432 });
		await own.connect();
		await own.query('SELECT pg_advisory_lock(n) FROM (SELECT $1::bigint) x (n)', [MIGRATE_LOCK]);
		daemon.options.database.takeover_wait_s = 0;
		await daemon.spawn();
		await logged(daemon.child, /still waiting after \d+ s for .*migrations/);
		await own.end();
		await logged(daemon.child, /ready: listening/);
		await daemon.stop();
	});

	test('for a statement of a migration', async (t) => {
		const database = await newDatabase();
		const daemon = other(t, database);
		const session = await daemon.session();
		t.after(() => session.end());
		await session.query(`CREATE SCHEMA scopewire; CREATE TABLE scopewire.schema_migrations (
			version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
			applied_at timestamptz NOT NULL DEFAULT now())`);
		await session.query('BEGIN; LOCK TABLE schema_migrations');
		await endsAtOnce(daemon, /still waiting after \d+ s for .*migration/, 'SIGTERM');
	});

	test('for an embedded PostgreSQL that is made or started', async (t) => {
		const daemon = new Daemon({ embedded: true });
		t.after(() => daemon.child && end(daemon.child, 'SIGKILL'));
		await endsAtOnce(daemon, /making a cluster/, 'SIGTERM');
		await daemon.start();
		await daemon.kill();
		await daemon.start();
		await daemon.stop();
	});

	test('for the end of another daemon', async (t) => {
		const first = await startDaemon({}, t);
		await endsAtOnce(other(t, first.database), /still waiting after \d+ s for the end of the daemon/, 'SIGTERM');
	});
});

describe('with required = no', { concurrency: 2 }, () => {
	test('a database that comes later is migrated and used, and /ready answers 200 then', async (t) => {
		const port = await freePort();
		const cluster = await startCluster({ listen_addresses: '127.0.0.1', port });
		await query(cluster.socket, 'postgres', 'CREATE DATABASE late OWNER scopewire', [], 'postgres', port);
		await cluster.stop();
		const daemon = await startDaemon({ databaseMode: 'none', database: { required: 'no',
			host: '127.0.0.1', port, name: 'late', user: 'scopewire' } }, t);
		const wire = await daemon.connect();
		await wire.subscribe('c');
		assert.equal((await daemon.http('/up')).status, 200);
		assert.equal(await ready(daemon), 503);
		assert.equal((await daemon.api().trigger('c', 'E', '{}')).status, 503);
		await cluster.start();
		t.after(() => cluster.stop());
		await waitFor(async () => await ready(daemon) === 200, 'ready');
		await waitFor(async () => (await daemon.api().trigger('c', 'E', '{}')).status === 200, 'published');
		await wire.next({ channel: 'c', event: 'E' });
		await query(cluster.socket, 'late', `SELECT broadcast('c', 'FromSql', '{}')`, [], 'scopewire', port);
		await wire.next({ channel: 'c', event: 'FromSql' });
		assert.match(daemon.logText, /starting without a database: .*refused/);
	});

	test('clients of an application of the table apps are not turned away for good while the database is away',
		async (t) => {
			const port = await freePort();
			const cluster = await startCluster({ listen_addresses: '127.0.0.1', port });
			await query(cluster.socket, 'postgres', 'CREATE DATABASE late OWNER scopewire', [], 'postgres', port);
			const daemon = await startDaemon({ databaseMode: 'none', database: { required: 'no',
				host: '127.0.0.1', port, name: 'late', user: 'scopewire' } }, t);
			const app = { id: 'tabled', key: 'tabled-key', secret: 'secret' };
			await query(cluster.socket, 'late', 'INSERT INTO apps (id, key, secret) VALUES ($1, $2, $3)',
				[app.id, app.key, app.secret], 'scopewire', port);
			await daemon.stop();
			await cluster.stop();
			await daemon.start();
			const { code } = await daemon.wire({ app }).closed;
			assert.ok(code >= 4100 && code < 4200, `${code}: the client has to connect again after a pause`);
			const answers = [await daemon.api(app).trigger('c', 'E', '{}'),
				await Sync.server(daemon, app).get('online-users'),
				await Sync.user(daemon, 1, {}, app).get('online-users')];
			for (const { status, headers, text } of answers) {
				assert.equal(status, 503, text);
				assert.ok(headers['retry-after'], text);
			}
			await cluster.start();
			t.after(() => cluster.stop());
			await waitFor(async () => (await daemon.api(app).trigger('c', 'E', '{}')).status === 200, 'published');
			await daemon.connect({ app });
			assert.equal((await daemon.wire({ app: { ...app, key: 'none' } }).closed).code, 4001);
			assert.equal((await daemon.api({ ...app, id: 'none' }).trigger('c', 'E', '{}')).status, 404);
			assert.equal((await Sync.server(daemon, { ...app, key: 'none' }).get('online-users')).status, 401);
		});

	test('what an operator has to repair is logged with its remedy until it is repaired', async (t) => {
		const database = await newDatabase();
		await query(database.host, 'postgres', `ALTER DATABASE ${database.name} OWNER TO postgres`, [], 'postgres');
		const daemon = other(t, database, { database: { required: 'no' } });
		await daemon.start();
		const grant = `GRANT CONNECT, CREATE ON DATABASE "${database.name}" TO "scopewire"`;
		assert.ok(daemon.logText.includes(grant), daemon.logText);
		assert.equal(await ready(daemon), 503);
		await query(database.host, 'postgres', grant, [], 'postgres');
		await waitFor(async () => await ready(daemon) === 200, 'ready');
		await daemon.stop();
	});

	test('a schema newer than the program is refused at the start, and reported later', async (t) => {
		const database = await newDatabase();
		const daemon = other(t, database, { database: { required: 'no' } });
		await daemon.start();
		await query(database.host, database.name, `INSERT INTO schema_migrations
			SELECT (jsonb_populate_record(m, '{"version": 9999}')).* FROM schema_migrations m LIMIT 1`);
		const [{ backend }] = await daemon.query('SELECT backend FROM daemon');
		await daemon.query('SELECT pg_terminate_backend($1)', [backend]);
		await logged(daemon.child, /database: .*9999.*newer version/);
		await waitFor(async () => await ready(daemon) === 503, 'not ready');
		await daemon.stop();
		await daemon.spawn();
		assert.equal((await daemon.child.ended).code, EX.DATAERR, daemon.child.log);
	});
});

describe('/ready', { concurrency: 2 }, () => {
	test('is 503 with the reason in the log while the database is away', async (t) => {
		const cluster = await startCluster();
		const daemon = await startDaemon({ cluster }, t);
		assert.equal(await ready(daemon), 200);
		await cluster.stop();
		await waitFor(async () => await ready(daemon) === 503, 'not ready');
		assert.equal((await daemon.http('/up')).status, 200);
		await logged(daemon.child, /\/ready answers 503: the database cannot be used: ./);
		await cluster.start();
		t.after(() => cluster.stop());
		await waitFor(async () => await ready(daemon) === 200, 'ready again');
		await logged(daemon.child, /\/ready answers 200 again/);
	});

	test('is 503 while the log is stuck, and the log names who holds the lock', async (t) => {
		const daemon = await startDaemon({ database: { commit_timeout_ms: 4000 } }, t);
		const session = await daemon.session();
		t.after(() => session.end());
		await session.query(`SET application_name = 'someone'`);
		const [{ pid }] = (await session.query('SELECT pg_backend_pid() AS pid')).rows;
		await session.query('BEGIN; LOCK TABLE log_lock_serials IN EXCLUSIVE MODE');
		const answer = daemon.api().trigger('c', 'E', '{}');
		await waitFor(async () => await ready(daemon) === 503, 'not ready');
		await logged(daemon.child, new RegExp(
			`"serials" is held by process ${pid} of the role scopewire \\(someone\\)`));
		await session.query('ROLLBACK');
		await answer;
		await waitFor(async () => (await daemon.api().trigger('c', 'E', '{}')).status === 200, 'published');
		await waitFor(async () => await ready(daemon) === 200, 'ready again');
	});

	test('is 503 while another role can keep the log from being locked, not while it only reads the lock', async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop());
		// Without this right the daemon does not see since when another role's session is idle.
		await query(cluster.socket, 'postgres', 'GRANT pg_read_all_stats TO scopewire', [], 'postgres');
		const daemon = await startDaemon({ cluster }, t);
		const { host, name } = daemon.database;
		const other = new pg.Client({ host, port: 5432, database: name, user: 'postgres' });
		await other.connect();
		await other.query('BEGIN');
		for (const lock of ['drain', 'retention']) await other.query(`SELECT FROM scopewire.log_lock_${lock}`);
		await waitFor(async () => (await daemon.query(`SELECT FROM pg_stat_activity WHERE pid = $1
			AND clock_timestamp() - state_change > interval '1100 ms'`, [other.processID])).length, 'it is idle');
		assert.deepEqual(await daemon.query('SELECT * FROM lock_waits(1000)'), []);
		assert.equal(await ready(daemon), 200);
		await other.query('LOCK TABLE scopewire.log_lock_retention IN ROW SHARE MODE');
		await waitFor(async () => await ready(daemon) === 503, 'not ready');
		await other.query('ROLLBACK');
		await waitFor(async () => await ready(daemon) === 200, 'ready again');
		await other.end();
	});

	test('is 503 while the daemon drains', async (t) => {
		const daemon = await startDaemon({ server: { drain_ms: 20000 } }, t);
		const clients = await Promise.all([daemon.connect(), daemon.connect()]);
		for (const client of clients) client.closed.catch(() => {});
		const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
		t.after(() => agent.destroy());
		const get = () => new Promise((resolve, reject) => {
			http.get(`http://${daemon.address}/ready`, { agent }, (answer) => {
				answer.resume().on('end', () => resolve(answer.statusCode));
			}).on('error', reject);
		});
		assert.equal(await get(), 200);
		daemon.child.kill('SIGTERM');
		await waitFor(async () => await get() === 503, 'not ready');
		await daemon.stop(); // the second signal
	});
});

test('with few connections the log writer has one, and one line names the limit', async (t) => {
	const cluster = await startCluster();
	t.after(() => cluster.stop());
	await query(cluster.socket, 'postgres', 'ALTER ROLE scopewire CONNECTION LIMIT 4', [], 'postgres');
	const daemon = await startDaemon({ cluster }, t);
	assert.equal((await daemon.api().trigger('c', 'E', '{}')).status, 200);
	await logged(daemon.child, /refused a connection: .*too many connections for role.*ALTER ROLE "scopewire" CONNECTION LIMIT/);
	assert.equal(daemon.logText.match(/refused a connection/g).length, 1);
	await query(cluster.socket, 'postgres', 'ALTER ROLE scopewire CONNECTION LIMIT -1', [], 'postgres');
});

test('a timeout that the role has for idle sessions ends none of the daemon, and a lost one has its cause in the log',
	async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop());
		const admin = (sql) => query(cluster.socket, 'postgres', sql, [], 'postgres');
		await admin(`ALTER ROLE scopewire SET idle_session_timeout = '2s'`);
		const daemon = await startDaemon({ cluster }, t);
		await waitFor(async () => {
			const [{ n, old }] = await admin(`SELECT count(*)::int AS n, count(*) FILTER
				(WHERE clock_timestamp() - backend_start > interval '4 s')::int AS old
				FROM pg_stat_activity WHERE usename = 'scopewire'`);
			return n > 5 && n === old;
		}, 'sessions that are older than the timeout');
		assert.doesNotMatch(daemon.logText, /connecting again/);
		assert.equal((await daemon.api().trigger('c', 'E', '{}')).status, 200);
		await admin(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'scopewire'`);
		await logged(daemon.child, /database pool: \S[^;]*; connecting again/);
		assert.doesNotMatch(daemon.logText, /: ; connecting again/);
	});

/** What the role sets, and what the daemon's sessions have all the same. */
const SETTINGS = {
	DateStyle: ['SQL, DMY', 'ISO, YMD'],
	IntervalStyle: ['sql_standard', 'postgres'],
	TimeZone: ['America/St_Johns', 'UTC'],
	bytea_output: ['escape', 'hex'],
	extra_float_digits: ['-15', '1'],
	standard_conforming_strings: ['off', 'on'],
	quote_all_identifiers: ['on', 'off'],
	xmloption: ['document', 'content'],
	row_security: ['off', 'on'],
	default_transaction_isolation: ['serializable', 'read committed'],
	default_transaction_deferrable: ['on', 'off'],
	plan_cache_mode: ['force_custom_plan', 'auto'],
	jit: ['on', 'off'],
	synchronous_commit: ['off', 'on'],
	idle_session_timeout: ['2s', '0'],
	idle_in_transaction_session_timeout: ['2s', '0'],
	client_encoding: ['LATIN1', 'UTF8'],
	search_path: ['pg_catalog', undefined],       // of the rule
	lock_timeout: ['1ms', undefined],             // of the pool
};

test('what the role sets for its sessions does not change what the daemon does', async (t) => {
	const cluster = await startCluster();
	t.after(() => cluster.stop());
	for (const [name, [value]] of Object.entries(SETTINGS))
		await query(cluster.socket, 'postgres', `ALTER ROLE scopewire SET ${name} = ${name === 'search_path' ? value : `'${value}'`}`,
			[], 'postgres');
	const daemon = await startDaemon({ cluster }, t);
	await useEverything(daemon);
	for (const [name, [, value]] of Object.entries(SETTINGS)) {
		if (value === undefined) continue;
		// The predicate of a rule sees the settings of the session that evaluates it.
		await daemon.query('INSERT INTO channel_rules (pattern, rule, argument) VALUES ($1, $2, $3)',
			[`setting-${name}`, 'sql', `current_setting('${name}') = '${value}'`]);
		const { status, text } = await Sync.user(daemon, 7).post('/broadcasting/auth',
			{ socket_id: '1.2', channel_name: `private-setting-${name}` });
		assert.equal(status, 200, `${name}: ${text}`);
	}
	const { json } = await Sync.server(daemon).get('events', { channels: 'c' });
	for (const { created_at } of json.events)
		assert.ok(Math.abs(Date.now() - new Date(created_at)) < 3600000, created_at);
});

test('the process makes no core dump, which would have the secrets', async (t) => {
	const daemon = await startDaemon({}, t);
	assert.match(fs.readFileSync(`/proc/${daemon.pid}/limits`, 'utf8'), /^Max core file size +0 +0 /m);
});

test('root with a PostgreSQL of its own and a user to become is refused',
	{ skip: process.getuid() !== 0 && 'needs root' }, async () => {
		const daemon = new Daemon({ embedded: true, server: { user: 'nobody' } });
		await daemon.spawn();
		assert.equal((await daemon.child.ended).code, EX.CONFIG, daemon.child.log);
		assert.match(daemon.child.log, /error: server\.user cannot be used with --embedded-postgres/);
		assert.ok(!fs.existsSync(daemon.stateFolder));
	});

/** A tree with the real quickstart and the daemon under test, in which nothing is left to build. */
function builtTree() {
	const tree = tempFolder('tree');
	const source = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
	for (const folder of ['contrib', 'build']) fs.mkdirSync(path.join(tree, folder));
	const write = (name, text) => fs.writeFileSync(path.join(tree, name), text, { mode: 0o755 });
	write('configure.ac', '');
	write('configure', '');
	fs.utimesSync(path.join(tree, 'configure.ac'), 0, 0);
	write('contrib/source-folder', '#!/bin/sh\necho .\n');
	write('build/.sources', '.\n');
	write('build/config.status', '');
	write('build/Makefile', 'all:\n');
	fs.copyFileSync(source('contrib/quickstart'), path.join(tree, 'contrib/quickstart'));
	fs.symlinkSync(source('contrib/welcome'), path.join(tree, 'contrib/welcome'));
	fs.symlinkSync(PROGRAM, path.join(tree, 'build/scopewired'));
	return tree;
}

test('a second quickstart on a folder in use is refused, whatever its port, and changes nothing', async (t) => {
	const tree = builtTree();
	const state = path.join(tempFolder('quick'), 'state');
	const quickstart = async () => start(path.join(tree, 'contrib/quickstart'),
		['--no-install', '--state', state, '--port', String(await freePort())]);
	const first = await quickstart();
	t.after(() => end(first, 'SIGTERM'));
	await logged(first, /ready: listening on/);
	const file = path.join(state, 'scopewire.conf');
	const before = fs.readFileSync(file, 'utf8');
	const second = await quickstart();
	assert.equal((await second.ended).code, EX.UNAVAILABLE, second.log);
	assert.match(second.log, /a quickstart already runs in /);
	assert.equal(fs.readFileSync(file, 'utf8'), before);
});

test('a quickstart on a port in use is refused before it writes anything', async (t) => {
	const server = net.createServer().listen(0, '127.0.0.1');
	t.after(() => server.close());
	await new Promise((resolve) => server.once('listening', resolve));
	const state = path.join(tempFolder('quick'), 'state');
	const child = start(fileURLToPath(new URL('../../contrib/quickstart', import.meta.url)),
		['--no-install', '--state', state, '--port', String(server.address().port)]);
	assert.equal((await child.ended).code, EX.OSERR, child.log);
	assert.match(child.log, /another program listens on port/);
	assert.ok(!fs.existsSync(state));
});
