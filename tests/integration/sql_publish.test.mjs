// SPDX-License-Identifier: MIT
// Publishing from SQL: what commits reaches the sockets once and in order, whatever is killed;
// what rolls back never does; what is wrong is refused with its SQLSTATE.
import { test, describe, before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { binaries, query, startDaemon, unprivileged, waitFor } from '../lib/harness.mjs';

const SQL_DOC = fileURLToPath(new URL('../../docs/sql.md', import.meta.url));
const GRANTS = fileURLToPath(new URL('../../sql/grants.sql', import.meta.url));

/** A session of its own on the daemon's database. */
async function session(daemon, user, searchPath = 'scopewire,public') {
	const at = daemon.database ?? { host: daemon.embeddedSocket(), name: 'scopewire',
		user: 'scopewire' };
	const client = new pg.Client({ host: at.host, database: at.name, user: user ?? at.user,
		port: 5432, options: `-c search_path=${searchPath}` });
	client.on('error', () => {}); // the server goes away in some tests
	await client.connect();
	return client;
}

async function refused(promise, code, message) {
	const error = await promise.then(() => assert.fail('was not refused'), (e) => e);
	assert.equal(error.code, code, error.message);
	assert.match(error.message, message);
	return error;
}

const numbers = (wire, event) => wire.all({ event }).map((f) => JSON.parse(f.data).n);
const upTo = (n) => Array.from({ length: n }, (_, i) => i + 1);

function assertOneOrder(wire) {
	const serials = wire.frames.map((f) => f.serial).filter(Boolean);
	serials.forEach((serial, i) => assert.ok(!i || serial > serials[i - 1],
		`serial ${serial} behind ${serials[i - 1]}`));
}

describe('publish from SQL', () => {
	let daemon, wire;
	before(async () => {
		daemon = await startDaemon();
		wire = await daemon.connect();
		await wire.subscribe('private-client.1');
	});
	after(() => daemon.stop());

	test('broadcast() delivers id, serial and the exact payload', async () => {
		const [{ broadcast }] = await daemon.query(
			`SELECT broadcast('private-client.1', 'InvoiceCreated', '{"a":  1}')`);
		const frame = await wire.next({ event: 'InvoiceCreated' });
		assert.equal(frame.id, broadcast);
		assert.equal(frame.data, '{"a":  1}');
		assert.ok(frame.serial > 0);
		const [row] = await daemon.query(
			'SELECT * FROM realtime_events WHERE event_id = $1', [broadcast]);
		assert.equal(Number(row.serial), frame.serial);
		assert.deepEqual([row.delivered, row.origin, row.app],
			[true, 'sql', 'client-portal']);
		assert.ok(row.delivered_at);
		await waitFor(async () => (await daemon.query(
			'SELECT FROM realtime_deliveries WHERE serial = $1 AND sockets = 1',
			[row.serial])).length, 'the delivery record');
	});

	test('a plain INSERT is delivered', async () => {
		await daemon.query(`INSERT INTO realtime_events(channel, event_type, payload)
			VALUES ('private-client.1', 'Plain', '[1]')`);
		assert.equal((await wire.next({ event: 'Plain' })).data, '[1]');
	});

	test('a name in Laravel style arrives with single backslashes', async () => {
		await daemon.query(`SELECT broadcast('private-client.1', 'App\\Events\\InvoiceUpdated',
			'{}')`);
		await wire.next({ event: 'App\\Events\\InvoiceUpdated' });
	});

	test('commits go in order and once, rollbacks never', async () => {
		const client = await session(daemon);
		for (let n = 1; n <= 300; n++) {
			await client.query('BEGIN');
			await client.query(`SELECT broadcast('private-client.1', 'Gone', '{}')`);
			await client.query('ROLLBACK');
			await client.query(`SELECT broadcast('private-client.1', 'Kept', $1)`, [{ n }]);
		}
		await client.end();
		await wire.next({ event: 'Kept', data: { n: 300 } });
		assert.deepEqual(numbers(wire, 'Kept'), upTo(300));
		assert.equal(wire.all({ event: 'Gone' }).length, 0);
		assertOneOrder(wire);
	});

	test('3,000 events of one transaction are delivered among HTTP publishes', async () => {
		const api = daemon.api();
		const http = Promise.all(upTo(50).map((n) =>
			api.trigger('private-client.1', 'Http', { n })));
		await daemon.query(`SELECT broadcast('private-client.1', 'Many',
			json_build_object('n', n)) FROM generate_series(1, 3000) n`);
		await http;
		await wire.next({ event: 'Many', data: { n: 3000 } });
		await waitFor(() => wire.all({ event: 'Http' }).length >= 50, 'all of HTTP');
		assert.deepEqual(numbers(wire, 'Many'), upTo(3000));
		assert.equal(new Set(numbers(wire, 'Http')).size, 50);
		assert.equal(wire.all({ event: 'Http' }).length, 50);
		assertOneOrder(wire);
	});

	test('an event_id given twice publishes once', async () => {
		for (let i = 0; i < 2; i++)
			await daemon.query(`SELECT broadcast('private-client.1', 'Twice', '{}', 'order-7')`);
		await daemon.query(`SELECT broadcast('private-client.1', 'AfterTwice', '{}')`);
		await wire.next({ event: 'AfterTwice' });
		assert.equal(wire.all({ event: 'Twice' }).length, 1);
		assert.equal(wire.all({ event: 'Twice' })[0].id, 'order-7');
	});

	test('the socket in exclude_socket does not receive the event', async () => {
		const other = await daemon.connect();
		await other.subscribe('private-client.1');
		await daemon.query(`SELECT broadcast('private-client.1', 'Others', '{}',
			exclude_socket => $1)`, [wire.socketId]);
		await other.next({ event: 'Others' });
		await daemon.query(`SELECT broadcast('private-client.1', 'All', '{}')`);
		await wire.next({ event: 'All' });
		assert.equal(wire.all({ event: 'Others' }).length, 0);
		await other.close();
	});

	test('SQL and HTTP accept the same names of channels and events, and the same socket ids', async () => {
		const api = daemon.api();
		const publish = async (channel, event, socket = null) => {
			const sql = await daemon.query(`SELECT broadcast($1, $2, '{}', NULL, $3)`,
				[channel, event, socket]).then(() => true, (e) => !/^22/.test(e.code));
			const { status } = await api.post('/events', { name: event, channel, data: '{}',
				...socket === null ? {} : { socket_id: socket } });
			assert.ok(status === 200 || status === 400, `${channel} ${event}: ${status}`);
			assert.equal(sql, status === 200, `${channel} ${event} ${socket}: SQL ${sql}, HTTP ${status}`);
			return sql;
		};
		const names = { 'pusher:x': false, 'pusher_internal:x': false, 'pusher:': false, pusher: true,
			'pusher.x': true, pusherx: true, 'Pusher:x': true, 'client-x': true, ' ': true, 'a b': true,
			'\u00e4': true, '': false, 'a\nb': true, '{op}': true, [`${'x'.repeat(200)}`]: true,
			[`${'x'.repeat(201)}`]: false, ['\u00e4'.repeat(101)]: false };
		for (const [name, right] of Object.entries(names))
			assert.equal(await publish('c', name), right, JSON.stringify(name));
		const channels = { 'a b': false, '': false, 'private-': null, '#server-to-user-7': true,
			'#server-to-user-': null, '#x': false, 'a#server-to-user-1': false, '-': true, '=@,.;_': true,
			'a\n': false, '\u00e4': false, 'a/b': false, 'a:b': false, 'private-encrypted-x': null,
			['x'.repeat(200)]: true, ['x'.repeat(201)]: false };
		for (const [name, right] of Object.entries(channels)) {
			const accepted = await publish(name, 'E');
			if (right !== null) assert.equal(accepted, right, JSON.stringify(name));
		}
		for (const id of ['1.2', '1234567890.1234567890', '12345678901.1', '1', '1.', '.1', 'a.b', '1.2 ',
			'-1.2', ' 1.2', '1.2.3', '4294967295.4294967295', '4294967296.1', '01.02'])
			await publish('c', 'E', id);
	});

	test('a payload can be json, jsonb, text or a literal', async () => {
		for (const payload of [`json_build_object('a', 1)`, `jsonb_build_object('a', 1)`,
			`'{"a" : 1}'::text`, `'{"a" : 1}'`])
			await daemon.query(`SELECT broadcast('private-client.1', 'Typed', ${payload})`);
		const prepared = 'PREPARE p AS SELECT scopewire.broadcast($1, $2, $3); '
			+ `EXECUTE p('private-client.1', 'Typed', '{"a" : 1}')`;
		await daemon.query(prepared);
		await daemon.query(`SELECT broadcast(channel => 'private-client.1', event => 'TypedLast',
			payload => NULL)`);
		await wire.next({ event: 'TypedLast' });
		assert.deepEqual(wire.all({ event: 'Typed' }).map((f) => f.data.replaceAll(' ', '')),
			Array(5).fill('{"a":1}'));
	});

	test('a write can be kept when its event is refused', async () => {
		const text = fs.readFileSync(SQL_DOC, 'utf8');
		const [, example] = text.match(/```sql\n(CREATE FUNCTION invoice_paid[^]*?)```/);
		await daemon.query(`CREATE TABLE public.invoice (id integer PRIMARY KEY, paid boolean);
			${example}`);
		await daemon.query(`INSERT INTO invoice VALUES (1, false)`);
		await daemon.query(`SELECT invoice_paid(1, 'not a channel')`);
		assert.deepEqual(await daemon.query('SELECT paid FROM invoice'), [{ paid: true }]);
		await daemon.query(`SELECT invoice_paid(1, 'private-client.1')`);
		await wire.next({ event: 'InvoicePaid' });
	});

	test('malformed arguments are refused', async () => {
		const call = (sql, values) => daemon.query(`SELECT broadcast(${sql})`, values);
		const hint = (await refused(call(`'a b', 'E', '{}'`), '22023', /not a channel name/)).hint;
		assert.match(hint, /Letters, digits/);
		await refused(call(`'', 'E', '{}'`), '22023', /not a channel name/);
		await refused(call(`'a#b', 'E', '{}'`), '22023', /not a channel name/);
		await refused(call(`E'a\\n', 'E', '{}'`), '22023', /not a channel name/);
		await refused(call(`NULL, 'E', '{}'`), '22004', /needs a channel/);
		await refused(call(`repeat('x', 201), 'E', '{}'`), '22001', /201 bytes, the limit is 200/);
		await refused(call(`'c', repeat('x', 201), '{}'`), '22001', /event name has 201/);
		await refused(call(`'c', '', '{}'`), '22023', /not an event name/);
		await refused(call(`'c', 'pusher:x', '{}'`), '22023', /not an event name/);
		await refused(call(`'c', 'E', to_json(repeat('x', 2000000))`), '22001', /payload/);
		await refused(call(`'c', 'E', '{'`), '22P02', /json/);
		await refused(call(`'c', 'E', '{}', 'a b'`), '22023', /event_id/);
		await refused(call(`'c', 'E', '{}', NULL, '1-2'`), '22023', /socket id/);
		await refused(call(`'c', 'E', '{}', NULL, NULL, 'nobody'`), '22023', /not known/);
		await refused(daemon.query(`INSERT INTO realtime_events(channel, event_type)
			VALUES ('a b', 'E')`), '22023', /not a channel name/);
		await call(`'#server-to-user-7', 'E', '{}'`);
		await refused(daemon.query(`SELECT require_channel('client-portal', '{}', 'private-x', NULL)`),
			'SW403', /No rule lets this user join/);
	});

	test('no event is missed when the LISTEN connection is cut repeatedly', async () => {
		for (let n = 1; n <= 10; n++) {
			await daemon.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE application_name = 'scopewired' AND datname = current_database()`);
			await daemon.query(`SELECT broadcast('private-client.1', 'Cut', $1)`, [{ n }]);
		}
		await wire.next({ event: 'Cut', data: { n: 10 } });
		assert.deepEqual(numbers(wire, 'Cut'), upTo(10));
		assertOneOrder(wire);
	});

	test('the daemon polls during a burst and listens again afterwards', async () => {
		const held = async () => (await daemon.query(`SELECT FROM pg_locks
			WHERE locktype = 'advisory' AND objid = lock_key('polling')::oid AND mode = 'ExclusiveLock' AND granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`))
			.length > 0;
		const clients = await Promise.all(upTo(4).map(() => session(daemon)));
		let polled = false, n = 0;
		await waitFor(async () => {
			await Promise.all(clients.map(async (client) => {
				for (let i = 0; i < 50; i++)
					await client.query(`SELECT broadcast('private-client.1', 'Burst', $1)`,
						[{ n: ++n }]);
			}));
			polled ||= await held();
			return polled;
		}, 'the polling lock');
		await Promise.all(clients.map((c) => c.end()));
		await waitFor(() => wire.all({ event: 'Burst' }).length >= n, 'all of the burst');
		assert.equal(wire.all({ event: 'Burst' }).length, n);
		await waitFor(async () => !await held(), 'listening again');
		assertOneOrder(wire);
	});
});

test('events committed while the daemon is down are delivered at its start', async (t) => {
	const daemon = await startDaemon({}, t);
	for (const how of ['stop', 'kill']) {
		await daemon[how]();
		await daemon.query(`SELECT broadcast('cache-news', 'News', $1)`, [{ how }]);
		await daemon.start();
		const wire = await daemon.connect();
		await wire.subscribe('cache-news');
		await wire.next({ event: 'News', data: { how } });
		const [{ waiting }] = await daemon.query(
			'SELECT count(*)::int AS waiting FROM realtime_events WHERE serial = 0');
		assert.equal(waiting, 0);
	}
});

test('rows with a serial that were not delivered are delivered after kill -9', async (t) => {
	const daemon = await startDaemon({}, t);
	await daemon.query(`SELECT broadcast('cache-a', 'First', '{}')`);
	await waitFor(async () => (await daemon.query('SELECT FROM node_cursor WHERE serial > 0'))
		.length, 'a saved cursor');
	await daemon.kill();
	await daemon.query(`SELECT broadcast('cache-a', 'Second', '{}')`);
	// As if it had been killed between the drain's commit and the sockets.
	await daemon.query('SELECT drain(100)');
	await daemon.start();
	const wire = await daemon.connect();
	await wire.subscribe('cache-a');
	await wire.next({ event: 'Second' });
});

test('an immediate stop of PostgreSQL loses no committed event', async (t) => {
	const daemon = await startDaemon({ embedded: true }, t);
	const wire = await daemon.connect();
	await wire.subscribe('c');
	const acknowledged = [];
	for (let n = 1; n <= 20; n++) {
		if (n % 7 === 0)
			execFileSync(path.join(binaries(), 'pg_ctl'), ['stop', '-D',
				path.join(daemon.stateFolder, 'data'), '-m', 'immediate', '-w'],
				{ ...unprivileged(), cwd: '/', stdio: 'pipe' });
		const publish = async () => daemon.query(`SELECT broadcast('c', 'E', $1, $2)`,
			[{ n }, `e-${n}`]);
		await waitFor(() => publish().then(() => true, () => false), `publish ${n}`);
		acknowledged.push(n);
	}
	await wire.next({ event: 'E', data: { n: 20 } });
	assert.deepEqual(numbers(wire, 'E'), acknowledged);
	assertOneOrder(wire);
});

test('with several applications the caller must name one', async (t) => {
	const app = { key: 'k1', secret: 's1' };
	const daemon = await startDaemon({ apps: [{ id: 'one', ...app, max_event_payload_bytes: 20 },
		{ id: 'two', key: 'k2', secret: 's2' }] }, t);
	await waitFor(async () => (await daemon.query('SELECT FROM log_apps')).length === 2,
		'the list of applications');
	const error = await refused(daemon.query(`SELECT broadcast('c', 'E', '{}')`), '22023',
		/several applications/);
	assert.match(error.hint, /one, two/);
	await refused(daemon.query(`SELECT broadcast('c', 'E', to_json(repeat('x', 20)),
		app => 'one')`), '22001', /22 bytes, the limit is 20/);
	const wire = await daemon.connect({ app: daemon.apps[1] });
	await wire.subscribe('c');
	await daemon.query(`SELECT broadcast('c', 'One', '{}', app => 'one')`);
	await daemon.query(`SELECT broadcast('c', 'Two', '{}', app => 'two')`);
	await wire.next({ event: 'Two' });
	assert.equal(wire.all({ event: 'One' }).length, 0);
});

describe('two applications', () => {
	let daemon, one, two;
	const sql = (text, values) => daemon.query(text, values);
	before(async () => {
		daemon = await startDaemon();
		await sql(`INSERT INTO apps (id, key, secret) VALUES ('second', 'k2', 's2')`);
		await waitFor(async () => (await sql('SELECT FROM log_apps')).length === 2,
			'the second application');
		one = await daemon.connect();
		two = await daemon.connect({ app: { id: 'second', key: 'k2', secret: 's2' } });
		for (const wire of [one, two]) await wire.subscribe('c');
	});
	after(() => daemon.stop());

	test('events without an application stay with the first one when another is added', async () => {
		await sql(`SELECT broadcast('c', 'Unnamed', '{}')`);
		await sql(`INSERT INTO realtime_events (channel, event_type) VALUES ('c', 'Row')`);
		await one.next({ event: 'Unnamed' });
		await one.next({ event: 'Row' });
		await sql(`CREATE TABLE public.later (id integer PRIMARY KEY)`);
		await sql(`SELECT watch('later', 'c')`);
		await sql('INSERT INTO later VALUES (1)');
		await one.next({ event: 'later.insert' });
		assert.equal((await sql(`SELECT user_id FROM notification_send('{7}', 'T')`)).length, 1);
		await two.ping();
		assert.equal(two.all({ channel: 'c', event: 'Unnamed' }).length, 0);
	});

	test('the setting scopewire.app is the application of a session or a role', async () => {
		const client = await session(daemon);
		await client.query(`SET scopewire.app = 'second'`);
		await client.query(`SELECT broadcast('c', 'Set', '{}')`);
		await two.next({ event: 'Set' });
		await client.query(`SELECT broadcast('c', 'Named', '{}', app => 'client-portal')`);
		await one.next({ event: 'Named' });
		await client.query(`SET scopewire.app = 'third'`);
		await refused(client.query(`SELECT broadcast('c', 'E', '{}')`), '22023', /"third" is not known/);
		await client.end();
	});

	test('an event_id counts for its application only', async () => {
		for (const app of ['client-portal', 'second', 'client-portal'])
			await sql(`SELECT broadcast('c', 'Same', '{}', 'id-1', app => $1)`, [app]);
		await sql(`SELECT broadcast('c', 'Fence', '{}')`);
		await one.next({ event: 'Fence' });
		await two.next({ event: 'Same' });
		assert.equal(one.all({ event: 'Same' }).length, 1);
		assert.deepEqual((await sql(`SELECT app FROM realtime_events WHERE event_id = 'id-1'
			ORDER BY app`)).map((e) => e.app), ['client-portal', 'second']);
	});
});

describe('watched tables', () => {
	let daemon, wire;
	const sql = (text, values) => daemon.query(text, values);
	const next = async (event, channel) => {
		const frame = await wire.next({ event, channel });
		return JSON.parse(frame.data);
	};
	before(async () => {
		daemon = await startDaemon();
		wire = await daemon.connect();
		await wire.subscribe('private-client.1');
		await wire.subscribe('private-client.2');
		await wire.subscribe('all');
		await sql(`CREATE TABLE public.invoices (id integer PRIMARY KEY, client_id integer,
			total integer, secret text)`);
	});
	after(() => daemon.stop());

	test('insert, update and delete are published, also a change of channel', async () => {
		await sql(`SELECT watch('invoices', 'private-client.{client_id}')`);
		await sql(`INSERT INTO invoices VALUES (1, 1, 10, 's'), (2, NULL, 20, 's')`);
		assert.deepEqual(await next('invoices.insert', 'private-client.1'), { op: 'insert',
			table: 'public.invoices', new: { id: 1, client_id: 1, total: 10, secret: 's' } });
		await sql('UPDATE invoices SET total = 11 WHERE id = 1');
		const update = await next('invoices.update', 'private-client.1');
		assert.deepEqual([update.new.total, update.old.total], [11, 10]);
		await sql('UPDATE invoices SET total = 11 WHERE id = 1'); // changes nothing: not told
		await sql('UPDATE invoices SET client_id = 2 WHERE id = 1');
		const gone = await next('invoices.delete', 'private-client.1');
		assert.deepEqual([gone.moved, gone.old.client_id, gone.new], [true, 1, undefined]);
		const come = await next('invoices.insert', 'private-client.2');
		assert.deepEqual([come.moved, come.new.client_id, come.old], [true, 2, undefined]);
		await sql('DELETE FROM invoices WHERE id = 1');
		const deleted = await next('invoices.delete', 'private-client.2');
		assert.deepEqual([deleted.old.id, deleted.moved], [1, undefined]);
		assert.equal(wire.all({ event: 'invoices.update' }).length, 1);
		assert.equal((await sql(`SELECT unwatch('invoices') AS n`))[0].n, 1);
		assert.equal((await sql('SELECT * FROM watches')).length, 0);
	});

	test('a watch selects columns and operations, and names events', async () => {
		await sql(`SELECT watch('invoices', 'all', '{id,total}', '{insert,update,truncate}',
			'App\\Events\\Invoice{Op}')`);
		await sql(`INSERT INTO invoices VALUES (5, 1, 50, 'hidden')`);
		assert.deepEqual(await next('App\\Events\\InvoiceCreated', 'all'), { op: 'insert',
			table: 'public.invoices', new: { id: 5, total: 50 } });
		await sql(`UPDATE invoices SET secret = 'other' WHERE id = 5`); // no column of ours
		await sql('DELETE FROM invoices WHERE id = 5');
		await sql('TRUNCATE invoices');
		assert.deepEqual(await next('App\\Events\\InvoiceTruncated', 'all'), { op: 'truncate',
			table: 'public.invoices' });
		assert.equal(wire.all({ event: 'App\\Events\\InvoiceDeleted' }).length, 0);
		assert.equal(wire.all({ event: 'App\\Events\\InvoiceUpdated' }).length, 0);
		await sql(`SELECT unwatch('invoices', 'all')`);
	});

	test('a row over the payload limit is published as its key', async () => {
		await sql(`SELECT watch('invoices', 'all')`);
		await sql(`INSERT INTO invoices VALUES (6, 1, 1, repeat('x', 2000000))`);
		assert.deepEqual(await next('invoices.insert', 'all'), { op: 'insert',
			table: 'public.invoices', key: { id: 6 }, truncated: true });
		await sql(`SELECT unwatch('invoices')`);
		await sql(`INSERT INTO invoices VALUES (7, 1, 1, 's')`);
		await sql(`SELECT broadcast('all', 'Fence', '{}')`);
		await next('Fence', 'all');
		assert.equal(wire.all({ event: 'invoices.insert', data: { new: { id: 7 } } }).length, 0);
	});

	test('an invalid channel name does not fail the application\'s statement', async () => {
		await sql('CREATE TABLE public.notes (id integer PRIMARY KEY, room text)');
		await sql(`SELECT watch('notes', 'room-{room}')`);
		await sql(`INSERT INTO notes VALUES (1, 'no channel'), (2, NULL), (3, repeat('x', 300))`);
		assert.equal((await sql(`SELECT FROM realtime_events WHERE channel LIKE 'room-%'`)).length,
			0);
	});

	test('a watched table\'s columns can have any name', async () => {
		const row = { id: 1, n: 'n', o: 'o', t: 't', app: 'a', c: 'p', name: 'b', watched: 'w', body: 'c',
			channel: 'd', event_type: '%s %L {op}', 'a "b': "it's" };
		await sql(`CREATE TABLE public.odd (id integer PRIMARY KEY, n text, o text, t text,
			app text, c text, name text, watched text, body text, channel text, event_type text,
			"a ""b" text)`);
		await sql(`SELECT watch('odd', 'all')`);
		const values = Object.values(row);
		await sql(`INSERT INTO odd VALUES (${values.map((_, i) => `$${i + 1}`)})`, values);
		assert.deepEqual((await next('odd.insert', 'all')).new, row);
		await sql(`UPDATE odd SET n = 'm'`);
		const update = await next('odd.update', 'all');
		assert.deepEqual([update.new, update.old], [{ ...row, n: 'm' }, row]);
		await sql('DELETE FROM odd');
		assert.equal((await next('odd.delete', 'all')).old.n, 'm');
	});

	test('invalid watches are refused', async () => {
		const w = (args) => sql(`SELECT watch(${args})`);
		await refused(w(`'invoices', 'a.{nothing}'`), '42703', /no column "nothing"/);
		await refused(w(`'invoices', 'a b'`), '22023', /not a channel template/);
		await refused(w(`'invoices', 'a', '{nothing}'`), '42703', /no column/);
		await refused(w(`'invoices', 'a', NULL, '{select}'`), '22023', /not an operation/);
		await refused(w(`'invoices', 'a', NULL, '{insert}', 'pusher:x'`), '22023', /event name/);
		await refused(w(`'absent', 'a'`), '42P01', /absent/);
		await sql('CREATE TABLE public.keyless (a integer)');
		await refused(w(`'keyless', 'a'`), '22023', /no primary key/);
		await w(`'keyless', 'a', NULL, '{insert,delete}'`);
		await refused(w(`'keyless', 'a', NULL, '{insert}'`), '42710', /watched .* already/);
	});
});

test('grants.sql gives an application\'s role only what it needs', async (t) => {
	const daemon = await startDaemon({}, t);
	const { host, name } = daemon.database;
	const role = `app_${name}`;
	const owner = (text) => query(host, name, text, [], 'postgres');
	await owner(`CREATE ROLE ${role} LOGIN`);
	await owner(`GRANT CREATE ON SCHEMA public TO ${role}`);
	const client = await session(daemon, role, 'public');
	t.after(() => client.end());
	await refused(client.query(`SELECT scopewire.broadcast('c', 'E', '{}')`), '42501', /denied/);
	execFileSync(path.join(binaries(), 'psql'), ['-X', '-q', '-h', host, '-U', 'scopewire',
		'-v', `role=${role}`, '-v', 'schema=scopewire', '-f', GRANTS, name], { stdio: 'pipe' });
	const wire = await daemon.connect();
	await wire.subscribe('c');
	await client.query(`SELECT scopewire.broadcast('c', 'Call', '{}')`);
	await wire.next({ event: 'Call' });
	await client.query(`INSERT INTO scopewire.realtime_events(channel, event_type, payload)
		VALUES ('c', 'Plain', '{}')`);
	await wire.next({ event: 'Plain' });
	await client.query(`CREATE TABLE things (id integer PRIMARY KEY)`);
	await client.query(`SELECT scopewire.watch('things', 'c')`);
	await client.query('INSERT INTO things VALUES (1)');
	await wire.next({ event: 'things.insert' });
	await client.query(`SELECT scopewire.unwatch('things')`);
	for (const denied of ['SELECT scopewire.drain(1)', 'SELECT secret FROM scopewire.apps',
		`INSERT INTO scopewire.realtime_events(serial, channel, event_type) VALUES (5, 'c', 'E')`,
		'DELETE FROM scopewire.realtime_events', 'UPDATE scopewire.realtime_events SET app = NULL',
		`INSERT INTO scopewire.realtime_events_pending(channel, event_type) VALUES ('c', 'E')`])
		await refused(client.query(denied), '42501', /denied/);
	assert.ok((await client.query('SELECT * FROM scopewire.realtime_events')).rows.length >= 3);
	await client.end();
	await owner(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
});
