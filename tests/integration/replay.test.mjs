// SPDX-License-Identifier: MIT
// What a client missed comes back: in order, once, then live (docs/replay.md).
import { test, describe, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { pause, startDaemon, waitFor } from '../lib/harness.mjs';
import { Returning } from './replay_client.mjs';

const RESYNC = 'scopewire:resync';
const REPLAYED = 'scopewire:replayed';

/** All frames of the channel up to the one that ends its replay. */
async function replayOf(wire, channel, since, more = {}) {
	const from = wire.frames.length;
	await wire.subscribe(channel, { since, ...more });
	const end = await wire.next((f) => f.channel === channel &&
		(f.event === REPLAYED || f.event === RESYNC));
	const frames = wire.frames.slice(from).filter((f) => f.channel === channel);
	return { end, data: JSON.parse(end.data),
		events: frames.slice(1, frames.indexOf(end)).filter((f) => f.id) };
}

const serialOf = (position) => Number(position.split(':')[1]);

describe('replay', () => {
	let daemon, wire, api;
	before(async () => {
		daemon = await startDaemon({ app: { max_replay_events: 500,
			channel_durability: 'async-*:async, cache-async-*:async, none-*:none' } });
		api = daemon.api();
		wire = await daemon.connect();
	});
	after(() => daemon.stop());

	test('connection_established has the epoch, subscription_succeeded the position', async () => {
		const [{ epoch }] = await daemon.query('SELECT epoch FROM log_meta');
		assert.equal(wire.epoch, epoch);
		const { position } = await wire.subscribe('quiet');
		assert.equal(position.split(':')[0], epoch);
		wire.unsubscribe('quiet');
		await wire.ping();
		await api.trigger('quiet', 'While', { away: true });
		const { events, end } = await replayOf(wire, 'quiet', position);
		assert.deepEqual(events.map((f) => f.event), ['While']);
		assert.ok(serialOf(end.position) >= events[0].serial);
	});

	test('a replayed frame is the live one, byte for byte', async () => {
		const other = await daemon.connect();
		await other.subscribe('bytes');
		const { position } = await wire.subscribe('bytes');
		wire.unsubscribe('bytes');
		await wire.ping();
		await api.trigger('bytes', 'App\\Events\\X', '{"ä":  "\\u00e9\\n", "big": 12345678901234567890}');
		await api.trigger('bytes', 'Text', 'no json "at" all');
		await daemon.query(`SELECT broadcast('bytes', 'Sql', '{"a":   [1, 2]}')`);
		await other.next({ event: 'Sql' });
		const { events } = await replayOf(wire, 'bytes', position);
		assert.equal(events.length, 3);
		const texts = (w) => w.texts.filter((_, i) => w.frames[i].channel === 'bytes' &&
			w.frames[i].id);
		assert.deepEqual(texts(wire), texts(other));
		await other.close();
	});

	test('private, presence and encrypted channels are replayed', async () => {
		for (const [channel, more] of [['private-p', {}], ['private-encrypted-p', {}],
			['presence-p', { channelData: { user_id: '1' } }]]) {
			const { position } = await wire.subscribe(channel, more);
			wire.unsubscribe(channel);
			await wire.ping();
			const data = { nonce: 'n', ciphertext: 'c' };
			await api.trigger(channel, 'Missed', data);
			const { events } = await replayOf(wire, channel, position, more);
			assert.deepEqual(events.map((f) => JSON.parse(f.data)), [data]);
		}
		wire.unsubscribe('private-p');
		wire.sendSubscribe('private-p', { auth: 'key:bad', since: `${wire.epoch}:0` });
		await wire.next({ event: 'pusher:subscription_error', channel: 'private-p' });
	});

	test('events of other applications and channels are not replayed', async () => {
		const { position } = await wire.subscribe('mine');
		wire.unsubscribe('mine');
		await wire.ping();
		await api.trigger('mine2', 'No', {});
		await api.trigger('mine', 'Yes', {});
		await daemon.query(`INSERT INTO realtime_events (serial, channel, event_type, payload, app)
			SELECT nextval('realtime_events_serial'), 'mine', 'No', '{}', 'another'`);
		await api.trigger('mine', 'Yes', {});
		const { events } = await replayOf(wire, 'mine', position);
		assert.deepEqual(events.map((f) => f.event), ['Yes', 'Yes']);
	});

	test('async events are replayed, events of durability none are not', async () => {
		const first = await wire.subscribe('async-1');
		const none = await wire.subscribe('none-1');
		wire.unsubscribe('async-1');
		wire.unsubscribe('none-1');
		await wire.ping();
		for (let n = 0; n < 20; n++) await api.trigger(['async-1', 'none-1'], 'A', { n });
		const { events } = await replayOf(wire, 'async-1', first.position);
		await waitFor(() => wire.all({ event: 'A', channel: 'async-1' }).length === 20,
			'all async events');
		assert.ok(events.length <= 20);
		assert.deepEqual(wire.all({ event: 'A' }).map((f) => JSON.parse(f.data).n),
			Array.from({ length: 20 }, (_, n) => n));
		assert.equal((await replayOf(wire, 'none-1', none.position)).data.count, 0);
	});

	test('a client\'s own events are left out when it names its former socket_id', async () => {
		const { position } = await wire.subscribe('own');
		wire.unsubscribe('own');
		await wire.ping();
		await api.trigger('own', 'Own', {}, { socket_id: wire.socketId });
		await api.trigger('own', 'All', {});
		const again = await daemon.connect();
		const { events } = await replayOf(again, 'own', position,
			{ was: `7.7,${wire.socketId}` });
		assert.deepEqual(events.map((f) => f.event), ['All']);
		again.unsubscribe('own');
		assert.equal((await replayOf(again, 'own', position)).data.count, 2);
		await again.close();
	});

	test('events that exclude the connection itself are left out of its replay alone', async () => {
		const other = await daemon.connect();
		const { position } = await wire.subscribe('self');
		wire.unsubscribe('self');
		const mine = { socket_id: wire.socketId };
		for (let n = 0; n < 200; n++)
			await api.trigger('self', n % 3 ? 'Own' : 'All', { n, x: 'x'.repeat(300) }, n % 3 ? mine : {});
		await daemon.query(`SELECT broadcast('self', 'Own', '{}', exclude_socket => $1)`, [wire.socketId]);
		await api.trigger('self', 'Others', {}, { socket_id: other.socketId });
		await sequenced(daemon);
		const [own, all] = await Promise.all([wire, other].map((w) => replayOf(w, 'self', position)));
		assert.deepEqual(own.events.map((f) => f.event), [...Array(67).fill('All'), 'Others']);
		assert.equal(own.data.count, 68);
		assert.equal(own.end.position, all.end.position);
		assert.equal(all.data.count, 201);
		assert.ok(own.events.every((f) => f.event === 'Others' || JSON.parse(f.data).n % 3 === 0));
		assert.ok(all.events.every((f) => f.event !== 'Others'));
		await other.close();
	});

	test('max_replay_events are replayed; one more is a resync', async () => {
		const { position } = await wire.subscribe('cap');
		wire.unsubscribe('cap');
		await wire.ping();
		const batch = (n) => daemon.query(`SELECT count(broadcast('cap', 'N', '{}'))
			FROM generate_series(1, $1)`, [n]);
		await batch(500);
		await waitFor(async () => (await daemon.query(`SELECT FROM realtime_events
			WHERE channel = 'cap' AND serial > 0`)).length === 500, 'the rows are sequenced');
		await wire.subscribe('tick');
		await api.trigger('tick', 'Tick', {});
		await wire.next({ event: 'Tick' });
		const full = await replayOf(wire, 'cap', position);
		assert.equal(full.data.count, 500);
		assert.ok(full.events.every((f, i) => !i || f.serial > full.events[i - 1].serial));
		wire.unsubscribe('cap');
		await wire.ping();
		await api.trigger('cap', 'One', {});
		const { data, events, end } = await replayOf(wire, 'cap', position);
		assert.equal(data.reason, 'too_many');
		assert.equal(events.length, 0);
		assert.equal(end.position, `${data.epoch}:${data.serial}`);
		await api.trigger('cap', 'Live', {});
		await wire.next({ event: 'Live', channel: 'cap' });
	});

	test('another epoch, a position ahead of the log, or a malformed one is a resync', async () => {
		assert.equal((await replayOf(wire, 'r1', 'other:1')).data.reason, 'epoch');
		assert.equal((await replayOf(wire, 'r2', 'no position')).data.reason, 'malformed');
		assert.match(wire.all({ event: 'pusher:error' }).at(-1).data.message, /not a position/);
		for (const [i, since] of ['', ':', 'e:', ':1', `${'e'.repeat(65)}:1`, 'e:1:2', 'e:+1',
			'e:18446744073709551616', "e';--:1", 'é:1'].entries())
			assert.equal((await replayOf(wire, `bad-${i}`, since)).data.reason, 'malformed', since);
		for (const [i, was] of ['x', '1', '1.2,,3.4', Array(9).fill('1.2').join(),
			`${'9'.repeat(500)}.1`].entries())
			assert.equal((await replayOf(wire, `was-${i}`, `${wire.epoch}:0`, { was }))
				.data.reason, 'malformed', was);
		for (const since of [7, {}, [], true]) {
			wire.sendSubscribe('typed', { since });
			await wire.next({ event: 'pusher:error', data: { message: /since must be a string/ } });
		}
		await api.trigger('r1', 'Live', {});
		await wire.next({ event: 'Live', channel: 'r1' });
	});

	test('a position older than the oldest entry is a resync', async () => {
		const { position } = await wire.subscribe('old');
		wire.unsubscribe('old');
		await wire.ping();
		await api.trigger('old', 'Gone', {});
		await daemon.query('UPDATE log_meta SET horizon = $1', [serialOf(position) + 1]);
		const { data } = await replayOf(wire, 'old', position);
		assert.equal(data.reason, 'expired');
		await daemon.query('UPDATE log_meta SET horizon = 0');
	});
});

test('a position later than the end of the log is a resync at once', async (t) => {
	const daemon = await startDaemon({ database: { replay_timeout_ms: 600000 } }, t);
	const wire = await daemon.connect();
	const { data } = await replayOf(wire, 'c', `${wire.epoch}:99999999`);
	assert.equal(data.reason, 'epoch');
	await wire.close();
});

/** The rows that broadcast() made have serials, and this node has delivered them. */
async function sequenced(daemon) {
	const wire = await daemon.connect();
	await waitFor(async () => (await daemon.query('SELECT FROM realtime_events_pending LIMIT 1'))
		.length === 0, 'all are sequenced');
	await wire.subscribe('tick');
	await daemon.api().trigger('tick', 'Tick', {});
	await wire.next({ event: 'Tick' });
	await wire.close();
}

describe('limits of a replay', () => {
	let daemon, wire, position;
	before(async () => {
		daemon = await startDaemon({ app: { max_replay_events: 50, max_replay_age: 3600 } });
		wire = await daemon.connect();
		({ position } = await wire.subscribe('c'));
		wire.unsubscribe('c');
		await wire.ping();
		await daemon.query(`SELECT count(broadcast('c', 'E', '{}')) FROM generate_series(1, 50)`);
		await sequenced(daemon);
	});
	after(() => daemon.stop());

	test('max_replay_events below a page is enforced', async () => {
		const full = await replayOf(wire, 'c', position);
		assert.equal(full.data.count, 50);
		wire.unsubscribe('c');
		await wire.ping();
		await daemon.api().trigger('c', 'One', {});
		const { data, events } = await replayOf(wire, 'c', position);
		assert.equal(data.reason, 'too_many');
		assert.equal(events.length, 0);
		wire.unsubscribe('c');
	});

	test('an event older than max_replay_age is not replayed', async () => {
		const old = await wire.subscribe('old');
		wire.unsubscribe('old');
		await wire.ping();
		await daemon.api().trigger('old', 'Old', {});
		await daemon.api().trigger('old', 'New', {});
		const [{ serial }] = await daemon.query(`UPDATE realtime_events
			SET created_at = now() - interval '2 h'
			WHERE channel = 'old' AND event_type = 'Old' RETURNING serial`);
		assert.equal((await replayOf(wire, 'old', old.position)).data.reason, 'expired');
		wire.unsubscribe('old');
		const { events } = await replayOf(wire, 'old', `${wire.epoch}:${serial}`);
		assert.deepEqual(events.map((f) => f.event), ['New']);
		assert.equal((await replayOf(wire, 'quiet', `${wire.epoch}:0`)).data.count, 0);
	});

	test('a replay of large events comes in pages of few events', async () => {
		const { position: from } = await wire.subscribe('large');
		wire.unsubscribe('large');
		await wire.ping();
		for (let n = 0; n < 40; n++)
			await daemon.api().trigger('large', 'L', { n, x: 'x'.repeat(9000) });
		const { data, events } = await replayOf(wire, 'large', from);
		assert.equal(data.count, 40);
		assert.deepEqual(events.map((f) => JSON.parse(f.data).n),
			Array.from({ length: 40 }, (_, n) => n));
	});
});

/**
 * Counts the calls of replay_page in the sequence replay_calls.  Each call waits while the test
 * holds the advisory lock of its name.
 */
async function countReplayCalls(daemon) {
	await daemon.query('CREATE SEQUENCE replay_calls MINVALUE 0 START 0');
	await daemon.query('ALTER FUNCTION replay_page RENAME TO replay_page_real');
	const args = '$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11';
	await daemon.query(`CREATE FUNCTION replay_page(text, text, boolean, text, bigint, bigint, text,
			integer, integer, integer, integer)
		RETURNS TABLE (fault text, serial bigint, event_id text, event_type text, payload text,
			payload_is_text boolean, exclude_socket text) LANGUAGE plpgsql AS $$ BEGIN
			PERFORM nextval('replay_calls');
			PERFORM pg_advisory_xact_lock_shared(hashtext('replay_page'));
			RETURN QUERY SELECT * FROM replay_page_real(${args});
		END $$`);
}

describe('many replays', () => {
	test('a returning client waits for a few requests of each other client, not for all', async (t) => {
		const daemon = await startDaemon({ database: { replay_timeout_ms: 60000 } }, t);
		const wire = await daemon.connect();
		const { position } = await wire.subscribe('c');
		wire.unsubscribe('c');
		await daemon.api().trigger('c', 'Missed', {});
		await countReplayCalls(daemon);
		const holder = await daemon.session();
		await holder.query('SELECT pg_advisory_lock(hashtext(\'replay_page\'))');
		const flood = await Promise.all([daemon.connect(), daemon.connect()]);
		for (const [i, f] of flood.entries()) {
			for (let n = 1; n <= 1000; n++) {
				f.sendSubscribe('c', { since: `${wire.epoch}:0`, was: `${i + 1}.${n}` });
				f.unsubscribe('c');
			}
			await f.ping();
		}
		const replay = replayOf(wire, 'c', position);
		await wire.ping();
		await holder.query('SELECT pg_advisory_unlock(hashtext(\'replay_page\'))');
		assert.deepEqual((await replay).events.map((f) => f.event), ['Missed']);
		const [{ n }] = await daemon.query('SELECT last_value::int + 1 AS n FROM replay_calls');
		assert.ok(n <= 5, `${n} requests were sent to the database`);
		await holder.end();
		await Promise.all([...flood, wire].map((w) => w.close()));
	});

	test('requests of a client that disconnected are not sent to the database', async (t) => {
		const daemon = await startDaemon({ database: { replay_timeout_ms: 60000,
			replay_connections: 1 } }, t);
		const wire = await daemon.connect();
		const { position } = await wire.subscribe('c');
		wire.unsubscribe('c');
		await daemon.api().trigger('c', 'Missed', {});
		await countReplayCalls(daemon);
		const holder = await daemon.session();
		await holder.query('SELECT pg_advisory_lock(hashtext(\'replay_page\'))');
		for (let n = 1; n <= 50; n++) {
			const f = await daemon.connect();
			f.sendSubscribe('c', { since: `${wire.epoch}:0`, was: `1.${n}` });
			f.sendSubscribe('d', { since: `${wire.epoch}:0`, was: `1.${n}` });
			await f.ping();
			await f.close();
		}
		const connections = async () => (await daemon.api().get('/connections')).json.connections;
		await waitFor(async () => await connections() === 1, 'their connections have ended');
		const replay = replayOf(wire, 'c', position);
		await wire.ping();
		await holder.query('SELECT pg_advisory_unlock(hashtext(\'replay_page\'))');
		assert.equal((await replay).data.count, 1);
		const [{ n }] = await daemon.query('SELECT last_value::int + 1 AS n FROM replay_calls');
		// Two of each node were sent before (SENT_MAX in src/log/reader.c, for each connection of its pool).
		const sent = 2 * (daemon.nodes?.length ?? 1);
		assert.ok(n <= sent + 1, `${n} requests were sent to the database`);
		await holder.end();
		await wire.close();
	});

	test('applications take turns', async (t) => {
		const daemon = await startDaemon({ database: { replay_timeout_ms: 60000,
			replay_connections: 1 } }, t);
		await daemon.query(`INSERT INTO apps (id, key, secret) VALUES ('two', 'two-key', 's')`);
		let two;
		await waitFor(async () => {
			two = await daemon.connect({ key: 'two-key' }).catch(() => undefined);
			return two?.socketId;
		}, 'the application is known');
		const wire = await daemon.connect();
		await daemon.api().trigger('c', 'Missed', {});
		await countReplayCalls(daemon);
		const holder = await daemon.session();
		await holder.query('SELECT pg_advisory_lock(hashtext(\'replay_page\'))');
		const flood = [];
		for (let n = 1; n <= 50; n++) {
			const f = await daemon.connect();
			f.sendSubscribe('c', { since: `${wire.epoch}:0`, was: `1.${n}` });
			await f.ping();
			flood.push(f);
		}
		const replay = replayOf(two, 'c', `${wire.epoch}:0`);
		await two.ping();
		const order = [];
		const done = flood.map((f) => f.next({ event: REPLAYED }).then(() => order.push('one')));
		await holder.query('SELECT pg_advisory_unlock(hashtext(\'replay_page\'))');
		await replay.then(() => order.push('two'));
		await Promise.all(done);
		assert.ok(order.indexOf('two') < 25, `place ${order.indexOf('two')} of ${order.length}`);
		await holder.end();
		await Promise.all([...flood, two, wire].map((w) => w.close()));
	});
});

describe('under load', () => {
	test('clients that reconnect receive each event once, in order', async (t) => {
		const daemon = await startDaemon({ app: { max_replay_events: 100000,
			max_presence_members: 1000, max_outbox_bytes: 0, max_outbox_messages: 0,
			channel_durability: 'async-*:async' }, server: { workers: 2 } }, t);
		const channels = ['load-a', 'private-load', 'async-load', 'presence-load'];
		const clients = Array.from({ length: 12 }, (_, i) => new Returning(daemon, channels,
			{ channelData: (c) => (c.startsWith('presence') ? { user_id: `${i}` } : undefined) }));
		await Promise.all(clients.map((c) => c.come()));
		for (const c of clients)
			await waitFor(() => channels.every((name) => c.of(name).position), 'all are there');

		let stopping = false;
		const published = new Map(channels.map((c) => [c, new Set()]));
		const publishers = Array.from({ length: 4 }, async (_, p) => {
			const api = daemon.api();
			for (let n = 0; !stopping; n++) {
				const channel = channels[(n + p) % channels.length];
				const answer = await api.trigger(channel, 'E', { it: `h${p}-${n}` });
				assert.equal(answer.status, 200);
				published.get(channel).add(`h${p}-${n}`);
			}
		});
		publishers.push((async () => {
			const client = await daemon.session();
			for (let n = 0; !stopping; n++) {
				const channel = ['load-a', 'private-load'][n % 2];
				await client.query('SELECT broadcast($1, $2, $3)', [channel, 'E',
					{ it: `s-${n}` }]);
				published.get(channel).add(`s-${n}`);
			}
			await client.end();
		})());
		await Promise.all(clients.map(async (c, i) => {
			for (let round = 0; round < 25; round++) {
				await pause(10 + ((i * 37 + round * 61) % 80));
				await c.go();
				await pause((i * 13 + round * 29) % 60);
				await c.come();
			}
		}));
		stopping = true;
		await Promise.all(publishers);
		const count = (c, name) => c.of(name).seen.filter((f) => f.event === 'E').length;
		for (const c of clients)
			for (const name of channels)
				await waitFor(() => c.of(name).isLive &&
					count(c, name) >= published.get(name).size, () => `${name} is complete`);
		let replayed = 0;
		for (const c of clients) {
			for (const name of channels) {
				const { seen, repeats, resyncs } = c.of(name);
				assert.deepEqual(resyncs, []);
				assert.deepEqual(repeats, [], name);
				const its = seen.map((f) => JSON.parse(f.data).it);
				assert.equal(new Set(its).size, its.length, `${name}: an event came twice`);
				assert.deepEqual(new Set(its), published.get(name), `${name}: events`);
				const serials = seen.map((f) => f.serial).filter(Boolean);
				assert.ok(serials.every((s, i) => !i || s > serials[i - 1]), `${name}: order`);
				replayed += c.of(name).replayed;
			}
		}
		assert.ok(replayed > 0);
		t.diagnostic(`${clients.length * 26} connections, ${replayed} events replayed`);
		await Promise.all(clients.map((c) => c.go()));
	});
});

describe('restarts and lost connections', () => {
	test('no event is missed over a restart of the daemon', async (t) => {
		const daemon = await startDaemon({}, t);
		const c = await new Returning(daemon, ['c', 'private-d']).come();
		await waitFor(() => c.of('c').position && c.of('private-d').position, 'positions');
		await c.go();
		await daemon.api().trigger(['c', 'private-d'], 'Before', {});
		await daemon.stop();
		await daemon.query(`SELECT broadcast('c', 'Down', '{}')`);
		await daemon.start();
		await daemon.api().trigger('c', 'After', {});
		await c.come();
		await waitFor(() => c.of('c').isLive && c.of('private-d').isLive, 'both are live');
		assert.deepEqual(c.of('c').seen.map((f) => f.event), ['Before', 'Down', 'After']);
		assert.deepEqual(c.of('private-d').seen.map((f) => f.event), ['Before']);
		await c.go();
	});

	test('no event is missed over kill -9 of the daemon', async (t) => {
		const daemon = await startDaemon({}, t);
		const c = await new Returning(daemon, ['c']).come();
		await waitFor(() => c.of('c').position, 'a position');
		for (let n = 0; n < 5; n++) {
			await daemon.api().trigger('c', 'E', { n: 2 * n });
			await waitFor(() => c.of('c').seen.length === 2 * n + 1, 'the event');
			await c.go();
			await daemon.api().trigger('c', 'E', { n: 2 * n + 1 });
			await daemon.kill();
			await daemon.start();
			await c.come();
			await waitFor(() => c.of('c').isLive, 'it is live');
			assert.equal(c.of('c').seen.length, 2 * n + 2);
		}
		assert.deepEqual(c.of('c').seen.map((f) => JSON.parse(f.data).n),
			Array.from({ length: 10 }, (_, n) => n));
		assert.deepEqual(c.of('c').resyncs, []);
		await c.go();
	});

	test('a lost database connection during a replay is a resync or a complete replay', async (t) => {
		const daemon = await startDaemon({ app: { max_replay_events: 0 },
			database: { replay_timeout_ms: 2000 } }, t);
		const wire = await daemon.connect();
		const { position } = await wire.subscribe('c');
		wire.unsubscribe('c');
		await daemon.query(`SELECT count(broadcast('c', 'E', '{}')) FROM generate_series(1, 20000)`);
		await wire.subscribe('tick');
		await waitFor(async () => (await daemon.query('SELECT FROM realtime_events_pending LIMIT 1'))
			.length === 0, 'all are sequenced');
		await daemon.api().trigger('tick', 'Tick', {});
		await wire.next({ event: 'Tick' });
		let ends = 0;
		for (let round = 0; round < 10; round++) {
			const replay = replayOf(wire, 'c', position);
			await daemon.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid()`);
			const { data, events } = await replay;
			if (data.reason) assert.equal(data.reason, 'unavailable');
			else assert.equal(data.count, 20000);
			assert.ok(events.every((f, i) => !i || f.serial > events[i - 1].serial));
			ends++;
			wire.unsubscribe('c');
		}
		assert.equal(ends, 10);
		await waitFor(async () => (await replayOf(wire, 'c', position)
			.finally(() => wire.unsubscribe('c'))).data.count === 20000, 'it is served again');
		await wire.close();
	});

	test('a client that disconnects in the middle of a replay leaves nothing behind', async (t) => {
		const daemon = await startDaemon({ app: { max_replay_events: 0 } }, t);
		const first = await daemon.connect();
		const { position } = await first.subscribe('c');
		await first.close();
		await daemon.query(`SELECT count(broadcast('c', 'E', '{"x": "${'x'.repeat(500)}"}'))
			FROM generate_series(1, 5000)`);
		await waitFor(async () => (await daemon.query('SELECT FROM realtime_events_pending LIMIT 1'))
			.length === 0, 'all are sequenced');
		for (let round = 0; round < 30; round++) {
			const wire = await daemon.connect();
			wire.sendSubscribe('c', { since: position });
			if (round % 3 === 0) await wire.next({ event: 'E' });
			if (round % 3 === 1) wire.unsubscribe('c');
			if (round % 2) await wire.ping();
			await wire.terminate();
		}
		const last = await daemon.connect();
		assert.equal((await replayOf(last, 'c', position)).data.count, 5000);
		await last.close();
	});
});

describe('cache channels after a restart', () => {
	test('a subscriber receives the last event from the log', async (t) => {
		const daemon = await startDaemon({ app: { cache_ttl: 600 } }, t);
		const api = () => daemon.api();
		await api().trigger('cache-x', 'Old', { n: 1 });
		await api().trigger('cache-x', 'Last', { n: 2 });
		await api().trigger('private-cache-y', 'Text', 'plain text');
		await api().trigger('cache-expired', 'E', {});
		await daemon.stop();
		await daemon.query(`UPDATE realtime_events SET delivered_at = now() - interval '1 h'
			WHERE channel = 'cache-expired'`);
		await daemon.start();
		const wire = await daemon.connect();
		await wire.subscribe('cache-x');
		assert.equal((await wire.next({ channel: 'cache-x' })).event, 'Last');
		await wire.subscribe('private-cache-y');
		assert.equal((await wire.next({ channel: 'private-cache-y' })).data, 'plain text');
		await wire.subscribe('cache-none');
		assert.equal((await wire.next({ channel: 'cache-none' })).event, 'pusher:cache_miss');
		await wire.subscribe('cache-expired');
		assert.equal((await wire.next({ channel: 'cache-expired' })).event, 'pusher:cache_miss');
		await api().trigger('cache-none', 'Now', {});
		await wire.next({ event: 'Now' });
		const other = await daemon.connect();
		await other.subscribe('cache-none');
		assert.equal((await other.next({ channel: 'cache-none' })).event, 'Now');
		await wire.close();
		await other.close();
	});

	test('the HTTP API returns the last event from the log', async (t) => {
		const daemon = await startDaemon({}, t);
		await daemon.api().trigger('cache-x', 'Last', { n: 2 });
		await daemon.restart();
		const { json } = await daemon.api().get('/channels/cache-x', { info: 'cache' });
		assert.equal(json.cache?.data, '{"n":2}');
		assert.ok(json.cache.ttl > 0 && json.cache.ttl <= 1800);
		const none = await daemon.api().get('/channels/cache-none', { info: 'cache' });
		assert.equal(none.json.cache, null);
	});
});
