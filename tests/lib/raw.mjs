// SPDX-License-Identifier: MIT
// Bytes on a TCP or TLS connection, for what no well-behaved library would send.
import net from 'node:net';
import tls from 'node:tls';
import crypto from 'node:crypto';
import { suiteCertificate } from './tls.mjs';
import { waitFor } from './wait.mjs';

/** One WebSocket frame.  length overrides the one of the header, mask false sends it unmasked. */
export function frame(payload, { opcode = 1, fin = true, rsv = 0, mask = true, length } = {}) {
	const body = Buffer.from(payload);
	const n = length ?? body.length;
	const head = Buffer.alloc(2 + (n > 65535 ? 8 : n > 125 ? 2 : 0));
	head[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
	head[1] = (mask ? 0x80 : 0) | (n > 65535 ? 127 : n > 125 ? 126 : n);
	if (n > 65535) head.writeBigUInt64BE(BigInt(n), 2);
	else if (n > 125) head.writeUInt16BE(n, 2);
	if (!mask) return Buffer.concat([head, body]);
	const key = crypto.randomBytes(4);
	return Buffer.concat([head, key, body.map((byte, i) => byte ^ key[i & 3])]);
}

/** The complete frames at the start of bytes: [{opcode, fin, payload, code?}], and the rest. */
export function parseFrames(bytes) {
	const frames = [];
	for (;;) {
		if (bytes.length < 2) break;
		let n = bytes[1] & 0x7f, at = 2;
		if (n === 126) {
			if (bytes.length < 4) break;
			n = bytes.readUInt16BE(2);
			at = 4;
		} else if (n === 127) {
			if (bytes.length < 10) break;
			n = Number(bytes.readBigUInt64BE(2));
			at = 10;
		}
		if (bytes.length < at + n) break;
		const one = { opcode: bytes[0] & 0x0f, fin: bytes[0] >= 0x80,
			payload: bytes.subarray(at, at + n) };
		if (one.opcode === 8 && n >= 2) one.code = one.payload.readUInt16BE(0);
		frames.push(one);
		bytes = bytes.subarray(at + n);
	}
	return { frames, rest: bytes };
}

export class Raw {
	/** Resolves once connected.  tlsOptions ({ca,…}) make it TLS, the default of suites over TLS. */
	static async connect(port, host = '127.0.0.1', tlsOptions = suiteCertificate()) {
		const raw = new Raw();
		raw.tcp = net.connect({ port, host });
		raw.socket = tlsOptions ? tls.connect({ socket: raw.tcp, host, ...tlsOptions }) : raw.tcp;
		raw.received = Buffer.alloc(0);
		raw.frames = [];
		raw.upgraded = false;
		raw.ended = false;
		raw.socket.on('data', (data) => raw.#take(data));
		raw.socket.on('error', (error) => { raw.error = error; });
		raw.socket.on('end', () => { raw.ended = true; });
		raw.socket.on('close', () => { raw.ended = true; });
		await new Promise((resolve, reject) => {
			raw.socket.once(tlsOptions ? 'secureConnect' : 'connect', resolve);
			raw.socket.once('error', reject);
		});
		return raw;
	}

	#take(data) {
		this.received = Buffer.concat([this.received, data]);
		if (!this.upgraded) return;
		const { frames, rest } = parseFrames(this.received);
		this.frames.push(...frames);
		this.received = rest;
	}

	write(bytes) {
		this.socket.write(bytes);
		return this;
	}

	/** The bytes received so far, as text. */
	get text() {
		return this.received.toString('latin1');
	}

	/** Upgrades to a WebSocket; the answer's head is returned, frames gather afterwards. */
	async upgrade(path, headers = {}) {
		const all = { Host: 'localhost', Connection: 'Upgrade', Upgrade: 'websocket',
			'Sec-WebSocket-Version': '13',
			'Sec-WebSocket-Key': crypto.randomBytes(16).toString('base64'), ...headers };
		const lines = Object.entries(all).filter(([, value]) => value !== undefined)
			.map(([name, value]) => `${name}: ${value}\r\n`);
		this.write(`GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`);
		const end = await waitFor(() => {
			const at = this.received.indexOf('\r\n\r\n');
			return at >= 0 ? at + 4 : this.ended ? -1 : 0;
		}, 'an answer to the upgrade');
		if (end < 0) return this.text;
		const head = this.received.subarray(0, end).toString('latin1');
		this.received = this.received.subarray(end);
		this.upgraded = / 101 /.test(head.split('\r\n')[0]);
		if (this.upgraded) this.#take(Buffer.alloc(0));
		return head;
	}

	/** Text frames so far, parsed. */
	get messages() {
		return this.frames.filter((f) => f.opcode === 1).map((f) => JSON.parse(f.payload));
	}

	/** The code of the close frame; 1006 when the connection ended without one. */
	closeCode() {
		return waitFor(() => {
			const close = this.frames.find((f) => f.opcode === 8);
			return close ? close.code ?? 1005 : this.ended && 1006;
		}, 'a close frame or the end');
	}

	destroy() {
		this.socket.destroy();
	}

	/** Ends the connection with a reset. */
	reset() {
		this.tcp.resetAndDestroy();
	}
}
