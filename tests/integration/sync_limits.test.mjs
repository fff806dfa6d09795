// SPDX-License-Identifier: MIT
// How many things one call takes: as many as the documents name are accepted, one more is refused.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { Sync, failed, ok, startDaemon } from '../lib/harness.mjs';

let daemon, server;
before(async () => {
	daemon = await startDaemon();
	server = Sync.server(daemon);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule) VALUES ('note.{id}', 'anyone')`);
});
after(() => daemon?.stop());

const times = (n, make) => Array.from({ length: n }, (_, i) => make(i + 1));

const CALLS = [
	['GET online-users takes 200 user_ids', 200, 'user_ids',
		(n) => server.get('online-users', { user_ids: times(n, String).join() }), () => true],
	['GET viewers takes 100 resources', 100, 'resources',
		(n) => server.get('viewers', { resources: times(n, (i) => `note:${i}`).join() }), (a) => a.resources.length === 100],
	['PUT users takes 1,000 users', 1000, 'users',
		(n) => server.put('users', { users: times(n, (id) => ({ id, name: `User ${id}` })) }), () => true],
	['POST activities/bulk takes 500 activities', 500, 'activities',
		(n) => server.post('activities/bulk', { activities: times(n, (i) => ({ type: `t${i}` })) }), (a) => a.ids.length === 500],
	['POST may takes 100 channels', 100, 'channels',
		(n) => server.post('may', { user_id: 7, channels: times(n, (i) => `private-note.${i}`) }),
		(a) => a.results.length === 100 && a.results.every((r) => r.allowed)],
	['POST /broadcasting/auth takes 100 channel_names', 100, 'channel_names',
		(n) => Sync.user(daemon, 7).call('POST', '/broadcasting/auth',
			{ body: { socket_id: '1.2', channel_names: times(n, (i) => `private-note.${i}`) } }),
		(a) => Object.values(a.channels).filter((c) => c.auth).length === 100],
	['GET notifications/counts takes 200 user_ids', 200, 'user_ids',
		(n) => server.get('notifications/counts', { user_ids: times(n, String).join() }), () => true],
];

for (const [name, most, field, call, isRight] of CALLS)
	test(`${name}, and not one more`, async () => {
		const answer = await call(most);
		assert.ok(answer.status < 300, answer.text.slice(0, 500));
		assert.ok(isRight(answer.json), answer.text.slice(0, 500));
		failed(await call(most + 1), 400, 'invalid_value', field);
	});

test('broadcast() publishes to 100 channels in one call', async () => {
	const names = times(100, (i) => `all-${i}`);
	const [{ ids }] = await daemon.query(`SELECT broadcast($1::text[], 'E', '{"n":1}'::json) AS ids`, [names]);
	assert.equal(new Set(ids).size, 100);
	const wire = await daemon.connect();
	for (const channel of [names[0], names[99]]) {
		await wire.subscribe(channel, { since: `${(await daemon.query('SELECT epoch FROM log_meta'))[0].epoch}:0` });
		assert.equal((await wire.next({ event: 'E', channel })).data, '{"n":1}');
	}
	await wire.close();
	assert.equal(ok(await server.get('events', { channels: names.slice(0, 3).join() })).events.length, 3);
});
