// SPDX-License-Identifier: MIT
// Each row of docs/troubleshooting.md is produced, its line of the log is seen, and its remedy helps.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { runCtl } from '../lib/ctl.mjs';
import { PROGRAM, Sync, authorize, channelAuth, query, startCluster, startDaemon, tempFolder, waitFor } from '../lib/harness.mjs';

const file = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));

// Rows that another test produces: the row, the file, and words of its test.
const ELSEWHERE = [
	['Supervisor shows BACKOFF or FATAL', 'tests/e2e/supervisor.test.mjs', 'an invalid configuration is in the log, and is tried again'],
	['A channel `private-encrypted-…` is refused with 500', 'contrib/laravel/tests/Feature/KeysTest.php',
		'the subscription to an encrypted channel is refused with what to do'],
	['A connection fails', 'tests/e2e/proxy.test.mjs', 'every path of the daemon answers as it does itself'],
	['A connection fails, in the browser\'s console', 'contrib/js/tests/browser/manager.test.mjs', 'a policy without the daemon\'s address'],
	['A connection fails with 4000', 'tests/integration/client_address.test.mjs', 'an application with tls_only behind a proxy'],
	['Many connections fail', 'tests/integration/descriptors.test.mjs', 'without descriptors connections are refused'],
	['Publishing fails with 503', 'tests/integration/failover.test.mjs', 'test('],
	['Clients come and go every minute', 'tests/e2e/proxy.test.mjs', 'pusher-js and the SDK work'],
	['A client is disconnected with 4201', 'tests/integration/ws_wire.test.mjs', '4201'],
	['A setting has no effect after a reload', 'tests/integration/reload.test.mjs', 'a reload names the options that need a restart'],
];
const rows = fs.readFileSync(file('docs/troubleshooting.md'), 'utf8').split('\n').filter((line) => /^\| [A-Z]/.test(line))
	.map((line) => line.slice(2).split(' | ')[0]);
const produced = new Set();

/** A test of a row, which starts with these words. */
function row(words, run) {
	test(words, async (t) => {
		const found = rows.filter((text) => text === words || text.startsWith(`${words},`) || text.startsWith(`${words}:`));
		// A row of its own name comes before those that go on after it.
		if (found[0] === words) found.length = 1;
		assert.equal(found.length, 1, `rows that start like this: ${found.length}`);
		produced.add(found[0]);
		await run(t);
	});
}

let daemon, server;

before(async () => {
	daemon = await startDaemon({ app: { allowed_origins: 'https://portal.example.com', max_connections: '3',
		max_event_payload_bytes: '2000' } });
	server = Sync.server(daemon);
});
after(() => daemon?.stop());

const inLog = (pattern) => waitFor(() => pattern.test(daemon.logText), String(pattern));

/** The application's options are changed, and applied by SIGHUP. */
async function change(options, isApplied) {
	Object.assign(daemon.apps[0], options);
	daemon.writeConfig();
	process.kill(daemon.pid, 'SIGHUP');
	await waitFor(isApplied, `${Object.keys(options)} after a reload`);
}

row('The daemon does not start', () => {
	const config = path.join(tempFolder('trouble'), 'a.conf');
	const run = (text) => {
		fs.writeFileSync(config, text, { mode: 0o600 });
		return spawnSync(PROGRAM, ['--config', config, '--check-config'], { encoding: 'utf8' });
	};
	const wrong = run('[server]\nprot = 1\n[database]\nprot = 2\n');
	assert.equal(wrong.status, 78);
	assert.match(wrong.stderr, /a\.conf:2.*there is no such option/);
	assert.match(wrong.stderr, /a\.conf:4.*there is no such option/, 'every error at once');
	assert.equal(run('[server]\nport = 8080\n').status, 0);
});

row('A setting of the environment or of `.env` has no effect', async (t) => {
	const envFile = path.join(tempFolder('trouble'), '.env');
	fs.writeFileSync(envFile, 'SCOPEWIRE_TOKEN_SECRET=of-the-package\nSCOPEWIRE_LOGS_LEVEL=not-shown\n', { mode: 0o600 });
	const own = await startDaemon({ envFile, env: { SCOPEWIRE_SEVER_WORKERS: '2', SCOPEWIRE_TEST_TLS: '1' } }, t);
	const lines = own.logText.split('\n').filter((line) => line.includes('there is no such setting, it has no effect'))
		.map((line) => line.replace(/^.*warn(ing)?: (.*\.env:\d+: )?/, ''));
	assert.deepEqual(lines, [
		'SCOPEWIRE_LOGS_LEVEL: there is no such setting, it has no effect; did you mean SCOPEWIRE_LOG_LEVEL?',
		'SCOPEWIRE_SEVER_WORKERS: there is no such setting, it has no effect; did you mean SCOPEWIRE_SERVER_WORKERS?']);
	assert.ok(!own.logText.includes('not-shown'));
	const { json } = await runCtl(['--config', path.join(own.folder, 'scopewire.conf'), '--env-file', envFile, 'check', '--json']);
	assert.match(json.find((one) => one.check === 'configuration' && one.result === 'warning').message, /did you mean SCOPEWIRE_LOG_LEVEL\?$/);
});

row('The daemon does not start, status 69', async (t) => {
	const cluster = await startCluster();
	t.after(() => cluster.stop());
	const sql = (text) => query(cluster.socket, 'postgres', text, [], 'postgres');
	await sql('CREATE ROLE poor LOGIN');
	await sql('CREATE DATABASE portal');
	const config = path.join(tempFolder('trouble'), 'b.conf');
	fs.writeFileSync(config, `[server]\nport = 0\n[database]\nhost = ${cluster.socket}\nname = portal\nuser = poor\n`
		+ '[app a]\nkey = k\nsecret = a-long-secret\n', { mode: 0o600 });
	const migrate = () => spawnSync(PROGRAM, ['--config', config, '--migrate'], { encoding: 'utf8' });
	const refused = migrate();
	assert.equal(refused.status, 69, refused.stderr);
	assert.match(refused.stderr, /permission denied for database/);
	await sql('GRANT CREATE ON DATABASE portal TO poor');
	assert.equal(migrate().status, 0);
});

row('A connection fails with 4001', async () => {
	assert.equal((await daemon.wire({ key: 'old-key' }).closed).code, 4001);
	await inLog(/connection refused: 4001, Application does not exist/);
	(await daemon.connect()).terminate();
});

row('A connection fails with 4009', async () => {
	const from = { headers: { Origin: 'https://new.example.com' } };
	assert.equal((await daemon.wire(from).closed).code, 4009);
	await inLog(/connection refused: 4009, Origin not allowed/);
	await change({ allowed_origins: 'https://portal.example.com, https://new.example.com' }, async () => {
		const wire = daemon.wire(from);
		const [answer] = await Promise.race([wire.next({ event: 'pusher:connection_established' }).then(() => [true]),
			wire.closed.then(() => [false])]);
		wire.terminate();
		return answer;
	});
});

row('A connection fails with 4004 or 4100', async () => {
	const open = [];
	const isOpen = async () => {
		const wire = daemon.wire();
		open.push(wire);
		const frame = await wire.next((f) => /^pusher:(error|connection_established)$/.test(f.event));
		return frame.event !== 'pusher:error';
	};
	await waitFor(async () => !(await isOpen()), 'the limit');
	await inLog(/connection refused: 4004/);
	await change({ max_connections: '1000' }, isOpen);
	for (const wire of open) wire.terminate();
});

row('Publishing fails with 401', async () => {
	assert.equal((await daemon.api({ ...daemon.app, secret: 'another-secret' }).trigger('orders', 'made', {})).status, 401);
	await inLog(/request refused: POST \S+: 401/);
	assert.equal((await daemon.api().trigger('orders', 'made', {})).status, 200);
});

row('Publishing fails with 413', async () => {
	const publish = async () => (await daemon.api().trigger('orders', 'made', { text: 'x'.repeat(3000) })).status;
	assert.equal(await publish(), 413);
	await inLog(/request refused: POST \S+: 413/);
	await change({ max_event_payload_bytes: '4000' }, async () => await publish() === 200);
});

row('A private or presence channel is refused', async (t) => {
	const wire = await daemon.connect();
	t.after(() => wire.terminate());
	const ada = Sync.user(daemon, 7);
	const answer = await ada.post('/broadcasting/auth', { socket_id: wire.socketId, channel_name: 'private-client.42' });
	assert.equal(answer.status, 403);
	await inLog(/request refused: POST \/broadcasting\/auth: 403/);
	await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule) VALUES ('client.{id}', 'anyone')`);
	await wire.subscribe('private-client.42', await authorize(wire, ada, 'private-client.42'));
});

row('A subscription is refused', async (t) => {
	const wire = await daemon.connect();
	t.after(() => wire.terminate());
	wire.send({ event: 'pusher:subscribe', data: { channel: 'private-a', auth: channelAuth(daemon.app, '1.2', 'private-a') } });
	await wire.next({ event: 'pusher:subscription_error' });
	await inLog(/subscription to \S+ refused: the signature is not valid/);
	await wire.subscribe('private-a');
});

row('After an hour every subscription fails', async (t) => {
	const wire = await daemon.connect();
	t.after(() => wire.terminate());
	await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule) VALUES ('project.{id}', 'anyone')`);
	const old = Sync.user(daemon, 7, { exp: Math.floor(Date.now() / 1000) - 3600 });
	const answer = await old.post('/broadcasting/auth', { socket_id: wire.socketId, channel_name: 'private-project.1' });
	assert.deepEqual([answer.status, answer.json.error.code], [401, 'token_expired']);
	await inLog(/request refused: POST \/broadcasting\/auth: 401/);
	await wire.subscribe('private-project.1', await authorize(wire, Sync.user(daemon, 7), 'private-project.1'));
});

row('Events do not arrive', async (t) => {
	const wire = await daemon.connect();
	t.after(() => wire.terminate());
	await wire.subscribe('private-a');
	const sockets = async (channel) => waitFor(async () => (await daemon.query(`SELECT d.sockets FROM scopewire.realtime_events e
		JOIN scopewire.realtime_deliveries d USING (serial) WHERE e.channel = $1 AND e.event_type = 'names'`, [channel]))[0],
	'the delivery record');
	await daemon.api().trigger('a', 'names', {});
	await daemon.api().trigger('private-a', 'names', {});
	await wire.next({ event: 'names', channel: 'private-a' });
	assert.equal((await sockets('private-a')).sockets, 1);
	const lost = await daemon.query(`SELECT coalesce(sum(d.sockets), 0)::int AS n FROM scopewire.realtime_events e
		LEFT JOIN scopewire.realtime_deliveries d USING (serial) WHERE e.channel = 'a' AND e.event_type = 'names'`);
	assert.equal(lost[0].n, 0);
});

row('Events do not arrive, and are not in `realtime_events`', async (t) => {
	const session = await daemon.session();
	t.after(() => session.end());
	const count = async () => (await daemon.query(`SELECT FROM scopewire.realtime_events WHERE event_type = 'inTransaction'`)).length;
	const publish = `SELECT scopewire.broadcast('orders', 'inTransaction', '{}'::json)`;
	await session.query(`BEGIN; ${publish}; ROLLBACK`);
	await session.query(publish);
	await waitFor(async () => await count() > 0, 'the second');
	assert.equal(await count(), 1);
});

row('A whisper does not arrive', async (t) => {
	const [one, two] = [await daemon.connect(), await daemon.connect()];
	t.after(() => [one, two].forEach((wire) => wire.terminate()));
	const whisper = () => one.send({ event: 'client-typing', channel: 'private-w', data: {} });
	await two.subscribe('private-w');
	whisper();
	await one.next((f) => f.event === 'pusher:error' && /No current subscription/.test(JSON.stringify(f.data)));
	await inLog(/message refused/);
	await one.subscribe('private-w');
	whisper();
	await two.next({ event: 'client-typing' });
});

row('A presence channel is empty in the page', async (t) => {
	const wire = await daemon.connect();
	t.after(() => wire.terminate());
	const members = async (channel, data) => JSON.parse((await wire.subscribe(channel,
		{ channelData: JSON.stringify(data) })).data).presence;
	assert.deepEqual((await members('presence-a', { user_id: '7' })).hash['7'] ?? null, null);
	assert.deepEqual((await members('presence-b', { user_id: '7', user_info: { name: 'Ada' } })).hash['7'], { name: 'Ada' });
});

row('Presence of the sync API is empty', async () => {
	// A user of no other row: one with a socket is online too.
	const isOnline = async () => (await server.get('online-users')).json.users.some((u) => u.user_id === 70);
	assert.equal((await server.post('heartbeat', { user_id: 70, status: 'here' })).status, 400);
	await inLog(/request refused: POST \/api\/sync\/heartbeat/);
	assert.equal(await isOnline(), false);
	assert.equal((await server.post('heartbeat', { user_id: 70, status: 'online' })).status, 200);
	assert.equal(await isOnline(), true);
});

test('each row is produced, here or by a test that is named here', () => {
	for (const [words, name, of] of ELSEWHERE) {
		const found = rows.filter((text) => text === words || text.startsWith(`${words} "`));
		assert.equal(found.length, 1, `rows of ${words}: ${found.length}`);
		assert.ok(fs.readFileSync(file(name), 'utf8').replaceAll("\\'", "'").includes(of), `${name}: ${of}`);
		produced.add(found[0]);
	}
	assert.deepEqual(rows.filter((text) => !produced.has(text)), []);
});
