// SPDX-License-Identifier: MIT
// Every command of scopewirectl: it is documented and completed, and prints JSON with --json.
import test from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { waitFor } from '../lib/harness.mjs';
import { CTL, TOKENS, runCtl, withAdmin } from '../lib/ctl.mjs';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const repository = (name) => fs.readFileSync(path.join(REPOSITORY, name), 'utf8');
const MANUAL = repository('docs/man/scopewirectl.1.in').replaceAll('\\-', '-');

// What an operator was promised; others may be added.
const PROMISED = ['check', 'status', 'tail', 'send', 'channels', 'who', 'events', 'resend', 'replay', 'explain', 'sign',
	'token', 'disconnect', 'drain', 'reload', 'config', 'top', 'webhooks'];

const words = async (option) => (await runCtl([option])).out.trim().split('\n');

test('each command and each option is in the manual page and completed', async () => {
	const [commands, options] = [await words('--list-commands'), await words('--list-options')];
	for (const name of PROMISED) assert.ok(commands.includes(name), `there is no ${name}`);
	for (const name of commands)
		assert.match(MANUAL, new RegExp(`^\\.B[IR]? "?${name}\\b`, 'm'), `${name} is not in the manual page`);
	for (const name of options)
		if (!name.startsWith('--list-')) assert.ok(MANUAL.includes(name), `${name} is not in the manual page`);
	const complete = (...line) => spawnSync('bash', ['-c', `PATH=${path.dirname(CTL)}:$PATH
		. ${path.join(REPOSITORY, 'contrib/scopewirectl.bash')}
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _scopewirectl; printf '%s\\n' "\${COMPREPLY[@]}"`, '_',
	'scopewirectl', ...line], { encoding: 'utf8' }).stdout.trim().split('\n');
	assert.deepEqual(complete('').sort(), [...commands].sort());
	assert.deepEqual(complete('--').sort(), [...options].sort());
	assert.deepEqual(complete('conn').sort(), ['connection', 'connections']);
	assert.deepEqual(complete('webhooks', ''), ['list', 'resend']);
	assert.deepEqual(complete('token', 'a'), ['add']);
	assert.deepEqual(complete('user', 'e'), ['export', 'erase']);
});

test('each command prints JSON with --json', async (t) => {
	const { daemon, ctl } = await withAdmin(t);
	const config = ['--config', path.join(daemon.folder, 'scopewire.conf')];
	const wire = await daemon.connect();
	await wire.subscribe('news');
	const [{ serial }] = await (async () => {
		await daemon.api().trigger('news', 'made', { order: { number: 4711 } });
		await wire.next({ event: 'made' });
		return daemon.query('SELECT serial FROM scopewire.realtime_events WHERE serial > 0');
	})();
	/** The arguments of each command, and how it ends. */
	const runs = {
		check: [[...config, 'check'], 1], status: [['status']], nodes: [['nodes']], apps: [['apps']], channels: [['channels']],
		channel: [['channel', 'news']], connections: [['connections']], connection: [['connection', wire.socketId]],
		who: [['who', '7']], events: [['events', '--path', 'order.number', '--value', '4711']],
		replay: [['replay', 'news', '--from', String(serial - 1)], undefined],
		top: [['top', '--once']], send: [['send', 'news', 'hello', '{"n":1}']], resend: [['resend', String(serial)]],
		explain: [['explain', '7', 'private-none'], 1], sync: [['sync']], user: [['user', 'export', '7']],
		disconnect: [['disconnect', '7']], token: [['token', 'list']], audit: [['audit']], config: [['config']],
		webhooks: [['webhooks']], reload: [['reload']], sign: [[...config, 'sign', '1.1', 'private-a']],
		tail: [['tail', '--limit', '1', '--kinds', 'event']], drain: [['drain']],
	};
	assert.deepEqual(Object.keys(runs).sort(), (await words('--list-commands')).sort());
	for (const [name, [args, code = 0]] of Object.entries(runs)) {
		const running = ctl([...args, '--json']);
		let isOver = false;
		running.finally(() => { isOver = true; });
		if (name === 'tail')
			await waitFor(async () => { await daemon.api().trigger('news', 'made', {}); return isOver; }, 'its end');
		const { out, error, code: status } = await running;
		assert.equal(error, '', name);
		const lines = out.trim().split('\n');
		for (const line of lines) assert.equal(typeof JSON.parse(line), 'object', name);
		if (!['check', 'replay'].includes(name)) assert.equal(status, code, name);
		if (name === 'events')
			assert.deepEqual(JSON.parse(out).events.map((e) => [e.event, e.data.order.number]), [['made', 4711]]);
	}
});

test('webhooks lists dead letters with their errors and queues them again', async (t) => {
	let isRepaired = false;
	const got = [];
	const receiver = http.createServer((request, response) => {
		let body = '';
		request.on('data', (chunk) => { body += chunk; });
		request.on('end', () => {
			if (isRepaired) got.push(...JSON.parse(body).events.map((e) => e.channel));
			response.writeHead(isRepaired ? 200 : 500).end();
		});
	});
	await new Promise((resolve) => { receiver.listen(0, '127.0.0.1', resolve); });
	t.after(() => { receiver.closeAllConnections(); receiver.close(); });
	const url = `http://127.0.0.1:${receiver.address().port}/`;
	const { daemon, ctl } = await withAdmin(t, { tokens: TOKENS }, { app: { webhooks: JSON.stringify(
		['main', 'audit'].map((name) => ({ name, url, event_types: ['channel_occupied'] }))) },
	sections: { webhooks: { retry_for_s: 0, retry_min_ms: 20, smoothing_ms: 600000 } } });
	const list = async (...args) => (await ctl(['webhooks', ...args, '--json'], { scope: 'read' })).json;
	const client = await daemon.connect();
	for (const channel of ['a', 'b']) await client.subscribe(channel);
	await waitFor(async () => (await list()).webhooks.length === 4, 'dead letters');
	const letters = (await list('list', '--endpoint', 'main', '--state', 'dead')).webhooks;
	assert.deepEqual(letters.map((l) => [l.endpoint, l.channel, l.last_error, l.attempts]),
		[['main', 'b', 'status 500', 1], ['main', 'a', 'status 500', 1]]);
	assert.deepEqual((await list()).endpoints.map((e) => [e.endpoint, e.waiting, e.dead]), [['audit', 0, 2], ['main', 0, 2]]);
	assert.match((await ctl(['webhooks'])).out, /^webhooks:\nid +app +endpoint/m);
	isRepaired = true;
	assert.equal((await ctl(['webhooks', 'resend', String(letters[0].id)], { scope: 'read' })).code, 77);
	assert.deepEqual((await ctl(['webhooks', 'resend', String(letters[0].id), '--json'])).json, { webhooks: 1 });
	await waitFor(() => got.length === 1);
	assert.deepEqual(got, ['b']);
	assert.deepEqual((await ctl(['webhooks', 'resend', '--app', daemon.app.id, '--endpoint', 'audit', '--json'])).json,
		{ webhooks: 2 });
	await waitFor(() => got.length === 3);
	assert.equal((await ctl(['webhooks', 'resend', String(letters[0].id)])).code, 65);
	assert.equal((await ctl(['webhooks', 'resend'])).code, 64);
	await waitFor(async () => (await list('--state', 'waiting')).webhooks.length === 0, 'what was delivered is deleted');
	assert.deepEqual((await list()).webhooks.map((l) => [l.endpoint, l.channel]), [['main', 'a']]);
});
