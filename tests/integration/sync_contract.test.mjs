// SPDX-License-Identifier: MIT
// docs/openapi.yaml against the running daemon: the file is sound, it names exactly the daemon's
// endpoints, every example works, every answer fits its schema, every documented refusal happens.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import Ajv2020 from 'ajv/dist/2020.js';
import openapi from '@redocly/openapi-core';
import yaml from 'yaml';
import { APP, Sync, startDaemon } from '../lib/harness.mjs';
import { calls, prepare } from './sync_contract_calls.mjs';

const path = (relative) => fileURLToPath(new URL(`../../${relative}`, import.meta.url));
const FILE = path('docs/openapi.yaml');
const METHODS = ['get', 'put', 'post', 'delete'];
const spec = yaml.parse(fs.readFileSync(FILE, 'utf8'));

/** What a "$ref" stands for. */
function resolve(node) {
	if (!node?.$ref) return node;
	return resolve(node.$ref.slice(2).split('/').reduce((at, key) => at[key], spec));
}

/** Every operation: {id, method, path, operation, parameters}. */
const operations = Object.entries(spec.paths).flatMap(([route, item]) => METHODS
	.filter((method) => item[method]).map((method) => ({ method: method.toUpperCase(), path: route,
		id: item[method].operationId, operation: item[method],
		parameters: [...item.parameters ?? [], ...item[method].parameters ?? []].map(resolve) })));
const byId = new Map(operations.map((o) => [o.id, o]));

/** The codes that a response's description names in backquotes. */
const codesOf = (response) => [...resolve(response).description.matchAll(/`([a-z_]+)`/g)]
	.map((m) => m[1]);

// Codes of every endpoint: each is provoked by the tests of the API's ground, and by one call here.
const COMMON = new Set([...codesOf({ $ref: '#/components/responses/BadRequest' }),
	...codesOf({ $ref: '#/components/responses/Forbidden' })]);

const ajv = new Ajv2020({ strict: false, allErrors: true });
ajv.addSchema({ $id: 'spec', ...spec });

/** Validates a body by the schema that the operation has for the status. */
function fits(operation, status, body) {
	const response = operation.operation.responses[status];
	assert.ok(response, `${operation.id} does not document ${status}: ${JSON.stringify(body)}`);
	const pointer = response.$ref ?? `#/paths/${operation.path.replaceAll('~', '~0')
		.replaceAll('/', '~1')}/${operation.method.toLowerCase()}/responses/${status}`;
	const where = `spec${pointer.replaceAll('{', '%7B').replaceAll('}', '%7D')}`;
	const check = ajv.getSchema(`${where}/content/application~1json/schema`);
	if (!resolve(response).content) {
		assert.equal(body, undefined);
		return;
	}
	assert.ok(check, `no schema at ${where}`);
	assert.ok(check(body), `${operation.id} ${status}: ${ajv.errorsText(check.errors)} in ${
		JSON.stringify(body)}`);
}

test('the file passes a linter', async () => {
	const config = await openapi.createConfig({ extends: ['recommended'],
		rules: { 'no-server-example.com': 'off', 'operation-4xx-response': 'error' } });
	const problems = await openapi.lint({ ref: FILE, config });
	assert.deepEqual(problems.map((p) => `${p.ruleId}: ${p.message} ${
		p.location[0]?.pointer ?? ''}`), []);
});

test('the file and the table of endpoints name the same', () => {
	const table = fs.readFileSync(path('src/http/sync_table.c'), 'utf8');
	const mounted = (p) => (p.startsWith('/') ? p : `/api/sync/${p}`);
	const rows = [...table.matchAll(/\{ "([A-Z]+)",\s*"([^"]+)",\s*\w+,\s*&(\w+) \}/g)]
		.map(([, method, route, action]) => ({ method, route: mounted(route), action }));
	assert.ok(rows.length > 2);
	const shape = (p) => p.replace(/\{\w*\}/g, '{}');
	const documented = new Set(operations.map((o) => `${o.method} ${shape(o.path)}`));
	// A POST that stands in for a PUT or DELETE of the same action need not be told twice.
	const isStandIn = (row) => row.method === 'POST'
		&& rows.some((r) => r.action === row.action && r.method !== 'POST');
	const missing = rows.filter((r) => !documented.has(`${r.method} ${r.route}`) && !isStandIn(r));
	assert.deepEqual(missing, []);
	const known = new Set(rows.map((r) => `${r.method} ${r.route}`));
	assert.deepEqual([...documented].filter((d) => !known.has(d)), []);
});

describe('calls', () => {
	let daemon, context;
	const provoked = new Set();
	before(async () => {
		daemon = await startDaemon();
		context = await prepare(daemon);
	});
	after(() => daemon?.stop());

	const as = (who) => (who === undefined || who === 'server' ? Sync.server(daemon)
		: Sync.user(daemon, who.id, who));

	/** Runs one call: {operation, as, path, query, body, status, code}; its answer's body. */
	async function run(call) {
		const o = byId.get(call.operation);
		assert.ok(o, `no operation ${call.operation}`);
		const route = o.path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(
			call.path?.[name] ?? o.parameters.find((p) => p.in === 'path' && p.name === name).example));
		const sync = call.anonymous ? new Sync(daemon) : as(call.as);
		const answer = await sync.call(o.method, route,
			{ query: call.query, body: call.body, headers: call.headers });
		if (call.status === 'success') assert.ok(answer.status < 300, `${call.operation}: ${answer.text}`);
		else assert.equal(answer.status, call.status ?? 200, `${call.operation}: ${answer.text}`);
		fits(o, answer.status, answer.json);
		if (call.code) assert.equal(answer.json.error.code, call.code, answer.text);
		provoked.add(`${call.operation} ${answer.status} ${answer.json?.error?.code ?? ''}`);
		return answer.json;
	}

	test('every example of the file works', async (t) => {
		for (const o of operations) {
			const content = resolve(o.operation.requestBody)?.content?.['application/json'];
			const examples = content?.example ? [content.example]
				: Object.values(content?.examples ?? {}).map((e) => resolve(e).value);
			if (o.method === 'GET' || !content) examples.push(undefined);
			assert.ok(examples.length, `${o.id} has no example of its body`);
			for (const body of examples) {
				const query = Object.fromEntries(o.parameters
					.filter((p) => p.in === 'query' && p.example !== undefined)
					.map((p) => [p.name, p.example]));
				await t.test(`${o.method} ${o.path}`, () => run({ operation: o.id, query, body,
					status: 'success',
					as: context.exampleCaller?.(o.id) }));
			}
		}
	});

	test('the scenarios, and with them every documented refusal', async (t) => {
		for (const [name, scenario] of Object.entries(calls))
			await t.test(name, () => scenario(run, context, daemon));
		const missing = [];
		for (const o of operations)
			for (const [status, response] of Object.entries(o.operation.responses)) {
				const own = codesOf(response).filter((code) => status >= 400 && !COMMON.has(code));
				for (const code of status >= 400 ? own : [''])
					if (!provoked.has(`${o.id} ${status} ${code}`)) missing.push(`${o.id} ${status} ${code}`);
			}
		assert.deepEqual(missing, []);
	});
});
