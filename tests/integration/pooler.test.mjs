// SPDX-License-Identifier: MIT
// PgBouncer between the daemon and PostgreSQL.  One that shares sessions between transactions is
// refused, one that gives each client a session works, and neither shows other clients anything of
// ours.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import fs from 'node:fs';
import { APP, Sync, end, ini, newDatabase, query, runDaemon, startDaemon, startPooler, tempFolder,
	waitFor } from '../lib/harness.mjs';

const EX_CONFIG = 78;
const { id: APP_ID, ...app } = APP;

async function pooler(t, settings) {
	const database = await newDatabase();
	const it = await startPooler(database, settings);
	t.after(() => end(it.child, 'SIGTERM'));
	return { ...it, database };
}

/** The settings that a new client of the pool has and that someone's session set. */
async function leftovers(it, clients = 1) {
	const all = [];
	for (let i = 0; i < clients; i++) all.push(await it.connect());
	const found = [];
	for (const client of all) {
		const { rows } = await client.query(`SELECT name, setting FROM pg_settings WHERE source = 'session'
			AND name NOT IN ('DateStyle', 'TimeZone', 'client_encoding', 'application_name',
				'standard_conforming_strings', 'IntervalStyle', 'extra_float_digits')`);
		const more = await client.query(`SELECT 'prepared ' || name AS name FROM pg_prepared_statements
			UNION ALL SELECT 'channel ' || c FROM pg_listening_channels() c
			UNION ALL SELECT 'lock ' || objid FROM pg_locks
				WHERE locktype = 'advisory' AND pid = pg_backend_pid()`);
		const path_ = await client.query('SHOW search_path');
		assert.equal(path_.rows[0].search_path, '"$user", public');
		found.push(...rows, ...more.rows);
	}
	for (const client of all) await client.end();
	return found;
}

describe('a pooler that shares sessions', { concurrency: 2 }, () => {
	const shared = [
		['transaction', {}],
		['statement', {}],
		['transaction', { server_round_robin: 1, min_pool_size: 3 }],
		['transaction', { default_pool_size: 1 }],
	];
	for (const [pool_mode, more] of shared)
		test(`pool_mode = ${pool_mode} ${JSON.stringify(more)} is refused with what to use instead`, async (t) => {
			const it = await pooler(t, { pool_mode, ...more });
			const busy = more.min_pool_size ? await it.connect() : null;
			await busy?.query('SELECT 1');
			const file = path.join(tempFolder('conf'), 'scopewire.conf');
			fs.writeFileSync(file, ini({ server: { host: '127.0.0.1', port: 0 },
				database: { dsn: it.dsn, required: 'no' }, [`app ${APP_ID}`]: app }));
			const { code, log } = await runDaemon(['--config', file]);
			assert.equal(code, EX_CONFIG, log);
			assert.match(log, /PgBouncer/);
			assert.match(log, /pool_mode = session/);
			assert.doesNotMatch(log, /ready: /);
			await busy?.end();
			assert.deepEqual(await leftovers(it), []);
			const made = await query(it.database.host, it.database.name,
				`SELECT 1 FROM pg_namespace WHERE nspname = 'scopewire'`);
			assert.deepEqual(made, []);
		});
});

test('through a pool with pool_mode = session everything works', async (t) => {
	const it = await pooler(t);
	const daemon = await startDaemon({ databaseMode: 'none', database: { dsn: it.dsn } }, t);
	const wire = await daemon.connect();
	await wire.subscribe('c');
	const sql = (text) => query(it.database.host, it.database.name, text);

	await t.test('an event from SQL and one over HTTP are delivered', async () => {
		await sql(`SELECT broadcast('c', 'FromSql', '{}')`);
		await wire.next({ channel: 'c', event: 'FromSql' });
		assert.equal((await daemon.api().trigger('c', 'FromHttp', '{}')).status, 200);
		await wire.next({ channel: 'c', event: 'FromHttp' });
	});
	await t.test('the sync API answers', async () => {
		const answer = await Sync.user(daemon, 7).post('heartbeat', {});
		assert.ok(answer.status < 300, answer.text);
	});
	await t.test('other clients of the pool see nothing of the daemon', async () => {
		assert.deepEqual(await leftovers(it), []);
	});
	await t.test('nothing stays on the pool after the daemon was killed', async () => {
		await daemon.kill();
		// every session that the daemon had is in the pool again, and these clients get them
		const own = () => sql(`SELECT count(*)::integer AS n FROM pg_locks l JOIN pg_stat_activity a USING (pid)
			WHERE l.locktype = 'advisory' AND a.datname = current_database()`);
		await waitFor(async () => (await own())[0].n === 0, 'no lock of the killed daemon');
		assert.deepEqual(await leftovers(it, 10), []);
		await daemon.start();
		assert.equal((await daemon.api().trigger('c', 'E', '{}')).status, 200);
	});
	await t.test('it goes on after the pooler and its sessions were cut', async () => {
		const again = await daemon.connect();
		await again.subscribe('c');
		await sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`);
		await waitFor(async () => (await daemon.api().trigger('c', 'Later', '{}')).status === 200, 'published');
		await again.next({ channel: 'c', event: 'Later' });
	});
});
