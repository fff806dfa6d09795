// SPDX-License-Identifier: MIT
// What systemd learns of the daemon by sd_notify(3): when it serves, reads its configuration again,
// stops, and that it works.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { Daemon, end, logged, startDaemon, waitFor } from '../lib/harness.mjs';
import { startServiceManager } from '../lib/service_manager.mjs';

const count = (manager, word) => manager.heard().filter((m) => m.split(' ').includes(word)).length;

test('a service manager receives READY, RELOADING and STOPPING in this order', async (t) => {
	const manager = await startServiceManager();
	t.after(() => end(manager.child));
	const daemon = await startDaemon({ env: manager.env });
	await waitFor(() => count(manager, 'READY=1') === 1);
	daemon.child.kill('SIGHUP');
	await waitFor(() => count(manager, 'READY=1') === 2);
	await daemon.stop();
	await waitFor(() => count(manager, 'STOPPING=1') === 1);
	assert.deepEqual(manager.heard().map((m) => m.split('=')[0]),
		['READY', 'RELOADING', 'READY', 'STOPPING']);
	assert.match(manager.heard()[1], /^RELOADING=1 MONOTONIC_USEC=[1-9][0-9]+ STATUS=/);
});

test('READY comes before a database that is late, if it is not required', async (t) => {
	const manager = await startServiceManager();
	t.after(() => end(manager.child));
	const daemon = new Daemon({ env: manager.env, databaseMode: 'none',
		database: { host: '127.0.0.1', port: 1, name: 'none', user: 'none', required: 'no' } });
	t.after(() => end(daemon.child, 'SIGKILL'));
	await daemon.start();
	await waitFor(() => count(manager, 'READY=1') === 1);
	assert.equal((await daemon.http('/ready')).status, 503);
});

test('the embedded PostgreSQL does not report itself in the place of the daemon', async (t) => {
	const manager = await startServiceManager();
	t.after(() => end(manager.child));
	const daemon = new Daemon({ embedded: true, env: manager.env });
	t.after(() => end(daemon.child));
	await daemon.start();
	await waitFor(() => count(manager, 'READY=1') === 1);
	await end(daemon.child, 'SIGTERM');
	await waitFor(() => count(manager, 'STOPPING=1') === 1);
	assert.deepEqual(manager.heard().map((m) => m.split('=')[0]), ['READY', 'STOPPING']);
});

test('the watchdog is notified as long as the daemon works', async (t) => {
	const manager = await startServiceManager({ watchdog_us: 1000000 });
	t.after(() => end(manager.child));
	const daemon = await startDaemon({ env: manager.env });
	await waitFor(() => count(manager, 'WATCHDOG=1') >= 3);
	await daemon.stop();
});

test('a daemon that cannot start does not report READY', async (t) => {
	const manager = await startServiceManager();
	t.after(() => end(manager.child));
	const daemon = new Daemon({ env: manager.env, server: { backlog: 0 } });
	await daemon.spawn();
	const { code } = await daemon.child.ended;
	assert.equal(code, 78, daemon.child.log);
	assert.deepEqual(manager.heard(), []);
});
