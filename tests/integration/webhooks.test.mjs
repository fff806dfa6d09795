// SPDX-License-Identifier: MIT
// Webhooks: what is reported, in which order, and what happens when the receiver does not answer.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { APP, certificate, hmac, receiver, startDaemon, waitFor } from '../lib/harness.mjs';

// Attempts follow each other at once, and clocks are short: the tests wait for states only.
const FAST = { smoothing_ms: 100, retry_min_ms: 20, retry_max_ms: 100, compare_s: 1 };

const start = (t, endpoints, options = {}) => startDaemon({ ...options,
	app: { webhooks: JSON.stringify(endpoints), ...options.app },
	sections: { ...options.sections, webhooks: { ...FAST, ...options.webhooks } } }, t);

const member = (user) => ({ channelData: { user_id: user } });
const queue = (daemon) => daemon.query(`SELECT id, endpoint, channel, event, attempts, last_error,
	dead_at FROM scopewire.webhook_queue ORDER BY id`);
const dead = async (daemon) => (await queue(daemon)).filter((row) => row.dead_at);

describe('what is reported', () => {
	test('a channel that is occupied and vacated, signed', async (t) => {
		const to = await receiver(t);
		const daemon = await start(t, [{ url: to.url,
			event_types: ['channel_occupied', 'channel_vacated'] }]);
		const client = await daemon.connect();
		await client.subscribe('private-room');
		await waitFor(() => to.named('channel_occupied').length === 1);
		client.unsubscribe('private-room');
		await waitFor(() => to.named('channel_vacated').length === 1);
		assert.deepEqual(to.events, [{ name: 'channel_occupied', channel: 'private-room' },
			{ name: 'channel_vacated', channel: 'private-room' }]);
		for (const r of to.requests) {
			assert.equal(r.method, 'POST');
			assert.equal(r.headers['content-type'], 'application/json');
			assert.equal(r.headers['x-pusher-key'], APP.key);
			assert.equal(r.headers['x-pusher-signature'], hmac(APP.secret, r.rawBody));
			assert.equal(JSON.parse(r.rawBody).events.length, 1);
			assert.ok(Math.abs(JSON.parse(r.rawBody).time_ms - Date.now()) < 600000);
		}
		await waitFor(async () => (await queue(daemon)).length === 0);
		assert.doesNotMatch(daemon.logText, /not-shown/);
	});

	test('members, client events, misses of cache channels and counts', async (t) => {
		const to = await receiver(t);
		const daemon = await start(t, [{ url: to.url }]);
		const [one, two] = [await daemon.connect(), await daemon.connect()];
		await one.subscribe('presence-room', member('7'));
		await two.subscribe('presence-room', member('7'));
		await two.subscribe('cache-room');
		one.send({ event: 'client-typing', channel: 'presence-room', data: { a: '"ä"' } });
		await waitFor(() => to.named('client_event').length === 1);
		assert.deepEqual(to.named('client_event'), [{ name: 'client_event', channel: 'presence-room',
			event: 'client-typing', data: '{"a":"\\"ä\\""}', socket_id: one.socketId, user_id: '7' }]);
		assert.deepEqual(to.named('member_added'),
			[{ name: 'member_added', channel: 'presence-room', user_id: '7' }]);
		await waitFor(() => to.named('cache_miss').length === 1);
		assert.deepEqual(to.named('cache_miss'), [{ name: 'cache_miss', channel: 'cache-room' }]);
		await waitFor(() => to.named('subscription_count').length === 1);
		assert.deepEqual(to.named('subscription_count'),
			[{ name: 'subscription_count', channel: 'cache-room', subscription_count: 1 }]);
		await one.subscribe('private-room');
		one.send({ event: 'client-typing', channel: 'private-room', data: 'text' });
		await waitFor(() => to.named('client_event', 'private-room').length === 1);
		assert.deepEqual(to.named('client_event', 'private-room'), [{ name: 'client_event',
			channel: 'private-room', event: 'client-typing', data: '"text"', socket_id: one.socketId }]);
		two.unsubscribe('presence-room');
		await two.ping();
		one.unsubscribe('presence-room');
		await waitFor(() => to.named('channel_vacated', 'presence-room').length === 1);
		assert.deepEqual(to.events.filter((e) => e.channel === 'presence-room').map((e) => e.name),
			['channel_occupied', 'member_added', 'client_event', 'member_removed', 'channel_vacated']
				.filter((name) => to.named(name, 'presence-room').length));
		assert.equal(to.named('member_removed').length, 1);
	});

	test('only what an endpoint wants, on channels that its filter has', async (t) => {
		const [some, all] = [await receiver(t), await receiver(t)];
		const daemon = await start(t, [{ url: some.url, headers: { Authorization: 'Bearer abc' },
			event_types: ['channel_occupied'], filter: { channel_name_starts_with: 'private-',
				channel_name_ends_with: '-x' } }, { url: all.url }]);
		const client = await daemon.connect();
		for (const channel of ['private-a', 'public-x', 'private-a-x']) await client.subscribe(channel);
		await waitFor(() => all.named('channel_occupied').length === 3 && some.events.length);
		await waitFor(async () => (await queue(daemon)).length === 0);
		assert.deepEqual(some.events, [{ name: 'channel_occupied', channel: 'private-a-x' }]);
		assert.equal(some.requests[0].headers.authorization, 'Bearer abc');
	});

	test('nothing of the channels that the protocol makes for signed-in users', async (t) => {
		const to = await receiver(t);
		const daemon = await start(t, [{ url: to.url }]);
		const client = await daemon.connect();
		client.sendSignin({ id: '1', watchlist: ['2'] });
		await client.next({ event: 'pusher:signin_success' });
		await client.subscribe('#server-to-user-1');
		await client.subscribe('seen');
		await client.close();
		await waitFor(() => to.named('channel_vacated', 'seen').length === 1);
		await waitFor(async () => (await queue(daemon)).length === 0);
		assert.deepEqual(to.events.filter((e) => e.channel !== 'seen'), []);
	});

	test('a client that is back in time was never away, and neither is one over a crash', async (t) => {
		const to = await receiver(t);
		const daemon = await start(t, [{ url: to.url }],
			// Who is back so long after a start was never away: on a busy machine that takes some seconds.
			{ app: { member_removed_delay_ms: 600000 }, webhooks: { smoothing_ms: 600000, compare_s: 15 } });
		const client = await daemon.connect();
		await client.subscribe('presence-room', member('7'));
		await client.subscribe('other');
		await waitFor(() => to.named('channel_occupied').length === 2 &&
			to.named('member_added').length === 1);
		await waitFor(async () => (await daemon.query(
			'SELECT FROM scopewire.webhook_reported')).length === 3 && !(await queue(daemon)).length);
		client.unsubscribe('presence-room');
		await client.subscribe('presence-room', member('7'));
		await daemon.kill();
		await daemon.start();
		const again = await daemon.connect();
		await again.subscribe('presence-room', member('7'));
		// The other channel stays empty: what the crash lost is found by the comparison.
		await waitFor(() => to.named('channel_vacated', 'other').length === 1);
		assert.deepEqual(to.events.filter((e) => e.channel === 'presence-room').map((e) => e.name).sort(),
			['channel_occupied', 'member_added', 'subscription_count'].filter((name) =>
				to.named(name, 'presence-room').length).sort());
		assert.equal(to.named('channel_occupied', 'presence-room').length, 1);
		assert.equal(to.named('member_added').length, 1);
		assert.equal(to.named('member_removed').length, 0);
	});
});

describe('a notification that reached no socket', () => {
	const WANTED = { event_types: ['notification_undelivered'] };
	const NOTIFY = 'SELECT user_id, id FROM scopewire.notification_send($1, $2, \'It is due\', \'due\', \'{"invoice":5}\')';
	const notify = (daemon, users, title) => daemon.query(NOTIFY, [users, title]);
	const isDecided = async (daemon) =>
		(await daemon.query('SELECT FROM scopewire.notification_checks')).length === 0;

	test('is reported with its text, and one that reached a socket or was read is not', async (t) => {
		const [to, filtered] = [await receiver(t), await receiver(t)];
		const daemon = await start(t, [{ url: to.url, ...WANTED }, { name: 'other', url: filtered.url, ...WANTED,
			filter: { channel_name_starts_with: 'private-Other' } }], { webhooks: { undelivered_s: 8 } });
		const online = await daemon.connect();
		await online.subscribe('private-App.Models.User.8');
		// In one transaction: it is read before its time has passed, however slow the test is.
		const session = await daemon.session();
		await session.query('BEGIN');
		const { rows: [{ id }] } = await session.query(NOTIFY, [[7, 8, 9], 'Invoice']);
		assert.equal((await session.query('SELECT scopewire.notifications_read(9) AS n')).rows[0].n, '1');
		await session.query('COMMIT');
		await session.end();
		await online.next({ event: 'Illuminate\\Notifications\\Events\\BroadcastNotificationCreated' });
		await waitFor(() => isDecided(daemon), 'the notifications are decided');
		await waitFor(async () => (await queue(daemon)).length === 0);
		const [{ notification: { created_at: at, ...notification }, ...event }, ...more] = to.events;
		assert.deepEqual(event, { name: 'notification_undelivered', channel: 'private-App.Models.User.7',
			user_id: '7' });
		assert.match(at, /^\d{4}-/);
		assert.deepEqual(notification, { id, type: 'due', title: 'Invoice', message: 'It is due',
			data: { invoice: 5 }, read_at: null });
		assert.deepEqual(more, []);
		assert.equal(filtered.attempts, 0);
	});

	test('is reported after a crash of the daemon, at least once, in the order of each user', async (t) => {
		const to = await receiver(t);
		const daemon = await start(t, [{ url: to.url, ...WANTED }], { webhooks: { undelivered_s: 1 } });
		await daemon.kill();
		for (const title of ['one', 'two', 'three']) await notify(daemon, [7, 8], title);
		// The first answer is lost: the daemon ends while it waits for it.
		to.answer = () => undefined;
		await daemon.start();
		await waitFor(() => to.attempts > 0);
		await daemon.kill();
		to.answer = () => 200;
		await daemon.query('UPDATE scopewire.webhook_queue SET next_at = clock_timestamp()');
		await daemon.start();
		const titles = (user) => [...new Set(to.events.filter((e) => e.user_id === user)
			.map((e) => e.notification.title))];
		await waitFor(() => titles('7').length === 3 && titles('8').length === 3);
		for (const user of ['7', '8']) assert.deepEqual(titles(user), ['one', 'two', 'three']);
	});

	test('has its time from the moment the event has a serial', async (t) => {
		const daemon = await start(t, []);
		const session = await daemon.session();
		t.after(() => session.end());
		// The daemon does not see these rows: the transaction is rolled back.
		await session.query('BEGIN');
		await session.query('SELECT notification_send(ARRAY[7], \'T\')');
		await session.query('UPDATE notification_checks SET created_at = now() - interval \'1 h\'');
		const decided = async () => Number((await session.query(`SELECT webhook_undelivered(60, 10, ARRAY[app],
			ARRAY['e'], ARRAY[''], ARRAY['']) AS n FROM log_apps WHERE is_default`)).rows[0].n);
		assert.equal(await decided(), 0);
		await session.query(`UPDATE realtime_events SET serial = nextval('realtime_events_serial'), delivered_at = now()
			WHERE serial = 0`);
		assert.equal(await decided(), 0);
		await session.query('UPDATE realtime_events SET delivered_at = now() - interval \'1 h\'');
		assert.equal(await decided(), 1);
		assert.equal((await session.query('SELECT FROM webhook_queue')).rows.length, 1);
		await session.query('ROLLBACK');
	});

	test('is looked for in the partitions that can have its event, and when it is due', async (t) => {
		const daemon = await start(t, []);
		await daemon.query(`SELECT scopewire.broadcast('c', 'E', '{}')`);
		await waitFor(async () => (await daemon.query('SELECT FROM scopewire.realtime_events WHERE serial > 0')).length === 1);
		const [{ end }] = await daemon.query(`SELECT scopewire.log_partition_end('scopewire.realtime_events') AS end`);
		for (const parent of ['realtime_events', 'realtime_deliveries'])
			await daemon.query(`SELECT scopewire.log_partition_make('scopewire.${parent}', ${end}, ${end} + 1000)`);
		const session = await daemon.session();
		t.after(() => session.end());
		const leaves = async (text) => {
			await session.query('BEGIN');
			await session.query(`INSERT INTO notification_checks (id, app, user_id, channels, event_ids, after_serial, created_at)
				SELECT gen_random_uuid(), app, 7, '{c}', '{e}', ${end} + 5, now() - interval '1 h' FROM log_apps WHERE is_default`);
			await session.query(text);
			const { rows } = await session.query(`SELECT p.parent, p.lower FROM pg_locks l JOIN log_partitions p
				ON l.relation = p.leaf::regclass WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation'
				AND p.lower IS NOT NULL ORDER BY 1, 2`);
			await session.query('ROLLBACK');
			return rows.map(({ parent, lower }) => `${parent} ${lower}`);
		};
		const call = (after) => `SELECT webhook_undelivered(${after}, 10, '{}', '{}', '{}', '{}')`;
		assert.deepEqual(await leaves(call(86400)), []);
		assert.deepEqual(await leaves(call(60)), [`realtime_deliveries ${end}`, `realtime_events ${end}`]);
		assert.deepEqual(await leaves('SELECT * FROM log_measure(1000)'), ['realtime_events 1']);
	});

	test('is forgotten where no endpoint wants to know', async (t) => {
		const to = await receiver(t);
		const daemon = await start(t, [{ url: to.url, event_types: ['channel_occupied'] }],
			{ webhooks: { undelivered_s: 1 } });
		await daemon.kill();     // the first look after a start comes at once
		await notify(daemon, [7], 'T');
		await daemon.query('UPDATE scopewire.notification_checks SET created_at = now() - interval \'1 h\'');
		await daemon.query(`UPDATE scopewire.realtime_events SET serial = nextval('scopewire.realtime_events_serial'),
			delivered_at = now() - interval '1 h' WHERE serial = 0`);
		await daemon.start();
		await waitFor(() => isDecided(daemon));
		assert.deepEqual(await queue(daemon), []);
	});
});

describe('a receiver that fails', () => {
	test('is sent each event at least once, in the order of its channel', async (t) => {
		const states = ['down', 'slow', 'error'];
		const to = await receiver(t);
		const seen = {};
		to.answer = (rawBody, response) => {
			const { channel } = JSON.parse(rawBody).events[0];
			const state = states[seen[channel] = (seen[channel] ?? -1) + 1];
			if (state === 'down') response.socket.destroy();
			if (state === 'down' || state === 'slow') return undefined;
			return state === 'error' ? 500 : 200;
		};
		const daemon = await start(t, [{ url: to.url, event_types: ['client_event'] }],
			{ app: { max_client_events_per_second: 1000 }, webhooks: { timeout_ms: 1000 } });
		const client = await daemon.connect();
		const channels = ['private-a', 'private-b'];
		for (const channel of channels) await client.subscribe(channel);
		for (let n = 0; n < 30; n++)
			for (const channel of channels)
				client.send({ event: 'client-n', channel, data: { n } });
		const numbers = (channel) => to.named('client_event', channel).map((e) => JSON.parse(e.data).n);
		await waitFor(() => channels.every((channel) => new Set(numbers(channel)).size === 30));
		for (const channel of channels) {
			assert.deepEqual([...new Set(numbers(channel))], Array.from({ length: 30 }, (_, n) => n));
			assert.ok(seen[channel] >= 32, 'one attempt in each state failed');
			const sorted = [...numbers(channel)].sort((x, y) => x - y);
			assert.deepEqual(numbers(channel), sorted);
		}
		await waitFor(async () => (await queue(daemon)).length === 0);
	});

	test('gets all of it after four minutes of silence, then slowly, then with an error every third time', async (t) => {
		const to = await receiver(t);
		const port = Number(new URL(to.url).port);
		await to.down();
		const daemon = await start(t, [{ url: to.url, event_types: ['client_event'] }],
			{ app: { max_client_events_per_second: 1000 } });
		const client = await daemon.connect();
		const channels = ['private-a', 'private-b', 'private-c'], numbers = Array.from({ length: 30 }, (_, n) => n);
		for (const channel of channels) await client.subscribe(channel);
		const send = (from, until) => {
			for (const n of numbers.slice(from, until))
				for (const channel of channels) client.send({ event: 'client-n', channel, data: { n } });
		};
		send(0, 20);
		const first = () => daemon.query(`SELECT DISTINCT ON (channel) channel, attempts, last_error, first_at, dead_at
			FROM scopewire.webhook_queue ORDER BY channel, id`);
		await waitFor(async () => (await first()).filter((lane) => lane.attempts >= 3).length === 3, 'three attempts');
		assert.match((await first())[0].last_error, /connect/i);
		// Four minutes pass: the default of retry_for_s is five.
		await daemon.query(`UPDATE scopewire.webhook_queue SET first_at = first_at - interval '4 min',
			created_at = created_at - interval '4 min'`);
		const tried = Math.max(...(await first()).map((lane) => lane.attempts));
		await waitFor(async () => (await first()).every((lane) => lane.attempts > tried), 'attempts after four minutes');
		assert.deepEqual(await dead(daemon), []);
		const got = {};
		let slow = 0, nth = 0;
		to.answer = (rawBody, response) => {
			const { channel, data } = JSON.parse(rawBody).events[0];
			if (slow < 10) {        // it answers late, and the last of these too late
				setTimeout(() => response.writeHead(200).end(), 100 * ++slow);
				(got[channel] ??= []).push(JSON.parse(data).n);
				return undefined;
			}
			if (++nth % 3 === 0) return 500;
			(got[channel] ??= []).push(JSON.parse(data).n);
			return 200;
		};
		await to.up(port);
		send(20, 30);
		await waitFor(() => channels.every((channel) => got[channel]?.includes(29)), 'the last event of each channel');
		await waitFor(async () => (await queue(daemon)).length === 0);
		for (const channel of channels) {
			assert.deepEqual([...new Set(got[channel])], numbers, 'each at least once, the first time in order');
			assert.deepEqual(got[channel], [...got[channel]].sort((x, y) => x - y), 'repeated at once only');
		}
		assert.ok(nth >= 9, 'there were errors');
	});

	test('and is down for good delays no event while thousands of channels come and go', async (t) => {
		const to = await receiver(t, { answer: () => undefined });        // never answers
		const daemon = await start(t, [{ url: to.url, event_types: ['channel_occupied', 'channel_vacated'] }],
			{ webhooks: { smoothing_ms: 0, timeout_ms: 60000 } });
		const [reader, ...guests] = await Promise.all(Array.from({ length: 6 }, () => daemon.connect()));
		await reader.subscribe('news');
		const ROUNDS = 25, CHANNELS = 20;
		let published = 0;
		for (let round = 0; round < ROUNDS; round++) {
			const names = Array.from({ length: CHANNELS }, (_, i) => `room-${round}-${i}`);
			await Promise.all(guests.map(async (guest, g) => {
				for (const name of names) guest.sendSubscribe(`${name}-${g}`);
				for (const name of names) guest.unsubscribe(`${name}-${g}`);
				await guest.ping();
			}));
			assert.equal((await daemon.api().trigger('news', 'E', { n: published++ })).status, 200);
			await reader.next({ event: 'E' });
		}
		const transitions = 2 * ROUNDS * CHANNELS * guests.length + 1;
		assert.equal(to.events.length, 0);
		await waitFor(async () => (await queue(daemon)).length === transitions, 'all of them wait in the queue');
		assert.deepEqual(reader.all({ event: 'E' }).map((frame) => JSON.parse(frame.data).n),
			Array.from({ length: published }, (_, n) => n));
	});

	test('and keeps hundreds of channels waiting delays no other endpoint', async (t) => {
		const [silent, other] = [await receiver(t, { answer: () => undefined }), await receiver(t)];
		const of = (to, prefix) => ({ url: to.url, event_types: ['channel_occupied'], filter: { channel_name_starts_with: prefix } });
		const daemon = await start(t, [of(silent, 'silent-'), of(other, 'other-')], { webhooks: { timeout_ms: 60000 } });
		const client = await daemon.connect();
		for (let i = 0; i < 900; i++) client.sendSubscribe(`silent-${i}`);
		await client.ping();
		await waitFor(async () => (await daemon.query(`SELECT FROM webhook_queue WHERE next_at > clock_timestamp() + interval '30 s'`))
			.length >= 64, 'the silent one has its share');
		await waitFor(async () => (await queue(daemon)).length === 900, 'all of them wait in the queue');
		for (let i = 0; i < 20; i++) {
			await client.subscribe(`other-${i}`);
			await waitFor(() => other.events.length === i + 1, 'the other endpoint is sent its webhooks');
		}
		assert.ok((await queue(daemon)).length >= 900, 'the silent one has none yet');
	});

	test('and whose dead letters are sent again in front of what waits delays no other endpoint', async (t) => {
		const [failing, other] = [await receiver(t, { answer: () => 500 }), await receiver(t)];
		const daemon = await start(t, [{ name: 'failing', url: failing.url, event_types: ['client_event'] },
			{ name: 'other', url: other.url, event_types: ['channel_occupied'] }]);
		// More channels than one statement claims, and each waits for its second webhook.
		await daemon.query(`INSERT INTO webhook_queue (app, endpoint, channel, event, dead_at, next_at)
			SELECT $1, 'failing', 'private-' || i, '{"name":"client_event"}', dead_at, clock_timestamp() + wait
			FROM (VALUES (1, clock_timestamp(), interval '0'), (2, NULL, interval '1 hour')) v(n, dead_at, wait),
			generate_series(1, 200) i ORDER BY n`, [APP.id]);
		assert.deepEqual(await daemon.query(`SELECT webhook_resend(p_endpoint => 'failing')::int AS n`), [{ n: 200 }]);
		const client = await daemon.connect();
		for (let i = 0; i < 3; i++) {
			await client.subscribe(`c${i}`);
			await waitFor(() => other.events.length === i + 1, 'the other endpoint is sent its webhooks');
		}
		assert.equal(failing.requests.length, 0, 'what is sent again keeps the order of its channel');
		assert.equal((await queue(daemon)).filter((row) => row.endpoint === 'failing' && !row.dead_at).length, 400);
		await daemon.query(`UPDATE webhook_queue SET next_at = clock_timestamp() WHERE channel = 'private-7'`);
		await waitFor(() => failing.requests.length > 0, 'a channel whose time has come is sent');
	});

	test('leaves dead letters, which SQL sends again, and the next event goes on', async (t) => {
		const to = await receiver(t);
		to.answer = (rawBody) => (/client-bad/.test(rawBody) && !to.isRepaired ? 500 : 200);
		const daemon = await start(t, [{ name: 'main', url: to.url, event_types: ['client_event'] }],
			{ webhooks: { retry_for_s: 0 } });
		const client = await daemon.connect();
		await client.subscribe('private-a');
		client.send({ event: 'client-bad', channel: 'private-a', data: {} });
		client.send({ event: 'client-good', channel: 'private-a', data: {} });
		await waitFor(() => to.named('client_event').length === 1);
		assert.equal(to.events[0].event, 'client-good');
		const [letter, ...more] = await dead(daemon);
		assert.equal(more.length, 0);
		assert.deepEqual([letter.endpoint, letter.channel, letter.event.event, letter.attempts,
			letter.last_error], ['main', 'private-a', 'client-bad', 1, 'status 500']);
		to.isRepaired = true;
		const [{ n }] = await daemon.query('SELECT scopewire.webhook_resend($1) AS n', [letter.id]);
		assert.equal(Number(n), 1);
		await waitFor(() => to.named('client_event').length === 2);
		assert.equal(to.events[1].event, 'client-bad');
		await waitFor(async () => (await queue(daemon)).length === 0);
	});

	test('is sent the event again after a pause that doubles up to its maximum', async (t) => {
		const daemon = await start(t, []);
		const session = await daemon.session();
		t.after(() => session.end());
		// The daemon does not see these rows: the transaction is rolled back.
		await session.query('BEGIN');
		await session.query(`INSERT INTO webhook_queue (app, endpoint, channel, event, attempts)
			SELECT 'a', 'e', n::text, '{}', n FROM unnest(ARRAY[0, 1, 2, 5, 6, 7, 1000]) n`);
		await session.query(`SELECT webhook_settle('{}', array_agg(id), array_agg('e'::text), 1000, 60000, 300,
			'{}', array_agg(false)) FROM webhook_queue`);
		const { rows } = await session.query(`SELECT extract(epoch FROM next_at - first_at)::float AS pause
			FROM webhook_queue ORDER BY id`);
		assert.deepEqual(rows.map((row) => Math.round(row.pause)), [1, 2, 4, 32, 60, 60, 60]);
		await session.query('ROLLBACK');
	});

	test('answers with any status from 200 to 299 when it has the event', async (t) => {
		const statuses = [200, 201, 202, 204, 299];
		const to = await receiver(t, { answer: () => statuses[to.requests.length] });
		const daemon = await start(t, [{ url: to.url, event_types: ['channel_occupied'] }]);
		const client = await daemon.connect();
		for (const status of statuses) {
			await client.subscribe(`s-${status}`);
			await waitFor(() => to.named('channel_occupied', `s-${status}`).length === 1);
		}
		await waitFor(async () => (await queue(daemon)).length === 0);
		assert.equal(to.attempts, statuses.length);
	});

	test('a redirect is a failure, and is not followed', async (t) => {
		const [other, to] = [await receiver(t), await receiver(t)];
		to.answer = () => 302;
		to.headers = { Location: other.url };
		const daemon = await start(t, [{ url: to.url, event_types: ['channel_occupied'] }],
			{ webhooks: { retry_for_s: 0 } });
		await (await daemon.connect()).subscribe('room');
		await waitFor(async () => (await dead(daemon)).length === 1);
		assert.equal((await dead(daemon))[0].last_error, 'status 302');
		assert.equal(other.attempts, 0);
	});

	test('a response with headers without end is a failure', async (t) => {
		const server = net.createServer((socket) => {
			socket.on('error', () => {});
			socket.once('data', () => {
				socket.write('HTTP/1.1 200 OK\r\n');
				const more = () => { while (!socket.destroyed && socket.write(`x: ${'y'.repeat(1000)}\r\n`.repeat(16))); };
				socket.on('drain', more);
				more();
			});
		});
		await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
		t.after(() => server.close());
		const daemon = await start(t, [{ url: `http://127.0.0.1:${server.address().port}/`, event_types: ['channel_occupied'] }],
			{ webhooks: { timeout_ms: 60000, retry_min_ms: 3600000, retry_max_ms: 3600000 } });
		const client = await daemon.connect();
		await client.subscribe('room');
		const [row] = await waitFor(async () => (await queue(daemon)).filter((one) => one.last_error).length === 1 &&
			queue(daemon), 'the attempt has failed');
		assert.match(row.last_error, /headers of the response have more than 65536 bytes/);
	});

	test('a long response is cut, and its status counts', async (t) => {
		const to = await receiver(t, { body: 'x'.repeat(1000000) });
		const daemon = await start(t, [{ url: to.url, event_types: ['channel_occupied'] }]);
		const client = await daemon.connect();
		await client.subscribe('a');
		await client.subscribe('b');
		await waitFor(() => to.named('channel_occupied').length === 2);
		await waitFor(async () => (await queue(daemon)).length === 0);
		assert.equal(to.attempts, 2);
		assert.doesNotMatch(daemon.logText, /xxxx/);
	});

	test('an endpoint that is not configured any more leaves dead letters', async (t) => {
		const to = await receiver(t, { answer: () => 500 });
		const daemon = await start(t, [{ url: to.url, event_types: ['channel_occupied'] }]);
		await (await daemon.connect()).subscribe('a');
		await waitFor(async () => (await queue(daemon))[0]?.attempts > 0);
		daemon.apps[0].webhooks = JSON.stringify([{ name: 'other', url: to.url, event_types: ['cache_miss'] }]);
		daemon.writeConfig();
		process.kill(daemon.pid, 'SIGHUP');
		await waitFor(async () => (await dead(daemon)).length === 1);
		assert.equal((await dead(daemon))[0].last_error, 'the endpoint is not configured any more');
	});
});

describe('connections', () => {
	test('an address that is not public is refused with allow_private = no', async (t) => {
		const to = await receiver(t);
		const names = ['127.0.0.1', 'localhost', '[::ffff:127.0.0.1]'];
		const daemon = await start(t, names.map((name) => ({ url: to.url.replace('127.0.0.1', name),
			event_types: ['channel_occupied'] })),
		{ webhooks: { allow_private: 'no', retry_for_s: 0 } });
		await (await daemon.connect()).subscribe('a');
		await waitFor(async () => (await dead(daemon)).length === names.length);
		for (const letter of await dead(daemon)) assert.match(letter.last_error, /is not public/);
		assert.equal(to.attempts, 0);
	});

	test('the certificate of an endpoint is verified', async (t) => {
		const { cert, key } = certificate();
		const to = await receiver(t, { tls: { cert: fs.readFileSync(cert), key: fs.readFileSync(key) } });
		const endpoints = [{ url: to.url, event_types: ['channel_occupied'] }];
		const [refusing, trusting] = await Promise.all([
			start(t, endpoints, { webhooks: { retry_for_s: 0 } }),
			start(t, endpoints, { webhooks: { ca_file: cert } })]);
		await (await refusing.connect()).subscribe('a');
		await waitFor(async () => (await dead(refusing)).length === 1);
		assert.match((await dead(refusing))[0].last_error, /certificate/);
		assert.equal(to.attempts, 0);
		await (await trusting.connect()).subscribe('b');
		await waitFor(() => to.named('channel_occupied', 'b').length === 1);
	});
});

test('with batching one request has several events', async (t) => {
	const to = await receiver(t);
	const daemon = await start(t, [{ url: to.url, event_types: ['client_event'], batching: true }],
		{ app: { max_client_events_per_second: 1000 },
			webhooks: { batch_events: 10, batch_ms: 200 } });
	const client = await daemon.connect();
	await client.subscribe('private-a');
	await client.subscribe('private-b');
	for (let n = 0; n < 20; n++)
		for (const channel of ['private-a', 'private-b'])
			client.send({ event: 'client-n', channel, data: { n } });
	await waitFor(() => to.named('client_event').length === 40);
	const sizes = to.requests.map((r) => JSON.parse(r.rawBody).events.length);
	assert.ok(Math.max(...sizes) > 1, String(sizes));
	assert.ok(Math.max(...sizes) <= 10, String(sizes));
	for (const channel of ['private-a', 'private-b'])
		assert.deepEqual(to.named('client_event', channel).map((e) => JSON.parse(e.data).n),
			Array.from({ length: 20 }, (_, n) => n));
});

test('with batching a request has events of one application only', async (t) => {
	const other = { id: 'other', key: 'other-key', secret: 'other-secret' };
	const of = { [APP.key]: [], [other.key]: [] };
	const server = http.createServer((request, response) => {
		let body = '';
		request.on('data', (chunk) => { body += chunk; });
		request.on('end', () => {
			of[request.headers['x-pusher-key']].push({ body, signature: request.headers['x-pusher-signature'] });
			response.end();
		});
	});
	await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
	t.after(() => { server.closeAllConnections(); server.close(); });
	const endpoints = [{ url: `http://127.0.0.1:${server.address().port}/hook`, batching: true,
		event_types: ['channel_occupied'] }];
	const daemon = await startDaemon({ apps: [APP, other].map((app) =>
		({ ...app, webhooks: JSON.stringify(endpoints) })),
	sections: { webhooks: { ...FAST, batch_events: 100, batch_ms: 200 } } }, t);
	const [one, two] = [await daemon.connect(), await daemon.connect({ app: other })];
	const names = Array.from({ length: 20 }, (_, n) => String(n));
	for (const n of names) await Promise.all([one.subscribe(`one-${n}`), two.subscribe(`two-${n}`)]);
	const channels = (key) => of[key].flatMap(({ body }) => JSON.parse(body).events.map((e) => e.channel));
	await waitFor(() => channels(APP.key).length + channels(other.key).length >= 40);
	for (const [app, prefix] of [[APP, 'one-'], [other, 'two-']]) {
		assert.deepEqual(new Set(channels(app.key)), new Set(names.map((n) => prefix + n)));
		for (const { body, signature } of of[app.key]) assert.equal(signature, hmac(app.secret, body));
	}
});

test('without a database webhooks wait in memory, and the log reports it', async (t) => {
	let isDown = true;
	const to = await receiver(t, { answer: () => (isDown ? 500 : 200) });
	const daemon = await start(t, [{ url: to.url, event_types: ['channel_occupied', 'client_event'] }],
		{ databaseMode: 'none', database: { required: 'no', host: '/nonexistent' } });
	const client = await daemon.connect();
	await client.subscribe('private-a');
	client.send({ event: 'client-n', channel: 'private-a', data: {} });
	await waitFor(() => to.attempts >= 3);
	isDown = false;
	await waitFor(() => to.events.length === 2);
	assert.deepEqual(to.events.map((e) => e.name), ['channel_occupied', 'client_event']);
	assert.match(daemon.logText, /webhooks: the database is not available; up to \d+ webhooks wait in memory/);
});

test('soketi\'s column in the table apps is read, and what has no effect is named', async (t) => {
	const to = await receiver(t, { app: { id: 'moved', key: 'moved-key', secret: 'moved-secret' } });
	const daemon = await start(t, []);
	await daemon.query(`INSERT INTO scopewire.apps (id, key, secret, webhooks)
		VALUES ('moved', 'moved-key', 'moved-secret', $1)`, [JSON.stringify([
		{ url: to.url, event_types: ['channel_occupied'], filter: {}, lambda: { async: false } },
		{ lambda_function: 'f', event_types: ['channel_vacated'] }])
		.replaceAll('/', '\\/')]); // as PHP's json_encode() writes it
	const app = { id: 'moved', key: 'moved-key', secret: 'moved-secret' };
	await waitFor(async () => (await daemon.api(app).get('/channels')).status === 200);
	await (await daemon.connect({ app })).subscribe('a');
	await waitFor(() => to.named('channel_occupied').length === 1);
	assert.match(daemon.logText, /app moved: .*no effect: "lambda", "lambda_function"/);
});

test('metrics count what was sent, what failed, and dead letters', async (t) => {
	const to = await receiver(t);
	to.answer = (rawBody) => (/private-bad/.test(rawBody) ? 500 : 200);
	const daemon = await start(t, [{ url: to.url, event_types: ['channel_occupied'] }],
		{ webhooks: { retry_for_s: 0 },
			sections: { admin: { listen: '127.0.0.1:0', local_read: 'yes' } } });
	const client = await daemon.connect();
	await client.subscribe('private-good');
	await client.subscribe('private-bad');
	const [, address] = /admin: listening on (\S+)/.exec(daemon.logText);
	const value = async (name) => Number(new RegExp(`^scopewire_webhook_${name} (\\d+)$`, 'm')
		.exec(await (await fetch(`http://${address}/metrics`)).text())?.[1]);
	await waitFor(async () => await value('sent_total') === 1 && await value('failed_total') === 1 &&
		await value('dead') === 1 && await value('queue') === 0);
});
