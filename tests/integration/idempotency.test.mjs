// SPDX-License-Identifier: MIT
// Publishes with an idempotency key: once, whatever is repeated, raced, killed or restarted.
import { test, describe, before, after } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import Pusher from 'pusher';
import { binaries, startDaemon, unprivileged, waitFor } from '../lib/harness.mjs';

const REPLAYED = 'idempotent-replayed';
const RULES = { channel_durability: 'soon-*:async, never-*:none' };
const body = (n, channel = 'c', more = {}) =>
	({ name: 'E', data: JSON.stringify({ n }), channels: [channel].flat(), ...more });
const withKey = (key) => ({ headers: { 'Idempotency-Key': key } });
const rows = async (daemon, n) => (await daemon.query(`SELECT count(*)::int AS n
	FROM realtime_events WHERE (payload->>'n')::int = $1`, [n]))[0].n;
const stored = (daemon, key) => daemon.query('SELECT * FROM idempotency_keys WHERE key = $1', [key]);

/** Events numbered n at the socket, once an event that came after them all is there. */
async function seen(wire, api, channel, n) {
	const fence = Math.floor(Math.random() * 1e9);
	const send = () => api.post('/events', { ...body(fence, channel), name: 'Fence' });
	await waitFor(async () => (await send()).status === 200, 'the fence is published');
	await wire.next({ event: 'Fence', data: { n: fence } });
	return wire.all({ event: 'E', channel, data: { n } }).length;
}

describe('idempotency keys', () => {
	let daemon, wire, api;
	before(async () => {
		daemon = await startDaemon({ app: RULES });
		api = daemon.api();
		wire = await daemon.connect();
		for (const channel of ['c', 'soon-c', 'never-c']) await wire.subscribe(channel);
	});
	after(() => daemon.stop());

	test('a repeat gets the first response and publishes nothing', async () => {
		const first = await api.post('/events', body(1, 'c', { info: 'subscription_count' }),
			withKey('k-1'));
		assert.deepEqual([first.status, first.json],
			[200, { channels: { c: { subscription_count: 1 } } }]);
		assert.equal(first.headers[REPLAYED], undefined);
		const other = await daemon.connect();
		await other.subscribe('c');
		for (let i = 0; i < 3; i++) {
			const again = await api.post('/events', body(1, 'c', { info: 'subscription_count' }),
				withKey('k-1'));
			assert.deepEqual([again.status, again.json, again.headers[REPLAYED]],
				[200, first.json, 'true']);
		}
		await other.close();
		assert.equal(await seen(wire, api, 'c', 1), 1);
		assert.equal(await rows(daemon, 1), 1);
		const [row] = await stored(daemon, 'k-1');
		assert.equal(row.repeats, 3);
		assert.equal((await daemon.query('SELECT FROM realtime_events WHERE event_id = $1',
			[row.event_id])).length, 1);
	});

	test('the key can be in the body, or in header and body', async () => {
		const send = (more) => api.post('/events', body(2, 'c', { idempotency_key: 'k-2' }), more);
		assert.equal((await send()).status, 200);
		assert.equal((await send()).headers[REPLAYED], 'true');
		assert.equal((await send(withKey('k-2'))).headers[REPLAYED], 'true');
		const differ = await send(withKey('k-2b'));
		assert.deepEqual([differ.status, /differ/.test(differ.text)], [400, true]);
		assert.equal(await rows(daemon, 2), 1);
	});

	test('a batch has one key for all its events', async () => {
		const batch = [{ name: 'E', channel: 'c', data: '{"n":3}', info: 'subscription_count' },
			{ name: 'E', channel: 'c', data: '{"n":3}' }];
		const send = (body_, more) => api.post('/batch_events', body_, more);
		const first = await send({ batch }, withKey('k-3'));
		assert.deepEqual(first.json, { batch: [{ subscription_count: 1 }, {}] });
		const again = await send({ batch }, withKey('k-3'));
		assert.deepEqual([again.json, again.headers[REPLAYED]], [first.json, 'true']);
		assert.equal((await send({ batch, idempotency_key: 'k-3b' })).status, 200);
		assert.equal((await send({ batch, idempotency_key: 'k-3b' })).headers[REPLAYED], 'true');
		assert.equal(await rows(daemon, 3), 4);
		const inside = await send({ batch: [{ ...batch[0], idempotency_key: 'k' }] });
		assert.deepEqual([inside.status, /next to "batch"/.test(inside.text)], [400, true]);
	});

	test('the same key with a different request is refused', async () => {
		assert.equal((await api.post('/events', body(4), withKey('k-4'))).status, 200);
		const other = await api.post('/events', body(5), withKey('k-4'));
		assert.deepEqual([other.status, /another request/.test(other.text)], [422, true]);
		const batch = await api.post('/batch_events', { batch: [{ name: 'E', channel: 'c',
			data: '{"n":5}' }] }, withKey('k-4'));
		assert.equal(batch.status, 422);
		assert.equal(await rows(daemon, 5), 0);
		// Without a key nothing is remembered.
		assert.equal((await api.post('/events', body(5))).status, 200);
		assert.equal((await api.post('/events', body(5))).status, 200);
		assert.equal(await rows(daemon, 5), 2);
	});

	test('duplicates at the same moment publish once', async () => {
		for (let n = 100; n < 110; n++) {
			const answers = await Promise.all(Array.from({ length: 20 }, () =>
				api.post('/events', body(n), withKey(`at-once-${n}`))));
			assert.deepEqual(new Set(answers.map((a) => a.status)), new Set([200]));
			assert.equal(answers.filter((a) => !a.headers[REPLAYED]).length, 1);
			assert.equal(await rows(daemon, n), 1);
		}
		// Different bodies race for one key: one is accepted, the others are refused.
		const answers = await Promise.all(Array.from({ length: 20 }, (_, i) =>
			api.post('/events', body(200 + i), withKey('at-once-differ'))));
		assert.equal(answers.filter((a) => a.status === 200).length, 1);
		assert.equal(answers.filter((a) => a.status === 422).length, 19);
	});

	test('a key works with durability async and none', async () => {
		for (const [n, channel, logged] of [[6, 'soon-c', 1], [7, 'never-c', 0],
			[8, ['c', 'soon-c', 'never-c'], 2]]) {
			const answers = [];
			for (let i = 0; i < 3; i++)
				answers.push(await api.post('/events', body(n, channel), withKey(`k-${n}`)));
			assert.deepEqual(answers.map((a) => [a.status, a.headers[REPLAYED]]),
				[[200, undefined], [200, 'true'], [200, 'true']]);
			for (const one of [channel].flat()) assert.equal(await seen(wire, api, one, n), 1);
			await waitFor(async () => await rows(daemon, n) === logged, `${logged} rows of ${n}`);
			await waitFor(async () => (await stored(daemon, `k-${n}`)).length === 1, 'the key is stored');
		}
	});

	test('malformed keys are refused', async () => {
		const bad = [[{ idempotency_key: '' }, /1 to 255/], [{ idempotency_key: 7 }, /string/],
			[{ idempotency_key: 'a b' }, /1 to 255/], [{ idempotency_key: 'ä' }, /1 to 255/],
			[{ idempotency_key: 'x'.repeat(256) }, /1 to 255/]];
		for (const [more, text] of bad) {
			const answer = await api.post('/events', body(9, 'c', more));
			assert.deepEqual([answer.status, text.test(answer.text)], [400, true], answer.text);
			const batch = await api.post('/batch_events', { ...more,
				batch: [{ name: 'E', channel: 'c', data: '{"n":9}' }] });
			assert.deepEqual([batch.status, text.test(batch.text)], [400, true], batch.text);
		}
		for (const key of ['a b', 'x'.repeat(256)]) {
			const answer = await api.post('/events', body(9), withKey(key));
			assert.deepEqual([answer.status, /1 to 255/.test(answer.text)], [400, true]);
		}
		assert.equal(await rows(daemon, 9), 0);
		assert.equal((await api.post('/events', body(10), withKey('x'.repeat(255)))).status, 200);
		assert.equal((await api.post('/events', body(10, 'c', { idempotency_key: null }))).status,
			200);
	});

	test('a key belongs to its application and expires after a day', async () => {
		await daemon.query(`INSERT INTO apps(id, key, secret) VALUES ('other', 'ok', 'os')`);
		const other = daemon.api({ id: 'other', key: 'ok', secret: 'os' });
		await waitFor(async () => (await other.post('/events', body(11))).status === 200, 'the app');
		assert.equal((await api.post('/events', body(12), withKey('k-12'))).status, 200);
		assert.equal((await other.post('/events', body(12), withKey('k-12'))).headers[REPLAYED],
			undefined);
		assert.equal(await rows(daemon, 12), 2);
		await daemon.query(`UPDATE idempotency_keys SET created_at = now() - interval '25 hours'
			WHERE key = 'k-12' AND app <> 'other'`);
		// Another body is fine too, now.
		assert.equal((await api.post('/events', body(13), withKey('k-12'))).headers[REPLAYED],
			undefined);
		assert.equal((await api.post('/events', body(13), withKey('k-12'))).headers[REPLAYED], 'true');
		assert.equal(await rows(daemon, 13), 1);
	});

	test('the Pusher library for Node sends the key', async () => {
		const { id: appId, key, secret } = daemon.app;
		const pusher = new Pusher({ appId, key, secret, host: '127.0.0.1', port: String(daemon.port),
			useTLS: false });
		for (let i = 0; i < 3; i++) {
			const answer = await pusher.trigger('c', 'E', { n: 14 }, { idempotency_key: 'k-14' });
			assert.equal(answer.status, 200);
			assert.equal(answer.headers.get(REPLAYED), i ? 'true' : null);
		}
		const other = await pusher.trigger('c', 'E', { n: 15 }, { idempotency_key: 'k-14' })
			.then(() => assert.fail('was not refused'), (e) => e);
		assert.equal(other.status, 422);
		assert.equal(await seen(wire, api, 'c', 14), 1);
	});
});

test('keys survive kill -9 and are deleted when they expire', async (t) => {
	const daemon = await startDaemon({}, t);
	const send = (n, key) => daemon.api().post('/events', body(n), withKey(key));
	assert.equal((await send(1, 'kept')).status, 200);
	assert.equal((await send(2, 'over')).status, 200);
	await daemon.kill();
	await daemon.query(`UPDATE idempotency_keys SET created_at = now() - interval '25 hours'
		WHERE key = 'over'`);
	await daemon.start();
	assert.equal((await send(1, 'kept')).headers[REPLAYED], 'true');
	await waitFor(async () => !(await stored(daemon, 'over')).length, 'the old key to go');
	assert.equal(await rows(daemon, 1), 1);
});

test('without the database a publish with a key is refused, and later published once', async (t) => {
	const daemon = await startDaemon({ embedded: true, app: RULES,
		database: { commit_timeout_ms: 2000 } }, t);
	const wire = await daemon.connect();
	await wire.subscribe('c');
	const api = daemon.api();
	const send = (n, channel) => api.post('/events', body(n, channel), withKey(`k-${n}`));
	await waitFor(async () => (await send(1)).status === 200, 'the first event');
	for (let round = 0; round < 5; round++) {
		const n = 10 + round;
		const stop = () => execFileSync(path.join(binaries(), 'pg_ctl'), ['stop', '-D',
			path.join(daemon.stateFolder, 'data'), '-m', 'immediate', '-w'],
			{ ...unprivileged(), cwd: '/', stdio: 'pipe' });
		const under = Array.from({ length: 4 }, () => send(n));
		stop();
		const during = await send(n + 100, 'never-c');
		assert.ok([200, 503].includes(during.status), during.text);
		for (const answer of await Promise.all(under))
			assert.ok([200, 503].includes(answer.status), answer.text);
		await waitFor(async () => (await send(n)).status === 200, `event ${n}`);
		const again = await waitFor(async () => {
			const answer = await send(n);
			return answer.status === 200 && answer;
		}, `event ${n} again`);
		assert.equal(again.headers[REPLAYED], 'true');
		assert.equal(await rows(daemon, n), 1);
		assert.equal(await seen(wire, api, 'c', n), 1);
	}
});
