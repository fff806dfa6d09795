// SPDX-License-Identifier: MIT
// Subscriptions that the daemon authorized end when a changed rule or user takes the right away.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { Api, APP, Sync, authorize, channelAuth, join, startDaemon, waitFor } from '../lib/harness.mjs';

const RULE_TIMEOUT_MS = 300;
const ENDED = { event: 'pusher:subscription_error', data: { type: 'AuthError', status: 403 } };

let daemon, api;
before(async () => {
	daemon = await startDaemon({ server: { workers: 2 }, log: { level: 'info' }, sections: {
		sync: { rule_timeout_ms: RULE_TIMEOUT_MS, rule_connections: 2 } },
		app: { member_removed_delay_ms: 60000 } });
	api = new Api(daemon.url, APP);
});
after(() => daemon?.stop());

const rule = (pattern, kind = 'anyone', argument = null) => daemon.query(
	'INSERT INTO channel_rules (pattern, rule, argument) VALUES ($1, $2, $3)', [pattern, kind, argument]);
const unrule = (pattern) => daemon.query('DELETE FROM channel_rules WHERE pattern = $1', [pattern]);
const user = (id, claims) => Sync.user(daemon, id, claims);

/** The wire is still on the channel, and was sent no frame that ends it. */
async function stays(wire, channel) {
	await api.trigger([channel], 'still', '{}');
	await wire.next({ event: 'still', channel });
	assert.deepEqual(wire.frames.filter((f) => /error/.test(f.event)), []);
}

/** A change of rules after which every grant was checked. */
async function settle(t) {
	for (let i = 0; i < 2; i++) {
		await rule('canary');
		const canary = await join(t, user(999), 'private-canary');
		await unrule('canary');
		await canary.next({ ...ENDED, channel: 'private-canary' });
	}
}

describe('channel_data of the daemon\'s authorizations', () => {
	test('has the mark, on private and encrypted channels too', async (t) => {
		await rule('marked.{id}');
		const wire = await join(t, user(7));
		for (const channel of ['private-marked.1', 'presence-marked.1']) {
			const { auth, channelData } = await authorize(wire, user(7, { roles: ['a "b"'] }), channel);
			const { user_id, scopewire } = JSON.parse(channelData);
			assert.equal(user_id, '7');
			assert.deepEqual(scopewire.roles, ['a "b"']);
			assert.ok(Number.isSafeInteger(scopewire.as_of));
			assert.equal(auth, channelAuth(APP, wire.socketId, channel, channelData));
		}
	});

	test('is signed: a client cannot leave the mark out', async (t) => {
		await rule('unmarked');
		const wire = await join(t, user(7));
		const { auth } = await authorize(wire, user(7), 'private-unmarked');
		wire.sendSubscribe('private-unmarked', { auth });
		const { data } = await wire.next({ event: 'pusher:subscription_error' });
		assert.equal(data.status, 401);
	});

	test('members do not see the mark of another', async (t) => {
		await rule('seen');
		const ada = await join(t, user(1, { name: 'Ada' }), 'presence-seen');
		await join(t, user(2, { name: 'Grace', roles: ['boss'] }), 'presence-seen');
		const { data } = await ada.next({ event: 'pusher_internal:member_added' });
		assert.deepEqual(JSON.parse(data), { user_id: '2', user_info: { id: 2, name: 'Grace' } });
	});
});

describe('a subscription ends', () => {
	test('when its rule is deleted: on each connection of each user, others stay', async (t) => {
		await rule('gone.{id}');
		await rule('kept.{id}');
		const wires = [];
		for (const id of [1, 1, 2])
			wires.push(await join(t, user(id), 'private-gone.1', 'private-kept.1', 'private-cache-gone.1'));
		await unrule('gone.{id}');
		for (const wire of wires)
			for (const channel of ['private-gone.1', 'private-cache-gone.1'])
				await waitFor(() => wire.all({ ...ENDED, channel }).length === 1, `${channel} to end`);
		await api.trigger(['private-gone.1', 'private-cache-gone.1', 'private-kept.1'], 'after', '{}');
		for (const wire of wires) {
			await wire.next({ event: 'after', channel: 'private-kept.1' });
			await wire.ping();
			assert.equal(wire.all({ event: 'after' }).length, 1);
			assert.equal(wire.all({ event: 'pusher:subscription_error' }).length, 2);
		}
		await waitFor(() => /subscription to private-gone\.1 ended: no channel rule allows the user any more/.test(daemon.logText),
			'the line');
		// The right is back: so is the client.
		await rule('gone.{id}');
		await wires[0].subscribe('private-gone.1', await authorize(wires[0], user(1), 'private-gone.1'));
	});

	test('when its rule is changed to a stricter one', async (t) => {
		await rule('strict.{id}');
		const [owner, other] = [await join(t, user(1), 'private-strict.1'),
			await join(t, user(2), 'private-strict.1')];
		await daemon.query(`UPDATE channel_rules SET rule = 'owner', argument = 'id'
			WHERE pattern = 'strict.{id}'`);
		await other.next({ ...ENDED, channel: 'private-strict.1' });
		await settle(t);
		await stays(owner, 'private-strict.1');
	});

	test('when a role is taken from the user\'s row, or the row is deleted', async (t) => {
		const server = Sync.server(daemon);
		await rule('staff', 'role', 'staff');
		for (const id of [11, 12, 13]) await server.put(`users/${id}`, { name: `u${id}`, roles: ['staff'] });
		const [taken, deleted, kept] = [await join(t, user(11), 'private-staff'),
			await join(t, user(12), 'private-staff'), await join(t, user(13), 'private-staff')];
		// A token with roles of its own does not depend on the row.
		const token = await join(t, user(11, { roles: ['staff'] }), 'private-staff');
		await server.put('users/11', { name: 'u11', roles: ['guest'] });
		await taken.next({ ...ENDED, channel: 'private-staff' });
		await daemon.query('DELETE FROM users WHERE id = 12');
		await deleted.next({ ...ENDED, channel: 'private-staff' });
		await settle(t);
		await stays(kept, 'private-staff');
		await stays(token, 'private-staff');
	});

	test('as a presence member: the others see it leave at once', async (t) => {
		await rule('here', 'role', 'in');
		const [ada, grace] = [await join(t, user(1, { roles: ['in'] }), 'presence-here'),
			await join(t, user(2, { roles: ['in', 'out'] }), 'presence-here')];
		await daemon.query(`UPDATE channel_rules SET argument = 'out' WHERE pattern = 'here'`);
		await ada.next({ ...ENDED, channel: 'presence-here' });
		const { data } = await grace.next({ event: 'pusher_internal:member_removed', channel: 'presence-here' });
		assert.equal(JSON.parse(data).user_id, '1');
		await settle(t);
		await stays(grace, 'presence-here');
	});

	test('when the authorization is older than the change', async (t) => {
		await rule('early');
		const wire = await join(t, user(1));
		const early = await authorize(wire, user(1), 'private-early');
		await unrule('early');
		await settle(t);
		await wire.subscribe('private-early', early);
		await wire.next({ ...ENDED, channel: 'private-early' });
	});

	test('after batch authorization', async (t) => {
		await rule('batch.{id}');
		const wire = await join(t, user(1));
		const names = ['private-batch.1', 'presence-batch.2'];
		await authorize(wire, user(1), names[0]);
		const { json } = await user(1).post('/broadcasting/auth',
			{ socket_id: wire.socketId, channel_names: names });
		for (const name of names)
			await wire.subscribe(name, { auth: json.channels[name].auth,
				channelData: json.channels[name].channel_data });
		await unrule('batch.{id}');
		for (let i = 0; i < names.length; i++) await wire.next(ENDED);
	});

	test('when a predicate is false after a change of rules', async (t) => {
		await daemon.query('CREATE TABLE public.members (user_id bigint)');
		await daemon.query('INSERT INTO public.members VALUES (1), (2)');
		await rule('asked', 'sql', 'EXISTS (SELECT FROM members WHERE user_id = {user})');
		const [lost, kept] = [await join(t, user(1), 'private-asked'), await join(t, user(2), 'private-asked')];
		await daemon.query('DELETE FROM public.members WHERE user_id = 1');
		await settle(t);
		await lost.next({ ...ENDED, channel: 'private-asked' });
		await stays(kept, 'private-asked');
	});
});

describe('a subscription stays', () => {
	test('when the application signed it, with and without channel_data', async (t) => {
		await rule('own.{id}');
		const canary = await join(t, user(1), 'private-own.1');
		await canary.subscribe('private-own.2');
		await canary.subscribe('presence-own.2', { channelData: { user_id: '1' } });
		await unrule('own.{id}');
		await canary.next({ ...ENDED, channel: 'private-own.1' });
		await settle(t);
		for (const channel of ['private-own.2', 'presence-own.2']) {
			await api.trigger([channel], 'still', '{}');
			await canary.next({ event: 'still', channel });
		}
	});

	test('while its predicate fails or is too slow, which is logged; then it is checked again', async (t) => {
		await daemon.query('CREATE TABLE public.mode (broken int, slow float, allowed boolean)');
		await daemon.query('INSERT INTO public.mode VALUES (1, 0, true)');
		await rule('fails', 'sql', '(SELECT allowed AND 1 / broken = 1 AND pg_sleep(slow) IS NOT NULL FROM mode)');
		const wire = await join(t, user(1), 'private-fails');
		const line = (why) => waitFor(() => daemon.logText.includes('user 1 keeps private-fails: whether ' +
			`a channel rule still allows it is not known (its predicate ${why})`), 'the line in the log');
		await daemon.query('UPDATE public.mode SET slow = 5');
		await settle(t);
		await line('did not answer in time');
		await stays(wire, 'private-fails');
		await daemon.query('ALTER TABLE public.mode RENAME TO mode_away');
		await settle(t);
		await line('failed');
		await stays(wire, 'private-fails');
		// No further change of rules is needed.
		await daemon.query('UPDATE public.mode_away SET allowed = false, slow = 0');
		await daemon.query('ALTER TABLE public.mode_away RENAME TO mode');
		await wire.next({ ...ENDED, channel: 'private-fails' });
	});

	test('while the database is away', async (t) => {
		await rule('away.{id}');
		const wire = await join(t, user(1), 'private-away.1', 'private-away.2');
		await daemon.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND datname = current_database()`);
		await waitFor(async () => (await user(1).post('/broadcasting/auth',
			{ socket_id: wire.socketId, channel_name: 'private-away.1' })).status === 200, 'the database');
		await settle(t);
		await stays(wire, 'private-away.1');
	});
});

test('the check of a changed user goes before those that a changed rule has made due', async (t) => {
	const own = await startDaemon({ sections: { sync: { rule_timeout_ms: 60000, rule_connections: 2 } } }, t);
	const put = (roles) => Sync.server(own).put('users/77', { roles });
	const ownRule = (...values) => own.query(
		'INSERT INTO channel_rules (pattern, rule, argument) VALUES ($1, $2, $3)', values);
	const who = (id) => Sync.user(own, id);
	// Each check of the rule slow.{n} waits until the gate of its channel is open.
	await own.query(`CREATE TABLE public.gates (n integer); GRANT SELECT ON public.gates TO PUBLIC;
		INSERT INTO public.gates SELECT generate_series(0, 59);
		CREATE FUNCTION public.gate(n integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
			PERFORM set_config('application_name', 'gate ' || $1, true);
			WHILE NOT EXISTS (SELECT FROM public.gates g WHERE g.n = $1) LOOP
				PERFORM pg_sleep(0.005);
			END LOOP;
			RETURN true;
		END $$`);
	const slow = Array.from({ length: 60 }, (_, n) => `private-slow.${n}`);
	const answers = (yes) => `public.gate({n}::integer) = ${yes}`;
	await ownRule('slow.{n}', 'sql', answers(true));
	await ownRule('quick', 'role', 'in');
	await put(['in']);
	const [many, quick] = [await join(t, who(1), ...slow), await join(t, who(77), 'private-quick')];
	const ended = () => many.all(ENDED).length;
	await own.query('DELETE FROM public.gates');
	/** The numbers of the channels whose checks wait. */
	const waiting = async () => {
		const rows = await own.query(`SELECT substr(application_name, 6)::integer AS n FROM pg_stat_activity
			WHERE datname = current_database() AND application_name LIKE 'gate %'
			AND substr(application_name, 6)::integer NOT IN (SELECT n FROM public.gates)`);
		return rows.length > 0 && rows.map((row) => row.n);
	};
	await own.query(`UPDATE channel_rules SET argument = $1 WHERE pattern = 'slow.{n}'`, [answers(false)]);
	await waitFor(waiting, 'the first checks');
	await put([]);
	// The change reaches the daemon within some steps; each step lets the checks end that wait.
	while (!quick.all(ENDED).length && ended() < slow.length - 2) {
		await own.query('INSERT INTO public.gates SELECT unnest($1::integer[])', [await waiting()]);
		await waitFor(async () => quick.all(ENDED).length || await waiting(), 'the next checks');
	}
	assert.equal(quick.all({ ...ENDED, channel: 'private-quick' }).length, 1);
	await own.query('INSERT INTO public.gates SELECT generate_series(0, 59)');
	await waitFor(() => ended() === slow.length, 'all checks');
});

describe('while a user changes without end', () => {
	/** Users with slow predicates, one a channel.  The first of each user's channels is not allowed any more. */
	async function changing(t, users) {
		const own = await startDaemon({ sections: { sync: { rule_timeout_ms: 60000, rule_connections: 2 } } }, t);
		const who = (id) => Sync.user(own, id);
		const slow = (id, n) => Array.from({ length: n }, (_, i) => `private-slow.${id}.${i}`);
		await own.query('CREATE TABLE public.mode (seconds float, least integer)');
		await own.query('INSERT INTO public.mode VALUES (0, 0)');
		await own.query(`INSERT INTO channel_rules (pattern, rule, argument) VALUES ('slow.{of}.{n}', 'sql',
			'(SELECT {n}::integer >= least AND pg_sleep(seconds) IS NOT NULL AND {of} IS NOT NULL FROM mode)')`);
		const wires = {};
		for (const [id, n] of Object.entries(users)) wires[id] = await join(t, who(id), ...slow(id, n));
		await own.query('UPDATE public.mode SET seconds = 0.1, least = 1');
		const change = () => own.query(`SELECT pg_notify('scopewire_rules', $1)`, [`1 ${own.app.id}`]);
		const ends = (id) => waitFor(async () => {
			await change();
			return wires[id].all({ ...ENDED, channel: slow(id, 1)[0] }).length;
		}, `the first channel of user ${id}`);
		return { own, ends };
	}

	test('each of its subscriptions is checked, and those of others', async (t) => {
		const { own, ends } = await changing(t, { 1: 20, 2: 1 });
		await ends(1);
		await own.query('UPDATE channel_rules SET pattern = pattern'); // all are due
		await ends(2);
	});
});

test('slow predicates of one application delay neither rules without one nor another application', async (t) => {
	const OTHER = { id: 'other', key: 'other-key', secret: 'other-secret', allowed_origins: '*' };
	const own = await startDaemon({ apps: [APP, OTHER],
		sections: { sync: { rule_connections: 2, rule_timeout_ms: 10000 } } }, t);
	const slow = Array.from({ length: 40 }, (_, n) => `private-slow.${n}`);
	const answers = (name, yes) => `${name} IS NOT NULL AND {n} IS NOT NULL AND ${yes}`;
	const set = (pattern, argument, kind = 'sql', app = null) => own.query(`INSERT INTO channel_rules (pattern, rule, argument, app)
		VALUES ($1, $2, $3, $4)`, [pattern, kind, argument, app]);
	await own.query('CREATE TABLE public.gate (is_open boolean, seconds float)');
	await own.query('INSERT INTO public.gate VALUES (true, 0)');
	await set('slow.{n}', answers('(SELECT pg_sleep(seconds) FROM gate)', '(SELECT is_open FROM gate)'));
	await set('fast.{n}', answers('1', '(SELECT is_open FROM gate)'), 'sql', OTHER.id);
	await set('plain', null, 'anyone');
	const many = await join(t, Sync.user(own, 1), ...slow);
	const other = await own.connect({ app: OTHER });
	t.after(() => other.terminate());
	const he = Sync.user(own, 2, {}, OTHER);
	await other.subscribe('private-fast.1', await authorize(other, he, 'private-fast.1'));
	const plain = await join(t, Sync.user(own, 3), 'private-plain');
	await own.query('UPDATE public.gate SET is_open = false, seconds = 1');
	await own.query(`DELETE FROM channel_rules WHERE pattern = 'plain'`);
	await plain.next({ ...ENDED, channel: 'private-plain' });
	await other.next({ ...ENDED, channel: 'private-fast.1' });
	assert.ok(many.all(ENDED).length < slow.length / 2, `${many.all(ENDED).length} slow ones came before`);
	await own.query('UPDATE public.gate SET seconds = 0');
	await waitFor(() => many.all(ENDED).length === slow.length, 'all checks');
});

test('thousands of subscriptions end, and another client is served', async (t) => {
	const users = 20, channels = 100;
	await rule('many.{id}');
	await rule('served');
	const served = await join(t, user(1), 'private-served');
	const wires = await Promise.all(Array.from({ length: users }, async (_, i) => {
		const wire = await daemon.connect(), who = user(100 + i);
		t.after(() => wire.terminate());
		await authorize(wire, who, 'private-many.0');
		const names = Array.from({ length: channels }, (__, n) => `private-many.${n}`);
		const { json } = await who.post('/broadcasting/auth', { socket_id: wire.socketId, channel_names: names });
		for (const name of names)
			wire.sendSubscribe(name, { auth: json.channels[name].auth,
				channelData: json.channels[name].channel_data });
		await waitFor(() => wire.all({ event: 'pusher_internal:subscription_succeeded' }).length === channels,
			'all subscriptions');
		return wire;
	}));
	await unrule('many.{id}');
	const ended = () => wires.reduce((n, wire) => n + wire.all({ event: 'pusher:subscription_error' }).length, 0);
	while (ended() < users * channels) {
		await api.trigger(['private-served'], 'tick', '{}');
		await served.next({ event: 'tick' });
	}
	assert.equal(ended(), users * channels);
});

describe('an authorization from before the end of the access is not accepted again', () => {
	const refused = (wire, channel) => wire.next({ event: 'pusher:subscription_error', channel, data: { status: 401 } });
	const position = async (wire, channel, auth) => (await wire.subscribe(channel, auth)).position;

	test('after a rule has ended it: neither events nor members are sent', async (t) => {
		const server = Sync.server(daemon);
		await rule('again.{id}', 'role', 'again');
		await server.put('users/71', { roles: ['again'] });
		const wire = await join(t, user(71));
		const channels = ['private-again.1', 'presence-again.1'];
		const auths = Object.fromEntries(await Promise.all(channels.map(async (c) => [c, await authorize(wire, user(71), c)])));
		const since = await position(wire, channels[0], auths[channels[0]]);
		await position(wire, channels[1], auths[channels[1]]);
		await server.put('users/71', { roles: [] });
		await waitFor(() => channels.every((channel) => wire.all({ ...ENDED, channel }).length), 'both to end');
		await api.trigger(channels, 'secret', '{}');
		for (const channel of channels) {
			wire.sendSubscribe(channel, { ...auths[channel], since });
			await refused(wire, channel);
		}
		await wire.ping();
		assert.deepEqual(wire.all({ event: 'secret' }), []);
		// A right that is back is a new authorization.
		await server.put('users/71', { roles: ['again'] });
		await wire.subscribe(channels[0], { ...await authorize(wire, user(71), channels[0]), since });
		await wire.next({ event: 'secret', channel: channels[0] });
	});

	test('after the application has revoked it, by name and by pattern', async (t) => {
		await rule('taken.{id}');
		const wire = await join(t, user(72));
		for (const body of [{ channels: ['private-taken.1'] }, { pattern: 'private-taken.*' }]) {
			const auth = await authorize(wire, user(72), 'private-taken.1');
			await wire.subscribe('private-taken.1', auth);
			await api.post('/users/72/revoke', body);
			await wire.next({ ...ENDED, channel: 'private-taken.1' });
			wire.sendSubscribe('private-taken.1', auth);
			await refused(wire, 'private-taken.1');
			await wire.subscribe('private-taken.1', await authorize(wire, user(72), 'private-taken.1'));
			wire.unsubscribe('private-taken.1');
		}
	});

	test('nor that of another channel after the application has revoked very many', async (t) => {
		await rule('few.{id}');
		const wire = await join(t, user(74));
		const auth = () => authorize(wire, user(74), 'private-few.1');
		const before = await auth();
		await wire.subscribe('private-few.2', await authorize(wire, user(74), 'private-few.2'));
		const many = (n) => Array.from({ length: 100 }, (_, i) => `private-${'x'.repeat(180)}-${n}-${i}`);
		await api.post('/users/74/revoke', { channels: [...many(0).slice(1), 'private-few.2'] });
		await wire.next({ ...ENDED, channel: 'private-few.2' });
		await wire.subscribe('private-few.1', before);
		wire.unsubscribe('private-few.1');
		await wire.subscribe('private-few.3', await authorize(wire, user(74), 'private-few.3'));
		for (let n = 1; n < 5; n++) await api.post('/users/74/revoke', { channels: many(n) });
		// The connection takes them in their place in the log: an authorization that is made before is refused, too.
		await api.post('/users/74/revoke', { channels: ['private-few.3'] });
		await wire.next({ ...ENDED, channel: 'private-few.3' });
		await wire.subscribe('private-few.2', await authorize(wire, user(74), 'private-few.2'));
		await api.post('/users/74/revoke', { channels: ['private-few.2'] });
		await wire.next({ ...ENDED, channel: 'private-few.2' });
		wire.sendSubscribe('private-few.1', before);
		await refused(wire, 'private-few.1');
		await wire.subscribe('private-few.1', await auth());
		wire.unsubscribe('private-few.1');
	});

	test('when it is older than a minute', async (t) => {
		await rule('old.{id}');
		const wire = await join(t, user(73));
		const signed = (seconds) => {
			const channelData = JSON.stringify({ user_id: '73', scopewire: { roles: [], as_of: 1,
				at: (Date.now() - seconds * 1000) * 1000, exp: Math.floor(Date.now() / 1000) + 3600 } });
			return { channelData, auth: channelAuth(APP, wire.socketId, 'private-old.1', channelData) };
		};
		wire.sendSubscribe('private-old.1', signed(61));
		await refused(wire, 'private-old.1');
		await wire.subscribe('private-old.1', signed(30));
	});
});
