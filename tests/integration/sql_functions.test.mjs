// SPDX-License-Identifier: MIT
// The functions of the schema, as the catalog has them: which run with the owner's rights, who may
// call them, and that no other role can put objects of its own into what they use.
import { before, test } from 'node:test';
import assert from 'node:assert/strict';
import { query, runDaemon, newDatabase, ini, tempFolder, APP } from '../lib/harness.mjs';
import fs from 'node:fs';
import path from 'node:path';

let database, functions;
before(async () => {
	database = await newDatabase();
	const config = path.join(tempFolder('conf'), 'scopewire.conf');
	const { id, ...app } = APP;
	fs.writeFileSync(config, ini({ server: { port: 0, host: '127.0.0.1' }, [`app ${id}`]: app,
		database: { host: database.host, name: database.name, user: database.user } }));
	const { code, log } = await runDaemon(['--migrate', '--config', config]);
	assert.equal(code, 0, log);
	await sql(`CREATE TABLE public.watched (id integer PRIMARY KEY);
		SELECT watch('watched', 'c')`);
	functions = await sql(`SELECT p.oid::regprocedure::text AS name, p.prosecdef AS is_definer,
			has_function_privilege('public', p.oid, 'EXECUTE') AS is_public, p.prosrc AS source,
			(SELECT split_part(c, '=', 2) FROM unnest(p.proconfig) c
			 WHERE c LIKE 'search_path=%') AS path
		FROM pg_proc p WHERE p.pronamespace = 'scopewire'::regnamespace`);
	assert.ok(functions.filter((f) => f.is_definer).length > 5);
});
const sql = (text) => query(database.host, database.name, text);

/** What a body uses without the name of a schema. */
function unqualified(source) {
	const code = source.replace(/--.*/g, ' ').replace(/E?'(?:[^']|'')*'/g, ' ')
		.replace(/\$name\$.*?\$name\$/g, ' ').replace(/OPERATOR\(pg_catalog\.[^)]+\)/g, ' ')
		.replace(/:=|::/g, ' ');
	const keywords = /^(and|as|case|coalesce|else|elsif|exists|from|if|in|insert|into|lateral|not|nullif|on|or|realtime_events|select|then|values|when|where)$/i;
	const calls = [...code.matchAll(/(?<![.\w"]|\bAS )\b(\w+)\s*\(/g)].map((m) => m[1])
		.filter((name) => !keywords.test(name));
	const operators = [...code.matchAll(/[<>=~!+|@&%^/]+/g)].map((m) => m[0]);
	const casts = [...source.matchAll(/::(\w+)(?!\w*\.)/g)].map((m) => m[1])
		.filter((name) => name !== 'pg_catalog');
	return [...calls, ...operators, ...casts];
}

test('a function with the owner\'s rights has a fixed search_path, or qualifies every name', () => {
	for (const f of functions.filter((one) => one.is_definer))
		if (f.path) assert.match(f.path, /^(scopewire|pg_catalog)(, \w+)*, pg_temp$/, f.name);
		else assert.deepEqual(unqualified(f.source), [], f.name);
});

test('names without a schema are found in a body', () => {
	assert.deepEqual(unqualified(`x := lower(y) = 'a'::text; PERFORM pg_catalog.now();`),
		['lower', '=', 'text']);
	assert.deepEqual(unqualified(`x := a OPERATOR(pg_catalog.=) b::pg_catalog.text;`), []);
});

test('a function with the owner\'s rights is not executable by PUBLIC', () => {
	assert.deepEqual(functions.filter((f) => f.is_definer && f.is_public).map((f) => f.name), []);
});

test('a function that runs code of a table\'s owner has no rights of the schema\'s owner', () => {
	const generated = functions.filter((f) => /watch_\d+\(\)$/.test(f.name));
	assert.equal(generated.length, 1);
	assert.deepEqual(generated.map((f) => [f.is_definer, f.path]), [[false, 'pg_catalog, pg_temp']]);
});

test('only the owner can create objects in the schemas of a search_path', async () => {
	const paths = new Set(functions.flatMap((f) => f.path?.split(', ') ?? []));
	paths.delete('pg_temp');
	const open = await sql(`SELECT n.nspname, r.rolname FROM pg_namespace n, pg_roles r
		WHERE n.nspname = ANY ('{${[...paths].map((name) => name.replaceAll('"', ''))}}')
		AND NOT r.rolsuper AND n.nspowner <> r.oid AND has_schema_privilege(r.oid, n.oid, 'CREATE')`);
	assert.deepEqual(open, []);
	assert.ok(paths.has('scopewire'));
});
