// SPDX-License-Identifier: MIT
// Several nodes on one database: committed events on each of them, once and in one order; who is a
// node, and what happens when a node or the database ends.  With SCOPEWIRE_TEST_BUS = redis
// (cluster_redis.test.mjs) the nodes reach each other through a Redis.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { Sync, bus, end, live, logged, newDatabase, node, query, redis, rows, startCluster, startNodes, waitFor } from '../lib/harness.mjs';
import { request } from '../lib/api.mjs';
import { TOKEN, bearer } from '../lib/ctl.mjs';
import { adminUrl } from '../lib/nodes.mjs';

const UNAVAILABLE = 69;
const testOfPostgres = redis ? () => {} : test;

/** The nodes get what others send to the channel: with Redis not before they are subscribed there. */
async function reachable(nodes, channel) {
	const n = new Set(nodes).size;
	await waitFor(async () => !redis
		|| await redis.subscriptions(`${nodes[0].database.name}:*:client-portal:${channel}`) >= n, 'Redis has all subscriptions');
}

/** A subscriber on each node. */
async function subscribers(nodes, channel) {
	const wires = await Promise.all(nodes.map(async (one) => {
		const wire = await one.connect();
		await wire.subscribe(channel);
		return wire;
	}));
	await reachable(nodes, channel);
	return wires;
}

const events = (wire, channel) => wire.frames.filter((frame) => frame.channel === channel && /^E/.test(frame.event));
const seen = (wire, channel) => events(wire, channel).map((frame) => frame.event);
/** Waits until each wire has n events of the channel, and then that all have the same, each once. */
async function sameEverywhere(wires, channel, n) {
	await waitFor(() => wires.every((wire) => seen(wire, channel).length >= n), `${n} events on ${channel} everywhere; `
		+ `so far ${wires.map((wire) => seen(wire, channel).length)}`);
	for (const wire of wires) await wire.ping();
	const [first] = wires;
	assert.equal(new Set(seen(first, channel)).size, n);
	for (const wire of wires) assert.deepEqual(seen(wire, channel), seen(first, channel));
}

describe('committed events', { concurrency: 2 }, () => {
	test('published over HTTP on any node reach all nodes once and in one order', async (t) => {
		const nodes = await startNodes(t, 3);
		const wires = await subscribers(nodes, 'c');
		const n = 60;
		await Promise.all(nodes.map(async (one, at) => {
			for (let i = 0; i < n; i++)
				assert.equal((await one.api().trigger('c', `E${at}.${i}`, '{}')).status, 200);
		}));
		await sameEverywhere(wires, 'c', 3 * n);
		for (const one of nodes) await one.stop();
	});

	test('published from SQL reach all nodes once and in one order, whichever drains them', async (t) => {
		const nodes = await startNodes(t, 3);
		const wires = await subscribers(nodes, 'c');
		const n = 40;
		await Promise.all([
			(async () => {
				for (let i = 0; i < n; i++) await nodes[0].query(`SELECT broadcast('c', $1, '{}')`, [`Esql${i}`]);
			})(),
			(async () => {
				for (let i = 0; i < n; i++) await nodes[1].api().trigger('c', `Ehttp${i}`, '{}');
			})(),
		]);
		await nodes[2].query(`SELECT broadcast('c', 'E' || n, '{}') FROM generate_series(1, 300) n`);
		await sameEverywhere(wires, 'c', 2 * n + 300);
		for (const one of nodes) await one.stop();
	});

	test('of durability async reach each node once', async (t) => {
		const nodes = await startNodes(t, 2, { app: { durability: 'async' } });
		const wires = await subscribers(nodes, 'c');
		await Promise.all(nodes.map(async (one, at) => {
			for (let i = 0; i < 50; i++) assert.equal((await one.api().trigger('c', `E${at}.${i}`, '{}')).status, 200);
		}));
		await waitFor(() => wires.every((wire) => seen(wire, 'c').length >= 100), 'all events everywhere');
		for (const wire of wires) {
			await wire.ping();
			assert.equal(new Set(seen(wire, 'c')).size, 100);
			assert.equal(seen(wire, 'c').length, 100);
		}
	});

	test('leave out the socket that published them, on whichever node it is', async (t) => {
		const nodes = await startNodes(t, 2);
		const [one, two] = await subscribers(nodes, 'c');
		assert.notEqual(one.socketId, two.socketId);
		const more = { socket_id: one.socketId };
		assert.equal((await nodes[1].api().trigger('c', 'E1', '{}', more)).status, 200);
		await nodes[0].query(`SELECT broadcast('c', 'E2', '{}', exclude_socket => $1)`, [two.socketId]);
		assert.equal((await nodes[0].api().trigger('c', 'E3', '{}')).status, 200);
		await one.next({ event: 'E3' });
		await two.next({ event: 'E3' });
		assert.deepEqual([seen(one, 'c'), seen(two, 'c')], [['E2', 'E3'], ['E1', 'E3']]);
	});

	test('are replayed by another node than the one that the client was connected to', async (t) => {
		const nodes = await startNodes(t, 2);
		const [wire] = await subscribers(nodes, 'c');
		await nodes[1].api().trigger('c', 'E1', '{}');
		const first = await wire.next({ event: 'E1' });
		await wire.terminate();
		for (let i = 2; i <= 20; i++) await nodes[i % 2].api().trigger('c', `E${i}`, '{}');
		const back = await nodes[1].connect();
		await back.subscribe('c', { since: `${wire.epoch}:${first.serial}` });
		await back.next({ event: 'E20' });
		assert.deepEqual(seen(back, 'c'), Array.from({ length: 19 }, (_, i) => `E${i + 2}`));
	});
});

describe('metrics', () => {
	/** The sum over the nodes of the series of a metric that match. */
	async function sum(nodes, pattern) {
		const texts = await Promise.all(nodes.map(async (one) =>
			(await request(`${adminUrl(one)}/metrics`, { headers: bearer(TOKEN.metrics) })).text));
		return texts.flatMap((text) => text.split('\n')).filter((line) => pattern.test(line))
			.reduce((total, line) => total + Number(line.split(' ').at(-1)), 0);
	}

	test('an event of SQL counts once in the cluster, whichever node gives it its serial', async (t) => {
		const nodes = await startNodes(t, 3);
		const wires = await subscribers(nodes, 'c');
		const n = 30;
		await Promise.all([
			(async () => {
				for (let i = 0; i < n; i++) await nodes[0].query(`SELECT broadcast('c', $1, '{}')`, [`Esql${i}`]);
			})(),
			nodes[1].query(`SELECT broadcast('c', 'E' || n, '{"four": 4}') FROM generate_series(1, 1200) n`),
			...nodes.map(async (one, at) => {
				for (let i = 0; i < n; i++) await one.api().trigger('c', `Ehttp${at}.${i}`, '{}');
			}),
			...nodes.map(async (one, at) => {
				for (let i = 0; i < n; i++) {
					const answer = await Sync.server(one).call('POST', 'activities', { body: { type: `a${at}.${i}` }, headers: { Prefer: 'wait' } });
					assert.ok(answer.json.serial, answer.text);
				}
			}),
		]);
		await sameEverywhere(wires, 'c', 1200 + n + 3 * n);
		// The last row of the log, on all nodes: those of other channels are before it.
		await nodes[0].query(`SELECT broadcast('c', 'Elast', '{}')`);
		for (const wire of wires) await wire.next({ event: 'Elast' });
		const [{ sql, sync, bytes }] = await nodes[0].query(`SELECT count(*) FILTER (WHERE origin = 'sql')::integer AS sql,
			count(*) FILTER (WHERE origin = 'sync')::integer AS sync, sum(octet_length(payload::text))::integer AS bytes
			FROM realtime_events WHERE origin IN ('sql', 'sync', 'http')`);
		assert.deepEqual([sql, sync], [1200 + n + 1, 3 * n]);
		await waitFor(async () => await sum(nodes, /^scopewire_events_in_total\{via="(sql|sync)"/) >= sql + sync, 'all are counted');
		assert.equal(await sum(nodes, /^scopewire_events_in_total\{via="sql"/), sql);
		assert.equal(await sum(nodes, /^scopewire_events_in_total\{via="sync"/), sync);
		assert.equal(await sum(nodes, /^scopewire_payload_bytes_count/), sql + sync + 3 * n);
		assert.equal(await sum(nodes, /^scopewire_payload_bytes_sum/), bytes);
		for (const one of nodes) await one.stop();
	});
});

describe('what is in no log', { concurrency: 2 }, () => {
	const text = (bytes) => 'ä€x'.repeat(Math.ceil(bytes / 6)).slice(0, bytes / 2);

	test('client events reach the subscribers on other nodes once, and not their sender', async (t) => {
		const nodes = await startNodes(t, 3, { app: { max_event_payload_bytes: 60000, max_client_events_per_second: 0 } });
		const wires = await subscribers(nodes, 'private-c');
		const other = await nodes[1].connect();
		await other.subscribe('private-other');
		const sizes = [0, 10, 7000, 9000, 50000, 20];
		for (const [at, size] of sizes.entries())
			wires[0].send({ event: `client-E${at}`, channel: 'private-c', data: { at, text: text(size) } });
		for (const wire of wires.slice(1)) {
			await wire.next({ event: `client-E${sizes.length - 1}` });
			const got = wire.frames.filter((frame) => /^client-E/.test(frame.event));
			assert.deepEqual(got.map((frame) => frame.event), sizes.map((_, at) => `client-E${at}`));
			for (const [at, frame] of got.entries()) {
				const data = typeof frame.data === 'string' ? JSON.parse(frame.data) : frame.data;
				assert.deepEqual(data, { at, text: text(sizes[at]) });
			}
		}
		wires[2].send({ event: 'client-back', channel: 'private-c', data: {} });
		for (const wire of wires.slice(0, 2)) await wire.next({ event: 'client-back' });
		await wires[2].ping();
		assert.equal(wires[0].all({ event: /^client-E/ }).length, 0);
		assert.equal(wires[2].all({ event: 'client-back' }).length, 0);
		assert.equal(other.all({ event: /^client-/ }).length, 0);
	});

	test('events of durability none reach other nodes, without the excluded socket, and cache channels keep them', async (t) => {
		const nodes = await startNodes(t, 2, { app: { durability: 'none' } });
		const wires = await subscribers(nodes, 'cache-c');
		const send = (at, name, more) => nodes[at].api().trigger('cache-c', name, { at }, more);
		assert.equal((await send(0, 'E1')).status, 200);
		assert.equal((await send(0, 'E2', { socket_id: wires[1].socketId })).status, 200);
		assert.equal((await send(1, 'E3')).status, 200);
		assert.equal((await send(0, 'E4')).status, 200);
		for (const wire of wires) {
			for (const name of ['E1', 'E3', 'E4'])
				await waitFor(() => seen(wire, 'cache-c').includes(name), name);
			await wire.ping();
		}
		assert.deepEqual(seen(wires[0], 'cache-c').sort(), ['E1', 'E2', 'E3', 'E4']);
		assert.deepEqual(seen(wires[1], 'cache-c').sort(), ['E1', 'E3', 'E4']);
		const [one, two] = wires.map((wire) => wire.frames.find((frame) => frame.event === 'E1'));
		assert.deepEqual(two, one);
		const late = await nodes[1].connect();
		await late.subscribe('cache-c');
		await late.next({ event: /^E[34]$/ });
	});

	test('a burst arrives whole; what cannot be sent is counted, and commits go on', async (t) => {
		const nodes = await startNodes(t, 2, { app: { durability: 'none', channel_durability: 'logged:commit',
			max_event_payload_bytes: 1000000 } });
		const wires = await subscribers(nodes, 'c');
		await Promise.all(Array.from({ length: 300 }, (_, i) => nodes[i % 2].api().trigger('c', `E${i}`, { i })));
		await waitFor(() => wires.every((wire) => seen(wire, 'c').length === 300), 'all events on both nodes');
		assert.deepEqual(seen(wires[0], 'c').sort(), seen(wires[1], 'c').sort());
		assert.equal((await nodes[0].api().trigger('c', 'Elarge', 'x'.repeat(600000))).status, 200);
		assert.equal((await nodes[0].api().trigger('c', 'Enul', 'a\u0000b')).status, 200);
		assert.equal((await nodes[0].api().trigger('c', 'Elast', '{}')).status, 200);
		await wires[1].next({ event: 'Elast' });
		await wires[0].next({ event: 'Elast' });
		assert.equal(seen(wires[0], 'c').length - seen(wires[1], 'c').length, 2);
		await wires[0].subscribe('logged');
		assert.equal((await nodes[1].api().trigger('logged', 'E', '{}')).status, 200);
		await wires[0].next({ event: 'E', channel: 'logged' });
	});

	testOfPostgres('goes on within a node while the database is away, and across nodes afterwards', async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop());
		const nodes = await startNodes(t, 2, { database: await newDatabase(cluster) });
		const wires = await subscribers([nodes[0], nodes[0], nodes[1]], 'private-c');
		await cluster.stop();
		wires[0].send({ event: 'client-away', channel: 'private-c', data: {} });
		await wires[1].next({ event: 'client-away' });
		await cluster.start();
		await waitFor(async () => (await live(nodes[0])).length === 2, 'both nodes have a lease');
		await waitFor(async () => {
			wires[0].send({ event: 'client-again', channel: 'private-c', data: {} });
			await wires[0].ping();
			return wires[2].all({ event: 'client-again' }).length;
		}, 'a client event across nodes');
		assert.ok(wires[2].all({ event: 'client-away' }).length <= 1);
	});

	testOfPostgres('is hidden from roles that can connect: they do not know the channel', async (t) => {
		const nodes = await startNodes(t, 2);
		const { host, name } = nodes[0].database;
		const role = `other_${name}`;
		await query(host, name, `CREATE ROLE ${role} LOGIN; GRANT USAGE ON SCHEMA scopewire TO ${role}`, [], 'postgres');
		t.after(() => query(host, name, `DROP OWNED BY ${role}; DROP ROLE ${role}`, [], 'postgres'));
		for (const sql of ['SELECT * FROM node_secret', `SELECT node_channel('scopewire')`])
			await assert.rejects(query(host, name, sql, [], role), /permission denied/);
		const shown = await query(host, name, `SELECT query FROM pg_stat_activity WHERE query ~ (SELECT $1)`,
			[(await nodes[0].query('SELECT secret FROM node_secret'))[0].secret], role).catch(() => []);
		assert.deepEqual(shown.filter((row) => !/pg_stat_activity/.test(row.query)), []);
	});
});

describe('the nodes of a cluster', { concurrency: 2 }, () => {
	test('each have a row with a number, which the ids of their sockets contain', async (t) => {
		const nodes = await startNodes(t, 2);
		assert.deepEqual(await live(nodes[0]), ['a', 'b']);
		const [a, b] = await rows(nodes[0]);
		const wires = await Promise.all(nodes.map((one) => one.connect()));
		assert.deepEqual(wires.map((wire) => Number(wire.socketId.split('.')[0]) >> 19), [a.number, b.number]);
		await nodes[0].stop();
		assert.deepEqual(await live(nodes[1]), ['b'], 'one that stops in order deregisters');
		await nodes[0].start();
		assert.deepEqual(await live(nodes[1]), ['a', 'b']);
		assert.notEqual((await rows(nodes[1]))[0].number, a.number);
	});

	test('go on when one is killed, whose row is deleted when its lease has ended', async (t) => {
		const nodes = await startNodes(t, 3, { cluster: { lease_ms: 5000 } });
		const wires = await subscribers(nodes, 'c');
		await nodes[2].kill();
		for (let i = 0; i < 10; i++) assert.equal((await nodes[i % 2].api().trigger('c', `E${i}`, '{}')).status, 200);
		await sameEverywhere(wires.slice(0, 2), 'c', 10);
		await waitFor(async () => (await live(nodes[0])).join() === 'a,b' && (await rows(nodes[0])).length === 2,
			'the row of the killed node is deleted, and no other');
		await nodes[2].start();
		const [again] = await subscribers([nodes[2]], 'c');
		assert.equal((await nodes[0].api().trigger('c', 'E10', '{}')).status, 200);
		await again.next({ event: 'E10' });
		await nodes[2].stop();
		await nodes[2].start();
		assert.equal((await nodes[2].api().trigger('c', 'E11', '{}')).status, 200);
		await sameEverywhere(wires.slice(0, 2), 'c', 12);
	});

	testOfPostgres('notify each other of commits, and one that is alone notifies no one', async (t) => {
		const [first, second] = await startNodes(t, 2);
		const got = [];
		const session = await first.session();
		t.after(() => session.end());
		session.on('notification', ({ payload }) => got.push(payload));
		const [{ channel }] = await first.query(`SELECT node_channel('scopewire') AS channel`);
		await session.query(`LISTEN ${channel}`);
		const [{ number }] = await rows(first);
		await first.api().trigger('c', 'E', '{}');
		await waitFor(() => got.includes(`1 ${number} L`), 'a notification');
		await second.stop();
		await waitFor(async () => {
			await session.query('SELECT');
			const before = got.length;
			await first.api().trigger('c', 'E', '{}');
			await first.query(`SELECT broadcast('c', 'E', '{}')`);
			const wire = await first.connect();
			await wire.subscribe('c');
			await first.api().trigger('c', 'Last', '{}');
			await wire.next({ event: 'Last' });
			await session.query('SELECT');
			return got.length === before;
		}, 'no notification');
	});

	test('start again at once after a kill', async (t) => {
		const nodes = await startNodes(t, 2, { cluster: { lease_ms: 600000 }, database: undefined });
		await nodes[0].kill();
		await nodes[0].start();
		assert.deepEqual(await live(nodes[1]), ['a', 'b']);
	});

	test('register again with their number when a lease has ended', async (t) => {
		const nodes = await startNodes(t, 2, { cluster: { lease_ms: 5000 } });
		const wires = await subscribers(nodes, 'c');
		const [{ number }] = await rows(nodes[1]);
		assert.equal(Number(wires[0].socketId.split('.')[0]) >> 19, number);
		nodes[0].child.kill('SIGSTOP');
		await waitFor(async () => (await rows(nodes[1])).length === 1, 'the lease of the paused node ends');
		assert.equal((await nodes[1].api().trigger('c', 'E1', '{}')).status, 200);
		nodes[0].child.kill('SIGCONT');
		await waitFor(async () => (await live(nodes[1])).length === 2, 'it registers again');
		assert.equal((await rows(nodes[1]))[0].number, number, 'its open sockets have it in their ids');
		assert.equal((await nodes[1].api().trigger('c', 'E2', '{}')).status, 200);
		await sameEverywhere(wires, 'c', 2);
	});

	test('go on after PostgreSQL was restarted, and after it crashed', async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop());
		const nodes = await startNodes(t, 3, { database: await newDatabase(cluster) });
		const wires = await subscribers(nodes, 'c');
		let n = 0;
		for (const restart of [async () => { await cluster.stop(); await cluster.start(); },
			() => cluster.killAndStart()]) {
			await nodes[0].api().trigger('c', `E${n++}`, '{}');
			await restart();
			for (const one of nodes)
				await waitFor(async () => (await one.http('/ready')).status === 200, 'the node is ready again');
			await waitFor(async () => (await live(nodes[0])).length === 3, 'all nodes have registered');
			for (const one of nodes) assert.equal((await one.api().trigger('c', `E${n++}`, '{}')).status, 200);
			await sameEverywhere(wires, 'c', n);
		}
	});
});

describe('who may use a database', { concurrency: 2 }, () => {
	test('a second node of the same name exits, and names the first', async (t) => {
		const [first] = await startNodes(t, 1);
		const second = node(t, first.database, 'a', { database: { takeover_wait_s: 0 } });
		await second.spawn();
		const { code } = await second.child.ended;
		assert.equal(code, UNAVAILABLE, second.child.log);
		assert.match(second.child.log, /error: .*another daemon runs as node "a": .*process \d+.*server\.node/);
		assert.equal((await first.api().trigger('c', 'E', '{}')).status, 200);
	});

	test('a daemon that is alone waits for the end of all nodes, and a node for its end', async (t) => {
		const nodes = await startNodes(t, 2);
		const alone = node(t, nodes[0].database, 'alone', { cluster: { driver: 'local' } });
		await alone.spawn();
		await logged(alone.child, /still waiting after \d+ s for the end of the daemon that uses the database: the node/);
		for (const one of nodes) await one.stop();
		alone.port = Number((await logged(alone.child, /ready: listening on \S+:(\d+)/))[1]);
		assert.equal((await alone.api().trigger('c', 'E', '{}')).status, 200);
		await nodes[0].spawn();
		await logged(nodes[0].child, /still waiting after \d+ s for the end of the daemon that uses the database: alone/);
		await alone.stop();
		nodes[0].port = Number((await logged(nodes[0].child, /ready: listening on \S+:(\d+)/))[1]);
		assert.equal((await nodes[0].api().trigger('c', 'E', '{}')).status, 200);
	});
});

describe('what a node starts does no harm to the others', { concurrency: 2 }, () => {
	const apps = async (daemon) => (await daemon.query('SELECT app FROM log_apps ORDER BY app')).map((row) => row.app);

	test('a node with other applications adds them, and leaves those of the others', async (t) => {
		const database = await newDatabase();
		const one = node(t, database, 'a');
		const two = node(t, database, 'b', { app: { id: 'other', key: 'other' } });
		await one.start();
		await two.start();
		await waitFor(async () => (await apps(one)).length === 2, 'the applications of both');
		const wires = await Promise.all([one, two].map(async (daemon) => {
			const wire = await daemon.connect();
			await wire.subscribe('c');
			return wire;
		}));
		for (const daemon of [one, two, one]) {
			await daemon.query(`SELECT broadcast('c', 'ToOne', '{}', app => 'client-portal'),
				broadcast('c', 'ToTwo', '{}', app => 'other')`);
			await wires[0].next({ event: 'ToOne' });
			await wires[1].next({ event: 'ToTwo' });
		}
		assert.doesNotMatch(one.logText + two.logText, /names no application/);
		one.options.app = { max_event_payload_in_kb: 50 };
		one.apps = [{ ...one.app, max_event_payload_in_kb: 50 }];
		one.writeConfig();
		one.child.kill('SIGHUP');
		await waitFor(async () => (await one.query(`SELECT FROM log_apps WHERE app = 'client-portal'
			AND max_payload_bytes = 51200`)).length === 1, 'the new limit');
		assert.deepEqual(await apps(one), ['client-portal', 'other']);
		await two.restart();
		assert.deepEqual(await apps(one), ['client-portal', 'other']);
		two.apps = [{ ...two.app, id: 'third', key: 'third' }];
		await two.restart();
		await waitFor(async () => (await apps(one)).includes('third'), 'the new application');
		assert.deepEqual(await apps(one), ['client-portal', 'other', 'third'], 'none is deleted');
	});

	test('a node deletes no applications of others, also when it is the first after a crash', async (t) => {
		const [one] = await startNodes(t, 1);
		await waitFor(async () => (await apps(one)).length === 1, 'the application');
		await one.query('DELETE FROM nodes');
		await one.query(`SELECT log_apps_put('b', '[{"app":"other","c":200,"e":200,"p":10240}]')`);
		assert.deepEqual(await one.query('SELECT app, is_default FROM log_apps ORDER BY app'),
			[{ app: 'client-portal', is_default: true }, { app: 'other', is_default: false }]);
	});

	/** A viewer for each socket, which ends with it. */
	const view = (daemon, ...sockets) => daemon.query(`INSERT INTO viewers
		(app, resource_type, resource_id, user_id, tab, mode, since, expires_at)
		SELECT 'client-portal', 'client', s, 1, s, 'viewing', now(), now() + interval '1 h' FROM unnest($1::text[]) s`,
	[sockets]);
	/** The sockets whose viewers did not end. */
	const viewing = async (daemon) => (await daemon.query(`SELECT tab FROM viewers
		WHERE expires_at > now() + interval '50 min' ORDER BY tab`)).map((row) => row.tab);
	const GONE = '1.1';

	for (const [what, sql] of [['its lease ended', `UPDATE nodes SET lease = now() - interval '1 s'`],
		['a crash emptied the table', 'DELETE FROM nodes']]) {
		test(`what is tied to the sockets of a node that registered again stays: ${what}`, async (t) => {
			const [one] = await startNodes(t, 1, { cluster: { lease_ms: 2000 } });
			const { socketId } = await one.connect();
			await one.query(sql);
			await waitFor(async () => (await live(one)).length === 1, 'it registers again');
			await view(one, socketId, GONE);
			await one.query(`INSERT INTO locks (app, resource_type, resource_id, token, user_id, ttl, acquired_at,
				renewed_at, expires_at, sockets) SELECT 'client-portal', 'client', '1', 1, 1, 3600, now(), now(),
				now() + interval '1 h', ARRAY[$1, $2]`, [socketId, GONE]);
			const two = node(t, one.database, 'b');
			await two.start();
			await waitFor(async () => !(await viewing(one)).includes(GONE), 'the second node sweeps');
			assert.deepEqual(await viewing(one), [socketId]);
			await waitFor(async () => !(await one.query('SELECT sockets FROM locks'))[0].sockets.includes(GONE), 'and its locks');
			assert.deepEqual(await one.query('SELECT sockets, user_id::integer FROM locks'), [{ sockets: [socketId], user_id: 1 }]);
		});
	}

	test('a daemon that is alone ends what was tied to killed nodes, and a node the row of a killed daemon', async (t) => {
		const [one] = await startNodes(t, 1, { cluster: { lease_ms: 600000 } });
		const { socketId } = await one.connect();
		await view(one, socketId);
		await one.kill();
		const alone = node(t, one.database, 'alone', { cluster: { driver: 'local' } });
		await alone.start();
		await waitFor(async () => (await viewing(alone)).length === 0, 'the viewer of the killed node ends');
		assert.deepEqual(await rows(alone), []);
		await alone.kill();
		await one.start();
		assert.deepEqual(await one.query('SELECT FROM daemon'), []);
	});

	test('viewers and locks of sockets of other nodes stay, those of a node that was killed end', async (t) => {
		const [one, two] = await startNodes(t, 2);
		const [first, second] = await Promise.all([one, two].map((daemon) => daemon.connect()));
		await view(one, first.socketId, second.socketId);
		await one.query(`INSERT INTO user_presence (app, user_id, status, nodes)
			SELECT 'client-portal', 7, 'online', ARRAY[number] FROM nodes WHERE name = 'a'`);
		const seen = () => one.query('SELECT last_seen_at::text AS seen FROM user_presence'), before = await seen();
		assert.equal(before.length, 1);
		await two.kill();
		await two.start();
		await waitFor(async () => (await viewing(one)).length === 1, 'the viewer of the killed node ends');
		assert.deepEqual(await viewing(one), [first.socketId]);
		assert.deepEqual(await seen(), before);
	});
});
