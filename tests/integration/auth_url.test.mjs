// SPDX-License-Identifier: MIT
// An application's auth_url: the daemon asks it who may join, once for all channels of a request.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { APP, Sync, failed, hmac, ini, join, ok, runDaemon, startDaemon, tempFolder, waitFor } from '../lib/harness.mjs';

/** The server of an app: answer gives the object that it replies with, or takes the response for itself. */
async function application(t, answer, app = APP) {
	const self = { requests: [], answer };
	const server = http.createServer(async (request, response) => {
		let text = '';
		for await (const part of request) text += part;
		assert.equal(request.headers['x-pusher-key'], app.key);
		assert.equal(request.headers['x-pusher-signature'], hmac(app.secret, text));
		const question = JSON.parse(text);
		self.requests.push(question);
		const said = self.answer(question, response);
		if (said !== undefined) response.end(typeof said === 'string' ? said : JSON.stringify(said));
	});
	await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
	t.after(() => { server.closeAllConnections(); server.close(); });
	self.url = `http://127.0.0.1:${server.address().port}/may?key=not-shown`;
	return self;
}

const begin = (t, url, { sync, ...options } = {}) => startDaemon({ ...options, app: { auth_url: url, ...options.app },
	sections: { ...options.sections, sync: { auth_url_timeout_ms: 30000, ...sync } } }, t);
const all = ({ channels }) => ({ allowed: channels });
const SOCKET = '123.456';
const ask = (who, names) => who.post('/broadcasting/auth', { socket_id: SOCKET,
	...(Array.isArray(names) ? { channel_names: names } : { channel_name: names }) });

describe('the application decides', () => {
	test('who may join, in place of the channel rules, and the subscription lasts when rules change', async (t) => {
		const app = await application(t, ({ channels }) => ({ allowed: channels.filter((name) => !name.endsWith('.2')) }));
		const daemon = await begin(t, app.url);
		const ada = Sync.user(daemon, 7, { name: 'Ada' });
		const wire = await join(t, ada, 'private-client.1', 'presence-client.1');
		assert.deepEqual(app.requests.map(({ user_id, channels }) => [user_id, channels]),
			[[7, ['private-client.1']], [7, ['presence-client.1']]]);
		failed(await ask(ada, 'private-client.2'), 403, 'channel_forbidden', 'channel_name');
		// A rule for another channel: grants of rules are evaluated again, and none allows client.1.
		await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule) VALUES ('client.2', 'anyone'), ('note.{id}', 'anyone')`);
		failed(await ask(ada, 'private-client.2'), 403, 'channel_forbidden', 'channel_name');
		// The sync API's own rights stay with the rules.
		ok(await ada.post('start-viewing', { resource_type: 'note', resource_id: '1' }));
		failed(await ada.post('start-viewing', { resource_type: 'client', resource_id: '1' }), 403, 'channel_forbidden', 'resource_id');
		await daemon.api().trigger('private-client.1', 'made', { n: 1 });
		await wire.next({ event: 'made' });
		assert.deepEqual(wire.all({ event: 'pusher:subscription_error' }), []);
	});

	test('once for all channels of a request; those that need no authorization are not in the question', async (t) => {
		const app = await application(t, () => ({ allowed: ['private-a', 'presence-b', 'private-never-asked'] }));
		const daemon = await begin(t, app.url);
		const { channels } = ok(await ask(Sync.user(daemon, 7, { name: 'Ada' }),
			['private-a', 'news', 'private-no', 'a b', 'presence-b']));
		assert.deepEqual(app.requests.map(({ channels: names }) => names), [['private-a', 'private-no', 'presence-b']]);
		assert.deepEqual(Object.entries(channels).map(([name, { status }]) => [name, status]), [['private-a', undefined],
			['news', 403], ['private-no', 403], ['a b', 400], ['presence-b', undefined]]);
		assert.deepEqual(JSON.parse(channels['presence-b'].channel_data).user_info, { id: 7, name: 'Ada' });
		const hundred = Array.from({ length: 100 }, (_, i) => `private-${i}`);
		ok(await ask(Sync.user(daemon, 7), hundred));
		assert.deepEqual(app.requests[1].channels, hundred);
	});
});

test('a row of the table apps names the URL in its own column, and a change counts at once', async (t) => {
	const row = { ...APP, id: 'row', key: 'row-key' };
	const first = await application(t, () => ({ allowed: ['private-first'], ttl: 3600 }), row);
	const second = await application(t, () => ({ allowed: ['private-second'], ttl: 3600 }), row);
	const daemon = await startDaemon({ sections: { sync: { auth_url_timeout_ms: 30000 } } }, t);
	const ada = Sync.user(daemon, 7, {}, row);
	const asks = async () => {
		const { channels } = (await ask(ada, ['private-first', 'private-second'])).json;
		return Object.keys(channels ?? {}).filter((name) => !channels[name].status);
	};
	await daemon.query(`INSERT INTO scopewire.apps (id, key, secret, auth_url) VALUES ($1, $2, $3, $4)`,
		[row.id, row.key, row.secret, first.url]);
	await waitFor(async () => (await asks()).join() === 'private-first', 'the first URL decides');
	await daemon.query(`UPDATE scopewire.apps SET auth_url = $1 WHERE id = 'row'`, [second.url]);
	await waitFor(async () => (await asks()).join() === 'private-second', 'the second URL decides');
	await daemon.query(`UPDATE scopewire.apps SET auth_url = NULL WHERE id = 'row'`);
	await waitFor(async () => (await asks()).join() === '', 'the channel rules decide');
	for (const url of ['ftp://a.test/may', 'a.test/may', 'javascript:1']) {
		await assert.rejects(daemon.query(`UPDATE scopewire.apps SET auth_url = $1 WHERE id = 'row'`, [url]),
			/apps_auth_url_is_http/);
	}
	// What the constraint lets through is checked by the daemon.
	await daemon.query(`UPDATE scopewire.apps SET auth_url = 'http://user:not-shown@a.test/' WHERE id = 'row'`);
	await waitFor(() => /table apps: the app row is left out: .*auth_url: must begin with/.test(daemon.logText), 'the line');
	assert.ok(!daemon.logText.includes('not-shown'));
});

describe('answers are remembered', () => {
	test('for the stated time, by user and channel', async (t) => {
		const app = await application(t, (question) => ({ ...all(question), ttl: 6 }));
		const daemon = await begin(t, app.url);
		const [ada, grace] = [Sync.user(daemon, 7), Sync.user(daemon, 8)];
		const asked = Date.now();
		ok(await ask(ada, ['private-a', 'private-b']));
		app.answer = () => ({ allowed: [], ttl: 3600 });
		ok(await ask(ada, 'private-a'));
		ok(await ask(ada, ['private-b', 'private-a']));
		assert.equal(app.requests.length, 1);
		failed(await ask(grace, 'private-a'), 403, 'channel_forbidden', 'channel_name');
		const { channels } = ok(await ask(ada, ['private-a', 'private-c']));
		assert.deepEqual([channels['private-a'].status, channels['private-c'].status], [undefined, 403]);
		assert.deepEqual(app.requests.slice(1).map(({ user_id, channels: names }) => [user_id, names]),
			[[8, ['private-a']], [7, ['private-c']]]);
		await waitFor(async () => (await ask(ada, 'private-a')).status === 403, 'the time has passed');
		assert.ok(Date.now() - asked >= 5900, 'not before its time');
		// And what was refused is remembered too.
		app.answer = all;
		failed(await ask(ada, 'private-a'), 403, 'channel_forbidden', 'channel_name');
	});

	test('until access is revoked, also for an answer that is under way', async (t) => {
		const app = await application(t, ({ channels }) => ({ allowed: channels, ttl: 3600 }));
		const daemon = await begin(t, app.url);
		const ada = Sync.user(daemon, 7), grace = Sync.user(daemon, 8);
		const revoke = async () => assert.equal((await daemon.api().post('/users/7/revoke', { pattern: 'private-*' })).status, 200);
		for (const who of [ada, grace]) assert.equal((await ask(who, 'private-a')).status, 200);
		app.answer = () => ({ allowed: [], ttl: 3600 });
		await revoke();
		failed(await ask(ada, 'private-a'), 403, 'channel_forbidden', 'channel_name');
		assert.equal((await ask(grace, 'private-a')).status, 200);
		assert.equal(app.requests.length, 3);
		let late;
		app.answer = (_, response) => { late = response; };
		const early = ask(ada, 'private-b');
		await waitFor(() => late, 'the question');
		await revoke();
		app.answer = () => ({ allowed: [] });
		failed(await ask(ada, 'private-b'), 403, 'channel_forbidden', 'channel_name');
		late.end(JSON.stringify({ allowed: ['private-b'], ttl: 3600 }));
		await early;
		failed(await ask(ada, 'private-b'), 403, 'channel_forbidden', 'channel_name');
	});

	test('not at all without a time', async (t) => {
		const app = await application(t, all);
		const daemon = await begin(t, app.url);
		const ada = Sync.user(daemon, 7);
		ok(await ask(ada, 'private-a'));
		app.answer = () => ({ allowed: [] });
		failed(await ask(ada, 'private-a'), 403, 'channel_forbidden', 'channel_name');
		assert.equal(app.requests.length, 2);
	});

	test('questions that are the same while one is under way share it', async (t) => {
		const held = [];
		const app = await application(t, (question, response) => { held.push(() => response.end(JSON.stringify(all(question)))); });
		const daemon = await begin(t, app.url, { sync: { auth_url_timeout_ms: 30000 } });
		const ada = Sync.user(daemon, 7);
		const same = [ask(ada, 'private-a'), ask(ada, 'private-a'), ask(ada, 'private-a')];
		const other = ask(ada, 'private-b');
		await waitFor(() => held.length === 2, 'both questions');
		for (const answer of held) answer();
		for (const answer of [...same, other]) ok(await answer);
		assert.ok(app.requests.length <= 4);
		assert.equal(new Set(app.requests.map(({ channels }) => channels.join())).size, 2);
	});
});

describe('without a valid answer no user is let in', () => {
	const unusable = {
		'an error': (_, response) => { response.writeHead(500); return '{"allowed":["private-a"]}'; },
		'a refusal': (_, response) => { response.writeHead(403); return '{"allowed":["private-a"]}'; },
		'a redirect': (_, response) => { response.writeHead(302, { Location: '/may' }); return ''; },
		'no JSON': () => 'yes',
		'no object': () => ['private-a'],
		'no list': () => ({ allowed: true }),
		'a time that is none': () => ({ allowed: ['private-a'], ttl: -1 }),
		'a long answer': () => ({ allowed: ['private-a'], more: 'x'.repeat(70000) }),
		'a connection that ends': (_, response) => { response.destroy(); },
		'no answer in time': () => undefined,
	};

	test('it is 503, for one and for several channels, and nothing is remembered', async (t) => {
		const app = await application(t, all);
		const daemon = await begin(t, app.url, { sync: { auth_url_timeout_ms: 1000 } });
		const ada = Sync.user(daemon, 7);
		for (const [what, answer] of Object.entries(unusable)) {
			app.answer = answer;
			for (const names of ['private-a', ['private-a', 'private-b']]) {
				const said = await ask(ada, names);
				assert.equal(said.status, 503, `${what}: ${said.text}`);
				failed(said, 503, 'auth_url_failed', undefined);
			}
		}
		await waitFor(() => daemon.logText.includes('auth_url: the answer is not a JSON object'), 'the line');
		assert.ok(!daemon.logText.includes('not-shown'));
		app.answer = all;
		await waitFor(async () => (await ask(ada, 'private-a')).status === 200, 'an answer that is in time');
	});

	test('an item of the list that is no text allows nothing', async (t) => {
		const app = await application(t, () => ({ allowed: [null, 7, ['private-a'], { 'private-a': true }, 'private-', 'private-a ', 'PRIVATE-A'] }));
		const daemon = await begin(t, app.url);
		failed(await ask(Sync.user(daemon, 7), 'private-a'), 403, 'channel_forbidden', 'channel_name');
	});

	test('an address that is not public is refused with webhooks.allow_private = no', async (t) => {
		const app = await application(t, all);
		const daemon = await begin(t, app.url, { sections: { webhooks: { allow_private: 'no' } } });
		failed(await ask(Sync.user(daemon, 7), 'private-a'), 503, 'auth_url_failed', undefined);
		assert.equal(app.requests.length, 0);
	});

	test('the daemon stops while a question waits', async (t) => {
		const app = await application(t, () => undefined);
		const daemon = await begin(t, app.url, { sync: { auth_url_timeout_ms: 60000 }, server: { drain_ms: 0 } });
		const waiting = ask(Sync.user(daemon, 7), 'private-a').catch((error) => error);
		await waitFor(() => app.requests.length === 1, 'the question');
		await daemon.stop();
		assert.notEqual((await waiting).status, 200);
	});
});

test('an auth_url with a user, or without http, is refused at the start, and not shown', async () => {
	for (const url of ['ftp://example.com/may', 'http://user:not-shown@example.com/', 'example.com']) {
		const file = path.join(tempFolder('auth-url'), 'scopewire.conf');
		fs.writeFileSync(file, ini({ 'app portal': { key: 'k', secret: 's', auth_url: url } }));
		const { code, log } = await runDaemon(['--config', file, '--check-config']);
		assert.equal(code, 78, log);
		assert.match(log, /auth_url: must begin with http/);
		assert.ok(!log.includes('not-shown'), log);
	}
});
