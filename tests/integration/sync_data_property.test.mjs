// SPDX-License-Identifier: MIT
// Clients that edit offline, lose requests and answers, send the same again, merge what was in
// conflict, while the daemon is killed once, and its database connections twice: in the end all have what the server has, no accepted
// edit is lost, and none was made twice.
// SCOPEWIRE_SYNC_ROUNDS makes it longer, SCOPEWIRE_SYNC_SEED repeats its choices.
import http from 'node:http';
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { Sync, pause, randomFrom, startDaemon, waitFor } from '../lib/harness.mjs';

const ROUNDS = Number(process.env.SCOPEWIRE_SYNC_ROUNDS ?? 25);
const SEED = Number(process.env.SCOPEWIRE_SYNC_SEED ?? Date.now() % 1000000);
const CLIENTS = 5;
const PROGRESS_MS = 60000 + 2000 * ROUNDS;
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];

/** One request over a connection of its own.  fault: 'cut' in its midst, 'lost' before the answer. */
function ask(url, method, authorization, body, fault, ms) {
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

/** What all clients were promised. */
class Promised {
	accepted = [];           // {name, version, op, edit}
	removed = new Set();     // edits that an accepted delete knew of
	repeated = 0;
	conflicts = 0;
	faults = 0;
}

class Client {
	known = new Map();       // name -> {version, edits: Set or null}: what the server is known to have
	wishes = [];             // {name, kind, edit}: made offline, not sent yet
	serial = 0;

	constructor(daemon, id, promised) {
		Object.assign(this, { daemon, id, promised });
		this.random = randomFrom(SEED * 31 + id);
		this.authorization = Sync.user(daemon, id).authorization;
	}

	pick(list) {
		return list[Math.floor(this.random() * list.length)];
	}

	/** Asks until it is answered; the request is the same each time. */
	async insist(method, path, body) {
		for (;;) {
			const dice = this.random();
			const fault = this.calm ? null : dice < 0.2 ? 'lost' : dice < 0.3 && body ? 'cut' : null;
			try {
				const answer = await ask(`${this.daemon.url}/api/sync/${path}`, method,
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

	/** Mutations of what is wished, on top of what is known and of each other. */
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
		// A forced patch may stand on what is not known here; the feed will tell.
		if (m.expected_version !== null) {
			assert.equal(m.expected_version === 0 || result.version === m.expected_version + 1, true);
			this.known.set(wish.name, { version: result.version, edits: to.edits });
		}
	}

	async flush() {
		const batch = this.batch();
		if (!batch.length) return;
		const { results } = await this.insist('POST', 'changes', JSON.stringify({
			client_id: `client-${this.id}`, mutations: batch.map((b) => b.m) }));
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
			// Merged: the same wish on top of what there is; a delete is thought over.
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
			if (this.random() < 0.3) await pause(this.random() * 20);   // out of reach
			if (this.random() < 0.7) await this.flush();
			if (this.random() < 0.7) await this.pull();
			else if (this.random() < 0.5) this.since = undefined;       // a new device
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

test('all end with the same, nothing is lost, nothing is made twice', async (t) => {
	console.log(`sync_data_property: seed ${SEED}, ${ROUNDS} rounds`);
	const daemon = await startDaemon({}, t);
	await daemon.query(`INSERT INTO channel_rules (pattern, rule) VALUES ('note.{id}', 'anyone')`);
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
		// A tombstone that was there before a client began is unknown to it.
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
	// It was no walk in the park.
	for (const what of ['repeated', 'conflicts', 'faults'])
		assert.ok(promised[what] > 0, `seed ${SEED}: ${what}`);
	console.log(`sync_data_property: ${promised.accepted.length} accepted, ${promised.conflicts} ` +
		`conflicts, ${promised.faults} faults, ${promised.repeated} repeated`);
});
