// SPDX-License-Identifier: MIT
// The web pages of the admin listener, in a real browser with the real daemon.
import test from 'node:test';
import assert from 'node:assert/strict';
import { Sync, TOKEN, startDashboard, violations, waitFor } from './dashboard.mjs';

const fill = async (page, values) => {
	for (const [name, value] of Object.entries(values)) await page.locator(`main [name=${name}]`).fill(value);
};

test('the pages are served with a strict policy, on the admin listener only', async (t) => {
	const { daemon, get } = await startDashboard(t);
	for (const [path, type] of [['/admin/', 'text/html'], ['/admin/app.js', 'text/javascript'], ['/admin/app.css', 'text/css'],
		['/admin/icon.svg', 'image/svg+xml']]) {
		const page = await get(path, {});
		assert.equal(page.status, 200, path);
		assert.match(page.headers['content-type'], new RegExp(`^${type.replace('+', '\\+')}`), path);
		const policy = page.headers['content-security-policy'];
		assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';/);
		assert.doesNotMatch(policy, /unsafe|http|\*/);
		assert.equal(page.headers['x-content-type-options'], 'nosniff');
		assert.equal((await get(path, { 'If-None-Match': page.headers.etag })).status, 304, path);
		assert.equal((await daemon.http(path)).status, 404, `${path} on the public port`);
	}
	const moved = await get('/admin', {});
	assert.equal(moved.status, 308);
	assert.equal(moved.headers.location, '/admin/');
	for (const path of ['/admin/app', '/admin/app.js.map', '/admin/index.html/']) {
		assert.equal((await get(path, {})).status, 404, path);
		assert.equal((await daemon.http(path)).status, 404, path);
	}
	assert.equal((await daemon.http('/admin')).status, 404);
});

test('without a token the pages ask for one, keep it in the tab, and forget it', async (t) => {
	const dashboard = await startDashboard(t);
	const page = await dashboard.open();
	await page.getByLabel('Token').waitFor();
	assert.equal(await page.locator('nav').count(), 0);
	await page.getByLabel('Token').fill('not-a-token-0123456789');
	await page.keyboard.press('Enter');
	await page.getByRole('alert').filter({ hasText: 'There is no such token' }).waitFor();
	assert.equal(await page.evaluate(() => sessionStorage.length), 0);
	await page.getByLabel('Token').fill(TOKEN.metrics);
	await page.keyboard.press('Enter');
	await page.getByRole('alert').filter({ hasText: 'scope' }).waitFor();
	await page.getByLabel('Token').fill(TOKEN.read);
	await page.keyboard.press('Enter');
	await page.getByRole('heading', { name: 'Overview', level: 1 }).waitFor();
	assert.match(await page.locator('.side footer').innerText(), /my-read\s+read/);
	assert.equal(await page.evaluate(() => localStorage.getItem('scopewire.admin.token')), null);
	assert.equal(await page.evaluate(() => document.cookie), '');
	assert.doesNotMatch(page.url(), /token/);
	await page.reload();
	await page.getByRole('heading', { name: 'Overview', level: 1 }).waitFor();
	await page.getByRole('button', { name: 'Sign out' }).click();
	await page.getByLabel('Token').waitFor();
	assert.equal(await page.evaluate(() => sessionStorage.length), 0);
	assert.deepEqual(page.problems, []);
});

test('with local_read no token is needed to read, and each change names the token that it needs', async (t) => {
	const dashboard = await startDashboard(t, { local_read: 'yes' });
	const page = await dashboard.open();
	await page.locator('.side footer', { hasText: 'No token' }).waitFor();
	for (const [name, button] of [['Send an event', 'Send'], ['Settings', 'Reload']]) {
		await page.getByRole('navigation').getByRole('link', { name }).click();
		await page.getByRole('heading', { name, level: 1 }).waitFor();
		assert.equal(await page.locator('main').getByRole('button', { name: button, exact: true }).isDisabled(), true);
	}
	await page.getByRole('navigation').getByRole('link', { name: 'Send an event' }).click();
	await page.locator('.notice', { hasText: 'Sending needs a token with the scope write. You read without a token.' }).waitFor();
	await page.getByRole('link', { name: 'Sign in with another token' }).click();
	await page.getByLabel('Token').fill(TOKEN.write);
	await page.keyboard.press('Enter');
	await page.locator('.side footer', { hasText: 'my-write' }).waitFor();
	assert.deepEqual(page.problems, []);
});

test('the overview has the figures of now and of the last hour', async (t) => {
	const dashboard = await startDashboard(t);
	const { daemon, post, get } = dashboard;
	const client = await daemon.connect();
	await client.subscribe('news');
	const page = await dashboard.open('', { scope: 'read' });
	await page.getByText('Ready', { exact: true }).waitFor();
	const tile = (name) => page.locator('.tile', { has: page.locator('dt', { hasText: name }) });
	await tile('Connections').filter({ hasText: '1' }).first().waitFor();
	for (let i = 0; i < 5; i++) await post('/admin/api/send', { channel: 'news', event: 'E', data: i });
	await tile('Deliveries').filter({ hasText: '5 in the last hour' }).waitFor();
	await tile('Events published').filter({ hasText: '5 in the last hour' }).waitFor();
	await tile('Publish to socket').filter({ hasText: /p99 [\d.]+ ms/ }).waitFor();
	assert.equal(await page.locator('sw-plot canvas').count(), 4);
	assert.match(await page.getByRole('img', { name: 'Connections, last hour' }).getAttribute('aria-label'), /Connections now 1$/);
	const { columns, samples } = (await get('/admin/api/history')).json;
	assert.equal(samples[0].length, columns.length);
	const after = samples.at(-1)[0];
	assert.ok((await get(`/admin/api/history?after=${after}`)).json.samples.every(([at]) => at > after));
	assert.equal((await get('/admin/api/history?after=x')).status, 400);
	assert.deepEqual(page.problems, []);
});

test('an event is sent, found by the path of a value, and sent again to one user', async (t) => {
	const dashboard = await startDashboard(t);
	const { daemon } = dashboard;
	const client = await daemon.connect();
	await client.subscribe('news');
	const page = await dashboard.open('#/send', { scope: 'write' });
	await fill(page, { receiver: 'news', event: 'OrderPaid', data: '{"order":' });
	await page.getByRole('button', { name: 'Send', exact: true }).click();
	await page.getByRole('alert').filter({ hasText: 'not JSON' }).waitFor();
	await fill(page, { data: '{"order":{"number":4711,"total":1.50,"big":18446744073709551615}}' });
	await page.getByRole('button', { name: 'Send', exact: true }).click();
	assert.equal((await client.next({ event: 'OrderPaid' })).data, '{"order":{"number":4711,"total":1.50,"big":18446744073709551615}}');
	await page.locator('td', { hasText: 'my-write' }).waitFor();
	await fill(page, { receiver: 'news', event: 'OrderPaid', data: '{"order":{"number":4712}}' });
	await page.getByRole('button', { name: 'Send', exact: true }).click();
	await client.next({ event: 'OrderPaid' });
	await page.getByRole('link', { name: 'Find it in the log' }).click();
	await page.getByText('More filters').click();
	await fill(page, { path: 'order.number', value: '4711' });
	await page.getByRole('button', { name: 'Search' }).click();
	await waitFor(async () => await page.locator('.events li').count() === 1, 'one event');
	await page.locator('.events li a', { hasText: '1 connection' }).or(page.locator('.events li a')).first().click();
	const sheet = page.getByRole('dialog', { name: 'OrderPaid' });
	await sheet.locator('.js-n', { hasText: '18446744073709551615' }).waitFor();
	await sheet.locator('.js-n', { hasText: '1.50' }).waitFor();
	await page.locator('.sheet [name=user]').last().fill('7');
	await sheet.getByRole('button', { name: 'Send again' }).click();
	await page.getByRole('dialog', { name: 'Send this event again?' }).getByRole('button', { name: 'Send again' }).click();
	await page.getByRole('status').filter({ hasText: 'Sent again to #server-to-user-7' }).waitFor();
	await waitFor(async () => (await daemon.query(`SELECT FROM scopewire.realtime_events
		WHERE channel = '#server-to-user-7'`)).length === 1, 'the copy');
	await page.keyboard.press('Escape');
	await sheet.waitFor({ state: 'detached' });
	await waitFor(() => !page.url().includes('serial'));
	assert.match(page.url(), /path=order\.number/);
	assert.deepEqual(page.problems, []);
});

test('a channel shows its members, its rules, and why a user is refused', async (t) => {
	const dashboard = await startDashboard(t);
	const { daemon } = dashboard;
	await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule, argument) VALUES ('room', 'role', 'admin')`);
	const ada = await daemon.connect();
	await ada.subscribe('presence-room', { channelData: { user_id: '7', user_info: { name: 'Ada' } } });
	const page = await dashboard.open('#/channels', { scope: 'read' });
	await page.getByRole('link', { name: 'presence-room' }).click();
	await page.locator('.chip', { hasText: '7' }).waitFor();
	await page.locator('.rules li', { hasText: 'room' }).waitFor();
	await page.locator('sw-explain [name=user]').fill('9');
	await page.getByRole('button', { name: 'Why?' }).click();
	await page.locator('.verdict.bad').waitFor();
	assert.match(await page.locator('.verdict').innerText(), /refused/);
	await dashboard.sync.put('users/9', { name: 'Grace', roles: ['admin'] });
	await page.getByRole('button', { name: 'Why?' }).click();
	await page.locator('.verdict.good').waitFor();
	assert.deepEqual(page.problems, []);
});

test('a replay from an event has it and what followed on the channel, the oldest first', async (t) => {
	const dashboard = await startDashboard(t);
	for (const event of ['First', 'Second', 'Third']) await dashboard.daemon.api().trigger('news', event, {});
	const page = await dashboard.open('#/channels?channel=news', { scope: 'read' });
	await page.getByRole('row', { name: 'Second' }).getByRole('link', { name: 'Replay from here' }).click();
	await page.locator('.event-name b', { hasText: 'Second' }).waitFor();
	assert.deepEqual(await page.locator('.event-name b').allInnerTexts(), ['Second', 'Third']);
	assert.deepEqual(page.problems, []);
});

test('settings are shown with their source, secrets are not, and a reload names what waits for a restart', async (t) => {
	const dashboard = await startDashboard(t);
	const { daemon, get } = dashboard;
	const page = await dashboard.open('#/settings', { scope: 'write' });
	const row = (name) => page.locator('tr', { has: page.locator('b', { hasText: new RegExp(`^${name}$`) }) });
	assert.match(await row('drain_ms').first().innerText(), /scopewire\.conf:\d+/);
	const text = await page.locator('main').innerText();
	assert.doesNotMatch(text, new RegExp(`${daemon.app.secret}|${TOKEN.write}`));
	assert.doesNotMatch(JSON.stringify((await get('/admin/api/settings?all=yes')).json), new RegExp(`${daemon.app.secret}|${TOKEN.write}`));
	assert.equal(await row('max_connections').count(), 0);
	await page.getByLabel('Show options that have their default').check();
	await row('max_connections').first().waitFor();
	assert.equal(await page.locator('.notice.warn').count(), 0);
	daemon.options.server = { ...daemon.options.server, workers: 2, max_connections: 99 };
	daemon.writeConfig();
	await page.getByRole('button', { name: 'Reload' }).click();
	await page.getByRole('dialog').getByRole('button', { name: 'Reload' }).click();
	await page.locator('.notice.warn', { hasText: 'server.workers' }).waitFor();
	assert.ok((await get('/admin/api/settings')).json.restart.includes('server.workers'));
	assert.deepEqual(page.problems, []);
});

test('a lock is released, and its holder is notified', async (t) => {
	const dashboard = await startDashboard(t);
	const { daemon, sync, post } = dashboard;
	await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule, can_write) VALUES ('invoice.{id}', 'anyone', true)`);
	await sync.post('locks', { resource_type: 'invoice', resource_id: '12', field: 'title', user_id: 7, ttl: 300 });
	const client = await daemon.connect();
	await client.subscribe('private-invoice.12');
	const page = await dashboard.open('#/sync', { scope: 'write' });
	await page.locator('td', { hasText: 'invoice 12 title' }).waitFor();
	await page.getByRole('button', { name: 'Release' }).click();
	await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
	await page.getByRole('button', { name: 'Release' }).click();
	await page.getByRole('dialog').getByRole('button', { name: 'Release' }).click();
	await page.getByText('No user has a resource open for editing.').waitFor();
	const told = await client.next({ event: /LockChanged$/, data: { action: 'forced' } });
	assert.equal(JSON.parse(told.data).previous.user_id, 7);
	const again = await post('/admin/api/lock-release', { resource_type: 'invoice', resource_id: '12', field: 'title' });
	assert.equal(again.status, 400);
	assert.match(again.json.error.message, /No user holds the lock/);
	const [row] = await daemon.query(`SELECT token, arguments FROM scopewire.admin_audit WHERE action = 'lock-release' ORDER BY id`);
	assert.equal(row.token, 'my-write');
	assert.deepEqual([row.arguments.resource_id, row.arguments.field], ['12', 'title']);
	assert.deepEqual(page.problems, []);
});

test('dead letters are shown with their error, and queued again', async (t) => {
	// Nothing listens at port 9: what is queued again waits for its next attempt.
	const urls = ['http://127.0.0.1:9/a', 'http://127.0.0.1:9/b'];
	const dashboard = await startDashboard(t, {}, { app: { webhooks: JSON.stringify(urls.map((url) => ({ url, event_types: ['channel_vacated'] }))) } });
	const { daemon, get, post } = dashboard;
	await daemon.query(`INSERT INTO scopewire.webhook_queue (app, endpoint, channel, event, attempts, last_error, dead_at)
		SELECT $1, url, 'room-' || n, '{"name":"channel_vacated"}', 9, 'HTTP 503', now()
		FROM unnest($2::text[]) url, generate_series(1, 2) n`, [daemon.app.id, urls]);
	const dead = async () => (await get('/admin/api/webhooks')).json.webhooks;
	const page = await dashboard.open('#/webhooks', { scope: 'write' });
	const entries = page.locator('details.entry');
	await waitFor(async () => await entries.count() === 4, 'four dead letters');
	await entries.filter({ hasText: 'HTTP 503' }).first().locator('summary').click();
	await entries.first().getByRole('button', { name: 'Send again', exact: true }).click();
	await waitFor(async () => await entries.count() === 3, 'three dead letters');
	await page.locator('tr', { hasText: '/a' }).getByRole('button', { name: 'Send all again' }).click();
	await page.getByRole('dialog').getByRole('button', { name: 'Send again' }).click();
	await waitFor(async () => (await dead()).length === 1, 'one dead letter');
	assert.equal((await dead())[0].endpoint, urls[1]);
	await page.locator('tr', { hasText: '/a' }).getByRole('link').first().click();
	await page.getByText(/next attempt/).first().waitFor({ state: 'attached' });
	assert.equal((await post('/admin/api/webhook-resend', { id: 999999 })).status, 400);
	assert.equal((await post('/admin/api/webhook-resend', {})).status, 400);
	assert.equal((await get('/admin/api/webhooks?state=odd')).status, 400);
	assert.deepEqual(page.problems, []);
});

test('what others wrote is shown as text and runs nothing', async (t) => {
	const evil = `<img src=x onerror="window.ran=1"><script>window.ran=1</script>{{7*7}}\${window.ran=1}`;
	const dashboard = await startDashboard(t);
	const { daemon, sync } = dashboard;
	await daemon.query(`SELECT scopewire.broadcast('news', $1, json_build_object($1::text, $1::text))`, [evil]);
	await sync.put('users/7', { name: evil.slice(0, 90), roles: [] });
	await sync.post('heartbeat', { user_id: 7, location: '/<script>window.ran=1</script>', status: 'online' });
	await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule, can_write) VALUES ('invoice.{id}', 'anyone', true)`);
	await sync.post('locks', { resource_type: 'invoice', resource_id: '12', user_id: 7, ttl: 300 });
	await daemon.query(`INSERT INTO scopewire.webhook_queue (app, endpoint, channel, event, last_error, dead_at)
		VALUES ($1, $2, $2, json_build_object('name', $2::text), $2, now())`, [daemon.app.id, evil]);
	await daemon.query(`INSERT INTO scopewire.admin_audit (token, address, action, arguments, result)
		VALUES ($1, $1, 'send', jsonb_build_object('channel', $1::text, 'event', $1::text), $1)`, [evil]);
	const ada = await daemon.connect({ origin: `http://${evil.replaceAll(' ', '')}` });
	await ada.subscribe('presence-room', { channelData: { user_id: evil.slice(0, 100), user_info: {} } });
	const serial = (await waitFor(async () => (await daemon.query('SELECT serial FROM scopewire.realtime_events WHERE serial > 0'))[0], 'the event')).serial;
	const page = await dashboard.open('', { scope: 'write' });
	for (const [hash, shown] of [['#/events', '.event-name b'], [`#/events?serial=${serial}`, 'dialog .json'], ['#/channels?channel=presence-room', '.chip'],
		['#/channels?channel=news', 'td'], [`#/channels?channel=${encodeURIComponent(evil)}`, 'h1'], ['#/sync', 'td'], ['#/webhooks', '.entry'], ['#/send', 'td'],
		['#/connections', 'td'], [`#/connections?socket_id=${ada.socketId}`, '.steps li'],
		[`#/send?receiver=${encodeURIComponent(evil)}&data=${encodeURIComponent(evil)}`, 'h1'], [`#/settings?text=${encodeURIComponent(evil)}`, 'h1'],
		[`#/${encodeURIComponent(evil)}`, 'h1']]) {
		await page.evaluate((to) => { location.hash = to; }, hash);
		await page.locator(shown).first().waitFor();
		if (!/send\?|settings|%3C.*$/.test(hash)) await page.locator(shown, { hasText: '<' }).first().waitFor();
		assert.equal(await page.locator('main img, main script, dialog img').count(), 0, hash);
	}
	assert.equal(await page.evaluate(() => window.ran), undefined);
	assert.deepEqual(page.problems, []);
});

test('every page passes axe in light and dark, fits a phone, and is reached by keyboard', async (t) => {
	const dashboard = await startDashboard(t);
	const { daemon, post, sync } = dashboard;
	await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule, can_write) VALUES ('invoice.{id}', 'anyone', true)`);
	const client = await daemon.connect();
	await client.subscribe('presence-room', { channelData: { user_id: '7', user_info: {} } });
	for (let i = 0; i < 3; i++) await post('/admin/api/send', { channel: 'presence-room', event: 'OrderPaid', data: { text: 'x'.repeat(400) } });
	await sync.post('locks', { resource_type: 'invoice', resource_id: '12', user_id: 7, ttl: 300 });
	await sync.post('heartbeat', { user_id: 7, location: '/invoices', status: 'online' });
	await daemon.query(`INSERT INTO scopewire.webhook_queue (app, endpoint, channel, event, last_error, dead_at)
		VALUES ($1, 'https://hooks.example/', 'room', '{}', 'HTTP 503', now())`, [daemon.app.id]);
	const pages = ['', '#/events', '#/events?serial=1', '#/channels', '#/channels?channel=presence-room', '#/send', '#/sync', '#/webhooks', '#/nodes',
		'#/settings?all=yes', '#/sign-in'];
	for (const colorScheme of ['light', 'dark']) {
		const page = await dashboard.open('', { scope: 'write', colorScheme });
		for (const hash of pages) {
			await page.evaluate((to) => { location.hash = to; }, hash);
			await page.locator('h1').first().waitFor();
			await page.locator('.loading').waitFor({ state: 'detached' });
			assert.deepEqual(await violations(page), [], `${hash} ${colorScheme}`);
			await page.setViewportSize({ width: 360, height: 740 });
			// What the page still loads can change its layout once more.
			await waitFor(async () => await page.evaluate(() => document.documentElement.scrollWidth) <= 360, `${hash} fits a phone`);
			await page.setViewportSize({ width: 1280, height: 860 });
		}
		assert.deepEqual(page.problems, []);
	}
	const page = await dashboard.open('', { scope: 'write' });
	await page.getByRole('heading', { name: 'Overview', level: 1 }).waitFor();
	await page.keyboard.press('Tab');
	await page.keyboard.press('Enter');
	assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
	await page.locator('nav a', { hasText: 'Events' }).focus();
	await page.keyboard.press('Enter');
	await page.getByRole('heading', { name: 'Events', level: 1 }).waitFor();
	await waitFor(() => page.evaluate(() => document.activeElement.tagName === 'H1'), 'the heading has the focus');
	await page.locator('.events a').first().focus();
	await page.keyboard.press('Enter');
	await page.getByRole('dialog').waitFor();
	assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Close');
	await page.keyboard.press('Enter');
	await page.getByRole('dialog').waitFor({ state: 'detached' });
});

test('the live tail shows events, refusals and connections, filters, and pauses', async (t) => {
	const dashboard = await startDashboard(t);
	const { daemon, post } = dashboard;
	const page = await dashboard.open('#/tail', { scope: 'read' });
	const rows = page.locator('.tail li');
	await page.getByText('live', { exact: true }).waitFor();
	const client = await daemon.connect();
	await client.subscribe('news');
	client.sendSubscribe('private-orders', { auth: `${daemon.app.key}:wrong` });
	await post('/admin/api/send', { channel: 'news', event: 'OrderPaid', data: { number: 4711 } });
	await rows.filter({ hasText: 'OrderPaid' }).filter({ hasText: '1 reached' }).waitFor();
	await rows.filter({ hasText: 'subscribe refused' }).filter({ hasText: 'the signature is not valid' }).waitFor();
	await rows.filter({ hasText: 'connected' }).first().waitFor();
	await rows.filter({ hasText: 'OrderPaid' }).locator('summary').click();
	await rows.locator('.js-n', { hasText: '4711' }).waitFor();
	assert.deepEqual(await violations(page), []);

	await page.getByRole('button', { name: 'Pause' }).click();
	await post('/admin/api/send', { channel: 'news', event: 'WhilePaused', data: '<img src=x onerror="window.ran=1">' });
	await page.getByRole('button', { name: 'Go on (1 new)' }).click();
	await rows.filter({ hasText: 'WhilePaused' }).locator('summary').click();
	await rows.locator('.json', { hasText: '<img' }).waitFor();

	await page.locator('main [name=channel]').fill('other*');
	await page.getByRole('button', { name: 'Apply' }).click();
	await page.getByText('Waiting for something to happen').waitFor();
	await page.getByText('live', { exact: true }).waitFor();
	await post('/admin/api/send', { channel: 'news', event: 'NotShown', data: 1 });
	await post('/admin/api/send', { channel: 'others', event: 'Shown', data: 2 });
	await rows.filter({ hasText: 'Shown' }).waitFor();
	assert.equal(await rows.filter({ hasText: 'NotShown' }).count(), 0);
	assert.equal(await page.evaluate(() => window.ran), undefined);
	assert.deepEqual(page.problems, []);
});

test('a connection is found by its user, and closed', async (t) => {
	const dashboard = await startDashboard(t);
	const { daemon } = dashboard;
	const evil = '<b onclick=1>7</b>';
	const ada = await daemon.connect();
	await ada.subscribe('presence-room', { channelData: { user_id: evil, user_info: {} } });
	const other = await daemon.connect();
	const page = await dashboard.open('#/connections', { scope: 'write' });
	await page.getByRole('link', { name: other.socketId }).waitFor();
	await page.locator('main [name=user]').fill(evil);
	await page.getByRole('button', { name: 'Search' }).click();
	await page.getByRole('link', { name: other.socketId }).waitFor({ state: 'detached' });
	await page.locator('td', { hasText: evil }).waitFor();
	assert.deepEqual(await violations(page), []);
	await page.getByRole('link', { name: ada.socketId }).click();
	await page.locator('.steps li', { hasText: 'subscribed' }).filter({ hasText: 'presence-room' }).waitFor();
	assert.deepEqual(await violations(page), []);
	await page.getByRole('button', { name: 'Disconnect' }).click();
	await page.getByRole('dialog').getByRole('button', { name: 'Disconnect' }).click();
	assert.equal((await ada.closed).code, 4009);
	await page.locator('.badge', { hasText: 'closed 4009' }).waitFor();
	assert.equal(other.closeCode, undefined);
	assert.deepEqual(page.problems, []);
});

test('why did Ada not get the event: from a search to the rule that refused her', async (t) => {
	const dashboard = await startDashboard(t);
	const { daemon, sync, post } = dashboard;
	await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule, argument) VALUES ('orders.{id}', 'role', 'accounting')`);
	await sync.put('users/7', { name: 'Ada Lovelace', roles: ['sales'] });
	await sync.put('users/8', { name: 'Grace Hopper', roles: ['accounting'] });
	const join = async (id) => {
		const wire = await daemon.connect();
		const answer = await Sync.user(daemon, id).post('/broadcasting/auth', { socket_id: wire.socketId, channel_name: 'private-orders.12' });
		if (answer.status === 200) await wire.subscribe('private-orders.12', { auth: answer.json.auth, channelData: answer.json.channel_data });
		return { wire, status: answer.status };
	};
	const ada = await join(7), grace = await join(8);
	assert.deepEqual([ada.status, grace.status], [403, 200]);
	await post('/admin/api/send', { channel: 'private-orders.12', event: 'OrderPaid', data: { order: { number: 4711 } } });
	await grace.wire.next({ event: 'OrderPaid' });
	// It is written after the event has arrived, and the page reads it once.
	await waitFor(async () => (await daemon.query('SELECT FROM scopewire.realtime_deliveries WHERE sockets = 1')).length === 1,
		'the delivery record');

	const page = await dashboard.open('#/events', { scope: 'read' });
	await page.locator('main [name=text]').fill('4711');
	await page.getByRole('button', { name: 'Search' }).click();
	await page.locator('.events a', { hasText: 'OrderPaid' }).click();
	const sheet = page.getByRole('dialog', { name: 'OrderPaid' });
	await sheet.locator('.delivery', { hasText: '1 connection' }).waitFor();
	await sheet.locator('sw-explain [name=user]').fill('7');
	await sheet.getByRole('button', { name: 'Why?' }).click();
	await sheet.locator('.verdict.bad', { hasText: 'accounting' }).waitFor();
	assert.match(await sheet.locator('.verdict').innerText(), /refused[\s\S]*Roles: sales/);
	await sheet.getByRole('link', { name: /Connections of user 7/ }).click();
	await page.getByRole('heading', { name: 'Connections', level: 1 }).waitFor();
	await page.getByRole('link', { name: ada.wire.socketId }).click();
	await page.locator('.steps li.bad', { hasText: 'authorize refused' }).filter({ hasText: 'private-orders.12' }).waitFor();
	assert.deepEqual(page.problems, []);
});

test('the nodes of a cluster are listed, with the one that is asked and those that have ended', async (t) => {
	const dashboard = await startDashboard(t, {}, { server: { node: 'first' }, sections: { cluster: { driver: 'postgres' } } });
	const { daemon } = dashboard;
	await daemon.query(`INSERT INTO nodes (name, number, instance, backend, mark, process, address, version, driver, prefix, redis, lease)
		VALUES ('second <b>', 99, 'x', 1, 1, 1, '10.0.0.2:8080', '9.9', 'redis', 'portal', '10.0.0.9:6379/0', now() + interval '1 h')`);
	const page = await dashboard.open('#/nodes', { scope: 'read' });
	const row = (text) => page.getByRole('row').filter({ hasText: text });
	await row('first').filter({ hasText: 'this one' }).getByText('running').waitFor();
	await row('second <b>').filter({ hasText: '10.0.0.2:8080' }).getByText('running').waitFor();
	assert.match(await row('second <b>').innerText(), /99.*9\.9.*redis portal 10\.0\.0\.9:6379\/0/s);
	assert.deepEqual(await violations(page), []);
	assert.deepEqual(page.problems, []);
});
