// SPDX-License-Identifier: MIT
// The ground of the sync API: who may call, how fields are read, how answers are made.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import zlib from 'node:zlib';
import { APP, Sync, failed, hmac, jwt, startDaemon, suiteGet, userToken, waitFor } from '../lib/harness.mjs';

const OTHER = { id: 'other', key: 'other-key', secret: 'other-secret',
	token_secret: 'a key for tokens of 32 bytes or more',
	allowed_origins: 'https://portal.example' };
const DISABLED = { id: 'disabled', key: 'disabled-key', secret: 'disabled-secret', enabled: 'no' };
const LIMITED = { id: 'limited', key: 'limited-key', secret: 'limited-secret',
	max_read_requests_per_second: '2', max_backend_events_per_second: '2' };

let daemon, server;
before(async () => {
	daemon = await startDaemon({ apps: [APP, OTHER, DISABLED, LIMITED], server: { path: '/ws' },
		sections: { sync: { user_activity_types: 'mine' } } });
	server = Sync.server(daemon);
});
after(() => daemon?.stop());

describe('socket_id', () => {
	const at = { resource_type: 'note', resource_id: 1 };
	const WITH_SOCKET = {
		activities: { type: 'mine' },
		locks: at,
		'locks/release': at,
		changes: { client_id: 'c', mutations: [{ mutation_id: 'm', ...at, op: 'upsert', data: {},
			expected_version: null }] },
		'start-viewing': at,
	};
	before(() => daemon.query(`INSERT INTO channel_rules (pattern, rule, can_write)
		VALUES ('note.{id}', 'anyone', true), ('here', 'anyone', false)`));

	/** Every call with that socket_id, as that user, with the outcome. */
	async function each(user, socket_id, outcome) {
		for (const [path, body] of Object.entries(WITH_SOCKET))
			outcome(await Sync.user(daemon, user).post(path, { ...body, socket_id }));
	}
	const isFine = (answer) => assert.ok(answer.status < 300, answer.text);
	const isForbidden = (answer) => failed(answer, 403, 'socket_forbidden', 'socket_id');

	test('a connection that signed in is that user\'s', async () => {
		const [mine, other] = [await daemon.connect(), await daemon.connect()];
		await each(1, mine.socketId, isForbidden);
		mine.sendSignin({ id: '1' });
		other.sendSignin({ id: '2' });
		for (const wire of [mine, other]) await wire.next({ event: 'pusher:signin_success' });
		await each(1, mine.socketId, isFine);
		await each(1, other.socketId, isForbidden);
		await Promise.all([mine, other].map((wire) => wire.close()));
	});

	test('a connection on a presence channel is that member\'s', async () => {
		const wire = await daemon.connect();
		await wire.subscribe('presence-here', { channelData: { user_id: '1' } });
		await each(1, wire.socketId, isFine);
		await each(2, wire.socketId, isForbidden);
		await wire.close();
	});

	test('a connection is that of the user for whom it was authorized first', async () => {
		const wire = await daemon.connect();
		const auth = (user) => Sync.user(daemon, user).post('/broadcasting/auth',
			{ socket_id: wire.socketId, channel_name: 'private-here' });
		assert.equal((await auth(1)).status, 200);
		assert.equal((await auth(2)).status, 200);
		await each(1, wire.socketId, isFine);
		await each(2, wire.socketId, isForbidden);
		await wire.close();
	});

	test('a connection that is not open is 400', async () => {
		await each(1, '123.456', (answer) => failed(answer, 400, 'unknown_socket', 'socket_id'));
		const other = await daemon.connect({ app: OTHER });
		await each(1, other.socketId, (answer) => failed(answer, 400, 'unknown_socket', 'socket_id'));
		await other.close();
	});

	test('the server may name any connection', async () => {
		const wire = await daemon.connect();
		isFine(await server.post('activities', { type: 'any', socket_id: wire.socketId }));
		isFine(await server.post('activities', { type: 'any', socket_id: '123.456' }));
		await wire.close();
	});
});

describe('callers', () => {
	test('the server is accepted with key and secret', async () => {
		const told = await server.put('users/1', { name: 'Ada', roles: ['admin'] });
		assert.equal(told.status, 200, told.text);
		assert.equal(told.json.user.name, 'Ada');
		assert.match(told.json.user.updated_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
		assert.deepEqual((await server.get('users/1')).json.user, told.json.user);
	});

	test('the server is accepted with the signed query of the Pusher API', async () => {
		const api = daemon.api();
		const told = await api.post('/sync/users/2', { name: 'Grace' });
		assert.equal(told.status, 200, told.text);
		assert.deepEqual((await api.get('/sync/users/2')).json.user, told.json.user);
		failed(await api.call('GET', '/sync/users/2', { override: { auth_signature: 'x' } }),
			401, 'bad_signature');
		failed(await daemon.http('/apps/nobody/sync/users/2'), 404, 'unknown_app');
	});

	test('a user is accepted as itself', async () => {
		await server.put('users/5', { name: 'Five' });
		assert.equal((await Sync.user(daemon, 5).get('users/5')).json.user.name, 'Five');
		failed(await Sync.user(daemon, 5).get('users/1'), 403, 'forbidden', 'id');
		failed(await Sync.user(daemon, 5).put('users/5', { roles: ['admin'] }), 403, 'forbidden');
	});

	test('the configured path prefix works', async () => {
		assert.equal((await server.get('/ws/api/sync/users/1')).status, 200);
	});

	test('apps do not see each other', async () => {
		failed(await Sync.server(daemon, OTHER).get('users/1'), 404, 'unknown_user', 'id');
		failed(await Sync.user(daemon, 1, {}, OTHER).get('users/1'), 404, 'unknown_user', 'id');
	});

	test('any other caller is refused', async () => {
		const as = (authorization) => new Sync(daemon, authorization).get('users/1');
		const basic = (text) => as(`Basic ${Buffer.from(text).toString('base64')}`);
		failed(await as(undefined), 401, 'unauthorized');
		failed(await as('Digest x'), 401, 'unauthorized');
		failed(await as('Basic'), 401, 'unauthorized');
		failed(await as('Basic !!!!'), 401, 'bad_credentials');
		failed(await as('Basic ===='), 401, 'bad_credentials');
		failed(await as(`Basic ${'QUJD'.repeat(1000)}`), 401, 'bad_credentials');
		failed(await basic(`${APP.key}:wrong`), 401, 'bad_credentials');
		failed(await basic(`${APP.key}:${APP.secret}x`), 401, 'bad_credentials');
		failed(await basic(`nobody:${APP.secret}`), 401, 'bad_credentials');
		failed(await basic(APP.key), 401, 'bad_credentials');
		failed(await Sync.server(daemon, DISABLED).get('users/1'), 403, 'app_disabled');
	});

	test('a challenge for Basic, which makes browsers ask for a password, is for Basic callers only', async () => {
		const challenge = async (authorization) =>
			(await new Sync(daemon, authorization).get('users/1')).headers['www-authenticate'];
		for (const other of [undefined, 'Bearer expired', 'Digest x'])
			assert.match(await challenge(other), /^Bearer realm="[^"]+"$/);
		assert.match(await challenge(`Basic ${btoa('nobody:nothing')}`), /^Basic realm="[^"]+"$/);
		const user = await daemon.http('/broadcasting/auth', { method: 'POST', body: '{}',
			headers: { 'Content-Type': 'application/json', 'Content-Length': 2 } });
		assert.equal(user.status, 401);
		assert.match(user.headers['www-authenticate'], /^Bearer/);
	});

	test('a token may be signed with the key that is made of the secret, long enough for every library', async () => {
		const exp = Math.floor(Date.now() / 1000) + 60;
		const key = hmac(APP.secret, 'scopewire-token');
		assert.equal(key.length, 64);
		const as = (token) => new Sync(daemon, `Bearer ${token}`).get('users/1');
		assert.equal((await as(jwt(key, { sub: '1', aud: APP.id, exp }))).status, 200);
		assert.equal((await as(jwt(OTHER.token_secret, { sub: '1', aud: OTHER.id, exp }))).status, 404);
		failed(await as(jwt(hmac(OTHER.secret, 'scopewire-token'), { sub: '1', aud: OTHER.id, exp })),
			401, 'bad_token');
	});

	test('a token may name its key by kid, and each key is tried whatever it is', async () => {
		const claims = { sub: '1', aud: APP.id, exp: Math.floor(Date.now() / 1000) + 60 };
		for (const key of [APP.secret, hmac(APP.secret, 'scopewire-token')]) {
			const token = jwt(key, claims, { alg: 'HS256', typ: 'JWT', kid: '2026-11' });
			assert.equal((await new Sync(daemon, `Bearer ${token}`).get('users/1')).status, 200);
		}
		const other = jwt('another key', claims, { alg: 'HS256', kid: '2026-11' });
		failed(await new Sync(daemon, `Bearer ${other}`).get('users/1'), 401, 'bad_token');
	});

	test('an audience may be a list', async () => {
		const exp = Math.floor(Date.now() / 1000) + 60;
		const as = (aud) => new Sync(daemon, `Bearer ${jwt(APP.secret, { sub: '1', aud, exp })}`)
			.get('users/1');
		assert.equal((await as(['https://portal.example', APP.id])).status, 200);
		for (const aud of [['other-portal'], [], 7, null, { id: APP.id }])
			failed(await as(aud), 401, 'bad_token');
	});

	test('a token with any wrong part is refused', async () => {
		const now = Math.floor(Date.now() / 1000);
		const good = { sub: '1', aud: APP.id, exp: now + 60 };
		const as = (token) => new Sync(daemon, `Bearer ${token}`).get('users/1');
		const cases = {
			expired: [{ ...good, exp: now - 60 }, /expired/, 'token_expired'],
			'without exp': [{ ...good, exp: undefined }, /exp/],
			'exp as text': [{ ...good, exp: 'soon' }, /must be numbers/],
			'not yet': [{ ...good, nbf: now + 600 }, /not valid yet/],
			'issued ahead': [{ ...good, iat: now + 600 }, /not valid yet/],
			'no subject': [{ ...good, sub: undefined }, /sub/],
			'subject 0': [{ ...good, sub: 0 }, /sub/],
			'subject a name': [{ ...good, sub: 'ada' }, /sub/],
			'subject too long': [{ ...good, sub: '9223372036854775808' }, /sub/],
			'roles no list': [{ ...good, roles: 'admin' }, /roles/],
			'roles of numbers': [{ ...good, roles: [1] }, /roles/],
			'name a number': [{ ...good, name: 1 }, /name/],
			'unknown app': [{ ...good, aud: 'nobody' }, /aud/],
			'no app among several': [{ ...good, aud: undefined }, /aud/],
		};
		for (const [name, [claims, message, code = 'bad_token']] of Object.entries(cases)) {
			const answer = await as(jwt(APP.secret, claims));
			failed(answer, 401, code);
			assert.match(answer.json.error.message, message, name);
		}
		failed(await as(jwt(OTHER.secret, good)), 401, 'bad_token');
		failed(await as(jwt(APP.secret, good, { alg: 'none', typ: 'JWT' })), 401, 'bad_token');
		failed(await as(jwt(APP.secret, good, { alg: 'HS512', typ: 'JWT' })), 401, 'bad_token');
		const [head, , mac] = jwt(APP.secret, good).split('.');
		const claims = Buffer.from(JSON.stringify({ ...good, sub: '2' })).toString('base64url');
		failed(await as(`${head}.${claims}.${mac}`), 401, 'bad_token');
		for (const junk of ['x', 'a.b', 'a.b.c', '..', `${head}..${mac}`, 'é.é.é', 'a'.repeat(9000)])
			failed(await as(junk), 401, 'bad_token');
		assert.equal((await as(jwt(APP.secret, { ...good, sub: 1 }))).status, 200);
		assert.equal((await as(userToken(APP, 1, { aud: APP.key }))).status, 200);
	});

	test('calls over the rate limit are 429', async () => {
		const limited = Sync.server(daemon, LIMITED);
		// On a busy machine six calls can take so long that they are under the limit.
		const refused = await waitFor(async () => (await Promise.all([1, 2, 3, 4, 5, 6].map(() => limited.get('users/1'))))
			.find((a) => a.status === 429), 'a refusal');
		failed(refused, 429, 'rate_limited');
		assert.equal(refused.headers['retry-after'], '1');
	});
});

describe('paths and methods', () => {
	test('unknown path is 404, wrong method 405', async () => {
		failed(await server.get('nothing'), 404, 'not_found');
		failed(await server.get('users/'), 404, 'not_found');
		failed(await server.get('users/1/2'), 404, 'not_found');
		const wrong = await server.call('PATCH', 'users/1');
		failed(wrong, 405, 'method_not_allowed');
		assert.equal(wrong.headers.allow, 'DELETE, GET, HEAD, PUT, POST');
	});

	test('HEAD is a GET without a body', async () => {
		const head = await server.call('HEAD', 'users/1');
		assert.equal(head.status, 200);
		assert.equal(head.text, '');
		const get = await server.get('users/1');
		assert.equal(head.headers['content-length'], get.headers['content-length']);
		assert.equal(head.headers.etag, get.headers.etag);
	});
});

describe('fields of requests', () => {
	test('unknown fields are refused, in query and body', async () => {
		failed(await server.get('users/1', { colour: 'red' }), 400, 'unknown_field', 'colour');
		failed(await server.put('users/1', { nam: 'x' }), 400, 'unknown_field', 'nam');
		failed(await server.get('online-users?limit=1&&status=bogus'), 400, 'invalid_value', 'status');
	});

	test('wrong types and lengths are refused', async () => {
		const put = (body) => server.put('users/1', body);
		failed(await put({ name: 1 }), 400, 'invalid_value', 'name');
		failed(await put({ name: 'x'.repeat(256) }), 400, 'invalid_value', 'name');
		failed(await put({ roles: 'admin' }), 400, 'invalid_value', 'roles');
		failed(await put({ roles: [1] }), 400, 'invalid_value', 'roles');
		failed(await put({ roles: Array(65).fill('x') }), 400, 'invalid_value', 'roles');
		for (const id of ['0', '-1', 'x', '9223372036854775808', '1%27--'])
			failed(await server.get(`users/${id}`), 400, 'invalid_value', 'id');
		assert.equal((await put({ name: null, avatar: '' })).json.user.avatar, '');
	});

	test('a list in a query is refused when a part is not UTF-8 or has NUL', async () => {
		failed(await server.get('versions?resources=a%3A1,%ff,b%3A2'), 400, 'invalid_value', 'resources');
		failed(await server.get('versions?types=a,%c3'), 400, 'invalid_value', 'types');
		failed(await server.get('versions?types=a,b%00'), 400, 'invalid_value', 'types');
	});

	test('a time with a raw + in a URL is refused with the hint to write %2B', async () => {
		const get = (from) => server.get(`events?from=${from}`);
		const answer = await get('2026-01-01T10:00:00+02:00');
		failed(answer, 400, 'invalid_value', 'from');
		assert.match(answer.json.error.message, /%2B/);
		assert.equal((await get('2026-01-01T10:00:00%2B02:00')).status, 200);
		for (const offset of ['%2B%ff%ff:00', '-ab:cd', '%2B2:000', ''])
			failed(await get(`2026-01-01T10:00:00${offset}`), 400, 'invalid_value', 'from');
	});

	test('a body that is not a JSON object is refused', async () => {
		const put = (body) => server.put('users/1', body);
		for (const body of ['{', '[1]', '"x"', 'null', '{"name":"a","name":"b"}', '{"name":"\\u0000"}',
			Buffer.from([0x7b, 0xff, 0x7d]), '[' .repeat(5000), '{"id2":99999999999999999999}'])
			failed(await put(body), 400, 'invalid_json');
	});

	test('a cursor belongs to its list and filters', async () => {
		for (let i = 0; i < 3; i++) await server.post('activities', { type: 'page', metadata: { client_id: 5 } });
		await server.post('notifications', { to: 7, title: 'a' });
		await server.post('notifications', { to: 7, title: 'b' });
		for (const id of [7, 8]) await server.post('heartbeat', { user_id: id, location: 'page' });
		for (const resource_id of [1, 2]) await server.post('locks', { resource_type: 'page', resource_id, user_id: 7 });
		await server.post('changes', { client_id: 'page', mutations: [1, 2].map((resource_id) => ({
			mutation_id: resource_id, resource_type: 'page', resource_id, op: 'upsert', data: {},
			expected_version: 0 })) });
		const lists = [['activities', { type: 'page' }], ['activities', { type: 'page', feed: 'client', client_id: 5 }],
			['activities', { type: 'page', metadata: '{"client_id":5}' }], ['notifications', { user_id: 7 }],
			['notifications', { user_id: 7, unread: true }], ['online-users', {}],
			['online-users', { location: 'page' }], ['locks', {}], ['locks', { user_id: 7 }],
			['versions', { types: 'page' }], ['events', {}], ['events', { order: 'newest' }]];
		const cursors = [];
		for (const [path, query] of lists) {
			const { json } = await server.get(path, { ...query, limit: 1 });
			assert.ok(json.next_cursor, `${path} ${JSON.stringify(query)}`);
			cursors.push(json.next_cursor);
		}
		for (const [i, [path, query]] of lists.entries())
			for (const [j, cursor] of cursors.entries()) {
				const answer = await server.get(path, { ...query, limit: 2, cursor });
				if (i === j) assert.equal(answer.status, 200, `${path}: ${answer.text}`);
				else failed(answer, 400, 'invalid_cursor', 'cursor');
			}
	});

	test('an unknown field gets the near name', async () => {
		const near = async (path, query) => (await server.get(path, query)).json.error.message;
		assert.match(await near('online-users', { locaton: 'x' }), /did you mean "location"/);
		assert.match(await near('activities', { clientId: 'x' }), /did you mean "client_id"/);
		assert.doesNotMatch(await near('activities', { colour: 'x' }), /did you mean/);
	});

	test('a user\'s own feed needs no user_id', async () => {
		await server.post('activities', { type: 'of-91', user_id: 91 });
		const mine = await Sync.user(daemon, 91).get('activities', { feed: 'user' });
		assert.deepEqual(mine.json.activities.map((a) => a.type), ['of-91']);
		assert.equal((await Sync.user(daemon, 91).post('activities/read', { feed: 'user' })).json.unread, 0);
		failed(await server.get('activities', { feed: 'user' }), 400, 'missing_field', 'user_id');
	});

	test('a conflict names the current version', async () => {
		const put = (mutation_id, expected_version) => server.post('changes', { client_id: 'v', mutations: [{
			mutation_id, resource_type: 'v', resource_id: 1, op: 'upsert', data: {}, expected_version }] });
		await put(1, 0);
		assert.match((await put(2, 7)).json.results[0].error.message, /version 7; the current version is 1$/);
	});

	test('an empty array is an empty object, as PHP encodes it', async () => {
		const user = Sync.user(daemon, 77);
		assert.equal((await user.post('heartbeat', '[]')).status, 200);
		assert.equal((await user.post('heartbeat', { info: [] })).status, 200);
		assert.equal((await server.put('users/77', '[ ]')).status, 200);
		const { activity } = (await server.post('activities', { type: 'x', metadata: [] })).json;
		assert.deepEqual(activity.metadata, {});
		assert.equal((await server.get('activities', { metadata: '[]' })).json.activities[0].id, activity.id);
		const sent = await server.post('notifications', { to: 77, title: 'x', data: [] });
		assert.equal(sent.status, 201, sent.text);
		const mutation = { resource_type: 'php', resource_id: 1, op: 'upsert', data: [] };
		const put = async (more) => (await server.post('changes', { client_id: 'c',
			mutations: [{ ...mutation, ...more }] })).json.results[0];
		assert.equal((await put({ mutation_id: 1, expected_version: 0 })).status, 200);
		assert.equal((await put({ mutation_id: 2, expected_version: 1, op: 'patch' })).status, 200);
		assert.deepEqual((await server.get('changes', { types: 'php' })).json.changes[0].data, {});
		failed(await user.post('heartbeat', { info: [1] }), 400, 'invalid_value', 'info');
		failed(await user.post('start-viewing', '[]'), 400, 'missing_field', 'resource_type');
	});

	test('a body over the limit is 413', async () => {
		const answer = await server.put('users/1', { name: 'x'.repeat(300000) });
		failed(answer, 413, 'too_large');
		assert.equal(answer.headers['content-type'], 'application/json');
		const pusher = await daemon.http('/apps/nobody/events', { method: 'POST', body: 'x'.repeat(300000) });
		assert.equal(pusher.status, 413);
		assert.match(pusher.headers['content-type'], /^text\/plain/);
	});

	test('SQL in a field is stored as text', async () => {
		const name = `'); DROP TABLE users; --"\\ $1`;
		assert.equal((await server.put('users/3', { name })).json.user.name, name);
		assert.equal((await server.get('users/3')).json.user.name, name);
	});
});

describe('responses', () => {
	test('a response has an ETag, and an unchanged one is 304', async () => {
		const first = await server.get('users/1');
		const headers = { 'If-None-Match': first.headers.etag };
		const again = await server.call('GET', 'users/1', { headers });
		assert.equal(again.status, 304);
		assert.equal(again.text, '');
		assert.equal(again.headers.etag, first.headers.etag);
		await server.put('users/1', { name: 'Changed' });
		assert.equal((await server.call('GET', 'users/1', { headers })).status, 200);
	});

	test('long responses are compressed on request', async () => {
		const roles = Array.from({ length: 60 }, (_, i) => `a-rather-long-name-of-a-role-${i}`);
		await server.put('users/9', { roles });
		const plain = await server.get('users/9');
		assert.equal(plain.headers['content-encoding'], undefined);
		const url = new URL('/api/sync/users/9', daemon.url);
		const [encoding, bytes] = await new Promise((resolve, reject) => suiteGet(url, { headers: {
			Authorization: server.authorization, 'Accept-Encoding': 'br, gzip' } }, (response) => {
			const parts = [];
			response.on('data', (p) => parts.push(p)).on('error', reject).on('end', () =>
				resolve([response.headers['content-encoding'], Buffer.concat(parts)]));
		}).on('error', reject));
		assert.equal(encoding, 'gzip');
		assert.ok(bytes.length < plain.text.length);
		assert.equal(zlib.gunzipSync(bytes).toString(), plain.text);
		const refused = await server.call('GET', 'users/9', { headers: { 'Accept-Encoding': 'gzip;q=0' } });
		assert.equal(refused.headers['content-encoding'], undefined);
		assert.equal(refused.text, plain.text);
	});
});

describe('CORS', () => {
	const from = (origin, app = OTHER) => {
		const s = Sync.user(daemon, 1, {}, app);
		return (method) => s.call(method, 'users/1', { headers: { Origin: origin } });
	};

	test('a page of an allowed origin may call and read', async () => {
		const asked = await from('https://portal.example')('OPTIONS');
		assert.equal(asked.status, 204);
		assert.equal(asked.headers['access-control-allow-origin'], 'https://portal.example');
		assert.match(asked.headers['access-control-allow-methods'], /GET, HEAD, PUT, POST/);
		assert.match(asked.headers['access-control-allow-headers'], /Authorization/);
		await Sync.server(daemon, OTHER).put('users/1', { name: 'x' });
		const got = await from('https://portal.example')('GET');
		assert.equal(got.status, 200);
		assert.equal(got.headers['access-control-allow-origin'], 'https://portal.example');
		assert.match(got.headers.vary, /Origin/);
	});

	test('credentials and headers of frameworks and tracers are allowed', async () => {
		const s = Sync.user(daemon, 1, {}, OTHER);
		const names = 'authorization,content-type,traceparent,x-xsrf-token';
		const asked = await s.call('OPTIONS', 'users/1', { headers: {
			Origin: 'https://portal.example', 'Access-Control-Request-Method': 'POST',
			'Access-Control-Request-Headers': names } });
		assert.equal(asked.headers['access-control-allow-headers'], names);
		assert.equal(asked.headers['access-control-allow-credentials'], 'true');
		const odd = await s.call('OPTIONS', 'users/1', { headers: {
			Origin: 'https://portal.example', 'Access-Control-Request-Headers': 'a;b"c' } });
		assert.match(odd.headers['access-control-allow-headers'], /^Authorization, /);
		for (const [method, place, status] of [['GET', 'users/1', 200], ['GET', 'nowhere', 404],
			['POST', 'notifications', 403]]) {
			const got = await s.call(method, place, { headers: {
				Origin: 'https://portal.example' } });
			assert.equal(got.status, status);
			assert.equal(got.headers['access-control-allow-credentials'], 'true');
			assert.equal(got.headers['access-control-allow-origin'], 'https://portal.example');
		}
		const evil = await s.call('GET', 'users/1', { headers: { Origin: 'https://evil.example' } });
		assert.equal(evil.headers['access-control-allow-credentials'], undefined);
	});

	test('a page can read a refusal that comes before its request is complete', async () => {
		const big = { method: 'POST', body: 'x'.repeat(300000) };
		const read = await daemon.http('/api/sync/heartbeat',
			{ ...big, headers: { Origin: 'https://portal.example' } });
		assert.equal(read.status, 413);
		assert.equal(read.headers['access-control-allow-origin'], 'https://portal.example');
		assert.equal(read.headers['access-control-allow-credentials'], 'true');
		const other = await daemon.http('/api/sync/heartbeat', big);
		assert.equal(other.headers['access-control-allow-origin'], undefined);
	});

	test('a page of another origin may not', async () => {
		const got = await from('https://evil.example')('GET');
		failed(got, 403, 'origin_not_allowed');
		assert.equal(got.headers['access-control-allow-origin'], undefined);
	});
});

describe('lost database', () => {
	test('without the database calls are 503 and change nothing; afterwards they succeed', async (t) => {
		const own = await startDaemon({ embedded: true }, t);
		const s = Sync.server(own);
		assert.equal((await s.put('users/1', { name: 'a' })).status, 200);
		const [{ pid }] = await own.query(
			`SELECT pg_terminate_backend(pid), pid FROM pg_stat_activity
				WHERE application_name = 'scopewired' AND datname = current_database() LIMIT 1`);
		assert.ok(pid);
		const after = await s.get('users/1');
		assert.ok([200, 503].includes(after.status), after.text);
		if (after.status === 503) assert.ok(after.headers['retry-after']);
	});
});
