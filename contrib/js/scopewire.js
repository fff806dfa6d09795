// SPDX-License-Identifier: MIT
/**
 * Nothing missed, with stock pusher-js and laravel-echo: remembers how far each channel was read,
 * asks scopewired for the rest when it subscribes again, and drops what was seen already.
 * The contract is docs/replay.md.
 *
 *     import { attach } from './scopewire.js';
 *     attach(new Pusher(key, options));                   // or attach(echo)
 *     attach(echo, { storage: sessionStorage, onResync: ({ channel }) => refetch(channel) });
 *
 * It stands between the socket and pusher-js, at two methods of the instance: send_event() for what
 * goes out, onMessage() of its transport for what comes in.  Servers that know nothing of positions
 * are served as before.
 */

const KEPT_IDS = 1000;      // of events that had no serial yet, a channel
const KEPT_SOCKETS = 8;     // as many as the server reads
const OWN_EVENT = 'scopewire:';

/** "epoch:serial" taken apart, or null. */
function parsePosition(text) {
	const match = /^([^:]+):(\d+)$/.exec(typeof text === 'string' ? text : '');
	return match && { epoch: match[1], serial: Number(match[2]) };
}

/** How far one channel was read. */
class Reading {
	constructor(position = null) {
		this.position = position;
		this.ids = new Set();
	}

	get since() {
		return this.position && `${this.position.epoch}:${this.position.serial}`;
	}

	/** A frame's position, where it has one. */
	move(text) {
		const position = parsePosition(text);
		if (position) this.position = position;
	}

	/** Notes an event; true when it was seen before. */
	isRepeat({ id, serial }) {
		if (typeof serial !== 'number') return id !== undefined && !this.keep(id);
		if (this.position) {
			if (serial <= this.position.serial) return true;
			this.position.serial = serial;
		}
		return this.ids.delete(id);
	}

	/** False when it is kept already: an event that the log had not got to, replayed. */
	keep(id) {
		if (this.ids.has(id)) return false;
		this.ids.add(id);
		if (this.ids.size > KEPT_IDS) this.ids.delete(this.ids.values().next().value);
		return true;
	}
}

/** What outlives a page: positions and socket ids, under one name of a Storage. */
class Memory {
	constructor(storage, name) {
		this.storage = storage;
		this.name = name;
	}

	/** {positions: {channel: "epoch:serial"}, sockets: [...]}, whatever was found. */
	load() {
		let kept = null;
		try {
			kept = JSON.parse(this.storage?.getItem(this.name));
		} catch { /* not ours, or not readable: as if there were none */ }
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
		} catch { /* full or forbidden: a reload will not remember, nothing else is lost */ }
	}
}

class Replay {
	constructor(pusher, { storage, storageKey, onResync } = {}) {
		this.pusher = pusher;
		this.onResync = onResync;
		this.memory = new Memory(storage, storageKey ?? `scopewire:${pusher.key}`);
		this.readings = new Map();
		const kept = this.memory.load();
		for (const [channel, position] of kept.positions)
			this.readings.set(channel, new Reading(parsePosition(position)));
		this.sockets = kept.sockets;     // of earlier connections, newest first
		this.socket = pusher.connection.socket_id;
	}

	/** Takes the instance's place on both ways. */
	install() {
		const { pusher } = this;
		const manager = pusher.connection;
		const send = pusher.send_event.bind(pusher);
		const unsubscribe = pusher.unsubscribe.bind(pusher);
		const setConnection = manager.setConnection.bind(manager);
		pusher.send_event = (name, data, channel) =>
			send(name, name === 'pusher:subscribe' ? this.asking(data) : data, channel);
		pusher.unsubscribe = (channel) => {
			this.readings.delete(channel);
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

	/** The data of a subscription, with what is to be asked for. */
	asking(data) {
		const since = this.readings.get(data.channel)?.since;
		if (!since) return data;
		const was = this.sockets.filter((id) => id !== this.socket).join(',');
		return { ...data, since, ...(was && { was }) };
	}

	listen(transport) {
		const deliver = transport.onMessage.bind(transport);
		transport.onMessage = (message) => this.receive(message, deliver);
	}

	/** One frame on its way to pusher-js. */
	receive(message, deliver) {
		const frame = this.parse(message.data);
		if (!frame) {
			deliver(message);
			return;
		}
		const reading = this.reading(frame.channel);
		if (frame.event.startsWith(OWN_EVENT)) this.tell(frame);
		else if (!reading.isRepeat(frame)) deliver(message);
		reading.move(frame.position);
		this.save();     // behind the handlers: what they did not get is asked for again
	}

	/** The frame, when it says something about a position; else null. */
	parse(text) {
		if (typeof text !== 'string' || !/"(serial|id|position)"|"scopewire:/.test(text)) return null;
		try {
			const frame = JSON.parse(text);
			const ours = frame.id !== undefined || frame.position !== undefined
				|| frame.event.startsWith(OWN_EVENT);
			return ours && typeof frame.channel === 'string' ? frame : null;
		} catch {
			return null;     // pusher-js says what is wrong with it
		}
	}

	reading(channel) {
		if (!this.readings.has(channel)) this.readings.set(channel, new Reading());
		return this.readings.get(channel);
	}

	/**
	 * scopewire:replayed and scopewire:resync go to the channel's handlers by hand: an encrypted
	 * channel would try to decrypt them.
	 */
	tell({ event, channel, data }) {
		const told = typeof data === 'string' ? JSON.parse(data) : data;
		this.pusher.channel(channel)?.emit(event, told);
		if (event === 'scopewire:resync') this.onResync?.({ channel, ...told });
	}
}

const attached = new WeakMap();

/**
 * Makes a Pusher, or the one inside an Echo, ask for what it missed.  Attach before subscribing;
 * a second time does nothing.
 *
 * options: storage, a Storage such as sessionStorage: positions survive a reload of the page;
 * storageKey, their name there; onResync({channel, reason}): the gap cannot be filled, fetch the
 * state anew (also a scopewire:resync event on the channel).
 *
 * Returns {position(channel)}: "epoch:serial" or null.
 */
export function attach(client, options = {}) {
	const pusher = client?.connector?.pusher ?? client;
	const manager = pusher?.connection;
	for (const [owner, method] of [[pusher, 'send_event'], [pusher, 'unsubscribe'],
		[manager, 'setConnection']])
		if (typeof owner?.[method] !== 'function')
			throw new TypeError(`scopewire: this is no Pusher or Echo of a kind known here (no ${method}())`);
	if (!attached.has(pusher)) attached.set(pusher, new Replay(pusher, options).install());
	const replay = attached.get(pusher);
	return { position: (channel) => replay.readings.get(channel)?.since ?? null };
}

export default attach;
