// SPDX-License-Identifier: MIT
// The queries of docs/admin-queries.md, run unchanged over a log with real traffic; and
// event_report() in every state an event can be in.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { binaries, query, startDaemon, waitFor } from '../lib/harness.mjs';

const file = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const USER = 'private-App.Models.User.7';

/** {title: sql} of the document's sections. */
function queries() {
	const text = fs.readFileSync(file('docs/admin-queries.md'), 'utf8');
	const found = {};
	for (const [, title, body] of text.matchAll(/^## \d+\. (.*?)\n(.*?)(?=^## |(?![^]))/gms)) {
		const blocks = [...body.matchAll(/```sql\n(.*?)```/gs)];
		assert.equal(blocks.length, 1, title);
		found[title] = blocks[0][1];
	}
	return found;
}

let daemon, client, role, known;
const sections = queries();
const untested = new Set(Object.keys(sections));

/** Runs a section's query with psql's variables put in as psql would. */
async function ask(title, values = {}, owner = false) {
	const sql = sections[title];
	assert.ok(sql, `a section "${title}"`);
	untested.delete(title);
	const filled = sql.replace(/:'(\w+)'/g, (_, name) => {
		assert.ok(name in values, `${title}: a value for ${name}`);
		return pg.escapeLiteral(String(values[name]));
	});
	return owner ? daemon.query(filled) : (await client.query(filled)).rows;
}

before(async () => {
	daemon = await startDaemon({ server: { node: 'node-a' } });
	const { host, name } = daemon.database;
	role = `admin_${name}`;
	await query(host, name, `CREATE ROLE ${role} LOGIN`, [], 'postgres');
	execFileSync(path.join(binaries(), 'psql'), ['-X', '-q', '-h', host, '-U', 'scopewire',
		'-v', `role=${role}`, '-v', 'schema=scopewire', '-f', file('sql/grants.sql'), name],
	{ stdio: 'pipe' });
	client = new pg.Client({ host, database: name, user: role, port: 5432,
		options: '-c search_path=scopewire,public' });
	await client.connect();

	const wires = [await daemon.connect(), await daemon.connect()];
	for (const wire of wires) await wire.subscribe('private-client.1');
	await wires[0].subscribe(USER);
	const api = daemon.api();
	for (let n = 0; n < 5; n++) await api.trigger('private-client.1', 'InvoiceCreated', { id: n });
	await api.trigger('client.1', 'InvoiceCreated', { id: 77 }); // the wrong name
	for (let n = 0; n < 3; n++) {
		await api.post('/events', { name: 'Keyed', data: '{}', channels: [USER] },
			{ headers: { 'Idempotency-Key': 'again' } });
	}
	const [{ id }] = await daemon.query(`SELECT broadcast('private-client.1', 'FromSql',
		'{"id": 42}') AS id`);
	await wires[1].next({ event: 'FromSql' });
	// A transaction that takes its time.
	await daemon.query(`WITH said AS MATERIALIZED (SELECT broadcast('private-client.1', 'Slow', '{}')
		AS id), slept AS MATERIALIZED (SELECT pg_sleep(0.5) FROM said) SELECT FROM slept`);
	await wires[1].next({ event: 'Slow' });
	known = { sql: id };
	await waitFor(async () => (await daemon.query(`SELECT FROM realtime_events e
		WHERE NOT EXISTS (SELECT FROM realtime_deliveries d WHERE d.serial = e.serial)`))
		.length === 0, 'all delivery records');
	const rows = await daemon.query('SELECT event_id, event_type, channel FROM realtime_events');
	known.http = rows.find((r) => r.event_type === 'InvoiceCreated').event_id;
	known.nobody = rows.find((r) => r.channel === 'client.1').event_id;
});
after(async () => {
	await client.end();
	await daemon.stop();
	const { host, name } = daemon.database;
	await query(host, name, `DROP OWNED BY ${role}`, [], 'postgres');
	await query(host, name, `DROP ROLE ${role}`, [], 'postgres');
});

test('an event\'s row, deliveries and node can be found', async () => {
	const report = (id) => ask('What became of this event?', { event_id: id });
	for (const id of [known.sql, known.http]) {
		const rows = await report(id);
		assert.deepEqual(rows.map((r) => r.what), ['published', 'sequenced', 'delivered']);
		const [published, sequenced, delivered] = rows;
		assert.equal(Number(published.after_ms), 0);
		assert.match(published.detail, id === known.sql
			? /^FromSql on private-client.1, app client-portal, by sql$/
			: /^InvoiceCreated on private-client.1, app client-portal, by http$/);
		assert.match(sequenced.detail, /^serial \d+$/);
		assert.deepEqual([delivered.node, delivered.sockets], ['node-a', 2]);
		assert.ok(Number(delivered.after_ms) >= 0);
	}
	assert.deepEqual((await report(known.nobody)).map((r) => [r.what, r.sockets]),
		[['published', null], ['sequenced', null], ['reached nobody', 0]]);
	const [unknown] = await report('no-such-id');
	assert.equal(unknown.what, 'unknown');
	assert.match(unknown.detail, /after serial 0$/);
});

test('an event can be found by channel, and its payload read', async () => {
	const rows = await ask('Was it published at all, and by whom?',
		{ channel: 'private-client.1', member: 'id', value: '42' });
	assert.deepEqual(rows.map((r) => [r.event_id, r.origin, r.app, r.event_type, r.payload]),
		[[known.sql, 'sql', 'client-portal', 'FromSql', { id: 42 }]]);
	assert.deepEqual(await ask('Was it published at all, and by whom?',
		{ channel: 'private-client.1', member: 'id', value: '77' }), []);
});

test('deliveries have sockets, node and delay', async () => {
	const [row, ...rest] = await ask('To how many sockets did it go, on which node, how late?',
		{ event_id: known.http });
	assert.deepEqual([row.state, row.node, row.sockets, rest.length], ['delivered', 'node-a', 2, 0]);
	assert.ok(row.published_at <= row.handed_on_at && Number(row.late_ms) >= 0);
});

test('events without a subscriber can be listed', async () => {
	const rows = await ask('Which events reached nobody?');
	assert.deepEqual(rows.map((r) => [r.channel, r.event_type, r.events]),
		[['client.1', 'InvoiceCreated', '1']]);
});

test('the slowest deliveries can be listed', async () => {
	const rows = await ask('Which deliveries were the slowest?');
	assert.equal(rows.length, 9);
	rows.forEach((r, i) => assert.ok(!i || Number(r.late_ms) <= Number(rows[i - 1].late_ms)));
	const slow = rows.find((r) => r.event_type === 'Slow');
	assert.ok(Number(slow.before_ms) >= 500 && Number(slow.late_ms) >= Number(slow.before_ms));
});

test('traffic can be summed by channel and minute', async () => {
	const rows = await ask('How much goes over which channel, minute by minute?');
	const sums = {};
	for (const r of rows) sums[r.channel] = (sums[r.channel] ?? 0) + Number(r.events);
	assert.deepEqual(sums, { 'private-client.1': 7, 'client.1': 1, [USER]: 1 });
	assert.ok(rows.every((r) => /bytes$/.test(r.payload)));
});

test('events around a point in time can be listed', async () => {
	const rows = await ask('Was there a gap around that time?', { moment: 'now' });
	assert.equal(rows.length, 9);
	assert.equal(rows[0].pause, null);
	const at = rows.findIndex((r) => r.event_type === 'Slow');
	assert.ok(rows[at].pause.milliseconds >= 0);
	const none = await ask('Was there a gap around that time?', { moment: '2001-01-01' });
	assert.deepEqual(none, []);
});

test('events of a user\'s channels can be listed', async () => {
	const since = (when) => ask('What did this user get since then?', { user_id: 7, since: when });
	assert.deepEqual((await since('yesterday')).map((r) => [r.event_type, r.sockets]),
		[['Keyed', '1']]);
	assert.deepEqual(await since('tomorrow'), []);
});

test('repeated publishes can be listed by idempotency key', async () => {
	const rows = await ask('Which publishes are sent again and again?', {}, true);
	assert.deepEqual(rows.map((r) => [r.app, r.key, r.repeats, r.channel, r.event_type]),
		[['client-portal', 'again', 2, USER, 'Keyed']]);
	await assert.rejects(ask('Which publishes are sent again and again?'), { code: '42501' });
});

test('the log\'s size and partitions can be listed', async () => {
	const rows = await ask('How large is the log, and how old is its first event?');
	assert.ok(rows.some((r) => r.leaf === 'realtime_events_pending' && r.lower === null));
	assert.ok(rows.some((r) => r.leaf === 'realtime_events_000000000001' && r.lower === '1'));
	assert.ok(rows.every((r) => r.horizon === '0' && !r.is_leaving && r.oldest_event instanceof Date));
});

test('each node\'s position in the log can be listed', async () => {
	const title = 'What is the lag of each node?';
	await waitFor(async () => (await ask(title)).some((r) => r.behind === '0'), 'the cursor');
	assert.deepEqual((await ask(title)).map((r) => [r.node, r.is_this_log]), [['node-a', true]]);
	await daemon.query(`INSERT INTO node_cursor(node, epoch, serial) SELECT 'node-b', epoch, 5
		FROM log_meta`);
	assert.deepEqual((await ask(title)).map((r) => [r.node, r.behind]),
		[['node-a', '0'], ['node-b', '4']]);
	await daemon.query(`DELETE FROM node_cursor WHERE node = 'node-b'`);
});

test('the usage of the NOTIFY queue and open transactions can be listed', async () => {
	const title = 'Is the queue of notifications filling up, and because of whom?';
	const idle = new pg.Client({ host: daemon.database.host, database: daemon.database.name,
		user: 'scopewire', port: 5432, application_name: 'forgotten' });
	await idle.connect();
	await idle.query('BEGIN');
	const rows = await ask(title, {}, true);
	assert.ok(rows.every((r) => Number(r.queue_percent) >= 0));
	assert.ok(rows.some((r) => r.application_name === 'forgotten' &&
		r.state === 'idle in transaction'));
	await idle.end();
	await waitFor(async () => (await ask(title, {}, true)).every((r) =>
		r.application_name !== 'forgotten' && r.queue_percent !== null), 'its end');
});

test('pending events and holders of locks can be listed', async () => {
	const waiting = 'Is anything still waiting to be sequenced?';
	assert.deepEqual((await ask(waiting)).map((r) => [r.waiting, r.channels]), [['0', '0']]);
	const holder = new pg.Client({ host: daemon.database.host, database: daemon.database.name,
		user: 'scopewire', port: 5432, application_name: 'holder' });
	await holder.connect();
	await holder.query('BEGIN; LOCK TABLE log_lock_serials IN EXCLUSIVE MODE');
	const [{ id }] = (await client.query(`SELECT broadcast('private-client.1', 'Stuck', '{}') AS id`))
		.rows;
	const [{ pid }] = (await holder.query('SELECT pg_backend_pid() AS pid')).rows;
	const locks = await waitFor(async () => {
		const rows = await ask('Which sessions hold the log\'s locks or wait for them?', {}, true);
		return rows.some((r) => !r.granted) && rows;
	}, 'the daemon to wait');
	assert.ok(locks.some((r) => r.lock === 'serials' && r.granted && r.pid === pid &&
		r.application_name === 'holder'));
	assert.ok(locks.some((r) => r.lock === 'serials' && !r.granted && r.waits_for.includes(pid) &&
		r.application_name === 'scopewired'));
	assert.deepEqual((await ask(waiting)).map((r) => r.waiting), ['1']);
	const report = () => ask('What became of this event?', { event_id: id });
	assert.deepEqual((await report()).map((r) => r.what), ['published', 'pending']);
	await holder.end();
	await waitFor(async () => (await report()).some((r) => r.what === 'delivered'), 'the event');
	assert.deepEqual((await ask(waiting)).map((r) => r.waiting), ['0']);
});

test('with track_commit_timestamp the commit\'s time can be shown', async (t) => {
	const other = await startDaemon({ embedded: true }, t);
	await other.stop();
	fs.appendFileSync(path.join(other.stateFolder, 'data/postgresql.auto.conf'),
		'track_commit_timestamp = on\n');
	await other.start();
	await other.api().trigger('c', 'E', {});
	const [{ event_id: id }] = await other.query('SELECT event_id FROM realtime_events');
	const rows = await waitFor(async () => {
		const found = await other.query('SELECT * FROM event_report($1)', [id]);
		return found.length === 4 && found;
	}, 'the delivery record');
	assert.deepEqual(rows.map((r) => r.what),
		['published', 'sequenced', 'committed', 'reached nobody']);
	assert.ok(rows.every((r) => r.at instanceof Date));
});

test('every query of docs/admin-queries.md is tested', () => {
	assert.ok(Object.keys(sections).length >= 10);
	assert.deepEqual([...untested], []);
});

test('a payload that contains the character NUL is found too', async () => {
	await daemon.api().trigger('private-client.1', 'Nul', '{"t":"a\\u0000b","id":"43"}');
	const rows = await ask('Was it published at all, and by whom?',
		{ channel: 'private-client.1', member: 'id', value: '43' });
	assert.deepEqual(rows.map((r) => r.event_type), ['Nul']);
	const [{ a, b, c, d }] = await daemon.query(`SELECT payload_get('{"t":"a\\u0000b"}', 't') AS a,
		payload_get('{"t":"\\\\u0000 \\\\\\u0000."}', 't') AS b, payload_get('[1]', 't') AS c,
		payload_get('"\\u0000"', 't') AS d`);
	assert.deepEqual([a, b, c, d], ['ab', '\\u0000 \\.', null, null]);
});

test('a payload with half of a surrogate pair is found too', async () => {
	await daemon.api().trigger('private-client.1', 'Half', '{"t":"\\ud83d","id":"44"}');
	const rows = await ask('Was it published at all, and by whom?',
		{ channel: 'private-client.1', member: 'id', value: '44' });
	assert.deepEqual(rows.map((r) => r.event_type), ['Half']);
	for (const [json, text] of [['\\ud83da', 'a'], ['\\uDC00\\ud83d', ''], ['\\ud83d\\ude00', '😀'],
		['\\ud83d\\ud83d\\ude00\\ude00', '😀'], ['\\\\ud83d\\udc00', '\\ud83d'], ['\\u00e9\\n\\ud800', 'é\n'],
		['\\ud83d\\u0000\\ude00', '']])
		assert.deepEqual(await daemon.query('SELECT payload_get($1, $2) AS text', [`{"t":"${json}"}`, 't']),
			[{ text }], json);
});

test('the queries of the README find the events of the demo page and of Laravel', async () => {
	const api = daemon.api();
	await api.trigger('demo', 'InvoiceCreated', { number: 'INV-1', client: 'Acme\u0000' });
	await api.trigger('demo', 'App\\Events\\InvoiceCreated', { number: 'INV-2' });
	await waitFor(async () => (await daemon.query(`SELECT FROM realtime_events JOIN realtime_deliveries
		USING (serial) WHERE channel = 'demo'`)).length === 2, 'both delivery records');
	const [, block] = fs.readFileSync(file('README.md'), 'utf8').match(/```sql\n(.*?)```/s);
	const [all, invoices] = block.split(';');
	assert.ok((await client.query(all)).rows.length > 10);
	const { rows } = await client.query(invoices);
	assert.deepEqual(rows.filter((r) => r.channel === 'demo').map((r) => [r.invoice, r.node, r.sockets]),
		[['INV-2', 'node-a', 0], ['INV-1', 'node-a', 0]]);
});
