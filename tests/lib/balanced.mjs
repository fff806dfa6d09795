// SPDX-License-Identifier: MIT
// Several nodes behind HAProxy, in the place of one daemon: what startDaemon() gives when
// SCOPEWIRE_TEST_NODES is 2 or more.  All nodes have the same command line and configuration file; what
// differs is in their environment.  Requests and connections take turns, without sticky sessions.
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import assert from 'node:assert/strict';
import { newDatabase } from './cluster.mjs';
import { Daemon, PROGRAM, SANITIZER, sanitizerOptions } from './daemon.mjs';
import { NAMES, bus } from './nodes.mjs';
import { end, logged, start } from './process.mjs';
import { freePort } from './temp.mjs';
import { suiteCertificate } from './tls.mjs';
import { waitFor } from './wait.mjs';

// A node that is down refuses at once; one that is busy has "inter" for the handshake, and "timeout check" for its answer.
const CHECK = 'check inter 2s downinter 100ms fall 1 rise 1';

class Node {
	constructor(name, port) {
		Object.assign(this, { name, port, log: '', child: null });
	}
}

/** A daemon to its callers: its port is the balancer's, its log that of all nodes. */
export class Balanced extends Daemon {
	constructor(options, n) {
		super(options);
		this.n = n;
	}

	get hasTls() {
		return Boolean(this.options.server?.tls_certificate ?? suiteCertificate());
	}

	async prepare() {
		if (this.options.databaseMode !== 'none')
			this.database ??= await newDatabase(this.options.cluster, { isMigrated: this.hasUsualSchema });
		this.port ||= this.portOfDotenv() ?? await freePort();
		if (this.nodes) return;
		this.nodes = [];
		for (const name of NAMES.slice(0, this.n))
			this.nodes.push(new Node(`${name}.${path.basename(this.folder)}`, await freePort()));
	}

	portOfDotenv() {
		const { envFile } = this.options;
		const [, port] = (envFile && /^REVERB_PORT="?(\d+)/m.exec(fs.readFileSync(envFile, 'utf8'))) || [];
		return port && Number(port);
	}

	/** Options of its own for each node, as variables: they are stronger than files. */
	environment(node) {
		const own = { server: { node: node.name, host: '127.0.0.1', port: node.port },
			cluster: { ...bus({ name: path.basename(this.folder) }), ...this.options.sections?.cluster } };
		return Object.fromEntries(Object.entries(own).flatMap(([section, options]) => Object.entries(options)
			.map(([name, value]) => [`SCOPEWIRE_${section}_${name}`.toUpperCase(), String(value)])));
	}

	async startNode(node) {
		node.child = start(PROGRAM, this.arguments(), { cwd: this.folder, env: { PATH: process.env.PATH,
			LC_ALL: 'C.UTF-8', ...sanitizerOptions(), ...this.options.env, ...this.environment(node) } });
		await logged(node.child, /ready: listening on (\S+):(\d+)/);
	}

	async start() {
		await this.prepare();
		if (this.options.config !== false) this.writeConfig();
		await Promise.all(this.nodes.map((node) => this.startNode(node)));
		await this.startBalancer();
		return this;
	}

	spawn() {
		return this.start();
	}

	/** Of the first node. */
	get pid() {
		return this.nodes[0].child.pid;
	}

	get child() {
		return this.nodes?.[0].child ?? null;
	}

	set child(ignored) { /* Daemon clears it */ }

	get urls() {
		return this.nodes.map(({ port }) => `http${this.hasTls ? 's' : ''}://127.0.0.1:${port}`);
	}

	get logText() {
		return (this.nodes ?? []).map((node) => node.log + (node.child?.log ?? '')).join('\n');
	}

	async startBalancer() {
		const { folder } = this, isTcp = this.hasTls;
		const bind = this.host === '*' ? `bind *:${this.port}\n\tbind :::${this.port} v6only`
			: `bind ${this.host.includes(':') ? `[${this.host}]` : this.host}:${this.port}`;
		const servers = this.nodes.map(({ name, port }) => `\tserver ${name} 127.0.0.1:${port} ${CHECK}`
			+ `${isTcp ? ' check-ssl verify none' : ''}\n`).join('');
		const http = `	use_backend sockets if { hdr(Upgrade) -i websocket }\n\tdefault_backend api\n
backend sockets\n\tbalance roundrobin\n\thttp-reuse never\n${servers}\nbackend api\n\tbalance roundrobin\n${servers}`;
		const tcp = `	default_backend all\n\nbackend all\n\tbalance roundrobin\n${servers}`;
		fs.writeFileSync(path.join(folder, 'haproxy.cfg'), `global
	stats socket ${folder}/haproxy.sock mode 600 level admin\n
defaults\n\tmode ${isTcp ? 'tcp' : 'http'}\n\ttimeout connect 5s\n\ttimeout client 120s\n\ttimeout server 120s
	timeout tunnel 1h\n\ttimeout check 30s\n\toption httpchk GET /ready\n\toption redispatch 1\n\tretries 3\n
frontend all\n\t${bind}\n${isTcp ? tcp : http}`);
		this.balancer = start('haproxy', ['-db', '-f', path.join(folder, 'haproxy.cfg')], { cwd: folder });
		// It must not hold the process open: it is killed when the process ends.
		for (const one of [this.balancer, this.balancer.stdout, this.balancer.stderr]) one.unref();
		await waitFor(() => this.#isUp(this.nodes.map(({ name }) => name)), () => `the balancer: ${this.balancer.log}`);
	}

	/** Whether the balancer sends clients to each of these nodes. */
	async #isUp(names) {
		assert.equal(this.balancer.exitCode, null, this.balancer.log);
		const text = await new Promise((resolve) => {
			let all = '';
			const socket = net.connect(path.join(this.folder, 'haproxy.sock'), () => socket.end('show stat\n'));
			socket.on('data', (part) => { all += part; }).on('close', () => resolve(all)).on('error', () => {});
		});
		const lines = text.split('\n').map((line) => line.split(','));
		// Before its first check a server counts as up.
		return names.every((name) => {
			const own = lines.filter(([, server]) => server === name);
			return own.length > 0 && own.every((fields) => fields[17] === 'UP' && fields[36] === 'L7OK');
		});
	}

	async stopBalancer() {
		const { balancer } = this;
		this.balancer = null;
		if (balancer) await end(balancer, 'SIGTERM');
	}

	async stopNode(node, { signal = 'SIGTERM', status = 0 } = {}) {
		const { child } = node;
		node.child = null;
		const result = await end(child, signal);
		node.log += child.log;
		assert.doesNotMatch(child.log, SANITIZER);
		if (status !== undefined)
			assert.deepEqual({ code: result.code, signal: result.signal }, { code: status, signal: null },
				`exit of ${node.name}; it said:\n${child.log.slice(-3000)}`);
		return result;
	}

	/** All nodes and the balancer. */
	async stop(how) {
		const running = (this.nodes ?? []).filter(({ child }) => child);
		try {
			return (await Promise.all(running.map((node) => this.stopNode(node, how))))[0] ?? null;
		} finally {
			await this.stopBalancer();
		}
	}

	/** One node after the other, as an upgrade does: the others serve meanwhile. */
	async restart(how) {
		if (!this.nodes.every(({ child }) => child)) {
			await this.stop(how);
			return this.start();
		}
		if (this.options.config !== false) this.writeConfig();
		for (const node of this.nodes) {
			await this.stopNode(node, how);
			await this.startNode(node);
			await waitFor(() => this.#isUp([node.name]), `${node.name} behind the balancer`);
		}
		return this;
	}

	/** All at once. */
	async kill() {
		await Promise.all(this.nodes.map(async (node) => {
			const { child } = node;
			node.child = null;
			await end(child, 'SIGKILL');
			node.log += child.log;
		}));
		await this.stopBalancer();
	}
}
