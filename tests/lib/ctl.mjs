// SPDX-License-Identifier: MIT
// scopewirectl under test, and a daemon with an admin listener for it.
import path from 'node:path';
import { PROGRAM, startDaemon } from './daemon.mjs';
import { request } from './api.mjs';
import { end, start } from './process.mjs';

export const CTL = path.join(path.dirname(PROGRAM), 'scopewirectl');

export const TOKEN = {
	metrics: 'metrics-token-0123456789abcdef', read: 'read-token-0123456789abcdef',
	write: 'write-token-0123456789abcdef',
};
export const TOKENS = Object.entries(TOKEN).map(([scope, token]) => `my-${scope}:${scope}:${token}`).join(', ');

export const bearer = (token) => ({ Authorization: `Bearer ${token}` });

/** A daemon with an admin listener, and functions that request a path of it. */
export async function withAdmin(t, admin = { tokens: TOKENS }, options = {}) {
	const daemon = await startDaemon({ ...options,
		sections: { ...options.sections, admin: { listen: '127.0.0.1:0', ...admin } } }, t);
	const [, port] = /admin: listening on \S+:(\d+)/.exec(daemon.logText) ?? [];
	const url = `http://127.0.0.1:${port}`;
	const get = (path_, headers = bearer(TOKEN.read), more = {}) =>
		request(`${url}${path_}`, { headers, ...more });
	const post = (path_, body, headers = bearer(TOKEN.write)) => request(`${url}${path_}`, {
		method: 'POST', headers: { ...headers, 'Content-Type': 'application/json' },
		body: typeof body === 'string' ? body : JSON.stringify(body ?? {}) });
	/** Runs the tool with the token of a scope. */
	const ctl = (args, { scope = 'write', env } = {}) =>
		runCtl(['--url', url, ...args], { env: { SCOPEWIRECTL_TOKEN: TOKEN[scope] ?? '', ...env } });
	return { daemon, port, url, get, post, ctl };
}

/** Runs scopewirectl to its end: {code, out, error, json}. */
export async function runCtl(args, { env, cwd } = {}) {
	const child = start(CTL, args, { cwd, env: { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', ...env } });
	let out = '', error = '';
	child.stdout.on('data', (chunk) => { out += chunk; });
	child.stderr.on('data', (chunk) => { error += chunk; });
	const closed = new Promise((resolve) => child.once('close', resolve));
	const { code } = await end(child, 0);
	await closed;     // what it printed is read to the end
	return { code, out, error, get json() { return JSON.parse(out); } };
}
