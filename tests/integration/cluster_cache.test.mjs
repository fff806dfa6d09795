// SPDX-License-Identifier: MIT
// The last event of a cache channel, for a client that subscribes on any node (docs/decisions/0051).
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { newDatabase, startNodes, waitFor } from '../lib/harness.mjs';
import { node, redis } from '../lib/nodes.mjs';

const NONE = { channel_durability: '*cache-none*:none', durability: 'commit', cache_ttl: 600 };
const MISS = 'pusher:cache_miss';

/** The events of the channel and the miss, which a client has received, until its next pong. */
async function received(wire, channel) {
	await wire.ping();
	return wire.frames.filter((frame) => frame.channel === channel && !/^(pusher_internal|scopewire):/.test(frame.event))
		.map(({ event, data }) => event === MISS ? MISS : data);
}

/** What a client receives first after it has subscribed. */
async function first(wire, channel, more) {
	wire.sendSubscribe(channel, more);
	const { event, data } = await wire.next((frame) => frame.channel === channel && !/^(pusher_internal|scopewire):/.test(frame.event));
	return event === MISS ? MISS : data;
}

const publish = async (daemon, channel, data, more = {}) => {
	const answer = await daemon.api().post('/events', { name: 'E', channels: [channel], data, ...more });
	assert.equal(answer.status, 200, answer.text);
};

/** Waits until the database has this event of the channel. */
const stored = (daemon, channel, data) => waitFor(async () => (await daemon.query(
	'SELECT FROM cluster_cache WHERE channel = $1 AND data = $2', [channel, data])).length === 1, `${data} is stored`);

describe('the last event of a cache channel with durability none', { concurrency: 2 }, () => {
	test('is served by a node that joined later', async (t) => {
		const database = await newDatabase();
		const [one] = await startNodes(t, 1, { database, app: NONE });
		assert.equal(await first(await one.connect(), 'cache-none'), MISS);
		for (const data of ['{"n":1}', '{"n":"two € \\n"}']) await publish(one, 'cache-none', data);
		await publish(one, 'cache-none-empty', '');
		const two = node(t, database, 'late', { app: NONE });
		await two.start();
		const wire = await two.connect();
		assert.equal(await first(wire, 'cache-none'), '{"n":"two € \\n"}');
		assert.equal(await first(wire, 'cache-none-empty'), '');
		assert.equal(await first(wire, 'cache-none-other'), MISS);
		assert.deepEqual(await received(wire, 'cache-none'), ['{"n":"two € \\n"}'], 'once');
		const { json } = await two.api().get('/channels/cache-none', { info: 'cache' });
		assert.equal(json.cache.data, '{"n":"two € \\n"}');
		assert.ok(json.cache.ttl > 0 && json.cache.ttl <= 600);
	});

	test('is served by a node that did not receive it, in place of an older one', async (t) => {
		const nodes = await startNodes(t, 2, { app: NONE });
		const early = await nodes[1].connect(), channel = 'private-cache-none';
		assert.equal(await first(early, channel), MISS);
		await publish(nodes[0], channel, '1');
		await waitFor(async () => (await received(early, channel)).length === 2, 'the event');
		early.unsubscribe(channel);
		await early.ping();
		if (redis) await waitFor(async () => !await redis.subscriptions(channel), 'the node has left the channel');
		await publish(nodes[0], channel, '2');
		await stored(nodes[1], channel, '2');
		const late = await nodes[1].connect();
		assert.equal(await first(late, channel), '2');
		await publish(nodes[1], channel, '3');
		await stored(nodes[0], channel, '3');
		const other = await nodes[0].connect();
		assert.equal(await first(other, channel), '3');
		await waitFor(async () => (await received(late, channel)).length === 2, 'the next event');
		assert.deepEqual(await received(late, channel), ['2', '3']);
		assert.deepEqual(await received(other, channel), ['3']);
	});

	test('is the last one of its node, although the one before it was written late', async (t) => {
		const [one] = await startNodes(t, 1, { app: NONE }), channel = 'cache-none';
		const slow = await one.session();
		await slow.query('BEGIN');
		await slow.query('LOCK TABLE cluster_cache');
		await publish(one, channel, '1');
		await waitFor(async () => (await one.query(`SELECT FROM pg_locks
			WHERE relation = 'cluster_cache'::regclass AND NOT granted`)).length > 0, 'the first one is being written');
		await publish(one, channel, '2');
		await slow.query('COMMIT');
		await stored(one, channel, '2');
	});

	test('is served after a crash of all nodes, and expires', async (t) => {
		const app = { ...NONE, cache_ttl: 6 }, nodes = await startNodes(t, 2, { app, cluster: { lease_ms: 2000 } });
		await publish(nodes[0], 'cache-none', '1');
		await stored(nodes[0], 'cache-none', '1');
		for (const one of nodes) await one.kill();
		await nodes[1].start();
		const got = await first(await nodes[1].connect(), 'cache-none');
		// On a slow machine its time may be over before the client is there.
		const left = await nodes[1].query('SELECT FROM cluster_cache WHERE expires_at > clock_timestamp()');
		if (left.length) assert.equal(got, '1');
		await waitFor(async () => await first(await nodes[1].connect(), 'cache-none') === MISS, 'it expires');
		// Those of all nodes are deleted, by any.
		await nodes[1].restart();
		await waitFor(async () => (await nodes[1].query('SELECT FROM cluster_cache')).length === 0, 'the row is deleted');
	});

	test('is the one of SQL when that is the last one', async (t) => {
		const nodes = await startNodes(t, 2, { app: NONE }), channel = 'cache-none';
		await publish(nodes[0], channel, '1');
		await stored(nodes[0], channel, '1');
		const wire = await nodes[1].connect();
		await wire.subscribe('other');
		await nodes[0].query(`INSERT INTO realtime_events (app, channel, event_type, payload)
			VALUES ('client-portal', 'cache-none', 'E', '{"n":2}'), ('client-portal', 'other', 'E', '{}')`);
		await wire.next({ event: 'E', channel: 'other' });
		assert.equal(await first(wire, channel), '{"n":2}');
		await publish(nodes[0], channel, '3');
		await stored(nodes[0], channel, '3');
		assert.equal(await first(await nodes[1].connect(), channel), '3');
	});

	test('comes after a second when the database is away, and clients that have a position get it, too', async (t) => {
		const nodes = await startNodes(t, 2, { app: NONE }), channel = 'cache-none';
		const early = await nodes[1].connect();
		assert.equal(await first(early, channel), MISS);
		await publish(nodes[0], channel, '1');
		await stored(nodes[0], channel, '1');
		await waitFor(async () => (await received(early, channel)).length === 2, 'the event');
		const [{ position }] = early.all({ event: 'pusher_internal:subscription_succeeded' });
		const since = await nodes[1].connect();
		assert.equal(await first(since, channel, { since: position }), '1');
		const slow = await nodes[0].session();
		await slow.query('BEGIN');
		await slow.query('LOCK TABLE cluster_cache');
		const late = await nodes[1].connect();
		assert.equal(await first(late, channel), '1');
		await slow.query('COMMIT');
	});

	if (!redis) test('is sent once to a client, although its message follows', async (t) => {
		const nodes = await startNodes(t, 2, { app: NONE }), channel = 'cache-none', id = 'of-another-node';
		const early = await nodes[1].connect();
		assert.equal(await first(early, channel), MISS);
		// What another node does for an event, with the message last.
		await nodes[0].query(`SELECT cluster_cache_put(4095, '{client-portal}', '{cache-none}', $1, '{E}', '{2}', '{now}', '{0}', '{600}')`,
			[[id]]);
		const late = await nodes[1].connect();
		assert.equal(await first(late, channel), '2');
		const message = ['client-portal', channel, '2', 'E', id, '0', '1'].map((field) => `${field.length}:${field}`);
		await nodes[0].query(`SELECT pg_notify(node_channel('scopewire'), $1)`, [`1 77 M1 E${message.join('')}`]);
		await waitFor(async () => (await received(early, channel)).length === 2, 'the message');
		await publish(nodes[0], channel, '3');
		await waitFor(async () => (await received(late, channel)).includes('3'), 'the next event');
		assert.deepEqual(await received(late, channel), ['2', '3']);
		assert.deepEqual(await received(early, channel), [MISS, '2', '3']);
	});
});

describe('the last event of a cache channel that is in the log', { concurrency: 2 }, () => {
	test('is the one that was committed before, whichever node the client is on', async (t) => {
		const nodes = await startNodes(t, 2, { app: NONE });
		const wire = await nodes[1].connect();
		for (let i = 0; i < 60; i++) {
			const channel = `cache-${i}`;
			await publish(nodes[0], channel, '1');
			await publish(nodes[0], channel, '2');
			assert.equal(await first(wire, channel), '2', channel);
		}
		await publish(nodes[0], 'cache-59', '3');
		await wire.next({ channel: 'cache-59', data: '3' });
		for (let i = 0; i < 59; i++) assert.deepEqual(await received(wire, `cache-${i}`), ['2']);
		const [succeeded] = wire.all({ event: 'E', channel: 'cache-59' });
		assert.ok(succeeded.serial, 'with its serial');
	});
});
