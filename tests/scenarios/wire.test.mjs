// SPDX-License-Identifier: MIT
// The scenarios of this folder, their text unchanged, played over real sockets: against one daemon, or with
// SCOPEWIRE_TEST_NODES against nodes behind a balancer.  Each scenario has applications of its own, so that all
// run side by side.  Time is real here, so waits are long and "nothing was received" means: within QUIET_MS.
import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { fileURLToPath } from 'node:url';
import { Wire, channelAuth, pause, startDaemon, userAuth, waitFor } from '../lib/harness.mjs';
import { redis } from '../lib/nodes.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const QUIET_MS = 400;
const WAIT_MAX_MS = 20000;    // longer scenarios are played with the simulated clock alone

/** What cannot be played here: commands and steps, with the reason. */
const WORDS = {
	'log': 'the log is simulated', 'horizon': 'the log is simulated', 'log-end': 'the log is simulated',
	'logged': 'the log is simulated', 'log-slow': 'the log is simulated', 'answers': 'the log is simulated',
	'serial=': 'the log is simulated', 'async=': 'the log is simulated', 'missed=': 'the log is simulated',
	'hold': 'messages between threads are not seen', 'release': 'messages between threads are not seen',
	'block': 'sockets take what they are sent', 'unblock': 'sockets take what they are sent',
	'break': 'sockets take what they are sent', 'killed': 'sockets take what they are sent',
	'writes': 'writes are not seen', 'pings': 'the client library answers PING frames itself',
	'bytes': 'a frame that only the socket layer sees',
	'node': 'the nodes are shared', 'drain': 'the nodes are shared', 'tls=': 'the port has no TLS',
	'reload': 'the configuration is shared', 'no-app': 'the configuration is shared',
};
/** Scenarios that cannot be played here, with the reason. */
const SCENARIOS = {
	'a cached event expires': 'it is exact to a second',
	'above 100 subscriptions a count is sent every 5 seconds': 'how many counts are sent depends on the pace of the clients',
	'without an event log there is no position': 'there is a log',
	'ten a second are allowed': 'it is exact to less than a second',
	'a page that reloads neither leaves nor joins': 'it is exact to a second',
	'a tab that unsubscribes does not end the grace of another tab that reloads': 'it is exact to a second',
	'a member without connections is removed after three seconds': 'it is exact to less than a second',
	'nothing is sent after the client began to close': 'the client library closes its side at once',
	'frames of the server are no sign of life': 'the client library answers PING frames itself',
	'no counts on encrypted channels and users\' own channels': 'a path with "#" in it is not signed so',
	'many connections at once': 'the client library answers PING frames itself',
};
/** What holds on each node by itself (docs/scaling.md): only with one daemon. */
const OF_A_NODE = {
	'subscription counts are sent when the app enables them': 'a number of subscriptions can be a second old',
	'a watchlist reports who is online, comes and leaves': 'the first states come one by one',
	'a watchlist that is too long': 'the first states come one by one',
	'revoke ends the user\'s subscriptions that match, and no other': 'what ends on another node can be heard first',
	'above the app\'s max_connections is 4004': 'connections are limited on each node',
};

/** [{file, name, lines: [{number, text}]}] */
function readScenarios() {
	const all = [];
	for (const file of fs.readdirSync(HERE).filter((name) => name.endsWith('.scenario')).sort()) {
		fs.readFileSync(path.join(HERE, file), 'utf8').split('\n').forEach((line, i) => {
			const text = line.trimEnd();
			if (!text || text.startsWith('#')) return;
			if (text.startsWith('scenario ')) all.push({ file, name: text.slice(9), lines: [] });
			else all.at(-1).lines.push({ number: i + 1, text });
		});
	}
	return all;
}

/** Why a scenario is not played; undefined when it is. */
function reason({ name, lines }) {
	const own = SCENARIOS[name] ?? (process.env.SCOPEWIRE_TEST_NODES > 1 ? OF_A_NODE[name] : undefined);
	if (own) return own;
	let waits = 0, apps = 0;
	for (const { text } of lines) {
		const [first, second, third] = text.split(' ');
		if (first === 'app' && second === 'portal') apps++;
		if (first === '+') waits += Number(second) * (third === 'ms' ? 1 : 1000);
		// A step's word follows a client's name; an option is before what it belongs to.
		const words = [first, ...['>', '<'].includes(second) ? [] : [second], ...first === 'publish' || first === 'open'
			|| first === 'connect' ? text.split(' ').slice(1, 6).map((word) => word.replace(/=.*/s, '=')) : []];
		const why = words.map((word) => WORDS[word]).find(Boolean);
		if (why) return why;
	}
	return apps > 1 ? 'the configuration is shared' : waits > WAIT_MAX_MS ? 'it takes long' : undefined;
}

/** 'text' is the JSON string that holds text; outside of strings only. */
function expand(text, peers) {
	const withIds = text.replace(/\$\{(\w+)\}/g, (all, name) => peers.get(name)?.wire.socketId ?? all);
	let out = '', inString = false;
	for (let i = 0; i < withIds.length; i++) {
		const end = withIds.indexOf('\'', i + 1);
		if (!inString && withIds[i] === '\'' && end >= 0) {
			out += JSON.stringify(withIds.slice(i + 1, end));
			i = end;
			continue;
		}
		if (withIds[i] === '"' && withIds[i - 1] !== '\\') inString = !inString;
		out += withIds[i];
	}
	return out;
}

const parsed = (text) => {
	try {
		return JSON.parse(text);
	} catch {
		return undefined;
	}
};
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
// What frames have more when there is a log: docs/replay.md.
const OF_THE_LOG = ['epoch', 'position', 'serial'];

/** As frames.c compares: "*" is anything, lists in any order, texts also as the JSON objects that they hold. */
function isSame(got, want) {
	if (want === '*') return got !== undefined;
	if (typeof want === 'string' && typeof got === 'string') {
		const [g, w] = [parsed(got), parsed(want)];
		return got === want || (isObject(g) && isObject(w) && isSame(g, w));
	}
	if (Array.isArray(want) && Array.isArray(got)) {
		const left = [...want];
		for (const one of got) {
			const at = left.findIndex((w) => isSame(one, w));
			if (at >= 0) left.splice(at, 1);
		}
		return left.length === 0 && got.length === want.length;
	}
	if (isObject(want) && isObject(got)) {
		const keys = Object.keys(got).filter((key) => key in want || !OF_THE_LOG.includes(key));
		return keys.length === Object.keys(want).length && Object.keys(want).every((key) => isSame(got[key], want[key]));
	}
	return isDeepStrictEqual(got, want);
}

class Play {
	constructor(scenario, daemon, apps) {
		Object.assign(this, { ...scenario, daemon, apps, peers: new Map() });
		this.app = apps.get('portal');
	}

	async run() {
		for (const { number, text } of this.lines) {
			try {
				await this.#line(text);
			} catch (error) {
				throw new Error(`${this.file}:${number}: ${text}\n${error.message}`, { cause: error });
			}
		}
	}

	end() {
		for (const { wire } of this.peers.values()) wire.terminate();
	}

	async #line(text) {
		const [, first, rest] = /^(\S+) ?(.*)$/s.exec(text);
		if (first.endsWith('*')) {
			for (const [name, peer] of this.peers)
				if (name.startsWith(first.slice(0, -1))) await this.#step(peer, rest);
		} else if (this.peers.has(first)) {
			await this.#step(this.peers.get(first), rest);
		} else {
			await this.#command(first, rest);
		}
	}

	async #command(name, rest) {
		const api = this.daemon.api(this.app), words = rest.split(' ');
		const ok = async (answer) => assert.equal((await answer).status, 200, (await answer).text);
		if (name === 'app') return;
		if (name === 'open' || name === 'connect') await this.#open(words, name === 'connect');
		else if (name === '+') await pause(Number(words[0]) * (words[1] === 'ms' ? 1 : 1000));
		else if (name === 'publish') await this.#publish(api, rest);
		else if (name === 'channel') await this.#channel(api, words);
		else if (name === 'terminate') await ok(api.post(`/users/${rest}/terminate_connections`, {}));
		else if (name === 'revoke')
			for (const pattern of words.slice(1)) await ok(api.post(`/users/${words[0]}/revoke`, { pattern }));
		else if (name === 'sessions')
			await waitFor(() => [...this.peers.values()].filter(({ wire }) => wire.closeCode === undefined).length === Number(rest), `${rest} sessions`);
		else assert.fail(`${name} is no command and no client`);
	}

	async #open(words, isGreeted) {
		const options = Object.fromEntries(words.slice(1).map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]));
		const query = new URLSearchParams({ protocol: options.protocol ?? 7, client: options.client ?? 'js' });
		const [, key] = /^\/app\/(key|other)\b/.exec(options.path ?? '/app/key') ?? [];
		const app = key === 'other' ? this.apps.get('other') : this.app;
		const where = (options.path ?? '/app/key').replace(/^\/app\/(key|other)/, `/app/${app?.key}`);
		const times = Number(options.times ?? 1);
		for (let i = 0; i < times; i++) {
			const wire = new Wire(`ws://${this.daemon.address}${where}?${query}`, app,
				options.origin ? { origin: options.origin } : {});
			this.peers.set(times > 1 ? `${words[0]}${i}` : words[0], { name: words[0], wire, at: 0 });
			// Greeted or refused.
			await waitFor(() => wire.frames.length > 0 || wire.closeCode !== undefined, 'the first frame');
			if (wire.frames[0]?.event === 'pusher:connection_established') wire.socketId = JSON.parse(wire.frames[0].data).socket_id;
			if (!isGreeted) continue;
			assert.equal(wire.frames[0]?.event, 'pusher:connection_established', JSON.stringify(wire.frames));
			this.peers.get(times > 1 ? `${words[0]}${i}` : words[0]).at = 1;
		}
	}

	async #publish(api, rest) {
		const more = {};
		let text = rest, times = 1, bytes = 0;
		for (let option; (option = /^(\w+)=(\S+) /.exec(text)); text = text.slice(option[0].length)) {
			if (option[1] === 'except') more.socket_id = this.peers.get(option[2]).wire.socketId;
			else if (option[1] === 'times') times = Number(option[2]);
			else bytes = Number(option[2]);
		}
		const [, channel, event, data] = /^(\S+) (\S+) (.*)$/s.exec(text);
		for (let i = 0; i < times; i++) {
			const answer = await api.trigger(channel, event, data.padEnd(bytes, 'x'), more);
			assert.equal(answer.status, 200, answer.text);
		}
	}

	async #channel(api, [channel, ...wanted]) {
		const want = Object.fromEntries(wanted.map((word) => word.split('=')));
		const info = [...want.subscriptions ? ['subscription_count'] : [], ...want.users ? ['user_count'] : [], ...want.cache ? ['cache'] : []].join();
		let got;
		await waitFor(async () => {
			const answer = await api.get(`/channels/${channel}`, info ? { info } : {});
			got = answer.json ?? answer.text;
			return (!want.occupied || got.occupied === (want.occupied === 'yes'))
				&& (!want.subscriptions || got.subscription_count === Number(want.subscriptions))
				&& (!want.users || (got.user_count ?? 0) === Number(want.users))
				&& (!want.cache || Boolean(got.cache) === (want.cache === 'yes'));
		}, 'the channel').catch((error) => assert.fail(`${error.message}: ${JSON.stringify(got)}`));
	}

	async #step(peer, text) {
		const [, name, rest = ''] = /^(\S+) ?(.*)$/s.exec(text);
		const { wire } = peer;
		const send = async (bytes, options) => {
			wire.socket.send(bytes, options);
			// What was sent before a PING frame has been processed when its PONG arrives.
			if (options?.fin === false) return;
			await new Promise((resolve) => {
				wire.socket.once('pong', resolve);
				wire.closed.then(resolve);
				wire.socket.ping();
			});
		};
		const message = async (event, data) => {
			const before = wire.frames.length;
			await send(JSON.stringify({ event, data }));
			// The answer can wait for the database, and what follows must not overtake it.
			await waitFor(() => wire.frames.length > before || wire.closeCode !== undefined, `an answer to ${event}`);
		};
		const have = (n) => waitFor(() => wire.frames.length >= peer.at + n || wire.closeCode !== undefined, `${n} frames`)
			.catch((error) => assert.fail(`${error.message}; got ${JSON.stringify(wire.frames.slice(peer.at))}`));
		const words = rest.split(' ');
		if (name === '>' && rest.includes('pusher:unsubscribe')) wire.joined?.delete(parsed(rest)?.data?.channel);
		if (name === '>') await send(expand(rest, this.peers).replace(/"auth":"key:/, `"auth":"${this.app.key}:`));
		else if (name === '<') await this.#expect(peer, rest, have);
		else if (name === 'frames' || name === 'skip') {
			await have(Number(rest));
			assert.ok(wire.frames.length >= peer.at + Number(rest), `got ${JSON.stringify(wire.frames.slice(peer.at))}`);
			peer.at += Number(rest);
		} else if (name === '-') {
			await pause(QUIET_MS);
			assert.deepEqual(wire.frames.slice(peer.at), []);
			assert.equal(wire.closeCode, undefined);
		} else if (name === 'closed') {
			await wire.closed;
			assert.deepEqual(wire.frames.slice(peer.at), []);
			assert.equal(wire.closeCode, Number(rest));
		} else if (name === 'binary') await send(Buffer.from(rest), { binary: true });
		else if (name === 'fragment') await send(words.slice(1).join(' '), { fin: words[0] === 'last' });
		else if (name === 'large') await send('{"event":"pusher:ping"}'.padEnd(Number(rest), ' '));
		else if (name === 'pong') wire.socket.pong();
		else if (name === 'closing') wire.socket.close(1000);
		else if (name === 'gone') await wire.terminate();
		else if (name === 'subscribe') {
			const since = words[0].startsWith('since=') ? words.shift().slice(6) : undefined;
			const [channel, ...more] = words, channelData = more.length ? more.join(' ') : undefined;
			await message('pusher:subscribe', { channel, since, channel_data: channelData,
				auth: channel.startsWith('pr') ? channelAuth(this.app, wire.socketId, channel, channelData) : '' });
			await this.#reachable(wire, channel);
		} else if (name === 'signin')
			await message('pusher:signin', { auth: userAuth(this.app, wire.socketId, rest), user_data: rest });
		else assert.fail(`${name} is no step`);
	}

	/** With the driver redis, client events reach a node as soon as Redis has its subscription (docs/scaling.md). */
	async #reachable(wire, channel) {
		if (!redis || parsed(wire.texts.at(-1))?.event !== 'pusher_internal:subscription_succeeded') return;
		wire.joined = (wire.joined ?? new Set()).add(channel);
		const there = [...this.peers.values()].filter((peer) => peer.wire.closeCode === undefined
			&& peer.wire.joined?.has(channel));
		// The first 12 of 31 bits are the node's number (src/wire/socket_id.c).
		const nodes = new Set(there.map((peer) => Number.parseInt(peer.wire.socketId, 10) >> 19));
		await waitFor(async () => await redis.subscriptions(`:${this.app.id}:${channel}`) >= nodes.size, 'the subscriptions in Redis');
	}

	async #expect(peer, rest, have) {
		const { wire } = peer;
		await have(1);
		const want = JSON.parse(expand(rest, this.peers));
		const text = wire.texts[peer.at]?.replaceAll(this.app.key, 'key');
		assert.ok(text !== undefined, `got nothing, want ${rest}; closed with ${wire.closeCode}`);
		assert.ok(isSame(parsed(text), want), `got  ${text}\nwant ${JSON.stringify(want)}`);
		peer.at++;
	}
}

/** The applications that the scenario names, under names of its own. */
function appsOf(scenario, i) {
	const apps = new Map();
	for (const { text } of scenario.lines) {
		const [word, id, ...options] = text.split(' ');
		if (word === 'app') apps.set(id, { allowed_origins: '*', ...Object.fromEntries(options.map((o) => o.split('='))), id: `s${i}-${id}`, key: `s${i}-key-${id}`, secret: 'secret' });
	}
	return apps;
}

const only = process.env.SCOPEWIRE_SCENARIO;
const all = readScenarios().map((one, i) => ({ ...one, apps: appsOf(one, i), why: reason(one) }));
const playable = all.filter((one) => !one.why && (!only || one.name.includes(only)));
if (process.env.SCOPEWIRE_SCENARIO_LIST)
	for (const { file, name, why } of all) console.log(`${why ? `- ${why}` : '+'}: ${file}: ${name}`);

test('scenarios over sockets', { concurrency: 12 }, async (t) => {
	const daemon = await startDaemon({ apps: playable.flatMap(({ apps }) => [...apps.values()]) }, t);
	await Promise.all(playable.map((one) => t.test(one.name, async () => {
		const play = new Play(one, daemon, one.apps);
		try {
			await play.run();
		} finally {
			play.end();
		}
	})));
});
