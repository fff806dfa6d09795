// SPDX-License-Identifier: MIT
// scopewirectl user: what is stored about a person is exported and erased, in the log too.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, Sync, ok, waitFor } from '../lib/harness.mjs';
import { withAdmin } from '../lib/ctl.mjs';

const USER = 7;

async function live(daemon) {
	const server = Sync.server(daemon);
	ok(await server.put(`users/${USER}`, { name: 'Ada', roles: ['admin'] }));
	ok(await server.post('heartbeat', { user_id: USER, location: '/home' }));
	ok(await server.post('start-viewing', { resource_type: 'invoice', resource_id: 1, user_id: USER }));
	ok(await server.post('locks', { resource_type: 'invoice', resource_id: 1, user_id: USER, ttl: 600 }));
	ok(await server.post('notifications', { to: USER, title: 'For Ada' }), 201);
	ok(await server.post('activities', { type: 'paid', user_id: USER }), 201);
	await daemon.query(`SELECT broadcast('news', 'Told', '{"user":{"id":${USER},"name":"Ada"},"t":"\\u0000"}')`);
	// On a channel of another kind, and on one that has no id in its name.
	for (const channel of ['private-App.Models.Customer.{id}', 'presence-desk.3'])
		ok(await server.post('notifications', { to: USER, title: `Ada, on ${channel}`, data: { user_id: 8 }, channel }), 201);
	await daemon.query(`SELECT broadcast('news', 'Other', '{"user":{"id":8},"owner":{"id":"${USER}"}}')`);
	await daemon.query(`SELECT broadcast('news', 'Huge', '{"user_id":${USER},"n":1e400000}')`);
	await daemon.query(`SELECT broadcast('#server-to-user-${USER}', 'Own', '"for Ada only"')`);
	await daemon.query(`SELECT broadcast('news', 'Filler', '{"n":1}') FROM generate_series(1, 2500)`);
	await daemon.query(`SELECT broadcast('news', 'Late', '{"user_id":"${USER}"}')`);
	await waitFor(async () => (await daemon.query(
		`SELECT FROM realtime_events WHERE serial = 0`)).length === 0, 'all have serials');
}

const lines = (shown) => assert.equal(shown.code, 0, shown.error) ?? shown.out.trim().split('\n').map((line) => JSON.parse(line));
const names = (all) => all.flatMap((one) => one.events.map((e) => e.event));

test('all that is stored about a person is exported, and erased', async (t) => {
	const { daemon, ctl } = await withAdmin(t);
	await live(daemon);

	const shown = await ctl(['user', 'export', String(USER)], { scope: 'read' });
	assert.equal(shown.code, 0, shown.error);
	const all = lines(shown);
	assert.ok(all.length > 1, 'the log is read in slices');
	const { data } = all[0];
	assert.equal(all[1].data, null);
	assert.equal(data.user.name, 'Ada');
	assert.equal(data.presence.location, '/home');
	assert.deepEqual([data.viewing, data.notifications, data.activities].map((list) => list.length), [1, 3, 1]);
	const found = names(all).filter((name) => !name.startsWith('App\\') && !name.startsWith('Illuminate\\'));
	assert.deepEqual(found, ['Told', 'Huge', 'Own', 'Late']);
	const channelOf = (event) => event.event.endsWith('BroadcastNotificationCreated') && event.channel;
	assert.deepEqual(all.flatMap((one) => one.events.map(channelOf)).filter(Boolean),
		[`private-App.Models.User.${USER}`, `private-App.Models.Customer.${USER}`, 'presence-desk.3']);
	const other = await ctl(['user', 'export', String(USER), '--paths', 'owner.id'], { scope: 'read' });
	assert.ok(names(lines(other)).includes('Other'));

	const [{ last }] = await daemon.query('SELECT max(serial)::integer AS last FROM realtime_events');
	assert.notEqual((await ctl(['user', 'erase', String(USER)], { scope: 'read' })).code, 0, 'it needs the scope write');
	const erased = await ctl(['user', 'erase', String(USER), '--json']);
	assert.equal(erased.code, 0, erased.error);
	const told = JSON.parse(erased.out);
	assert.equal(told.removed.deleted.notifications, 3);
	assert.ok(told.events >= 3);
	const left = lines(await ctl(['user', 'export', String(USER)], { scope: 'read' }));
	assert.deepEqual([left[0].data.user, left[0].data.presence, left[0].data.notifications, left[0].data.activities],
		[null, null, [], []]);
	// Later events are those of the erasing itself: viewers and counts changed.
	for (const event of left.flatMap((one) => one.events).filter((e) => e.serial <= last))
		assert.deepEqual(event.data, { erased: true }, JSON.stringify(event));
	const [{ n }] = await daemon.query(`SELECT count(*) AS n FROM realtime_events
		WHERE payload::text LIKE '%Ada%'`);
	assert.equal(Number(n), 0);
	const [{ kept }] = await daemon.query(`SELECT count(*) AS kept FROM realtime_events WHERE event_type = 'Filler' AND payload->>'n' = '1'`);
	assert.equal(Number(kept), 2500);
	assert.ok(left[0].data.audit.some((row) => row.action === 'user-erase'));
	assert.equal((await ctl(['user', 'erase', String(USER)])).code, 0, 'once more is no error');
});

test('webhooks about a person that wait or were given up are exported and erased', async (t) => {
	const { daemon, ctl } = await withAdmin(t);
	await waitFor(async () => (await daemon.query('SELECT FROM log_apps')).length === 1, 'the application is in the database');
	await daemon.query(`INSERT INTO webhook_queue (app, endpoint, channel, event, dead_at)
		SELECT a.app, 'e', 'c', json_build_object('name', 'notification_undelivered', 'user_id', u::text,
			'notification', json_build_object('title', 'For ' || u)), d
		FROM log_apps a, unnest('{7,71}'::bigint[]) u, unnest(ARRAY[NULL, now()]) d`);
	await daemon.query(`INSERT INTO notification_checks (id, app, user_id, channels, event_ids, after_serial, created_at)
		SELECT gen_random_uuid(), app, u, '{c}', '{e}', 0, now() + interval '1 d' FROM log_apps, unnest('{7,71}'::bigint[]) u`);
	const [{ data }] = lines(await ctl(['user', 'export', '7'], { scope: 'read' }));
	assert.deepEqual(data.webhooks.map((w) => w.event.notification.title), ['For 7', 'For 7']);
	assert.deepEqual(data.notification_checks.map((c) => c.user_id), [7]);
	const erased = await ctl(['user', 'erase', '7', '--json']);
	assert.equal(JSON.parse(erased.out).removed.deleted.webhooks, 2);
	const left = async (what, table) => (await daemon.query(`SELECT DISTINCT ${what} AS u FROM ${table}`)).map(({ u }) => Number(u));
	assert.deepEqual(await left(`event->>'user_id'`, 'webhook_queue'), [71]);
	assert.deepEqual(await left('user_id', 'notification_checks'), [71]);
});

test('what is not a user or a path is refused with the reason', async (t) => {
	const { ctl } = await withAdmin(t);
	assert.match((await ctl(['user', 'export', 'ada'])).error, /"user" must be a user.s id: a positive integer/);
	assert.match((await ctl(['user', 'export', '7', '--paths', 'a,,b'])).error, /at most 20 paths/);
	assert.match((await ctl(['user', 'export', '7', '--paths', 'a"b'])).error, /at most 20 paths/);
	assert.match((await ctl(['user', 'forget', '7'])).error, /user export ID, or user erase ID/);
	assert.match((await ctl(['user', 'export', '7', '--app', `not-${APP.id}`])).error, /no application/);
});

test('events that are hard to read are exported and erased too', async (t) => {
	const { daemon, ctl } = await withAdmin(t);
	const api = daemon.api();
	const hostile = ['{"user_id":7,"n":"\\ud800"}', '{"user_id":"7","n":1e400000}', '{"user_id":7,"\\u0000":1}',
		`{"user_id":7,"n":${'['.repeat(3000)}${']'.repeat(3000)}}`];
	const innocent = ['{"user_id":71,"n":"\\ud800"}', '{"n":7,"m":1e400000}', '{"user_id":7.5,"n":"\\udc00"}'];
	for (const data of [...hostile, ...innocent])
		assert.equal((await api.trigger('news', 'Hard', data)).status, 200, data.slice(0, 60));
	await api.trigger('private-App.Models.User.7', 'Hard', '{"n":1e400000}');
	const left = async () => (await daemon.query(`SELECT payload::text AS p FROM realtime_events
		WHERE event_type = 'Hard' AND payload::text <> '{"erased":true}' ORDER BY serial`)).map((row) => row.p);
	await waitFor(async () => (await left()).length === hostile.length + innocent.length + 1, 'all are logged');
	const shown = await ctl(['user', 'export', '7'], { scope: 'read' });
	assert.equal(shown.code, 0, shown.error);
	assert.equal(shown.out.match(/"event" ?: ?"Hard"/g).length, hostile.length + 1);
	assert.equal((await ctl(['user', 'erase', '7'])).code, 0);
	assert.deepEqual(await left(), innocent);
});

test('rows of the audit about another application\'s user are not exported', async (t) => {
	const other = { id: 'other', key: 'other-key', secret: 'other-secret' };
	const { ctl, post } = await withAdmin(t, undefined, { apps: [APP, other] });
	await post('/admin/api/disconnect', { app: 'other', user: '7' });
	await post('/admin/api/disconnect', { app: APP.id, user: '7' });
	const [{ data }] = lines(await ctl(['user', 'export', '7', '--app', APP.id], { scope: 'read' }));
	assert.deepEqual(data.audit.map((row) => row.arguments.app), [APP.id]);
});

test('an answer of the export is bounded by the bytes of the events', async (t) => {
	const { daemon, ctl } = await withAdmin(t);
	await daemon.query(`SELECT broadcast('news', 'Large', json_build_object('user_id', 7, 't', repeat('x', 10000)))
		FROM generate_series(1, 900)`);
	await waitFor(async () => (await daemon.query('SELECT FROM realtime_events WHERE serial = 0')).length === 0, 'all have serials');
	const shown = await ctl(['user', 'export', '7'], { scope: 'read' });
	const all = lines(shown);
	assert.equal(names(all).length, 900);
	assert.ok(all.length >= 3, `${all.length} answers`);
	for (const line of shown.out.split('\n')) assert.ok(line.length < 6000000, `${line.length} bytes`);
});
