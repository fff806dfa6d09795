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

describe('an open transaction of the application', () => {
	let daemon, server;
	before(async () => {
		// A wait without end: what is answered while the calls are blocked was not behind them.
		daemon = await startDaemon({ sections: { sync: { lock_wait_ms: 600000,
			statement_timeout_ms: 600000 } } });
		server = Sync.server(daemon);
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument) VALUES
			('note.{id}', 'role', 'staff')`);
	});
	after(() => daemon?.stop());

	test('blocks its own calls, and no other call waits', async (t) => {
		const open = await transaction(daemon, t, `SELECT notification_send('{1}', 'x')`);
		const waiting = Array.from({ length: 20 },
			() => server.post('notifications', { to: 1, title: 'blocked' }));
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
		for (const answer of await Promise.all(waiting)) ok(answer, 201);
	});
});

test('a call that another transaction blocks is 503 with Retry-After; nothing was changed', async (t) => {
	const daemon = await startDaemon({}, t);
	const server = Sync.server(daemon);
	const open = await transaction(daemon, t, `SELECT notification_send('{1}', 'x')`);
	const answers = await Promise.all(Array.from({ length: 20 },
		() => server.post('notifications', { to: 1, title: 'blocked' })));
	for (const answer of answers) {
		failed(answer, 503, 'locked');
		assert.ok(Number(answer.headers['retry-after']) > 0);
	}
	await open.end();
	assert.equal((await daemon.query('SELECT count(*)::int AS n FROM notifications'))[0].n, 0);
	ok(await server.post('notifications', { to: 1, title: 'after' }), 201);
});
