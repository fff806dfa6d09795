// SPDX-License-Identifier: MIT
// A database that becomes read only, and one whose standby takes over.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import pg from 'pg';
import { MAX_CONNECTIONS, Sync, binaries, end, freePort, logged, query, start, startCluster,
	tempFolder, waitFor } from '../lib/harness.mjs';
import { bearer, TOKEN, TOKENS, withAdmin } from '../lib/ctl.mjs';

let keys = 0;

/** What the daemon does with the database, by its connections: each call returns an answer. */
function callsOf({ daemon, get, post }) {
	const server = Sync.server(daemon), user = Sync.user(daemon, 7);
	return {
		writes: {
			publish: () => daemon.api().trigger('c', 'E', '{}'),
			'keyed publish': () => daemon.api().call('POST', '/events', {
				body: { name: 'E', channel: 'c', data: '{}' },
				headers: { 'Idempotency-Key': `failover-${++keys}` } }),
			'sync call': () => server.post('notifications', { title: 'T', to: '7' }),
			heartbeat: () => user.post('heartbeat', {}),
			'publish of an operator': () => post('/admin/api/send', { channel: 'c', event: 'E', data: 1 }),
		},
		reads: {
			authorization: () => user.post('/broadcasting/auth', { socket_id: '1.2', channel_name: 'private-7' }),
			history: () => server.get('events', { channels: 'c' }),
			'list of an operator': () => get('/admin/api/events', bearer(TOKEN.read)),
		},
	};
}

const ADMIN = { tokens: TOKENS };

/** Calls all of them: whether all succeeded.  One that fails is 503. */
async function allSucceed(calls) {
	for (const [what, call] of Object.entries(calls)) {
		const { status, text } = await call();
		if (status >= 500) {
			assert.equal(status, 503, `${what}: ${text}`);
			return false;
		}
		assert.ok(status < 300, `${what}: ${status} ${text}`);
	}
	return true;
}

/** A new subscription that requests the events since the start of the log: how its replay ended. */
async function replay(daemon) {
	const wire = await daemon.connect();
	wire.sendSubscribe('c', { since: `${wire.epoch}:0` });
	const end = await wire.next((frame) => ['scopewire:replayed', 'scopewire:resync'].includes(frame.event));
	await wire.close();
	return end;
}

test('a read-only phase is answered 503 and ends by itself', async (t) => {
	const cluster = await startCluster();
	t.after(() => cluster.stop());
	const world = await withAdmin(t, ADMIN, { cluster, database: { commit_timeout_ms: 500 } });
	const { daemon } = world, { host, name } = daemon.database;
	const admin = (sql) => query(host, 'postgres', sql, [], 'postgres');
	// Each one has ended then: a read in a session that is still open would succeed.
	const cut = () => admin(`SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '${name}'`);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument) VALUES ('{id}', 'sql', '{id}::bigint = {user}')`);
	const { writes, reads } = callsOf(world);
	const wire = await daemon.connect();
	await wire.subscribe('c');
	const all200 = () => allSucceed({ ...writes, ...reads });
	await waitFor(all200, 'all calls work at first');

	await t.test('new sessions are read only: 503, and the log has the reason', async () => {
		await admin(`ALTER DATABASE ${name} SET default_transaction_read_only = on`);
		await cut();
		await waitFor(async () => (await writes.publish()).status === 503, 'a publish is refused');
		await waitFor(async () => (await writes.heartbeat()).status === 503, 'a heartbeat is refused');
		for (const [what, call] of Object.entries({ ...writes, ...reads }))
			assert.equal((await call()).status, 503, what);
		assert.match((await replay(daemon)).data, /unavailable/);
		await waitFor(() => /read only: default_transaction_read_only/.test(daemon.logText), 'the cause');
	});
	await t.test('it recovers without a restart', async () => {
		await admin(`ALTER DATABASE ${name} RESET default_transaction_read_only`);
		await waitFor(all200, 'all calls work again');
		assert.equal((await replay(daemon)).event, 'scopewire:replayed');
		await daemon.query(`SELECT broadcast('c', 'FromSql', '{}')`);
		await wire.next({ channel: 'c', event: 'FromSql' });
	});
	await t.test('a session that turns read only while it is open is replaced', async () => {
		// as after a change of the server's settings: the statement itself is refused
		await admin(`ALTER SYSTEM SET default_transaction_read_only = on`);
		await admin('SELECT pg_reload_conf()');
		try {
			await waitFor(async () => (await writes.publish()).status === 503, 'a publish is refused');
			await waitFor(async () => (await writes.heartbeat()).status === 503, 'a heartbeat is refused');
		} finally {
			await admin('ALTER SYSTEM RESET default_transaction_read_only');
			await admin('SELECT pg_reload_conf()');
		}
		await waitFor(all200, 'all calls work again');
	});
});

/** A standby of the primary, which is a cluster of startCluster() that listens on TCP. */
async function startStandby(primary, port) {
	const folder = tempFolder('standby');
	const data = path.join(folder, 'data');
	const { uid, gid } = primary.how;
	if (uid) fs.chownSync(folder, uid, gid);
	execFileSync(path.join(binaries(), 'pg_basebackup'),
		['-h', primary.socket, '-p', String(primary.port), '-U', 'postgres', '-D', data, '-R', '-X', 'stream', '--checkpoint=fast',
			'--no-sync'], { ...primary.how, stdio: 'pipe' });
	const child = start(path.join(binaries(), 'postgres'), ['-D', data,
		...['listen_addresses=127.0.0.1', `port=${port}`, `unix_socket_directories=${folder}`, 'fsync=off',
			'hot_standby=on', `max_connections=${MAX_CONNECTIONS}`].flatMap((s) => ['-c', s])], primary.how);
	await logged(child, /database system is ready to accept read-only connections/);
	return { child, folder, port };
}

/** A TCP port that takes connections and never answers: {port, close()}. */
async function silentPort() {
	const server = net.createServer().listen({ port: 0, host: '127.0.0.1' });
	await new Promise((resolve) => server.once('listening', resolve));
	const { port } = server.address();
	const taken = [];
	server.on('connection', (socket) => taken.push(socket.on('error', () => {})));
	return { port, close: () => {
		for (const socket of taken) socket.destroy();
		server.close();
	} };
}

test('a standby takes over and no acknowledged event is lost or doubled', async (t) => {
	const [p1, p2] = [await freePort(), await freePort()];
	const primary = await startCluster({ listen_addresses: '127.0.0.1', port: p1, wal_level: 'replica',
		synchronous_commit: 'remote_apply' });
	let primaryRuns = true;
	t.after(() => primaryRuns && primary.stop());
	await query(primary.socket, 'postgres', 'CREATE DATABASE d OWNER scopewire', [], 'postgres', p1);
	const standby = await startStandby(primary, p2);
	t.after(() => end(standby.child, 'SIGINT'));
	// from here on a commit is acknowledged when the standby has it
	await query(primary.socket, 'postgres', `ALTER SYSTEM SET synchronous_standby_names = '*'`, [], 'postgres', p1);
	await query(primary.socket, 'postgres', 'SELECT pg_reload_conf()', [], 'postgres', p1);
	await waitFor(async () => (await query(primary.socket, 'postgres', `SELECT FROM pg_stat_replication
		WHERE sync_state = 'sync'`, [], 'postgres', p1)).length === 1, 'the standby is synchronous');
	const off = await silentPort();
	t.after(() => off.close());
	const world = await withAdmin(t, ADMIN, { databaseMode: 'none', database: { connect_timeout_s: 1,
		dsn: `host=127.0.0.1,127.0.0.1,127.0.0.1 port=${off.port},${p1},${p2} dbname=d user=scopewire target_session_attrs=read-write`,
	} });
	const { daemon } = world, { writes, reads } = callsOf(world);
	const rule = `INSERT INTO scopewire.channel_rules (pattern, rule, argument) VALUES ('{id}', 'sql', '{id}::bigint = {user}')`;
	await query(primary.socket, 'd', rule, [], 'scopewire', p1);
	await waitFor(() => allSucceed({ ...writes, ...reads }), 'all calls work before the failover');
	const wire = await daemon.connect();
	await wire.subscribe('c');
	const acknowledged = new Set(), unsure = new Set();
	let n = 0, on = true;
	const publisher = async () => {
		while (on) {
			const i = n++;
			const answer = await daemon.api().trigger('c', 'E', JSON.stringify({ n: i }));
			if (answer.status === 200) acknowledged.add(i);
			else if (/may still/.test(answer.text)) unsure.add(i);
			else assert.match(answer.text, /nothing was published/);
		}
	};
	const publishers = Array.from({ length: 4 }, publisher);
	await waitFor(() => acknowledged.size > 50, 'events before the failover');
	await end(primary.child, 'SIGKILL');
	primaryRuns = false;
	const before = acknowledged.size;
	execFileSync(path.join(binaries(), 'pg_ctl'), ['promote', '-D', path.join(standby.folder, 'data'), '-w'],
		{ ...primary.how, stdio: 'pipe' });
	await waitFor(() => acknowledged.size > before + 50, 'events after the failover');
	on = false;
	await Promise.all(publishers);
	const client = new pg.Client({ host: '127.0.0.1', port: p2, database: 'd', user: 'scopewire' });
	await client.connect();
	const rows = (await client.query(`SELECT (payload->>'n')::integer AS n FROM scopewire.realtime_events
		WHERE channel = 'c' AND payload::jsonb ? 'n' ORDER BY serial`)).rows.map((row) => row.n);
	await client.query(`SELECT scopewire.broadcast('c', 'Last', '{}')`);
	await client.end();
	await wire.next({ channel: 'c', event: 'Last' });
	const delivered = wire.all({ channel: 'c', event: 'E' }).map((frame) => JSON.parse(frame.data).n)
		.filter((i) => i !== undefined);
	assert.equal(new Set(rows).size, rows.length, 'no event is in the log twice');
	assert.deepEqual([...acknowledged].filter((i) => !rows.includes(i)), [], 'every acknowledged event is in the log');
	assert.deepEqual(rows.filter((i) => !acknowledged.has(i) && !unsure.has(i)), []);
	assert.equal(new Set(delivered).size, delivered.length, 'no event was delivered twice');
	assert.deepEqual(rows.filter((i) => !delivered.includes(i)), [], 'every event of the log was delivered');
	await waitFor(() => allSucceed({ ...writes, ...reads }), 'all calls work after the failover');
	assert.equal((await replay(daemon)).event, 'scopewire:replayed');
});

test('a standby as the only host is waited for, and used after its promotion', async (t) => {
	const [p1, p2] = [await freePort(), await freePort()];
	const primary = await startCluster({ listen_addresses: '127.0.0.1', port: p1, wal_level: 'replica' });
	t.after(() => primary.stop());
	await query(primary.socket, 'postgres', 'CREATE DATABASE d OWNER scopewire', [], 'postgres', p1);
	const standby = await startStandby(primary, p2);
	t.after(() => end(standby.child, 'SIGINT'));
	const world = await withAdmin(t, ADMIN, { databaseMode: 'none', database: { required: 'no',
		dsn: `host=127.0.0.1 port=${p2} dbname=d user=scopewire` } });
	const { daemon } = world, { writes, reads } = callsOf(world);
	await waitFor(() => /the server is a standby, which is read only/.test(daemon.logText), 'the line');
	for (const [what, call] of Object.entries({ ...writes, ...reads }))
		assert.equal((await call()).status, 503, what);
	execFileSync(path.join(binaries(), 'pg_ctl'), ['promote', '-D', path.join(standby.folder, 'data'), '-w'],
		{ ...primary.how, stdio: 'pipe' });
	await waitFor(async () => (await daemon.http('/ready')).status === 200, 'ready');
	await query('127.0.0.1', 'd', `INSERT INTO scopewire.channel_rules (pattern, rule) VALUES ('{id}', 'anyone')`,
		[], 'scopewire', p2);
	await waitFor(async () => (await reads.authorization()).status === 200, 'the rule');
	await waitFor(() => allSucceed({ ...writes, ...reads }), 'all calls work');
	assert.equal((await replay(daemon)).event, 'scopewire:replayed');
});
