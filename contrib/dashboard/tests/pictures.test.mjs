// SPDX-License-Identifier: MIT
// A portal at work, as the pages show it.  SCREENSHOTS=docs/pictures makes the pictures of the documents anew.
import test from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { Sync, startDashboard, waitFor } from './dashboard.mjs';

const folder = process.env.SCREENSHOTS;
const TRAFFIC_S = folder ? 110 : 6;
const NAMES = ['OrderPaid', 'InvoiceCreated', 'CommentAdded', 'OrderShipped', 'TimeEntryUpdated'];
const PEOPLE = ['Ada Lovelace', 'Grace Hopper', 'Linus Torvalds', 'Barbara Liskov'];

async function picture(page, name) {
	if (folder) await page.screenshot({ path: path.join(folder, `${name}.png`) });
}

/** Publishes at a changing rate, while clients come. */
async function work({ daemon }, clients) {
	const api = daemon.api();
	const end = Date.now() + TRAFFIC_S * 1000;
	for (let i = 0; Date.now() < end; i++) {
		const n = 6 + Math.round(4 * Math.sin(i / 5) + 2 * Math.sin(i / 1.7));
		for (let k = 0; k < n; k++) {
			const number = 4700 + i * 12 + k;
			await api.trigger(['private-orders.12', 'private-project.7', 'news'][(i + k) % 3], `App\\Events\\${NAMES[(i * 3 + k) % NAMES.length]}`,
				{ order: { number, total: (number * 7 % 900) + 0.5 }, user: { id: 1 + k % 4, name: PEOPLE[k % 4] } });
		}
		if (i % 3 === 0 && clients.length < 48) {
			const wire = await daemon.connect();
			for (const channel of ['news', 'private-orders.12', 'private-project.7'].slice(0, 1 + i % 3)) await wire.subscribe(channel);
			clients.push(wire);
		}
		await new Promise((resolve) => { setTimeout(resolve, 500); });
	}
}

test('a portal at work: the overview, an event, and a connection', async (t) => {
	const dashboard = await startDashboard(t);
	const { daemon, sync } = dashboard;
	await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule, argument) VALUES ('orders.{id}', 'role', 'accounting')`);
	for (const [i, name] of PEOPLE.entries()) await sync.put(`users/${i + 1}`, { name, roles: i ? ['accounting'] : ['sales'] });
	const ada = await daemon.connect();
	await ada.subscribe('news');
	const clients = [];
	for (let i = 0; i < 12; i++) {
		const wire = await daemon.connect();
		await wire.subscribe('private-orders.12');
		clients.push(wire);
	}
	await ada.subscribe('presence-room', { channelData: { user_id: '1', user_info: { name: 'Ada Lovelace' } } });
	ada.send({ event: 'client-typing', channel: 'presence-room', data: {} });
	await work(dashboard, clients);
	const refused = await Sync.user(daemon, 1).post('/broadcasting/auth', { socket_id: ada.socketId, channel_name: 'private-orders.12' });
	assert.equal(refused.status, 403);
	ada.unsubscribe('news');
	await ada.ping();

	const overview = await dashboard.open('', { scope: 'read', viewport: { width: 1280, height: 800 } });
	await waitFor(async () => await overview.locator('sw-plot canvas').count() === 4, 'the plots');
	await overview.mouse.move(0, 0);
	await picture(overview, 'admin-overview');

	const events = await dashboard.open('#/events?text=order', { scope: 'write', viewport: { width: 1280, height: 940 } });
	await events.locator('.events a', { hasText: 'OrderPaid' }).filter({ hasText: 'private-orders.12' }).first().click();
	const sheet = events.getByRole('dialog');
	await sheet.locator('sw-explain [name=user]').fill('1');
	await sheet.getByRole('button', { name: 'Why?' }).click();
	await sheet.locator('.verdict.bad').waitFor();
	await events.locator('.sheet').evaluate((element) => { element.scrollTop = 0; });
	await picture(events, 'admin-events');

	const connection = await dashboard.open(`#/connections?socket_id=${ada.socketId}`, { scope: 'write', colorScheme: 'dark',
		viewport: { width: 1280, height: 660 } });
	await connection.locator('.steps li.bad', { hasText: 'authorize refused' }).waitFor();
	await picture(connection, 'admin-connection');
	assert.deepEqual([...overview.problems, ...events.problems, ...connection.problems], []);
});
