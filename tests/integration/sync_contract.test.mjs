// SPDX-License-Identifier: MIT
// docs/openapi.yaml against the running daemon: the file passes a linter and has exactly the routes
// that "scopewired --print-routes" prints; every route is called; every example works; every reply
// fits its schema; every documented refusal of the sync API happens.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import Ajv2020 from 'ajv/dist/2020.js';
import openapi from '@redocly/openapi-core';
import yaml from 'yaml';
import { execFileSync } from 'node:child_process';
import { PROGRAM, Sync, request, startDaemon } from '../lib/harness.mjs';
import { calls, prepare } from './sync_contract_calls.mjs';

const path = (relative) => fileURLToPath(new URL(`../../${relative}`, import.meta.url));
const FILE = path('docs/openapi.yaml');
const METHODS = ['get', 'put', 'post', 'delete'];
const spec = yaml.parse(fs.readFileSync(FILE, 'utf8'));

/** What a "$ref" stands for. */
function resolve(node) {
	if (!node?.$ref) return node;
	return resolve(node.$ref.slice(2).split('/')
		.map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'))
		.reduce((at, key) => at[key], spec));
}

/** Those of the path, and the operation's own, which take the place of one with the same name. */
function parametersOf(item, operation) {
	const own = (operation.parameters ?? []).map(resolve);
	const shared = (item.parameters ?? []).map(resolve).filter((p) =>
		!own.some((o) => o.name === p.name && o.in === p.in));
	return [...shared, ...own];
}

/** Every operation: {id, method, path, operation, parameters}. */
const operations = Object.entries(spec.paths).flatMap(([route, item]) => METHODS
	.filter((method) => item[method]).map((method) => ({ method: method.toUpperCase(), path: route,
		id: item[method].operationId, operation: item[method],
		parameters: parametersOf(item, item[method]) })));
/** The caller is the server, by the Pusher signature; else by HTTP Basic or a bearer token. */
const isSigned = (o) => o.path.startsWith('/apps/');
const byId = new Map(operations.map((o) => [o.id, o]));

/** The codes that a response's description names in backquotes. */
const codesOf = (response) => [...resolve(response).description.matchAll(/`([a-z_]+)`/g)]
	.map((m) => m[1]);

// Codes of every endpoint: each is provoked by the tests of the API's ground, and by one call here.
const COMMON = new Set([...codesOf({ $ref: '#/components/responses/BadRequest' }),
	...codesOf({ $ref: '#/components/responses/Forbidden' }),
	...codesOf({ $ref: '#/components/responses/KeyReused' })]);

const ajv = new Ajv2020({ strict: false, allErrors: true });
ajv.addSchema({ $id: 'spec', ...spec });

/** Validates a body by the schema that the operation has for the status. */
function fits(operation, status, body, type) {
	const response = operation.operation.responses[status];
	assert.ok(response, `${operation.id} does not document ${status}: ${JSON.stringify(body)}`);
	const pointer = response.$ref ?? `#/paths/${operation.path.replaceAll('~', '~0')
		.replaceAll('/', '~1')}/${operation.method.toLowerCase()}/responses/${status}`;
	const where = `spec${pointer.replaceAll('{', '%7B').replaceAll('}', '%7D')}`;
	const content = resolve(response).content;
	if (!content) {
		assert.equal(body, undefined);
		return;
	}
	if (!content['application/json']) {
		assert.ok(Object.keys(content).includes(type?.split(';')[0]), `${operation.id}: ${type}`);
		return;
	}
	const check = ajv.getSchema(`${where}/content/application~1json/schema`);
	assert.ok(check, `no schema at ${where}`);
	assert.ok(check(body), `${operation.id} ${status}: ${ajv.errorsText(check.errors)} in ${
		JSON.stringify(body)}`);
}

test('openapi.yaml passes a linter', async () => {
	const config = await openapi.createConfig({ extends: ['recommended'],
		// a WebSocket's success is 101
		rules: { 'no-server-example.com': 'off', 'operation-4xx-response': 'error',
			'operation-2xx-response': 'off' } });
	const problems = await openapi.lint({ ref: FILE, config });
	assert.deepEqual(problems.map((p) => `${p.ruleId}: ${p.message} ${
		p.location[0]?.pointer ?? ''}`), []);
});

test('the file has every route that the daemon prints, and no other', () => {
	const shape = (route) => route.replace(/\{[^}]*\}/g, '{}');
	const printed = execFileSync(PROGRAM, ['--print-routes'], { encoding: 'utf8' }).trimEnd()
		.split('\n').map((line) => line.split(/\s+/)).map(([method, route]) => `${method} ${shape(route)}`);
	assert.ok(printed.length > 60, printed.length);
	assert.deepEqual(operations.map((o) => `${o.method} ${shape(o.path)}`).sort(), printed.sort());
});

test('/apps/{app_id}/sync/* has the routes, parameters and bodies of /api/sync/*', () => {
	const TWINS = ['/api/sync/', '/apps/{app_id}/sync/'];
	// Without what the two describe in their own way: texts, identifiers, and how the caller
	// identifies itself.
	const shape = (node) => {
		node = resolve(node);
		if (Array.isArray(node)) return node.map(shape);
		if (!node || typeof node !== 'object') return node;
		return Object.fromEntries(Object.entries(node)
			.filter(([key]) => !['description', 'example', 'examples'].includes(key))
			.map(([key, value]) => [key, shape(value)]));
	};
	const of = (prefix) => Object.fromEntries(operations.filter((o) => o.path.startsWith(prefix))
		.map((o) => [`${o.method} ${o.path.slice(prefix.length)}`, {
			parameters: Object.fromEntries(o.parameters
				.filter((p) => p.name !== 'app_id' && !p.name.startsWith('auth_') && p.name !== 'body_md5')
				.map((p) => [`${p.in} ${p.name}`, shape(p)])),
			body: shape(o.operation.requestBody),
			// a signed request gets 200 where the other one gets 201
			success: shape(o.operation.responses[201] ?? o.operation.responses[200]),
			refusals: Object.keys(o.operation.responses).filter((status) => status >= 400),
		}]));
	const [own, twin] = TWINS.map(of);
	assert.ok(Object.keys(own).length > 15);
	assert.deepEqual(twin, own);
});

test('one thing has one name: ttl, next_cursor, prev_cursor, cursor', () => {
	const wrong = [];
	const walk = (node, at) => {
		if (!node || typeof node !== 'object') return;
		for (const [name, value] of Object.entries(node)) {
			if (at.at(-1) === 'properties' && /^(ttl_.*|next|prev|.*_seconds|.*_ttl|expires_in)$/.test(name))
				wrong.push([...at, name].join('/'));
			if (name === 'name' && node.in === 'query' && /cursor/.test(value) && value !== 'cursor')
				wrong.push([...at, value].join('/'));
			walk(value, [...at, name]);
		}
	};
	walk(Object.fromEntries(Object.entries(spec.paths).filter(([p]) => p.includes('/sync/'))), []);
	walk(spec.components, []);
	assert.deepEqual(wrong, []);
});

describe('calls', () => {
	let daemon, context;
	const provoked = new Set();
	before(async () => {
		daemon = await startDaemon({ server: { demo: 'yes', demo_dir: path('contrib/welcome') },
			sections: { sync: { user_activity_types: 'x' } } });
		context = await prepare(daemon);
	});
	after(() => daemon?.stop());

	const as = (who) => (who === undefined || who === 'server' ? Sync.server(daemon)
		: Sync.user(daemon, who.id, who));

	/** Runs one call: {operation, as, path, query, body, status, code}; its answer's body. */
	async function run(call) {
		const o = byId.get(call.operation);
		assert.ok(o, `no operation ${call.operation}`);
		const route = o.path.replace('{app_id}', daemon.app.id).replace(/\{(\w+)\}/g, (_, name) =>
			encodeURIComponent(call.path?.[name]
				?? o.parameters.find((p) => p.in === 'path' && p.name === name).example));
		const answer = await (isSigned(o)
			? daemon.api().call(o.method, route.replace(/^\/apps\/[^/]+/, ''),
				{ params: call.query, body: call.body })
			: (call.anonymous ? new Sync(daemon) : as(call.as)).call(o.method, route,
				{ query: call.query, body: call.body, headers: call.headers }));
		if (call.status === 'success') assert.ok(answer.status < 300, `${call.operation}: ${answer.text}`);
		else assert.equal(answer.status, call.status ?? 200, `${call.operation}: ${answer.text}`);
		fits(o, answer.status, answer.json, answer.headers['content-type']);
		// without strings: no space is left
		if (answer.json) assert.doesNotMatch(answer.text.replace(/"(\\.|[^"\\])*"/g, ''), /\s/, call.operation);
		if (call.code) assert.equal(answer.json.error.code, call.code, answer.text);
		provoked.add(`${call.operation} ${answer.status} ${answer.json?.error?.code ?? ''}`);
		return answer.json;
	}

	test('every example of openapi.yaml works', async (t) => {
		for (const o of operations.filter(({ id }) => id !== 'connectWebSocket')) {
			const content = resolve(o.operation.requestBody)?.content?.['application/json'];
			const examples = content?.example ? [content.example]
				: Object.values(content?.examples ?? {}).map((e) => resolve(e).value);
			if (o.method === 'GET' || !content) examples.push(undefined);
			assert.ok(examples.length, `${o.id} has no example of its body`);
			for (const body of examples) {
				const query = Object.fromEntries(o.parameters
					.filter((p) => p.in === 'query' && p.example !== undefined)
					.map((p) => [p.name, p.example]));
				await t.test(`${o.method} ${o.path}`, async () => {
					await context.beforeExample(o.path);
					await run({ operation: o.id, query, body, status: 'success',
						as: context.exampleCaller?.(o.id) });
				});
			}
		}
	});

	test('a WebSocket opens; without an upgrade it is 426', async () => {
		const o = byId.get('connectWebSocket');
		const client = await daemon.connect();
		client.close();
		provoked.add('connectWebSocket 101 ');
		const answer = await request(`${daemon.url}/app/${daemon.app.key}`);
		assert.equal(answer.status, 426);
		fits(o, 426, undefined, answer.headers['content-type']);
	});

	test('every documented refusal occurs', async (t) => {
		for (const [name, scenario] of Object.entries(calls))
			await t.test(name, () => scenario(run, context, daemon));
		const missing = [];
		for (const o of operations)
			for (const [status, response] of Object.entries(o.operation.responses)) {
				// the refusals of another path or method of an action are provoked there
				const own = isSigned(o) || o.id.endsWith('ByPost') ? [] : codesOf(response).filter((code) => status >= 400 && !COMMON.has(code));
				for (const code of status >= 400 ? own : [''])
					if (!provoked.has(`${o.id} ${status} ${code}`)) missing.push(`${o.id} ${status} ${code}`);
			}
		assert.deepEqual(missing, []);
	});
});
