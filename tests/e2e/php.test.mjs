// SPDX-License-Identifier: MIT
// pusher-php-server, called directly.
import test from 'node:test';
import assert from 'node:assert/strict';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { APP, start, startDaemon, waitFor } from '../lib/harness.mjs';
import { installLaravel } from './portal.mjs';

const SCRIPT = fileURLToPath(new URL('laravel/direct.php', import.meta.url));

/** The answers to the calls.  This process goes on meanwhile: its clients answer pings. */
async function php(daemon, calls, app = APP) {
	const child = start('php', [SCRIPT, path.join(installLaravel(), 'vendor'), '127.0.0.1',
		String(daemon.port), app.key, app.secret, app.id], { stdio: ['pipe', 'pipe', 'pipe'] });
	let out = '';
	child.stdout.on('data', (part) => { out += part; });
	child.stdin.end(JSON.stringify(calls));
	const { code } = await child.ended;
	assert.equal(code, 0, child.log);
	return JSON.parse(out);
}

test('pusher-php-server', async (t) => {
	const daemon = await startDaemon({}, t);
	const client = await daemon.connect();
	t.after(() => client.terminate());
	await client.subscribe('orders');
	await client.subscribe('presence-room', { channelData: { user_id: '7', user_info: { name: 'Ada' } } });
	// With several nodes, the one that gets a request can be behind the others.
	for (const url of daemon.urls)
		await waitFor(async () => (await daemon.api(APP, url).get('/channels/orders', { info: 'subscription_count' })).json.subscription_count === 1
			&& (await daemon.api(APP, url).get('/channels/presence-room/users')).json.users.length === 1, `${url} knows of both channels`);

	await t.test('trigger works, with info and on many channels', async () => {
		const [one, many, info] = await php(daemon, [
			['trigger', 'orders', 'made', { n: 1, name: 'Grüße' }],
			['trigger', ['orders', 'presence-room'], 'made', { n: 2 }],
			['trigger', ['orders', 'presence-room'], 'made', { n: 3 },
				{ info: 'subscription_count' }]]);
		assert.deepEqual(one.result, {});
		assert.deepEqual(many.result, {});
		assert.equal(info.result.channels.orders.subscription_count, 1);
		const got = await client.next({ event: 'made', channel: 'orders' });
		assert.deepEqual(JSON.parse(got.data), { n: 1, name: 'Grüße' });
		await client.next({ event: 'made', channel: 'presence-room', data: { n: 3 } });
	});

	await t.test('triggerBatch', async () => {
		const [answer] = await php(daemon, [['triggerBatch', [
			{ channel: 'orders', name: 'batched', data: { n: 1 } },
			{ channel: 'orders', name: 'batched', data: { n: 2 } }]]]);
		assert(answer.result, JSON.stringify(answer));
		await client.next({ event: 'batched', data: { n: 1 } });
		await client.next({ event: 'batched', data: { n: 2 } });
	});

	await t.test('the generic get and post can use the sync API', async () => {
		const [beat, online, added, refused] = await php(daemon, [
			['post', '/sync/heartbeat', JSON.stringify({ user_id: 7, location: '/invoices' })],
			['get', '/sync/online-users', { location: '/invoices' }],
			['post', '/sync/activities', JSON.stringify({ type: 'paid', user_id: 7 })],
			['get', '/sync/online-users', { nonsense: 1 }]]);
		assert.equal(beat.result?.status, 'online', JSON.stringify(beat));
		assert.equal(online.result.users[0].user_id, 7);
		assert.ok(added.result?.activity.id, JSON.stringify(added));
		assert.equal(JSON.parse(refused.error).error.code, 'unknown_field');
	});

	await t.test('socket_id leaves one connection out', async () => {
		await php(daemon, [['trigger', 'orders', 'not-to-me', {}, { socket_id: client.socketId }],
			['trigger', 'orders', 'to-all', {}]]);
		await client.next({ event: 'to-all' });
		assert.deepEqual(client.all({ event: 'not-to-me' }), []);
	});

	await t.test('channels and members can be queried', async () => {
		const [all, one, users, none] = await php(daemon, [
			['getChannels', { filter_by_prefix: 'presence-', info: 'user_count' }],
			['getChannelInfo', 'orders', { info: 'subscription_count' }],
			['getPresenceUsers', 'presence-room'],
			['getChannels', { filter_by_prefix: 'nothing-' }]]);
		assert.deepEqual(all.result, { channels: { 'presence-room': { user_count: 1 } } });
		assert.deepEqual(one.result, { occupied: true, subscription_count: 1 });
		assert.deepEqual(users.result, { users: [{ id: '7' }] });
		assert(none.result, JSON.stringify(none));
	});

	await t.test('terminateUserConnections closes with 4009', async () => {
		const other = await daemon.connect();
		other.sendSignin({ id: '12345' });
		await other.next({ event: 'pusher:signin_success' });
		const [answer] = await php(daemon, [['terminateUserConnections', '12345']]);
		assert.deepEqual(answer.result, {});
		assert.equal((await other.closed).code, 4009);
	});

	await t.test('a refusal is an exception with the reason', async () => {
		const [large, info] = await php(daemon, [
			['trigger', 'orders', 'large', 'x'.repeat(10241)],
			['getPresenceUsers', 'orders']]);
		assert.equal(large.class, 'Pusher\\ApiErrorException');
		assert.equal(large.code, 413);
		assert.notEqual(large.error, '');
		assert.equal(info.code, 400);
		const [secret] = await php(daemon, [['trigger', 'orders', 'x', {}]], { ...APP, secret: 'wrong' });
		assert.equal(secret.code, 401);
		const [unknown] = await php(daemon, [['trigger', 'orders', 'x', {}]], { ...APP, id: 'nobody' });
		assert.equal(unknown.class, 'Pusher\\ApiErrorException');
	});
});

test('pusher-php-server verifies and reads webhooks', async (t) => {
	const requests = [];
	const server = http.createServer(async (request, response) => {
		let body = '';
		request.setEncoding('utf8');
		for await (const chunk of request) body += chunk;
		requests.push({ body, headers: { 'X-Pusher-Key': request.headers['x-pusher-key'],
			'X-Pusher-Signature': request.headers['x-pusher-signature'] } });
		response.end();
	});
	await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
	t.after(() => { server.closeAllConnections(); server.close(); });
	const daemon = await startDaemon({ app: { webhooks: JSON.stringify([{ event_types:
		['channel_occupied', 'member_added', 'client_event'],
	url: `http://127.0.0.1:${server.address().port}/` }]) } }, t);
	const client = await daemon.connect();
	t.after(() => client.terminate());
	await client.subscribe('presence-room', { channelData: { user_id: '7' } });
	client.send({ event: 'client-typing', channel: 'presence-room', data: { who: 'Grüße' } });
	await waitFor(() => requests.length === 3);
	// With several nodes a client event can come before what the database decides.
	const place = ({ body }) => ['channel_occupied', 'member_added', 'client_event'].indexOf(JSON.parse(body).events[0].name);
	requests.sort((a, b) => place(a) - place(b));

	const answers = await php(daemon, requests.map(({ headers, body }) => ['webhook', headers, body]));
	assert.deepEqual(answers.map((a) => a.result?.events), [
		[{ name: 'channel_occupied', channel: 'presence-room' }],
		[{ name: 'member_added', channel: 'presence-room', user_id: '7' }],
		[{ name: 'client_event', channel: 'presence-room', event: 'client-typing',
			data: '{"who":"Grüße"}', socket_id: client.socketId, user_id: '7' }]]);
	const [changed] = await php(daemon, [['webhook', requests[0].headers, requests[0].body.replace('room', 'hall')]]);
	assert.match(changed.error, /signature/i);
});
