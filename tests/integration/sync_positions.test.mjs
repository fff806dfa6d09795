// SPDX-License-Identifier: MIT
// The positions and event ids in answers of the sync API, and what a client does with them.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { PROGRAM, Sync, ok, startDaemon, waitFor } from '../lib/harness.mjs';

const serialOf = (position) => Number(position.split(':')[1]);
const FEED = 'App\\Events\\ActivityFeedUpdated';

let daemon, server;
before(async () => {
	daemon = await startDaemon();
	server = Sync.server(daemon);
	ok(await server.put('users/7', { name: 'Ada' }));
	await waitFor(async () => ok(await server.get('users/7')).position, 'a position');
});
after(() => daemon?.stop());

/** Frames of the channel that a subscription from the position replays. */
async function replay(channel, since) {
	const wire = await daemon.connect();
	await wire.subscribe(channel, { since });
	await wire.next({ event: 'scopewire:replayed', channel });
	const events = wire.all({ channel }).filter((frame) => frame.id);
	await wire.close();
	return events;
}

describe('position', () => {
	const LOADING = { activities: {}, changes: {}, locks: {}, notifications: { user_id: 7 },
		'notifications/counts': { user_ids: '7' }, 'online-users': {}, rules: {}, users: {}, 'users/7': {},
		versions: { types: 'note' },
		viewers: { resource_type: 'note', resource_id: 1 } };

	test('each GET of the sync API is among those of the tests', () => {
		const routes = execFileSync(PROGRAM, ['--print-routes'], { encoding: 'utf8' }).split('\n')
			.map((line) => line.match(/^GET +\/api\/sync\/(\S+)/)?.[1]).filter(Boolean);
		const tried = new Set(Object.keys(LOADING).map((path) => path.replace(/\/\d+/, '/{id}')));
		// The log itself has positions of its own.
		assert.deepEqual(routes.filter((route) => !tried.has(route)), ['events']);
	});

	test('each GET that loads state has the position, in the body and in a header', async () => {
		const [{ epoch }] = await daemon.query('SELECT epoch FROM log_meta');
		for (const [path, query] of Object.entries(LOADING)) {
			const answer = await server.get(path, query);
			assert.match(ok(answer).position, new RegExp(`^${epoch}:\\d+$`), path);
			assert.equal(answer.headers['scopewire-position'], answer.json.position, path);
		}
	});

	test('it is not part of the ETag; a 304 has the new one', async () => {
		const first = await server.get('users/7');
		await daemon.api().trigger('news', 'Told', {});
		await waitFor(async () => (await server.get('users/7')).json.position !== first.json.position,
			'the log to go on');
		const again = await server.call('GET', 'users/7',
			{ headers: { 'If-None-Match': first.headers.etag } });
		assert.equal(again.status, 304);
		assert.equal(again.text, '');
		assert.ok(serialOf(again.headers['scopewire-position']) > serialOf(first.json.position));
	});

	test('what happens while state is loaded is replayed from its position', async () => {
		const client = await daemon.session();
		// a feed is read after activities have their positions, which needs this lock
		await client.query(`BEGIN; SELECT pg_advisory_xact_lock(lock_key('activities'))`);
		await client.query(`INSERT INTO activities (app, type) VALUES ('${daemon.app.id}', 'unplaced')`);
		const added = ok(await server.post('activities', { type: 'before' }), 201).activity.id;
		const loading = server.get('activities');
		await waitFor(async () => (await daemon.query(`SELECT FROM pg_stat_activity
			WHERE query = 'SELECT activities_place(1000)' AND state = 'active' AND datname = current_database()`)).length > 0,
		'the feed to wait');
		const during = ok(await server.post('activities', { type: 'during' }), 201).activity.id;
		const seen = await daemon.connect();
		await seen.subscribe('private-admin', { since: `${(await daemon.query(
			'SELECT epoch FROM log_meta'))[0].epoch}:0` });
		await seen.next((frame) => frame.event === FEED && JSON.parse(frame.data).activity.id === during);
		await seen.close();
		await client.query('COMMIT');
		await client.end();
		const state = ok(await loading);
		assert.ok(state.activities.some((a) => a.id === added));
		const ids = (await replay('private-admin', state.position))
			.map((frame) => JSON.parse(frame.data).activity.id);
		assert.ok(ids.includes(during), JSON.stringify(ids));
	});
});

describe('writes', () => {
	const at = { resource_type: 'note', resource_id: 1, user_id: 7 };
	const WRITES = {
		activities: [{ type: 'x', user_id: 7 }, 'private-admin'],
		locks: [at, 'private-note.1'],
		'locks/request': [{ ...at, user_id: 8 }, 'private-App.Models.User.7'],
		'locks/refuse': [{ ...at, to: 8 }, 'private-App.Models.User.8'],
		'locks/steal': [{ ...at, user_id: 9 }, 'private-note.1'],
		'locks/release': [{ ...at, user_id: 9 }, 'private-note.1'],
		notifications: [{ to: 7, title: 'T' }, 'private-App.Models.User.7'],
		'notifications/read': [{ user_id: 7, all: true }, 'private-App.Models.User.7'],
		'notifications/unread': [{ user_id: 7, all: true }, 'private-App.Models.User.7'],
		'notifications/delete': [{ user_id: 7, all: true }, 'private-App.Models.User.7'],
		'start-viewing': [at, 'private-note.1'],
		'stop-viewing': [at, 'private-note.1'],
		changes: [{ client_id: 'c', mutations: [{ mutation_id: 'm', resource_type: 'note',
			resource_id: 1, op: 'upsert', data: {}, expected_version: 0 }] }, 'private-note.1'],
		'users/9/delete': [{}, 'private-note.2', () => server.post('locks', { ...at, resource_id: 2, user_id: 9 })],
	};

	test('an answer has the id of the event, which is after the answer\'s position', async () => {
		for (const [path, [body, channel, prepare]] of Object.entries(WRITES)) {
			await prepare?.();
			const answer = await server.post(path, body);
			assert.ok(answer.status < 300, `${path}: ${answer.text}`);
			const { event_id: id, position, serial } = answer.json;
			assert.ok(id, `${path}: ${answer.text}`);
			assert.equal(serial, undefined, path);
			await waitFor(async () => (await daemon.query(
				'SELECT FROM realtime_events WHERE event_id = $1 AND serial > 0', [id])).length > 0,
			`the event of ${path}`);
			const frame = (await replay(channel, position)).find((f) => f.id === id);
			assert.ok(frame?.serial > serialOf(position), `${path}: ${JSON.stringify(answer.json)}`);
		}
	});

	test('with "Prefer: wait" it has the serial', async () => {
		const wire = await daemon.connect();
		await wire.subscribe('private-admin');
		for (let i = 0; i < 20; i++) {
			const answer = await server.call('POST', 'activities',
				{ body: { type: 'serial' }, headers: { Prefer: 'wait' } });
			const { event_id: id, serial } = ok(answer, 201);
			const frame = await wire.next((f) => f.id === id);
			assert.equal(frame.serial, serial);
		}
		await wire.close();
	});

	test('a repeat with the same key has the same event', async () => {
		const headers = { 'Idempotency-Key': 'once', Prefer: 'wait' };
		const post = () => server.call('POST', 'activities', { body: { type: 'once' }, headers });
		const first = ok(await post(), 201), again = ok(await post(), 201);
		assert.ok(first.serial > 0);
		assert.deepEqual(again, first);
	});

	test('a write without an event has none', async () => {
		const answer = ok(await server.call('PUT', 'users/7',
			{ body: { name: 'A' }, headers: { Prefer: 'wait' } }));
		assert.deepEqual(Object.keys(answer), ['user']);
		ok(await server.post('locks', at));
		const renewed = ok(await server.post('locks', at));
		assert.equal(renewed.renewed, true);
		assert.equal(renewed.event_id, undefined);
	});
});
