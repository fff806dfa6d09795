// SPDX-License-Identifier: MIT
// /admin/api and scopewirectl: what they read and change, who may, and that each change is recorded.
import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { tempFolder, startDaemon, waitFor } from '../lib/harness.mjs';
import { CTL, TOKEN, TOKENS, bearer, runCtl, withAdmin } from '../lib/ctl.mjs';

const audit = (daemon) => daemon.query('SELECT token, action, arguments, result FROM scopewire.admin_audit ORDER BY id');

test('status has the node and the database; scopewirectl prints it and exits with 0', async (t) => {
	const { daemon, get, ctl } = await withAdmin(t);
	await daemon.connect();
	const { status, json } = await get('/admin/api/status');
	assert.equal(status, 200);
	assert.equal(json.ready, true);
	assert.equal(json.connections, 1);
	assert.equal(json.database.last_serial, 0, 'of an empty log');
	assert.equal(json.database.database, daemon.database.name);
	const shown = await ctl(['status', '--json'], { scope: 'read' });
	assert.equal(shown.code, 0, shown.error);
	assert.equal(shown.json.process, daemon.pid);
	assert.match((await ctl(['status'])).out, /^connections: 1$/m);
});

test('scopewirectl finds a Unix socket and a token in the configuration of the daemon', async (t) => {
	const socket = path.join(tempFolder('ctl'), 'admin.sock');
	const daemon = await startDaemon({ sections: { admin: { listen: socket, tokens: TOKENS } } }, t);
	const shown = await runCtl(['--config', path.join(daemon.folder, 'scopewire.conf'), 'status', '--json']);
	assert.equal(shown.code, 0, shown.error);
	assert.equal(shown.json.ready, true);
});

test('nothing of /admin is on the public port', async (t) => {
	const { daemon } = await withAdmin(t);
	for (const name of ['status', 'settings', 'events', 'tokens'])
		assert.equal((await daemon.http(`/admin/api/${name}`, { headers: bearer(TOKEN.write) })).status, 404);
	assert.equal((await daemon.http('/admin/api/send', { method: 'POST', headers: bearer(TOKEN.write), body: '{}' })).status, 404);
});

test('a token without write changes nothing, and the attempt is recorded', async (t) => {
	const { daemon, get, post } = await withAdmin(t, { tokens: TOKENS, local_read: 'yes' });
	const body = { channel: 'news', event: 'hello', data: 1 };
	const paths = ['send', 'resend', 'disconnect', 'reload', 'drain', 'token', 'token-remove'];
	for (const name of paths) {
		assert.equal((await post(`/admin/api/${name}`, body, bearer(TOKEN.read))).status, 403, name);
		assert.equal((await post(`/admin/api/${name}`, body, {})).status, 401, name);
		assert.equal((await get(`/admin/api/${name}`, bearer(TOKEN.write))).status, 405, name);
	}
	assert.equal((await get('/admin/api/status', bearer(TOKEN.metrics))).status, 403);
	await waitFor(async () => (await audit(daemon)).length === paths.length, 'a row for each attempt');
	for (const row of await audit(daemon)) {
		assert.equal(row.token, 'my-read');
		assert.match(row.result, /^refused: /);
	}
	assert.equal((await daemon.query('SELECT count(*)::int AS n FROM scopewire.realtime_events'))[0].n, 0);
	assert.doesNotMatch(daemon.logText, /configuration reloaded/);
});

test('an event that is sent reaches subscribers and is in the log and the audit, without its data there', async (t) => {
	const { daemon, ctl, get } = await withAdmin(t);
	const client = await daemon.connect();
	await client.subscribe('news');
	const sent = await ctl(['send', 'news', 'greeting', '{"text":"hello there"}', '--json']);
	assert.equal(sent.code, 0, sent.error);
	await client.next({ event: 'greeting' });
	const { json } = await get('/admin/api/events?channel=news&text=HELLO');
	assert.equal(json.events.length, 1);
	assert.deepEqual(json.events[0].data, { text: 'hello there' });
	await waitFor(async () => (await get('/admin/api/events')).json.events[0].deliveries[0]?.sockets === 1,
		'the delivery record');
	const rows = await audit(daemon);
	assert.deepEqual(rows, [{ token: 'my-write', action: 'send', result: 'ok',
		arguments: { channel: 'news', event: 'greeting' } }]);
});

test('scopewirectl prints no control character of an event to the terminal', async (t) => {
	const { daemon, ctl } = await withAdmin(t);
	await daemon.query(`SELECT scopewire.broadcast('news', 'text', $1::json), scopewire.broadcast('news', 'object', $2::json)`,
		[JSON.stringify('\u009b31m\u007f\u001b[1m'), JSON.stringify({ a: '\u009b31m\u007f\u001b[1m' })]);
	await waitFor(async () => (await daemon.query(
		'SELECT FROM scopewire.realtime_events WHERE serial > 0')).length === 2, 'the events');
	const shown = await ctl(['events']);
	assert.equal(shown.code, 0, shown.error);
	assert.equal(shown.out.match(/31m/g).length, 2);
	assert.doesNotMatch(shown.out, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
});

test('the data of an event that is sent stays as it was written', async (t) => {
	const { daemon, post } = await withAdmin(t);
	const client = await daemon.connect();
	await client.subscribe('news');
	for (const data of ['{"b":1,"a":-0,"b":1.50}', '18446744073709551615', '{"t":"a\\u0000b\\ud83d"}', 'null', '1e400']) {
		const sent = await post('/admin/api/send', `{"event":"E","data":${data},"channel":"news"}`);
		assert.equal(sent.status, 200, JSON.stringify(sent.json));
		const { json } = sent;
		const [row] = await waitFor(async () => {
			const rows = await daemon.query(`SELECT payload::text AS payload FROM scopewire.realtime_events
				WHERE event_id = $1 AND serial > 0`, [json.event_id]);
			return rows.length && rows;
		}, 'its row');
		assert.equal(row.payload, data);
		await client.next({ event: 'E' });
	}
	assert.equal((await post('/admin/api/send', { event: 'E', channel: 'news' })).status, 400);
});

test('a search reads the part of the log that it returns, and a page ends at about 1 MB', async (t) => {
	const { daemon, get } = await withAdmin(t, { tokens: TOKENS }, { app: { max_event_payload_bytes: 0 } });
	await daemon.query(`SELECT broadcast('small', 'S', '{}') FROM generate_series(1, 5000)`);
	await daemon.query(`SELECT broadcast('big', 'B', json_build_object('text', repeat('x', 100000)))
		FROM generate_series(1, 30)`);
	await waitFor(async () => (await daemon.query(`SELECT count(*)::int AS n FROM realtime_events
		WHERE serial > 0`))[0].n === 5030, 'all have serials');
	for (const way of ['before', 'after']) {
		const seen = [];
		let at = way === 'after' ? '0' : '';
		for (let more = true; more; at = seen.at(-1)) {
			const page = await get(`/admin/api/events?channel=big&limit=500${at && `&${way}=${at}`}`);
			assert.ok(JSON.stringify(page.json).length < 1200000);
			seen.push(...page.json.events.map((e) => e.serial));
			more = page.json.more;
		}
		assert.equal(new Set(seen).size, 30);
		assert.ok(seen.every((n, i) => !i || (way === 'after' ? n > seen[i - 1] : n < seen[i - 1])));
	}
	for (const args of ['{}', '{"after":7}']) {
		const [{ read }] = await daemon.query(`SELECT set_config('jit', 'off', true), admin_events($1::jsonb),
			(SELECT sum(s.seq_tup_read + coalesce(s.idx_tup_fetch, 0))::int FROM pg_stat_xact_user_tables s
			 WHERE s.relname LIKE 'realtime\\_events%') AS read`, [args]);
		assert.ok(read < 1000, `${read} rows were read`);
	}
});

test('a logged event is sent again to its channel or to one user', async (t) => {
	const { daemon, ctl, post } = await withAdmin(t);
	const client = await daemon.connect();
	await client.subscribe('orders');
	await post('/admin/api/send', { channel: 'orders', event: 'paid', data: { number: 7 } });
	await client.next({ event: 'paid' });
	const [{ serial }] = await daemon.query('SELECT serial FROM scopewire.realtime_events');
	const again = await ctl(['resend', String(serial)]);
	assert.equal(again.code, 0, again.error);
	await waitFor(async () => (await daemon.query(
		'SELECT channel FROM scopewire.realtime_events WHERE serial > 0')).length === 2, 'the copy');
	assert.equal((await ctl(['resend', String(serial), '--user', '7'])).code, 0);
	await waitFor(async () => (await daemon.query(
		`SELECT FROM scopewire.realtime_events WHERE serial > 0 AND channel = '#server-to-user-7'`)).length === 1, 'the user\'s copy');
	const missing = await ctl(['resend', '999999']);
	assert.equal(missing.code, 65);
	assert.match(missing.error, /no event with the serial 999999/);
});

test('explain gives the verdict on a user, the reason, and an exit status', async (t) => {
	const { daemon, ctl } = await withAdmin(t);
	await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule, argument)
		VALUES ('orders.{id}', 'owner', 'id')`);
	const yes = await ctl(['explain', '7', 'private-orders.7', '--json'], { scope: 'read' });
	assert.equal(yes.code, 0, yes.error);
	assert.equal(yes.json.rules.length, 1);
	const no = await ctl(['explain', '8', 'private-orders.7', '--json'], { scope: 'read' });
	assert.equal(no.code, 1);
	assert.match(no.json.reason, /none of these rules allows the user/);
	assert.equal((await ctl(['explain', 'x', 'private-orders.7'])).code, 65);
});

test('who lists the members of a channel and the channels of a user; disconnect closes them', async (t) => {
	const { daemon, ctl } = await withAdmin(t);
	const client = await daemon.connect();
	await client.subscribe('presence-room', { channelData: { user_id: '7' } });
	assert.deepEqual((await ctl(['who', 'presence-room', '--json'])).json.members, ['7']);
	assert.deepEqual((await ctl(['who', '7', '--json'])).json.channels, ['presence-room']);
	assert.deepEqual((await ctl(['channels', '--json'])).json.channels,
		[{ channel: 'presence-room', subscriptions: 1, users: 1 }]);
	assert.equal((await ctl(['disconnect', '7'])).code, 0);
	await client.closed;
	assert.equal(client.closeCode, 4009);
	assert.deepEqual((await audit(daemon)).map((row) => [row.action, row.result]), [['disconnect', 'ok']]);
});

test('a token of the database works at once, is stored as a hash, and ends when it is removed', async (t) => {
	const { daemon, ctl, get, post } = await withAdmin(t);
	const { json } = await ctl(['token', 'add', 'alice', 'read', '--json']);
	assert.equal((await get('/admin/api/status', bearer(json.token))).status, 200);
	assert.equal((await get('/admin/api/tokens')).json.tokens[0].name, 'alice');
	const [row] = await daemon.query('SELECT row_to_json(t)::text AS text FROM scopewire.admin_tokens t');
	assert.ok(!row.text.includes(json.token));
	const recorded = await daemon.query('SELECT a::text AS text FROM scopewire.admin_audit a');
	assert.ok(!JSON.stringify(recorded).includes(json.token));
	assert.equal((await ctl(['token', 'add', 'alice', 'read'])).code, 65);
	const taken = await ctl(['token', 'add', 'my-read', 'read']);
	assert.equal(taken.code, 65);
	assert.match(taken.error, /configuration has a token of this name/);
	await waitFor(async () => (await audit(daemon)).some((row) => /has a token of this name/.test(row.result)),
		'the row of the refusal');
	const deep = `{"name":"my-read","scope":"read","x":${'['.repeat(40)}${']'.repeat(40)}}`;
	assert.equal((await post('/admin/api/token', deep)).status, 400);
	assert.equal((await post('/admin/api/token', { name: 7, scope: 'read' })).status, 400);
	assert.equal((await daemon.query('SELECT FROM scopewire.admin_tokens')).length, 1);
	assert.equal((await ctl(['token', 'remove', 'alice'])).code, 0);
	assert.equal((await get('/admin/api/status', bearer(json.token))).status, 401);
	await daemon.query(`INSERT INTO scopewire.admin_tokens (name, scope, digest, created_by)
		VALUES ('bob', 'read', sha256('by-hand-0123456789'), 'sql')`);
	await waitFor(async () => (await get('/metrics', bearer('by-hand-0123456789'))).status === 200,
		'a row that was inserted is in force', 60000);
	assert.ok(!daemon.logText.includes(json.token));
});

test('settings have their sources and no secret', async (t) => {
	const { daemon, get } = await withAdmin(t);
	const { json, text } = await get('/admin/api/settings');
	const listen = json.settings.find((s) => s.section === 'admin' && s.option === 'listen');
	assert.equal(listen.value, '127.0.0.1:0');
	assert.match(listen.source, /scopewire\.conf/);
	const secret = json.settings.find((s) => s.option === 'secret');
	assert.equal(secret.value, null);
	assert.equal(secret.secret, true);
	for (const word of [daemon.app.secret, ...Object.values(TOKEN)])
		assert.ok(!(text ?? JSON.stringify(json)).includes(word));
});

test('reload reads the configuration again', async (t) => {
	const { daemon, ctl } = await withAdmin(t);
	assert.equal((await ctl(['reload'])).code, 0);
	await waitFor(() => /configuration reloaded/.test(daemon.logText), 'the reload');
});

test('hostile input is refused, and the listener goes on', async (t) => {
	const { daemon, get, post } = await withAdmin(t);
	const long = 'x'.repeat(300);
	for (const query of ['?nothing=1', '?limit=0', '?limit=501', '?limit=1e3', '?before=-1', '?from=yesterdayish',
		`?channel=${long}`, '?channel=%00', '?channel=%ff', '?app=nobody\'--&limit=x', '?after=99999999999999999999'])
		assert.equal((await get(`/admin/api/events${query}`)).status, 400, query);
	for (const name of ['status', 'session', 'apps', 'nodes', 'tokens'])
		assert.equal((await get(`/admin/api/${name}?app=x`)).status, 400, name);
	assert.deepEqual((await get('/admin/api/events?channel=%27%3B%20DROP%20TABLE%20x')).json.events, []);
	for (const body of ['', '[]', '"x"', '{', 'null', '{"channel":"a b","event":"x","data":1}',
		'{"channel":"news","data":1}', '{"channel":"news","event":"x"}', '{"channel":{},"event":"x","data":1}',
		'{"channel":"news","event":"pusher:error","data":1}', '{"channel":"news","event":"x","data":1,"app":"other"}',
		'{"channel":"news","event":"\\u0000","data":1}'])
		assert.equal((await post('/admin/api/send', body)).status, 400, body);
	for (const body of [{ serial: -1 }, { serial: 'x' }, { serial: 1.5 }, {}])
		assert.equal((await post('/admin/api/resend', body)).status, 400);
	for (const body of [{ name: 'a b', scope: 'read' }, { name: 'a', scope: 'root' }, { name: long, scope: 'read' }])
		assert.equal((await post('/admin/api/token', body)).status, 400);
	for (const path_ of ['/admin/api/', '/admin/api/../status', '/admin/api/status/', '/admin/api//status', '/admin/none'])
		assert.equal((await get(path_)).status, 404, path_);
	assert.equal((await get('/admin/api/status')).status, 200);
	assert.ok((await audit(daemon)).every((row) => row.result !== 'ok'));
	assert.equal((await daemon.query('SELECT count(*)::int AS n FROM scopewire.realtime_events'))[0].n, 0);
});

test('a change with a body that is no text is recorded, with the reason', async (t) => {
	const { daemon, url } = await withAdmin(t);
	const send = (body) => fetch(`${url}/admin/api/send`, { method: 'POST', headers: bearer(TOKEN.write), body });
	const before = '{"channel":"news","event":"x","data":1,"user":"';
	for (const [i, byte] of [0x00, 0xff].entries()) {
		const answer = await send(Buffer.concat([Buffer.from(before), Buffer.from([byte]), Buffer.from('"}')]));
		assert.equal(answer.status, 400, String(byte));
		assert.match((await answer.json()).error.message, /NUL|UTF-8/);
		await waitFor(async () => (await audit(daemon)).length === i + 1, 'its row');
	}
	assert.deepEqual((await audit(daemon)).map((row) => [row.action, row.result]),
		[['send', 'The body has a NUL in it.'], ['send', 'The body is not valid UTF-8.']]);
});

test('a change that fails in the database is recorded, and answered with 500', async (t) => {
	const { daemon, post } = await withAdmin(t);
	await daemon.query('ALTER FUNCTION admin_webhook_resend(jsonb) RENAME TO gone');
	const { status, json } = await post('/admin/api/webhook-resend', { id: 7 });
	assert.equal(status, 500);
	assert.equal(json.error.code, 'database_error');
	const [row] = await audit(daemon);
	assert.deepEqual([row.action, row.arguments], ['webhook-resend', { id: 7 }]);
	assert.match(row.result, /admin_webhook_resend/);
	await waitFor(() => /webhook-resend failed: .*admin_webhook_resend/.test(daemon.logText), 'the line');
});

test('rows about refused changes are short, and limited in rate for each token', async (t) => {
	const { daemon, post } = await withAdmin(t);
	const attempt = async (id) => assert.equal((await post(`/admin/api/connections/${id}/disconnect`, {},
		bearer(TOKEN.read))).status, 403);
	await attempt('x'.repeat(6000));
	await attempt('%ff%01%22%5c');
	await waitFor(async () => (await audit(daemon)).length === 2, 'both rows');
	for (const row of await audit(daemon)) {
		assert.equal(row.action, 'connection-disconnect');
		assert.match(row.arguments.socket_id, /^[ -~]{1,24}$/);
	}
	let attempts = 2;
	for (; attempts < 150; attempts++) await attempt('1.2');
	await waitFor(() => /refused change by the token my-read is not in admin_audit/.test(daemon.logText), 'the limit');
	assert.equal((await post('/admin/api/connections/1.2/disconnect')).status, 404);
	await waitFor(async () => (await audit(daemon)).some((row) => row.token === 'my-write'), 'the row of another token');
	const n = (await audit(daemon)).length;
	assert.ok(n >= 60 && n < attempts, `${n} rows`);
});

test('without a database the state is answered, and a change is refused', async (t) => {
	const { get, post } = await withAdmin(t, { tokens: TOKENS }, { databaseMode: 'none',
		database: { host: tempFolder('nothing'), required: 'no' } });
	const { status, json } = await get('/admin/api/status');
	assert.equal(status, 200);
	assert.equal(json.database, null);
	assert.equal((await get('/admin/api/events')).status, 503);
	assert.equal((await post('/admin/api/reload')).status, 503);
});

test('scopewirectl refuses wrong usage, and reports a listener that is not there', async () => {
	assert.equal((await runCtl([])).code, 64);
	assert.equal((await runCtl(['nothing'])).code, 64);
	assert.equal((await runCtl(['explain', '7'])).code, 64);
	assert.equal((await runCtl(['--help'])).code, 0);
	// An option that the command does not have would be left out, as if it had not been given.
	for (const [args, option] of [[['events', '--user', '7'], 'user'], [['channels', '--channel', 'news'], 'channel'],
		[['status', '--app', 'a'], 'app'], [['reload', '--diff'], 'diff'], [['sign', '1.1', 'a', '--once'], 'once']]) {
		const refused = await runCtl(['--url', 'http://127.0.0.1:1', ...args]);
		assert.equal(refused.code, 64, args.join(' '));
		assert.match(refused.error, new RegExp(`${args[0]} has no option --${option}, only: \\w`));
	}
	const away = await runCtl(['--socket', '/nonexistent/admin.sock', 'status']);
	assert.equal(away.code, 69);
	assert.match(away.error, /cannot be reached/);
	assert.ok(fs.existsSync(CTL));
});

test('rows of the audit are kept for audit_retention_days, those of the last 30 days always', async (t) => {
	const { daemon } = await withAdmin(t, { tokens: TOKENS, audit_retention_days: 40 });
	await daemon.query(`INSERT INTO admin_audit (at, token, address, action, result)
		SELECT now() - days * interval '1 day', 'my-write', 'socket', days || ' days', 'ok' FROM unnest('{50,45,35,1}'::int[]) days`);
	await daemon.restart();
	const kept = async () => (await audit(daemon)).map((row) => row.action);
	await waitFor(async () => (await kept()).length === 2, 'the old rows are deleted');
	assert.deepEqual(await kept(), ['35 days', '1 days']);
	assert.equal((await daemon.query('SELECT admin_audit_prune(0, 1000) AS n'))[0].n, 1);
	assert.deepEqual(await kept(), ['1 days']);
});
