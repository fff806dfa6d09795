// SPDX-License-Identifier: MIT
// The activity feed and notifications as a dashboard takes them: stock laravel-echo on pusher-js.
import test from 'node:test';
import assert from 'node:assert/strict';
import Echo from 'laravel-echo';
import { Sync, startDaemon, waitFor } from '../lib/harness.mjs';
import { client, server as sdk, startAuthorizer } from './stock.mjs';

/** Resolves when a subscription of Echo's is there. */
const subscribed = (channel) => new Promise((resolve, reject) => {
	channel.subscribed(resolve).error(reject);
});

/** An Echo of a user, and what it heard: {channel: [[name, data]]} in order. */
async function dashboard(t, daemon, user, wanted) {
	const pusher = client(t, daemon, await startAuthorizer(t, sdk(daemon)), { id: String(user) });
	const echo = new Echo({ broadcaster: 'reverb', key: daemon.app.key, client: pusher });
	const heard = [];
	await Promise.all(Object.entries(wanted).map(([name, events]) => {
		const channel = echo.private(name);
		for (const event of events)
			channel.listen(event, (data) => heard.push([name, event, data]));
		channel.notification((data) => heard.push([name, 'notification', data]));
		return subscribed(channel);
	}));
	return heard;
}

test("Echo's listen() and notification() fire with the right objects", async (t) => {
	const daemon = await startDaemon({}, t), server = Sync.server(daemon);
	const mine = await dashboard(t, daemon, 7, { 'App.Models.User.7': ['NotificationsUnread'],
		'client.42': ['ActivityFeedUpdated'] });
	const admins = await dashboard(t, daemon, 1, { 'App.Models.User.1': ['NotificationsUnread'],
		admin: ['ActivityFeedUpdated'] });

	const { json: { activity } } = await server.post('activities', { type: 'file_uploaded',
		description: 'plan.pdf', user: 7, metadata: { client_id: 42 } });
	await waitFor(() => mine.length && admins.length);
	assert.deepEqual(mine, [['client.42', 'ActivityFeedUpdated', { activity }]]);
	assert.deepEqual(admins, [['admin', 'ActivityFeedUpdated', { activity }]]);

	const { json: { notifications: [{ id }] } } = await server.post('notifications', { to: 7,
		title: 'Hello', body: 'There', type: 'App\\Notifications\\Hello', data: { url: '/x' } });
	await waitFor(() => mine.length === 3);
	const { created_at: at, ...notification } = mine[1][2];
	assert.ok(Date.parse(at) > 0);
	assert.deepEqual([mine[1][0], mine[1][1], notification], ['App.Models.User.7', 'notification',
		{ id, type: 'App\\Notifications\\Hello', title: 'Hello', message: 'There', body: 'There',
			url: '/x' }]);
	assert.deepEqual(mine[2], ['App.Models.User.7', 'NotificationsUnread', { unread: 1 }]);

	await Sync.user(daemon, 7).post('notifications/read', { all: true });
	await waitFor(() => mine.length === 4);
	assert.deepEqual(mine[3], ['App.Models.User.7', 'NotificationsUnread', { unread: 0 }]);
	assert.equal(admins.length, 1);
});
