// SPDX-License-Identifier: MIT
// What keeps the daemon from starting: one clear sentence and a right exit status (sysexits.h).
import { before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { APP, clusterSocket, ini, newDatabase, query, runDaemon, startCluster,
	startDaemon, tempFolder, waitFor } from '../lib/harness.mjs';
import { light } from './ws_witness.mjs';

const EX = { OK: 0, USAGE: 64, DATAERR: 65, UNAVAILABLE: 69, OSERR: 71, CONFIG: 78 };
const SECRET = 'correct-horse-battery';

/** Writes a configuration file and returns its path; sections as for ini(), or the text. */
function config(sections) {
	const file = path.join(tempFolder('conf'), 'scopewire.conf');
	fs.writeFileSync(file, typeof sections === 'string' ? sections : ini(sections));
	return file;
}

const app = () => Object.fromEntries(Object.entries(APP).filter(([name]) => name !== 'id'));
const base = (more = {}) => ({ server: { port: 0, host: '127.0.0.1' },
	database: { required: 'no', host: '/nonexistent' }, 'app client-portal': app(), ...more });

/** Refused with that status and exactly one error line, which matches every pattern. */
async function refused(args, status, patterns, options) {
	const { code, log } = await runDaemon(args, options);
	assert.equal(code, status, log);
	const lines = log.split('\n').filter((line) => / error: /.test(line));
	assert.equal(lines.length, 1, log);
	for (const pattern of [patterns].flat()) assert.match(lines[0], pattern);
	assert.doesNotMatch(log, new RegExp(SECRET));
	assert.doesNotMatch(log, /ready: /);
	return lines[0];
}

describe('configuration', { concurrency: 2 }, () => {
	const wrong = [
		['port = 70000', 'server', [/\bport\b/, /70000/, /0 to 65535/]],
		['port = eighty', 'server', [/\bport\b/, /eighty/, /0 to 65535/]],
		['port = -1', 'server', [/\bport\b/, /0 to 65535/]],
		['workers = 65', 'server', [/workers/, /0 to 64/]],
		['prot = 80', 'server', [/prot/, /did you mean port/]],
		['demo = maybe', 'server', [/demo/, /maybe/, /yes|no/]],
		['level = loud', 'log', [/level/, /error|warn|info|debug/]],
		['commit_timeout_ms = 1', 'database', [/commit_timeout_ms/, /10 to 600000/]],
		['ping_interval = 0', 'app x', [/ping_interval/, /1 to 86400/]],
		['durability = maybe', 'app x', [/durability/, /commit/, /async/, /none/]],
		['max_connections = many', 'app x', [/max_connections/, /many/]],
		['channel_durability = a', 'app x', [/channel_durability/]],
	];
	for (const [line, section, patterns] of wrong) {
		test(`[${section}] ${line}`, async () => {
			const rest = section === 'app x' ? `key = k\nsecret = ${SECRET}\n` : '';
			const file = config(`; a comment\n[server]\n\n[${section}]\n${line}\n${rest}`);
			await refused(['--config', file], EX.CONFIG,
				[new RegExp(`${file}:5\\b`), ...patterns]);
			await refused(['--check-config', '--config', file], EX.CONFIG, patterns);
		});
	}

	test('an unknown section, a malformed line, or a missing file is refused', async () => {
		await refused(['--config', config('[servers]\nport = 1\n')], EX.CONFIG, [/servers/]);
		await refused(['--config', config('[server]\nport 80\n')], EX.CONFIG, [/:2\b/]);
		await refused(['--config', '/nonexistent/scopewire.conf'], EX.CONFIG,
			[/\/nonexistent\/scopewire.conf/, /No such file/]);
		await refused(['--config', '/'], EX.CONFIG, [/\//]);
	});

	test('an app without key or secret, or two with one key, are refused', async () => {
		await refused(['--config', config({ 'app a': { secret: SECRET } })], EX.CONFIG,
			[/\[app a\]/, /key/]);
		await refused(['--config', config({ 'app a': { key: 'k' } })], EX.CONFIG,
			[/\[app a\]/, /secret/]);
		await refused(['--config', config({ 'app a': { key: 'k', secret: SECRET },
			'app b': { key: 'k', secret: SECRET } })], EX.CONFIG, [/\ba\b/, /\bb\b/, /same key/]);
	});

	test('errors in the environment and an --env-file are reported', async () => {
		await refused(['--config', config(base())], EX.CONFIG, [/REVERB_SERVER_PORT/, /eighty/],
			{ env: { REVERB_SERVER_PORT: 'eighty' } });
		await refused(['--config', config(base())], EX.CONFIG, [/SCOPEWIRE_SERVER_PORT/],
			{ env: { SCOPEWIRE_SERVER_PORT: '1e3' } });
		const env = path.join(tempFolder('env'), '.env');
		fs.writeFileSync(env, `REVERB_APP_ID=x\nREVERB_APP_SECRET=${SECRET}\n` +
			'REVERB_SERVER_PORT=99999\nREVERB_APP_KEY=k\n');
		await refused(['--env-file', env], EX.CONFIG, [new RegExp(`${env}:3\\b`), /99999/]);
		await refused(['--env-file', '/nonexistent/.env'], EX.CONFIG, [/\/nonexistent\/.env/]);
	});

	test('errors of the command line are reported', async () => {
		await refused(['--server-port=x'], EX.CONFIG, [/server-port/, /0 to 65535/]);
		await refused(['--no-such-option'], EX.USAGE, [/no-such-option/]);
		await refused(['stray'], EX.USAGE, [/stray/]);
		await refused(['--config'], EX.USAGE, [/config/]);
	});

	test('invalid certificates are refused', async () => {
		const folder = tempFolder('tls');
		const junk = path.join(folder, 'junk.pem');
		fs.writeFileSync(junk, 'no certificate');
		for (const server of [{ tls_certificate: junk, tls_key: junk },
			{ tls_certificate: '/nonexistent', tls_key: '/nonexistent' },
			{ tls_certificate: junk }])
			await refused(['--config', config(base({ server: { ...base().server, ...server } }))],
				EX.CONFIG, [/tls_certificate|tls_key/]);
	});

	test('--help, --version and --check-config print and exit with 0', async () => {
		for (const [args, pattern] of [[['--help'], /--config/], [['--version'], /scopewired? \d+\.\d+/],
			[['--check-config', '--config', config(base())], /valid/]]) {
			const { code, log } = await runDaemon(args);
			assert.equal(code, EX.OK, log);
			assert.match(log, pattern);
		}
	});
});

describe('sockets', () => {
	test('a port in use is refused', async () => {
		const server = net.createServer().listen(0, '127.0.0.1');
		await new Promise((resolve) => server.once('listening', resolve));
		const { port } = server.address();
		await refused(['--config', config(base({ server: { host: '127.0.0.1', port } }))], EX.OSERR,
			[/127\.0\.0\.1/, new RegExp(`\\b${port}\\b`), /in use/]);
		server.close();
	});

	test('a port of another scopewired is refused; the first keeps running', async (t) => {
		const first = await startDaemon(light(), t);
		await refused(['--config', config(base({ server: { host: '127.0.0.1', port: first.port } }))],
			EX.OSERR, [new RegExp(`\\b${first.port}\\b`), /in use/]);
		await (await first.connect()).close();
	});

	test('a foreign address and an unknown host are refused', async () => {
		await refused(['--config', config(base({ server: { host: '192.0.2.1', port: 0 } }))], EX.OSERR,
			[/192\.0\.2\.1/]);
		await refused(['--config', config(base({ server: { host: 'no.such.host.invalid', port: 0 } }))],
			EX.OSERR, [/no\.such\.host\.invalid/]);
	});
});

describe('database', () => {
	const file = (database) => config(base({ database: { connect_timeout_s: 60, ...database } }));
	let host;

	before(async () => {
		host = await clusterSocket();
	});

	test('a database server that does not listen is reported', async () => {
		await refused(['--config', file({ host: '127.0.0.1', port: 1, password: SECRET })],
			EX.UNAVAILABLE, [/127\.0\.0\.1/, /refused/]);
		await refused(['--config', file({ host: '/nonexistent' })], EX.UNAVAILABLE, [/nonexistent/]);
		await refused(['--config', file({ host: 'no.such.host.invalid' })], EX.UNAVAILABLE,
			[/no\.such\.host\.invalid/]);
	});

	test('a database server that does not answer is reported', async (t) => {
		const mute = net.createServer((socket) => t.after(() => socket.destroy()))
			.listen(0, '127.0.0.1');
		t.after(() => mute.close());
		await new Promise((resolve) => mute.once('listening', resolve));
		await refused(['--config', file({ host: '127.0.0.1', port: mute.address().port, connect_timeout_s: 2 })],
			EX.UNAVAILABLE, [/time/i]);
	});

	test('a missing database is reported', async () => {
		await refused(['--config', file({ host, name: 'missing_db', user: 'scopewire' })],
			EX.UNAVAILABLE, [/missing_db/, /does not exist/]);
	});

	test('a missing role is reported', async () => {
		await refused(['--config', file({ host, name: 'postgres', user: 'missing_role' })],
			EX.UNAVAILABLE, [/missing_role/]);
	});

	test('a wrong password is reported', async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop());
		await query(cluster.socket, 'postgres', `ALTER ROLE scopewire PASSWORD 'right'`, [], 'postgres');
		fs.writeFileSync(path.join(cluster.socket, 'data/pg_hba.conf'),
			'local all scopewire scram-sha-256\nlocal all all trust\n');
		await query(cluster.socket, 'postgres', 'SELECT pg_reload_conf()', [], 'postgres');
		const settings = { host: cluster.socket, name: 'postgres', user: 'scopewire' };
		await waitFor(async () => {
			const { log } = await runDaemon(['--migrate', '--config',
				file({ ...settings, password: SECRET })]);
			return /password/.test(log);
		}, 'the server to require passwords');
		await refused(['--config', file({ ...settings, password: SECRET })], EX.UNAVAILABLE,
			[/password authentication failed/, /scopewire/]);
		await refused(['--config', file(settings)], EX.UNAVAILABLE, [/password/]);
	});

	test('a role without the right to create the schema is reported', async () => {
		const database = await newDatabase();
		await query(host, 'postgres', `ALTER DATABASE ${database.name} OWNER TO postgres`, [], 'postgres');
		await refused(['--config', file(database)], EX.UNAVAILABLE, [/permission denied/]);
	});

	test('a schema newer than the program is refused', async () => {
		const database = await newDatabase();
		const { code } = await runDaemon(['--migrate', '--config', file(database)]);
		assert.equal(code, EX.OK);
		await query(host, database.name, `INSERT INTO schema_migrations
			SELECT (jsonb_populate_record(m, '{"version": 9999}')).* FROM schema_migrations m LIMIT 1`);
		await refused(['--config', file(database)], EX.DATAERR, [/newer/]);
		await refused(['--migrate', '--config', file(database)], EX.DATAERR, [/newer/]);
	});

	test('a migration with another checksum is refused', async () => {
		const database = await newDatabase();
		await runDaemon(['--migrate', '--config', file(database)]);
		await query(host, database.name, `UPDATE schema_migrations SET checksum = 'x' || substr(checksum, 2)
			WHERE version = 1`);
		await refused(['--config', file(database)], EX.DATAERR, [/0*1/, /changed|checksum|differ/]);
	});

	test('with required = no the daemon starts without a database', async (t) => {
		const daemon = await startDaemon(light({ database: { host: '127.0.0.1', port: 1 } }), t);
		assert.match(daemon.logText, /starting without a database/);
		await (await daemon.connect()).close();
	});
});
