// SPDX-License-Identifier: MIT
// What the daemon does at an interval makes progress on a database that needs longer for all of it than a statement has.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, startDaemon } from '../lib/harness.mjs';

const ROWS = 150;
/** Of the sessions: each row takes 20 ms, all take 3 s. */
const STATEMENT_TIMEOUT = '2s';

const jobs = [
	{ call: 'presence_expire(60, ARRAY[\'presence-online\'])', most: 1000, table: 'user_presence', on: 'UPDATE',
		columns: 'app, user_id, status, last_seen_at', values: `n, 'online', now() - interval '1 h'`, left: `status <> 'offline'` },
	{ call: 'activities_place(1000)', most: 1000, table: 'activities', on: 'UPDATE', columns: 'app, type', values: `'a'`,
		left: 'position IS NULL' },
	{ call: 'activities_expire(30, 1000)', most: 1000, table: 'activities', on: 'DELETE', columns: 'app, type, created_at',
		values: `'a', now() - interval '60 d'` },
	{ call: 'locks_expire(100)', most: 100, table: 'locks', on: 'UPDATE',
		columns: 'app, resource_type, resource_id, token, user_id, ttl, acquired_at, renewed_at, expires_at',
		values: `'note', n, n, n, 30, now(), now(), now()`, left: 'user_id IS NOT NULL' },
	{ call: 'locks_prune(1000)', most: 1000, table: 'locks', on: 'DELETE',
		columns: 'app, resource_type, resource_id, token, ttl, acquired_at, renewed_at, expires_at',
		values: `'note', n, n, 30, now(), now(), now() - interval '60 d'` },
	{ call: 'sync_prune(30, 1000)', most: true, table: 'sync_change', on: 'DELETE',
		columns: 'app, client_id, mutation_id, resource_type, resource_id, op, digest, result, at',
		values: `'c', n, 'note', n, 'delete', '', '{}', now() - interval '60 d'` },
	{ call: 'sync_prune(30, 1000)', most: true, table: 'sync_entity', on: 'DELETE',
		columns: 'app, resource_type, resource_id, version, position, updated_at',
		values: `'note', n, n, n, now() - interval '60 d'` },
	{ call: 'admin_audit_prune(30, 1000)', most: 1000, table: 'admin_audit', on: 'DELETE',
		columns: 'token, address, action, result, at', values: `'', 'a', 'r', now() - interval '60 d'` },
	{ call: 'webhook_prune(30, 1000)', most: 1000, table: 'webhook_queue', on: 'DELETE',
		columns: 'app, endpoint, channel, event, dead_at', values: `'e', 'c', '{}', now() - interval '60 d'` },
	{ call: 'idempotency_prune(50000)', most: 50000, table: 'idempotency_keys', on: 'DELETE',
		columns: 'app, key, digest, event_id, answer, created_at', values: `n, '', n, '', now() - interval '2 d'` },
];

describe('on a slow database', () => {
	let daemon;
	before(async () => {
		daemon = await startDaemon();
		await daemon.stop();
		await daemon.query(`CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN PERFORM pg_catalog.pg_sleep(0.02); RETURN NULL; END $$`);
	});
	after(() => daemon?.stop());

	for (const { call, most, table, on, columns, values, left = 'true' } of jobs)
		test(`${call} works on ${table} part by part`, async (t) => {
			const own = await daemon.session();
			t.after(() => own.end());
			await own.query(`SET search_path = scopewire, pg_temp`);
			await own.query(`INSERT INTO ${table} (${columns}) SELECT '${APP.id}', ${values} FROM generate_series(1, ${ROWS}) n`);
			await own.query(`CREATE TRIGGER slow AFTER ${on} ON ${table} FOR EACH ROW EXECUTE FUNCTION public.slow()`);
			t.after(() => daemon.query(`DROP TRIGGER slow ON ${table}; DELETE FROM ${table}`));
			const count = async () => Number((await own.query(`SELECT count(*) AS n FROM ${table} WHERE ${left}`)).rows[0].n);
			await own.query(`SET statement_timeout = '${STATEMENT_TIMEOUT}'`);
			let calls = 0;
			for (let before = await count(), more = true; more; calls++) {
				const { rows: [{ result }] } = await own.query(`SELECT ${call} AS result`);
				const now = await count();
				more = String(result) === String(most);
				assert.ok(now < before || !more, `${now} of ${before} rows are left`);
				before = now;
			}
			assert.equal(await count(), 0);
			assert.ok(calls > 1, 'in several calls');
		});
});
