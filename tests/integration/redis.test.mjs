// SPDX-License-Identifier: MIT
// Nodes that reach each other through Redis: how they log in, what they are subscribed to, and what
// happens when Redis is stopped, paused, restarted or failed over.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import net from 'node:net';
import { Daemon, certificate, end, ini, logged, newDatabase, runDaemon, startCluster, startRedis, startRedisCluster, tempFolder, waitFor }
	from '../lib/harness.mjs';
import { runCtl } from '../lib/ctl.mjs';
import { whisper as whisperOn } from '../lib/nodes.mjs';

const CHANNEL = 'private-c';

/** A node that is not started yet. */
function node(t, database, name, cluster, options = {}) {
	const daemon = new Daemon({ server: { node: name }, app: { max_client_events_per_second: 0 }, ...options,
		sections: { cluster: { driver: 'redis', ...cluster }, admin: { listen: '127.0.0.1:0', local_read: 'yes' } } });
	daemon.database = database;
	t.after(() => daemon.child && end(daemon.child, 'SIGKILL'));
	return daemon;
}

/** Two nodes of one database that are connected to Redis. */
async function startNodes(t, cluster, { database, env } = {}) {
	const at = database ?? await newDatabase();
	const nodes = ['a', 'b'].map((name) => node(t, at, name, cluster, { env }));
	for (const one of nodes) {
		await one.start();
		await logged(one.child, /bus: connected to /);
	}
	for (const one of nodes) await waitFor(async () => await metric(one, 'bus_nodes') > 0, 'the node knows the other one');
	return nodes;
}

const subscribe = (nodes, channel = CHANNEL) => Promise.all(nodes.map(async (one) => {
	const wire = await one.connect();
	await wire.subscribe(channel);
	return wire;
}));

const whisper = (from, to, channel = CHANNEL) => whisperOn(from, to, channel);

/** Occupies the one connection that Redis permits. */
async function takeOnlyClient(t, redis, password) {
	const only = net.connect(redis.port, '127.0.0.1');
	t.after(() => only.destroy());
	only.write(`AUTH ${password}\r\n`);
	await new Promise((resolve, reject) => only.once('data', resolve).once('error', reject));
}

/** The value of a metric of the node. */
async function metric(daemon, name) {
	const { port } = daemon.admin ??= { port: Number((await logged(daemon.child, /admin: listening on \S+:(\d+)/))[1]) };
	const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
	return Number(text.match(new RegExp(`^scopewire_${name} (\\S+)$`, 'm'))[1]);
}

describe('the login', { concurrency: 2 }, () => {
	test('with a password, from the URL and from Laravel\'s variables; the password is in no log', async (t) => {
		const password = 'p@ss/word-of-redis';
		const redis = await startRedis(t, { settings: { requirepass: password }, client: ['-a', password] });
		const url = `redis://:${encodeURIComponent(password)}@127.0.0.1:${redis.port}`;
		const database = await newDatabase();
		const env = { REVERB_SCALING_ENABLED: 'true', REVERB_SCALING_CHANNEL: 'reverb', REDIS_HOST: '127.0.0.1',
			REDIS_PORT: String(redis.port), REDIS_PASSWORD: password, REDIS_PREFIX: 'of_laravel_', REDIS_USERNAME: 'null' };
		const one = node(t, database, 'a', { redis_url: url, prefix: 'reverb' });
		const two = node(t, database, 'b', { driver: undefined }, { env });
		for (const daemon of [one, two]) {
			await daemon.start();
			await logged(daemon.child, /bus: connected to Redis at 127\.0\.0\.1:\d+/);
		}
		const wires = await subscribe([one, two]);
		await whisper(wires[0], wires[1]);
		await whisper(wires[1], wires[0]);
		assert.match(await redis.call('PUBSUB', 'CHANNELS'), /^reverb:\{\d+\}:client-portal:private-c$/m);
		for (const daemon of [one, two]) assert.ok(!daemon.logText.includes('word-of-redis'));
	});

	test('that is refused is named in the log with its remedy, and commits go on', async (t) => {
		const redis = await startRedis(t, { settings: { requirepass: 'right' }, client: ['-a', 'right'] });
		const database = await newDatabase();
		const cases = [[{ redis_password: 'wrong-secret' }, /refused the login \(WRONGPASS\); check cluster\.redis_username/],
			[{}, /requires a password; set cluster\.redis_password/]];
		for (const [i, [options, pattern]] of cases.entries()) {
			const daemon = node(t, database, `n${i}`, { redis_port: redis.port, ...options });
			await daemon.start();
			await logged(daemon.child, pattern);
			assert.equal((await daemon.api().trigger('c', 'E', '{}')).status, 200);
			assert.ok(!daemon.logText.includes('wrong-secret'));
		}
	});

	test('of an ACL user needs the documented rights only', async (t) => {
		const redis = await startRedis(t);
		await redis.call('ACL', 'SETUSER', 'portal', 'on', '>secret', 'resetchannels', '&portal:*', '-@all', '+publish', '+subscribe',
			'+unsubscribe', '+ping');
		await redis.call('ACL', 'SETUSER', 'other', 'on', '>secret', 'resetchannels', '&elsewhere:*', '+@all');
		const options = { redis_port: redis.port, redis_username: 'portal', redis_password: 'secret', prefix: 'portal' };
		const nodes = await startNodes(t, options);
		const wires = await subscribe(nodes);
		await whisper(wires[0], wires[1]);
		const refused = node(t, nodes[0].database, 'c', { ...options, redis_username: 'other' });
		await refused.start();
		await logged(refused.child, /NOPERM.*its user needs the commands.* and the channels &portal:\*/);
	});

	test('over TLS verifies the certificate and its name', async (t) => {
		const { cert, key } = certificate();
		const tls = await startRedis(t, { tls: { cert, key } });
		const options = { redis_host: 'localhost', redis_port: tls.port, redis_tls: 'yes', redis_tls_ca: cert };
		const nodes = await startNodes(t, options);
		const wires = await subscribe(nodes);
		await whisper(wires[0], wires[1]);
		const strange = certificate();
		const { database } = nodes[0];
		for (const [name, more, pattern] of [
			['c', { redis_tls_ca: strange.cert }, /TLS: its certificate is not accepted \(.*\); check cluster\.redis_tls_ca/],
			['d', { redis_host: '127.0.0.2' }, /TLS: its certificate is not accepted \(IP address mismatch\)/],
			['e', { redis_tls: 'no' }, /set cluster\.redis_tls = yes/]]) {
			const daemon = node(t, database, name, { ...options, ...more });
			await daemon.start();
			await logged(daemon.child, pattern);
		}
		const bad = node(t, database, 'f', { ...options, redis_tls_ca: '/no/such/file' });
		await bad.spawn();
		const missing = /cluster\.redis_tls_ca: \/no\/such\/file cannot be used: No such file or directory/;
		assert.equal((await bad.child.ended).code, 78);
		assert.match(bad.logText, missing);
		const { code, log } = await runDaemon(['--config', path.join(bad.folder, 'scopewire.conf'), '--check-config']);
		assert.equal(code, 78, log);
		assert.match(log, missing);
		assert.doesNotMatch(log, /is valid/);
	});

	test('over a Unix socket', async (t) => {
		const socket = path.join(tempFolder('redis'), 's');
		await startRedis(t, { settings: { unixsocket: socket } });
		const nodes = await startNodes(t, { redis_host: socket, redis_port: 0 });
		const wires = await subscribe(nodes);
		await whisper(wires[0], wires[1]);
	});
});

describe('the log names what is wrong with Redis and what to correct:', { concurrency: 2 }, () => {
	/** Starts a node for each case [cluster, pattern, not], which has to log the pattern. */
	async function logs(t, cases) {
		const database = await newDatabase();
		await Promise.all(cases.map(async ([cluster, pattern, not = /$^/], i) => {
			const daemon = node(t, database, `n${i}`, cluster);
			await daemon.start();
			await logged(daemon.child, pattern);
			assert.doesNotMatch(daemon.logText, /bad file descriptor/i);
			assert.doesNotMatch(daemon.logText, not);
		}));
	}

	test('a port with TLS and one without', async (t) => {
		const files = certificate();
		const [plain, tls] = await Promise.all([startRedis(t), startRedis(t, { tls: files })]);
		await logs(t, [
			[{ redis_port: tls.port }, /: (this port is one for TLS|the connection ended before an answer: .*); set cluster\.redis_tls = yes/],
			[{ redis_port: tls.port, redis_password: 'p' }, /set cluster\.redis_tls = yes/, /refused the login/],
			[{ redis_port: plain.port, redis_tls: 'yes', redis_tls_ca: files.cert },
				/TLS.*check cluster\.redis_tls, and whether this port is one for TLS/]]);
	});

	test('a certificate that the server requires or does not accept', async (t) => {
		const files = certificate(), strange = certificate();
		const redis = await startRedis(t, { tls: files, settings: { 'tls-auth-clients': 'yes' } });
		const old = await startRedis(t, { tls: files, settings: { 'tls-auth-clients': 'yes', 'tls-protocols': 'TLSv1.2' } });
		const at = { redis_host: 'localhost', redis_port: redis.port, redis_tls: 'yes', redis_tls_ca: files.cert };
		const required = /the server requires a certificate of its clients: set cluster\.redis_tls_certificate and cluster\.redis_tls_key/;
		const other = { redis_tls_certificate: strange.cert, redis_tls_key: strange.key };
		await logs(t, [[at, required], [{ ...at, redis_port: old.port }, required],
			[{ ...at, ...other }, /the server does not accept the certificate in cluster\.redis_tls_certificate/, required],
			[{ ...at, redis_tls_certificate: files.cert, redis_tls_key: files.key }, /bus: connected to Redis/]]);
	});

	test('no room for another client, which is no wrong password', async (t) => {
		const redis = await startRedis(t, { settings: { maxclients: 1, requirepass: 'right' } });
		await takeOnlyClient(t, redis, 'right');
		const full = /its max number of clients is reached; raise maxclients there/;
		await logs(t, [[{ redis_port: redis.port, redis_password: 'right' }, full, /refused the login/],
			[{ redis_port: redis.port }, full, /requires a password/]]);
	});

	test('no server, no such host, a password that the server does not have', async (t) => {
		const redis = await startRedis(t);
		await logs(t, [
			[{ redis_port: 1 }, /cannot connect: Connection refused; check cluster\.redis_host and cluster\.redis_port \(REDIS_HOST, REDIS_PORT\)/],
			[{ redis_url: 'redis://127.0.0.1:1' }, /cannot connect: Connection refused; check cluster\.redis_url \(REDIS_URL\)/],
			[{ redis_host: '/no/such/socket' }, /cannot connect: No such file or directory; check cluster\.redis_host \(REDIS_HOST\)/],
			[{ redis_host: 'no-such-host.invalid' }, /its name cannot be resolved: .*; check cluster\.redis_host and cluster\.redis_port \(REDIS_HOST/],
			[{ redis_port: redis.port, redis_password: 'p' }, /it has no password; leave cluster\.redis_password \(REDIS_PASSWORD\) empty/]]);
	});

	test('rights that are missing to publish, once while it fails, and that it works again', async (t) => {
		const redis = await startRedis(t);
		await redis.call('ACL', 'SETUSER', 'portal', 'on', '>secret', 'resetchannels', '&portal/1:*', '-@all', '+subscribe', '+unsubscribe',
			'+ping', '+select');
		const one = node(t, await newDatabase(), 'a', { redis_port: redis.port, redis_username: 'portal', redis_password: 'secret',
			prefix: 'portal', redis_db: 1 });
		await one.start();
		await logged(one.child, /refused a message \(NOPERM\); its user needs the commands publish.* and the channels &portal\/1:\*; connecting again/);
		const count = (pattern) => one.logText.match(pattern)?.length ?? 0;
		const attempts = async () => Number((await redis.call('INFO', 'commandstats')).match(/cmdstat_subscribe:calls=(\d+)/)[1]);
		const connects = async (times) => {
			const from = await attempts();
			await waitFor(async () => await attempts() >= from + times, 'it has connected again');
		};
		await connects(2);
		const before = one.logText.match(/bus: .*/g);
		await connects(4);
		assert.deepEqual(one.logText.match(/bus: .*/g), before);
		await redis.call('ACL', 'SETUSER', 'portal', '+publish');
		const connected = count(/bus: connected to/g);
		await waitFor(() => count(/bus: connected to/g) === connected + 1, 'the connection that lasts is logged');
		await redis.stop();
		await logged(one.child, /bus: Redis at .*: (the connection is lost|cannot connect)/);
		await redis.start();
	});
});

describe('scopewirectl check', { concurrency: 2 }, () => {
	/** The result of the check of Redis and its message. */
	async function check(cluster) {
		const file = path.join(tempFolder('check'), 'scopewire.conf');
		fs.writeFileSync(file, ini({ cluster: { driver: 'redis', ...cluster }, database: { host: '/no/such/folder' } }), { mode: 0o600 });
		const { json } = await runCtl(['--config', file, 'check', '--json']);
		const found = json.find((one) => one.check === 'redis');
		return found && `${found.result}: ${found.message}`;
	}

	test('finds out whether Redis lets the daemon log in, and names the remedy', async (t) => {
		const redis = await startRedis(t, { settings: { requirepass: 'right' }, client: ['-a', 'right'] });
		const at = { redis_port: redis.port };
		assert.match(await check({ ...at, redis_password: 'right' }), /^ok: 127\.0\.0\.1 lets the daemon log in$/);
		assert.match(await check({ ...at, redis_password: 'right', redis_db: 3 }), /^ok/);
		assert.match(await check({ ...at, redis_password: 'wrong' }), /^FAILED: .* refused the login \(WRONGPASS\); check/);
		assert.match(await check(at), /^FAILED: .* requires a password; set cluster\.redis_password$/);
		assert.match(await check({ ...at, redis_password: 'right', redis_db: 99 }), /^FAILED: .* refused cluster\.redis_db: ERR/);
		assert.match(await check({ redis_port: 1 }), /^FAILED: .* cannot be reached: .*; check cluster\.redis_host/);
		assert.equal(await check({ driver: 'postgres' }), undefined);
	});

	test('reports that Redis has no room for another client, and not a wrong password', async (t) => {
		const redis = await startRedis(t, { settings: { maxclients: 1, requirepass: 'right' } });
		await takeOnlyClient(t, redis, 'right');
		assert.match(await check({ redis_port: redis.port, redis_password: 'right' }),
			/^FAILED: .* has reached its max number of clients; raise maxclients there$/);
	});

	test('verifies the certificate of Redis', async (t) => {
		const files = certificate();
		const redis = await startRedis(t, { tls: files });
		const at = { redis_host: 'localhost', redis_port: redis.port };
		assert.match(await check({ ...at, redis_tls: 'yes', redis_tls_ca: files.cert }), /^ok/);
		assert.match(await check({ ...at, redis_tls: 'yes', redis_tls_ca: certificate().cert }), /^FAILED: .* cannot be reached: .*certificate/);
		assert.match(await check(at), /^FAILED: .* does not answer as Redis does; check cluster\.redis_port and cluster\.redis_tls$/);
	});
});

describe('the channels', { concurrency: 2 }, () => {
	test('of clusters with other prefixes, or databases of Redis, are apart', async (t) => {
		const redis = await startRedis(t);
		const at = { redis_port: redis.port };
		const clusters = [{ ...at }, { ...at, prefix: 'staging' }, { ...at, redis_db: 3 }];
		const wires = [];
		for (const one of clusters) wires.push(await subscribe(await startNodes(t, one)));
		for (const [one, two] of wires) await whisper(one, two);
		const last = await whisper(wires[0][0], wires[0][1]);
		for (const [one, two] of wires.slice(1)) {
			await whisper(one, two);    // what was sent before it would have come before it
			for (const wire of [one, two]) assert.equal(wire.all({ event: last }).length, 0);
		}
	});

	test('are those with subscribers on the node, and are left some seconds after the last one', async (t) => {
		const redis = await startRedis(t);
		const nodes = await startNodes(t, { redis_port: redis.port });
		const name = ':client-portal:private-c';
		const wires = await subscribe([nodes[0], nodes[0]]);
		await waitFor(async () => await redis.subscriptions(name) === 1, 'one node is subscribed');
		await subscribe([nodes[1]]);
		await waitFor(async () => await redis.subscriptions(name) === 2, 'both nodes are subscribed');
		await wires[0].terminate();
		assert.equal(await redis.subscriptions(name), 2);
		await wires[1].terminate();
		assert.equal(await redis.subscriptions(name), 2, 'clients that reload a page come back');
		await waitFor(async () => await redis.subscriptions(name) === 1, 'the node without subscribers has left');
		const [again] = await subscribe([nodes[0]]);
		await waitFor(async () => await redis.subscriptions(name) === 2, 'it is subscribed again');
		const [other] = await subscribe([nodes[1]]);
		await whisper(other, again);
	});

	test('of many subscribers arrive, and are counted', async (t) => {
		const redis = await startRedis(t);
		const nodes = await startNodes(t, { redis_port: redis.port });
		const wires = await Promise.all(nodes.map((one) => one.connect()));
		const channels = Array.from({ length: 250 }, (_, i) => `private-${i}`);
		for (const wire of wires) await Promise.all(channels.map((channel) => wire.subscribe(channel)));
		for (const one of nodes)
			await waitFor(async () => await metric(one, 'bus_channels') === channels.length + 1, 'all channels are confirmed');
		for (const channel of channels) wires[0].send({ event: 'client-once', channel, data: {} });
		await waitFor(() => wires[1].all({ event: 'client-once' }).length >= channels.length, 'a client event on each');
		await wires[1].ping();
		assert.deepEqual(wires[1].all({ event: 'client-once' }).map((frame) => frame.channel).sort(), channels.sort());
		assert.equal(wires[0].all({ event: 'client-once' }).length, 0);
		assert.ok(await metric(nodes[0], 'bus_sent_total') >= channels.length);
		assert.ok(await metric(nodes[1], 'bus_received_total') >= channels.length);
		assert.equal(await metric(nodes[0], 'bus_connected'), 1);
	});

	test('ignore what is no message of a node', async (t) => {
		const redis = await startRedis(t);
		const nodes = await startNodes(t, { redis_port: redis.port });
		const wires = await subscribe(nodes);
		await whisper(wires[0], wires[1]);
		const name = (await redis.call('PUBSUB', 'CHANNELS', '*private-c')).trim();
		const all = (await redis.call('PUBSUB', 'CHANNELS', '*:nodes')).trim();
		const before = wires[1].frames.length;
		for (const to of [name, all])
			for (const text of ['', '2', '2 2', '2 x M C', '1 7 M C13:client-portal', '2 7 M', '2 0 7 1 M C99:x', '2 0 7 1 Z', '2 0 7 1 MM',
				'\xff\xfe', '2 \xff\xfe', `2 ${'0'.repeat(64)} 7 1 M C3:abc9:private-c2:{}`, `2 0 7 1 M ${'9'.repeat(5000)}`])
				await redis.call('PUBLISH', to, text);
		await whisper(wires[0], wires[1]);
		assert.deepEqual(wires[1].frames.slice(before).filter((frame) => !/^client-|pong/.test(frame.event)), []);
	});
});

describe('commits', { concurrency: 2 }, () => {
	test('are announced to the other nodes, and by one that is alone to no one', async (t) => {
		const redis = await startRedis(t);
		const [first, second] = await startNodes(t, { redis_port: redis.port });
		const received = () => metric(second, 'bus_notifications_total');
		await waitFor(async () => await redis.subscriptions(':nodes') === 2, 'both nodes are subscribed');
		const before = await received();
		await waitFor(async () => {
			assert.equal((await first.api().trigger('c', 'E', '{}')).status, 200);
			return await received() > before;
		}, 'a notification');
		await second.stop();
		const sent = async () => Number((await redis.call('INFO', 'commandstats')).match(/cmdstat_publish:calls=(\d+)/)[1]);
		await waitFor(async () => {
			const calls = await sent();
			for (let i = 0; i < 3; i++) await first.api().trigger('c', 'E', '{}');
			return await sent() === calls;
		}, 'nothing is published');
	});

	test('reach all nodes while Redis is stopped or paused, and client events do afterwards', async (t) => {
		const redis = await startRedis(t);
		const nodes = await startNodes(t, { redis_port: redis.port });
		const wires = await subscribe(nodes);
		await whisper(wires[0], wires[1]);
		let at = 0;
		const commit = async () => {
			const event = `E${at++}`;
			assert.equal((await nodes[at % 2].api().trigger(CHANNEL, event, '{}')).status, 200);
			for (const wire of wires) await wire.next({ event });
		};
		await redis.stop();
		for (const one of nodes) await logged(one.child, /bus: Redis at .*the connection is lost/);
		await commit();
		await waitFor(async () => await metric(nodes[0], 'bus_connected') === 0, 'the metric');
		await redis.start();
		await whisper(wires[0], wires[1]);
		await commit();
		redis.child.kill('SIGSTOP');
		for (let i = 0; i < 4; i++) await commit();
		for (const one of nodes) await logged(one.child, /bus: Redis at .*does not answer any more/);
		await commit();
		redis.child.kill('SIGCONT');
		await whisper(wires[0], wires[1]);
		await whisper(wires[1], wires[0]);
		await redis.stop('SIGKILL');
		await commit();
		await redis.start();
		await whisper(wires[1], wires[0]);
		for (const wire of wires) {
			const seen = wire.frames.filter((frame) => /^E\d/.test(frame.event)).map((frame) => frame.event);
			assert.deepEqual(seen, Array.from({ length: at }, (_, i) => `E${i}`));
		}
		for (const one of nodes) await one.stop();
	});

	test('go on, and client events within a node, when Redis was never there', async (t) => {
		const nodes = ['a', 'b'].map((name, i) => i);
		const database = await newDatabase();
		const daemons = nodes.map((i) => node(t, database, `n${i}`, { redis_port: 1 }));
		for (const one of daemons) {
			await one.start();
			await logged(one.child, /bus: Redis at 127\.0\.0\.1:1: cannot connect: Connection refused/);
		}
		const wires = await subscribe([daemons[0], daemons[0], daemons[1]]);
		const near = () => wires[0].send({ event: 'client-near', channel: CHANNEL, data: {} });
		near();
		await wires[1].next({ event: 'client-near' });
		assert.equal((await daemons[1].api().trigger(CHANNEL, 'E', '{}')).status, 200);
		for (const wire of wires) await wire.next({ event: 'E' });
		await waitFor(async () => {
			near();
			return await metric(daemons[0], 'bus_dropped_total') > 0;
		}, 'drops are counted');
		assert.equal(wires[2].all({ event: 'client-near' }).length, 0);
		for (const one of daemons) await one.stop();
	});

	test('stop while PostgreSQL is away, and client events go on across nodes', async (t) => {
		const redis = await startRedis(t);
		const cluster = await startCluster();
		t.after(() => cluster.stop());
		const nodes = await startNodes(t, { redis_port: redis.port }, { database: await newDatabase(cluster) });
		const wires = await subscribe(nodes);
		await whisper(wires[0], wires[1]);
		await cluster.stop();
		await waitFor(async () => (await nodes[0].api().trigger(CHANNEL, 'E', '{}')).status === 503, 'commits are refused');
		await whisper(wires[0], wires[1]);
		await whisper(wires[1], wires[0]);
		await cluster.start();
		await waitFor(async () => (await nodes[1].api().trigger(CHANNEL, 'Elast', '{}')).status === 200, 'commits go on');
		for (const wire of wires) await wire.next({ event: 'Elast' });
	});
});

describe('a Redis Cluster', () => {
	test('carries the channels in all its servers, and a failover of a master loses none of them', async (t) => {
		const servers = await startRedisCluster(t);
		const nodes = await startNodes(t, { redis_port: servers[1].port });
		const wires = await Promise.all(nodes.map((one) => one.connect()));
		const channels = Array.from({ length: 60 }, (_, i) => `private-${i}`);
		for (const wire of wires) for (const channel of channels) await wire.subscribe(channel);
		for (const channel of channels) await whisper(wires[0], wires[1], channel);
		for (const one of servers.slice(0, 3))
			assert.ok((await one.call('PUBSUB', 'SHARDCHANNELS')).split('\n').length > 5, 'its share of the channels');
		await servers[0].stop('SIGKILL');
		for (const channel of channels) await whisper(wires[1], wires[0], channel);
		assert.equal((await nodes[0].api().trigger(channels[0], 'E', '{}')).status, 200);
		for (const wire of wires) await wire.next({ event: 'E' });
		for (const [from, to] of [wires, [...wires].reverse()]) {
			const event = `client-once-${from.socketId}`;
			for (const channel of channels) from.send({ event, channel, data: {} });
			await waitFor(() => to.all({ event }).length >= channels.length, 'a client event on each channel');
			await to.ping();
			assert.equal(to.all({ event }).length, channels.length, 'each once');
		}
		for (const one of nodes) {
			await waitFor(async () => await metric(one, 'bus_connected') === 1, 'all servers are connected');
			assert.equal(await metric(one, 'bus_channels'), channels.length + 1);
			await one.stop();
		}
	});

	test('in which slots are moved to another server carries their channels on', async (t) => {
		const servers = await startRedisCluster(t);
		const nodes = await startNodes(t, { redis_port: servers[0].port });
		const wires = await subscribe(nodes);
		await whisper(wires[0], wires[1]);
		let owner;
		for (const one of servers.slice(0, 3)) if (await one.subscriptions(`:${CHANNEL}`, 'SHARD')) owner = one;
		const name = await owner.call('PUBSUB', 'SHARDCHANNELS', `*:${CHANNEL}`);
		const slot = await owner.call('CLUSTER', 'KEYSLOT', name);
		const target = servers.slice(0, 3).find((one) => one !== owner);
		const id = await target.call('CLUSTER', 'MYID');
		for (const one of [target, owner, servers.slice(0, 3).find((s) => s !== owner && s !== target)])
			await one.call('CLUSTER', 'SETSLOT', slot, 'NODE', id);
		await waitFor(async () => await target.subscriptions(`:${CHANNEL}`, 'SHARD') === 2, 'both nodes are subscribed at the target');
		await whisper(wires[0], wires[1]);
		await whisper(wires[1], wires[0]);
	});
});
