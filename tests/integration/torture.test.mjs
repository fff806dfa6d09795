// SPDX-License-Identifier: MIT
// Sixteen writers, by SQL, HTTP, HTTPS and the sync API, while the daemon, its backends and PostgreSQL
// itself are killed and the configuration is read again: every reader, by WebSocket with since (half of
// them over TLS) and by REST, sees each committed event once, in serial order; what was acknowledged is
// there, what was rolled back is not.
// SCOPEWIRE_TORTURE_SECONDS makes it longer, SCOPEWIRE_TORTURE_SEED repeats its choices.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { APP, Sync, certificate, pause, randomFrom, startCluster, startDaemon, waitFor } from '../lib/harness.mjs';

const SECONDS = Number(process.env.SCOPEWIRE_TORTURE_SECONDS ?? 15);
const SEED = Number(process.env.SCOPEWIRE_TORTURE_SEED ?? Date.now() % 1000000);
const CHANNEL = 'torture';
const EVENT = 'E';
const END_MS = 90000;

class World {
	committed = new Set();   // acknowledged: must be in the table
	activities = new Set();  // likewise, in the table of activities
	rolledBack = new Set();  // must not be
	stopping = false;        // no more writing
	last = null;             // the serial that readers have to reach
	constructor(daemon, cluster, tls) {
		Object.assign(this, { daemon, cluster, tls });
	}

	get secure() {
		return `localhost:${this.daemon.port}`;
	}
}

// ---- writers --------------------------------------------------------------------------------

/** One transaction of the named events, rolled back or not. */
async function transaction(client, random, names, keep) {
	await client.query('BEGIN');
	for (const it of names) {
		if (random() < 0.5)
			await client.query('SELECT broadcast($1, $2, $3)', [CHANNEL, EVENT, { it }]);
		else
			await client.query('INSERT INTO realtime_events(channel, event_type, payload) ' +
				'VALUES ($1, $2, $3)', [CHANNEL, EVENT, { it }]);
		if (random() < 0.3) await pause(random() * 30);
	}
	await client.query(keep ? 'COMMIT' : 'ROLLBACK');
}

/** Transactions of one to three events, some rolled back, some slow. */
async function sqlWriter(world, id) {
	const random = randomFrom(SEED + id);
	let client;
	for (let n = 0; !world.stopping; n++) {
		const names = Array.from({ length: 1 + Math.floor(random() * 3) },
			(_, i) => `sql-${id}-${n}-${i}`);
		const keep = random() >= 0.15;
		try {
			client ??= await world.daemon.session();
			await transaction(client, random, names, keep);
			for (const it of names) (keep ? world.committed : world.rolledBack).add(it);
		} catch {
			// cut off: what became of the transaction is not known, except that a rollback is none
			if (!keep) for (const it of names) world.rolledBack.add(it);
			await client?.end().catch(() => {});
			client = undefined;
			await pause(50);
		}
		if (random() < 0.5) await pause(random() * 10);
	}
	await client?.end().catch(() => {});
}

/** Publishes that may fail; those that were acknowledged count. */
async function httpWriter(world, id, batch) {
	const random = randomFrom(SEED + id);
	const api = id % 2 ? world.daemon.api()
		: world.daemon.api(APP, `https://${world.secure}`, { ca: world.tls.ca });
	for (let n = 0; !world.stopping; n++) {
		const names = Array.from({ length: batch ? 1 + Math.floor(random() * 8) : 1 },
			(_, i) => `http-${id}-${n}-${i}`);
		const data = (it) => JSON.stringify({ it });
		const answer = await (batch
			? api.post('/batch_events', { batch: names.map((it) =>
				({ name: EVENT, channel: CHANNEL, data: data(it) })) })
			: api.trigger(CHANNEL, EVENT, data(names[0]))).catch(() => undefined);
		if (answer?.status === 200) for (const it of names) world.committed.add(it);
		await pause(answer ? random() * 10 : 50);
	}
}

/** Activities that may fail; those that were acknowledged count.  None is sent twice. */
async function syncWriter(world, id) {
	const random = randomFrom(SEED + id);
	for (let n = 0; !world.stopping; n++) {
		const description = `sync-${id}-${n}`;
		const answer = await Sync.server(world.daemon)
			.post('activities', { type: 'tortured', description }).catch(() => undefined);
		if (answer?.status === 201) world.activities.add(description);
		await pause(answer ? random() * 20 : 50);
	}
}

// ---- readers --------------------------------------------------------------------------------

const serialOf = (position) => Number(position.split(':')[1]);

/** As docs/replay.md has it: one position, repeats at or below it dropped. */
class SocketReader {
	seen = [];          // serials
	connections = 0;
	replayed = 0;
	position = null;
	constructor(world, id) {
		this.world = world;
		this.random = randomFrom(SEED + 1000 + id);
		this.isSecure = id % 2 === 0;
	}

	/** One frame of the channel; false: this connection is of no more use. */
	take(frame) {
		if (frame.event === 'scopewire:resync') {
			const { reason } = JSON.parse(frame.data);
			assert.equal(reason, 'unavailable', `resync: ${frame.data}`);
			return false;
		}
		if (frame.event === 'scopewire:replayed') this.replayed += JSON.parse(frame.data).count;
		if (frame.event === EVENT && frame.serial > serialOf(this.position)) {
			this.seen.push(frame.serial);
			this.position = `${this.position.split(':')[0]}:${frame.serial}`;
		}
		if (frame.position) this.position = frame.position;
		return true;
	}

	async connection() {
		const { daemon, secure, tls } = this.world;
		const wire = await daemon.connect(
			this.isSecure ? { base: `wss://${secure}`, ca: tls.ca } : {});
		const leaveAt = Date.now() + 200 + this.random() * 3000;
		const since = this.position ? { since: this.position } : {};
		wire.sendSubscribe(CHANNEL, since);
		this.connections++;
		let taken = 0, useful = true;
		while (useful && !this.isDone() && wire.closeCode === undefined
			&& (this.world.stopping || Date.now() < leaveAt)) {
			for (; useful && taken < wire.frames.length; taken++)
				if (wire.frames[taken].channel === CHANNEL) useful = this.take(wire.frames[taken]);
			await pause(5);
		}
		await wire.terminate();
	}

	isDone() {
		return this.world.last !== null && this.position !== null
			&& serialOf(this.position) >= this.world.last;
	}

	async run() {
		while (!this.isDone()) {
			const failed = await this.connection().then(() => null, (error) => error);
			if (failed instanceof assert.AssertionError) throw failed;
			if (failed) await pause(20);
		}
	}
}

/** The same over GET /api/sync/events. */
class RestReader {
	seen = [];
	position = null;
	constructor(world) {
		this.world = world;
	}

	async page() {
		const answer = await Sync.server(this.world.daemon)
			.get('events', { channels: CHANNEL, since: this.position, limit: 200 });
		if (answer.status !== 200) {
			assert.equal(answer.status, 503, answer.text);
			return;
		}
		for (const event of answer.json.events) this.seen.push(event.serial);
		this.position = answer.json.position;
	}

	async run(epoch) {
		this.position = `${epoch}:0`;
		while (this.world.last === null || serialOf(this.position) < this.world.last) {
			const failed = await this.page().then(() => null, (error) => error);
			if (failed instanceof assert.AssertionError) throw failed;
			await pause(20);
		}
	}
}

// ---- the killer -----------------------------------------------------------------------------

const kills = {
	async backends({ daemon }) {
		await daemon.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE application_name = 'scopewired' AND datname = current_database()
			AND random() < 0.5`);
	},
	async daemon({ daemon }, random) {
		await daemon.kill();
		await pause(random() * 300);
		await daemon.start();
	},
	async postgres({ cluster }) {
		await cluster.killAndStart();
	},
	async reload({ daemon }) {
		daemon.child?.kill('SIGHUP');
	},
};

async function killer(world) {
	const random = randomFrom(SEED);
	const end = Date.now() + SECONDS * 1000;
	const count = { backends: 0, daemon: 0, postgres: 0, reload: 0 };
	for (let n = 0; Date.now() < end || n < 6; n++) {
		await pause(200 + random() * 800);
		const choice = random();
		const victim = n === 2 ? 'postgres' : n === 3 ? 'reload' : choice < 0.15 ? 'postgres'
			: choice < 0.4 ? 'daemon' : choice < 0.55 ? 'reload' : 'backends';
		await kills[victim](world, random);
		count[victim]++;
	}
	return count;
}

/** Serials, each once and growing, from the first on all that are in the table. */
function checkReader(seen, serials) {
	assert.ok(seen.length, 'a reader saw something');
	for (let i = 1; i < seen.length; i++)
		assert.ok(seen[i] > seen[i - 1], `serial ${seen[i]} behind ${seen[i - 1]}`);
	const missed = new Set(serials.filter((serial) => serial >= seen[0]));
	for (const serial of seen) assert.ok(missed.delete(serial), `serial ${serial} is no row`);
	assert.deepEqual([...missed], [], 'missed');
}

test(`torture for ${SECONDS} s`, { timeout: (SECONDS + 300) * 1000 }, async (t) => {
	const cluster = await startCluster();
	t.after(() => cluster.stop());
	const tls = certificate();
	const daemon = await startDaemon({ cluster, log: { level: 'info' },
		server: { tls_certificate: tls.cert, tls_key: tls.key },
		app: { max_backend_events_per_second: 0, max_replay_events: 1000000 } }, t);
	const world = new World(daemon, cluster, tls);
	t.diagnostic(`seed ${SEED}`);
	const sockets = [1, 2, 3, 4].map((id) => new SocketReader(world, id));
	const rests = [new RestReader(world), new RestReader(world)];
	const listening = sockets.map((reader) => reader.run());
	await waitFor(() => sockets.every((reader) => reader.position), 'all readers connected');
	const epoch = sockets[0].position.split(':')[0];
	const reading = Promise.all([...listening, ...rests.map((reader) => reader.run(epoch))]);
	const writers = Array.from({ length: 16 }, (_, i) =>
		i < 9 ? sqlWriter(world, i) : i < 11 ? syncWriter(world, i) : httpWriter(world, i, i >= 14));
	const count = await Promise.race([killer(world), reading]);
	world.stopping = true;
	await Promise.all(writers);
	await waitFor(async () => (await daemon.query(
		'SELECT count(*)::int AS n FROM realtime_events_pending'))[0].n === 0, 'nothing is pending', END_MS);
	const rows = await daemon.query(`SELECT serial::int AS serial, payload->>'it' AS it
		FROM realtime_events WHERE event_type = $1 ORDER BY serial`, [EVENT]);
	world.last = rows.at(-1).serial;
	await reading;

	const names = rows.map((row) => row.it);
	const present = new Set(names);
	assert.equal(present.size, names.length, 'no event is in the log twice');
	assert.deepEqual([...world.committed].filter((it) => !present.has(it)), []);
	assert.deepEqual([...world.rolledBack].filter((it) => present.has(it)), []);
	assert.ok(world.committed.size > 100 && world.rolledBack.size > 10);
	const activities = (await daemon.query("SELECT description FROM activities WHERE type = 'tortured'"))
		.map((row) => row.description);
	assert.equal(new Set(activities).size, activities.length, 'no activity is there twice');
	assert.deepEqual([...world.activities].filter((one) => !activities.includes(one)), []);
	assert.ok(world.activities.size > 10);
	assert.ok(count.postgres >= 1 && count.reload >= 1 && count.backends + count.daemon >= 3, JSON.stringify(count));
	for (const { seen } of [...sockets, ...rests])
		checkReader(seen, rows.map((row) => row.serial));
	assert.ok(sockets.some((reader) => reader.replayed > 0), 'something was replayed');
});
