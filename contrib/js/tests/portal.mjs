// SPDX-License-Identifier: MIT
// A small portal for browser tests: the real daemon behind a network that can be cut, pages with a strict
// Content-Security-Policy, tokens, and what an application's server does (comments, publishing).
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { APP, Sync, Wires, startDaemon, userToken, waitFor } from '../../../tests/lib/harness.mjs';
import { server } from '../../../tests/e2e/stock.mjs';
import { launchBrowser } from '../../../tests/e2e/browser.mjs';
import { bundleText } from '../build.mjs';
import { violations as violationsOf } from './axe.mjs';

const JS = fileURLToPath(new URL('..', import.meta.url));
const FILES = {
	'/echo.js': 'node_modules/laravel-echo/dist/echo.js',
	'/pusher.js': 'node_modules/pusher-js/dist/web/pusher-with-encryption.js',
	'/axios.js': 'node_modules/axios/dist/esm/axios.js',
	'/boot.js': 'tests/boot.js',
	'/page.css': 'tests/page.css',
};
const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.html': 'text/html; charset=utf-8' };

export const USERS = {
	ada: { id: 1, name: 'Ada Lovelace', roles: ['admin'] },
	grace: { id: 2, name: 'Grace Hopper', roles: ['member'] },
	linus: { id: 3, name: 'Linus Torvalds', roles: ['member'] },
	margaret: { id: 4, name: 'Margaret Hamilton', roles: ['member'] },
};

const RULES = ['online', 'presence.online', 'admin', 'project.{id}', 'client.{id}', 'note.{id}', 'invoice.{id}',
	'document.{id}'];

let bundle;

class Portal {
	constructor(t) {
		this.t = t;
		this.pages = new Map();
		this.comments = [];
		this.requests = [];
		this.tokenTtl = 3600;
		this.backend = null;
	}

	async start(options) {
		bundle ??= bundleText();
		this.pages.set('/scopewire.js', { type: TYPES['.js'], text: await bundle });
		for (const [address, file] of Object.entries(FILES))
			this.pages.set(address, { type: TYPES[path.extname(file)], text: fs.readFileSync(path.join(JS, file)) });
		const { sync, ...rest } = options;
		this.daemon = await startDaemon({ ...rest, server: { drain_ms: 0, ...rest.server },
			sections: { ...rest.sections, sync: { presence_ttl_s: 6, user_activity_types: 'comment_added', ...sync } } },
			this.t);
		for (const pattern of RULES)
			await this.daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule, can_write)
				VALUES ($1, 'anyone', true)`, [pattern]);
		await this.daemon.query(`INSERT INTO scopewire.channel_rules (pattern, rule, argument)
			VALUES ('App.Models.User.{id}', 'owner', 'id')`);
		this.sync = Sync.server(this.daemon);
		for (const { id, name, roles } of Object.values(USERS)) await this.sync.put(`users/${id}`, { name, roles });
		this.sdk = server(this.daemon);
		this.wires = await new Wires(this.daemon).start(this.t);
		await this.#serve();
		this.browser = await launchBrowser(this.t);
		return this;
	}

	async #serve() {
		const listener = http.createServer((request, response) => {
			this.#answer(request, response).catch((error) => {
				response.writeHead(500).end(String(error.stack));
			});
		});
		await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
		this.url = `http://127.0.0.1:${listener.address().port}`;
		this.t.after(() => new Promise((resolve) => {
			listener.close(resolve);
			listener.closeAllConnections();
		}));
	}

	/** No inline script or style runs, and only the daemon can be connected to. */
	get policy() {
		const { port } = this.wires;
		return `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; `
			+ `connect-src 'self' ws://127.0.0.1:${port} http://127.0.0.1:${port}`;
	}

	async #answer(request, response) {
		const url = new URL(request.url, this.url);
		const send = (status, body, type = 'application/json') => response.writeHead(status,
			{ 'Content-Type': type, 'Content-Security-Policy': this.policy })
			.end(type === 'application/json' ? JSON.stringify(body) : body);
		this.requests.push({ method: request.method, path: url.pathname, headers: request.headers });
		if (this.isSignedOut && ['/token', '/comments'].includes(url.pathname)) return send(401, { message: 'Unauthenticated.' });
		if (url.pathname === '/token') return send(200, { token: this.token(url.searchParams.get('user')) });
		if (url.pathname === '/config') return send(200, { key: APP.key, port: this.wires.port });
		if (url.pathname === '/comments') return this.#comment(request, send);
		const page = this.pages.get(url.pathname);
		if (page) return send(200, page.text, page.type);
		return this.backend ? this.#forward(request, response) : send(404, { message: 'not found' });
	}

	/** To the application behind this address, which listens on the port this.backend. */
	#forward(request, response) {
		const { method, url: target } = request;
		const headers = { ...request.headers, 'x-policy': this.policy };
		const forwarded = http.request({ host: '127.0.0.1', port: this.backend, method, path: target, headers }, (answer) => {
			response.writeHead(answer.statusCode, { 'content-security-policy': this.policy, ...answer.headers });
			answer.pipe(response);
		});
		forwarded.on('error', (error) => { response.destroy(error); });
		request.pipe(forwarded);
	}

	token(name) {
		const { id, ...claims } = USERS[name];
		return userToken(this.daemon.app, id, { ...claims, exp: Math.floor(Date.now() / 1000) + this.tokenTtl });
	}

	/** As the application's controller: stores a comment and broadcasts it to others. */
	async #comment(request, send) {
		if (request.method === 'GET') return send(200, { comments: [...this.comments].reverse(), next_cursor: null });
		let text = '';
		for await (const part of request) text += part;
		if (this.isBroken) return send(500, { message: 'Server Error' });
		const { body, client_ref } = JSON.parse(text);
		if (body.length < 2) return send(422, { message: 'The body is too short.' });
		const stored = this.comments.find((c) => c.client_ref === client_ref);
		if (stored) return send(201, { comment: stored });
		const user = USERS[request.headers['x-user']] ?? USERS.ada;
		const comment = { id: this.comments.length + 1, body, client_ref, user: { id: user.id, name: user.name },
			created_at: new Date().toISOString() };
		this.comments.push(comment);
		await this.sdk.trigger('private-project.7', 'App\\Events\\CommentAdded', { comment },
			{ socket_id: request.headers['x-socket-id'] });
		return send(201, { comment });
	}

	/** A page with the kit started for the user in its query; body is HTML, script a module's text. */
	page(name, body, script = '') {
		this.pages.set(`/${name}.js`, { type: 'text/javascript', text: `import { boot, kit } from '/boot.js';\n${script}` });
		this.pages.set(`/${name}.html`, { type: 'text/html; charset=utf-8', text:
			`<!doctype html><html lang="en"><meta charset="utf-8"><title>Portal</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/page.css">
<script src="/pusher.js"></script><script type="module" src="/boot.js"></script>
<script type="module" src="/${name}.js"></script><body>${body}</body></html>` });
	}

	/** A window of a user of its own, with that page; options are those of playwright's context. */
	async open(user, name, { query = '', tab, ...options } = {}) {
		const context = tab?.context() ?? await this.browser.newContext(options);
		const page = await context.newPage();
		page.problems = [];
		page.on('pageerror', (error) => page.problems.push(error.stack));
		page.on('console', (message) => {
			if (message.type() === 'error' && !/Failed to load resource|WebSocket connection/.test(message.text()))
				page.problems.push(message.text());
		});
		await page.goto(`${this.url}/${name}.html?user=${user}${query}`);
		await page.waitForFunction(() => window.manager?.status.state === 'connected');
		return page;
	}

	trigger(channel, event, data) {
		return this.sdk.trigger(channel, `App\\Events\\${event}`, data);
	}
}

/** options: those of startDaemon(), and sync: options of that section. */
export function startPortal(t, options = {}) {
	return new Portal(t).start(options);
}

/** The page is subscribed to all of its channels. */
export function subscribed(page, count = 1) {
	return page.waitForFunction((n) => {
		const all = window.manager.pusher.allChannels();
		return all.length >= n && all.every((c) => c.subscribed);
	}, count);
}

/** A test's page is a part of one: it has no regions and no heading of its own. */
export function violations(page) {
	return violationsOf(page, { region: { enabled: false }, 'page-has-heading-one': { enabled: false } });
}

/**
 * What the page's status shows from now on, also what it shows for a few seconds only: a function that waits until the text
 * was there.
 */
export async function watchStatus(page) {
	await page.evaluate(() => {
		const { shadowRoot } = document.querySelector('scopewire-connection-status');
		window.statusTexts = [];
		new MutationObserver(() => window.statusTexts.push(shadowRoot.textContent))
			.observe(shadowRoot, { subtree: true, childList: true, characterData: true });
	});
	return (text) => waitFor(() => page.evaluate((t) => window.statusTexts.some((shown) => shown.includes(t)), text),
		`the status ${text}`);
}

export { waitFor };
