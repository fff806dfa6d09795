// SPDX-License-Identifier: MIT
// The stop, at each step of it and under load (docs/architecture.md, Stopping): what was
// acknowledged is in the log once, has its delivery record, and every publisher got an answer.
// The daemon's exit status and the sanitizers' reports are checked by daemon.stop().
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { startDaemon, waitFor, tlsServer } from '../lib/harness.mjs';

const PUBLISHERS = 6;
const PER_EVENT = { channel_durability: 'soon-*:async, free-*:none' };

/** Publishes without a pause on the channel until the daemon refuses or closes. */
class Publisher {
	accepted = [];
	answers = 0;
	errors = 0;

	constructor(api, channel, name) {
		this.done = this.#run(api, channel, name);
	}

	async #run(api, channel, name) {
		for (let n = 0; ; n++) {
			const id = `${name}-${n}`;
			try {
				const { status } = await api.trigger(channel, 'E', { id });
				this.answers++;
				if (status !== 200) return;
				this.accepted.push(id);
			} catch {     // the connection was closed or refused
				this.errors++;
				return;
			}
		}
	}
}

function load(daemon, api = daemon.api(), channels = ['logged', 'soon-a', 'free-a']) {
	return Array.from({ length: PUBLISHERS }, (_, i) =>
		new Publisher(api, channels[i % channels.length], `p${i}-${channels[i % channels.length]}`));
}

const accepted = (publishers) => publishers.flatMap((p) => p.accepted);

/** Every acknowledged event that is to have a row has one, and its delivery record. */
async function assertWritten(daemon, publishers) {
	const ids = accepted(publishers).filter((id) => !id.includes('free-'));
	const rows = await daemon.query(`SELECT payload->>'id' AS id, count(*)::integer AS n,
		count(d.serial)::integer AS records FROM realtime_events e
		LEFT JOIN realtime_deliveries d USING (serial) GROUP BY 1`);
	const found = new Map(rows.map((row) => [row.id, row]));
	for (const id of ids) assert.equal(found.get(id)?.n, 1, `${id} is in the log once`);
	for (const row of rows) {
		assert.equal(row.n, 1, `${row.id} is in the log once`);
		assert.equal(row.records, 1, `${row.id} has its delivery record`);
	}
}

describe('the stop under load', () => {
	test('loses no acknowledged event and no delivery record', async (t) => {
		const daemon = await startDaemon({ app: PER_EVENT }, t);
		const clients = await Promise.all(Array.from({ length: 4 }, () => daemon.connect()));
		for (const client of clients)
			for (const channel of ['logged', 'soon-a', 'free-a']) await client.subscribe(channel);
		const publishers = load(daemon);
		await waitFor(() => accepted(publishers).length > 200, '200 events are accepted');
		await daemon.stop();
		await Promise.all(publishers.map((p) => p.done));
		for (const client of clients) assert.equal((await client.closed).code, 4200);
		await assertWritten(daemon, publishers);
	});

	test('loses no acknowledged event that was published over TLS', async (t) => {
		const { ca, ...files } = tlsServer();
		const daemon = await startDaemon({ app: PER_EVENT, server: files }, t);
		const api = daemon.api(undefined, daemon.url.replace('http:', 'https:'),
			{ ca });
		const publishers = load(daemon, api);
		await waitFor(() => accepted(publishers).length > 100, '100 events are accepted');
		await daemon.stop();
		await Promise.all(publishers.map((p) => p.done));
		await assertWritten(daemon, publishers);
	});

	test('writes and answers what waits for the log', async (t) => {
		const daemon = await startDaemon({ app: PER_EVENT }, t);
		const session = await daemon.session();
		await session.query('BEGIN; LOCK TABLE log_lock_serials IN EXCLUSIVE MODE');
		const publishers = load(daemon, undefined, ['logged']);
		await waitFor(async () => await daemon.lockWaiters('relation') > 0, 'the writer waits');
		const stopped = daemon.stop();
		await waitFor(() => /stopping/.test(daemon.logText) || !daemon.child, 'the stop began');
		await session.query('ROLLBACK');
		await stopped;
		await session.end();
		await Promise.all(publishers.map((p) => p.done));
		await assertWritten(daemon, publishers);
		assert.ok(publishers.every((p) => p.answers + p.errors > 0));
	});

	for (const info of [undefined, 'subscription_count'])
		test(`a publish over TLS${info ? ' with info' : ''} that waits for the log is written`, async (t) => {
			const { ca, ...files } = tlsServer();
			const daemon = await startDaemon({ server: files,
				database: { commit_timeout_ms: 60000 } }, t);
			const session = await daemon.session();
			await session.query('BEGIN; LOCK TABLE log_lock_serials IN EXCLUSIVE MODE');
			const answer = daemon.api(undefined, daemon.url.replace('http:', 'https:'), { ca })
				.trigger('logged', 'E', { id: 'waits' }, { info }).catch((error) => error);
			await waitFor(async () => await daemon.lockWaiters('relation') > 0, 'the writer waits');
			const stopped = daemon.stop();
			await answer; // 503, or the connection is closed: the stop waits for a limited time
			await session.query('ROLLBACK');
			await session.end();
			await stopped;
			const rows = await daemon.query("SELECT FROM realtime_events WHERE event_type = 'E'");
			assert.equal(rows.length, 1);
		});

	test('ends in time while the database does not answer', async (t) => {
		const daemon = await startDaemon({ app: PER_EVENT }, t);
		const session = await daemon.session();
		await session.query('BEGIN; LOCK TABLE log_lock_serials IN EXCLUSIVE MODE');
		const publishers = load(daemon);
		await waitFor(async () => await daemon.lockWaiters('relation') > 0, 'the writer waits');
		await daemon.stop();
		await Promise.all(publishers.map((p) => p.done));
		await session.end();
		assert.equal(accepted(publishers).filter((id) => id.includes('logged')).length, 0);
	});

	test('a second signal cuts the sending away of clients short', async (t) => {
		const daemon = await startDaemon({ app: PER_EVENT, server: { drain_ms: 30000 } }, t);
		const client = await daemon.connect();
		await client.subscribe('logged');
		const publishers = load(daemon);
		await waitFor(() => accepted(publishers).length > 50, '50 events are accepted');
		const { child } = daemon;
		const stopped = daemon.stop();
		await waitFor(() => /stopping/.test(child.log), 'the stop began');
		child.kill('SIGTERM');
		await stopped;
		await Promise.all(publishers.map((p) => p.done));
		await assertWritten(daemon, publishers);
	});

	test('clients that catch up are sent away too', async (t) => {
		const daemon = await startDaemon({ app: PER_EVENT }, t);
		const first = await daemon.connect();
		await daemon.query(`SELECT broadcast('logged', 'E', jsonb_build_object('id', 'past-' || i,
			'text', repeat('x', 5000))) FROM generate_series(1, 3000) i`);
		await waitFor(async () => (await daemon.query('SELECT FROM realtime_events')).length === 3000,
			'the past is in the log');
		const publishers = load(daemon, undefined, ['logged']);
		await waitFor(() => accepted(publishers).length > 20, '20 events are accepted');
		const returning = await Promise.all(Array.from({ length: 8 }, () => daemon.connect()));
		for (const client of returning)
			client.sendSubscribe('logged', { since: `${first.epoch}:0` });
		await Promise.race(returning.map((client) => client.next({ event: 'E', data: { id: 'past-1' } })));
		await daemon.stop();
		await Promise.all(publishers.map((p) => p.done));
		await Promise.all(returning.map((client) => client.closed));
		assert.ok(returning.some((client) => client.all({ event: 'scopewire:replayed' }).length === 0),
			'the stop came before the end of a replay');
		assert.deepEqual(returning.flatMap((client) => client.all({ event: 'scopewire:resync' })), []);
		await assertWritten(daemon, publishers);
	});
});

test('a daemon that is stopped while it starts ends cleanly', async (t) => {
	const daemon = await startDaemon({}, t);
	for (const reached of [/^/, /./, /connected after/, /ready: /]) {
		await daemon.stop();
		await daemon.spawn();
		const { child } = daemon;
		await waitFor(() => reached.test(child.log) || child.exitCode !== null,
			`the start logs ${reached}`);
		child.kill('SIGTERM');
		const { code, signal } = await child.ended;
		// Before it has taken its signals over, the signal itself ends it.
		assert.ok(code === 0 || signal === 'SIGTERM', `ended with ${code ?? signal}:\n${child.log}`);
		await daemon.stop({ status: code ?? undefined, signal: 'SIGTERM' }).catch((error) => {
			if (signal !== 'SIGTERM') throw error;
		});
		await daemon.start();
	}
});

describe('the wait for a load balancer', () => {
	test('answers /ready with 503 and serves clients as before', async (t) => {
		const daemon = await startDaemon({ server: { drain_wait_ms: 600000, drain_ms: 200 } }, t);
		const client = await daemon.connect();
		await client.subscribe('news');
		process.kill(daemon.pid, 'SIGTERM');
		await waitFor(async () => (await daemon.http('/ready')).status === 503);
		assert.equal((await daemon.http('/up')).status, 200);
		assert.equal((await daemon.api().trigger('news', 'Published', { n: 1 })).status, 200);
		await client.next((m) => m.event === 'Published');
		const late = await daemon.connect();
		await late.subscribe('news');
		await daemon.stop();       // the second signal
	});

	test('ends by itself, and clients learn how to spread their return', async (t) => {
		const daemon = await startDaemon({ server: { drain_wait_ms: 1, drain_ms: 150 } }, t);
		const client = await daemon.connect();
		process.kill(daemon.pid, 'SIGTERM');
		const { data } = await client.next((m) => m.event === 'pusher:error');
		assert.deepEqual({ ...data, message: undefined },
			{ code: 4200, message: undefined, reconnect_within_ms: 150 });
		assert.equal((await daemon.child.ended).code, 0);
	});

	test('without a time to spread, no hint is sent', async (t) => {
		const daemon = await startDaemon({ server: { drain_ms: 0 } }, t);
		const client = await daemon.connect();
		process.kill(daemon.pid, 'SIGTERM');
		const { data } = await client.next((m) => m.event === 'pusher:error');
		assert.deepEqual(Object.keys(data).sort(), ['code', 'message']);
		assert.equal((await daemon.child.ended).code, 0);
	});
});
