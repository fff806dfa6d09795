// SPDX-License-Identifier: MIT
// What the daemon refuses is in its log: who, what, why, and the option that would change it.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, Raw, Sync, request, startDaemon, waitFor } from '../lib/harness.mjs';

const ORIGINS = { ...APP, id: 'strict', key: 'strict-key', secret: 'strict-secret',
	allowed_origins: 'https://portal.example.com' };
const SLOW = { ...APP, id: 'slow', key: 'slow-key', secret: 'slow-secret',
	max_read_requests_per_second: '1', rate_limiting: 'yes', rate_limiting_max_attempts: '2',
	rate_limiting_decay_seconds: '60', max_channel_name_bytes: '20' };
const LIMITED = { ...APP, id: 'limited', key: 'limited-key', secret: 'limited-secret', max_connections: '3',
	max_client_events_per_second: '1', max_presence_members: '1', max_user_requests_per_second: '2' };
const DAILY = { ...APP, id: 'daily', key: 'daily-key', secret: 'daily-secret', max_user_bytes_per_day: '3000' };

let daemon;

before(async () => { daemon = await startDaemon({ apps: [APP, ORIGINS, SLOW, LIMITED, DAILY] }); });
after(() => daemon?.stop());

const inLog = (pattern) => waitFor(() => pattern.test(daemon.logText), String(pattern));

test('a request with a wrong signature is in the log, with its path and reason', async () => {
	const liar = daemon.api({ ...APP, secret: 'wrong' });
	assert.equal((await liar.trigger('orders', 'made', {})).status, 401);
	await inLog(/request refused: POST \/apps\/client-portal\/events: 401, .*signature/i);
	assert.doesNotMatch(daemon.logText, /auth_signature|auth_key/);
});

test('a request to an unknown path or with a wrong method is in the log', async () => {
	await request(`${daemon.url}/nothing/here`);
	await inLog(/request refused: GET \/nothing\/here: 404, /);
	await request(`${daemon.url}/apps/client-portal/events`, { method: 'DELETE' });
	await inLog(/request refused: DELETE \/apps\/client-portal\/events: 405, This path accepts POST only/);
});

test('a request that is broken before its handler runs is in the log', async () => {
	const raw = await Raw.connect(daemon.port);
	raw.write('POST /apps/client-portal/events HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n');
	await inLog(/request refused: POST \/apps\/client-portal\/events: 413, /);
	raw.destroy();
});

test('a request over a rate limit is in the log', async () => {
	const api = daemon.api(SLOW);
	await waitFor(async () => (await api.get('/channels')).status === 429, 'the limit');
	await inLog(/request refused: GET \/apps\/slow\/channels: 429, Too many requests/);
});

test('a refused connection is in the log, with code, origin and part of the key', async () => {
	assert.equal((await daemon.wire({ key: 'unknown-key' }).closed).code, 4001);
	await inLog(/connection refused: 4001, Application does not exist; client 127\.0\.0\.1, application key unknow\.\.\., origin none/);
	assert.equal((await daemon.wire({ key: ORIGINS.key,
		headers: { Origin: 'https://evil.example' } }).closed).code, 4009);
	await inLog(/connection refused: 4009, Origin not allowed.*strict\.\.\., origin https:\/\/evil\.example/);
});

test('a refused subscription is in the log, with channel, user and reason', async () => {
	const client = await daemon.connect();
	client.send({ event: 'pusher:subscribe', data: { channel: 'private-a', auth: `${APP.key}:00` } });
	await client.next({ event: 'pusher:subscription_error' });
	await inLog(/subscription to private-a refused: the signature is not valid; socket \d+\.\d+, application client-portal/);
	await client.close();
	const limited = await daemon.connect({ key: SLOW.key });
	limited.send({ event: 'pusher:subscribe', data: { channel: 'c'.repeat(30) } });
	await limited.next({ event: 'pusher:subscription_error' });
	await inLog(/subscription to c{30} refused: The channel name is too long/);
	await limited.close();
});

test('a message over the rate is in the log', async () => {
	const client = await daemon.connect({ key: SLOW.key });
	for (let n = 0; n < 4; n++) client.send({ event: 'pusher:ping', data: {} });
	await client.next({ event: 'pusher:error' });
	await inLog(/message refused: Rate limit exceeded.*application slow/);
	await client.close();
});

test('a refused sign-in is in the log', async () => {
	const client = await daemon.connect();
	client.send({ event: 'pusher:signin', data: { auth: `${APP.key}:00`, user_data: '{"id":"7"}' } });
	await client.next({ event: 'pusher:error' });
	await inLog(/sign-in refused: .+; socket \d+\.\d+, application client-portal/);
	await client.close();
});

test('what exceeds a limit is in the log with the option', async () => {
	const [one, two] = [await daemon.connect({ app: LIMITED }), await daemon.connect({ app: LIMITED })];
	await one.subscribe('presence-x', { channelData: { user_id: '1' } });
	two.sendSubscribe('presence-x', { channelData: { user_id: '2' } });
	await two.next({ event: 'pusher:subscription_error' });
	await inLog(/subscription to presence-x refused: .*option max_presence_members.*application limited/);
	for (let n = 0; n < 3; n++) one.send({ event: 'client-a', channel: 'presence-x', data: {} });
	await one.next({ event: 'pusher:error' });
	await inLog(/message refused: .*option max_client_events_per_second.*application limited/);
	await daemon.connect({ app: LIMITED });
	assert.equal((await daemon.wire({ app: LIMITED }).closed).code, 4004);
	await inLog(/connection refused: 4004, .*max_connections/);
	const ada = Sync.user(daemon, 7, {}, LIMITED);
	await waitFor(async () => (await ada.get('notifications')).status === 429, 'the user is refused');
	await inLog(/request refused: GET \/api\/sync\/notifications: 429, .*max_user_requests_per_second \(2\)/);
	const bob = Sync.user(daemon, 8, {}, DAILY);
	await waitFor(async () => /max_user_bytes_per_day/.test((await bob.post('heartbeat',
		{ info: { text: 'x'.repeat(900) } })).text), 'the user is refused for the day');
	await inLog(/request refused: POST \/api\/sync\/heartbeat: 429, .*max_user_bytes_per_day \(3000\)/);
});

test('many refusals of one kind are ten lines and a count, and do not hide other kinds', async () => {
	const liar = daemon.api({ ...APP, secret: 'wrong' });
	for (let n = 0; n < 60; n++) await liar.trigger('orders', 'made', {});
	await waitFor(() => /and \d+ more requests refused with 401/.test(daemon.logText), 'the count');
	const lines = daemon.logText.match(/request refused: POST \/apps\/client-portal\/events: 401/g);
	assert.ok(lines.length <= 31, `${lines.length} lines`);
	await request(`${daemon.url}/still/seen`);
	await inLog(/request refused: GET \/still\/seen: 404/);
});

test('with debug each connection, subscription and request is in the log, with its time', async (t) => {
	const daemon = await startDaemon({ log: { level: 'info' } }, t);
	const all = async () => {
		const wire = await daemon.connect();
		await wire.subscribe('presence-room', { channelData: { user_id: '7', user_info: {} } });
		await daemon.api().trigger('presence-room', 'made', { secret: 'of the data' });
		await wire.next({ event: 'made' });
		await wire.close();
		return wire.socketId;
	};
	await all();
	daemon.options.log.level = 'debug';
	daemon.writeConfig();
	process.kill(daemon.pid, 'SIGHUP');
	await waitFor(() => /configuration reloaded/.test(daemon.logText), 'the reload');
	const id = await all();
	for (const step of ['connected: ', 'subscribed presence-room', 'closed 1']) await waitFor(() =>
		daemon.logText.includes(`debug: socket ${id}, application ${daemon.app.id}: ${step}`), step);
	const request = new RegExp(`debug: request: POST /apps/${daemon.app.id}/events: 200 in [0-9.]+ ms, from 127\\.0\\.0\\.1\\n`, 'g');
	await waitFor(() => request.test(daemon.logText), 'the request');
	assert.equal(daemon.logText.match(/debug: socket \S+ application \S+: subscribed/g).length, 1);
	assert.doesNotMatch(daemon.logText, /of the data|auth_signature/);
});

test('no line of the log holds a secret', () => {
	for (const app of [APP, ORIGINS, SLOW, LIMITED, DAILY]) assert.ok(!daemon.logText.includes(app.secret));
});
