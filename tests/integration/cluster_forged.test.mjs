// SPDX-License-Identifier: MIT
// With cluster.driver = redis: what another client of Redis, or another installation, publishes on the
// nodes' channels reaches no client, and what nodes have sent does so once and on its own channel only.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import PusherJs from 'pusher-js';
import { attach } from '../../contrib/js/scopewire.js';
import { hmac, newDatabase, node, startRedis, waitFor } from '../lib/harness.mjs';
import { adminUrl, subscribeEach, whisper } from '../lib/nodes.mjs';

const VERSION = '2', SIGNATURE = 64;
const app = { durability: 'none', channel_durability: 'orders:commit', max_client_events_per_second: 0 };
const member = (id) => ({ channelData: { user_id: id, user_info: {} } });
const field = (text) => `${Buffer.byteLength(text)}:${text}`;

async function metric(daemon, name) {
	const text = await (await fetch(`${adminUrl(daemon)}/metrics`)).text();
	return Number(text.match(new RegExp(`^scopewire_${name} (\\S+)$`, 'm'))[1]);
}

/** A node whose prefix is the default one. */
const make = (t, database, name, redis) => node(t, database, name, { app,
	cluster: { driver: 'redis', redis_port: redis.port }, sections: { admin: { listen: '127.0.0.1:0', local_read: 'yes' } } });

/** Until each node knows that there is another one, and all are subscribed. */
async function ready(nodes, redis, n = nodes.length) {
	for (const one of nodes) await waitFor(async () => await metric(one, 'bus_nodes') > 0, 'the node knows another one');
	await waitFor(async () => await redis.subscriptions(':nodes') === n, 'all nodes are subscribed');
}

async function startNodes(t, redis, database) {
	const nodes = ['a', 'b'].map((name) => make(t, database, name, redis));
	for (const one of nodes) await one.start();
	return nodes;
}

/** What a node of the database would have sent. */
async function signer(one) {
	const [{ secret }] = await one.query(`SELECT secret || ' ' || log_place() AS secret FROM node_secret`);
	let count = 0;
	return (channel, text) => {
		const signed = `4000 ${++count} ${text}`;
		return `${VERSION} ${hmac(secret, `scopewire redis ${VERSION}:${field(channel)}${signed}`)} ${signed}`;
	};
}

const last = (text) => text.slice(0, -1) + (text.endsWith('x') ? 'y' : 'x');

/** Parts of a payload, as bus/redis_payload.h has them. */
function partsOf(payload) {
	const [, version, signature, sender, count, rest] = /^(\d+) (\S+) (\d+) (\d+) (.*)$/s.exec(payload);
	return { version, signature, sender, count, rest };
}

describe('messages in Redis', { concurrency: 2 }, () => {
	test('that a client of Redis alters, moves, repeats or makes reach no client', async (t) => {
		const redis = await startRedis(t);
		const nodes = await startNodes(t, redis, await newDatabase());
		await ready(nodes, redis);
		const names = ['private-orders', 'private-other', 'news'];
		const wires = [];
		for (const name of names) wires.push(await subscribeEach(nodes, name));
		const rooms = [await nodes[0].connect(), await nodes[1].connect()];
		for (const [i, wire] of rooms.entries()) await wire.subscribe('presence-room', member(String(i)));
		await rooms[0].next({ event: 'pusher_internal:member_added' });
		const [[w0, w1], [o0, o1], [n0, n1]] = wires;
		const every = [w0, w1, o0, o1, n0, n1, ...rooms];

		const pusher = new PusherJs(nodes[1].app.key, { cluster: '', wsHost: '127.0.0.1', wsPort: nodes[1].port,
			forceTLS: false, enabledTransports: ['ws'], disableStats: true });
		t.after(() => pusher.disconnect());
		const paid = [], resyncs = [];
		attach(pusher, { onResync: (r) => resyncs.push(r) });
		const orders = pusher.subscribe('orders').bind('Paid', ({ n }) => paid.push(n));
		await waitFor(() => orders.subscribed, 'orders is subscribed');

		// One message of each kind, which nodes have sent; a, the sender, knows its own.
		await whisper(w0, w1, 'private-orders');
		await whisper(o0, o1, 'private-other');
		const messages = await redis.watch(t);
		await whisper(w0, w1, 'private-orders');
		assert.equal((await nodes[0].api().trigger('news', 'Real', '{}')).status, 200);
		await n1.next({ event: 'Real' });
		assert.equal((await nodes[0].api().trigger('orders', 'Paid', '{"n":1}')).status, 200);
		await waitFor(() => paid.length === 1, 'the first order');
		const third = await nodes[0].connect();
		await third.subscribe('presence-room', member('third'));
		await rooms[1].next({ event: 'pusher_internal:member_added', data: /third/ });
		const joined = await make(t, nodes[0].database, 'c', redis).start();
		await ready([...nodes, joined], redis, 3);
		const kinds = ['M C', 'M E', 'M P', 'L S', 'J'];
		const of = (kind) => messages.find(([, payload]) => partsOf(payload).rest.startsWith(kind));
		await waitFor(() => kinds.every(of), `a message of each kind: ${kinds.filter((kind) => !of(kind))}`);

		const recorded = kinds.map(of);
		const channels = [...new Set(messages.map(([channel]) => channel))];
		for (const wire of every) await wire.ping();
		const before = every.map((wire) => wire.frames.length);
		const [refused, received] = [await metric(nodes[1], 'bus_refused_total'), await metric(nodes[1], 'bus_received_total')];
		let at1 = 0;
		/** Publishes to nodes that have not sent it. */
		const publish = async (channel, payload) => { at1++; await redis.call('PUBLISH', channel, payload); };
		for (const [channel, payload] of recorded) {
			const { version, signature, sender, count, rest } = partsOf(payload);
			const isText = rest.length > 1;
			const signed = `${sender} ${count} ${rest}`;
			// As it was; without a signature; with another one; later; from another process; with another end.
			await publish(channel, payload);
			await publish(channel, `${version} ${signed}`);
			await publish(channel, `${version} ${'0'.repeat(SIGNATURE)} ${signed}`);
			await publish(channel, `${version} ${last(signature)} ${signed}`);
			await publish(channel, `${version} ${signature} ${sender} ${BigInt(count) + 100000n} ${rest}`);
			await publish(channel, `${version} ${signature} 7 ${count} ${rest}`);
			await publish(channel, `${version} ${signature} ${sender} ${count} ${isText ? last(rest) : 'L'}`);
			for (const other of channels) if (other !== channel) await publish(other, payload);
			// The form of before had no signature.
			await redis.call('PUBLISH', channel, `1 7 ${rest}`);
		}
		// What a stranger can make up.
		const [portal, name] = [nodes[0].app.id, 'orders'];
		const [nodesChannel, ordersChannel] = [':nodes', ':orders'].map((end) => channels.find((channel) => channel.endsWith(end)) ?? `${recorded[0][0]}`);
		const ahead = JSON.stringify({ event: 'whatever', channel: name, data: '{}', id: 'x1', serial: 1000000 });
		const error = JSON.stringify({ event: 'pusher:error', data: { code: 4001, message: 'x' } });
		for (const channel of [nodesChannel, ordersChannel])
			for (const text of [`C${field(portal)}${field(name)}${field(ahead)}`, `C${field(portal)}${field(name)}${field(error)}`,
				`C${field(portal)}${field(name)}${field('no JSON')}`,
				`E${field(portal)}${field(name)}${field('{}')}${field('pusher_internal:member_removed')}${field('e')}${field('0')}${field('1')}`,
				`P${field(portal)}${field('presence-room')}${field('A 1 9223372036854775806 5 admin{"name":"root"}')}`]) {
				await redis.call('PUBLISH', channel, `1 7 M ${text}`);
				await redis.call('PUBLISH', channel, `${VERSION} ${'0'.repeat(SIGNATURE)} 7 1 M ${text}`);
			}
		await waitFor(async () => await metric(nodes[1], 'bus_refused_total') > refused, 'what is refused is counted');

		// What is received after it shows that all of it was received.
		for (const [from, to, channel] of [[w0, w1, 'private-orders'], [o0, o1, 'private-other'], [rooms[0], rooms[1], 'presence-room']])
			await whisper(from, to, channel);
		assert.equal((await nodes[0].api().trigger('news', 'Later', '{}')).status, 200);
		await n1.next({ event: 'Later' });
		for (let i = 2; i <= 11; i++) assert.equal((await nodes[0].api().trigger('orders', 'Paid', `{"n":${i}}`)).status, 200);
		await waitFor(() => paid.length >= 11, `all orders, so far ${paid}`);
		assert.deepEqual(paid, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
		assert.deepEqual(resyncs, []);
		for (const [i, wire] of every.entries()) {
			await wire.ping();
			assert.deepEqual(wire.frames.slice(before[i]).filter(({ event }) => !/^(client-\d+|Later|pusher:pong|pusher_internal:subscription_count)$/.test(event)), []);
		}
		const { users } = (await nodes[1].api().get('/channels/presence-room/users')).json;
		assert.deepEqual(users.map(({ id }) => id).sort(), ['0', '1', 'third']);
		assert.ok(await metric(nodes[1], 'bus_refused_total') >= refused + at1 / 2);
		assert.ok(await metric(nodes[1], 'bus_received_total') > received);
		assert.match(nodes[1].logText, /a message in Redis was refused: no node of this cluster has signed it/);
		assert.match(nodes[1].logText, /a message in Redis was refused: it was received before/);
	});

	test('that are signed, but that no node may send there, reach no client', async (t) => {
		const redis = await startRedis(t);
		const nodes = await startNodes(t, redis, await newDatabase());
		await ready(nodes, redis);
		const [w0, w1] = await subscribeEach(nodes, 'private-orders');
		const [p0, p1] = await subscribeEach(nodes, 'orders');
		await whisper(w0, w1, 'private-orders');
		const sign = await signer(nodes[0]);
		const list = (await redis.call('PUBSUB', 'CHANNELS', '*')).split('\n');
		const [all, guarded, open] = [':nodes', ':private-orders', ':orders'].map((end) => list.find((channel) => channel.endsWith(end)));
		const { id } = nodes[0].app;
		const client = (channel, frame) => `M C${field(id)}${field(channel)}${field(frame)}`;
		const event = (channel, name) => `M E${field(id)}${field(channel)}${field('{}')}${field(name)}${field('e1')}${field('0')}${field('1')}`;
		const frame = (name, more) => JSON.stringify({ event: name, channel: 'private-orders', data: '{}', ...more });

		// The signature of this test is right: a client event of its own arrives.
		await redis.call('PUBLISH', guarded, sign(guarded, client('private-orders', frame('client-signed'))));
		for (const wire of [w0, w1]) await wire.next({ event: 'client-signed' });
		const before = await metric(nodes[1], 'bus_refused_total');
		const bad = [
			[guarded, client('private-orders', frame('InvoicePaid', { serial: 99999999, id: 'x' }))],
			[guarded, client('private-orders', frame('pusher:error'))],
			[guarded, client('private-orders', 'no JSON')],
			[guarded, client('private-encrypted-orders', frame('client-x'))],
			[open, client('orders', frame('client-x'))],
			[open, event('orders', 'pusher_internal:member_removed')],
			[open, event('orders', 'pusher:error')],
			[open, event('orders', '')],
			[open, event('private-orders', 'OfAnother')],
			[open, client('private-orders', frame('client-x'))],
			[all, client('private-orders', frame('client-x'))],
			[all, event('orders', 'OfAnother')],
			[guarded, 'M S0:0:0:'],
			[guarded, 'L S0:0:0:'],
			[open, `M P${field(id)}${field('presence-room')}${field('A 1 2 5 admin{}')}`],
		];
		for (const [channel, text] of bad) await redis.call('PUBLISH', channel, sign(channel, text));
		await waitFor(async () => await metric(nodes[1], 'bus_refused_total') >= before + bad.length, 'all are counted');
		await whisper(w0, w1, 'private-orders');
		assert.equal((await nodes[0].api().trigger('orders', 'Paid', '{}')).status, 200);
		await p1.next({ event: 'Paid' });
		for (const wire of [w0, w1, p0, p1]) {
			await wire.ping();
			assert.deepEqual(wire.frames.filter(({ event }) => !/^(client-\d+|client-signed|Paid|pusher:.*|pusher_internal:subscription_(succeeded|count))$/.test(event)), []);
			assert.deepEqual(wire.frames.filter(({ event }) => event === 'pusher:error'), []);
		}
	});
});

describe('two installations with one prefix', { concurrency: 2 }, () => {
	/** isCopy: the second database has the secret of the first one, as a copy of it would. */
	async function exchangeNothing(t, isCopy) {
		const redis = await startRedis(t);
		const databases = [await newDatabase(), await newDatabase()];
		const first = await startNodes(t, redis, databases[0]);
		const second = ['a', 'b'].map((name) => make(t, databases[1], name, redis));
		if (isCopy) {
			const [{ secret }] = await first[0].query('SELECT secret FROM node_secret');
			await second[0].start();
			await second[0].query('UPDATE node_secret SET secret = $1', [secret]);
			await second[0].stop();
		}
		for (const one of second) await one.start();
		await ready([...first, ...second], redis, 4);
		const of = await Promise.all([first, second].map(async (nodes) => {
			const wires = await subscribeEach(nodes, 'private-x');
			const rooms = await subscribeEach(nodes, 'presence-room', member(nodes === first ? 'first' : 'second'));
			return { wires, rooms };
		}));
		await waitFor(async () => await redis.subscriptions(':private-x') === 4, 'all nodes have the channel');
		for (const { wires: [one, two] } of of) {
			await whisper(one, two, 'private-x');
			await whisper(two, one, 'private-x');
		}
		const own = of.map(({ wires }) => wires.flatMap((wire) => wire.frames.filter(({ event }) => event.startsWith('client-'))
			.map(({ event }) => event)));
		assert.deepEqual(own[0].filter((event) => own[1].includes(event)), [], 'no client event is at both');
		for (const { rooms } of of) for (const wire of rooms) {
			await wire.ping();
			assert.deepEqual(wire.all({ event: 'pusher_internal:member_added' }), []);
		}
		for (const one of [...first, ...second]) {
			await waitFor(() => /no node of this cluster has signed it.*another installation uses this Redis with the same cluster\.prefix/
				.test(one.logText), 'the node logs it');
			assert.ok(await metric(one, 'bus_refused_total') > 0);
		}
	}

	test('exchange nothing, and log it', (t) => exchangeNothing(t, false));
	test('exchange nothing either where one has the secret of the other', (t) => exchangeNothing(t, true));
});
