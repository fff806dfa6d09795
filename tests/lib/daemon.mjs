// SPDX-License-Identifier: MIT
// scopewired under test: own configuration, own port, own database, always stopped and checked.
import fs from 'node:fs';
import path from 'node:path';
import assert from 'node:assert/strict';
import pg from 'pg';
import { fileURLToPath } from 'node:url';
import { Api, request } from './api.mjs';
import { newDatabase, query } from './cluster.mjs';
import { isOfOneDaemon } from './one_daemon.mjs';
import { end, logged, start } from './process.mjs';
import { freePort, tempFolder } from './temp.mjs';
import { suiteCertificate } from './tls.mjs';
import { Wire } from './wire.mjs';

// From 2 on, startDaemon() starts so many nodes behind a balancer: balanced.mjs.
const NODES = Number(process.env.SCOPEWIRE_TEST_NODES ?? 1);
const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
export const PROGRAM = path.resolve(process.env.SCOPEWIRED
	?? path.join(REPOSITORY, 'build/scopewired'));
export const SANITIZER = /ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:/;

/** The app of the quickstart; options of [app] beside id are free to change. */
export const APP = {
	id: 'client-portal', key: 'local-reverb-key', secret: 'local-reverb-secret',
	allowed_origins: '*', enable_client_messages: 'yes', enable_user_authentication: 'yes',
	subscription_count: 'yes',
};

/** INI text of {section: {option: value}}; undefined leaves an option out. */
export function ini(sections) {
	return Object.entries(sections).map(([name, options]) => `[${name}]\n` +
		Object.entries(options).filter(([, value]) => value !== undefined)
			.map(([option, value]) => `${option} = ${value}\n`).join('')).join('\n');
}

export class Daemon {
	constructor(options) {
		this.options = options;
		this.folder = tempFolder('wd');
		this.apps = options.apps ?? [{ ...APP, ...options.app }];
		this.app = this.apps[0];
		this.host = options.server?.host ?? '127.0.0.1';
		this.port = options.server?.port ?? 0;
		this.log = '';          // of earlier starts
	}

	/** Writes the configuration file anew: after a change of options, before SIGHUP. */
	writeConfig() {
		const { server, log, sections } = this.options;
		const { tls_certificate, tls_key } = suiteCertificate() ?? {};
		// On a slow machine calls that wait for each other, commits and predicates need longer than by default.
		const all = { server: { drain_ms: 200, tls_certificate, tls_key, ...server, host: this.host, port: this.port },
			log: { level: 'debug', ...log }, ...sections,
			sync: { lock_wait_ms: 60000, rule_timeout_ms: 60000, ...sections?.sync } };
		if (this.database) all.database = { ...this.database, commit_timeout_ms: 10000, ...this.options.database };
		else if (this.options.database) all.database = this.options.database;
		for (const { id, ...rest } of this.apps) all[`app ${id}`] = rest;
		fs.writeFileSync(path.join(this.folder, 'scopewire.conf'), ini(all), { mode: 0o600 });
	}

	/** Command line, for tests of the command line. */
	arguments() {
		const { embedded, envFile, args = [], config = true } = this.options;
		const line = config ? ['--config', path.join(this.folder, 'scopewire.conf')] : [];
		if (embedded) line.push('--embedded-postgres', this.stateFolder);
		if (envFile) line.push('--env-file', envFile);
		return [...line, ...args];
	}

	get stateFolder() {
		return typeof this.options.embedded === 'string' ? this.options.embedded
			: path.join(this.folder, 'state');
	}

	/** Spawns without waiting for readiness. */
	async spawn() {
		if (!this.options.embedded && this.options.databaseMode !== 'none')
			this.database ??= await newDatabase(this.options.cluster, { isMigrated: this.hasUsualSchema });
		// One of its own for all its starts: between two of them the kernel could give another program its port.
		if (this.options.server?.port === undefined) this.port ||= await freePort();
		if (this.options.config !== false) this.writeConfig();
		this.child = start(this.program ?? PROGRAM, this.arguments(), { cwd: this.folder,
			env: { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', ...sanitizerOptions(),
				...this.options.env } });
		return this;
	}

	async start() {
		await this.spawn();
		const ready = await logged(this.child, /ready: listening on (\S+):(\d+)/);
		this.port = Number(ready[2]);
		return this;
	}

	/** Nothing in its configuration decides what the migrations make. */
	get hasUsualSchema() {
		return !this.options.database && !this.options.sections?.sync?.user_id;
	}

	get pid() {
		return this.child.pid;
	}

	get prefix() {
		return this.options.server?.path ?? '';
	}

	get address() {
		const host = ['*', '0.0.0.0'].includes(this.host) ? '127.0.0.1' : this.host;
		return `${host.includes(':') ? `[${host}]` : host}:${this.port}`;
	}

	get url() {
		return `http${suiteCertificate() ? 's' : ''}://${this.address}`;
	}

	/** Where each of its processes serves: one, or the nodes behind a balancer. */
	get urls() {
		return [this.url];
	}

	/** Every line it logged, over restarts. */
	get logText() {
		return this.log + (this.child?.log ?? '');
	}

	api(app = this.app, base = this.url, options = {}) {
		return new Api(base, app, options);
	}

	/** A plain request to a path of the daemon. */
	http(path_, options) {
		return request(`${this.url}${path_}`, options);
	}

	/** A raw wire client; not yet established. */
	wire({ app = this.app, key = app.key, path: path_ = '/app/', base, search, ...options } = {}) {
		const query_ = search ?? '?protocol=7&client=test&version=1.0&flash=false';
		return new Wire(`${base ?? `ws://${this.address}`}${path_}${key}${query_}`, app, options);
	}

	/** A wire client that is connected. */
	connect(options) {
		return this.wire(options).established();
	}

	/** Rows from the daemon's database. */
	query(sql, values) {
		const at = this.database ?? { host: this.embeddedSocket(), name: 'scopewire' };
		return query(at.host, at.name, sql, values);
	}

	/** A connection to its database, for transactions; the caller ends it, or the end of its test. */
	async session() {
		const { host, name, user } = this.database;
		const client = new pg.Client({ host, database: name, user, port: 5432,
			options: '-c search_path=scopewire,public' });
		client.on('error', () => {});    // cut off: the next statement fails
		await client.connect();
		(this.sessions ??= []).push(client);
		return client;
	}

	/** An open one would keep the process of the tests alive. */
	async endSessions() {
		await Promise.all((this.sessions ?? []).map((session) => session.end()));
	}

	/** How many sessions of its database wait for a lock; the cluster is shared with other tests. */
	async lockWaiters(event = '%') {
		const [{ n }] = await this.query(`SELECT count(*)::integer AS n FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event LIKE $1`, [event]);
		return n;
	}

	/** The socket folder of the embedded cluster, as its postmaster.pid has it. */
	embeddedSocket() {
		const text = fs.readFileSync(path.join(this.stateFolder, 'data/postmaster.pid'), 'utf8');
		return text.split('\n')[4];
	}

	/** Ends it; exit status 0 and no sanitizer report is part of every test. */
	async stop({ signal = 'SIGTERM', status = 0 } = {}) {
		if (!this.child) return null;
		const child = this.child;
		this.child = null;
		const result = await end(child, signal);
		this.log += child.log;
		assert.doesNotMatch(child.log, SANITIZER);
		if (status !== undefined)
			assert.deepEqual({ code: result.code, signal: result.signal },
				{ code: status, signal: null }, `exit of scopewired; it said:\n${child.log.slice(-3000)}`);
		return result;
	}

	/** Stops and starts again on the same port with the same data. */
	async restart(how) {
		await this.stop(how);
		return this.start();
	}

	/** As the kernel or an operator in anger would. */
	async kill() {
		const child = this.child;
		this.child = null;
		await end(child, 'SIGKILL');
		this.log += child.log;
	}
}

/** The variables that a sanitizer's daemon needs. */
export function sanitizerOptions() {
	const names = ['ASAN_OPTIONS', 'UBSAN_OPTIONS', 'TSAN_OPTIONS', 'LSAN_OPTIONS',
		'LD_LIBRARY_PATH', 'ASAN_SYMBOLIZER_PATH'];
	return Object.fromEntries(names.filter((n) => process.env[n]).map((n) => [n, process.env[n]]));
}

/**
 * Starts a daemon and, with a test context or suite hook t, stops it when that ends.
 *
 * options: server, database, log: options of those sections; sections: further ones; cluster: a
 * PostgreSQL other than the shared one;
 * app: changes to APP, or apps: a list of whole apps; embedded: true or a folder, for a PostgreSQL
 * of its own; databaseMode 'none': no database settings at all; env, envFile, args, config: false.
 */
export async function startDaemon(options = {}, t = undefined) {
	const daemon = NODES > 1 && !isOfOneDaemon(options)
		? new (await import('./balanced.mjs')).Balanced(options, NODES) : new Daemon(options);
	t?.after(() => stopLast(daemon));
	return daemon.start();
}

/**
 * The hook that stops a daemon.  When it fails, the hooks after it are skipped, and what they
 * would have closed would hold the process open: it ends itself then.
 */
async function stopLast(daemon) {
	try {
		await daemon.stop();
		await daemon.endSessions();
	} catch (error) {
		setTimeout(() => process.exit(1), 3000).unref();
		throw error;
	}
}

/** Runs scopewired to its end: {code, signal, log}. For --check-config, --version, refusals. */
export async function runDaemon(args, options = {}) {
	const child = start(PROGRAM, args, { env: { PATH: process.env.PATH, ...sanitizerOptions(),
		...options.env }, cwd: options.cwd });
	const result = await end(child, options.signal ?? 0, options.deadlineMs);
	return { ...result, log: child.log };
}
