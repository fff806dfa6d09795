// SPDX-License-Identifier: MIT
// The part of the Pusher protocol that the demo needs.  Applications use pusher-js or laravel-echo.

const RETRY_MS = [200, 500, 1000, 2000, 4000];
const PING_AFTER_MS = 4000;
const PONG_WITHIN_MS = 5000;

const parse = (data) => (typeof data === 'string' ? JSON.parse(data) : data);

export class Client extends EventTarget {
	/** url: ws://host/app/key; authorize(socketId, channel) resolves to {auth, channel_data?}. */
	constructor(url, authorize) {
		super();
		Object.assign(this, { url, authorize, channels: new Map(), attempts: 0, state: 'idle' });
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
		const data = frame.data === undefined ? {} : parseLoosely(frame.data);
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

	async #subscribe(channel) {
		const closed = /^(private|presence)-/.test(channel);
		const socketId = this.socketId;
		try {
			const more = closed ? await this.authorize(socketId, channel) : { auth: '' };
			if (socketId === this.socketId)
				this.#send({ event: 'pusher:subscribe', data: { channel, ...more } });
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
