// SPDX-License-Identifier: MIT
// A daemon that is watched while others misbehave: it must go on serving and keep nothing.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { PROGRAM, Raw, startDaemon, waitFor } from '../lib/harness.mjs';

export const APP_PATH = '/app/local-reverb-key?protocol=7';

/** Sanitizers keep freed memory for a while; how much more a daemon built with one may hold. */
const SLACK = /__(asan|tsan)_init/.test(fs.readFileSync(PROGRAM, 'latin1')) ? 8 : 1;

/** Options for a daemon without a database, whose apps log nothing durably. */
export function light(options = {}) {
	return { databaseMode: 'none', ...options,
		env: { ASAN_OPTIONS: `${process.env.ASAN_OPTIONS ?? ''}:quarantine_size_mb=8`, ...options.env },
		database: { required: 'no', ...options.database },
		log: { level: 'info', ...options.log },
		app: { durability: 'none', subscription_count: 'no', ...options.app } };
}

export class Witness {
	/** Starts the daemon with a client that listens all the while. */
	static async start(options) {
		const witness = new Witness();
		witness.daemon = await startDaemon(light(options));
		witness.api = witness.daemon.api();
		witness.client = await witness.daemon.connect();
		await witness.client.subscribe('witness');
		await witness.serves();
		witness.fds = witness.openFiles();
		return witness;
	}

	/** Descriptors that are open now. */
	openFiles() {
		return fs.readdirSync(`/proc/${this.daemon.pid}/fd`).length;
	}

	/** Resident memory in bytes. */
	memory() {
		const status = fs.readFileSync(`/proc/${this.daemon.pid}/status`, 'utf8');
		return Number(status.match(/^VmRSS:\s+(\d+) kB/m)[1]) * 1024;
	}

	/** It holds at most that many bytes more than it did. */
	grewAtMost(bytes, before) {
		const now = this.memory();
		assert.ok(now < before + bytes * SLACK, `memory went from ${before} to ${now}`);
	}

	/** An event goes all the way round. */
	async serves() {
		const data = `${Math.random()}`;
		const answer = await this.api.trigger('witness', 'proof', data);
		assert.equal(answer.status, 200, answer.text);
		await waitFor(() => this.client.frames.some((f) => f.data === data), 'the event to arrive');
	}

	/** Still up, serving, and with no more descriptors than at the start. */
	async unharmed() {
		await this.serves();
		await waitFor(() => this.openFiles() <= this.fds + 1, // the API's kept-alive connection
			`descriptors back at ${this.fds}`).catch((error) => {
			throw new Error(`${error.message}; now ${this.openFiles()}`);
		});
	}

	/** A raw connection whose handshake is done and answered. */
	async raw() {
		const raw = await Raw.connect(this.daemon.port);
		await raw.upgrade(APP_PATH);
		await waitFor(() => raw.messages.length, 'the greeting');
		assert.equal(raw.messages[0].event, 'pusher:connection_established');
		return raw;
	}

	async stop() {
		this.client?.socket.terminate();
		await this.daemon?.stop();
	}
}
