// SPDX-License-Identifier: MIT
// PostgreSQL's disk is full: what needs it is answered clearly, all else goes on, and when there is
// room again so does the log.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { startCluster, startDaemon, waitFor } from '../lib/harness.mjs';

const DISK_MB = 64;

/** Takes all the room there is; the function that gives it back. */
function fill(disk) {
	const ballast = path.join(disk, 'ballast');
	const file = fs.openSync(ballast, 'w');
	const piece = Buffer.alloc(65536, 1);
	for (let size = piece.length; size >= 512;) {
		try {
			fs.writeSync(file, piece, 0, size);
		} catch (error) {
			assert.equal(error.code, 'ENOSPC');
			size /= 2;
		}
	}
	fs.closeSync(file);
	return () => fs.rmSync(ballast);
}

test('a full disk delays durable publishes and loses nothing', async (t) => {
	const cluster = await startCluster({}, { diskMB: DISK_MB });
	t.after(() => cluster.stop());
	const daemon = await startDaemon({ cluster, database: { commit_timeout_ms: 2000 },
		app: { channel_durability: 'none-*:none, async-*:async' } }, t);
	const api = daemon.api();
	const wire = await daemon.connect();
	for (const channel of ['logged', 'none-1', 'async-1']) await wire.subscribe(channel);
	const answers = new Map();   // by the event's number
	let n = 0;
	const publish = async () => {
		const answer = await api.trigger('logged', 'E', JSON.stringify({ n, pad: 'x'.repeat(2000) }));
		answers.set(n++, answer);
		return answer;
	};
	const rows = async (channel) => (await daemon.query(
		'SELECT payload FROM realtime_events WHERE channel = $1 ORDER BY serial', [channel]))
		.map((row) => row.payload.n);

	await waitFor(async () => (await publish()).status === 200, 'a publish is taken at first');
	const empty = fill(cluster.disk);
	// pages that are there already still take some
	const refused = await waitFor(async () => {
		const answer = await publish();
		// Not for being slow.
		return answer.status !== 200 && /No space left on device/.test(daemon.logText) && answer;
	}, 'a publish is refused');

	await t.test('a durable publish is answered 503, and when to try again', async () => {
		for (const answer of [refused, await publish(), await publish()]) {
			assert.equal(answer.status, 503, answer.text);
			assert.ok(Number(answer.headers['retry-after']) > 0);
			assert.match(answer.text, /database/);
		}
		await waitFor(() => /No space left on device/.test(daemon.logText), 'the log has the reason');
	});
	await t.test('sockets, and durability none and async, work during a full disk', async () => {
		await wire.ping();
		assert.equal((await api.trigger('none-1', 'E', '{"n":1}')).status, 200);
		await wire.next({ channel: 'none-1', event: 'E' });
		for (let i = 0; i < 20; i++) {
			assert.equal((await api.trigger('async-1', 'E', `{"n":${i}}`)).status, 200);
			await wire.next({ channel: 'async-1', data: `{"n":${i}}` });
		}
		const other = await daemon.connect();
		await other.subscribe('logged');
		await other.close();
	});
	await t.test('durable publishes succeed when there is room again', async () => {
		empty();
		await waitFor(async () => (await publish()).status === 200, 'a publish is taken');
		await waitFor(async () => (await rows('async-1')).length === 20, 'the async rows');
		assert.deepEqual(await rows('async-1'), Array.from({ length: 20 }, (_, i) => i));
	});
	await t.test('every acknowledged event is in the log once and was delivered', async () => {
		const found = await rows('logged');
		assert.equal(new Set(found).size, found.length);
		for (const [i, { status, text }] of answers)
			if (status === 200 || /nothing was published/.test(text))
				assert.equal(found.includes(i), status === 200, `event ${i}: ${text}`);
		const got = () => wire.all({ channel: 'logged', event: 'E' });
		await waitFor(() => got().length === found.length, 'their delivery');
		assert.deepEqual(got().map((frame) => JSON.parse(frame.data).n).sort((a, b) => a - b),
			found.sort((a, b) => a - b));
	});
});
