// SPDX-License-Identifier: MIT
// Offline data sync: versions, the feed of changes, batches of mutations.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import pg from 'pg';
import { APP, Sync, failed, ok, query, startDaemon, waitFor } from '../lib/harness.mjs';

const OTHER = { id: 'other', key: 'other-key', secret: 'other-secret' };
const CHANGED = { event: 'App\\Events\\DataChanged' };
const MAX = '9223372036854775807';

let daemon, server;
let serial = 0;
before(async () => {
	daemon = await startDaemon({ apps: [APP, OTHER] });
	server = Sync.server(daemon);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument, can_write) VALUES
		('note.{id}', 'role', 'staff', true), ('client.{id}', 'owner', 'id', true)`);
});
after(() => daemon?.stop());

const staff = (id, claims = {}) => Sync.user(daemon, id, { roles: ['staff'], ...claims });
const fresh = (resource_type = 'note') => ({ resource_type, resource_id: `n${++serial}` });
const upsert = (r, data, expected_version, more) =>
	({ mutation_id: `m${++serial}`, ...r, op: 'upsert', data, expected_version, ...more });
const remove = (r, expected_version) =>
	({ mutation_id: `m${++serial}`, ...r, op: 'delete', expected_version });
/** The results of a batch. */
const mutate = async (who, mutations, more = {}) => {
	const { results } = ok(await who.post('changes',
		{ client_id: 'c1', mutations: [mutations].flat(), ...more }));
	return Array.isArray(mutations) ? results : results[0];
};
const refused = (result, status, code, field) => {
	assert.equal(result.status, status, JSON.stringify(result));
	assert.equal(result.error.code, code, JSON.stringify(result));
	assert.equal(result.error.field, field, JSON.stringify(result));
};
const name = (r) => `${r.resource_type}:${r.resource_id}`;
const channelOf = (r) => `private-${r.resource_type}.${r.resource_id}`;
const versions = async (...list) => ok(await server.get('versions',
	{ resources: list.map(name).join() })).versions;
const now = async (r) => ok(await server.get('changes', { resources: name(r) })).changes[0];
/** All of a feed: {changes, since}. */
async function feed(who, since, filter = {}) {
	const changes = [];
	for (;;) {
		const page = ok(await who.get('changes', { since, ...filter }));
		assert.equal(page.resync, false);
		changes.push(...page.changes);
		({ since } = page);
		if (!page.has_more) return { changes, since };
	}
}

describe('the right to write', () => {
	before(() => daemon.query(`INSERT INTO channel_rules (pattern, rule, argument, can_write) VALUES
		('bill.{id}', 'role', 'staff', false), ('bill.{id}', 'role', 'clerk', true),
		('bill.{id}', 'sql', '{user} IN (61, 62)', false), ('bill.{id}', 'sql', '{user} = 62', true)`));
	const clerk = (id) => Sync.user(daemon, id, { roles: ['clerk'] });
	const others = (id) => Sync.user(daemon, id);

	test('who may see a resource may change it only with a rule that has can_write', async () => {
		const r = fresh('bill');
		assert.equal((await mutate(server, upsert(r, { paid: false }, 0))).status, 200);
		for (const reader of [staff(60), others(61)]) {
			for (const change of [upsert(r, { paid: true }, 1), remove(r, 1),
				{ ...upsert(r, { paid: true }, 1), op: 'patch' }])
				refused(await mutate(reader, change), 403, 'write_forbidden', 'resource_id');
			const seen = ok(await reader.get('changes', { resources: name(r) }));
			assert.deepEqual(seen.changes[0].data, { paid: false });
		}
		refused(await mutate(others(63), upsert(r, {}, 1)), 403, 'channel_forbidden', 'resource_id');
		assert.equal((await mutate(clerk(60), upsert(r, { paid: 1 }, 1))).version, 2);
		assert.equal((await mutate(others(62), upsert(r, { paid: 2 }, 2))).version, 3);
	});

	test('edit locks need the right to write', async () => {
		const r = fresh('bill');
		for (const reader of [staff(60), others(61)])
			failed(await reader.post('locks', r), 403, 'write_forbidden', 'resource_id');
		failed(await others(63).post('locks', r), 403, 'channel_forbidden', 'resource_id');
		ok(await clerk(60).post('locks', r));
	});
});

describe('mutations', () => {
	test('create, replace, patch, delete, create again: versions go on', async () => {
		const r = fresh();
		assert.deepEqual((await versions(r))[0],
			{ ...r, version: 0, deleted: false, updated_at: null });
		const made = upsert(r, { a: 1 }, 0);
		assert.deepEqual(await mutate(staff(1), made), { mutation_id: made.mutation_id, ...r,
			op: 'upsert', status: 200, version: 1, changed: true });
		assert.equal((await mutate(staff(2), upsert(r, { a: 2, b: { c: 1, d: 2 } }, 1))).version, 2);
		const patch = { ...upsert(r, { a: null, b: { c: 3 }, e: [1] }, 2), op: 'patch' };
		assert.equal((await mutate(staff(1), patch)).version, 3);
		const got = await now(r);
		assert.match(got.updated_at, /^\d{4}-\d\d-\d\dT.*Z$/);
		assert.deepEqual({ ...got, updated_at: 0 }, { ...r, version: 3, deleted: false,
			data: { b: { c: 3, d: 2 }, e: [1] }, updated_by: 1, updated_at: 0 });
		assert.equal((await mutate(server, remove(r, 3))).version, 4);
		assert.equal((await versions(r))[0].deleted, true);
		assert.equal((await mutate(staff(1), upsert(r, {}, 0))).version, 5);
		assert.equal((await versions(r))[0].version, 5);
	});

	test('an unexpected version is 409 with the current row', async () => {
		const r = fresh();
		const absent = await mutate(staff(1), upsert(r, {}, 1));
		refused(absent, 409, 'conflict');
		assert.equal(absent.current, null);
		await mutate(staff(1), upsert(r, { by: 1 }, 0));
		for (const expected of [0, 2, MAX]) {
			// A number that JavaScript does not have goes as text.
			const body = JSON.stringify({ client_id: 'c1', mutations: [upsert(r, {}, 'EXPECTED')] })
				.replace('"EXPECTED"', String(expected));
			const [result] = ok(await staff(2).call('POST', 'changes', { body })).results;
			refused(result, 409, 'conflict');
			assert.deepEqual(result.current, await now(r));
		}
		await mutate(staff(1), remove(r, 1));
		const gone = await mutate(staff(1), upsert(r, {}, 1));
		refused(gone, 409, 'conflict');
		assert.deepEqual([gone.current.deleted, gone.current.data, gone.current.version],
			[true, null, 2]);
		refused(await mutate(staff(1), { ...upsert(r, {}, 2), op: 'patch' }), 409, 'conflict');
		refused(await mutate(staff(1), remove(r, 1)), 409, 'conflict');
		assert.equal((await mutate(staff(1), upsert(r, {}, 2))).version, 3);
	});

	test('expected_version null applies to any version', async () => {
		const r = fresh();
		assert.equal((await mutate(staff(1), upsert(r, { n: 1 }, null))).version, 1);
		assert.equal((await mutate(staff(2), upsert(r, { n: 2 }, null))).version, 2);
		assert.equal((await mutate(staff(2), remove(r, null))).version, 3);
		const again = await mutate(staff(2), remove(r, null));
		assert.deepEqual([again.status, again.version, again.changed], [200, 3, false]);
		const never = await mutate(staff(2), remove(fresh(), null));
		assert.deepEqual([never.status, never.version, never.changed], [200, 0, false]);
	});

	test('a batch keeps its order, and a refused mutation does not undo the others', async () => {
		const [r, q] = [fresh(), fresh()];
		const results = await mutate(staff(1), [
			upsert(r, { step: 1 }, 0),
			upsert(r, { step: 2 }, 1),
			{ ...upsert(fresh(), {}, 2), op: 'explode' },
			upsert({ resource_type: 'client', resource_id: '99' }, {}, 0),
			upsert(fresh(), { step: 3 }, 1),
			upsert(q, { step: 1 }, 0),
			{ mutation_id: 'x' },
			{ ...upsert(r, { step: 4 }, 2), op: 'patch' },
			upsert(q, { step: 2 }, 0),
		]);
		assert.deepEqual(results.map((x) => x.status), [200, 200, 400, 403, 409, 200, 400, 200, 409]);
		refused(results[2], 400, 'invalid_value', 'op');
		refused(results[3], 403, 'channel_forbidden', 'resource_id');
		assert.equal(results[4].current, null);
		assert.deepEqual(results[8].current.data, { step: 1 });
		assert.deepEqual([(await now(r)).version, (await now(r)).data], [3, { step: 4 }]);
		assert.deepEqual((await now(q)).data, { step: 1 });
	});

	test('a mutation based on a refused one is refused', async () => {
		const r = fresh();
		await mutate(staff(1), upsert(r, { n: 1 }, 0));
		// Two edits made offline on top of version 1, and meanwhile somebody else made a version 2:
		// the second edit expects just that number, and must not take it for its own.
		await mutate(staff(2), upsert(r, { theirs: true }, 1));
		const batch = [upsert(r, { n: 2 }, 1), upsert(r, { n: 3 }, 2), upsert(r, { n: 4 }, null)];
		const results = await mutate(staff(1), batch);
		for (const result of results) {
			refused(result, 409, 'conflict');
			assert.deepEqual(result.current.data, { theirs: true });
		}
		// Also when it is sent by itself again.
		const again = await mutate(staff(1), batch[1]);
		refused(again, 409, 'conflict');
		assert.equal(again.repeated, true);
		assert.deepEqual((await now(r)).data, { theirs: true });
		// What had to wait for a lock makes the later ones wait too, and none of them is decided.
		const { token } = ok(await staff(3).post('locks', r)).lock;
		const wait = [upsert(r, { n: 5 }, 2), upsert(r, { n: 6 }, 3)];
		assert.deepEqual((await mutate(staff(1), wait)).map((x) => x.error.code), ['locked', 'locked']);
		ok(await staff(3).post('locks/release', { ...r, token }));
		assert.deepEqual((await mutate(staff(1), wait)).map((x) => x.version), [3, 4]);
		const bad = [upsert(r, [1], 4), upsert(r, { n: 8 }, 5)];
		assert.deepEqual((await mutate(staff(1), bad)).map((x) => x.status), [400, 409]);
		bad[0].data = { n: 7 };
		assert.deepEqual((await mutate(staff(1), bad)).map((x) => x.version), [5, 6]);
	});

	test('numbers and strings are stored exactly', async () => {
		const r = fresh();
		const body = `{"client_id":"c1","mutations":[{"mutation_id":"num${++serial}",` +
			`"resource_type":"note","resource_id":"${r.resource_id}","op":"upsert",` +
			`"expected_version":0,"data":{"price":19.99,"tenth":0.1,"one":1.0,"big":${MAX},` +
			'"exp":1.5e300,"third":0.3333333333333333,"deep":[[{"x":[]}]],"":"",' +
			'"text":"\\u00e9\\ud83d\\ude00\\"\\\\\\n"}}]}';
		assert.equal(ok(await staff(1).call('POST', 'changes', { body })).results[0].status, 200);
		const [row] = await daemon.query(`SELECT data->>'price' AS price, data->>'tenth' AS tenth,
			data->>'big' AS big, data->>'third' AS third, data->>'text' AS text, data->>'one' AS one
			FROM sync_entity WHERE resource_id = $1`, [r.resource_id]);
		assert.deepEqual(row, { price: '19.99', tenth: '0.1', big: MAX, one: '1.0',
			third: '0.3333333333333333', text: 'é😀"\\\n' });
	});

	test('the largest version is accepted', async () => {
		const r = fresh();
		await mutate(server, upsert(r, {}, 0));
		await daemon.query('UPDATE sync_entity SET version = $2 WHERE resource_id = $1',
			[r.resource_id, MAX]);
		const results = await mutate(server, [upsert(r, {}, null), upsert(fresh(), {}, 0)]);
		refused(results[0], 409, 'version_exhausted');
		assert.equal(results[1].status, 200);
	});
});

describe('validation', () => {
	// The role that validators run as, of this database only.
	let rules;
	const admin = (text) => query(daemon.database.host, daemon.database.name, text, [], 'postgres');
	before(async () => {
		rules = `rules_${daemon.database.name}`;
		await admin(`CREATE ROLE ${rules} NOLOGIN; GRANT ${rules} TO scopewire`);
		await daemon.query('SELECT channel_predicates_as($1)', [rules]);
	});
	after(async () => {
		await daemon.query('SELECT channel_predicates_as(current_user)');
		await admin(`DROP OWNED BY ${rules}; DROP ROLE ${rules}`);
	});
	const accepts = (resource_type, name) => daemon.query('SELECT sync_validate_with($1, $2::regprocedure)',
		[resource_type, name && `public.${name}(jsonb,jsonb,jsonb)`]);
	const declare = (name, body, traits = 'STABLE') => daemon.query(`CREATE OR REPLACE FUNCTION public.${name}
		(after jsonb, before jsonb, info jsonb) RETURNS text LANGUAGE plpgsql ${traits} AS $$ BEGIN ${body} END $$`);

	test('the function of a type decides about the data that a mutation would leave', async () => {
		await declare('order_is_valid', `
			IF after IS NULL THEN
				RETURN CASE WHEN before->>'state' = 'paid' THEN 'A paid order stays.' END;
			END IF;
			IF NOT after ? 'total' THEN RAISE EXCEPTION 'total is missing'; END IF;
			RETURN CASE WHEN (after->>'total')::numeric < 0 THEN 'total must not be negative.'
				WHEN after->>'state' = 'paid' AND info->'roles' IS NOT NULL THEN 'Only the server marks an order as paid.' END;`);
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, can_write) VALUES ('order.{id}', 'anyone', true)`);
		await accepts('order', 'order_is_valid');
		const r = fresh('order');
		const user = staff(1);
		refused(await mutate(user, upsert(r, { total: -1 }, 0)), 422, 'invalid_data', 'data');
		const missing = await mutate(user, upsert(r, {}, 0));
		refused(missing, 422, 'invalid_data', 'data');
		assert.equal(missing.error.message, 'total is missing');
		refused(await mutate(user, upsert(r, { total: 'much' }, 0)), 422, 'invalid_data', 'data');
		assert.equal(await now(r), undefined);
		// A mutation that was refused can be sent again; the others of its batch are done.
		const once = upsert(r, { total: 5 }, 0);
		const [bad, good] = await mutate(user, [upsert(fresh('order'), { total: -5 }, 0), once]);
		assert.deepEqual([bad.status, good.status], [422, 200]);
		refused(await mutate(user, { ...upsert(r, { total: -2 }, 1), op: 'patch' }), 422, 'invalid_data', 'data');
		refused(await mutate(user, { ...upsert(r, { state: 'paid' }, 1), op: 'patch' }), 422, 'invalid_data', 'data');
		assert.equal((await mutate(server, { ...upsert(r, { state: 'paid' }, 1), op: 'patch' })).status, 200);
		refused(await mutate(server, remove(r, 2)), 422, 'invalid_data', 'data');
		assert.deepEqual((await now(r)).data, { total: 5, state: 'paid' });
		await accepts('order', null);
		assert.equal((await mutate(server, remove(r, 2))).status, 200);
	});

	test('a function of another role has no rights here, and leaves nothing in the session', async () => {
		await declare('writes', 'RETURN NULL;', 'VOLATILE');
		await assert.rejects(accepts('x', 'writes'), /must be STABLE/);
		await daemon.query('CREATE OR REPLACE FUNCTION public.other(jsonb) RETURNS text LANGUAGE sql STABLE AS $$ SELECT NULL $$');
		await assert.rejects(daemon.query(`SELECT sync_validate_with('x', 'public.other(jsonb)')`), /must take \(jsonb, jsonb, jsonb\)/);
		// It is replaced after it was set: nothing may depend on what it was then.
		await declare('changing', 'RETURN NULL;');
		await accepts('x', 'changing');
		const call = (r) => server.post('changes', { client_id: 'c1', mutations: [upsert(r, { a: 1 }, null)] });
		const becomes = (body) => admin(`DROP FUNCTION public.changing; CREATE FUNCTION public.changing(jsonb, jsonb, jsonb)
			RETURNS text LANGUAGE plpgsql STABLE AS $f$ BEGIN ${body} END $f$`);
		await admin('DROP FUNCTION public.changing; CREATE TABLE public.written (a integer); GRANT ALL ON public.written TO PUBLIC');
		assert.equal((await call(fresh('x'))).status, 500);
		await admin('CREATE FUNCTION public.changing(jsonb, jsonb, jsonb) RETURNS text LANGUAGE sql AS $$ SELECT NULL $$');
		for (const body of ['PERFORM count(*) FROM scopewire.apps', 'INSERT INTO public.written VALUES (1)',
			'SET ROLE scopewire', 'SET transaction_read_only = off', `RAISE EXCEPTION 'x' USING ERRCODE = 'SW002'`,
			'ASSERT false']) {
			await becomes(`${body}; RETURN NULL;`);
			assert.equal((await call(fresh('x'))).status, 500, body);
		}
		await becomes('RETURN current_user;');
		assert.equal((await mutate(server, upsert(fresh('x'), {}, 0))).error.message, rules);

		// Objects that a session with this search_path would call in place of ours.
		await admin(`CREATE SCHEMA evil; CREATE TABLE evil.taken (who text); GRANT ALL ON evil.taken TO PUBLIC;
			GRANT USAGE ON SCHEMA evil TO PUBLIC;
			DO $do$ DECLARE one record; BEGIN
			FOR one IN SELECT DISTINCT p.proname, p.pronargs FROM pg_proc p
				WHERE p.pronamespace = 'scopewire'::regnamespace AND p.proname ~ '^(sync_|presence_)' LOOP
				EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS json LANGUAGE sql AS
					''INSERT INTO evil.taken VALUES (current_user); SELECT NULL::json''', one.proname,
					(SELECT string_agg(t::text, ', ') FROM (SELECT format_type(a, NULL) t FROM unnest((SELECT x.proargtypes::oid[]
					 FROM pg_proc x WHERE x.pronamespace = 'scopewire'::regnamespace AND x.proname = one.proname
					 AND x.pronargs = one.pronargs LIMIT 1)) WITH ORDINALITY u(a, at) ORDER BY at) y));
			END LOOP; END $do$`);
		const hostile = (last) => becomes(`PERFORM set_config('search_path', 'evil, scopewire, pg_temp', false),
			pg_advisory_lock(hashtext('hostile'));
			EXECUTE 'LISTEN hostile';
			EXECUTE 'DEALLOCATE ALL';
			FOR i IN 0..99 LOOP EXECUTE format('PREPARE s%s AS SELECT 1', i); END LOOP;
			${last}`);
		for (const last of ['RETURN NULL;', `RAISE EXCEPTION 'no';`, `RAISE EXCEPTION 'no' USING ERRCODE = 'query_canceled';`]) {
			await hostile(last);
			const own = await daemon.session();
			await own.query(`SET search_path = scopewire, pg_temp`);
			const before = (await own.query('SHOW search_path')).rows[0].search_path;
			const args = [APP.id, '{"server":true}', JSON.stringify(upsert(fresh('x'), {}, 0)), '{}'];
			await own.query('SELECT mutation_validate($1, $2, $3, NULL, $4)', args).catch(() => {});
			assert.equal((await own.query('SHOW search_path')).rows[0].search_path, before);
			assert.deepEqual((await own.query('SELECT name FROM pg_prepared_statements WHERE from_sql')).rows, [], last);
			assert.deepEqual((await own.query('SELECT * FROM pg_listening_channels()')).rows, []);
			assert.deepEqual((await own.query(`SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'`)).rows, []);
			await own.end();
			await call(fresh('x'));
			ok(await server.post('heartbeat', { user_id: 7, status: 'online' }));
			await Sync.user(daemon, 1, { roles: ['staff'] }).get('changes');
			await mutate(server, upsert(fresh(), {}, 0));
		}
		assert.deepEqual(await admin('SELECT * FROM evil.taken'), []);
		assert.deepEqual(await admin('SELECT * FROM public.written'), []);
		await daemon.query(`SELECT sync_validate_with('x', NULL)`);
	});

	test('without a role of their own no function is called', async () => {
		await declare('lenient', 'RETURN NULL;');
		await accepts('y', 'lenient');
		await daemon.query('SELECT channel_predicates_as(current_user)');
		await assert.rejects(accepts('y', 'lenient'), /need a role without rights on the schema/);
		assert.equal((await server.post('changes', { client_id: 'c1', mutations: [upsert(fresh('y'), {}, 0)] })).status, 500);
		await daemon.query('SELECT channel_predicates_as($1)', [rules]);
		assert.equal((await mutate(server, upsert(fresh('y'), {}, 0))).status, 200);
		await accepts('y', null);
	});
});

describe('repeated mutations', () => {
	test('a repeat gets the first result and changes nothing', async () => {
		const r = fresh();
		const m = upsert(r, { n: 1 }, 0);
		const first = await mutate(staff(1), m);
		await mutate(staff(1), upsert(r, { n: 2 }, 1));
		assert.deepEqual(await mutate(staff(1), m), { ...first, repeated: true });
		assert.deepEqual((await now(r)).data, { n: 2 });
		assert.equal((await now(r)).version, 2);
		const told = await daemon.query('SELECT FROM realtime_events WHERE channel = $1', [channelOf(r)]);
		assert.equal(told.length, 2);
	});

	test('a repeated conflict stays a conflict', async () => {
		const r = fresh();
		const m = upsert(r, { late: true }, 1);
		refused(await mutate(staff(1), m), 409, 'conflict');
		await mutate(staff(1), upsert(r, {}, 0));
		const again = await mutate(staff(1), m);
		refused(again, 409, 'conflict');
		assert.equal(again.repeated, true);
		// What it has to be merged with is the resource as it is by now.
		assert.deepEqual(again.current, await now(r));
		assert.equal(again.current.version, 1);
		const [{ result }] = await daemon.query('SELECT result FROM sync_change WHERE mutation_id = $1',
			[m.mutation_id]);
		assert.deepEqual(Object.keys(result).sort(), ['error', 'status']);
	});

	test('a mutation refused for its form or rights can be sent again', async () => {
		const r = { resource_type: 'vault', resource_id: `v${++serial}` };
		const m = upsert(r, {}, 0);
		refused(await mutate(staff(1), m), 403, 'channel_forbidden', 'resource_id');
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, can_write)
			VALUES ('vault.{id}', 'anyone', true)`);
		assert.equal((await waitFor(async () => {
			const result = await mutate(staff(1), m);
			return result.status === 200 && result;
		})).version, 1);
	});

	test('a mutation sent twice in a batch, or at the same time, is applied once', async () => {
		const r = fresh();
		const m = upsert(r, {}, 0);
		const [a, b] = await mutate(staff(1), [m, m]);
		assert.deepEqual([a.status, a.repeated, b.status, b.repeated], [200, undefined, 200, true]);
		const n = upsert(r, { x: 1 }, null);
		const results = await Promise.all(Array.from({ length: 20 }, () => mutate(staff(1), n)));
		assert.equal(results.filter((x) => !x.repeated).length, 1);
		assert.ok(results.every((x) => x.version === 2));
		assert.equal((await now(r)).version, 2);
	});

	test('a mutation_id belongs to the client and the user', async () => {
		const r = fresh();
		const m = upsert(r, { who: 1 }, null);
		await mutate(staff(1), m);
		assert.equal((await mutate(staff(2), m)).repeated, undefined);
		assert.equal((await mutate(staff(1), m, { client_id: 'c2' })).repeated, undefined);
		assert.equal((await now(r)).version, 3);
		refused(await mutate(staff(1), { ...m, data: { who: 2 } }), 400, 'mutation_reused', 'mutation_id');
		refused(await mutate(staff(1), { ...m, ...fresh() }), 400, 'mutation_reused', 'mutation_id');
	});
});

describe('edit locks', () => {
	const lock = async (r, id) => ok(await staff(id).post('locks', r)).lock.token;

	test('a former holder of the lock cannot write', async () => {
		const r = fresh();
		await mutate(staff(1), upsert(r, {}, 0));
		const token = await lock(r, 1);
		assert.equal((await mutate(staff(1), upsert(r, {}, null, { lock_token: token }))).version, 2);
		await daemon.query(`UPDATE locks SET expires_at = now() - interval '1 s'
			WHERE resource_id = $1`, [r.resource_id]);
		// No other user holds it: the mutation is accepted.
		assert.equal((await mutate(staff(1), upsert(r, {}, null, { lock_token: token }))).version, 3);
		const newer = await lock(r, 2);
		const late = await mutate(staff(1), upsert(r, {}, null, { lock_token: token }));
		refused(late, 409, 'stale_lock');
		assert.equal(late.current.version, 3);
		ok(await staff(2).post('locks/release', r));
		refused(await mutate(staff(1), upsert(r, {}, null, { lock_token: token })), 409, 'stale_lock');
		refused(await mutate(server, upsert(r, {}, null, { lock_token: token })), 409, 'stale_lock');
		refused(await mutate(staff(1), upsert(r, {}, null, { lock_token: newer + 1 })), 409, 'stale_lock');
		assert.equal((await mutate(staff(2), upsert(r, {}, null, { lock_token: newer }))).version, 4);
	});

	test('after a newer token no write with the older one succeeds', async () => {
		let accepted = 0, stale = 0;
		for (let round = 0; round < 15; round++) {
			const r = fresh();
			await mutate(server, upsert(r, {}, 0));
			const token = await lock(r, 1);
			await daemon.query(`UPDATE locks SET expires_at = now() - interval '1 s'
				WHERE resource_id = $1`, [r.resource_id]);
			const write = () => mutate(staff(1), upsert(r, {}, null, { lock_token: token }));
			const writes = [write(), write()];
			const given = staff(2).post('locks', r).then(async (answer) => {
				ok(answer);
				return (await versions(r))[0].version;
			});
			writes.push(write(), write());
			const seen = await given;
			for (const result of await Promise.all(writes)) {
				if (result.status === 200) accepted++;
				else {
					refused(result, 409, 'stale_lock');
					stale++;
				}
			}
			assert.equal((await versions(r))[0].version, seen);
		}
		assert.ok(accepted > 0 && stale > 0, `${accepted} accepted, ${stale} stale`);
	});

	test('only the holder and the server can write a locked resource', async () => {
		const r = fresh();
		const token = await lock(r, 1);
		const m = upsert(r, { by: 2 }, 0);
		refused(await mutate(staff(2), m), 409, 'locked');
		refused(await mutate(server, { ...m }, { user_id: 2 }), 409, 'locked');
		refused(await mutate(staff(2), upsert(r, {}, 0, { lock_token: token })), 409, 'stale_lock');
		assert.equal((await mutate(staff(1), upsert(r, { by: 1 }, 0))).version, 1);
		assert.equal((await mutate(server, upsert(r, { by: 0 }, 1))).version, 2);
		ok(await staff(1).post('locks/release', r));
		// The refused one was not recorded: the same mutation is decided anew.
		const late = await mutate(staff(2), m);
		refused(late, 409, 'conflict');
		assert.equal(late.repeated, undefined);
	});
});

test('rights by predicates of channel rules', async () => {
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument, can_write)
		VALUES ('task.{id}', 'sql', '{id} LIKE ''mine%'' AND {user} = 5', true)`);
	const user = staff(5);
	const task = (id) => ({ resource_type: 'task', resource_id: `${id}${++serial}` });
	const list = [task('mine'), fresh(), task('other'), task('mine')];
	// Rules are cached for a moment after they changed.
	await waitFor(async () => (await user.post('locks', task('mine'))).status === 200);
	const results = await mutate(user, list.map((r) => upsert(r, {}, 0)));
	assert.deepEqual(results.map((r) => r.status), [200, 200, 403, 200]);
	refused(results[2], 403, 'channel_forbidden', 'resource_id');
	assert.deepEqual((await versions(...list)).map((v) => v.version).sort(), [0, 1, 1, 1]);
	failed(await user.get('changes', { resources: name(list[2]) }), 403, 'channel_forbidden', 'resources');
	assert.equal(ok(await user.get('changes', { resources: name(list[0]) })).changes.length, 1);
	failed(await staff(6).post('locks', list[0]), 403, 'channel_forbidden', 'resource_id');
	assert.deepEqual((await feed(user, undefined, { types: 'task' })).changes.map(name).sort(),
		[name(list[0]), name(list[3])].sort());
	const many = await mutate(user, Array.from({ length: 100 }, () => upsert(task('mine'), {}, 0)));
	assert.ok(many.every((r) => r.status === 200));
});

describe('DataChanged', () => {
	test('DataChanged is sent to the resource\'s channel without the sender', async () => {
		const r = fresh();
		const [mine, theirs] = [await daemon.connect(), await daemon.connect()];
		for (const wire of [mine, theirs]) await wire.subscribe(channelOf(r));
		const m = upsert(r, { secret: 1 }, 0);
		ok(await staff(4).post('/broadcasting/user-auth', { socket_id: mine.socketId }));
		await mutate(staff(4), m, { socket_id: mine.socketId, client_id: 'phone' });
		const told = JSON.parse((await theirs.next({ ...CHANGED, channel: channelOf(r) })).data);
		assert.match(told.updated_at, /Z$/);
		assert.deepEqual({ ...told, updated_at: 0 }, { op: 'upsert', ...r, version: 1, user_id: 4,
			client_id: 'phone', mutation_id: m.mutation_id, updated_at: 0 });
		refused(await mutate(staff(4), upsert(r, {}, 0)), 409, 'conflict');
		await mutate(server, remove(r, 1));
		const next = JSON.parse((await mine.next(CHANGED)).data);
		assert.deepEqual([next.op, next.version, next.user_id], ['delete', 2, null]);
		assert.equal(JSON.parse((await theirs.next(CHANGED)).data).op, 'delete');
		await mine.close();
		await theirs.close();
	});
});

describe('the feed', () => {
	test('the feed starts with all resources, then has each changed resource once', async () => {
		const type = `feed${++serial}`;
		const made = Array.from({ length: 7 }, () => fresh(type));
		await mutate(server, made.map((r, i) => upsert(r, { i }, 0)));
		await mutate(server, remove(made[6], 1));
		const first = await feed(server, undefined, { types: type, limit: 2 });
		assert.deepEqual(first.changes.map((c) => c.data.i), [0, 1, 2, 3, 4, 5]);
		await mutate(server, [upsert(made[2], { i: 'a' }, 1), upsert(made[2], { i: 'b' }, 2),
			remove(made[0], 1)]);
		const second = await feed(server, first.since, { types: type });
		assert.deepEqual(second.changes.map((c) => [c.resource_id, c.version, c.deleted, c.data]),
			[[made[2].resource_id, 3, false, { i: 'b' }], [made[0].resource_id, 2, true, null]]);
		const third = await feed(server, second.since, { types: type });
		assert.deepEqual(third, { changes: [], since: second.since });
	});

	test('the feed can have several types in one order, or named resources', async () => {
		const [a, b] = [`fa${++serial}`, `fb${serial}`];
		const list = [fresh(a), fresh(b), fresh(a), fresh(b)];
		const { since } = await feed(server, undefined, { types: `${a},${b}` });
		for (const r of list) await mutate(server, upsert(r, {}, 0));
		const all = await feed(server, since, { types: `${a},${b}`, limit: 1 });
		assert.deepEqual(all.changes.map((c) => c.resource_id), list.map((r) => r.resource_id));
		const some = await feed(server, since, { resources: `${name(list[3])},${name(list[0])}`, limit: 1 });
		assert.deepEqual(some.changes.map((c) => c.resource_id),
			[list[0].resource_id, list[3].resource_id]);
		const every = await feed(server, since);
		assert.deepEqual(every.changes.map((c) => c.resource_id), list.map((r) => r.resource_id));
	});

	test('a resource that changes while pages are read is in a later page, once', async () => {
		const type = `live${++serial}`;
		const made = Array.from({ length: 20 }, () => fresh(type));
		await mutate(server, made.map((r) => upsert(r, { n: 0 }, 0)));
		const state = new Map();
		let since, more = true, n = 0;
		while (more) {
			const page = ok(await server.get('changes', { since, types: type, limit: 4 }));
			for (const c of page.changes) state.set(c.resource_id, c.data.n);
			({ since, has_more: more } = page);
			if (n < 10) await mutate(server, upsert(made[(n * 7) % 20], { n: ++n }, null));
			more ||= n < 10;
		}
		for (const c of (await feed(server, since, { types: type })).changes)
			state.set(c.resource_id, c.data.n);
		const rows = await daemon.query(`SELECT resource_id, data->'n' AS n FROM sync_entity
			WHERE resource_type = $1`, [type]);
		assert.deepEqual(new Map(rows.map((r) => [r.resource_id, r.n]).sort()), new Map([...state].sort()));
	});

	test('a page has no more than about a megabyte', async () => {
		const type = `large${++serial}`;
		for (let i = 0; i < 20; i++)
			await mutate(server, upsert(fresh(type), { i, x: 'x'.repeat(65000) }, 0));
		const page = ok(await server.get('changes', { types: type, limit: 200 }));
		assert.equal(page.has_more, true);
		assert.ok(page.changes.length < 20 && page.changes.length > 10);
		assert.equal((await feed(server, undefined, { types: type, limit: 200 })).changes.length, 20);
	});

	test('a user sees resources of channels that it may join', async () => {
		const mine = { resource_type: 'client', resource_id: '71' };
		const other = { resource_type: 'client', resource_id: '72' };
		await mutate(server, [upsert(mine, {}, null), upsert(other, {}, null)]);
		const user = Sync.user(daemon, 71);
		const { changes, since } = await feed(user, undefined, { limit: 1 });
		// Vaults are open to anyone; nothing else but its own client is.
		assert.deepEqual(changes.filter((c) => c.resource_type !== 'vault').map(name), ['client:71']);
		assert.deepEqual((await feed(user, since)).changes, []);
		failed(await user.get('changes', { resources: 'client:71,client:72' }), 403,
			'channel_forbidden', 'resources');
		failed(await user.get('versions', { resources: 'client:72' }), 403, 'channel_forbidden', 'resources');
		const seen = ok(await user.get('versions', { types: 'client' }));
		assert.deepEqual(seen.versions.map(name), ['client:71']);
		failed(await user.post('changes', { client_id: 'c', user_id: 72, mutations: [upsert(mine, {}, 0)] }),
			403, 'forbidden', 'user_id');
	});

	test('a user that may see few resources gets them all, with empty pages between', async (t) => {
		const own = await startDaemon({}, t);
		await own.query(`INSERT INTO channel_rules (pattern, rule, argument)
			VALUES ('client.{id}', 'owner', 'id')`);
		await own.query(`INSERT INTO sync_entity
			SELECT $1, 'client', g::text, 1, nextval('sync_position'), '{}', NULL, now()
			FROM generate_series(1, 600) g`, [own.app.id]);
		const user = Sync.user(own, 599);
		const first = ok(await user.get('changes', { types: 'client' }));
		assert.deepEqual([first.changes, first.has_more], [[], true]);
		assert.deepEqual((await feed(user)).changes.map(name), ['client:599']);
		const seen = [];
		let cursor;
		do {
			const page = ok(await user.get('versions', { types: 'client', cursor }));
			seen.push(...page.versions.map(name));
			cursor = page.next_cursor ?? undefined;
		} while (cursor);
		assert.deepEqual(seen, ['client:599']);
	});

	test('look-ups use the index, also with plans made for an empty table', async (t) => {
		const own = await startDaemon({}, t);
		const { host, name: database, user } = own.database;
		const client = new pg.Client({ host, database, user, port: 5432,
			options: '-c search_path=scopewire -c plan_cache_mode=force_generic_plan -c enable_seqscan=off' });
		await client.connect();
		try {
			for (const [sql, index] of [
				['SELECT FROM sync_entity WHERE app = $1 AND resource_type = $2 AND resource_id = $3',
					'sync_entity_pkey'],
				['SELECT FROM sync_change WHERE app = $1 AND coalesce(user_id::text, \'\') = \'1\' AND client_id = $2 AND mutation_id = $3',
					'sync_change_key'],
				['SELECT FROM locks WHERE app = $1 AND resource_type = $2 AND resource_id = $3',
					'locks_pkey']]) {
				await client.query(`PREPARE look(text, text, text) AS ${sql}`);
				const { rows } = await client.query(`EXPLAIN EXECUTE look('a', 'b', 'c')`);
				assert.ok(rows.some((r) => r['QUERY PLAN'].includes(index)), JSON.stringify(rows));
				await client.query('DEALLOCATE look');
			}
		} finally {
			await client.end();
		}
	});

	test('apps do not see each other', async () => {
		const r = fresh();
		await mutate(server, upsert(r, { of: 'portal' }, 0));
		const other = Sync.server(daemon, OTHER);
		assert.deepEqual(ok(await other.get('changes')).changes, []);
		assert.equal(ok(await other.get('versions', { resources: name(r) })).versions[0].version, 0);
		assert.equal((await mutate(other, upsert(r, { of: 'other' }, 0))).version, 1);
		assert.deepEqual((await now(r)).data, { of: 'portal' });
	});

	test('the signed query works; an unchanged feed is 304', async () => {
		const r = fresh();
		const api = daemon.api();
		const { results } = ok(await api.post('/sync/changes',
			{ client_id: 'php', user_id: 5, mutations: [upsert(r, {}, 0)] }));
		assert.equal(results[0].status, 200);
		const got = ok(await api.get('/sync/changes', { resources: name(r) }));
		assert.equal(got.changes[0].updated_by, 5);
		assert.equal(ok(await api.get('/sync/versions', { resources: name(r) })).versions[0].version, 1);
		const first = await server.get('changes', { since: got.since });
		assert.equal((await server.call('GET', 'changes', { query: { since: got.since },
			headers: { 'If-None-Match': first.headers.etag } })).status, 304);
	});
});

describe('the feed skips no late commit', () => {
	const open = async () => {
		const at = daemon.database;
		const client = new pg.Client({ host: at.host, database: at.name, user: at.user, port: 5432,
			options: '-c search_path=scopewire' });
		await client.connect();
		return client;
	};
	const write = (client, list) => client.query(
		`SELECT body FROM sync_changes_post($1, '{"server":true}', 'slow', NULL, NULL, $2)`,
		[APP.id, JSON.stringify(list)]);

	test('a slow transaction delays the later ones', async () => {
		const type = `slow${++serial}`;
		const [a, b] = [fresh(type), fresh(type)];
		const { since } = await feed(server, undefined, { types: type });
		const client = await open();
		try {
			await client.query('BEGIN');
			await write(client, [upsert(a, {}, 0)]);
			let answered = false;
			const later = mutate(server, upsert(b, {}, 0)).then((r) => { answered = true; return r; });
			await waitFor(async () => (await daemon.query(`SELECT FROM pg_locks
				WHERE locktype = 'advisory' AND NOT granted AND database = (
					SELECT oid FROM pg_database WHERE datname = current_database())`)).length === 1);
			const between = await feed(server, since, { types: type });
			assert.deepEqual(between.changes, []);
			assert.equal(answered, false);
			await client.query('COMMIT');
			assert.equal((await later).status, 200);
			const after = await feed(server, between.since, { types: type });
			assert.deepEqual(after.changes.map((c) => c.resource_id), [a.resource_id, b.resource_id]);
		} finally {
			await client.end();
		}
	});

	test('readers that follow many writers, slow and rolled back, miss no commit', async () => {
		const type = `many${++serial}`;
		const pool = Array.from({ length: 30 }, () => fresh(type));
		let writing = true;
		const reader = async () => {
			const state = new Map();
			let since;
			for (let last = false; ;) {
				const page = ok(await server.get('changes', { since, types: type, limit: 5 }));
				for (const c of page.changes) {
					assert.ok(c.version > (state.get(c.resource_id)?.version ?? 0));
					state.set(c.resource_id, c);
				}
				({ since } = page);
				if (!page.has_more && last) return state;
				if (!page.has_more) last = !writing;
			}
		};
		const writer = async (w) => {
			const client = await open();
			try {
				for (let n = 0; n < 15; n++) {
					await client.query('BEGIN');
					await write(client, [0, 1, 2].map((i) =>
						upsert(pool[(w * 7 + n * 3 + i * 11) % 30], { w, n }, null)));
					if (n % 4 === 0) await client.query('SELECT pg_sleep(0.01)');
					await client.query(n % 5 === 4 ? 'ROLLBACK' : 'COMMIT');
				}
			} finally {
				await client.end();
			}
		};
		const readers = [reader(), reader(), reader()];
		await Promise.all([0, 1, 2, 3, 4, 5].map(writer));
		writing = false;
		const rows = await daemon.query(`SELECT resource_id, version::int, data FROM sync_entity
			WHERE resource_type = $1 ORDER BY 1`, [type]);
		for (const state of await Promise.all(readers))
			assert.deepEqual([...state.values()].map(({ resource_id, version, data }) =>
				({ resource_id, version, data })).sort((a, b) => (a.resource_id < b.resource_id ? -1 : 1)), rows);
	});
});

describe('pruning', () => {
	const prune = () => daemon.query('SELECT sync_prune(30, 1000)');
	const old = (table, column, r) => daemon.query(`UPDATE ${table}
		SET ${column} = now() - interval '31 days' WHERE resource_id = $1`, [r.resource_id]);

	test('a client that was away longer than the retention gets a resync, another does not', async () => {
		const type = `gone${++serial}`;
		const [a, b] = [fresh(type), fresh(type)];
		await mutate(server, [upsert(a, {}, 0), upsert(b, {}, 0)]);
		const before = await feed(server, undefined, { types: type });
		await mutate(server, remove(a, 1));
		const aware = await feed(server, before.since, { types: type });
		// Half way through its first reading: it has a, but not its deletion yet.
		await old('sync_entity', 'updated_at', a);
		await prune();
		assert.equal((await versions(a))[0].version, 0);
		const late = ok(await server.get('changes', { since: before.since, types: type }));
		assert.deepEqual(late, { changes: [], has_more: false, resync: true, since: null,
			position: late.position });
		assert.deepEqual((await feed(server, aware.since, { types: type })).changes, []);
		const anew = await feed(server, undefined, { types: type, limit: 1 });
		assert.deepEqual(anew.changes.map((c) => c.resource_id), [b.resource_id]);
		assert.deepEqual((await feed(server, anew.since, { types: type })).changes, []);
		// Another type's readers are not troubled.
		assert.equal(ok(await server.get('changes', { since: before.since, types: 'elsewhere' })).resync,
			false);
		// No version is given twice.
		assert.equal((await mutate(server, upsert(a, {}, 0))).version, 3);
	});

	test('a first read of many pages continues over pruning', async () => {
		const type = `page${++serial}`;
		const made = Array.from({ length: 6 }, () => fresh(type));
		await mutate(server, made.map((r) => upsert(r, {}, 0)));
		await mutate(server, remove(made[5], 1));
		const page = ok(await server.get('changes', { types: type, limit: 2 }));
		await old('sync_entity', 'updated_at', made[5]);
		await prune();
		const rest = await feed(server, page.since, { types: type, limit: 2 });
		assert.deepEqual(rest.changes.map((c) => c.resource_id), made.slice(2, 5).map((r) => r.resource_id));
		// But what it had read and was deleted and forgotten since, it must learn of.
		const again = ok(await server.get('changes', { types: type, limit: 2 }));
		await mutate(server, remove(made[0], 1));
		await old('sync_entity', 'updated_at', made[0]);
		await prune();
		assert.equal(ok(await server.get('changes', { since: again.since, types: type })).resync, true);
	});

	test('mutations are remembered for as long', async () => {
		const r = fresh();
		const m = upsert(r, {}, 0);
		await mutate(server, m);
		await prune();
		assert.equal((await mutate(server, m)).repeated, true);
		await old('sync_change', 'at', r);
		await prune();
		refused(await mutate(server, m), 409, 'conflict');
	});

	test('the daemon prunes by itself, unless it is configured to keep all', async (t) => {
		for (const [days, left] of [['1', 0], ['0', 1]]) {
			const own = await startDaemon({ sections: { sync: { changes_retention_days: days } } }, t);
			const s = Sync.server(own);
			const r = fresh();
			ok(await s.post('changes', { client_id: 'c', mutations: [upsert(r, {}, 0), remove(r, 1)] }));
			await own.query(`UPDATE sync_entity SET updated_at = now() - interval '25 h'`);
			await own.query(`UPDATE sync_change SET at = now() - interval '25 h'`);
			await own.restart();
			// Released locks prove that its chores ran.
			await own.query(`INSERT INTO locks VALUES ('client-portal', 'x', 'y', 1, 1, NULL, 1, now(),
				now(), now())`);
			await waitFor(async () => (await own.query(
				'SELECT FROM locks WHERE user_id IS NOT NULL')).length === 0);
			await waitFor(async () => (await own.query(`SELECT (SELECT count(*) FROM sync_entity)::int
				+ (SELECT count(*) FROM sync_change)::int AS n`))[0].n === left * 3);
		}
	});
});

describe('refusals', () => {
	test('a position of another epoch, or ahead of the log, is a resync', async () => {
		const { since } = ok(await server.get('changes'));
		const [epoch, at, start] = since.split(':');
		const other = `${epoch.startsWith('0') ? '1' : '0'}${epoch.slice(1)}`;
		for (const s of [`${other}:${at}:${start}`, `${epoch}:999999999:${start}`])
			assert.equal(ok(await server.get('changes', { since: s })).resync, true);
		for (const s of ['x', '1', `${epoch}:-1:0`, `${epoch}:1`, `${since}'; --`,
			`${epoch}:${MAX}0:0`])
			failed(await server.get('changes', { since: s }), 400, 'invalid_since', 'since');
	});

	test('invalid fields of the request are refused', async () => {
		const m = upsert(fresh(), {}, 0);
		const post = (body) => server.post('changes', body);
		failed(await post({ mutations: [m] }), 400, 'missing_field', 'client_id');
		failed(await post({ client_id: 'c' }), 400, 'missing_field', 'mutations');
		failed(await post({ client_id: 'x'.repeat(65), mutations: [m] }), 400, 'invalid_value', 'client_id');
		failed(await post({ client_id: 'c', mutations: [] }), 400, 'invalid_value', 'mutations');
		failed(await post({ client_id: 'c', mutations: m }), 400, 'invalid_value', 'mutations');
		refused(ok(await post({ client_id: 'c', mutations: [1] })).results[0], 400, 'invalid_value');
		failed(await post({ client_id: 'c', mutations: Array(101).fill(m) }), 400, 'invalid_value',
			'mutations');
		failed(await post({ client_id: 'c', mutations: [m], socket_id: 'x' }), 400, 'invalid_value',
			'socket_id');
		failed(await post({ client_id: 'c', mutations: [m], colour: 1 }), 400, 'unknown_field', 'colour');
		failed(await server.get('changes', { types: 'a', resources: 'a:1' }), 400, 'invalid_value', 'types');
		failed(await server.get('changes', { resources: 'a' }), 400, 'invalid_value', 'resources');
		failed(await server.get('changes', { resources: `a:'; DROP TABLE sync_entity; --` }), 400,
			'invalid_value', 'resource_id');
		failed(await server.get('changes', { limit: 0 }), 400, 'invalid_value', 'limit');
		failed(await server.get('versions'), 400, 'missing_field', 'resources');
		failed(await server.get('versions', { types: 'a', resources: 'a:1' }), 400, 'missing_field',
			'resources');
		failed(await server.get('versions', { types: 'a', cursor: 'x' }), 400, 'invalid_cursor', 'cursor');
		assert.deepEqual(ok(await server.get('versions', { types: `' OR true --` })).versions, []);
		assert.deepEqual(ok(await server.get('changes', { types: `' OR true --` })).changes, []);
		assert.deepEqual(await versions(m), [{ resource_type: m.resource_type,
			resource_id: m.resource_id, version: 0, deleted: false, updated_at: null }]);
	});

	test('invalid fields of a mutation are refused', async () => {
		const r = fresh();
		const cases = [
			[{ mutation_id: undefined }, 'missing_field', 'mutation_id'],
			[{ mutation_id: '' }, 'invalid_value', 'mutation_id'],
			[{ mutation_id: 'x'.repeat(65) }, 'invalid_value', 'mutation_id'],
			[{ mutation_id: { a: 1 } }, 'invalid_value', 'mutation_id'],
			[{ mutation_id: 1.5 }, 'invalid_value', 'mutation_id'],
			[{ resource_type: null }, 'missing_field', 'resource_type'],
			[{ resource_type: 'a.b' }, 'invalid_value', 'resource_type'],
			[{ resource_type: `'; --` }, 'invalid_value', 'resource_type'],
			[{ resource_id: [] }, 'invalid_value', 'resource_id'],
			[{ resource_id: 'a,b' }, 'invalid_value', 'resource_id'],
			[{ resource_id: `1' OR '1'='1` }, 'invalid_value', 'resource_id'],
			[{ op: 'insert' }, 'invalid_value', 'op'],
			[{ op: null }, 'invalid_value', 'op'],
			[{ op: 'delete' }, 'invalid_value', 'data'],
			[{ op: 'delete', data: undefined }, 'invalid_value', 'expected_version'],
			[{ data: undefined }, 'invalid_value', 'data'],
			[{ data: [1] }, 'invalid_value', 'data'],
			[{ data: 'text' }, 'invalid_value', 'data'],
			[{ data: { x: 'x'.repeat(65536) } }, 'data_too_large', 'data'],
			[{ data: JSON.parse(`${'{"a":'.repeat(33)}1${'}'.repeat(33)}`) }, 'data_too_deep', 'data'],
			[{ expected_version: undefined }, 'missing_field', 'expected_version'],
			[{ expected_version: -1 }, 'invalid_value', 'expected_version'],
			[{ expected_version: '1' }, 'invalid_value', 'expected_version'],
			[{ expected_version: 1.5 }, 'invalid_value', 'expected_version'],
			[{ lock_token: 'x' }, 'invalid_value', 'lock_token'],
			[{ lock_token: -5 }, 'invalid_value', 'lock_token'],
			[{ colour: 'red' }, 'unknown_field', 'colour'],
		];
		for (const [wrong, code, field] of cases)
			refused(await mutate(server, { ...upsert(r, {}, 0), ...wrong }), 400, code, field);
		assert.equal((await versions(r))[0].version, 0);
		const deep = JSON.parse(`${'{"a":'.repeat(32)}1${'}'.repeat(32)}`);
		assert.equal((await mutate(server, upsert(r, deep, 0))).status, 200);
		const sql = { mutation_id: `'); DROP TABLE sync_change; --`, ...fresh(), op: 'upsert',
			expected_version: 0, data: { [`'; DROP`]: `'); DELETE FROM sync_entity; --` } };
		assert.equal((await mutate(server, sql, { client_id: `' OR ''='` })).status, 200);
		assert.deepEqual((await now(sql)).data, sql.data);
	});

	test('a patch that exceeds the resource\'s limit is refused', async () => {
		const r = fresh();
		await mutate(server, upsert(r, { a: 'x'.repeat(40000) }, 0));
		refused(await mutate(server, { ...upsert(r, { b: 'x'.repeat(40000) }, 1), op: 'patch' }), 400,
			'data_too_large', 'data');
		assert.equal((await now(r)).version, 1);
	});

	test('a mutation that cannot be stored is refused alone', async () => {
		const cases = { nul: '{"t":"x\\u0000y"}', surrogate: '{"t":"\\ud83d"}', number: '{"n":1e999}',
			integer: '{"n":[18446744073709551616]}', small: '{"n":1e-400}', name: '{"\\u0000":1}', twice: '{"a":1,"a":2}' };
		const r = Object.keys(cases).map(() => fresh());
		const good = [fresh(), fresh()];
		const list = [upsert(good[0], { n: 1 }, 0), ...r.map((one, i) => upsert(one, `case ${i}`, 0)), 7,
			upsert(good[1], { n: 2 }, 0)];
		let body = JSON.stringify({ client_id: 'c', mutations: list });
		Object.values(cases).forEach((text, i) => { body = body.replace(`"case ${i}"`, text); });
		const { results } = ok(await server.call('POST', 'changes', { body }));
		assert.deepEqual(results.map((one) => one.mutation_id),
			list.map((m) => (m === 7 ? null : m.mutation_id)));
		assert.deepEqual(results.map((one) => one.status), [200, ...r.map(() => 400), 400, 200]);
		for (const one of results.slice(1, -2)) refused(one, 400, 'invalid_value', 'data');
		for (const one of results.slice(1, -2)) assert.match(one.error.message, /too large|changed|u0000|surrogate|twice/);
		refused(results.at(-2), 400, 'invalid_value');
		assert.deepEqual((await now(good[1])).data, { n: 2 });
		const twice = ok(await server.call('POST', 'changes', { body: `{"client_id":"c","mutations":[
			{"mutation_id":"t","op":"delete","op":"delete"}]}` })).results[0];
		assert.deepEqual([twice.status, twice.mutation_id], [400, 't']);
	});

	test('the error about a body that cannot be parsed names the position', async () => {
		const answer = await server.call('POST', 'changes',
			{ body: '{"client_id":"c",\n"mutations":[{"mutation_id":}]}' });
		failed(answer, 400, 'invalid_json');
		assert.match(answer.json.error.message, /at byte 47 \(line 2, column 29\)/);
	});

	test('data may be nested 32 levels deep, not 33', async () => {
		const deep = (n) => JSON.parse(`${'{"a":'.repeat(n - 1)}{}${'}'.repeat(n - 1)}`);
		assert.equal((await mutate(server, upsert(fresh(), deep(32), 0))).status, 200);
		refused(await mutate(server, upsert(fresh(), deep(33), 0)), 400, 'data_too_deep', 'data');
	});

	test('too large integers and bodies are refused', async () => {
		const r = fresh();
		const raw = (expected) => server.call('POST', 'changes', { body: JSON.stringify({ client_id: 'c',
			mutations: [upsert(r, {}, 'N')] }).replace('"N"', expected) });
		refused(ok(await raw('9223372036854775808')).results[0], 400, 'invalid_value', 'expected_version');
		refused(ok(await raw('1e999')).results[0], 400, 'invalid_value', 'expected_version');
		refused(ok(await raw('1e30')).results[0], 400, 'invalid_value', 'expected_version');
		const body = JSON.stringify({ client_id: 'c', mutations: Array.from({ length: 17 }, () =>
			upsert(fresh(), { x: 'x'.repeat(62000) }, 0)) });
		assert.ok(body.length > 1048576);
		const answer = await server.call('POST', 'changes', { body });
		assert.equal(answer.status, 413, answer.text);
		assert.match(answer.text, /larger than the 262144 bytes/);
	});
});
