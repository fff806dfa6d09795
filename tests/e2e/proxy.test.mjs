// SPDX-License-Identifier: MIT
// The shipped nginx and Apache examples, as they are but for addresses, before a real daemon.
import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { APP, end, freePort, request, start, startDaemon, tempFolder, waitFor }
	from '../lib/harness.mjs';
import { client, connected, once, server, startAuthorizer, subscribed } from './stock.mjs';

const CONTRIB = fileURLToPath(new URL('../../contrib', import.meta.url));
const APACHE_MODULES = '/usr/lib/apache2/modules';

/** The example with the daemon's address in it, and ports that tests may have. */
function example(name, daemon, listen) {
	const text = fs.readFileSync(path.join(CONTRIB, name, 'scopewire.conf'), 'utf8');
	assert.match(text, /127\.0\.0\.1:8080/);
	return text.replaceAll('127.0.0.1:8080', daemon.address).replace('listen 80;', `listen ${listen};`)
		.replace('<VirtualHost *:80>', `<VirtualHost ${listen}>`);
}

function startNginx(daemon, listen) {
	const folder = tempFolder('nginx');
	fs.chmodSync(folder, 0o777);
	const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
		.map((name) => `${name}_temp_path ${folder}/${name};`).join('\n');
	fs.writeFileSync(path.join(folder, 'site.conf'), example('nginx', daemon, listen));
	fs.writeFileSync(path.join(folder, 'nginx.conf'), `daemon off; pid ${folder}/pid;
		worker_processes 1; events { worker_connections 512; }
		http { access_log off; ${temporary} include ${folder}/site.conf; }`);
	return start('nginx', ['-p', folder, '-c', path.join(folder, 'nginx.conf'), '-e', 'stderr'],
		{ env: { PATH: `${process.env.PATH}:/usr/sbin` } });
}

function startApache(daemon, listen) {
	const folder = tempFolder('apache');
	const modules = ['mpm_event', 'authz_core', 'proxy', 'proxy_http', 'proxy_wstunnel']
		.map((m) => `LoadModule ${m}_module ${APACHE_MODULES}/mod_${m}.so`).join('\n');
	const user = process.getuid() === 0 ? 'User www-data\nGroup www-data' : '';
	fs.writeFileSync(path.join(folder, 'apache.conf'), `ServerRoot ${folder}\nServerName localhost
PidFile ${folder}/pid\nDefaultRuntimeDir ${folder}\nMutex pthread\nErrorLog ${folder}/error.log
${modules}\n${user}\nListen ${listen}\n${example('apache', daemon, listen)}`);
	return start('/usr/sbin/apache2', ['-D', 'FOREGROUND', '-f', path.join(folder, 'apache.conf')]);
}

for (const [name, startProxy] of [['nginx', startNginx], ['Apache', startApache]]) {
	test(`through ${name}`, async (t) => {
		const daemon = await startDaemon({}, t);
		const port = await freePort();
		const proxy = startProxy(daemon, `127.0.0.1:${port}`);
		t.after(() => end(proxy));
		const base = `http://127.0.0.1:${port}`;
		await waitFor(() => request(`${base}/apps/x`).then((r) => r.status === 401 || r.status === 404,
			() => proxy.exitCode !== null && assert.fail(proxy.log)), `${name} answers`);
		const direct = { ...daemon, port };
		const sdk = server(direct);
		const authorizer = await startAuthorizer(t, sdk);

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
