// SPDX-License-Identifier: MIT
// What cluster_model.test.mjs knows of the cluster: what was done, and what has to be so when it is quiet.
import { pause, randomFrom, within } from '../lib/harness.mjs';

export const CHANNELS = ['one', 'two', 'three'];      // of durability commit
export const ASYNC = 'async-x', NONE = 'none-x', WHISPERS = 'private-whispers', ROOM = 'presence-room',
	SECRET = 'private-secret';
export const ANSWER_MS = 3000;     // a node that takes longer to answer is paused: another one is tried
export const GRACE_MS = 300;
/** Options of the application. */
export const APP = { max_replay_events: 1000000, max_backend_events_per_second: 0, max_client_events_per_second: 0,
	member_removed_delay_ms: GRACE_MS, channel_durability: 'async-*:async, none-*:none' };

export const pick = (list, random) => list[Math.floor(random() * list.length)];
const sorted = (list) => [...new Set(list)].sort().join();

export class Model {
	acknowledged = new Set();
	excluded = new Map();    // event: the socket that it is not for
	terminated = new Set();  // users whose connections were terminated, perhaps
	revoked = new Set();     // the same with subscriptions
	mustEnd = [];            // connections and subscriptions that were ended for their users
	broken = [];             // what contradicts the model
	nWhispers = 0;
	nEnds = 0;
	isQuiet = false;         // nothing comes and goes
	stopping = false;        // no more publishes
	ended = false;
	starting = new Set();

	constructor(seed) {
		this.seed = seed;
	}

	/** Running nodes, also paused ones: a client does not know. */
	get running() {
		return this.nodes.filter((node) => node.child && !this.starting.has(node));
	}

	anyNode(random) {
		return pick(this.running, random);
	}

	get users() {
		return [...new Set(this.clients.map((one) => one.user))];
	}

	/** What is not as it has to be when it is quiet, as text; an empty list at last. */
	async differences() {
		const online = this.clients.filter((one) => one.wantsOnline);
		const room = sorted(online.filter((one) => one.wantsRoom).map((one) => one.user));
		const list = [];
		const compare = (what, is, wanted) => { if (is !== wanted) list.push(`${what}: ${is} instead of ${wanted}`); };
		for (const one of online) {
			const name = `client ${one.id} on ${one.node?.options.server.node}`;
			compare(`${name}: members`, one.roster && sorted(one.roster.members), one.wantsRoom ? room : undefined);
			compare(`${name}: count`, one.count, online.length);
			for (const user of this.users.filter((other) => other !== one.user))
				compare(`${name}: ${user}`, one.watched[user], online.some((other) => other.user === user) ? 'online' : 'offline');
			compare(`${name}: its private subscription`, Boolean(one.secret), true);
		}
		for (const node of this.nodes) {
			const get = async (path, params) => (await within(node.api().get(path, params), path, ANSWER_MS)).json;
			const name = node.options.server.node;
			try {
				compare(`${name}: users`, sorted((await get(`/channels/${ROOM}/users`)).users.map((user) => user.id)), room);
				const { channels } = await get('/channels', { info: 'subscription_count' });
				for (const channel of [...CHANNELS, ASYNC, NONE, WHISPERS, SECRET])
					compare(`${name}: ${channel}`, channels[channel]?.subscription_count, online.length || undefined);
				compare(`${name}: ${ROOM}`, channels[ROOM]?.subscription_count,
					online.filter((one) => one.wantsRoom).length || undefined);
			} catch (error) {
				list.push(`${name}: ${error.message}`);
			}
		}
		list.push(...await this.webhooks.differences(online));
		for (const one of this.mustEnd.filter(({ isOver }) => !isOver())) list.push(one.what);
		return list;
	}
}

// ---- publishers -----------------------------------------------------------------------------

/** Publishes one event after another, each until it is acknowledged. */
export async function publisher(model, id, publish) {
	const random = randomFrom(model.seed + id);
	for (let n = 0; !model.stopping; n++) {
		const name = `E${id}.${n}`, channel = pick(CHANNELS, random);
		if (publish.canExclude && random() < 0.3) {
			const [socket] = pick(model.clients, random).sockets;
			if (socket) model.excluded.set(name, socket);
		}
		while (!await publish(random, channel, name).catch(() => false)) {
			if (model.ended) return;      // the test has failed
			await pause(20 + random() * 100);
		}
		model.acknowledged.add(`${channel} ${name}`);
		await pause(random() * 30);
	}
}

const post = async (model, random, path, body) => {
	const node = model.anyNode(random);
	if (!node) return false;
	const { status } = await within(node.api().post(path, body), 'an answer', ANSWER_MS);
	return status === 200;
};

/** The same key on whichever node: one event. */
export function httpPublisher(model) {
	const publish = (random, channel, name) => post(model, random, '/events', { name, data: '{}', channels: [channel],
		idempotency_key: name, socket_id: model.excluded.get(name) });
	return Object.assign(publish, { canExclude: true });
}

/** A session that is opened again when it broke. */
export function sqlPublisher(model) {
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

/** Events that may be lost with the node that took them. */
export async function loosePublisher(model, id) {
	const random = randomFrom(model.seed + id);
	for (let n = 0; !model.stopping; n++) {
		const channel = pick([ASYNC, NONE], random);
		await post(model, random, '/events', { name: `E${id}.${n}`, data: '{}', channels: [channel] }).catch(() => {});
		await pause(random() * 60);
	}
}

// ---- what the application ends for its users --------------------------------------------------

/** Connections and subscriptions that the user has when the request that is acknowledged is sent have to end. */
export async function ender(model, id) {
	const random = randomFrom(model.seed + id);
	while (!model.stopping) {
		await pause(random() * 2000);
		if (model.isQuiet) continue;
		const user = pick(model.users, random), isRevoke = random() < 0.5;
		const path = `/users/${user}/${isRevoke ? 'revoke' : 'terminate_connections'}`;
		(isRevoke ? model.revoked : model.terminated).add(user);
		for (let due, isDone = false; !isDone && !model.ended;) {
			const clients = model.clients.filter((one) => one.user === user && one.isOpen && one.isSignedIn);
			due = isRevoke ? clients.filter((one) => one.secret).map(({ secret, id: of }) => ({
				what: `a subscription of client ${of} that was revoked goes on`,
				isOver: () => secret.isEnded || secret.wire.isOver || secret.wire.closeCode !== undefined }))
				: clients.map(({ wire, id: of }) => ({ what: `a connection of client ${of} that was terminated goes on`,
					isOver: () => wire.isOver || wire.closeCode !== undefined }));
			isDone = await post(model, random, path, isRevoke ? pick([{ channels: [SECRET] }, { pattern: 'pr*' }], random) : {})
				.catch(() => false);
			if (isDone) model.mustEnd.push(...due);
			else await pause(50);
		}
		model.mustEnd = model.mustEnd.filter(({ isOver }) => !isOver());
		model.nEnds++;
	}
}
