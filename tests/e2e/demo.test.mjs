// SPDX-License-Identifier: MIT
// The demo page, served by the daemon, driven in a real browser.
import test from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { startDaemon, waitFor } from '../lib/harness.mjs';
import { openBrowser } from './browser.mjs';

const DEMO = fileURLToPath(new URL('../../contrib/welcome', import.meta.url));

test('the demo page', async (t) => {
	const daemon = await startDaemon({ server: { demo: 'yes', demo_dir: DEMO } }, t);
	const browser = await openBrowser(t);
	const page = browser.pages()[0];
	await page.goto(daemon.url);
	const pane = (n) => page.locator(`.pane:nth-child(${n})`);
	const texts = (locator) => locator.allInnerTexts();

	await t.test('two windows connect and see each other', async () => {
		for (const n of [1, 2]) {
			await pane(n).and(page.locator('[data-state=connected]')).waitFor();
			await waitFor(async () => (await texts(pane(n).locator('.here li'))).length === 2, 'two here');
		}
	});

	await t.test('a comment appears in both windows, with serial, id and latency', async () => {
		await pane(1).locator('.compose input').fill('Hello from Ada');
		await pane(1).locator('.compose button').click();
		for (const n of [1, 2]) {
			const card = pane(n).locator('.card', { hasText: 'Hello from Ada' });
			await card.waitFor();
			assert.match(await card.innerText(), /serial \d+[\s\S]*id …\w{6}[\s\S]*publish to here \d+ ms/);
		}
	});

	await t.test('typing shows in the other window only', async () => {
		// It is shown for a few seconds: the wait for it begins before.
		await Promise.all([pane(1).locator('.typing.on', { hasText: 'Grace is typing' }).waitFor(),
			pane(2).locator('.compose input').pressSequentially('Hm')]);
		assert.equal(await pane(2).locator('.typing.on').count(), 0);
		await pane(2).locator('.compose input').fill('');
		await pane(1).locator('.typing:not(.on)').waitFor();
	});

	await t.test('the form publishes, and reports errors in its data', async () => {
		await page.locator('#publish [name=name]').fill('TimeEntryUpdated');
		await page.locator('#publish [name=data]').fill('{"task":"Review","hours":2}');
		await page.locator('#publish .primary').click();
		for (const n of [1, 2]) await pane(n).locator('.card', { hasText: 'Review' }).waitFor();
		await page.locator('#published', { hasText: 'Stored, and sent to 2 connections' }).waitFor();
		await page.locator('#publish [name=data]').fill('{"task":');
		await page.locator('#problem', { hasText: 'not JSON' }).waitFor();
	});

	await t.test('the curl command works', async () => {
		await page.locator('#publish [name=data]').fill(`{"task":"It's from curl"}`);
		const line = await page.locator('#curl').innerText();
		assert.match(line, /^curl http:/);
		execFileSync('sh', ['-c', line.replace(/^curl/, 'curl -sSf')]);
		for (const n of [1, 2]) await pane(n).locator('.card', { hasText: 'from curl' }).waitFor();
	});

	await t.test('a window that disconnects leaves, and can reconnect', async () => {
		await pane(2).locator('[data-act=toggle]').click();
		await waitFor(async () => (await texts(pane(1).locator('.here li'))).length === 1, 'Grace left');
		await pane(2).locator('[data-act=toggle]').click();
		await waitFor(async () => (await texts(pane(1).locator('.here li'))).length === 2, 'Grace back');
	});

	await t.test('a window that was disconnected receives what it missed', async () => {
		await pane(2).locator('[data-act=toggle]').click();
		await pane(2).and(page.locator('[data-state=disconnected]')).waitFor();
		for (const text of ['first missed', 'second missed']) {
			await pane(1).locator('.compose input').fill(text);
			await pane(1).locator('.compose button').click();
			await pane(1).locator('.card', { hasText: text }).waitFor();
		}
		assert.equal(await pane(2).locator('.card', { hasText: 'missed' }).count(), 0);
		await pane(2).locator('[data-act=toggle]').click();
		await pane(2).locator('.notice.on', { hasText: '2 events recovered' }).waitFor();
		const cards = await texts(pane(2).locator('.card.missed'));
		assert.equal(cards.length, 2);
		assert.match(cards[0], /second missed/);
		assert.match(cards[1], /first missed/);
		// SCREENSHOTS=docs/pictures makes the picture of the README anew
		if (process.env.SCREENSHOTS)
			await page.screenshot({ path: `${process.env.SCREENSHOTS}/recovery.png` });
	});

	await t.test('a reload shows the same events, and what was published meanwhile', async () => {
		const shown = (n) => pane(n).locator('.card-head b').allInnerTexts();
		const before = [await shown(1), await shown(2)];
		await page.goto('about:blank');
		await waitFor(async () => (await daemon.api().get('/connections')).json.connections === 0, 'the page has left');
		await daemon.api().trigger('demo', 'InvoiceCreated', { number: 'while away' });
		// Until then a window that is back may receive it live.
		await waitFor(async () => (await daemon.query(`SELECT FROM realtime_events
			WHERE delivered AND payload::text LIKE '%while away%'`)).length, 'it is delivered');
		await page.goBack();
		for (const n of [1, 2]) {
			await pane(n).locator('.card.missed', { hasText: 'while away' }).waitFor();
			assert.deepEqual((await shown(n)).slice(1), before[n - 1]);
		}
	});

	await t.test('a card shows its row in PostgreSQL, and the command that shows it', async () => {
		const card = pane(1).locator('.card', { hasText: 'second missed' });
		await card.locator('button', { hasText: 'row in PostgreSQL' }).click();
		const row = await card.locator('.row pre').innerText();
		const [event] = await daemon.query(`SELECT * FROM realtime_events
			WHERE payload::text LIKE '%second missed%'`);
		assert.ok(row.includes(`serial     | ${event.serial}`), row);
		assert.ok(row.includes(event.payload.text ?? 'second missed'), row);
		const command = await card.locator('.row code').innerText();
		assert.ok(command.includes(`event_id = '${event.event_id}'`), command);
		assert.match(execFileSync('sh', ['-c', command], { encoding: 'utf8' }), /second missed/);
		await card.locator('button', { hasText: 'row in PostgreSQL' }).click();
		assert.equal(await card.locator('.row').count(), 0);
	});

	await t.test('a second window can be opened', async () => {
		const second = await browser.newPage();
		await second.goto(`${daemon.url}/?user=Linus`);
		await second.locator('.pane[data-state=connected]').waitFor();
		await pane(1).locator('.here li', { hasText: 'Linus' }).waitFor();
		await second.close();
	});

	await t.test('the page reconnects after a restart', async () => {
		await daemon.restart();
		for (const n of [1, 2])
			await waitFor(async () => (await texts(pane(n).locator('.here li'))).length >= 2, 'two here');
		await pane(2).locator('.compose input').fill('Back again');
		await pane(2).locator('.compose button').click();
		await pane(1).locator('.card', { hasText: 'Back again' }).waitFor();
	});

	await t.test('the pages made no error', () => assert.deepEqual(browser.errors, []));
});

test('without server.demo no helper signs or publishes', async (t) => {
	const daemon = await startDaemon({}, t);
	const headers = { 'Content-Type': 'application/json' };
	for (const path of ['/demo/auth', '/demo/publish'])
		assert.equal((await daemon.http(path, { method: 'POST', headers, body: '{}' })).status, 404);
	assert.equal((await daemon.http('/demo/config')).status, 404);
	assert.equal((await daemon.http('/demo/app.js')).status, 404);
});
