// SPDX-License-Identifier: MIT
// Each metric counts what docs/metrics.md describes.
import test from 'node:test';
import assert from 'node:assert/strict';
import { ok, request, startDaemon, Sync, waitFor } from '../lib/harness.mjs';

/** A daemon, and a function that reads its metrics: {'name{labels}': value}. */
async function measured(t, options = {}) {
	const daemon = await startDaemon({ ...options, sections: { ...options.sections,
		admin: { listen: '127.0.0.1:0', local_read: 'yes' } } }, t);
	const [, at] = /admin: listening on (\S+)/.exec(daemon.logText);
	const read = async () => Object.fromEntries((await request(`http://${at}/metrics`)).text
		.split('\n').filter((line) => line && !line.startsWith('#'))
		.map((line) => [line.slice(0, line.lastIndexOf(' ')).replace(/^scopewire_/, ''),
			Number(line.slice(line.lastIndexOf(' ') + 1))]));
	const becomes = (series, value) => waitFor(async () => ((await read())[series] ?? 0) === value,
		`${series} ${value}`);
	return { daemon, read, becomes };
}

test('connections are counted when they open, are refused and close', async (t) => {
	const { daemon, becomes } = await measured(t);
	const first = await daemon.connect();
	const second = await daemon.connect();
	await becomes('connections', 2);
	await becomes('connections_opened_total', 2);
	const refused = daemon.wire({ key: 'no-such-key' });
	await refused.next({ event: 'pusher:error' });
	await becomes('connections_refused_total{reason="no_app"}', 1);
	await first.close();
	await becomes('connections', 1);
	await second.close();
	await becomes('connections', 0);
});

test('a close counts its code and who closed', async (t) => {
	const { daemon, read, becomes } = await measured(t, { app: { max_connections: 10 } });
	const closed = async () => Object.entries(await read())
		.filter(([name, n]) => name.startsWith('connections_closed_total') && n);
	const client = await daemon.connect();
	await client.close();
	await becomes('connections', 0);
	const [[how], ...others] = await waitFor(async () => (await closed()).length && closed(), 'the close');
	assert.deepEqual(others, []);
	assert.match(how, /by="client"/);
	const user = await daemon.connect();
	await user.subscribe('presence-room', { channelData: { user_id: 'u1' } });
	await daemon.api().post('/users/u1/terminate_connections', {});
	await becomes('connections_closed_total{code="4009",by="server"}', 1);
});

test('subscriptions and channels are counted by type, and end with their connection', async (t) => {
	const { daemon, becomes } = await measured(t);
	const client = await daemon.connect();
	await client.subscribe('news');
	await client.subscribe('private-x');
	await becomes('subscriptions', 2);
	await becomes('channels{type="public"}', 1);
	await becomes('channels{type="private"}', 1);
	await becomes('subscribe_total{type="private",result="ok"}', 1);
	client.send({ event: 'pusher:subscribe', data: { channel: 'private-y', auth: 'wrong:wrong' } });
	await becomes('subscribe_total{type="private",result="refused"}', 1);
	await client.close();
	await becomes('subscriptions', 0);
	await becomes('channels{type="public"}', 0);
	await becomes('channels{type="private"}', 0);
});

test('events, deliveries, commits and their times are counted', async (t) => {
	const { daemon, read, becomes } = await measured(t);
	await becomes('database_up', 1);
	const clients = [await daemon.connect(), await daemon.connect()];
	for (const client of clients) await client.subscribe('news');
	const before = await read();
	await daemon.api().trigger('news', 'hello', 'x'.repeat(300));
	for (const client of clients) await client.next({ event: 'hello' });
	await becomes('events_in_total{via="http"}', 1);
	await becomes('deliveries_total', 2);
	await becomes('payload_bytes_sum', 300);
	await becomes('publish_to_socket_seconds_count', 2);
	await becomes('commit_to_socket_seconds_count', 2);
	await becomes('log_queue_events', 0);
	await becomes('log_queue_bytes', 0);
	const after = await read();
	assert.ok(after.log_commit_seconds_count > before.log_commit_seconds_count);
	assert.ok(after.bytes_out_total - before.bytes_out_total > 600);
	assert.equal(after.outbox_bytes, 0);
	await daemon.api().post('/batch_events', { batch: [
		{ name: 'a', channel: 'news', data: 'x' }, { name: 'b', channel: 'news', data: 'x' }] });
	await becomes('events_in_total{via="batch"}', 2);
	await daemon.query(`SELECT broadcast('news', 'from-sql', '{}')`);
	for (const client of clients) await client.next({ event: 'from-sql' });
	await becomes('events_in_total{via="sql"}', 1);
	await becomes('deliveries_total', 8);
});

test('events that a subscription begins with are deliveries', async (t) => {
	const { daemon, becomes } = await measured(t);
	const client = await daemon.connect();
	const { position } = await client.subscribe('news');
	client.unsubscribe('news');
	await daemon.api().trigger('cache-x', 'last', {});
	await client.subscribe('cache-x');
	await client.next({ event: 'last' });
	await becomes('deliveries_total', 1);
	await daemon.api().trigger('news', 'missed', {});
	await daemon.api().trigger('news', 'own', {}, { socket_id: client.socketId });
	await client.subscribe('news', { since: position });
	await client.next({ event: 'scopewire:replayed', channel: 'news' });
	await becomes('deliveries_total', 2);
	assert.equal(client.all({ event: 'own' }).length, 0);
	await client.close();
});

test('events that do not fit during a replay are deliveries', async (t) => {
	const { daemon, becomes } = await measured(t, { app: { max_outbox_messages: 4 },
		database: { replay_timeout_ms: 60000 } });
	const client = await daemon.connect();
	const { position } = await client.subscribe('news');
	client.unsubscribe('news');
	await daemon.api().trigger('news', 'missed', {});
	const holder = await daemon.session();
	await holder.query('BEGIN; LOCK TABLE log_meta IN ACCESS EXCLUSIVE MODE');
	await client.subscribe('news', { since: position });
	for (let n = 0; n < 4; n++) await daemon.api().trigger('news', 'live', { n });
	await client.next({ event: 'scopewire:resync', channel: 'news' });
	await client.next({ event: 'live', data: { n: 3 } });
	await becomes('deliveries_total', 4);
	await holder.end();
	await client.close();
});

test('an event that a call of the sync API published counts as sync, one of another session as sql', async (t) => {
	const { daemon, becomes } = await measured(t);
	const client = await daemon.connect();
	await client.subscribe('private-admin');
	const server = Sync.server(daemon);
	ok(await server.post('activities', { type: 'paid', user_id: 7 }), 201);
	await client.next({ event: /ActivityFeedUpdated$/ });
	await becomes('events_in_total{via="sync"}', 1);
	await daemon.query(`SELECT broadcast('private-admin', 'from-sql', '{}')`);
	await client.next({ event: 'from-sql' });
	await becomes('events_in_total{via="sql"}', 1);
	await becomes('events_in_total{via="sync"}', 1);
	// a column that a publisher fills in itself is not believed
	await daemon.query(`INSERT INTO realtime_events (channel, event_type, payload, origin)
		VALUES ('private-admin', 'forged', '{}', 'sync')`);
	await client.next({ event: 'forged' });
	await becomes('events_in_total{via="sql"}', 2);
	await becomes('events_in_total{via="sync"}', 1);
	assert.deepEqual((await daemon.query('SELECT event_type, origin FROM realtime_events WHERE serial > 0 ORDER BY serial'))
		.map(({ event_type, origin }) => `${event_type} ${origin}`),
	['App\\Events\\ActivityFeedUpdated sync', 'from-sql sql', 'forged sql']);
});

test('a replay counts as served with its events, or by the reason why it was not', async (t) => {
	const { daemon, becomes } = await measured(t);
	const first = await daemon.connect();
	const { position: since } = await first.subscribe('news');
	await daemon.api().trigger('news', 'one', {});
	await first.next({ event: 'one' });
	const second = await daemon.connect();
	second.send({ event: 'pusher:subscribe', data: { channel: 'news', since } });
	await second.next({ event: 'one' });
	await becomes('replay_total{result="served"}', 1);
	await becomes('replay_events_sum', 1);
	const third = await daemon.connect();
	third.send({ event: 'pusher:subscribe', data: { channel: 'news', since: 'nonsense' } });
	await becomes('replay_total{result="malformed"}', 1);
});

test('a limit that refuses is counted by its scope', async (t) => {
	const { daemon, becomes } = await measured(t, { app: { max_read_requests_per_second: 1 } });
	const answers = await Promise.all(Array.from({ length: 5 }, () => daemon.api().get('/channels')));
	const refused = answers.filter(({ status }) => status === 429).length;
	assert.ok(refused > 0);
	await becomes('rate_limited_total{scope="reads"}', refused);
	await becomes('http_requests_total{route="GET /apps/{app_id}/channels",status="429"}', refused);
});

test('pools report their connections, and no statement waits when all are answered', async (t) => {
	const { daemon, read, becomes } = await measured(t);
	await becomes('ready', 1);
	await waitFor(async () => (await read())['pool_connections{pool="sync"}'] > 0, 'a connection');
	const server = daemon.api();
	assert.equal((await server.get('/sync/locks')).status, 200);
	await waitFor(async () => (await read())['pool_wait_seconds_count{pool="sync"}'] > 0, 'a statement');
	await becomes('pool_waiting{pool="sync"}', 0);
});

test('a ping that is answered is timed', async (t) => {
	const { daemon, read } = await measured(t, { app: { ping_interval: 1 } });
	const client = await daemon.connect();
	await client.next({ event: 'pusher:ping' });
	client.send({ event: 'pusher:pong', data: {} });
	await waitFor(async () => (await read()).ping_pong_seconds_count > 0, 'the pong');
});

test('the state of the log in the database is measured', async (t) => {
	const { daemon, read, becomes } = await measured(t, { database: { partition_rows: 400000 } });
	// A thread makes the partitions, and another measurement follows.
	await waitFor(async () => {
		const [{ ahead }] = await daemon.query('SELECT ahead FROM scopewire.log_measure(400000)');
		return Number(ahead) >= 2 && (await read()).log_partitions_ahead === Number(ahead);
	}, 'the partitions ahead');
	assert.equal((await read()).log_lag_events, 0);
	await daemon.api().trigger('news', 'hello', {});
	await waitFor(async () => (await read()).log_bytes > 0, 'its size');
	await daemon.query(`UPDATE scopewire.realtime_events SET created_at = now() - interval '2 h' WHERE serial > 0`);
	await waitFor(async () => (await read()).log_oldest_partition_seconds >= 7200, 'its age');
	// Pending rows that the daemon cannot drain: their lock is taken.
	const session = await daemon.session();
	t.after(() => session.end());
	await session.query('BEGIN');
	await session.query('LOCK TABLE log_lock_drain');
	for (let n = 0; n < 3; n++) await daemon.query(`SELECT broadcast('news', 'waits', '{}')`);
	await becomes('log_lag_events', 3);
	await session.query('ROLLBACK');
	await becomes('log_lag_events', 0);
});

test('each worker reports how long its frames wait', async (t) => {
	const { read, becomes } = await measured(t, { server: { workers: 2 } });
	await becomes('worker_backlog_seconds{worker="1"}', 0);
	assert.equal((await read())['worker_backlog_seconds{worker="2"}'], undefined);
});
