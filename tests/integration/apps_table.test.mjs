// SPDX-License-Identifier: MIT
// The table apps: rows of soketi's table are taken as they are.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { startDaemon, waitFor } from '../lib/harness.mjs';

/** soketi's table for PostgreSQL. */
const SOKETI = `CREATE TABLE public.soketi_apps (id varchar(255) PRIMARY KEY, "key" varchar(255) NOT NULL,
	secret varchar(255) NOT NULL, max_connections integer NOT NULL,
	enable_client_messages smallint NOT NULL, "enabled" smallint NOT NULL,
	max_backend_events_per_sec integer NOT NULL, max_client_events_per_sec integer NOT NULL,
	max_read_req_per_sec integer NOT NULL, webhooks json,
	max_presence_members_per_channel smallint, max_presence_member_size_in_kb smallint,
	max_channel_name_length smallint, max_event_channels_at_once smallint,
	max_event_name_length smallint, max_event_payload_in_kb smallint, max_event_batch_size smallint,
	enable_user_authentication smallint NOT NULL)`;

test('rows of soketi\'s table can be inserted as they are', async (t) => {
	const daemon = await startDaemon({}, t);
	await daemon.query(SOKETI);
	await daemon.query(`INSERT INTO public.soketi_apps VALUES
		('on', 'on-key', 's', -1, 1, 1, -1, -1, -1, '[{"url":"http://a"}]', 100, 2, 150, 50, 150, 90, 9, 1),
		('off', 'off-key', 's', 200, 0, 1, 50, 50, 50, '[]', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0),
		('gone', 'gone-key', 's', 200, 0, 0, 50, 50, 50, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0)`);
	await daemon.query('INSERT INTO apps SELECT * FROM public.soketi_apps');
	await waitFor(async () => (await daemon.query('SELECT FROM log_apps')).length === 3,
		'two more applications');
	assert.deepEqual(await daemon.query(`SELECT app, max_channel_bytes AS c, max_payload_bytes AS p
		FROM log_apps WHERE app = 'on'`), [{ app: 'on', c: 150, p: 92160 }]);

	const on = { id: 'on', key: 'on-key', secret: 's' }, off = { id: 'off', key: 'off-key', secret: 's' };
	for (const [app, delivered] of [[on, 1], [off, 0]]) {
		const [a, b] = [await daemon.connect({ app }), await daemon.connect({ app })];
		for (const wire of [a, b]) await wire.subscribe('private-x');
		a.send({ event: 'client-x', channel: 'private-x', data: 1 });
		await a.ping();
		await b.ping();
		assert.equal(b.all({ event: 'client-x' }).length, delivered, app.id);
		await a.close();
		await b.close();
	}
	const refused = daemon.wire({ app: { id: 'gone', key: 'gone-key', secret: 's' } });
	assert.equal((await refused.closed).code, 4003);
});

test('members of webhooks that have no effect are named, once for each application that has some', async (t) => {
	const daemon = await startDaemon({}, t);
	await daemon.query(`INSERT INTO apps (id, key, secret, webhooks) VALUES
		('a', 'ka', 's', '[{"url": "http://x.test", "event_types": ["client_event"], "lambda": {}}]'),
		('b', 'kb', 's', '[]'), ('c', 'kc', 's', '{}'), ('d', 'kd', 's', NULL)`);
	await waitFor(() => /the app a: these members of webhooks have no effect: "lambda"/.test(daemon.logText),
		'the warning');
	assert.doesNotMatch(daemon.logText, /the app [bcd]: these members/);
});

test('an application of the table that wants notification_undelivered is named when there are no delivery records',
	async (t) => {
		const daemon = await startDaemon({ database: { deliveries: 'no' } }, t);
		await daemon.query(`INSERT INTO apps (id, key, secret, webhooks) VALUES
			('a', 'ka', 's', '[{"url": "http://x.test", "event_types": ["client_event"]}]'),
			('b', 'kb', 's', '[{"url": "http://x.test", "event_types": ["notification_undelivered"]}]')`);
		await waitFor(() => /the app b: webhooks: notification_undelivered is never sent, because database.deliveries is no/
			.test(daemon.logText), 'the warning');
		assert.doesNotMatch(daemon.logText, /the app a: webhooks/);
	});

test('flags can be written as boolean, number or text, and NULL is the default', async (t) => {
	const daemon = await startDaemon({}, t);
	await daemon.query(`INSERT INTO apps (id, key, secret, enabled, enable_client_messages) VALUES
		('a', 'ka', 's', true, NULL), ('b', 'kb', 's', 1, 0), ('c', 'kc', 's', 'yes', 'off'),
		('d', 'kd', 's', NULL, true), ('e', 'ke', 's', false, false)`);
	await waitFor(async () => (await daemon.query('SELECT FROM log_apps')).length === 5,
		'four more applications');
	await daemon.query(`UPDATE apps SET enabled = false WHERE id = 'a'`);
	await waitFor(async () => (await daemon.query('SELECT FROM log_apps')).length === 4, 'three');
});

test('a daemon that is ready knows the applications of the table, and SQL knows the limits of all', async (t) => {
	const daemon = await startDaemon({ app: { max_event_payload_bytes: 0 } }, t);
	const app = { id: 'tabled', key: 'tabled-key', secret: 'secret' };
	await daemon.query('INSERT INTO apps (id, key, secret) VALUES ($1, $2, $3)', [app.id, app.key, app.secret]);
	await daemon.stop();
	await daemon.query('DELETE FROM log_apps');
	// The table can be read only after the daemon has begun to wait for it.
	const session = await daemon.session();
	t.after(() => session.end());
	await session.query('BEGIN; LOCK TABLE apps IN ACCESS EXCLUSIVE MODE');
	const started = daemon.start();
	await waitFor(async () => (await daemon.query(`SELECT FROM pg_locks
		WHERE relation = 'apps'::regclass AND NOT granted AND clock_timestamp() > waitstart + interval '0.5 s'`))
		.length > 0, 'the daemon to wait for the table');
	assert.doesNotMatch(daemon.child.log, /ready: listening/);
	await session.query('COMMIT');
	await started;
	const socket = await daemon.connect({ app });
	await socket.close();
	await daemon.query(`SELECT broadcast('c', 'Long', jsonb_build_object('text', repeat('x', 100000)), app => $1)`,
		[daemon.app.id]);
});

test('limits for SQL publishers that could not be stored are stored later', async (t) => {
	const daemon = await startDaemon({}, t);
	await waitFor(async () => (await daemon.query('SELECT FROM log_apps')).length === 1, 'the limits');
	const session = await daemon.session();
	t.after(() => session.end());
	const { rows: [{ pid }] } = await session.query('SELECT pg_backend_pid() AS pid');
	await session.query('BEGIN; LOCK TABLE log_apps IN ACCESS EXCLUSIVE MODE');
	await daemon.query(`INSERT INTO apps (id, key, secret) VALUES ('late', 'late-key', 's'), ('bad', 'bad-key', '')`);
	const read = () => daemon.logText.match(/the app bad is left out/g)?.length ?? 0;
	await waitFor(() => /the limits for SQL publishers are not stored/.test(daemon.logText), 'the warning');
	assert.match(daemon.logText, new RegExp(`are not stored: .*lock timeout.*: the table log_apps is locked by process ${pid} of the role scopewire`));
	// The table is read once for the notification, and not again for each attempt.
	const before = read(), attempts = new Set();
	assert.equal(before, 1);
	await waitFor(async () => {
		const [one] = await daemon.query(`SELECT query_start::text AS at FROM pg_stat_activity
			WHERE datname = current_database() AND query LIKE '%log_apps_put%' AND wait_event_type = 'Lock'`);
		if (one) attempts.add(one.at);
		return attempts.size >= 3;
	}, 'three attempts');
	assert.equal(read(), before);
	await session.query('COMMIT');
	await waitFor(async () => (await daemon.query(`SELECT FROM log_apps WHERE app = 'late'`)).length === 1,
		'the limits of the new application');
	assert.equal(daemon.logText.match(/the limits for SQL publishers are not stored/g).length, 1);
});

test('applications that the table does not have are unknown also when its rows cannot be applied', async (t) => {
	const daemon = await startDaemon({}, t);
	const none = { id: 'none', key: 'none-key', secret: 'secret' };
	await daemon.query(`INSERT INTO apps (id, key, secret) VALUES ('twin', $1, 'secret')`, [daemon.app.key]);
	await daemon.stop();
	await daemon.start();
	await waitFor(() => /its rows were not applied: .*key/.test(daemon.logText), 'the error');
	assert.equal((await daemon.wire({ app: none }).closed).code, 4001);
	assert.equal((await daemon.api(none).trigger('c', 'E', '{}')).status, 404);
	await daemon.connect();
	await daemon.query(`UPDATE apps SET key = 'other-key'`);
	await waitFor(async () => (await daemon.query('SELECT FROM log_apps')).length === 2, 'both applications');
	await daemon.connect({ app: { id: 'twin', key: 'other-key', secret: 'secret' } });
});
