// SPDX-License-Identifier: MIT
// A private PostgreSQL cluster on a unix socket, shared by test files, a database for each daemon.
//
// The runner starts one and names it in SCOPEWIRE_TEST_CLUSTER; a file run by itself makes its
// own.  Its disk writes are not flushed: what tests durability uses an embedded one instead.
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import pg from 'pg';
import { start, logged, end, unprivileged } from './process.mjs';
import { tempFolder } from './temp.mjs';
import { waitFor } from './wait.mjs';

const ROLE = 'scopewire';
let own;      // the promise of this process's cluster
let serial = 0;

/** The folder of PostgreSQL's programs, the newest installed. */
export function binaries() {
	if (process.env.PG_BINDIR) return process.env.PG_BINDIR;
	const root = '/usr/lib/postgresql';
	const versions = fs.existsSync(root) ? fs.readdirSync(root).map(Number).filter(Boolean) : [];
	if (!versions.length) throw new Error('no PostgreSQL under /usr/lib/postgresql; set PG_BINDIR');
	return path.join(root, String(Math.max(...versions)), 'bin');
}

/** One cluster in a folder of its own.  Its superuser is postgres, without a password. */
class Cluster {
	constructor(settings) {
		this.socket = tempFolder('pg');
		const all = { listen_addresses: '', unix_socket_directories: this.socket, fsync: 'off',
			full_page_writes: 'off', max_connections: 200, shared_buffers: '64MB',
			logging_collector: 'off', ...settings };
		this.flags = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
		this.how = { ...unprivileged(), cwd: this.socket,
			env: { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', TZ: 'UTC' } };
		this.data = path.join(this.socket, 'data');
	}

	async make() {
		if (this.how.uid) fs.chownSync(this.socket, this.how.uid, this.how.gid);
		execFileSync(path.join(binaries(), 'initdb'),
			['-D', this.data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync'],
			{ ...this.how, stdio: 'pipe' });
		await this.start();
		await query(this.socket, 'postgres', `CREATE ROLE ${ROLE} LOGIN`, [], 'postgres');
		return this;
	}

	async start() {
		this.child = start(path.join(binaries(), 'postgres'), ['-D', this.data, ...this.flags],
			this.how);
		await logged(this.child, /database system is ready to accept connections/, 60000);
	}

	stop() {
		return end(this.child, 'SIGINT');
	}

	/** The postmaster dies at once; backends notice, and a new one starts when they are gone. */
	async killAndStart() {
		await end(this.child, 'SIGKILL');
		const started = async () => {
			try {
				await this.start();
				return true;
			} catch (error) {
				if (/still in use|already (exists|in use)|is another postmaster/.test(error.message))
					return false;
				throw error;
			}
		};
		await waitFor(started, 'PostgreSQL starts after a kill', 60000);
	}
}

/** Starts a cluster: {socket, child, start(), stop(), killAndStart()}. */
export function startCluster(settings = {}) {
	return new Cluster(settings).make();
}

/** The socket folder of the cluster to use: the runner's or, made at first need, our own. */
export async function clusterSocket() {
	if (process.env.SCOPEWIRE_TEST_CLUSTER) return process.env.SCOPEWIRE_TEST_CLUSTER;
	own ??= startCluster().then((cluster) => {
		// It must not hold the process open: it is killed when the process ends.
		cluster.child.unref();
		cluster.child.stdout.unref();
		cluster.child.stderr.unref();
		return cluster;
	});
	return (await own).socket;
}

/** A new, empty database owned by the service role: {host, name, user}. */
export async function newDatabase(cluster = undefined) {
	const host = cluster?.socket ?? await clusterSocket();
	const name = `t_${process.pid}_${++serial}`;
	await query(host, 'postgres', `CREATE DATABASE ${name} OWNER ${ROLE}`, [], 'postgres');
	return { host, name, user: ROLE };
}

/** Rows of one statement over the unix socket. */
export async function query(host, database, sql, values = [], user = ROLE) {
	const client = new pg.Client({ host, database, user, port: 5432,
		options: '-c search_path=scopewire,public' });
	await client.connect();
	try {
		return (await client.query(sql, values)).rows;
	} finally {
		await client.end();
	}
}
