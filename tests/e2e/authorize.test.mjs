// SPDX-License-Identifier: MIT
// Stock Echo and pusher-js in Chromium, authorized by the daemon alone: authEndpoint and
// userAuthentication point at it from a page of another origin, with a bearer token.
import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { APP, Sync, startDaemon, userToken, waitFor } from '../lib/harness.mjs';
import { openBrowser } from './browser.mjs';
import { MASTER_KEY, server } from './stock.mjs';

const module = (file) => fileURLToPath(new URL(`../node_modules/${file}`, import.meta.url));
const SCRIPTS = { '/pusher.js': module('pusher-js/dist/web/pusher-with-encryption.min.js'),
	'/echo.js': module('laravel-echo/dist/echo.iife.js') };

/** The page; its options (port, token) are in its query. */
const PAGE = `<!DOCTYPE html><meta charset="utf-8"><title>Portal</title><link rel="icon" href="data:,">
<meta name="csrf-token" content="not-for-the-daemon">
<script src="/pusher.js"></script><script src="/echo.js"></script><script>
const { port, token, key } = Object.fromEntries(new URLSearchParams(location.search));
const base = 'http://127.0.0.1:' + port;
window.seen = [];
window.note = (kind) => (value) => seen.push([kind, value ?? null]);
window.echo = new Echo.default({ broadcaster: 'reverb', key, wsHost: '127.0.0.1', wsPort: port,
	forceTLS: false, enabledTransports: ['ws'], authEndpoint: base + '/broadcasting/auth',
	userAuthentication: { endpoint: base + '/broadcasting/user-auth', headers: {} },
	bearerToken: token });
window.ask = (headers) => fetch(base + '/broadcasting/auth', { method: 'POST', headers,
	body: new URLSearchParams({ socket_id: '1.2', channel_name: 'private-client.42' }) })
	.then((r) => r.status, (e) => e.name);
</script>`;

async function startSite(t) {
	const site = http.createServer((request, response) => {
		const file = SCRIPTS[new URL(request.url, 'http://site').pathname];
		response.writeHead(200, { 'Content-Type': file ? 'text/javascript' : 'text/html' });
		response.end(file ? fs.readFileSync(file) : PAGE);
	}).listen(0, '127.0.0.1');
	t.after(() => new Promise((resolve) => {
		site.close(resolve);
		site.closeAllConnections();
	}));
	await new Promise((resolve) => site.once('listening', resolve));
	return site.address().port;
}

const noted = (page, kind) =>
	page.evaluate((k) => seen.filter(([x]) => x === k).map(([, v]) => v), kind);
const saw = async (page, kind) =>
	(await waitFor(async () => (await noted(page, kind)).map((v) => [v])[0], kind))[0];

test('Echo is authorized by the daemon', async (t) => {
	const port = await startSite(t);
	const daemon = await startDaemon({ app: { allowed_origins: `127.0.0.1:${port}`,
		encryption_master_key: MASTER_KEY, member_removed_delay_ms: 100 } }, t);
	await daemon.query('CREATE TABLE public.client_user (client_id bigint, user_id bigint)');
	await daemon.query('INSERT INTO public.client_user VALUES (42, 1), (42, 2)');
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument) VALUES
		('App.Models.User.{id}', 'owner', 'id'), ('admin', 'role', 'admin'), ('online', 'anyone', NULL),
		('client.{id}', 'sql',
		 'EXISTS (SELECT FROM client_user WHERE client_id = {id}::bigint AND user_id = {user})')`);
	await Sync.server(daemon).put('users/2', { name: 'Grace Hopper', avatar: '/grace.png' });
	const sdk = server(daemon);
	const open = async (t2, id, claims = {}, host = '127.0.0.1') => {
		const page = (await openBrowser(t2)).pages()[0];
		const query = new URLSearchParams({ port: daemon.port, key: APP.key,
			token: userToken(APP, id, claims) });
		await page.goto(`http://${host}:${port}/?${query}`);
		return page;
	};
	const ada = await open(t, 1, { name: 'Ada', roles: ['admin'] });
	const grace = await open(t, 2, { name: 'from her token' });

	await t.test('private channels are allowed by owner, role and predicate', async () => {
		for (const name of ['App.Models.User.1', 'admin', 'client.42']) {
			await ada.evaluate((n) => {
				echo.private(n).subscribed(note(`${n} subscribed`)).error(note(`${n} error`))
					.listen('.made', note(`${n} made`));
			}, name);
			await saw(ada, `${name} subscribed`);
			await sdk.trigger(`private-${name}`, 'made', { n: 1 });
			assert.deepEqual(await saw(ada, `${name} made`), { n: 1 });
			assert.deepEqual(await noted(ada, `${name} error`), []);
		}
	});

	await t.test('a denied channel calls error() with 403', async () => {
		for (const name of ['App.Models.User.1', 'admin', 'client.43', 'client.x', 'unknown']) {
			await grace.evaluate((n) => {
				echo.private(n).subscribed(note(`${n} subscribed`)).error(note(`${n} error`));
			}, name);
			assert.equal((await saw(grace, `${name} error`)).status, 403, name);
			assert.deepEqual(await noted(grace, `${name} subscribed`), []);
		}
	});

	await t.test('presence channels have here, joining and leaving, with names', async () => {
		await ada.evaluate(() => {
			echo.join('online').here(note('here')).joining(note('joining')).leaving(note('leaving'));
		});
		assert.deepEqual(await saw(ada, 'here'), [{ id: 1, name: 'Ada' }]);
		await grace.evaluate(() => { echo.join('online').here(note('here')); });
		const told = { id: 2, name: 'Grace Hopper', avatar: '/grace.png' };
		assert.deepEqual(await saw(ada, 'joining'), told);
		assert.deepEqual((await saw(grace, 'here')).sort((a, b) => a.id - b.id),
			[{ id: 1, name: 'Ada' }, told]);
		await grace.evaluate(() => echo.leave('online'));
		assert.deepEqual(await saw(ada, 'leaving'), told);
	});

	await t.test('the page decrypts what the SDK encrypts', async () => {
		await grace.evaluate(() => {
			echo.encryptedPrivate('client.42').subscribed(note('vault')).error(note('vault error'))
				.listen('.secret', note('secret'));
		});
		await saw(grace, 'vault');
		await sdk.trigger('private-encrypted-client.42', 'secret', { code: 12345 });
		assert.deepEqual(await saw(grace, 'secret'), { code: 12345 });
		assert.deepEqual(await noted(grace, 'vault error'), []);
	});

	await t.test('a signed-in user receives its events', async () => {
		await grace.evaluate(() => {
			const { pusher } = echo.connector;
			pusher.bind('pusher:signin_success', (data) => note('signin')(JSON.parse(data.user_data)));
			pusher.user.bind('hello', note('hello'));
			pusher.signin();
		});
		assert.deepEqual(await saw(grace, 'signin'), { id: '2',
			user_info: { id: 2, name: 'Grace Hopper', avatar: '/grace.png' } });
		await waitFor(() => grace.evaluate(() =>
			echo.connector.pusher.user.serverToUserChannel?.subscribed), 'her own channel');
		await sdk.sendToUser('2', 'hello', { n: 2 });
		assert.deepEqual(await saw(grace, 'hello'), { n: 2 });
	});

	await t.test('a rule that is deleted ends the subscriptions that it allowed', async () => {
		await daemon.query(`DELETE FROM channel_rules WHERE pattern = 'admin'`);
		assert.equal((await saw(ada, 'admin error')).status, 403);
		await sdk.trigger(['private-admin', 'private-App.Models.User.1'], 'made', { n: 2 });
		await waitFor(async () => (await noted(ada, 'App.Models.User.1 made')).length === 2, 'the event');
		assert.deepEqual(await noted(ada, 'admin made'), [{ n: 1 }]);
		assert.deepEqual(await noted(ada, 'App.Models.User.1 error'), []);
		// Echo leaves and subscribes again when the right is back.
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument) VALUES ('admin', 'role', 'admin')`);
		await waitFor(async () => {
			// One attempt after the other: to leave ends one whose answer has not come.
			const tries = (await noted(ada, 'admin refused')).length;
			await ada.evaluate(() => {
				echo.leave('admin');
				echo.private('admin').subscribed(note('admin again')).error(note('admin refused'));
			});
			await waitFor(async () => (await noted(ada, 'admin again')).length > 0
				|| (await noted(ada, 'admin refused')).length > tries, 'an answer');
			return (await noted(ada, 'admin again')).length > 0;
		}, 'the subscription');
	});

	await t.test('an ended membership counts at the next subscription', async () => {
		await daemon.query('DELETE FROM public.client_user WHERE user_id = 1');
		await ada.evaluate(() => {
			echo.leave('client.42');
			seen.length = 0;
			echo.private('client.42').subscribed(note('back')).error(note('not back'));
		});
		assert.equal((await saw(ada, 'not back')).status, 403);
		assert.deepEqual(await noted(ada, 'back'), []);
	});

	await t.test('a missing or expired token and a foreign origin are refused', async (t2) => {
		assert.equal(await ada.evaluate(() => ask({})), 401);
		assert.equal(await ada.evaluate((token) => ask({ Authorization: `Bearer ${token}` }),
			userToken(APP, 1, { exp: 1 })), 401);
		const authorization = { Authorization: `Bearer ${userToken(APP, 2)}` };
		assert.equal(await ada.evaluate((headers) => ask(headers), authorization), 200);
		const stranger = await open(t2, 2, {}, 'localhost');
		assert.equal(await stranger.evaluate((headers) => ask(headers), authorization), 'TypeError');
	});

	for (const page of [ada, grace]) assert.deepEqual(page.context().errors, []);
});
