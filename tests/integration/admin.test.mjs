// SPDX-License-Identifier: MIT
// The admin listener: where it is, who may use it, and that the public port serves nothing of it.
import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import { certificate, logged, request, runDaemon, startDaemon, tempFolder, waitFor } from '../lib/harness.mjs';

const TOKEN = {
	metrics: 'metrics-token-0123456789abcdef', read: 'read-token-0123456789abcdef',
	write: 'write-token-0123456789abcdef',
};
const TOKENS = Object.entries(TOKEN).map(([scope, token]) => `my-${scope}:${scope}:${token}`).join(', ');

/** A daemon with an admin listener, and a function that requests a path of it. */
async function withAdmin(t, admin, options = {}) {
	const daemon = await startDaemon({ ...options,
		sections: { admin: { listen: '127.0.0.1:0', ...admin } } }, t);
	const [, port] = /admin: listening on \S+:(\d+)/.exec(daemon.logText);
	const get = (path_, headers = {}, more = {}) =>
		request(`http://127.0.0.1:${port}${path_}`, { headers, ...more });
	return { daemon, port, get };
}

const bearer = (token) => ({ Authorization: `Bearer ${token}` });

/** A configuration that is checked only. */
async function check(admin) {
	const folder = tempFolder('admin');
	const file = path.join(folder, 'scopewire.conf');
	fs.writeFileSync(file, `[admin]\n${Object.entries(admin).map(([k, v]) => `${k} = ${v}\n`).join('')}`
		+ '[app a]\nkey = k\nsecret = s\n', { mode: 0o600 });
	return runDaemon(['--config', file, '--check-config']);
}

test('without [admin] nothing listens but the public port, and it has no metrics', async (t) => {
	const daemon = await startDaemon({}, t);
	assert.doesNotMatch(daemon.logText, /admin: listening/);
	assert.equal((await daemon.http('/metrics')).status, 404);
});

test('the public port serves nothing of an admin listener', async (t) => {
	const { daemon, get } = await withAdmin(t, { local_read: 'yes' });
	assert.equal((await get('/metrics')).status, 200);
	assert.equal((await daemon.http('/metrics')).status, 404);
	assert.equal((await daemon.http('/metrics', { headers: bearer(TOKEN.read) })).status, 404);
});

test('a token reads what its scope includes', async (t) => {
	const { get } = await withAdmin(t, { tokens: TOKENS });
	for (const scope of ['metrics', 'read', 'write'])
		assert.equal((await get('/metrics', bearer(TOKEN[scope]))).status, 200, scope);
	for (const name of ['/up', '/live']) assert.deepEqual((await get(name)).json, { health: 'OK' });
	assert.equal((await get('/metrics')).status, 401);
	assert.equal((await get('/nothing', bearer(TOKEN.read))).status, 404);
	const refused = await get('/metrics', bearer(TOKEN.read), { method: 'POST' });
	assert.equal(refused.status, 405);
	assert.match(refused.text, /This path accepts GET only\./);
});

test('after ten wrong tokens an address waits, and no token is in the log', async (t) => {
	const { daemon, get } = await withAdmin(t, { tokens: TOKENS });
	const wrong = 'guessed-token-0123456789abcdef';
	for (let i = 0; i < 10; i++) assert.equal((await get('/metrics', bearer(wrong))).status, 401);
	const limited = await get('/metrics', bearer(TOKEN.read));
	assert.equal(limited.status, 429);
	assert.equal(limited.headers['retry-after'], '60');
	await waitFor(() => /admin request refused: 401 \/metrics/.test(daemon.logText), 'the line');
	for (const token of [wrong, ...Object.values(TOKEN)]) assert.ok(!daemon.logText.includes(token));
});

test('local_read is for clients on this machine, not for those of a proxy or another site', async (t) => {
	const { get } = await withAdmin(t, { local_read: 'yes' });
	assert.equal((await get('/metrics')).status, 200);
	assert.equal((await get('/metrics', { 'X-Forwarded-For': '203.0.113.9' })).status, 401);
	assert.equal((await get('/metrics', { Host: 'evil.example' })).status, 401);
});

test('a Unix socket is served, replaced when no process listens on it, and removed at the end', async (t) => {
	const socketPath = path.join(tempFolder('admin'), 'admin.sock');
	const left = http.createServer();
	await new Promise((done) => left.listen(socketPath, done));
	fs.renameSync(socketPath, `${socketPath}.kept`);   // close() would remove it
	await new Promise((done) => left.close(done));
	fs.renameSync(`${socketPath}.kept`, socketPath);
	const daemon = await startDaemon({ sections: { admin: { listen: socketPath, local_read: 'yes' } } }, t);
	const status = await new Promise((resolve, reject) => {
		http.get({ socketPath, path: '/metrics' }, (response) => {
			response.resume();
			resolve(response.statusCode);
		}).on('error', reject);
	});
	assert.equal(status, 200);
	await daemon.stop();
	assert.equal(fs.existsSync(socketPath), false);
});

test('with a certificate the listener serves https only', async (t) => {
	const made = certificate();
	const { port } = await withAdmin(t, { tokens: TOKENS, tls_certificate: made.cert, tls_key: made.key });
	const answer = await request(`https://localhost:${port}/metrics`,
		{ headers: bearer(TOKEN.metrics), ca: made.ca });
	assert.equal(answer.status, 200);
	await assert.rejects(request(`http://127.0.0.1:${port}/metrics`, { headers: bearer(TOKEN.metrics) }));
});

/** Writes the configuration with these options of [admin] changed, and reloads it. */
async function reloadAdmin(daemon, change) {
	const reloads = () => daemon.logText.split('configuration reloaded').length, before = reloads();
	Object.assign(daemon.options.sections.admin, change);
	daemon.writeConfig();
	process.kill(daemon.pid, 'SIGHUP');
	await waitFor(() => reloads() > before, 'the reload');
	return daemon.logText.split('\n').findLast((line) => /configuration reloaded/.test(line));
}

test('a reload takes a renewed certificate of the listener, and its open connections stay', async (t) => {
	const first = certificate(), folder = tempFolder('admin-tls');
	const [cert, key] = ['cert.pem', 'key.pem'].map((name) => path.join(folder, name));
	const install = (made) => {
		fs.copyFileSync(made.cert, cert);
		fs.copyFileSync(made.key, key);
		fs.chmodSync(key, 0o600);
	};
	install(first);
	const { daemon, port } = await withAdmin(t, { tokens: TOKENS, tls_certificate: cert, tls_key: key });
	assert.match(daemon.logText, /warn: .*cert\.pem.* expires within two weeks/);
	const get = (made, agent) => request(`https://localhost:${port}/ready`, { ca: made.ca, agent });
	const open = new https.Agent({ keepAlive: true, maxSockets: 1, ca: first.ca });
	t.after(() => open.destroy());
	assert.equal((await get(first, open)).status, 200);
	const [socket] = Object.values(open.freeSockets).flat();
	const second = certificate();
	install(second);
	await reloadAdmin(daemon, {});
	assert.equal((await get(second)).status, 200);
	await assert.rejects(get(first), /self-signed|unable to verify/);
	assert.equal((await get(first, open)).status, 200);
	assert.equal(Object.values(open.freeSockets).flat()[0], socket);
	fs.copyFileSync(first.key, key);
	await reloadAdmin(daemon, {});
	await waitFor(() => /certificate was not reloaded, the old one stays: .*key\.pem/.test(daemon.logText),
		'the refusal');
	assert.equal((await get(second)).status, 200);
});

test('a reload takes changed tokens and local_read, and ends the tails of tokens that were removed', async (t) => {
	const { daemon, port, get } = await withAdmin(t, { tokens: TOKENS, local_read: 'yes' });
	const { token } = (await get('/admin/api/token', bearer(TOKEN.write),
		{ method: 'POST', body: '{"name":"stored","scope":"read"}' })).json;
	const path_ = '/admin/api/session', changed = 'another-token-0123456789abcdef';
	/** A live tail; true once it has ended. */
	const watch = async (headers) => {
		const { body } = await fetch(`http://127.0.0.1:${port}/admin/api/tail`, { headers });
		let ended = false;
		(async () => { for await (const chunk of body) void chunk; ended = true; })().catch(() => { ended = true; });
		return () => ended;
	};
	const tails = [await watch(bearer(TOKEN.read)), await watch({}), await watch(bearer(token)), await watch(bearer(TOKEN.write))];
	const line = await reloadAdmin(daemon, { local_read: 'no',
		tokens: `my-read:read:${changed}, my-write:metrics:${TOKEN.write}` });
	assert.doesNotMatch(line, /admin\./);
	const statuses = async () => Promise.all([bearer(TOKEN.read), {}, bearer(token), bearer(TOKEN.write), bearer(changed)]
		.map(async (headers) => (await get(path_, headers)).status));
	assert.deepEqual(await statuses(), [401, 401, 200, 403, 200]);
	assert.equal((await get('/metrics', bearer(TOKEN.write))).status, 200);
	await waitFor(() => tails[0]() && tails[1]() && tails[3](), 'the ends of the tails');
	assert.equal(tails[2](), false);
	await reloadAdmin(daemon, { local_read: 'yes', tokens: TOKENS });
	assert.deepEqual(await statuses(), [200, 200, 200, 200, 401]);
	assert.match(await reloadAdmin(daemon, { listen: '127.0.0.1:1' }),
		/take effect after a restart: .*admin\.listen$/);
});

test('--check-config loads the certificate of the listener', async () => {
	const [one, other] = [certificate(), certificate()];
	const { code, log } = await check({ listen: '127.0.0.1:8081', tokens: TOKENS, tls_certificate: one.cert, tls_key: other.key });
	assert.equal(code, 78, log);
	assert.match(log, /tls_key: .*key\.pem cannot be used/);
	const off = await check({ tls_certificate: one.cert, tls_key: other.key });
	assert.equal(off.code, 0, off.log);
});

for (const [name, admin, message] of [
	['an address that other machines reach without TLS', { listen: '0.0.0.0:8081', tokens: TOKENS },
		/other machines can reach this address; set tls_certificate, tls_key and tokens/],
	['a listener that no request may use', { listen: '127.0.0.1:8081' }, /no request would be allowed/],
	['a token of a few characters', { listen: '127.0.0.1:8081', tokens: 'a:read:short' },
		/the token a is too short/],
	['a token of an unknown scope', { listen: '127.0.0.1:8081', tokens: `a:admin:${TOKEN.read}` },
		/the scope is metrics, read or write/],
	['a name for an address', { listen: 'example.com:8081', tokens: TOKENS }, /must be off, an address/],
	['a port without an address', { listen: '8081', tokens: TOKENS }, /must be off, an address/],
]) {
	test(`the configuration refuses ${name}`, async () => {
		const { code, log } = await check(admin);
		assert.equal(code, 78);
		assert.match(log, message);
		for (const token of Object.values(TOKEN)) assert.ok(!log.includes(token));
	});
}

test('while clients are sent away the admin listener still answers', async (t) => {
	const { daemon, get } = await withAdmin(t, { local_read: 'yes' }, { server: { drain_ms: 60000 } });
	const clients = [];
	for (let i = 0; i < 3; i++) clients.push(await daemon.connect());
	process.kill(daemon.pid, 'SIGTERM');
	await logged(daemon.child, /sending \d+ clients away/);
	await waitFor(async () => {
		const { status, json } = await get('/ready');
		return status === 503 && json.failed.includes('stop');
	}, 'not ready because it stops');
	assert.equal((await get('/metrics')).status, 200);
	process.kill(daemon.pid, 'SIGTERM');    // skips the rest of the drain
	await daemon.stop({ signal: 0 });
});
