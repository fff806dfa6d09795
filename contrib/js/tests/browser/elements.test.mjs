// SPDX-License-Identifier: MIT
// Bell, toasts, feed, avatars, typing and comments: two users, each in a browser, with the real daemon.
import test, { after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { startPortal, subscribed, violations, waitFor } from '../portal.mjs';

const PAGE = `<main>
<scopewire-notification-toasts></scopewire-notification-toasts>
<p><scopewire-notification-bell></scopewire-notification-bell>
<scopewire-presence-avatars channel="presence-project.7" grace="1500"></scopewire-presence-avatars></p>
<div class="columns">
<scopewire-activity-feed feed="client" client-id="7" types="comment_added:Comments, invoice_paid"></scopewire-activity-feed>
<scopewire-comment-thread channel="presence-project.7" subject-type="project" subject-id="7" client-id="7"></scopewire-comment-thread>
</div></main>`;

const portal = await startPortal({ after });
portal.page('elements', PAGE);
const SHOTS = process.env.SCREENSHOTS;

async function shot(page, name) {
	if (!SHOTS) return;
	fs.mkdirSync(SHOTS, { recursive: true });
	await page.screenshot({ path: `${SHOTS}/${name}.png`, animations: 'disabled' });
}

const ada = await portal.open('ada', 'elements', { viewport: { width: 1180, height: 760 } });
const grace = await portal.open('grace', 'elements', { viewport: { width: 1180, height: 760 }, colorScheme: 'dark' });
await Promise.all([ada, grace].map((page) => subscribed(page, 4)));

const activity = (n, more = {}) => portal.sync.post('activities', { type: 'invoice_paid', user_id: 2,
	description: `paid invoice INV-${n}`, metadata: { client_id: 7, project_id: 7 }, ...more });

test('avatars show who is here; a user who left is grey, then removed', async () => {
	for (const page of [ada, grace])
		await waitFor(async () => await page.locator('scopewire-presence-avatars [part=stack] .face').count() === 2, 'two faces');
	// In the dark page it stays until it was looked at, however long that takes.
	for (const [page, ms] of [[ada, 8000], [grace, 600000]])
		await page.locator('scopewire-presence-avatars').evaluate((avatars, n) => { avatars.grace = n; }, ms);
	const linus = await portal.open('linus', 'elements');
	for (const page of [ada, grace]) await page.locator('.face[data-id="3"]').waitFor();
	const grey = Promise.all([ada, grace].map((page) => page.locator('.face.is-leaving[data-id="3"]').waitFor()));
	await linus.context().close();
	await grey;
	for (const page of [ada, grace]) assert.deepEqual(await violations(page), [], 'a grey face can be read');
	await ada.locator('.face[data-id="3"]').waitFor({ state: 'detached' });
	await ada.locator('scopewire-presence-avatars button').click();
	await ada.locator('scopewire-presence-avatars [role=dialog]', { hasText: 'Ada Lovelace (you)' }).waitFor();
	await shot(ada, 'avatars');
	await ada.keyboard.press('Escape');
	await ada.locator('scopewire-presence-avatars [role=dialog]').waitFor({ state: 'detached' });
	assert.equal(await ada.evaluate(() => document.activeElement.localName), 'scopewire-presence-avatars');
});

test('without a connection the dots show that it is not known who is here', async () => {
	const avatars = ada.locator('scopewire-presence-avatars');
	const dots = avatars.locator('[part=stack] [part=dot]');
	const isUnknown = (all) => all.every((e) => e.classList.contains('unknown'));
	assert.equal(await dots.evaluateAll((all) => all.some((e) => e.classList.contains('unknown'))), false);
	portal.wires.cut();
	await waitFor(() => dots.evaluateAll(isUnknown), 'not known');
	await avatars.locator('button').click();
	await avatars.locator('[role=dialog] li', { hasText: 'not known: no connection' }).first().waitFor();
	assert.equal(await avatars.locator('[role=dialog]').getByText(/^(online|last seen)/).count(), 0);
	assert.deepEqual(await violations(ada), []);
	await shot(ada, 'avatars-unknown');
	await ada.keyboard.press('Escape');
	portal.wires.mend();
	await waitFor(async () => await dots.count() === 2 && !(await dots.evaluateAll((all) => all.some((e) => e.classList.contains('unknown')))),
		'known again');
	for (const page of [ada, grace]) await page.waitForFunction(() => window.manager.status.state === 'connected');
});

test('a comment is shown at once, typing is shown to others, and the other user receives the comment', async () => {
	const composer = ada.locator('scopewire-comment-thread textarea');
	// It is shown for a few seconds: the wait for it begins before.
	await Promise.all([grace.getByText('Ada Lovelace is typing').waitFor(), composer.pressSequentially('Hel')]);
	await composer.fill('Hello <b>Grace</b>\nsecond line');
	await composer.press('Enter');
	assert.equal(await ada.locator('scopewire-comment-thread li').count(), 1);
	const body = grace.locator('scopewire-comment-thread [part=body]');
	await body.waitFor();
	assert.equal(await body.innerText(), 'Hello <b>Grace</b>\nsecond line');
	await grace.getByText('is typing').waitFor({ state: 'detached' });
	await ada.locator('scopewire-comment-thread li:not(.is-sending)').waitFor();
	assert.equal(await ada.locator('scopewire-comment-thread li').count(), 1);
});

test('a second window of a user does not show that this user types', async () => {
	const second = await portal.open('ada', 'elements', { tab: ada });
	// On a private channel the server does not say who sent a client event.
	for (const page of [ada, second, grace]) {
		await page.evaluate(() => {
			const typing = Object.assign(document.createElement('scopewire-typing-indicator'), { id: 'own', channel: 'private-project.7' });
			document.body.append(typing);
		});
		await page.waitForFunction(() => window.manager.pusher.channel('private-project.7')?.subscribed);
		await page.evaluate(() => {
			window.typed = [];
			window.manager.channel('private-project.7').onWhisper('typing', (data) => window.typed.push(data));
		});
	}
	await Promise.all([grace.locator('#own').getByText('Ada Lovelace is typing').waitFor(),
		ada.locator('#own').evaluate((e) => e.typed(true))]);
	await second.waitForFunction(() => window.typed.length > 0);
	await second.locator('#own').evaluate((e) => e.updateComplete);
	assert.equal(await second.locator('#own').getByText('is typing').count(), 0);
	await second.close();
	for (const page of [ada, grace]) await page.locator('#own').evaluate((e) => e.remove());
});

test('small faces overlap so little that each first letter can be read', async () => {
	const avatars = ada.locator('scopewire-presence-avatars');
	for (const size of [28, 48]) {
		await avatars.evaluate(async (e, n) => {
			e.size = n;
			await e.updateComplete;
		}, size);
		const [first, second] = await avatars.locator('[part=stack] .face').evaluateAll((all) => all.map((e) => e.getBoundingClientRect().toJSON()));
		assert.ok(Math.abs(first.right - second.left - 0.15 * size) < 1, `${first.right - second.left} of ${size}`);
	}
	await avatars.evaluate((e) => { e.size = 32; });
});

test('a comment that was not sent is marked, and is sent once by itself after the reconnect', async () => {
	portal.wires.cut();
	const composer = ada.locator('scopewire-comment-thread textarea');
	await composer.fill('While away');
	await composer.press('Enter');
	await ada.locator('scopewire-comment-thread li.is-failed', { hasText: 'cannot be reached' }).waitFor();
	portal.wires.mend();
	for (const page of [ada, grace]) await page.waitForFunction(() => window.manager.status.state === 'connected');
	await grace.locator('scopewire-comment-thread li', { hasText: 'While away' }).waitFor();
	await waitFor(async () => await ada.locator('scopewire-comment-thread li').count() === 2, 'two comments');
	assert.equal(await ada.locator('scopewire-comment-thread li.is-failed').count(), 0);
});

test('a feed shows new rows at the top, and behind a pill for a reader who scrolled', async () => {
	for (let n = 1; n <= 40; n++) await activity(n);
	const feed = ada.locator('scopewire-activity-feed');
	await feed.locator('li', { hasText: 'INV-40' }).waitFor();
	const scroll = feed.locator('[part=scroll]');
	await scroll.evaluate((e) => { e.scrollTop = 200; });
	const before = await scroll.evaluate((e) => e.scrollTop);
	await activity(41);
	await activity(42);
	const pill = feed.getByRole('button', { name: '2 new' });
	await pill.waitFor();
	assert.equal(await scroll.evaluate((e) => e.scrollTop), before);
	await shot(ada, 'feed-pill');
	await pill.click();
	await feed.locator('li', { hasText: 'INV-42' }).waitFor();
	assert.equal(await scroll.evaluate((e) => e.scrollTop), 0);
});

test('what a user did is not new to this user: no pill, and no line "New since your last visit"', async () => {
	const feed = ada.locator('scopewire-activity-feed');
	const pill = feed.locator('[part=new]');
	const scroll = feed.locator('[part=scroll]');
	await scroll.evaluate((e) => { e.scrollTop = 200; });
	await activity(50, { user_id: 1 });
	await feed.locator('li', { hasText: 'INV-50' }).waitFor();
	assert.equal(await pill.count(), 0);
	await activity(51);
	await feed.getByRole('button', { name: '1 new' }).waitFor();
	await activity(52, { user_id: 1 });                  // waits for the row before it, and is not counted
	await waitFor(() => feed.evaluate((e) => e.waiting.length === 2), 'both wait');
	assert.equal(await pill.innerText(), '1 new');
	await pill.click();
	const texts = await feed.locator('li[data-id]').allInnerTexts();
	assert.deepEqual(texts.slice(0, 3).map((text) => /INV-\d+/.exec(text)[0]), ['INV-52', 'INV-51', 'INV-50']);
	// The newest row is read; what the same user does meanwhile is not new at the next visit.
	await waitFor(async () => (await portal.sync.get('activities', { feed: 'client', client_id: 7, reader_id: 1 })).json.unread === 0, 'read');
	await activity(53, { user_id: 1 });
	const again = await portal.open('ada', 'elements');
	const other = again.locator('scopewire-activity-feed');
	await other.locator('li', { hasText: 'INV-53' }).waitFor();
	assert.equal(await other.locator('[part=divider]').count(), 0);
	await again.close();
});

test('older rows come with scrolling, each once', async () => {
	const page = await portal.open('grace', 'elements');
	const feed = page.locator('scopewire-activity-feed');
	await feed.locator('li').first().waitFor();
	const scroll = feed.locator('[part=scroll]');
	await waitFor(async () => {
		await scroll.evaluate((e) => { e.scrollTop = e.scrollHeight; });
		return await feed.getByText('That is everything').count() === 1;
	}, 'the end');
	const ids = await feed.locator('li[data-id]').evaluateAll((all) => all.map((e) => e.dataset.id));
	assert.equal(new Set(ids).size, ids.length);
	assert.ok(ids.length >= 42);
	await feed.locator('select').selectOption('comment_added');
	await waitFor(async () => !(await feed.innerText()).includes('INV-'), 'filtered');
	await page.context().close();
});

test('a notification is a toast and a badge; reading it in one tab is seen in the other', async () => {
	const second = await portal.open('ada', 'elements', { tab: ada });
	await subscribed(second, 4);
	await portal.sync.post('notifications', { to: 1, title: 'Invoice INV-7 was paid', message: 'Grace paid 1,200.00 EUR' });
	await ada.locator('scopewire-notification-toasts li', { hasText: 'INV-7' }).waitFor();
	for (const page of [ada, second])
		await page.getByRole('button', { name: 'Notifications, 1 unread notification' }).waitFor();
	await ada.getByRole('button', { name: /^Notifications/ }).click();
	await ada.locator('scopewire-notification-bell li.is-unread', { hasText: 'INV-7' }).waitFor();
	await shot(ada, 'bell');
	await ada.keyboard.press('Tab');
	await ada.getByRole('button', { name: 'Mark all as read' }).click();
	for (const page of [ada, second])
		await page.getByRole('button', { name: 'Notifications, No unread notifications' }).waitFor();
	await ada.keyboard.press('Escape');
	await ada.locator('scopewire-notification-bell [role=dialog]').waitFor({ state: 'detached' });
	assert.equal(await grace.locator('scopewire-notification-toasts li').count(), 0);
	await second.close();
});

test('what arrives while a list is loaded again stays in it', async () => {
	const lists = [
		['activity-feed', () => activity(900), 'INV-900'],
		['comment-thread', () => portal.sync.post('activities', { type: 'comment_added', user_id: 2, subject_type: 'project',
			subject_id: '7', description: 'Written meanwhile', metadata: { client_id: 7 } }), 'Written meanwhile'],
		['notification-bell', () => portal.sync.post('notifications', { to: 1, title: 'Sent meanwhile' }), 'Sent meanwhile'],
	];
	await ada.locator('scopewire-activity-feed [part=scroll]').evaluate((scroll) => { scroll.scrollTop = 0; });
	await ada.getByRole('button', { name: /^Notifications/ }).click();
	for (const [name, send, text] of lists) {
		const element = ada.locator(`scopewire-${name}`);
		// Another element may load meanwhile: all are released together.
		let release;
		const isReleased = new Promise((resolve) => { release = resolve; });
		const held = new Promise((isHeld) => ada.route(/\/api\/sync\/(activities|notifications)\?/, async (route) => {
			const response = await route.fetch();
			isHeld();
			await isReleased;
			await route.fulfill({ response });
		}));
		const loaded = element.evaluate(async (e) => {
			await e.reload();
			await e.updateComplete;
		});
		await held;
		await send();
		await element.locator('li', { hasText: text }).waitFor();
		release();
		await loaded;
		assert.equal(await element.locator('li', { hasText: text }).count(), 1, name);
		await ada.unrouteAll({ behavior: 'wait' });
	}
	await ada.getByRole('button', { name: 'Mark all as read' }).click();
	await ada.getByRole('button', { name: 'Notifications, No unread notifications' }).waitFor();
	await ada.keyboard.press('Escape');
});

test('the elements have no violations of axe, in light and dark, and right to left', async () => {
	await grace.getByRole('button', { name: /^Notifications/ }).click();
	await grace.locator('scopewire-notification-bell .empty').waitFor();
	await shot(grace, 'dark');
	assert.deepEqual(await violations(grace), []);
	await ada.evaluate(() => { document.documentElement.dir = 'rtl'; });
	await shot(ada, 'rtl');
	assert.deepEqual(await violations(ada), []);
	await ada.evaluate(() => { document.documentElement.dir = 'ltr'; });
});

test('texts and times follow the page', async () => {
	await ada.evaluate(() => {
		document.documentElement.lang = 'de';
		window.kit.setTexts({ comments: 'Kommentare', send: 'Senden', justNow: 'gerade eben' });
	});
	await ada.getByRole('heading', { name: 'Kommentare' }).waitFor();
	await ada.getByRole('button', { name: 'Senden' }).waitFor();
});

test('nothing was blocked by the Content-Security-Policy, and no error occurred', () => {
	assert.deepEqual([...new Set([...ada.problems, ...grace.problems])], []);
});
