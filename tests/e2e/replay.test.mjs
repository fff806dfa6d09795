// SPDX-License-Identifier: MIT
// contrib/js in a real Chromium with stock laravel-echo and pusher-js: the network is cut for half
// a minute, the daemon restarts meanwhile, and every event is seen once, in order.
import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { APP, Wires, pause, startDaemon, waitFor } from '../lib/harness.mjs';
import { server, startAuthorizer } from './stock.mjs';
import { openBrowser } from './browser.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const FILES = {
	'/scopewire.js': path.join(HERE, '../../contrib/js/scopewire.js'),
	'/echo.js': path.join(HERE, '../node_modules/laravel-echo/dist/echo.js'),
	'/pusher.js': path.join(HERE, '../node_modules/pusher-js/dist/web/pusher-with-encryption.js'),
};
const CHANNELS = ['news', 'client.42', 'board'];
const CUT_MS = 30000;
const EVENTS = 500;

/** Listens on a free port of this machine; gone with t. */
async function listening(t, listener) {
	await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
	t.after(() => new Promise((resolve) => {
		listener.close(resolve);
		listener.closeAllConnections?.();
	}));
	return listener.address().port;
}

/** A page that listens to the channels and keeps what it saw, with an authorizer of its own. */
function page(port, authorizer, options) {
	return `<!doctype html><meta charset="utf-8"><title>replay</title>
<script src="/pusher.js"></script>
<script type="module">
import Echo from '/echo.js';
import { attach } from '/scopewire.js';
const pusher = new Pusher('${APP.key}', { cluster: '', wsHost: '127.0.0.1', wsPort: ${port},
	forceTLS: false, enabledTransports: ['ws'], disableStats: true,
	channelAuthorization: { endpoint: '${authorizer}/channel', transport: 'ajax',
		headers: { 'X-User': JSON.stringify({ id: 'ada', user_info: { name: 'Ada' } }) } } });
window.echo = new Echo({ broadcaster: 'reverb', key: '${APP.key}', client: pusher });
window.seen = { news: [], 'client.42': [], board: [], secret: [] };
window.resyncs = [];
window.replayed = [];
window.handle = attach(echo, { ${options} onResync: (r) => resyncs.push(r) });
const on = (channel, name) => {
	channel.listen('.Made', ({ n }) => seen[name].push(n));
	pusher.channel(channel.name).bind('scopewire:replayed', (r) => replayed.push(r));
};
on(echo.channel('news'), 'news');
on(echo.private('client.42'), 'client.42');
on(echo.join('board'), 'board');
on(echo.encryptedPrivate('secret'), 'secret');
window.subscribed = () => pusher.allChannels().every((c) => c.subscribed);
</script>`;
}

async function startSite(t, html) {
	const site = http.createServer((request, response) => {
		const file = FILES[request.url];
		const type = file ? 'text/javascript' : 'text/html; charset=utf-8';
		response.writeHead(200, { 'Content-Type': type }).end(file ? fs.readFileSync(file) : html());
	});
	return `http://127.0.0.1:${await listening(t, site)}/`;
}

/** The authorizer answers requests from the page's origin too. */
async function startOpenAuthorizer(t, sdk) {
	const inner = await startAuthorizer(t, sdk);
	const outer = http.createServer((request, response) => {
		const headers = { 'Access-Control-Allow-Origin': '*', 'Access-Control-Allow-Headers': '*' };
		if (request.method === 'OPTIONS') {
			response.writeHead(204, headers).end();
			return;
		}
		const forward = http.request(inner + request.url,
			{ method: request.method, headers: request.headers }, (answer) => {
				response.writeHead(answer.statusCode, { ...headers,
					'Content-Type': 'application/json' });
				answer.pipe(response);
			});
		request.pipe(forward);
	});
	return `http://127.0.0.1:${await listening(t, outer)}`;
}

const wire = { news: 'news', 'client.42': 'private-client.42', board: 'presence-board',
	secret: 'private-encrypted-secret' };

/** A site, a browser on it and the wires between, all on one daemon. */
async function scene(t, options = '') {
	const daemon = await startDaemon({ server: { drain_ms: 0 } }, t);
	const sdk = () => server(daemon);
	const wires = await new Wires(daemon).start(t);
	const { port } = wires;
	const authorizer = await startOpenAuthorizer(t, sdk());
	const url = await startSite(t, () => page(port, authorizer, options));
	const browser = await openBrowser(t);
	const tab = browser.pages()[0];
	await tab.goto(url);
	const seen = (name) => tab.evaluate((n) => window.seen[n], name);
	const ready = () => waitFor(() => tab.evaluate(() => window.subscribed?.()), 'all subscribed');
	const publish = async (name, n) => {
		const answer = await sdk().trigger(wire[name], 'Made', { n });
		assert.equal(answer.status, 200);
	};
	await ready();
	return { daemon, wires, browser, tab, url, seen, ready, publish };
}

const upTo = (n) => Array.from({ length: n }, (_, i) => i);

test('each event is received once and in order over a cut network and a restart', async (t) => {
	const { daemon, wires, browser, tab, seen, publish } = await scene(t);
	const sent = Object.fromEntries(CHANNELS.map((c) => [c, 0]));
	const next = async (i) => {
		const name = CHANNELS[i % CHANNELS.length];
		await publish(name, sent[name]);
		sent[name]++;
	};
	for (let i = 0; i < 30; i++) await next(i);
	await waitFor(async () => (await seen('board')).length === 10, 'live events');
	wires.cut();
	await browser.setOffline(true);
	const began = Date.now();
	for (let i = 0; i < EVENTS; i++) {
		if (i === EVENTS / 2) await daemon.restart();
		await next(i);
		// the pace of the publisher, so that the cut lasts as long as it should
		await pause(Math.max(0, began + ((i + 1) * CUT_MS) / EVENTS - Date.now()));
	}
	wires.mend();
	await browser.setOffline(false);
	for (const name of CHANNELS)
		await waitFor(async () => (await seen(name)).length >= sent[name], `all of ${name}`);
	await next(0);
	await waitFor(async () => (await seen('news')).length >= sent.news, 'live again');
	for (const name of CHANNELS) assert.deepEqual(await seen(name), upTo(sent[name]), name);
	assert.deepEqual(await tab.evaluate(() => window.resyncs), []);
	assert.ok((await tab.evaluate(() => window.replayed)).some((r) => r.count > 100));
	assert.deepEqual(browser.errors, []);
});

test('replayed events of encrypted channels are decrypted', async (t) => {
	const { wires, tab, seen, publish } = await scene(t);
	await publish('secret', 0);
	await waitFor(async () => (await seen('secret')).length === 1, 'live');
	wires.cut();
	for (const n of [1, 2, 3]) await publish('secret', n);
	wires.mend();
	await waitFor(async () => (await seen('secret')).length >= 4, 'replayed');
	assert.deepEqual(await seen('secret'), [0, 1, 2, 3]);
	assert.ok(await tab.evaluate(() => window.handle.position('private-encrypted-secret')));
});

test('a reload of the page loses no event when positions are stored', async (t) => {
	const { tab, url, seen, ready, publish } = await scene(t, 'storage: sessionStorage,');
	for (const n of [0, 1]) await publish('client.42', n);
	await waitFor(async () => (await seen('client.42')).length === 2, 'live');
	await tab.goto('about:blank');
	for (const n of [2, 3, 4]) await publish('client.42', n);
	await tab.goto(url);
	await ready();
	await waitFor(async () => (await seen('client.42')).length >= 3, 'what was missed');
	assert.deepEqual(await seen('client.42'), [2, 3, 4]);
});

test('a gap that cannot be filled is a resync', async (t) => {
	const { daemon, wires, tab, seen, ready, publish } = await scene(t);
	await publish('news', 0);
	await waitFor(async () => (await seen('news')).length === 1, 'live');
	wires.cut();
	await daemon.query("UPDATE scopewire.log_meta SET epoch = 'another'");
	await daemon.restart();
	wires.mend();
	await waitFor(() => tab.evaluate(() => window.resyncs.length > 0), 'resync');
	assert.equal(await tab.evaluate(() => window.resyncs[0].reason), 'epoch');
	await ready();
	await publish('news', 1);
	await waitFor(async () => (await seen('news')).length === 2, 'live again');
});
