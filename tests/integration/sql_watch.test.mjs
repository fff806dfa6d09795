// SPDX-License-Identifier: MIT
// Watched tables: whose rights their triggers have, and that no change of a table fails because
// it is watched, whatever the table's columns, types and later changes are.
import { test, describe, before, after } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { binaries, query, startDaemon, waitFor } from '../lib/harness.mjs';

const GRANTS = fileURLToPath(new URL('../../sql/grants.sql', import.meta.url));

describe('watched tables', () => {
	let daemon, app, writer, roles;
	const owner = (text, values) => query(daemon.database.host, daemon.database.name, text, values,
		'postgres');
	/** A session of a role, with its warnings. */
	async function session(user) {
		const client = new pg.Client({ host: daemon.database.host, database: daemon.database.name,
			user, port: 5432, options: '-c search_path=public' });
		client.warnings = [];
		client.on('notice', (n) => n.severity === 'WARNING' && client.warnings.push(n.message));
		client.on('error', () => {});
		await client.connect();
		return client;
	}
	/** The events of a channel that begins so, in their order. */
	const events = (prefix) => daemon.query(`SELECT channel, event_type, payload FROM realtime_events
		WHERE channel LIKE $1 ORDER BY created_at, id`, [`${prefix}%`]);

	before(async () => {
		daemon = await startDaemon();
		const { host, name } = daemon.database;
		roles = [`app_${name}`, `writer_${name}`];
		for (const role of roles) await owner(`CREATE ROLE ${role} LOGIN`);
		await owner(`GRANT CREATE ON SCHEMA public TO ${roles[0]};
			CREATE EXTENSION IF NOT EXISTS ltree SCHEMA public`);
		execFileSync(path.join(binaries(), 'psql'), ['-X', '-q', '-h', host, '-U', 'scopewire',
			'-v', `role=${roles[0]}`, '-v', 'schema=scopewire', '-f', GRANTS, name],
		{ stdio: 'pipe' });
		[app, writer] = await Promise.all(roles.map(session));
	});
	after(async () => {
		await Promise.all([app?.end(), writer?.end()]);
		for (const role of roles ?? []) await owner(`DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`);
		await daemon?.stop();
	});

	test('casts of a watched row run with the rights of the role that changes it', async () => {
		await app.query(`CREATE TYPE mood AS ENUM ('x');
			CREATE FUNCTION mood_text(mood) RETURNS text LANGUAGE plpgsql
				AS $$ BEGIN RETURN current_user || '.' || session_user; END $$;
			CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE plpgsql
				AS $$ BEGIN RETURN to_json(current_user); END $$;
			CREATE CAST (mood AS text) WITH FUNCTION mood_text(mood);
			CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
			CREATE TABLE moods (id integer PRIMARY KEY, v mood);
			SELECT scopewire.watch('moods', 'mood.{v}');
			INSERT INTO moods VALUES (1, 'x');
			DELETE FROM moods`);
		const found = await events('mood.');
		assert.deepEqual(found.map((e) => [e.channel, e.event_type]),
			[[`mood.${roles[0]}.${roles[0]}`, 'moods.insert'],
				[`mood.${roles[0]}.${roles[0]}`, 'moods.delete']]);
		assert.equal(found[0].payload.new.v, roles[0]);
	});

	test('comparisons of a key run with the rights of the role that changes it', async () => {
		await app.query(`CREATE TYPE pair AS (a integer);
			CREATE TABLE callers (who text);
			CREATE FUNCTION pair_eq(pair, pair) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
				INSERT INTO callers VALUES (current_user); RETURN ($1).a = ($2).a; END $$;
			CREATE OPERATOR public.= (FUNCTION = pair_eq, LEFTARG = pair, RIGHTARG = pair);
			CREATE TABLE pairs (id pair PRIMARY KEY, n integer);
			SELECT scopewire.watch('pairs', 'pairs');
			INSERT INTO pairs VALUES (ROW(1), 1);
			UPDATE pairs SET n = 2`);
		assert.deepEqual((await app.query('SELECT who FROM callers')).rows, []);
		assert.deepEqual((await events('pairs')).map((e) => e.event_type),
			['pairs.insert', 'pairs.update']);
	});

	test('who changes a watched table needs no right on the schema', async () => {
		await app.query(`CREATE TABLE orders (id integer PRIMARY KEY, n integer);
			SELECT scopewire.watch('orders', 'orders.{n}');
			GRANT INSERT ON orders TO ${roles[1]}`);
		await writer.query('INSERT INTO orders VALUES (1, 7)');
		assert.deepEqual(writer.warnings, []);
		assert.deepEqual((await events('orders.')).map((e) => [e.channel, e.payload.new]),
			[['orders.7', { id: 1, n: 7 }]]);
	});

	test('text that the first trigger did not make gives channels of the template only', async () => {
		await app.query(`CREATE TABLE forged (id integer PRIMARY KEY);
			CREATE FUNCTION forge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				PERFORM set_config('scopewire.watch_' || (SELECT id FROM scopewire.watches
					WHERE relation = TG_RELID) || '_1', E'iforged.1\\x1e,"new":1' ||
					E'\\x1fiprivate-secret\\x1e,"new":2\\x1fxforged.2\\nprivate-a\\x1e', true);
				RETURN NULL; END $$;
			SELECT scopewire.watch('forged', 'forged.{id}')`);
		const [{ id }] = await daemon.query(`SELECT id FROM watches
			WHERE relation = 'public.forged'::regclass`);
		await app.query(`CREATE TRIGGER scopewire_watch_${id}_insert_a AFTER INSERT ON forged
			EXECUTE FUNCTION forge(); INSERT INTO forged VALUES (1)`);
		assert.deepEqual((await events('forged')).map((e) => e.channel), ['forged.1']);
		assert.equal((await events('private-secret')).length, 0);
	});

	test('the second trigger publishes for the watched table only', async () => {
		const [{ id }] = await daemon.query('SELECT min(id) AS id FROM watches');
		await app.query(`CREATE TABLE other (id integer PRIMARY KEY);
			CREATE TRIGGER a AFTER INSERT ON other EXECUTE FUNCTION scopewire.watch_send(${id});
			BEGIN;
			SELECT set_config('scopewire.watch_${id}_1', E'iother.1\\x1e,"new":1', true);
			INSERT INTO other VALUES (1);
			COMMIT`);
		assert.equal((await events('other')).length, 0);
		assert.match(app.warnings.pop(), /another table's watch/);
	});

	test('a watch works with every column, table and type name', async () => {
		const [{ words }] = await daemon.query(`SELECT array_agg(DISTINCT w) AS words
			FROM pg_proc p, regexp_matches(p.prosrc, '[a-z_]{1,60}', 'g') m(found),
			     unnest(m.found) w
			WHERE p.pronamespace = 'scopewire'::regnamespace AND p.proname ~ '^watch_[0-9]+$'`);
		assert.ok(words.includes('new_rows') && words.includes('made') && words.includes('s'));
		words.push('c');
		const columns = words.filter((w) => w !== 'id').map((w) => `"${w}" text DEFAULT 'v'`);
		await app.query(`CREATE TABLE words (id integer PRIMARY KEY, ${columns});
			SELECT scopewire.watch('words', 'words.{n}.{o}.{s}.{t}');
			INSERT INTO words (id) VALUES (1);
			UPDATE words SET c = 'w';
			UPDATE words SET n = 'w', made = 'w';
			UPDATE words SET id = 2;
			DELETE FROM words;`);
		const found = await events('words.');
		assert.deepEqual(found.map((e) => e.event_type.split('.')[1]), ['insert', 'update', 'delete',
			'insert', 'delete', 'insert', 'delete']);
		assert.deepEqual(Object.keys(found[0].payload.new).sort(), [...words, 'id']
			.filter((w, i, all) => all.indexOf(w) === i).sort());
		for (const word of ['n', 'o', 's', 't', 'c', 'new_rows', 'old_rows', 'made', 'rows', 'text']) {
			await app.query(`CREATE TABLE "${word}" ("${word}" integer PRIMARY KEY);
				SELECT scopewire.watch('"${word}"', 'name.${word}');
				INSERT INTO "${word}" VALUES (1); UPDATE "${word}" SET "${word}" = 2;
				SELECT scopewire.unwatch('"${word}"'); DROP TABLE "${word}"`);
			assert.equal((await events(`name.${word}`)).length, 3, word);
		}
		assert.deepEqual(app.warnings, []);
	});

	for (const [type, one, two] of [['public.ltree', 'a.b', 'a.c'], ['uuid',
		'00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002'],
	['integer[]', '{1}', '{2}'], ['int4range', '[1,2)', '[3,4)'], ['inet', '::1', '::2'],
	['varchar(5)', 'a', 'b'], ['char(3)', 'a', 'b'], ['numeric', '1.0', '2'], ['citext', 'a', 'b'],
	['public.step', 'one', 'two'], ['public.small', '1', '2'], ['public.point_of', '(1,2)', '(1,3)']])
		test(`updates are paired by a key of type ${type}`, async () => {
			await owner(`CREATE EXTENSION IF NOT EXISTS citext SCHEMA public`);
			await app.query(`DO $$ BEGIN
				CREATE TYPE public.step AS ENUM ('one', 'two');
				CREATE DOMAIN public.small AS integer CHECK (VALUE < 9);
				CREATE TYPE public.point_of AS (x integer, y integer);
				EXCEPTION WHEN duplicate_object THEN NULL; END $$`);
			await app.query(`DROP TABLE IF EXISTS keyed;
				CREATE TABLE keyed (k ${type}, n integer, PRIMARY KEY (k, n), v integer);
				SELECT scopewire.watch('keyed', 'keyed', '{v}')`);
			const [{ from }] = await daemon.query('SELECT coalesce(max(id), 0) AS from FROM realtime_events');
			await app.query('INSERT INTO keyed VALUES ($1, 1, 1), ($2, 1, 1), ($1, 2, 1)', [one, two]);
			await app.query('UPDATE keyed SET v = 2');
			await app.query('UPDATE keyed SET k = $1 WHERE n = 2', [two]);
			assert.deepEqual(app.warnings, []);
			const found = await daemon.query(`SELECT event_type FROM realtime_events
				WHERE channel = 'keyed' AND id > $1 ORDER BY id`, [from]);
			assert.deepEqual(found.map((e) => e.event_type.slice(6)), [...Array(3).fill('insert'),
				...Array(3).fill('update'), 'delete', 'insert']);
		});

	test('a change with more than 100,000 rows gives each channel one short event', async () => {
		await app.query(`CREATE TABLE mass (id integer PRIMARY KEY, room integer, n integer);
			SELECT scopewire.watch('mass', 'mass.{room}');
			INSERT INTO mass SELECT g, g % 3, 0 FROM generate_series(1, 100001) g;
			UPDATE mass SET n = 1; DELETE FROM mass`);
		const found = await events('mass.');
		assert.deepEqual(found.map((e) => `${e.channel} ${e.payload.op}`).sort(),
			['delete', 'insert', 'update'].flatMap((op) => [0, 1, 2].map((n) => `mass.${n} ${op}`)).sort());
		assert.deepEqual(found[0].payload, { op: 'insert', table: 'public.mass', key: null,
			truncated: true });
	});

	test('events are in the order of their statements when triggers change the table too', async () => {
		await app.query(`CREATE TABLE tree (id integer PRIMARY KEY, parent integer);
			SELECT scopewire.watch('tree', 'tree');
			CREATE FUNCTION grow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				IF (SELECT max(id) FROM tree) < 4 THEN
					INSERT INTO tree SELECT max(id) + 1, max(id) FROM tree;
				END IF;
				RETURN NULL; END $$;
			CREATE TRIGGER scopewire_watch_between AFTER INSERT ON tree EXECUTE FUNCTION grow();
			CREATE TRIGGER zz AFTER INSERT ON tree EXECUTE FUNCTION grow();
			INSERT INTO tree VALUES (1, 0)`);
		const ids = (await events('tree')).map((e) => e.payload.new.id);
		assert.deepEqual(ids.sort(), [1, 2, 3, 4]);
	});

	test('the text of events does not depend on the settings of the session', async () => {
		await app.query(`CREATE TABLE days (id integer PRIMARY KEY, d date, f float8, b bytea,
				i interval, z timestamptz, m money, r regclass);
			SELECT scopewire.watch('days', 'day.{d}.{f}')`);
		const row = `DATE '2026-02-01', 0.1::float8 + 0.2, '\\x01ff'::bytea, '1 day 2 hours'::interval,
			TIMESTAMPTZ '2026-02-01 00:00:00+00', 1.5::numeric::money, 'public.days'::regclass`;
		await app.query(`INSERT INTO days VALUES (1, ${row});
			SET DateStyle = 'SQL, DMY'; SET extra_float_digits = -5; SET bytea_output = escape;
			SET IntervalStyle = iso_8601; SET TimeZone = 'Asia/Tokyo';
			INSERT INTO days VALUES (2, ${row}); RESET ALL; SET search_path = public`);
		const found = await events('day.');
		assert.deepEqual(found.map((e) => e.channel), Array(2).fill('day.2026-02-01.0.30000000000000004'));
		assert.deepEqual({ ...found[1].payload.new, id: 1 }, found[0].payload.new);
		assert.equal(found[0].payload.new.z, '2026-02-01T00:00:00+00:00');
	});

	test('a row over the limit shows its key only where columns shows it', async () => {
		await app.query(`CREATE TABLE large (id integer PRIMARY KEY, name text, note json);
			SELECT scopewire.watch('large', 'large.some', '{name,note}');
			SELECT scopewire.watch('large', 'large.all')`);
		await app.query(`INSERT INTO large VALUES (1, 'a', $1)`,
			[`{"nul":"\\u0000 \\\\u0000","half":"\\ud83d","pad":"${'x'.repeat(20000)}"}`]);
		assert.deepEqual((await events('large.')).map((e) => [e.channel, e.payload.key])
			.sort(), [['large.all', { id: 1 }], ['large.some', null]]);
	});

	test('a limit of 0 is no limit', async () => {
		const long = 'x'.repeat(300);
		await app.query(`CREATE TABLE unlimited (id integer PRIMARY KEY, room text, note text);
			SELECT scopewire.watch('unlimited', 'unlimited.{room}');
			SELECT scopewire.watch('unlimited', 'unlimited-all', NULL, '{truncate}', repeat('e', 300))`)
			.then(() => assert.fail('an event name over the limit'), () => {});
		await daemon.query(`UPDATE log_apps SET max_channel_bytes = 0, max_event_bytes = 0,
			max_payload_bytes = 0`);
		await app.query(`CREATE TABLE IF NOT EXISTS unlimited (id integer PRIMARY KEY, room text, note text);
			SELECT scopewire.watch('unlimited', 'unlimited.{room}');
			SELECT scopewire.watch('unlimited', 'unlimited-${long}', NULL, '{truncate}', repeat('e', 300));
			INSERT INTO unlimited VALUES (1, 'a', repeat('n', 20000)), (2, '${long}', 'b');
			UPDATE unlimited SET note = note || 'c'; DELETE FROM unlimited WHERE id = 2; TRUNCATE unlimited`);
		await daemon.query(`UPDATE log_apps SET max_channel_bytes = 200, max_event_bytes = 200,
			max_payload_bytes = 10240`);
		const found = await events('unlimited');
		assert.deepEqual(found.map((e) => `${e.channel} ${e.payload.op} ${e.payload.truncated ?? ''}`), [
			'unlimited.a insert ', `unlimited.${long} insert `, 'unlimited.a update ',
			`unlimited.${long} update `, `unlimited.${long} delete `, `unlimited-${long} truncate `]);
		assert.equal(found[0].payload.new.note.length, 20000);
		assert.deepEqual(app.warnings, []);
	});

	test('a channel over the limit is left out, and the change succeeds', async () => {
		const long = 'x'.repeat(300);
		await app.query(`CREATE TABLE overlong (id integer PRIMARY KEY, room text);
			SELECT scopewire.watch('overlong', 'overlong-{room}');
			SELECT scopewire.watch('overlong', 'overlong-${long}');
			INSERT INTO overlong VALUES (1, 'a'), (2, '${long}');
			UPDATE overlong SET id = id + 5; DELETE FROM overlong; TRUNCATE overlong`);
		assert.deepEqual((await events('overlong')).map((e) => `${e.channel} ${e.payload.op}`).sort(),
			['overlong-a delete', 'overlong-a delete', 'overlong-a insert', 'overlong-a insert']);
	});

	describe('changes of the table after watch()', () => {
		const fault = async (table) => (await daemon.query(
			`SELECT fault FROM watches WHERE relation = $1::text::regclass`, [table]))[0]?.fault;
		const check = () => daemon.query('SELECT watches_check AS line FROM watches_check()');

		for (const [name, ddl] of [
			['renamed', 'RENAME room TO place'],
			['dropped', 'DROP room'],
		])
			test(`a ${name} column of the template ends the events with a warning`, async () => {
				const table = `ddl_${name}`;
				await app.query(`CREATE TABLE ${table} (id integer PRIMARY KEY, room text);
					SELECT scopewire.watch('${table}', '${table}.{room}');
					INSERT INTO ${table} VALUES (1, 'a');
					ALTER TABLE ${table} ${ddl}`);
				app.warnings.length = 0;
				await app.query(`INSERT INTO ${table} (id) VALUES (2); UPDATE ${table} SET id = id + 3;
					DELETE FROM ${table}; TRUNCATE ${table}`);
				assert.equal(app.warnings.length, 3);
				assert.match(app.warnings[0], /change is not broadcast: column n\.room does not exist/);
				assert.match(await fault(table), /column [no]\.room does not exist/);
				await waitFor(() => new RegExp(`watch \\d+ of public\\.${table}: changes are not `
					+ 'broadcast: .*room').test(daemon.logText), 'a line in the log');
				app.warnings.length = 0;
				await app.query(`SELECT scopewire.unwatch('${table}');
					SELECT scopewire.watch('${table}', '${table}');
					INSERT INTO ${table} (id) VALUES (4)`);
				assert.deepEqual(app.warnings, []);
				assert.equal((await events(`${table}`)).length, 2);
			});

		for (const level of ['REPEATABLE READ', 'SERIALIZABLE'])
			test(`a fault that another transaction has stored does not fail a ${level} one`, async (t) => {
				const table = `fault_${level.slice(0, 4).toLowerCase()}`;
				const [first, other] = await Promise.all([session(roles[0]), session(roles[0])]);
				t.after(() => Promise.all([first.end(), other.end()]));
				await app.query(`CREATE TABLE ${table} (id integer PRIMARY KEY, c text);
					SELECT scopewire.watch('${table}', '${table}.{c}');
					ALTER TABLE ${table} RENAME c TO d`);
				await first.query(`BEGIN ISOLATION LEVEL ${level}`);
				await first.query(`SELECT count(*) FROM ${table}`);
				await other.query(`BEGIN ISOLATION LEVEL ${level}; INSERT INTO ${table} VALUES (1, 'a'); COMMIT`);
				await first.query(`INSERT INTO ${table} VALUES (2, 'b'); UPDATE ${table} SET d = 'c'`);
				await first.query('COMMIT');
				assert.match(first.warnings[0], /change is not broadcast: column n\.c does not exist/);
				assert.match(await fault(table), /column n\.c does not exist/);
				assert.deepEqual((await owner(`SELECT id, d FROM ${table} ORDER BY id`)),
					[{ id: 1, d: 'a' }, { id: 2, d: 'c' }]);
			});

		test('a dropped column of columns ends the events with a warning', async () => {
			await app.query(`CREATE TABLE ddl_columns (id integer PRIMARY KEY, a text, b text);
				SELECT scopewire.watch('ddl_columns', 'ddl_columns', '{id,a}');
				ALTER TABLE ddl_columns DROP b; INSERT INTO ddl_columns VALUES (1, 'a');
				ALTER TABLE ddl_columns DROP a; INSERT INTO ddl_columns VALUES (2)`);
			assert.equal((await events('ddl_columns')).length, 1);
			assert.match(await fault('ddl_columns'), /column n\.a does not exist/);
			app.warnings.length = 0;
		});

		test('a type without an equality operator or a text form in JSON is watched', async () => {
			await app.query(`CREATE TABLE ddl_type (id integer PRIMARY KEY, v text);
				SELECT scopewire.watch('ddl_type', 'ddl_type.{id}');
				INSERT INTO ddl_type VALUES (1, '(1,2)');
				UPDATE ddl_type SET v = '(1,3)';
				ALTER TABLE ddl_type ALTER v TYPE point USING v::point;
				UPDATE ddl_type SET v = '(1,4)';
				ALTER TABLE ddl_type ADD w json DEFAULT '{}', ALTER id TYPE text;
				UPDATE ddl_type SET w = '[]'`);
			assert.deepEqual(app.warnings, []);
			assert.deepEqual((await events('ddl_type')).map((e) => e.event_type.split('.')[1]),
				['insert', 'update', 'update', 'update']);
		});

		test('a watch follows another key', async () => {
			await app.query(`CREATE TABLE ddl_key (id integer PRIMARY KEY, other integer, n integer);
				SELECT scopewire.watch('ddl_key', 'ddl_key');
				INSERT INTO ddl_key VALUES (1, 1, 0), (2, 2, 0);
				ALTER TABLE ddl_key DROP CONSTRAINT ddl_key_pkey, ADD PRIMARY KEY (other)`);
			await check();
			await app.query('UPDATE ddl_key SET id = 5');
			assert.deepEqual((await events('ddl_key')).map((e) => e.event_type.split('.')[1]),
				['insert', 'insert', 'update', 'update']);
			await app.query('ALTER TABLE ddl_key DROP CONSTRAINT ddl_key_pkey');
			await check();
			assert.match(await fault('ddl_key'), /has no primary key/);
			await app.query('UPDATE ddl_key SET n = 9');
		});

		test('an error in a cast is a warning', async () => {
			await app.query(`CREATE TYPE bad AS ENUM ('x');
				CREATE FUNCTION bad_text(bad) RETURNS text LANGUAGE sql AS 'SELECT (1 / 0)::text';
				CREATE CAST (bad AS text) WITH FUNCTION bad_text(bad);
				CREATE TABLE ddl_bad (id integer PRIMARY KEY, v bad);
				SELECT scopewire.watch('ddl_bad', 'bad.{v}');
				INSERT INTO ddl_bad VALUES (1, 'x')`);
			assert.match(app.warnings.pop(), /not broadcast: division by zero/);
			assert.equal((await app.query('SELECT FROM ddl_bad')).rowCount, 1);
		});

		test('a renamed table continues under its new name', async () => {
			await app.query(`CREATE TABLE ddl_name (id integer PRIMARY KEY);
				SELECT scopewire.watch('ddl_name', 'ddl_name');
				ALTER TABLE ddl_name RENAME TO ddl_name2; INSERT INTO ddl_name2 VALUES (1)`);
			const [{ payload }] = await events('ddl_name');
			assert.equal(payload.table, 'public.ddl_name2');
			await check();
			await app.query(`SELECT scopewire.unwatch('ddl_name2')`);
		});

		test('a limit that is lowered later is a warning', async () => {
			await app.query(`CREATE TABLE ddl_limit (id integer PRIMARY KEY);
				SELECT scopewire.watch('ddl_limit', 'ddl_limit', NULL, '{insert}', repeat('x', 190))`);
			await daemon.query('UPDATE log_apps SET max_event_bytes = 20');
			await app.query('INSERT INTO ddl_limit VALUES (1)');
			assert.match(app.warnings.pop(), /event name is over/);
			await daemon.query('UPDATE log_apps SET max_event_bytes = 200');
		});

		test('disabled triggers are reported', async () => {
			await app.query(`CREATE TABLE ddl_off (id integer PRIMARY KEY);
				SELECT scopewire.watch('ddl_off', 'ddl_off');
				ALTER TABLE ddl_off DISABLE TRIGGER ALL`);
			await check();
			assert.match(await fault('ddl_off'), /missing or disabled/);
		});

		test('the watch of a dropped table is removed', async () => {
			const watches = async () => (await daemon.query(`SELECT id, to_regproc('watch_' || id)
				IS NOT NULL AS has FROM watches WHERE table_name LIKE '%ddl_fresh'`));
			await app.query(`CREATE TABLE ddl_fresh (id integer PRIMARY KEY);
				SELECT scopewire.watch('ddl_fresh', 'fresh'); DROP TABLE ddl_fresh`);
			const [{ id }] = await watches();
			// migrate:fresh of Laravel: at the next watch(), or by unwatch() of the number.
			await app.query(`CREATE TABLE ddl_fresh (id integer PRIMARY KEY);
				SELECT scopewire.watch('ddl_fresh', 'fresh')`);
			const now = await watches();
			assert.deepEqual([now.length, now[0].has], [1, true]);
			assert.notEqual(now[0].id, id);
			assert.equal((await daemon.query('SELECT to_regproc($1) AS f', [`watch_${id}`]))[0].f, null);
			const [{ oid }] = (await app.query(`SELECT 'ddl_fresh'::regclass::oid AS oid`)).rows;
			await app.query(`DROP TABLE ddl_fresh`);
			await app.query(`SELECT scopewire.unwatch(${oid}::regclass)`);
			assert.equal((await watches()).length, 0);
		});

		test('the daemon removes and logs watches of dropped tables', async () => {
			await owner(`CREATE SCHEMA ddl_schema AUTHORIZATION ${roles[0]}`);
			await app.query(`CREATE TABLE ddl_schema.a (id integer PRIMARY KEY);
				SELECT scopewire.watch('ddl_schema.a', 'a'); DROP SCHEMA ddl_schema CASCADE`);
			await daemon.restart();
			await waitFor(() => /watch \d+ is removed: its table ddl_schema\.a was dropped/
				.test(daemon.logText), 'a line in the log');
		});

		test('the function of a watch stays while the table has its triggers', async () => {
			await app.query(`CREATE TABLE ddl_forget (id integer PRIMARY KEY)`);
			const { rows: [{ id }] } = await app.query(
				`SELECT scopewire.watch('ddl_forget', 'forget', NULL, '{truncate}') AS id`);
			await assert.rejects(app.query(`SELECT scopewire.watch_forget(${id})`),
				/has triggers/);
		});
	});
});
