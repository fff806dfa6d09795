// SPDX-License-Identifier: MIT
// The faults of cluster_model.test.mjs: of nodes, PostgreSQL, Redis, the networks between them,
// and endpoints of webhooks.
import { end, pause } from '../lib/harness.mjs';
import { pick } from './cluster_model.mjs';

/** Starts a node, also while the database is away. */
async function startAgain(model, node) {
	model.starting.add(node);
	while (!model.ended && (!node.child || node.child.exitCode !== null)) {
		node.child = null;
		await node.start().catch(async () => {
			if (node.child?.exitCode === null) await node.kill();      // not ready in time
			await pause(200);
		});
	}
	model.starting.delete(node);
}

async function forAWhile(wires, ms) {
	await pause(ms);
	wires.mend();
}

/** Until it goes on; longer than the lease of a node, than what a connection to Redis waits for. */
async function stopProcess(child, ms) {
	child.kill('SIGSTOP');
	await pause(ms);
	child.kill('SIGCONT');
}

/** How often (weight), where (of), and what; r: a random number from 0 to below 1. */
const FAULTS = {
	'node killed': { weight: 4, of: 'nodes', async run(node, r, model) {
		await node.kill();
		await pause(r * 1000);
		await startAgain(model, node);
	} },
	'node stopped': { weight: 2, of: 'nodes', async run(node, r, model) {
		await node.stop({ status: undefined });
		await startAgain(model, node);
	} },
	'node paused': { weight: 3, of: 'nodes', run: (node, r) => stopProcess(node.child, r * 4000) },
	'PostgreSQL restarted': { weight: 1, of: 'postgres', async run(cluster, r) {
		await cluster.stop();
		await pause(r * 1500);
		await cluster.start();
	} },
	'PostgreSQL killed': { weight: 1, of: 'postgres', run: (cluster) => cluster.killAndStart() },
	'database cut': { weight: 3, of: 'toPostgres', run(wires, r) {
		wires.cut();
		return forAWhile(wires, r * r * 5000);
	} },
	'database slow': { weight: 1, of: 'toPostgres', run(wires, r) {
		wires.delayMs = 5 + r * 100;
		return forAWhile(wires, r * 3000);
	} },
	'database silent': { weight: 3, of: 'toPostgres', run(wires, r) {
		wires.stop(r < 0.5 ? 'there' : 'back');
		return forAWhile(wires, (r * 2 % 1) * 4000);
	} },
	'Redis killed': { weight: 2, of: 'redis', async run(redis, r) {
		await end(redis.child, 'SIGKILL');
		await pause(r * 1500);
		await redis.start();
	} },
	'Redis paused': { weight: 2, of: 'redis', run: (redis, r) => stopProcess(redis.child, r * r * 8000) },
	'Redis cut': { weight: 3, of: 'toRedis', run(wires, r) {
		wires.cut();
		return forAWhile(wires, r * r * 3000);
	} },
	'Redis slow': { weight: 1, of: 'toRedis', run(wires, r) {
		wires.delayMs = 5 + r * 100;
		return forAWhile(wires, r * 3000);
	} },
	'Redis silent': { weight: 3, of: 'toRedis', run(wires, r) {
		wires.stop(r < 0.5 ? 'there' : 'back');
		return forAWhile(wires, (r * 2 % 1) ** 2 * 8000);
	} },
	'endpoint fails': { weight: 1, of: 'endpoints', run: (endpoint, r) => endpoint.fail(500, r * 3000) },
	'endpoint hangs': { weight: 1, of: 'endpoints', run: (endpoint, r) => endpoint.fail(undefined, r * 3000) },
	'endpoint away': { weight: 1, of: 'endpoints', run: (endpoint, r) => endpoint.leave(r * 3000) },
};

export class Faults {
	count = {};
	#busy = new Map();       // what has a fault now: its end

	/** targets: {endpoints, nodes, postgres, redis, toPostgres, toRedis}, lists; empty: no such faults. */
	constructor(model, targets, random) {
		Object.assign(this, { model, targets, random });
		this.names = Object.keys(FAULTS).filter((name) => targets[FAULTS[name].of]?.length)
			.flatMap((name) => Array(FAULTS[name].weight).fill(name));
	}

	get n() {
		return Object.values(this.count).reduce((sum, n) => sum + n, 0);
	}

	/** Begins one, unless what it is for has one already; at most two nodes at a time have one. */
	make() {
		const name = pick(this.names, this.random), { of, run } = FAULTS[name], r = this.random();
		const target = pick(this.targets[of], this.random);
		const nodes = this.targets.nodes.filter((one) => this.#busy.has(one)).length;
		if (this.#busy.has(target) || of === 'nodes' && nodes > 1) return;
		this.count[name] = (this.count[name] ?? 0) + 1;
		const fault = Promise.resolve(run(target, r, this.model)).catch((error) => this.model.broken.push(`${name}: ${error.message}`))
			.finally(() => this.#busy.delete(target));
		this.#busy.set(target, fault);
	}

	/** All that have begun have ended. */
	async over() {
		while (this.#busy.size) await Promise.all(this.#busy.values());
	}
}
