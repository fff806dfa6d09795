// SPDX-License-Identifier: MIT
// scopewirectl check finds what is wrong with a set-up and names the remedy; sign and config --diff.
import test from 'node:test';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { APP, certificate, channelAuth, freePort, ini, newDatabase, query, startDaemon, tempFolder, waitFor }
	from '../lib/harness.mjs';
import { TOKEN, TOKENS, runCtl, withAdmin } from '../lib/ctl.mjs';

const { id, ...app } = APP;

/** Writes a configuration, and the checks that did not end with "ok", as "check: message". */
async function check(sections, args = []) {
	const file = path.join(tempFolder('check'), 'scopewire.conf');
	fs.writeFileSync(file, typeof sections === 'string' ? sections : ini({ [`app ${id}`]: app, ...sections }),
		{ mode: 0o600 });
	const { code, json, error } = await runCtl(['--config', file, 'check', '--json', ...args]);
	assert.equal(error, '');
	assert.equal(code, json.some((one) => one.result === 'FAILED') ? 1 : 0);
	return Object.assign(json, { of: (name, result = 'FAILED') => json
		.filter((one) => one.check === name && one.result === result).map((one) => one.message).join('\n') });
}

/** The configuration of a running daemon, so that only what a test breaks is broken. */
async function whole(t, admin = { tokens: TOKENS }) {
	const { daemon, url } = await withAdmin(t, admin);
	const [, port] = /:(\d+)$/.exec(url);
	return { daemon, sections: { server: { host: '127.0.0.1', port: daemon.port },
		database: { ...daemon.database }, admin: { listen: `127.0.0.1:${port}`, ...admin } } };
}

test('nothing is wrong with a daemon that works', async (t) => {
	const { sections, daemon } = await whole(t);
	const found = await check(sections);
	assert.deepEqual(found.filter((one) => one.result === 'FAILED'), []);
	assert.match(found.of('daemon', 'ok'), /is ready$/);
	assert.match(found.of('admin listener', 'ok'), /token may read/);
	assert.match(found.of('privileges', 'ok'), /the role scopewire has/);
	assert.match(found.of('database server', 'warning'), /fsync .* is off/); // as in all tests
	const text = await runCtl(['--config', path.join(daemon.folder, 'scopewire.conf'), 'check']);
	assert.match(text.out, /^ok {7}database: connected$/m);
	assert.equal(text.out.includes(APP.secret) || text.out.includes(TOKEN.write), false);
});

test('faults of the configuration are named, each in a line', async () => {
	assert.match((await check({ server: { prot: 80 } })).of('configuration'), /prot.*port/);
	const two = (await check(`[server]\nport = -1\n[app x]\nkey = k\n`)).of('configuration');
	assert.match(two, /port = -1/);
	assert.match(two, /secret/);
});

test('a certificate that cannot be used, and one that ends soon', async () => {
	const [one, other] = [certificate(), certificate()];
	const server = { tls_certificate: one.cert, tls_key: other.key, port: 1 };
	assert.match((await check({ server })).of('certificate'), /tls_key: .* cannot be used/);
	assert.match((await check({ server: { ...server, tls_key: one.key } })).of('certificate'),
		/expires within two weeks; renew it/);
	const admin = { listen: '127.0.0.1:1', tokens: TOKENS, tls_certificate: one.cert, tls_key: other.key };
	assert.match((await check({ server: { port: 1 }, admin })).of('certificate'), /tls_key: .* cannot be used/);
	assert.match((await check({ server: { port: 1 }, admin: { ...admin, tls_key: one.key } })).of('certificate'),
		/expires within two weeks; renew it/);
});

test('a database server that is not there, and a database and a role that do not exist', async () => {
	const { host, name, user } = await newDatabase();
	const server = { port: 1 };
	assert.match((await check({ server, database: { host: tempFolder('none'), name, user } })).of('database'),
		/cannot connect|No such file/);
	assert.match((await check({ server, database: { host, name: 'nothing', user } })).of('database'),
		/database "nothing" does not exist/);
	assert.match((await check({ server, database: { host, name, user: 'nobody_x' } })).of('database'),
		/role "nobody_x" does not exist/);
});

test('a role that may not make the schema, and a schema that is not made yet', async () => {
	const { host, name, user } = await newDatabase();
	const server = { port: 1 };
	assert.match((await check({ server, database: { host, name, user } })).of('privileges', 'warning'),
		/has no tables yet; .*--migrate/);
	const role = `limited_${randomBytes(6).toString('hex')}`;
	await query(host, name, `CREATE ROLE ${role} LOGIN`, [], 'postgres');
	try {
		assert.match((await check({ server, database: { host, name, user: role } })).of('privileges'),
			new RegExp(`GRANT CREATE ON DATABASE ${name} TO ${role}`));
		await query(host, name, 'CREATE SCHEMA scopewire', [], 'postgres');
		assert.match((await check({ server, database: { host, name, user: role } })).of('privileges'),
			new RegExp(`GRANT USAGE, CREATE ON SCHEMA "scopewire" TO "${role}"`));
	} finally {
		await query(host, name, `DROP ROLE ${role}`, [], 'postgres');
	}
});

test('no daemon, another program in its place, and a daemon that is not ready', async (t) => {
	const server = { host: '127.0.0.1', port: await freePort() };
	assert.match((await check({ server })).of('daemon'), /no daemon answers .* start it/);
	const other = http.createServer((request, response) => response.end('hello')).listen(server.port, server.host);
	t.after(() => other.close());
	assert.match((await check({ server })).of('daemon'), /another program answers/);
	const daemon = await startDaemon({ databaseMode: 'none', database: { required: 'no',
		host: tempFolder('none'), name: 'x', user: 'x' } }, t);
	assert.match((await check({ server: { host: '127.0.0.1', port: daemon.port } })).of('daemon'), /is not ready/);
});

test('an admin listener that is off, is not there, or refuses the token', async (t) => {
	const { sections } = await whole(t);
	const { admin, ...rest } = sections;
	assert.match((await check(rest)).of('admin listener', 'warning'), /set listen and tokens/);
	const wrong = { ...admin, tokens: 'other:read:another-token-0123456789abcdef' };
	assert.match((await check({ ...sections, admin: wrong })).of('admin listener'), /not accepted \(401\)/);
	const away = { ...admin, listen: `127.0.0.1:${await freePort()}` };
	assert.match((await check({ ...sections, admin: away })).of('admin listener'), /cannot be reached/);
});

test('a proxy that passes everything, and one that passes a part', async (t) => {
	const { sections, daemon } = await whole(t);
	const proxy = (passes) => new Promise((resolve) => {
		const server = net.createServer((client) => client.once('data', (head) => {
			client.on('error', () => {});
			if (!passes(/^\S+ (\S+)/.exec(head.toString('latin1'))[1]))
				return client.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
			const daemonSide = net.connect(daemon.port, '127.0.0.1', () => daemonSide.write(head));
			daemonSide.on('error', () => client.destroy());
			return client.pipe(daemonSide).pipe(client);
		}));
		server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`));
		t.after(() => server.close());
	});
	const all = await check(sections, ['--public', await proxy(() => true)]);
	assert.match(all.of('proxy', 'ok'), /passes what clients and servers request/);
	const part = await check(sections, ['--public', await proxy((target) => target === '/up')]);
	assert.match(part.of('proxy'), /pass \/apps to the daemon/);
	assert.match(part.of('proxy'), /pass \/api\/sync to the daemon/);
	assert.match(part.of('proxy'), /does not become a WebSocket \(status 404\)/);
});

test('sign prints what a client needs to subscribe', async (t) => {
	const daemon = await startDaemon({}, t);
	const wire = await daemon.connect();
	const config = ['--config', path.join(daemon.folder, 'scopewire.conf')];
	const signed = await runCtl([...config, 'sign', wire.socketId, 'private-a']);
	assert.equal(signed.json.auth, channelAuth(daemon.app, wire.socketId, 'private-a'));
	const data = '{"user_id":"7"}';
	const member = (await runCtl([...config, 'sign', wire.socketId, 'presence-a', data])).json;
	wire.send({ event: 'pusher:subscribe', data: { channel: 'presence-a', ...member } });
	await wire.next({ event: 'pusher_internal:subscription_succeeded' });
	assert.equal((await runCtl([...config, '--app', 'other', 'sign', '1.1', 'a'])).code, 64);
	for (const [args, why] of [[['abc', 'private-x'], /a socket id has the form/], [['1.1', 'two words'], /"two words" is not the name/]]) {
		const refused = await runCtl([...config, 'sign', ...args]);
		assert.deepEqual([refused.code, refused.out], [64, '']);
		assert.match(refused.error, why);
	}
});

test('config --diff names what the file has and the daemon does not', async (t) => {
	const { daemon, ctl } = await withAdmin(t);
	const diff = async () => {
		const { code, json } = await ctl(['--config', path.join(daemon.folder, 'scopewire.conf'),
			'config', '--diff', '--json'], { scope: 'read' });
		assert.equal(code, json.differences.length ? 1 : 0);
		return json.differences.map((d) => [d.app, d.option, d.runs, d.configured, d['apply by']])
			.sort(([, a], [, b]) => a.localeCompare(b));
	};
	const file = path.join(daemon.folder, 'scopewire.conf');
	const before = fs.readFileSync(file, 'utf8');
	fs.writeFileSync(file, before.replace('[server]\n', '[server]\nbacklog = 77\n')
		.replace(`[app ${id}]\n`, `[app ${id}]\nmax_connections = 5\n`));
	assert.deepEqual(await diff(), [[null, 'backlog', '4096', '77', 'restart'],
		[id, 'max_connections', '0', '5', 'reload']]);
	daemon.signal?.('SIGHUP') ?? process.kill(daemon.pid, 'SIGHUP');
	await waitFor(() => /configuration reloaded/.test(daemon.logText), 'the reload');
	await waitFor(async () => (await diff()).length === 1, 'what a reload applied is in force');
	assert.deepEqual((await diff())[0][1], 'backlog');
});
