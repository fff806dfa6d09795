// SPDX-License-Identifier: MIT
// The demo portal on three nodes, which are killed and started again under its users.
import test, { after } from 'node:test';
import assert from 'node:assert/strict';
import { record, startPortal, waitFor } from './portal.mjs';

// A node's lease, and time for a busy machine.
const LEASE_MS = 60000;
const PROJECT = '/projects/1';
const portal = await startPortal({ after }, { isCluster: true });
const ada = await portal.enter('Ada Lovelace', PROJECT);
const grace = await portal.enter('Grace Hopper', PROJECT);
const margaret = await portal.enter('Margaret Hamilton', PROJECT);

const thread = (page) => page.locator('scopewire-comment-thread');
const comments = (page, text) => thread(page).locator('li', { hasText: text });
const faces = (page) => page.locator('scopewire-project-updates scopewire-presence-avatars [part~=face]').count();
const members = (page) => page.evaluate(() => window.manager.channel('presence-project.1').members
	.map((m) => m.info.name).sort());
const areHere = (page, ...names) => waitFor(async () => await faces(page) === names.length
	&& String(await members(page)) === String(names), async () => `${names} are here`, LEASE_MS);
const titles = (page) => page.evaluate(() => window.seen.filter(({ event }) => /ProjectUpdated/.test(event))
	.map(({ data }) => data.update.title));

/** The number of the node of contrib/cluster/run that has the page's socket. */
async function nodeOf(page) {
	await page.waitForFunction(() => window.manager.status.state === 'connected');
	const id = await page.evaluate(() => window.manager.pusher.connection.socket_id);
	const [row] = await portal.query('SELECT name FROM scopewire.nodes WHERE number = $1', [Number(id.split('.')[0]) >> 19]);
	return Number(/\d+$/.exec(row.name)[0]);
}

/** The nodes of the pages, each on another one: a page that shares a node is loaded again. */
const spread = (pages) => waitFor(async () => {
	const nodes = [];
	for (const page of pages) nodes.push(await nodeOf(page));
	const shared = pages.find((_, i) => nodes.indexOf(nodes[i]) < i);
	if (!shared) return nodes;
	await shared.reload();
	await portal.visit(shared, PROJECT);
	return undefined;
}, 'pages on different nodes');

const command = (word, node) => portal.command(`${word} ${node}`, new RegExp(`${word} node${node}: done`));

async function comment(page, text) {
	await thread(page).getByLabel('Write a comment').fill(text);
	await thread(page).getByLabel('Write a comment').press('Enter');
	await thread(page).locator('li:not(.is-sending)', { hasText: text }).waitFor();
}

const live = async () => (await portal.query(`SELECT name FROM scopewire.nodes WHERE lease > clock_timestamp() ORDER BY name`))
	.map((row) => Number(/\d+$/.exec(row.name)[0]));

const ALL = ['Ada Lovelace', 'Grace Hopper', 'Margaret Hamilton'];
let first, second, third;

test('a page whose node is killed reconnects to another one and gets what it missed', async () => {
	[third, first, second] = await spread([ada, grace, margaret]);
	for (const page of [ada, grace, margaret]) await areHere(page, ...ALL);
	for (const page of [ada, grace]) await record(page);
	await ada.evaluate(() => {
		window.left = [];
		window.manager.pusher.channel('presence-project.1').bind('pusher:member_removed', ({ info }) => window.left.push(info.name));
	});
	// What is published while the node does not run, and before its clients know, is what they miss.
	await command('pause', first);
	await comment(ada, 'Written while a node was away');
	assert.equal(await comments(grace, 'Written while a node was away').count(), 0);
	await command('kill', first);
	await comments(grace, 'Written while a node was away').waitFor();
	assert.notEqual(await nodeOf(grace), first);
	assert.equal(await comments(grace, 'Written while a node was away').count(), 1);
	await waitFor(() => grace.evaluate(() => window.recoveries.some((n) => n > 0)), 'recovered');
	await comment(grace, 'I was not away for long');
	await comments(ada, 'I was not away for long').waitFor();
});

test('another node is killed while events are published, and all arrive in order, once', async () => {
	const [{ serial }] = await portal.query('SELECT max(serial) AS serial FROM scopewire.realtime_events');
	margaret.network.cut();
	// From here on one node is left: for its clients, and for what the portal publishes over HTTP.
	await command('kill', second);
	await portal.command('traffic 12', /published/);
	const published = async () => (await portal.query(`SELECT payload->'update'->>'title' AS title FROM scopewire.realtime_events
		WHERE serial > $1 AND event_type LIKE '%ProjectUpdated' ORDER BY serial`, [serial])).map((row) => row.title);
	await waitFor(async () => (await published()).length === 12, '12 events, the last ones of jobs');
	for (const page of [ada, grace]) {
		await waitFor(async () => (await titles(page)).length >= 12, 'all have arrived');
		assert.deepEqual(await titles(page), await published());
		assert.equal(await nodeOf(page), third);
	}
});

test('a user who does not come back from a killed node leaves when its lease ends, the others are there', async () => {
	for (const page of [ada, grace]) await areHere(page, 'Ada Lovelace', 'Grace Hopper');
	await waitFor(async () => String(await live()) === String(third), 'one node', LEASE_MS);
	// On a slow machine Grace may have been away for longer than a lease, too.
	assert.equal(await ada.evaluate(() => window.left.at(-1)), 'Margaret Hamilton');
});

test('nodes that are started again serve pages, and every page shows the same people', async () => {
	for (const node of [first, second]) await command('start', node);
	await waitFor(async () => (await live()).length === 3, 'three nodes', LEASE_MS);
	margaret.network.mend();
	await margaret.reload();
	await portal.visit(margaret, PROJECT);
	assert.notEqual(await nodeOf(margaret), third, 'the node with the fewest sockets');
	for (const page of [ada, grace, margaret]) await areHere(page, ...ALL);
	await comment(margaret, 'All three are here again');
	for (const page of [ada, grace]) await comments(page, 'All three are here again').waitFor();
	for (const page of [ada, grace, margaret]) assert.deepEqual(page.problems, []);
});
