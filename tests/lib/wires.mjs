// SPDX-License-Identifier: MIT
// A network between a client and a server: forwards, is slow, loses what goes in one direction, or is cut.
import net from 'node:net';

/** Bytes of one direction of a connection, in their order. */
class Flow {
	constructor(wires, direction, from, to) {
		Object.assign(this, { wires, direction, from, to });
		this.waiting = [];     // [{at, bytes}]: bytes that are forwarded then
		from.on('data', (bytes) => {
			this.waiting.push({ at: Date.now() + wires.delayMs, bytes });
			this.forward();
		}).on('end', () => {
			this.ended = true;
			this.forward();
		});
		this.steer();
	}

	/** What a stopped direction has not received yet, it receives when it goes on. */
	steer() {
		if (this.wires.stopped.has(this.direction)) this.from.pause();
		else this.from.resume();
	}

	forward() {
		clearTimeout(this.timer);
		while (this.waiting.length && this.waiting[0].at <= Date.now()) this.to.write(this.waiting.shift().bytes);
		if (this.waiting.length) this.timer = setTimeout(() => this.forward(), this.waiting[0].at - Date.now());
		else if (this.ended) this.to.end();
	}
}

export class Wires {
	/** target: has the port to forward to, or the path of a Unix socket. */
	constructor(target) {
		this.target = target;
		this.open = new Set();
		this.flows = new Set();
		this.isCut = false;
		this.delayMs = 0;
		this.stopped = new Set();
		this.listener = net.createServer((near) => this.join(near));
	}

	/** Listens on a free port of this machine; closed with t. */
	async start(t) {
		await new Promise((resolve) => this.listener.listen(0, '127.0.0.1', resolve));
		this.port = this.listener.address().port;
		t.after(() => {
			this.cut();
			this.listener.close();
		});
		return this;
	}

	join(near) {
		near.on('error', () => near.destroy());
		if (this.isCut) {
			near.destroy();
			return;
		}
		const { path, port } = this.target;
		const far = net.connect(path ? { path } : { port, host: '127.0.0.1' });
		const flows = [new Flow(this, 'there', near, far), new Flow(this, 'back', far, near)];
		for (const flow of flows) this.flows.add(flow);
		for (const [one, other] of [[near, far], [far, near]]) {
			this.open.add(one);
			one.on('error', () => one.destroy()).on('close', () => {
				this.open.delete(one);
				for (const flow of flows) {
					clearTimeout(flow.timer);
					this.flows.delete(flow);
				}
				other.destroy();
			});
		}
	}

	/** Ends all connections, and refuses new ones. */
	cut() {
		this.isCut = true;
		for (const socket of this.open) socket.destroy();
	}

	/** Nothing arrives in this direction: 'there' (at the server) or 'back'; also on new connections. */
	stop(direction) {
		this.stopped.add(direction);
		for (const flow of this.flows) flow.steer();
	}

	/** All is forwarded again, at once. */
	mend() {
		this.isCut = false;
		this.delayMs = 0;
		this.stopped.clear();
		for (const flow of this.flows) flow.steer();
	}
}
