// SPDX-License-Identifier: MIT
// Who may do what in the database: roles other than the daemon's and the owner's try to act as them.
// What is tried is taken from the catalog, so that a new function or table is tried too.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { APP, Sync, binaries, join, query, request, startDaemon, useEverything, waitFor } from '../lib/harness.mjs';

/** A daemon with a schema, and a role of the application that may create objects in public. */
async function daemonAndRole(t, options = {}) {
	const daemon = await startDaemon(options, t);
	const { host, name } = daemon.database;
	const role = `hostile_${name}`;
	const admin = (text) => query(host, name, text, [], 'postgres');
	await admin(`CREATE ROLE ${role} LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO ${role}`);
	t.after(() => admin(`DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`));
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

/** The role that predicates run as, of this database only. */
async function predicatesRole(t, daemon, admin) {
	const role = `rules_${daemon.database.name}`;
	await admin(`CREATE ROLE ${role} NOLOGIN; GRANT ${role} TO scopewire`);
	t.after(async () => {
		await daemon.query('SELECT channel_predicates_as(current_user)');
		await admin(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
	});
	await daemon.query('SELECT channel_predicates_as($1)', [role]);
	return role;
}

// Each attempt is a block of its own: one that fails undoes only itself.
const attempts = (statements) => statements.map((one) =>
	`BEGIN ${one}; got := got || $a$${one}$a$; EXCEPTION WHEN OTHERS THEN NULL; END;`).join('\n');

test('the code of a predicate has no rights on our tables and cannot get any', async (t) => {
	const { daemon, role, as, admin } = await daemonAndRole(t);
	const rules = await predicatesRole(t, daemon, admin);
	// The portal's own function; the call finds the hostile one, whose types fit better.
	await daemon.query(`CREATE FUNCTION public.is_member(text, numeric) RETURNS boolean
		LANGUAGE sql AS 'SELECT false'`);
	const tables = await daemon.query(`SELECT format('%I.%I', relnamespace::regnamespace, relname)
		AS name FROM pg_class WHERE relnamespace = 'scopewire'::regnamespace
		AND relkind IN ('r', 'p', 'v')`);
	assert.ok(tables.length > 20);
	await as(`CREATE FUNCTION public.is_member(id text, who bigint) RETURNS boolean LANGUAGE plpgsql AS
		$f$ DECLARE got text := ''; BEGIN
		IF current_user <> '${rules}' THEN got := 'as ' || current_user; END IF;
		${attempts([...tables.map(({ name }) => `PERFORM count(*) FROM ${name}`),
		...['SET ROLE scopewire', 'SET ROLE NONE', 'RESET ROLE', 'SET SESSION AUTHORIZATION scopewire',
			'CREATE TEMP TABLE held (a integer)', 'GRANT USAGE ON SCHEMA scopewire TO PUBLIC',
			`SET transaction_read_only = off`, `ALTER FUNCTION scopewire.channel_predicate_run SET jit = on`,
			`PERFORM scopewire.channel_evaluate('a', '{}', 'c')`]])}
		RETURN id = 'reached' OR got <> ''; END $f$`);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument)
		VALUES ('m.{id}', 'sql', 'is_member({id}, {user})')`);
	const status = async (channel) => (await Sync.user(daemon, 7).post('/broadcasting/auth',
		{ socket_id: '1.2', channel_name: channel })).status;
	assert.equal(await status('private-m.reached'), 200, 'the hostile function is called');
	assert.equal(await status('private-m.1'), 403);
	assert.equal(await admin(`SELECT pg_has_role('${role}', 'scopewire', 'MEMBER') AS is`)
		.then(([row]) => row.is), false);
});

test('the code of a predicate leaves nothing in the session that runs it', async (t) => {
	const { daemon, as, admin } = await daemonAndRole(t, { sections: { sync: { rule_connections: 1 } } });
	await predicatesRole(t, daemon, admin);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument) VALUES
		('before.{id}', 'sql', '{id} = ''yes'''), ('hostile.{id}', 'sql', 'true')`);
	const status = async (channel) => (await Sync.user(daemon, 7).post('/broadcasting/auth',
		{ socket_id: '1.2', channel_name: `private-${channel}` })).status;
	assert.equal(await status('before.yes'), 200);
	await as(`CREATE FUNCTION public.channel_evaluate(text, jsonb, text, OUT allowed boolean, OUT trouble text)
		LANGUAGE sql AS 'SELECT true, ''''';
		CREATE FUNCTION public.hostile() RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN
		PERFORM set_config('search_path', 'public', false), set_config('statement_timeout', '1', false);
		EXECUTE 'UNLISTEN *';
		EXECUTE 'DEALLOCATE ALL';
		FOR i IN 0..9 LOOP
			EXECUTE format('PREPARE s%s (text, jsonb, text) AS SELECT true AS allowed, '''' AS trouble', i);
		END LOOP;
		EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT public.hostile()';
		RETURN true; END $f$`);
	await daemon.query(`UPDATE channel_rules SET argument = 'hostile()' WHERE pattern LIKE 'hostile%'`);
	assert.equal(await status('hostile.1'), 200);
	assert.equal(await status('before.no'), 403);
	assert.equal(await status('before.yes'), 200);
	const own = await daemon.session();
	const { rows } = await own.query(`SELECT allowed FROM channel_evaluate($1, '{"id":7}', 'private-hostile.1')`,
		[APP.id]);
	assert.equal(rows[0].allowed, true);
	assert.deepEqual((await own.query('SELECT name FROM pg_prepared_statements WHERE from_sql')).rows, []);
	// An error that WHEN OTHERS does not catch.
	await as(`CREATE FUNCTION public.canceled() RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN
		EXECUTE 'PREPARE kept AS SELECT 1';
		RAISE EXCEPTION 'x' USING ERRCODE = 'query_canceled'; END $f$`);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument) VALUES ('canceled.{id}', 'sql', 'canceled()')`);
	await assert.rejects(own.query(`SELECT allowed FROM channel_evaluate($1, '{"id":7}', 'private-canceled.1')`, [APP.id]), { code: '57014' });
	assert.deepEqual((await own.query('SELECT name FROM pg_prepared_statements WHERE from_sql')).rows, []);
	await own.end();
	// The session still listens: a change of the rules takes effect.
	await daemon.query(`INSERT INTO channel_rules (pattern, rule) VALUES ('before.{id}', 'anyone')`);
	await waitFor(async () => await status('before.no') === 200, 'the new rule');
});

test('predicates run with the search_path of their rule', async (t) => {
	const { daemon } = await daemonAndRole(t);
	await daemon.query(`CREATE SCHEMA crm; CREATE TABLE crm.staff (id bigint);
		INSERT INTO crm.staff VALUES (7)`);
	const add = (path) => daemon.query(`INSERT INTO channel_rules (pattern, rule, argument, search_path)
		VALUES ('staff', 'sql', 'EXISTS (SELECT FROM staff WHERE id = {user})', $1)`, [path]);
	await assert.rejects(add('public'), /relation "staff" does not exist/);
	await add('crm, public');
	const status = async (id) => (await Sync.user(daemon, id).post('/broadcasting/auth',
		{ socket_id: '1.2', channel_name: 'private-staff' })).status;
	assert.equal(await status(7), 200);
	assert.equal(await status(8), 403);
});

test('a role with rights on the schema is refused for predicates', async (t) => {
	const { daemon, role, admin } = await daemonAndRole(t);
	await admin(`GRANT USAGE ON SCHEMA scopewire TO ${role}; GRANT ${role} TO scopewire`);
	await assert.rejects(daemon.query('SELECT channel_predicates_as($1)', [role]),
		/has rights on the schema/);
});

test('predicates that run as the owner are reported at the start', async (t) => {
	const { daemon } = await daemonAndRole(t);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument) VALUES ('x', 'sql', 'true')`);
	await daemon.restart();
	await waitFor(() => /predicates of channel rules run as the role scopewire/.test(daemon.logText),
		'the warning');
});

/** Runs grants.sql as the owner. */
function grants({ host, name }, what) {
	execFileSync(path.join(binaries(), 'psql'), ['-X', '-q', '-h', host, '-U', 'scopewire', '-v',
		'schema=scopewire', ...Object.entries(what).flatMap(([k, v]) => ['-v', `${k}=${v}`]), '-f',
		fileURLToPath(new URL('../../sql/grants.sql', import.meta.url)), name], { stdio: 'pipe' });
}

const OURS = `'scopewire'::pg_catalog.regnamespace`;
const FUNCTIONS = `SELECT p.oid, p.oid::regprocedure::text AS name, p.proname,
	has_function_privilege($1, p.oid, 'EXECUTE') AS may FROM pg_catalog.pg_proc p
	WHERE p.pronamespace = ${OURS} AND p.prorettype <> 'trigger'::pg_catalog.regtype ORDER BY 2`;

test('PUBLIC has no right on anything of the schema', async (t) => {
	const { role, daemon, as } = await daemonAndRole(t);
	const functions = await daemon.query(FUNCTIONS, [role]);
	assert.ok(functions.length > 100);
	assert.deepEqual(functions.filter((f) => f.may).map((f) => f.name), []);
	const tables = await daemon.query(`SELECT c.relname FROM pg_class c WHERE c.relnamespace = ${OURS}
		AND c.relkind IN ('r', 'p', 'v', 'm', 'S') AND (
			c.relkind = 'S' AND has_sequence_privilege($1, c.oid, 'USAGE, SELECT, UPDATE') OR
			c.relkind <> 'S' AND (has_any_column_privilege($1, c.oid, 'SELECT, INSERT, UPDATE')
				OR has_table_privilege($1, c.oid, 'DELETE, TRUNCATE, TRIGGER, REFERENCES')))`, [role]);
	assert.deepEqual(tables, []);
	await assert.rejects(as('SELECT scopewire.lock_key($$polling$$)'), /permission denied for schema/);
});

// A call of each function that grants.sql names for an application: a new one is added here.
const CALLS = {
	broadcast: [`'c', 'E', '{}'`, `'c', 'E', '{}', 'id-1', '1.2', '${APP.id}'`,
		`'${'c'.repeat(300)}', 'E', '{}'`, `'c', 'pusher:x', '"x"'`, `'{c,d}'::text[], 'E', '{}'`],
	position: [''],
	event_report: [`'id-1'`],
	payload_get: [`'{"a":1}'`, `'a'`],
	lock_key: [`'polling'`],
	log_horizon: [''],
	activity_add: [`'T', 'd', 7, 'r', '1', '{"a":1}'`, `'T', app => '${APP.id}'`],
	user_put: [`7, 'Ada', '/ada.png', '{x}'`, `7, app => '${APP.id}'`],
	user_delete: ['7', `7, '${APP.id}'`],
	notification_send: [`'{7,8}', 'title', 'm', 't', '{"a":1}'`],
	notifications_read: ['7', `7, ARRAY[pg_catalog.gen_random_uuid()]`],
	resource_put: [`'note', '1', '{"a":1}'`, `'note', '2', '{"a":[1.5]}', '${APP.id}', '1.2'`, `'no.te', '1', '{}'`],
	resource_delete: [`'note', '1'`, `'note', '1', '${APP.id}', '1.2'`],
	watch: [`'hostile.watched', 'c.{id}'`, `'scopewire.apps', 'c.{secret}'`,
		`'scopewire.realtime_events', 'c'`],
	watch_define: [`'hostile.watched', 'd.{id}', NULL, '{insert}', NULL, NULL`],
	unwatch: [`'hostile.watched', 'c.{id}'`, `'hostile.watched', NULL`],
	watch_attach: [`(SELECT w FROM scopewire.watches w WHERE w.relation = 'hostile.watched'::pg_catalog.regclass LIMIT 1)`],
	watch_forget: ['1', '2'],
	lock_check: [`'r', '1', 1`],
	channel_allows: [`'${APP.id}', '{"id":7,"roles":["x"]}', 'private-c.1'`],
	require_channel: [`'${APP.id}', '{"id":7}', 'private-none'`],
};

/** Called by name in migrations of the application, as the owner. */
const OF_OWNER = ['sync_validate_with'];

test('parameters of functions that no application calls begin with p_', async (t) => {
	const { daemon } = await daemonAndRole(t);
	const others = await daemon.query(`SELECT p.oid::regprocedure::text AS name, p.proargnames[i] AS parameter
		FROM pg_catalog.pg_proc p, generate_subscripts(p.proargnames, 1) i WHERE p.pronamespace = ${OURS}
		AND coalesce(p.proargmodes[i], 'i') IN ('i', 'b', 'v') AND p.proargnames[i] NOT LIKE 'p\\_%'
		AND p.proname <> ALL ($1)`, [[...Object.keys(CALLS), ...OF_OWNER]]);
	assert.deepEqual(others, []);
});

/**
 * In the schema hostile: the functions and operators of pg_catalog that ours use, domains with the
 * names of types, and views with the names of our tables.  Each calls canary(), which records when it
 * has the rights of another role.
 */
const CANARIES = `
CREATE SEQUENCE hostile.escaped;
CREATE FUNCTION hostile.canary() RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN
	IF current_user OPERATOR(pg_catalog.<>) session_user THEN
		PERFORM pg_catalog.nextval('hostile.escaped');
	END IF;
	RETURN true; END $f$;
GRANT USAGE ON SCHEMA hostile TO PUBLIC;
GRANT ALL ON SEQUENCE hostile.escaped TO PUBLIC;
DO $do$
DECLARE
	one record;
	arguments text;
	source text := (SELECT string_agg(p.prosrc, ' ') FROM pg_proc p WHERE p.pronamespace = ${OURS});
BEGIN
	FOR one IN SELECT p.proname, p.oid, p.pronargs, p.proargtypes, p.prorettype, p.proretset FROM pg_proc p
		WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f'
		AND p.provariadic = 0 AND source ~ ('\\m' || p.proname || '\\M *\\(')
		AND p.prolang <> (SELECT l.oid FROM pg_language l WHERE l.lanname = 'c')
	LOOP
		BEGIN
			SELECT coalesce(string_agg(format('$%s', n), ', '), '') INTO arguments
			FROM generate_series(1, one.pronargs) n;
			EXECUTE format('CREATE FUNCTION hostile.%I(%s) RETURNS %s LANGUAGE plpgsql AS '
				'$f$ BEGIN PERFORM hostile.canary(); RETURN %s pg_catalog.%I(%s); END $f$',
				one.proname, pg_get_function_identity_arguments(one.oid),
				CASE WHEN one.proretset THEN 'SETOF ' ELSE '' END || one.prorettype::regtype,
				CASE WHEN one.proretset THEN 'QUERY SELECT * FROM' ELSE '' END, one.proname, arguments);
		EXCEPTION WHEN OTHERS THEN NULL; -- pseudo types
		END;
	END LOOP;
	-- Those of VARIADIC "any" take an array or text here; the nearer type wins.
	FOREACH arguments IN ARRAY '{concat,concat_ws,format,json_build_object,jsonb_build_object}'::text[] LOOP
		EXECUTE format('CREATE FUNCTION hostile.%I(VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS '
			'$f$ BEGIN PERFORM hostile.canary(); RETURN array_to_string($1, ''''); END $f$', arguments);
	END LOOP;
	CREATE FUNCTION hostile.step(bigint, anyelement) RETURNS bigint LANGUAGE plpgsql AS
		$f$ BEGIN PERFORM hostile.canary(); RETURN $1 + 1; END $f$;
	CREATE FUNCTION hostile.step(bigint) RETURNS bigint LANGUAGE plpgsql AS
		$f$ BEGIN PERFORM hostile.canary(); RETURN $1 + 1; END $f$;
	CREATE AGGREGATE hostile.count(*) (SFUNC = hostile.step, STYPE = bigint, INITCOND = '0');
	FOREACH arguments IN ARRAY '{count,min,max,sum,array_agg,string_agg}'::text[] LOOP
		EXECUTE format('CREATE AGGREGATE hostile.%I(anyelement) (SFUNC = hostile.step, '
			'STYPE = bigint, INITCOND = ''0'')', arguments);
	END LOOP;
	FOR one IN SELECT o.oprname, o.oprleft::regtype AS l, o.oprright::regtype AS r,
			o.oprresult::regtype AS result, o.oid FROM pg_operator o
		WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprkind = 'b'
		AND (position(' ' || o.oprname || ' ' IN source) > 0
			OR o.oprname IN ('=', '<>', '<', '<=', '>', '>=', '||', '->', '->>', '+', '-', '*', '~', '!~',
				'~~', '!~~', '~~*', '@>', '?'))
	LOOP
		BEGIN
			EXECUTE format('CREATE FUNCTION hostile.%I(%s, %s) RETURNS %s LANGUAGE plpgsql AS '
				'$f$ BEGIN PERFORM hostile.canary(); RETURN $1 OPERATOR(pg_catalog.%s) $2; END $f$',
				'op' || one.oid, one.l, one.r, one.result, one.oprname);
			EXECUTE format('CREATE OPERATOR hostile.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = '
				'hostile.%I)', one.oprname, one.l, one.r, 'op' || one.oid);
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	FOR one IN SELECT unnest('{text,int4,int8,bool,json,jsonb,uuid,timestamptz,name}'::text[]) AS name
	LOOP
		EXECUTE format('CREATE DOMAIN hostile.%I AS pg_catalog.%I CHECK (hostile.canary())',
			one.name, one.name);
	END LOOP;
END
$do$;`;

test('every function of the schema fixes its search_path, or is parsed when it is created', async (t) => {
	const { daemon } = await daemonAndRole(t);
	await daemon.query(`CREATE TABLE public.seen (id integer PRIMARY KEY);
		SELECT watch('public.seen', 'seen')`);
	const functions = await daemon.query(`SELECT p.proname AS name, p.prosecdef AS definer,
		p.prorettype = 'trigger'::regtype AS trigger, p.prosqlbody IS NOT NULL AS parsed,
		(SELECT c FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%') AS path
		FROM pg_proc p WHERE p.pronamespace = ${OURS}`);
	assert.ok(functions.some((f) => /^watch_\d+$/.test(f.name)));
	const fixed = /^search_path=(scopewire|pg_catalog), pg_temp$/;
	assert.deepEqual(functions.filter((f) => (f.definer || f.trigger) && !fixed.test(f.path)), []);
	assert.deepEqual(new Set(functions.filter((f) => !f.parsed && !fixed.test(f.path)).map((f) => f.name)),
		new Set(['broadcast']));
});

/** Constructs that find an operator by its name, although none is written. */
const HIDDEN = [`lower(p) = 'x'`, `nullif(p, 'y') IS NULL`, `CASE p WHEN 'x' THEN true ELSE false END`,
	`p IN ('x', 'y')`, `p = ANY (ARRAY['x', 'y'])`, `p BETWEEN 'a' AND 'z'`, `p IS DISTINCT FROM 'x'`,
	`p LIKE 'x%'`, `p || 'y' IS NOT NULL`, `'{"a":1}'::pg_catalog.json->>'a' IS NULL`, `length(p) > 0`, `now() IS NULL`,
	`EXISTS (SELECT FROM (SELECT p AS b) a JOIN (SELECT p AS b) c USING (b))`,
	`(SELECT count(*) IS NULL)`, `concat(p, 'y') IS NULL`, `EXISTS (SELECT FROM unnest(ARRAY[p]))`];

/** Statements of the role that run our triggers: those of the log, and those of a watched table. */
const TRIGGERING = [`INSERT INTO scopewire.realtime_events (channel, event_type, payload) VALUES ('c', 'E', '{}')`,
	`INSERT INTO scopewire.realtime_events (channel, event_type, payload) VALUES ('c', 'E', NULL)`,
	`INSERT INTO scopewire.realtime_events (channel, event_type, event_id, exclude_socket)
		VALUES ('c', 'E', pg_catalog.gen_random_uuid()::pg_catalog.text, '1.2')`,
	`INSERT INTO scopewire.realtime_events (channel, event_type) VALUES ('no channel', 'E')`,
	`INSERT INTO scopewire.realtime_events (channel, event_type) VALUES ('c', 'pusher:x')`,
	`INSERT INTO scopewire.realtime_events (channel, event_type, app) VALUES ('c', 'E', 'none')`,
	`INSERT INTO hostile.changed VALUES (1, 'a', 'x'), (2, 'b', 'y')`,
	`INSERT INTO hostile.changed VALUES (3, 'b', pg_catalog.repeat('x', 20000))`,
	`UPDATE hostile.changed SET note = 'z'`, `UPDATE hostile.changed SET room = 'c'`,
	`UPDATE hostile.changed SET id = id OPERATOR(pg_catalog.+) 10`, `DELETE FROM hostile.changed`,
	`TRUNCATE hostile.changed`, `INSERT INTO hostile.faulty VALUES (1)`];

test('an application\'s role cannot act as the owner through what it was granted', async (t) => {
	const { daemon, role, admin } = await daemonAndRole(t);
	const { host, name: database } = daemon.database;
	await admin(`CREATE SCHEMA hostile AUTHORIZATION ${role}`);
	grants(daemon.database, { role });
	grants(daemon.database, { role });     // it may be run again
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument)
		VALUES ('c.{id}', 'sql', '{id}::bigint = {user}')`);
	const granted = (await daemon.query(FUNCTIONS, [role])).filter((f) => f.may);
	const names = [...new Set(granted.map((f) => f.proname))];
	assert.deepEqual(names.filter((f) => !CALLS[f]), [],
		'a function without a call in this test');
	const client = new pg.Client({ host, database, user: role, port: 5432 });
	await client.connect();
	try {
		await client.query(CANARIES);
		const [{ n }] = (await client.query(`SELECT count(*)::pg_catalog.int4 AS n FROM pg_proc
			WHERE pronamespace = 'hostile'::regnamespace`)).rows;
		assert.ok(n > 300, `${n} functions`);
		await client.query(`CREATE TABLE hostile.watched (id integer PRIMARY KEY)`);
		const escaped = async () => (await admin('SELECT is_called FROM hostile.escaped'))[0].is_called;
		// The canaries find whatever a function does that does not fix its search_path.
		for (const hidden of HIDDEN) {
			await daemon.query(`CREATE OR REPLACE FUNCTION leaky(p text) RETURNS boolean LANGUAGE plpgsql
				SECURITY DEFINER AS $$ BEGIN RETURN ${hidden}; END $$; GRANT EXECUTE ON FUNCTION leaky TO ${role}`);
			await client.query(`SET search_path = hostile, pg_catalog; SELECT scopewire.leaky('x')`).catch(() => {});
			assert.equal(await escaped(), true, hidden);
			await admin(`SELECT setval('hostile.escaped', 1, false)`);
		}
		await daemon.query('DROP FUNCTION leaky');
		await client.query(`RESET search_path;
			CREATE TABLE hostile.changed (id integer PRIMARY KEY, room text, note text);
			CREATE TABLE hostile.faulty (id integer PRIMARY KEY);
			SELECT scopewire.watch('hostile.changed', 'changed.{room}');
			SELECT scopewire.watch('hostile.changed', 'changed');
			SELECT scopewire.watch('hostile.faulty', 'faulty.{id}');
			ALTER TABLE hostile.faulty RENAME id TO other`);
		const tables = await daemon.query(`SELECT relname AS name, relkind FROM pg_class
			WHERE relnamespace = ${OURS} AND relkind IN ('r', 'p', 'v')`);
		for (const { name: table } of tables)
			await client.query(`CREATE TEMP VIEW "${table}" AS SELECT hostile.canary() AS app`);

		// 1. Whatever the search_path finds, nothing of it runs with other rights.
		let succeeded = 0;
		const leaks = [];
		for (const searchPath of ['hostile, pg_catalog', 'pg_temp, hostile, pg_catalog', 'public']) {
			await client.query(`SET search_path = ${searchPath}`);
			for (const setting of ['', APP.id, 'none']) {
				await client.query(`SET scopewire.app = '${setting}'`);
				const statements = [...TRIGGERING, ...names.flatMap((name) =>
					CALLS[name].map((call) => `SELECT scopewire.${name}(${call})`))];
				for (const statement of statements) {
					await client.query(statement).then(() => succeeded++, () => {});    // some are refused
					if (!await escaped()) continue;
					leaks.push(`${searchPath}; ${setting}; ${statement}`);
					await admin(`SELECT setval('hostile.escaped', 1, false)`);
				}
			}
		}
		await client.query('RESET search_path; RESET scopewire.app');
		assert.ok(succeeded > 6 * names.length, `${succeeded} calls succeeded`);
		assert.deepEqual(leaks, []);
		assert.ok((await daemon.query(`SELECT FROM realtime_events WHERE channel IN ('changed', 'changed.c')`))
			.length > 20, 'the triggers of watched tables published');

		// 2. Its own types and casts are converted with its own rights.
		await client.query(`CREATE TYPE hostile.mood AS ENUM ('{"a":1}');
			CREATE FUNCTION hostile.escape(hostile.mood) RETURNS pg_catalog.json LANGUAGE plpgsql AS
				$f$ BEGIN PERFORM hostile.canary(); RETURN '{}'; END $f$;
			CREATE CAST (hostile.mood AS pg_catalog.json) WITH FUNCTION hostile.escape(hostile.mood)
				AS IMPLICIT;
			CREATE DOMAIN hostile.channel AS pg_catalog.text CHECK (hostile.canary());
			INSERT INTO scopewire.realtime_events (channel, event_type, payload)
				VALUES ('c'::hostile.channel, 'E', '{"a":1}'::hostile.mood);
			SELECT scopewire.broadcast('c'::hostile.channel, 'E', '{"a":1}'::hostile.mood)`);
		assert.equal(await escaped(), false);

		// 3. It changes no object, and takes no lock that writers wait for.
		const denied = async (text) => {
			await client.query('BEGIN');
			await assert.rejects(client.query(text), /permission denied|must be owner|must be (able to|member)/, text);
			await client.query('ROLLBACK');
		};
		for (const { name: table, relkind } of tables) {
			if (relkind !== 'v')
				for (const mode of ['SHARE UPDATE EXCLUSIVE', 'SHARE', 'SHARE ROW EXCLUSIVE', 'EXCLUSIVE',
					'ACCESS EXCLUSIVE'])
					await denied(`LOCK TABLE scopewire."${table}" IN ${mode} MODE`);
			await denied(`ALTER ${relkind === 'v' ? 'VIEW' : 'TABLE'} scopewire."${table}" RENAME TO x`);
			await denied(`DROP ${relkind === 'v' ? 'VIEW' : 'TABLE'} scopewire."${table}"`);
			if (relkind === 'v') continue;
			await denied(`DELETE FROM scopewire."${table}"`);
			await denied(`TRUNCATE scopewire."${table}"`);
			await denied(`CREATE TRIGGER x BEFORE INSERT ON scopewire."${table}" EXECUTE FUNCTION
				pg_catalog.suppress_redundant_updates_trigger()`);
		}
		await client.query('SET search_path = scopewire, pg_temp');    // for the names of types
		for (const { name: signature } of await daemon.query(FUNCTIONS, [role])) {
			await denied(`ALTER FUNCTION ${signature} SET search_path = hostile`);
			await denied(`ALTER FUNCTION ${signature} OWNER TO ${role}`);
		}
		for (const text of ['CREATE TABLE scopewire.x (a int4)', 'CREATE VIEW scopewire.x AS SELECT 1',
			'CREATE FUNCTION scopewire.lock_key(int4) RETURNS int4 LANGUAGE sql AS $$SELECT 1$$',
			'SET ROLE scopewire', 'SET SESSION AUTHORIZATION scopewire',
			'ALTER DEFAULT PRIVILEGES FOR ROLE scopewire GRANT ALL ON TABLES TO PUBLIC',
			'SELECT secret FROM scopewire.apps', 'SELECT * FROM scopewire.channel_rules',
			`SELECT nextval('scopewire.realtime_events_serial')`,
			`SELECT setval('scopewire.realtime_events_id_seq', 1)`])
			await denied(text);
	} finally {
		await client.end();    // before the role is dropped
	}
});

test('the daemon works with a role that does not own the schema, and cannot act as the owner',
	async (t) => {
		const { daemon, admin, as, role } = await daemonAndRole(t,
			{ database: { partition_rows: 1000, retention_size: 1 } });
		const { host, name } = daemon.database;
		await predicatesRole(t, daemon, admin);
		await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument)
			VALUES ('c.{id}', 'sql', '{id}::bigint = {user}')`);
		grants(daemon.database, { daemon: role });
		assert.throws(() => grants(daemon.database, { daemon: 'scopewire' }), /owns the schema/);
		await daemon.stop();
		daemon.database.user = role;
		await daemon.start();
		await useEverything(daemon);
		const status = async (id) => (await Sync.user(daemon, id).post('/broadcasting/auth',
			{ socket_id: '1.2', channel_name: 'private-c.7' })).status;
		assert.equal(await status(7), 200);
		assert.equal(await status(8), 403);
		// Retention drops partitions, which belong to the owner.
		const owner = (text) => query(host, name, text);
		const [{ end }] = await owner(`SELECT log_partition_end('realtime_events') AS end`);
		await owner(`SELECT setval('realtime_events_serial', ${end} - 1)`);
		await daemon.restart();
		await waitFor(async () => {
			await owner(`SELECT broadcast('c', 'E', json_build_object('a', repeat('x', 3000)))
				FROM generate_series(1, 500)`);
			return (await owner(`SELECT log_horizon() >= ${end} + 1000 AS done`))[0].done;
		}, 'a partition of the owner is dropped');
		assert.doesNotMatch(daemon.logText, /permission denied|must be owner/);

		for (const text of ['CREATE TABLE scopewire.x (a integer)', 'SET ROLE scopewire',
			`INSERT INTO scopewire.channel_rules (pattern, rule) VALUES ('x', 'anyone')`,
			`UPDATE scopewire.channel_rules SET statement = 'SELECT true'`,
			`INSERT INTO scopewire.apps (id, key, secret) VALUES ('a', 'b', 'c')`,
			`SELECT scopewire.channel_predicate_run('SELECT true', '{}', '1', '{}', '', '')`,
			`SELECT scopewire.channel_predicate_check('SELECT true', 0, 'public')`,
			`SELECT scopewire.channel_predicates_as('${role}')`,
			`SELECT scopewire.sync_validate_with('x', NULL)`,
			`INSERT INTO scopewire.sync_validators VALUES ('x', '', 'public', 'f')`,
			`SELECT scopewire.validator_run('public', 'f', '{}', '{}', '{}')`,
			`SELECT scopewire.log_partition_make('scopewire.realtime_events', 1, 2)`,
			`DROP TABLE scopewire.realtime_events`, 'TRUNCATE scopewire.realtime_events',
			`ALTER FUNCTION scopewire.retention_drop OWNER TO ${role}`,
			`DELETE FROM scopewire.schema_migrations`])
			await assert.rejects(as(text), /permission denied|must be owner|must be able to/, text);
		await assert.rejects(as(`SELECT scopewire.sync_rule_put('${APP.id}', '{"server":true}', 'p', 'sql', 'true', false)`),
			/written in SQL/);
		await daemon.stop();
		daemon.database.user = 'scopewire';
		await daemon.start();
	});

test('a role that does not own an old schema learns who has to migrate it', async (t) => {
	const { daemon, role } = await daemonAndRole(t);
	await daemon.stop();
	grants(daemon.database, { daemon: role });
	await daemon.query('DELETE FROM schema_migrations WHERE version = (SELECT max(version) FROM schema_migrations)');
	daemon.database.user = role;
	await daemon.spawn();
	await daemon.stop({ signal: 0, status: 69 });
	assert.match(daemon.logText, /belongs to the role "scopewire" and lacks migrations .* scopewired --migrate/);
});

/** Notifies the channel as the role, without a pause, for four seconds. */
async function flood(daemon, role, channel) {
	const { host, name } = daemon.database;
	const client = new pg.Client({ host, database: name, user: role, port: 5432 });
	const since = process.hrtime.bigint();
	await client.connect();
	while (process.hrtime.bigint() - since < 4000000000n)
		await client.query(`NOTIFY ${channel}`);
	await client.end();
}

test('notifications of any role make the daemon read its applications once a second at most',
	async (t) => {
		const { daemon, role } = await daemonAndRole(t);
		const scans = async () => Number((await daemon.query(`SELECT seq_scan + coalesce(idx_scan, 0) AS n
			FROM pg_stat_user_tables WHERE relid = 'scopewire.apps'::regclass`))[0].n);
		const before = await scans();
		const since = process.hrtime.bigint();
		await flood(daemon, role, 'scopewire_apps');
		// A change after the flood still counts.
		await daemon.query(`INSERT INTO apps (id, key, secret) VALUES ('late', 'late-key', 'late-secret')`);
		await waitFor(async () => (await daemon.query(`SELECT FROM log_apps WHERE app = 'late'`)).length,
			'the new application');
		const seconds = Number((process.hrtime.bigint() - since) / 1000000000n);
		assert.ok(await scans() - before <= 2 * (seconds + 2), `${await scans() - before} reads`);
	});

test('notifications of any role make the daemon check subscriptions once a second at most', async (t) => {
	const { daemon, role } = await daemonAndRole(t);
	const ids = Array.from({ length: 10 }, (_, i) => 1 + i);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, argument) VALUES
		('own.{id}', 'sql', '{id}::bigint = {user}')`);
	const wires = await Promise.all(ids.map((id) => join(t, Sync.user(daemon, id), `private-own.${id}`)));
	const scans = async () => Number((await daemon.query(`SELECT seq_scan + coalesce(idx_scan, 0) AS n
		FROM pg_stat_user_tables WHERE relid = 'scopewire.channel_rules'::regclass`))[0].n);
	const before = await scans();
	const since = process.hrtime.bigint();
	await flood(daemon, role, 'scopewire_rules');
	// A change after the flood still counts.
	await daemon.query('DELETE FROM channel_rules');
	for (const [i, wire] of wires.entries())
		await wire.next({ event: 'pusher:subscription_error', channel: `private-own.${ids[i]}` });
	const seconds = Number((process.hrtime.bigint() - since) / 1000000000n);
	// A check of a subscription reads the table three or four times; without a limit there are thousands.
	assert.ok(await scans() - before <= 6 * ids.length * (seconds + 2), `${await scans() - before} reads`);
});

test('notifications of any role that events are pending delay no publish', async (t) => {
	const { daemon, role } = await daemonAndRole(t);
	const wire = await daemon.connect();
	await wire.subscribe('c');
	const flooded = flood(daemon, role, 'scopewire_pending');
	for (let n = 0; n < 20; n++) {
		await daemon.query(`SELECT broadcast('c', 'Sql${n}', '{}')`);
		await wire.next({ event: `Sql${n}` });
		assert.equal((await daemon.api().trigger('c', `Http${n}`, '{}')).status, 200);
		await wire.next({ event: `Http${n}` });
	}
	await flooded;
});

/** The role notifies 10,000 times, each in a transaction of its own; returns how many seconds that took. */
async function notifyMuch(daemon, role, channel, payload) {
	const { host, name } = daemon.database;
	const client = new pg.Client({ host, database: name, user: role, port: 5432 });
	const since = process.hrtime.bigint();
	await client.connect();
	for (let i = 0; i < 10000; i++) await client.query(`NOTIFY ${channel}, '${payload}'`);
	await client.end();
	return Number(process.hrtime.bigint() - since) / 1e9;
}

test('10,000 notifications of any role for nothing cost few polls, and events are found meanwhile', async (t) => {
	const { daemon, role, admin } = await daemonAndRole(t);
	await daemon.stop();
	await admin(`ALTER DATABASE ${daemon.database.name} SET track_functions = 'all'`);
	await daemon.start();
	const drains = async () => Number((await daemon.query(`SELECT coalesce(sum(calls), 0) AS n
		FROM pg_stat_user_functions WHERE schemaname = 'scopewire' AND funcname = 'drain'`))[0].n);
	const wire = await daemon.connect();
	await wire.subscribe('news');
	const before = await drains();
	const since = process.hrtime.bigint();
	const flooding = notifyMuch(daemon, role, 'scopewire_pending', '');
	for (let n = 0; n < 20; n++) {
		await daemon.query(`SELECT broadcast('news', 'E', '{}')`);
		await wire.next({ event: 'E' });
	}
	await flooding;
	// Statistics come in a second late: two later ones have all of before.
	for (let i = 0; i < 2; i++) {
		const seen = await drains();
		await waitFor(async () => await drains() > seen, 'statistics');
	}
	const seconds = Number(process.hrtime.bigint() - since) / 1e9;
	// A poll each 10 ms while nothing is found, and some at 2 ms after each event; never one for each notification.
	const n = await drains() - before;
	assert.ok(n <= 300 * seconds + 100, `${n} in ${seconds} s`);
	await wire.close();
});

test('10,000 notifications that a user changed cost few checks of the user\'s subscriptions', async (t) => {
	const { daemon, role } = await daemonAndRole(t,
		{ sections: { admin: { listen: '127.0.0.1:0', local_read: 'yes' } } });
	const [, at] = /admin: listening on (\S+)/.exec(daemon.logText);
	const checks = async () => Number(/^scopewire_authorize_total\{result="allowed"\} (\d+)/m
		.exec((await request(`http://${at}/metrics`)).text)?.[1] ?? 0);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule) VALUES ('watched', 'anyone')`);
	const wire = await join(t, Sync.user(daemon, 7), 'private-watched');
	const before = await checks();
	const seconds = await notifyMuch(daemon, role, 'scopewire_rules', `7 ${daemon.app.id}`);
	assert.ok(await checks() - before <= 6 * seconds + 10, `${await checks() - before} in ${seconds} s`);
	// A change after them still counts.
	await daemon.query(`DELETE FROM channel_rules`);
	await wire.next({ event: 'pusher:subscription_error', channel: 'private-watched' });
});
