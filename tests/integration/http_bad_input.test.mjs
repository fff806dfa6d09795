// SPDX-License-Identifier: MIT
// What no well-behaved caller sends to the HTTP API: the server answers clearly, stays up, serves
// others and leaks nothing.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { Raw, signedQuery, startDaemon, suiteAgent, waitFor } from '../lib/harness.mjs';

const TIMEOUT_MS = 3000;      // a slow machine needs longer than one second for a request
const LIMIT = 20000;
const EVENT = { name: 'n', channel: 'c', data: 'd' };
let daemon, api;

before(async () => {
	daemon = await startDaemon({ databaseMode: 'none', database: { required: 'no' },
		server: { request_timeout_ms: TIMEOUT_MS }, log: { level: 'info' },
		app: { durability: 'none', max_request_bytes: LIMIT, max_connections: '0' } });
	api = daemon.api();
});
after(() => daemon?.stop());

/** Everything the server sends until it closes. */
async function exchange(bytes, pieces = []) {
	const raw = await Raw.connect(daemon.port);
	raw.write(bytes);
	for (const piece of pieces) raw.write(piece);
	await waitFor(() => raw.ended, 'the server to close');
	raw.destroy();
	return raw.text;
}

/** Head of a signed POST whose body is to come; more are further header lines. */
function head(path, body, { length = Buffer.byteLength(body), more = '' } = {}) {
	const full = `/apps/${daemon.app.id}${path}`;
	const size = length === null ? '' : `Content-Length: ${length}\r\n`;
	return `POST ${full}?${signedQuery(daemon.app, 'POST', full, {}, body)} HTTP/1.1\r\n` +
		`Host: localhost\r\n${size}${more}\r\n`;
}

const body = JSON.stringify(EVENT);
const closing = { more: 'Connection: close\r\n' };

/** The object as JSON with each member in turn of a wrong type. */
function wrongTypes(object) {
	return Object.keys(object).flatMap((key) => [1, 1.5, true, {}, { a: 1 }, [1], [[]]]
		.map((value) => JSON.stringify({ ...object, [key]: value })));
}

async function serves() {
	const answer = await api.post('/events', EVENT);
	assert.equal(answer.status, 200, answer.text);
}

describe('incomplete requests', { concurrency: true }, () => {
	const whole = () => head('/events', body) + body;
	const cuts = { 'in the method': () => 2, 'in the target': () => 30,
		'behind the target': (s) => s.indexOf(' HTTP') + 3,
		'behind the request line': (s) => s.indexOf('\r\n') + 2,
		'in a header': (s) => s.indexOf('Content-Le') + 4,
		'behind the headers': (s) => s.indexOf('\r\n\r\n') + 4,
		'in the body': (s) => s.length - 3 };
	for (const [where, at] of Object.entries(cuts)) {
		test(`${where}, and wait: closed in time`, async () => {
			const bytes = whole();
			const text = await exchange(bytes.slice(0, at(bytes)));
			assert.match(text, /^(HTTP\/1.1 408 |$)/);
			await serves();
		});
	}

	test('a request sent byte by byte for longer than request_timeout_ms is 408', async () => {
		const raw = await Raw.connect(daemon.port);
		const bytes = whole();
		let at = 0;
		raw.write(bytes.slice(0, at = bytes.indexOf('\r\n') + 2));
		await waitFor(() => {
			if (!raw.ended) raw.write(at < bytes.length - 100 ? bytes[at++] : 'x');
			return raw.ended;
		}, 'the server to close');
		assert.match(raw.text, /^HTTP\/1.1 408 /);
		raw.destroy();
		await serves();
	});
});

describe('too large', () => {
	const filler = (n) => Array.from({ length: Math.ceil(n / 1000) },
		(_, i) => `X-Filler-${i}: ${'f'.repeat(980)}\r\n`).join('');

	test('headers of 15 KB are accepted', async () => {
		assert.match(await exchange(head('/events', body, { more: `${filler(14000)}Connection: close\r\n` }) +
			body), /^HTTP\/1.1 200 /);
	});
	for (const n of [20000, 40000, 200000])
		test(`headers of ${n} bytes get 431`, async () => {
			assert.match(await exchange(`GET /up HTTP/1.1\r\nHost: x\r\n${filler(n)}\r\n`),
				/^HTTP\/1.1 431 /);
			await serves();
		});
	test('a target of 40 KB gets 414', async () => {
		assert.match(await exchange(`GET /${'a'.repeat(40000)} HTTP/1.1\r\nHost: x\r\n\r\n`),
			/^HTTP\/1.1 4(14|31) /);
	});
	test('65 parameters get 400', async () => {
		const many = Array.from({ length: 65 }, (_, i) => `p${i}=1`).join('&');
		assert.match(await exchange(`GET /up?${many} HTTP/1.1\r\nHost: x\r\n\r\n`),
			/^HTTP\/1.1 400 [^]*Too many query parameters/);
	});

	test('a body over the limit gets 413 before it is sent', async () => {
		assert.match(await exchange(head('/events', 'x', { length: LIMIT + 1 })),
			/^HTTP\/1.1 413 [^]*20000 bytes/);
	});
	test('a client that sent a body over the limit can read the 413', async () => {
		const answer = await api.post('/events', 'x'.repeat(5e6));
		assert.equal(answer.status, 413);
	});
	test('an endless chunked body gets 413', async () => {
		const raw = await Raw.connect(daemon.port);
		raw.write(head('/events', '', { length: null, more: 'Transfer-Encoding: chunked\r\n' }));
		const chunk = `400\r\n${'c'.repeat(1024)}\r\n`;
		await waitFor(() => {
			if (!raw.ended) raw.write(chunk);
			return raw.ended;
		}, 'the server to close');
		assert.match(raw.text, /^HTTP\/1.1 413 /);
		raw.destroy();
		await serves();
	});
	test('a body of exactly the limit is accepted', async () => {
		const data = JSON.stringify({ ...EVENT, data: 'd'.repeat(9000), other: 'o'.repeat(10900) });
		assert.ok(data.length < LIMIT && data.length > LIMIT - 100);
		assert.equal((await api.post('/events', data)).status, 200);
	});
});

describe('the sync API answers in JSON what is refused before its handler runs', { concurrency: true }, () => {
	const ORIGIN = 'https://a.example.com';
	const post = (more, path = '/api/sync/heartbeat') =>
		`POST ${path} HTTP/1.1\r\nHost: x\r\nOrigin: ${ORIGIN}\r\n${more}\r\n`;
	const cases = {
		'half a body': [post('Content-Length: 10\r\n') + '{', 408, 'request_timeout'],
		'half a chunked body': [post('Transfer-Encoding: chunked\r\n') + '5\r\n{', 408, 'request_timeout'],
		'half a body, signed route': [post('Content-Length: 10\r\n', '/apps/x/sync/heartbeat'), 408,
			'request_timeout'],
		'two lengths': [post('Content-Length: 1\r\nContent-Length: 2\r\n'), 400, 'bad_request'],
		'a length and chunks': [post('Content-Length: 1\r\nTransfer-Encoding: chunked\r\n'), 400, 'bad_request'],
		'another transfer coding': [post('Transfer-Encoding: gzip\r\n'), 400, 'bad_request'],
		'a space in a header name': [post('X-A : 1\r\n'), 400, 'bad_request'],
		'a body over the limit': [post('Content-Length: 300000\r\n'), 413, 'too_large'],
		'a head over the limit': [post(`X-A: ${'a'.repeat(17000)}\r\n`), 431, 'headers_too_large'],
		'a long method': [post('').replace('POST', 'M'.repeat(40)), 501, 'method_not_allowed'],
		'many parameters': [post('', `/api/sync/heartbeat?${'a=1&'.repeat(65)}`), 400, 'bad_request'],
		'a NUL in the path': [post('', '/api/sync/heart%00beat'), 400, 'bad_request'],
	};
	for (const [what, [bytes, status, code]] of Object.entries(cases))
		test(`${what}: ${status}`, async () => {
			const text = await exchange(bytes);
			assert.match(text, new RegExp(`^HTTP/1.1 ${status} `));
			assert.match(text, /\r\nContent-Type: application\/json\r\n/i);
			assert.match(text, new RegExp(`\r\nAccess-Control-Allow-Origin: ${ORIGIN}\r\n`));
			assert.equal(JSON.parse(text.slice(text.indexOf('\r\n\r\n'))).error.code, code);
			await serves();
		});

	test('half a head: 408', async () => {
		const text = await exchange(post('').slice(0, -2));
		assert.equal(JSON.parse(text.slice(text.indexOf('\r\n\r\n'))).error.code, 'request_timeout');
	});
});

describe('malformed HTTP', () => {
	// each made when the daemon is there
	const cases = {
		'no length, no body': () => [head('/events', body, { length: null, ...closing }), /^HTTP\/1.1 401 /],
		'a length that is no number': () => [head('/events', body, { length: 'ten' }), /^HTTP\/1.1 400 /],
		'a negative length': () => [head('/events', body, { length: -5 }), /^HTTP\/1.1 400 /],
		'a length beyond 64 bits': () => [head('/events', body, { length: '9'.repeat(30) }),
			/^HTTP\/1.1 413 /],
		'a length and chunks': () => [head('/events', body, { more: 'Transfer-Encoding: chunked\r\n' }) +
			'0\r\n\r\n', /^HTTP\/1.1 400 /],
		'another transfer coding': () => [head('/events', body, { length: null,
			more: 'Transfer-Encoding: gzip\r\n' }) + body, /^HTTP\/1.1 400 /],
		'a chunk size that is none': () => [head('/events', body, { length: null,
			more: 'Transfer-Encoding: chunked\r\n' }) + 'xyz\r\n', /^HTTP\/1.1 400 /],
		'a header without colon': () => ['GET /up HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n',
			/^HTTP\/1.1 400 /],
		'a NUL in the path': () => ['GET /up%00 HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1.1 400 /],
		'an unknown method': () => ['BREW /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
			/^HTTP\/1.1 405 /],
		'a method that is long': () => [`${'M'.repeat(40)} /up HTTP/1.1\r\nHost: x\r\n\r\n`,
			/^HTTP\/1.1 501 /],
		'HTTP/1.0': () => ['GET /up HTTP/1.0\r\n\r\n', /^HTTP\/1.1 200 /],
		'HTTP/3.7': () => ['GET /up HTTP/3.7\r\nHost: x\r\n\r\n', /^HTTP\/1.1 505 /],
		'HTTP/2 preface': () => ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', /^(HTTP\/1.1 [45]|$)/],
		'garbage': () => ['\x00\x01\x02\xff\xfe garbage\r\n\r\n', /^(HTTP\/1.1 4|$)/],
		'an empty line first': () => ['\r\nGET /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
			/^HTTP\/1.1 200 /],
		'expecting to continue': () => [head('/events', body,
			{ more: 'Expect: 100-continue\r\nConnection: close\r\n' }) + body,
		/^HTTP\/1.1 100 [^]*HTTP\/1.1 200 /],
	};
	for (const [what, make] of Object.entries(cases))
		test(what, async () => {
			const [bytes, wanted] = make();
			assert.match(await exchange(Buffer.from(bytes, 'latin1')), wanted);
			await serves();
		});
});

describe('malformed bodies and targets', () => {
	const calls = {
		'/events': ['', '{', '[]', 'null', '"x"', '{}', '{"name":1}', '\xff', '{"name":"\\u0000"}',
			...wrongTypes({ ...EVENT, socket_id: '1.2', info: 'user_count' }),
			...wrongTypes({ name: 'n', data: 'd', channels: ['c'] }),
			JSON.stringify({ ...EVENT, channel: 'a b' }), JSON.stringify({ ...EVENT, channel: '' }),
			JSON.stringify({ ...EVENT, channel: 'x\u0000y' }),
			JSON.stringify({ ...EVENT, name: 'n\u0000' }),
			JSON.stringify({ ...EVENT, channel: 'n'.repeat(201) }),
			JSON.stringify({ ...EVENT, name: 'n'.repeat(201) }),
			JSON.stringify({ ...EVENT, socket_id: '1.2.3' }),
			`${'['.repeat(5000)}`, `${'{"a":'.repeat(2000)}1${'}'.repeat(2000)}`,
			'{"name":"n","channel":"c","data":"\xc3\x28"}'],
		'/batch_events': ['', '{}', '{"batch":1}', '{"batch":{}}', '{"batch":[]}', '{"batch":[1]}',
			'{"batch":[[]]}', '{"batch":[null]}', ...wrongTypes(EVENT).map((e) => `{"batch":[${e}]}`)],
		'/users/7/events': ['', '[]', '{}', '{"name":[],"data":"d"}', '{"name":"n","data":7}'],
	};
	for (const [path, bodies] of Object.entries(calls))
		test(`${path}: ${bodies.length} bodies get 400 and a sentence`, async () => {
			for (const text of bodies) {
				const answer = await api.post(path, Buffer.from(text, 'latin1'));
				assert.equal(answer.status, 400, `${text.slice(0, 200)}: ${answer.text}`);
				assert.match(answer.text, /^[A-Z"].{10,200}[^.]$/);
			}
			await serves();
		});

	test('unusual bytes in targets do no harm', async () => {
		for (const path of ['/channels/%ff', '/channels/a%2fb', '/channels/%00', '/channels/a%20b',
			'/channels/..%2f..%2fetc', `/channels/${'c'.repeat(300)}`])
			assert.ok([400, 401, 404].includes((await api.get(path)).status), path);
		for (const path of ['/%', '/%zz', '/%2e%2e/%2e%2e/etc/passwd', '/..', '//', '/apps/%00'])
			assert.ok([200, 400, 404].includes((await daemon.http(path)).status), path);
	});
});

test('a signed request can be repeated within ten minutes, but not with another body', async () => {
	const bytes = head('/events', body, closing) + body;
	for (let i = 0; i < 2; i++) assert.match(await exchange(bytes), /^HTTP\/1.1 200 /);
	const other = bytes.slice(0, -body.length) + body.replace('"d"', '"e"');
	assert.match(await exchange(other), /^HTTP\/1.1 401 /);
});

test('a body whose length can be read in two ways is refused, and the connection closed', async () => {
	const n = Buffer.byteLength(body), [length, chunked] =
		[`Content-Length: ${n}\r\n`, 'Transfer-Encoding: chunked\r\n'];
	for (const more of [`Content-Length: 5\r\n${length}`, `${length}Content-Length: 5\r\n`,
		length + length, `Content-Length: ${n}, ${n}\r\n`, `Content-Length: +${n}\r\n`,
		`Content-Length: 0x${n.toString(16)}\r\n`, 'Content-Length: -1\r\n', 'Content-Length: \r\n',
		`Content-Length: ${n} 0\r\n`, `Content-Length : ${n}\r\n`, length + chunked, chunked + length,
		chunked + chunked, `${chunked}Transfer-Encoding: identity\r\n`,
		'Transfer-Encoding: gzip, chunked\r\n', 'Transfer-Encoding: xchunked\r\n',
		'Transfer-Encoding:\r\n', 'Transfer-Encoding : chunked\r\n',
		`X: a\r${length}`, `Host: other\r\n${length}`]) {
		const text = await exchange(head('/events', body, { length: null, more }) + body);
		assert.match(text, /^HTTP\/1.1 400 /, JSON.stringify(more));
	}
	await serves();
});

test('pipelined requests are answered in order, malformed ones included', async () => {
	const good = head('/events', body) + body;
	const unsigned = 'GET /apps/client-portal/channels HTTP/1.1\r\nHost: x\r\n\r\n';
	const missing = 'GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n';
	const last = 'GET /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
	const text = await exchange([...Array(50)].map(() => good + unsigned + missing).join('') + last);
	const statuses = [...text.matchAll(/HTTP\/1.1 (\d+) /g)].map((m) => m[1]);
	assert.deepEqual(statuses, [...[...Array(50)].flatMap(() => ['200', '401', '404']), '200']);
});

for (const durability of ['none', 'commit']) describe(`many at once, durability ${durability}`, () => {
	let mine, fds, rss;
	const status = () => fs.readFileSync(`/proc/${mine.pid}/status`, 'utf8');
	const countFds = () => fs.readdirSync(`/proc/${mine.pid}/fd`).length;
	const rssKb = () => Number(/VmRSS:\s+(\d+)/.exec(status())[1]);
	const isSanitized = () => Number(/VmSize:\s+(\d+)/.exec(status())[1]) > 1e9;

	before(async () => {
		mine = durability === 'none' ? daemon
			: await startDaemon({ log: { level: 'info' }, app: { durability } });
	});
	after(() => mine !== daemon && mine?.stop());

	/** One connection that does something and dies. */
	async function brief(seed) {
		const raw = await Raw.connect(mine.port);
		const bytes = head('/events', body) + body;
		const kind = seed % 5;
		if (kind === 0) raw.write(bytes);
		if (kind === 1) raw.write(bytes.slice(0, seed * 7 % bytes.length));
		if (kind === 2) raw.write(bytes + bytes + bytes.slice(0, 20));
		if (kind === 3) raw.write('GET /up HTTP/1.1\r\nHost: x\r\n\r\n');
		if (kind < 4 && seed % 2) await waitFor(() => raw.text.length || raw.ended || kind === 1);
		if (seed % 3) raw.reset();
		else raw.destroy();
	}

	async function storm(rounds) {
		for (let round = 0; round < rounds; round++)
			await Promise.all(Array.from({ length: 200 }, (_, i) => brief(round * 200 + i)));
	}

	test('200 connections that close at random disturb no publisher', async () => {
		const agent = suiteAgent({ keepAlive: true, maxSockets: 4 });
		const steady = mine.api(mine.app, mine.url, { agent });
		await storm(2);
		await waitFor(() => countFds() < 100, 'descriptors to be closed');
		fds = countFds();
		rss = rssKb();
		let done = false, published = 0;
		const publishing = Promise.all(Array.from({ length: 4 }, async () => {
			while (!done) {
				assert.equal((await steady.post('/events', EVENT)).status, 200);
				published++;
			}
		}));
		await storm(10);
		done = true;
		await publishing;
		agent.destroy();
		assert.ok(published > 20, `${published} published`);
		await waitFor(() => countFds() <= fds, `${countFds()} descriptors, ${fds} before`);
		// Sanitizers keep freed memory for a while; they look for leaks themselves.
		assert.ok(isSanitized() || rssKb() < rss + 12000, `${rssKb()} KB after, ${rss} KB before`);
	});
});

test('SIGTERM while publishing: every accepted publish is answered', async () => {
	const mine = await startDaemon({ log: { level: 'info' } });
	const agent = suiteAgent({ keepAlive: true, maxSockets: 8 });
	const steady = mine.api(mine.app, mine.url, { agent });
	let published = 0, stopping = false;
	const publishing = Array.from({ length: 8 }, async () => {
		for (;;) {
			let answer;
			try {
				answer = await steady.post('/events', EVENT);
			} catch (error) {
				assert.ok(stopping, error);
				return;
			}
			if (answer.status === 200) published++;
			else return assert.equal(answer.status, 503, answer.text);
		}
	});
	await waitFor(() => published > 100);
	stopping = true;
	await mine.stop();
	await Promise.all(publishing);
	agent.destroy();
	const [{ n }] = await mine.query('SELECT count(*)::int AS n FROM realtime_events');
	assert.ok(n >= published, `${published} answered 200, ${n} rows`);
});
