// SPDX-License-Identifier: MIT
// The demo portal: users in browsers of their own, PHP, the daemon, and one database for both.
import test, { after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { startPortal, waitFor } from './portal.mjs';

const portal = await startPortal({ after });
const SHOTS = process.env.SCREENSHOTS;

async function shot(page, name) {
	if (!SHOTS) return;
	fs.mkdirSync(SHOTS, { recursive: true });
	await page.screenshot({ path: `${SHOTS}/${name}.png` });
}

const ada = await portal.enter('Ada Lovelace', '/projects/1');
const grace = await portal.enter('Grace Hopper', '/projects/1', { colorScheme: 'dark' });
const thread = (page) => page.locator('scopewire-comment-thread');
const composer = (page) => thread(page).getByLabel('Write a comment');
const comments = (page, text) => thread(page).locator('li', { hasText: text });

test('two users see each other on the page of a project', async () => {
	for (const page of [ada, grace]) {
		const here = page.locator('scopewire-project-updates scopewire-presence-avatars [part~=face]');
		await waitFor(async () => await here.count() === 2, 'two here');
	}
});

test('typing shows for the other; a comment shows at once, once, for both', async () => {
	await composer(ada).pressSequentially('Shall we ship');
	await thread(grace).getByText('Ada Lovelace is typing').waitFor();
	assert.equal(await thread(ada).getByText('is typing').count(), 0);
	await shot(grace, 'portal');
	await composer(ada).fill('Shall we ship on Monday?');
	await composer(ada).press('Enter');
	await comments(grace, 'Shall we ship on Monday?').waitFor();
	await thread(ada).locator('li:not(.is-sending)', { hasText: 'Shall we ship on Monday?' }).waitFor();
	for (const page of [ada, grace]) assert.equal(await comments(page, 'Shall we ship on Monday?').count(), 1);
});

test('the page broke none of its own policies', () => {
	assert.deepEqual([...ada.problems, ...grace.problems], []);
});
