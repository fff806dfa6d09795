// SPDX-License-Identifier: MIT
// A normal run: clients that come and go, events by HTTP and SQL, calls of the sync API.  Its metrics are what
// no alert may fire with.
import http from 'node:http';
import { ok, pause, request, startDaemon, Sync } from '../lib/harness.mjs';

/** A scrape of the daemon: {series: value}. */
export async function scrapeOf(daemon) {
	const [, target] = /admin: listening on (\S+)/.exec(daemon.logText);
	return Object.fromEntries((await request(`http://${target}/metrics`)).text.split('\n')
		.filter((line) => line && !line.startsWith('#'))
		.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}

/** A client that answers pings and keeps no frame. */
async function newClient(daemon, user, ...channels) {
	const client = await daemon.connect();
	for (const channel of channels)
		await client.subscribe(channel, channel.startsWith('presence-') ? { channelData: { user_id: `${user}` } } : {});
	client.on('change', () => {
		if (client.frames.some(({ event }) => event === 'pusher:ping')) client.send({ event: 'pusher:pong', data: {} });
		client.frames.length = client.texts.length = client.taken = 0;
	});
	return client;
}

/** What happens in second n: {period: action}. */
function actionsOf(daemon, clients) {
	const server = Sync.server(daemon);
	const user = (n) => 1 + n % 10;
	const note = (n) => ({ resource_type: 'note', resource_id: 1 + n % 5, user_id: user(n) });
	return {
		1: async (n) => ok(await daemon.api().trigger('news', 'hello', { n })),
		2: async (n) => ok(await daemon.api().trigger(`private-client.${n % 5}`, 'InvoiceCreated', { n })),
		3: (n) => daemon.query(`SELECT broadcast('presence-online', 'from-sql', '{"n": ${n}}')`),
		5: async (n) => ok(await server.post('heartbeat', { user_id: user(n) })),
		7: async (n) => ok(await server.post('activities', { type: 'paid', user_id: user(n) }), 201),
		11: async (n) => ok(await server.post('notifications', { to: user(n), title: 'Due' }), 201),
		13: async (n) => ok(await server.post('start-viewing', note(n))),
		17: async (n) => {
			const { lock } = ok(await server.post('locks', note(n)));
			ok(await server.post('locks/release', { ...note(n), token: lock.token }));
		},
		10: async (n) => {
			clients.push(await newClient(daemon, user(n), 'news', 'presence-online', `private-client.${n % 5}`));
			if (clients.length > 15) await clients.shift().close();
		},
		60: async (n) => ok(await daemon.api().post('/batch_events', { batch: [
			{ name: 'a', channel: 'news', data: `${n}` }, { name: 'b', channel: 'unheard', data: 'x' }] })),
	};
}

/**
 * A normal run of that many seconds against a daemon with an embedded PostgreSQL.  Calls each with a scrape at its
 * beginning and after each step of seconds.
 */
export async function recordRun(t, { seconds, step }, each) {
	const hooks = http.createServer((call, answer) => call.resume().on('end', () => answer.end()));
	await new Promise((resolve) => { hooks.listen(0, '127.0.0.1', resolve); });
	t.after(() => { hooks.closeAllConnections(); hooks.close(); });
	const daemon = await startDaemon({ embedded: true, log: { level: 'info' }, app: { webhooks: JSON.stringify([
		{ url: `http://127.0.0.1:${hooks.address().port}/`, event_types: ['channel_occupied', 'channel_vacated'] }]) },
	sections: { admin: { listen: '127.0.0.1:0', local_read: 'yes' }, webhooks: { allow_private: 'yes' } } }, t);
	const clients = [];
	for (let n = 0; n < 5; n++) clients.push(await newClient(daemon, n, 'quiet'));
	const actions = Object.entries(actionsOf(daemon, clients));
	const began = Date.now();
	for (let n = 0; n <= seconds; n++) {
		await pause(Math.max(0, began + n * 1000 - Date.now()));
		if (n % step === 0) await each(await scrapeOf(daemon));
		await Promise.all(actions.filter(([period]) => n % period === 0).map(([, action]) => action(n)));
	}
}
