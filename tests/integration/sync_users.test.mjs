// SPDX-License-Identifier: MIT
// Users: in bulk, as a list, from SQL, and deleted with all that is stored about them.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, Sync, failed, ok, startDaemon, waitFor, withoutEvent } from '../lib/harness.mjs';

const OTHER = { id: 'other', key: 'other-key', secret: 'other-secret' };

let daemon, server;
before(async () => {
	daemon = await startDaemon({ apps: [APP, OTHER] });
	server = Sync.server(daemon);
});
after(() => daemon?.stop());

const names = async (query) => (ok(await server.get('users', query))).users.map((u) => [u.id, u.name]);

describe('users in bulk', () => {
	test('up to 1,000 are stored in one call; absent fields keep their values', async () => {
		ok(await server.put('users/1', { name: 'Ada', avatar: '/ada.png', roles: ['admin'] }));
		assert.deepEqual(ok(await server.put('users', { users: [{ id: 2, name: 'Grace', roles: [] },
			{ id: 1, name: 'Ada Lovelace' }, { id: 3, name: null, roles: null }] })), { stored: 3 });
		const { updated_at: at, ...ada } = (ok(await server.get('users/1'))).user;
		assert.ok(at);
		assert.deepEqual(ada, { id: 1, name: 'Ada Lovelace', avatar: '/ada.png', roles: ['admin'] });
		const many = Array.from({ length: 1000 }, (_, n) => ({ id: 10000 + n, name: `user ${n}`, roles: ['many'] }));
		assert.deepEqual(ok(await server.post('users', { users: many })), { stored: 1000 });
		failed(await server.put('users', { users: [...many, { id: 9 }] }), 400, 'invalid_value', 'users');
	});

	test('of a user named twice the later one counts', async () => {
		assert.deepEqual(ok(await server.put('users', { users: [{ id: 4, name: 'first' },
			{ id: 4, name: 'second' }] })), { stored: 1 });
		assert.equal((ok(await server.get('users/4'))).user.name, 'second');
	});

	test('one that is wrong is named, and nothing is stored', async () => {
		const wrong = [[7, 'users[1]'], ['x', 'users[1]'], [{}, 'users[1]'], [{ id: 0 }, 'users[1].id'],
			[{ id: '9223372036854775808' }, 'users[1].id'], [{ id: 1.5 }, 'users[1].id'], [{ id: null }, 'users[1].id'],
			[{ id: 6, nmae: 'x' }, 'users[1]'], [{ id: 6, name: 7 }, 'users[1].name'],
			[{ id: 6, name: 'é'.repeat(128) }, 'users[1].name'], [{ id: 6, avatar: 'x'.repeat(2049) }, 'users[1].avatar'],
			[{ id: 6, roles: 'admin' }, 'users[1].roles'], [{ id: 6, roles: [''] }, 'users[1].roles'],
			[{ id: 6, roles: [7] }, 'users[1].roles'], [{ id: 6, roles: Array(65).fill('x') }, 'users[1].roles']];
		for (const [one, field] of wrong) {
			const { status, json } = await server.put('users', { users: [{ id: 5, name: 'never' }, one] });
			assert.equal(status, 400, JSON.stringify(one));
			assert.equal(json.error.field, field, JSON.stringify(one));
		}
		failed(await server.put('users', { users: [] }), 400, 'invalid_value', 'users');
		failed(await server.put('users', {}), 400, 'missing_field', 'users');
		failed(await server.get('users/5'), 404, 'unknown_user', 'id');
		failed(await Sync.user(daemon, 5).put('users', { users: [{ id: 5 }] }), 403, 'forbidden');
	});

	test('a user with the largest id is stored', async () => {
		const id = '9223372036854775807';
		ok(await server.put('users', { users: [{ id, name: 'last' }] }));
		const [row] = await daemon.query('SELECT name FROM scopewire.users WHERE id = $1', [id]);
		assert.equal(row.name, 'last');
	});
});

describe('the list of users', () => {
	before(async () => ok(await server.put('users', { users: Array.from({ length: 5 }, (_, n) =>
		({ id: 201 + n, name: `n${n}`, roles: n % 2 ? ['even', 'staff'] : ['odd'] })) })));

	test('is a page in the order of the ids, with a cursor', async () => {
		const ids = [];
		let cursor;
		do {
			const page = ok(await server.get('users', { role: 'odd', limit: 2, ...(cursor && { cursor }) }));
			ids.push(...page.users.map((u) => u.id));
			cursor = page.next_cursor;
		} while (cursor);
		assert.deepEqual(ids, [201, 203, 205]);
		assert.deepEqual(await names({ role: 'staff' }), [[202, 'n1'], [204, 'n3']]);
		assert.deepEqual(await names({ ids: '205,201,999999' }), [[201, 'n0'], [205, 'n4']]);
	});

	test('refuses wrong filters and cursors, and users', async () => {
		const { next_cursor: cursor } = ok(await server.get('users', { role: 'odd', limit: 1 }));
		failed(await server.get('users', { role: 'even', cursor }), 400, 'invalid_cursor', 'cursor');
		const forged = Buffer.from(JSON.stringify([JSON.parse(Buffer.from(cursor, 'base64url').toString())[0], 'x'])).toString('base64url');
		failed(await server.get('users', { role: 'odd', cursor: forged }), 400, 'invalid_cursor', 'cursor');
		failed(await server.get('users', { ids: '1,x' }), 400, 'invalid_value', 'ids');
		failed(await Sync.user(daemon, 201).get('users'), 403, 'forbidden');
	});

	test('is that of the application', async () => {
		assert.deepEqual((ok(await Sync.server(daemon, OTHER).get('users'))).users, []);
	});
});

describe('deleting a user', () => {
	const USER = 300;
	const rows = async (table, column = 'user_id') => Number((await daemon.query(
		`SELECT count(*) AS n FROM scopewire.${table} WHERE app = $1 AND ${column} = $2`, [APP.id, USER]))[0].n);

	async function live() {
		ok(await server.put(`users/${USER}`, { name: 'Leaving', roles: ['admin'] }));
		ok(await server.post('heartbeat', { user_id: USER, location: '/invoices' }));
		ok(await server.post('start-viewing', { resource_type: 'invoice', resource_id: 1, user_id: USER }));
		ok(await server.post('start-viewing', { resource_type: 'invoice', resource_id: 2, user_id: USER, mode: 'editing' }));
		ok(await server.post('locks', { resource_type: 'invoice', resource_id: 2, user_id: USER, ttl: 600 }));
		ok(await server.post('notifications', { to: USER, title: 'Hello' }), 201);
		ok(await server.post('activities', { type: 'paid', user_id: USER, metadata: { client_id: 300 } }), 201);
		ok(await server.post('activities/read', { feed: 'client', client_id: 300, reader_id: USER }));
	}

	test('deletes what is stored, anonymizes activities, and notifies the subscribers', async () => {
		await live();
		const client = await daemon.connect();
		for (const name of ['presence-online', 'private-invoice.1', 'private-invoice.2'])
			await client.subscribe(name, name.startsWith('presence') ? { channelData: { user_id: '9' } } : undefined);
		assert.deepEqual(withoutEvent(ok(await server.delete(`users/${USER}`))), { user_id: USER, deleted: { user: 1, presence: 1,
			viewing: 2, locks: 1, notifications: 1, activity_reads: 1, webhooks: 0 }, anonymized: { activities: 1 } });
		for (const table of ['user_presence', 'viewers', 'locks', 'notifications', 'activities', 'activity_reads'])
			assert.equal(await rows(table), 0, table);
		assert.equal(await rows('users', 'id'), 0);
		assert.deepEqual(await daemon.query('SELECT FROM scopewire.locks WHERE name IS NOT NULL AND user_id IS NULL'), []);
		const { activities } = ok(await server.get('activities', { feed: 'client', client_id: 300 }));
		assert.deepEqual(activities.map((a) => [a.type, a.user_id, a.user]), [['paid', null, null]]);
		// Events of what the user did before can arrive after the subscription: they are skipped.
		const told = async (event, channel, data) => JSON.parse((await client.next({ event: `App\\Events\\${event}`, channel, data })).data);
		await told('ViewersChanged', 'private-invoice.1', { count: 0 });
		assert.equal((await told('LockChanged', 'private-invoice.2', { action: 'forced' })).lock, null);
		await told('UserPresenceChanged', 'presence-online', { user_id: USER, status: 'offline' });
	});

	test('once more deletes nothing, and is no error', async () => {
		const again = ok(await server.post(`users/${USER}/delete`));
		assert.deepEqual(again.deleted, { user: 0, presence: 0, viewing: 0, locks: 0, notifications: 0, activity_reads: 0, webhooks: 0 });
		failed(await Sync.user(daemon, USER).delete(`users/${USER}`), 403, 'forbidden');
		failed(await server.delete('users/0'), 400, 'invalid_value', 'id');
	});

	test('two transactions that delete several users do not deadlock', async (t) => {
		for (const id of [312, 313])     // 311 views nothing
			ok(await server.post('start-viewing', { resource_type: 'invoice', resource_id: 9, user_id: id }));
		const [one, other] = [await daemon.session(), await daemon.session()];
		t.after(() => Promise.all([one.end(), other.end()]));
		const remove = (session, id) => session.query('SELECT scopewire.user_delete($1, app => $2)', [id, APP.id]);
		await one.query('BEGIN');
		await other.query('BEGIN');
		await remove(one, 311);
		const second = remove(other, 312);
		await waitFor(async () => await daemon.lockWaiters() > 0, 'the other waits');
		await remove(one, 313);
		await one.query('COMMIT');
		await second;
		await other.query('COMMIT');
		assert.deepEqual(ok(await server.get('viewers', { resource_type: 'invoice', resource_id: 9 })).viewers, []);
	});

	test('is possible in the application\'s own transaction, and undone with it', async () => {
		await live();
		await assert.rejects(daemon.query(`DO $$ BEGIN
			PERFORM scopewire.user_delete(${USER}, app => '${APP.id}');
			RAISE 'the application changes its mind';
		END $$`), /changes its mind/);
		assert.equal(await rows('users', 'id'), 1);
		const [{ told }] = await daemon.query('SELECT scopewire.user_delete($1, app => $2) AS told', [USER, APP.id]);
		assert.equal(told.deleted.user, 1);
		assert.equal(await rows('users', 'id'), 0);
		await waitFor(async () => (ok(await server.get('notifications', { user_id: USER }))).unread === 0);
	});
});

test('a trigger of the application\'s own table keeps users up to date', async () => {
	await daemon.query(`CREATE TABLE public.people (id bigint PRIMARY KEY, name text, is_admin boolean)`);
	await daemon.query(`CREATE FUNCTION public.people_told() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF TG_OP = 'DELETE' THEN PERFORM scopewire.user_delete(OLD.id, app => '${APP.id}'); RETURN OLD; END IF;
		PERFORM scopewire.user_put(NEW.id, NEW.name, roles => CASE WHEN NEW.is_admin THEN '{admin}' ELSE '{}' END::text[],
			app => '${APP.id}');
		RETURN NEW; END $$`);
	await daemon.query(`CREATE TRIGGER people_told AFTER INSERT OR UPDATE OR DELETE ON public.people
		FOR EACH ROW EXECUTE FUNCTION public.people_told()`);
	await daemon.query(`INSERT INTO public.people VALUES (401, 'Linus', true)`);
	assert.deepEqual((ok(await server.get('users/401'))).user.roles, ['admin']);
	await daemon.query('UPDATE public.people SET is_admin = false');
	assert.deepEqual((ok(await server.get('users/401'))).user.roles, []);
	await assert.rejects(daemon.query(`UPDATE public.people SET name = repeat('x', 256)`), /at most 255 bytes/);
	await assert.rejects(daemon.query('SELECT scopewire.user_delete(NULL)'), /a positive integer/);
	for (const id of ['-1', '0'])
		await assert.rejects(daemon.query(`SELECT scopewire.user_delete(${id})`), /domain user_key/, id);
	await daemon.query('DELETE FROM public.people');
	failed(await server.get('users/401'), 404, 'unknown_user', 'id');
});
