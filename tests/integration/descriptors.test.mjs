// SPDX-License-Identifier: MIT
// What the daemon does when its file descriptors run out.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const program = path.resolve(process.env.SCOPEWIRED ?? 'build/scopewired');
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'descriptors-'));
process.env.SCOPEWIRED = path.join(folder, 'scopewired');
fs.writeFileSync(process.env.SCOPEWIRED, `#!/bin/sh\nulimit -n 128\nexec '${program}' "$@"\n`,
	{ mode: 0o755 });
const { startDaemon, waitFor } = await import('../lib/harness.mjs');

test('without descriptors connections are refused with 4100, and the API goes on', async (t) => {
	const daemon = await startDaemon({}, t);
	t.after(() => fs.rmSync(folder, { recursive: true }));
	const open = [];
	let refused = 0;
	for (let n = 0; n < 200; n++) {
		const wire = daemon.wire();
		const first = await wire.next((f) => /^pusher:(error|connection_established)$/.test(f.event));
		if (first.event === 'pusher:error') {
			assert.equal((await wire.closed).code, 4100);
			refused++;
		} else {
			open.push(wire);
		}
	}
	assert.ok(open.length > 20 && refused > 0, `${open.length} open, ${refused} refused`);
	await open[0].subscribe('c');
	assert.equal((await daemon.api().trigger('c', 'E', {})).status, 200);
	await open[0].next({ event: 'E' });
	await daemon.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`);
	await waitFor(async () => (await daemon.api().trigger('c', 'E', {})).status === 200,
		'the database is connected again');
	await waitFor(() => /connection refused: 4100, .*no file descriptors left/.test(daemon.logText),
		'a line in the log');
	await Promise.all(open.map((w) => w.close()));
	const again = await daemon.connect();
	await again.close();
});
