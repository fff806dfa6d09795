// SPDX-License-Identifier: MIT
// scopewirectl check on machines that are set up wrongly: it names each mistake and the remedy.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { APP, certificate, end, freePort, ini, newDatabase, query, runDaemon, startPooler, tempFolder }
	from '../lib/harness.mjs';
import { TOKENS, runCtl, withAdmin } from '../lib/ctl.mjs';

const { id, ...app } = APP;

/** Messages of the checks that found something, as "check: message" lines. */
async function check({ sections, text, args = [], env }) {
	const file = path.join(tempFolder('mistakes'), 'scopewire.conf');
	fs.writeFileSync(file, text ?? ini({ [`app ${id}`]: app, ...sections }), { mode: 0o600 });
	const { code, json, error } = await runCtl(['--config', file, 'check', '--json', ...args], { env });
	assert.equal(error, '');
	assert.ok([0, 1].includes(code));
	return json.filter((one) => one.result !== 'ok').map((one) => `${one.check}: ${one.message}`).join('\n');
}

/** The configuration of a running daemon. */
async function machine(t, options = {}) {
	const { daemon, url } = await withAdmin(t, { tokens: TOKENS }, options);
	const [, port] = /:(\d+)$/.exec(url);
	return { daemon, sections: { server: { host: '127.0.0.1', port: daemon.port, ...options.server },
		database: { ...daemon.database }, admin: { listen: `127.0.0.1:${port}`, tokens: TOKENS } } };
}

/**
 * A proxy at 127.0.0.2 whose connections to the daemon come from 127.0.0.3.  change gets the lines of the head
 * and returns them; without a result the proxy answers 404.
 */
async function proxy(t, daemon, change) {
	const server = net.createServer((client) => {
		client.on('error', () => {});
		client.once('data', (head) => {
			const lines = change(head.toString('latin1').split('\r\n').slice(0, -2));
			if (!lines) return client.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
			const upstream = net.connect({ host: '127.0.0.1', port: daemon.port, localAddress: '127.0.0.3' }, () =>
				upstream.write(`${lines.join('\r\n')}\r\n\r\n`));
			upstream.on('error', () => client.destroy());
			return upstream.pipe(client).pipe(upstream);
		});
	});
	await new Promise((resolve) => { server.listen(0, '127.0.0.2', resolve); });
	t.after(() => server.close());
	return `http://127.0.0.2:${server.address().port}`;
}
const without = (...names) => (lines) => lines.filter((line) =>
	!names.includes(line.split(':')[0].toLowerCase()));
const forwarding = (lines) => [...lines, 'X-Forwarded-For: 127.0.0.1'];

/** The environment of a program on a machine whose clock is an hour fast. */
function fastClock() {
	const folder = tempFolder('clock');
	fs.writeFileSync(path.join(folder, 'fast.c'), `#define _GNU_SOURCE
		#include <time.h>
		#include <unistd.h>
		#include <sys/syscall.h>
		int clock_gettime(clockid_t id, struct timespec *ts) {
			int rc = syscall(SYS_clock_gettime, id, ts);
			if (id == CLOCK_REALTIME) ts->tv_sec += 3600;
			return rc;
		}`);
	execFileSync('cc', ['-shared', '-fPIC', '-o', path.join(folder, 'fast.so'), path.join(folder, 'fast.c')]);
	return { LD_PRELOAD: path.join(folder, 'fast.so'), ASAN_OPTIONS: 'verify_asan_link_order=0' };
}

/** A certificate that ended years ago; `openssl req` makes none. */
function expired() {
	const folder = tempFolder('expired');
	const run = (...args) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
	fs.writeFileSync(path.join(folder, 'ca.conf'), `[ca]\ndefault_ca = one\n[one]\ndatabase = index\nserial = serial
		new_certs_dir = .\ndefault_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n`);
	fs.writeFileSync(path.join(folder, 'index'), '');
	fs.writeFileSync(path.join(folder, 'serial'), '01\n');
	run('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=localhost',
		'-keyout', 'key.pem', '-out', 'request.pem');
	run('ca', '-batch', '-selfsign', '-config', 'ca.conf', '-keyfile', 'key.pem', '-in', 'request.pem', '-notext',
		'-startdate', '20200101000000Z', '-enddate', '20200201000000Z', '-out', 'cert.pem');
	return { tls_certificate: path.join(folder, 'cert.pem'), tls_key: path.join(folder, 'key.pem') };
}

/** A database with the schema and no daemon. */
async function migrated() {
	const database = await newDatabase();
	const file = path.join(tempFolder('migrate'), 'scopewire.conf');
	fs.writeFileSync(file, ini({ [`app ${id}`]: app, database: { host: database.host, name: database.name,
		user: database.user } }), { mode: 0o600 });
	assert.equal((await runDaemon(['--migrate', '--config', file])).code, 0);
	return database;
}
const asOwner = (database, sql) => query(database.host, database.name, sql, [], 'postgres');
const dropPartitions = (database) => asOwner(database, `DO $$ DECLARE leaf text; BEGIN
	FOR leaf IN SELECT format('scopewire.%I', p.leaf) FROM scopewire.log_partitions p WHERE p.lower > 0 LOOP
		EXECUTE 'DROP TABLE ' || leaf; END LOOP; END $$`);

async function otherProgram(t) {
	const server = http.createServer((request, response) => response.end('hello'));
	await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
	t.after(() => { server.closeAllConnections(); server.close(); });
	return server.address().port;
}

describe('one mistake', () => {
	let good, over = [];
	before(async () => { good = await machine({ after: (fn) => over.push(fn) }); });
	after(async () => { for (const fn of over) await fn(); });

	/** Each row: the mistake, how the machine gets it, and what the check has to say. */
	const mistakes = [
		['an option that does not exist', ({ server, ...rest }) =>
			({ sections: { ...rest, server: { ...server, prot: 80 } } }), /configuration: .*\bprot\b.*did you mean port/],
		['a value that is out of range', ({ server, ...rest }) =>
			({ sections: { ...rest, server: { ...server, port: 70000 } } }), /configuration: .*port = 70000.*65535/],
		['a database server that cannot be reached', async ({ database, ...rest }) =>
			({ sections: { ...rest, database: { ...database, host: '127.0.0.1', port: await freePort() } } }),
		/database: .*Connection refused/],
		['a role without privileges', async (sections, t) => {
			const database = await migrated();
			const role = `limited_${randomBytes(6).toString('hex')}`;
			await asOwner(database, `CREATE ROLE ${role} LOGIN`);
			t.after(() => asOwner(database, `DROP OWNED BY ${role}; DROP ROLE ${role}`));
			await asOwner(database, `GRANT USAGE, CREATE ON SCHEMA scopewire TO ${role}`);
			return { sections: { ...sections, database: { host: database.host, name: database.name, user: role } } };
		}, /privileges: the role limited_\w+ may not use \w+ and \d+ more tables .*-v daemon=limited_\w+ -f grants\.sql/],
		['a private key of another certificate', ({ server, ...rest }) => {
			const [one, other] = [certificate(), certificate()];
			return { sections: { ...rest, server: { ...server, tls_certificate: one.cert, tls_key: other.key } } };
		}, /certificate: .*tls_key: .* cannot be used/],
		['a certificate that has expired', ({ server, ...rest }) =>
			({ sections: { ...rest, server: { ...server, ...expired() } } }), /certificate: .*expired.*renew it/],
		['a certificate that does not exist', ({ server, ...rest }) => ({ sections: { ...rest,
			server: { ...server, tls_certificate: '/nonexistent/cert.pem', tls_key: '/nonexistent/key.pem' } } }),
		/certificate: .*\/nonexistent\/cert\.pem.*No such file/],
		['another program at the port', async ({ server, ...rest }, t) =>
			({ sections: { ...rest, server: { ...server, port: await otherProgram(t) } } }),
		/daemon: another program answers .*choose another server\.port, or stop that program/],
		['a wrong address of the admin listener', async ({ admin, ...rest }) =>
			({ sections: { ...rest, admin: { ...admin, listen: `127.0.0.1:${await freePort()}` } } }),
		/admin listener: .*cannot be reached/],
		['a token that the daemon does not know', ({ admin, ...rest }) =>
			({ sections: { ...rest, admin: { ...admin, tokens: 'x:read:another-token-0123456789abcdef' } } }),
		/admin listener: the token is not accepted \(401\).*--token-file/],
		['a clock that is wrong', (sections) => ({ sections, env: fastClock() }),
			/clock: .* differ by 3[56]\d\d s; synchronize both clocks \(chrony, systemd-timesyncd\)/],
		['a proxy that strips the headers of the upgrade', async (sections, t) =>
			({ sections, args: ['--public', await proxy(t, good.daemon, without('upgrade', 'connection'))] }),
		/proxy: .* does not become a WebSocket .*has to pass \/app with HTTP\/1\.1 and the headers Upgrade and Connection/],
		['a proxy that passes a part of the paths', async (sections, t) => ({ sections, args: ['--public',
			await proxy(t, good.daemon, (lines) => (/ \/(up|app\/)/.test(lines[0]) ? forwarding(lines) : null))] }),
		/proxy: .*let it pass \/api\/sync to the daemon/],
		['a proxy that does not tell the client\'s address', async (sections, t) =>
			({ sections, args: ['--public', await proxy(t, good.daemon, (lines) => lines)] }),
		/proxy: the daemon takes the proxy \(127\.0\.0\.3\) for the client: .*X-Forwarded-For/],
		['a proxy that is not in server.trusted_proxies', async (sections, t) => {
			const { daemon, sections: own } = await machine(t, { server: { trusted_proxies: '10.0.0.1' } });
			return { sections: own, args: ['--public', await proxy(t, daemon, forwarding)] };
		}, /proxy: .*sees this client as 127\.0\.0\.3 .* add it to server\.trusted_proxies/],
		['a pooler that shares sessions', async ({ database, ...rest }, t) => {
			const pooler = await startPooler(good.daemon.database, { pool_mode: 'transaction' });
			t.after(() => end(pooler.child, 'SIGTERM'));
			return { sections: { ...rest, database: { dsn: pooler.dsn } } };
		}, /database: .*a pooler .* PgBouncer .*pool_mode = session/],
		['a log without partitions', async (sections) => {
			const database = await migrated();
			await dropPartitions(database);
			return { sections: { ...sections, database: { host: database.host, name: database.name, user: database.user } } };
		}, /event log: .*no partition for the next event.*SELECT "scopewire"\.ensure_partitions\(2, 2000000\)/],
	];
	for (const [name, make, remedy] of mistakes)
		test(name, async (t) => {
			const found = await check(await make(good.sections, t));
			assert.match(found, remedy);
		});

	test('a proxy that is right is found to be right, and so is the rest', async (t) => {
		const found = await check({ sections: good.sections, args: ['--public', await proxy(t, good.daemon, forwarding)] });
		// In tests fsync is off, and the certificate of a run with TLS is new.
		assert.match(found, /^database server: fsync [^\n]*(\ncertificate: [^\n]*within two weeks[^\n]*)?$/);
	});
});

test('ten mistakes on one machine are all named in one run', async (t) => {
	const { daemon } = await machine(t);
	const database = await migrated();
	await dropPartitions(database);
	const role = `limited_ten_${randomBytes(6).toString('hex')}`;
	await asOwner(database, `CREATE ROLE ${role} LOGIN`);
	t.after(() => asOwner(database, `DROP OWNED BY ${role}; DROP ROLE ${role}`));
	await asOwner(database, `GRANT USAGE, CREATE ON SCHEMA scopewire TO ${role};
		GRANT SELECT ON ALL SEQUENCES IN SCHEMA scopewire TO ${role};
		GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scopewire TO ${role}`);
	const found = await check({ sections: {
		[`app ${id}`]: { ...app, secret: 'short' },
		server: { host: '127.0.0.1', port: await otherProgram(t), ...expired() },
		database: { host: database.host, name: database.name, user: role },
		sync: { connections: 32, authorize_connections: 32, rule_connections: 32 },
		admin: { listen: `127.0.0.1:${await freePort()}`, tokens: TOKENS } },
	env: fastClock(), args: ['--public', await proxy(t, daemon, (lines) => (/ \/up/.test(lines[0]) ? lines : null))] });
	for (const one of [/^applications: .*20 or more random characters/m, /^certificate: .*renew it/m,
		/^privileges: .*grants\.sql/m, /^event log: .*ensure_partitions/m,
		/^database server: fsync .*set both to on/m, /^clock: .*synchronize both clocks/m,
		/^daemon: another program answers/m, /^admin listener: .*cannot be reached/m,
		/^proxy: .*let it pass \/api\/sync/m, /^proxy: .*let it pass \/apps/m, /^proxy: .*does not become a WebSocket/m])
		assert.match(found, one);
});
