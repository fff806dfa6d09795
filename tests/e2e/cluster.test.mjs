// SPDX-License-Identifier: MIT
// contrib/cluster/run: three nodes behind HAProxy, started by one command, used through the balancer.
import test from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { APP, Api, PROGRAM, Wire, end, freePorts, logged, request, start, tempFolder, waitFor } from '../lib/harness.mjs';

const RUN = fileURLToPath(new URL('../../contrib/cluster/run', import.meta.url));

const listens = (port) => request(`http://127.0.0.1:${port}/up`).then(() => true, () => false);

for (const more of [[], ['--redis']]) test(`contrib/cluster/run${more.map((word) => ` ${word}`)} starts three nodes behind a balancer, and a killed one is missed by no client`, async (t) => {
	const state = tempFolder('cluster');
	fs.chmodSync(state, 0o755);
	const port = await freePorts(20);
	const child = start(RUN, ['--port', String(port), '--state', state, '--no-install', ...more],
		{ stdio: ['pipe', 'pipe', 'pipe'], detached: true, env: { ...process.env, SCOPEWIRED: PROGRAM } });
	t.after(() => child.exitCode === null && end(child, 'SIGKILL'));
	await logged(child, /ready: http:\/\/127\.0\.0\.1:\d+ is the demo page, on 3 nodes/);
	const url = `http://127.0.0.1:${port}`;
	const page = await request(`${url}/`);
	assert.equal(page.status, 200);
	assert.match(page.text, /<title>.*<\/title>/);

	const api = new Api(url, APP);
	const at = (wire) => Number(wire.socketId.split('.')[0]) >> 19;
	const connect = () => new Wire(`ws://127.0.0.1:${port}/app/${APP.key}?protocol=7`, APP).established();
	const wires = await Promise.all([1, 2, 3].map(connect));
	t.after(() => wires.forEach((wire) => wire.terminate()));
	assert.equal(new Set(wires.map(at)).size, 3, 'each is on a node of its own');
	for (const wire of wires) await wire.subscribe('c');
	assert.equal((await api.trigger('c', 'Efirst', '{}')).status, 200);
	for (const wire of wires) await wire.next({ event: 'Efirst' });
	for (const [i, wire] of wires.entries()) await wire.subscribe('presence-x', { channelData: { user_id: `u${i}` } });
	await waitFor(async () => (await api.get('/channels/presence-x/users')).json.users.length === 3, 'members of all nodes');

	const nodes = async () => (await request(`http://127.0.0.1:${port + 11}/admin/api/nodes`)).json.nodes;
	const third = (await nodes()).find((one) => one.name === 'node3');
	assert.equal(third.live, true);
	const lost = wires.find((wire) => at(wire) === third.number);
	child.stdin.write('kill 3\n');
	await logged(child, /kill node3: done/);
	await lost.closed;
	// The balancer may try the killed node first; then it sends the request to another one.
	assert.equal((await api.trigger('c', 'Eaway', '{}')).status, 200);
	const back = await connect();
	t.after(() => back.terminate());
	const { serial } = lost.all({ event: 'Efirst' })[0];
	await back.subscribe('c', { since: `${lost.epoch}:${serial}` });
	await back.next({ event: 'Eaway' });
	child.stdin.write('start 3\nnodes\n');
	await logged(child, /start node3: done/);
	await waitFor(async () => (await nodes()).filter((one) => one.live).length === 3, 'three nodes');
	await waitFor(() => /node3/.test(child.log.split('start node3: done')[1]), 'the list of nodes');

	child.stdin.write('stop-db\n');
	await logged(child, /the database is stopped/);
	// The daemon's own answer, and not the balancer's page.
	const refused = await waitFor(async () => {
		const answer = await api.trigger('c', 'Erefused', '{}');
		return answer.status === 503 && answer;
	}, 'publishes are refused');
	await waitFor(async () => (await request(`${url}/ready`)).status === 503, 'no node is ready');
	assert.match((await api.trigger('c', 'Erefused', '{}')).text, /database/, refused.text);
	const during = await connect();
	t.after(() => during.terminate());
	await during.subscribe('c');
	child.stdin.write('nodes\n');
	await logged(child, /the nodes cannot be listed: .*database/);
	child.stdin.write('start-db\n');
	await logged(child, /the database runs/);
	await waitFor(async () => (await api.trigger('c', 'Eagain', '{}')).status === 200, 'publishes are accepted');
	await during.next({ event: 'Eagain' });

	if (more.length) {
		const [, redis] = /process_id:(\d+)/.exec(execFileSync('redis-cli', ['-p', String(port + 20), 'info', 'server'], { encoding: 'utf8' }));
		process.kill(Number(redis), 'SIGKILL');
		await logged(child, /redis has ended; .*start it again with: start-redis/);
		child.stdin.write('start-redis\n');
		await logged(child, /Redis runs/);
	} else {
		child.stdin.write('stop-redis\n');
		await logged(child, /no Redis: start it with --redis/);
	}

	child.stdin.write('quit\n');
	const { code } = await end(child, 0);
	assert.equal(code, 0, child.log);
	for (const one of [port, port + 1, port + 2, port + 3, port + 11]) assert.equal(await listens(one), false, String(one));
	assert.equal(fs.existsSync(path.join(state, 'db/postmaster.pid')), false, 'PostgreSQL was stopped');
});

test('contrib/cluster/run refuses what it cannot do before it starts anything', async () => {
	for (const [args, why] of [[['--nodes', '0'], /--nodes takes 1 to 9/], [['--port', 'x'], /--port takes/], [['--odd'], /usage/]]) {
		const child = start(RUN, [...args, '--no-install']);
		const { code } = await end(child, 0);
		assert.equal(code, 64, child.log);
		assert.match(child.log, why);
	}
});
