// SPDX-License-Identifier: MIT
// Stock pusher-js in Node and the official server SDK, with an authorization endpoint between.
import http from 'node:http';
import Pusher from 'pusher';
import PusherJs from 'pusher-js';
import { APP, within } from '../lib/harness.mjs';

export const MASTER_KEY = Buffer.alloc(32, 'm').toString('base64');

/** The official SDK for a daemon; more overrides its options. */
export function server(daemon, more = {}) {
	return new Pusher({ appId: APP.id, key: APP.key, secret: APP.secret, host: '127.0.0.1',
		port: String(daemon.port), useTLS: false, encryptionMasterKeyBase64: MASTER_KEY, ...more });
}

function form(request) {
	return new Promise((resolve) => {
		let text = '';
		request.on('data', (part) => { text += part; })
			.on('end', () => resolve(Object.fromEntries(new URLSearchParams(text))));
	});
}

/**
 * The application's side of authorization: the user is in the header X-User (JSON: {id,
 * user_info, watchlist}); channels with "forbidden" in their name are refused.
 */
export async function startAuthorizer(t, sdk) {
	const listener = http.createServer(async (request, response) => {
		const { socket_id, channel_name } = await form(request);
		const user = JSON.parse(request.headers['x-user'] ?? '{}');
		const answer = (status, body) =>
			response.writeHead(status, { 'Content-Type': 'application/json' })
				.end(JSON.stringify(body));
		if (channel_name?.includes('forbidden')) return answer(403, {});
		if (request.url === '/user') return answer(200, sdk.authenticateUser(socket_id, user));
		const presence = channel_name.startsWith('presence-')
			? { user_id: user.id, user_info: user.user_info } : undefined;
		return answer(200, sdk.authorizeChannel(socket_id, channel_name, presence));
	}).listen(0, '127.0.0.1');
	t.after(() => new Promise((resolve) => {
		listener.close(resolve);
		listener.closeAllConnections();
	}));
	await new Promise((resolve) => listener.once('listening', resolve));
	return `http://127.0.0.1:${listener.address().port}`;
}

/** A pusher-js client as that user.  more overrides its options. */
export function client(t, daemon, authorizer, user = {}, more = {}) {
	const headers = { 'X-User': JSON.stringify(user) };
	const pusher = new PusherJs(APP.key, { cluster: '', wsHost: '127.0.0.1', wsPort: daemon.port,
		forceTLS: false, enabledTransports: ['ws'], disableStats: true,
		channelAuthorization: { endpoint: `${authorizer}/channel`, transport: 'ajax', headers },
		userAuthentication: { endpoint: `${authorizer}/user`, transport: 'ajax', headers }, ...more });
	t.after(() => pusher.disconnect());
	pusher.states = [];
	pusher.connection.bind('state_change', ({ current }) => pusher.states.push(current));
	pusher.errors = [];
	pusher.connection.bind('error', (error) => pusher.errors.push(error));
	return pusher;
}

/** The next time emitter fires event, its data; those that satisfy the predicate only. */
export function once(emitter, event, predicate = () => true) {
	return within(new Promise((resolve) => {
		const handler = (data, more) => {
			if (!predicate(data, more)) return;
			emitter.unbind(event, handler);
			resolve(data);
		};
		emitter.bind(event, handler);
	}), `${event} on ${emitter.name ?? 'the connection'}`);
}

export async function connected(pusher) {
	if (pusher.connection.state !== 'connected') await once(pusher.connection, 'connected');
	return pusher;
}

/** Subscribes and waits for the success. */
export async function subscribed(pusher, name) {
	const channel = pusher.subscribe(name);
	if (!channel.subscribed) await once(channel, 'pusher:subscription_succeeded');
	return channel;
}

/** Gathers everything emitted under event: an array that grows. */
export function gather(emitter, event) {
	const all = [];
	emitter.bind(event, (data) => all.push(data));
	return all;
}
