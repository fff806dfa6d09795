// SPDX-License-Identifier: MIT
// A private PostgreSQL cluster on a unix socket, shared by test files, a database for each daemon.
//
// The runner starts one and names it in SCOPEWIRE_TEST_CLUSTER; a file run by itself makes its
// own.  Its disk writes are not flushed: what tests durability uses an embedded one instead.
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { start, logged, end, unprivileged } from './process.mjs';
import { tempFolder } from './temp.mjs';
import { waitFor } from './wait.mjs';

const ROLE = 'scopewire';
/** max_connections of every cluster; a standby must not have fewer than its primary. */
export const MAX_CONNECTIONS = 500;
let own;      // the promise of this process's cluster

/** The folder of PostgreSQL's programs, the newest installed. */
export function binaries() {
	if (process.env.PG_BINDIR) return process.env.PG_BINDIR;
	const root = '/usr/lib/postgresql';
	const versions = fs.existsSync(root) ? fs.readdirSync(root).map(Number).filter(Boolean) : [];
	if (!versions.length) throw new Error('no PostgreSQL under /usr/lib/postgresql; set PG_BINDIR');
	return path.join(root, String(Math.max(...versions)), 'bin');
}

// $0 the cluster's folder, $1 megabytes, $2... the program: its databases on a disk so large.
const ON_A_SMALL_DISK = `set -e; mkdir -p "$0/disk"; mount -t tmpfs -o "size=$1m" disk "$0/disk"
cp -a "$0/data/base" "$0/disk/"; mount --bind "$0/disk/base" "$0/data/base"; shift; exec "$@"`;

/** One cluster in a folder of its own.  Its superuser is postgres, without a password. */
class Cluster {
	constructor(settings, { diskMB } = {}) {
		this.diskMB = diskMB;
		this.socket = tempFolder('pg');
		const all = { listen_addresses: '', unix_socket_directories: this.socket, fsync: 'off',
			full_page_writes: 'off', max_connections: MAX_CONNECTIONS, shared_buffers: '64MB',
			// With hundreds of databases it would start a worker ten times a second.
			autovacuum_naptime: '30min', logging_collector: 'off', ...settings };
		this.port = Number(settings.port ?? 5432);
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
		await query(this.socket, 'postgres', `CREATE ROLE ${ROLE} LOGIN`, [], 'postgres', this.port);
		return this;
	}

	async start() {
		const line = [path.join(binaries(), 'postgres'), '-D', this.data, ...this.flags];
		this.child = this.diskMB ? this.startOnDisk(line)
			: start(line[0], line.slice(1), this.how);
		await logged(this.child, /database system is ready to accept connections/);
	}

	/** In a mount namespace of its own, as root or as the root of a user namespace. */
	startOnDisk(line) {
		const { uid, gid, ...how } = this.how;
		const root = uid !== undefined;
		const drop = root ? ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'] : [];
		return start('unshare', [...root ? [] : ['--user', '--map-current-user', '--keep-caps'],
			'--mount', 'sh', '-c', ON_A_SMALL_DISK, this.socket, String(this.diskMB), ...drop,
			...line], how);
	}

	/** Where the disk of option diskMB is for those outside its namespace. */
	get disk() {
		return path.join(`/proc/${this.child.pid}/root`, this.socket, 'disk');
	}

	/** mode 'immediate': as a crash, so the next start empties unlogged tables. */
	stop(mode = 'fast') {
		return end(this.child, mode === 'immediate' ? 'SIGQUIT' : 'SIGINT');
	}

	/** The postmaster dies at once; backends notice, and a new one starts after they exit. */
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
		await waitFor(started, 'PostgreSQL starts after a kill');
	}
}

/**
 * Starts a cluster: {socket, child, start(), stop(), killAndStart()}.  With options.diskMB its
 * databases, but not its log, lie on a disk of that size at .disk, until it stops.
 */
export function startCluster(settings = {}, options = {}) {
	return new Cluster(settings, options).make();
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

/**
 * A new database owned by the service role: {host, name, user}.  It is empty; with isMigrated it has the schema
 * where the runner has a template of it (template.mjs), because the migrations are most of a daemon's first start.
 * Copying its files takes a third of the CPU that copying its pages through the log does.
 */
export async function newDatabase(cluster = undefined, { isMigrated = false } = {}) {
	const host = cluster?.socket ?? await clusterSocket();
	const template = isMigrated && host === process.env.SCOPEWIRE_TEST_CLUSTER && process.env.SCOPEWIRE_TEST_TEMPLATE;
	// At random, because the numbers of processes are used again in a long run.
	const name = `t_${randomBytes(6).toString('hex')}`;
	await query(host, 'postgres', `CREATE DATABASE ${name} OWNER ${ROLE} ${
		template ? `TEMPLATE ${template} STRATEGY file_copy` : ''}`, [], 'postgres');
	// What the migrations chose at random is not the same in two databases.
	if (template) await query(host, name, `WITH log AS (UPDATE log_meta SET epoch = replace(gen_random_uuid()::text, '-', ''))
		UPDATE node_secret SET secret = replace(gen_random_uuid()::text, '-', '')`);
	return { host, name, user: ROLE };
}

// A role can have short times by a test: they are not for the test's own statements.
const PATIENT = ['idle_session_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout', 'statement_timeout']
	.map((name) => `-c ${name}=0`).join(' ');

/** Rows of one statement over the unix socket. */
export async function query(host, database, sql, values = [], user = ROLE, port = 5432) {
	const client = new pg.Client({ host, database, user, port,
		options: `-c search_path=scopewire,public ${PATIENT}` });
	await client.connect();
	try {
		return (await client.query(sql, values)).rows;
	} finally {
		await client.end();
	}
}
