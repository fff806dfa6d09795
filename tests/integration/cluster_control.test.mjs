// SPDX-License-Identifier: MIT
// What the application or an operator ends for a user in a cluster: on all nodes, never lost, in its
// place among the events, and not an event itself.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, Sync, newDatabase, ok, startCluster, startDaemon, waitFor } from '../lib/harness.mjs';
import { adminUrl, eventsOfEach, live, node, startNodes, subscribeEach } from '../lib/nodes.mjs';
import { TOKEN, bearer, runCtl } from '../lib/ctl.mjs';

const TERMINATED = 4009;
const REVOKED = { event: 'pusher:subscription_error', data: { status: 403 } };
const USER = { id: '7', user_info: { name: 'Ann' } };
const member = { channelData: { user_id: '7', user_info: {} } };

/** A connection that is signed in as the user. */
async function signedIn(node, user = USER) {
	const wire = await node.connect();
	wire.sendSignin(user);
	await wire.next({ event: 'pusher:signin_success' });
	return wire;
}
const signedInOnEach = (nodes, user) => Promise.all(nodes.map((one) => signedIn(one, user)));

async function closed(wires) {
	for (const wire of wires) assert.equal((await wire.closed).code, TERMINATED);
}

const terminate = (node, user = '7') => node.api().post(`/users/${user}/terminate_connections`, {});
const revoke = (node, body, user = '7') => node.api().post(`/users/${user}/revoke`, body);
const controls = (daemon) => daemon.query(`SELECT event_type AS type, payload FROM realtime_events
	WHERE origin = 'control' ORDER BY serial`);

describe('terminate_connections', { concurrency: 2 }, () => {
	test('closes the connections of the user on all nodes, and of no other user', async (t) => {
		const nodes = await startNodes(t, 3);
		const wires = await signedInOnEach(nodes);
		const others = await signedInOnEach(nodes, { ...USER, id: '70' });
		const members = await subscribeEach(nodes, 'presence-c', member);
		assert.equal((await terminate(nodes[1])).status, 200);
		await closed([...wires, ...members]);
		for (const wire of others) await wire.ping();
		for (const one of nodes) await one.stop();
	});

	test('comes after the events before it, and before those after it', async (t) => {
		const nodes = await startNodes(t, 2);
		const wires = await signedInOnEach(nodes);
		for (const wire of wires) await wire.subscribe('c');
		for (let i = 0; i < 20; i++) await nodes[0].api().trigger('c', `E${i}`, '{}');
		assert.equal((await terminate(nodes[0])).status, 200);
		await nodes[0].api().trigger('c', 'After', '{}');
		await closed(wires);
		for (const wire of wires)
			assert.deepEqual(wire.frames.filter((frame) => frame.channel === 'c' && !/^pusher/.test(frame.event))
				.map((frame) => frame.event), Array.from({ length: 20 }, (_, i) => `E${i}`));
	});

	test('reaches a node that was paused, and one whose database was away', async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop());
		const nodes = await startNodes(t, 2, { database: await newDatabase(cluster), cluster: { lease_ms: 5000 } });
		const [wire] = await signedInOnEach([nodes[1]]);
		nodes[1].child.kill('SIGSTOP');
		assert.equal((await terminate(nodes[0])).status, 200);
		await waitFor(async () => (await live(nodes[0])).length === 1, 'the lease of the paused node ends');
		nodes[1].child.kill('SIGCONT');
		await closed([wire]);
		const [again] = await signedInOnEach([nodes[1]]);
		await cluster.stop();
		assert.equal((await terminate(nodes[0])).status, 503, 'it would be lost');
		assert.equal(again.closeCode, undefined);
		await cluster.start();
		await waitFor(async () => (await terminate(nodes[0])).status === 200, 'it is committed');
		await closed([again]);
	});

	test('of an operator closes them on all nodes too', async (t) => {
		const nodes = await startNodes(t, 2);
		const wires = await signedInOnEach(nodes);
		const shown = await runCtl(['--url', adminUrl(nodes[0]), 'disconnect', '7', '--json'],
			{ env: { SCOPEWIRECTL_TOKEN: TOKEN.write } });
		assert.equal(shown.code, 0, shown.error);
		assert.equal(shown.json.user, '7');
		await closed(wires);
	});
});

describe('revoke', { concurrency: 2 }, () => {
	test('ends the subscriptions of the user on all nodes, by name and by pattern', async (t) => {
		const nodes = await startNodes(t, 2);
		const wires = await signedInOnEach(nodes);
		for (const wire of wires)
			for (const channel of ['private-a', 'private-b.1', 'private-b.2']) await wire.subscribe(channel);
		assert.equal((await revoke(nodes[0], { channels: ['private-a'] })).status, 200);
		for (const wire of wires) await wire.next({ ...REVOKED, channel: 'private-a' });
		assert.equal((await revoke(nodes[1], { pattern: 'private-b.*' })).status, 200);
		for (const wire of wires)
			await waitFor(() => ['private-b.1', 'private-b.2'].every((channel) => wire.all({ ...REVOKED, channel }).length),
				'both subscriptions end');
		await nodes[0].api().trigger(['private-a', 'private-b.1', 'public'], 'E', '{}');
		for (const wire of wires) {
			await wire.ping();
			assert.equal(wire.all({ event: 'E' }).length, 0);
		}
	});

	test('takes every user id that a client can have, and a pattern', async (t) => {
		const nodes = await startNodes(t, 2);
		const id = 'a.b@c,d;e=f_g-h';
		const wires = await subscribeEach(nodes, 'presence-x', { channelData: { user_id: id, user_info: {} } });
		for (const wire of wires)
			await wire.subscribe('presence-y', { channelData: { user_id: id, user_info: {} } });
		assert.equal((await revoke(nodes[0], { pattern: '*x' }, id)).status, 200);
		for (const wire of wires) await wire.next({ ...REVOKED, channel: 'presence-x' });
		assert.equal((await terminate(nodes[0], id)).status, 200);
		await closed(wires);
	});
});

describe('disconnect of one connection', { concurrency: 2 }, () => {
	const disconnect = (node, id) => fetch(`${adminUrl(node)}/admin/api/connections/${id}/disconnect`,
		{ method: 'POST', headers: bearer(TOKEN.write) });
	const ctl = (node, id) => runCtl(['--url', adminUrl(node), 'disconnect', id, '--json'],
		{ env: { SCOPEWIRECTL_TOKEN: TOKEN.write } });

	test('can be requested from any node, and closes that connection only', async (t) => {
		const nodes = await startNodes(t, 2);
		const [one, two, three] = [await nodes[1].connect(), await nodes[1].connect(), await nodes[0].connect()];
		const answer = await disconnect(nodes[0], one.socketId);
		assert.equal(answer.status, 202);
		assert.deepEqual(await answer.json(), { socket_id: one.socketId, node: 'b' });
		await closed([one]);
		const shown = await ctl(nodes[0], two.socketId);
		assert.equal(shown.code, 0, shown.error);
		assert.equal(shown.json.node, 'b');
		await closed([two]);
		const away = await fetch(`${adminUrl(nodes[0])}/admin/api/connections/${one.socketId}`, { headers: bearer(TOKEN.read) });
		assert.equal(away.status, 404);
		const [{ number }] = await nodes[0].query("SELECT number FROM nodes WHERE name = 'b'");
		assert.match((await away.json()).error.message, new RegExp(`the node with the number ${number} can know`));
		await three.ping();
		assert.equal((await disconnect(nodes[0], three.socketId)).status, 200);
		await closed([three]);
		assert.deepEqual((await nodes[0].query(`SELECT action, arguments->>'socket_id' AS socket, result FROM admin_audit
			ORDER BY id`)).map(({ action, socket, result }) => [action, socket, result]),
		[one, two, three].map((wire) => ['connection-disconnect', wire.socketId, 'ok']));
	});

	test('is 404 when no running node has such a number, or this one has no such connection', async (t) => {
		const nodes = await startNodes(t, 2);
		const wire = await nodes[0].connect();
		await wire.close();
		await waitFor(async () => (await disconnect(nodes[0], wire.socketId)).status === 404, 'it is closed');
		const free = 4000 * 2 ** 19;
		for (const id of ['1.1', `${free}.1`, `${2 ** 33}.1`, 'none']) {
			const answer = await disconnect(nodes[0], id);
			assert.equal(answer.status, 404, id);
			assert.equal((await answer.json()).error.code, 'not_found');
		}
		assert.deepEqual(await controls(nodes[0]), []);
	});

	test('reaches a node that serves no application of this one', async (t) => {
		const database = await newDatabase();
		const a = node(t, database, 'a');
		const b = node(t, database, 'b', { apps: [{ ...APP, id: 'other', key: 'other' }] });
		await a.start();
		await b.start();
		const wire = await b.connect();
		assert.equal((await disconnect(a, wire.socketId)).status, 202);
		await closed([wire]);
	});

	test('is refused by a node that serves no application, and so cannot request it', async (t) => {
		const database = await newDatabase();
		const a = node(t, database, 'a', { apps: [] });
		const b = node(t, database, 'b');
		await a.start();
		await b.start();
		const wire = await b.connect();
		const answer = await disconnect(a, wire.socketId);
		assert.equal(answer.status, 404);
		assert.match((await answer.json()).error.message, /serves no application/);
		await wire.ping();
	});
});

describe('a control row', { concurrency: 2 }, () => {
	test('is shown by no query for events, and cannot be subscribed to, published or sent again', async (t) => {
		const nodes = await startNodes(t, 2);
		const [one] = nodes;
		const headers = { headers: bearer(TOKEN.write) };
		const wires = await subscribeEach(nodes, 'c');
		await one.api().trigger('c', 'E1', '{}');
		await terminate(one);
		await revoke(one, { pattern: 'private-*' });
		await one.api().trigger('c', 'E2', '{}');
		assert.deepEqual(await eventsOfEach(wires, 'c', 2), [['E1', 'E2'], ['E1', 'E2']]);
		assert.deepEqual(await controls(one), [{ type: 'scopewire:terminate', payload: { user_id: '7' } },
			{ type: 'scopewire:revoke', payload: { user_id: '7', patterns: 'private-*' } }]);
		const { events } = ok(await Sync.server(one).get('events'));
		assert.deepEqual(events.map((event) => event.channel), ['c', 'c']);
		const admin = await fetch(`${adminUrl(one)}/admin/api/events`, headers).then((answer) => answer.json());
		assert.deepEqual(admin.events.map((event) => event.event), ['E2', 'E1']);
		assert.deepEqual((await one.query('SELECT DISTINCT channel FROM realtime_event_report')), [{ channel: 'c' }]);
		const [{ serial }] = await one.query(`SELECT serial::integer FROM realtime_events WHERE origin = 'control' LIMIT 1`);
		const again = await fetch(`${adminUrl(one)}/admin/api/resend`, { method: 'POST', ...headers,
			body: JSON.stringify({ serial, user: '8' }) });
		assert.equal(again.status, 400);
		wires[0].sendSubscribe('#control');
		await wires[0].next((frame) => /error/.test(frame.event));
		assert.equal((await one.api().trigger('#control', 'scopewire:terminate', '{"user_id":"7"}')).status, 400);
		await assert.rejects(one.query(`SELECT broadcast('#control', 'scopewire:terminate', '{"user_id":"7"}')`),
			/is not a channel name/);
		const [{ n }] = await one.query('SELECT count(*)::integer AS n FROM realtime_deliveries WHERE serial = $1', [serial]);
		assert.equal(n, 0);
	});

	test('is not replayed to a client, nor acted on by a node that starts later', async (t) => {
		const nodes = await startNodes(t, 2);
		const [wire] = await signedInOnEach([nodes[0]]);
		await wire.subscribe('c');
		const epoch = wire.epoch;
		await nodes[1].stop();
		await terminate(nodes[0]);
		await closed([wire]);
		await nodes[0].api().trigger('c', 'E', '{}');
		await nodes[1].start();
		const [back] = await signedInOnEach([nodes[1]]);
		await back.subscribe('c', { since: `${epoch}:0` });
		await back.next({ event: 'E' });
		await back.ping();
		assert.equal(back.closeCode, undefined);
		assert.deepEqual(back.frames.filter((frame) => /scopewire:(terminate|revoke)/.test(frame.event)), []);
	});

	test('is not written by a daemon that is alone', async (t) => {
		const daemon = await startDaemon({}, t);
		const wires = await signedInOnEach([daemon, daemon]);
		await wires[0].subscribe('private-a');
		assert.equal((await revoke(daemon, { pattern: '*' })).status, 200);
		await wires[0].next({ ...REVOKED, channel: 'private-a' });
		assert.equal((await terminate(daemon)).status, 200);
		await closed(wires);
		assert.deepEqual(await controls(daemon), []);
	});

	test('of a kind that a node does not know, or that was erased, does no harm', async (t) => {
		const nodes = await startNodes(t, 1);
		const [wire] = await signedInOnEach(nodes);
		await wire.subscribe('c');
		await nodes[0].query(`INSERT INTO realtime_events (serial, channel, event_type, payload, origin, app)
			SELECT nextval('realtime_events_serial'), '#control', v.type, v.data::json, 'control', 'client-portal'
			FROM (VALUES ('scopewire:later', '{"user_id":"7"}'), ('scopewire:terminate', '{"erased":true}'),
				('scopewire:terminate', '["7"]'), ('scopewire:revoke', '{"user_id":"7","patterns":3}')) v(type, data)`);
		await nodes[0].api().trigger('c', 'E', '{}');
		await wire.next({ event: 'E' });
		await wire.ping();
		assert.equal(wire.closeCode, undefined);
	});
});
