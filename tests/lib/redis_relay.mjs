// SPDX-License-Identifier: MIT
// Between a node and its Redis: what a subscription brings can be lost, repeated, or come in another order.
import net from 'node:net';

/** The end of the reply that begins at; -1: it is not complete. */
function replyEnd(bytes, at) {
	const line = bytes.indexOf('\r\n', at);
	if (line < 0) return -1;
	const n = Number(bytes.toString('latin1', at + 1, line));
	const kind = String.fromCharCode(bytes[at]);
	let end = line + 2;
	if (kind === '$' && n >= 0) end += n + 2;
	for (let i = 0; kind === '*' && i < n && end >= 0; i++) end = replyEnd(bytes, end);
	return end > bytes.length ? -1 : end;
}

export class RedisRelay {
	/** change(message) returns the messages that are forwarded in the place of one. */
	constructor(redis, change) {
		this.redis = redis;
		this.change = change;
		this.open = new Set();
		this.listener = net.createServer((near) => this.join(near));
	}

	/** Listens on a free port of this machine; closed with t. */
	async start(t) {
		await new Promise((resolve) => this.listener.listen(0, '127.0.0.1', resolve));
		this.port = this.listener.address().port;
		t.after(() => {
			for (const socket of this.open) socket.destroy();
			this.listener.close();
		});
		return this;
	}

	join(near) {
		const far = net.connect(this.redis.port, '127.0.0.1');
		for (const [one, other] of [[near, far], [far, near]]) {
			this.open.add(one);
			one.on('error', () => one.destroy()).on('close', () => {
				this.open.delete(one);
				other.destroy();
			});
		}
		near.on('data', (bytes) => far.write(bytes));
		let rest = Buffer.alloc(0);
		far.on('data', (bytes) => {
			rest = Buffer.concat([rest, bytes]);
			for (let end; rest.length && (end = replyEnd(rest, 0)) > 0; rest = rest.subarray(end)) {
				const reply = rest.subarray(0, end);
				const messages = reply.includes('\r\n$7\r\nmessage\r\n') ? this.change(Buffer.from(reply)) : [reply];
				for (const one of messages) near.write(one);
			}
		});
	}
}
