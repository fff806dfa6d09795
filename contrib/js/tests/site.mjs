// SPDX-License-Identifier: MIT
// A Laravel application with the examples for Livewire and Inertia, behind the portal's address.
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { APP, end, freePort, logged, start } from '../../../tests/lib/harness.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const SITE = path.join(HERE, 'site');
const CACHE = path.join(HERE, '../.cache/site');

/** The folder that has vendor/, made at first need, and again when composer.json has changed. */
function install() {
	const wanted = fs.readFileSync(path.join(SITE, 'composer.json'), 'utf8');
	const stamp = path.join(CACHE, 'installed.json');
	if (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === wanted) return;
	fs.mkdirSync(CACHE, { recursive: true });
	fs.copyFileSync(path.join(SITE, 'composer.json'), path.join(CACHE, 'composer.json'));
	execFileSync('composer', ['update', '--prefer-dist', '--no-dev', '--no-scripts', '--no-progress', '--quiet'],
		{ cwd: CACHE, stdio: ['ignore', 2, 2], env: { ...process.env, COMPOSER_ALLOW_SUPERUSER: '1', COMPOSER_NO_INTERACTION: '1' } });
	fs.writeFileSync(stamp, wanted);
}

const FILES = {
	'composer.json': 'site/composer.json', 'index.php': 'site/index.php', 'routes.php': 'site/routes.php', 'app/Models/Invoice.php': 'site/Invoice.php',
	'app/Events/InvoiceCreated.php': 'site/InvoiceCreated.php', 'inertia.php': '../examples/inertia/routes.php',
	'resources/views/app.blade.php': '../examples/inertia/app.blade.php',
	'resources/views/page.blade.php': '../examples/livewire/page.blade.php',
	'resources/views/livewire/invoices.blade.php': '../examples/livewire/invoices.blade.php',
	'app/Livewire/Invoices.php': '../examples/livewire/Invoices.php',
};

/** Its address; portal: that of startPortal(), whose daemon it publishes to. */
export async function startSite(t, portal) {
	install();
	const folder = path.join(HERE, '../.cache', `site-${process.pid}`);
	fs.mkdirSync(folder, { recursive: true });
	t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
	// Hard links: an autoloader finds its application from where its own file is.
	execFileSync('cp', ['-al', path.join(CACHE, 'vendor'), folder]);
	for (const name of ['bootstrap/cache', 'public/build', 'storage/framework/views', 'storage/framework/sessions',
		'storage/framework/cache/data', 'storage/logs']) fs.mkdirSync(path.join(folder, name), { recursive: true });
	for (const [to, from] of Object.entries(FILES)) {
		fs.mkdirSync(path.dirname(path.join(folder, to)), { recursive: true });
		fs.copyFileSync(path.join(HERE, from), path.join(folder, to));
	}
	fs.writeFileSync(path.join(folder, 'public/build/manifest.json'), JSON.stringify(Object.fromEntries(
		['livewire', 'inertia'].map((name) => [`resources/js/${name}.js`, { file: `${name}.js`, src: name, isEntry: true }]))));
	const settings = { APP_ENV: 'local', APP_DEBUG: 'true', APP_KEY: `base64:${Buffer.alloc(32, 'site').toString('base64')}`,
		LOG_CHANNEL: 'single', SESSION_DRIVER: 'file', CACHE_STORE: 'file', QUEUE_CONNECTION: 'sync',
		BROADCAST_CONNECTION: 'reverb', REVERB_APP_ID: APP.id, REVERB_APP_KEY: APP.key, REVERB_APP_SECRET: APP.secret,
		REVERB_HOST: '127.0.0.1', REVERB_PORT: portal.wires.port, REVERB_SCHEME: 'http' };
	fs.writeFileSync(path.join(folder, '.env'), Object.entries(settings).map(([name, value]) => `${name}=${value}\n`).join(''));
	const port = await freePort();
	const child = start('php', ['-S', `127.0.0.1:${port}`, 'index.php'],
		{ cwd: folder, env: { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', PHP_CLI_SERVER_WORKERS: '3' }, detached: true });
	t.after(() => end(child));
	await logged(child, /Development Server .* started/);
	return { port, log: () => fs.readFileSync(path.join(folder, 'storage/logs/laravel.log'), 'utf8') };
}
