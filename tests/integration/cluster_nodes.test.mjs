// SPDX-License-Identifier: MIT
// What nodes know of each other: sessions of one that has ended, settings with which they do not reach each
// other, since when each runs.  With SCOPEWIRE_TEST_BUS = redis (cluster_redis_nodes.test.mjs) through a Redis.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { APP, binaries, ini, live, newDatabase, node, query, redis, rows, startCluster, startNodes, startRedis, startRedisCluster,
	tempFolder, waitFor } from '../lib/harness.mjs';
import { TOKEN, bearer, runCtl } from '../lib/ctl.mjs';
import { request } from '../lib/api.mjs';
import { adminUrl, hasOthers } from '../lib/nodes.mjs';

const GRANTS = fileURLToPath(new URL('../../sql/grants.sql', import.meta.url));
const testOfPostgres = redis ? () => {} : test;
const { id, ...app } = APP;

/** Pauses the process of a node, for the rest of the test unless it is resumed. */
function paused(t, one) {
	process.kill(one.pid, 'SIGSTOP');
	t.after(() => { one.child.kill('SIGCONT'); });
}

/** The server processes of the sessions of a node that listen, by its instance. */
const sessions = async (at, instance) => (await at.query(`SELECT s.backend FROM node_sessions s JOIN pg_stat_activity a
	ON a.pid = s.backend AND a.backend_start = s.backend_start WHERE s.instance = $1 ORDER BY 1`, [instance])).map((row) => row.backend);
/** A session of this role that listens for the node with this instance, and is not one of a daemon. */
async function listener(t, { host, name }, user, instance) {
	const session = new pg.Client({ host, database: name, user, options: '-c search_path=scopewire' });
	session.on('error', () => {}); // it is ended
	await session.connect();
	t.after(() => session.end());
	await session.query(`SELECT node_session_add('${instance}')`);
	await session.query('LISTEN x');
	return session.processID;
}
const row = async (at, name) => (await at.query('SELECT * FROM nodes WHERE name = $1', [name]))[0];

describe('a node that is paused for longer than its lease', { concurrency: 2 }, () => {
	test('leaves no session that listens: others end them, and it is whole again when it runs', async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop('immediate'));
		const nodes = await startNodes(t, 3, { database: await newDatabase(cluster), cluster: { lease_ms: 2000 },
			app: { max_client_events_per_second: 0 } });
		const [a, b, c] = nodes;
		const wires = await Promise.all(nodes.map(async (one) => {
			const wire = await one.connect();
			await wire.subscribe('private-x');
			return wire;
		}));
		const first = await row(a, 'b');
		paused(t, b);
		const usage = async () => (await query(cluster.socket, a.database.name, `SELECT pg_notification_queue_usage() > 0 AS is_used,
			clock_timestamp() AS now, (SELECT count(*)::int FROM nodes WHERE name = 'b') AS n, (SELECT count(*)::int
			FROM pg_stat_activity WHERE wait_event = 'ClientWrite') AS stuck`, [], 'postgres'))[0];
		const data = { text: 'd'.repeat(7000) };
		let sent = 0, end;
		// More than fits into the buffers of the sockets, while the node has its lease and afterwards.
		while (sent < 1000 || (end = await usage()).n) {
			for (let i = 0; i < 50; i++, sent++) wires[0].send({ event: 'client-a', channel: 'private-x', data });
			await wires[0].ping();
			// A client that does not keep up would be closed.
			await wires[2].ping();
		}
		await waitFor(async () => {
			const now = await usage();
			return !now.is_used && !now.stuck;
		}, 'the queue of notifications is empty, and no session waits for its client');
		await waitFor(async () => !(await sessions(a, first.instance)).length, 'its sessions are ended');
		assert.deepEqual(await live(a), ['a', 'c']);

		b.child.kill('SIGCONT');
		await waitFor(async () => (await live(a)).includes('b'), 'it registers again');
		// Its client may not keep up with all that the node had in its buffers.
		wires[1] = await b.connect();
		await wires[1].subscribe('private-x');
		const again = await row(a, 'b');
		assert.deepEqual([again.number, again.instance], [first.number, first.instance]);
		assert.ok(again.started < end.now, `it started before it was paused, not at ${again.started}`);
		for (const [from, event] of [[1, 'client-b'], [2, 'client-c']])
			await waitFor(async () => {
				wires[from].send({ event, channel: 'private-x', data: {} });
				await wires[from].ping();
				return wires.every((wire, i) => i === from || wire.all({ event }).length);
			}, `${event} reaches the others`);
		assert.equal((await c.api().trigger('private-x', 'E', '{}')).status, 200);
		for (const wire of wires) await wire.next({ event: 'E' });
		await waitFor(async () => (await sessions(a, first.instance)).length >= 2, 'it listens again');
		assert.match(b.logText, /the lease of this node has ended/);
		for (const one of [a, c]) assert.doesNotMatch(one.logText, /terminating connection/);
	});

	testOfPostgres('keeps sessions of a role of its own until the role of another node may end them', async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop('immediate'));
		const admin = (sql, database = 'postgres') => query(cluster.socket, database, sql, [], 'postgres');
		const database = await newDatabase(cluster);
		const a = node(t, database, 'a', { cluster: { lease_ms: 2000 } });
		await a.start();
		await admin('CREATE ROLE other LOGIN');
		execFileSync(path.join(binaries(), 'psql'), ['-X', '-q', '-h', database.host, '-U', 'scopewire', '-v', 'schema=scopewire',
			'-v', 'daemon=other', '-f', GRANTS, database.name], { stdio: 'pipe' });
		const b = node(t, { ...database, user: 'other' }, 'b', { cluster: { lease_ms: 2000 } });
		await b.start();
		await hasOthers(a);
		const { instance } = await row(a, 'b');
		const open = async () => (await admin(`SELECT count(*)::int AS n FROM node_sessions s JOIN pg_stat_activity p
			ON p.pid = s.backend AND p.backend_start = s.backend_start WHERE s.instance = '${instance}'`, database.name))[0].n;
		await waitFor(async () => await open() >= 3, 'its sessions');
		paused(t, b);
		await waitFor(() => /sessions may not be ended by the role of this node.*: GRANT other TO scopewire/.test(a.logText), 'the warning');
		const { lease } = await row(a, 'a');
		await waitFor(async () => (await row(a, 'a')).lease - lease > 1500, 'further renewals');
		assert.equal(a.logText.match(/may not be ended by the role/g).length, 1);
		assert.ok(await open() >= 3);
		await admin('GRANT other TO scopewire');
		await waitFor(async () => !await open(), 'its sessions are ended');
		b.child.kill('SIGCONT');
		await waitFor(async () => (await live(a)).length === 2, 'it registers again');
	});

	testOfPostgres('has its sessions ended by a daemon that is alone and starts in its place', async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop('immediate'));
		const database = await newDatabase(cluster);
		const a = node(t, database, 'a', { cluster: { lease_ms: 2000 } });
		await a.start();
		const { instance } = await row(a, 'a');
		await waitFor(async () => (await sessions(a, instance)).length >= 3, 'its sessions');
		paused(t, a);
		const alone = node(t, database, 'alone', { cluster: { driver: 'local' } });
		await alone.start();
		await waitFor(async () => !(await sessions(alone, instance)).length, 'its sessions are ended');
		assert.deepEqual(await rows(alone), []);
	});

	testOfPostgres('has its sessions ended by a daemon that is alone, after many rows of sessions that have ended', async (t) => {
		const database = await newDatabase();
		const [first, alone] = ['first', 'alone'].map((name) => node(t, database, name, { cluster: { driver: 'local' } }));
		await first.start();
		await first.stop();
		const admin = (sql) => query(database.host, database.name, `SET search_path = scopewire; ${sql}`, [], 'postgres');
		await admin(`INSERT INTO node_sessions SELECT 5000000 + i, now() - interval '1 h', 10, 'crashed' FROM generate_series(1, 150) i`);
		const backend = await listener(t, database, database.user, 'paused');
		await alone.start();
		await waitFor(async () => !(await sessions(alone, 'paused')).length, 'the session is ended');
		assert.deepEqual((await alone.query('SELECT backend FROM node_sessions')).filter((one) => one.backend !== backend), []);
	});

	testOfPostgres('has its sessions ended also after many that may not be ended, and no GRANT of a superuser is named', async (t) => {
		const [a] = await startNodes(t, 1, { cluster: { lease_ms: 2000 } });
		for (let i = 0; i < 101; i++) await listener(t, a.database, 'postgres', 'superuser');
		await listener(t, a.database, a.database.user, 'paused');
		await waitFor(async () => !(await sessions(a, 'paused')).length, 'the session is ended');
		await waitFor(() => /may not be ended by the role of this node/.test(a.logText), 'the warning');
		assert.match(a.logText, /the role postgres is a superuser, so that only a superuser may end its sessions: use the same role/);
		assert.doesNotMatch(a.logText, /GRANT/);
	});
});

describe('sessions that listen', { concurrency: 2 }, () => {
	testOfPostgres('of nodes that run stay, also when their row is older than the lease, and those that have ended lose theirs', async (t) => {
		const [a, b] = await startNodes(t, 2, { cluster: { lease_ms: 2000 } });
		const { instance } = await row(a, 'b');
		await waitFor(async () => (await sessions(a, instance)).length >= 3, 'its sessions');
		// Another process has the number of a session that has ended.
		const session = await a.session();
		const [{ pid }] = (await session.query('SELECT pg_backend_pid() AS pid')).rows;
		await a.query(`INSERT INTO node_sessions SELECT $1, now() - interval '1 h', usesysid, 'ended' FROM pg_stat_activity
			WHERE pid = $1`, [pid]);
		await waitFor(async () => !(await a.query('SELECT FROM node_sessions WHERE backend = $1', [pid])).length, 'the row is deleted');
		assert.equal((await session.query('SELECT 1 AS one')).rows[0].one, 1);
		await session.end();
		const before = await sessions(a, instance);
		const { lease } = await row(a, 'b');
		await waitFor(async () => (await row(a, 'b')).lease - lease > 4000, 'renewals for longer than a lease');
		assert.deepEqual(await sessions(a, instance), before);
		await b.stop();
		assert.deepEqual(await a.query('SELECT FROM node_sessions WHERE instance = $1', [instance]), []);
	});

	testOfPostgres('of a node that registers again within a lease after its lease has ended stay', async (t) => {
		const [a, b] = await startNodes(t, 2, { cluster: { lease_ms: 2000 } });
		const { instance } = await row(a, 'b');
		const missing = async () => (await a.query(`SELECT FROM node_sessions WHERE instance = $1
			AND missing_since IS NOT NULL`, [instance])).length;
		await waitFor(async () => (await a.query(`SELECT FROM node_sessions WHERE instance = $1
			AND backend_start < clock_timestamp() - interval '2 s'`, [instance])).length >= 3, 'sessions that are older than a lease');
		const before = await sessions(a, instance);
		// Only the session that renews the lease was slow: another node deletes the row and looks for sessions.
		const session = await a.session();
		await session.query('BEGIN');
		await session.query(`UPDATE nodes SET lease = clock_timestamp() - interval '1 s' WHERE name = 'b'`);
		await session.query(`SELECT node_renew(instance, 2000, redis) FROM nodes WHERE name = 'a'`);
		const { rows: [{ n }] } = await session.query(`SELECT count(missing_since)::int AS n FROM node_sessions WHERE instance = $1`,
			[instance]);
		await session.query('COMMIT');
		await waitFor(async () => (await live(a)).includes('b'), 'it registers again');
		const left = await missing();
		const { lease } = await row(a, 'a');
		await waitFor(async () => (await row(a, 'a')).lease - lease > 4000, 'renewals for longer than a lease');
		assert.deepEqual(await sessions(a, instance), before);
		assert.match(b.logText, /the lease of this node has ended/);
		assert.doesNotMatch(b.logText, /terminating connection/);
		assert.ok(n >= before.length, `${n} sessions were noted`);
		assert.equal(left, 0);
	});
});

describe('nodes that do not reach each other', { concurrency: 2 }, () => {
	const LEASE = { lease_ms: 10000 };
	const warnings = (one) => one.logText.split('\n').filter((line) => /cluster: settings of nodes differ: /.test(line));

	/** Two nodes with these options of [cluster]: each logs one warning, about the other one. */
	async function warned(t, one, other, [oneText, otherText]) {
		const database = await newDatabase(undefined, { isMigrated: true });
		const a = node(t, database, 'a', { cluster: { ...LEASE, ...one } });
		const b = node(t, database, 'b', { cluster: { ...LEASE, ...other } });
		await a.start();
		await b.start();
		await waitFor(() => warnings(a).length && warnings(b).length, 'both warn');
		const { lease } = await row(a, 'a');
		await waitFor(async () => (await row(a, 'a')).lease - lease > 3000, 'two more renewals');
		for (const [at, name, text] of [[a, 'b', oneText], [b, 'a', otherText]]) {
			assert.equal(warnings(at).length, 1, warnings(at).join('\n'));
			assert.match(warnings(at)[0], new RegExp(`warn.*the node "${name}" uses ${text}`));
		}
		return [a, b];
	}

	/** The result of the check of nodes with this configuration. */
	async function check(database, cluster) {
		const file = path.join(tempFolder('check'), 'scopewire.conf');
		fs.writeFileSync(file, ini({ [`app ${id}`]: app, server: { node: 'z' }, database, cluster }), { mode: 0o600 });
		const { json } = await runCtl(['--config', file, 'check', '--json']);
		return json.filter((one) => one.check === 'nodes').map((one) => `${one.result}: ${one.message}`).join('\n');
	}
	const listed = async (one) => (await request(`${adminUrl(one)}/admin/api/nodes`, { headers: bearer(TOKEN.read) })).json.nodes
		.map(({ name, driver, prefix, redis: at }) => [name, driver, prefix, at]);

	testOfPostgres('warn of another prefix, once, until it is the same; scopewirectl check names it', async (t) => {
		const [a, b] = await warned(t, { driver: 'postgres', prefix: 'one' }, { driver: 'postgres', prefix: 'two' },
			['cluster.prefix = two, this node one: they do not reach', 'cluster.prefix = one, this node two: they do not reach']);
		assert.deepEqual(await listed(a), [['a', 'postgres', 'one', null], ['b', 'postgres', 'two', null]]);
		assert.match(await check(a.database, { driver: 'postgres', prefix: 'one' }), /^FAILED: the node "b" uses cluster.prefix = two[^"]*$/);
		b.options.sections.cluster.prefix = 'one';
		await b.restart();
		await waitFor(() => /cluster: all nodes have the same driver, prefix and Redis/.test(a.logText), 'the other line');
		assert.match(await check(a.database, { driver: 'postgres', prefix: 'one' }), /^ok: /);
		assert.equal(await check(a.database, {}), '');
	});

	testOfPostgres('warn of another driver, and name no password', async (t) => {
		const own = await startRedis(t, { settings: { requirepass: 'very-secret' }, client: ['-a', 'very-secret'] });
		const at = { driver: 'redis', prefix: 'one', redis_url: `redis://:very-secret@127.0.0.1:${own.port}/3` };
		const [a] = await warned(t, { driver: 'postgres', prefix: 'one' }, at, ['cluster.driver = redis, this node postgres',
			'cluster.driver = postgres, this node redis']);
		assert.deepEqual((await listed(a))[1], ['b', 'redis', 'one', `127.0.0.1:${own.port}/3`]);
		assert.match(await check(a.database, at), /^FAILED: the node "a" uses cluster.driver = postgres, this node redis/);
		assert.doesNotMatch(JSON.stringify(await a.query('SELECT * FROM nodes')) + a.logText, /very-secret/);
	});

	testOfPostgres('warn of another database of Redis, and of another address', async (t) => {
		const own = await startRedis(t);
		const at = { driver: 'redis', prefix: 'one', redis_port: own.port };
		await warned(t, at, { ...at, redis_db: 1 }, ['the database of Redis 1, this node 0', 'the database of Redis 0, this node 1']);
		const [one, two] = ['127.0.0.1', '127.0.0.2'].map((host) => `${host}:${own.port}/0`);
		await warned(t, at, { ...at, redis_host: '127.0.0.2' }, [`the Redis at ${two}, this node the one at ${one}: if that is not`,
			`the Redis at ${one}, this node the one at ${two}: if that is not`]);
	});

	testOfPostgres('are not those that are configured with several servers of a Redis Cluster', async (t) => {
		const servers = await startRedisCluster(t);
		const database = await newDatabase(undefined, { isMigrated: true });
		const [a, b] = ['a', 'b'].map((name, i) => node(t, database, name,
			{ cluster: { ...LEASE, driver: 'redis', prefix: 'one', redis_port: servers[i].port } }));
		// Until a node has been connected, it does not know that the other address is of the same Redis Cluster.
		const resume = () => servers.slice(0, 2).forEach((one) => one.child.kill('SIGCONT'));
		servers.slice(0, 2).forEach((one) => one.child.kill('SIGSTOP'));
		t.after(resume);
		await a.start();
		await b.start();
		const first = await row(a, 'a');
		await waitFor(async () => (await row(a, 'a')).lease - first.lease > 3000, 'two renewals');
		assert.deepEqual((await listed(a)).map((one) => one[3]), [0, 1].map((i) => `127.0.0.1:${servers[i].port}/0`));
		assert.deepEqual([...warnings(a), ...warnings(b)], []);
		resume();
		const at = (i) => `cluster 127.0.0.1:${servers[i].port}/0`;
		await waitFor(async () => {
			const seen = await listed(a);
			return seen.length === 2 && seen.every((one, i) => one[3] === at(i));
		}, 'both know that it is a Redis Cluster');
		const { lease } = await row(a, 'a');
		await waitFor(async () => (await row(a, 'a')).lease - lease > 3000, 'two more renewals');
		assert.deepEqual([...warnings(a), ...warnings(b)], []);
		assert.match(await check(database, { driver: 'redis', prefix: 'one', redis_port: servers[2].port }), /^ok: /);
	});
});
