// SPDX-License-Identifier: MIT
// Channel rules over REST: what an application's server may write, and that it counts at once.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, Sync, failed, ok, startDaemon, waitFor } from '../lib/harness.mjs';

const OTHER = { id: 'other', key: 'other-key', secret: 'other-secret' };

let daemon, server, other;
before(async () => {
	daemon = await startDaemon({ apps: [APP, OTHER] });
	server = Sync.server(daemon);
	other = Sync.server(daemon, OTHER);
});
after(() => daemon?.stop());

const may = async (channel, roles) => ok(await server.post('may', { user_id: 7, roles, channels: [channel] }))
	.results[0].allowed;

test('a rule is added, counts at once, is changed and deleted', async () => {
	assert.equal(await may('private-order.7', ['staff']), false);
	const fields = { pattern: 'order.{id}', rule: 'role', argument: 'admin,staff' };
	const { rule } = ok(await server.put('rules', fields));
	assert.deepEqual(rule, { id: rule.id, app: APP.id, ...fields, can_write: false });
	await waitFor(() => may('private-order.7', ['staff']), 'the rule counts');
	const again = ok(await server.post('rules', { ...fields, can_write: true })).rule;
	assert.deepEqual(again, { ...rule, can_write: true });
	assert.deepEqual(ok(await server.get('rules')).rules, [again]);
	assert.deepEqual(ok(await other.get('rules')).rules, []);
	assert.deepEqual(ok(await other.delete(`rules/${rule.id}`)), { deleted: false });
	assert.deepEqual(ok(await server.delete(`rules/${rule.id}`)), { deleted: true });
	assert.deepEqual(ok(await server.post(`rules/${rule.id}/delete`)), { deleted: false });
	await waitFor(async () => !await may('private-order.7', ['staff']), 'the rule counts no more');
});

test('the list has pages, and the rules for all applications', async () => {
	await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule) SELECT 'page' || n, 'anyone'
		FROM generate_series(1, 3) n`);
	ok(await server.put('rules', { pattern: 'page4', rule: 'anyone' }));
	const found = [];
	let cursor;
	do {
		const page = ok(await server.get('rules', { limit: 2, ...(cursor && { cursor }) }));
		found.push(...page.rules);
		cursor = page.next_cursor;
	} while (cursor);
	assert.deepEqual(found.map((r) => [r.pattern, r.app]),
		[['page1', null], ['page2', null], ['page3', null], ['page4', APP.id]]);
	failed(await server.delete(`rules/${found[0].id}`), 403, 'forbidden', 'id');
});

test('a predicate is neither written nor deleted over REST', async () => {
	failed(await server.put('rules', { pattern: 'p.{id}', rule: 'sql', argument: 'true' }), 400, 'invalid_value', 'rule');
	const [{ id }] = await daemon.query(`INSERT INTO scopewire.channel_rules (app, pattern, rule, argument)
		VALUES ($1, 'p.{id}', 'sql', 'true') RETURNING id`, [APP.id]);
	failed(await server.delete(`rules/${id}`), 403, 'forbidden', 'id');
});

test('a session lock that a predicate takes is free again when it was evaluated', async () => {
	const take = `pg_try_advisory_lock(hashtext('theirs'))`;
	await daemon.query(`INSERT INTO scopewire.channel_rules (app, pattern, rule, argument)
		VALUES ($1, 'locked.{id}', 'sql', $2)`, [APP.id, take]);
	await waitFor(() => may('private-locked.1', ['staff']), 'the predicate allows');
	const isFree = async () => (await daemon.query(`SELECT ${take} AS free`))[0].free;
	assert.equal(await isFree(), true);
	const { status } = await Sync.user(daemon, 7, { roles: ['staff'] })
		.post('/broadcasting/auth', { socket_id: '1.1', channel_name: 'private-locked.2' });
	assert.equal(status, 200);
	assert.equal(await isFree(), true);
});

test('what is not a rule is refused with the reason', async () => {
	const wrong = [[{ pattern: 'a.{id}', rule: 'owner' }, /needs an argument/],
		[{ pattern: 'a.{id}', rule: 'owner', argument: 'user' }, /has no placeholder \{user\}/],
		[{ pattern: 'a', rule: 'role', argument: 'a, b' }, /without spaces/],
		[{ pattern: 'a', rule: 'anyone', argument: 'x' }, /takes no argument/],
		[{ pattern: 'private-a', rule: 'anyone' }, /without private- and presence-/],
		[{ pattern: 'a b', rule: 'anyone' }, /letters, digits/]];
	for (const [rule, reason] of wrong) {
		const answer = await server.put('rules', rule);
		failed(answer, 400, 'invalid_value', 'pattern');
		assert.match(answer.json.error.message, reason);
	}
	failed(await Sync.user(daemon, 7).put('rules', { pattern: 'a', rule: 'anyone' }), 403, 'forbidden');
	failed(await Sync.user(daemon, 7).get('rules'), 403, 'forbidden');
});
