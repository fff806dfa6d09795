// SPDX-License-Identifier: MIT
// Three nodes under random faults against a model.  Publishers over HTTP (with idempotency keys) and
// SQL repeat each publish on any node until it is acknowledged; observers move between nodes with
// their positions; nodes are killed, paused and started, PostgreSQL is restarted and killed.  When it
// is quiet: the log has each publish once, and each observer has received exactly what the log has,
// each event once and in its order.
// SCOPEWIRE_MODEL_SECONDS, or SCOPEWIRE_MODEL_FAULTS, makes it longer; SCOPEWIRE_MODEL_SEED repeats its
// choices.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { newDatabase, pause, randomFrom, startCluster, waitFor, within } from '../lib/harness.mjs';
import { live, startNodes } from '../lib/nodes.mjs';

const FAULTS = Number(process.env.SCOPEWIRE_MODEL_FAULTS ?? 0);
const SECONDS = FAULTS ? Infinity : Number(process.env.SCOPEWIRE_MODEL_SECONDS ?? 20);
const SEED = Number(process.env.SCOPEWIRE_MODEL_SEED ?? Date.now() % 1000000);
const CHANNELS = ['one', 'two', 'three'];
const OBSERVERS = 6;
const ANSWER_MS = 3000;     // a node that takes longer to answer is paused: another one is tried
const QUIET_MS = 120000;

class Model {
	acknowledged = new Set();
	broken = [];             // what contradicts the model
	faults = {};
	stopping = false;
	ended = false;
	constructor(nodes, cluster) {
		this.nodes = nodes;
		this.cluster = cluster;
		this.paused = new Set();
		this.starting = new Set();
	}

	count(fault) {
		this.faults[fault] = (this.faults[fault] ?? 0) + 1;
	}

	get nFaults() {
		return Object.values(this.faults).reduce((sum, n) => sum + n, 0);
	}

	/** Running nodes, also paused ones: a client does not know. */
	get running() {
		return this.nodes.filter((node) => node.child && !this.starting.has(node));
	}

	anyNode(random) {
		const { running } = this;
		return running[Math.floor(random() * running.length)];
	}
}

// ---- publishers -----------------------------------------------------------------------------

/** Publishes one event after another, each until it is acknowledged. */
async function publisher(model, id, publish) {
	const random = randomFrom(SEED + id);
	for (let n = 0; !model.stopping; n++) {
		const name = `E${id}.${n}`, channel = CHANNELS[Math.floor(random() * CHANNELS.length)];
		while (!await publish(random, channel, name).catch(() => false)) {
			if (model.ended) return;      // the test has failed
			await pause(20 + random() * 100);
		}
		model.acknowledged.add(`${channel} ${name}`);
		await pause(random() * 30);
	}
}

/** The same key on whichever node: one event. */
async function publishHttp(model, random, channel, name) {
	const node = model.anyNode(random);
	if (!node) return false;
	const { status } = await within(node.api().trigger(channel, name, '{}', { idempotency_key: name }), 'an answer', ANSWER_MS);
	return status === 200;
}

/** A session that is opened again when it broke. */
function sqlPublisher(model) {
	let session;
	return async (random, channel, name) => {
		try {
			session ??= await model.nodes[0].session();
			await session.query(`SELECT broadcast($1, $2, '{}', event_id => $2)`, [channel, name]);
			return true;
		} catch {
			await session?.end().catch(() => {});
			session = undefined;
			return false;
		} finally {
			if (model.ended) await session?.end().catch(() => {});
		}
	};
}

// ---- observers ------------------------------------------------------------------------------

class Observer {
	constructor(model, id) {
		this.model = model;
		this.id = id;
		this.random = randomFrom(SEED + 1000 + id);
		this.got = Object.fromEntries(CHANNELS.map((channel) => [channel, []]));
		this.last = Object.fromEntries(CHANNELS.map((channel) => [channel, 0]));
		this.moves = 0;
	}

	#broken(what) {
		this.model.broken.push(`observer ${this.id}: ${what}`);
	}

	#take(wire, frame) {
		if (frame.event === 'scopewire:resync') {
			const { reason } = JSON.parse(frame.data);
			if (reason !== 'unavailable') this.#broken(`resync ${reason} on ${frame.channel}`);
			wire.isOver = true;      // what follows has a gap: it returns with its old position
			wire.terminate();
		} else if (/^E/.test(frame.event)) {
			if (!(frame.serial > this.last[frame.channel]))
				this.#broken(`${frame.channel} ${frame.event} has serial ${frame.serial} after ${this.last[frame.channel]}`);
			this.last[frame.channel] = frame.serial;
			this.got[frame.channel].push(frame.event);
		}
	}

	/** One connection, to its end. */
	async #follow() {
		const node = this.model.anyNode(this.random);
		if (!node) return;
		const wire = this.wire = node.wire();
		let at = 0;
		wire.on('change', () => {
			while (at < wire.frames.length && !wire.isOver) this.#take(wire, wire.frames[at++]);
		});
		try {
			await within(wire.established(), 'the connection', ANSWER_MS);
			if (!wire.epoch) throw new Error('the node does not know the log yet');
			this.epoch ??= wire.epoch;
			if (wire.epoch !== this.epoch) this.#broken('the epoch changed');
			for (const channel of CHANNELS)
				wire.sendSubscribe(channel, { since: `${this.epoch}:${this.last[channel]}`, was: this.was });
			this.was = wire.socketId;
			await wire.closed;
		} finally {
			wire.isOver = true;
			wire.terminate();
		}
	}

	async run() {
		while (!this.model.ended) {
			await this.#follow().catch(() => {});
			this.moves++;
			if (!this.model.ended) await pause(this.random() * 100);
		}
	}

	/** As a reload of the page. */
	move() {
		this.wire?.terminate();
	}
}

// ---- faults ---------------------------------------------------------------------------------

/** Starts a node, also while the database is away. */
async function startAgain(model, node) {
	model.starting.add(node);
	while (!model.ended && (!node.child || node.child.exitCode !== null)) {
		node.child = null;
		await node.start().catch(() => pause(200));
	}
	model.starting.delete(node);
}

const FAULT = {
	async kill(model, random) {
		const node = model.running.filter((one) => !model.paused.has(one))[Math.floor(random() * 3)];
		if (!node || model.running.length < 2) return false;
		await node.kill();
		await pause(random() * 1000);
		model.work.push(startAgain(model, node));
		return true;
	},
	async pause(model, random) {
		const node = model.running.filter((one) => !model.paused.has(one))[Math.floor(random() * 3)];
		if (!node || model.paused.size) return false;
		node.child.kill('SIGSTOP');
		model.paused.add(node);
		const resume = async () => {
			await pause(random() * 4000);
			node.child.kill('SIGCONT');
			model.paused.delete(node);
		};
		model.work.push(resume());
		return true;
	},
	async stop(model, random) {
		const node = model.running.filter((one) => !model.paused.has(one))[Math.floor(random() * 3)];
		if (!node || model.running.length < 2) return false;
		await node.stop({ status: undefined });
		model.work.push(startAgain(model, node));
		return true;
	},
	async restartPostgres(model, random) {
		await model.cluster.stop();
		await pause(random() * 1500);
		await model.cluster.start();
		return true;
	},
	async killPostgres(model) {
		await model.cluster.killAndStart();
		return true;
	},
};

async function makeFaults(model, observers) {
	const random = randomFrom(SEED);
	const names = Object.keys(FAULT);
	const until = Date.now() + SECONDS * 1000;
	while (Date.now() < until && (!FAULTS || model.nFaults < FAULTS) && !model.broken.length) {
		await pause(random() * 700);
		if (random() < 0.6) observers[Math.floor(random() * observers.length)].move();
		if (random() < 0.5) continue;
		const name = names[Math.floor(random() * names.length)];
		if (await FAULT[name](model, random)) model.count(name);
	}
	await Promise.all(model.work);
}

test('committed events reach each observer once and in the order of the log, whatever fails', async (t) => {
	console.log(`SCOPEWIRE_MODEL_SEED=${SEED}`);
	const cluster = await startCluster();
	t.after(() => cluster.stop());
	const nodes = await startNodes(t, 3, { database: await newDatabase(cluster), cluster: { lease_ms: 2000 },
		log: { level: 'info' }, app: { max_replay_events: 1000000, max_backend_events_per_second: 0 } });
	t.after(async () => { for (const session of nodes[0].sessions ?? []) await session.end().catch(() => {}); });
	const model = new Model(nodes, cluster);
	model.work = [];
	const observers = Array.from({ length: OBSERVERS }, (_, id) => new Observer(model, id));
	t.after(() => { model.ended = model.stopping = true; observers.forEach((one) => one.move()); });
	const watching = observers.map((one) => one.run());
	const http = (random, channel, name) => publishHttp(model, random, channel, name);
	const publishing = [publisher(model, 1, http), publisher(model, 2, http), publisher(model, 3, sqlPublisher(model))];
	await makeFaults(model, observers);

	// It gets quiet: what was begun is repeated until it is acknowledged.
	model.stopping = true;
	await within(Promise.all(publishing), 'all publishes are acknowledged', QUIET_MS);
	await waitFor(async () => (await live(nodes[0])).length === 3, 'all nodes have a lease', QUIET_MS);
	for (const channel of CHANNELS) {
		await waitFor(() => http(() => 0, channel, `Elast.${channel}`).catch(() => false), 'the last event', QUIET_MS);
		model.acknowledged.add(`${channel} Elast.${channel}`);
	}
	const have = (one) => CHANNELS.every((channel) => one.got[channel].includes(`Elast.${channel}`));
	await waitFor(() => model.broken.length || observers.every(have), 'each observer has the last events', QUIET_MS)
		.catch((error) => model.broken.push(error.message));
	model.ended = true;
	observers.forEach((one) => one.move());
	await Promise.all(watching);

	const log = await nodes[0].query(`SELECT channel, event_type AS event FROM realtime_events
		WHERE serial > 0 AND event_type LIKE 'E%' ORDER BY serial`);
	console.log(`${log.length} events, ${JSON.stringify(model.faults)}, ${observers.reduce((n, one) => n + one.moves, 0)} connections`);
	assert.deepEqual(model.broken, []);
	assert.deepEqual(log.map((row) => `${row.channel} ${row.event}`).sort(), [...model.acknowledged].sort(),
		'the log has each publish once');
	for (const one of observers)
		for (const channel of CHANNELS)
			assert.deepEqual(one.got[channel], log.filter((row) => row.channel === channel).map((row) => row.event),
				`observer ${one.id}, channel ${channel}`);
	assert.ok(model.nFaults > 0 && log.length > 20, 'something happened');
	for (const node of nodes) await node.stop();
});
