// SPDX-License-Identifier: MIT
// The examples, bundled as an application bundles them, with the real daemon.
import test, { after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { compileScript, parse } from 'vue/compiler-sfc';
import { APP } from '../../../../tests/lib/harness.mjs';
import { startPortal, violations, waitFor, watchStatus } from '../portal.mjs';
import { startSite } from '../site.mjs';

const JS = fileURLToPath(new URL('../..', import.meta.url));
const example = (name) => fs.readFileSync(path.join(JS, 'examples', name), 'utf8');

/** What Vue's plugin of a bundler does: the template becomes a function, so that no eval is needed. */
const vue = { name: 'vue', setup(bundler) {
	bundler.onLoad({ filter: /\.vue$/ }, ({ path: file }) => {
		const { descriptor } = parse(fs.readFileSync(file, 'utf8'), { filename: file });
		const { content } = compileScript(descriptor, { id: path.basename(file), inlineTemplate: true,
			templateOptions: { compilerOptions: { isCustomElement: (tag) => tag.startsWith('scopewire-') } } });
		return { contents: content, loader: 'js', resolveDir: path.dirname(file) };
	});
} };

/** entry: a file of the examples, or the text of a module. */
async function bundle(entry) {
	const from = /^[\w/]+\.jsx?$/.test(entry) ? { entryPoints: [path.join(JS, 'examples', entry)] }
		: { stdin: { contents: entry, resolveDir: JS } };
	const { outputFiles } = await build({ ...from, bundle: true, write: false,
		format: 'esm', target: 'es2022', jsx: 'automatic', logLevel: 'silent', plugins: [vue], nodePaths: [path.join(JS, 'node_modules')],
		define: { __VUE_OPTIONS_API__: 'true', __VUE_PROD_DEVTOOLS__: 'false', __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'false',
			'process.env.NODE_ENV': '"production"' },
		alias: { scopewire: path.join(JS, 'src/index.ts'), 'scopewire/replay': path.join(JS, 'scopewire.js') } });
	return outputFiles[0].text;
}

const portal = await startPortal({ after });

async function serve(name, entry, body) {
	portal.pages.set(`/${name}.js`, { type: 'text/javascript', text: await bundle(entry) });
	portal.pages.set(`/${name}.html`, { type: 'text/html; charset=utf-8', text: body.startsWith('<!doctype') ? body
		: `<!doctype html><html lang="en"><meta charset="utf-8"><title>Example</title>
<link rel="stylesheet" href="/page.css"><script type="module" src="/${name}.js"></script><body>${body}</body></html>` });
}

async function visit(user, name, address = `${name}.html`) {
	const context = await portal.browser.newContext();
	const page = await context.newPage();
	page.problems = [];
	page.on('pageerror', (error) => page.problems.push(error.stack));
	page.on('console', (message) => {
		if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) page.problems.push(message.text());
	});
	await page.goto(`${portal.url}/${address}?user=${user}`);
	return page;
}

/** As Blade renders it. */
function render(text, values) {
	return text.replaceAll(/\{\{--.*?--\}\}\s*/gs, '').replaceAll(/\{\{ (.*?) \}\}/g, (_, expression) => {
		assert.ok(expression in values, expression);
		return values[expression];
	});
}

test('Blade: a page of elements', async () => {
	await serve('blade', 'blade/portal.js', render(example('blade/portal.blade.php'), {
		'csrf_token()': 'secret', "config('broadcasting.connections.reverb.key')": APP.key,
		"config('broadcasting.connections.reverb.options.port')": portal.wires.port,
		"Vite::asset('resources/js/portal.js')": '/blade.js', '$project->id': '7', '$project->name': 'Website' }));
	const [ada, grace] = [await visit('ada', 'blade'), await visit('grace', 'blade')];
	for (const page of [ada, grace])
		await waitFor(async () => await page.locator('body > header .face').count() === 2, 'two here');
	await portal.trigger('private-project.7', 'ProjectUpdated', { update: { id: 1, title: 'Launched' } });
	for (const page of [ada, grace]) await page.getByText('Launched').waitFor();
	await portal.sync.post('notifications', { to: 2, title: 'Please review' });
	await grace.getByRole('button', { name: 'Notifications, 1 unread notification' }).waitFor();
	assert.equal(await grace.title(), '(1) Project');
	assert.deepEqual(await violations(ada), []);
	assert.deepEqual([...ada.problems, ...grace.problems], []);
	for (const page of [ada, grace]) await page.context().close();
});

/** Who is online, and invoices that arrive, one of them while the network was cut. */
async function followsInvoices(name, entry) {
	await serve(name, entry, '<div id="app"></div>');
	const [ada, grace] = [await visit('ada', name), await visit('grace', name)];
	for (const page of [ada, grace]) await page.getByRole('heading', { name: 'Online (2)' }).waitFor();
	await ada.getByText('Grace Hopper').waitFor();
	portal.wires.cut();
	await ada.waitForFunction(() => window.manager.status.state === 'reconnecting');
	await portal.trigger('private-client.42', 'InvoiceCreated', { number: 'INV-1' });
	const shown = await watchStatus(ada);
	portal.wires.mend();
	for (const page of [ada, grace]) await page.locator('#invoices li', { hasText: 'INV-1' }).waitFor();
	// More than one, if a user was away for long enough to be offline: that is an event, too.
	await shown('recovered');
	await grace.context().close();
	await ada.getByRole('heading', { name: 'Online (1)' }).waitFor();
	assert.deepEqual(ada.problems.filter((text) => !/WebSocket|net::/.test(text)), []);
	await ada.context().close();
}

test('Vue: a presence list with Echo, hooks of @laravel/echo-vue, and elements', () => followsInvoices('vue', 'vue/app.js'));

test('React: hooks of @laravel/echo-react, and elements', () => followsInvoices('react', 'react/app.jsx'));

test('Alpine: notifications with Echo', async () => {
	await serve('alpine', 'alpine/notifications.js', example('alpine/notifications.html'));
	const page = await visit('ada', 'alpine');
	await page.waitForFunction(() => window.Echo?.connector.pusher.allChannels().some((c) => c.subscribed));
	await portal.sync.post('notifications', { to: 1, title: 'Invoice due', message: 'On Friday' });
	await page.getByRole('button', { name: 'Notifications 1' }).click();
	await page.getByText('On Friday').waitFor();
	assert.deepEqual(page.problems, []);
	await page.context().close();
});

// ---- docs/browser.md ----

const GUIDE = fs.readFileSync(path.join(JS, '../../docs/browser.md'), 'utf8');
const guideBlocks = (heading, kind) => {
	const [, section] = GUIDE.match(new RegExp(`^## ${heading}\\n(.*?)(?=^## |(?![^]))`, 'ms'));
	return [...section.matchAll(new RegExp('```' + kind + '\\n(.*?)```', 'gs'))].map(([, text]) => text);
};

test('the guide: its start and its own events work as they are written', async () => {
	const [start] = guideBlocks('Start', 'js');
	const [own] = guideBlocks('Your own events', 'js');
	portal.pages.set('/scopewire/token', { type: 'application/json', text: { token: portal.token('ada') } });
	portal.pages.set('/invoices/7/pay', { type: 'application/json', text: {} });
	const imports = start.match(/^import .*$/gm).join('\n');
	await serve('guide', `${imports}
const host = location.hostname, { key, port } = await (await fetch('/config')).json();
const body = '{}', show = (invoice) => { document.title = invoice.status; };
${start.replace(/^import .*$/gm, '')}
window.manager = manager;
await new Promise((resolve) => { manager.on('status', ({ state }) => state === 'connected' && resolve()); });
${own}
window.isPaid = true;`, '<main><scopewire-connection-status></scopewire-connection-status></main>');
	const page = await visit('ada', 'guide');
	await page.waitForFunction(() => window.isPaid && window.manager.pusher.channel('private-client.42')?.subscribed);
	await portal.trigger('private-client.42', 'InvoiceStatusChanged', { invoice: { status: 'paid' } });
	await page.waitForFunction(() => document.title.endsWith('paid'));
	assert.match(portal.requests.find((r) => r.path === '/invoices/7/pay').headers['x-socket-id'] ?? '', /^\d+\.\d+$/);
	const [, table] = GUIDE.match(/^## Elements\n(.*?)^## /ms);
	const tags = new Set([...table.matchAll(/<(scopewire-[a-z-]+)/g)].map(([, tag]) => tag));
	assert.ok(tags.size >= 9);
	assert.deepEqual(await page.evaluate((all) => all.filter((tag) => !customElements.get(tag)), [...tags]), []);
	assert.deepEqual(page.problems, []);
	await page.context().close();
});

test('the guide: npm installs the package from its folder', (t) => {
	const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'scopewire-npm-'));
	t.after(() => fs.rmSync(folder, { recursive: true }));
	const [line] = GUIDE.match(/^npm install .*$/m);
	fs.writeFileSync(path.join(folder, 'package.json'), '{"type": "module"}');
	execFileSync('sh', ['-c', line.replace('/usr/src/scopewire/contrib/js', JS)], { cwd: folder, stdio: ['ignore', 2, 2] });
	for (const name of ['scopewire', 'scopewire/replay', 'scopewire/bundle']) {
		const found = execFileSync('node', ['--input-type=module', '-e', `console.log(import.meta.resolve('${name}'))`],
			{ cwd: folder, encoding: 'utf8' });
		assert.ok(fs.existsSync(new URL(found.trim())), name);
	}
});

// ---- with a Laravel application ----

const site = await startSite({ after }, portal);
portal.backend = site.port;
for (const [name, entry] of [['livewire', 'livewire/portal.js'], ['inertia', 'inertia/app.js']])
	portal.pages.set(`/build/${name}.js`, { type: 'text/javascript', text: await bundle(entry) });

const isSubscribed = (page, name) => page.waitForFunction((channel) =>
	window.manager?.pusher.channel(channel)?.subscribed, name);
const listed = (page) => page.locator('main ul li').allTextContents();

/** Two users of the page see each other's invoices, once each, and what they missed. */
async function seesInvoices(name, address, first) {
	const [ada, grace] = [await visit('ada', name, address), await visit('grace', name, address)];
	for (const page of [ada, grace]) {
		await isSubscribed(page, 'private-client.42');
		await waitFor(async () => await page.locator('scopewire-presence-avatars .face').count() === 2, 'two here');
	}
	const add = async (number) => {
		await ada.getByLabel('Number').fill(number);
		await ada.getByRole('button', { name: 'Add' }).click();
	};
	const all = [...await listed(grace), first];
	await add(first);
	for (const page of [ada, grace])
		await waitFor(async () => (await listed(page)).join() === all.join(), `${first} in both pages`);
	assert.equal(await ada.getByLabel('Number').inputValue(), '');
	portal.wires.cut();
	for (const page of [ada, grace]) await page.waitForFunction(() => window.manager.status.state === 'reconnecting');
	const response = await fetch(`${portal.url}/invoices/missed-${name}`, { method: 'POST' });
	assert.equal(response.status, 204);
	await portal.trigger('private-client.42', 'InvoiceCreated', { number: `missed-${name}` });
	portal.wires.mend();
	for (const page of [ada, grace]) await page.locator('main ul li', { hasText: `missed-${name}` }).waitFor();
	assert.deepEqual(await violations(ada), []);
	return [ada, grace];
}

const ends = async (pages) => {
	for (const page of pages) {
		assert.deepEqual(page.problems.filter((text) => !/WebSocket|net::/.test(text)), []);
		await page.context().close();
	}
};

test('Livewire: a component that other pages\' events refresh', async () => {
	await ends(await seesInvoices('livewire', 'livewire', 'LW-1'));
});

test('Inertia: properties that are loaded again, and a channel that ends with its page', async () => {
	const [ada, grace] = await seesInvoices('inertia', 'inertia/invoices', 'IN-1');
	await ada.getByRole('link', { name: 'About' }).click();
	await ada.getByRole('heading', { name: 'About' }).waitFor();
	await ada.waitForFunction(() => !window.manager.pusher.channel('private-client.42'));
	assert.equal(await ada.evaluate(() => window.manager.status.state), 'connected');
	await ends([ada, grace]);
});
