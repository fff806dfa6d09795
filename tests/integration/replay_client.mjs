// SPDX-License-Identifier: MIT
// A client as docs/replay.md describes it, on the raw wire: comes and goes, and keeps what it saw.
const KEPT_IDS = 1000;

/** What one subscriber knows of its channels over all its connections. */
export class Returning {
	constructor(daemon, channels, { channelData = () => undefined } = {}) {
		Object.assign(this, { daemon, channelData });
		this.state = new Map(channels.map((name) => [name, { position: undefined, ids: [],
			seen: [], repeats: [], resyncs: [], replayed: 0, isLive: false }]));
		this.was = [];
		this.connections = 0;
	}

	of(channel) {
		return this.state.get(channel);
	}

	/** Connects and subscribes to all channels, from the positions it has. */
	async come() {
		this.wire = await this.daemon.connect();
		this.connections++;
		this.read = 0;
		this.wire.on('change', () => this.#read());
		for (const [channel, state] of this.state) {
			state.isLive = false;
			this.wire.sendSubscribe(channel, { channelData: this.channelData(channel),
				since: state.position, was: this.was.join(',') || undefined });
		}
		this.#read();
		return this;
	}

	/** Cuts the connection, whatever is on its way. */
	async go() {
		this.was = [this.wire.socketId, ...this.was].slice(0, 8);
		await this.wire.terminate();
	}

	#read() {
		while (this.read < this.wire.frames.length) {
			const frame = this.wire.frames[this.read++];
			const state = this.state.get(frame.channel);
			if (state) this.#take(state, frame);
		}
	}

	#take(state, frame) {
		if (frame.event === 'pusher_internal:subscription_succeeded')
			state.isLive = state.position === undefined;
		if (frame.event === 'scopewire:replayed') {
			state.isLive = true;
			state.replayed += JSON.parse(frame.data).count;
		}
		if (frame.event === 'scopewire:resync') {
			state.isLive = true;
			state.resyncs.push(JSON.parse(frame.data).reason);
		}
		if (frame.position) state.position = frame.position;
		else if (frame.id) this.#event(state, frame);
	}

	#event(state, frame) {
		if (frame.serial) {
			const [epoch, serial] = state.position.split(':');
			if (frame.serial <= Number(serial)) {
				state.repeats.push(frame);
				return;
			}
			state.position = `${epoch}:${frame.serial}`;
			if (state.ids.includes(frame.id)) return; // seen before it had a serial
		} else {
			if (state.ids.includes(frame.id)) return;
			state.ids = [...state.ids, frame.id].slice(-KEPT_IDS);
		}
		state.seen.push(frame);
	}
}
