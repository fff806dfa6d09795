// SPDX-License-Identifier: MIT
// GET /api/sync/events: the log by channels, serial and what else helps to find an event.
import { test, describe, before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { once } from 'node:events';
import pg from 'pg';
import { APP, Raw, Sync, startDaemon, suiteGet, waitFor } from '../lib/harness.mjs';

const names = (answer) => answer.json.events.map((e) => e.event);

test('a user reads as far back as max_replay_age', async (t) => {
	const daemon = await startDaemon({ app: { max_replay_age: 3600 } }, t);
	const server = Sync.server(daemon), user = Sync.user(daemon, 7);
	for (const name of ['Old', 'New']) await daemon.api().trigger('a', name, {});
	const [{ serial }] = await daemon.query(`UPDATE realtime_events
		SET created_at = now() - interval '2 h' WHERE event_type = 'Old' RETURNING serial`);
	const [{ epoch }] = await daemon.query('SELECT epoch FROM log_meta');
	const read = (who, since) => who.get('events', { channels: 'a', since });
	assert.deepEqual(names(await read(user)), ['New']);
	assert.deepEqual(names(await read(server)), ['Old', 'New']);
	assert.equal((await read(user, `${epoch}:0`)).status, 410);
	assert.deepEqual(names(await read(server, `${epoch}:0`)), ['Old', 'New']);
	assert.deepEqual(names(await read(user, `${epoch}:${serial}`)), ['New']);
	assert.equal((await user.get('events', { channels: 'a', since: `${epoch}:0` },
		{ headers: { Accept: 'application/x-ndjson' } })).status, 410);
});

describe('GET /api/sync/events', () => {
	let daemon, server, user, epoch;
	before(async () => {
		daemon = await startDaemon({ apps: [APP,
			{ id: 'other', key: 'other-key', secret: 'other-secret' }] });
		server = Sync.server(daemon);
		user = Sync.user(daemon, 7);
		const api = daemon.api();
		await api.trigger('a', 'A1', { n: 1 });
		await api.trigger(['a', 'b'], 'AB', 'plain "text"');
		await daemon.query(`SELECT broadcast('private-client.7', 'Sql', '{"needle":  "HAY_%"}',
			app => 'client-portal')`);
		await waitFor(async () => (await server.get('events', { event: 'Sql' }))
			.json.events.length === 1, 'the row from SQL');
		await api.trigger('b', 'B2', {});
		await daemon.api(daemon.apps[1]).trigger('a', 'Foreign', {});
		[{ epoch }] = await daemon.query('SELECT epoch FROM log_meta');
	});
	after(() => daemon.stop());

	test('after the last event the position is the end of the log, and can be used', async () => {
		const { json } = await server.get('events', { from: '2100-01-01T00:00:00Z' });
		const [row] = await daemon.query('SELECT max(serial)::text AS last FROM realtime_events');
		assert.deepEqual(json.events, []);
		assert.equal(json.position, `${epoch}:${row.last}`);
		assert.equal((await server.get('events', { since: json.position })).status, 200);
	});

	test('events are listed oldest first, with what the publisher sent', async () => {
		const { status, json } = await server.get('events');
		assert.equal(status, 200);
		assert.deepEqual(json.events.map((e) => [e.channel, e.event, e.data]), [
			['a', 'A1', '{"n":1}'], ['a', 'AB', 'plain "text"'], ['b', 'AB', 'plain "text"'],
			['private-client.7', 'Sql', '{"needle":  "HAY_%"}'], ['b', 'B2', '{}']]);
		assert.ok(json.events.every((e, i) => !i || e.serial > json.events[i - 1].serial));
		assert.equal(json.next_cursor, null);
		const [row] = await daemon.query('SELECT max(serial)::text AS last FROM realtime_events');
		assert.equal(json.position, `${epoch}:${row.last}`);
		assert.deepEqual(Object.keys(json.events[0]), ['serial', 'id', 'channel', 'event', 'data',
			'created_at', 'delivered', 'delivered_at', 'origin', 'socket_id']);
	});

	test('pages of newest first contain each event once', async () => {
		for (const order of ['oldest', 'newest']) {
			const seen = [];
			let cursor;
			do {
				const { json } = await server.get('events', { order, limit: 2, cursor });
				assert.ok(json.events.length <= 2);
				seen.push(...json.events.map((e) => e.serial));
				cursor = json.next_cursor;
			} while (cursor);
			assert.equal(seen.length, 5);
			const sorted = [...new Set(seen)].sort((x, y) => x - y);
			assert.deepEqual(seen, order === 'oldest' ? sorted : sorted.reverse());
		}
	});

	test('a page starts after the given position and returns the next one', async () => {
		const first = (await server.get('events', { channels: 'a,b', limit: 1 })).json;
		assert.equal(first.position, `${epoch}:${first.events[0].serial}`);
		const rest = await server.get('events', { channels: 'a,b', since: first.position });
		assert.deepEqual(names(rest), ['AB', 'AB', 'B2']);
		const nothing = await server.get('events', { channels: 'a,b', since: rest.json.position });
		assert.deepEqual(names(nothing), []);
		assert.equal(nothing.json.position, rest.json.position);
	});

	test('filters by channel, name and time combine', async () => {
		const [{ t }] = await daemon.query(`SELECT iso(max(created_at)) AS t FROM realtime_events`);
		const later = new Date(Date.parse(t) + 60000).toISOString();
		const all = ['A1', 'AB', 'AB', 'Sql', 'B2'];
		for (const [query, wanted] of [
			[{ channels: 'b' }, ['AB', 'B2']],
			[{ channels: 'none' }, []],
			[{ channel_prefix: 'private-' }, ['Sql']],
			[{ channel_prefix: 'priv_te' }, []],
			[{ event: 'AB' }, ['AB', 'AB']],
			[{ event: 'AB', channels: 'a' }, ['AB']],
			[{ text: 'hay_%' }, ['Sql']],
			[{ text: '%' }, ['Sql']],
			[{ text: "'; DROP TABLE realtime_events; --" }, []],
			[{ from: later }, []],
			[{ until: later }, all],
			[{ from: '2020-01-01T00:00:00Z', until: later, channels: 'a' }, ['A1', 'AB']],
			[{ until: '2020-01-01T00:00:00Z' }, []],
			[{ delivered: 'true' }, all],
			[{ delivered: 'false' }, []],
		]) {
			const answer = await server.get('events', query);
			assert.equal(answer.status, 200, answer.text);
			assert.deepEqual(names(answer), wanted, JSON.stringify(query));
		}
	});

	test('an event without a serial is not listed', async () => {
		await daemon.stop();
		for (let n = 0; n < 3; n++)
			await daemon.query(`SELECT broadcast('waits', 'W', $1, app => 'client-portal')`, [{ n }]);
		const [{ rows }] = await daemon.query(`SELECT count(*)::int AS rows FROM sync_events(
			'client-portal', '{"server":true}', NULL, NULL, NULL, NULL, NULL, NULL, false, NULL,
			false, 2, NULL) f, json_array_elements(f.body::json->'events') e
			WHERE e->>'serial' = '0' AND e->>'delivered' = 'false'`);
		assert.equal(rows, 2);
		await daemon.start();
		await waitFor(async () => (await server.get('events', { event: 'W' }))
			.json.events.length === 3, 'they are sequenced');
		assert.deepEqual(names(await server.get('events', { delivered: 'false' })), []);
	});

	test('a user sees only events of channels that it may join', async () => {
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument)
			VALUES ('client.{id}', 'owner', 'id') ON CONFLICT DO NOTHING`);
		// The daemon reads changed rules in a thread of its own.
		const own = await waitFor(async () => {
			const answer = await user.get('events', { channels: 'private-client.7,a' });
			return answer.status === 200 && answer;
		}, 'the rule');
		assert.deepEqual(names(own), ['A1', 'AB', 'Sql']);
		assert.deepEqual(Object.keys(own.json.events[0]),
			['serial', 'id', 'channel', 'event', 'data', 'created_at']);
		const forbidden = await user.get('events', { channels: 'a,private-client.8' });
		assert.equal(forbidden.status, 403);
		assert.equal(forbidden.json.error.code, 'channel_forbidden');
		assert.equal((await user.get('events')).json.error.code, 'missing_field');
		for (const query of [{ text: 'x' }, { channel_prefix: 'private-' }, { delivered: 'true' },
			{ from: '2020-01-01T00:00:00Z' }, { until: '2020-01-01T00:00:00Z' }])
			assert.equal((await user.get('events', { channels: 'a', ...query })).status, 403);
	});

	test('a position that cannot be served is refused with a reason', async () => {
		assert.equal((await server.get('events', { since: 'other:1' })).status, 409);
		assert.equal((await server.get('events', { since: `${epoch}:9999999999` })).status, 409,
			'a position later than the end of the log');
		await daemon.query('UPDATE log_meta SET horizon = 3');
		const gone = await server.get('events', { since: `${epoch}:2` });
		assert.equal(gone.status, 410);
		assert.equal(gone.json.error.code, 'expired');
		assert.equal((await server.get('events', { since: `${epoch}:3` })).status, 200);
		await daemon.query('UPDATE log_meta SET horizon = 0');
	});

	test('unknown and malformed parameters are 400', async () => {
		for (const query of [{ since: 'x' }, { since: `${epoch}:-1` }, { since: 'e:1:2' },
			{ since: `${epoch}:99999999999999999999` }, { cursor: 'x' }, { cursor: 'WyIxIl0' },
			{ cursor: Buffer.from('["1","x"]').toString('base64url') },
			{ cursor: Buffer.from('["-1","2"]').toString('base64url') }, { limit: 0 },
			{ limit: 1001 }, { limit: 'x' }, { order: 'up' }, { from: 'yesterday' },
			{ delivered: 'maybe' }, { text: '' }, { channel: 'a' }, { event: '' },
			{ channels: Array(101).fill('a').join() }]) {
			const answer = await server.get('events', query);
			assert.equal(answer.status, 400, `${JSON.stringify(query)}: ${answer.text}`);
			assert.ok(answer.json.error.message);
		}
		assert.equal((await new Sync(daemon).get('events')).status, 401);
		assert.equal((await server.post('events', {})).status, 405);
	});
});

describe('GET /api/sync/events as lines', () => {
	const ROWS = 30000;
	const NDJSON = { Accept: 'application/x-ndjson' };
	let daemon, server;
	before(async () => {
		daemon = await startDaemon();
		server = Sync.server(daemon);
		await daemon.query(`INSERT INTO realtime_events (channel, event_type, payload)
			SELECT 'c' || n % 3, 'N', json_build_object('n', n, 'pad', repeat('x', 1000))
			FROM generate_series(1, $1) n`, [ROWS]);
		await waitFor(async () => (await daemon.query('SELECT FROM realtime_events_pending LIMIT 1'))
			.length === 0, 'all are sequenced');
	});
	after(() => daemon.stop());

	const lines = (answer) => answer.text.split('\n').slice(0, -1).map((l) => JSON.parse(l));
	const read = (query, who = server) => who.call('GET', 'events', { query, headers: NDJSON });

	/** A response whose body is not read yet. */
	async function open(query = '') {
		const request = suiteGet(`${daemon.url}/api/sync/events${query}`,
			{ headers: { ...NDJSON, Authorization: server.authorization } });
		const [response] = await once(request, 'response');
		return response;
	}

	test('lines contain the whole range, each event once, in order', async () => {
		for (const [query, count] of [[{}, ROWS], [{ order: 'newest' }, ROWS],
			[{ channels: 'c1' }, ROWS / 3], [{ channels: 'none' }, 0], [{ limit: 1 }, ROWS]]) {
			const answer = await read(query);
			assert.equal(answer.status, 200);
			assert.equal(answer.headers['content-type'], 'application/x-ndjson');
			const serials = lines(answer).map((e) => e.serial);
			assert.equal(serials.length, count);
			const up = query.order !== 'newest';
			assert.ok(serials.every((n, i) => !i || (up ? n > serials[i - 1] : n < serials[i - 1])));
		}
	});

	test('HEAD has the headers of lines and no body: the next response follows them', async () => {
		const raw = await Raw.connect(daemon.port);
		const headers = `Host: localhost\r\nAuthorization: ${server.authorization}\r\n`;
		raw.write(`HEAD /api/sync/events HTTP/1.1\r\n${headers}Accept: application/x-ndjson\r\n\r\n` +
			`GET /up HTTP/1.1\r\n${headers}\r\n`);
		await waitFor(() => raw.text.includes('"health"') || raw.ended, 'the second response');
		const [first, second, body] = raw.text.split('\r\n\r\n');
		assert.match(first, /^HTTP\/1\.1 200 .*application\/x-ndjson/s);
		assert.match(second, /^HTTP\/1\.1 200 /);
		assert.match(body, /"health"/);
		raw.destroy();
	});

	test('lines have the same rights and refusals as pages', async () => {
		const user = Sync.user(daemon, 7);
		assert.equal(lines(await read({ channels: 'c0,c2' }, user)).length, ROWS / 3 * 2);
		assert.equal((await read({}, user)).json.error.code, 'missing_field');
		assert.equal((await read({ channels: 'private-x' }, user)).status, 403);
		assert.equal((await read({ since: 'x' })).status, 400);
		assert.equal((await read({ since: 'other:1' })).status, 409);
		assert.equal((await read({}, new Sync(daemon))).status, 401);
	});

	test('a client that does not read delays no other request and takes no memory', async () => {
		const rss = () => Number(/VmRSS:\s+(\d+)/.exec(
			fs.readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))[1]);
		const before = rss();
		const lazy = await Promise.all(Array.from({ length: 20 }, () => open()));
		assert.equal(lines(await read({ channels: 'c1' })).length, ROWS / 3);
		assert.equal((await daemon.api().trigger('c1', 'After', {})).status, 200);
		// all of them at once would be 600 MB; a sanitizer's memory is its own
		assert.ok(rss() - before < (process.env.ASAN_OPTIONS || process.env.TSAN_OPTIONS ? 300 : 100)
			* 1024, `${rss() - before} KiB more`);
		let n = 0;
		for await (const chunk of lazy[0]) n += chunk.toString().split('\n').length - 1;
		assert.equal(n, ROWS + (n > ROWS));
		for (const response of lazy) response.destroy();
	});

	test('clients that disconnect in the middle leave nothing behind', async () => {
		for (let n = 0; n < 40; n++) {
			const response = await open(n % 2 ? '?channels=c1' : '');
			if (n % 3) await once(response, 'data');
			response.destroy();
		}
		assert.equal((await read({ channels: 'c2' })).status, 200);
	});

	test('a lost database connection ends the body early, or the read is retried', async () => {
		const response = await open();
		await once(response, 'data');
		response.pause();
		await daemon.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`);
		let text = '', error;
		response.on('error', (e) => { error = e; });
		response.on('data', (chunk) => { text += chunk; });
		response.resume();
		await waitFor(() => response.closed, 'its end');
		// a statement that only reads is retried: then the answer is complete
		assert.ok(error || text.endsWith('}\n'));
		assert.equal(response.complete, !error);
	});

	test('stopping the daemon ends responses under way', async () => {
		const open_ = await Promise.all(Array.from({ length: 5 }, () => open()));
		for (const response of open_) response.on('error', () => {});
		await daemon.stop();
		for (const response of open_) response.destroy();
		await daemon.start();
		assert.equal((await read({ channels: 'none' })).status, 200);
	});
});

test('lines that cannot be completed end with the error, and without the end of the body', async (t) => {
	const ROWS = 20000;
	const daemon = await startDaemon({ sections: { sync: { rule_timeout_ms: 2000, rule_cache_ms: 0 } } }, t);
	await daemon.query(`CREATE TABLE public.gate (shut boolean);
		INSERT INTO channel_rules (pattern, rule, argument)
			VALUES ('log.{id}', 'sql', 'NOT EXISTS (SELECT FROM gate WHERE shut)');
		INSERT INTO realtime_events (channel, event_type, payload)
			SELECT 'private-log.1', 'N', json_build_object('n', n, 'pad', repeat('x', 1000))
			FROM generate_series(1, ${ROWS}) n`, undefined);
	await waitFor(async () => (await daemon.query('SELECT FROM realtime_events_pending LIMIT 1'))
		.length === 0, 'all are sequenced');
	const user = Sync.user(daemon, 7);
	const gate = new pg.Client({ host: daemon.database.host, database: daemon.database.name,
		user: 'scopewire' });
	await gate.connect();
	t.after(() => gate.end());

	const isAllowed = () => waitFor(async () => (await user.get('events', { channels: 'private-log.1' })).status === 200,
		'the rule allows it');
	await isAllowed();
	for (const [code, change, undo] of [
		['rule_slow', 'BEGIN; LOCK TABLE public.gate IN ACCESS EXCLUSIVE MODE', 'ROLLBACK'],
		['channel_forbidden', 'INSERT INTO public.gate VALUES (true)', 'TRUNCATE public.gate'],
	]) {
		const request = suiteGet(`${daemon.url}/api/sync/events?channels=private-log.1`, { headers: {
			Accept: 'application/x-ndjson', Authorization: user.authorization } });
		const [response] = await once(request, 'response');
		assert.equal(response.statusCode, 200);
		await gate.query(change); // most of the 20 MB is not sent before the client reads
		let text = '', error;
		response.on('error', (e) => { error = e; });
		response.on('data', (chunk) => { text += chunk; });
		await waitFor(() => response.closed, 'its end');
		assert.ok(error && !response.complete, 'the body has no end');
		const got = text.split('\n').slice(0, -1).map((l) => JSON.parse(l));
		const last = got.pop();
		assert.equal(last.error.code, code, JSON.stringify(last));
		assert.match(last.error.message, /.{10}[^.]$/);
		assert.ok(got.length > 0 && got.length < ROWS, `${got.length} events`);
		assert.ok(got.every((e, i) => e.event === 'N' && (!i || e.serial > got[i - 1].serial)));
		await gate.query(undo);
		await isAllowed();
	}
});

test('pages end at about 1 MB, and the next one goes on', async (t) => {
	const daemon = await startDaemon({ app: { max_event_payload_bytes: 0 } }, t);
	const server = Sync.server(daemon);
	await daemon.query(`SELECT broadcast('big-' || i % 3, 'Big', json_build_object('text',
		repeat('x', 100000))) FROM generate_series(1, 30) i`);
	await waitFor(async () => Number((await daemon.query(`SELECT count(*) AS n FROM realtime_events
		WHERE serial > 0`))[0].n) === 30, 'all have serials');
	for (const filter of [{}, { channels: 'big-0,big-1,big-2' }, { order: 'newest' }]) {
		const seen = new Set();
		let cursor, pages = 0;
		do {
			const page = await server.get('events', { ...filter, limit: 1000, cursor });
			assert.ok(page.text.length < 1200000, `${page.text.length} bytes`);
			for (const event of page.json.events) seen.add(event.serial);
			cursor = page.json.next_cursor;
			pages++;
		} while (cursor);
		assert.equal(seen.size, 30);
		assert.ok(pages >= 3);
	}
	// one that is larger than a page is a page
	await daemon.query(`SELECT broadcast('huge', 'Huge', json_build_object('text', repeat('x', 1200000)))`);
	await waitFor(async () => (await server.get('events', { channels: 'huge' })).json.events.length === 1,
		'the event is listed');
});
