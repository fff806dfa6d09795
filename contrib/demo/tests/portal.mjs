// SPDX-License-Identifier: MIT
// The portal as contrib/demo/run starts it, and users with a browser window and a network of their own.
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { launchBrowser } from '../../../tests/e2e/browser.mjs';
import { PROGRAM, end, freePort, freePorts, logged, query, start, tempFolder, waitFor } from '../../../tests/lib/harness.mjs';

const RUN = fileURLToPath(new URL('../run', import.meta.url));
// Packages may have to be installed first.
const START_MS = 400000;

/** A SOCKS 5 proxy of one browser window: everything that the window does goes through it, or is cut. */
class Network {
	constructor() {
		this.open = new Set();
		this.isCut = false;
		this.listener = net.createServer((near) => this.#join(near));
	}

	async start(t) {
		await new Promise((resolve) => this.listener.listen(0, '127.0.0.1', resolve));
		t.after(() => {
			this.cut();
			this.listener.close();
		});
		this.server = `socks5://127.0.0.1:${this.listener.address().port}`;
		return this;
	}

	#join(near) {
		near.on('error', () => near.destroy());
		if (this.isCut) {
			near.destroy();
			return;
		}
		near.once('data', () => {                                // the greeting; no authentication
			near.write(Buffer.from([5, 0]));
			near.once('data', (request) => this.#connect(near, request));
		});
	}

	/** The request: version, command, 0, the type of the address, address, port. */
	#connect(near, request) {
		if (this.isCut) {
			near.destroy();
			return;
		}
		const isName = request[3] === 3;                         // with its length; otherwise IPv4
		const [from, to] = isName ? [5, 5 + request[4]] : [4, 8];
		const host = isName ? request.toString('latin1', from, to) : [...request.subarray(from, to)].join('.');
		const far = net.connect(request.readUInt16BE(to), host);
		for (const [one, other] of [[near, far], [far, near]]) {
			this.open.add(one);
			one.on('error', () => one.destroy()).on('close', () => {
				this.open.delete(one);
				other.destroy();
			});
		}
		far.once('connect', () => {
			near.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
			near.pipe(far).pipe(near);
		});
	}

	cut() {
		this.isCut = true;
		for (const socket of this.open) socket.destroy();
	}

	mend() {
		this.isCut = false;
	}
}

class Portal {
	/** isCluster: with three nodes, which have the ports after that of the balancer. */
	async start(t, { isCluster = false } = {}) {
		const [port, wsPort] = [await freePort(), await (isCluster ? freePorts(20) : freePort())];
		this.t = t;
		this.state = tempFolder('demo');
		this.database = path.join(this.state, isCluster ? 'cluster/run' : 'db/run');
		this.url = `http://127.0.0.1:${port}`;
		this.child = start(RUN, ['--port', port, '--ws-port', wsPort, '--state', this.state, '--no-install',
			...isCluster ? ['--cluster'] : []].map(String),
			{ detached: true, stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, SCOPEWIRED: PROGRAM } });
		t.after(() => this.stop());
		await logged(this.child, /demo: ready: http/, START_MS);
		this.browser = await launchBrowser(t);
		return this;
	}

	async stop() {
		await end(this.child);
	}

	/** A command of contrib/demo/run; answer: its output after that. */
	async command(text, answer) {
		this.child.log = '';
		this.child.stdin.write(`${text}\n`);
		await logged(this.child, answer);
	}

	/** Rows of the database that the portal and the daemon share. */
	query(sql, values) {
		return query(this.database, 'scopewire', sql, values);
	}

	/** Signs in a user by the login page, in a window of its own, and goes to a page. */
	async enter(name, where = '/', options = {}) {
		const network = await new Network().start(this.t);
		const context = await this.browser.newContext({ viewport: { width: 1280, height: 860 },
			proxy: { server: network.server, bypass: '<-loopback>' }, ...options });
		const page = await context.newPage();
		page.network = network;
		const laptop = await context.newCDPSession(page);
		const lifecycle = (state) => laptop.send('Page.setWebLifecycleState', { state });
		/** The lid is closed: no network, and no timer runs; and opened again. */
		page.sleep = async () => {
			network.cut();
			await lifecycle('frozen');
		};
		page.wake = async () => {
			network.mend();
			await lifecycle('active');
		};
		page.problems = [];
		page.on('pageerror', (error) => page.problems.push(error.stack));
		page.on('console', (message) => {
			if (message.type() === 'error' && !/Failed to load resource|WebSocket connection|net::ERR/.test(message.text()))
				page.problems.push(message.text());
		});
		await page.goto(`${this.url}/login`);
		await page.getByRole('button', { name }).click();
		await page.getByRole('heading', { name: 'Good to see you' }).waitFor();
		await this.visit(page, where);
		return page;
	}

	/** Goes to a page of the portal and waits until all of its channels are subscribed. */
	async visit(page, where) {
		if (where !== new URL(page.url()).pathname) await page.goto(this.url + where);
		await page.waitForFunction(() => {
			const all = window.manager?.pusher.allChannels() ?? [];
			return all.length > 2 && all.every((c) => c.subscribed);
		});
	}
}

/** From now on: window.seen has events, window.recoveries their numbers, window.shown the texts of the pill. */
export async function record(page) {
	await page.evaluate(() => {
		Object.assign(window, { seen: [], recoveries: [], shown: [] });
		if (window.isRecording) return;
		window.isRecording = true;
		window.manager.pusher.bind_global((event, data) => window.seen.push({ event, data: data ?? {} }));
		window.manager.on('recovered', ({ events }) => window.recoveries.push(events));
		const pill = document.querySelector('scopewire-connection-status').shadowRoot;
		new MutationObserver(() => window.shown.push(pill.querySelector('[part=text]')?.textContent))
			.observe(pill, { childList: true, subtree: true, characterData: true });
	});
}

export function startPortal(t, options) {
	return new Portal().start(t, options);
}

export { waitFor };
