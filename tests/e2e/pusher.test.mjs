// SPDX-License-Identifier: MIT
// Stock pusher-js and the official Node SDK against the daemon.
import test from 'node:test';
import assert from 'node:assert/strict';
import { APP, request, startDaemon, waitFor } from '../lib/harness.mjs';
import { client, connected, gather, once, server, startAuthorizer, subscribed } from './stock.mjs';

test('pusher-js and the Node SDK', async (t) => {
	const daemon = await startDaemon({ app: { member_removed_delay_ms: 300 } }, t);
	const sdk = server(daemon);
	const authorizer = await startAuthorizer(t, sdk);
	const join = (t2, user, more) => connected(client(t2, daemon, authorizer, user, more));
	const ada = { id: 'ada', user_info: { name: 'Ada' } };
	const grace = { id: 'grace', user_info: { name: 'Grace' } };

	/** Resolves once everything published on the channel before has arrived there. */
	async function flush(channel) {
		const mark = Math.random();
		const arrived = once(channel, 'flush', (data) => data.mark === mark);
		await sdk.trigger(channel.name, 'flush', { mark });
		await arrived;
	}

	await t.test('data of any kind is received unchanged on public channels', async (t2) => {
		const channel = await subscribed(await join(t2), 'news');
		const samples = [{ a: [1, { b: null }] }, [], {}, 'plain text', '', 17, null, true,
			'Grüße 世界 🎉 \u2028 \\ "quoted" </script>'];
		for (const sample of samples) {
			const arrived = once(channel, 'sample');
			assert.equal((await sdk.trigger('news', 'sample', sample)).status, 200);
			assert.deepEqual(await arrived, sample);
		}
	});

	await t.test('the generic get and post can use the sync API', async () => {
		const json = async (answer) => (await answer).json();
		const beat = await json(sdk.post({ path: '/sync/heartbeat', body: { user_id: 7 } }));
		assert.equal(beat.status, 'online');
		const online = await json(sdk.get({ path: '/sync/online-users', params: { limit: 10 } }));
		assert.deepEqual(online.users.map((user) => user.user_id), [7]);
		const added = await json(sdk.post({ path: '/sync/activities', body: { type: 'paid' } }));
		assert.ok(added.activity.id);
		await assert.rejects(sdk.get({ path: '/sync/online-users', params: { nonsense: 1 } }),
			(error) => error.status === 400 && /unknown_field/.test(error.body));
	});

	await t.test('one trigger can have several channels and leave one connection out', async (t2) => {
		const [a, b] = [await join(t2), await join(t2)];
		const [a1, a2, b1] = [await subscribed(a, 'one'), await subscribed(a, 'two'),
			await subscribed(b, 'one')];
		const onA = gather(a1, 'made');
		const [onB, onTwo] = [once(b1, 'made'), gather(a2, 'made')];
		await sdk.trigger(['one', 'two'], 'made', { n: 1 }, { socket_id: a.connection.socket_id });
		assert.deepEqual(await onB, { n: 1 });
		await Promise.all([flush(a1), flush(a2)]);
		assert.deepEqual([onA, onTwo], [[], []]);
	});

	await t.test('private channels work, and a refusal of the application is reported', async (t2) => {
		const pusher = await join(t2, ada);
		const channel = await subscribed(pusher, 'private-orders');
		const arrived = once(channel, 'App\\Events\\Made');
		await sdk.trigger('private-orders', 'App\\Events\\Made', { n: 1 });
		assert.deepEqual(await arrived, { n: 1 });
		const error = await once(pusher.subscribe('private-forbidden'), 'pusher:subscription_error');
		assert.equal(error.status, 403);
	});

	await t.test('a signature with another secret is reported to the channel', async (t2) => {
		const liar = await startAuthorizer(t2, server(daemon, { secret: 'another' }));
		const pusher = await connected(client(t2, daemon, liar, ada));
		const error = await once(pusher.subscribe('private-orders'), 'pusher:subscription_error');
		assert.equal(error.type, 'AuthError');
		assert.equal(error.status, 401);
		await subscribed(pusher, 'still-works');
	});

	await t.test('presence channels have me, members, joining and leaving', async (t2) => {
		const first = await subscribed(await join(t2, ada), 'presence-room');
		assert.equal(first.members.count, 1);
		assert.deepEqual(first.members.me, { id: 'ada', info: { name: 'Ada' } });
		const added = once(first, 'pusher:member_added');
		const pusher = await join(t2, grace);
		const second = await subscribed(pusher, 'presence-room');
		assert.deepEqual(await added, { id: 'grace', info: { name: 'Grace' } });
		assert.deepEqual(Object.keys(second.members.members).sort(), ['ada', 'grace']);
		const removed = once(first, 'pusher:member_removed');
		pusher.disconnect();
		assert.equal((await removed).id, 'grace');
		assert.equal(first.members.count, 1);
	});

	await t.test('encrypted channels are decrypted', async (t2) => {
		const channel = await subscribed(await join(t2, ada), 'private-encrypted-vault');
		const arrived = once(channel, 'secret');
		await sdk.trigger('private-encrypted-vault', 'secret', { code: 12345 });
		assert.deepEqual(await arrived, { code: 12345 });
		const [row] = await daemon.query(
			`SELECT payload FROM realtime_events WHERE channel = 'private-encrypted-vault'`);
		assert.deepEqual(Object.keys(row.payload).sort(), ['ciphertext', 'nonce']);
	});

	await t.test('cache channels report a miss, then the last event', async (t2) => {
		for (const name of ['cache-rates', 'private-cache-rates', 'presence-cache-rates',
			'private-encrypted-cache-rates']) {
			const early = (await join(t2, ada)).subscribe(name);
			await once(early, 'pusher:cache_miss');
			const arrived = once(early, 'rate', (data) => data.n === 2);
			await sdk.trigger(name, 'rate', { n: 1 });
			await sdk.trigger(name, 'rate', { n: 2 });
			await arrived;
			const late = (await join(t2, grace)).subscribe(name);
			assert.deepEqual(await once(late, 'rate'), { n: 2 }, name);
		}
	});

	await t.test('client events reach the others, with user_id on presence channels', async (t2) => {
		const [a, b] = [await join(t2, ada), await join(t2, grace)];
		const [from, to] = [await subscribed(a, 'presence-chat'), await subscribed(b, 'presence-chat')];
		const own = gather(from, 'client-typing');
		const arrived = new Promise((resolve) => {
			to.bind('client-typing', (data, more) => resolve({ data, more }));
		});
		assert.equal(from.trigger('client-typing', { at: {} }), true);
		assert.deepEqual(await arrived, { data: { at: {} }, more: { user_id: 'ada' } });
		await flush(from);
		assert.deepEqual(own, []);
		const rows = await daemon.query(
			`SELECT 1 FROM realtime_events WHERE event_type = 'client-typing'`);
		assert.deepEqual(rows, []);
	});

	await t.test('a signed-in user receives sendToUser', async (t2) => {
		const [a, b] = [await join(t2, ada), await join(t2, grace)];
		for (const pusher of [a, b]) {
			pusher.signin();
			await waitFor(() => pusher.user.user_data, 'the signin');
		}
		const other = gather(b.user, 'hello');
		const arrived = once(a.user, 'hello');
		await waitFor(() => a.user.serverToUserChannel?.subscribed, 'the user’s own channel');
		assert.equal((await sdk.sendToUser('ada', 'hello', { n: 1 })).status, 200);
		assert.deepEqual(await arrived, { n: 1 });
		const own = once(b.user, 'hello');
		await sdk.sendToUser('grace', 'hello', { n: 2 });
		await own;
		assert.deepEqual(other, [{ n: 2 }]);
	});

	await t.test('the watchlist reports online and offline', async (t2) => {
		const watcher = await join(t2, { ...ada, watchlist: ['watched-1', 'watched-2'] });
		const log = [];
		watcher.user.watchlist.bind('online', ({ user_ids }) => log.push(['online', ...user_ids]));
		watcher.user.watchlist.bind('offline', ({ user_ids }) => log.push(['offline', ...user_ids]));
		watcher.signin();
		await waitFor(() => watcher.user.user_data);
		const seen = (kind, id) => log.some(([k, ...ids]) => k === kind && ids.includes(id));
		await waitFor(() => seen('offline', 'watched-1') && seen('offline', 'watched-2'),
			'who is offline at first');
		const watched = await join(t2, { id: 'watched-1' });
		watched.signin();
		await waitFor(() => seen('online', 'watched-1'), 'watched-1 online');
		log.length = 0;
		watched.disconnect();
		await waitFor(() => seen('offline', 'watched-1'), 'watched-1 offline');
	});

	await t.test('subscription_count is reported', async (t2) => {
		const channel = (await join(t2)).subscribe('counted');
		await once(channel, 'pusher:subscription_count', (d) => d.subscription_count === 1);
		const two = once(channel, 'pusher:subscription_count', (d) => d.subscription_count === 2);
		const pusher = await join(t2);
		await subscribed(pusher, 'counted');
		await two;
		const one = once(channel, 'pusher:subscription_count', (d) => d.subscription_count === 1);
		pusher.unsubscribe('counted');
		await one;
		assert.equal(channel.subscriptionCount, 1);
	});

	await t.test('a terminated user does not reconnect', async (t2) => {
		const pusher = await join(t2, { id: 'leaver' });
		pusher.signin();
		await waitFor(() => pusher.user.user_data);
		const gone = once(pusher.connection, 'disconnected');
		assert.equal((await sdk.terminateUserConnections('leaver')).status, 200);
		await gone;
		assert(pusher.errors.some((e) => e.error?.data?.code === 4009 || e.data?.code === 4009),
			JSON.stringify(pusher.errors));
	});

	await t.test('a batch keeps its order', async (t2) => {
		const channel = await subscribed(await join(t2), 'batched');
		const got = gather(channel, 'n');
		const answer = await sdk.triggerBatch(Array.from({ length: 10 }, (_, i) =>
			({ channel: 'batched', name: 'n', data: { i } })));
		assert.equal(answer.status, 200);
		await flush(channel);
		assert.deepEqual(got.map((d) => d.i), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
	});

	await t.test('channels, users and info can be queried', async (t2) => {
		const get = async (path, params = {}) => (await sdk.get({ path, params })).json();
		const pusher = await join(t2, ada);
		await subscribed(pusher, 'presence-asked');
		await subscribed(pusher, 'asked');
		// With several nodes, the one that gets a request can be behind the others.
		for (const url of daemon.urls)
			await waitFor(async () => (await daemon.api(APP, url).get('/channels/asked', { info: 'subscription_count' }))
				.json.subscription_count === 1 && (await daemon.api(APP, url).get('/channels/presence-asked/users')).json.users.length === 1,
			`${url} knows of both`);
		assert.deepEqual(await get('/channels', { filter_by_prefix: 'presence-asked', info: 'user_count' }),
			{ channels: { 'presence-asked': { user_count: 1 } } });
		assert.deepEqual((await get('/channels')).channels.asked, {});
		assert.deepEqual(await get('/channels', { filter_by_prefix: 'nobody' }), { channels: {} });
		assert.deepEqual(await get('/channels/asked', { info: 'subscription_count' }),
			{ occupied: true, subscription_count: 1 });
		assert.equal((await get('/channels/empty')).occupied, false);
		assert.deepEqual(await get('/channels/presence-asked/users'), { users: [{ id: 'ada' }] });
		const answer = await sdk.trigger(['asked', 'presence-asked'], 'x', {},
			{ info: 'subscription_count' });
		assert.equal((await answer.json()).channels.asked.subscription_count, 1);
	});

	await t.test('a wrong secret is 401, an unknown app 404', async () => {
		const status = (promise) => promise.then((r) => r.status, (e) => e.status);
		assert.equal(await status(server(daemon, { secret: 'wrong' }).trigger('a', 'b', {})), 401);
		assert.equal(await status(server(daemon, { appId: 'nobody' }).trigger('a', 'b', {})), 404);
	});

	await t.test('an unknown key is refused without retries', async (t2) => {
		const { default: PusherJs } = await import('pusher-js');
		const pusher = new PusherJs('no-such-key', { cluster: '', wsHost: '127.0.0.1',
			wsPort: daemon.port, forceTLS: false, enabledTransports: ['ws'] });
		t2.after(() => pusher.disconnect());
		const errors = gather(pusher.connection, 'error');
		await once(pusher.connection, 'disconnected');
		assert(errors.some((e) => JSON.stringify(e).includes('4001')), JSON.stringify(errors));
	});
});

test('a second connection of a user and a quick return are not visible to others', async (t) => {
	// Long enough for a return on a busy machine.
	const GRACE_MS = 8000;
	const daemon = await startDaemon({ app: { member_removed_delay_ms: GRACE_MS } }, t);
	const sdk = server(daemon);
	const authorizer = await startAuthorizer(t, sdk);
	const join = (id) => connected(client(t, daemon, authorizer, { id, user_info: {} }));
	const watcher = await subscribed(await join('ada'), 'presence-silent');
	const [added, removed] = [gather(watcher, 'pusher:member_added'), gather(watcher, 'pusher:member_removed')];
	const [one, two, three] = [await join('grace'), await join('grace'), await join('grace')];
	await subscribed(one, 'presence-silent');
	await waitFor(() => added.length === 1);
	await subscribed(two, 'presence-silent');
	one.disconnect();
	two.disconnect();
	await subscribed(three, 'presence-silent');
	const end = Date.now() + GRACE_MS + 500;
	await waitFor(() => Date.now() > end, 'the end of the grace period');
	const last = once(watcher, 'last');
	await sdk.trigger('presence-silent', 'last', {});
	await last;
	assert.equal(added.length, 1);
	assert.deepEqual(removed, []);
});

// A client whose connection is refused retries after 15 s: pusher-js does.
const RETRY_MS = 40000;

test('after a restart with 4200 clients resubscribe to everything', async (t) => {
	const daemon = await startDaemon({}, t);
	const sdk = server(daemon);
	const authorizer = await startAuthorizer(t, sdk);
	const pushers = await Promise.all(Array.from({ length: 20 }, (_, i) =>
		connected(client(t, daemon, authorizer, { id: `u${i}`, user_info: {} }))));
	const channels = await Promise.all(pushers.map((p) => subscribed(p, 'presence-all')));
	const plain = await daemon.connect();
	const sockets = pushers.map((p) => p.connection.socket_id);
	await daemon.restart();
	assert.equal((await plain.closed).code, 4200);
	await waitFor(() => pushers.every((p, i) => p.connection.state === 'connected' &&
		p.connection.socket_id !== sockets[i]), 'all reconnected', RETRY_MS).catch((error) => {
		error.message += pushers.map((p) => `\n${p.states.join()} ${JSON.stringify(p.errors)}`).join('');
		error.message += daemon.logText;
		throw error;
	});
	await waitFor(() => channels.every((c) => c.subscribed && c.members.count === 20),
		'all on the channel', RETRY_MS);
	const arrived = Promise.all(channels.map((c) => once(c, 'back')));
	await sdk.trigger('presence-all', 'back', { n: 1 });
	assert.deepEqual(await arrived, channels.map(() => ({ n: 1 })));
});

test('the daemon listens on IPv6 and on all addresses', async (t) => {
	const daemon = await startDaemon({ server: { host: '*' } }, t);
	for (const host of ['[::1]', '127.0.0.1']) {
		const wire = await daemon.connect({ base: `ws://${host}:${daemon.port}` });
		await wire.subscribe('six');
		const api = daemon.api(APP, `http://${host}:${daemon.port}`);
		assert.equal((await api.trigger('six', 'made', { host })).status, 200);
		await wire.next({ event: 'made', data: { host } });
		await wire.close();
	}
	assert.deepEqual((await request(`http://[::1]:${daemon.port}/up`)).json, { health: 'OK' });
});
