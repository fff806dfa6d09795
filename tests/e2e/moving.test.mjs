// SPDX-License-Identifier: MIT
// contrib/moving/switch under a real supervisord: the old server's program makes room for the daemon,
// and comes back.  Reverb itself cannot be had from the registry of every machine: a program that
// only runs has its place in Supervisor's files.
import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Api, PROGRAM, end, freePort, newDatabase, query, request, start, tempFolder, unprivileged,
	waitFor } from '../lib/harness.mjs';

const SWITCH = fileURLToPath(new URL('../../contrib/moving/switch', import.meta.url));
const APPLICATION = { id: 'portal', key: 'portal-key', secret: 'portal-secret' };

/** A supervisord with the program of an old server, and the folder of an application with its .env. */
class Machine {
	/** old: the program's name, and the words in its command by which the old server is recognized. */
	constructor(old = { name: 'reverb', words: 'artisan reverb:start' }) {
		this.oldProgram = old;
	}

	async make(t) {
		this.folder = tempFolder('mv');
		this.programs = path.join(this.folder, 'conf.d');
		this.application = path.join(this.folder, 'app');
		for (const folder of [this.programs, this.application]) fs.mkdirSync(folder);
		fs.chmodSync(this.folder, 0o755);
		this.port = await freePort();
		this.database = await newDatabase();
		const { uid } = unprivileged();
		this.user = execFileSync('id', ['-nu', ...uid === undefined ? [] : [String(uid)]]).toString().trim();
		this.writeEnv();
		const { name, words } = this.oldProgram;
		fs.writeFileSync(path.join(this.programs, `${name}.conf`), `[program:${name}]
command=sh -c "exec sleep 3600" ${words}
${uid === undefined ? '' : `user=${this.user}`}
startsecs=0
stdout_logfile=${this.folder}/${name}.log
`);
		this.config = path.join(this.folder, 'supervisord.conf');
		fs.writeFileSync(this.config, `[unix_http_server]
file=${this.folder}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://${this.folder}/s.sock
[supervisord]
nodaemon=true
logfile=${this.folder}/supervisord.log
pidfile=${this.folder}/supervisord.pid
minfds=4096
${process.getuid() === 0 ? 'user=root' : ''}
[include]
files=${this.programs}/*.conf
`);
		this.supervisor = start('supervisord', ['-n', '-c', this.config]);
		t.after(() => end(this.supervisor, 'SIGTERM'));
		await this.isRunning(name);
		return this;
	}

	/** As the guide has it for the old server: what it has, and where the daemon keeps the events. */
	get variables() {
		const { host, name, user } = this.database;
		return this.oldProgram.name === 'soketi' ? {
			SOKETI_DEFAULT_APP_ID: APPLICATION.id, SOKETI_DEFAULT_APP_KEY: APPLICATION.key,
			SOKETI_DEFAULT_APP_SECRET: APPLICATION.secret, SOKETI_HOST: '127.0.0.1', SOKETI_PORT: this.port,
			SCOPEWIRE_DATABASE_HOST: host, SCOPEWIRE_DATABASE_NAME: name, SCOPEWIRE_DATABASE_USER: user,
		} : {
			BROADCAST_CONNECTION: 'reverb', REVERB_APP_ID: APPLICATION.id,
			REVERB_APP_KEY: APPLICATION.key, REVERB_APP_SECRET: APPLICATION.secret,
			REVERB_SERVER_HOST: '127.0.0.1', REVERB_SERVER_PORT: this.port,
			DB_CONNECTION: 'pgsql', DB_HOST: host, DB_DATABASE: name, DB_USERNAME: user,
		};
	}

	writeEnv(more = {}) {
		fs.writeFileSync(path.join(this.application, '.env'), Object.entries({ ...this.variables, ...more })
			.map(([option, value]) => `${option}=${value}\n`).join(''));
	}

	control(...words) {
		return spawnSync('supervisorctl', ['-c', this.config, ...words], { encoding: 'utf8' }).stdout;
	}

	isRunning(program) {
		return waitFor(() => this.control('status', program).includes('RUNNING'), `${program} runs`);
	}

	/** contrib/moving/switch as an operator calls it: {status, text}.  One that succeeds takes less than a minute. */
	switch(...options) {
		const began = Date.now();
		const done = spawnSync(SWITCH, ['--scopewired', PROGRAM, '--programs', this.programs,
			'--supervisorctl', `supervisorctl -c ${this.config}`, ...options, this.application],
		{ encoding: 'utf8' });
		const ms = Date.now() - began;
		if (done.status === 0) assert.ok(ms < 60_000, `${ms} ms`);
		return { status: done.status, text: done.stdout + done.stderr };
	}

	get files() {
		return fs.readdirSync(this.programs).sort();
	}
}

test('moving in, and back', async (t) => {
	const machine = await new Machine().make(t);

	await t.test('settings that cannot be used change nothing', async () => {
		machine.writeEnv({ SCOPEWIRE_SERVER_WORKERS: 'many' });
		const { status, text } = machine.switch();
		assert.equal(status, 78, text);
		assert.match(text, /SCOPEWIRE_SERVER_WORKERS = many/);
		assert.match(text, /nothing was changed/);
		assert.deepEqual(machine.files, ['reverb.conf']);
		await machine.isRunning('reverb');
	});

	await t.test('a database that cannot be used changes nothing', async () => {
		machine.writeEnv({ DB_USERNAME: 'no_such_role' });
		const { status, text } = machine.switch();
		assert.equal(status, 69, text);
		assert.match(text, /nothing was changed/);
		assert.deepEqual(machine.files, ['reverb.conf']);
	});

	await t.test('a daemon that does not serve is taken back', async () => {
		machine.writeEnv({ REVERB_SERVER_HOST: '192.0.2.1' });      // no address of this machine
		const { status, text } = machine.switch('--wait', '3');
		assert.equal(status, 69, text);
		assert.match(text, /the old server is in use again/);
		assert.deepEqual(machine.files, ['reverb.conf']);
		await machine.isRunning('reverb');
	});

	await t.test('one command puts the daemon in the place of Reverb', async () => {
		machine.writeEnv();
		const { status, text } = machine.switch();
		assert.equal(status, 0, text);
		assert.deepEqual(machine.files, ['reverb.conf.before-scopewire', 'scopewire.conf']);
		await machine.isRunning('scopewire');
		assert.doesNotMatch(machine.control('status', 'reverb'), /RUNNING/);
		const api = new Api(`http://127.0.0.1:${machine.port}`, APPLICATION);
		assert.equal((await api.trigger('orders', 'made', { n: 1 })).status, 200);
		const { host, name } = machine.database;
		const rows = await query(host, name, 'SELECT channel FROM scopewire.realtime_events');
		assert.deepEqual(rows.map((row) => row.channel), ['orders']);
	});

	await t.test('a second call is refused: it is set up already', () => {
		const { status, text } = machine.switch();
		assert.equal(status, 73, text);
		assert.match(text, /is set up already/);
	});

	await t.test('and one command goes back', async () => {
		const { status, text } = machine.switch('--back');
		assert.equal(status, 0, text);
		assert.deepEqual(machine.files, ['reverb.conf']);
		await machine.isRunning('reverb');
		await assert.rejects(request(`http://127.0.0.1:${machine.port}/up`));
		assert.equal(machine.switch('--back').status, 66);
	});
});

test('from soketi, and back, within a minute each', async (t) => {
	const machine = await new Machine({ name: 'soketi', words: 'soketi start' }).make(t);
	const changed = machine.switch();
	assert.equal(changed.status, 0, changed.text);
	await machine.isRunning('scopewire');
	assert.deepEqual(machine.files, ['scopewire.conf', 'soketi.conf.before-scopewire']);
	const api = new Api(`http://127.0.0.1:${machine.port}`, APPLICATION);
	assert.equal((await api.trigger('orders', 'made', { n: 1 })).status, 200);
	const back = machine.switch('--back');
	assert.equal(back.status, 0, back.text);
	await machine.isRunning('soketi');
	assert.deepEqual(machine.files, ['soketi.conf']);
});

test('the guides have ten steps at most, each way', () => {
	for (const [page, heading] of [['moving-from-reverb', 'By hand'], ['moving-from-soketi', 'Applications from variables']]) {
		const text = fs.readFileSync(new URL(`../../docs/${page}.md`, import.meta.url), 'utf8');
		const [, section] = text.match(new RegExp(`^## ${heading}\\n(.*?)(?=^## )`, 'ms'));
		const steps = section.match(/^\d+\. /gm).length;
		assert.ok(steps >= 3 && steps <= 10, `${page}: ${steps}`);
		assert.match(section, /^Back: /m);
	}
});
