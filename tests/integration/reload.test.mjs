// SPDX-License-Identifier: MIT
// SIGHUP: what a reload applies, what it reports, and what it leaves as it is.
import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import tls from 'node:tls';
import { PROGRAM, Sync, authorize, certificate, channelAuth, end, hmac, runDaemon, start, startDaemon, tempFolder, waitFor }
	from '../lib/harness.mjs';
import { sanitizerOptions } from '../lib/daemon.mjs';

/** The fingerprint of the certificate that a new connection gets. */
function fingerprint(port) {
	return new Promise((resolve, reject) => {
		const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
			resolve(socket.getPeerCertificate().fingerprint256);
			socket.destroy();
		});
		socket.on('error', reject);
	});
}

/** A pair of files, and a function that replaces both by those of another certificate. */
function pair() {
	const folder = tempFolder('pair');
	const [cert, key] = ['cert.pem', 'key.pem'].map((f) => path.join(folder, f));
	const replace = () => {
		const made = certificate();
		fs.copyFileSync(made.cert, cert);
		fs.copyFileSync(made.key, key);
		fs.chmodSync(key, 0o600);
		return made;
	};
	return { cert, key, replace, first: replace() };
}

function hup(daemon) {
	process.kill(daemon.pid, 'SIGHUP');
}

test('a reload takes a new certificate and key, and open connections stay', async (t) => {
	const files = pair();
	const daemon = await startDaemon({ server: { tls_certificate: files.cert, tls_key: files.key } }, t);
	const open = await daemon.connect({ base: `wss://127.0.0.1:${daemon.port}`, ca: files.first.ca,
		servername: 'localhost' });
	await open.subscribe('news');
	const before = await fingerprint(daemon.port);
	files.replace();
	hup(daemon);
	await waitFor(async () => await fingerprint(daemon.port) !== before, 'the new certificate');
	await daemon.api().trigger('news', 'still-open', {});
	await open.next({ event: 'still-open' });
	await open.close();
});

test('a certificate that cannot be used is logged, and the old one stays', async (t) => {
	const files = pair();
	const daemon = await startDaemon({ server: { tls_certificate: files.cert, tls_key: files.key } }, t);
	const before = await fingerprint(daemon.port);
	let seen = 0;
	const refusals = () => (daemon.logText.match(/certificate was not reloaded, the old one stays/g) ?? []).length;
	const other = certificate();
	const broken = [
		() => fs.writeFileSync(files.cert, 'no certificate'),
		() => fs.copyFileSync(other.cert, files.cert),     // of another key
		() => fs.rmSync(files.key),
		() => fs.truncateSync(files.cert, 100),
	];
	for (const breakIt of broken) {
		breakIt();
		hup(daemon);
		seen++;
		await waitFor(() => refusals() === seen, `refusal ${seen}`);
		assert.equal(await fingerprint(daemon.port), before);
	}
	files.replace();
	hup(daemon);
	await waitFor(async () => await fingerprint(daemon.port) !== before, 'the new certificate');
});

test('--check-config loads the certificate and its key', async () => {
	const files = pair();
	const config = path.join(tempFolder('conf'), 'scopewire.conf');
	fs.writeFileSync(config, `[server]\ntls_certificate = ${files.cert}\ntls_key = ${files.key}\n`,
		{ mode: 0o600 });
	const check = () => runDaemon(['--check-config', '--config', config]);
	const fine = await check();
	assert.equal(fine.code, 0, fine.log);
	assert.match(fine.log, /expires within two weeks/);
	fs.copyFileSync(certificate().key, files.key);
	const mismatch = await check();
	assert.equal(mismatch.code, 78, mismatch.log);
	assert.match(mismatch.log, /tls_key: .*key\.pem cannot be used/);
	fs.writeFileSync(files.key, 'no key');
	assert.match((await check()).log, /tls_key: .*key\.pem cannot be used/);
	fs.rmSync(files.cert);
	assert.match((await check()).log, /tls_certificate: .*cert\.pem cannot be used: No such file/);
});

test('the log goes to a file from the start on, and a reload opens it again or changes its format', async (t) => {
	const daemon = await startDaemon({}, t);
	const folder = tempFolder('log'), file = path.join(folder, 'scopewired.log');
	const read = (name) => (fs.existsSync(name) ? fs.readFileSync(name, 'utf8') : '');
	const reload = async (log, pattern, name = file) => {
		daemon.options.log = log;
		daemon.writeConfig();
		hup(daemon);
		await waitFor(() => pattern.test(name ? read(name) : daemon.logText), String(pattern));
	};
	await reload({ file }, / configuration reloaded/);
	fs.renameSync(file, `${file}.1`);
	await reload({ file, format: 'json' }, /"level":"(info|warn)","text":"configuration reloaded/);
	assert.equal(read(`${file}.1`).split('configuration reloaded').length, 2);
	for (const line of read(file).trim().split('\n')) assert.ok(JSON.parse(line).at, line);
	assert.doesNotMatch(daemon.logText, /configuration reloaded/);
	await reload({ file: path.join(folder, 'none', 'log'), format: 'json' },
		/log\.file: .*none\/log cannot be opened, lines go where they went before: No such file/);
	await reload({ format: 'text' }, / (info|warn): configuration reloaded/, null);
	const config = path.join(daemon.folder, 'scopewire.conf');
	await daemon.stop();
	fs.rmSync(file);
	daemon.options.log = { file };
	daemon.writeConfig();
	const child = start(PROGRAM, ['--config', config], { env: { PATH: process.env.PATH, ...sanitizerOptions() } });
	await waitFor(() => /ready: listening on/.test(read(file)), 'the line in the file');
	assert.equal((await end(child, 'SIGTERM')).code, 0);
	assert.match(read(file), /info: stopped\n$/);
	assert.equal(child.log, '');
	daemon.options.log = { file: 'scopewired.log' };
	daemon.writeConfig();
	assert.match((await runDaemon(['--config', config, '--check-config'])).log, /\[log\] file = scopewired\.log: must be an absolute path/);
});

test('a reload names the options that need a restart', async (t) => {
	const daemon = await startDaemon({}, t);
	daemon.options.server = { ...daemon.options.server, workers: 3, drain_ms: 4000 };
	daemon.options.sections = { ...daemon.options.sections, sync: { presence_ttl_s: 77 } };
	daemon.writeConfig();
	hup(daemon);
	await waitFor(() => /take effect after a restart: .*\n/.test(daemon.logText), 'the names');
	const [names] = daemon.logText.match(/take effect after a restart: .*/);
	for (const name of ['server.workers', 'server.drain_ms', 'sync.presence_ttl_s'])
		assert(names.includes(name), names);
	assert(!names.includes('log.level'), names);
});

test('a key that the user of server.user cannot read is logged at a reload, and the old one stays',
	{ skip: process.getuid() !== 0 && 'needs root' }, async (t) => {
		const files = pair();      // the key belongs to root, with the mode 0600
		const daemon = await startDaemon({ server: { tls_certificate: files.cert, tls_key: files.key,
			user: 'nobody' } }, t);
		const before = await fingerprint(daemon.port);
		const config = path.join(daemon.folder, 'scopewire.conf');
		fs.chownSync(config, Number(fs.statSync(`/proc/${daemon.pid}`).uid), 0);
		files.replace();
		hup(daemon);
		await waitFor(() => /certificate was not reloaded, the old one stays: .*key\.pem.*Permission denied/
			.test(daemon.logText), 'the refusal');
		assert.equal(await fingerprint(daemon.port), before);
		assert.equal((await daemon.api().trigger('c', 'E', {})).status, 200);
	});

test('while a secret is replaced, what the previous one signed is accepted, and then no more', async (t) => {
	const daemon = await startDaemon({}, t);
	const app = daemon.apps[0], old = { ...app };
	const reload = async (change) => {
		Object.assign(app, change);
		daemon.writeConfig();
		const reloads = () => daemon.logText.split('configuration reloaded').length;
		const before = reloads();
		hup(daemon);
		await waitFor(() => reloads() > before, 'the reload');
	};
	const derived = (secret) => hmac(secret, 'scopewire-token');
	const statuses = async (as) => [
		(await daemon.api(as).trigger('news', 'e', {})).status,
		(await Sync.server(daemon, as).get('online-users')).status,
		(await Sync.user(daemon, 7, {}, as).get('notifications')).status,
		(await Sync.user(daemon, 7, {}, { ...as, secret: derived(as.secret) }).get('notifications')).status,
	];
	const subscribes = async (as) => {
		const wire = await daemon.connect();
		wire.sendSubscribe('private-x', { auth: channelAuth(as, wire.socketId, 'private-x') });
		const answer = await wire.next((f) => f.channel === 'private-x' && /succeeded|error/.test(f.event));
		await wire.close();
		return answer.event.endsWith('succeeded');
	};
	const open = await daemon.connect();
	await open.subscribe('private-x');

	await reload({ secret: 'the-new-secret-of-the-test', previous_secret: old.secret });
	const fresh = { ...app };
	for (const as of [old, fresh]) {
		assert.deepEqual(await statuses(as), [200, 200, 200, 200], as.secret);
		assert.ok(await subscribes(as), as.secret);
	}
	const basic = await Sync.server(daemon, { ...app, secret: '' }).get('online-users');
	assert.equal(basic.status, 401, 'no secret is not one');
	assert.equal((await Sync.user(daemon, 7, {}, { ...app, secret: '' }).get('notifications')).status, 401);
	const wire = await daemon.connect();
	await daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule) VALUES ('x', 'anyone')`);
	const { auth, channelData } = await authorize(wire, Sync.user(daemon, 7, {}, fresh), 'private-x');
	assert.equal(auth, channelAuth(fresh, wire.socketId, 'private-x', channelData),
		'Scopewire signs with the new one');

	await reload({ previous_secret: '' });
	assert.deepEqual(await statuses(old), [401, 401, 401, 401]);
	assert.deepEqual(await statuses(fresh), [200, 200, 200, 200]);
	assert.ok(!await subscribes(old));
	assert.ok(await subscribes(fresh));
	await open.ping();
	assert.equal(open.closeCode, undefined, 'open connections stay');
	assert.doesNotMatch(daemon.logText, /the-new-secret|previous_secret = ./);
});

test('changed applications are in force once the reload is logged, also while the table of applications is locked',
	async (t) => {
		const daemon = await startDaemon({}, t);
		const app = daemon.apps[0], old = { ...app };
		const holder = await daemon.session();
		await holder.query('BEGIN; LOCK TABLE apps IN ACCESS EXCLUSIVE MODE');
		app.secret = 'the-next-secret-of-the-test';
		daemon.writeConfig();
		hup(daemon);
		await waitFor(() => daemon.logText.includes('configuration reloaded'), 'the reload');
		assert.equal((await daemon.api(old).trigger('news', 'e', {})).status, 401);
		assert.equal((await daemon.api(app).trigger('news', 'e', {})).status, 200);
		await holder.query('ROLLBACK');
	});
