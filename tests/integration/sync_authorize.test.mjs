// SPDX-License-Identifier: MIT
// Who may join which channel: /broadcasting/auth and /broadcasting/user-auth, channel_rules and its
// predicates, and how soon a change counts.
import { after, before, beforeEach, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { APP, Daemon, Sync, binaries, channelAuth, query, startDaemon, userAuth, waitFor }
	from '../lib/harness.mjs';

const MASTER_KEY = crypto.createHash('sha256').update('a master key').digest();
const OTHER = { id: 'other', key: 'other-key', secret: 'other-secret' };
const LIMITED = { id: 'limited', key: 'limited-key', secret: 'limited-secret',
	max_presence_member_bytes: '64', max_backend_events_per_second: '1' };
const PORTAL_RULES = fileURLToPath(new URL('../../sql/examples/portal_rules.sql', import.meta.url));
const SOCKET = '123.456';
/** Of daemons whose predicates exceed their time.  A busy machine needs longer for any predicate. */
const HASTY = { rule_timeout_ms: 300, rule_connections: 1, user_activity_types: 'once' };

let daemon;
before(async () => {
	// One connection listens, so changes arrive in the order in which they were made.
	daemon = await startDaemon({
		sections: { sync: { rule_connections: 1 } },
		apps: [{ ...APP, encryption_master_key: MASTER_KEY.toString('base64') }, OTHER, LIMITED] });
	await daemon.query('CREATE TABLE public.project_members (project_id bigint, user_id bigint)');
});
after(() => daemon?.stop());

const add = (pattern, rule, argument = null, app = null) => daemon.query(
	`INSERT INTO channel_rules (app, pattern, rule, argument) VALUES ($1, $2, $3, $4)`,
	[app, pattern, rule, argument]);
const user = (id, claims = {}, app = APP) => Sync.user(daemon, id, claims, app);
const auth = (who, channel, more = {}) =>
	who.post('/broadcasting/auth', { socket_id: SOCKET, channel_name: channel, ...more });

/** An answer that refuses, in the shape of Laravel's and in our own. */
const refused = (answer, status, code, field) => {
	assert.equal(answer.status, status, answer.text);
	assert.equal(answer.json.error.code, code, answer.text);
	assert.equal(answer.json.error.field, field, answer.text);
	assert.equal(answer.json.message, answer.json.error.message);
	assert.ok(answer.json.message.length > 10);
};
const allowed = async (who, channel) => {
	const answer = await auth(who, channel);
	if (answer.status !== 200) refused(answer, 403, 'channel_forbidden', 'channel_name');
	return answer.status === 200;
};
/** Waits for the wanted verdict: the daemon is notified of changes by NOTIFY. */
const becomes = (who, channel, wanted) => waitFor(async () =>
	(await allowed(who, channel)) === wanted, `${channel} ${wanted ? 'open' : 'closed'}`);

describe('several channels', () => {
	test('channel_names are authorized one by one, and those that are denied are flagged', async (t) => {
		const daemon = await startDaemon({}, t);
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument) VALUES
			('open.{id}', 'anyone', NULL), ('asked.{id}', 'sql', '{id}::int = 1')`);
		const wire = await daemon.connect();
		const names = ['private-open.1', 'presence-open.2', 'private-shut.1', 'news', 'a b', 'private-asked.1',
			'private-asked.2', 'private-encrypted-open.1'];
		const who = Sync.user(daemon, 7, { name: 'Ada' });
		const ask = (more) => who.post('/broadcasting/auth', { socket_id: wire.socketId, ...more });
		const answer = await ask({ channel_names: names });
		assert.equal(answer.status, 200, answer.text);
		const { channels } = answer.json;
		assert.deepEqual(Object.keys(channels), names);
		assert.deepEqual(names.map((name) => channels[name].status), [undefined, undefined, 403, 403, 400,
			undefined, 403, 500]);
		assert.equal(channels['private-shut.1'].error.code, 'channel_forbidden');
		for (const name of ['private-open.1', 'presence-open.2', 'private-asked.1']) {
			// Each is signed at its own time.
			const plain = ({ auth, channel_data: data, ...rest }) => ({ ...rest, data: data.replace(/"at":\d+/, '') });
			assert.deepEqual(plain(channels[name]), plain((await ask({ channel_name: name })).json));
			await wire.subscribe(name, { auth: channels[name].auth, channelData: channels[name].channel_data });
		}
		const many = Array.from({ length: 100 }, (_, i) => `private-open.${i}`);
		assert.equal(Object.values((await ask({ channel_names: many })).json.channels).length, 100);
		for (const [wrong, field] of [[{ channel_names: [...many, 'private-x'] }, 'channel_names'],
			[{ channel_names: [] }, 'channel_names'], [{ channel_names: many, channel_name: 'private-x' },
				'channel_names']])
			assert.equal((await ask(wrong)).json.error.field, field);
		await wire.close();
	});

	test('the server asks what a user may join, and why', async (t) => {
		const daemon = await startDaemon({}, t);
		const server = Sync.server(daemon);
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument, can_write) VALUES
			('open.{id}', 'anyone', NULL, false), ('own.{id}', 'owner', 'id', true),
			('staff', 'role', 'staff,boss', false), ('asked.{id}', 'sql', '{id}::int = 1', false)`);
		await server.put('users/7', { roles: ['boss'] });
		const may = async (body) => (await server.post('may', { user_id: 7, ...body })).json.results
			.map((one) => [one.channel, one.allowed, one.reason]);
		assert.deepEqual(await may({ channels: ['private-open.1', 'presence-own.7', 'private-own.8',
			'private-staff', 'private-asked.1', 'private-asked.2', 'private-none', 'news',
			'#server-to-user-7'] }), [
			['private-open.1', true, 'allowed by rule 1 open.{id} (anyone)'],
			['presence-own.7', true, 'allowed by rule 2 own.{id} (owner id)'],
			['private-own.8', false, 'none of these rules allows the user: 2 own.{id} (owner id)'],
			['private-staff', true, 'allowed by rule 3 staff (role staff,boss)'],
			['private-asked.1', true, 'a predicate allows it'],
			['private-asked.2', false, 'no predicate allows it'],
			['private-none', false, 'no rule fits the channel'],
			['news', true, 'a public channel'],
			['#server-to-user-7', true, 'the user\'s own channel']]);
		assert.deepEqual((await may({ channels: ['private-open.1', 'private-own.7'], write: true }))
			.map(([, allowed]) => allowed), [false, true]);
		assert.deepEqual((await may({ channels: ['private-staff'], roles: ['guest'] })).map((r) => r[1]), [false]);
	});
});

describe('responses', () => {
	before(async () => {
		await add('room.{id}', 'anyone');
		await becomes(user(7), 'private-room.1', true);
	});

	test('a private channel gets auth, and channel_data with the daemon\'s mark', async () => {
		for (const channel of ['private-room.1', 'private-cache-room.1']) {
			const answer = await auth(user(7), channel);
			const { auth: signature, channel_data: data, ...rest } = answer.json;
			assert.deepEqual(rest, {});
			assert.equal(signature, channelAuth(APP, SOCKET, channel, data));
			assert.match(data, /^\{"user_id":"7","scopewire":\{"roles":\[\],"as_of":\d+,"at":\d+,"exp":\d+\}\}$/);
			assert.match(answer.headers['content-type'], /^application\/json/);
		}
	});

	test('a presence channel also gets channel_data, as a string', async () => {
		for (const channel of ['presence-room.1', 'presence-cache-room.1']) {
			const { json } = await auth(user(7, { name: 'Ada "A" Lovelace' }), channel);
			assert.deepEqual(Object.keys(json), ['auth', 'channel_data']);
			const { scopewire, ...member } = JSON.parse(json.channel_data);
			assert.deepEqual(member, { user_id: '7', user_info: { id: 7, name: 'Ada "A" Lovelace' } });
			assert.deepEqual(scopewire.roles, []);
			assert.equal(json.auth, channelAuth(APP, SOCKET, channel, json.channel_data));
		}
	});

	test('an encrypted channel also gets shared_secret', async () => {
		for (const channel of ['private-encrypted-room.1', 'private-encrypted-cache-room.1']) {
			const secret = crypto.createHash('sha256').update(channel).update(MASTER_KEY);
			const { channel_data: data, ...rest } = (await auth(user(7), channel)).json;
			assert.deepEqual(rest, { auth: channelAuth(APP, SOCKET, channel, data),
				shared_secret: secret.digest('base64') });
		}
	});

	test('an encrypted channel without a master key is refused', async () => {
		refused(await auth(user(7, {}, OTHER), 'private-encrypted-room.1'), 500, 'no_master_key');
		refused(await auth(user(7, {}, OTHER), 'private-encrypted-no.1'), 403, 'channel_forbidden',
			'channel_name');
	});

	test('a form body, as pusher-js sends it, is accepted', async () => {
		const form = { socket_id: SOCKET, channel_name: 'private-room.1' };
		const answer = await user(7).call('POST', '/broadcasting/auth', {
			body: new URLSearchParams(form).toString(),
			headers: { 'Content-Type': 'application/x-www-form-urlencoded' } });
		assert.equal(answer.json.auth,
			channelAuth(APP, SOCKET, 'private-room.1', answer.json.channel_data));
	});

	test('user authentication returns auth and user_data', async () => {
		const { json } = await user(7, { name: 'Ada' }).post('/broadcasting/user-auth',
			{ socket_id: SOCKET });
		assert.deepEqual(Object.keys(json), ['auth', 'user_data']);
		assert.deepEqual(JSON.parse(json.user_data), { id: '7', user_info: { id: 7, name: 'Ada' } });
		assert.equal(json.auth, userAuth(APP, SOCKET, json.user_data));
	});

	test('the daemon accepts its own signatures for subscriptions and signin', async (t) => {
		const wire = await daemon.connect();
		t.after(() => wire.close());
		const ask = async (path_, more) =>
			(await user(7, { name: 'Ada' }).post(path_, { socket_id: wire.socketId, ...more })).json;
		for (const channel of ['private-room.1', 'presence-room.1', 'private-encrypted-room.1']) {
			const { shared_secret, ...data } = await ask('/broadcasting/auth', { channel_name: channel });
			wire.send({ event: 'pusher:subscribe', data: { channel, ...data } });
			await wire.next({ event: 'pusher_internal:subscription_succeeded', channel });
		}
		wire.send({ event: 'pusher:signin', data: await ask('/broadcasting/user-auth') });
		await wire.next({ event: 'pusher:signin_success' });
	});
});

describe('a member\'s user_info', () => {
	const member = async (who, channel = 'presence-room.1') =>
		JSON.parse((await auth(who, channel)).json.channel_data).user_info;

	test('user_info is the stored user\'s, otherwise the token\'s; a change counts at once', async () => {
		const server = Sync.server(daemon);
		const ada = user(21, { name: 'From the token', avatar: '/token.png' });
		assert.deepEqual(await member(ada), { id: 21, name: 'From the token', avatar: '/token.png' });
		await server.put('users/21', { name: 'Ada' });
		await waitFor(async () => (await member(ada)).name === 'Ada', 'the name that was set');
		assert.equal((await member(ada)).avatar, '/token.png');
		await server.put('users/21', { name: 'Countess', avatar: '/told.png' });
		await waitFor(async () => (await member(ada)).name === 'Countess', 'the new name');
		assert.deepEqual(await member(ada), { id: 21, name: 'Countess', avatar: '/told.png' });
		const { json } = await ada.post('/broadcasting/user-auth', { socket_id: SOCKET });
		assert.equal(JSON.parse(json.user_data).user_info.name, 'Countess');
		await daemon.query('DELETE FROM users WHERE id = 21');
		await waitFor(async () => (await member(ada)).name === 'From the token', 'nothing told');
	});

	test('each application has its own users', async () => {
		await Sync.server(daemon, OTHER).put('users/22', { name: 'Elsewhere' });
		assert.deepEqual(await member(user(22)), { id: 22 });
	});

	test('an avatar over the member limit is left out', async () => {
		const who = user(23, { name: 'Ada', avatar: `/${'x'.repeat(64)}` }, LIMITED);
		assert.deepEqual(await member(who), { id: 23, name: 'Ada' });
	});

	test('a change of all users at once is seen', async () => {
		const many = user(24, { name: 'before' });
		assert.equal((await member(many)).name, 'before');
		await daemon.query(`INSERT INTO users (app, id, name)
			SELECT $1, i, 'after' FROM generate_series(24, 400) i`, [APP.id]);
		await waitFor(async () => (await member(many)).name === 'after', 'the name of one of many');
		await daemon.query('TRUNCATE users');
		await waitFor(async () => (await member(many)).name === 'before', 'no user told');
	});
});

describe('refusals', () => {
	test('a request without a valid user is refused', async () => {
		const body = { socket_id: SOCKET, channel_name: 'private-room.1' };
		for (const where of ['/broadcasting/auth', '/broadcasting/user-auth']) {
			refused(await Sync.server(daemon).post(where, body), 403, 'forbidden');
			refused(await new Sync(daemon).post(where, body), 401, 'unauthorized');
			refused(await user(1, { exp: 1 }).post(where, body), 401, 'token_expired');
			const got = await user(1).get(where);
			assert.equal(got.status, 405);
		}
	});

	test('public channels and channels without a rule are refused', async () => {
		for (const channel of ['room.1', 'cache-room.1', '#server-to-user-7', 'privateer'])
			refused(await auth(user(7), channel), 403, 'not_guarded', 'channel_name');
		for (const channel of ['private-nothing', 'private-room.1.2', 'private-room.', 'private-xroom.1',
			'private-room-1', 'presence-presence-room.1', 'private-Room.1'])
			refused(await auth(user(7), channel), 403, 'channel_forbidden', 'channel_name');
	});

	test('invalid fields are refused', async () => {
		const who = user(7);
		const body = { socket_id: SOCKET, channel_name: 'private-room.1' };
		const post = (change) => who.post('/broadcasting/auth', { ...body, ...change });
		refused(await post({ socket_id: null }), 400, 'missing_field', 'socket_id');
		refused(await post({ channel_name: null }), 400, 'missing_field', 'channel_name');
		refused(await post({ more: 1 }), 400, 'unknown_field', 'more');
		for (const socket of ['', '1', 'a.b', '1.2.3', `1.2' OR '1'='1`, `1.2:private-other`, 12, 1.2])
			refused(await post({ socket_id: socket }), 400, 'invalid_value', 'socket_id');
		for (const channel of ['', 'private- x', `private-room.1'; DROP TABLE users; --`, 'private-é',
			'private-x:y', `private-${'x'.repeat(200)}`, 7, ['private-room.1']])
			refused(await post({ channel_name: channel }), 400, 'invalid_value', 'channel_name');
		refused(await who.post('/broadcasting/auth', '{'), 400, 'invalid_json');
	});

	test('an invalid master key is refused', async () => {
		for (const key of ['short', MASTER_KEY.toString('hex'), `${'A'.repeat(42)}==`,
			`${'!'.repeat(43)}=`]) {
			const own = new Daemon({ databaseMode: 'none', app: { encryption_master_key: key } });
			await own.spawn();
			await own.stop({ signal: 0, status: 78 });
			assert.match(own.logText, /encryption_master_key: must be 32 bytes in base64/);
			assert.ok(!own.logText.includes(key));
		}
	});

	test('authorization does not use the rate limit of publishing', async () => {
		const who = user(7, {}, LIMITED);
		const answers = await Promise.all(Array.from({ length: 8 }, () => auth(who, 'private-room.1')));
		assert.deepEqual(answers.map((a) => a.status), Array(8).fill(200));
	});
});

describe('kinds of rule', () => {
	beforeEach(async () => {
		await daemon.query('DELETE FROM channel_rules');
		await becomes(user(1), 'private-room.1', false);
	});

	test('owner: the user\'s id is in the channel name', async () => {
		await add('of.{id}', 'owner', 'id');
		await add('a.{b}.c.{d}', 'owner', 'd');
		await becomes(user(7), 'private-of.7', true);
		for (const [id, channel, wanted] of [[7, 'of.8', false], [7, 'of.07', false], [77, 'of.7', false],
			[7, 'a.1.c.7', true], [7, 'a.7.c.1', false], [7, 'of.7.8', false], [7, 'of.-7', false]])
			assert.equal(await allowed(user(id), `private-${channel}`), wanted, channel);
	});

	test('role: of the token, or of the stored user when the token has none', async () => {
		await add('admin', 'role', 'admin,owner');
		await becomes(user(1, { roles: ['admin'] }), 'private-admin', true);
		assert.equal(await allowed(user(1, { roles: ['x', 'owner'] }), 'private-admin'), true);
		for (const roles of [[], ['adm'], ['admin,owner'], ['Admin']])
			assert.equal(await allowed(user(1, { roles }), 'private-admin'), false, roles.join());
		await Sync.server(daemon).put('users/1', { roles: ['admin'] });
		await becomes(user(1), 'private-admin', true);
		assert.equal(await allowed(user(1, { roles: ['guest'] }), 'private-admin'), false);
		assert.equal(await allowed(user(2), 'private-admin'), false);
		assert.equal(await allowed(user(1, {}, OTHER), 'private-admin'), false);
		await Sync.server(daemon).put('users/1', { roles: [] });
		await becomes(user(1), 'private-admin', false);
	});

	test('a rule can be limited to one application', async () => {
		await add('own.{id}', 'anyone', null, OTHER.id);
		await becomes(user(1, {}, OTHER), 'private-own.1', true);
		assert.equal(await allowed(user(1), 'private-own.1'), false);
	});

	test('one matching rule of several is enough', async () => {
		await add('many.{id}', 'owner', 'id');
		await add('many.{id}', 'role', 'admin');
		await add('many.{id}', 'sql', `{id} = 'open'`);
		await becomes(user(7), 'private-many.7', true);
		assert.equal(await allowed(user(7, { roles: ['admin'] }), 'private-many.8'), true);
		assert.equal(await allowed(user(7), 'private-many.open'), true);
		assert.equal(await allowed(user(7), 'private-many.8'), false);
	});

	test('a predicate can use every placeholder', async () => {
		await daemon.query('INSERT INTO project_members VALUES (1, 7)');
		await add('project.{id}', 'sql',
			'EXISTS (SELECT 1 FROM project_members WHERE project_id = {id}::bigint AND user_id = {user})');
		await add('all.{a}.{b_2}', 'sql', `{a} = '1' AND {b_2} = 'it''s' IS FALSE AND {user} = 7
			AND {roles} @> '{x}' AND {app} = '${APP.id}' AND {channel} LIKE 'private-all.%'`);
		await becomes(user(7), 'private-project.1', true);
		assert.equal(await allowed(user(8), 'private-project.1'), false);
		assert.equal(await allowed(user(7), 'private-project.2'), false);
		assert.equal(await allowed(user(7, { roles: ['x'] }), 'private-all.1.2'), true);
		assert.equal(await allowed(user(7), 'private-all.1.2'), false);
		await daemon.query('DELETE FROM project_members');
		assert.equal(await allowed(user(7), 'private-project.1'), false, 'it is asked each time');
	});

	test('a predicate\'s search_path starts with public', async () => {
		await daemon.query('CREATE TABLE public.users (id bigint, is_staff boolean)');
		await daemon.query('INSERT INTO public.users VALUES (7, true)');
		await add('staff', 'sql', 'EXISTS (SELECT FROM users WHERE id = {user} AND is_staff)');
		await becomes(user(7), 'private-staff', true);
		assert.equal(await allowed(user(8), 'private-staff'), false);
	});
});

describe('failing predicates', () => {
	before(async () => {
		await daemon.query('DELETE FROM channel_rules');
		await add('any.{id}', 'anyone');
		await becomes(user(1), 'private-any.1', true);
	});

	test('a channel name that does not fit the predicate\'s types is denied without a log line', async () => {
		await add('number.{id}', 'sql', '{id}::integer > 0');
		await becomes(user(1), 'private-number.1', true);
		for (const id of ['abc', '99999999999', '1,2', '-1', '1=1'])
			assert.equal(await allowed(user(1), `private-number.${id}`), false, id);
		assert.doesNotMatch(daemon.logText, /rule \d+ \(number/);
	});

	test('a predicate that writes fails, is logged, and wrote nothing', async () => {
		await daemon.query('CREATE TABLE public.written (a integer)');
		await daemon.query('CREATE SEQUENCE public.counted');
		await daemon.query(`CREATE FUNCTION public.scribble() RETURNS boolean LANGUAGE plpgsql AS
			$$ BEGIN INSERT INTO public.written VALUES (1); RETURN true; END $$`);
		await daemon.query(`CREATE FUNCTION public.free_itself() RETURNS boolean LANGUAGE plpgsql AS
			$$ BEGIN PERFORM set_config('transaction_read_only', 'off', false);
			INSERT INTO public.written VALUES (1); RETURN true; END $$`);
		await add('scribble', 'sql', 'scribble()');
		await add('free', 'sql', 'free_itself()');
		await add('count', 'sql', `nextval('counted') > 0`);
		for (const name of ['scribble', 'free', 'count'])
			assert.equal(await allowed(user(1), `private-${name}`), false, name);
		for (const name of ['scribble', 'free', 'count'])
			await waitFor(() => new RegExp(`channel rule \\d+ \\(${name}\\) failed and allows no user: cannot`)
				.test(daemon.logText), `${name} in the log`);
		assert.deepEqual(await daemon.query('SELECT * FROM public.written'), []);
		assert.equal((await daemon.query('SELECT is_called FROM public.counted'))[0].is_called, false);
	});

	test('a failing predicate does not stop the channel\'s other rules', async () => {
		await daemon.query('CREATE TABLE public.gone (a integer)');
		await add('broken.{id}', 'sql', 'EXISTS (SELECT FROM gone)');
		await add('broken.{id}', 'sql', `{id} = 'fine'`);
		await daemon.query('DROP TABLE public.gone');
		await becomes(user(1), 'private-broken.fine', true);
		assert.equal(await allowed(user(1), 'private-broken.1'), false);
		assert.equal(await allowed(user(1), 'private-any.1'), true);
	});

	test('a predicate that exceeds its time is 503', async (t) => {
		const own = await startDaemon({ sections: { sync: HASTY } }, t);
		await own.query(`INSERT INTO channel_rules (pattern, rule, argument)
			VALUES ('slow.{id}', 'sql', '(SELECT true FROM pg_sleep(60))')`);
		const ask = () => auth(Sync.user(own, 1), 'private-slow.1');
		const answer = await ask();
		refused(answer, 503, 'rule_slow');
		assert.ok(answer.headers['retry-after']);
		await waitFor(() => /the predicates of private-slow.1 took too long/.test(own.logText), 'a line in the log');
		await own.query(`DELETE FROM channel_rules WHERE pattern = 'slow.{id}'`);
		await waitFor(async () => (await ask()).status === 403, 'the rule has gone');
	});

	test('a rule that can never match is refused with the reason', async () => {
		const add = (pattern, rule, argument) => daemon.query(
			'INSERT INTO channel_rules (pattern, rule, argument) VALUES ($1, $2, $3)',
			[pattern, rule, argument]);
		for (const [pattern, rule, argument, reason] of [
			['private-admin', 'anyone', null, /"private-admin" does not match the channel private-admin.*write "admin"/],
			['private-room.{id}', 'owner', 'id', /does not match.*write "room\.\{id\}"/],
			['private-encrypted-cache-x', 'anyone', null, /write "x"/],
			['a.{id}', 'owner', null, /the rule owner needs an argument/],
			['a', 'role', null, /the rule role needs an argument/],
			['a', 'sql', null, /the rule sql needs an argument/],
			['a', 'anyone', 'x', /the rule anyone takes no argument/],
			['a', 'everyone', null, /the rule "everyone" must be anyone, owner, role or sql/],
			[null, 'anyone', null, /the rule needs a pattern/],
			['a.{id}', 'owner', 'user_id', /has no placeholder \{user_id\}/],
			['#server-to-user-1', 'anyone', null, /may hold letters/],
			['a.{id}.{id}', 'anyone', null, /has a placeholder twice/]])
			await assert.rejects(add(pattern, rule, argument), (error) =>
				reason.test(error.message) && error.code === '23514', `${pattern} ${rule}`);
	});

	test('slow predicates delay no other channel', async (t) => {
		const own = await startDaemon({ sections: { sync: { rule_timeout_ms: 60000 } } }, t);
		await own.query(`CREATE TABLE public.gate (a integer);
			INSERT INTO channel_rules (pattern, rule) VALUES ('any.{id}', 'anyone');
			INSERT INTO channel_rules (pattern, rule, argument)
			VALUES ('behind.{id}', 'sql', 'NOT EXISTS (SELECT FROM gate)')`, undefined);
		const gate = new pg.Client({ host: own.database.host, database: own.database.name,
			user: 'scopewire' });
		await gate.connect();
		t.after(() => gate.end());
		await gate.query('BEGIN; LOCK TABLE gate IN ACCESS EXCLUSIVE MODE');
		let answered = 0;
		const slow = Array.from({ length: 20 }, (_, i) => auth(Sync.user(own, 1), `private-behind.${i}`)
			.finally(() => { answered++; }));
		await waitFor(async () => await own.lockWaiters() > 0, 'one that waits');
		for (let i = 0; i < 30; i++)
			assert.equal((await auth(Sync.user(own, i + 1), `private-any.${i}`)).status, 200);
		assert.equal((await Sync.server(own).put('users/1', { name: 'x' })).status, 200);
		assert.equal(answered, 0);
		await gate.query('COMMIT');
		for (const answer of await Promise.all(slow)) assert.equal(answer.status, 200, answer.text);
	});
});

describe('patterns', () => {
	// A second opinion, without regular expressions: what stands between the literals.
	const fits = (pattern, name) => {
		const literals = pattern.split(/\{\w+\}/);
		const tries = (i, at) => {
			if (!name.startsWith(literals[i], at)) return false;
			const from = at + literals[i].length;
			if (i === literals.length - 1) return from === name.length;
			for (let to = from + 1; to <= name.length && name[to - 1] !== '.'; to++)
				if (tries(i + 1, to)) return true;
			return false;
		};
		return tries(0, 0);
	};
	const pick = (list) => list[crypto.randomInt(list.length)];
	const text = (parts, most) =>
		Array.from({ length: 1 + crypto.randomInt(most) }, () => pick(parts)).join('');

	test('generated patterns match exactly the names they describe', async () => {
		const pairs = [];
		while (pairs.length < 3000) {
			let n = 0;
			const pattern = text(['a', 'b', '.', '-', '_', '=', '@', ',', ';', '{}.', '-{}', '1'], 5)
				.replace(/\{\}/g, () => `{p${n++}}`);
			const near = pattern.replace(/\{\w+\}/g, () => text(['a', 'b', '-', '.', '1'], 3));
			pairs.push([pattern, pick([near, near, text(['a', 'b', '.', '-'], 6)])]);
		}
		const rows = await daemon.query(`SELECT p, n, n ~ channel_pattern_regex(p) AS fits
			FROM unnest($1::text[], $2::text[]) AS t(p, n)`, [pairs.map(([p]) => p), pairs.map(([, n]) => n)]);
		assert.deepEqual(rows.filter((r) => r.fits !== fits(r.p, r.n)), []);
		const open = rows.filter((r) => r.fits).length;
		assert.ok(open > 300 && open < 2700, `${open} of ${rows.length} fit`);
	});
});

describe('checks on channel_rules', () => {
	const complaint = (...rule) => add(...rule).then(() => '', (error) => error.message);

	test('patterns of channel rules', async () => {
		for (const [pattern, why] of [['', /1 to 200/], ['x'.repeat(201), /1 to 200/], ['a b', /may hold/],
			['a{', /may hold/], ['a}', /may hold/], ['{}', /may hold/], ['{1}', /may hold/], ['a*', /may hold/],
			['(a|b)', /may hold/], [`a'--`, /may hold/], ['#server-to-user-{id}', /may hold/],
			['{a}{b}', /between/], ['{a}.{a}', /twice/]])
			assert.match(await complaint(pattern, 'anyone'), why, pattern);
		assert.match(await complaint('a', 'any'), /"any" must be anyone, owner, role or sql/);
		assert.match(await complaint('a', 'anyone', 'x'), /anyone takes no argument/);
		assert.match(await complaint('a.{id}', 'owner'), /owner needs an argument/);
		assert.match(await complaint('a.{id}', 'owner', 'user'), /no placeholder \{user\}/);
		for (const roles of ['', ',', 'a,', 'a, b', ' a', 'a,,b'])
			assert.match(await complaint('a', 'role', roles), /words with a comma/, roles);
		assert.match(await complaint('a.{user}', 'sql', 'true'), /stands for something else/);
	});

	test('an invalid predicate is refused', async () => {
		const bad = { '': /1 to 2000/, [`'${'x'.repeat(2000)}' = ''`]: /1 to 2000/, 'tru': /column "tru"/,
			'1': /must be type boolean/, 'EXISTS (SELECT FROM nowhere)': /"nowhere" does not exist/,
			'true; DROP TABLE users': /no ; outside/, 'true -- x': /no -- outside/, 'true /* x': /no \/\*/,
			'$1 IS NULL': /no \$ outside/, '$$x$$ = {id}': /no \$ outside/, 'true) OR (true': /no \) without/,
			'(true': /\( without/, '{nothing} = 1': /\{nothing\} is neither/, [`'{id}' = '1'`]: /within quotes/,
			[`'a`]: /left open/, '"a': /left open/, [`E'\\'' = {id}`]: /backslash/,
			'DELETE FROM users': /syntax error/, '{id} = ': /syntax error/, '{id} = 1': /text = integer/ };
		for (const [predicate, why] of Object.entries(bad))
			assert.match(await complaint('bad.{id}', 'sql', predicate), why, predicate);
		assert.deepEqual(await daemon.query(`SELECT FROM channel_rules WHERE pattern = 'bad.{id}'`), []);
		for (const good of [`{id} = 'it''s; -- $1 {nobody} ('`, `'{1,2}'::int[] @> ARRAY[1]`, `'"' = {id}`])
			assert.equal(await complaint('good.{id}', 'sql', good), '', good);
		await daemon.query(`DELETE FROM channel_rules WHERE pattern = 'good.{id}'`);
	});

	test('an update is checked like an insert', async () => {
		await add('updated.{id}', 'sql', `{id} = '1'`);
		const update = (set) => daemon.query(
			`UPDATE channel_rules SET ${set} WHERE pattern LIKE 'updated%'`).then(() => '', (e) => e.message);
		assert.match(await update(`argument = 'nonsense'`), /nonsense/);
		assert.match(await update(`pattern = 'updated.{other}'`), /\{id\} is neither/);
		assert.equal(await update(`argument = '{id} = ''2'''`), '');
		assert.equal(await allowed(user(1), 'private-updated.2'), true);
		assert.equal(await allowed(user(1), 'private-updated.1'), false);
	});

	test('only the schema\'s owner may write', async () => {
		const { host, name } = daemon.database;
		const role = `app_${name}`;
		const owner = (text) => query(host, name, text, [], 'postgres');
		await owner(`CREATE ROLE ${role} LOGIN`);
		execFileSync(path.join(binaries(), 'psql'), ['-X', '-q', '-h', host, '-U', 'scopewire',
			'-v', `role=${role}`, '-v', 'schema=scopewire', '-f',
			fileURLToPath(new URL('../../sql/grants.sql', import.meta.url)), name], { stdio: 'pipe' });
		for (const text of [`INSERT INTO scopewire.channel_rules (pattern, rule) VALUES ('x', 'anyone')`,
			`UPDATE scopewire.channel_rules SET rule = 'anyone', argument = NULL`,
			'DELETE FROM scopewire.channel_rules', 'SELECT * FROM scopewire.channel_rules',
			`SELECT scopewire.channel_predicate_run('SELECT true', '{}', '1', '{}', '', '')`,
			`INSERT INTO scopewire.users (app, id) VALUES ('x', 1)`])
			await assert.rejects(query(host, name, text, [], role), /permission denied/, text);
		await owner(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
	});
});

describe('changes of rules', () => {
	test('insert, update, delete and truncate of rules count at once', async () => {
		const who = user(31);
		assert.equal(await allowed(who, 'private-fresh.31'), false);
		await add('fresh.{id}', 'owner', 'id');
		await becomes(who, 'private-fresh.31', true);
		await daemon.query(`UPDATE channel_rules SET pattern = 'stale.{id}' WHERE pattern = 'fresh.{id}'`);
		await becomes(who, 'private-fresh.31', false);
		await becomes(who, 'private-stale.31', true);
		await daemon.query(`DELETE FROM channel_rules WHERE pattern = 'stale.{id}'`);
		await becomes(who, 'private-stale.31', false);
		await add('fresh.{id}', 'anyone');
		await becomes(who, 'private-fresh.31', true);
		await daemon.query('TRUNCATE channel_rules');
		await becomes(who, 'private-fresh.31', false);
	});

	/** Runs what changes rules without a notification. */
	const silently = async (text) => {
		const { host, name } = daemon.database;
		await query(host, name, `SET session_replication_role = replica; SET search_path = scopewire; ${text}`,
			undefined, 'postgres');
	};

	test('verdicts are remembered until a change is received', async () => {
		const who = user(32);
		assert.equal(await allowed(who, 'private-quiet'), false);
		await silently(`INSERT INTO channel_rules (pattern, rule) VALUES ('quiet', 'anyone')`);
		assert.equal(await allowed(who, 'private-quiet'), false, 'remembered');
		assert.equal(await allowed(user(33), 'private-quiet'), true, 'another user is asked about');
		await daemon.query(`SELECT pg_notify('scopewire_rules', '33 ' || $1)`, [APP.id]);
		await daemon.query(`SELECT pg_notify('scopewire_rules', '32 another-app')`);
		assert.equal(await allowed(who, 'private-quiet'), false, 'not told of this user');
		await daemon.query(`SELECT pg_notify('scopewire_rules', '32 ' || $1)`, [APP.id]);
		await becomes(who, 'private-quiet', true);
		await silently(`DELETE FROM channel_rules`);
		assert.equal(await allowed(who, 'private-quiet'), true, 'remembered');
		await daemon.query('NOTIFY scopewire_rules');
		await becomes(who, 'private-quiet', false);
	});

	test('when a listening connection is cut, no verdict is remembered', async () => {
		const who = user(34);
		assert.equal(await allowed(who, 'private-cut'), false);
		await silently(`INSERT INTO channel_rules (pattern, rule) VALUES ('cut', 'anyone')`);
		assert.equal(await allowed(who, 'private-cut'), false, 'remembered');
		const cut = await query(daemon.database.host, daemon.database.name,
			`SELECT pg_terminate_backend(pid) AS done, application_name FROM pg_stat_activity
			 WHERE datname = current_database() AND pid <> pg_backend_pid()`, [], 'postgres');
		assert.ok(cut.length >= 3);
		const before = cut.filter((one) => one.application_name === 'scopewired').length;
		await waitFor(async () => {
			const answer = await auth(who, 'private-cut');
			assert.ok([200, 403, 503].includes(answer.status), answer.text);
			return answer.status === 200;
		}, 'the rule that was added without NOTIFY');
		await silently(`DELETE FROM channel_rules`);
		await daemon.query('NOTIFY scopewire_rules');
		// A pool whose connections are not all back yet can still answer 503.
		await waitFor(async () => (await auth(who, 'private-cut')).status === 403, 'private-cut closed');
		await waitFor(async () => (await query(daemon.database.host, daemon.database.name, `SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'scopewired'`, [], 'postgres'))
			.length >= before, 'all connections are back');
	});

	test('a predicate\'s verdict is kept for rule_cache_ms', async (t) => {
		const own = await startDaemon({
			sections: { sync: { rule_cache_ms: 3600000, rule_connections: 1 } } }, t);
		const ask = (id) => auth(Sync.user(own, id), 'private-kept').then((a) => a.status);
		await own.query('CREATE TABLE public.open (user_id bigint)');
		await own.query('INSERT INTO public.open VALUES (1)');
		assert.equal(await ask(1), 403);
		await own.query(`INSERT INTO channel_rules (pattern, rule, argument)
			VALUES ('kept', 'sql', 'EXISTS (SELECT FROM open WHERE user_id = {user})')`);
		await waitFor(async () => (await ask(1)) === 200, 'the rule is heard of');
		assert.equal(await ask(1), 200);
		await own.query('DELETE FROM public.open');
		assert.equal(await ask(1), 200, 'kept');
		assert.equal(await ask(2), 403);
		await own.query('NOTIFY scopewire_rules');
		await waitFor(async () => (await ask(1)) === 403, 'asked anew');
	});
});

describe('one implementation', () => {
	test('a subscription that the daemon authorized ends by revoke', async () => {
		await daemon.query('TRUNCATE channel_rules');
		await add('joined.{id}', 'anyone');
		await becomes(user(4), 'private-joined.1', true);
		const [mine, theirs] = [await daemon.connect(), await daemon.connect()];
		for (const [wire, id] of [[mine, 4], [theirs, 5]]) {
			const { json } = await auth(user(id), 'private-joined.1', { socket_id: wire.socketId });
			wire.send({ event: 'pusher:subscribe', data: { channel: 'private-joined.1', ...json } });
			await wire.next({ event: 'pusher_internal:subscription_succeeded', channel: 'private-joined.1' });
		}
		assert.equal((await daemon.api().post('/users/4/revoke', { pattern: '*joined.1' })).status, 200);
		assert.equal((await mine.next({ event: 'pusher:subscription_error' })).data.status, 403);
		await theirs.ping();
		assert.ok(!theirs.frames.some((f) => f.event === 'pusher:subscription_error'));
		for (const wire of [mine, theirs]) wire.terminate();
	});

	test('/broadcasting/auth and the sync API agree for every user and channel', async () => {
		await daemon.query('TRUNCATE channel_rules');
		await daemon.query('TRUNCATE project_members');
		const rules = [['App.Models.User.{id}', 'owner', 'id'], ['admin', 'role', 'admin'],
			['project.{id}', 'role', 'admin'], ['news.{year}', 'anyone'], ['timer.{a}.{b}', 'owner', 'b'],
			['only.{id}', 'anyone', null, OTHER.id], ['presence-project.{id}', 'role', 'staff,admin'],
			['project.{id}', 'sql',
				'EXISTS (SELECT FROM project_members WHERE project_id = {id}::bigint AND user_id = {user})'],
			['broken.{id}', 'sql', '1 / ({id}::integer - 1) > 0'], ['staff', 'sql', `'staff' = ANY ({roles})`]];
		for (const rule of rules) await add(...rule);
		for (const [project, member] of [[1, 1], [1, 2], [2, 3]])
			await daemon.query('INSERT INTO project_members VALUES ($1, $2)', [project, member]);
		await Sync.server(daemon).put('users/3', { roles: ['staff'] });
		await becomes(user(1), 'private-news.2026', true);
		await becomes(user(3), 'private-staff', true);
		const names = ['App.Models.User.1', 'App.Models.User.2', 'admin', 'project.1', 'project.2',
			'project.x', 'news.1', 'timer.1.2', 'timer.2.1', 'only.1', 'presence-project.1', 'broken.1',
			'broken.3', 'staff', 'nobody'];
		const kinds = ['private-', 'presence-', 'private-encrypted-', 'private-cache-',
			'presence-cache-', 'private-encrypted-cache-'];
		const seen = { true: 0, false: 0 };
		for (const app of [APP, OTHER])
			for (const id of [1, 2, 3])
				for (const roles of [[], ['admin']])
					for (const name of names) await Promise.all(kinds.map(async (kind) => {
						const channel = kind + name;
						const answer = await auth(user(id, { roles }, app), channel);
						// 500: allowed, but this application has no master key to go on with.
						const one = [200, 500].includes(answer.status);
						const events = await user(id, { roles }, app).get('events', { channels: channel });
						assert.ok([200, 403].includes(events.status), events.text);
						const what = `${app.id} ${id} ${roles} ${channel}: ${answer.text} ${events.text}`;
						assert.equal(one, events.status === 200, what);
						const [{ allows }] = await daemon.query('SELECT channel_allows($1, $2, $3) AS allows',
							[app.id, { id, roles }, channel]);
						assert.equal(one, allows, what);
						seen[one]++;
					}));
		assert.ok(seen.true > 100 && seen.false > 100, JSON.stringify(seen));
	});
});

describe('predicates within the sync API', () => {
	let hasty;
	const events = (who, ...channels) => who.get('events', { channels: channels.join() });
	const rule = (of, pattern, predicate) => of.query(`INSERT INTO channel_rules (pattern, rule, argument) VALUES ($1, 'sql', $2)`,
		[pattern, predicate]);
	before(async () => {
		await daemon.query('TRUNCATE channel_rules');
		hasty = await startDaemon({ sections: { sync: HASTY } });
		for (const of of [daemon, hasty]) await rule(of, 'even.{n}', '{n}::integer % 2 = 0');
		await rule(hasty, 'slow.{n}', '(SELECT true FROM pg_sleep(60))');
		await becomes(user(1), 'private-even.2', true);
	});
	after(() => hasty?.stop());

	test('every channel of a call is checked, and all must be allowed', async () => {
		const even = Array.from({ length: 20 }, (_, i) => `private-even.${2 * i}`);
		const answer = await events(user(1), ...even, 'private-even.3');
		assert.equal(answer.status, 403, answer.text);
		assert.equal(answer.json.error.code, 'channel_forbidden');
		assert.match(answer.json.error.message, /private-even\.3/);
		const most = Array.from({ length: 100 }, (_, i) => `private-even.${2 * i}`);
		assert.equal((await events(user(1), ...most)).status, 200);
	});

	test('a slow predicate is 503, and the call is undone', async () => {
		const who = Sync.user(hasty, 1);
		const answer = await events(who, 'private-even.2', 'private-slow.1');
		assert.equal(answer.status, 503, answer.text);
		assert.equal(answer.json.error.code, 'rule_slow');
		await rule(hasty, 'client.{n}', '(SELECT true FROM pg_sleep(60))');
		await waitFor(async () => (await who.post('activities', { type: 'once',
			metadata: { client_id: 1 } })).status === 503, 'the rule is heard of');
		assert.deepEqual(await hasty.query(`SELECT FROM activities WHERE type = 'once'`), []);
		await hasty.query(`UPDATE channel_rules SET argument = '{n} = ''1''' WHERE pattern = 'client.{n}'`);
		await waitFor(async () => (await who.post('activities', { type: 'once',
			metadata: { client_id: 1 } })).status === 201, 'the quicker rule');
		assert.equal((await hasty.query(`SELECT FROM activities WHERE type = 'once'`)).length, 1);
	});

	test('a slow predicate is 503 in lists and streams', async () => {
		const who = Sync.user(hasty, 1);
		assert.equal((await Sync.server(hasty).post('changes', { client_id: 'c', user_id: 9, mutations: [
			{ mutation_id: 'slow', op: 'upsert', resource_type: 'slow', resource_id: '1', expected_version: 0, data: {} }] })).json.results[0].status, 200);
		for (const call of [() => who.get('changes', { types: 'slow' }),
			() => who.get('versions', { types: 'slow' }),
			() => who.call('GET', 'events', { query: { channels: 'private-slow.1' },
				headers: { Accept: 'application/x-ndjson' } })]) {
			const answer = await call();
			assert.equal(answer.status, 503, answer.text);
			assert.equal(answer.json.error.code, 'rule_slow');
		}
	});
});

describe('predicates within lists', () => {
	// Predicates have one connection.
	const PREDICATE = `{id} LIKE 'mine%' AND NOT EXISTS (SELECT FROM gate WHERE shut)`;
	const NDJSON = { Accept: 'application/x-ndjson' };
	let own, mine, server;

	before(async () => {
		own = await startDaemon({ sections: { sync: { rule_timeout_ms: 60000,
			rule_connections: 1, user_activity_types: 'once' } } });
		[mine, server] = [Sync.user(own, 1), Sync.server(own)];
		await own.query(`CREATE TABLE public.gate (shut boolean);
			INSERT INTO channel_rules (pattern, rule, argument, can_write) VALUES
			('task.{id}', 'sql', $$${PREDICATE}$$, true),
			('client.{id}', 'sql', $$${PREDICATE}$$, false),
			('log.{id}', 'sql', $$${PREDICATE}$$, false)`, undefined);
		const mutations = Array.from({ length: 300 }, (_, i) => ({ mutation_id: `m${i}`,
			op: 'upsert', expected_version: 0, resource_type: 'task', resource_id: `${i % 100 ? 'other' : 'mine'}${i}`, data: {} }));
		for (let i = 0; i < 300; i += 100)
			for (const one of (await server.post('changes', { client_id: 'c', user_id: 9,
				mutations: mutations.slice(i, i + 100) })).json.results)
				assert.equal(one.status, 200, JSON.stringify(one));
		for (let i = 0; i < 150; i++)
			assert.equal((await server.post('activities', { type: 'once', subject_type: 'x',
				metadata: { client_id: `${i % 50 ? 'other' : 'mine'}${i}` } })).status, 201);
		await own.query(`SELECT broadcast('private-log.mine', 'E', json_build_object('n', n))
			FROM generate_series(1, 1200) n`);
		await waitFor(async () => (await own.query('SELECT FROM realtime_events_pending LIMIT 1'))
			.length === 0, 'all are sequenced');
	});
	after(() => own?.stop());

	/** All pages of a list. */
	async function all(who, path, query, pick, member) {
		const found = [];
		for (let next = {}; next; ) {
			const answer = await who.get(path, { ...query, ...next });
			assert.equal(answer.status, 200, answer.text);
			found.push(...answer.json[pick]);
			const at = answer.json[member];
			next = at && (member === 'since' ? answer.json.has_more : true)
				? { [member === 'since' ? 'since' : 'cursor']: at } : null;
		}
		return found;
	}
	const lists = {
		changes: (who, limit = 50) => all(who, 'changes', { types: 'task', limit }, 'changes', 'since'),
		versions: (who, limit = 50) => all(who, 'versions', { types: 'task', limit }, 'versions', 'next_cursor'),
		activities: (who, limit = 50) => all(who, 'activities',
			{ feed: 'type', type: 'once', limit }, 'activities', 'next_cursor'),
	};

	test('lists hold the rows that predicates allow, whatever the size of the page', async () => {
		for (const limit of [1, 50, 200]) {
			for (const list of ['changes', 'versions'])
				assert.deepEqual((await lists[list](mine, limit)).map((r) => r.resource_id).sort(),
					['mine0', 'mine100', 'mine200'], `${list} ${limit}`);
			assert.equal((await lists.activities(mine, limit)).length, 3, `activities ${limit}`);
		}
		const unread = await mine.get('activities', { feed: 'type', type: 'once', reader_id: 1 });
		assert.equal(unread.json.unread, 3, unread.text);
	});

	test('all predicates run on the connection that they have', async (t) => {
		const gate = new pg.Client({ host: own.database.host, database: own.database.name,
			user: 'scopewire' });
		await gate.connect();
		t.after(() => gate.end());
		const calls = { ...lists, locks: (who) => all(who, 'locks', { user_id: 2 }, 'locks', 'next_cursor'),
			events: (who) => who.call('GET', 'events', { query: { channels: 'private-log.mine' }, headers: NDJSON }),
			may: () => server.post('may', { user_id: 1, channels: ['private-log.mine'] }) };
		// another user's: the own ones are listed without a look at the rules
		assert.equal((await server.post('locks', { resource_type: 'task', resource_id: 'mine0', user_id: 2 })).status, 200);
		let pid;
		for (const [name, call] of Object.entries(calls)) {
			await gate.query('BEGIN; LOCK TABLE gate IN ACCESS EXCLUSIVE MODE');
			const answer = call(mine);
			const [waits] = await waitFor(async () => {
				const rows = await own.query(`SELECT pid FROM pg_stat_activity
					WHERE wait_event_type = 'Lock' AND datname = current_database()`);
				return rows.length && rows;
			}, `${name} waits`);
			pid ??= waits.pid;
			assert.equal(waits.pid, pid, name);
			await gate.query('COMMIT');
			await answer;
		}
	});

	test('users that a predicate admits read events as lines, page by page', async () => {
		const read = (who) => who.call('GET', 'events',
			{ query: { channels: 'private-log.mine' }, headers: NDJSON });
		const answer = await read(mine);
		assert.equal(answer.status, 200, answer.text);
		assert.equal(answer.headers['content-type'], 'application/x-ndjson');
		assert.equal(answer.text.trim().split('\n').length, 1200);
		assert.equal((await mine.call('GET', 'events', { query: { channels: 'private-log.other' },
			headers: NDJSON })).status, 403);
	});
});

describe('sql/examples/portal_rules.sql', () => {
	before(async () => {
		await daemon.query('TRUNCATE channel_rules');
		await daemon.query(`
			CREATE TABLE public.client_user (client_id bigint, user_id bigint);
			CREATE TABLE public.project_user (project_id bigint, user_id bigint);
			CREATE TABLE public.projects (id bigint, client_id bigint);
			CREATE TABLE public.invoices (id bigint, client_id bigint);
			CREATE TABLE public.documents (id bigint, project_id bigint);
			CREATE TABLE public.timesheets (id bigint, user_id bigint);
			CREATE TABLE public.workflows (id bigint, project_id bigint);
			INSERT INTO public.client_user VALUES (42, 1);
			INSERT INTO public.project_user VALUES (5, 2);
			INSERT INTO public.projects VALUES (5, 42), (6, 43);
			INSERT INTO public.invoices VALUES (9, 42), (10, 43);
			INSERT INTO public.documents VALUES (3, 5), (4, 6);
			INSERT INTO public.timesheets VALUES (8, 2);
			INSERT INTO public.workflows VALUES (11, 5)`, undefined);
		const { host, name } = daemon.database;
		// Twice: it may be run again.
		for (const more of [[], ['-v', 'schema=scopewire']])
			execFileSync(path.join(binaries(), 'psql'), ['-X', '-q', '-h', host, '-U', 'scopewire',
				...more, '-f', PORTAL_RULES, name], { stdio: 'pipe' });
		await becomes(user(1), 'private-App.Models.User.1', true);
	});

	test('every channel of the example is open to its users and to no other', async () => {
		const open = {
			1: ['private-App.Models.User.1', 'private-client.42', 'presence-client.42',
				'presence-presence-client.42', 'private-project.5', 'presence-project.5',
				'presence-presence-project.5', 'private-invoice.9', 'private-timer.1'],
			2: ['private-App.Models.User.2', 'private-project.5', 'presence-project.5',
				'presence-presence-project.5', 'private-document.3', 'presence-document.3',
				'presence-presence-document.3', 'private-timer.2', 'private-timesheet.8',
				'private-workflow.11'],
		};
		const forAll = ['presence-online', 'presence-presence.online', 'presence-presence-online'];
		const closed = ['private-client.43', 'private-project.6', 'private-invoice.10',
			'private-document.4', 'private-admin', 'private-client.x', 'private-client.1.2'];
		const all = [...new Set([...open[1], ...open[2], ...forAll, ...closed])];
		for (const id of [1, 2])
			for (const channel of all)
				assert.equal(await allowed(user(id), channel),
					open[id].includes(channel) || forAll.includes(channel), `${id} ${channel}`);
		const admin = user(3, { roles: ['admin'] });
		for (const channel of all)
			assert.equal(await allowed(admin, channel),
				!/User\.[12]$|client\.1\.2/.test(channel), `admin ${channel}`);
		const manager = user(4, { roles: ['manager'] });
		for (const channel of ['private-timer.1', 'private-timesheet.8', 'private-workflow.11'])
			assert.equal(await allowed(manager, channel), true, channel);
		assert.equal(await allowed(manager, 'private-client.42'), false);
	});
});
