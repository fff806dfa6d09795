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
		await pane(2).locator('.compose input').pressSequentially('Hm');
		await pane(1).locator('.typing.on', { hasText: 'Grace is typing' }).waitFor();
		assert.equal(await pane(2).locator('.typing.on').count(), 0);
		await pane(2).locator('.compose input').fill('');
		await pane(1).locator('.typing:not(.on)').waitFor();
	});

	await t.test('the form publishes, and reports errors in its data', async () => {
		await page.locator('#publish [name=name]').fill('TimeEntryUpdated');
		await page.locator('#publish [name=data]').fill('{"task":"Review","hours":2}');
		await page.locator('#publish .primary').click();
		for (const n of [1, 2]) await pane(n).locator('.card', { hasText: 'Review' }).waitFor();
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
