// SPDX-License-Identifier: MIT
// What README.md states of each element and of the OfflineStore, beside the stories of the other files.
import test, { after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { startPortal, subscribed, violations, waitFor } from '../portal.mjs';

const portal = await startPortal({ after });
portal.page('status', '<main><scopewire-connection-status></scopewire-connection-status></main>');
portal.page('people', `<main><scopewire-presence-avatars channel="presence-project.7" max="2"></scopewire-presence-avatars>
<textarea id="note" aria-label="Note"></textarea>
<scopewire-typing-indicator channel="presence-project.7" for="note"></scopewire-typing-indicator></main>`);
portal.page('page', `<main><p><scopewire-notification-bell></scopewire-notification-bell></p>
<scopewire-connection-status inline></scopewire-connection-status>
<textarea id="note" aria-label="Note"></textarea>
<scopewire-typing-indicator channel="presence-project.7" for="note"></scopewire-typing-indicator>
<scopewire-field-lock resource-type="note" resource-id="9" wait="4"><label>Title <input name="title"></label></scopewire-field-lock>
<scopewire-activity-feed feed="client" client-id="7"></scopewire-activity-feed>
<scopewire-presence-avatars channel="presence-project.7"></scopewire-presence-avatars>
<scopewire-notification-toasts duration="4000"></scopewire-notification-toasts></main>`);
portal.page('cursors', `<main><scopewire-live-cursors channel="presence-document.7"><div class="board"></div>
</scopewire-live-cursors></main>`);
portal.page('thread', '<main><scopewire-comment-thread rich></scopewire-comment-thread></main>');
portal.page('empty', '<main></main>');
portal.page('badge', '<main></main>', 'await boot({ showBadge: true });');

const status = (page) => page.locator('scopewire-connection-status');
const members = (page, channel, count) => page.waitForFunction(([name, n]) =>
	window.manager.pusher.channel(name)?.members?.count === n, [channel, count]);

/** Each text of the pill from now on, with its time, in window.texts. */
const recordTexts = (page) => page.evaluate(() => {
	const { shadowRoot } = document.querySelector('scopewire-connection-status');
	window.texts = [];
	const look = () => {
		const text = shadowRoot.querySelector('[part=text]')?.innerText;
		if (text && window.texts.at(-1)?.text !== text) window.texts.push({ text, at: performance.now() });
	};
	new MutationObserver(look).observe(shadowRoot, { subtree: true, childList: true, characterData: true });
	window.manager.on('status', ({ state }) => {
		if (state !== 'connected') window.lostAt ??= performance.now();
	});
});

test('a lost connection is shown after five seconds, with what waits, and then what is caught up', async () => {
	const page = await portal.open('ada', 'status', { query: '&leader' });
	await page.evaluate(async () => {
		window.store = window.kit.storeOf(window.manager);
		await window.store.open('note', 30);
		window.seen = 0;
		window.manager.channel('private-project.7').on('ProjectUpdated', () => { window.seen++; });
	});
	await subscribed(page, 3);
	await recordTexts(page);
	portal.wires.cut();
	await page.waitForFunction(() => window.lostAt);
	await page.evaluate(() => window.store.put('note', 30, { title: 'one' }));
	await status(page).getByText('Reconnecting…').waitFor();
	const [shown, lost] = await page.evaluate(() => [window.texts[0], window.lostAt]);
	assert.equal(shown.text, 'Reconnecting…');
	assert.ok(shown.at - lost > 4900, `${shown.at - lost} ms`);
	assert.equal(await status(page).locator('[part=queue]').innerText(), '1 change waiting to be sent');
	await page.context().setOffline(true);
	await status(page).getByText('You are offline').waitFor();
	assert.deepEqual(await violations(page), []);
	for (const n of [1, 2, 3]) await portal.trigger('private-project.7', 'ProjectUpdated', { n });
	await page.context().setOffline(false);
	portal.wires.mend();
	await page.waitForFunction(() => window.seen === 3);
	await waitFor(() => page.evaluate(() => window.texts.some(({ text }) => /^Back online/.test(text))), 'back');
	const texts = await page.evaluate(() => window.texts.map(({ text }) => text));
	assert.ok(texts.findIndex((t) => /^Catching up/.test(t)) > 0, JSON.stringify(texts));
	// The change that waited may be sent, and broadcast, before its channel has caught up.
	assert.ok(texts.some((t) => /^Back online\. [34] events recovered$/.test(t)), JSON.stringify(texts));
	await page.context().close();
});

test('a connection that was ended is shown with "Try again"; with "always" also one that works', async () => {
	const page = await portal.open('ada', 'status');
	await status(page).evaluate((e) => Object.assign(e, { delay: 0, always: true }));
	await status(page).getByText('Connected').waitFor();
	await page.evaluate(() => window.manager.disconnect());
	await status(page).getByText('Disconnected').waitFor();
	assert.deepEqual(await violations(page), []);
	await status(page).getByRole('button', { name: 'Try again' }).click();
	await page.waitForFunction(() => window.manager.status.state === 'connected');
	await page.context().close();
});

test('more people than "max" are a number; states and "last seen" are in the list; three who type are one line, which ends by itself', async () => {
	const pages = [];
	for (const name of ['grace', 'ada', 'linus', 'margaret']) pages.push(await portal.open(name, 'people'));
	const [grace, ada, linus, margaret] = pages;
	for (const page of pages) await members(page, 'presence-project.7', 4);
	const avatars = grace.locator('scopewire-presence-avatars');
	await avatars.locator('[part=more]', { hasText: '+2' }).waitFor();
	assert.equal(await avatars.locator('[part=stack] [part=face]').count(), 2);
	await linus.evaluate(() => window.manager.setPresence({ status: 'away', location: '/projects/7' }));
	await margaret.evaluate(() => window.manager.setPresence({ status: 'busy' }));
	await avatars.locator('button').click();
	const row = (name) => avatars.locator('[role=dialog] li', { hasText: name });
	await row('Linus Torvalds').getByText(/^away, last seen just now$/).waitFor();
	await row('Linus Torvalds').locator('[part=dot].away').waitFor();
	await row('Margaret Hamilton').getByText('busy').waitFor();
	assert.equal((await portal.sync.get('online-users', { user_ids: '3' })).json.users[0].location, '/projects/7');
	assert.deepEqual(await violations(grace), []);
	await grace.keyboard.press('Escape');
	const line = grace.locator('scopewire-typing-indicator [part=line]');
	const height = () => grace.locator('scopewire-typing-indicator').evaluate((e) => e.offsetHeight);
	const before = await height();
	await ada.locator('#note').pressSequentially('a');
	await line.getByText('Ada Lovelace is typing').waitFor();
	await linus.locator('#note').pressSequentially('b');
	await line.getByText('Ada Lovelace and Linus Torvalds are typing').waitFor();
	await waitFor(async () => {
		await Promise.all([ada, linus, margaret].map((page) => page.locator('#note').pressSequentially('c')));
		return /^\w+ \w+ and 2 others are typing$/.test((await line.innerText()).trim());
	}, 'all three');
	assert.equal(await height(), before);
	for (const page of [ada, linus, margaret]) await page.context().close();      // none sends that it has stopped
	await line.waitFor({ state: 'detached' });
	await grace.context().close();
});

test('pointers: more members send less often, names can be read in each colour, and one that rests is removed', async () => {
	const [ada, grace] = [await portal.open('ada', 'cursors'), await portal.open('grace', 'cursors')];
	for (const page of [ada, grace]) await members(page, 'presence-document.7', 2);
	assert.deepEqual(await ada.evaluate(() => [1, 2, 5, 12, 500].map(window.kit.intervalFor)), [60, 60, 120, 260, 600]);
	await ada.mouse.move(200, 100);
	await ada.mouse.move(240, 120, { steps: 4 });
	const cursor = grace.locator('scopewire-live-cursors [part=cursor]');
	await cursor.getByText('Ada Lovelace').waitFor();
	const least = await cursor.evaluate((element) => {
		const context = Object.assign(document.createElement('canvas'), { width: 1, height: 1 })
			.getContext('2d', { willReadFrequently: true });
		const luminance = (color) => {
			context.fillStyle = color;
			context.fillRect(0, 0, 1, 1);
			const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((n) => n / 255)
				.map((n) => (n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4));
			return 0.2126 * r + 0.7152 * g + 0.0722 * b;
		};
		const name = element.querySelector('[part=name]');
		return Math.min(...Array.from({ length: 360 }, (_, hue) => {
			element.style.setProperty('--_hue', hue);
			const { color, backgroundColor } = getComputedStyle(name);
			const [one, two] = [luminance(color), luminance(backgroundColor)].sort((a, b) => b - a);
			return (one + 0.05) / (two + 0.05);
		}));
	});
	assert.ok(least >= 4.5, `a contrast of ${least}`);      // WCAG 2.1, 1.4.3
	await cursor.waitFor({ state: 'detached' });
	for (const page of [ada, grace]) await page.context().close();
});

/** What the other users do to the page "page": everything in it changes. */
async function happen(page, other, name) {
	const toast = page.locator('scopewire-notification-toasts').getByText(`${name} 1`).waitFor();
	await portal.sync.post('notifications', { to: 2, title: `${name} 1`, data: { url: '/empty.html?user=grace' } });
	await toast;
	await portal.sync.post('activities', { type: 'invoice_paid', user_id: 1, description: name, metadata: { client_id: 7 } });
	await other.locator('input[name=title]').focus();
	await page.locator('scopewire-field-lock').getByText('Ada Lovelace is editing').waitFor();
	await Promise.all([page.locator('scopewire-typing-indicator').getByText('Ada Lovelace is typing').waitFor(),
		other.locator('#note').pressSequentially('x')]);
	await page.locator('scopewire-notification-bell [part=badge]').waitFor();
	await page.locator('scopewire-activity-feed li', { hasText: name }).waitFor();
}

test('nothing moves when something comes or goes', async () => {
	const page = await portal.open('grace', 'page');
	await subscribed(page, 5);
	await page.locator('scopewire-activity-feed').getByText('Nothing here yet').waitFor();
	await page.evaluate(() => {
		window.shifts = [];
		const boxes = () => [...document.querySelectorAll('main > *')].map((e) => {
			const { top, height } = e.getBoundingClientRect();
			return `${e.localName} ${top} ${height}`;
		});
		let before = boxes();
		new PerformanceObserver((list) => {
			const now = boxes();
			for (const { value } of list.getEntries())
				window.shifts.push({ value, moved: now.filter((box) => !before.includes(box)) });
			before = now;
		}).observe({ type: 'layout-shift' });
	});
	const other = await portal.open('ada', 'page');
	await happen(page, other, 'Moving');
	await other.context().close();
	await page.locator('scopewire-typing-indicator [part=line]').waitFor({ state: 'detached' });
	await page.locator('scopewire-field-lock [part=holder]').waitFor({ state: 'detached' });
	await page.locator('scopewire-notification-toasts li').waitFor({ state: 'detached' });
	portal.wires.cut();
	await page.locator('scopewire-connection-status').getByText('Reconnecting…').waitFor();
	portal.wires.mend();
	await page.locator('scopewire-connection-status').getByText(/^Back online/).waitFor();
	// Within an element something small may move, such as a face of the avatars.
	assert.deepEqual(await page.evaluate(() => window.shifts.filter(({ value, moved }) => value > 0.005 || moved.length)), []);
	// The measure works: this does move what is below.
	await page.evaluate(() => document.querySelector('main').prepend(Object.assign(document.createElement('p'), { textContent: 'first' })));
	await page.waitForFunction(() => window.shifts.some(({ value, moved }) => value > 0.005 && moved.length > 5));
	await page.context().close();
});

test('with prefers-reduced-motion nothing is animated', async () => {
	/** How many animations run while another user types, whose line has one that does not end; undefined: it is not shown. */
	const running = (page) => page.evaluate(() => {
		if (!document.querySelector('scopewire-typing-indicator').shadowRoot.querySelector('[part=line]')) return undefined;
		const roots = [document];
		for (const root of roots)
			for (const element of root.querySelectorAll('*')) if (element.shadowRoot) roots.push(element.shadowRoot);
		return roots.flatMap((root) => root.getAnimations()).length;
	});
	const other = await portal.open('ada', 'page');
	for (const reducedMotion of ['no-preference', 'reduce']) {
		const page = await portal.open('grace', 'page', { reducedMotion });
		await subscribed(page, 5);
		await happen(page, other, reducedMotion);
		let count;
		await waitFor(async () => {
			await other.locator('#note').pressSequentially('x');
			count = await running(page);
			return count !== undefined;
		}, 'the line');
		assert.equal(count > 0, reducedMotion !== 'reduce', String(count));
		await other.locator('main').evaluate(() => document.activeElement.blur());
		await page.context().close();
	}
	await other.context().close();
});

test('the holder of a field that another user requests sees the seconds pass; the keyboard is enough', async () => {
	const [ada, grace] = [await portal.open('ada', 'page'), await portal.open('grace', 'page')];
	await ada.locator('scopewire-field-lock').evaluate((e) => { e.wait = 60; });
	await ada.locator('input[name=title]').focus();
	await grace.locator('scopewire-field-lock').getByRole('button', { name: 'Ask to edit' }).press('Enter');
	const line = ada.locator('scopewire-field-lock [part=line]');
	const seconds = async () => Number(/^Grace Hopper would like to edit\. It is passed on in (\d+) s/.exec(await line.innerText())?.[1] ?? 0);
	const first = await waitFor(seconds, 'the request');
	await waitFor(async () => await seconds() < first, 'fewer seconds');
	await line.getByRole('button', { name: 'Pass it on now' }).press('Enter');
	await line.getByText('Grace Hopper is editing').waitFor();
	for (const page of [ada, grace]) await page.context().close();
});

test('without a connection a field that another user had is free after the time of the lock', async () => {
	const page = await portal.open('grace', 'page');
	await subscribed(page, 5);
	// Until the lock of the test before has ended, this is refused.
	const { lock } = (await waitFor(async () => {
		const answer = await portal.sync.post('locks', { resource_type: 'note', resource_id: '9', field: 'title', user_id: 3, ttl: 15 });
		return answer.status === 200 && answer;
	}, 'the lock')).json;
	await page.locator('scopewire-field-lock').getByText('Linus Torvalds is editing').waitFor();
	portal.wires.cut();
	await page.waitForFunction(() => window.manager.status.state !== 'connected');
	// No event tells it that the lock has ended.
	await waitFor(() => page.locator('input[name=title]').evaluate((e) => !e.readOnly), 'free');
	const early = Date.parse(lock.expires_at) - Date.now();
	assert.ok(early < 1000, `${early} ms before the end of the lock`);
	assert.equal(await page.evaluate(() => window.manager.status.state), 'reconnecting');
	portal.wires.mend();
	await page.context().close();
});

test('toasts: those of the application itself, for their time; not while the pointer is on them', async () => {
	const page = await portal.open('ada', 'page');
	const toasts = page.locator('scopewire-notification-toasts'), toast = toasts.locator('li');
	const show = (title, duration) => toasts.evaluate((e, [name, time]) => {
		e.duration = time;
		e.show({ title: name, message: 'All of it' });
	}, [title, duration]);
	await show('Saved', 60_000);
	await toast.hover();
	await show('Sent', 200);
	await toasts.evaluate((e) => new Promise((resolve) => { setTimeout(resolve, 5 * e.duration); }));
	assert.deepEqual(await toast.allInnerTexts(), ['Saved\nAll of it', 'Sent\nAll of it']);
	await page.mouse.move(0, 0);
	await waitFor(async () => await toast.count() === 0, 'both gone');
	await show('Again', 60_000);
	await toast.getByRole('button', { name: 'Close' }).press('Enter');
	await toast.waitFor({ state: 'detached' });
	await page.context().close();
});

test('a notification leads to its address, unless the page prevents it; the keyboard moves in the inbox', async () => {
	const page = await portal.open('linus', 'page');
	await subscribed(page, 5);
	for (const n of [1, 2]) await portal.sync.post('notifications', { to: 3, title: `Note ${n}`, data: { url: '/empty.html?user=linus' } });
	await page.getByRole('button', { name: 'Notifications, 2 unread notifications' }).press('Enter');
	const bell = page.locator('scopewire-notification-bell');
	await bell.locator('li').nth(1).waitFor();
	await page.evaluate(() => {
		window.opened = [];
		window.addEventListener('scopewire-open', (event) => {
			window.opened.push(event.detail.title);
			if (event.detail.title === 'Note 2') event.preventDefault();
		});
	});
	await bell.locator('[part=item]').first().focus();
	await page.keyboard.press('Enter');
	await page.getByRole('button', { name: 'Notifications, 1 unread notification' }).waitFor();
	assert.deepEqual(await page.evaluate(() => window.opened), ['Note 2']);
	await page.keyboard.press('ArrowDown');
	await Promise.all([page.waitForURL((url) => url.pathname === '/empty.html'), page.keyboard.press('Enter')]);
	await page.context().close();
});

test('the bell reads the application\'s own table by "src", and counts it alone', async () => {
	const created = '2026-01-02T03:04:05Z';
	const stored = [['b', 'Second', null], ['a', 'First', created]].map(([id, title, read_at]) => ({ id, title, read_at, type: 'T',
		message: null, data: null, created_at: created }));
	const calls = [];
	const serve = (page) => page.route('**/inbox**', async (route) => {
		const request = route.request();
		if (request.method() === 'POST') {
			calls.push([request.postDataJSON(), request.headers()['x-socket-id']]);
			for (const n of stored) n.read_at ??= created;
		} else calls.push(new URL(request.url()).search);
		const unread = stored.filter((n) => !n.read_at).length;
		await route.fulfill({ json: request.method() === 'POST' ? { unread } : { notifications: stored, unread, next_cursor: null } });
	});
	const page = await portal.open('ada', 'empty');
	const second = await portal.open('ada', 'empty', { tab: page });
	for (const one of [page, second]) {
		await serve(one);
		await one.evaluate(() => {
			document.querySelector('main').append(Object.assign(document.createElement('scopewire-notification-bell'), { src: '/inbox' }));
		});
		await one.getByRole('button', { name: 'Notifications, 1 unread notification' }).waitFor();
		await subscribed(one, 1);
	}
	// As Laravel broadcasts a notification that it has stored; and the number of the daemon's table.
	await portal.sdk.trigger('private-App.Models.User.1', 'Illuminate\\Notifications\\Events\\BroadcastNotificationCreated',
		{ id: 'c', type: 'T', title: 'Third' });
	stored.unshift({ ...stored[0], id: 'c', title: 'Third' });
	for (const one of [page, second]) {
		await one.getByRole('button', { name: 'Notifications, 2 unread notifications' }).waitFor();
		assert.deepEqual(await one.evaluate(() => {
			window.manager.setBadge('notifications', 7);
			return { ...window.manager.badges };
		}), { notifications: 7, inbox: 2 });
	}
	await page.getByRole('button', { name: 'Notifications, 2 unread notifications' }).click();
	await page.getByText('Third').waitFor();
	await page.getByRole('button', { name: 'Mark all as read' }).click();
	for (const one of [page, second])
		await one.getByRole('button', { name: 'Notifications, No unread notifications' }).waitFor();
	assert.deepEqual(calls.filter((call) => typeof call !== 'string'), [[{ all: true }, await page.evaluate(() => window.manager.socketId)]]);
	await page.getByRole('button', { name: 'Unread', exact: true }).click();
	await waitFor(() => calls.includes('?unread=true'), 'the filter');
	assert.deepEqual([...page.problems, ...second.problems], []);
	await page.context().close();
});

test('comments of HTML are shown without what could run', async () => {
	const page = await portal.open('ada', 'thread');
	await page.locator('scopewire-comment-thread').evaluate((thread) => {
		const body = '<b>Bold</b> <a href="javascript:window.ran=1">link</a><img src="x" onerror="window.ran=1"><script>window.ran=1<' + '/script>';
		thread.source = { load: () => ({ comments: [{ id: 1, body, user: { id: 2, name: 'Grace' }, created_at: new Date().toISOString() }],
			next_cursor: null }), send: () => { throw new Error('not here'); } };
	});
	const body = page.locator('scopewire-comment-thread [part=body]');
	await body.locator('b', { hasText: 'Bold' }).waitFor();
	assert.deepEqual(await body.evaluate((e) => [e.querySelectorAll('script').length, e.querySelector('a').getAttribute('href'),
		e.querySelector('img').getAttribute('onerror'), window.ran ?? null]), [0, null, null, null]);
	await page.context().close();
});

test('rows of a feed have relative times in the page\'s language, and the application\'s own words', async () => {
	await portal.sync.post('activities/bulk', { activities: [{ type: 'invoice_sent', user_id: 1, description: 'sent it',
		created_at: new Date(Date.now() - 2 * 3600_000 - 60_000).toISOString(), metadata: { client_id: 70 } }] });
	const page = await portal.open('grace', 'empty');
	await page.evaluate(() => {
		document.documentElement.lang = 'de';
		const feed = Object.assign(document.createElement('scopewire-activity-feed'), { feed: 'client', clientId: '70',
			describe: ({ type }) => `a row of the type ${type}` });
		document.querySelector('main').append(feed);
	});
	const row = page.locator('scopewire-activity-feed [part=row]');
	await row.getByText('a row of the type invoice_sent').waitFor();
	assert.equal(await row.locator('time').innerText(), 'vor 2 Stunden');
	await page.context().close();
});

test('colours are variables, parts can be styled, and an element can have another theme than the page', async () => {
	const page = await portal.open('ada', 'page', { colorScheme: 'light' });
	const style = (selector, property) => page.locator(selector).evaluate((e, name) => getComputedStyle(e)[name], property);
	const bell = 'scopewire-notification-bell [part=button]', surface = 'scopewire-activity-feed [part=card]';
	assert.equal(await style(surface, 'backgroundColor'), 'rgb(255, 255, 255)');
	await page.locator('scopewire-activity-feed').evaluate((e) => e.setAttribute('theme', 'dark'));
	assert.equal(await style(surface, 'backgroundColor'), 'rgb(23, 26, 34)');
	await page.evaluate(() => {
		const sheet = new CSSStyleSheet();
		sheet.replaceSync(`:root { --scopewire-surface: rgb(1, 2, 3); }
			scopewire-notification-bell::part(button) { background: rgb(4, 5, 6); }`);
		document.adoptedStyleSheets = [sheet];
	});
	for (const [selector, color] of [[surface, 'rgb(1, 2, 3)'], [bell, 'rgb(4, 5, 6)']])      // colours of buttons change gradually
		await waitFor(async () => await style(selector, 'backgroundColor') === color, color);
	await page.context().close();
});

test('badges are in the title and on the application\'s icon, until nothing is unread', async () => {
	const page = await portal.open('margaret', 'empty');
	await page.addInitScript(() => {
		window.icon = [];
		Object.assign(navigator, { setAppBadge: async (n) => { window.icon.push(n); }, clearAppBadge: async () => { window.icon.push(0); } });
	});
	await page.goto(`${portal.url}/badge.html?user=margaret&manual`);
	await page.waitForFunction(() => window.manager?.status.state === 'connected');
	await portal.sync.post('notifications', { to: 4, title: 'One' });
	await page.waitForFunction(() => document.title === '(1) Portal');
	// At once: each heartbeat brings the daemon's number again.
	assert.deepEqual(await page.evaluate(() => [['tasks', 120], ['tasks', 0], ['notifications', 0]].map(([name, count]) => {
		window.manager.setBadge(name, count);
		return [document.title, window.icon.at(-1)];
	})), [['(99+) Portal', 121], ['(1) Portal', 1], ['Portal', 0]]);
	await page.context().close();
});

test('the store keeps types for reading offline, deletes, and drops what is refused', async () => {
	const change = (id, data) => portal.sync.post('changes', { client_id: 'server', mutations: [{ mutation_id: `m${id}`,
		resource_type: 'note', resource_id: String(id), op: 'upsert', data, expected_version: null }] });
	for (const id of [101, 102]) assert.equal((await change(id, { title: `note ${id}` })).json.results[0].status, 200);
	const page = await portal.open('ada', 'empty');
	await page.evaluate(async () => {
		window.store = new window.kit.OfflineStore({ manager: window.manager, types: ['note'], name: 'details' });
		window.rejected = [];
		window.store.on('rejected', ({ type, id, code }) => window.rejected.push([type, id, code]));
		await window.store.ready;
	});
	const titles = () => page.evaluate(async () => (await window.store.list('note')).map(({ data }) => data.title).filter((t) => /^note 10/.test(t)).sort());
	await waitFor(async () => (await titles()).length === 2, 'loaded');
	await page.context().setOffline(true);
	assert.deepEqual(await titles(), ['note 101', 'note 102']);
	await page.evaluate(async () => {
		await window.store.delete('note', 101);
		await window.store.put('note', 103, { title: 'note 103' });
		await window.store.put('nothing', 1, { title: 'no rule allows this' });
	});
	assert.deepEqual(await titles(), ['note 102', 'note 103']);
	await page.context().setOffline(false);
	await page.waitForFunction(() => window.manager.status.queued === 0);
	assert.deepEqual(await page.evaluate(() => window.rejected), [['nothing', '1', 'channel_forbidden']]);
	const rows = await portal.daemon.query(`SELECT resource_id, data IS NULL AS deleted FROM scopewire.sync_entity
		WHERE resource_id IN ('101', '103') ORDER BY 1`);
	assert.deepEqual(rows, [{ resource_id: '101', deleted: true }, { resource_id: '103', deleted: false }]);
	assert.equal(await page.evaluate(async () => (await window.store.get('nothing', 1)).data), null);
	await page.context().close();
});

test('on a slow network everything arrives, once and in order', async () => {
	portal.wires.delayMs = 400;
	const page = await portal.open('grace', 'page');
	await subscribed(page, 5);
	await page.evaluate(() => {
		window.seen = [];
		window.manager.channel('private-project.7').on('ProjectUpdated', ({ n }) => window.seen.push(n));
	});
	await subscribed(page, 6);
	for (let n = 1; n <= 20; n++) await portal.trigger('private-project.7', 'ProjectUpdated', { n });
	await page.waitForFunction(() => window.seen.length >= 10);
	portal.wires.cut();
	for (let n = 21; n <= 30; n++) await portal.trigger('private-project.7', 'ProjectUpdated', { n });
	portal.wires.mend();
	portal.wires.delayMs = 400;
	await page.waitForFunction(() => window.seen.at(-1) === 30);
	assert.deepEqual(await page.evaluate(() => window.seen), Array.from({ length: 30 }, (_, i) => i + 1));
	portal.wires.delayMs = 0;
	await page.context().close();
});

test('each part, attribute and option that the README names is one of the sources', () => {
	const read = (name) => fs.readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');
	const readme = read('README.md');
	const sections = readme.split(/^### /m).slice(1).map((text) => text.split(/^## /m)[0]);
	let parts = 0;
	for (const section of sections.filter((text) => text.startsWith('scopewire-'))) {
		const names = /^(.*)\n/.exec(section)[1].split(', ').map((name) => name.replace('scopewire-', ''));
		const source = names.map((name) => read(`src/elements/${name}.ts`)).join('') + read('src/elements/base.ts');
		for (const [, list] of section.matchAll(/Parts:\s([^.]*)\./g))
			for (const [, part] of list.matchAll(/`([a-z-]+)`/g)) {
				assert.ok(source.includes(`part="${part}"`), `${names[0]}: the part ${part}`);
				parts++;
			}
		for (const [, name] of section.matchAll(/`(scopewire-[a-z-]+)`/g))
			assert.ok(source.includes(`'${name}'`), `${names[0]}: the event ${name}`);
		const example = /```html\n([^]*?)```/.exec(section)?.[1] ?? '';
		for (const [, element, attributes] of example.matchAll(/<scopewire-([a-z-]+)([^>]*)>/g))
			for (const [, attribute] of attributes.matchAll(/\s([a-z-]+)=/g)) {
				const property = attribute.replace(/-./g, (text) => text[1].toUpperCase());
				assert.match(read(`src/elements/${element}.ts`), new RegExp(`@property\\(.*\\) ${property}\\b`), `${element}: ${attribute}`);
			}
	}
	assert.ok(parts > 50, String(parts));
	const manager = read('src/manager.ts');
	const table = readme.slice(readme.indexOf('| option | |'), readme.indexOf('| member | |'));
	const documented = [...table.matchAll(/^\| (`.*?) \|/gm)].flatMap(([, cell]) => [...cell.matchAll(/`(\w+)`/g)].map((m) => m[1]));
	const options = /export interface ManagerOptions \{([^]*?)\n\}/.exec(manager)[1];
	assert.deepEqual([...options.matchAll(/^\t(\w+)\??:/gm)].map((m) => m[1]).sort(), documented.sort());
	const variables = new Set(['theme.ts', ...fs.readdirSync(new URL('../../src/elements', import.meta.url))].flatMap((name) =>
		[...read(`src/elements/${name}`).matchAll(/var\(--scopewire-([a-z-]+)/g)].map((m) => m[1])));
	for (const name of ['accent', 'on-accent', 'accent-soft', 'surface', 'sunken', 'hover', 'ink', 'muted', 'line', 'good', 'warn', 'bad',
		'radius', 'shadow', 'font', 'z', 'form-gap', 'height']) assert.ok(variables.has(name), name);
});
