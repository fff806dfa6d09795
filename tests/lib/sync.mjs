// SPDX-License-Identifier: MIT
// The sync API: as the application's server, or as a user with a token signed by our own code.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { request } from './api.mjs';
import { waitFor } from './wait.mjs';

const base64url = (bytes) => Buffer.from(bytes).toString('base64url');

/** A JSON Web Token; header and claims are free, so that a test can also get them wrong. */
export function jwt(secret, claims, header = { alg: 'HS256', typ: 'JWT' }) {
	const signed = `${base64url(JSON.stringify(header))}.${base64url(JSON.stringify(claims))}`;
	const digest = { HS256: 'sha256', HS384: 'sha384', HS512: 'sha512' }[header.alg];
	const mac = digest ? crypto.createHmac(digest, secret).update(signed).digest() : '';
	return `${signed}.${base64url(mac)}`;
}

/** A token of the app for a user; claims add to or replace those it needs. */
export function userToken(app, id, claims = {}) {
	return jwt(app.secret, { sub: String(id), aud: app.id,
		exp: Math.floor(Date.now() / 1000) + 3600, ...claims });
}

export class Sync {
	/** authorization: the header's value, or undefined for none. */
	constructor(daemon, authorization, base = '/api/sync/') {
		Object.assign(this, { daemon, authorization, base });
	}

	/** As the application's server. */
	static server(daemon, app = daemon.app) {
		const credentials = Buffer.from(`${app.key}:${app.secret}`).toString('base64');
		return new Sync(daemon, `Basic ${credentials}`);
	}

	/** As a user: {id, name, avatar, roles} and further claims. */
	static user(daemon, id, claims = {}, app = daemon.app) {
		return new Sync(daemon, `Bearer ${userToken(app, id, claims)}`);
	}

	/** {status, headers, text, json}.  path is relative to /api/sync/, or starts with a slash. */
	call(method, path, { query, body, headers } = {}) {
		const url = new URL(path.startsWith('/') ? path : this.base + path, this.daemon.url);
		for (const [name, value] of Object.entries(query ?? {}))
			if (value !== undefined) url.searchParams.append(name, value);
		const text = body === undefined || typeof body === 'string' || Buffer.isBuffer(body)
			? body : JSON.stringify(body);
		return request(url.href, { method, body: text, headers: {
			...(this.authorization && { Authorization: this.authorization }),
			...(text !== undefined && { 'Content-Type': 'application/json',
				'Content-Length': Buffer.byteLength(text) }), ...headers } });
	}

	get(path, query) {
		return this.call('GET', path, { query });
	}

	post(path, body) {
		return this.call('POST', path, { body });
	}

	put(path, body) {
		return this.call('PUT', path, { body });
	}

	delete(path, body) {
		return this.call('DELETE', path, { body });
	}
}

/** The body of an answer that is as it should be. */
export function ok(answer, status = 200) {
	assert.equal(answer.status, status, answer.text);
	return answer.json;
}

/** A write's answer without the members about its event. */
export function withoutEvent({ event_id, position, serial, ...rest }) {
	return rest;
}

/** The answer is that refusal, with a message that is not empty. */
export function failed(answer, status, code, field) {
	assert.equal(answer.status, status, answer.text);
	assert.equal(answer.json?.error?.code, code, answer.text);
	assert.equal(answer.json.error.field, field, answer.text);
	assert.match(answer.json.error.message, /.{10}[^.]$/s, 'a sentence without its full stop');
}

/** What /broadcasting/auth gives, as subscribe() takes it; waits until the rule is known. */
export async function authorize(wire, who, channel) {
	const { json } = await waitFor(async () => {
		const answer = await who.post('/broadcasting/auth', { socket_id: wire.socketId, channel_name: channel });
		return answer.status === 200 && answer;
	}, `the authorization of ${channel}`);
	return { auth: json.auth, channelData: json.channel_data };
}

/** A connection of the user, on these channels by the daemon's authorization. */
export async function join(t, who, ...channels) {
	const wire = await who.daemon.connect();
	t.after(() => wire.terminate());
	for (const channel of channels) await wire.subscribe(channel, await authorize(wire, who, channel));
	return wire;
}
