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

/** Starts a cluster: {socket, child, stop()}.  Its superuser is postgres, without a password. */
export async function startCluster(settings = {}) {
	const folder = tempFolder('pg');
	const who = unprivileged();
	const data = path.join(folder, 'data');
	if (who.uid) fs.chownSync(folder, who.uid, who.gid);
	const env = { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', TZ: 'UTC' };
	execFileSync(path.join(binaries(), 'initdb'),
		['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync'],
		{ ...who, env, cwd: folder, stdio: 'pipe' });
	const all = { listen_addresses: '', unix_socket_directories: folder, fsync: 'off',
		full_page_writes: 'off', max_connections: 200, shared_buffers: '64MB',
		logging_collector: 'off', ...settings };
	const flags = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
	const child = start(path.join(binaries(), 'postgres'), ['-D', data, ...flags],
		{ ...who, env, cwd: folder });
	await logged(child, /database system is ready to accept connections/, 60000);
	await query(folder, 'postgres', `CREATE ROLE ${ROLE} LOGIN`, [], 'postgres');
	return { socket: folder, child, stop: () => end(child, 'SIGINT') };
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
export async function newDatabase() {
	const host = await clusterSocket();
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
