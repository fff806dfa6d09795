// SPDX-License-Identifier: MIT
// Offline data, locks of fields, the conflict dialog, cursors and the project page, with two users.
import test, { after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { startPortal, violations, waitFor } from '../portal.mjs';

const FORM = `<main class="column"><scopewire-connection-status delay="300"></scopewire-connection-status>
<scopewire-shared-form resource-type="note" resource-id="ID">
<scopewire-field-lock wait="2"><label>Title <input name="title"></label></scopewire-field-lock>
<scopewire-field-lock wait="2"><label>Text <textarea name="text"></textarea></label></scopewire-field-lock>
</scopewire-shared-form></main>`;
const BOARD = `<main class="column"><scopewire-live-cursors channel="presence-document.7"><div class="board"></div>
</scopewire-live-cursors>
<scopewire-project-updates project-id="7" heading="Website relaunch" comments-src="/comments"></scopewire-project-updates></main>`;

// A lock outlives its socket for as long as a page needs to load or to reconnect on a busy machine.
const portal = await startPortal({ after, sync: { viewing_grace_ms: 10000 } });
portal.page('form', FORM.replace('ID', '7'));
portal.page('other', FORM.replace('ID', '8'), 'window.store = kit.storeOf(window.manager); await store.ready;');
portal.page('board', BOARD);
const SHOTS = process.env.SCREENSHOTS;

async function shot(page, name) {
	if (!SHOTS) return;
	fs.mkdirSync(SHOTS, { recursive: true });
	await page.screenshot({ path: `${SHOTS}/${name}.png`, animations: 'disabled' });
}

const stored = async (id) => (await portal.daemon.query(
	'SELECT version, data FROM scopewire.sync_entity WHERE resource_id = $1', [String(id)]))[0];
const decided = async (id) => Number((await portal.daemon.query(
	'SELECT count(*) FROM scopewire.sync_change WHERE resource_id = $1', [String(id)]))[0].count);
const isReady = (page) => page.waitForFunction(() => window.store !== undefined);

test('changes made offline wait on the device, and a later tab sends each once and in order', async () => {
	const first = await portal.open('ada', 'other');
	await isReady(first);
	await first.evaluate(() => window.store.put('note', 8, { title: 'zero' }));
	await waitFor(async () => (await stored(8))?.data.title === 'zero', 'stored');
	await first.waitForFunction(() => window.manager.status.queued === 0);      // the answer is there too
	await first.context().setOffline(true);
	for (const title of ['one', 'two', 'three'])
		await first.evaluate((t) => window.store.patch('note', 8, { title: t }), title);
	await first.waitForFunction(() => window.manager.status.queued === 3);
	assert.equal(await first.evaluate(async () => (await window.store.get('note', 8)).data.title), 'three');
	assert.equal((await stored(8)).data.title, 'zero');
	const context = first.context();
	const page = await context.newPage();
	await first.close();
	await context.setOffline(false);
	page.problems = [];
	await page.goto(`${portal.url}/other.html?user=ada`);
	await isReady(page);
	await waitFor(async () => (await stored(8)).data.title === 'three', 'sent');
	await page.waitForFunction(() => window.manager.status.queued === 0);
	assert.equal(await decided(8), 4);
	assert.equal(Number((await stored(8)).version), 4);
	await context.close();
});

test('while the daemon is away the page works and edits wait; after its return all is sent, and nothing is missing', async () => {
	const page = await portal.open('ada', 'other');
	await isReady(page);
	await page.evaluate(() => window.store.put('note', 9, { title: 'before' }));
	await waitFor(async () => (await stored(9))?.data.title === 'before', 'stored');
	await page.waitForFunction(() => window.manager.status.queued === 0);
	await page.evaluate(() => {
		window.seen = [];
		window.manager.channel('private-project.9').on('ProjectUpdated', ({ n }) => window.seen.push(n));
	});
	await page.waitForFunction(() => window.manager.pusher.channel('private-project.9').subscribed);
	await portal.daemon.stop();
	const gone = Date.now();
	await page.waitForFunction(() => window.manager.status.state === 'reconnecting');
	for (const title of ['one', 'two']) await page.evaluate((t) => window.store.patch('note', 9, { title: t }), title);
	await page.waitForFunction(() => window.manager.status.queued === 2);
	assert.equal(await page.evaluate(async () => (await window.store.get('note', 9)).data.title), 'two');
	// What SQL publishes meanwhile waits in the database.
	await portal.daemon.query(`SELECT scopewire.broadcast('private-project.9', 'ProjectUpdated', '{"n":1}'::json)`);
	// AWAY_S=60 is the minute of the documents.
	await waitFor(() => Date.now() >= gone + 1000 * Number(process.env.AWAY_S ?? 3), 'the time', 300000);
	await portal.daemon.restart();
	const back = Date.now();
	await page.waitForFunction(() => window.manager.status.state === 'connected');
	const connected = Date.now() - back;
	await page.waitForFunction(() => window.manager.status.queued === 0 && window.seen.length === 1);
	console.log(`# connected ${connected} ms, all there ${Date.now() - back} ms after the daemon`);
	assert.equal((await stored(9)).data.title, 'two');
	assert.equal(await decided(9), 3);
	assert.deepEqual(await page.evaluate(() => window.seen), [1]);
	await page.context().close();
});

test('a change whose answer was lost counts once', async () => {
	const page = await portal.open('ada', 'other');
	await isReady(page);
	const before = await decided(8);
	let lost = 0;
	await page.route('**/api/sync/changes', async (route) => {
		if (route.request().method() !== 'POST' || lost) return route.continue();
		lost++;
		await route.fetch();
		return route.abort();
	});
	await waitFor(() => page.evaluate(async () => (await window.store.get('note', 8)).version > 0), 'read');
	await page.evaluate(() => window.store.patch('note', 8, { title: 'four' }));
	await page.waitForFunction(() => window.manager.status.queued === 0);
	assert.equal(lost, 1);
	assert.equal(await decided(8), before + 1);
	assert.equal((await stored(8)).data.title, 'four');
	await page.context().close();
});

test('two tabs send one queue: every change arrives, none twice', async () => {
	const one = await portal.open('ada', 'other');
	const two = await portal.open('ada', 'other', { tab: one });
	for (const page of [one, two]) await isReady(page);
	const before = await decided(8);
	await one.context().setOffline(true);
	await one.evaluate(() => window.store.patch('note', 8, { a: 1 }));
	await two.evaluate(() => window.store.patch('note', 8, { b: 2 }));
	await one.waitForFunction(() => window.manager.status.queued === 2);
	await one.context().setOffline(false);
	for (const page of [one, two]) await page.waitForFunction(() => window.manager.status.queued === 0);
	const { data } = await stored(8);
	assert.deepEqual([data.a, data.b], [1, 2]);
	assert.equal(await decided(8), before + 2);
	await one.context().close();
});

const ada = await portal.open('ada', 'form', { viewport: { width: 900, height: 760 } });
const grace = await portal.open('grace', 'form', { viewport: { width: 900, height: 760 } });
const field = (page, name) => page.locator(`[name=${name}]`);
const save = (page) => page.getByRole('button', { name: 'Save', exact: true }).click();

test('what one user saves appears in the form of the other', async () => {
	await field(ada, 'title').fill('Kick-off');
	await field(ada, 'text').fill('we meet on monday at noon');
	await save(ada);
	await waitFor(async () => await field(grace, 'text').inputValue() === 'we meet on monday at noon', 'in both');
	assert.equal(await field(grace, 'title').inputValue(), 'Kick-off');
});

test('a field that another user edits is marked and read-only, and is passed on at request', async () => {
	await field(ada, 'title').focus();
	const lock = grace.locator('scopewire-field-lock').first();
	// The holder has time to refuse the first request, and none answers the second.
	const waits = (seconds) => ada.locator('scopewire-field-lock').first().evaluate((e, n) => { e.wait = n; }, seconds);
	await waits(60);
	await lock.evaluate((e) => { e.wait = 60; });
	await lock.getByText('Ada Lovelace is editing').waitFor();
	assert.equal(await field(grace, 'title').evaluate((e) => e.readOnly), true);
	await shot(grace, 'lock');
	await lock.getByRole('button', { name: 'Ask to edit' }).click();
	await ada.getByText(/Grace Hopper would like to edit/).waitFor();
	await ada.getByRole('button', { name: 'Keep editing' }).click();
	await lock.getByText('Ada Lovelace is still editing').waitFor();
	await waits(2);
	await lock.getByRole('button', { name: 'Ask to edit' }).click();
	await ada.locator('scopewire-field-lock').first().getByText('Grace Hopper is editing').waitFor();
	assert.equal(await grace.evaluate(() => document.activeElement.name), 'title');
	await field(grace, 'title').blur();
	await waitFor(() => field(ada, 'title').evaluate((e) => !e.readOnly), 'free again');
	await lock.evaluate((e) => { e.wait = 2; });
});

const locks = () => portal.daemon.query(`SELECT user_id::int, sockets FROM scopewire.locks
	WHERE resource_id = '7' AND field = 'title' AND user_id IS NOT NULL`);

test('the lock is one of the daemon, and ends with the window that has it', async () => {
	const page = await portal.open('linus', 'form');
	await field(page, 'title').focus();
	await grace.locator('scopewire-field-lock').first().getByText('Linus Torvalds is editing').waitFor();
	const [lock] = await locks();
	assert.deepEqual(lock, { user_id: 3, sockets: [await page.evaluate(() => window.manager.socketId)] });
	const late = await portal.open('ada', 'form');
	await late.locator('scopewire-field-lock').first().getByText('Linus Torvalds is editing').waitFor();
	await late.context().close();
	await page.context().close();
	await waitFor(() => field(grace, 'title').evaluate((e) => !e.readOnly), 'free');
	assert.deepEqual(await locks(), []);
});

test('of two windows of one user one has the lock, and the other one can take it', async () => {
	const one = await portal.open('linus', 'form');
	const two = await portal.open('linus', 'form', { tab: one });
	const lockOf = (page) => page.locator('scopewire-field-lock').first();
	await field(one, 'title').focus();
	await lockOf(two).getByText('You are editing in another window').waitFor();
	assert.equal(await lockOf(two).getByRole('button', { name: 'Ask to edit' }).count(), 0);
	assert.deepEqual(await violations(two), []);
	await lockOf(two).getByRole('button', { name: 'Edit here' }).click();
	await lockOf(one).getByText('You are editing in another window').waitFor();
	await waitFor(() => field(two, 'title').evaluate((e) => !e.readOnly && e === document.activeElement), 'in the other window');
	assert.equal(await lockOf(one).getByText('would like to edit').count(), 0);
	assert.deepEqual((await locks())[0].sockets, [await two.evaluate(() => window.manager.socketId)]);
	assert.deepEqual([...one.problems, ...two.problems], []);
	await one.context().close();
	await waitFor(async () => (await locks()).length === 0, 'released');
});

test('a granted lock belongs to the one window whose request was granted', async () => {
	const one = await portal.open('linus', 'form');
	const two = await portal.open('linus', 'form', { tab: one });
	const other = await portal.open('ada', 'form');
	const make = (page) => page.evaluate(async () => {
		window.lock = new window.kit.EditLock(window.manager, { type: 'note', id: '7', field: 'granted' });
		await window.lock.reload();
	});
	for (const page of [other, one, two]) await make(page);
	assert.equal(await other.evaluate(() => window.lock.take()), true);
	for (const page of [one, two]) {
		await page.waitForFunction(() => window.lock.isTheirs
			&& window.manager.pusher.channel('private-App.Models.User.3')?.subscribed);
		assert.equal(await page.evaluate(() => window.lock.request(60)), true);
	}
	await other.evaluate(() => window.lock.grant(3));
	await two.waitForFunction(() => window.lock.isMine);
	await one.waitForFunction(() => window.lock.lock?.user_id === 3 && !window.lock.isRequesting);
	assert.equal(await one.evaluate(() => window.lock.isMine), false);
	// Without an answer a request ends with its time.
	assert.equal(await one.evaluate(() => window.lock.request(1)), true);
	await one.waitForFunction(() => !window.lock.isRequesting);
	await one.context().close();
	await other.context().close();
});

const newLock = (page, name) => page.evaluate(async (field) => {
	window.lock = new window.kit.EditLock(window.manager, { type: 'note', id: '7', field });
	return window.lock.take().catch(() => false);
}, name);
const heldField = async (field) => (await portal.daemon.query(`SELECT sockets FROM scopewire.locks
	WHERE resource_id = '7' AND field = $1 AND user_id IS NOT NULL`, [field]))[0];

test('a window does not take the lock that another user has by now', async () => {
	const one = await portal.open('linus', 'form');
	const two = await portal.open('linus', 'form', { tab: one });
	const other = await portal.open('ada', 'form');
	const take = (page) => newLock(page, 'taken');
	assert.equal(await take(one), true);
	assert.equal(await take(two), false);
	assert.equal(await take(other), false);
	assert.equal(await other.evaluate(() => window.lock.takeHere()), false, 'of another user');
	assert.equal(await two.evaluate(() => window.lock.takeHere()), true);
	await one.waitForFunction(() => window.lock.isTheirs);
	assert.deepEqual((await heldField('taken')).sockets, [await two.evaluate(() => window.manager.socketId)]);
	await one.context().close();
	await other.context().close();
});

test('a lock that is taken while its state is read stays with the window that took it', async () => {
	const page = await portal.open('linus', 'form');
	await page.evaluate(async () => {
		window.lock = new window.kit.EditLock(window.manager, { type: 'note', id: '7', field: 'late' });
		await window.lock.reload();
	});
	await page.route(/api\/sync\/locks\?.*field=late/, async (route) => {
		const response = await route.fetch();
		// This answer, without the lock, is old when the lock can be taken before it arrives.
		await waitFor(() => heldField('late'), 'the lock', 1500).catch(() => {});
		return route.fulfill({ response });
	});
	await page.evaluate(() => { window.reading = window.lock.reload(); });
	assert.equal(await page.evaluate(() => window.lock.take()), true);
	await page.evaluate(() => window.reading);
	assert.equal(await page.evaluate(() => window.lock.isMine), true);
	await page.context().close();
});

test('a window that loads again, and takes the lock at once, leaves no lock without a holder', async () => {
	const page = await portal.open('linus', 'form');
	assert.equal(await newLock(page, 'reloaded'), true);
	await page.reload();
	await page.waitForFunction(() => window.manager?.status.state === 'connected');
	assert.equal(await newLock(page, 'reloaded'), false);
	await waitFor(async () => await heldField('reloaded') === undefined, 'ended with the first socket');
	assert.equal(await page.evaluate(() => window.lock.take()), true);
	await page.context().close();
});

test('a lock whose first answer was lost is the window\'s at the next attempt', async () => {
	const page = await portal.open('linus', 'form');
	let lost = 0;
	await page.route('**/api/sync/locks', async (route) => {
		if (route.request().method() !== 'POST' || lost) return route.continue();
		lost++;
		await route.fetch();
		return route.abort();
	});
	assert.equal(await newLock(page, 'lost'), false);
	assert.equal(lost, 1);
	assert.ok(await heldField('lost'));
	await page.waitForFunction(() => window.lock.lock !== null);      // it was read after that
	assert.equal(await page.evaluate(() => window.lock.take()), true);
	await page.context().close();
});

test('a holder that reconnects keeps the lock; a request that it missed is shown then', async () => {
	const page = await portal.open('linus', 'form');
	// The holder has time to refuse.
	const lockOf = (one) => one.locator('scopewire-field-lock').first();
	for (const one of [page, grace]) await lockOf(one).evaluate((e) => { e.wait = 60; });
	await field(page, 'title').focus();
	await lockOf(grace).getByText('Linus Torvalds is editing').waitFor();
	const before = await page.evaluate(() => window.manager.socketId);
	const { token } = (await portal.daemon.query(`SELECT token FROM scopewire.locks WHERE resource_id = '7'
		AND field = 'title'`))[0];
	await page.evaluate(() => window.manager.pusher.disconnect());
	await lockOf(grace).getByRole('button', { name: 'Ask to edit' }).click();
	await waitFor(async () => (await portal.daemon.query('SELECT FROM scopewire.lock_requests')).length === 1, 'stored');
	await page.evaluate(() => window.manager.connect());
	await page.getByText(/Grace Hopper would like to edit/).waitFor();
	await page.getByRole('button', { name: 'Keep editing' }).click();
	const [after] = await portal.daemon.query(`SELECT token, sockets FROM scopewire.locks WHERE resource_id = '7'
		AND field = 'title'`);
	assert.equal(after.token, token);
	assert.ok(!after.sockets.every((s) => s === before));
	await lockOf(grace).evaluate((e) => { e.wait = 2; });
	await page.context().close();
	await waitFor(async () => (await locks()).length === 0, 'released');
});

const choices = (dialog) => dialog.locator('input[type=radio]').evaluateAll((all) => all.map((e) => e.value));

test('different words are merged; the same ones are decided in a dialog', async () => {
	for (const page of [ada, grace])      // that the lock of the test before is free has arrived there too
		await waitFor(() => field(page, 'title').evaluate((e) => !e.readOnly), 'free');
	await ada.context().setOffline(true);
	await field(ada, 'title').fill('Kick-off in Berlin');
	await field(ada, 'text').fill('we meet on tuesday at noon');
	await save(ada);
	await ada.getByText('Saved on this device').waitFor();
	await field(grace, 'title').fill('Kick-off in Paris');
	await field(grace, 'text').fill('we meet on monday at one');
	await save(grace);
	await waitFor(async () => (await stored(7)).data.title === 'Kick-off in Paris', 'the first');
	await ada.context().setOffline(false);
	const dialog = ada.getByRole('dialog', { name: 'This was changed by someone else' });
	await dialog.waitFor();
	await shot(ada, 'conflict');
	assert.deepEqual(await violations(ada), []);
	assert.deepEqual(await dialog.locator('fieldset').evaluateAll((all) => all.map((e) => e.dataset.field)), ['title']);
	assert.deepEqual(await choices(dialog), ['mine', 'theirs'], 'no merged text of one line');
	assert.deepEqual(await dialog.locator('mark').allInnerTexts(), ['Berlin', 'Paris']);
	const checked = dialog.locator('input:checked');
	assert.equal(await checked.inputValue(), 'mine');
	assert.equal(await checked.evaluate((e) => e.getRootNode().activeElement === e), true, 'has the focus');
	await dialog.getByRole('button', { name: 'Save these' }).click();
	await waitFor(async () => (await stored(7)).data.title === 'Kick-off in Berlin', 'decided');
	assert.equal((await stored(7)).data.text, 'we meet on tuesday at one');
	for (const page of [ada, grace])
		await waitFor(async () => await field(page, 'text').inputValue() === 'we meet on tuesday at one', 'in both');
});

test('a merged text is offered, and proposed, only where different lines were changed', async () => {
	const lines = 'Design\nShop\nTexts';
	for (const [base, mine, theirs, offered] of [
		['we meet on monday', 'we meet on friday', 'we meet on sunday', ['mine', 'theirs']],
		['1 October', '2 October', '1 November', ['mine', 'theirs']],
		[lines, 'Drawings\nShop\nTexts', 'Sketches\nShop\nTexts', ['mine', 'theirs']],
		[lines, 'cancelled', 'a picnic\nin the park', ['mine', 'theirs']],
		[lines, 'Design and icons\nShop\nTexts by May', 'Design\nShop\nTexts by June', ['mine', 'theirs', 'merged']]]) {
		await field(grace, 'text').fill(base);
		await save(grace);
		await waitFor(async () => await field(ada, 'text').inputValue() === base, 'in both');
		await ada.context().setOffline(true);
		await field(ada, 'text').fill(mine);
		await save(ada);
		await ada.waitForFunction(() => window.manager.status.queued === 1);
		await field(grace, 'text').fill(theirs);
		await save(grace);
		await waitFor(async () => (await stored(7)).data.text === theirs, 'the first');
		await ada.context().setOffline(false);
		const dialog = ada.getByRole('dialog', { name: 'This was changed by someone else' });
		await dialog.waitFor();
		assert.deepEqual(await choices(dialog), offered, mine);
		assert.equal(await dialog.locator('input:checked').inputValue(), offered.at(-1) === 'merged' ? 'merged' : 'mine', mine);
		if (offered.length === 3) {
			await shot(ada, 'conflict-merged');
			for (const scheme of ['dark', 'light']) {
				await ada.emulateMedia({ colorScheme: scheme });
				assert.deepEqual(await violations(ada), [], scheme);
			}
			await dialog.getByRole('button', { name: 'Save these' }).click();
			await waitFor(async () => (await stored(7)).data.text === 'Design and icons\nShop\nTexts by May\nTexts by June', 'merged');
		} else {
			await dialog.getByRole('button', { name: 'Discard' }).click();
			await waitFor(async () => await field(ada, 'text').inputValue() === theirs, 'in both');
		}
		await ada.waitForFunction(() => window.manager.status.queued === 0);
	}
});

test('a change of a signed-out user waits with a note, and is sent after the user has signed in', async () => {
	portal.tokenTtl = 4;      // so short that each request fetches one
	const page = await portal.open('linus', 'form');
	const form = page.locator('scopewire-shared-form');
	await waitFor(async () => await field(page, 'text').inputValue() !== '', 'loaded');
	portal.isSignedOut = true;
	await field(page, 'text').fill('written while signed out');
	await save(page);
	await form.getByText('You are signed out. Sign in to send.').waitFor();
	await page.locator('scopewire-connection-status [part=text]', { hasText: 'You are signed out' }).waitFor();
	assert.equal(await form.getByRole('link', { name: 'Sign in' }).getAttribute('href'), '/login');
	assert.equal(await page.evaluate(() => window.manager.status.state), 'connected');
	assert.deepEqual(await violations(page), []);
	Object.assign(portal, { isSignedOut: false, tokenTtl: 3600 });
	await page.evaluate(() => dispatchEvent(new Event('focus')));      // every page of this browser has it
	await form.getByText('Saved', { exact: true }).waitFor();
	assert.equal((await stored(7)).data.text, 'written while signed out');
	assert.equal(await page.evaluate(() => window.manager.status.isSignedOut), false);
	assert.deepEqual(page.problems, []);
	await page.context().close();
});

test('a comment of a signed-out user is sent after the user has signed in', async () => {
	const page = await portal.open('grace', 'board');
	const thread = page.locator('scopewire-comment-thread');
	await page.getByRole('tab', { name: 'Comments' }).click();
	await thread.getByText('No comments yet').waitFor();
	portal.isSignedOut = true;
	await thread.getByLabel('Write a comment').fill('Signed out');
	await thread.getByLabel('Write a comment').press('Enter');
	await thread.locator('li.is-failed', { hasText: 'You are signed out. Sign in to send.' }).waitFor();
	assert.equal(await thread.getByRole('link', { name: 'Sign in' }).getAttribute('href'), '/login');
	assert.deepEqual(await violations(page), []);
	portal.isSignedOut = false;
	await page.evaluate(() => dispatchEvent(new Event('focus')));
	await thread.locator('li:not(.is-failed):not(.is-sending)', { hasText: 'Signed out' }).waitFor();
	assert.equal(portal.comments.filter(({ body }) => body === 'Signed out').length, 1);
	assert.deepEqual(page.problems, []);
	await page.context().close();
});

test('a comment that a broken server did not store is sent again by itself; one that was refused is not', async () => {
	const page = await portal.open('grace', 'board');
	const thread = page.locator('scopewire-comment-thread');
	const write = async (text) => {
		await thread.getByLabel('Write a comment').fill(text);
		await thread.getByLabel('Write a comment').press('Enter');
	};
	await page.getByRole('tab', { name: 'Comments' }).click();
	portal.isBroken = true;
	for (const text of ['First of two', 'Second of two']) await write(text);
	await thread.locator('li.is-failed', { hasText: 'The server has a problem.' }).nth(1).waitFor();
	assert.equal(await thread.getByText('Server Error').count(), 0);
	portal.isBroken = false;
	await waitFor(async () => await thread.locator('li.is-failed, li.is-sending').count() === 0, 'sent');
	assert.deepEqual(portal.comments.map(({ body }) => body).filter((body) => body.endsWith('of two')), ['First of two', 'Second of two']);
	await write('!');
	await thread.locator('li.is-failed', { hasText: 'The body is too short.' }).waitFor();
	const sent = () => portal.requests.filter(({ method, path }) => method === 'POST' && path === '/comments').length;
	const before = sent();
	await page.evaluate(() => dispatchEvent(new Event('focus')));
	await write('After it');
	await thread.locator('li:not(.is-sending)', { hasText: 'After it' }).waitFor();
	assert.equal(sent(), before + 1);
	assert.deepEqual(page.problems, []);
	await page.context().close();
	portal.comments.length = 0;
});

test('cursors are drawn for others, and nothing is sent to an empty channel', async () => {
	const one = await portal.open('ada', 'board', { viewport: { width: 900, height: 760 } });
	const joined = (page, n) => page.waitForFunction((count) =>
		window.manager.pusher.channel('presence-document.7')?.members.count === count, n);
	await joined(one, 1);
	await one.mouse.move(200, 100);
	await one.mouse.move(300, 120, { steps: 5 });
	const two = await portal.open('grace', 'board', { viewport: { width: 900, height: 760 } });
	await joined(one, 2);
	assert.equal(await one.locator('scopewire-live-cursors').evaluate((e) => e.sent), 0);
	await one.mouse.move(250, 130, { steps: 5 });
	const cursor = two.locator('scopewire-live-cursors .cursor');
	await cursor.getByText('Ada Lovelace').waitFor();
	const sent = await one.locator('scopewire-live-cursors').evaluate((e) => e.sent);
	assert.ok(sent > 0 && sent <= 5, `${sent} messages`);
	await waitFor(async () => Math.abs((await cursor.boundingBox()).x - 250) < 3, 'at the place');
	await shot(two, 'cursor');
	await one.mouse.move(250, 700);
	await cursor.waitFor({ state: 'detached' });
	await one.context().close();
	await two.context().close();
});

test('a project page shows updates, files, time entries and comments as they come', async () => {
	const page = await portal.open('grace', 'board', { colorScheme: 'dark', viewport: { width: 900, height: 760 } });
	await page.waitForFunction(() => window.manager.pusher.channel('private-project.7')?.subscribed);
	await portal.trigger('private-project.7', 'ProjectUpdated', { update: { id: 1, title: 'Design approved', user: { name: 'Ada Lovelace' } } });
	await portal.trigger('private-project.7', 'FileUploaded', { file: { id: 4, name: 'logo.svg', size: '12 KB', user: { name: 'Ada Lovelace' } } });
	await portal.trigger('private-project.7', 'TimeEntryUpdated', { entry: { id: 5, task: 'Review', hours: 1.5, user: { name: 'Linus Torvalds' } } });
	await page.getByText('Design approved').waitFor();
	await page.getByRole('tab', { name: 'Updates' }).focus();
	await shot(page, 'project');
	await page.keyboard.press('ArrowRight');
	await page.getByText('logo.svg').waitFor();
	await portal.trigger('private-project.7', 'FileDeleted', { file: { id: 4 } });
	await page.getByText('No files yet').waitFor();
	await page.getByRole('tab', { name: /Time/ }).click();
	await page.getByText('1.5 h').waitFor();
	await page.getByRole('tab', { name: 'Comments' }).click();
	await page.getByLabel('Write a comment').fill('Well done');
	await page.getByRole('button', { name: 'Send' }).click();
	await page.locator('scopewire-comment-thread li:not(.is-sending)', { hasText: 'Well done' }).waitFor();
	assert.equal(await page.locator('scopewire-comment-thread li').count(), 1);
	const sent = portal.requests.findLast((r) => r.path === '/comments' && r.method === 'POST');
	assert.equal(sent.headers['x-socket-id'], await page.evaluate(() => window.manager.socketId));
	assert.deepEqual(await violations(page), []);
	assert.deepEqual(page.problems, []);
	await page.context().close();
});

test('the form has no violations of axe, and nothing was blocked', async () => {
	assert.deepEqual(await violations(grace), []);
	assert.deepEqual([...new Set([...ada.problems, ...grace.problems])], []);
});
