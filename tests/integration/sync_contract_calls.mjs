// SPDX-License-Identifier: MIT
// The calls that provoke what docs/openapi.yaml has for each endpoint.  A scenario gets run(call),
// which checks status and schema and gives the answer's body, and what prepare() made.

import { Sync } from '../lib/harness.mjs';

const ada = { id: 7, name: 'Ada', roles: [] };

/** Before the examples run: what they presume. */
export async function prepare(daemon) {
	await Sync.server(daemon).put('users/7', { name: 'Ada' });
	const users = new Set(['authorizeChannel', 'authorizeUser']);
	await daemon.query(`INSERT INTO channel_rules(pattern, rule, argument, can_write)
		VALUES ('note.{id}', 'anyone', NULL, true), ('presence.online', 'role', 'staff', false)`);
	return { exampleCaller: (operation) => (users.has(operation) ? ada : 'server'), beforeExample };

	/** User 7 has the lock of the examples, and user 8 requests it. */
	async function beforeExample(path) {
		if (!/locks\/(request|grant|refuse)$/.test(path)) return;
		const lock = { resource_type: 'invoice', resource_id: 8 };
		await Sync.server(daemon).post('locks/steal', { ...lock, user_id: 7 });
		await Sync.server(daemon).post('locks/request', { ...lock, user_id: 8 });
	}
}


const bad = { status: 400 };
const forbidden = { status: 403 };

export const calls = {
	async activities(run, context, daemon) {
		const list = (query, more) => run({ operation: 'listActivities', query, ...more });
		const add = (body, more) => run({ operation: 'addActivity', body, status: 201, ...more });
		const { activity } = await add({ type: 'paid', metadata: { client_id: 5 }, user_id: 7 });
		await list({ feed: 'client', client_id: 5, reader_id: 7 });
		await list({ feed: 'user' }, { ...bad, code: 'missing_field' });
		await list({ feed: 'all' }, { ...bad, code: 'invalid_value' });
		await list({ cursor: 'x' }, { ...bad, code: 'invalid_cursor' });
		await list({}, { as: ada, ...forbidden, code: 'channel_forbidden' });
		await list({ feed: 'user', user_id: 7, reader_id: 8 }, { as: ada, ...forbidden, code: 'forbidden' });
		await add({}, { ...bad, code: 'missing_field' });
		const bulk = (body, more) => run({ operation: 'importActivities', body, ...more });
		await bulk({}, { ...bad, code: 'missing_field' });
		await bulk({ activities: [{ type: 'x' }] }, { as: ada, ...forbidden, code: 'forbidden' });
		const remove = (body, more) => run({ operation: 'deleteActivities', body, ...more });
		await remove({ id: 999999 });
		await remove({}, { ...bad, code: 'missing_field' });
		await remove({ id: 1 }, { as: ada, ...forbidden, code: 'forbidden' });
		await add({ type: 'x', metadata: { client_id: 5 } },
			{ as: ada, ...forbidden, code: 'channel_forbidden' });
		await add({ type: 'x', metadata: { text: 'x'.repeat(20000) } },
			{ status: 413, code: 'too_large' });
		const read = (body, more) => run({ operation: 'readActivities', body, ...more });
		await read({ reader_id: 7, up_to: activity.id });
		await read({ feed: 'global' }, { ...bad, code: 'missing_field' });
		await read({}, { as: ada, ...forbidden, code: 'channel_forbidden' });
		await read({ reader_id: 7, up_to: 999999 }, { status: 404, code: 'unknown_activity' });
		await daemon.query(`INSERT INTO activity_reads(app, user_id, feed, position)
			SELECT '${daemon.app.id}', 70, 'made up ' || n, 0 FROM generate_series(1, 1000) n`);
		await read({ reader_id: 70 }, { status: 409, code: 'too_many_feeds' });
	},
	async authorization(run) {
		const ask = (channel, more) => run({ operation: 'authorizeChannel', as: ada,
			body: { socket_id: '1.2', channel_name: channel }, ...more });
		const { channel_data: member } = await ask('presence-note.1');
		if (JSON.parse(member).user_id !== '7') throw new Error(member);
		await run({ operation: 'mayJoin', body: { user_id: 7 }, ...bad, code: 'missing_field' });
		await run({ operation: 'mayJoin', body: { user_id: 7, channels: ['x'] }, as: ada, ...forbidden,
			code: 'forbidden' });
		await ask('private-secret.1', { ...forbidden, code: 'channel_forbidden' });
		await ask('news', { ...forbidden, code: 'not_guarded' });
		await ask('private-note.1', { as: 'server', ...forbidden, code: 'forbidden' });
		await ask('private-encrypted-note.1', { status: 500, code: 'no_master_key' });
		await ask('a b', { ...bad, code: 'invalid_value' });
		await run({ operation: 'authorizeUser', as: ada, body: {}, ...bad, code: 'missing_field' });
		await run({ operation: 'authorizeUser', as: 'server', body: { socket_id: '1.2' }, ...forbidden,
			code: 'forbidden' });
		const expired = { ...ada, exp: 1 };
		for (const [operation, body] of [['authorizeChannel', { socket_id: '1.2',
			channel_name: 'private-note.1' }], ['authorizeUser', { socket_id: '1.2' }]]) {
			await run({ operation, body, as: expired, status: 401, code: 'token_expired' });
			await run({ operation, body, as: { ...ada, aud: 'x' }, status: 401, code: 'bad_token' });
			await run({ operation, body, anonymous: true, status: 401, code: 'unauthorized' });
		}
	},
	async data(run) {
		const post = (mutation, more) => run({ operation: 'postChanges', body: { client_id: 'c',
			mutations: [{ mutation_id: 'x1', resource_type: 'note', resource_id: 1, op: 'upsert',
				data: {}, expected_version: 0, ...mutation }] }, ...more });
		const is = ({ results: [result] }, status, code) => {
			if (result.status !== status || result.error?.code !== code)
				throw new Error(`${status} ${code} wanted: ${JSON.stringify(result)}`);
		};
		is(await post({}), 200);
		is(await post({ mutation_id: 'x2' }), 409, 'conflict');
		is(await post({ mutation_id: 'x3', resource_type: 'secret' }, { as: ada }), 403, 'channel_forbidden');
		is(await post({ mutation_id: 'x4', op: 'burn' }), 400, 'invalid_value');
		is(await post({ op: 'delete', data: undefined, expected_version: 1 }), 400, 'mutation_reused');
		await run({ operation: 'postChanges', body: { client_id: 'c' }, ...bad, code: 'missing_field' });
		await run({ operation: 'postChanges', as: ada, body: { client_id: 'c', user_id: 8,
			mutations: [{}] }, ...forbidden, code: 'forbidden' });
		const list = (query, more) => run({ operation: 'listChanges', query, ...more });
		const { since } = await list({ resources: 'note:1' }, { as: ada });
		await list({ resources: 'note:1', since });
		await list({ since: 'x' }, { ...bad, code: 'invalid_since' });
		await list({ resources: 'note' }, { ...bad, code: 'invalid_value' });
		await list({ resources: 'secret:1' }, { as: ada, ...forbidden, code: 'channel_forbidden' });
		const versions = (query, more) => run({ operation: 'listVersions', query, ...more });
		await versions({ types: 'note' });
		await versions({}, { ...bad, code: 'missing_field' });
		await versions({ types: 'note', cursor: 'x' }, { ...bad, code: 'invalid_cursor' });
		await versions({ resources: 'secret:1' }, { as: ada, ...forbidden, code: 'channel_forbidden' });
	},
	async history(run, context, daemon) {
		await daemon.api().trigger('news', 'Told', { n: 1 });
		const { events, position } = await run({ operation: 'listEvents', query: { channels: 'news' } });
		if (events.length !== 1 || !position) throw new Error('the event is not in the log');
		await run({ operation: 'listEvents', as: ada, query: { channels: 'news', since: position } });
		await run({ operation: 'listEvents', as: ada, status: 400, code: 'missing_field' });
		await run({ operation: 'listEvents', as: ada, query: { channels: 'private-x.1' },
			status: 403, code: 'channel_forbidden' });
		await run({ operation: 'listEvents', as: ada, query: { channels: 'news', text: 'x' },
			status: 403, code: 'forbidden' });
		await run({ operation: 'listEvents', query: { cursor: 'x' }, status: 400,
			code: 'invalid_cursor' });
		await run({ operation: 'listEvents', query: { since: 'other:1' }, status: 409,
			code: 'other_epoch' });
		await daemon.query('UPDATE log_meta SET horizon = 1');
		await run({ operation: 'listEvents', query: { since: `${position.split(':')[0]}:0` },
			status: 410, code: 'expired' });
		await daemon.query('UPDATE log_meta SET horizon = 0');
	},
	async locks(run) {
		const at = { resource_type: 'note', resource_id: 1 };
		const acquire = (body, more) => run({ operation: 'acquireLock', body: { ...at, ...body }, ...more });
		const release = (body, more) => run({ operation: 'releaseLock', body: { ...at, ...body }, ...more });
		const { lock } = await acquire({ user_id: 7 });
		await acquire({}, { as: ada });
		await acquire({ user_id: 8 }, { status: 409, code: 'locked' });
		await acquire({ user_id: 7, token: lock.token + 1000 }, { status: 409, code: 'lock_lost' });
		await acquire({ user_id: 7, ttl: 0 }, { ...bad, code: 'invalid_value' });
		await acquire({}, { ...bad, code: 'missing_field' });
		await acquire({ resource_type: 'secret' }, { as: ada, ...forbidden, code: 'channel_forbidden' });
		await run({ operation: 'listLocks', query: at });
		await run({ operation: 'listLocks', query: { user_id: 7, limit: 1 }, as: ada });
		await run({ operation: 'listLocks', query: { cursor: 'x' }, ...bad, code: 'invalid_cursor' });
		await run({ operation: 'listLocks', query: { ...at, resource_type: 'secret' }, as: ada,
			...forbidden, code: 'channel_forbidden' });
		await release({ user_id: 8 }, { status: 409, code: 'locked' });
		await release({ user_id: 7, token: 1000000 }, { status: 409, code: 'lock_lost' });
		await release({}, { ...bad, code: 'missing_field' });
		await release({ force: true }, { as: ada, ...forbidden, code: 'forbidden' });
		await release({ user_id: 7, token: lock.token });
	},
	async lock_requests(run) {
		const at = { resource_type: 'note', resource_id: 2, field: 'title' };
		const call = (operation) => (body, more) => run({ operation, body: { ...at, ...body }, ...more });
		const [ask, grant, refuse, steal] = ['requestLock', 'grantLock', 'refuseLock', 'stealLock'].map(call);
		await ask({ user_id: 8 }, { status: 409, code: 'not_locked' });
		await steal({ user_id: 7 });
		await steal({}, { ...bad, code: 'missing_field' });
		await steal({}, { as: ada, ...forbidden, code: 'forbidden' });
		await ask({ user_id: 8 });
		await ask({ user_id: 8, wait: 0 }, { ...bad, code: 'invalid_value' });
		await ask({ user_id: 8 }, { as: ada, ...forbidden, code: 'forbidden' });
		for (const answer of [grant, refuse]) {
			await answer({ to: 9 }, { as: ada, status: 404, code: 'unknown_request' });
			await answer({ user_id: 9, to: 8 }, { status: 409, code: 'lock_lost' });
			await answer({}, { as: ada, ...bad, code: 'missing_field' });
			await answer({ user_id: 8, to: 8 }, { as: ada, ...forbidden, code: 'forbidden' });
		}
		await refuse({ to: 8, reason: 'Almost done' }, { as: ada });
		await ask({ user_id: 8 });
		await grant({ to: 8 }, { as: ada });
	},
	async notifications(run, context, daemon) {
		const send = (body, more) => run({ operation: 'sendNotification', body: { to: 7, title: 'Due',
			...body }, status: 201, ...more });
		const { notifications: [{ id }] } = await send({});
		await send({ to: 'role:nobody', allow_empty: true }, { status: 200 });
		await send({ to: 'role:nobody' }, { status: 404, code: 'unknown_recipient' });
		await send({ title: undefined }, { ...bad, code: 'missing_field' });
		await send({ to: Array.from({ length: 1001 }, (_, i) => i + 1) },
			{ ...bad, code: 'too_many_recipients' });
		await send({ data: { text: 'x'.repeat(20000) } }, { status: 413, code: 'too_large' });
		await send({}, { as: ada, ...forbidden, code: 'forbidden' });
		const list = (query, more) => run({ operation: 'listNotifications', query, ...more });
		await list({ unread: true }, { as: ada });
		await list({}, { ...bad, code: 'missing_field' });
		await list({ user_id: 7, cursor: 'x' }, { ...bad, code: 'invalid_cursor' });
		await list({ user_id: 8 }, { as: ada, ...forbidden, code: 'forbidden' });
		const read = (body, more) => run({ operation: 'readNotifications', body, ...more });
		await read({ id }, { as: ada });
		await read({ user_id: 7, ids: [id] });
		await read({ user_id: 7 }, { ...bad, code: 'missing_field' });
		await read({ user_id: 8, all: true }, { as: ada, ...forbidden, code: 'forbidden' });
		await read({ user_id: 8, id }, { status: 404, code: 'unknown_notification' });
		for (const operation of ['unreadNotifications', 'deleteNotifications']) {
			const change = (body, more) => run({ operation, body, ...more });
			await change({ user_id: 7 }, { ...bad, code: 'missing_field' });
			await change({ user_id: 8, all: true }, { as: ada, ...forbidden, code: 'forbidden' });
			await change({ user_id: 8, id }, { status: 404, code: 'unknown_notification' });
			await change({ id }, { as: ada });
		}
		await run({ operation: 'countNotifications', ...bad, code: 'missing_field' });
		await run({ operation: 'countNotifications', query: { user_ids: 'x' }, ...bad, code: 'invalid_value' });
		await run({ operation: 'countNotifications', query: { user_ids: 7 }, as: ada, ...forbidden,
			code: 'forbidden' });
	},
	async presence(run) {
		const staff = { ...ada, roles: ['staff'] };
		await run({ operation: 'heartbeat', body: { status: 'away' }, as: ada });
		await run({ operation: 'heartbeat', body: {}, ...bad, code: 'missing_field' });
		await run({ operation: 'heartbeat', body: { user_id: 7, wait: false }, status: 202 });
		await run({ operation: 'heartbeat', body: { user_id: 8 }, as: ada, ...forbidden, code: 'forbidden' });
		const { users } = await run({ operation: 'listOnlineUsers', as: staff });
		if (!users.some((user) => user.user_id === 7)) throw new Error('Ada is not there');
		await run({ operation: 'listOnlineUsers', query: { status: 'x' }, ...bad, code: 'invalid_value' });
		await run({ operation: 'listOnlineUsers', query: { cursor: 'x' }, ...bad, code: 'invalid_cursor' });
		await run({ operation: 'listOnlineUsers', as: ada, ...forbidden, code: 'channel_forbidden' });
	},
	async rules(run) {
		const one = { pattern: 'order.{id}', rule: 'owner', argument: 'id' };
		const { rule } = await run({ operation: 'putRule', body: one });
		await run({ operation: 'putRule', body: { ...one, argument: 'user' }, ...bad, code: 'invalid_value' });
		await run({ operation: 'putRule', as: ada, body: one, ...forbidden, code: 'forbidden' });
		const { rules } = await run({ operation: 'listRules', query: { limit: 200 } });
		if (!rules.some((r) => r.id === rule.id)) throw new Error('the rule is not listed');
		await run({ operation: 'listRules', query: { cursor: 'x' }, ...bad, code: 'invalid_cursor' });
		await run({ operation: 'listRules', as: ada, ...forbidden, code: 'forbidden' });
		await run({ operation: 'deleteRule', path: { id: rule.id } });
		await run({ operation: 'deleteRule', path: { id: 'x' }, ...bad, code: 'invalid_value' });
		await run({ operation: 'deleteRule', as: ada, ...forbidden, code: 'forbidden' });
	},
	async users(run) {
		await run({ operation: 'putUser', body: { name: 'Ada' } });
		await run({ operation: 'getUser', as: ada });
		await run({ operation: 'getUser', path: { id: 8 }, as: ada, status: 403, code: 'forbidden' });
		await run({ operation: 'getUser', path: { id: 99 }, status: 404, code: 'unknown_user' });
		await run({ operation: 'getUser', path: { id: 0 }, status: 400, code: 'invalid_value' });
		await run({ operation: 'putUser', body: { nam: '' }, status: 400, code: 'unknown_field' });
		await run({ operation: 'putUser', body: '{', status: 400, code: 'invalid_json' });
		await run({ operation: 'putUser', as: ada, body: {}, status: 403, code: 'forbidden' });
		await run({ operation: 'putUsers', body: { users: [{ id: 70, name: 'Bulk', roles: ['x'] }] } });
		await run({ operation: 'putUsers', body: { users: [{ id: 0 }] }, ...bad, code: 'invalid_value' });
		await run({ operation: 'putUsers', as: ada, body: { users: [] }, ...forbidden, code: 'forbidden' });
		const { users } = await run({ operation: 'listUsers', query: { role: 'x', limit: 1 } });
		if (users[0]?.id !== 70) throw new Error('the user is not listed');
		await run({ operation: 'listUsers', query: { cursor: 'x' }, ...bad, code: 'invalid_cursor' });
		await run({ operation: 'listUsers', query: { ids: 'x' }, ...bad, code: 'invalid_value' });
		await run({ operation: 'listUsers', as: ada, ...forbidden, code: 'forbidden' });
		await run({ operation: 'deleteUser', path: { id: 70 } });
		await run({ operation: 'deleteUser', path: { id: 'x' }, ...bad, code: 'invalid_value' });
		await run({ operation: 'deleteUser', as: ada, ...forbidden, code: 'forbidden' });
	},
	async viewing(run, context, daemon) {
		const at = { resource_type: 'note', resource_id: 1 };
		const secret = { resource_type: 'secret', resource_id: 1 };
		const start = (body, more) => run({ operation: 'startViewing', body: { ...at, ...body }, ...more });
		const wire = await daemon.connect();
		await start({ socket_id: wire.socketId }, { as: ada, ...forbidden, code: 'socket_forbidden' });
		await run({ operation: 'authorizeUser', as: ada, body: { socket_id: wire.socketId } });
		await start({ mode: 'editing', socket_id: wire.socketId }, { as: ada });
		await start({ socket_id: '123.456' }, { as: ada, ...bad, code: 'unknown_socket' });
		await start({}, { ...bad, code: 'missing_field' });
		await start({ mode: 'x', user_id: 7 }, { ...bad, code: 'invalid_value' });
		await start(secret, { as: ada, ...forbidden, code: 'channel_forbidden' });
		const { viewers } = await run({ operation: 'listViewers', query: at, as: ada });
		if (viewers[0]?.mode !== 'editing') throw new Error('Ada is not there');
		await run({ operation: 'listViewers', as: ada, ...bad, code: 'missing_field' });
		await run({ operation: 'listViewers' });
		await run({ operation: 'listViewers', query: { user_id: 7 }, as: ada });
		await run({ operation: 'listViewers', query: { resources: 'note:1,secret:1' }, as: ada });
		await run({ operation: 'listViewers', query: secret, as: ada, ...forbidden,
			code: 'channel_forbidden' });
		const stop = (body, more) => run({ operation: 'stopViewing', body: { ...at, ...body }, ...more });
		await stop({ user_id: 8 }, { as: ada, ...forbidden, code: 'forbidden' });
		await stop({ user_id: 7, socket_id: 'x' }, { ...bad, code: 'invalid_value' });
		await stop({}, { as: ada });
		await wire.close();
	},
};
