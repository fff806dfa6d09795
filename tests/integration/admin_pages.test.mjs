// SPDX-License-Identifier: MIT
// What the web pages of the admin listener use; the pages themselves are tested in contrib/dashboard.
import test from 'node:test';
import assert from 'node:assert/strict';
import { Sync, ok, waitFor } from '../lib/harness.mjs';
import { TOKEN, bearer, withAdmin } from '../lib/ctl.mjs';

test('the pages are served to anyone on the admin listener, and not on the public port', async (t) => {
	const { daemon, get, url } = await withAdmin(t);
	for (const path of ['/admin/', '/admin/index.html', '/admin/app.js', '/admin/app.css', '/admin/icon.svg', '/admin/licences.txt']) {
		const page = await get(path, {});
		assert.equal(page.status, 200, path);
		assert.match(page.headers['content-security-policy'], /^default-src 'none';/);
		assert.equal((await get(path, { 'If-None-Match': page.headers.etag })).status, 304, path);
		assert.equal((await get(path, {}, { method: 'HEAD' })).status, 200, path);
		assert.equal((await get(path, {}, { method: 'POST' })).status, 404, path);
		assert.equal((await daemon.http(path)).status, 404, path);
	}
	assert.equal((await get('/admin', {})).headers.location, '/admin/');
	for (const path of ['/admin/app', '/admin/app.js/', '/admin/..%2fetc%2fpasswd', '/admin/%00', '/adminx'])
		assert.notEqual((await fetch(`${url}${path}`)).status, 200, path);
});

test('a session has the name and the scope of its token', async (t) => {
	const { get } = await withAdmin(t);
	for (const scope of ['read', 'write'])
		assert.deepEqual((await get('/admin/api/session', bearer(TOKEN[scope]))).json, { token: `my-${scope}`, scope });
	assert.equal((await get('/admin/api/session', bearer(TOKEN.metrics))).status, 403);
	assert.equal((await get('/admin/api/session', {})).status, 401);
});

test('without a token a client on this machine has the scope read, with local_read', async (t) => {
	const { get } = await withAdmin(t, { local_read: 'yes' });
	assert.deepEqual((await get('/admin/api/session', {})).json, { token: null, scope: 'read' });
	assert.equal((await get('/admin/api/session', { Host: 'evil.example' })).status, 401);
});

test('the history has a sample of what happened', async (t) => {
	const { get, daemon, post } = await withAdmin(t);
	const wire = await daemon.connect();
	await wire.subscribe('news');
	await post('/admin/api/send', { channel: 'news', event: 'E', data: 1 });
	await wire.next({ event: 'E' });
	const rows = async () => {
		const { columns, samples } = (await get('/admin/api/history')).json;
		return samples.map((s) => Object.fromEntries(s.map((v, i) => [columns[i], v])));
	};
	const sample = await waitFor(async () => (await rows()).find((s) => s.deliveries === 1), 'the sample of the delivery');
	assert.equal(sample.connections, 1);
	// The moment of a sample may come between the event and its delivery.
	assert.equal((await rows()).reduce((n, s) => n + s.events, 0), 1);
	assert.ok(sample.p50_us > 0 && sample.p50_us <= sample.p99_us);
	assert.ok(Math.abs(Date.now() - sample.at) < 60000);
	assert.equal((await get(`/admin/api/history?after=${sample.at}`)).json.samples.some(([at]) => at <= sample.at), false);
	for (const after of ['x', '-1', '99999999999999999999'])
		assert.equal((await get(`/admin/api/history?after=${after}`)).status, 400, after);
});

test('events are found by the value at a path, whatever else is in the data', async (t) => {
	const { get, daemon } = await withAdmin(t);
	const data = ['{"a":{"b":"7"},"x":"\\u0000"}', '{"a":{"b":7},"x":"\\ud83d"}', '{"a":{"b":8}}', '"text"', '{"a.b":"7"}', '[{"b":7}]',
		'{"a":{"b":"7"},"n":1e99999}'];
	for (const text of data) await daemon.query('SELECT broadcast(\'news\', \'E\', $1::json)', [text]);
	await waitFor(async () => (await get('/admin/api/events?event=E')).json.events.length === data.length, 'all events');
	const found = async (query) => (await get(`/admin/api/events?${query}`)).json.events.length;
	assert.equal(await found('path=a.b&value=7'), 3);
	assert.equal(await found('path=a.b&value=8'), 1);
	assert.equal(await found('path=0.b&value=7'), 1);
	assert.equal(await found(`path=${encodeURIComponent("a'}.b")}&value=${encodeURIComponent("' OR 1=1")}`), 0);
	assert.equal((await get('/admin/api/events?path=a')).status, 400);
});

test('settings name what a reload could not change, and with all also the defaults', async (t) => {
	const { get, daemon } = await withAdmin(t);
	const { json } = await get('/admin/api/settings?all=1');
	const named = (list, name) => list.find((s) => `${s.section}.${s.option}` === name);
	assert.deepEqual([named(json.settings, 'server.max_connections').source, json.restart], [null, []]);
	assert.equal(named((await get('/admin/api/settings')).json.settings, 'server.max_connections'), undefined);
	assert.ok(json.settings.every((s) => s.help && (!s.secret || s.value === null)));
	daemon.options.server = { ...daemon.options.server, workers: 2, path: '/ws' };
	daemon.writeConfig();
	process.kill(daemon.pid, 'SIGHUP');
	const restart = async () => (await get('/admin/api/settings')).json.restart;
	await waitFor(async () => (await restart()).includes('server.path'), 'the options');
	assert.ok((await restart()).includes('server.workers'));
	delete daemon.options.server.workers;
	delete daemon.options.server.path;
	daemon.writeConfig();
	process.kill(daemon.pid, 'SIGHUP');
	await waitFor(async () => !(await restart()).includes('server.path'), 'they are as they were');
	assert.ok(!(await restart()).includes('server.workers'));
});

test('an edit lock is released once, its holder is notified, and it is recorded', async (t) => {
	const { post, daemon, get } = await withAdmin(t);
	const sync = Sync.server(daemon);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, can_write) VALUES ('invoice.{id}', 'anyone', true)`);
	await sync.post('locks', { resource_type: 'invoice', resource_id: '12', user_id: 7, ttl: 300 });
	const wire = await daemon.connect();
	await wire.subscribe('private-invoice.12');
	assert.equal((await get('/admin/api/sync')).json.locks.length, 1);
	const lock = { resource_type: 'invoice', resource_id: '12' };
	assert.deepEqual((await post('/admin/api/lock-release', lock)).json, { ...lock, field: null, user: 7 });
	await wire.next({ event: /LockChanged$/, data: { action: 'forced' } });
	for (const body of [lock, { ...lock, resource_id: 'none' }, { ...lock, resource_type: 'cache-x' }, {}, { ...lock, app: 'none' }])
		assert.equal((await post('/admin/api/lock-release', body)).status, 400, JSON.stringify(body));
	assert.equal((await post('/admin/api/lock-release', lock, bearer(TOKEN.read))).status, 403);
	assert.equal((await get('/admin/api/sync')).json.locks.length, 0);
	const { audit } = (await get('/admin/api/audit?action=lock-release')).json;
	assert.equal(audit.at(-1).result, 'ok');
	assert.ok(audit.every((row) => row.action === 'lock-release'));
});

test('the lock of a field is released, and those of the resource and of its other fields are kept', async (t) => {
	const { post, daemon, get } = await withAdmin(t);
	const sync = Sync.server(daemon);
	const at = { resource_type: 'invoice', resource_id: '12' };
	for (const field of [undefined, 'title', 'text']) ok(await sync.post('locks', { ...at, field, user_id: 7 }));
	const fields = async () => (await get('/admin/api/sync')).json.locks.map((l) => l.field ?? '').sort();
	assert.deepEqual(await fields(), ['', 'text', 'title']);
	const title = { ...at, field: 'title' };
	assert.deepEqual((await post('/admin/api/lock-release', title)).json, { ...title, user: 7 });
	assert.deepEqual(await fields(), ['', 'text']);
	for (const body of [title, { ...at, field: '' }, { ...at, field: 'a b' }])
		assert.equal((await post('/admin/api/lock-release', body)).status, 400, JSON.stringify(body));
	assert.deepEqual((await post('/admin/api/lock-release', { ...at, field: null })).json, { ...at, field: null, user: 7 });
	assert.deepEqual(await fields(), ['text']);
});

test('the sync state has unread notifications and offline changes', async (t) => {
	const { daemon, get } = await withAdmin(t);
	await daemon.query(`SELECT notification_send(ARRAY[7, 8]::bigint[], 'info', 'Hello')`);
	await daemon.query(`SELECT notification_send(ARRAY[7]::bigint[], 'info', 'Hello')`);
	const { notifications, changes } = (await get('/admin/api/sync')).json;
	assert.deepEqual([notifications.users, notifications.unread, notifications.most], [2, 3, [{ user: 7, unread: 2 }, { user: 8, unread: 1 }]]);
	assert.ok(Date.parse(notifications.oldest_unread) <= Date.now());
	assert.deepEqual(changes, []);
});

test('webhooks are listed by state and endpoint, and dead letters are queued again', async (t) => {
	const urls = ['http://127.0.0.1:9/a', 'http://127.0.0.1:9/b'];
	const { daemon, get, post } = await withAdmin(t, undefined,
		{ app: { webhooks: JSON.stringify(urls.map((url) => ({ url, event_types: ['channel_vacated'] }))) } });
	await daemon.query(`INSERT INTO webhook_queue (app, endpoint, channel, event, dead_at)
		SELECT $1, url, 'room-' || n, '{"name":"channel_vacated"}', now() FROM unnest($2::text[]) url, generate_series(1, 2) n`, [daemon.app.id, urls]);
	const list = async (query = '') => (await get(`/admin/api/webhooks?${query}`)).json;
	const { endpoints, webhooks } = await list();
	assert.deepEqual(endpoints.map((e) => [e.endpoint, Number(e.dead), Number(e.waiting)]), [[urls[0], 2, 0], [urls[1], 2, 0]]);
	assert.equal((await list(`limit=3&before=${webhooks[0].id}`)).webhooks.length, 3);
	assert.equal((await list(`endpoint=${urls[0]}`)).webhooks.length, 2);
	assert.deepEqual((await post('/admin/api/webhook-resend', { id: webhooks[0].id })).json, { webhooks: 1 });
	assert.deepEqual((await post('/admin/api/webhook-resend', { app: daemon.app.id, endpoint: urls[0] })).json, { webhooks: 2 });
	assert.equal((await list()).webhooks.length, 1);
	assert.equal((await list('state=waiting')).webhooks.length, 3);
	for (const body of [{}, { id: 999999 }, { id: 'x' }, { app: 'none' }])
		assert.equal((await post('/admin/api/webhook-resend', body)).status, 400, JSON.stringify(body));
	assert.equal((await get('/admin/api/webhooks?state=odd')).status, 400);
});
