// SPDX-License-Identifier: MIT
// The part of the Pusher protocol that the demo needs, with replay (docs/replay.md).  Applications use
// pusher-js or laravel-echo, and contrib/js.

const RETRY_MS = [200, 500, 1000, 2000, 4000];
const PING_AFTER_MS = 4000;
const PONG_WITHIN_MS = 5000;

const parse = (data) => (typeof data === 'string' ? JSON.parse(data) : data);

export class Client extends EventTarget {
	/**
	 * url: ws://host/app/key; authorize(socketId, channel) resolves to {auth, channel_data?};
	 * positions: {channel: position} of an earlier page.
	 */
	constructor(url, authorize, positions = {}) {
		super();
		Object.assign(this, { url, authorize, channels: new Map(), attempts: 0, state: 'idle',
			positions: new Map(Object.entries(positions)), seen: new Set() });
	}

	/** Calls handler(data, frame) for an event of a channel; '*' gets every application event. */
	on(channel, event, handler) {
		if (!this.channels.has(channel)) this.channels.set(channel, []);
		this.channels.get(channel).push({ event, handler });
		return this;
	}

	connect() {
		clearTimeout(this.retry);
		this.#setState('connecting');
		this.socket = new WebSocket(`${this.url}?protocol=7&client=demo&version=1.0.0`);
		this.socket.onmessage = ({ data }) => this.#received(JSON.parse(data));
		this.socket.onclose = ({ code }) => this.#closed(code);
	}

	disconnect() {
		this.wanted = false;
		clearTimeout(this.retry);
		this.socket?.close(1000);
	}

	/** A client event: for the other subscribers of the channel, never in the event log. */
	whisper(channel, event, data) {
		if (this.state === 'connected') this.#send({ event: `client-${event}`, channel, data });
	}

	#send(frame) {
		if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
	}

	#setState(state) {
		this.state = state;
		this.dispatchEvent(new CustomEvent('state', { detail: state }));
	}

	#received(frame) {
		this.#alive();
		if (frame.event === 'pusher:connection_established') return this.#established(parse(frame.data));
		if (frame.event === 'pusher:ping') return this.#send({ event: 'pusher:pong', data: {} });
		if (frame.event === 'pusher:pong') return this.#measured();
		if (frame.event === 'pusher:error')
			return this.dispatchEvent(new CustomEvent('error', { detail: parse(frame.data) }));
		if (this.#isRepeated(frame)) return undefined;
		const data = frame.data === undefined ? {} : parseLoosely(frame.data);
		if (frame.event === 'scopewire:replayed' || frame.event === 'scopewire:resync')
			return this.dispatchEvent(new CustomEvent(frame.event.slice(10), { detail: data }));
		const own = frame.event.startsWith('pusher');
		for (const { event, handler } of this.channels.get(frame.channel) ?? [])
			if (event === frame.event || (event === '*' && !own)) handler(data, frame);
	}

	#established({ socket_id }) {
		this.socketId = socket_id;
		this.attempts = 0;
		this.#setState('connected');
		for (const channel of this.channels.keys()) this.#subscribe(channel);
	}

	/** Keeps the channel's position; true if the event was received before. */
	#isRepeated({ channel, position, serial, id }) {
		if (position) this.positions.set(channel, position);
		if (!id) return false;
		const known = this.seen.has(id);
		this.seen.add(id);
		const [epoch, last] = (this.positions.get(channel) ?? '').split(':');
		if (serial === undefined || !epoch) return known;
		if (serial <= Number(last)) return true;
		this.positions.set(channel, `${epoch}:${serial}`);
		return known;
	}

	async #subscribe(channel) {
		const closed = /^(private|presence)-/.test(channel);
		const socketId = this.socketId;
		try {
			const more = closed ? await this.authorize(socketId, channel) : { auth: '' };
			if (socketId === this.socketId)
				this.#send({ event: 'pusher:subscribe', data: { channel, ...more,
					since: this.positions.get(channel) } });
		} catch (error) {
			this.dispatchEvent(new CustomEvent('error', { detail: error }));
		}
	}

	/** Measures the round trip; reported as a 'latency' event in milliseconds. */
	ping() {
		this.pinged = performance.now();
		this.#send({ event: 'pusher:ping', data: {} });
	}

	#measured() {
		if (!this.pinged) return;
		const detail = performance.now() - this.pinged;
		this.pinged = 0;
		this.dispatchEvent(new CustomEvent('latency', { detail }));
	}

	/** A message arrived, so the connection is alive; pings after the next silence. */
	#alive() {
		clearTimeout(this.timer);
		this.timer = setTimeout(() => {
			this.ping();
			this.timer = setTimeout(() => this.socket.close(), PONG_WITHIN_MS);
		}, PING_AFTER_MS);
	}

	#closed(code) {
		clearTimeout(this.timer);
		this.socketId = null;
		if (this.wanted === false) return this.#setState('disconnected');
		if (code >= 4000 && code < 4100) return this.#setState('refused');
		this.#setState('reconnecting');
		const wait = RETRY_MS[Math.min(this.attempts++, RETRY_MS.length - 1)];
		this.retry = setTimeout(() => this.connect(), wait);
	}
}

function parseLoosely(data) {
	try {
		return parse(data);
	} catch {
		return data;
	}
}
