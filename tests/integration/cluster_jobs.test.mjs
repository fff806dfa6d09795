// SPDX-License-Identifier: MIT
// What one node does for all, and what it must leave to others: the list of nodes, webhooks of
// applications that only another node serves, and what is tied to sockets of running nodes.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import http from 'node:http';
import { APP, newDatabase, startCluster, startDaemon, waitFor } from '../lib/harness.mjs';
import { adminUrl, live, node, startNodes } from '../lib/nodes.mjs';
import { TOKEN, bearer, runCtl, withAdmin } from '../lib/ctl.mjs';

const nodesOf = (daemon) => fetch(`${adminUrl(daemon)}/admin/api/nodes`, { headers: bearer(TOKEN.read) })
	.then((answer) => answer.json());

describe('the list of nodes', { concurrency: 2 }, () => {
	test('has a row for each, in the admin API and scopewirectl, and shows which have ended', async (t) => {
		const nodes = await startNodes(t, 2, { cluster: { lease_ms: 600000 } });
		const shown = await nodesOf(nodes[0]);
		assert.deepEqual(shown.nodes.map((one) => [one.name, one.live]), [['a', true], ['b', true]]);
		for (const one of shown.nodes) {
			assert.match(one.address, /^127\.0\.0\.1:\d+$/);
			assert.match(one.version, /^\d+\.\d+/);
			assert.ok(one.number >= 1 && one.number <= 4095);
			assert.ok(Date.parse(one.started) <= Date.parse(shown.now));
			assert.ok(Date.parse(one.lease) > Date.parse(shown.now));
		}
		await nodes[1].kill();
		await nodes[0].query(`UPDATE nodes SET lease = now() - interval '1 s' WHERE name = 'b'`);
		const ctl = await runCtl(['--url', adminUrl(nodes[0]), 'nodes', '--json'],
			{ env: { SCOPEWIRECTL_TOKEN: TOKEN.read } });
		assert.equal(ctl.code, 0, ctl.error);
		const live = Object.fromEntries(ctl.json.nodes.map((one) => [one.name, one.live]));
		assert.equal(live.a, true);
		assert.ok(!live.b, 'it has ended, or was deleted');
		const text = await runCtl(['--url', adminUrl(nodes[0]), 'nodes'], { env: { SCOPEWIRECTL_TOKEN: TOKEN.read } });
		assert.match(text.out, /\ba\b.*127\.0\.0\.1/);
		assert.equal((await fetch(`${adminUrl(nodes[0])}/admin/api/nodes`)).status, 401);
	});

	test('has the daemon that is alone', async (t) => {
		const { daemon, get } = await withAdmin(t, undefined, { server: { node: 'alone' } });
		const { json } = await get('/admin/api/nodes');
		assert.deepEqual(json.nodes.map(({ name, number, live }) => ({ name, number, live })),
			[{ name: 'alone', number: null, live: true }]);
		await daemon.stop();
	});
});

describe('webhooks of an application', { concurrency: 2 }, () => {
	const FAST = { retry_min_ms: 20, retry_max_ms: 100, undelivered_s: 1 };
	const OTHER = { ...APP, id: 'other', key: 'other' };

	/** A receiver of webhooks; events has those of all requests. */
	async function receiver(t) {
		const self = { events: [] };
		const server = http.createServer((request, response) => {
			const chunks = [];
			request.on('data', (chunk) => chunks.push(chunk));
			request.on('end', () => {
				self.events.push(...JSON.parse(Buffer.concat(chunks)).events);
				response.end('{}');
			});
		});
		await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
		t.after(() => { server.closeAllConnections(); server.close(); });
		self.url = `http://127.0.0.1:${server.address().port}/`;
		self.names = () => self.events.map((event) => event.name);
		return self;
	}

	/** Node a serves one application and node b the other, each with a receiver; b is stopped. */
	async function oneServed(t, event_types) {
		const database = await newDatabase();
		const [toA, toB] = [await receiver(t), await receiver(t)];
		const hooks = (to) => JSON.stringify([{ url: to.url, name: 'hook', event_types }]);
		const sections = { webhooks: FAST };
		const a = node(t, database, 'a', { sections, app: { webhooks: hooks(toA) } });
		const b = node(t, database, 'b', { sections, apps: [{ ...OTHER, webhooks: hooks(toB) }] });
		await a.start();
		await b.start();
		await waitFor(async () => (await a.query('SELECT FROM log_apps')).length === 2, 'the applications of both');
		await b.stop();
		const queue = (app, name) => a.query(`INSERT INTO webhook_queue (app, endpoint, channel, event)
			VALUES ($1, 'hook', 'c', json_build_object('name', $2::text, 'channel', 'c'))`, [app, name]);
		return { a, b, toA, toB, queue };
	}
	const waiting = (daemon) => daemon.query(`SELECT app, attempts, dead_at FROM webhook_queue ORDER BY id`);

	test('that only another node serves wait for it', async (t) => {
		const { a, b, toA, toB, queue } = await oneServed(t, ['channel_occupied']);
		await queue('other', 'first');
		await queue(APP.id, 'own');
		await waitFor(() => toA.names().includes('own'), 'the own webhook, which is after the other one in the queue');
		await queue(APP.id, 'again');
		await waitFor(() => toA.names().includes('again'), 'one of the next claim');
		await waitFor(async () => (await waiting(a)).length === 1, 'the outcome of the own ones');
		assert.deepEqual(await waiting(a), [{ app: 'other', attempts: 0, dead_at: null }]);
		await b.start();
		await waitFor(() => toB.names().includes('first'), 'the node that serves it sends it');
		await waitFor(async () => (await waiting(a)).length === 0, 'and settles it');
	});

	test('that no node serves any more are given up', async (t) => {
		const { a, queue } = await oneServed(t, ['channel_occupied']);
		await queue('other', 'first');
		await a.query(`DELETE FROM log_apps WHERE app = 'other'`);
		await waitFor(async () => (await waiting(a))[0]?.dead_at, 'it is a dead letter');
	});

	test('about notifications that reached no socket are decided by a node that serves it', async (t) => {
		const { a, b, toA, toB } = await oneServed(t, ['notification_undelivered']);
		const checks = async () => (await a.query('SELECT DISTINCT app FROM notification_checks')).map((row) => row.app);
		await a.query(`SELECT notification_send('{7}', 'T', app => 'other'), notification_send('{7}', 'T', app => $1)`, [APP.id]);
		await waitFor(() => toA.names().includes('notification_undelivered'), 'the own one');
		await waitFor(async () => (await checks()).join() === 'other', 'the check of the other one stays');
		await b.start();
		await waitFor(() => toB.names().includes('notification_undelivered'), 'the other one');
		assert.equal(toA.events.length, 1);
	});
});

describe('what is tied to sockets', { concurrency: 2 }, () => {
	const GONE = '1.1';
	const view = (daemon, ...sockets) => daemon.query(`INSERT INTO viewers
		(app, resource_type, resource_id, user_id, tab, mode, since, expires_at)
		SELECT 'client-portal', 'client', s, 1, s, 'viewing', now(), now() + interval '1 h' FROM unnest($1::text[]) s`,
	[sockets]);
	const viewing = async (daemon) => (await daemon.query(`SELECT tab FROM viewers
		WHERE expires_at > now() + interval '50 min' ORDER BY tab`)).map((row) => row.tab);

	test('of a running node stays when another one starts first after a crash of PostgreSQL', async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop());
		const [a] = await startNodes(t, 1, { database: await newDatabase(cluster), cluster: { lease_ms: 15000 } });
		const { socketId } = await a.connect();
		await view(a, socketId, GONE);
		a.child.kill('SIGSTOP');
		await cluster.killAndStart();
		const b = node(t, a.database, 'b', { cluster: { lease_ms: 15000 } });
		await b.start();
		assert.deepEqual(await live(b), ['b'], 'the other one has not registered again');
		a.child.kill('SIGCONT');
		await waitFor(async () => (await live(b)).length === 2, 'it registers again');
		await waitFor(async () => !(await viewing(b)).includes(GONE), 'the second node sweeps');
		assert.deepEqual(await viewing(b), [socketId]);
	});

	test('of a daemon that was killed ends when it starts again, however long leases are', async (t) => {
		const daemon = await startDaemon({}, t);
		await view(daemon, GONE);
		await daemon.kill();
		await daemon.start();
		await waitFor(async () => (await viewing(daemon)).length === 0, 'the viewer of the killed process ends');
	});
});
