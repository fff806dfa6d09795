// SPDX-License-Identifier: MIT
// The application's servers of cluster_model.test.mjs, which get its webhooks and fail from time to time.
//
// The promises are those of docs/webhooks.md.  A webhook has nothing that tells a repeat from another one of the same
// kind, so a trigger of the test gives each the id of its row, and keeps the rows: otherwise a change that is
// reported twice would look like a webhook that is sent twice.
import { pause, receiver, within } from '../lib/harness.mjs';
import { ANSWER_MS, CHANNELS, ASYNC, NONE, ROOM, SECRET, WHISPERS } from './cluster_model.mjs';

/** Options of [webhooks].  smoothing_ms is longer than the grace, and shorter than the lease of a node. */
export const OPTIONS = { smoothing_ms: 1000, compare_s: 5, timeout_ms: 1000, retry_min_ms: 50, retry_max_ms: 500,
	batch_ms: 50 };

const OF_CHANNELS = ['channel_occupied', 'channel_vacated'], OF_MEMBERS = ['member_added', 'member_removed'];
const ENDPOINTS = {
	all: { event_types: [...OF_CHANNELS, ...OF_MEMBERS, 'client_event', 'subscription_count'] },
	batch: { batching: true, filter: { channel_name_starts_with: 'pr' }, event_types: [...OF_CHANNELS, ...OF_MEMBERS] },
};
const COUNTED = [...CHANNELS, ASYNC, NONE, WHISPERS, SECRET];
const MEMBERS = {
	channel_occupied: ['channel'], channel_vacated: ['channel'],
	member_added: ['channel', 'user_id'], member_removed: ['channel', 'user_id'],
	subscription_count: ['channel', 'subscription_count'],
	client_event: ['channel', 'data', 'event', 'socket_id'],
};
const QUEUED = `
CREATE TABLE model_webhooks (id bigint, endpoint text, event json, at timestamptz);
CREATE FUNCTION model_webhook() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.event := NEW.event::jsonb || jsonb_build_object('id', NEW.id);
	INSERT INTO model_webhooks VALUES (NEW.id, NEW.endpoint, NEW.event, clock_timestamp());
	RETURN NEW;
END
$$;
CREATE TRIGGER model_webhook BEFORE INSERT ON webhook_queue FOR EACH ROW EXECUTE FUNCTION model_webhook();`;

const isState = ({ name }) => [...OF_CHANNELS, ...OF_MEMBERS].includes(name);
const isMember = ({ name }) => OF_MEMBERS.includes(name);
const isHere = (name) => name === 'channel_occupied' || name === 'member_added';
/** What the event is of: a channel or a member of it. */
const subjectOf = ({ channel, user_id: user }) => user === undefined ? channel : `${channel} ${user}`;

/** An endpoint, and the webhooks that it received. */
class Endpoint {
	last = new Map();        // subject: the last event of its state that was answered with 200
	counts = new Map();      // channel: the last count
	states = new Map();      // channel: {order, done}, ids of its states: as they were tried first, answered with 200
	nRequests = 0;
	nRepeats = 0;
	status = 200;            // undefined: no answer

	constructor(model, name, random) {
		Object.assign(this, { model, name, random });
	}

	async start(t) {
		this.receiver = await receiver(t, { answer: (body) => this.#answer(body) });
		this.option = { name: this.name, url: this.receiver.url, ...ENDPOINTS[this.name] };
		return this;
	}

	broken(what, event) {
		this.model.broken.push(`webhooks, endpoint ${this.name}: ${what}: ${JSON.stringify(event)}`);
	}

	/** It answers so for a while. */
	async fail(status, ms) {
		this.status = status;
		await pause(ms);
		this.status = 200;
	}

	/** It has no socket for a while. */
	async leave(ms) {
		const { port } = new URL(this.receiver.url);
		await this.receiver.down();
		await pause(ms);
		await this.receiver.up(port);
	}

	#answer(body) {
		const { events, time_ms: time } = JSON.parse(body);
		const status = this.status === 200 && !this.model.isQuiet && this.random() < 0.02 ? 503 : this.status;
		this.nRequests++;
		if (!(time > 0) || !events.length || events.length > 1 && !this.option.batching) this.broken('a request', body);
		for (const event of events) this.#try(event, events, status === 200);
		return status;
	}

	/** A webhook of a channel follows when the one before it was answered. */
	#try(event, request, isDone) {
		const { channel, id } = event;
		if (!this.model.webhooks.isValid(event, this)) this.broken('not a webhook of the model', event);
		if (event.name === 'subscription_count' && isDone) this.counts.set(channel, event.subscription_count);
		if (!isState(event)) return;
		if (!this.states.has(channel)) this.states.set(channel, { order: [], known: new Set(), done: new Set() });
		const { order, known, done } = this.states.get(channel), before = order.at(-1);
		if (known.has(id)) {
			this.nRepeats += done.has(id);
		} else {
			if (before !== undefined && !done.has(before) && !request.some((other) => other.id === before))
				this.broken(`before ${before} was answered`, event);
			known.add(id);
			order.push(id);
		}
		if (!isDone) return;
		done.add(id);
		this.last.set(subjectOf(event), event.name);
	}
}

/** What was queued for an endpoint of one channel. */
class History {
	members = new Set();
	removedAt = new Map();       // user: when that was decided

	early = [];                  // client events of users who were not members

	/** stayed: whether the sender of a client event was still on the channel at this time. */
	constructor(broken, stayed) {
		Object.assign(this, { broken, stayed });
	}

	take({ event, at }) {
		const { name, user_id: user } = event, broken = (what) => this.broken(what, event);
		if (name === 'client_event' && user !== undefined) this.#sent(event);
		if (!isState(event)) {
			if (name === 'subscription_count' && event.subscription_count === this.count) broken('the same count');
			if (name === 'subscription_count') this.count = event.subscription_count;
			return;
		}
		if (!isMember(event)) {
			if (isHere(name) === Boolean(this.isOccupied)) broken('twice');
			if (this.members.size && !isHere(name)) broken(`${[...this.members]} are not removed before`);
			this.isOccupied = isHere(name);
			this.count = undefined;
			return;
		}
		if (isHere(name) === this.members.has(user)) broken('twice');
		if (!this.isOccupied) broken('on a channel that is not occupied');
		if (isHere(name)) {
			this.members.add(user);
			this.#checkEarly(user, at);
		} else {
			this.members.delete(user);
			this.removedAt.set(user, at);
		}
	}

	/** Sent by a member: it is one, or was removed later; or no one that is added later, because it left before. */
	#sent(event) {
		const { user_id: user } = event, { at } = JSON.parse(event.data);
		if (!this.members.has(user) && !(this.removedAt.get(user) >= at)) this.early.push(event);
	}

	#checkEarly(user, at) {
		for (const event of this.early.filter((one) => one.user_id === user && this.stayed(one, at)))
			this.broken(`before its member was added at ${at}, and removed at ${this.removedAt.get(user)}`, event);
		this.early = this.early.filter((one) => one.user_id !== user);
	}
}

export class Webhooks {
	/** Endpoints that run. */
	static async start(t, model, random) {
		const self = new Webhooks();
		self.model = model;
		model.webhooks = self;
		self.endpoints = [];
		for (const name of Object.keys(ENDPOINTS)) self.endpoints.push(await new Endpoint(model, name, random).start(t));
		return self;
	}

	/** The option of the application. */
	get option() {
		return JSON.stringify(this.endpoints.map((one) => one.option));
	}

	/** Before there are clients. */
	async watch(node) {
		this.node = node;
		await node.query(QUEUED);
	}

	/** Whether the model has what the webhook names; only client events are sent from memory, without an id. */
	isValid({ id, ...event }, { option }) {
		const { name, channel, user_id: user } = event, { clients, users } = this.model;
		const { filter = { channel_name_starts_with: '' }, event_types: types } = option, isRoom = channel === ROOM;
		const members = [...MEMBERS[name] ?? [], ...name === 'client_event' && isRoom ? ['user_id'] : []].sort();
		if (!types.includes(name) || !(isRoom || COUNTED.includes(channel)) || !channel.startsWith(filter.channel_name_starts_with) ||
			Object.keys(event).sort().join() !== ['name', ...members].sort().join())
			return false;
		if (name !== 'client_event' && id === undefined) return false;
		if (isMember(event)) return isRoom && users.includes(user);
		if (name === 'subscription_count') return !isRoom && event.subscription_count > 0 &&
			event.subscription_count <= 2 * clients.length;
		if (name !== 'client_event') return true;
		const sender = clients.find((one) => one.sockets.includes(event.socket_id));
		return JSON.parse(event.data).from === event.socket_id && event.event === (isRoom ? 'client-wave' : 'client-whisper') &&
			Boolean(sender) && channel === (isRoom ? ROOM : WHISPERS) && user === (isRoom ? sender.user : undefined);
	}

	/** What is not as it has to be when it is quiet. */
	async differences(online) {
		const room = online.filter((one) => one.wantsRoom), list = [];
		const compare = (what, is, wanted) => { if (is !== wanted) list.push(`webhooks, ${what}: ${is} instead of ${wanted}`); };
		for (const { name, option, last, counts } of this.endpoints) {
			const has = (channel) => channel.startsWith(option.filter?.channel_name_starts_with ?? '');
			const state = (subject, wanted) => compare(`${name}: ${subject}`, isHere(last.get(subject)), wanted);
			for (const channel of COUNTED.filter(has)) state(channel, online.length > 0);
			state(ROOM, room.length > 0);
			for (const user of this.model.users) state(`${ROOM} ${user}`, room.some((one) => one.user === user));
			for (const channel of COUNTED.filter(() => online.length && option.event_types.includes('subscription_count')))
				compare(`${name}: count of ${channel}`, counts.get(channel), online.length);
		}
		try {
			const [row] = await within(this.node.query(`SELECT (SELECT count(*)::integer FROM webhook_changes) AS changes,
				count(*)::integer AS queued, count(dead_at)::integer AS dead FROM webhook_queue`), 'the queue', ANSWER_MS);
			compare('not decided, not sent, dead', Object.values(row).join(), '0,0,0');
		} catch (error) {
			list.push(`webhooks: ${error.message}`);
		}
		return list;
	}

	/** What was queued for the endpoint. */
	async #queued({ name }, after = 0) {
		const rows = await this.node.query(`SELECT id::integer, event, extract(epoch FROM at) * 1000 AS at FROM model_webhooks
			WHERE endpoint = $1 AND id > $2 ORDER BY id`, [name, after]);
		return rows.map((row) => ({ ...row, at: Number(row.at) }));
	}

	async lastId() {
		const [{ id }] = await this.node.query('SELECT max(id)::integer AS id FROM model_webhooks');
		return id;
	}

	/** The states that were queued for the endpoint after this id: "member_added presence-room u1". */
	async statesAfter(endpoint, id) {
		return (await this.#queued(endpoint, id)).filter(({ event }) => isState(event))
			.map(({ event }) => `${event.name} ${subjectOf(event)}`);
	}

	/** All that was queued is consistent, and was sent in its order. */
	async check() {
		const stayed = ({ socket_id: socket, data }, at) => this.model.clients.some((one) => one.stays.some((stay) =>
			stay.socket === socket && stay.from <= JSON.parse(data).at && stay.until >= at));
		for (const one of this.endpoints) {
			const histories = new Map(), queued = new Map();
			for (const row of await this.#queued(one)) {
				const { channel } = row.event;
				if (!histories.has(channel)) histories.set(channel, new History((what, event) => one.broken(what, event), stayed));
				histories.get(channel).take(row);
				if (!queued.has(channel)) queued.set(channel, []);
				if (isState(row.event)) queued.get(channel).push(row.id);
			}
			for (const [channel, ids] of queued) {
				const sent = one.states.get(channel)?.order ?? [];
				if (sent.join() !== ids.join()) one.broken(`${channel}: ${sent} sent instead of`, ids);
			}
		}
	}

	get summary() {
		return this.endpoints.map((one) => `${one.name} ${one.nRequests} requests, ${one.nRepeats} repeats`).join(', ');
	}
}
