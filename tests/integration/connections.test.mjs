// SPDX-License-Identifier: MIT
// The connections of a node and their last steps: /admin/api/connections and scopewirectl.
import test from 'node:test';
import assert from 'node:assert/strict';
import { APP, Sync, authorize, request, waitFor } from '../lib/harness.mjs';
import { TOKEN, TOKENS, bearer, withAdmin } from '../lib/ctl.mjs';

const PATH = '/admin/api/connections';
const steps = (shown) => shown.steps.map((s) => s.step);

/** Requests one connection until it is as wanted. */
const until = (get, wire, wanted, what) => waitFor(async () => {
	const { status, json } = await get(`${PATH}/${wire.socketId}`);
	return status === 200 && wanted(json) && json;
}, what);

test('a connection is shown with its channels and steps, also after it has closed', async (t) => {
	const { get, daemon } = await withAdmin(t);
	const before = Date.now();
	const wire = await daemon.connect();
	await wire.subscribe('news');
	await wire.subscribe('presence-room', { channelData: { user_id: '7', user_info: {} } });
	wire.sendSubscribe('private-orders', { auth: `${APP.key}:wrong` });
	wire.send({ event: 'nonsense', data: {} });
	await wire.ping();
	for (let i = 0; i < 5; i++) wire.send({ event: 'client-typing', channel: 'presence-room', data: {} });
	wire.unsubscribe('news');
	await wire.ping();

	const shown = await until(get, wire, (json) => json.outbox_bytes === 0, 'the connection');
	assert.equal(shown.app, APP.id);
	assert.equal(shown.user_id, '7');
	assert.equal(shown.address, '127.0.0.1');
	assert.ok(Date.parse(shown.connected_at) >= before - 1 && Date.parse(shown.connected_at) <= Date.now() + 1);
	assert.match(shown.connected_at, /\.\d{3}Z$/);
	assert.equal(shown.closed_at, null);
	assert.equal(shown.close_code, null);
	assert.deepEqual([shown.subscriptions, shown.channels, shown.outbox_bytes], [1, ['presence-room'], 0]);
	assert.deepEqual(steps(shown), ['connected', 'subscribed', 'subscribed', 'subscribe_refused',
		'message_refused', 'client_event', 'unsubscribed']);
	const [, , , refused, , typed] = shown.steps;
	assert.deepEqual([refused.channel, refused.detail, refused.code], ['private-orders', 'the signature is not valid', 401]);
	assert.deepEqual([typed.channel, typed.times], ['presence-room', 5]);

	await wire.close(1000);
	const closed = await until(get, wire, (json) => json.closed_at, 'its end');
	assert.equal(closed.close_code, 1000);
	assert.deepEqual(closed.channels, ['presence-room']);
	assert.deepEqual(closed.steps.at(-1), { ...closed.steps.at(-1), step: 'closed', code: 1000, detail: 'by the client' });
});

test('a replay, a sign-in, an authorization of the daemon and the reason of a close are steps', async (t) => {
	const { get, daemon } = await withAdmin(t);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule) VALUES ('orders.{id}', 'anyone')`);
	const user = Sync.user(daemon, 7);
	const wire = await daemon.connect();
	const { position } = await wire.subscribe('news');
	await wire.subscribe('private-orders.1', await authorize(wire, user, 'private-orders.1'));
	const refused = await user.post('/broadcasting/auth', { socket_id: wire.socketId, channel_name: 'private-other' });
	assert.equal(refused.status, 403);
	const unknown = await daemon.connect();
	await user.post('/broadcasting/auth', { socket_id: unknown.socketId, channel_name: 'private-other' });
	const named = await until(get, unknown, (json) => json.user_id, 'the user who was refused');
	assert.deepEqual([named.user_id, named.channels], ['7', []]);
	wire.sendSignin({ id: '7' });
	await wire.next({ event: 'pusher:signin_success' });
	await wire.subscribe('other', { since: position });
	const shown = await until(get, wire, (json) => steps(json).includes('replayed'), 'the replay');
	for (const step of ['authorized', 'authorize_refused', 'signed_in']) assert.ok(steps(shown).includes(step), step);
	assert.match(shown.steps.find((s) => s.step === 'replayed').detail, /^\d+ events$/);
	wire.sendSignin('no JSON');
	await wire.closed;
	const closed = await until(get, wire, (json) => json.closed_at, 'its end');
	assert.deepEqual(steps(closed).slice(-3), ['signin_refused', 'closing', 'closed']);
	assert.equal(closed.steps.at(-1).detail, 'by the daemon');
});

test('the list is the newest first, has filters, and pages that stay the same', async (t) => {
	const { get, daemon, ctl } = await withAdmin(t);
	const wires = [];
	for (let i = 0; i < 12; i++) {
		const wire = await daemon.connect();
		await wire.subscribe('presence-room', { channelData: { user_id: String(i), user_info: {} } });
		wires.push(wire);
	}
	await wires[0].subscribe('news.one');
	const ids = (json) => json.connections.map((c) => c.socket_id);
	const list = async (query) => (await get(`${PATH}?${query}`)).json;
	assert.deepEqual(ids(await list('')), wires.map((w) => w.socketId).reverse());
	const first = await list('limit=5');
	await daemon.connect();
	const second = await list(`limit=5&cursor=${first.cursor}`);
	const third = await list(`limit=5&cursor=${second.cursor}`);
	assert.deepEqual([first, second, third].flatMap(ids), wires.map((w) => w.socketId).reverse());
	assert.equal(third.cursor, null);
	assert.deepEqual(ids(await list('user=3')), [wires[3].socketId]);
	assert.deepEqual(ids(await list('channel=news.one')), [wires[0].socketId]);
	assert.deepEqual(ids(await list('channel=news.*')), [wires[0].socketId]);
	assert.deepEqual(ids(await list('channel=presence-room&user=4')), [wires[4].socketId]);
	assert.equal((await list('address=127.0.0.1')).connections.length, 13);
	assert.equal((await list('address=10.0.0.1')).connections.length, 0);
	assert.equal((await list(`app=${APP.id}`)).connections.length, 13);
	await wires[3].close();
	await waitFor(async () => (await list('state=closed')).connections.length === 1, 'the closed one');
	assert.equal((await list('state=open')).connections.length, 12);
	for (const bad of ['state=dead', 'limit=0', 'limit=501', 'address=nowhere', 'cursor=x', 'colour=red'])
		assert.equal((await get(`${PATH}?${bad}`)).status, 400, bad);

	const shown = await ctl(['connections', '--user', '4', '--json'], { scope: 'read' });
	assert.deepEqual(ids(shown.json), [wires[4].socketId]);
	assert.match((await ctl(['connection', wires[4].socketId])).out, /subscribed +presence-room/);
	assert.equal((await ctl(['connection', '1.2'])).code, 65);
	assert.equal((await ctl(['connection', 'ada'])).code, 64);
});

test('one connection is closed with 4009 and the change is recorded', async (t) => {
	const { get, post, daemon, ctl } = await withAdmin(t);
	const [one, two, other] = [await daemon.connect(), await daemon.connect(), await daemon.connect()];
	assert.equal((await post(`${PATH}/${one.socketId}/disconnect`, {}, bearer(TOKEN.read))).status, 403);
	assert.equal((await get(`${PATH}/${one.socketId}/disconnect`, bearer(TOKEN.write))).status, 405);
	assert.equal((await post(`${PATH}/1.1/disconnect`)).status, 404);
	assert.equal((await post(`${PATH}/${one.socketId}/disconnect`)).status, 200);
	assert.equal((await one.closed).code, 4009);
	assert.equal((await ctl(['disconnect', two.socketId])).code, 0);
	assert.equal((await two.closed).code, 4009);
	await other.ping();
	await waitFor(async () => (await post(`${PATH}/${one.socketId}/disconnect`)).status === 404, 'it is closed');
	const rows = await daemon.query(`SELECT action, arguments->>'socket_id' AS id FROM admin_audit WHERE result = 'ok' ORDER BY admin_audit.id`);
	assert.deepEqual(rows, [one, two].map((w) => ({ action: 'connection-disconnect', id: w.socketId })));
	const closed = await until(get, one, (json) => json.closed_at, 'its end');
	assert.equal(closed.steps.at(-2).detail, 'Connection terminated by an operator');
});

test('without a recorder there are open connections only, and without a listener nothing', async (t) => {
	const { get, daemon } = await withAdmin(t, { tokens: TOKENS, recorder_bytes: 0 });
	const wire = await daemon.connect();
	await wire.subscribe('news');
	const shown = await until(get, wire, () => true, 'the connection');
	assert.deepEqual([shown.channels, shown.steps], [['news'], []]);
	await wire.close();
	await waitFor(async () => (await get(`${PATH}/${wire.socketId}`)).status === 404, 'it is forgotten');
	assert.equal((await request(`${daemon.url}${PATH}`, { headers: bearer(TOKEN.read) })).status, 404);
});

const forgets = (how, forget) => test(`${how} forgets the steps of the user's connections`, async (t) => {
	const { get, daemon, ctl } = await withAdmin(t);
	const [gone, other, here] = [await daemon.connect(), await daemon.connect(), await daemon.connect()];
	for (const [wire, id] of [[gone, '7'], [other, '8'], [here, '7']])
		await wire.subscribe('presence-room', { channelData: { user_id: id, user_info: {} } });
	await gone.close();
	await other.close();
	for (const wire of [gone, other]) await until(get, wire, (json) => json.closed_at, 'its end');
	await forget({ daemon, ctl });
	assert.equal((await get(`${PATH}/${gone.socketId}`)).status, 404);
	assert.ok((await get(`${PATH}/${other.socketId}`)).json.steps.length > 2);
	assert.deepEqual((await get(`${PATH}/${here.socketId}`)).json.steps, []);
});

forgets('user erase', async ({ ctl }) => assert.equal((await ctl(['user', 'erase', '7'])).code, 0));
forgets('DELETE users/{id}', async ({ daemon }) => assert.equal((await Sync.server(daemon).delete('users/7')).status, 200));
