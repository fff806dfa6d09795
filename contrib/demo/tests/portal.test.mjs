// SPDX-License-Identifier: MIT
// The demo portal: users in browsers of their own, PHP, the daemon, and one database for both.
import test, { after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { violations } from '../../js/tests/axe.mjs';
import { record, startPortal, waitFor } from './portal.mjs';

const portal = await startPortal({ after });
const SHOTS = process.env.SCREENSHOTS;

/** middle: what is to be in the middle of the picture, without messages over it. */
async function shot(page, name, middle) {
	if (!SHOTS) return;
	fs.mkdirSync(SHOTS, { recursive: true });
	if (middle) {
		await middle.evaluate((e) => e.scrollIntoView({ block: 'center' }));
		await waitFor(async () => await page.locator('scopewire-notification-toasts li').count() === 0, 'no messages');
	}
	await page.screenshot({ path: `${SHOTS}/${name}.png`, animations: 'disabled' });
}

const PROJECT = '/projects/1';
const [ada, grace, margaret] = [
	await portal.enter('Ada Lovelace', PROJECT),
	await portal.enter('Grace Hopper', PROJECT, { colorScheme: 'dark' }),
	await portal.enter('Margaret Hamilton', '/'),
];
const thread = (page) => page.locator('scopewire-comment-thread');
const composer = (page) => thread(page).getByLabel('Write a comment');
const comments = (page, text) => thread(page).locator('li', { hasText: text });
const invoice = (page, number) => page.locator('.invoices li', { hasText: number });
const field = (page, name) => page.locator(`scopewire-shared-form [name=${name}]`);
const lockOf = (page, name) => page.locator('scopewire-field-lock', { has: page.locator(`[name=${name}]`) });
const unread = (page) => page.evaluate(() => window.manager.badges.notifications ?? 0);

async function comment(page, text) {
	await composer(page).fill(text);
	await composer(page).press('Enter');
	await thread(page).locator('li:not(.is-sending)', { hasText: text }).waitFor();
}

const remarks = ['Thanks, I have seen it.', 'Fine with me.', 'Then we go on like this.', 'Good.'];

/** Everything that was published before has arrived at these pages: a later event has. */
async function flush(from, ...pages) {
	const text = remarks.shift();      // one of its own each time
	await comment(from, text);
	for (const page of pages) {
		await waitFor(() => page.evaluate((t) => window.seen.some(({ data }) => data.comment?.body === t), text),
			'the last event');
	}
}

test('two users see each other on the page of a project', async () => {
	for (const page of [ada, grace]) {
		const here = page.locator('scopewire-project-updates scopewire-presence-avatars [part~=face]');
		await waitFor(async () => await here.count() === 2, 'two here');
	}
});

test('a user of another client sees nothing of it', async () => {
	const linus = await portal.enter('Linus Torvalds', '/');
	assert.equal(await linus.getByText('Website relaunch').count(), 0);
	assert.equal((await linus.goto(portal.url + PROJECT)).status(), 403);
	await linus.getByRole('heading', { name: 'This page is not yours to see' }).waitFor();
	assert.deepEqual(await violations(linus), []);
	assert.equal((await linus.goto(`${portal.url}/projects/999`)).status(), 404);
	await linus.getByRole('heading', { name: 'This page does not exist' }).waitFor();
	assert.equal(await linus.locator('.brand .icon').evaluate((e) => e.getBoundingClientRect().width), 24, 'the style of the portal');
	assert.deepEqual(linus.problems, []);
	await linus.goto(portal.url);
	const status = await linus.evaluate(() => new Promise((resolve) => {
		window.manager.channel('private-project.1').onError(({ status }) => resolve(status)).onReady(() => resolve('joined'));
	}));
	assert.equal(status, 403);
	await linus.context().close();
});

test('pointers of the others move over the page', async () => {
	await ada.mouse.move(400, 300);
	await ada.mouse.move(620, 420, { steps: 8 });
	await grace.locator('scopewire-live-cursors .cursor').getByText('Ada Lovelace').waitFor();
});

test('typing shows for the other; a comment shows at once, once, for both', async () => {
	await composer(ada).pressSequentially('Shall we ship');
	await thread(grace).getByText('Ada Lovelace is typing').waitFor();
	assert.equal(await thread(ada).getByText('is typing').count(), 0);
	await composer(ada).fill('');
	await composer(grace).pressSequentially('Monday is');
	await thread(ada).getByText('Grace Hopper is typing').waitFor();
	await grace.mouse.move(500, 330);
	await grace.mouse.move(700, 560, { steps: 8 });
	await shot(ada, 'portal');
	await composer(grace).fill('');
	await comment(ada, 'Shall we ship on Monday?');
	await comments(grace, 'Shall we ship on Monday?').waitFor();
	for (const page of [ada, grace]) assert.equal(await comments(page, 'Shall we ship on Monday?').count(), 1);
});

test('files and recorded time appear for the other', async () => {
	await ada.locator('.adding input[type=file]').setInputFiles({ name: 'sketch.svg', mimeType: 'image/svg+xml',
		buffer: Buffer.from('<svg/>') });
	await grace.locator('scopewire-project-updates').getByRole('tab', { name: 'Files' }).click();
	await grace.locator('scopewire-project-updates').getByText('sketch.svg').waitFor();
	await ada.getByLabel('Task').fill('Icons');
	await ada.getByLabel('Hours').fill('1.5');
	await ada.getByRole('button', { name: 'Record time' }).click();
	await grace.locator('scopewire-project-updates').getByRole('tab', { name: 'Time' }).click();
	await grace.locator('scopewire-project-updates').getByText('1.5 h').waitFor();
	for (const page of [ada, grace]) await page.locator('scopewire-project-updates').getByRole('tab', { name: 'Comments' }).click();
});

test('a file that is too large is refused with the limit, before it is sent and by the server', async () => {
	const add = (bytes) => ada.locator('.adding input[type=file]').setInputFiles({ name: 'film.mp4', mimeType: 'video/mp4', buffer: Buffer.alloc(bytes) });
	await ada.getByText('up to 2 MB').waitFor();
	await add(2 * 1048576 + 1);
	await ada.locator('.adding .problem').getByText('film.mp4 is larger than 2 MB.').waitFor();
	await ada.locator('.adding input[type=file]').evaluate((input) => { input.dataset.most = '1e9'; });
	await add(2 * 1048576 + 1);
	await ada.locator('.adding .problem').getByText('Choose a file of at most 2 MB.').waitFor();
	assert.equal((await portal.query("SELECT FROM public.files WHERE name = 'film.mp4'")).length, 0);
	await ada.locator('.adding input[type=file]').setInputFiles({ name: 'icons.svg', mimeType: 'image/svg+xml', buffer: Buffer.from('<svg/>') });
	await waitFor(async () => (await portal.query("SELECT FROM public.files WHERE name = 'icons.svg'")).length === 1, 'a small one');
	await waitFor(async () => !(await ada.locator('.adding .problem').innerText()), 'no message any more');
});

test('of a transaction that is rolled back no browser shows anything', async () => {
	for (const page of [ada, grace, margaret]) await record(page);
	const before = await Promise.all([ada, margaret].map(unread));
	await invoice(grace, 'AF-1042').getByText('Record payment').click();
	await invoice(grace, 'AF-1042').getByLabel('Amount').fill('12');
	await invoice(grace, 'AF-1042').getByRole('button', { name: 'Record', exact: true }).click();
	await grace.getByText('The open amount is €9,600.00. Nothing was recorded.').waitFor();
	await flush(ada, grace);
	const of = (page) => page.evaluate(() => window.seen.filter(({ event, data }) => /Invoice/.test(event)
		|| /invoice/.test(data.activity?.type ?? data.type ?? '')));
	for (const page of [ada, grace, margaret]) {
		assert.deepEqual(await of(page), []);
		assert.equal(await invoice(page, 'AF-1042').getAttribute('data-status'), 'sent');
	}
	assert.equal(await unread(ada), before[0]);
	assert.equal((await portal.query("SELECT FROM scopewire.realtime_events WHERE event_type LIKE '%Invoice%'")).length, 0);
	assert.equal((await portal.query('SELECT FROM public.payments')).length, 0);
});

test('what is committed shows to all but the tab of the sender, in the status, the bell and the feed', async () => {
	const second = await grace.context().newPage();
	await second.goto(portal.url + PROJECT);
	await portal.visit(second, PROJECT);
	for (const page of [ada, grace, margaret, second]) await record(page);
	const before = await Promise.all([ada, margaret].map(unread));
	await invoice(grace, 'AF-1042').getByLabel('Amount').fill('9600');
	await invoice(grace, 'AF-1042').getByRole('button', { name: 'Record', exact: true }).click();
	for (const page of [ada, grace, margaret, second])
		await waitFor(async () => await invoice(page, 'AF-1042').getAttribute('data-status') === 'paid', 'paid');
	for (const page of [ada, second]) await page.locator('scopewire-activity-feed').getByText('paid invoice AF-1042').waitFor();
	for (const [i, page] of [ada, margaret].entries()) {
		await waitFor(async () => await unread(page) === before[i] + 1, 'the badge');
		const name = before[i] ? `${before[i] + 1} unread notifications` : '1 unread notification';
		await page.getByRole('button', { name: `Notifications, ${name}` }).waitFor();
		assert.match(await page.title(), new RegExp(`^\\(${before[i] + 1}\\) `));
	}
	await flush(ada, grace, second);
	const changes = (page) => page.evaluate(() => window.seen.filter(({ event }) => /InvoiceStatusChanged/.test(event)).length);
	assert.deepEqual(await Promise.all([ada, second, margaret, grace].map(changes)), [1, 1, 1, 0]);
	await margaret.getByRole('button', { name: /^Notifications/ }).click();
	await margaret.locator('scopewire-notification-bell').getByText('Grace Hopper paid invoice AF-1042').waitFor();
	await shot(margaret, 'portal-overview');
	await second.close();
});

test('of three people on one form the second sees the ring before typing, requests the lock, and gets it', async () => {
	await portal.visit(margaret, PROJECT);
	await field(ada, 'goal').focus();
	for (const page of [grace, margaret]) {
		await lockOf(page, 'goal').getByText('Ada Lovelace is editing').waitFor();
		assert.equal(await field(page, 'goal').evaluate((e) => e.readOnly), true);
	}
	await shot(grace, 'portal-lock', lockOf(grace, 'goal'));
	await lockOf(grace, 'goal').getByRole('button', { name: 'Ask to edit' }).click();
	await ada.getByText(/Grace Hopper would like to edit/).waitFor();
	await ada.getByRole('button', { name: 'Pass it on now' }).click();
	for (const page of [ada, margaret]) await lockOf(page, 'goal').getByText('Grace Hopper is editing').waitFor();
	assert.equal(await grace.evaluate(() => document.activeElement.name), 'goal');
});

test('the third comes back with an edit that was made offline, and decides in a dialog; nothing is overwritten', async () => {
	const save = (page) => page.getByRole('button', { name: 'Save', exact: true }).click();
	const row = async () => (await portal.query('SELECT goal, scope, due FROM public.projects WHERE id = 1'))[0];
	const goal = await field(margaret, 'goal').inputValue();
	const scope = await field(margaret, 'scope').inputValue();
	margaret.network.cut();
	await field(margaret, 'due').fill('15 October');
	await field(margaret, 'scope').fill(`${scope}\nIn English and German.`);
	await save(margaret);
	await margaret.getByText('Saved on this device').waitFor();
	await field(grace, 'goal').fill('Launch the shop before winter');
	await field(grace, 'due').fill('1 November');
	const hers = `${scope.replace('checkout', 'checkout, and a search')}\nTexts are by the client.`;
	await field(grace, 'scope').fill(hers);
	await save(grace);
	await waitFor(async () => (await row()).due === '1 November', 'the first');
	assert.equal(await field(margaret, 'goal').inputValue(), goal);
	margaret.network.mend();
	const dialog = margaret.getByRole('dialog', { name: 'This was changed by someone else' });
	await dialog.waitFor();
	await shot(margaret, 'portal-conflict');
	assert.deepEqual(await row(), { goal: 'Launch the shop before winter', scope: hers, due: '1 November' });
	// Both texts of several lines can be kept, and of a date only one.
	assert.deepEqual(await dialog.locator('fieldset').evaluateAll((all) => all.map((e) => [e.dataset.field,
		[...e.querySelectorAll('input')].map((input) => input.value)])), [['scope', ['mine', 'theirs', 'merged']], ['due', ['mine', 'theirs']]]);
	await dialog.locator('[data-field=due]').getByLabel('Mine').check();
	await dialog.getByRole('button', { name: 'Save these' }).click();
	await waitFor(async () => (await row()).due === '15 October', 'decided, and in the table of the portal');
	assert.equal((await row()).goal, 'Launch the shop before winter');
	assert.equal((await row()).scope, hers.replace(/(?=\n[^\n]*$)/, '\nIn English and German.'));
	for (const page of [ada, grace, margaret]) {
		await waitFor(async () => await field(page, 'due').inputValue() === '15 October'
			&& await field(page, 'goal').inputValue() === 'Launch the shop before winter', 'for all three');
	}
	await field(grace, 'goal').blur();
	await waitFor(() => field(ada, 'goal').evaluate((e) => !e.readOnly), 'free again');
});

test('a laptop that was asleep while 100 events were published gets all, in order, once', async () => {
	const newest = async () => (await portal.query('SELECT max(serial) AS serial FROM scopewire.realtime_events'))[0].serial;
	await record(grace);
	const before = await unread(grace);
	const awake = await newest();
	await grace.sleep();
	await waitFor(async () => !(await margaret.evaluate(() => window.manager.channel('presence-project.1').members
		.some((m) => m.info.name === 'Grace Hopper'))), 'Grace has left');
	const serial = await newest();
	await portal.command('traffic 100', /published/);
	const titles = () => portal.query(`SELECT payload->'update'->>'title' AS title FROM scopewire.realtime_events
		WHERE serial > $1 AND event_type LIKE '%ProjectUpdated' ORDER BY serial`, [serial]);
	await waitFor(async () => (await titles()).length === 100, '100 events, the last ones of jobs');
	const published = (await titles()).map((r) => r.title);
	for (const way of ['over HTTP', 'in SQL', 'from a job'])
		assert.ok(published.filter((title) => title.endsWith(way)).length >= 33, way);
	const channels = await grace.evaluate(() => window.manager.pusher.allChannels().map((c) => c.name));
	const missed = async (since) => (await portal.query(`SELECT count(*)::int AS n FROM scopewire.realtime_events
		WHERE serial > $1 AND channel = ANY ($2)`, [since, channels]))[0].n;
	const asleep = await missed(serial);
	await grace.wake();
	await waitFor(() => grace.evaluate(() => window.recoveries.length), 'recovered');
	const arrived = await grace.evaluate(() => window.seen.filter(({ event }) => /ProjectUpdated/.test(event))
		.map(({ data }) => data.update.title));
	assert.deepEqual(arrived, published);
	const recovered = await grace.evaluate(() => window.recoveries);
	assert.equal(recovered.length, 1);
	// Something may have happened before and after the count, such as another user's presence.
	const most = await missed(awake);
	assert.ok(recovered[0] >= asleep && recovered[0] <= most, `${recovered[0]}, from ${asleep} to ${most}`);
	await waitFor(() => grace.evaluate((n) => window.shown.includes(`Back online. ${n} events recovered`), recovered[0]), 'shown');
	await waitFor(async () => await unread(grace) === before + 10, 'the badge');
	await grace.locator('scopewire-project-updates').getByRole('tab', { name: 'Updates' }).click();
	await waitFor(async () => {
		const rows = await grace.locator('scopewire-project-updates [part=row] b').allInnerTexts();
		return rows.filter((title) => /^Update \d/.test(title)).length === 100 && new Set(rows).size === rows.length;
	}, 'each in the list once');
});

test('the daemon and its database are stopped and come back: the window catches up, and nothing is missing', async () => {
	await grace.locator('scopewire-project-updates').getByRole('tab', { name: 'Comments' }).click();
	for (const page of [ada, grace]) await record(page);
	await portal.command('stop', /are stopped/);
	for (const page of [ada, grace]) await page.getByText('Reconnecting…').waitFor();
	await composer(ada).fill('Written while the daemon was away');
	await composer(ada).press('Enter');
	await thread(ada).getByRole('button', { name: 'Send again' }).waitFor();
	grace.network.cut();
	await portal.command('start', /the daemon runs/);
	await ada.waitForFunction(() => window.manager.status.state === 'connected');
	await comments(ada, 'Written while the daemon was away').and(ada.locator('li:not(.is-failed):not(.is-sending)')).waitFor();
	await portal.command('traffic 3', /published/);
	await waitFor(async () => (await portal.query('SELECT FROM public.jobs')).length === 0, 'the job ran');
	grace.network.mend();
	await comments(grace, 'Written while the daemon was away').waitFor();
	assert.equal(await comments(grace, 'Written while the daemon was away').count(), 1);
	await waitFor(() => grace.evaluate(() => window.shown.some((text) => /^Back online\. \d+ events recovered$/.test(text))), 'shown');
	await shot(grace, 'portal-recovered');
	const arrived = await grace.evaluate(() => window.seen.filter(({ event }) => /ProjectUpdated/.test(event)).length);
	assert.equal(arrived, 3);
});

test('a user whose session has ended sees it, and what was written is sent after the user has signed in', async () => {
	const page = await portal.enter('Grace Hopper', PROJECT);
	await page.waitForLoadState('networkidle');      // a response that comes later would set the cookie again
	await page.context().clearCookies();
	await composer(page).fill('Written without a session');
	await composer(page).press('Enter');
	await comments(page, 'You are signed out. Sign in to send.').waitFor();
	await field(page, 'due').fill('2 December');
	await page.getByRole('button', { name: 'Save', exact: true }).click();
	await page.locator('scopewire-shared-form').getByText('You are signed out. Sign in to send.').waitFor();
	assert.equal(await page.getByText('It is sent when you are online').count(), 0);
	const [opened] = await Promise.all([page.context().waitForEvent('page'),
		page.locator('scopewire-shared-form').getByRole('link', { name: 'Sign in' }).click()]);
	await opened.getByRole('button', { name: 'Grace Hopper' }).click();
	await opened.getByRole('heading', { name: 'Good to see you' }).waitFor();
	await page.evaluate(() => dispatchEvent(new Event('focus')));      // every page of this browser has it
	await thread(page).locator('li:not(.is-failed):not(.is-sending)', { hasText: 'Written without a session' }).waitFor();
	await waitFor(async () => (await portal.query('SELECT due FROM public.projects WHERE id = 1'))[0].due === '2 December', 'saved');
	assert.deepEqual(page.problems, []);
	await page.context().close();
});

const box = (page, selector) => page.locator(selector).first().evaluate((e) => e.getBoundingClientRect().toJSON());

test('in a wide window the content is in the middle, and a narrow one shows the current project and no scrollbar', async () => {
	const page = await portal.enter('Margaret Hamilton', '/projects/3', { viewport: { width: 1920, height: 1080 } });
	const [body, columns, heading] = [await box(page, '.body'), await box(page, '.columns'), await box(page, '.top h1')];
	assert.ok(Math.abs((columns.left - body.left) - (body.right - columns.right)) < 2, JSON.stringify({ body, columns }));
	assert.ok(columns.width > 1400 && Math.abs(heading.left - columns.left) < 2, JSON.stringify({ columns, heading }));
	await page.setViewportSize({ width: 390, height: 844 });
	await page.reload();
	const current = await box(page, '.side [aria-current]');
	assert.ok(current.left >= 0 && current.right <= 390, JSON.stringify(current));
	assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
	assert.deepEqual(await violations(page), []);
	await page.context().close();
});

test('a lost connection is shown in the header, and in a narrow window at the bottom, where the page leaves room', async () => {
	for (const [width, height] of [[1280, 860], [390, 844]]) {
		const page = await portal.enter('Ada Lovelace', PROJECT, { viewport: { width, height } });
		page.network.cut();
		const pill = page.locator('scopewire-connection-status [part=pill]');
		await pill.waitFor();
		await page.locator('scopewire-project-updates [part=dot].unknown').first().waitFor();
		await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
		const [line, top] = [await pill.evaluate((e) => e.getBoundingClientRect().toJSON()), await box(page, '.top')];
		if (width > 760) assert.ok(line.top >= top.top && line.bottom <= top.bottom, JSON.stringify({ line, top }));
		else assert.ok(line.bottom > height - 40 && line.top > (await box(page, '.columns')).bottom, JSON.stringify(line));
		await page.context().close();
	}
});

test('pages have no violations of axe, and broke none of their policies', async () => {
	await margaret.keyboard.press('Escape');
	for (const page of [ada, grace, margaret]) assert.deepEqual(await violations(page), []);
	assert.deepEqual([ada, grace, margaret].flatMap((page) => page.problems), []);
	await margaret.getByRole('button', { name: 'Sign out' }).click();
	await margaret.getByRole('heading', { name: 'Who are you today?' }).waitFor();
	await shot(margaret, 'portal-login');
	assert.deepEqual(await violations(margaret), []);
});
