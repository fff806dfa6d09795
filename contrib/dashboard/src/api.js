// SPDX-License-Identifier: MIT
// Requests to /admin/api.  The token is kept in sessionStorage: it ends with the tab, and no other
// site can read it or have it sent along, as it could with a cookie.
const KEY = 'scopewire.admin.token';
const BASE = new URL('api/', document.baseURI);

/** Who is signed in: {token, scope}, or null before the first answer and without access. */
export const session = { token: null, scope: null };

export class ApiError extends Error {
	constructor(status, message) {
		super(message);
		this.status = status;
	}
}

/** A number that JavaScript would print in another way than it was written. */
export class Written {
	constructor(text) {
		this.text = text;
	}

	valueOf() {
		return Number(this.text);
	}

	toString() {
		return this.text;
	}
}

function keepWritten(name, value, context) {
	return typeof value === 'number' && context?.source !== undefined && String(value) !== context.source
		? new Written(context.source) : value;
}

export const parse = (text) => JSON.parse(text, keepWritten);

const stored = () => sessionStorage.getItem(KEY);

function headers(more = {}) {
	const token = stored();
	return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

function address(path, params = {}) {
	const url = new URL(path, BASE);
	for (const [name, value] of Object.entries(params))
		if (value !== undefined && value !== null && value !== '') url.searchParams.set(name, value);
	return url;
}

async function failure(response) {
	const text = await response.text();
	let message = text;
	try {
		message = JSON.parse(text).error.message;
	} catch { /* plain text */ }
	return new ApiError(response.status, message || `The daemon answered with ${response.status}.`);
}

async function request(path, params, options) {
	let response;
	try {
		response = await fetch(address(path, params), { cache: 'no-store', credentials: 'omit', ...options });
	} catch (error) {
		if (error.name === 'AbortError') throw error;
		throw new ApiError(0, 'The daemon does not answer.');
	}
	if (response.ok) return response;
	const error = await failure(response);
	if (error.status === 401 && !options.method) {
		session.scope = null;
		window.dispatchEvent(new CustomEvent('sw-signed-out', { detail: error.message }));
	}
	throw error;
}

export async function get(path, params, options = {}) {
	const response = await request(path, params, { ...options, headers: headers() });
	return parse(await response.text());
}

export async function post(path, body) {
	const response = await request(path, {}, { method: 'POST', headers: headers({ 'Content-Type': 'application/json' }),
		body: typeof body === 'string' ? body : JSON.stringify(body) });
	return parse(await response.text());
}

/** Reads server-sent events until signal aborts or the stream ends: calls on(event, data) for each. */
export async function stream(path, params, on, signal) {
	const response = await request(path, params, { headers: headers({ Accept: 'text/event-stream' }), signal });
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = '';
	on('open', null);
	for (;;) {
		const { value, done } = await reader.read();
		if (done) return;
		const blocks = (rest + value).split(/\r?\n\r?\n/);
		rest = blocks.pop();
		for (const block of blocks) readMessage(block, on);
	}
}

function readMessage(block, on) {
	let event = 'message';
	const data = [];
	for (const line of block.split(/\r?\n/)) {
		const [, name, value] = /^(\w+): ?(.*)$/s.exec(line) ?? [];
		if (name === 'event') event = value;
		else if (name === 'data') data.push(value);
	}
	if (data.length) on(event, parse(data.join('\n')));
}

/** Asks the daemon what the token that is stored, or none, may do. */
export async function open() {
	Object.assign(session, await get('session'));
}

export async function signIn(token) {
	sessionStorage.setItem(KEY, token);
	try {
		await open();
	} catch (error) {
		sessionStorage.removeItem(KEY);
		throw error;
	}
}

export function signOut() {
	sessionStorage.removeItem(KEY);
	Object.assign(session, { token: null, scope: null });
}

export const canWrite = () => session.scope === 'write';
