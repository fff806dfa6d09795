// SPDX-License-Identifier: MIT
// A client of cluster_model.test.mjs: a page of a user, with one connection at a time.  It checks each frame
// against what it has received before; what contradicts that is in model.broken.
import { pause, randomFrom, within } from '../lib/harness.mjs';
import { ANSWER_MS, ASYNC, CHANNELS, GRACE_MS, NONE, ROOM, SECRET, WHISPERS } from './cluster_model.mjs';

const MAX_WAS = 8;      // socket ids in a subscription

/** The members of a channel as one subscription sees them: added and removed alternate for each user. */
class Roster {
	constructor(data, user, broken) {
		this.members = new Set(data.presence.ids);
		this.user = user;
		this.broken = broken;
		if (!this.members.has(user)) broken('the first list of members is without its own user');
	}

	added(id) {
		if (this.members.has(id)) this.broken(`${id} is added twice`);
		this.members.add(id);
	}

	removed(id) {
		if (!this.members.delete(id)) this.broken(`${id} is removed twice`);
		if (id === this.user) this.broken('its own user is removed');
	}
}

export class Client {
	constructor(model, id, user) {
		this.model = model;
		this.id = id;
		this.user = user;
		this.random = randomFrom(model.seed + 1000 + id);
		this.got = Object.fromEntries([...CHANNELS, ASYNC].map((channel) => [channel, []]));
		this.last = Object.fromEntries([...CHANNELS, ASYNC].map((channel) => [channel, 0]));
		this.ids = new Set();        // of events of ASYNC
		this.sockets = [];           // all socket ids, newest first
		this.stays = [];             // in ROOM: {socket, from, until}
		this.moves = 0;
		this.wantsOnline = this.wantsRoom = true;
		this.awayMs = 0;             // until it connects again
	}

	broken = (what) => {
		this.model.broken.push(`client ${this.id} (${this.user}, ${this.sockets[0]} on ${this.node?.options.server.node}): ${what}`);
	};

	/** What it knows of the connection that it has now. */
	#begin(node) {
		this.node = node;
		this.wire = node.wire();
		this.#setRoster();           // while it is subscribed to ROOM
		this.secret = undefined;     // its subscription to SECRET
		this.count = undefined;      // subscription_count of CHANNELS[0]
		this.watched = {};           // user: 'online' or 'offline'
		this.once = new Set();       // events and whispers that came on this connection
		this.whispered = {};         // socket: the last whisper from it
		this.replaying = new Set(CHANNELS);
		this.isSignedIn = false;
	}

	#setRoster(roster) {
		if (this.roster) this.stays.at(-1).until = Date.now();
		this.roster = roster;
		if (roster) this.stays.push({ socket: this.wire.socketId, from: Date.now(), until: Infinity });
	}

	// ---- what it receives ----------------------------------------------------------------

	#take(frame) {
		const { channel } = frame, data = typeof frame.data === 'string' ? JSON.parse(frame.data || '{}') : frame.data;
		switch (frame.event) {
		case 'scopewire:resync':
			if (data.reason !== 'unavailable') this.broken(`resync ${data.reason} on ${channel}`);
			this.#end();      // what follows has a gap: it returns with its old position
			break;
		case 'scopewire:replayed':
			this.replaying.delete(channel);
			break;
		case 'pusher_internal:subscription_succeeded':
			if (channel === ROOM && this.wantsRoom) this.#setRoster(new Roster(data, this.user, this.broken));
			else if (channel === SECRET) this.secret = { wire: this.wire };
			break;
		case 'pusher:subscription_error':
			this.#refused(channel, data);
			break;
		case 'pusher_internal:member_added':
			this.roster?.added(data.user_id);
			break;
		case 'pusher_internal:member_removed':
			this.roster?.removed(data.user_id);
			break;
		case 'pusher_internal:subscription_count':
			if (channel === CHANNELS[0]) this.count = data.subscription_count;
			break;
		case 'pusher_internal:watchlist_events':
			for (const { name, user_ids } of data.events) for (const id of user_ids) this.#watch(id, name);
			break;
		case 'pusher:signin_success':
			this.isSignedIn = true;
			break;
		case 'client-whisper':
			this.#whisper(data);
			break;
		default:
			if (/^E/.test(frame.event)) this.#event(frame);
		}
	}

	/** A revoke ended the subscription: it subscribes again. */
	#refused(channel, { status }) {
		if (status !== 403) this.broken(`subscription error ${status} on ${channel}`);
		if (!this.model.revoked.has(this.user)) this.broken(`${channel} was revoked without a request`);
		const { wire } = this;
		if (channel === SECRET && this.secret) this.secret = void (this.secret.isEnded = true);
		if (channel === ROOM) this.#setRoster();
		setTimeout(() => {
			if (wire.isOver) return;
			if (channel !== ROOM) wire.sendSubscribe(channel);
			else if (this.wantsRoom) this.#join();
		}, this.random() * 200);
	}

	#watch(id, name) {
		if (this.watched[id] === name) this.broken(`${id} is ${name} twice`);
		this.watched[id] = name;
	}

	#whisper({ from, n }) {
		if (from === this.wire.socketId) this.broken('its own whisper came back');
		if (n <= (this.whispered[from] ?? -1)) this.broken(`whisper ${n} after ${this.whispered[from]} of ${from}`);
		this.whispered[from] = n;
	}

	#event({ channel, event, serial, id }) {
		const excluded = this.model.excluded.get(event);
		if (excluded && excluded === this.wire.socketId) this.broken(`${event} came to the socket that it excludes`);
		if (excluded && this.replaying.has(channel) && this.was?.includes(excluded))
			this.broken(`${event} is replayed to a client whose socket it excludes`);
		if (channel === NONE || channel === ASYNC) {
			if (this.once.has(event)) this.broken(`${event} came twice on a connection`);
			this.once.add(event);
		}
		if (channel === NONE) return;
		if (serial !== undefined && !(serial > this.last[channel])) {
			if (channel !== ASYNC) this.broken(`${channel} ${event} has serial ${serial} after ${this.last[channel]}`);
			return;
		}
		if (serial !== undefined) this.last[channel] = serial;
		if (channel === ASYNC && this.ids.has(id)) return;
		this.ids.add(id);
		this.got[channel].push(event);
	}

	// ---- its connections -----------------------------------------------------------------

	#end() {
		this.wire.isOver = true;
		this.wire.terminate();
	}

	#join() {
		this.wire.sendSubscribe(ROOM, { channelData: { user_id: this.user, user_info: { name: this.user } } });
	}

	#subscribe() {
		const { wire } = this;
		for (const channel of [...CHANNELS, ASYNC])
			wire.sendSubscribe(channel, { since: `${this.epoch}:${this.last[channel]}`,
				...this.was?.length && { was: this.was.join() } });
		for (const channel of [NONE, WHISPERS]) wire.sendSubscribe(channel);
		wire.sendSignin({ id: this.user, watchlist: this.model.users.filter((user) => user !== this.user) });
		wire.sendSubscribe(SECRET);
		if (this.wantsRoom) this.#join();
	}

	/** One connection, to its end. */
	async #follow() {
		const node = this.model.anyNode(this.random);
		if (!node) return;
		this.#begin(node);
		const { wire } = this;
		let at = 0;
		wire.on('change', () => {
			while (at < wire.frames.length && !wire.isOver) this.#take(wire.frames[at++]);
		});
		try {
			await within(wire.established(), 'the connection', ANSWER_MS);
			if (!wire.epoch) throw new Error('the node does not know the log yet');
			this.epoch ??= wire.epoch;
			if (wire.epoch !== this.epoch) this.broken('the epoch changed');
			if (this.sockets.includes(wire.socketId)) this.broken('it had this socket id before');
			this.sockets.unshift(wire.socketId);
			this.was = this.sockets.slice(0, MAX_WAS);      // its own one too: see docs/known-limits.md
			this.moves++;
			this.#subscribe();
			const { code } = await wire.closed;
			if (code === 4009 && !this.model.terminated.has(this.user)) this.broken('terminated without a request');
		} finally {
			this.#end();
			this.secret = undefined;
			this.#setRoster();
		}
	}

	async run() {
		while (!this.model.ended) {
			if (this.wantsOnline) await this.#follow().catch(() => {});
			if (!this.model.ended) await pause(this.awayMs || this.random() * 100);
			this.awayMs = 0;
		}
	}

	/** As a reload of the page: on whichever node, after awayMs. */
	move(awayMs = this.random() * 100) {
		this.awayMs = awayMs;
		this.wire?.terminate();
	}

	get isOpen() {
		return this.wire?.socketId !== undefined && !this.wire.isOver && this.wire.closeCode === undefined;
	}

	setRoom(wants) {
		this.wantsRoom = wants;
		if (!this.isOpen) return;
		if (wants) {
			this.#join();
		} else {
			this.#setRoster();
			this.wire.unsubscribe(ROOM);
		}
	}

	setOnline(wants) {
		this.wantsOnline = wants;
		if (!wants) this.wire?.terminate();
	}

	whisper() {
		if (!this.isOpen) return;
		this.wire.nWhispers = (this.wire.nWhispers ?? -1) + 1;
		this.wire.send({ event: 'client-whisper', channel: WHISPERS,
			data: { from: this.wire.socketId, n: this.wire.nWhispers } });
		this.model.nWhispers++;
		// For the webhook, which follows that of the member.
		if (this.roster) this.wire.send({ event: 'client-wave', channel: ROOM, data: { from: this.wire.socketId, at: Date.now() } });
	}

	/** Comes, goes and whispers at random. */
	async disturb() {
		while (!this.model.ended) {
			await pause(this.random() * 1000);
			const choice = this.random();
			if (!this.model.isQuiet) {
				if (choice < 0.15) this.move();
				else if (choice < 0.22) this.move(GRACE_MS + this.random() * 500);
				else if (choice < 0.34) this.setRoom(!this.wantsRoom);
				else if (choice < 0.40) this.setOnline(!this.wantsOnline);
				else this.whisper();
			}
		}
	}
}
