// SPDX-License-Identifier: MIT
// Redis servers of a test's own: each with its port and folder, never the system's service.
import net from 'node:net';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { freePort, tempFolder } from './temp.mjs';
import { end, logged, start } from './process.mjs';
import { waitFor } from './wait.mjs';

const SLOTS = 16384;
const run = promisify(execFile);

export class Redis {
	/** settings: of redis.conf; client: options of redis-cli; tls: files of a certificate, {cert, key}. */
	constructor(port, { settings = {}, client = [], tls } = {}) {
		this.port = port;
		this.client = tls ? [...client, '--tls', '--cacert', tls.cert] : client;
		this.folder = tempFolder('redis');
		const ports = tls ? { port: 0, 'tls-port': port, 'tls-cert-file': tls.cert, 'tls-key-file': tls.key, 'tls-ca-cert-file': tls.cert,
			'tls-auth-clients': 'no' } : { port };
		const all = { ...ports, bind: '127.0.0.1 127.0.0.2', dir: this.folder, save: '', appendonly: 'no', ...settings };
		this.flags = Object.entries(all).flatMap(([name, value]) =>
			[`--${name}`, ...name === 'bind' ? value.split(' ') : [String(value)]]);
	}

	async start() {
		this.child = start('redis-server', this.flags, { cwd: this.folder });
		await logged(this.child, /Ready to accept connections/);
		// It must not hold the process open, which kills it when it ends.
		this.child.unref();
		this.child.stdout.unref();
		this.child.stderr.unref();
		return this;
	}

	stop(signal = 'SIGTERM') {
		return end(this.child, signal);
	}

	/** The answer to a command, as redis-cli prints it. */
	async call(...words) {
		const { stdout } = await run('redis-cli', ['-h', '127.0.0.1', '-p', this.port, '--no-auth-warning',
			...this.client, ...words]);
		return stdout.trim();
	}

	/** All messages from now on, as [channel, payload]; until t ends. */
	async watch(t) {
		const all = [];
		const socket = net.connect(this.port, '127.0.0.1').on('error', () => {});
		t.after(() => socket.destroy());
		let text = '';
		let isSubscribed = false;
		socket.on('data', (bytes) => {
			text += bytes.toString('latin1');
			// [kind, pattern, channel, payload]; the answer to the command ends with a number.
			for (let match; (match = /^\*4\r\n\$8\r\npmessage\r\n\$1\r\n\*\r\n\$(\d+)\r\n/.exec(text) ?? /^\*3\r\n.*\r\n.*\r\n.*\r\n.*\r\n:1\r\n/.exec(text));) {
				let at = match[0].length;
				if (match[1]) {
					const channel = text.slice(at, at += Number(match[1]));
					const size = /^\r\n\$(\d+)\r\n/.exec(text.slice(at, at + 16));
					if (!size || text.length < at + size[0].length + Number(size[1]) + 2) break;
					const payload = text.slice(at += size[0].length, at += Number(size[1]));
					all.push([channel, payload].map((part) => Buffer.from(part, 'latin1').toString()));
					at += 2;
				} else {
					isSubscribed = true;
				}
				text = text.slice(at);
			}
		});
		socket.write('PSUBSCRIBE *\r\n');
		await waitFor(() => isSubscribed, 'the subscription to all channels');
		return all;
	}

	/** How many connections are subscribed to the channel whose name ends so. */
	async subscriptions(suffix, sharded = '') {
		const name = await this.call('PUBSUB', `${sharded}CHANNELS`, `*${suffix}`);
		return name ? Number((await this.call('PUBSUB', `${sharded}NUMSUB`, name)).split('\n')[1]) : 0;
	}
}

/** One server, which ends with the test t, or with the process. */
export async function startRedis(t = undefined, options = {}) {
	const redis = await new Redis(await freePort(), options).start();
	t?.after(() => redis.stop('SIGKILL'));
	return redis;
}

/** A Redis Cluster of three masters; the first one has a replica, which is the fourth server. */
export async function startRedisCluster(t) {
	const settings = { 'cluster-enabled': 'yes', 'cluster-node-timeout': 1500,
		'cluster-replica-validity-factor': 0, 'cluster-require-full-coverage': 'no', 'repl-diskless-sync-delay': 0 };
	const servers = [];
	// The port of the servers among themselves is one that is free, too, and not port + 10,000.
	const between = await Promise.all([1, 2, 3, 4].map(() => freePort()));
	for (const port of between) servers.push(await startRedis(t, { settings: { ...settings, 'cluster-port': port } }));
	const masters = servers.slice(0, 3);
	const share = Math.ceil(SLOTS / 3);
	for (const [i, one] of masters.entries())
		await one.call('CLUSTER', 'ADDSLOTSRANGE', i * share, Math.min((i + 1) * share, SLOTS) - 1);
	for (const one of servers.slice(1)) await one.call('CLUSTER', 'MEET', '127.0.0.1', servers[0].port, between[0]);
	const id = await servers[0].call('CLUSTER', 'MYID');
	await waitFor(async () => (await servers[3].call('CLUSTER', 'NODES')).includes(id), 'the replica knows its master');
	await servers[3].call('CLUSTER', 'REPLICATE', id);
	for (const one of servers)
		await waitFor(async () => (await one.call('CLUSTER', 'INFO')).includes('cluster_state:ok')
			&& (await one.call('CLUSTER', 'SLOTS')).includes(String(servers[3].port)), 'the Redis Cluster is ready');
	await waitFor(async () => (await servers[3].call('INFO', 'replication')).includes('master_link_status:up'),
		'the replica follows');
	return servers;
}
