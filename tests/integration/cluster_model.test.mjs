// SPDX-License-Identifier: MIT
// Three nodes under random faults against a model (cluster_model.mjs).  Publishers over HTTP (with idempotency
// keys) and SQL repeat each publish on any node until it is acknowledged.  Clients (cluster_model_client.mjs)
// move between nodes with their positions, come to a presence channel and leave it, and whisper; the application
// terminates connections and revokes subscriptions of users; its endpoints get webhooks (cluster_model_webhooks.mjs).  Nodes are killed, paused and started, PostgreSQL
// and Redis are restarted and killed, the networks to them are cut, slow or silent, and the endpoints fail
// (cluster_model_faults.mjs).
//
// When it is quiet: all nodes and all clients have the same members, counts and users who are online, the last webhooks
// are of these, and what was ended for a user has ended.  At the end: the log has each publish once, and each client has received exactly what
// the log has, each event once and in its order.
//
// SCOPEWIRE_MODEL_SECONDS, or SCOPEWIRE_MODEL_FAULTS, makes it longer; SCOPEWIRE_MODEL_SEED repeats its choices.
import { test } from 'node:test';
import fs from 'node:fs';
import assert from 'node:assert/strict';
import { Wires } from '../lib/wires.mjs';
import { newDatabase, pause, randomFrom, startCluster, waitFor, within } from '../lib/harness.mjs';
import { live, node, redis } from '../lib/nodes.mjs';
import { APP, ASYNC, CHANNELS, GRACE_MS, Model, ROOM, ender, httpPublisher, loosePublisher, publisher,
	sqlPublisher } from './cluster_model.mjs';
import { Client } from './cluster_model_client.mjs';
import { Faults } from './cluster_model_faults.mjs';
import { OPTIONS, Webhooks } from './cluster_model_webhooks.mjs';

const FAULTS = Number(process.env.SCOPEWIRE_MODEL_FAULTS ?? 0);
const SECONDS = FAULTS ? Infinity : Number(process.env.SCOPEWIRE_MODEL_SECONDS ?? 15);
const SEED = Number(process.env.SCOPEWIRE_MODEL_SEED ?? Date.now() % 1000000);
const USERS = ['u1', 'u1', 'u2', 'u2', 'u3', 'u4', 'u5', 'u6'];      // of the clients
const NODES = ['a', 'b', 'c'];
const ROUND = 50;           // faults until it has to be quiet
const PACE_MS = 900;        // most between two faults
const QUIET_MS = 120000;

/** Three nodes, each with its own networks, and the endpoints of webhooks. */
async function startAll(t, cluster, { endpoints, option }) {
	const database = await newDatabase(cluster);
	const targets = { endpoints, nodes: [], postgres: [cluster], redis: redis ? [redis] : [], toPostgres: [], toRedis: [] };
	for (const name of NODES) {
		const toPostgres = await new Wires({ path: `${cluster.socket}/.s.PGSQL.5432` }).start(t);
		const toRedis = redis && await new Wires(redis).start(t);
		targets.toPostgres.push(toPostgres);
		if (toRedis) targets.toRedis.push(toRedis);
		targets.nodes.push(node(t, database, name, { database: { host: '127.0.0.1', port: toPostgres.port },
			cluster: { lease_ms: 3000, ...toRedis && { redis_port: toRedis.port } }, log: { level: 'info' }, app: { ...APP, webhooks: option },
			sections: { webhooks: OPTIONS } }));
	}
	for (const one of targets.nodes) await one.start();
	return targets;
}

/** Faults, at most ROUND of them. */
async function disturb(model, faults, until) {
	const wanted = Math.min(faults.n + ROUND, FAULTS || Infinity);
	model.isQuiet = false;
	while (Date.now() < until && faults.n < wanted && !model.broken.length) {
		await pause(faults.random() * PACE_MS);
		faults.make();
	}
	model.isQuiet = true;
	await faults.over();
}

/** All is as the model has it; what contradicts it is in model.broken. */
async function calm(model) {
	const began = Date.now();
	await waitFor(async () => model.broken.length || (await live(model.nodes[0])).length === NODES.length,
		'all nodes have a lease', QUIET_MS);
	let differences;
	await waitFor(async () => model.broken.length || !(differences = await model.differences()).length, 'all is the same', QUIET_MS)
		.catch(() => model.broken.push(...differences));
	if (!model.broken.length) await model.webhooks.check();
	model.calmMs = Math.max(model.calmMs ?? 0, Date.now() - began);
}

/** Whispers reach all, and a user who is back on another node within the grace was never away. */
async function moveQuietly(model) {
	const open = model.clients.filter((one) => one.wantsOnline);
	const heard = () => open.every((one) => open.every((other) => other === one || one.whispered[other.wire.socketId] !== undefined));
	await waitFor(async () => {
		open.forEach((one) => one.whisper());
		await pause(100);
		return model.broken.length || heard();
	}, 'whispers between all clients', QUIET_MS).catch((error) => model.broken.push(error.message));
	const alone = open.filter((one) => one.wantsRoom && USERS.filter((user) => user === one.user).length === 1);
	const [mover, beyond] = alone, observers = open.filter((one) => one.wantsRoom && one !== mover && one !== beyond);
	if (!beyond || !observers.length) return;
	const seen = (user) => observers.map((one) => one.wire.frames.filter((frame) => /member_(added|removed)/.test(frame.event) &&
		JSON.parse(frame.data).user_id === user).length);
	const until = (isSo, what) => waitFor(() => model.broken.length || isSo(), what, QUIET_MS)
		.catch((error) => model.broken.push(error.message));
	const reported = (name) => () => model.webhooks.endpoints.every((one) => one.last.get(`${ROOM} ${beyond.user}`) === name);
	// On a busy machine a client may need longer than the grace to come back, as it sees it: then it moves again.
	let before, id, awayMs = Infinity;
	for (let tries = 0; tries < 5 && awayMs >= GRACE_MS && !model.broken.length; tries++) {
		if (tries) await calm(model);
		before = [seen(mover.user), seen(beyond.user)];
		id = await model.webhooks.lastId();
		const { wire } = mover, left = Date.now();
		mover.move(0);
		await until(() => mover.wire !== wire && mover.roster, 'the user who moves is back');
		awayMs = Date.now() - left;
	}
	beyond.setOnline(false);
	const sees = (n) => () => seen(beyond.user).every((has, at) => has >= before[1][at] + n);
	await until(sees(1), 'a user who is away for longer is removed');
	await until(reported('member_removed'), 'the webhook that reports it');
	beyond.setOnline(true);
	await until(sees(2), 'one who is back is added');
	await until(reported('member_added'), 'the webhook that reports it');
	const webhooks = await Promise.all(model.webhooks.endpoints.map((one) => model.webhooks.statesAfter(one, id)));
	return { webhooks: awayMs < GRACE_MS && webhooks, beyond: beyond.user, moved: awayMs < GRACE_MS && seen(mover.user).map((n, at) => n - before[0][at]),
		away: seen(beyond.user).map((n, at) => n - before[1][at]) };
}

/** Waits until each client has all async events of the log. */
async function pollAsync(model, one) {
	let missing;
	await waitFor(async () => {
		const log = await one.query(`SELECT serial::integer, event_type AS event FROM realtime_events
			WHERE serial > 0 AND event_type LIKE 'E%' AND channel = $1`, [ASYNC]);
		missing = model.clients.flatMap((client) => log.filter(({ event }) => !client.got[ASYNC].includes(event))
			.map((row) => `client ${client.id} (${client.sockets[0]}): ${JSON.stringify(row)}`));
		return model.broken.length || !missing.length;
	}, 'each client has all async events', QUIET_MS).catch(() => model.broken.push(`async events are missing:\n${missing.join('\n')}`));
}

test('committed events, presence, counts, webhooks, whispers and ends of access are right, whatever fails', async (t) => {
	console.log(`SCOPEWIRE_MODEL_SEED=${SEED}`);
	const cluster = await startCluster();
	t.after(() => cluster.stop());
	const model = new Model(SEED), webhooks = await Webhooks.start(t, model, randomFrom(SEED + 6));
	const targets = await startAll(t, cluster, webhooks), { nodes } = targets;
	t.after(async () => { for (const session of nodes[0].sessions ?? []) await session.end().catch(() => {}); });
	model.nodes = nodes;
	await webhooks.watch(nodes[0]);
	model.clients = USERS.map((user, id) => new Client(model, id, user));
	t.after(() => { model.ended = model.stopping = true; model.clients.forEach((one) => one.move()); });
	const following = model.clients.flatMap((one) => [one.run(), one.disturb()]);
	const http = httpPublisher(model);
	const publishing = [publisher(model, 1, http), publisher(model, 2, http), publisher(model, 3, sqlPublisher(model)),
		loosePublisher(model, 4), ender(model, 5)];
	const faults = new Faults(model, targets, randomFrom(SEED));
	const began = Date.now(), until = began + SECONDS * 1000;
	do {
		await disturb(model, faults, until);
		await calm(model);
		console.log(`${Math.round((Date.now() - began) / 1000)} s, ${faults.n} faults, quiet after at most ${model.calmMs} ms`);
	} while (!model.broken.length && Date.now() < until && (!FAULTS || faults.n < FAULTS));
	const moved = model.broken.length ? undefined : await moveQuietly(model);

	// What was begun is repeated until it is acknowledged.
	model.stopping = true;
	await within(Promise.all(publishing), 'all publishes are acknowledged', QUIET_MS);
	for (const one of model.clients) one.setOnline(true);
	for (const channel of CHANNELS) {
		await waitFor(() => http(() => 0, channel, `Elast.${channel}`).catch(() => false), 'the last event', QUIET_MS);
		model.acknowledged.add(`${channel} Elast.${channel}`);
	}
	const have = (one) => CHANNELS.every((channel) => one.got[channel].includes(`Elast.${channel}`));
	await waitFor(() => model.broken.length || model.clients.every(have), 'each client has the last events', QUIET_MS)
		.catch((error) => model.broken.push(error.message));
	await pollAsync(model, nodes[0]);
	model.ended = true;
	model.clients.forEach((one) => one.move());
	await Promise.all(following);

	const log = await nodes[0].query(`SELECT channel, event_type AS event FROM realtime_events
		WHERE serial > 0 AND event_type LIKE 'E%' ORDER BY serial`);
	console.log(`${log.length} events, ${model.nWhispers} whispers, ${model.nEnds} ends of access, ${faults.n} faults ` +
		`${JSON.stringify(faults.count)}, ${model.clients.reduce((n, one) => n + one.moves, 0)} connections; ${webhooks.summary}`);
	// With KEEP_TEST_FOLDERS=1 they can be read afterwards.
	if (model.broken.length)
		for (const one of nodes) fs.writeFileSync(`${one.folder}/log`, `${one.options.server.node}\n${one.logText}`);
	assert.deepEqual(model.broken, []);
	const committed = log.filter((row) => row.channel !== ASYNC).map((row) => `${row.channel} ${row.event}`);
	assert.deepEqual(committed.sort(), [...model.acknowledged].sort(), 'the log has each publish once');
	for (const one of model.clients) {
		const isForIt = (event) => !one.sockets.includes(model.excluded.get(event));
		for (const channel of CHANNELS)
			assert.deepEqual(one.got[channel].filter(isForIt),
				log.filter((row) => row.channel === channel).map((row) => row.event).filter(isForIt),
				`client ${one.id}, channel ${channel}`);
		const events = log.filter((row) => row.channel === ASYNC).map((row) => row.event);
		assert.equal(new Set(events).size, events.length, 'the log has each async event once');
	}
	if (moved) {
		if (moved.moved) assert.deepEqual(moved.moved, moved.moved.map(() => 0), 'a user who moved within the grace was never away');
		if (moved.webhooks) {
			for (const states of moved.webhooks)
				assert.deepEqual(states, ['removed', 'added'].map((what) => `member_${what} ${ROOM} ${moved.beyond}`), 'and so say webhooks');
		}
		assert.deepEqual(moved.away, moved.away.map(() => 2), 'one who was away for longer was removed and added once');
	}
	assert.ok(faults.n > 0 && log.length > 20, 'something happened');
	for (const one of nodes) await one.stop();
});
