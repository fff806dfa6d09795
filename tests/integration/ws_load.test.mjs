// SPDX-License-Identifier: MIT
// Clients that do not read, ask for too much, or die at random: the others notice nothing.
import { after, afterEach, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { Raw, frame, startDaemon, waitFor } from '../lib/harness.mjs';
import { APP_PATH, Witness, light } from './ws_witness.mjs';

const MANY = 10000;
let witness;

before(async () => {
	witness = await Witness.start({ app: { max_event_payload_bytes: 1 << 20,
		max_request_bytes: 2 << 20, max_channels_per_connection: MANY,
		max_client_events_per_second: 0, max_presence_members: 0,
		member_removed_delay_ms: 100 } });
});
after(() => witness?.stop());
afterEach(() => witness.unharmed());

/** A WebSocket that stops reading once it is subscribed. */
async function deaf(channel) {
	const raw = await witness.raw();
	raw.write(frame(JSON.stringify({ event: 'pusher:subscribe', data: { channel } })));
	await waitFor(() => raw.messages.some((m) => m.event.endsWith('subscription_succeeded')),
		'the subscription');
	raw.socket.pause();
	return raw;
}

const subscriptions = async (channel) => (await witness.api.get(`/channels/${channel}`,
	{ info: 'subscription_count' })).json.subscription_count ?? 0;

test('a client that does not read 50 MB of events is cut off, others receive all', async () => {
	const bytes = 250000, events = 200;
	const slow = await deaf('flood');
	const fast = await witness.daemon.connect();
	await fast.subscribe('flood');
	const memory = witness.memory();
	const late = [];
	for (let i = 0; i < events; i++) {
		const began = process.hrtime.bigint();
		const data = `${i} `.padEnd(bytes, 'x');
		assert.equal((await witness.api.trigger('flood', 'part', data)).status, 200);
		await fast.next((f) => f.event === 'part' && f.data.startsWith(`${i} `));
		late.push(Number(process.hrtime.bigint() - began) / 1e6);
		fast.frames.length = fast.texts.length = fast.taken = 0;
	}
	await waitFor(async () => await subscriptions('flood') === 1, 'the slow one to be dropped');
	await waitFor(() => /connection dropped: the client reads too slowly/.test(witness.daemon.logText), 'a line in the log');
	witness.grewAtMost(24 << 20, memory);
	late.sort((a, b) => a - b);
	// Far above what an event takes on a busy machine, far below the time until the slow one is cut off for its silence.
	assert.ok(late[events / 2] < 2000, `median ${late[events / 2]} ms`);
	slow.socket.resume();
	await waitFor(() => slow.ended, 'the end of the slow one');
	slow.destroy();
	fast.terminate();
});

test('a client that neither reads nor answers pings is cut off with a full socket', async (t) => {
	const daemon = await startDaemon(light({ app: { ping_interval: 1, pong_timeout: 1,
		max_outbox_bytes: 0, max_outbox_messages: 0, max_event_payload_bytes: 0 } }), t);
	const full = await Raw.connect(daemon.port);
	await full.upgrade(APP_PATH);
	full.write(frame(JSON.stringify({ event: 'pusher:subscribe', data: { channel: 'x' } })));
	await waitFor(() => full.messages.some((m) => /subscription_succeeded$/.test(m.event)), 'the subscription');
	full.socket.pause();
	const api = daemon.api();
	const data = 'x'.repeat(500000);
	for (let i = 0; i < 40; i++) assert.equal((await api.trigger('x', 'part', data)).status, 200);
	await waitFor(async () => (await api.get('/connections')).json.connections === 0,
		'no connection counted');
	await waitFor(async () => (await api.get('/channels/x')).json.occupied === false,
		'the channel to be empty');
	full.destroy();
});

test('a connection can subscribe to ten thousand channels, and no more', async () => {
	const raw = await witness.raw();
	const all = Array.from({ length: MANY + 1 }, (_, i) =>
		frame(JSON.stringify({ event: 'pusher:subscribe', data: { channel: `many-${i}` } })));
	raw.write(Buffer.concat(all));
	const answered = () => raw.frames.length - 1;
	await waitFor(() => answered() >= MANY + 1, 'all answers');
	const kinds = raw.messages.slice(1).map((m) => m.event);
	assert.equal(kinds.filter((k) => k === 'pusher_internal:subscription_succeeded').length, MANY);
	assert.equal(kinds[MANY], 'pusher:subscription_error');
	assert.equal(raw.messages[MANY + 1].data.type, 'LimitReached');
	const before_ = raw.frames.length;
	await witness.api.trigger(['many-0', `many-${MANY - 1}`, `many-${MANY}`], 'hello', '1');
	await waitFor(() => raw.frames.length === before_ + 2, 'two events');
	const { channels } = (await witness.api.get('/channels', { filter_by_prefix: 'many-' })).json;
	assert.equal(Object.keys(channels).length, MANY);
	raw.destroy();
	await waitFor(async () => Object.keys((await witness.api.get('/channels',
		{ filter_by_prefix: 'many-' })).json.channels).length === 0, 'all channels empty');
});

/** A small generator of random numbers, the same on every run. */
function random(seed) {
	return () => {
		seed = (seed * 1103515245 + 12345) % 2147483648;
		return seed / 2147483648;
	};
}

test('200 connections that open and close at random miss and disturb nothing', async () => {
	const next = random(7);
	const listener = await witness.daemon.connect();
	await listener.subscribe('churn');
	let live = 0, sent = 0, stop = false;
	const one = async (i) => {
		for (let round = 0; round < 5; round++) {
			const raw = await Raw.connect(witness.daemon.port);
			live++;
			const cut = next();
			const subscribe = (channel) => frame(JSON.stringify(
				{ event: 'pusher:subscribe', data: { channel } }));
			if (cut < 0.2) {
				raw.write(`GET ${APP_PATH} HTTP/1.1\r\nHost: x\r\n`.slice(0, 60 * next()));
			} else {
				await raw.upgrade(APP_PATH);
				raw.write(subscribe('churn'));
				raw.write(subscribe(`churn-${i}`));
				if (cut < 0.5) raw.write(subscribe('half').subarray(0, 20 * next()));
				else if (cut < 0.7) await waitFor(() => raw.frames.length > 2 || raw.ended, 'answers');
				else if (cut < 0.8) raw.write(frame([3, 232], { opcode: 8 }));
				else if (cut < 0.9) raw.socket.pause();
			}
			await new Promise((resolve) => {
				raw.socket.once('close', resolve);
				if (next() < 0.5) raw.socket.destroy();
				else raw.socket.resetAndDestroy();
			});
			live--;
		}
	};
	const publish = async () => {
		while (!stop) {
			assert.equal((await witness.api.trigger('churn', 'tick', `${sent}`)).status, 200);
			sent++;
		}
	};
	const publishing = publish();
	await Promise.all(Array.from({ length: 200 }, (_, i) => one(i)));
	stop = true;
	await publishing;
	assert.equal(live, 0);
	await waitFor(() => listener.all({ event: 'tick' }).length === sent, `all of ${sent} events`);
	assert.deepEqual(listener.all({ event: 'tick' }).map((f) => Number(f.data)),
		Array.from({ length: sent }, (_, i) => i));
	await waitFor(async () => await subscriptions('churn') === 1, 'one subscription');
	await waitFor(async () => (await witness.api.get('/connections')).json.connections === 2,
		'two connections');
	listener.terminate();
});

describe('memory', () => {
	test('closed connections leave no memory behind', async () => {
		const round = async () => {
			const clients = await Promise.all(Array.from({ length: 100 },
				() => witness.daemon.connect()));
			await Promise.all(clients.map((c, i) => c.subscribe(`presence-${i % 10}`,
				{ channelData: { user_id: `${i}`, user_info: { name: 'x'.repeat(500) } } })));
			await Promise.all(clients.map((c) => c.terminate()));
			// Two rounds at the same time would need the memory of both.
			await waitFor(async () => (await witness.api.get('/connections')).json.connections === 1, 'the ends');
		};
		for (let i = 0; i < 3; i++) await round();
		const base = witness.memory();
		for (let i = 0; i < 12; i++) await round();
		witness.grewAtMost(4 << 20, base);
	});
});
