// SPDX-License-Identifier: MIT
// A rolling upgrade: nodes of two versions side by side.  The second program is this build with another
// version in its strings: what differs between two releases cannot be tried before there are two.
import { before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { PROGRAM, newDatabase, ok, Sync, waitFor } from '../lib/harness.mjs';
import { adminUrl, live, node, redis, startNodes, subscribeEach } from '../lib/nodes.mjs';
import { TOKEN, bearer } from '../lib/ctl.mjs';
import { tempFolder } from '../lib/temp.mjs';

const EX_DATAERR = 65;
const member = (id) => ({ channelData: { user_id: id, user_info: {} } });
const metric = async (on, name) => Number((await fetch(`${adminUrl(on)}/metrics`, { headers: bearer(TOKEN.read) })
	.then((answer) => answer.text())).match(new RegExp(`^scopewire_${name}(?:{[^}]*})? (\\d+)`, 'm'))?.[1]);
/** The events of the channel that each client has, once it has n. */
async function eventsOf(wires, n) {
	const of = (wire) => wire.frames.map((frame) => frame.event).filter((event) => /^(E|While)\d/.test(event));
	await waitFor(() => wires.every((wire) => of(wire).length >= n), `${n} events for each client`);
	for (const wire of wires) await wire.ping();
	return wires.map(of);
}
const versions = async (on) => (await on.query('SELECT name, version FROM nodes ORDER BY name'))
	.map((row) => [row.name, row.version]);

/** A program that calls itself a later version.  Only the first digit differs: the linker lets other strings share the rest. */
let newer, current, later;
before(() => {
	const bytes = fs.readFileSync(PROGRAM).toString('latin1');
	[, current] = /scopewired (\d+\.\d+\.\d+)\0/.exec(bytes);
	later = `9${current.slice(1)}`;
	newer = path.join(tempFolder('newer'), 'scopewired');
	fs.writeFileSync(newer, Buffer.from(bytes.replaceAll(current, later), 'latin1'), { mode: 0o755 });
});

/** A migration that a later version applied: it adds, and changes nothing. */
const migrate = (on) => on.query(`ALTER TABLE realtime_events ADD COLUMN later text;
	INSERT INTO schema_migrations SELECT (jsonb_populate_record(m, '{"version": 9999}')).* FROM schema_migrations m LIMIT 1`);

describe('nodes of two versions', { concurrency: 2 }, () => {
	test('serve one application together, and are replaced one after the other', async (t) => {
		const database = await newDatabase();
		const nodes = ['a', 'b'].map((name) => node(t, database, name));
		for (const one of nodes) await one.start();
		assert.deepEqual(await versions(nodes[0]), [['a', current], ['b', current]]);
		const sent = [];
		const publish = async () => {
			for (const one of nodes) {
				sent.push(`E${sent.length}`);
				assert.equal((await one.api().trigger('c', sent.at(-1), '{}')).status, 200);
			}
		};
		let wires = await subscribeEach(nodes, 'c');
		const { epoch } = wires[0];
		await publish();
		for (const [i, one] of nodes.entries()) {
			assert.deepEqual(await eventsOf(wires, sent.length), [sent, sent], 'before it is replaced');
			await one.stop();
			await nodes[1 - i].api().trigger('c', `While${i}`, '{}');
			sent.push(`While${i}`);
			one.program = newer;
			await one.start();
			await waitFor(async () => (await live(one)).length === 2, 'both are registered');
			wires = await subscribeEach(nodes, 'c', { since: `${epoch}:0` });
			await publish();
			const mixed = [['a', later], ['b', i ? later : current]];
			assert.deepEqual(await versions(one), mixed);
		}
		assert.deepEqual(await eventsOf(wires, sent.length), [sent, sent], 'each event once, in one order');
		for (const one of nodes) await one.stop();
	});

	test('exchange members, client events, what ends for a user and ties to sockets', async (t) => {
		const database = await newDatabase();
		const nodes = ['a', 'b'].map((name) => node(t, database, name, { sections: { sync: { viewing_grace_ms: 0 } } }));
		nodes[1].program = newer;
		for (const one of nodes) await one.start();
		const [one, two] = [await nodes[0].connect(), await nodes[1].connect()];
		await one.subscribe('presence-c', member('1'));
		await two.subscribe('presence-c', member('2'));
		await one.next({ event: 'pusher_internal:member_added' });
		for (const [from, to, event] of [[one, two, 'client-a'], [two, one, 'client-b']])
			await waitFor(async () => {
				from.send({ event, channel: 'presence-c', data: {} });
				await to.ping();
				return to.frames.some((frame) => frame.event === event);
			}, `${event} arrives`);
		const at = { resource_type: 'invoice', resource_id: '7', user_id: 1, ttl: 3600, socket_id: two.socketId };
		await waitFor(async () => (await Sync.server(nodes[0]).post('start-viewing', at)).status === 200, 'tied from the older node');
		assert.equal((await nodes[0].api().post('/users/2/terminate_connections', {})).status, 200);
		assert.equal((await two.closed).code, 4009);
		await one.next({ event: 'pusher_internal:member_removed' });
		await waitFor(async () => (await nodes[0].query('SELECT FROM viewers')).length === 0, 'the viewer has ended');
		for (const node of nodes) assert.equal(await metric(node, 'bus_unknown_total'), 0);
	});
});

describe('a node that is older than the schema', { concurrency: 2 }, () => {
	test('goes on while a later version has added to the schema, and does not start again', async (t) => {
		const nodes = await startNodes(t, 2);
		const wires = await subscribeEach(nodes, 'c');
		await migrate(nodes[0]);
		for (const [i, one] of nodes.entries()) await one.api().trigger('c', `E${i}`, '{}');
		assert.deepEqual(await eventsOf(wires, 2), [['E0', 'E1'], ['E0', 'E1']]);
		ok(await Sync.server(nodes[0]).post('heartbeat', { user_id: 1 }));
		await nodes[1].stop();
		await nodes[1].spawn();
		assert.equal((await nodes[1].child.ended).code, EX_DATAERR, nodes[1].child.log);
		assert.match(nodes[1].child.log, /has migration 9999.*which this program does not know/);
		await nodes[0].api().trigger('c', 'E2', '{}');
		await wires[0].next({ event: 'E2' });
	});
});

describe('messages that a node does not know', { concurrency: 2 }, () => {
	/** To all nodes, as another node would. */
	async function send(on, payload) {
		if (!redis) return on.query(`SELECT pg_notify(node_channel('scopewire'), $1)`, [payload]);
		const names = (await redis.call('PUBSUB', 'CHANNELS', `*${on.database.name}*`)).split('\n').filter(Boolean);
		return Promise.all(names.map((name) => redis.call('PUBLISH', name, payload)));
	}

	test('of another version, or of an unknown kind, are ignored and counted', async (t) => {
		const nodes = await startNodes(t, 2);
		const wires = await subscribeEach(nodes, 'private-c');
		const unknown = (on) => metric(on, 'bus_unknown_total');
		const forged = JSON.stringify({ event: 'client-forged', channel: 'private-c', data: '{}' });
		const fields = ['client-portal', 'private-c', forged].map((text) => `${text.length}:${text}`).join('');
		// What has the version of the nodes is refused in Redis, because it is not signed (cluster_forged.test.mjs).
		const payloads = redis ? [`1 4000 M C${fields}`, `3 4000 M C${fields}`, 'nothing']
			: [`2 4000 M1 C${fields}`, `1 4000 Z1 C${fields}`, `1 4000 M1 Z${fields}`, 'nothing'];
		for (const payload of payloads) {
			const had = await Promise.all(nodes.map(unknown));
			await send(nodes[0], payload);
			for (const [i, one] of nodes.entries())
				await waitFor(async () => await unknown(one) > had[i], `${payload} is counted`);
		}
		await waitFor(async () => {
			wires[0].send({ event: 'client-real', channel: 'private-c', data: {} });
			await wires[1].ping();
			return wires[1].frames.some((frame) => frame.event === 'client-real');
		}, 'client events still arrive');
		for (const wire of wires) assert.deepEqual(wire.frames.filter((frame) => frame.event === 'client-forged'), []);
	});
});
