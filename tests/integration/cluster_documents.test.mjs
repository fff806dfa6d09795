// SPDX-License-Identifier: MIT
// What docs/scaling.md, docs/high-availability.md and docs/capacity.md have for a cluster, done as it is written: the
// secret of the nodes is replaced, a copy of the database has another prefix, and balancers take their samples.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { NAMES, adminUrl, hasOthers, node, rows, subscribeEach } from '../lib/nodes.mjs';
import { TOKEN, bearer } from '../lib/ctl.mjs';
import { binaries, end, freePort, newDatabase, query, start, startCluster, startRedis, tempFolder, waitFor } from '../lib/harness.mjs';

const text = (name) => fs.readFileSync(fileURLToPath(new URL(`../../${name}`, import.meta.url)), 'utf8');

/** The fenced blocks of a kind below a heading, up to the next heading of its level. */
function blocks(document, heading, kind) {
	const [, section] = text(document).match(new RegExp(`^## ${heading}\\n(.*?)(?=^## |(?![^]))`, 'ms')) ?? [];
	assert.ok(section, `${document} has a section "${heading}"`);
	return [...section.matchAll(new RegExp('```' + kind + '\\n(.*?)```', 'gs'))].map((m) => m[1]);
}

/** Runs statements as a client of the database's owner. */
const psql = ({ host, name }, sql) => execFileSync(path.join(binaries(), 'psql'),
	['-XqAt', '-v', 'ON_ERROR_STOP=1', '-h', host, '-U', 'scopewire', name], { encoding: 'utf8', input: sql });

/** Two running nodes of a database that know each other. */
async function startTwo(t, database, cluster) {
	const nodes = NAMES.slice(0, 2).map((name) => node(t, database, name, { cluster: { driver: 'postgres', ...cluster } }));
	for (const one of nodes) await one.start();
	for (const one of nodes) await hasOthers(one);
	return nodes;
}

async function metric(daemon, name) {
	const answer = await fetch(`${adminUrl(daemon)}/metrics`, { headers: bearer(TOKEN.metrics) });
	return Number((await answer.text()).match(new RegExp(`^scopewire_${name} (\\S+)$`, 'm'))[1]);
}

/** Sends client events until one of them reaches the other client; such an event may be lost. */
async function crosses(from, to, name) {
	let n = 0;
	await waitFor(async () => {
		from.send({ event: `client-${name}`, channel: 'private-c', data: { n: n++ } });
		await from.ping();
		await to.ping();
		return to.all({ event: `client-${name}` }).length;
	}, `client event ${name} on the other node`);
}

const named = (wire) => wire.frames.filter((frame) => /^E/.test(frame.event)).map((frame) => frame.event);

describe('the secret of the nodes', { concurrency: 2 }, () => {
	for (const driver of ['postgres', 'redis']) {
		test(`is replaced while they run, with ${driver}: no committed event is lost or repeated`, async (t) => {
			const redis = driver === 'redis' ? await startRedis(t) : undefined;
			const database = await newDatabase();
			const nodes = await startTwo(t, database, { driver, ...redis && { redis_port: redis.port } });
			const wires = await subscribeEach(nodes, 'c');
			const whispers = await subscribeEach(nodes, 'private-c');
			await crosses(whispers[0], whispers[1], 'before');
			const [{ secret }] = await query(database.host, database.name, 'SELECT secret FROM node_secret');
			const session = redis ? undefined : await nodes[0].session();
			const old = [];
			if (session) {
				t.after(() => session.end());
				session.on('notification', ({ payload }) => old.push(payload));
				await session.query(`LISTEN scopewire_${secret}`);
			}

			const published = new Set();
			let is_ending = false, n = 0;
			const publishing = (async () => {
				while (!is_ending) {
					const name = `E${n++}`;
					// As clients of the API do: a request without an answer, or with 503, is repeated with its key.
					await waitFor(async () => {
						const { status } = await nodes[n % 2].api().trigger('c', name, '{}', { idempotency_key: name })
							.catch(() => ({ status: 0 }));
						assert.ok([0, 200, 503].includes(status), `status ${status}`);
						return status === 200;
					}, `${name} is published`);
					published.add(name);
				}
			})();
			await waitFor(() => published.size >= 10, 'events before');
			const [recipe] = blocks('docs/scaling.md', 'The secret of the nodes', 'sql');
			const ended = psql(database, recipe);
			assert.ok(Number(ended.trim()) >= 2 * 15, `${ended} sessions were ended`);
			assert.notEqual((await query(database.host, database.name, 'SELECT secret FROM node_secret'))[0].secret, secret);
			await waitFor(async () => (await Promise.all(nodes.map((one) => one.http('/ready')))).every((answer) => answer.status === 200),
				'the nodes are ready again');
			await crosses(whispers[0], whispers[1], 'after');
			await crosses(whispers[1], whispers[0], 'back');
			const before = published.size;
			await waitFor(() => published.size >= before + 10, 'events after');
			is_ending = true;
			await publishing;
			await waitFor(() => wires.every((wire) => named(wire).length >= published.size), 'all events on both nodes');
			for (const wire of wires) {
				await wire.ping();
				assert.deepEqual(named(wire).toSorted(), [...published].toSorted());
			}
			assert.deepEqual(named(wires[1]), named(wires[0]));
			if (redis) {
				const used = await metric(nodes[1], 'bus_slices_used_total');
				await waitFor(async () => {
					await nodes[0].api().trigger('c', 'More', '{}');
					return await metric(nodes[1], 'bus_slices_used_total') > used;
				}, 'copies of committed rows are used, signed with the new secret');
			} else {
				await session.query('SELECT');
				old.length = 0;
				await crosses(whispers[0], whispers[1], 'unheard');
				await session.query('SELECT');
				assert.deepEqual(old, [], 'nothing is sent to who knows the old secret');
			}
		});
	}
});

describe('a copy of the database, with the Redis of the original', { concurrency: 2 }, () => {
	/** A second server with the files of the first one, as a snapshot of its disk has them. */
	async function snapshot(t, cluster, database) {
		await cluster.stop('immediate');
		const copy = await startCluster();
		t.after(() => copy.stop());
		await copy.stop();
		fs.rmSync(copy.data, { recursive: true });
		execFileSync('cp', ['-a', cluster.data, copy.data]);
		await copy.start();
		await cluster.start();
		return { ...database, host: copy.socket };
	}

	async function template(t, cluster, database) {
		const name = `${database.name}_copy`;
		await query(cluster.socket, 'postgres', `CREATE DATABASE ${name} TEMPLATE ${database.name} OWNER scopewire`, [], 'postgres');
		return { ...database, name };
	}

	const cases = [['made from its files, with another prefix, receives nothing', snapshot, 'staging'],
		['made as a template, with the same prefix, receives nothing, and refuses it', template, 'scopewire']];
	for (const [rule, copy, prefix] of cases) {
		test(rule, async (t) => {
			const redis = await startRedis(t);
			const cluster = await startCluster();
			t.after(() => cluster.stop());
			const database = await newDatabase(cluster);
			const options = { driver: 'redis', redis_port: redis.port, prefix: 'scopewire' };
			const first = await startTwo(t, database, options);
			assert.equal((await first[0].api().trigger('c', 'Made', '{}')).status, 200);
			for (const one of first) await one.stop();
			const copied = await copy(t, cluster, database);
			for (const one of first) await one.start();
			const second = await startTwo(t, copied, { ...options, prefix });
			const clients = await Promise.all([first, second].map((nodes) => subscribeEach(nodes, 'c')));
			const names = [[], []];
			for (let i = 0; i < 20; i++)
				for (const [at, nodes] of [first, second].entries()) {
					names[at].push(`E${at}.${i}`);
					assert.equal((await nodes[i % 2].api().trigger('c', `E${at}.${i}`, '{}')).status, 200);
				}
			const refused = async () => (await Promise.all([...first, ...second].map((one) => metric(one, 'bus_refused_total'))))
				.every((n) => n > 0);
			if (prefix === 'scopewire') await waitFor(refused, 'each node has refused what nodes of the other database send');
			for (const [at, wires] of clients.entries())
				for (const wire of wires) {
					await waitFor(() => named(wire).length >= 20, 'the events of its own database');
					await wire.ping();
					assert.deepEqual(named(wire), names[at]);
				}
		});
	}
});

const WITH_SBIN = { env: { PATH: `${process.env.PATH}:/usr/sbin` } };

/** The text with each of these in place of what the pattern finds, in turn; the last one for the rest. */
function replaced(all, pattern, ...by) {
	let n = 0;
	const result = all.replaceAll(pattern, () => by[Math.min(n++, by.length - 1)]);
	assert.ok(n >= by.length, `${pattern} is found ${n} times in ${all}`);
	return result;
}

/** The servers of a sample are these ports of this machine. */
const onPorts = (sample, ports) => ports.reduce((all, port, i) => replaced(all, `10.0.0.${i + 1}:8080`, `127.0.0.1:${port}`), sample);

function startHaproxy(listen, ports) {
	const frontend = text('contrib/haproxy/haproxy.cfg');
	const [backends] = blocks('docs/high-availability.md', 'The load balancer', 'haproxy');
	const file = path.join(tempFolder('haproxy'), 'haproxy.cfg');
	fs.writeFileSync(file, `${replaced(frontend.slice(0, frontend.indexOf('# A WebSocket needs')), 'bind :80', `bind ${listen}`)}
${onPorts(backends, ports)}`);
	assert.equal(spawnSync('haproxy', ['-c', '-f', file], WITH_SBIN).status, 0);
	return start('haproxy', ['-db', '-f', file], WITH_SBIN);
}

function startNginx(listen, ports) {
	const folder = tempFolder('nginx');
	fs.chmodSync(folder, 0o777);
	const sample = text('contrib/nginx/scopewire.conf');
	const [upstreams] = blocks('docs/high-availability.md', 'The load balancer', 'nginx');
	const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join('\n');
	fs.writeFileSync(path.join(folder, 'site.conf'), `${onPorts(upstreams, ports)}
${replaced(sample.slice(sample.indexOf('map $http_upgrade')), 'listen 80;', `listen ${listen};`)}`);
	fs.writeFileSync(path.join(folder, 'nginx.conf'), `daemon off; pid ${folder}/pid; worker_processes 1; events { worker_connections 512; }
http { access_log off; ${temporary} include ${folder}/site.conf; }`);
	const line = ['-p', folder, '-c', path.join(folder, 'nginx.conf'), '-e', 'stderr'];
	const { status, stderr } = spawnSync('nginx', ['-t', ...line], { ...WITH_SBIN, encoding: 'utf8' });
	assert.equal(status, 0, stderr);
	return start('nginx', line, WITH_SBIN);
}

describe('the samples of the load balancer', { concurrency: 2 }, () => {
	for (const [name, startBalancer] of [['HAProxy', startHaproxy], ['nginx', startNginx]]) {
		test(`${name} serves with one node less when one is killed`, async (t) => {
			const nodes = await startTwo(t, await newDatabase());
			const port = await freePort(), closed = await freePort();
			const balancer = startBalancer(`127.0.0.1:${port}`, [...nodes.map((one) => one.port), closed]);
			t.after(() => end(balancer));
			const base = `http://127.0.0.1:${port}`;
			const publish = (event) => waitFor(async () => {
				assert.equal(balancer.exitCode, null, balancer.log);
				const { status } = await nodes[0].api(nodes[0].app, base).trigger('c', event, '{}', { idempotency_key: event })
					.catch(() => ({ status: 0 }));
				return status === 200;
			}, `${event} is published through ${name}`);
			const connect = async () => {
				let wire;
				await waitFor(async () => {
					wire = await nodes[0].wire({ base: `ws://127.0.0.1:${port}` }).established().catch(() => undefined);
					return wire;
				}, `a client connects through ${name}`);
				await wire.subscribe('c');
				return wire;
			};
			await publish('E0');
			const [{ number }] = await rows(nodes[0]);
			const killed = [], others = [];
			// Usually two clients; on a busy machine a balancer can leave a node out for a moment.
			while (!killed.length || !others.length) {
				const wire = await connect();
				(Number(wire.socketId.split('.')[0]) >> 19 === number ? killed : others).push(wire);
				assert.ok(killed.length + others.length <= 100, 'clients are on both nodes');
			}
			await publish('E1');
			for (const wire of [...killed, ...others]) await wire.next({ event: 'E1' });
			await nodes[0].kill();
			await publish('E2');
			const after = await connect();
			await publish('E3');
			await after.next({ event: 'E3' });
			for (const wire of others) await wire.next({ event: 'E3' });
			for (const wire of killed) await wire.closed;
		});
	}

	test('those of HAProxy for clusters by host name, and for Redis, are valid', () => {
		const [clusters] = blocks('docs/capacity.md', 'Several databases, by application', 'haproxy');
		const [master] = blocks('docs/high-availability.md', 'Redis', 'haproxy');
		const file = path.join(tempFolder('haproxy'), 'haproxy.cfg');
		fs.writeFileSync(file, `defaults\n\tmode http\n\ttimeout connect 5s\n\ttimeout client 60s\n\ttimeout server 60s\n
${clusters}\n${master}`);
		const { status, stderr } = spawnSync('haproxy', ['-c', '-f', file], { ...WITH_SBIN, encoding: 'utf8' });
		assert.equal(status, 0, stderr);
	});
});

test('through HAProxy the nodes follow the master of two Redis servers', async (t) => {
	const one = await startRedis(t), two = await startRedis(t, { settings: { replicaof: `127.0.0.1 ${one.port}` } });
	const port = await freePort();
	const [sample] = blocks('docs/high-availability.md', 'Redis', 'haproxy');
	const file = path.join(tempFolder('haproxy'), 'haproxy.cfg');
	fs.writeFileSync(file, replaced(replaced(replaced(sample, '127.0.0.1:6380', `127.0.0.1:${port}`),
		'10.0.0.11:6379', `127.0.0.1:${one.port}`), '10.0.0.12:6379', `127.0.0.1:${two.port}`));
	const balancer = start('haproxy', ['-db', '-f', file], WITH_SBIN);
	t.after(() => end(balancer));
	const database = await newDatabase();
	const nodes = await startTwo(t, database, { driver: 'redis', redis_host: '127.0.0.1', redis_port: port, prefix: database.name });
	const wires = await subscribeEach(nodes, 'private-c');
	await crosses(wires[0], wires[1], 'before');
	assert.equal(await two.subscriptions(':nodes'), 0, 'the replica is not used');
	await one.stop('SIGKILL');
	assert.equal((await nodes[0].api().trigger('private-c', 'E1', '{}')).status, 200);
	await wires[1].next({ event: 'E1' });
	assert.equal(await two.call('REPLICAOF', 'NO', 'ONE'), 'OK');
	await crosses(wires[0], wires[1], 'after');
	assert.equal(await two.subscriptions(':nodes'), 2);
});
