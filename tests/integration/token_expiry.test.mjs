// SPDX-License-Identifier: MIT
// A token that expires: the client is notified before, can extend its subscriptions, and loses them otherwise.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { Api, APP, Sync, authorize, join, startDaemon, waitFor } from '../lib/harness.mjs';

const GRACE_S = 3;
const LATE = { ...APP, id: 'late', key: 'late-key', secret: 'late-secret', token_grace: '31536000' };
const EXPIRING = { event: 'scopewire:token_expiring' };
const EXTENDED = { event: 'scopewire:token_extended' };
const ENDED = { event: 'pusher:subscription_error', data: { type: 'AuthError', status: 403 } };
const EXISTS = { event: 'pusher:error', data: { message: /^Existing subscription/ } };

let daemon, api;
before(async () => {
	daemon = await startDaemon({ server: { workers: 2 }, apps: [{ ...APP, token_grace: GRACE_S,
		encryption_master_key: Buffer.alloc(32, 'm').toString('base64') }, LATE] });
	api = new Api(daemon.url, APP);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument) VALUES
		('room.{id}', 'anyone', NULL), ('staff', 'role', 'staff')`);
});
after(() => daemon?.stop());

/** The tokens of a test last for some seconds more than it needs on an idle machine. */
const soon = (seconds) => Math.floor(Date.now() / 1000) + seconds;
const user = (id, exp, claims = {}, app = APP) => Sync.user(daemon, id, { exp, ...claims }, app);

test('the client is notified once of each token, and subscriptions end after the grace', async (t) => {
	const exp = soon(9), channels = ['private-room.1', 'presence-room.1', 'private-encrypted-room.1'];
	const other = await join(t, user(2, soon(3600)), 'presence-room.1');
	const wire = await join(t, user(1, exp), ...channels);
	await wire.subscribe('private-signed');
	await wire.subscribe('public');
	const { data, channel } = await wire.next(EXPIRING);
	assert.deepEqual([JSON.parse(data), channel], [{ exp }, undefined]);
	for (const name of channels.slice(0, 2))
		await waitFor(() => wire.all({ ...ENDED, channel: name }).length === 1, `${name} to end`);
	await waitFor(() => wire.all({ event: 'pusher:error',
		data: { message: /token by which this subscription was authorized has expired/ } }).length === 3,
		'the encrypted channel to end');
	assert.ok(Date.now() / 1000 >= exp + GRACE_S);
	await other.next({ event: 'pusher_internal:member_removed', data: { user_id: '1' } });
	await api.trigger([...channels.slice(0, 2), 'private-signed', 'public'], 'after', '{}');
	for (const name of ['private-signed', 'public']) await wire.next({ event: 'after', channel: name });
	assert.equal(wire.all({ event: 'after' }).length, 2);
	assert.equal(wire.all(EXPIRING).length, 1);
	assert.equal(other.all(EXPIRING).length, 0);
	assert.match(daemon.logText, /subscription to private-room\.1 ended: its token has expired/);
});

test('a later authorization extends the subscription', async (t) => {
	const exp = soon(10);
	const watcher = await join(t, user(9, soon(3600)), 'presence-room.2');
	const wire = await join(t, user(1, exp), 'private-room.2', 'presence-room.2', 'private-room.3');
	await wire.next(EXPIRING);
	const next = soon(3600), fresh = user(1, next);
	for (const channel of ['private-room.2', 'presence-room.2']) {
		wire.sendSubscribe(channel, await authorize(wire, fresh, channel));
		const { data } = await wire.next(EXTENDED);
		assert.deepEqual(JSON.parse(data), { channel, exp: next });
	}
	// The one that was not extended shows when the old token has ended.
	await wire.next({ ...ENDED, channel: 'private-room.3' });
	await api.trigger(['private-room.2', 'presence-room.2'], 'after', '{}');
	for (const channel of ['private-room.2', 'presence-room.2']) await wire.next({ event: 'after', channel });
	assert.equal(wire.all(ENDED).length, 1);
	assert.equal(wire.all(EXISTS).length, 0);
	assert.equal(watcher.all({ event: 'pusher_internal:member_removed' }).length, 0);
	assert.equal(watcher.all({ event: 'pusher_internal:member_added' }).length, 1);
});

test('the client is notified of the next token too, and it ends the subscription', async (t) => {
	const wire = await join(t, user(1, soon(8)), 'private-room.4');
	await wire.next(EXPIRING);
	const exp = soon(9);
	wire.sendSubscribe('private-room.4', await authorize(wire, user(1, exp), 'private-room.4'));
	await wire.next(EXTENDED);
	assert.deepEqual(JSON.parse((await wire.next(EXPIRING)).data), { exp });
	await wire.next({ ...ENDED, channel: 'private-room.4' });
	assert.ok(Date.now() / 1000 >= exp + GRACE_S);
	// An authorization by the expired token is of no use; one by another token is.
	await wire.subscribe('private-room.4', await authorize(wire, user(1, soon(600)), 'private-room.4'));
});

test('other repeated subscriptions are errors, as before', async (t) => {
	const exp = soon(3000);
	const wire = await join(t, user(1, exp), 'private-room.5');
	const repeats = [await authorize(wire, user(2, exp + 10), 'private-room.5'),
		await authorize(wire, user(1, exp - 10), 'private-room.5'), {}, { auth: 'wrong:signature' },
		{ ...await authorize(wire, user(1, exp + 10), 'private-room.5'), auth: `${APP.key}:00` }];
	for (const repeat of repeats) {
		wire.sendSubscribe('private-room.5', repeat);
		await wire.next(EXISTS);
	}
	await wire.subscribe('private-room.6');
	wire.sendSubscribe('private-room.6', await authorize(wire, user(1, exp), 'private-room.6'));
	await wire.next(EXISTS);
	assert.equal(wire.all(EXTENDED).length, 0);
});

test('an authorization is void when its token has expired', async (t) => {
	const wire = await join(t, user(1, soon(3600)));
	const exp = soon(5), old = await authorize(wire, user(1, exp), 'private-room.7');
	await waitFor(() => Date.now() / 1000 >= exp + GRACE_S, 'the end of the grace');
	wire.sendSubscribe('private-room.7', old);
	const { data } = await wire.next({ event: 'pusher:subscription_error', channel: 'private-room.7' });
	assert.deepEqual([data.status, data.error], [401, 'The token of this authorization has expired']);
});

test('the roles of the later token count when rules change', async (t) => {
	const wire = await join(t, user(1, soon(600), { roles: ['staff', 'boss'] }), 'private-staff');
	wire.sendSubscribe('private-staff',
		await authorize(wire, user(1, soon(700), { roles: ['staff'] }), 'private-staff'));
	await wire.next(EXTENDED);
	await daemon.query(`UPDATE channel_rules SET argument = 'boss' WHERE pattern = 'staff'`);
	await wire.next({ ...ENDED, channel: 'private-staff' });
});

test('token_grace can be as long as a year', async (t) => {
	const own = await daemon.connect({ app: LATE });
	t.after(() => own.terminate());
	const exp = soon(-20);
	await own.subscribe('private-room.8', await authorize(own, user(1, exp, {}, LATE), 'private-room.8'));
	await own.next(EXPIRING);
	await new Api(daemon.url, LATE).trigger(['private-room.8'], 'still', '{}');
	await own.next({ event: 'still' });
	assert.equal(own.all(ENDED).length, 0);
});

test('a token that has expired for longer than the grace authorizes nothing, though clocks may differ by more', async () => {
	const late = user(8, soon(-GRACE_S - 5)), wire = await daemon.connect();
	assert.equal((await late.get('notifications')).status, 200, 'it is within the leeway for clocks');
	for (const body of [{ channel_name: 'private-room.1' }, { channel_names: ['private-room.1'] }]) {
		const answer = await late.post('/broadcasting/auth', { socket_id: wire.socketId, ...body });
		assert.equal(answer.status, 401, answer.text);
		assert.equal(answer.json.error.code, 'token_expired');
	}
	await wire.close();
});
