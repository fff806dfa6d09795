// SPDX-License-Identifier: MIT
/**
 * Replay for stock pusher-js and laravel-echo: keeps the position of each channel, sends it to
 * scopewired when it subscribes again, and drops events that were received already.
 * The contract is docs/replay.md.
 *
 *     import { attach } from './scopewire.js';
 *     attach(new Pusher(key, options));                   // or attach(echo)
 *     attach(echo, { storage: sessionStorage, onResync: ({ channel }) => refetch(channel) });
 *
 * It wraps two methods of the instance: send_event() for outgoing messages, and onMessage() of its
 * transport for incoming ones.  It also works with servers that do not know positions.
 */

const KEPT_IDS = 1000;      // per channel, of events that had no serial yet
const KEPT_SOCKETS = 8;     // the server reads no more
const OWN_EVENT = 'scopewire:';
const SUCCEEDED = 'pusher_internal:subscription_succeeded';

/** The parts of "epoch:serial", or null. */
function parsePosition(text) {
	const match = /^([^:]+):(\d+)$/.exec(typeof text === 'string' ? text : '');
	return match && { epoch: match[1], serial: Number(match[2]) };
}

/** The position of one channel. */
class Reading {
	constructor(position = null) {
		this.position = position;
		this.ids = new Set();
	}

	get since() {
		return this.position && `${this.position.epoch}:${this.position.serial}`;
	}

	/** Takes over a frame's position, if it has one. */
	move(text) {
		const position = parsePosition(text);
		if (position) this.position = position;
	}

	/** Records an event; true if it was received before. */
	isRepeat({ id, serial }) {
		if (typeof serial !== 'number') return id !== undefined && !this.keep(id);
		if (this.position) {
			if (serial <= this.position.serial) return true;
			this.position.serial = serial;
		}
		return this.ids.delete(id);
	}

	/** False if the id is kept already: the event was received before it had a serial. */
	keep(id) {
		if (this.ids.has(id)) return false;
		this.ids.add(id);
		if (this.ids.size > KEPT_IDS) this.ids.delete(this.ids.values().next().value);
		return true;
	}
}

/** Positions and socket ids in a Storage, so that they survive a reload of the page. */
class Memory {
	constructor(storage, name) {
		this.storage = storage;
		this.name = name;
	}

	/** {positions: [[channel, "epoch:serial"]...], sockets: [...]}; empty if nothing is stored. */
	load() {
		let kept = null;
		try {
			kept = JSON.parse(this.storage?.getItem(this.name));
		} catch { /* not ours, or not readable: treated as empty */ }
		return {
			positions: Object.entries(kept?.positions ?? {}),
			sockets: Array.isArray(kept?.sockets) ? kept.sockets : [],
		};
	}

	save(readings, sockets) {
		if (!this.storage) return;
		const positions = {};
		for (const [channel, reading] of readings)
			if (reading.since) positions[channel] = reading.since;
		try {
			this.storage.setItem(this.name, JSON.stringify({ positions, sockets }));
		} catch { /* full or forbidden: positions do not survive a reload */ }
	}
}

class Replay {
	constructor(pusher, { storage, storageKey } = {}) {
		this.pusher = pusher;
		this.listeners = new Set();      // {onResync, onEvent} of each attach()
		this.memory = new Memory(storage, storageKey ?? `scopewire:${pusher.key}`);
		this.readings = new Map();
		const kept = this.memory.load();
		for (const [channel, position] of kept.positions)
			this.readings.set(channel, new Reading(parsePosition(position)));
		this.sockets = kept.sockets;     // of earlier connections, newest first
		this.socket = pusher.connection.socket_id;
		this.requested = new Set();      // channels whose subscription was sent
		this.gaps = new Set();           // of these, sent again without a position
		this.joinedBefore();
	}

	/**
	 * Channels that are subscribed already have no position: what they missed is not known until
	 * they are subscribed again.  A stored position is older than that subscription.
	 */
	joinedBefore() {
		const late = (this.pusher.channels?.all?.() ?? []).filter((c) => c.subscribed)
			.map((c) => c.name);
		if (!late.length) return;
		console.warn(`scopewire: attach() was called after ${late.join(', ')} was subscribed. `
			+ 'Events that such a channel misses cannot be replayed; call attach() first.');
		for (const channel of late) {
			this.requested.add(channel);
			if (this.readings.delete(channel)) queueMicrotask(() => this.resync(channel));
		}
	}

	/** Replaces the instance's methods. */
	install() {
		const { pusher } = this;
		const manager = pusher.connection;
		const send = pusher.send_event.bind(pusher);
		const unsubscribe = pusher.unsubscribe.bind(pusher);
		const setConnection = manager.setConnection.bind(manager);
		pusher.send_event = (name, data, channel) =>
			send(name, name === 'pusher:subscribe' ? this.withSince(data) : data, channel);
		pusher.unsubscribe = (channel) => {
			this.readings.delete(channel);
			this.requested.delete(channel);
			this.gaps.delete(channel);
			this.save();
			return unsubscribe(channel);
		};
		manager.setConnection = (connection) => {
			this.listen(connection.transport);
			return setConnection(connection);
		};
		manager.bind('connected', ({ socket_id: id } = {}) => this.connected(id));
		if (manager.connection) this.listen(manager.connection.transport);
		return this;
	}

	connected(id) {
		if (!id || id === this.socket) return;
		if (this.socket) this.sockets = [this.socket, ...this.sockets].slice(0, KEPT_SOCKETS);
		this.socket = id;
		this.save();
	}

	save() {
		const own = this.socket ? [this.socket] : [];
		this.memory.save(this.readings, [...own, ...this.sockets].slice(0, KEPT_SOCKETS));
	}

	/** The data of a subscription, with since and was. */
	withSince(data) {
		const { channel } = data;
		const since = this.readings.get(channel)?.since;
		if (!since) {
			if (this.requested.has(channel)) this.gaps.add(channel);
			this.requested.add(channel);
			return data;
		}
		this.requested.add(channel);
		this.gaps.delete(channel);
		const was = this.sockets.filter((id) => id !== this.socket).join(',');
		return { ...data, since, ...(was && { was }) };
	}

	listen(transport) {
		const deliver = transport.onMessage.bind(transport);
		transport.onMessage = (message) => this.receive(message, deliver);
	}

	/** One incoming frame; passes it to pusher-js unless it is a repeat or ours. */
	receive(message, deliver) {
		const frame = this.parse(message.data);
		if (!frame) {
			deliver(message);
			return;
		}
		const reading = this.reading(frame.channel);
		if (frame.event.startsWith(OWN_EVENT)) this.emitOwn(frame);
		else if (!reading.isRepeat(frame)) deliver(message);
		reading.move(frame.position);
		if (frame.event === SUCCEEDED && this.gaps.delete(frame.channel)) this.resync(frame.channel);
		this.save();     // after the handlers: an event that they did not receive is requested again
	}

	/** The frame, if it has a position, a serial or an id; else null. */
	parse(text) {
		if (typeof text !== 'string' || !/"(serial|id|position)"|"scopewire:/.test(text)) return null;
		try {
			const frame = JSON.parse(text);
			const ours = frame.id !== undefined || frame.position !== undefined
				|| frame.event.startsWith(OWN_EVENT);
			return ours && typeof frame.channel === 'string' ? frame : null;
		} catch {
			return null;     // pusher-js reports the error
		}
	}

	reading(channel) {
		if (!this.readings.has(channel)) this.readings.set(channel, new Reading());
		return this.readings.get(channel);
	}

	/** The channel may have missed events, and no position of it was sent. */
	resync(channel) {
		const { epoch, serial } = this.readings.get(channel)?.position ?? {};
		this.emitOwn({ event: 'scopewire:resync', channel,
			data: { channel, reason: 'no_position', ...(epoch && { epoch, serial }) } });
	}

	/**
	 * Emits scopewire:replayed and scopewire:resync on the channel directly: an encrypted channel
	 * would try to decrypt them.
	 */
	emitOwn({ event, channel, data }) {
		const content = typeof data === 'string' ? JSON.parse(data) : data;
		this.pusher.channel(channel)?.emit(event, content);
		for (const { onResync, onEvent } of [...this.listeners]) {
			if (event === 'scopewire:resync') onResync?.({ channel, ...content });
			onEvent?.({ event, channel, data: content });
		}
	}
}

const attached = new WeakMap();

/**
 * Makes a Pusher, or the one inside an Echo, request what it missed.  Attach before subscribing: a
 * channel that was subscribed before receives a resync when it is subscribed again.  A second call
 * adds its onResync and onEvent; storage and storageKey are those of the first.
 *
 * options: storage, a Storage such as sessionStorage, in which positions survive a reload of the
 * page; storageKey, their name there; onResync({channel, reason}), called when the missed events
 * cannot be replayed and the state must be fetched again (also a scopewire:resync event on the
 * channel); onEvent({event, channel, data}), called for each of the server's own events about a channel,
 * such as scopewire:replayed.
 *
 * Returns {position(channel), detach()}: "epoch:serial" or null; detach() ends the calls of onResync and
 * onEvent, and the replay goes on.
 */
export function attach(client, options = {}) {
	const pusher = client?.connector?.pusher ?? client;
	const manager = pusher?.connection;
	for (const [owner, method] of [[pusher, 'send_event'], [pusher, 'unsubscribe'],
		[manager, 'setConnection']])
		if (typeof owner?.[method] !== 'function')
			throw new TypeError(`scopewire: not a supported Pusher or Echo instance: it has no ${method}()`);
	if (!attached.has(pusher)) attached.set(pusher, new Replay(pusher, options).install());
	const replay = attached.get(pusher);
	const listener = { onResync: options.onResync, onEvent: options.onEvent };
	replay.listeners.add(listener);
	return {
		position: (channel) => replay.readings.get(channel)?.since ?? null,
		detach: () => { replay.listeners.delete(listener); },
	};
}

export default attach;
