// SPDX-License-Identifier: MIT
// Data sync under faults.  Clients edit offline, lose requests and answers, send requests again,
// merge conflicts and are replaced by new clients; the daemon is killed once, and its database
// connections are cut twice.  At the end every client has what the server has, no accepted edit is
// lost, and no edit was applied twice.
// SCOPEWIRE_SYNC_ROUNDS sets the length, SCOPEWIRE_SYNC_SEED repeats the clients' choices.
import http from 'node:http';
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { Sync, pause, randomFrom, startDaemon, waitFor } from '../lib/harness.mjs';

const ROUNDS = Number(process.env.SCOPEWIRE_SYNC_ROUNDS ?? 25);
const SEED = Number(process.env.SCOPEWIRE_SYNC_SEED ?? Date.now() % 1000000);
const CLIENTS = 5;
const PROGRESS_MS = 60000 + 2000 * ROUNDS;
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];

/**
 * One request over a connection of its own.  fault 'cut': the connection ends within the request's
 * body; 'lost': it ends, after ms, before the answer is read.
 */
function requestWithFault(url, method, authorization, body, fault, ms) {
	return new Promise((resolve, reject) => {
		const call = http.request(url, { method, agent: false, headers: { Authorization: authorization,
			...(body && { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }) } });
		call.on('error', reject).on('close', () => reject(new Error('closed')));
		call.on('response', (response) => {
			const parts = [];
			response.on('data', (p) => parts.push(p)).on('error', reject).on('end', () => {
				if (response.complete && !fault)
					resolve({ status: response.statusCode, text: Buffer.concat(parts).toString() });
			});
		});
		if (fault === 'cut') {
			call.write((body ?? '').slice(0, (body ?? '').length / 2));
			setTimeout(() => call.destroy(), ms);
			return;
		}
		if (fault === 'lost') call.on('finish', () => setTimeout(() => call.destroy(), ms));
		call.end(body);
	});
}

/** What the server acknowledged, to all clients together. */
class Promised {
	accepted = [];           // {name, version, op, edit}
	removed = new Set();     // edits that were in a resource when its delete was accepted
	repeated = 0;
	conflicts = 0;
	faults = 0;
}

class Client {
	serial = 0;              // of edits and mutations; never starts again, so that they stay distinct
	devices = 0;

	constructor(daemon, id, promised) {
		Object.assign(this, { daemon, id, promised });
		this.forget();
		this.random = randomFrom(SEED * 31 + id);
		this.authorization = Sync.user(daemon, id).authorization;
	}

	pick(list) {
		return list[Math.floor(this.random() * list.length)];
	}

	/**
	 * The user goes on with a new device: it has no position, no resources, no unsent edits, and a
	 * client_id of its own.
	 */
	forget() {
		this.known = new Map();  // name -> {version, edits: Set or null}: the server's last known state
		this.wishes = [];        // {name, kind, edit}: edits made offline and not sent yet
		this.since = undefined;
		this.clientId = `client-${this.id}-${++this.devices}`;
	}

	/** Sends the same request again until it is answered. */
	async insist(method, path, body) {
		for (;;) {
			const dice = this.random();
			const fault = this.calm ? null : dice < 0.2 ? 'lost' : dice < 0.3 && body ? 'cut' : null;
			try {
				const answer = await requestWithFault(`${this.daemon.url}/api/sync/${path}`, method,
					this.authorization, body, fault, this.random() * 12);
				if (answer.status === 200) return JSON.parse(answer.text);
				assert.equal(answer.status, 503, answer.text);
			} catch (error) {
				if (error.code === 'ERR_ASSERTION') throw error;
				this.promised.faults++;
			}
			await pause(5);
		}
	}

	edit() {
		const n = 1 + Math.floor(this.random() * 4);
		for (let i = 0; i < n; i++) {
			const kind = this.random() < 0.12 ? 'delete' : this.random() < 0.3 ? 'force' : 'add';
			this.wishes.push({ name: this.pick(NAMES), kind, edit: `${this.id}-${++this.serial}` });
		}
	}

	/** The unsent edits as mutations, each based on the known state and the mutations before it. */
	batch() {
		const ahead = new Map(this.known);
		return this.wishes.splice(0).map((wish) => {
			const at = ahead.get(wish.name) ?? { version: 0, edits: null };
			const m = { mutation_id: `${this.id}-${++this.serial}`, resource_type: 'note',
				resource_id: wish.name, expected_version: at.edits ? at.version : 0 };
			const edits = new Set(at.edits ?? []).add(wish.edit);
			if (wish.kind === 'delete' && !at.edits) return null;
			if (wish.kind === 'delete') {
				Object.assign(m, { op: 'delete', data: undefined });
				ahead.set(wish.name, { version: at.version + 1, edits: null });
			} else if (wish.kind === 'force' && at.edits) {
				Object.assign(m, { op: 'patch', data: { [wish.edit]: true }, expected_version: null });
				ahead.set(wish.name, { version: at.version + 1, edits });
			} else {
				Object.assign(m, { op: 'upsert', data: Object.fromEntries([...edits].map((e) => [e, true])) });
				ahead.set(wish.name, { version: at.version + 1, edits });
			}
			return { wish, m, from: at, to: ahead.get(wish.name) };
		}).filter(Boolean);
	}

	learn(row) {
		const old = this.known.get(row.resource_id)?.version ?? 0;
		if (row.version < old) return;
		this.known.set(row.resource_id, { version: row.version,
			edits: row.deleted ? null : new Set(Object.keys(row.data)) });
	}

	accept({ wish, m, from, to }, result) {
		assert.equal(result.changed, true);
		this.promised.accepted.push({ name: wish.name, version: result.version, op: m.op,
			edit: wish.edit });
		if (m.op === 'delete') for (const e of from.edits) this.promised.removed.add(e);
		// A forced patch may have been applied to a version that is not known here; pull() gets it.
		if (m.expected_version !== null) {
			assert.equal(m.expected_version === 0 || result.version === m.expected_version + 1, true);
			this.known.set(wish.name, { version: result.version, edits: to.edits });
		}
	}

	async flush() {
		const batch = this.batch();
		if (!batch.length) return;
		const { results } = await this.insist('POST', 'changes', JSON.stringify({
			client_id: this.clientId, mutations: batch.map((b) => b.m) }));
		assert.equal(results.length, batch.length);
		for (const [i, result] of results.entries()) {
			assert.equal(result.mutation_id, batch[i].m.mutation_id);
			if (result.repeated) this.promised.repeated++;
			if (result.status === 200) {
				this.accept(batch[i], result);
				continue;
			}
			assert.equal(result.status, 409, JSON.stringify(result));
			assert.equal(result.error.code, 'conflict');
			this.promised.conflicts++;
			if (result.current) this.learn(result.current);
			// Merged: the same edit is sent again, based on the current state.  A delete is given up.
			if (batch[i].wish.kind !== 'delete') this.wishes.push(batch[i].wish);
		}
	}

	async pull() {
		for (;;) {
			const query = this.since ? `since=${encodeURIComponent(this.since)}&` : '';
			const page = await this.insist('GET', `changes?${query}types=note&limit=3`);
			assert.equal(page.resync, false);
			for (const row of page.changes) {
				assert.ok(row.version >= (this.known.get(row.resource_id)?.version ?? 0));
				this.learn(row);
			}
			this.since = page.since;
			if (!page.has_more) return;
		}
	}

	async live() {
		for (let round = 0; round < ROUNDS; round++) {
			this.edit();
			if (this.random() < 0.3) await pause(this.random() * 20);   // offline
			if (this.random() < 0.7) await this.flush();
			if (this.random() < 0.7) await this.pull();
			else if (this.random() < 0.5) this.forget();
		}
		this.calm = true;
		while (this.wishes.length) {
			await this.pull();
			await this.flush();
		}
	}
}

const sorted = (known) => [...known].map(([name, { version, edits }]) =>
	[name, version, edits && [...edits].sort()]).sort();

test('after faults, restarts and new devices all clients agree, no edit is lost or applied twice', async (t) => {
	console.log(`sync_data_property: seed ${SEED}, ${ROUNDS} rounds`);
	const daemon = await startDaemon({}, t);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule, can_write)
		VALUES ('note.{id}', 'anyone', true)`);
	const promised = new Promised();
	const clients = Array.from({ length: CLIENTS }, (_, i) => new Client(daemon, i + 1, promised));
	const lives = Promise.all(clients.map((c) => c.live()));
	const progress = async (share) => {
		const enough = ROUNDS * CLIENTS * share;
		await waitFor(() => promised.accepted.length >= enough || clients.every((c) => c.calm),
			`${enough} accepted`, PROGRESS_MS);
	};
	const cut = () => daemon.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name = 'scopewired' AND datname = current_database()`);
	const killer = (async () => {
		await progress(0.3);
		assert.ok((await cut()).length > 0);
		await progress(0.6);
		await daemon.kill();
		await daemon.start();
		await progress(0.9);
		await cut();
	})();
	await Promise.all([lives, killer]);
	for (const client of clients) await client.pull();

	const rows = await daemon.query(`SELECT resource_id, version::int, data FROM sync_entity`);
	const truth = new Map(rows.map((r) => [r.resource_id, { version: r.version,
		edits: r.data && new Set(Object.keys(r.data)) }]));
	for (const client of clients) {
		// A new device does not receive tombstones that are older than its first pull.
		for (const [name, row] of truth)
			if (!row.edits && !client.known.has(name)) client.known.set(name, row);
		assert.deepEqual(sorted(client.known), sorted(truth), `seed ${SEED}`);
	}
	for (const { name, op, edit } of promised.accepted)
		assert.ok(op === 'delete' || promised.removed.has(edit) || truth.get(name).edits?.has(edit),
			`seed ${SEED}: the edit ${edit} of ${name} is lost`);
	for (const [name, { version }] of truth) {
		const versions = promised.accepted.filter((a) => a.name === name).map((a) => a.version)
			.sort((a, b) => a - b);
		assert.deepEqual(versions, Array.from({ length: version }, (_, i) => i + 1),
			`seed ${SEED}: versions of ${name}`);
		const told = await daemon.query(`SELECT (payload->>'version')::int AS version
			FROM realtime_events WHERE channel = $1 ORDER BY id`, [`private-note.${name}`]);
		assert.deepEqual(told.map((e) => e.version), versions, `seed ${SEED}: events of ${name}`);
	}
	// The faults that this test is about did occur.
	for (const what of ['repeated', 'conflicts', 'faults'])
		assert.ok(promised[what] > 0, `seed ${SEED}: ${what}`);
	console.log(`sync_data_property: ${promised.accepted.length} accepted, ${promised.conflicts} ` +
		`conflicts, ${promised.faults} faults, ${promised.repeated} repeated`);
});
