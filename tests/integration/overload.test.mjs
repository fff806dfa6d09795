// SPDX-License-Identifier: MIT
// Publishes are admitted only while the workers keep up with the events (decision 0022).
//
// A worker is behind here because of a batch that was admitted and cannot be committed: the test
// holds the lock "serials".  So it stays behind until the test lets go, on every machine.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, Raw, signedQuery, startDaemon, waitFor } from '../lib/harness.mjs';

const BATCH = 4000;      // frames: more than any mark, as long as none was measured
const WAIT_MS = 2000;
const OPTIONS = {
	app: { channel_durability: 'none-*:none, async-*:async', max_batch_events: BATCH,
		max_request_bytes: 4000000, max_backend_events_per_second: 0,
		max_client_events_per_second: 0 },
	database: { commit_timeout_ms: 60000 }, server: { workers: 1 },
};

/** The worker is behind until release(), which returns the batch's answer. */
async function fallBehind(daemon) {
	const holder = await daemon.session();
	await holder.query('BEGIN; LOCK TABLE log_lock_serials IN EXCLUSIVE MODE');
	const answer = daemon.api().post('/batch_events', { batch: Array.from({ length: BATCH },
		(_, n) => ({ name: 'Batch', channel: 'logged', data: String(n) })) });
	await waitFor(async () => await daemon.lockWaiters('relation') > 0, 'the batch waits for its commit');
	let isHeld = true;
	return async () => {
		if (!isHeld) return undefined;
		isHeld = false;
		await holder.query('ROLLBACK');
		await holder.end();
		return answer;
	};
}

/** A slow machine may need longer than a publish waits to deliver the batch: it is sent again then, as by a publisher. */
const publishInTime = (daemon, name) => waitFor(async () => {
	const { status, text } = await daemon.api().trigger('none-1', name, {});
	assert.ok([200, 503].includes(status), text);
	return status === 200;
}, `${name} is published`);

const waits = (daemon, n = 1) => waitFor(() =>
	(daemon.logText.match(/publishes wait for the workers/g) ?? []).length >= n, 'a publish waits');

describe('while a worker is behind', () => {
	let daemon, client, release;
	before(async () => {
		daemon = await startDaemon(OPTIONS);
		client = await daemon.connect();
		for (const channel of ['logged', 'none-1', 'async-1']) await client.subscribe(channel);
		release = await fallBehind(daemon);
	});
	after(async () => {
		await release?.();
		await daemon?.stop();
	});

	test('a publish is refused after two seconds, with Retry-After', async () => {
		const api = daemon.api();
		const began = performance.now();
		const answers = await Promise.all([
			...['none-1', 'async-1', 'logged'].map((channel) => api.trigger(channel, 'Refused', {})),
			api.post('/batch_events', { batch: [{ name: 'Refused', channel: 'none-1', data: '1' }] }),
			api.trigger('none-1', 'Refused', {}, { headers: { 'Idempotency-Key': 'k1' } }),
		]);
		assert.ok(performance.now() - began >= WAIT_MS);
		for (const { status, headers, text } of answers) {
			assert.equal(status, 503, text);
			assert.ok(Number(headers['retry-after']) > 0);
			assert.match(text, /faster than the subscribers take them; nothing was published/);
		}
	});

	test('a publish without subscribers does not wait', async () => {
		assert.equal((await daemon.api().trigger('none-empty', 'E', {})).status, 200);
	});

	test('what was admitted is delivered before what waited', async () => {
		const seen = waits(daemon, 2);
		const waiting = publishInTime(daemon, 'Waited');
		await seen;
		assert.equal((await release()).status, 200);
		await waiting;
		await client.next({ event: 'Waited' });
		assert.equal(client.all({ event: 'Batch' }).length, BATCH);
	});

	test('a refused publish is neither delivered nor logged', async () => {
		assert.equal((await daemon.api().trigger('logged', 'Last', {})).status, 200);
		await client.next({ event: 'Last' });
		assert.deepEqual(client.all({ event: 'Refused' }), []);
		assert.deepEqual(await daemon.query(
			"SELECT 1 FROM realtime_events WHERE event_type = 'Refused'"), []);
		// the key was not used up
		const again = await daemon.api().trigger('none-1', 'Refused', {},
			{ headers: { 'Idempotency-Key': 'k1' } });
		assert.equal(again.status, 200);
		assert.equal(again.headers['idempotent-replayed'], undefined);
	});
});

test('a client whose events would wait is not read, and nothing of it is lost', async (t) => {
	const daemon = await startDaemon(OPTIONS, t);
	const receiver = await daemon.connect();
	const sender = await daemon.connect();
	await receiver.subscribe('logged');
	for (const client of [receiver, sender]) await client.subscribe('private-talk');
	const release = await fallBehind(daemon);
	const events = Array.from({ length: 50 }, (_, n) => n);
	for (const n of events)
		sender.send({ event: 'client-said', channel: 'private-talk', data: { n } });
	await waitFor(() => /clients that send events are not read/.test(daemon.logText), 'it is not read');
	await receiver.ping();
	assert.equal(receiver.all({ event: 'client-said' }).length, 1);
	assert.equal((await release()).status, 200);
	await sender.ping();
	await waitFor(() => receiver.all({ event: 'client-said' }).length === events.length, 'all events');
	assert.deepEqual(receiver.all({ event: 'client-said' }).map(({ data }) => data.n), events);
});

test('a publish whose client disconnects while it waits harms nothing', async (t) => {
	const daemon = await startDaemon(OPTIONS, t);
	const client = await daemon.connect();
	for (const channel of ['logged', 'none-1']) await client.subscribe(channel);
	const release = await fallBehind(daemon);
	const body = JSON.stringify({ name: 'Left', data: '{}', channel: 'none-1' });
	const path = `/apps/${APP.id}/events`;
	const raw = await Raw.connect(daemon.port);
	raw.write(`POST ${path}?${signedQuery(APP, 'POST', path, {}, body)} HTTP/1.1\r\nHost: h\r\n` +
		`Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
	await waits(daemon);
	raw.destroy();
	assert.equal((await release()).status, 200);
	await publishInTime(daemon, 'Next');
	await client.next({ event: 'Next' });
	assert.ok(client.all({ event: 'Left' }).length <= 1);
});

test('a stop answers the publishes that wait', async (t) => {
	const daemon = await startDaemon({ ...OPTIONS, server: { ...OPTIONS.server, drain_ms: 0 } }, t);
	const client = await daemon.connect();
	for (const channel of ['logged', 'none-1']) await client.subscribe(channel);
	const release = await fallBehind(daemon);
	const waiting = daemon.api().trigger('none-1', 'Waited', {});
	await waits(daemon);
	const stopped = daemon.stop();
	const { status, headers } = await waiting;
	assert.equal(status, 503);
	assert.ok(Number(headers['retry-after']) > 0);
	await Promise.all([stopped, release()]);
});
