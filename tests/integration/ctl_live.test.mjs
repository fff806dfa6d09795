// SPDX-License-Identifier: MIT
// scopewirectl tail, replay and top: what happens, what a client would get, and rates.
import test from 'node:test';
import assert from 'node:assert/strict';
import http from 'node:http';
import { APP, waitFor, within } from '../lib/harness.mjs';
import { CTL, TOKEN, runCtl, withAdmin } from '../lib/ctl.mjs';
import { end, start } from '../lib/process.mjs';

/** A scopewirectl that runs on: {lines(), stop()}. */
function follow(t, url, args) {
	const child = start(CTL, ['--url', url, ...args],
		{ env: { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', SCOPEWIRECTL_TOKEN: TOKEN.read } });
	const run = { out: '', error: '', child, lines: () => run.out.split('\n').slice(0, -1) };
	child.stdout.on('data', (chunk) => { run.out += chunk; });
	child.stderr.on('data', (chunk) => { run.error += chunk; });
	t.after(() => child.kill());
	return run;
}

const json = (text) => text.trim().split('\n').map((line) => JSON.parse(line));

/** Publishes until it has an effect: a stream is not open at once. */
async function publishUntil(daemon, event, done, what) {
	await waitFor(async () => {
		await daemon.api().trigger('orders', event, { n: 1 });
		return done();
	}, what);
}

test('tail prints a line for each message, and ends with --limit or with the daemon', async (t) => {
	const { daemon, url } = await withAdmin(t);
	const wire = await daemon.connect();
	await wire.subscribe('orders');
	const text = follow(t, url, ['tail', 'ord*']);
	await publishUntil(daemon, 'made', () => text.lines().length, 'a line');
	assert.match(text.lines()[0], /^\d\d:\d\d:\d\d\.\d{3} event made on orders #\d+ to 1: \{"n":1\}$/);
	const counted = follow(t, url, ['tail', '--json', '--limit', '2', '--kinds', 'refusal', '--event', 'message_*']);
	await waitFor(async () => {
		wire.send({ event: `nonsense-${Math.random()}`, data: {} });
		await wire.ping();
		return counted.child.exitCode !== null;
	}, 'its end');
	assert.equal(counted.child.exitCode, 0, counted.error);
	assert.deepEqual(json(counted.out).map((m) => [m.kind, m.event, m.socket_id]),
		Array(2).fill(['refusal', 'message_refused', wire.socketId]));
	await daemon.stop();
	const { code } = await end(text.child, 0);
	assert.equal(code, 69);
	assert.match(text.error, /the daemon has ended the stream/);
});

test('tail prints no control character of an event, and a refusal has its reason', async (t) => {
	const { daemon, url, ctl } = await withAdmin(t);
	const run = follow(t, url, ['tail']);
	await waitFor(async () => {
		await daemon.query(`SELECT broadcast('news', E'a\\u009b31m', $1::json)`, [JSON.stringify('\u001b[1m\u007f\u009b2m')]);
		return run.lines().some((line) => line.includes('31m'));
	}, 'the event');
	assert.doesNotMatch(run.out, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
	for (const limit of ['0', '-1', 'many']) {
		const odd = await ctl(['tail', '--limit', limit]);
		assert.equal(odd.code, 64);
		assert.match(odd.error, /--limit must be a number of messages/);
	}
	const refused = await ctl(['tail', '--kinds', 'everything']);
	assert.equal(refused.code, 65);
	assert.match(refused.error, /kinds/);
	assert.equal((await ctl(['tail'], { scope: 'metrics' })).code, 77);
	assert.equal((await runCtl(['--url', 'http://127.0.0.1:1', 'tail'])).code, 69);
});

test('replay prints the frames that a client gets, and its end', async (t) => {
	const { daemon, ctl } = await withAdmin(t, undefined, { app: { max_replay_events: 1000 } });
	const wire = await daemon.connect();
	const { position } = await wire.subscribe('orders');
	await daemon.query(`SELECT broadcast('orders', 'object', '{"b":1,"a":1.50}'), broadcast('other', 'no', '{}'),
		broadcast('orders', 'text', '"gr\u00f6\u00dfer"')`);
	await daemon.api().trigger('orders', 'http', 'plain text');
	await daemon.query(`SELECT broadcast('orders', 'many', '{}') FROM generate_series(1, 700)`);
	await waitFor(() => wire.all({ channel: 'orders' }).length >= 704, 'all events');
	const live = wire.all((frame) => frame.serial);
	const again = await daemon.connect();
	again.sendSubscribe('orders', { since: position });
	const done = await again.next({ event: 'scopewire:replayed' });

	const shown = await ctl(['replay', 'orders', '--from', position, '--json'], { scope: 'read' });
	assert.equal(shown.code, 0, shown.error);
	const frames = json(shown.out);
	assert.deepEqual(frames.slice(0, -1), live);
	assert.deepEqual(frames.at(-1), done);
	assert.deepEqual(frames.slice(0, -1), again.all((frame) => frame.serial));

	const serial = live.at(-2).serial;
	const text = await ctl(['replay', 'orders', '--from', String(serial)]);
	assert.match(text.out, new RegExp(`^#${serial + 1} many \\{\\}\nreplayed: 1 events; position `));
});

test('replay gives the reason why a client would have to fetch its data again', async (t) => {
	const { daemon, ctl } = await withAdmin(t, undefined, { app: { max_replay_events: 2 } });
	const wire = await daemon.connect();
	const { position } = await wire.subscribe('orders');
	await daemon.query(`SELECT broadcast('orders', 'n', '{}') FROM generate_series(1, 3)`);
	await waitFor(() => wire.all({ channel: 'orders', event: 'n' }).length === 3, 'all events');
	for (const [from, reason] of [[position, 'too_many'], ['other-log:0', 'epoch'], ['999999', 'epoch']]) {
		const shown = await ctl(['replay', 'orders', '--from', from, '--json']);
		assert.equal(shown.code, 1, shown.error);
		assert.deepEqual(json(shown.out).map((f) => [f.event, JSON.parse(f.data).reason]), [['scopewire:resync', reason]]);
	}
	assert.equal((await ctl(['replay', 'orders'])).code, 64);
	assert.equal((await ctl(['replay', 'orders', '--from', 'yesterday'])).code, 65);
});

test('top shows rates and the channels with the most subscriptions', async (t) => {
	const { daemon, url, ctl } = await withAdmin(t);
	for (let i = 0; i < 3; i++) {
		const wire = await daemon.connect();
		await wire.subscribe('presence-room', { channelData: { user_id: String(i), user_info: {} } });
		if (i) await wire.subscribe('news');
	}
	const view = await ctl(['top', '--once', '--json'], { scope: 'read' });
	assert.equal(view.code, 0, view.error);
	assert.deepEqual([view.json.ready, view.json.connections, view.json.subscriptions], [true, 3, 5]);
	assert.deepEqual(view.json.channels, [
		{ channel: 'presence-room', subscriptions: 3, users: 3, app: APP.id },
		{ channel: 'news', subscriptions: 2, users: null, app: APP.id }]);
	assert.ok(view.json.per_second.deliveries >= 0);

	const run = follow(t, url, ['top']);
	await publishUntil(daemon, 'made', () => /^per_second\.requests: [1-9]/m.test(run.out), 'a rate');
	assert.match(run.out, /^presence-room +3 +3/m);
	assert.equal((await ctl(['top', '--once', '--app', 'nothing'])).code, 65);
});

// Longer than the minute in which a listener that sends nothing is given up.
test('tail stays open while nothing happens, and ends when the listener sends nothing at all', { timeout: 240000 }, async (t) => {
	const { daemon, url } = await withAdmin(t);
	const quiet = follow(t, url, ['tail', 'orders', '--kinds', 'event']);
	await publishUntil(daemon, 'made', () => quiet.lines().length, 'the first line');
	const mute = http.createServer((request, response) => response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write(':\n\n'));
	await new Promise((done) => mute.listen(0, '127.0.0.1', done));
	t.after(() => { mute.closeAllConnections(); mute.close(); });
	const cut = follow(t, `http://127.0.0.1:${mute.address().port}`, ['tail']);
	assert.equal((await within(cut.child.ended, 'the end of the other', 120000)).code, 69);
	assert.match(cut.error, /has sent nothing for 45 seconds/);
	assert.equal(quiet.child.exitCode, null, quiet.error);
	const before = quiet.lines().length;
	await daemon.api().trigger('orders', 'later', {});
	await waitFor(() => quiet.lines().slice(before).some((line) => / later /.test(line)), 'the next line');
});
