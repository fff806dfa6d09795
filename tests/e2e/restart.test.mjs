// SPDX-License-Identifier: MIT
// A restart behind a listening socket that somebody else keeps open, as systemd's socket units do:
// stock pusher-js is back with its first try.
import test from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { Daemon, PROGRAM, end, logged, newDatabase, start, waitFor } from '../lib/harness.mjs';
import { client, connected, once, server, startAuthorizer, subscribed } from './stock.mjs';

// The daemon, with the socket as descriptor 3 and its own process id in LISTEN_PID.
const ONE = 'echo "pid $$" >&2; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"';
// Holds the socket; each line on standard input starts one.
const HOLDER = `while read -r _; do sh -c '${ONE}' "$@"; echo "ended $?" >&2; done`;

class Inheriting extends Daemon {
	/** handle: of what Node listens on. */
	async hold(handle) {
		this.database = await newDatabase();
		this.writeConfig();
		this.child = start('/bin/sh', ['-c', HOLDER, 'sh', PROGRAM, ...this.arguments()],
			{ cwd: this.folder, stdio: ['pipe', 'pipe', 'pipe', handle],
				env: { PATH: process.env.PATH, LC_ALL: 'C.UTF-8' } });
		return this;
	}

	count(pattern) {
		return [...this.child.log.matchAll(pattern)].length;
	}

	async begin() {
		const before = this.count(/ready: listening/g);
		this.child.stdin.write('start\n');
		await waitFor(() => this.count(/ready: listening/g) > before, 'ready');
		this.port = Number([...this.child.log.matchAll(/listening on \S+:(\d+)/g)].at(-1)[1]);
	}

	async finish() {
		const before = this.count(/^ended 0$/gm);
		process.kill(Number([...this.child.log.matchAll(/^pid (\d+)$/gm)].at(-1)[1]), 'SIGTERM');
		await waitFor(() => this.count(/^ended 0$/gm) > before, 'ended');
	}
}

/** A listening socket. A process that inherited its handle keeps it open after it is closed here. */
async function listening() {
	const holder = net.createServer();
	await new Promise((resolve) => holder.listen(0, '127.0.0.1', resolve));
	return holder;
}

test('a restart with LISTEN_FDS refuses no connection', async (t) => {
	const holder = await listening();
	const { port } = holder.address();
	const daemon = new Inheriting({ server: { port: 1, drain_ms: 0 } });
	await daemon.hold(holder._handle);
	t.after(() => end(daemon.child));
	holder.close();
	await daemon.begin();
	assert.equal(daemon.port, port, 'the port is the socket’s, whatever the file has');
	const sdk = server(daemon);
	const pusher = await connected(client(t, daemon, await startAuthorizer(t, sdk)));
	const channel = await subscribed(pusher, 'news');
	pusher.states.length = 0;
	await daemon.finish();
	await waitFor(() => pusher.states.includes('connecting'), 'it comes back at once');
	await daemon.begin();
	await waitFor(() => pusher.states.includes('connected'), 'it is back');
	assert.deepEqual(pusher.states, ['connecting', 'connected'], 'with its first try');
	if (!channel.subscribed) await once(channel, 'pusher:subscription_succeeded');
	const arrived = once(channel, 'made');
	await sdk.trigger('news', 'made', { n: 1 });
	assert.deepEqual(await arrived, { n: 1 });
	await daemon.finish();
});

test('a descriptor that does not listen is refused', async (t) => {
	const peer = net.createServer();
	await new Promise((resolve) => peer.listen(0, '127.0.0.1', resolve));
	t.after(() => peer.close());
	const connection = net.connect(peer.address().port, '127.0.0.1');
	await new Promise((resolve) => connection.once('connect', resolve));
	t.after(() => connection.destroy());
	const daemon = await new Inheriting({}).hold(connection._handle);
	t.after(() => end(daemon.child));
	daemon.child.stdin.write('start\n');
	await logged(daemon.child, /LISTEN_FDS is no listening socket[\s\S]*ended 71/);
});
