// SPDX-License-Identifier: MIT
// Who may do what in the database: roles other than the daemon's and the owner's try to act as them.
// What is tried is taken from the catalog, so that a new function or table is tried too.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { Sync, query, startDaemon } from '../lib/harness.mjs';

/** A daemon with a schema, and a role of the application that may create objects in public. */
async function daemonAndRole(t, options = {}) {
	const daemon = await startDaemon(options, t);
	const { host, name } = daemon.database;
	const role = `hostile_${name}`;
	const admin = (text) => query(host, name, text, [], 'postgres');
	await admin(`CREATE ROLE ${role} LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO ${role}`);
	t.after(() => admin(`DROP OWNED BY ${role}; DROP ROLE ${role}`));
	return { daemon, role, admin, as: (text) => query(host, name, text, [], role) };
}

/** One of each of our objects in public, by the role: functions, operators, tables, types. */
const SHADOWS = `
CREATE SEQUENCE public.hijacked;
CREATE FUNCTION public.hijack() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS
	$$ BEGIN PERFORM nextval('public.hijacked'); RETURN true; END $$;
DO $do$
DECLARE
	one record;
	types text;
BEGIN
	-- Our functions: with their own types, and with text only, which untyped parameters prefer.
	FOR one IN SELECT p.proname AS name, p.pronargs AS n,
			pg_catalog.pg_get_function_identity_arguments(p.oid) AS arguments
		FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'scopewire'::pg_catalog.regnamespace
		AND p.prokind = 'f' AND p.prorettype <> 'trigger'::pg_catalog.regtype
	LOOP
		types := rtrim(repeat('text, ', one.n), ', ');
		EXECUTE format('CREATE OR REPLACE FUNCTION public.%I(%s) RETURNS text LANGUAGE plpgsql AS '
			'$f$ BEGIN PERFORM public.hijack(); RETURN ''yes''; END $f$', one.name, types);
	END LOOP;
	-- Functions of pg_catalog that our statements call.
	FOREACH types IN ARRAY '{set_config,quote_ident,concat,nextval,unnest,pg_advisory_xact_lock,json_to_recordset}'::text[]
	LOOP
		EXECUTE format('CREATE OR REPLACE FUNCTION public.%I(text) RETURNS text LANGUAGE plpgsql AS '
			'$f$ BEGIN PERFORM public.hijack(); RETURN $1; END $f$', types);
		EXECUTE format('CREATE OR REPLACE FUNCTION public.%I(text, text, boolean) RETURNS text '
			'LANGUAGE plpgsql AS $f$ BEGIN PERFORM public.hijack(); RETURN $2; END $f$', types);
	END LOOP;
	-- Operators, for types that pg_catalog has none for.
	FOR one IN SELECT o AS name, l, r FROM unnest('{=,<>,<,>,<=,>=,||,+,-,->>,&&,@>}'::text[]) o,
		unnest('{text,integer,bigint,jsonb,json}'::text[]) l,
		unnest('{text,integer,bigint,jsonb,json}'::text[]) r
	LOOP
		EXECUTE format('CREATE OR REPLACE FUNCTION public.hijack_op(%s, %s) RETURNS boolean '
			'LANGUAGE plpgsql AS $f$ BEGIN RETURN public.hijack(); END $f$', one.l, one.r);
		EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, '
			'FUNCTION = public.hijack_op)', one.name, one.l, one.r);
	END LOOP;
	-- Our tables and views.
	FOR one IN SELECT c.relname AS name FROM pg_catalog.pg_class c
		WHERE c.relnamespace = 'scopewire'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p', 'v')
	LOOP
		EXECUTE format('CREATE VIEW public.%I AS SELECT public.hijack() AS id', one.name);
	END LOOP;
END
$do$;
-- The daemon calls this with a row of output columns.
DROP FUNCTION public.channel_authorize(text, text, text);
CREATE FUNCTION public.channel_authorize(app text, caller text, channel text,
	OUT verdict text, OUT name text, OUT avatar text) LANGUAGE sql
	AS $$SELECT 'yes', current_user::text || public.hijack()::text, ''$$;`;

/** Something of everything the daemon does with the database. */
async function useEverything(daemon) {
	const server = Sync.server(daemon), user = Sync.user(daemon, 7);
	const wire = await daemon.connect();
	await wire.subscribe('c');
	await daemon.api().trigger('c', 'Http', '{}');
	await wire.next({ event: 'Http' });
	await daemon.query(`SELECT scopewire.broadcast('c', 'Sql', '{}')`);
	await wire.next({ event: 'Sql' });
	wire.close();
	const ok = async (answer) => {
		const { status, text } = await answer;
		assert.ok(status === 200 || status === 201, text);
	};
	await ok(server.put('users/7', { name: 'Ada', roles: ['x'] }));
	await ok(user.post('heartbeat', { status: 'online' }));
	await ok(server.get('online-users'));
	await ok(server.post('notifications', { to: 7, title: 'T' }));
	await ok(user.get('notifications'));
	await ok(server.get('events', { channels: 'c' }));
	await ok(server.post('changes', { client_id: 'k', mutations: [{
		mutation_id: 'm', resource_type: 'note', resource_id: '1', expected_version: null, op: 'upsert',
		data: { a: 1 } }] }));
}

test('objects in public are never used instead of the daemon\'s own', async (t) => {
	const { daemon, as, admin } = await daemonAndRole(t);
	const { name } = daemon.database;
	await as(SHADOWS);
	// The second is what a session finds before the daemon sets its own search_path.
	for (const path of ['"$user", public', 'public, pg_catalog']) {
		await admin(`ALTER DATABASE ${name} SET search_path = ${path}`);
		await daemon.restart();
		const answer = await Sync.user(daemon, 7).post('/broadcasting/auth',
			{ socket_id: '1.2', channel_name: 'private-without-a-rule' });
		assert.equal(answer.status, 403, answer.text);
		await useEverything(daemon);
		assert.deepEqual(await admin('SELECT is_called FROM public.hijacked'),
			[{ is_called: false }]);
	}
});
