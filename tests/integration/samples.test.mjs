// SPDX-License-Identifier: MIT
// The samples for systemd and Supervisor: they survive a database that comes up late, start again
// as often as it takes, and can read a Laravel application's .env.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { PROGRAM, end, freePort, logged, query, request, start, startCluster, tempFolder, waitFor }
	from '../lib/harness.mjs';

const text = (name) => fs.readFileSync(fileURLToPath(new URL(`../../${name}`, import.meta.url)), 'utf8');
const unit = text('contrib/systemd/scopewire.service.in')
	.replaceAll('@sbindir@', '/usr/local/sbin').replaceAll('@sysconfdir@', '/etc');
const dropIn = text('docs/install.md').match(/systemctl edit scopewire.*?```ini\n(.*?)```/s)[1];
const supervisor = text('contrib/supervisor/scopewire.conf');

/** The values of a setting, an empty one takes back those before; systemd.syntax(7). */
function settings(file, name) {
	const values = [...file.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map((m) => m[1]);
	return values.slice(values.lastIndexOf('') + 1);
}
const only = (file, name) => {
	const values = settings(file, name);
	assert.equal(values.length, 1, `one ${name}`);
	return values[0];
};

const commands = { unit: only(unit, 'ExecStart'), 'drop-in': only(dropIn, 'ExecStart'),
	Supervisor: only(supervisor, 'command') };

const env = (port, database, app) => `REVERB_APP_ID=${app}
REVERB_APP_KEY=key-${app}
REVERB_APP_SECRET=secret-${app}
REVERB_SERVER_HOST=127.0.0.1
REVERB_SERVER_PORT=${port}
DB_CONNECTION=pgsql
DB_HOST=127.0.0.1
DB_PORT=${database.port}
DB_DATABASE=${database.name}
DB_USERNAME=scopewire
`;

const conf = (port, database, app) => `[server]
host = 127.0.0.1
port = ${port}
[database]
host = 127.0.0.1
port = ${database.port}
name = ${database.name}
user = scopewire
[app ${app}]
key = key
secret = secret
`;

/** Runs the sample's command with files of the test's own; its port. */
async function run(t, command, database) {
	const [program, ...args] = command.split(' ');
	assert.equal(program, '/usr/local/sbin/scopewired');
	const port = await freePort(), folder = tempFolder('sample');
	const mine = args.map((arg) => {
		if (!arg.startsWith('/')) return arg;
		const file = path.join(folder, path.basename(arg) || 'file');
		fs.writeFileSync(file, (arg.endsWith('.env') ? env : conf)(port, database, database.name),
			{ mode: 0o600 });
		return file;
	});
	const child = start(PROGRAM, mine, { cwd: folder, env: { PATH: process.env.PATH } });
	t.after(() => end(child));
	await logged(child, /ready: listening on/);
	return (name) => request(`http://127.0.0.1:${port}/${name}`).then((answer) => answer.status);
}

test('each command starts before the database does, and uses it when it is there', async (t) => {
	const port = await freePort();
	const cluster = await startCluster({ listen_addresses: '127.0.0.1', port });
	const names = Object.keys(commands).map((_, n) => `late_${n}`);
	for (const name of names)
		await query(cluster.socket, 'postgres', `CREATE DATABASE ${name} OWNER scopewire`, [], 'postgres', port);
	await cluster.stop();
	const daemons = await Promise.all(Object.values(commands).map((command, n) =>
		run(t, command, { port, name: names[n] })));
	for (const get of daemons) assert.deepEqual([await get('up'), await get('ready')], [200, 503]);
	await cluster.start();
	t.after(() => cluster.stop());
	for (const get of daemons) await waitFor(async () => await get('ready') === 200, 'ready');
});

test('the daemon is started again as often as it takes, but not with a wrong configuration', () => {
	assert.equal(only(unit, 'StartLimitIntervalSec'), '0');
	assert.match(unit, /^\[Unit\][^[]*^StartLimitIntervalSec=0$/m, 'it is a setting of [Unit]');
	assert.equal(only(unit, 'Restart'), 'on-failure');
	// RestartPreventExitStatus counts for the main process only.
	for (const file of [unit, dropIn]) assert.deepEqual(settings(file, 'ExecStartPre'), []);
	assert.equal(only(unit, 'RestartPreventExitStatus'), '64 65 78');
	assert.equal(only(supervisor, 'autorestart'), 'unexpected');
	assert.equal(only(supervisor, 'exitcodes'), '0,64,65,78');
	assert.ok(Number(only(supervisor, 'startretries')) >= 100000);
});

test('systemd takes the unit with the drop-in of the guide', () => {
	const folder = tempFolder('unit');
	fs.mkdirSync(path.join(folder, 'scopewire.service.d'));
	fs.writeFileSync(path.join(folder, 'scopewire.service'), unit.replaceAll('/usr/local/sbin/scopewired', PROGRAM));
	fs.writeFileSync(path.join(folder, 'scopewire.service.d', 'override.conf'),
		dropIn.replaceAll('/usr/local/sbin/scopewired', PROGRAM));
	const { status, stderr } = spawnSync('systemd-analyze',
		['verify', '--man=no', path.join(folder, 'scopewire.service')], { encoding: 'utf8' });
	assert.deepEqual([status, stderr], [0, '']);
});

test('with the drop-in\'s group the daemon reads a .env that is www-data\'s, mode 0640', { skip:
	process.getuid() !== 0 && 'needs root' }, () => {
	const group = only(dropIn, 'SupplementaryGroups');
	const file = path.join(tempFolder('env'), '.env');
	fs.chmodSync(path.dirname(file), 0o755);
	fs.writeFileSync(file, env(8080, { port: 5432, name: 'portal' }, 'portal'));
	execFileSync('chown', ['www-data:www-data', file]);
	fs.chmodSync(file, 0o640);
	const check = (...groups) => spawnSync('setpriv', ['--reuid=nobody', '--regid=nogroup', ...groups,
		PROGRAM, '--env-file', file, '--check-config'], { encoding: 'utf8' });
	const without = check('--clear-groups');
	assert.notEqual(without.status, 0);
	assert.match(without.stderr, /Permission denied/);
	const { status, stderr } = check(`--groups=${group}`);
	assert.equal(status, 0, stderr);
});
