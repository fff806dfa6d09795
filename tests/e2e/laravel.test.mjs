// SPDX-License-Identifier: MIT
// A real Laravel application with its broadcasting configuration untouched, stock Echo in two
// real browsers, and the daemon started from that very application's .env.
import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { APP, freePort, startDaemon, waitFor } from '../lib/harness.mjs';
import { openBrowser } from './browser.mjs';
import { Portal } from './portal.mjs';

// A client whose connection is refused retries after 15 s: pusher-js does.
const RETRY_MS = 40000;
const READY = ['client.42', 'own', 'vault', 'here'];
// A page that is loaded again has to have its channels within it, on a busy machine too.
const GRACE_MS = 15000;

let portal, daemon, ada, grace;

/** Values noted under kind on a page since it was loaded. */
const noted = (page, kind) => page.evaluate((k) => seen.filter(([x]) => x === k).map(([, v]) => v), kind);

/** The first value of kind that satisfies the predicate; both live on our side. */
async function saw(page, kind, predicate = () => true, deadlineMs = undefined) {
	const look = async () => (await noted(page, kind)).map((v) => [v]).find(([v]) => predicate(v));
	try {
		return (await waitFor(look, `${kind} on ${await page.title()}`, deadlineMs))[0];
	} catch (error) {
		const all = JSON.stringify(await page.evaluate(() => seen)).slice(0, 3000);
		error.message += `; it saw ${all}\nLaravel's log: ${portal.log.slice(0, 1500)}\n` +
			`the daemon's log: ${daemon.logText.slice(-1500)}`;
		throw error;
	}
}

const forget = (...pages) => Promise.all(pages.map((p) => p.evaluate(() => { seen.length = 0; })));
const send = (page, url, body) => page.evaluate(([u, b]) => send(u, b), [url, body]);

async function everyChannel(page) {
	for (const kind of READY) await saw(page, kind, undefined, RETRY_MS);
	return page;
}

/** A browser of its own, signed in as the user, with every channel subscribed. */
async function enter(t, id) {
	const browser = await openBrowser(t);
	const page = browser.pages()[0] ?? await browser.newPage();
	await page.goto(`${portal.url}/login-as/${id}`);
	return everyChannel(page);
}

/**
 * Waits until the page has its channels on a connection that stays.  Of several nodes, which restart one after the other,
 * each can end it once more.
 */
async function isBack(page) {
	const prefix = `back ${Math.random()}`;
	await waitFor(async () => {
		await send(page, '/announce', { text: `${prefix} ${Math.random()}` });
		return (await noted(page, 'announcement')).some(({ text }) => text.startsWith(prefix));
	}, 'an event of now');
	await waitFor(() => page.evaluate(() => echo.connector.pusher.channel('private-client.42').subscribed), 'the private channel');
}

/** Everything published before this has arrived at the page when it resolves. */
async function flush(page) {
	const text = `flush ${Math.random()}`;
	assert.equal((await send(page, '/announce', { text })).status, 200);
	await Promise.all([ada, grace].map((p) => saw(p, 'announcement', (v) => v.text === text)));
}

const events = (name) => daemon.query(`SELECT e.*, (SELECT sum(d.sockets)::int
	FROM realtime_deliveries d WHERE d.serial = e.serial) AS sockets
	FROM realtime_events e WHERE event_type = $1 ORDER BY serial`, [name]);

test('Laravel and Echo', async (t) => {
	t.after(() => portal?.stop());
	t.after(() => daemon?.stop());
	const port = await freePort();
	portal = await new Portal().create({ ...APP, port });
	daemon = await startDaemon({ config: false, databaseMode: 'none', envFile: portal.envFile,
		env: { SCOPEWIRE_LOG_LEVEL: 'debug', SCOPEWIRE_SERVER_DRAIN_MS: '200',
			SCOPEWIRE_APP_MEMBER_REMOVED_DELAY_MS: String(GRACE_MS) } });
	daemon.database = portal.database;
	assert.equal(daemon.port, port, 'the port of REVERB_SERVER_PORT');
	await portal.start();
	[ada, grace] = await Promise.all([enter(t, 1), enter(t, 2)]);

	await t.test('config/broadcasting.php is the framework\'s, unchanged', () => {
		const read = (file) => fs.readFileSync(path.join(portal.folder, file), 'utf8');
		assert.equal(read('config/broadcasting.php'),
			read('vendor/laravel/framework/config/broadcasting.php'));
	});

	await t.test('an event on a public channel is received', async () => {
		await send(ada, '/announce', { text: 'Grüße, 世界 🎉' });
		for (const page of [ada, grace])
			await saw(page, 'announcement', (v) => v.text === 'Grüße, 世界 🎉');
	});

	await t.test('event(new InvoiceCreated($invoice)) reaches Echo, and psql shows it', async () => {
		const invoice = { client_id: 42, number: 'INV-1', amount: '1200.00' };
		assert.equal((await send(ada, '/invoices', invoice)).status, 201);
		for (const page of [ada, grace])
			await saw(page, 'invoice', (v) => v.invoice.number === 'INV-1' && v.invoice.amount === '1200.00');
		const row = await waitFor(async () => (await events('App\\Events\\InvoiceCreated'))
			.find((r) => r.sockets >= 2), 'a row with the deliveries of each node');
		assert.equal(row.channel, 'private-client.42');
		assert.equal(row.delivered, true);
		assert.equal(row.sockets, 2);
		assert.equal(row.payload.invoice.number, 'INV-1');
		assert(Number(row.serial) > 0);
	});

	await t.test('a channel that routes/channels.php refuses answers 403 to error()', async () => {
		const refusal = await saw(ada, 'refused');
		assert.equal(refusal.status, 403);
	});

	await t.test('presence channels have here, joining and leaving', async (t2) => {
		const names = (list) => list.map((m) => m.name).sort();
		await waitFor(async () => (await noted(ada, 'here')).flat().length + (await noted(ada, 'joining')).length >= 2);
		await forget(ada);
		const other = await openBrowser(t2);
		const page = other.pages()[0];
		await page.goto(`${portal.url}/login-as/1`);
		await everyChannel(page);
		assert.deepEqual(names(await saw(page, 'here')), ['Ada', 'Grace']);
		await page.close();
		await grace.evaluate(() => echo.leave('project.1'));
		assert.equal((await saw(ada, 'leaving')).name, 'Grace');
		await grace.evaluate(() => echo.join('project.1').here(note('here again'))
			.joining(note('joining')).leaving(note('leaving')).listen('CommentAdded', note('comment'))
			.listenForWhisper('cursor', note('cursor')));
		assert.deepEqual(names(await saw(grace, 'here again')), ['Ada', 'Grace']);
		assert.equal((await saw(ada, 'joining')).name, 'Grace');
		assert.deepEqual(await noted(ada, 'leaving').then((l) => l.length), 1,
			'a second window of one’s own that closes removes no member');
	});

	await t.test('a reload within the grace period is not visible to others', async () => {
		await forget(ada);
		await grace.reload();
		await everyChannel(grace);
		// The grace period is the server's; what it would have said has to have come by then.
		const end = Date.now() + GRACE_MS + 1000;
		await waitFor(() => Date.now() > end, 'the end of the grace period');
		await flush(grace);
		assert.deepEqual(await noted(ada, 'leaving'), []);
		assert.deepEqual(await noted(ada, 'joining'), []);
	});

	await t.test('an encrypted channel: Echo decrypts, the log holds the ciphertext', async () => {
		await send(ada, '/secrets', { secret: 'the combination is 12345' });
		for (const page of [ada, grace])
			assert.equal((await saw(page, 'secret')).secret, 'the combination is 12345');
		const [row] = await events('App\\Events\\SecretShared');
		assert.equal(row.channel, 'private-encrypted-vault.1');
		assert.deepEqual(Object.keys(row.payload).sort(), ['ciphertext', 'nonce']);
	});

	await t.test('whispers on private and presence channels reach the others only', async () => {
		await forget(ada, grace);
		await ada.evaluate(() => echo.private('client.42').whisper('typing', { name: 'Ada', at: {} }));
		await ada.evaluate(() => echo.join('project.1').whisper('cursor', { x: 3 }));
		assert.deepEqual(await saw(grace, 'typing'), { name: 'Ada', at: {} });
		assert.deepEqual(await saw(grace, 'cursor'), { x: 3 });
		await flush(ada);
		assert.deepEqual(await noted(ada, 'typing'), []);
	});

	await t.test('toOthers() leaves out the sender', async () => {
		await forget(ada, grace);
		assert.equal((await send(ada, '/comments', { text: 'to the others' })).status, 200);
		assert.equal((await saw(grace, 'comment')).text, 'to the others');
		await flush(ada);
		assert.deepEqual(await noted(ada, 'comment'), []);
	});

	await t.test('a broadcast notification reaches its user only', async () => {
		await forget(ada, grace);
		const answer = await send(ada, '/notify/2', { number: 'INV-7' });
		assert.equal(answer.status, 200, JSON.stringify(answer.body).slice(0, 500));
		const notification = await saw(grace, 'notification');
		assert.equal(notification.number, 'INV-7');
		assert.equal(notification.type, 'App\\Notifications\\InvoicePaid');
		await flush(grace);
		assert.deepEqual(await noted(ada, 'notification'), []);
	});

	await t.test('one event on 250 channels is three requests and 250 rows', async () => {
		const channels = Array.from({ length: 250 }, (_, i) => `wide-${i}`);
		await ada.evaluate(() => {
			for (const i of [0, 99, 100, 249])
				echo.channel(`wide-${i}`).subscribed(note('wide')).listen('.announcement', note(`wide-${i}`));
		});
		await waitFor(async () => (await noted(ada, 'wide')).length === 4);
		assert.equal((await send(ada, '/announce', { text: 'wide', channels })).status, 200);
		for (const i of [0, 99, 100, 249]) assert.equal((await saw(ada, `wide-${i}`)).text, 'wide');
		const rows = await daemon.query(
			`SELECT count(DISTINCT channel)::int AS channels, count(*)::int AS rows
			 FROM realtime_events WHERE channel LIKE 'wide-%'`);
		assert.deepEqual(rows, [{ channels: 250, rows: 250 }]);
	});

	const padded = (bytes) => ({ text: 'x'.repeat(bytes - '{"text":""}'.length) });

	await t.test('a payload of 9,000 bytes is received, one of 10,001 is refused with a reason', async () => {
		await forget(grace);
		assert.equal((await send(ada, '/announce', padded(9000))).status, 200);
		assert.equal(JSON.stringify(await saw(grace, 'announcement')).length, 9000);
		await forget(grace);
		const refused = await send(ada, '/announce', padded(10001));
		assert.equal(refused.status, 502);
		assert.match(refused.body.error, /^Pusher error: .+/);
		await flush(ada);
		assert.equal((await noted(grace, 'announcement')).length, 1);
	});

	await t.test('a queued broadcast succeeds in the worker, or fails when it is refused', async () => {
		await send(ada, '/reports', { text: 'by the queue' });
		await portal.artisan('queue:work', '--once');
		await saw(grace, 'report', (v) => v.text === 'by the queue');
		await send(ada, '/reports', padded(10001));
		await portal.artisan('queue:work', '--once');
		const failed = await daemon.query('SELECT exception FROM public.failed_jobs');
		assert.equal(failed.length, 1);
		assert.match(failed[0].exception, /BroadcastException: Pusher error: /);
	});

	await t.test('the application can query channels and members', async () => {
		const answer = await ada.evaluate(async () => (await fetch('/server')).json());
		assert(answer.channels.channels['private-client.42'], JSON.stringify(answer));
		assert.deepEqual(answer.users.users.map((u) => u.id).sort(), ['1', '2']);
	});

	await t.test('an event inside a transaction is delivered after its commit, or never', async () => {
		await forget(grace);
		const invoice = (number, fail) => send(ada, '/transaction',
			{ client_id: 42, number, amount: '1', fail });
		assert.equal((await invoice('TX-1', true)).status, 409);
		const committed = await invoice('TX-2', false);
		assert.equal(committed.status, 200, JSON.stringify(committed.body).slice(0, 500));
		await saw(grace, 'invoice', (v) => v.invoice.number === 'TX-2');
		await flush(grace);
		const numbers = (await noted(grace, 'invoice')).map((v) => v.invoice.number);
		assert.deepEqual(numbers, ['TX-2']);
		const rows = await daemon.query("SELECT number FROM public.invoices WHERE number LIKE 'TX%'");
		assert.deepEqual(rows, [{ number: 'TX-2' }]);
	});

	await t.test('activities of Laravel reach Echo, and can be queried', async () => {
		await daemon.query(`INSERT INTO channel_rules(pattern, rule)
			VALUES ('client.{id}', 'anyone'), ('presence.online', 'anyone')`);
		await grace.evaluate(() => echo.private('client.42')
			.listen('ActivityFeedUpdated', note('activity')));
		const added = await send(ada, '/activities',
			{ type: 'invoice_paid', description: 'Paid', metadata: { client_id: 42 } });
		assert.equal(added.status, 200, JSON.stringify(added.body).slice(0, 500));
		assert.equal((await saw(grace, 'activity')).activity.id, added.body.activity.id);
		const feed = await grace.evaluate(async () => {
			const { token, url } = await (await fetch('/sync-token')).json();
			const headers = { Authorization: `Bearer ${token}` };
			return (await fetch(`${url}activities?feed=client&client_id=42`, { headers })).json();
		});
		assert.equal(feed.activities[0].id, added.body.activity.id);
		assert.equal(feed.unread, 1);
	});

	await t.test('the Pusher SDK can use the sync API', async () => {
		await forget(grace);
		const sent = await send(ada, '/remind/2', { text: 'It is due on Friday' });
		assert.equal(sent.body.recipients, 1, JSON.stringify(sent.body).slice(0, 500));
		assert.equal((await saw(grace, 'notification')).message, 'It is due on Friday');
		const online = () => ada.evaluate(async () => (await (await fetch('/online')).json()).users.map((u) => u.user_id).sort());
		await waitFor(async () => (await online()).length === 2, 'both are online');
		assert.deepEqual(await online(), [1, 2]);
	});

	await t.test('after a restart with 4200 the clients reconnect and resubscribe', async () => {
		await forget(ada, grace);
		await daemon.restart();
		for (const page of [ada, grace]) {
			await saw(page, 'state', (v) => v === 'connecting');
			await saw(page, 'state', (v) => v === 'connected', RETRY_MS);
			await everyChannel(page);
			await isBack(page);
		}
		await send(grace, '/invoices', { client_id: 42, number: 'INV-2', amount: '1' });
		await saw(ada, 'invoice', (v) => v.invoice.number === 'INV-2');
		assert.equal((await events('App\\Events\\InvoiceCreated')).length, 3);
	});

	await t.test('after kill -9 the clients reconnect and resubscribe', async () => {
		await forget(ada, grace);
		await daemon.kill();
		await daemon.start();
		for (const page of [ada, grace]) await everyChannel(page);
		await send(ada, '/invoices', { client_id: 42, number: 'INV-3', amount: '1' });
		for (const page of [ada, grace]) await saw(page, 'invoice', (v) => v.invoice.number === 'INV-3');
	});
});
