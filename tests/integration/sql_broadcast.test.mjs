// SPDX-License-Identifier: MIT
// broadcast() of several channels, and position().
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { startDaemon } from '../lib/harness.mjs';

test('broadcast of several channels publishes on each; position() is where a client goes on', async (t) => {
	const daemon = await startDaemon({}, t);
	const [{ at }] = await daemon.query('SELECT scopewire.position() AS at');
	const wire = await daemon.connect();
	const names = ['many-1', 'many-2', 'many-3'];
	for (const name of names) await wire.subscribe(name, { since: at });
	const [{ ids }] = await daemon.query(`SELECT broadcast(ARRAY['many-1', 'many-2', 'many-3'], 'E', '{"n":1}') AS ids`);
	assert.equal(new Set(ids).size, 3);
	for (const channel of names) assert.equal((await wire.next({ event: 'E', channel })).data, '{"n":1}');
	await daemon.query(`SELECT broadcast(ARRAY['many-1'], 'J', jsonb_build_object('n', 2))`);
	await wire.next({ event: 'J' });
	const late = await daemon.connect();
	await late.subscribe('many-1', { since: at });
	await late.next({ event: 'E', channel: 'many-1' });
	await wire.close();
	await late.close();
});
