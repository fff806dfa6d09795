// SPDX-License-Identifier: MIT
// Functions for the application's own transactions, called by two transactions in opposite order:
// only those that docs/sql.md names can wait for each other.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { APP, Sync, ok, startDaemon, waitFor } from '../lib/harness.mjs';

const DEADLOCK = '40P01', CONFLICT = '40001';
const docs = fs.readFileSync(new URL('../../docs/sql.md', import.meta.url), 'utf8');
const chapter = docs.split('\n## ').find((text) => text.startsWith('Order of calls in a transaction'));
/** The functions of the table in the docs, by the column that has yes. */
const documented = (column) => chapter.split('\n').filter((line) => line.startsWith('| `'))
	.map((line) => line.split('|').map((cell) => cell.trim()))
	.filter((cells) => cells[column] === 'yes').map((cells) => cells[1].match(/`(\w+)\(/)[1]);
const LOCKING = documented(3), CONFLICTING = documented(4);

let daemon, tokens, run = 0;
before(async () => {
	daemon = await startDaemon();
	tokens = await Promise.all([1, 2].map(async (id) => ok(await Sync.server(daemon).post('locks',
		{ resource_type: 'invoice', resource_id: id, user_id: 1 })).lock.token));
	for (const id of [1, 2]) {
		await daemon.query('SELECT user_put($1, $2, app => $3)', [id, 'a', APP.id]);
		await daemon.query('SELECT notification_send($1, $2, app => $3)', [[id], 'T', APP.id]);
	}
});
after(() => daemon?.stop());

/** Each function with a key, 1 or 2, that two calls can share.  run makes each pair's keys its own. */
const calls = {
	broadcast: (key, run) => [`SELECT scopewire.broadcast('c', 'E', '{}'::json, event_id => $1, app => $2)`,
		[`${run}-${key}`, APP.id]],
	user_put: (key, run) => ['SELECT scopewire.user_put($1, $2, app => $3)', [key, `name ${run}`, APP.id]],
	user_delete: (key) => ['SELECT scopewire.user_delete($1, app => $2)', [key + 10, APP.id]],
	notification_send: (key) => ['SELECT scopewire.notification_send($1, $2, app => $3)', [[key], 'T', APP.id]],
	notifications_read: (key) => ['SELECT scopewire.notifications_read($1, app => $2)', [key, APP.id]],
	activity_add: (key) => [`SELECT scopewire.activity_add('paid', 'Paid', $1, app => $2)`, [key, APP.id]],
	resource_put: (key, run) => [`SELECT scopewire.resource_put('invoice', $1, $2, $3)`, [String(key), { run }, APP.id]],
	resource_delete: (key) => [`SELECT scopewire.resource_delete('invoice', $1, $2)`, [String(key), APP.id]],
	lock_check: (key) => [`SELECT scopewire.lock_check('invoice', $1, $2, $3)`,
		[String(key), tokens[key - 1], APP.id]],
};

/** What there has to be so that a call changes something. */
const needed = {
	user_delete: () => calls.user_put(11, ++run),
	notifications_read: () => calls.notification_send(1),
};

async function twoSessions(t) {
	const sessions = await Promise.all([daemon.session(), daemon.session()]);
	t.after(() => Promise.all(sessions.map((session) => session.end())));
	return sessions;
}

/** Until the session's statement is done, or waits for a lock. */
const waits = (session, isDone) => waitFor(async () => isDone() || (await daemon.query(
	`SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'`, [session.processID])).length,
'the second transaction');

/** The SQLSTATEs with which two transactions fail that call [one, two] at the same time. */
async function codes(sessions, steps) {
	const found = new Set();
	const run = (session, sql, values) => session.query(sql, values).catch((e) => found.add(e.code));
	await Promise.all(sessions.map((session) => session.query('BEGIN')));
	await Promise.all(sessions.map(async (session, i) => {
		for (const [sql, values] of steps[i]) await run(session, sql, values);
		await run(session, 'COMMIT');
	}));
	return [...found].filter((code) => code !== '25P02');     // the transaction failed before
}

/** The same, but both have made their first call, or wait in it, before either makes its second. */
async function crossed([one, two], [first, second]) {
	await Promise.all([one, two].map((session) => session.query('BEGIN')));
	await one.query(...first);
	const found = new Set();
	let isDone = false;
	const begun = two.query(...second).catch((e) => found.add(e.code)).then(() => { isDone = true; });
	await waits(two, () => isDone);
	const finish = async (session, call) => {
		await session.query(...call).catch((e) => found.add(e.code));
		await session.query('COMMIT').catch((e) => found.add(e.code));
	};
	await Promise.all([begun, finish(one, second), finish(two, first)]);
	return [...found];
}

const names = Object.keys(calls);
for (const [i, a] of names.entries()) {
	for (const b of names.slice(i)) {
		const mayWait = LOCKING.includes(a) && LOCKING.includes(b);
		test(`${a} and ${b} in opposite order: ${mayWait ? 'named in the docs' : 'no deadlock'}`, async (t) => {
			const sessions = await twoSessions(t);
			const pair = [calls[a](1, ++run), calls[b](2, run)];
			// The first user_delete() of a transaction waits for all others.
			const isDeadlock = mayWait && !(a === 'user_delete' && b === a);
			assert.deepEqual(await crossed(sessions, pair), isDeadlock ? [DEADLOCK] : []);
			const other = [calls[a](1, ++run), calls[b](2, run)];
			assert.deepEqual(await codes(sessions, [other, other]), [], 'in one order');
		});
	}
}

for (const name of names)
	test(`${name} with REPEATABLE READ: ${CONFLICTING.includes(name) ? '40001 as in the docs' : 'no conflict'}`,
		async (t) => {
			const [one, two] = await twoSessions(t);
			const call = calls[name](1, ++run);
			if (needed[name]) await two.query(...needed[name]());
			await one.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM scopewire.users');
			// Nothing else changes the rows: the daemon would empty the table of pending events.
			t.after(() => process.kill(daemon.pid, 'SIGCONT'));
			process.kill(daemon.pid, 'SIGSTOP');
			await two.query('BEGIN');
			await two.query(...call);
			let code, isDone = false;
			const called = one.query(...call).catch((e) => { code = e.code; }).finally(() => { isDone = true; });
			await waits(one, () => isDone);
			await two.query('COMMIT');
			await called;
			process.kill(daemon.pid, 'SIGCONT');
			await one.query(code ? 'ROLLBACK' : 'COMMIT').catch((e) => { code = e.code; });
			assert.equal(code, CONFLICTING.includes(name) ? CONFLICT : undefined);
		});
