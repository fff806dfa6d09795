// SPDX-License-Identifier: MIT
// The log's epoch: it stays through stops, kills and crashes, and changes when events that
// clients may have seen were lost: a dump or a copy was restored, a standby was promoted that
// did not have them, a table was emptied.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { MAX_CONNECTIONS, binaries, end, logged, newDatabase, query, start, startCluster, startDaemon,
	tempFolder, unprivileged, waitFor } from '../lib/harness.mjs';

const one = async (daemon, sql) => (await daemon.query(sql))[0];
const epochOf = async (daemon) => (await one(daemon, 'SELECT epoch FROM log_meta')).epoch;
const lastOf = async (daemon) => Number((await one(daemon,
	'SELECT max(serial) AS v FROM realtime_events')).v);
const run = (name, args) => execFileSync(path.join(binaries(), name), args,
	{ ...unprivileged(), cwd: '/', stdio: 'pipe' });
const stateFile = (daemon) => path.join(daemon.options.server?.state_dir ?? daemon.stateFolder,
	'log-position');

/** Publishes n events and waits until the daemon has stored that it delivered them. */
async function publish(daemon, n) {
	for (let i = 0; i < n; i++)
		assert.equal((await daemon.api().trigger('c', 'E', { i })).status, 200);
	const last = await lastOf(daemon);
	await waitFor(async () => Number((await one(daemon,
		'SELECT max(serial) AS v FROM node_cursor')).v) >= last, 'the saved cursor');
	if (daemon.options.embedded || daemon.options.server?.state_dir)
		await waitFor(() => fs.readFileSync(stateFile(daemon), 'utf8').split(' ')[1] >= last,
			'the state file');
	return last;
}

/** It goes on: an event reaches a socket, and its serial is above all that were seen before. */
async function assertServes(daemon, above) {
	const wire = await daemon.connect();
	await wire.subscribe('c');
	await daemon.query(`SELECT broadcast('c', 'Sql', '{}')`);
	assert.ok((await wire.next({ event: 'Sql' })).serial > above);
	await daemon.api().trigger('c', 'Http', {});
	assert.ok((await wire.next({ event: 'Http' })).serial > above);
	await wire.close();
}

const changed = (daemon, why) =>
	assert.match(daemon.logText, new RegExp(`the event log was replaced or restored: ${why}`));
const unchanged = (daemon) => assert.doesNotMatch(daemon.logText, /the event log was replaced or restored/);

test('stops, kills and crashes of the daemon or PostgreSQL keep the epoch', async (t) => {
	const daemon = await startDaemon({ embedded: true }, t);
	const epoch = await epochOf(daemon);
	for (const how of ['stop', 'kill', 'crash', 'stop']) {
		await publish(daemon, 3);
		if (how === 'crash')
			run('pg_ctl', ['stop', '-D', path.join(daemon.stateFolder, 'data'), '-m', 'immediate',
				'-w']);
		else await daemon[how]();
		if (how !== 'crash') await daemon.start();
		await waitFor(() => epochOf(daemon).catch(() => null), 'the database');
		await waitFor(async () => (await daemon.api().trigger('c', 'E', {})).status === 200,
			'publishing');
		assert.equal(await epochOf(daemon), epoch);
	}
	unchanged(daemon);
});

test('a restored dump, elsewhere or in place, has a new epoch', async (t) => {
	const daemon = await startDaemon({}, t);
	const epoch = await epochOf(daemon);
	const last = await publish(daemon, 5);
	const { host, name } = daemon.database;
	const dump = path.join(tempFolder('dump'), 'log.sql');
	fs.writeFileSync(dump, run('pg_dump', ['-h', host, '-U', 'scopewire', '-n', 'scopewire', name]));
	const restore = (database) => run('psql', ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', host,
		'-U', 'scopewire', '-d', database, '-f', dump]);
	await publish(daemon, 5);
	await daemon.stop();

	// In place, older than the last delivered event.
	await query(host, name, 'DROP SCHEMA scopewire CASCADE');
	restore(name);
	assert.equal(await epochOf(daemon), epoch);
	await daemon.start();
	const second = await epochOf(daemon);
	assert.notEqual(second, epoch);
	changed(daemon, 'it was restored from a copy');
	assert.equal(await lastOf(daemon), last);
	await assertServes(daemon, last);
	await daemon.restart();
	assert.equal(await epochOf(daemon), second);

	// Into another database.
	await daemon.stop();
	daemon.database = await newDatabase();
	restore(daemon.database.name);
	await daemon.start();
	assert.ok(![epoch, second].includes(await epochOf(daemon)));
	await assertServes(daemon, last);
});

test('a restored copy of the files has a new epoch, unless it lost nothing',
	async (t) => {
		const daemon = await startDaemon({ embedded: true }, t);
		const epoch = await epochOf(daemon);
		await publish(daemon, 5);
		await daemon.stop();
		const data = path.join(daemon.stateFolder, 'data');
		const copy = path.join(daemon.stateFolder, 'copy');
		const restore = () => {
			execFileSync('rm', ['-rf', data]);
			execFileSync('cp', ['-a', copy, data]);
		};
		execFileSync('cp', ['-a', data, copy]);

		restore();
		await daemon.start();
		assert.equal(await epochOf(daemon), epoch);
		unchanged(daemon);

		const last = await publish(daemon, 5);
		await daemon.stop();
		restore();
		await daemon.start();
		assert.notEqual(await epochOf(daemon), epoch);
		changed(daemon, 'it ends before the last event that was delivered');
		await assertServes(daemon, last);
	});

test('a restored copy with as many serials is detected by the event\'s id', async (t) => {
	const folder = tempFolder('state');
	const daemon = await startDaemon({ embedded: true, server: { state_dir: folder } }, t);
	const epoch = await epochOf(daemon);
	await publish(daemon, 2);
	await daemon.stop();
	const data = path.join(daemon.stateFolder, 'data');
	execFileSync('cp', ['-a', data, `${data}.copy`]);
	await daemon.start();
	const last = await publish(daemon, 1);
	await daemon.stop();
	// The copy goes its own way up to the same serial, by a daemon that knows nothing.
	execFileSync('rm', ['-rf', data]);
	execFileSync('mv', [`${data}.copy`, data]);
	const kept = fs.readFileSync(path.join(folder, 'log-position'));
	fs.rmSync(path.join(folder, 'log-position'));
	await daemon.start();
	assert.equal(await epochOf(daemon), epoch); // the loss cannot be detected
	while (await lastOf(daemon) < last) await publish(daemon, 1);
	await daemon.stop();
	fs.writeFileSync(path.join(folder, 'log-position'), kept);
	await daemon.start();
	assert.notEqual(await epochOf(daemon), epoch);
	changed(daemon, 'it does not contain the last event that was delivered');
	// A file that is none is taken no notice of.
	const second = await epochOf(daemon);
	await daemon.stop();
	fs.writeFileSync(path.join(folder, 'log-position'), `${second} 99999999999999999999999 x`);
	await daemon.start();
	assert.equal(await epochOf(daemon), second);
});

test('a log that was emptied or set back by hand has a new epoch', async (t) => {
	const daemon = await startDaemon({}, t);
	const epochs = [await epochOf(daemon)];
	for (const [sql, why] of [
		['TRUNCATE realtime_events', 'its events are missing'],
		[`SELECT setval('realtime_events_serial', 1)`, 'its serials were set back'],
		[`TRUNCATE realtime_events; SELECT setval('realtime_events_serial', 1)`,
			'it ends before the last event that was delivered']]) {
		const last = await publish(daemon, 5);
		await daemon.stop();
		for (const statement of sql.split('; ')) await daemon.query(statement);
		await daemon.start();
		const epoch = await epochOf(daemon);
		assert.ok(!epochs.includes(epoch), sql);
		epochs.push(epoch);
		changed(daemon, why);
		await assertServes(daemon, why.includes('ends before') ? 0 : last);
	}
});

test('a log that is set back under a running daemon disconnects no client', async (t) => {
	const daemon = await startDaemon({}, t);
	const epoch = await epochOf(daemon);
	const wire = await daemon.connect();
	await wire.subscribe('c');
	const last = await publish(daemon, 10);
	await daemon.query('DELETE FROM realtime_events WHERE serial > 3');
	await daemon.query(`SELECT setval('realtime_events_serial', 3)`);
	await daemon.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name = 'scopewired' AND datname = current_database()`);
	await waitFor(async () => await epochOf(daemon) !== epoch, 'a new epoch');
	await waitFor(async () => (await daemon.api().trigger('c', 'After', {})).status === 200,
		'publishing');
	assert.ok((await wire.next({ event: 'After' })).serial > last);
	await daemon.query(`SELECT broadcast('c', 'AfterSql', '{}')`);
	assert.ok((await wire.next({ event: 'AfterSql' })).serial > last + 1);
});

test('a promoted standby keeps the epoch only if it has every event', async (t) => {
	const folder = tempFolder('state');
	const primary = await startCluster();
	t.after(() => primary.child.exitCode ?? primary.stop());
	await query(primary.socket, 'postgres', 'CREATE DATABASE portal OWNER scopewire', [], 'postgres');
	const daemon = await startDaemon({ databaseMode: 'none', server: { state_dir: folder },
		database: { host: primary.socket, name: 'portal', user: 'scopewire' } }, t);
	daemon.database = daemon.options.database;
	const epoch = await epochOf(daemon);
	await publish(daemon, 5);

	/** A standby that has all that the server had; start() is to be called. */
	const standbyOf = (socket, name) => {
		const at = tempFolder(name);
		const who = unprivileged();
		if (who.uid) fs.chownSync(at, who.uid, who.gid);
		const data = path.join(at, 'data');
		run('pg_basebackup', ['-h', socket, '-U', 'postgres', '-D', data, '-R', '-X', 'stream',
			'--no-sync', '-c', 'fast']);
		return { socket: at, data, start: async () => {
			const child = start(path.join(binaries(), 'postgres'), ['-D', data,
				'-c', 'listen_addresses=', '-c', `unix_socket_directories=${at}`,
				'-c', `max_connections=${MAX_CONNECTIONS}`, '-c', 'logging_collector=off', '-c', 'fsync=off'],
			{ ...who, cwd: at, env: { PATH: process.env.PATH, LC_ALL: 'C.UTF-8' } });
			await logged(child, /ready to accept read-only connections/);
			t.after(() => end(child, 'SIGINT'));
			return child;
		} };
	};
	const promote = async (standby) => {
		run('pg_ctl', ['promote', '-D', standby.data, '-w']);
		Object.assign(daemon.options.database, { host: standby.socket });
	};

	// All is there: the daemon's own memory of it, over its restart, is the proof.
	const first = standbyOf(primary.socket, 'first');
	await first.start();
	const last = await publish(daemon, 5);
	await waitFor(async () => Number((await query(first.socket, 'portal',
		'SELECT max(serial) AS v FROM realtime_events'))[0].v) >= last, 'replication');
	await daemon.stop();
	await primary.stop();
	await promote(first);
	await daemon.start();
	assert.equal(await epochOf(daemon), epoch);
	unchanged(daemon);

	// The next one has not got the end of it.
	const second = standbyOf(first.socket, 'second');
	const more = await publish(daemon, 5);
	await daemon.stop();
	run('pg_ctl', ['stop', '-D', first.data, '-m', 'fast', '-w']);
	await second.start();
	await promote(second);
	await daemon.start();
	const after = await epochOf(daemon);
	assert.notEqual(after, epoch);
	changed(daemon, 'it ends before the last event that was delivered');
	await assertServes(daemon, more);

	// No event is missing, but no record proves it.
	const third = standbyOf(second.socket, 'third');
	await daemon.stop();
	run('pg_ctl', ['stop', '-D', second.data, '-m', 'fast', '-w']);
	await third.start();
	await promote(third);
	fs.rmSync(path.join(folder, 'log-position'));
	await daemon.start();
	assert.notEqual(await epochOf(daemon), after);
	changed(daemon, 'the server was promoted or recovered');
});

test('a state file that cannot be written is reported once, and written later', async (t) => {
	const folder = tempFolder('state');
	const daemon = await startDaemon({ server: { state_dir: folder } }, t);
	const inTheWay = path.join(folder, 'log-position.new');
	const written = () => Number(fs.readFileSync(stateFile(daemon), 'utf8').split(' ')[1]);
	const add = async () => {
		assert.equal((await daemon.api().trigger('c', 'E', '{}')).status, 200);
		return lastOf(daemon);
	};
	await publish(daemon, 1);
	fs.mkdirSync(inTheWay);
	for (let i = 0; i < 2; i++) {
		const last = await add();
		await waitFor(async () => Number((await one(daemon, 'SELECT serial AS v FROM node_cursor')).v) >= last,
			'the cursor is saved');
	}
	await logged(daemon.child, /log-position cannot be written/);
	fs.rmdirSync(inTheWay);
	const last = await add();
	await waitFor(() => written() >= last, 'the last event is in the file');
	assert.equal(daemon.logText.match(/log-position cannot be written/g).length, 1);
	await logged(daemon.child, /log-position can be written again/);
});
