// SPDX-License-Identifier: MIT
// With cluster.driver = redis a node sends the rows that it has committed, and the others do not read
// them from the log: only where messages are lost, repeated, forged or come in another order.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { newDatabase, node, randomFrom, startRedis, startRedisCluster, waitFor } from '../lib/harness.mjs';
import { adminUrl, subscribeEach } from '../lib/nodes.mjs';
import { RedisRelay } from '../lib/redis_relay.mjs';

/** The value of a metric of the node. */
async function metric(daemon, name) {
	const text = await (await fetch(`${adminUrl(daemon)}/metrics`)).text();
	return Number(text.match(new RegExp(`^scopewire_${name} (\\S+)$`, 'm'))[1]);
}

const isSlice = (message) => / L 1?S/.test(message.toString('latin1'));

/** Running nodes that all get each other's messages; relays: by node, of RedisRelay. */
async function startNodes(t, n, { redis, relays = [], app, sharded } = {}) {
	const database = await newDatabase();
	redis ??= await startRedis(t);
	const nodes = ['a', 'b', 'c'].slice(0, n).map((name, i) =>
		node(t, database, name, { cluster: { driver: 'redis', redis_port: (relays[i] ?? redis).port }, app,
			sections: { admin: { listen: '127.0.0.1:0', local_read: 'yes' } } }));
	for (const one of nodes) await one.start();
	const subscribed = sharded ? () => Promise.all(sharded.map((one) => one.subscriptions(':nodes', 'SHARD')))
		: async () => [await redis.subscriptions(':nodes')];
	await waitFor(async () => (await subscribed()).includes(n), 'all nodes are subscribed');
	// A node sends nothing until it knows of another one, and its tail waits for no transaction of before.
	for (const one of nodes)
		await waitFor(async () => {
			const before = await Promise.all(nodes.map((other) => metric(other, 'bus_notifications_total')));
			await one.api().trigger('warm', 'E', '{}');
			const after = await Promise.all(nodes.map((other) => metric(other, 'bus_notifications_total')));
			return after.every((value, i) => nodes[i] === one || value > before[i]);
		}, 'the other nodes are notified');
	return nodes;
}

const seen = (wire) => wire.frames.filter((frame) => /^E/.test(frame.event)).map((frame) => frame.event);
const serials = (wire) => wire.frames.filter((frame) => /^E/.test(frame.event)).map((frame) => frame.serial);

/** Each wire has n events, all the same, each once and in the order of their serials. */
async function sameEverywhere(wires, n) {
	await waitFor(() => wires.every((wire) => seen(wire).length >= n), `${n} events everywhere, so far ${wires.map((w) => seen(w).length)}`);
	for (const wire of wires) await wire.ping();
	assert.equal(new Set(seen(wires[0])).size, n);
	for (const wire of wires) {
		assert.deepEqual(seen(wire), seen(wires[0]));
		const of = serials(wire);
		assert.deepEqual(of, of.toSorted((a, b) => a - b));
	}
}

describe('committed events', { concurrency: 2 }, () => {
	test('are delivered on the other nodes without reading the log', async (t) => {
		const nodes = await startNodes(t, 3);
		const wires = await subscribeEach(nodes, 'c');
		const of = (name) => Promise.all(nodes.slice(1).map((one) => metric(one, name)));
		const [read, used] = [await of('log_rows_read_total'), await of('bus_slices_used_total')];
		const n = 100;
		for (let i = 0; i < n; i++) assert.equal((await nodes[0].api().trigger('c', `E${i}`, `{"i":${i}}`)).status, 200);
		await sameEverywhere(wires, n);
		const [readAfter, usedAfter] = [await of('log_rows_read_total'), await of('bus_slices_used_total')];
		for (const i of [0, 1]) {
			// A poll can find a row in the moment before its message arrives, which is long on a busy machine.
			assert.ok(readAfter[i] - read[i] <= n / 2, `${readAfter[i] - read[i]} rows were read`);
			assert.ok(usedAfter[i] - used[i] >= n / 2, `${usedAfter[i] - used[i]} slices were used`);
		}
	});

	test('that several nodes commit at the same time reach each node once and in one order', async (t) => {
		const nodes = await startNodes(t, 3);
		const wires = await subscribeEach(nodes, 'c');
		const n = 100;
		await Promise.all(nodes.flatMap((one, at) => [0, 1].map(async (k) => {
			for (let i = 0; i < n; i++) assert.equal((await one.api().trigger('c', `E${at}.${k}.${i}`, '{}')).status, 200);
		})));
		await sameEverywhere(wires, 2 * n * nodes.length);
		for (const one of nodes) await one.stop();
	});

	test('of SQL and of HTTP, on any node, reach each node once and in one order', async (t) => {
		const nodes = await startNodes(t, 3);
		const wires = await subscribeEach(nodes, 'c');
		const n = 200, many = 1200;
		await Promise.all([...nodes.map(async (one, at) => {
			for (let i = 0; i < n; i++) assert.equal((await one.api().trigger('c', `E${at}.${i}`, '{}')).status, 200);
		}), (async () => {
			for (let i = 0; i < n; i++) await nodes[0].query(`SELECT broadcast('c', $1, '{"a":"\u00e9"}')`, [`Esql${i}`]);
			await nodes[0].query(`SELECT broadcast('c', 'Emany' || i, '{}') FROM generate_series(1, $1::integer) i`, [many]);
		})()]);
		await sameEverywhere(wires, 4 * n + many);
		for (const one of nodes) await one.stop();
	});

	test('are delivered once and in their order whatever happens to the messages', async (t) => {
		const redis = await startRedis(t);
		const seed = Date.now() % 1e6;
		const random = randomFrom(seed);
		t.diagnostic(`seed ${seed}`);
		const relays = [];
		const held = [];
		for (let i = 0; i < 3; i++)
			relays.push(await new RedisRelay(redis, (message) => {
				const fate = Math.floor(random() * 6);
				if (!isSlice(message)) return [message];
				if (fate === 0) return [];
				if (fate === 1) return [message, message];
				if (fate === 2) { held[i] = message; return []; }
				const before = held[i];
				held[i] = undefined;
				return before ? [message, before] : [message];
			}).start(t));
		const nodes = await startNodes(t, 3, { redis, relays });
		const wires = await subscribeEach(nodes, 'c');
		const n = 100;
		await Promise.all(nodes.map(async (one, at) => {
			for (let i = 0; i < n; i++) assert.equal((await one.api().trigger('c', `E${at}.${i}`, '{}')).status, 200);
		}));
		await sameEverywhere(wires, n * nodes.length);
		for (const one of nodes) await one.stop();
	});

	test('that someone else publishes in Redis, or repeats, are not delivered', async (t) => {
		const redis = await startRedis(t);
		const slices = [];
		const relay = await new RedisRelay(redis, (message) => {
			if (isSlice(message)) slices.push(message.toString().split('\r\n').at(-2));
			return [message];
		}).start(t);
		const nodes = await startNodes(t, 2, { redis, relays: [undefined, relay] });
		const wires = await subscribeEach(nodes, 'c');
		const channel = await redis.call('PUBSUB', 'CHANNELS', '*:nodes');
		assert.equal((await nodes[0].api().trigger('c', 'E1', '{}')).status, 200);
		await waitFor(() => slices.some((text) => text.includes('2:E1')), 'the slice');
		const real = slices.find((text) => text.includes('2:E1'));
		const refused = () => metric(nodes[1], 'bus_refused_total');
		const before = await refused();
		const [, signature, signed] = /^2 (\S+) (.*)$/s.exec(real);
		const forged = [real.replace('2:E1', '2:E2'), `2 ${'0'.repeat(64)} ${signed}`, `2 ${signature} 7 ${signed.split(' ').slice(1).join(' ')}`];
		for (const text of [...forged, real, real]) await redis.call('PUBLISH', channel, text);
		await waitFor(async () => await refused() >= before + forged.length + 2, 'all are counted');
		assert.equal((await nodes[0].api().trigger('c', 'E3', '{}')).status, 200);
		await sameEverywhere(wires, 2);
		assert.deepEqual(seen(wires[1]), ['E1', 'E3']);
	});

	test('that exclude a socket, are no JSON, or are too long for a message arrive as on one node', async (t) => {
		const nodes = await startNodes(t, 2, { app: { max_event_payload_bytes: 400000 } });
		const wires = await subscribeEach(nodes, 'c');
		const api = nodes[0].api();
		const long = JSON.stringify('x'.repeat(300000));
		assert.equal((await api.trigger('c', 'E1', 'no JSON')).status, 200);
		assert.equal((await api.trigger('c', 'E2', '{"a":1}', { socket_id: wires[1].socketId })).status, 200);
		assert.equal((await api.trigger('c', 'E3', '')).status, 200);
		assert.equal((await api.trigger('c', 'E4', long)).status, 200);
		assert.equal((await api.trigger('c', 'E5', '"\u0000é"')).status, 200);
		await waitFor(() => wires[1].all({ event: 'E5' }).length, 'the last one');
		assert.deepEqual(seen(wires[0]), ['E1', 'E2', 'E3', 'E4', 'E5']);
		assert.deepEqual(seen(wires[1]), ['E1', 'E3', 'E4', 'E5']);
		for (const event of ['E1', 'E3', 'E4', 'E5'])
			assert.deepEqual(wires[1].all({ event })[0], wires[0].all({ event })[0]);
	});

	test('are sent through a Redis Cluster', async (t) => {
		const servers = await startRedisCluster(t);
		const nodes = await startNodes(t, 2, { redis: servers[1], sharded: servers });
		const wires = await subscribeEach(nodes, 'c');
		const used = await metric(nodes[1], 'bus_slices_used_total');
		const n = 30;
		for (let i = 0; i < n; i++) assert.equal((await nodes[0].api().trigger('c', `E${i}`, '{}')).status, 200);
		await sameEverywhere(wires, n);
		assert.ok(await metric(nodes[1], 'bus_slices_used_total') >= used + n / 2);
		for (const one of nodes) await one.stop();
	});
});
