// SPDX-License-Identifier: MIT
// contrib/supervisor under a real supervisord: started from a Laravel .env, restarted after a crash,
// reloaded by a signal, stopped cleanly, and tried again after pauses while it is set up wrongly.
import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { PROGRAM, end, freePort, newDatabase, query, request, start, tempFolder, unprivileged,
	waitFor } from '../lib/harness.mjs';

const SHIPPED = fileURLToPath(new URL('../../contrib/supervisor/scopewire.conf', import.meta.url));

/** The shipped program with this machine's paths, and a supervisord around it. */
function configure(folder) {
	const { uid } = unprivileged();
	const user = uid === undefined ? '' : `user=${execFileSync('id', ['-nu', String(uid)]).toString().trim()}`;
	const program = fs.readFileSync(SHIPPED, 'utf8')
		.replace('/usr/local/sbin/scopewired', PROGRAM)
		.replace('/var/www/app/.env', path.join(folder, 'dot.env'))
		.replace('user=www-data', user)
		.replace('/var/log/supervisor/scopewire.log', path.join(folder, 'scopewire.log'));
	const file = path.join(folder, 'supervisord.conf');
	fs.writeFileSync(file, `[unix_http_server]
file=${folder}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://${folder}/s.sock
[supervisord]
nodaemon=true
logfile=${folder}/supervisord.log
pidfile=${folder}/supervisord.pid
minfds=4096
${process.getuid() === 0 ? 'user=root' : ''}
${program}`);
	return file;
}

test('supervisord', async (t) => {
	const folder = tempFolder('sup');
	const port = await freePort();
	const { host, name, user } = await newDatabase();
	const env = (more = '') => fs.writeFileSync(path.join(folder, 'dot.env'), [
		'REVERB_APP_ID=portal', 'REVERB_APP_KEY=portal-key', 'REVERB_APP_SECRET=portal-secret',
		'REVERB_SERVER_HOST=127.0.0.1', `REVERB_SERVER_PORT=${port}`, 'DB_CONNECTION=pgsql',
		`DB_HOST=${host}`, `DB_DATABASE=${name}`, `DB_USERNAME=${user}`, more, ''].join('\n'));
	env();
	const config = configure(folder);
	const supervisor = start('supervisord', ['-n', '-c', config]);
	t.after(() => end(supervisor, 'SIGTERM'));
	const control = (...words) => {
		try {
			return execFileSync('supervisorctl', ['-c', config, ...words], { stdio: 'pipe' }).toString();
		} catch (error) {
			return String(error.stdout);    // its exit status tells a state that is not RUNNING
		}
	};
	const pid = () => Number(control('pid', 'scopewire'));
	const serves = () => request(`http://127.0.0.1:${port}/up`).then((a) => a.status === 200, () => false);
	const log = () => fs.readFileSync(path.join(folder, 'scopewire.log'), 'utf8');
	const stateIs = (state) => waitFor(() => control('status', 'scopewire').includes(state), state);

	await t.test('it starts from the .env', async () => {
		await stateIs('RUNNING');
		await waitFor(serves, 'it serves');
	});

	await t.test('a signal reloads the configuration', async () => {
		const before = pid();
		control('signal', 'HUP', 'scopewire');
		await waitFor(() => log().includes('configuration reloaded'), 'reloaded');
		assert.equal(pid(), before);
	});

	await t.test('it is restarted after a crash', async () => {
		const before = pid();
		process.kill(before, 'SIGKILL');
		await waitFor(() => pid() > 0 && pid() !== before, 'another process');
		await waitFor(serves, 'it serves again');
	});

	await t.test('it is stopped with exit status 0', async () => {
		control('stop', 'scopewire');
		await stateIs('STOPPED');
		assert.match(log(), /stopped\n$/);
	});

	await t.test('it waits for a database that comes later', async () => {
		const ready = () => request(`http://127.0.0.1:${port}/ready`).then((a) => a.status, () => 0);
		env(`DB_DATABASE=${name}_later`);
		control('start', 'scopewire');
		await stateIs('RUNNING');
		await waitFor(serves, 'it serves');
		assert.equal(await ready(), 503);
		await query(host, 'postgres', `CREATE DATABASE ${name}_later OWNER ${user}`, [], 'postgres');
		await waitFor(async () => await ready() === 200, 'ready');
		control('stop', 'scopewire');
		await stateIs('STOPPED');
	});

	await t.test('an invalid configuration is in the log, and is tried again after pauses until it is mended', async () => {
		env('SCOPEWIRE_SERVER_WORKERS=many');
		control('start', 'scopewire');
		await waitFor(() => /SCOPEWIRE_SERVER_WORKERS = many/.test(log()), 'the error in the log');
		await stateIs('BACKOFF');
		env();
		await stateIs('RUNNING');
	});
});
