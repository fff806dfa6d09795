// SPDX-License-Identifier: MIT
// Subscriptions that the daemon authorized, in a cluster: by any node, for a socket on any node.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { Sync, authorize, startNodes } from '../lib/harness.mjs';

test('revoke on any node ends a subscription that any node authorized, and not those of others', async (t) => {
	const nodes = await startNodes(t, 2);
	await nodes[0].query(`INSERT INTO channel_rules (pattern, rule) VALUES ('joined.{id}', 'anyone')`);
	const subscribe = async (by, at, id, channel) => {
		const wire = await at.connect();
		const { auth, channelData } = await authorize(wire, Sync.user(by, id), channel);
		wire.send({ event: 'pusher:subscribe', data: { channel, auth, channel_data: channelData } });
		await wire.next({ event: 'pusher_internal:subscription_succeeded', channel });
		return wire;
	};
	let n = 0;
	for (const by of nodes) for (const at of nodes) for (const revoker of nodes) {
		const channel = `private-joined.${++n}`;
		const [mine, other] = [await subscribe(by, at, 4, channel), await subscribe(by, at, 5, channel)];
		assert.equal((await revoker.api().post('/users/4/revoke', { pattern: channel })).status, 200);
		assert.equal((await mine.next({ event: 'pusher:subscription_error', channel })).data.status, 403);
		await other.ping();
		assert.deepEqual(other.all({ event: 'pusher:subscription_error' }), []);
		for (const wire of [mine, other]) wire.terminate();
	}
});
