// SPDX-License-Identifier: MIT
// Sockets of other nodes: what is tied to them ends with them, and a user is offline when the last
// connection of the cluster has closed.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, Sync, failed, newDatabase, ok, waitFor } from '../lib/harness.mjs';
import { node, startNodes } from '../lib/nodes.mjs';

const AT = { resource_type: 'invoice', resource_id: '7' };
const AWAY = { presence_ttl_s: 3600, presence_channels: 'presence-online' };
const nodesWith = (t, sync, more) => startNodes(t, 2, { sections: { sync: { viewing_grace_ms: 0, ...AWAY, ...sync } }, ...more });

/** What is tied to the sockets: a lock, a request for another one, a viewer, and a user's presence. */
async function tieAll(on, socket_id) {
	const server = Sync.server(on);
	ok(await server.post('locks', { ...AT, user_id: 1, ttl: 3600, socket_id }));
	ok(await server.post('locks', { ...AT, field: 'title', user_id: 2, ttl: 3600 }));
	ok(await server.post('locks/request', { ...AT, field: 'title', user_id: 1, wait: 300, socket_id }));
	ok(await server.post('start-viewing', { ...AT, user_id: 1, ttl: 3600, socket_id }));
	ok(await server.post('heartbeat', { user_id: 1, socket_id }));
}
const tied = async (on) => (await on.query(`SELECT
	(SELECT count(*)::integer FROM locks WHERE user_id = 1) AS locks, (SELECT count(*)::integer FROM lock_requests) AS requests,
	(SELECT count(*)::integer FROM viewers) AS viewers,
	(SELECT status FROM user_presence WHERE user_id = 1) AS presence`))[0];
const ALL = { locks: 1, requests: 1, viewers: 1, presence: 'online' };
const NONE = { locks: 0, requests: 0, viewers: 0, presence: 'offline' };
const ended = (on) => waitFor(async () => JSON.stringify(await tied(on)) === JSON.stringify(NONE), 'all has ended');
const status = async (on, id = 7) => (await on.query('SELECT status FROM user_presence WHERE user_id = $1', [id]))[0]?.status;

/** Until the node knows the other one, whose connection's socket id is given. */
const isKnown = (on, socket_id) => waitFor(async () => (await Sync.server(on)
	.post('locks', { ...AT, field: 'known', user_id: 9, socket_id })).status === 200, 'the other node is known');

describe('what a node ties to a socket of another one', { concurrency: 2 }, () => {
	test('ends when that socket closes', async (t) => {
		const [a, b] = await nodesWith(t);
		const [tab, other] = [await b.connect(), await b.connect()];
		await isKnown(a, other.socketId);
		await tieAll(a, tab.socketId);
		await waitFor(async () => (await a.query('SELECT FROM node_sockets')).length === 0, 'the other node knows');
		assert.deepEqual(await tied(a), ALL);
		await tab.close();
		await ended(a);
		assert.equal(ok(await Sync.server(a).get('locks', { ...AT, field: 'known' })).lock.user_id, 9);
	});

	test('ends when that socket was closed before', async (t) => {
		const [a, b] = await nodesWith(t);
		const [tab, other] = [await b.connect(), await b.connect()];
		await isKnown(a, other.socketId);
		await tab.close();
		await tieAll(a, tab.socketId);
		await ended(a);
	});

	test('ends when the lease of a killed node has ended, and no node has started', async (t) => {
		const [a, b] = await nodesWith(t, {}, { cluster: { lease_ms: 5000 } });
		const [tab, kept] = [await b.connect(), await a.connect()];
		await isKnown(a, tab.socketId);
		await tieAll(a, tab.socketId);
		await tieAll(b, tab.socketId);
		ok(await Sync.server(a).post('start-viewing', { ...AT, user_id: 5, ttl: 3600, socket_id: kept.socketId }));
		await b.kill();
		await waitFor(async () => (await tied(a)).locks === 0, 'the lock has ended');
		await waitFor(async () => (await a.query('SELECT user_id::integer AS id FROM viewers')).map(({ id }) => id).join() === '5',
			'so has the viewer; that of a running node is left');
		await waitFor(async () => await status(a, 1) === 'offline', 'the user is offline');
	});

	test('is accepted of a user too; a number that no running node has is refused', async (t) => {
		const [a, b] = await nodesWith(t);
		const tab = await b.connect();
		await isKnown(a, tab.socketId);
		ok(await Sync.user(a, 1, { roles: ['admin'] }).post('heartbeat', { user_id: 1, socket_id: tab.socketId }));
		for (const socket_id of [`${4000 * 2 ** 19}.1`, `${2 ** 33}.1`])
			failed(await Sync.server(a).post('heartbeat', { user_id: 1, socket_id }), 400, 'unknown_socket', 'socket_id');
		const own = await a.connect();
		await own.close();
		await waitFor(async () => (await Sync.server(a).post('heartbeat', { user_id: 1, socket_id: own.socketId })).status === 400,
			'a closed socket of the node itself');
	});

	test('is refused of a user by the node that has it, until another node has authorized the user for it', async (t) => {
		const [a, b] = await nodesWith(t);
		const tab = await b.connect();
		await isKnown(a, tab.socketId);
		const beat = () => Sync.user(b, 1).post('heartbeat', { user_id: 1, socket_id: tab.socketId });
		failed(await beat(), 403, 'socket_forbidden', 'socket_id');
		await a.query(`INSERT INTO channel_rules (pattern, rule) VALUES ('user.{id}', 'anyone')`);
		const answer = await Sync.user(a, 1).call('POST', '/broadcasting/auth',
			{ body: { socket_id: tab.socketId, channel_name: 'private-user.1' } });
		assert.equal(answer.status, 200, answer.text);
		await waitFor(async () => (await beat()).status === 200, 'the node of the socket knows');
		failed(await Sync.user(b, 2).post('heartbeat', { user_id: 2, socket_id: tab.socketId }), 403, 'socket_forbidden', 'socket_id');
	});

	test('is forgotten soon when that socket is not open, however long it was to last', async (t) => {
		const database = await newDatabase();
		const sections = { sync: { viewing_grace_ms: 0, ...AWAY, statement_timeout_ms: 200 } };
		const [a, b] = ['a', 'b'].map((name) => node(t, database, name, { sections }));
		await a.start();
		await a.stop();
		await a.query(`ALTER FUNCTION sockets_sweep(text[], text[], integer, integer) RENAME TO sweep;
			CREATE TABLE swept (id serial, sockets text[]);
			CREATE FUNCTION sockets_sweep(s text[], c text[], t integer, m integer) RETURNS integer LANGUAGE plpgsql AS
				$$ BEGIN INSERT INTO swept (sockets) VALUES (s); RETURN sweep(s, c, t, m); END $$`);
		await a.start();
		await b.start();
		const [tab, other] = [await b.connect(), await b.connect()];
		await isKnown(a, other.socketId);
		await tab.close();
		// On a slow machine a statement can take longer than statement_timeout_ms.
		await waitFor(async () => (await Sync.server(a).post('start-viewing', { ...AT, user_id: 1, ttl: 3600,
			socket_id: tab.socketId })).status === 200, 'it is tied');
		const last = () => a.query('SELECT id, $1 = ANY (sockets) AS has FROM swept ORDER BY id DESC', [tab.socketId]);
		const { id } = await waitFor(async () => (await last()).find(({ has }) => has), 'it is swept');
		await waitFor(async () => {
			const after = (await last()).filter((row) => row.id > id);
			return after.length >= 4 && after.slice(0, 4).every(({ has }) => !has);
		}, 'it is swept no more');
	});

	test('ends at once when the socket is one of another application', async (t) => {
		const database = await newDatabase();
		const sections = { sync: { viewing_grace_ms: 0, ...AWAY } };
		const a = node(t, database, 'a', { sections });
		const b = node(t, database, 'b', { sections, apps: [APP, { ...APP, id: 'other', key: 'other' }] });
		await a.start();
		await b.start();
		const tab = await b.connect({ key: 'other' });
		const own = await b.connect();
		await isKnown(a, own.socketId);
		await tieAll(a, tab.socketId);
		await ended(a);
	});
});

describe('a socket of another node', { concurrency: 2 }, () => {
	test('does not receive what excludes it', async (t) => {
		const [a, b] = await nodesWith(t);
		const wires = [await a.connect(), await b.connect()];
		for (const wire of wires) await wire.subscribe('private-c');
		await isKnown(a, wires[1].socketId);
		await a.api().post('/events', { name: 'E1', channels: ['private-c'], data: '{}', socket_id: wires[1].socketId });
		await b.query(`SELECT broadcast('private-c', 'E2', '{}', exclude_socket => $1)`, [wires[0].socketId]);
		await a.api().trigger('private-c', 'E3', '{}');
		for (const wire of wires) await wire.next({ event: 'E3' });
		const seen = (wire) => wire.frames.filter((frame) => /^E\d$/.test(frame.event)).map((frame) => frame.event);
		assert.deepEqual(wires.map(seen), [['E1', 'E3'], ['E2', 'E3']]);
	});
});

describe('presence from connections', { concurrency: 2 }, () => {
	const user = { id: '7', user_info: {} };
	const signedIn = async (on, who = user) => {
		const wire = await on.connect();
		wire.sendSignin(who);
		await wire.next({ event: 'pusher:signin_success' });
		return wire;
	};
	const isOn = (on, n, id = 7) => waitFor(async () => (await on.query('SELECT nodes FROM user_presence WHERE user_id = $1', [id]))[0]
		?.nodes.length === n, `connections on ${n} nodes are known`);
	const sync = { presence_from_sockets: 'yes' };

	test('ends when the last connection of the cluster has closed, not before', async (t) => {
		const [a, b] = await nodesWith(t, sync);
		const first = await signedIn(a);
		const second = await signedIn(b);
		await isOn(a, 2);
		await first.close();
		await isOn(a, 1);
		assert.equal(await status(a), 'online');
		await second.close();
		await waitFor(async () => await status(a) === 'offline', 'at once');
		assert.deepEqual((await a.query(`SELECT payload->>'status' AS s FROM realtime_events
			WHERE channel = 'presence-online' ORDER BY serial`)).map(({ s }) => s), ['online', 'offline']);
	});

	test('ends when the last ones close on two nodes at the same time', async (t) => {
		const [a, b] = await nodesWith(t, sync);
		for (let i = 0; i < 5; i++) {
			const wires = [await signedIn(a), await signedIn(b)];
			await isOn(a, 2);
			await Promise.all(wires.map((wire) => wire.close()));
			await waitFor(async () => await status(a) === 'offline', 'at once');
		}
	});

	test('goes on when the user is back on another node', async (t) => {
		const [a, b] = await nodesWith(t, sync);
		let wire = await signedIn(a);
		await isOn(a, 1);
		for (let i = 0; i < 6; i++) {
			const next = await signedIn(i % 2 ? a : b);
			await wire.close();
			wire = next;
		}
		// What was reported of another user later is known: so is all that was reported before.
		const after = await Promise.all([a, b].map((on) => signedIn(on, { id: '8', user_info: {} })));
		await isOn(a, 2, 8);
		await isOn(a, 1);
		await waitFor(async () => await status(a) === 'online', 'the user is online');
		for (const one of [wire, ...after]) await one.ping();
	});

	test('expires soon after its node was killed, unless the user is back', async (t) => {
		const [a, b] = await nodesWith(t, { ...sync, presence_ttl_s: 600 }, { cluster: { lease_ms: 5000 } });
		const kept = await signedIn(a);
		const [gone] = [await b.connect()];
		gone.sendSignin({ id: '8', user_info: {} });
		await gone.next({ event: 'pusher:signin_success' });
		await waitFor(async () => await status(a, 8) === 'online', 'both are online');
		await b.kill();
		await waitFor(async () => (await a.query(`SELECT FROM user_presence WHERE user_id = 8
			AND last_seen_at < now() - interval '570 s'`)).length === 1, 'it expires within half a minute');
		assert.equal((await a.query(`SELECT FROM user_presence WHERE user_id = 7
			AND last_seen_at < now() - interval '570 s'`)).length, 0);
		await kept.close();
	});
});
