// SPDX-License-Identifier: MIT
// contrib/js with stock pusher-js, in every order of attach() and subscribe().
import { test, describe, before, after } from 'node:test';
import assert from 'node:assert/strict';
import PusherJs from 'pusher-js';
import { attach } from '../../contrib/js/scopewire.js';
import { APP, startDaemon, waitFor } from '../lib/harness.mjs';

describe('scopewire.js', () => {
	let daemon;
	const warnings = [];
	const warn = console.warn;
	before(async () => {
		daemon = await startDaemon();
		console.warn = (text) => warnings.push(text);
	});
	after(async () => {
		console.warn = warn;
		await daemon.stop();
	});

	function client(t) {
		const pusher = new PusherJs(APP.key, { cluster: '', wsHost: '127.0.0.1', wsPort: daemon.port,
			forceTLS: false, enabledTransports: ['ws'], disableStats: true });
		t.after(() => pusher.disconnect());
		return pusher;
	}

	async function subscribed(pusher, name) {
		const channel = pusher.channel(name) ?? pusher.subscribe(name);
		await waitFor(() => channel.subscribed, `${name} is subscribed`);
		return channel;
	}

	/** Publishes one event while the client is away, and waits until it is subscribed again. */
	async function missOne(pusher, name) {
		pusher.disconnect();
		await waitFor(() => pusher.connection.state === 'disconnected', 'disconnected');
		assert.equal((await daemon.api().trigger(name, 'Missed', {})).status, 200);
		pusher.connect();
		await subscribed(pusher, name);
	}

	/** A Storage. */
	const storage = (entries = {}) => ({ getItem: (k) => entries[k] ?? null,
		setItem: (k, v) => { entries[k] = v; } });

	test('attached first, a channel gets what it missed', async (t) => {
		const pusher = client(t), resyncs = [], seen = [];
		attach(pusher, { onResync: (r) => resyncs.push(r) });
		(await subscribed(pusher, 'first')).bind('Missed', (d) => seen.push(d));
		await missOne(pusher, 'first');
		await waitFor(() => seen.length === 1, 'the event');
		assert.deepEqual(resyncs, []);
		assert.deepEqual(warnings.splice(0), []);
	});

	test('attached late, it warns, and a channel gets a resync for what it missed', async (t) => {
		const pusher = client(t), resyncs = [], events = [];
		const channel = await subscribed(pusher, 'late');
		channel.bind('scopewire:resync', (data) => events.push(data));
		attach(pusher, { onResync: (r) => resyncs.push(r) });
		assert.match(warnings.splice(0).join(), /after late was subscribed/);
		assert.deepEqual(resyncs, []);
		await missOne(pusher, 'late');
		await waitFor(() => resyncs.length === 1, 'a resync');
		assert.equal(resyncs[0].channel, 'late');
		assert.equal(resyncs[0].reason, 'no_position');
		assert.equal(events.length, 1);
		const seen = [];
		channel.bind('Missed', (d) => seen.push(d));
		await missOne(pusher, 'late');
		await waitFor(() => seen.length === 1, 'from now on events are replayed');
		assert.equal(resyncs.length, 1);
	});

	test('attached while the subscription is on its way, nothing is missed', async (t) => {
		const pusher = client(t), resyncs = [], seen = [];
		await waitFor(() => pusher.connection.state === 'connected', 'connected');
		pusher.subscribe('pending').bind('Missed', (d) => seen.push(d));
		attach(pusher, { onResync: (r) => resyncs.push(r) });
		await subscribed(pusher, 'pending');
		await missOne(pusher, 'pending');
		await waitFor(() => seen.length === 1, 'the event');
		assert.deepEqual(resyncs, []);
		assert.deepEqual(warnings.splice(0), []);
	});

	test('a position from storage that a late attach() cannot use is a resync at once', async (t) => {
		const pusher = client(t), resyncs = [];
		await subscribed(pusher, 'stored');
		attach(pusher, { onResync: (r) => resyncs.push(r), storage: storage({
			[`scopewire:${APP.key}`]: JSON.stringify({ positions: { stored: 'e:1' }, sockets: [] }) }) });
		await waitFor(() => resyncs.length === 1, 'a resync');
		assert.equal(resyncs[0].channel, 'stored');
		warnings.splice(0);
	});

	test('a channel that was left and subscribed again gets no resync', async (t) => {
		const pusher = client(t), resyncs = [];
		await subscribed(pusher, 'left');
		attach(pusher, { onResync: (r) => resyncs.push(r) });
		warnings.splice(0);
		pusher.unsubscribe('left');
		await subscribed(pusher, 'left');
		await subscribed(pusher, 'another');
		assert.deepEqual(resyncs, []);
	});
});
