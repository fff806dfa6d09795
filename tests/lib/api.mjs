// SPDX-License-Identifier: MIT
// The Pusher HTTP API, signed by our own code, so that a test can also sign wrongly.
import http from 'node:http';
import https from 'node:https';
import crypto from 'node:crypto';
import { suiteCertificate } from './tls.mjs';

export const hmac = (secret, text) =>
	crypto.createHmac('sha256', secret).update(text).digest('hex');
export const md5 = (bytes) => crypto.createHash('md5').update(bytes).digest('hex');

/** auth of a channel subscription, as an authorization endpoint answers it. */
export function channelAuth(app, socketId, channel, channelData) {
	const text = [socketId, channel, ...(channelData === undefined ? [] : [channelData])].join(':');
	return `${app.key}:${hmac(app.secret, text)}`;
}

/** auth of pusher:signin. */
export function userAuth(app, socketId, userData) {
	return `${app.key}:${hmac(app.secret, `${socketId}::user::${userData}`)}`;
}

/** The query string of a signed request; override replaces or (undefined) removes parameters. */
export function signedQuery(app, method, path, params = {}, body = '', override = {}) {
	const all = { auth_key: app.key, auth_timestamp: Math.floor(Date.now() / 1000),
		auth_version: '1.0', ...params };
	if (body.length) all.body_md5 = md5(body);
	Object.assign(all, override);
	const keys = Object.keys(all)
		.filter((k) => all[k] !== undefined && k !== 'auth_signature').sort();
	const text = [method, path, keys.map((k) => `${k.toLowerCase()}=${all[k]}`).join('&')].join('\n');
	const query = new URLSearchParams(keys.map((k) => [k, all[k]]));
	if (!('auth_signature' in override)) query.set('auth_signature', hmac(app.secret, text));
	else if (override.auth_signature !== undefined)
		query.set('auth_signature', override.auth_signature);
	return query.toString();
}

/** One HTTP request: {status, headers, text, json}.  json is undefined when the body is none. */
export function request(url, { method = 'GET', headers = {}, body, agent,
	ca = suiteCertificate()?.ca } = {}) {
	const library = url.startsWith('https:') ? https : http;
	return new Promise((resolve, reject) => {
		const call = library.request(url, { method, headers, ca, agent }, (response) => {
			const parts = [];
			response.on('data', (part) => parts.push(part)).on('error', reject);
			response.on('end', () => {
				const text = Buffer.concat(parts).toString();
				let json;
				try {
					json = JSON.parse(text);
				} catch { /* not JSON */ }
				resolve({ status: response.statusCode, headers: response.headers, text, json });
			});
		});
		call.on('error', reject);
		call.end(body);
	});
}

/** The API of one app at a base URL such as http://127.0.0.1:8080 or .../prefix. */
export class Api {
	constructor(base, app, options = {}) {
		Object.assign(this, { base, app, options });
	}

	/** path is relative to /apps/{id}; body a string, a Buffer, or something for JSON. */
	call(method, path, { params, body, override, headers } = {}) {
		const full = `/apps/${this.app.id}${path}`;
		const bytes = body === undefined ? ''
			: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
		const query = signedQuery(this.app, method, full, params, bytes, override);
		const type = bytes.length ? { 'Content-Type': 'application/json',
			'Content-Length': Buffer.byteLength(bytes) } : {};
		return request(`${this.base}${full}?${query}`, { ...this.options, method,
			headers: { ...type, ...headers }, body: bytes.length ? bytes : undefined });
	}

	get(path, params = {}) {
		return this.call('GET', path, { params });
	}

	post(path, body, more = {}) {
		return this.call('POST', path, { body, ...more });
	}

	/** Publishes one event; data that is no string is made JSON. */
	trigger(channels, name, data, more = {}) {
		const text = typeof data === 'string' ? data : JSON.stringify(data);
		return this.post('/events', { name, data: text, channels: [channels].flat(), ...more });
	}
}
