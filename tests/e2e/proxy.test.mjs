// SPDX-License-Identifier: MIT
// The shipped nginx, Apache and HAProxy samples, as they are but for addresses and certificates, before
// a real daemon: every path that it serves, WebSockets, over HTTP and over TLS.
import test from 'node:test';
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { APP, PROGRAM, certificate, end, freePort, request, start, startDaemon, tempFolder, waitFor }
	from '../lib/harness.mjs';
import { client, connected, once, server, startAuthorizer, subscribed } from './stock.mjs';

const CONTRIB = fileURLToPath(new URL('../../contrib', import.meta.url));
const TLS_CLIENT = fileURLToPath(new URL('tls-client.mjs', import.meta.url));
const APACHE_MODULES = '/usr/lib/apache2/modules';

/**
 * The sample with the daemon's address in it; with a certificate, its TLS lines instead of the plain
 * ones.  listen: the address that takes the place of port 80 or 443.
 */
function sample(file, daemon, listen, tls) {
	let text = fs.readFileSync(path.join(CONTRIB, file), 'utf8');
	assert.match(text, /127\.0\.0\.1:8080/);
	assert.match(text, /^\s*#tls /m);
	text = text.replaceAll('127.0.0.1:8080', daemon.address);
	const replaced = (pattern, by) => { text = text.replace(pattern, by); };
	replaced('<VirtualHost *:80>', `<VirtualHost ${listen}>`);
	if (!tls) {
		replaced(/^(\s*)listen 80;/m, `$1listen ${listen};`);
		replaced(/^(\s*)bind :80$/m, `$1bind ${listen}`);
		return text;
	}
	replaced(/^\s*(listen 80;|bind :80)$/m, '');
	replaced(/#tls /g, '');
	replaced('listen 443 ssl', `listen ${listen} ssl`);
	replaced('bind :443', `bind ${listen}`);
	replaced(/\/etc\/haproxy\/realtime\S+\.pem/, tls.both);
	replaced(/\/etc\/ssl\/certs\/\S+\.pem/, tls.cert);
	replaced(/\/etc\/ssl\/private\/\S+\.key/, tls.key);
	return text;
}

function startNginx(daemon, listen, tls) {
	const folder = tempFolder('nginx');
	fs.chmodSync(folder, 0o777);
	const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
		.map((name) => `${name}_temp_path ${folder}/${name};`).join('\n');
	fs.writeFileSync(path.join(folder, 'site.conf'), sample('nginx/scopewire.conf', daemon, listen, tls));
	fs.writeFileSync(path.join(folder, 'nginx.conf'), `daemon off; pid ${folder}/pid;
		worker_processes 1; events { worker_connections 512; }
		http { access_log off; ${temporary} include ${folder}/site.conf; }`);
	return start('nginx', ['-p', folder, '-c', path.join(folder, 'nginx.conf'), '-e', 'stderr'],
		{ env: { PATH: `${process.env.PATH}:/usr/sbin` } });
}

function startApache(daemon, listen, tls) {
	const folder = tempFolder('apache');
	const modules = ['mpm_event', 'authz_core', 'proxy', 'proxy_http', 'headers', 'ssl']
		.map((m) => `LoadModule ${m}_module ${APACHE_MODULES}/mod_${m}.so`).join('\n');
	const user = process.getuid() === 0 ? 'User www-data\nGroup www-data' : '';
	fs.writeFileSync(path.join(folder, 'apache.conf'), `ServerRoot ${folder}\nServerName localhost
PidFile ${folder}/pid\nDefaultRuntimeDir ${folder}\nMutex pthread\nErrorLog ${folder}/error.log
${modules}\n${user}\nListen ${listen}\n${sample('apache/scopewire.conf', daemon, listen, tls)}`);
	return start('/usr/sbin/apache2', ['-D', 'FOREGROUND', '-f', path.join(folder, 'apache.conf')]);
}

function startHaproxy(daemon, listen, tls) {
	const file = path.join(tempFolder('haproxy'), 'haproxy.cfg');
	fs.writeFileSync(file, sample('haproxy/haproxy.cfg', daemon, listen, tls));
	return start('haproxy', ['-db', '-f', file], { env: { PATH: `${process.env.PATH}:/usr/sbin` } });
}

/** What the daemon prints of its routes: [{ method, path, callers }]. */
async function routes() {
	const { stdout } = await promisify(execFile)(PROGRAM, ['--print-routes']);
	const all = stdout.trim().split('\n').map((line) => {
		const [method, path_, callers] = line.split(/ {2,}/);
		return { method, path: path_, callers };
	});
	assert.ok(all.length > 40, `${all.length} routes`);
	return all;
}

/** A path with values for its placeholders; one has a byte that is escaped. */
const filled = (path_) => path_.replace('{app_id}', APP.id).replace('{channel}', 'presence-a%40b')
	.replace('{user}', 'u%2F1').replace('{key...}', APP.key).replace('{file...}', 'app.js').replace('{id}', '7');

const seen = ({ status, text, headers }) => ({ status, text, type: headers['content-type'],
	origin: headers['access-control-allow-origin'], allow: headers.allow });

const PROXIES = [['nginx', startNginx], ['Apache', startApache], ['HAProxy', startHaproxy]];
const tls = certificate();

for (const [name, startProxy] of PROXIES) {
	test(`through ${name}`, async (t) => {
		const daemon = await startDaemon({}, t);
		const port = await freePort();
		const proxy = startProxy(daemon, `127.0.0.1:${port}`);
		t.after(() => end(proxy));
		const base = `http://127.0.0.1:${port}`;
		await waitFor(() => request(`${base}/up`).then((r) => r.status === 200,
			() => proxy.exitCode !== null && assert.fail(proxy.log)), `${name} answers`);
		const direct = { ...daemon, port };
		const sdk = server(direct);
		const authorizer = await startAuthorizer(t, sdk);

		for (const prefix of ['', '/ws']) {
			await t.test(`every path of the daemon answers as it does itself, prefix "${prefix}"`, async () => {
				for (const { method, path: path_, callers } of await routes()) {
					if (callers === 'this machine' || path_ === '/') continue;
					const body = method === 'GET' ? undefined : '{}';
					const headers = { Origin: 'https://portal.example.com',
						...body && { 'Content-Type': 'application/json', 'Content-Length': 2 } };
					for (const verb of [method, 'OPTIONS']) {
						const call = { method: verb, headers, body: verb === method ? body : undefined };
						if (verb !== method) delete call.headers;
						const [own, through] = await Promise.all([
							request(`${daemon.url}${filled(path_)}?a=1`, call),
							request(`${base}${prefix}${filled(path_)}?a=1`, call)]);
						// the first request of a connection is answered elsewhere, in other words
						if (path_.startsWith('/app/') && verb === 'GET')
							assert.deepEqual([through.status, own.status], [426, 426]);
						else
							assert.deepEqual(seen(through), seen(own), `${verb} ${prefix}${path_}`);
					}
				}
			});
		}

		await t.test('what only this machine may use is not served', async () => {
			for (const { method, path: path_, callers } of await routes())
				if (callers === 'this machine')
					assert.equal((await request(`${base}${filled(path_)}`, { method })).status, 404, path_);
		});

		await t.test('signed calls and calls of the sync API work', async () => {
			const api = daemon.api(APP, base);
			assert.equal((await api.trigger('presence-a@b', 'made', {})).status, 200);
			assert.equal((await api.get('/channels/presence-a@b')).status, 200);
			const heartbeat = await request(`${base}/api/sync/heartbeat`, { method: 'POST',
				headers: { Authorization: `Basic ${btoa(`${APP.key}:${APP.secret}`)}`,
					'Content-Type': 'application/json' }, body: '{"user_id":7}' });
			assert.equal(heartbeat.status, 200, heartbeat.text);
		});

		await t.test('pusher-js and the SDK work', async (t2) => {
			const pusher = await connected(client(t2, direct, authorizer, { id: 'ada', user_info: {} }));
			const channel = await subscribed(pusher, 'presence-room');
			const arrived = once(channel, 'made');
			assert.equal((await sdk.trigger('presence-room', 'made', { n: 1 })).status, 200);
			assert.deepEqual(await arrived, { n: 1 });
		});

		await t.test('a path prefix works', async (t2) => {
			const pusher = await connected(client(t2, direct, authorizer, {}, { wsPath: '/ws' }));
			const channel = await subscribed(pusher, 'news');
			const arrived = once(channel, 'made');
			const answer = await daemon.api(APP, `${base}/ws`).trigger('news', 'made', { n: 2 });
			assert.equal(answer.status, 200, answer.text);
			assert.deepEqual(await arrived, { n: 2 });
		});

		await t.test('sockets opened amid kept-alive API calls are never refused', async () => {
			const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
			const api = daemon.api(APP, base, { agent });
			for (let round = 0; round < 10; round++) {
				const answers = await Promise.all([1, 2, 3, 4].map((n) => api.trigger('mix', 'n', { n })));
				assert.deepEqual(answers.map((a) => a.status), [200, 200, 200, 200]);
				const wires = await Promise.all([1, 2, 3].map(() =>
					daemon.connect({ base: `ws://127.0.0.1:${port}` })));
				await Promise.all(wires.map((w) => w.close()));
			}
			agent.destroy();
		});

		await t.test('close codes are passed through', async () => {
			const unknown = daemon.wire({ base: `ws://127.0.0.1:${port}`, key: 'unknown' });
			assert.equal((await unknown.closed).code, 4001);
			const wire = await daemon.connect({ base: `ws://127.0.0.1:${port}` });
			await daemon.restart();
			assert.equal((await wire.closed).code, 4200);
		});
	});
}

for (const [name, startProxy] of PROXIES) {
	test(`through ${name} with TLS`, async (t) => {
		const daemon = await startDaemon({}, t);
		const port = await freePort();
		const proxy = startProxy(daemon, `127.0.0.1:${port}`, tls);
		t.after(() => end(proxy));
		const up = () => request(`https://localhost:${port}/up`, { ca: tls.ca });
		await waitFor(() => up().then((r) => r.status === 200,
			() => proxy.exitCode !== null && assert.fail(proxy.log)), `${name} answers`);

		await t.test('pusher-js and the SDK work', async () => {
			const { stdout } = await promisify(execFile)(process.execPath,
				[TLS_CLIENT, 'localhost', String(port)],
				{ env: { ...process.env, NODE_EXTRA_CA_CERTS: tls.cert, NODE_TEST_CONTEXT: '' } });
			assert.deepEqual(JSON.parse(stdout), { status: 200, bytes: 9000 });
		});
	});
}

test('the daemon\'s own path prefix works for WebSocket and HTTP', async (t) => {
	const daemon = await startDaemon({ server: { path: '/realtime' } }, t);
	for (const prefix of ['', '/realtime']) {
		const wire = await daemon.connect({ path: `${prefix}/app/` });
		await wire.subscribe('news');
		const answer = await daemon.api(APP, `${daemon.url}${prefix}`).trigger('news', 'made', { prefix });
		assert.equal(answer.status, 200, answer.text);
		await wire.next({ event: 'made', data: { prefix } });
		assert.deepEqual((await request(`${daemon.url}${prefix}/up`)).json, { health: 'OK' });
		await wire.close();
	}
});
