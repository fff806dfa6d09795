// SPDX-License-Identifier: MIT
// What the functions of the sync API know of the daemon's configuration.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { Sync, failed, ok, startDaemon, waitFor } from '../lib/harness.mjs';
import { startNodes } from '../lib/nodes.mjs';

const eventName = async (daemon) =>
	(await daemon.query("SELECT scopewire.sync_event('ActivityFeedUpdated') AS name"))[0].name;

describe('names of events', () => {
	test("by default event names have Laravel's namespace, as Echo's listen() expects", async (t) => {
		const daemon = await startDaemon({}, t);
		assert.equal(await eventName(daemon), 'App\\Events\\ActivityFeedUpdated');
		await waitFor(async () =>
			(await daemon.query('SELECT FROM scopewire.sync_settings')).length > 0);
		assert.equal(await eventName(daemon), 'App\\Events\\ActivityFeedUpdated');
	});

	test('event names have the configured namespace or none, from the next start on', async (t) => {
		const daemon = await startDaemon({ sections: { sync: { event_namespace: 'Portal\\"\'' } } }, t);
		await waitFor(async () => await eventName(daemon) === 'Portal\\"\'ActivityFeedUpdated');
		daemon.options.sections.sync.event_namespace = '';
		await daemon.restart();
		await waitFor(async () => await eventName(daemon) === 'ActivityFeedUpdated');
	});

	test('a change in SQL counts for the next call on every node', async (t) => {
		const nodes = await startNodes(t, 2), at = { resource_type: 'invoice', resource_id: '7' };
		await waitFor(async () => (await nodes[0].query('SELECT FROM sync_settings')).length > 0);
		await nodes[0].query(`INSERT INTO channel_rules (pattern, rule, argument, can_write) VALUES ('invoice.{id}', 'role', 'guest', true)`);
		const guest = (one, user) => Sync.user(one, user, { roles: ['guest'] });
		for (const one of nodes)
			await waitFor(async () => (await guest(one, 1).get('locks', at)).status === 200, 'the rule counts');
		const steal = (one, user) => guest(one, user).post('locks/steal', at);
		for (const roles of ['chief guest', 'chief', 'guest', '']) {
			await nodes[0].query(`UPDATE sync_settings SET value = $1 WHERE name = 'lock_steal_roles'`, [roles]);
			for (const [i, one] of nodes.entries()) {
				if (roles.endsWith('guest')) ok(await steal(one, i + 1));
				else failed(await steal(one, i + 1), 403, 'forbidden');
			}
		}
	});
});
