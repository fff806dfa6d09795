// SPDX-License-Identifier: MIT
// What goes wrong around the sync API: hostile values in every field of every endpoint of
// docs/openapi.yaml, bodies without end, a database that is away or slow, thousands at once.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import yaml from 'yaml';
import { APP, Sync, startCluster, startDaemon, suiteAgent, suiteGet, waitFor } from '../lib/harness.mjs';

const spec = yaml.parse(fs.readFileSync(
	fileURLToPath(new URL('../../docs/openapi.yaml', import.meta.url)), 'utf8'));

function resolve(node) {
	if (!node?.$ref) return node;
	const keys = node.$ref.slice(2).split('/')
		.map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));    // RFC 6901
	return resolve(keys.reduce((at, key) => at[key], spec));
}

/** Every endpoint of the sync API: {method, route, inPath, inQuery, inBody}: names with their schemas. */
const endpoints = Object.entries(spec.paths).filter(([route]) => /^\/(api\/sync|broadcasting)\//.test(route))
	.flatMap(([route, item]) =>
	['get', 'put', 'post', 'delete'].filter((method) => item[method]).map((method) => {
		const parameters = [...item.parameters ?? [], ...item[method].parameters ?? []].map(resolve);
		const of = (place) => Object.fromEntries(parameters.filter((p) => p.in === place)
			.map((p) => [p.name, { ...resolve(p.schema), example: p.example }]));
		const content = resolve(item[method].requestBody)?.content?.['application/json'];
		const schema = resolve(content?.schema);
		return { method: method.toUpperCase(), route, inPath: of('path'), inQuery: of('query'),
			inBody: Object.fromEntries(Object.entries(schema?.properties ?? {})
				.map(([name, node]) => [name, resolve(node)])),
			example: content?.example
				?? resolve(Object.values(content?.examples ?? {})[0])?.value };
	}));

const HOSTILE = [`'; DROP TABLE users; --`, `1) OR 1=1 --`, `$1`, `\\'; SELECT pg_sleep(9); --`,
	`{{7*7}}`, `%00`, `${'x'.repeat(5000)}`, `"`, `\u2028\ud83d\ude00`, `' UNION SELECT secret FROM apps --`,
	'9223372036854775808', '-9223372036854775809', '1e400', '-1', '0', 'NaN', '', ' '];
const HOSTILE_JSON = [...HOSTILE, 9223372036854776000, -1, 1.5, true, [], {}, [[[]]], ['; --'],
	{ $gt: '' }, [null]];

/** A request to an endpoint, its path filled in with examples. */
function call(sync, e, { path = {}, query, body } = {}) {
	const route = e.route.replace(/\{(\w+)\}/g,
		(_, name) => encodeURIComponent(path[name] ?? e.inPath[name].example));
	return sync.call(e.method, route, { query, body });
}

/** Neither a crash nor a fault of ours, and an error that can be read. */
function isSane(answer, what) {
	assert.ok(answer.status < 500, `${what}: ${answer.status} ${answer.text}`);
	if (answer.status >= 400 && answer.status !== 413)
		assert.ok(answer.json?.error?.message, `${what}: ${answer.text}`);
}

describe('hostile values', () => {
	let daemon, server;
	before(async () => {
		daemon = await startDaemon();
		server = Sync.server(daemon);
		await server.put('users/1234', { name: 'Ada' });
	});
	after(() => daemon?.stop());

	// a user that no example names: still there, and as it was
	const each = (name, one) => test(name, async () => {
		for (const e of endpoints) await one(e);
		assert.equal((await server.get('users/1234')).json.user.name, 'Ada');
	});

	each('in every field of every query', async (e) => {
		for (const name of Object.keys(e.inQuery))
			for (const value of HOSTILE)
				isSane(await call(server, e, { query: { [name]: value } }), `${e.method} ${e.route} ${name}`);
	});

	each('in every field of every body', async (e) => {
		for (const name of Object.keys(e.inBody)) {
			const answers = await Promise.all(HOSTILE_JSON.map((value) =>
				call(server, e, { body: { ...e.example, [name]: value } })));
			for (const answer of answers) isSane(answer, `${e.method} ${e.route} ${name}`);
		}
	});

	each('in every part of every path', async (e) => {
		for (const name of Object.keys(e.inPath))
			for (const value of HOSTILE.filter((v) => v.trim() && !v.includes('%')))
				isSane(await call(server, e, { path: { [name]: value } }), `${e.method} ${e.route}`);
	});

	each('bodies of a megabyte, and such that are no JSON', async (e) => {
		if (e.method === 'GET') return;
		const big = await call(server, e, { body: { junk: 'x'.repeat(1 << 20) } });
		assert.equal(big.status, 413);
		for (const body of ['{', '[1]', 'null', '\u0000', '{"a":'.repeat(3000)])
			isSane(await call(server, e, { body }), `${e.method} ${e.route} ${body.slice(0, 9)}`);
	});

	test('a user gets no response of the server without a right to it', async () => {
		const stranger = Sync.user(daemon, 424242);
		for (const e of endpoints.filter((x) => x.method === 'GET')) {
			const query = Object.fromEntries(Object.entries(e.inQuery)
				.filter(([, schema]) => schema.example !== undefined)
				.map(([name, schema]) => [name, schema.example]));
			isSane(await call(stranger, e, { query }), `${e.method} ${e.route}`);
		}
	});
});

describe('lost database', () => {
	test('without the database every endpoint is 503 with Retry-After; sockets stay', async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop());
		const daemon = await startDaemon({ cluster }, t);
		const server = Sync.server(daemon);
		assert.equal((await server.put('users/7', { name: 'Ada' })).status, 200);
		const [a, b] = [await daemon.connect(), await daemon.connect()];
		for (const wire of [a, b]) await wire.subscribe('private-typing');
		await cluster.stop();
		await waitFor(async () => (await server.get('users/7')).status === 503, '503');
		for (const e of endpoints.filter((x) => x.example || x.method === 'GET')) {
			const answer = await call(server, e, { body: e.example });
			if (answer.status < 500) continue;    // refused before the database was needed
			assert.equal(answer.status, 503, `${e.method} ${e.route}: ${answer.text}`);
			assert.ok(Number(answer.headers['retry-after']) > 0);
			assert.equal(answer.json.error.code, 'database_away', answer.text);
			// A request that reads could not have changed anything.
			(e.method === 'GET' ? assert.doesNotMatch : assert.match)(answer.json.error.message,
				/nothing was published or changed/, `${e.method} ${e.route}`);
		}
		a.send({ event: 'client-typing', channel: 'private-typing', data: { n: 1 } });
		await b.next({ event: 'client-typing' });
		await cluster.start();
		await waitFor(async () => (await server.get('users/7')).status === 200, 'served again');
		assert.equal((await server.get('users/7')).json.user.name, 'Ada');
		a.terminate();
		b.terminate();
	});

	test('PostgreSQL killed during writes: each write is complete or absent', async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop());
		const daemon = await startDaemon({ cluster }, t);
		const server = Sync.server(daemon);
		const told = new Map();
		let stopping = false;
		const writer = async (id) => {
			for (let n = 1; !stopping; n++) {
				const text = `${id}-${n}`;
				const answer = await server.put(`users/${id}`, { name: text, avatar: text });
				if (answer.status === 200) told.set(id, n);
				else assert.equal(answer.status, 503, answer.text);
			}
		};
		const writers = [1, 2, 3, 4].map(writer);
		await waitFor(() => told.size === 4, 'all write');
		await cluster.killAndStart();
		const atKill = new Map(told);
		await waitFor(() => [...told].every(([id, n]) => n > atKill.get(id)), 'all write again');
		stopping = true;
		await Promise.all(writers);
		for (const [id, n] of told) {
			const { user } = (await server.get(`users/${id}`)).json;
			assert.equal(user.name, user.avatar);
			assert.ok(Number(user.name.split('-')[1]) >= n, 'no acknowledged write is lost');
		}
	});
});

test('5,000 waiting requests delay no socket or publish, and all are answered', async (t) => {
	const COUNT = 5000;
	const daemon = await startDaemon({ sections: { sync: { statement_timeout_ms: 600000,
		lock_wait_ms: 600000 } } }, t);
	const server = Sync.server(daemon);
	await server.put('users/7', { name: 'Ada' });
	const { host, name, user } = daemon.database;
	const locker = new pg.Client({ host, database: name, user, port: 5432 });
	await locker.connect();
	await locker.query('BEGIN; LOCK TABLE scopewire.users IN ACCESS EXCLUSIVE MODE');
	const agent = suiteAgent({ maxSockets: COUNT, keepAlive: false });
	const waiting = [];
	/** Sends one request; its answer comes later. */
	const send = () => new Promise((resolve, reject) => {
		const request = suiteGet(new URL('/api/sync/users/7', daemon.url),
			{ agent, headers: { Authorization: server.authorization } });
		waiting.push(new Promise((answered) => {
			request.on('error', (error) => answered(error.message)).on('response', (answer) => {
				answer.resume().on('end', () => answered(answer.statusCode))
					.on('error', (error) => answered(error.message));
			});
		}));
		request.on('error', reject).on('finish', resolve);
	});
	// A few at a time: a TLS handshake has to end within server.request_timeout_ms, and this one
	// process does all of them.
	await Promise.all(Array.from({ length: 20 }, async () => {
		while (waiting.length < COUNT) await send();
	}));
	const wire = await daemon.connect();
	await wire.subscribe('news');
	assert.equal((await daemon.api().trigger('news', 'Made', { n: 1 })).status, 200);
	await wire.next({ event: 'Made' });
	await locker.query('COMMIT');
	await locker.end();
	const statuses = await Promise.all(waiting);
	assert.deepEqual(statuses.filter((s) => s !== 200), []);
	wire.terminate();
	agent.destroy();
});
