// SPDX-License-Identifier: MIT
// Nodes of a cluster under test: daemons with one database, and clients of them.  With
// SCOPEWIRE_TEST_BUS = redis they reach each other through a Redis.
import { request } from './api.mjs';
import { Daemon } from './daemon.mjs';
import { newDatabase } from './cluster.mjs';
import { end } from './process.mjs';
import { startRedis } from './redis.mjs';
import { TOKEN, TOKENS, bearer } from './ctl.mjs';
import { waitFor } from './wait.mjs';

/** Names of the nodes of a test. */
export const NAMES = ['a', 'b', 'c', 'd', 'e'];

/** The Redis of the nodes; undefined with the driver postgres. */
export const redis = process.env.SCOPEWIRE_TEST_BUS === 'redis' ? await startRedis() : undefined;

/** Options of [cluster]: what is the same for all nodes of a database. */
export const bus = (database) => redis ? { driver: 'redis', prefix: database.name, redis_port: redis.port } : { driver: 'postgres' };

/** A node that is not started yet; it is killed after the test, when it still runs. */
export function node(t, database, name, { cluster, server, sections, ...options } = {}) {
	const daemon = new Daemon({ server: { node: name, ...server },
		// A node that is slow is not one that has ended.
		sections: { cluster: { lease_ms: 30000, ...bus(database), ...cluster }, admin: { listen: '127.0.0.1:0', tokens: TOKENS },
			...sections }, ...options });
	daemon.database = database;
	t.after(async () => {
		if (daemon.child) await end(daemon.child, 'SIGKILL');
		await daemon.endSessions();
	});
	return daemon;
}

/** n running nodes of one database. */
export async function startNodes(t, n, { database, ...options } = {}) {
	const at = database ?? await newDatabase(undefined, { isMigrated: true });
	const nodes = NAMES.slice(0, n).map((name) => node(t, at, name, options));
	for (const one of nodes) await one.start();
	if (n > 1) for (const one of nodes) await hasOthers(one);
	return nodes;
}

/** Until the node knows that it is not alone: one that is alone sends nothing to others. */
export const hasOthers = (daemon) => waitFor(async () => {
	const { text } = await request(`${adminUrl(daemon)}/metrics`, { headers: bearer(TOKEN.metrics) });
	return /^scopewire_bus_nodes [1-9]/m.test(text);
}, 'the node knows another one');

export const rows = (daemon) => daemon.query(`SELECT name, number, lease > clock_timestamp() AS is_live FROM nodes
	ORDER BY name`);
/** The names of the nodes whose lease runs. */
export const live = async (daemon) => (await rows(daemon)).filter((row) => row.is_live).map((row) => row.name);

/** A subscriber on each node. */
export const subscribeEach = (nodes, channel, more) => Promise.all(nodes.map(async (one) => {
	const wire = await one.connect();
	await wire.subscribe(channel, more);
	return wire;
}));

/** The URL of its admin listener. */
export function adminUrl(daemon) {
	const all = [...daemon.logText.matchAll(/admin: listening on \S+:(\d+)/g)];
	return `http://127.0.0.1:${all.at(-1)[1]}`;
}

/** Waits until each client has n frames of the channel that match, and returns their events. */
export async function eventsOfEach(wires, channel, n) {
	const of = (wire) => wire.frames.filter((frame) => frame.channel === channel && !/^pusher/.test(frame.event))
		.map((frame) => frame.event);
	await waitFor(() => wires.every((wire) => of(wire).length >= n), `${n} events on ${channel} for each client`);
	for (const wire of wires) await wire.ping();
	return wires.map(of);
}

let whispers = 0;
/**
 * Whispers from one client until another one has it, and gives the event's name: what was sent before their nodes knew of
 * each other is lost.
 */
export async function whisper(from, to, channel) {
	const event = `client-${++whispers}`;
	await waitFor(async () => {
		from.send({ event, channel, data: {} });
		await from.ping();
		await to.ping();
		return to.all({ event }).length;
	}, 'a client event arrives');
	return event;
}
