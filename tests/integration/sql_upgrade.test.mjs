// SPDX-License-Identifier: MIT
// A schema from before the first release: refused at start, and converted by the script that
// docs/upgrading.md names.  Its state is imitated: new tables, with the old list of migrations.
import { before, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { randomUUID } from 'node:crypto';
import { execFileSync, spawnSync } from 'node:child_process';
import { APP, Sync, binaries, ini, newDatabase, ok, query, runDaemon, startDaemon,
	tempFolder } from '../lib/harness.mjs';

const root = new URL('../..', import.meta.url).pathname;
const inRoot = (...names) => path.join(root, ...names);
const template = inRoot('sql/upgrade/from_unreleased.sql.in');
let database, config;

/** The script for the schema, as the build makes it; from: its template. */
function script(schema, from = template) {
	const migrations = fs.readdirSync(inRoot('sql/migrations')).sort()
		.map((name) => inRoot('sql/migrations', name));
	return execFileSync('sh', [inRoot('sql/upgrade/make.sh'), from, inRoot('src/pg/locks.h'),
		...migrations], { encoding: 'utf8', maxBuffer: 1 << 24 }).replaceAll('@SCHEMA@', schema);
}

const psql = (input, user = database.user, of = database) => spawnSync(path.join(binaries(), 'psql'),
	['-X', '-q', '-h', of.host, '-U', user, '-d', of.name],
	{ input, encoding: 'utf8' });
const sql = (text, values) => query(database.host, database.name, text, values);
/** The columns and attributes that are ids of users, by the catalog. */
const USER_COLUMNS = `SELECT c.oid::regclass AS name, c.relkind, a.attname, t.typcategory = 'A' AS is_list
	FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_class c ON c.oid = a.attrelid
	WHERE c.relkind IN ('r', 'c') AND coalesce(nullif(t.typelem, 0), t.oid) = 'user_key'::regtype
	ORDER BY c.relname, a.attname`;
/** The columns of the tables of a cluster. */
const CLUSTER_COLUMNS = `SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
		|| CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END AS text
	FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'scopewire'::regnamespace
	AND c.relkind = 'r' AND c.relname ~ '^(cluster_|nodes$|node_)' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1`;
/** The functions with their parameters, owners and rights; user_key_base() tells the type. */
const FUNCTIONS = `SELECT p.oid::regprocedure::text AS name, p.proowner::regrole::text AS owner, p.proacl::text AS rights,
	obj_description(p.oid) AS comment FROM pg_proc p WHERE p.pronamespace = 'scopewire'::regnamespace ORDER BY 1`;
const applied = async () => (await sql('SELECT version, name, checksum FROM schema_migrations ORDER BY 1'));

before(async () => {
	database = await newDatabase();
	config = path.join(tempFolder('conf'), 'scopewire.conf');
	const { id, ...app } = APP;
	fs.writeFileSync(config, ini({ server: { port: 0, host: '127.0.0.1' }, [`app ${id}`]: app,
		database: { host: database.host, name: database.name, user: database.user } }));
});

test('a schema from before the first release is converted by the script', async (t) => {
	assert.equal((await runDaemon(['--migrate', '--config', config])).code, 0);
	const now = await applied(), columns = await sql(USER_COLUMNS);
	assert.ok(columns.length >= 15, JSON.stringify(columns));
	const clusterColumns = await sql(CLUSTER_COLUMNS);
	assert.ok(clusterColumns.length >= 10, JSON.stringify(clusterColumns));
	await sql('DROP TABLE cluster_nodes, cluster_channels, cluster_members');
	await sql('CREATE TABLE public.items (id integer PRIMARY KEY)');
	const [{ id }] = await sql(`SELECT watch('items', 'items') AS id`);
	await sql(`CREATE OR REPLACE FUNCTION watch_${id}() RETURNS trigger LANGUAGE plpgsql
		AS $$ BEGIN RAISE 'of an old version'; END $$`);
	await sql(`DROP TRIGGER scopewire_watch_${id}_insert_send ON items`);
	await sql('DROP TABLE log_lock_serials, log_lock_partitions, log_lock_drain, log_lock_retention, admin_tokens, admin_audit, webhook_queue, webhook_reported, webhook_changes, webhook_decider, daemon, sync_validators, nodes, node_sessions, node_generation, node_expected, node_secret; DROP SEQUENCE node_number; DROP TABLE sync_pending CASCADE');
	await sql(`ALTER TABLE log_apps RENAME is_default TO is_only`);
	await sql(`DROP TABLE notification_work, notification_checks; DROP INDEX notifications_new;
		ALTER TABLE notifications DROP CONSTRAINT notifications_pkey,
			DROP CONSTRAINT notifications_number, ADD PRIMARY KEY (app, user_id, number),
			ADD UNIQUE (id)`);
	await sql(`DROP INDEX realtime_events_pending_event_id;
		CREATE UNIQUE INDEX realtime_events_pending_event_id ON realtime_events_pending (event_id)`);
	await sql(`ALTER TABLE apps ALTER enabled TYPE boolean USING true, ALTER enabled SET NOT NULL,
		ALTER enabled SET DEFAULT true, ALTER webhooks TYPE json USING NULL, DROP auth_url`);
	await sql('ALTER TABLE node_cursor RENAME TO relay_cursor; ALTER INDEX node_cursor_pkey RENAME TO relay_cursor_pkey');
	await sql('ALTER TABLE user_presence DROP name, DROP avatar, DROP sockets, DROP is_tied, DROP connected_at, DROP kept_at');
	await sql(`ALTER TABLE watches DROP table_name, DROP channel_regex, DROP channel_like, DROP fault`);
	await sql(`INSERT INTO channel_rules (pattern, rule, argument) VALUES ('a.{id}', 'owner', 'id')`);
	await sql(`ALTER TABLE channel_rules DROP names, DROP regex, ADD names text[], ADD regex text`);
	await sql(`DO $$ DECLARE one record; BEGIN
		EXECUTE (SELECT format('DROP FUNCTION %s', string_agg(oid::regprocedure::text, ', ')) FROM pg_proc
			WHERE pronamespace = 'scopewire'::regnamespace AND prorettype <> 'trigger'::regtype
			AND proname <> ALL ('{broadcast,event_report,watch,watch_define,unwatch,watch_forget,lock_check,iso}'));
		FOR one IN ${USER_COLUMNS} LOOP
			EXECUTE format(CASE one.relkind WHEN 'c' THEN 'ALTER TYPE %s ALTER ATTRIBUTE %I TYPE %s'
				ELSE 'ALTER TABLE %s ALTER %I TYPE %s' END, one.name, one.attname,
				CASE WHEN one.is_list THEN 'bigint[]' ELSE 'bigint' END);
		END LOOP; END $$`);
	await sql(`DROP DOMAIN user_key; DROP INDEX sync_change_key;
		ALTER TABLE users ADD CHECK (id > 0); ALTER TABLE viewers ADD CHECK (user_id > 0);
		ALTER TABLE sync_change ADD PRIMARY KEY (app, user_id, client_id, mutation_id);
		INSERT INTO sync_change (app, user_id, client_id, mutation_id, resource_type, resource_id, op, digest, result)
			VALUES ('a', 0, 'c', '1', 't', '1', 'upsert', '', '{}'), ('a', 7, 'c', '1', 't', '1', 'upsert', '', '{}')`);
	const old = fs.readFileSync(template, 'utf8').match(/EXCEPT ALL VALUES\n([^;]*?)\) THEN/)[1]
		.replace(/\)\s*OR[^]*$/, '');
	await sql('DELETE FROM schema_migrations');
	await sql(`INSERT INTO schema_migrations (version, name, checksum) VALUES ${old}`);
	assert.equal((await applied()).length, 16);

	const { code, log } = await runDaemon(['--config', config]);
	assert.equal(code, 65, log);
	assert.match(log, /before the first release .*docs\/upgrading\.md/);

	const other = psql(script('scopewire'), 'postgres');
	assert.match(other.stderr, /does not belong to postgres/);
	assert.equal(other.status, 3);
	assert.equal((await applied()).length, 16);

	const done = psql(script('scopewire'));
	assert.equal(done.status, 0, done.stderr);
	assert.equal(done.stderr, '');
	assert.deepEqual(await applied(), now);
	assert.deepEqual(await sql('SELECT names, regex FROM channel_rules'),
		[{ names: ['id'], regex: '^a\\.([^.]+)$' }]);

	assert.deepEqual(await sql(USER_COLUMNS), columns);
	assert.deepEqual(await sql(CLUSTER_COLUMNS), clusterColumns);
	assert.deepEqual(await sql('SELECT user_id FROM sync_change ORDER BY 1'), [{ user_id: '7' }, { user_id: null }]);
	assert.deepEqual(await sql(`SELECT conname FROM pg_constraint WHERE contype = 'c'
		AND pg_get_constraintdef(oid) ~ 'id > 0'`), []);

	const daemon = await startDaemon({ database }, t);
	const wire = await daemon.connect();
	await wire.subscribe('items');
	await sql('INSERT INTO items VALUES (1)');
	assert.deepEqual(JSON.parse((await wire.next({ event: 'items.insert' })).data).new, { id: 1 });
});

test('another schema is left as it is', async () => {
	const now = await applied();
	const again = psql(script('scopewire'));
	assert.equal(again.status, 3);
	assert.match(again.stderr, /is not in the last state before the first release/);
	assert.deepEqual(await applied(), now);
	assert.match(psql(script('nowhere')).stderr, /does not exist|has no migrations/);
});

/** A database with what pg_dump writes about the other one, changed by these statements of SQL. */
async function restored(how, statements = '') {
	const other = await newDatabase();
	const dump = execFileSync(path.join(binaries(), 'pg_dump'), ['--no-owner', ...how,
		'-h', database.host, '-U', 'postgres', database.name],
	{ encoding: 'utf8', maxBuffer: 1 << 26 });
	const { status, stderr } = spawnSync(path.join(binaries(), 'psql'), ['-X', '-q', '-v', 'ON_ERROR_STOP=1',
		'-h', other.host, '-U', other.user, '-d', other.name], { input: dump + statements, encoding: 'utf8' });
	assert.equal(status, 0, stderr);
	return other;
}

// What a restore that was made in part leaves out.
const RESTORES = {
	'without its data': [['--schema-only']],
	'without schema_migrations': [['-T', 'scopewire.schema_migrations']],
	'without schema_migrations and data': [['--schema-only', '-T', 'scopewire.schema_migrations']],
	'without functions': [[], `SET client_min_messages = warning;
		DO $$ BEGIN EXECUTE (SELECT format('DROP FUNCTION %s CASCADE',
			string_agg(oid::regprocedure::text, ', ')) FROM pg_proc
			WHERE pronamespace = 'scopewire'::regnamespace); END $$`],
};

for (const [what, how] of Object.entries(RESTORES))
	test(`a schema that was restored ${what} is refused with what to do`, async (t) => {
		const other = await restored(...how);
		const refused = await startDaemon({ database: other }).then(() => null, (e) => e);
		assert.match(refused?.message ?? '', /(schema_migrations is empty|not its functions): .*DROP SCHEMA "scopewire" CASCADE/s);
		await query(other.host, other.name, 'DROP SCHEMA scopewire CASCADE');
		await startDaemon({ database: other }, t);
	});

/** Rows in every table that has ids of users; the answers that show them. */
async function fill(server, user) {
	const note = { resource_type: 'note', resource_id: 1 };
	ok(await server.put('users/7', { name: 'Ada', roles: ['staff'] }));
	ok(await server.post('heartbeat', { user_id: 7, location: '/home' }));
	ok(await server.post('start-viewing', { ...note, user_id: 7 }));
	ok(await server.post('locks', { ...note, user_id: 7, ttl: 600 }));
	ok(await server.post('locks/request', { ...note, user_id: 8, wait: 300 }));
	ok(await server.post('notifications', { to: 7, title: 'Due' }), 201);
	const { activity } = ok(await server.post('activities', { type: 'paid', user_id: 7 }), 201);
	ok(await server.post('activities/read', { reader_id: 7, up_to: activity.id }));
	for (const who of [server, user])
		ok(await who.post('changes', { client_id: 'c', mutations: [{ mutation_id: 'm', ...note, op: 'upsert', data: {},
			expected_version: null }] }));
}

async function shown(server) {
	const note = { resource_type: 'note', resource_id: 1 };
	const { viewers } = ok(await server.get('viewers', note)), { lock } = ok(await server.get('locks', note));
	const { users } = ok(await server.get('online-users')), { notifications } = ok(await server.get('notifications', { user_id: 7 }));
	const { changes } = ok(await server.get('changes')), { activities, unread } = ok(await server.get('activities', { reader_id: 7 }));
	return { id: ok(await server.get('users/7')).user.id, viewer: viewers[0].user_id, holder: lock.user_id,
		wants: lock.requests[0].user_id, online: users.map((u) => u.user_id), notifications: notifications.length,
		by: changes[0].updated_by, active: activities[0].user_id, unread,
		repeated: ok(await server.post('changes', { client_id: 'c', mutations: [{ mutation_id: 'm', resource_type: 'note',
			resource_id: 1, op: 'upsert', data: {}, expected_version: null }] })).results[0].repeated,
		may: ok(await server.post('may', { user_id: 7, channels: ['private-own.7', 'private-own.8'] })).results.map((r) => r.allowed) };
}

test('ids of users are converted by a script, to text and back', async (t) => {
	const own = await newDatabase();
	const run = (type) => psql(script('scopewire', inRoot('sql/upgrade/user_id.sql.in')).replaceAll('@USER_ID@', type), own.user, own);
	// What is compared does not end by its time meanwhile.
	const start = (type) => startDaemon({ database: own, sections: { sync: { user_id: type, presence_ttl_s: 86400, viewing_ttl_s: 3600 } } }, t);
	const sqlOf = (text, values) => query(own.host, own.name, text, values);
	let daemon = await start('bigint');
	const role = `rules_${randomUUID().replaceAll('-', '')}`, admin = (text) => query(own.host, own.name, text, [], 'postgres');
	await admin(`CREATE ROLE ${role} NOLOGIN; GRANT ${role} TO ${own.user}`);
	t.after(() => admin(`REASSIGN OWNED BY ${role} TO ${own.user}; DROP OWNED BY ${role}; DROP ROLE ${role}`));
	await sqlOf('SELECT channel_predicates_as($1)', [role]);
	await sqlOf(`CREATE FUNCTION of_the_operator(n integer) RETURNS integer LANGUAGE sql AS 'SELECT n'`);
	const columns = await sqlOf(USER_COLUMNS), functions = await sqlOf(FUNCTIONS);
	assert.ok(functions.some(({ owner }) => owner === role));
	await sqlOf(`INSERT INTO channel_rules (pattern, rule, argument, can_write) VALUES ('note.{id}', 'anyone', NULL, true),
		('own.{id}', 'sql', '{user}::text = {id}', false)`);
	await fill(Sync.server(daemon), Sync.user(daemon, 7));
	const before_ = await shown(Sync.server(daemon));
	assert.deepEqual(before_, { id: 7, viewer: 7, holder: 7, wants: 8, online: [7], notifications: 1, by: 7, active: 7,
		unread: 0, repeated: true, may: [true, false] });
	assert.match(run('text').stderr, /a daemon uses the schema/);
	await daemon.stop();
	assert.match(run('bigint').stderr, /are of the type bigint already/);
	assert.match(run('uuid').stderr, /uuid is none/);

	const there = run('text');
	assert.equal(there.stderr, '');
	assert.deepEqual(await sqlOf(USER_COLUMNS), columns);
	assert.deepEqual(await sqlOf(FUNCTIONS), functions);
	daemon = await start('text');
	assert.deepEqual(await shown(Sync.server(daemon)), { ...before_, id: '7', viewer: '7', holder: '7', wants: '8', online: ['7'],
		by: '7', active: '7' });
	ok(await Sync.server(daemon).put('users/01JDY8Q5T3M8W2K4N6P7R9SS71', { name: 'Ida' }));
	await daemon.stop();
	const refused = run('bigint');
	assert.match(refused.stderr, /invalid input syntax for type bigint: "01JDY8Q5T3M8W2K4N6P7R9SS71"/);
	assert.equal(refused.status, 3);
	await sqlOf(`DELETE FROM users WHERE name = 'Ida'`);

	assert.equal(run('bigint').stderr, '');
	assert.deepEqual(await sqlOf(FUNCTIONS), functions);
	assert.deepEqual(await shown(Sync.server(await start('bigint'))), before_);
});
