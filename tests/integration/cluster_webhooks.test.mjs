// SPDX-License-Identifier: MIT
// Webhooks of several nodes: one for each change of the whole cluster, whatever happens to nodes and to the
// database.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { newDatabase, randomFrom, receiver, startCluster, startNodes, waitFor } from '../lib/harness.mjs';

const CHANNEL = 'presence-c';
const STATES = ['channel_occupied', 'channel_vacated', 'member_added', 'member_removed'];

const member = (id) => ({ channelData: { user_id: id } });

/** n nodes that send these events to a receiver, which is to.  end: the milliseconds until an end is reported. */
async function start(t, n, { events = STATES, filter, end = 100, app, webhooks, cluster, ...options } = {}) {
	const to = await receiver(t);
	const nodes = await startNodes(t, n, { ...options, cluster: { lease_ms: 4000, ...cluster },
		app: { member_removed_delay_ms: 0, ...app, webhooks: JSON.stringify([{ url: to.url, event_types: events, filter }]) },
		sections: { webhooks: { smoothing_ms: end, retry_min_ms: 20, retry_max_ms: 100, compare_s: 1, timeout_ms: 15000, ...webhooks } } });
	/** What was received of the channel: "occupied", "added u", ... */
	to.of = (channel) => to.events.filter((event) => event.channel === channel)
		.map((event) => [event.name.replace(/^.*_/, ''), event.user_id].filter(Boolean).join(' '));
	to.is = async (channel, ...wanted) => {
		await waitFor(() => to.of(channel).length >= wanted.length, `${wanted} on ${channel}; so far ${to.of(channel)}`);
		assert.deepEqual(to.of(channel), wanted);
	};
	/** Waits until the database has so many subscriptions and members of the channel, and more is so. */
	to.known = async (channel, subscriptions, users = 0, more = async () => true) => {
		let found;
		await waitFor(async () => {
			const [row] = await nodes[0].query(`SELECT * FROM cluster_occupancy('client-portal', ARRAY[$1])`, [channel]);
			found = row;
			return Number(row.subscriptions) === subscriptions && row.users === users && await more(found);
		}, `${subscriptions} subscriptions and ${users} users of ${channel}`).catch((error) => {
			throw new Error(`${error.message}; so far ${JSON.stringify(found)}`);
		});
	};
	/** The same, and nothing waits to be decided or sent. */
	to.settled = (channel, subscriptions, users) => to.known(channel, subscriptions, users, async (found) => {
		const [waiting] = await nodes[0].query(`SELECT (SELECT count(*) FROM webhook_changes) AS changes,
			(SELECT count(*) FROM webhook_queue) AS queued`);
		Object.assign(found, waiting);
		return Number(waiting.changes) + Number(waiting.queued) === 0;
	});
	return { to, nodes };
}

/** A client on the channel, of a presence channel as the user. */
async function join(on, channel, user) {
	const wire = await on.connect();
	await wire.subscribe(channel, user && member(user));
	return wire;
}

describe('webhooks of a cluster', { concurrency: 2 }, () => {
	test('report a channel once when two nodes have it, and its end when the last one has left', async (t) => {
		const { to, nodes } = await start(t, 3);
		for (const channel of ['c', 'd', 'e', 'f']) {
			const [one, two] = await Promise.all([join(nodes[0], channel), join(nodes[1], channel)]);
			await to.settled(channel, 2);
			await to.is(channel, 'occupied');
			one.unsubscribe(channel);
			await to.settled(channel, 1);
			await to.is(channel, 'occupied');
			two.unsubscribe(channel);
			await to.is(channel, 'occupied', 'vacated');
		}
		await join(nodes[2], 'c');
		await to.is('c', 'occupied', 'vacated', 'occupied');
		assert.deepEqual(await nodes[0].query('SELECT app, channel, user_id FROM webhook_reported'),
			[{ app: 'client-portal', channel: 'c', user_id: '' }]);
	});

	test('report a user once who is on two nodes, in the order of the channel', async (t) => {
		const { to, nodes } = await start(t, 3, { events: [...STATES, 'client_event'] });
		const [one, two] = await Promise.all([join(nodes[0], CHANNEL, 'u'), join(nodes[1], CHANNEL, 'u')]);
		// A subscription does not wait for a slow database for longer than a second.
		await to.known(CHANNEL, 2, 1);
		two.send({ event: 'client-e', channel: CHANNEL, data: '{}' });
		await to.settled(CHANNEL, 2, 1);
		await to.is(CHANNEL, 'occupied', 'added u', 'event u');
		const other = await join(nodes[2], CHANNEL, 'w');
		await to.is(CHANNEL, 'occupied', 'added u', 'event u', 'added w');
		await one.terminate();
		await to.settled(CHANNEL, 2, 2);
		await two.terminate();
		await to.is(CHANNEL, 'occupied', 'added u', 'event u', 'added w', 'removed u');
		other.unsubscribe(CHANNEL);
		await to.is(CHANNEL, 'occupied', 'added u', 'event u', 'added w', 'removed u', 'removed w', 'vacated');
	});

	test('report a channel as vacated after its members, also when their grace is longer', async (t) => {
		const { to, nodes } = await start(t, 2, { app: { member_removed_delay_ms: 1500 } });
		const wire = await join(nodes[1], CHANNEL, 'u');
		await to.is(CHANNEL, 'occupied', 'added u');
		await wire.terminate();
		await to.is(CHANNEL, 'occupied', 'added u', 'removed u', 'vacated');
		assert.deepEqual(await nodes[0].query('SELECT FROM webhook_reported'), []);
	});

	test('report a member after its channel, whose node registers both in calls of their own', async (t) => {
		const { to, nodes } = await start(t, 2);
		const [{ number }] = await nodes[0].query(`SELECT number FROM nodes WHERE name = 'a'`);
		const register = (channel, user) => nodes[0].query(`WITH member AS (
			INSERT INTO cluster_members (app, channel, user_id, node, info, subscriptions)
			VALUES ('client-portal', $1, $2, $3, '', CASE WHEN $2 = '' THEN 1 ELSE 0 END))
			INSERT INTO webhook_changes VALUES ('client-portal', $1, $2, clock_timestamp())`, [channel, user, number]);
		await register(CHANNEL, 'u');
		await register('decided-later', '');
		await to.is('decided-later', 'occupied');
		await register(CHANNEL, '');
		await to.is(CHANNEL, 'occupied', 'added u');
	});

	test('report no channel as vacated that has a new member, whose node has not registered the channel yet', async (t) => {
		const { to, nodes } = await start(t, 2);
		const [{ number }] = await nodes[0].query(`SELECT number FROM nodes WHERE name = 'a'`);
		await waitFor(async () => (await nodes[0].query('SELECT FROM node_generation WHERE known_from < clock_timestamp()')).length,
			'ends are reported');
		const note = `INSERT INTO webhook_changes SELECT 'client-portal', '${CHANNEL}', id, clock_timestamp() FROM unnest('{"",u}'::text[]) id`;
		await nodes[0].query(`WITH reported AS (INSERT INTO webhook_reported (app, channel) VALUES ('client-portal', '${CHANNEL}')),
			member AS (INSERT INTO cluster_members (app, channel, user_id, node, info)
				VALUES ('client-portal', '${CHANNEL}', 'u', ${number}, '')) ${note}`);
		await to.is(CHANNEL, 'added u');
		await nodes[0].query(`WITH gone AS (DELETE FROM cluster_members WHERE channel = '${CHANNEL}') ${note}`);
		await to.is(CHANNEL, 'added u', 'removed u', 'vacated');
	});

	test('report what a member has sent after the member, also while the database does not know it', async (t) => {
		const { to, nodes } = await start(t, 2, { events: [...STATES, 'client_event'] });
		const wire = await join(nodes[0], 'private-other');
		await to.is('private-other', 'occupied');
		const session = await nodes[1].session();
		await session.query('BEGIN; LOCK TABLE cluster_channels IN EXCLUSIVE MODE');
		await wire.subscribe(CHANNEL, member('u'));      // succeeds within the node
		for (const channel of [CHANNEL, 'private-other']) wire.send({ event: 'client-e', channel, data: '{}' });
		await to.is('private-other', 'occupied', 'event');
		assert.deepEqual(to.of(CHANNEL), []);
		await session.query('COMMIT');
		await to.is(CHANNEL, 'occupied', 'added u', 'event u');
		wire.send({ event: 'client-e', channel: CHANNEL, data: '{}' });
		await to.is(CHANNEL, 'occupied', 'added u', 'event u', 'event u');
	});

	test('report what a member has sent who left before the database knew it', async (t) => {
		const { to, nodes } = await start(t, 2, { events: [...STATES, 'client_event'] });
		const session = await nodes[1].session();
		await session.query('BEGIN; LOCK TABLE cluster_channels IN EXCLUSIVE MODE');
		const wire = await join(nodes[0], CHANNEL, 'u');
		wire.send({ event: 'client-e', channel: CHANNEL, data: '{}' });
		await wire.ping();
		await wire.terminate();
		await to.is(CHANNEL, 'event u');
		await session.query('COMMIT');
	});

	test('do not report a user who comes back on another node in time', async (t) => {
		const { to, nodes } = await start(t, 3, { end: 4000, app: { member_removed_delay_ms: 500 } });
		let wire = await join(nodes[0], CHANNEL, 'u');
		for (let i = 1; i < 7; i++) {
			await wire.terminate();
			wire = await join(nodes[i % 3], CHANNEL, 'u');
		}
		await to.settled(CHANNEL, 1, 1);
		await to.is(CHANNEL, 'occupied', 'added u');
		await wire.terminate();
		await to.is(CHANNEL, 'occupied', 'added u', 'removed u', 'vacated');
	});

	test('are sent by one node at a time for each channel, also when one with a lower id is committed later', async (t) => {
		const { to, nodes } = await start(t, 2);
		const times = [];
		to.answer = () => { times.push(Date.now()); return 200; };
		// The second one is under way at a node.
		const rows = await nodes[0].query(`INSERT INTO webhook_queue (app, endpoint, channel, event, next_at)
			SELECT 'client-portal', $1, 'c', json_build_object('name', name, 'channel', 'c'), clock_timestamp() + wait
			FROM (VALUES (1, 'channel_occupied', interval '0'), (2, 'channel_vacated', interval '5 s')) v(n, name, wait)
			ORDER BY n RETURNING extract(epoch FROM next_at) * 1000 AS at`, [to.url.replace(/\?.*/, '')]);
		await to.is('c', 'occupied', 'vacated');
		assert.ok(times[0] >= Number(rows[1].at), `${rows[1].at - times[0]} ms too early`);
	});

	test('report only to endpoints that want it', async (t) => {
		const { to, nodes } = await start(t, 2, { events: ['member_removed'] });
		const wire = await join(nodes[0], CHANNEL, 'u');
		await join(nodes[1], 'c');
		await to.settled(CHANNEL, 1, 1);
		await wire.terminate();
		await to.is(CHANNEL, 'removed u');
		await to.settled(CHANNEL, 0);
		assert.deepEqual(to.of('c'), []);
		assert.deepEqual(await nodes[0].query('SELECT FROM webhook_reported'), []);
	});

	test('report only channels that the endpoint\'s filter has', async (t) => {
		const { to, nodes } = await start(t, 2, { filter: { channel_name_starts_with: 'private-', channel_name_ends_with: '-x' } });
		for (const [at, channel] of ['private-a', 'a-x', 'private-a-x', 'private-x'].entries())
			await join(nodes[at % 2], channel);
		await to.settled('private-x', 1);
		assert.deepEqual(to.events.map((event) => event.channel).sort(), ['private-a-x', 'private-x']);
	});

	test('report nothing of the channels that the protocol makes for signed-in users', async (t) => {
		const { to, nodes } = await start(t, 2);
		const wire = await nodes[0].connect();
		wire.sendSignin({ id: '1', watchlist: ['2'] });
		await wire.next({ event: 'pusher:signin_success' });
		await wire.subscribe('#server-to-user-1');
		await wire.subscribe('c');
		await to.is('c', 'occupied');
		await wire.close();
		await to.is('c', 'occupied', 'vacated');
		await to.settled('c', 0);
		assert.deepEqual(to.events.filter((event) => event.channel !== 'c'), []);
	});

	test('have the sums of all nodes as counts, at most one a second', async (t) => {
		const { to, nodes } = await start(t, 3, { events: ['subscription_count'] });
		const begin = Date.now(), n = 12;
		const wires = [];
		for (let i = 0; i < n; i++) wires.push(await join(nodes[i % 3], 'c'));
		const counts = () => to.named('subscription_count', 'c').map((event) => event.subscription_count);
		await waitFor(() => counts().at(-1) === n, 'the sum');
		assert.deepEqual(counts(), [...new Set(counts())].sort((a, b) => a - b), 'each is another one');
		for (const wire of wires.slice(3)) await wire.terminate();
		await waitFor(() => counts().at(-1) === 3, 'the sum of those who stay');
		const seconds = (Date.now() - begin) / 1000;
		assert.ok(counts().length <= seconds + 1, `${counts()} in ${seconds} s`);
		await join(nodes[0], CHANNEL, 'u');
		for (const wire of wires.slice(0, 3)) await wire.terminate();
		await to.settled('c', 0);
		await to.settled(CHANNEL, 1, 1);
		assert.equal(to.named('subscription_count', CHANNEL).length, 0, 'presence channels have none');
		assert.ok(counts().every((count) => count > 0), 'no subscription is no count');
	});

	test('alternate for each channel and user, and are right in the end', async (t) => {
		const { to, nodes } = await start(t, 3, { end: 20, app: { member_removed_delay_ms: 10 } });
		const seed = Date.now() % 1e6;
		t.diagnostic(`seed ${seed}`);
		const random = randomFrom(seed);
		const names = ['c1', 'c2', 'presence-1', 'presence-2'];
		const on = new Map(names.map((name) => [name, []]));
		for (let round = 0; round < 12; round++) {
			await Promise.all(Array.from({ length: 12 }, async () => {
				const channel = names[Math.floor(random() * names.length)], wires = on.get(channel);
				const user = channel.startsWith('presence') ? `u${Math.floor(random() * 4)}` : undefined;
				if (wires.length && random() < 0.55) {
					const [{ wire }] = wires.splice(Math.floor(random() * wires.length), 1);
					if (random() < 0.5) await wire.terminate();
					else wire.unsubscribe(channel);
				} else {
					wires.push({ user, wire: await join(nodes[Math.floor(random() * 3)], channel, user) });
				}
			}));
		}
		for (const [channel, wires] of on) {
			const users = new Set(wires.map(({ user }) => user).filter(Boolean));
			await to.settled(channel, wires.length, users.size);
			const reported = new Set();
			for (const event of to.of(channel)) {
				const [what, user = channel] = event.split(' ');
				if (['occupied', 'added'].includes(what)) {
					assert.ok(!reported.has(user), `${event} once in ${to.of(channel)}`);
					reported.add(user);
				} else {
					assert.ok(reported.delete(user), `${event} once in ${to.of(channel)}`);
				}
			}
			assert.deepEqual([...reported].sort(), [...users, ...wires.length ? [channel] : []].sort());
		}
	});
});

describe('webhooks of a cluster, when something ends', { concurrency: 2 }, () => {
	test('report once what only a killed node had, after its lease, and nothing of the rest', async (t) => {
		const { to, nodes } = await start(t, 3);
		for (const channel of ['c', 'only']) await join(nodes[2], channel);
		for (const user of ['u', 'only']) await join(nodes[2], CHANNEL, user);
		await join(nodes[0], 'c');
		await join(nodes[1], CHANNEL, 'u');
		await to.settled(CHANNEL, 3, 2);
		await nodes[2].kill();
		await to.is('only', 'occupied', 'vacated');
		await to.settled(CHANNEL, 1, 1);
		await to.settled('c', 1);
		await to.is('c', 'occupied');
		await to.is(CHANNEL, 'occupied', 'added u', 'added only', 'removed only');
	});

	test('report a channel as vacated after its members, whose node was killed within their grace', async (t) => {
		const { to, nodes } = await start(t, 2, { app: { member_removed_delay_ms: 60000 } });
		const wire = await join(nodes[1], CHANNEL, 'u');
		await to.is(CHANNEL, 'occupied', 'added u');
		await wire.terminate();
		await waitFor(async () => (await nodes[0].query(`SELECT FROM cluster_members WHERE subscriptions > 0`)).length === 0,
			'its subscription has ended in the database');
		await nodes[1].kill();
		await to.is(CHANNEL, 'occupied', 'added u', 'removed u', 'vacated');
	});

	test('of client events are not delayed by very many whose members the database does not know', async (t) => {
		const { to, nodes: [one] } = await start(t, 1, { events: ['channel_occupied', 'member_added', 'client_event'],
			app: { max_client_events_per_second: 0 } });
		const [sender, other] = [await one.connect(), await one.connect()];
		await other.subscribe('private-other');
		await to.is('private-other', 'occupied');
		const lock = await one.session();
		await lock.query('BEGIN; LOCK TABLE cluster_channels IN EXCLUSIVE MODE');
		await sender.subscribe(CHANNEL, member('u'));
		for (let i = 0; i < 1200; i++) sender.send({ event: 'client-many', channel: CHANNEL, data: '{}' });
		await sender.ping();
		// While the lock is held nothing ends the wait of the others before 30 s.
		for (let i = 0; i < 3; i++) {
			other.send({ event: 'client-e', channel: 'private-other', data: '{}' });
			await waitFor(() => to.of('private-other').length === 2 + i, 'the event of the other channel', 25000);
		}
		await lock.query('COMMIT');
		await waitFor(() => to.of(CHANNEL).filter((name) => name === 'event u').length === 1200, 'all events of the member');
		assert.equal(to.of(CHANNEL).filter((name) => name === 'added u').length, 1);
	});

	test('report a node that stops as one whose clients have left', async (t) => {
		const { to, nodes } = await start(t, 2);
		await join(nodes[0], 'c');
		for (const channel of ['c', 'only']) await join(nodes[1], channel);
		await to.settled('c', 2);
		await nodes[1].stop();
		await to.is('only', 'occupied', 'vacated');
		await to.settled('c', 1);
		await to.is('c', 'occupied');
	});

	test('are repeated after no crash of PostgreSQL, and what ended meanwhile is reported once', async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop());
		const { to, nodes } = await start(t, 3, { database: await newDatabase(cluster), events: [...STATES, 'subscription_count'] });
		const leavers = [await join(nodes[0], 'left'), await join(nodes[2], CHANNEL, 'left')];
		for (const one of nodes) await join(one, 'c');
		await join(nodes[0], CHANNEL, 'u');
		await join(nodes[1], CHANNEL, 'u');
		await waitFor(() => to.of('c').length >= 2 && to.named('subscription_count', 'c').at(-1)?.subscription_count === 3,
			'the count');
		await to.settled(CHANNEL, 3, 2);
		const before = to.of('c');
		const restarted = cluster.killAndStart();
		for (const wire of leavers) await wire.terminate();
		await restarted;
		await to.is('left', 'occupied', 'count', 'vacated');
		await to.settled(CHANNEL, 2, 1);
		await to.is(CHANNEL, 'occupied', 'added left', 'added u', 'removed left');
		await to.settled('c', 3);
		assert.deepEqual(to.of('c'), before);
		await join(nodes[2], 'new');
		await to.is('new', 'occupied', 'count');
	});

	test('report after a crash no end of what a node has that registers late, and other ends before a lease has passed', async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop());
		const { to, nodes } = await start(t, 3, { database: await newDatabase(cluster), cluster: { lease_ms: 600000 } });
		const leaver = await join(nodes[1], 'left');
		for (const channel of ['c', 'late']) await join(nodes[2], channel);
		await join(nodes[2], CHANNEL, 'u');
		await to.is(CHANNEL, 'occupied', 'added u');
		for (const channel of ['c', 'late', 'left']) await to.is(channel, 'occupied');
		nodes[2].child.kill('SIGSTOP');
		await cluster.stop('immediate');
		await leaver.terminate();
		await cluster.start();
		await waitFor(async () => (await nodes[0].query(`SELECT FROM cluster_nodes WHERE is_complete`)).length === 2,
			'two nodes are registered again');
		await join(nodes[0], 'new');
		await to.is('new', 'occupied');
		// The comparison has found what is absent.
		await waitFor(async () => (await nodes[0].query(`SELECT FROM webhook_changes WHERE channel IN ('late', 'left')`)).length === 2,
			'both ends wait');
		nodes[2].child.kill('SIGCONT');
		await to.is('left', 'occupied', 'vacated');
		await to.settled(CHANNEL, 1, 1);
		await to.is(CHANNEL, 'occupied', 'added u');
		for (const channel of ['c', 'late']) await to.is(channel, 'occupied');
	});

	test('are found by comparison when a change was not noted', async (t) => {
		const { to, nodes } = await start(t, 2);
		const wire = await join(nodes[0], CHANNEL, 'u');
		await to.settled(CHANNEL, 1, 1);
		await nodes[1].query(`DELETE FROM webhook_reported WHERE user_id = 'u'`);
		await nodes[1].query(`INSERT INTO webhook_reported (app, channel) VALUES ('client-portal', 'gone')`);
		await to.is(CHANNEL, 'occupied', 'added u', 'added u');
		await to.is('gone', 'vacated');
		await wire.terminate();
		await to.is(CHANNEL, 'occupied', 'added u', 'added u', 'removed u', 'vacated');
	});

	test('report no more than a daemon did that was alone before', async (t) => {
		const database = await newDatabase();
		const alone = await start(t, 1, { database, cluster: { driver: 'local' } });
		for (const channel of ['c', 'gone']) await join(alone.nodes[0], channel);
		await alone.to.is('gone', 'occupied');
		await waitFor(async () => (await alone.nodes[0].query('SELECT FROM webhook_reported')).length === 2, 'both are noted');
		await alone.nodes[0].kill();
		const { to, nodes } = await start(t, 2, { database });
		await join(nodes[1], 'c');
		await to.is('gone', 'vacated');
		await to.settled('c', 1);
		assert.deepEqual(to.of('c'), []);
	});
});
