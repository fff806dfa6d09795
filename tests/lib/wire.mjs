// SPDX-License-Identifier: MIT
// A Pusher-protocol client that hides nothing: every frame as it came, every close code.
import { EventEmitter } from 'node:events';
import WebSocket from 'ws';
import { channelAuth, userAuth } from './api.mjs';
import { DEADLINE_MS, within } from './wait.mjs';

const isObject = (v) => v !== null && typeof v === 'object';

/** Whether got has every member of wanted; a string is parsed as JSON where wanted has an object. */
export function matches(got, wanted) {
	if (typeof wanted === 'function') return wanted(got);
	if (wanted instanceof RegExp) return wanted.test(got);
	if (!isObject(wanted)) return Object.is(got, wanted);
	if (typeof got === 'string') {
		try {
			got = JSON.parse(got);
		} catch {
			return false;
		}
	}
	return isObject(got) && Object.keys(wanted).every((k) => matches(got[k], wanted[k]));
}

export class Wire extends EventEmitter {
	/** url: ws://host:port/app/key?…; options go to the ws library (origin, ca, headers). */
	constructor(url, app, options = {}) {
		super();
		this.app = app;
		this.frames = [];       // every message, parsed (or the text when it is no JSON)
		this.texts = [];        // the same, as they came
		this.taken = 0;         // frames that next() has gone past
		this.socket = new WebSocket(url, { perMessageDeflate: false, ...options });
		this.socket.on('message', (data) => this.#received(data.toString()));
		this.socket.on('error', (error) => { this.error = error; });
		this.closed = new Promise((resolve) => this.socket.on('close', (code, reason) => {
			this.closeCode = code;
			resolve({ code, reason: reason.toString() });
			this.emit('change');
		}));
	}

	#received(text) {
		let frame = text;
		try {
			frame = JSON.parse(text);
		} catch { /* kept as text */ }
		this.texts.push(text);
		this.frames.push(frame);
		this.emit('change');
	}

	/** The next frame that matches (see matches()), skipping others; fails when closed first. */
	next(wanted, deadlineMs = DEADLINE_MS) {
		const what = typeof wanted === 'function' ? wanted : JSON.stringify(wanted);
		let look, settled = false;
		const found = new Promise((resolve, reject) => {
			look = () => {
				while (!settled && this.taken < this.frames.length) {
					const frame = this.frames[this.taken++];
					settled = matches(frame, wanted);
					if (settled) resolve(frame);
				}
				if (!settled && this.closeCode !== undefined)
					reject(new Error(`closed (${this.closeCode}, ${this.error ?? 'no error'}) ` +
						`before ${what}; got ${this.texts.join('\n')}`));
			};
			this.on('change', look);
			look();
		});
		return within(found, `a frame ${what}`, deadlineMs)
			.catch((error) => {
				throw new Error(`${error.message}; got:\n${this.texts.join('\n')}`);
			})
			.finally(() => this.off('change', look));
	}

	/** All frames so far that match. */
	all(wanted) {
		return this.frames.filter((frame) => matches(frame, wanted));
	}

	/** Waits for pusher:connection_established; then socketId is known. */
	async established() {
		const frame = await this.next({ event: 'pusher:connection_established' });
		Object.assign(this, JSON.parse(frame.data));
		this.socketId = this.socket_id;
		return this;
	}

	send(message) {
		this.socket.send(typeof message === 'string' || Buffer.isBuffer(message)
			? message : JSON.stringify(message));
	}

	/** Sends pusher:subscribe, signed when the channel needs it; does not wait. */
	sendSubscribe(channel, { channelData, auth, ...more } = {}) {
		const data = { channel, ...more };
		const text = isObject(channelData) ? JSON.stringify(channelData) : channelData;
		if (text !== undefined) data.channel_data = text;
		if (auth !== undefined) data.auth = auth;
		else if (/^(private|presence)-/.test(channel))
			data.auth = channelAuth(this.app, this.socketId, channel, text);
		else data.auth = '';
		this.send({ event: 'pusher:subscribe', data });
	}

	/** Subscribes and waits for the answer: the succeeded frame. */
	subscribe(channel, more) {
		this.sendSubscribe(channel, more);
		return this.next({ event: 'pusher_internal:subscription_succeeded', channel });
	}

	unsubscribe(channel) {
		this.send({ event: 'pusher:unsubscribe', data: { channel } });
	}

	sendSignin(user) {
		const text = typeof user === 'string' ? user : JSON.stringify(user);
		this.send({ event: 'pusher:signin',
			data: { auth: userAuth(this.app, this.socketId, text), user_data: text } });
	}

	/** Sends a ping and waits for its pong: all frames sent before have been processed then. */
	ping() {
		this.send({ event: 'pusher:ping', data: {} });
		return this.next({ event: 'pusher:pong' });
	}

	async close(code = 1000) {
		this.socket.close(code);
		return within(this.closed, 'the close handshake');
	}

	/** Cuts the TCP connection. */
	terminate() {
		this.socket.terminate();
		return this.closed;
	}
}
