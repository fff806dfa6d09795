// SPDX-License-Identifier: MIT
// The daemon with a PostgreSQL of its own, as contrib/quickstart runs it.
import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { startDaemon, waitFor } from '../lib/harness.mjs';

const alive = (pid) => fs.existsSync(`/proc/${pid}`);

test('an embedded PostgreSQL', async (t) => {
	const daemon = await startDaemon({ embedded: true }, t);
	const postmaster = () => Number(fs.readFileSync(
		path.join(daemon.stateFolder, 'data/postmaster.pid'), 'utf8').split('\n')[0]);
	const events = () => daemon.query('SELECT serial, payload, delivered FROM realtime_events ORDER BY serial');

	await t.test('it listens on a unix socket only and does not run as root', async () => {
		const [{ listen_addresses }] = await daemon.query('SHOW listen_addresses');
		assert.equal(listen_addresses, '');
		assert.notEqual(fs.statSync(`/proc/${postmaster()}`).uid, 0);
		const [row] = await daemon.query('SELECT current_database() AS db, current_user AS role');
		assert.deepEqual(row, { db: 'scopewire', role: 'scopewire' });
	});

	await t.test('a published event is a row', async () => {
		const wire = await daemon.connect();
		await wire.subscribe('kept');
		assert.equal((await daemon.api().trigger('kept', 'made', { n: 1 })).status, 200);
		const frame = await wire.next({ event: 'made' });
		const [row] = await events();
		assert.deepEqual(row, { serial: String(frame.serial), payload: { n: 1 }, delivered: true });
		await wire.close();
	});

	await t.test('a stop ends it, and a second start finds its data', async () => {
		const first = postmaster();
		await daemon.stop();
		assert.equal(alive(first), false);
		await daemon.start();
		assert.equal((await daemon.api().trigger('kept', 'made', { n: 2 })).status, 200);
		const rows = await events();
		assert.deepEqual(rows.map((r) => r.payload.n), [1, 2]);
		assert(BigInt(rows[1].serial) > BigInt(rows[0].serial));
	});

	await t.test('when it is killed it is restarted, and publishing continues', async () => {
		const first = postmaster();
		process.kill(first, 'SIGKILL');
		await waitFor(() => !alive(first), 'its end');
		await waitFor(async () => (await daemon.api().trigger('kept', 'made', { n: 3 })).status === 200,
			'a publish that succeeds');
		assert.notEqual(postmaster(), first);
		const ns = (await events()).map((r) => r.payload.n);
		assert.deepEqual(ns, [1, 2, 3]);
	});

	await t.test('when the daemon is killed its PostgreSQL ends too, and the next start recovers', async () => {
		const first = postmaster();
		await daemon.kill();
		await waitFor(() => !alive(first), 'the end of its PostgreSQL');
		await daemon.start();
		assert.equal((await events()).length, 3);
	});
});
