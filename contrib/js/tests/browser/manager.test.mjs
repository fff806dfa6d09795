// SPDX-License-Identifier: MIT
// RealtimeManager in a browser, with the real daemon.
import test, { after } from 'node:test';
import assert from 'node:assert/strict';
import { startPortal, subscribed, violations, waitFor, watchStatus } from '../portal.mjs';

const PAGE = '<main><scopewire-connection-status delay="300"></scopewire-connection-status></main>';
const SCRIPT = `
const { manager } = window;
window.seen = [];
window.channel = manager.channel('private-project.7').on('ProjectUpdated', ({ n }) => seen.push(n));
`;

const portal = await startPortal({ after });
portal.page('manager', PAGE, SCRIPT);

test('events that were sent during a restart arrive once and in order, and their number is shown', async () => {
	const tab = await portal.open('ada', 'manager');
	await subscribed(tab, 2);
	await portal.trigger('private-project.7', 'ProjectUpdated', { n: 1 });
	await tab.waitForFunction(() => window.seen.length === 1);
	portal.wires.cut();
	await tab.waitForFunction(() => window.manager.status.state === 'reconnecting');
	await tab.locator('[data-state=reconnecting]').waitFor();
	await portal.daemon.restart();
	for (const n of [2, 3, 4]) await portal.trigger('private-project.7', 'ProjectUpdated', { n });
	const shown = await watchStatus(tab);
	portal.wires.mend();
	await tab.waitForFunction(() => window.seen.length === 4);
	await shown('3 events recovered');
	assert.deepEqual(await tab.evaluate(() => window.seen), [1, 2, 3, 4]);
	assert.deepEqual(await tab.evaluate(() => window.recoveries.map((r) => r.events)), [3]);
	assert.deepEqual(await violations(tab), []);
	assert.deepEqual(tab.problems, []);
	await tab.context().close();
});

test('the connection comes back also when pusher-js does not try any more', async () => {
	const tab = await portal.open('ada', 'manager');
	await subscribed(tab, 2);
	portal.wires.cut();
	await tab.waitForFunction(() => window.manager.status.state === 'reconnecting');
	await tab.evaluate(() => window.manager.pusher.disconnect());
	portal.wires.mend();
	await tab.waitForFunction(() => window.manager.status.state === 'connected');
	await tab.evaluate(() => window.manager.disconnect());      // the application's own wish is kept
	assert.equal(await tab.evaluate(() => window.manager.status.state), 'disconnected');
});

test('a client that is sent away spreads its return over the time that the server names', async () => {
	portal.daemon.options.server.drain_ms = 600_000;
	await portal.daemon.restart();
	const tab = await portal.open('ada', 'manager');
	await subscribed(tab, 2);
	await tab.evaluate(() => {
		window.delays = [];
		const original = window.setTimeout;
		window.setTimeout = (run, delay, ...rest) => {
			window.delays.push(delay);
			return original(run, delay, ...rest);
		};
		Math.random = () => 0.5;
	});
	portal.daemon.options.server.drain_ms = 0;
	portal.daemon.child.kill('SIGTERM');
	await tab.waitForFunction(() => window.delays.includes(300_000));
	assert.equal(await tab.evaluate(() => window.manager.status.state), 'reconnecting');
	assert.equal(await tab.evaluate(() => window.manager.pusher.connection.state), 'disconnected');
	await portal.daemon.restart();
	await tab.evaluate(() => window.dispatchEvent(new Event('online')));      // does not wait five minutes
	await tab.waitForFunction(() => window.manager.status.state === 'connected');
	await tab.context().close();
});

test('a user whose right is taken away loses the channel at once, and the others stay', async () => {
	const tab = await portal.open('ada', 'manager');
	await subscribed(tab, 2);
	await tab.evaluate(() => {
		window.ended = [];
		for (const name of ['private-invoice.7', 'private-client.7']) {
			window.manager.channel(name).on('InvoiceStatusChanged', () => window.seen.push(name))
				.onError(({ status }) => window.ended.push([name, status]));
		}
	});
	await subscribed(tab, 4);
	const [rule] = await portal.daemon.query(`DELETE FROM scopewire.channel_rules WHERE pattern = 'invoice.{id}' RETURNING *`);
	await tab.waitForFunction(() => window.ended.length === 1);
	await portal.sdk.post({ path: '/users/1/revoke', body: { channels: ['private-client.7'] } });
	await tab.waitForFunction(() => window.ended.length === 2);
	assert.deepEqual(await tab.evaluate(() => window.ended), [['private-invoice.7', 403], ['private-client.7', 403]]);
	for (const name of ['private-invoice.7', 'private-client.7']) await portal.trigger(name, 'InvoiceStatusChanged', {});
	await portal.trigger('private-project.7', 'ProjectUpdated', { n: 1 });
	await tab.waitForFunction(() => window.seen.length > 0);
	assert.deepEqual(await tab.evaluate(() => window.seen), [1]);
	assert.deepEqual(await tab.evaluate(() => [window.manager.status.state, ...window.manager.pusher.allChannels()
		.filter((c) => c.subscribed).map((c) => c.name).sort()]), ['connected', 'private-App.Models.User.1', 'private-project.7']);
	await portal.daemon.query('INSERT INTO scopewire.channel_rules (pattern, rule, can_write) VALUES ($1, $2, $3)',
		[rule.pattern, rule.rule, rule.can_write]);
	await tab.context().close();
});

test('a policy without the daemon\'s address blocks the connection, and the console names it', async () => {
	const context = await portal.browser.newContext();
	const tab = await context.newPage();
	const lines = [];
	tab.on('console', (message) => lines.push(message.text()));
	await tab.route('**/manager.html*', async (route) => {
		const response = await route.fetch();
		await route.fulfill({ response, headers: { ...response.headers(),
			'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'" } });
	});
	await tab.goto(`${portal.url}/manager.html?user=ada`);
	await waitFor(() => lines.some((text) => /ws:\/\/127.*Content Security Policy/s.test(text)), 'the line in the console');
	assert.notEqual(await tab.evaluate(() => window.manager?.status.state), 'connected');
	await tab.unroute('**/manager.html*');       // the portal's own policy names the address
	await tab.reload();
	await tab.waitForFunction(() => window.manager?.status.state === 'connected');
	await context.close();
});

test('without a restart nothing is shown', async () => {
	const tab = await portal.open('ada', 'manager');
	await subscribed(tab, 2);
	assert.equal(await tab.locator('[part~=pill]').count(), 0);
});

test('heartbeats keep the user online, and the unread count is a badge', async () => {
	const tab = await portal.open('ada', 'manager');
	const presence = async () => (await portal.daemon.query(
		'SELECT status, heartbeat_at FROM scopewire.user_presence WHERE user_id = 1'))[0];
	await waitFor(async () => (await presence())?.status === 'online', 'online');
	const first = (await presence()).heartbeat_at;
	await waitFor(async () => (await presence()).heartbeat_at > first, 'a second heartbeat');
	await portal.sync.post('notifications', { to: 1, title: 'Invoice due' });
	await tab.waitForFunction(() => window.manager.badges.notifications === 1);
});

test('a user whose tab was closed is offline before the TTL has passed', async () => {
	const other = await startPortal({ after, sync: { presence_ttl_s: 3600 } });
	other.page('manager', PAGE, SCRIPT);
	const tab = await other.open('ada', 'manager');
	const presence = async () => (await other.daemon.query(
		'SELECT status, sockets FROM scopewire.user_presence WHERE user_id = 1'))[0];
	const socket = async () => tab.evaluate(() => window.manager.socketId);
	await waitFor(async () => String((await presence())?.sockets) === await socket(), 'tied to the connection');
	other.wires.cut();
	await tab.waitForFunction(() => window.manager.status.state === 'reconnecting');
	other.wires.mend();
	await tab.waitForFunction(() => window.manager.status.state === 'connected');
	await waitFor(async () => (await presence()).sockets.includes(await socket()), 'and to the next one');
	await tab.context().close();
	await waitFor(async () => (await presence()).status === 'offline', 'offline');
});

test('presence survives a hidden tab whose timers do not run', async () => {
	const tab = await portal.open('ada', 'manager');
	await subscribed(tab, 2);
	const heartbeats = async () => Number((await portal.daemon.query(
		'SELECT extract(epoch FROM heartbeat_at) AS at FROM scopewire.user_presence WHERE user_id = 1'))[0]?.at ?? 0);
	await waitFor(async () => await heartbeats() > 0, 'the first');
	await tab.evaluate(() => {
		// what a browser does to a hidden tab, but for ever: timers never run
		window.setTimeout = () => 0;
		Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true });
		document.dispatchEvent(new Event('visibilitychange'));
	});
	const before = await heartbeats();
	for (let n = 1; await heartbeats() <= before + 3; n++) {
		await portal.trigger('private-project.7', 'ProjectUpdated', { n });
		assert.ok(n < 2000, 'no heartbeat was sent');
	}
	const online = (await portal.sync.get('online-users')).json.users;
	assert.deepEqual(online.map((u) => u.user_id), [1]);
});

test('a token that expires is fetched again, and calls go on', async () => {
	portal.tokenTtl = 3;
	const tab = await portal.open('ada', 'manager');
	await tab.waitForFunction(() => window.tokens >= 3);
	const status = await tab.evaluate(() => window.manager.api.get('online-users').then((a) => a.count));
	assert.equal(status, 1);
	portal.tokenTtl = -100;      // expired when it is issued: refused, and fetched once more
	await tab.evaluate(() => window.manager.token());
	const before = await tab.evaluate(() => window.tokens);
	portal.tokenTtl = 3600;
	await tab.waitForFunction((n) => window.tokens > n, before);
	assert.equal(await tab.evaluate(() => window.manager.api.get('online-users').then((a) => a.count)), 1);
});

test('subscriptions outlive the token that authorized them', async () => {
	const own = await startPortal({ after, app: { token_grace: 1 } });
	own.page('manager', PAGE, SCRIPT);
	own.tokenTtl = 15;      // a busy machine needs some seconds to fetch the next one
	const tab = await own.open('ada', 'manager');
	await subscribed(tab, 2);
	const first = Date.now();
	await tab.evaluate(() => {
		window.told = { ended: 0, extended: [] };
		const { pusher } = window.manager;
		pusher.bind_global((event, data) => {
			if (event === 'pusher:subscription_error') window.told.ended++;
			if (event === 'scopewire:token_extended') window.told.extended.push(data.channel);
		});
	});
	await waitFor(() => Date.now() > first + 18000, 'the end of the first token and its grace');
	await own.trigger('private-project.7', 'ProjectUpdated', { n: 1 });
	await tab.waitForFunction(() => window.seen.length === 1);
	const told = await tab.evaluate(() => window.told);
	assert.equal(told.ended, 0);
	assert.deepEqual([...new Set(told.extended)].sort(), ['private-App.Models.User.1', 'private-project.7']);
	assert.deepEqual(tab.problems, []);
	await tab.context().close();
});

test('one tab of a browser is the leader, and another one follows when it is closed', async () => {
	const one = await portal.open('ada', 'manager', { query: '&leader' });
	await one.waitForFunction(() => window.manager.status.isLeader);
	const two = await portal.open('ada', 'manager', { query: '&leader', tab: one });
	await subscribed(two, 2);
	assert.equal(await two.evaluate(() => window.manager.status.isLeader), false);
	await one.close();
	await two.waitForFunction(() => window.manager.status.isLeader);
});

test('fetch and axios carry X-Socket-Id', async () => {
	const tab = await portal.open('ada', 'manager');
	const id = await tab.evaluate(async () => {
		const { manager } = window;
		const { default: axios } = await import('/axios.js');
		const own = axios.create();
		manager.useAxios(own);
		await own.get('/config?axios');
		await manager.fetch('/config');
		const undo = manager.patchFetch();
		await fetch('/config');
		undo();
		await fetch('/config');
		return manager.socketId;
	});
	const ids = portal.requests.filter((r) => r.path === '/config').map((r) => r.headers['x-socket-id']);
	assert.deepEqual(ids.slice(-4), [id, id, id, undefined]);
});

test('an endpoint that does not know batches gets a request for each channel', async () => {
	const tab = await portal.open('ada', 'manager');
	const errors = await tab.evaluate(async () => {
		const { manager } = window;
		window.failed = [];
		for (const n of [1, 2, 3, 4]) manager.channel(`private-client.${n}`);
		manager.channel('private-forbidden').onError(({ status }) => window.failed.push(status));
	});
	assert.equal(errors, undefined);
	await tab.waitForFunction(() => window.failed.length === 1
		&& window.manager.pusher.allChannels().filter((c) => c.subscribed).length === 6);
	assert.deepEqual(await tab.evaluate(() => window.failed), [403]);
});

test('a manager made after a subscription warns, and that channel is a resync', async () => {
	portal.page('late', '<main></main>', `
window.warnings = [];
console.warn = (text) => warnings.push(text);
window.resyncs = [];
const { key, port } = await (await fetch('/config')).json();
const pusher = new Pusher(key, { cluster: '', wsHost: '127.0.0.1', wsPort: port, forceTLS: false,
	enabledTransports: ['ws'] });
pusher.subscribe('news').bind('pusher:subscription_succeeded', () => {
	if (window.manager) return;
	window.manager = new kit.RealtimeManager({ pusher });
	manager.on('resync', ({ channel, reason }) => resyncs.push([channel, reason]));
});`);
	const tab = await portal.open('ada', 'late', { query: '&manual' });
	assert.match((await tab.evaluate(() => window.warnings)).join(), /attach\(\) was called after news was subscribed/);
	portal.wires.cut();
	await tab.waitForFunction(() => window.manager.status.state === 'reconnecting');
	portal.wires.mend();
	await tab.waitForFunction(() => window.resyncs.length === 1);
	assert.deepEqual(await tab.evaluate(() => window.resyncs), [['news', 'no_position']]);
});

test('the user\'s own channel is that of the daemon\'s sync.user_channels', async (t) => {
	const other = await startPortal(t, { sync: { user_channels: 'private-person.{id} private-second.{id}' } });
	await other.daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule, argument)
		VALUES ('person.{id}', 'owner', 'id')`);
	other.page('bell', '<main><scopewire-notification-bell></scopewire-notification-bell>'
		+ '<scopewire-notification-toasts></scopewire-notification-toasts></main>');
	const tab = await other.open('ada', 'bell');
	await tab.waitForFunction(() => window.manager.pusher.channel('private-person.1')?.subscribed);
	await other.sync.post('notifications', { to: 1, title: 'Invoice due' });
	await tab.locator('scopewire-notification-toasts').getByText('Invoice due').waitFor();
	await tab.locator('scopewire-notification-bell').getByText('1', { exact: true }).first().waitFor();
	await tab.waitForFunction(() => window.manager.badges.notifications === 1);
	assert.equal(await tab.evaluate(() => window.manager.pusher.allChannels()
		.some(({ name }) => name.includes('App.Models.User') || name.includes('second'))), false);
	assert.deepEqual(tab.problems, []);
});

test('the user\'s own channel can be given, or left out', async () => {
	const tab = await portal.open('ada', 'manager');
	const names = await tab.evaluate(async () => {
		const { boot } = await import('/boot.js');
		const found = [];
		for (const userChannel of ['private-project.{id}', null]) {
			const manager = await boot({ userChannel });
			found.push(await manager.userChannel());
			manager.destroy();
		}
		return found;
	});
	assert.deepEqual(names, ['private-project.1', null]);
	await tab.context().close();
});

portal.page('logout', '<main></main>', `
window.beats = [];
const original = window.fetch;
window.fetch = (input, init) => {
	if (String(input).endsWith('/heartbeat')) beats.push(JSON.parse(init.body));
	return original(input, init);
};
await boot({ presence: { location: 'before' } });
manager.channel('private-project.7');`);

test('after destroy() the manager sends no heartbeat, also when its client connects again', async () => {
	portal.tokenTtl = 3600;
	const tab = await portal.open('ada', 'logout', { query: '&manual' });
	await subscribed(tab, 2);
	await tab.waitForFunction(() => window.beats.length > 0);
	await tab.evaluate(async () => {
		const { pusher } = window.manager;
		window.first = window.manager.socketId;
		window.token = await window.manager.token();
		window.manager.on('status', ({ state }) => { window.told = state; });
		window.manager.destroy();
		await new Promise((resolve) => { setTimeout(resolve); });      // pusher-js sends in a later turn
		pusher.disconnect();
		pusher.connect();
	});
	await tab.waitForFunction(() => window.manager.pusher.connection.state === 'connected'
		&& window.manager.socketId !== window.first);
	await tab.evaluate(() => {
		const { pusher } = window.manager;
		window.next = new window.kit.RealtimeManager({ pusher, token: window.token, userChannel: null,
			presence: { location: 'after' } });
	});
	await tab.waitForFunction(() => window.beats.some(({ location }) => location === 'after'));
	assert.deepEqual(await tab.evaluate(() => window.beats.filter(({ location, socket_id: socket }) =>
		location === 'before' && socket === window.manager.socketId)), []);
	assert.equal(await tab.evaluate(() => window.told), undefined);
	assert.deepEqual(tab.problems, []);
	await tab.context().close();
});

test('after destroy() the manager fetches no token when one of the client expires', async () => {
	portal.tokenTtl = 3600;
	const tab = await portal.open('ada', 'logout', { query: '&manual' });
	await subscribed(tab, 2);
	portal.tokenTtl = 50;       // the server tells at once that it expires
	const [before, after] = await tab.evaluate(async () => {
		const { pusher } = window.manager;
		window.manager.destroy();
		const told = new Promise((resolve) => { pusher.bind('scopewire:token_expiring', resolve); });
		const { token } = await (await fetch('/token?user=ada')).json();
		const count = window.tokens;
		const { wsHost, wsPort } = pusher.config;
		pusher.config.channelAuthorizer = async ({ socketId, channelName }, callback) => {
			const answer = await fetch(`http://${wsHost}:${wsPort}/broadcasting/auth`, { method: 'POST',
				headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
				body: JSON.stringify({ socket_id: socketId, channel_name: channelName }) });
			callback(null, await answer.json());
		};
		pusher.subscribe('private-client.7');
		await told;
		return [count, window.tokens];
	});
	portal.tokenTtl = 3600;
	assert.equal(after, before);
	assert.deepEqual(tab.problems, []);
	await tab.context().close();
});

test('a manager that is destroyed at once does not become the leader', async () => {
	const tab = await portal.open('ada', 'manager');
	assert.deepEqual(await tab.evaluate(async () => {
		const { pusher } = window.manager;
		const seen = [];
		for (const locks of [navigator.locks, undefined]) {     // undefined: a page without Web Locks
			Object.defineProperty(navigator, 'locks', { value: locks, configurable: true });
			const manager = new window.kit.RealtimeManager({ pusher, leader: true });
			manager.on('leader', (isLeader) => seen.push(isLeader));
			manager.destroy();
			await locks?.request(`scopewire:leader:${pusher.key}`, () => {});
			await new Promise((resolve) => { setTimeout(resolve); });
			seen.push(manager.status.isLeader);
		}
		return seen;
	}), [false, false]);
	await tab.context().close();
});

test('each manager of a client receives resyncs and what was recovered, until it is destroyed', async () => {
	const tab = await portal.open('ada', 'logout', { query: '&manual' });
	await subscribed(tab, 2);
	await tab.evaluate(() => {
		const { pusher } = window.manager;
		window.received = { first: [], second: [], destroyed: [] };
		const listen = (manager, received) => {
			manager.on('resync', ({ channel }) => received.push(`resync ${channel}`));
			manager.on('recovered', ({ events }) => received.push(`recovered ${events}`));
			return manager;
		};
		listen(window.manager, window.received.first);
		window.second = listen(new window.kit.RealtimeManager({ pusher }), window.received.second);
		listen(new window.kit.RealtimeManager({ pusher }), window.received.destroyed).destroy();
	});
	portal.wires.cut();
	await tab.waitForFunction(() => window.second.status.state === 'reconnecting');
	await portal.trigger('private-project.7', 'ProjectUpdated', { n: 1 });
	portal.wires.mend();
	await tab.waitForFunction(() => window.received.first.length && window.received.second.length);
	// As from a server whose log is another one.
	await tab.evaluate(() => window.manager.pusher.connection.connection.transport.onMessage({ data: JSON.stringify({
		event: 'scopewire:resync', channel: 'private-project.7', data: '{"reason":"epoch"}' }) }));
	const { first, second, destroyed } = await tab.evaluate(() => window.received);
	assert.deepEqual(first, ['recovered 1', 'resync private-project.7']);
	assert.deepEqual(second, first);
	assert.deepEqual(destroyed, []);
	await tab.context().close();
});

test('a page that loads sends no heartbeat that is refused, and is tied to its connection soon', async () => {
	const tab = await portal.open('ada', 'logout', { query: '&manual' });
	const refused = [];
	tab.on('response', (response) => { if (response.status() === 403) refused.push(response.url()); });
	await tab.reload();
	await tab.waitForFunction(() => window.beats?.some((beat) => beat.socket_id === window.manager?.socketId));
	assert.deepEqual(refused, []);
	await tab.context().close();
});
