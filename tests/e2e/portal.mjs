// SPDX-License-Identifier: MIT
// A real Laravel application, made from tests/e2e/laravel, with a database and a port of its own.
import fs from 'node:fs';
import path from 'node:path';
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
import { fileURLToPath } from 'node:url';
import { end, freePort, logged, newDatabase, start } from '../lib/harness.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const MODULES = path.join(HERE, '../node_modules');
const CACHE = path.join(HERE, '.cache/laravel');

/** The folder that holds vendor/, installed at first need. */
export function installLaravel() {
	execFileSync(path.join(HERE, 'laravel/create'), [CACHE], { stdio: ['ignore', 2, 2] });
	return CACHE;
}

/** A .env as install:broadcasting --reverb leaves it, with the values of this run. */
function dotenv(portal, reverb) {
	const { host, name, user } = portal.database;
	return Object.entries({
		APP_NAME: 'Portal', APP_ENV: 'local', APP_DEBUG: 'true', APP_URL: portal.url,
		APP_KEY: `base64:${Buffer.alloc(32, 'portal').toString('base64')}`,
		LOG_CHANNEL: 'single', LOG_LEVEL: 'debug',
		DB_CONNECTION: 'pgsql', DB_HOST: host, DB_PORT: 5432, DB_DATABASE: name,
		DB_USERNAME: user, DB_PASSWORD: '',
		SESSION_DRIVER: 'file', CACHE_STORE: 'file', QUEUE_CONNECTION: 'database',
		BROADCAST_CONNECTION: 'reverb',
		REVERB_APP_ID: reverb.id, REVERB_APP_KEY: reverb.key, REVERB_APP_SECRET: reverb.secret,
		REVERB_HOST: '"127.0.0.1"', REVERB_PORT: reverb.port, REVERB_SCHEME: 'http',
		REVERB_SERVER_HOST: '127.0.0.1', REVERB_SERVER_PORT: '"${REVERB_PORT}"',
		VITE_REVERB_APP_KEY: '"${REVERB_APP_KEY}"', VITE_REVERB_HOST: '"${REVERB_HOST}"',
		VITE_REVERB_PORT: '"${REVERB_PORT}"', VITE_REVERB_SCHEME: '"${REVERB_SCHEME}"',
	}).map(([option, value]) => `${option}=${value}\n`).join('');
}

export class Portal {
	/** reverb: {id, key, secret, port} of the daemon to come. */
	async create(reverb) {
		const cache = installLaravel();
		this.folder = path.join(HERE, '.cache', `portal-${process.pid}`);
		process.once('exit', () => fs.rmSync(this.folder, { recursive: true, force: true }));
		// Hard links: an autoloader finds its application from where its own file lies.
		execFileSync('cp', ['-al', cache, this.folder]);
		execFileSync('cp', ['-r', '--remove-destination',
			...['artisan', 'app', 'bootstrap', 'database', 'public', 'resources', 'routes']
				.map((f) => path.join(HERE, 'laravel/site', f)), this.folder]);
		for (const folder of ['bootstrap/cache', 'storage/framework/views',
			'storage/framework/sessions', 'storage/framework/cache/data', 'storage/logs',
			'public/js', 'config'])
			fs.mkdirSync(path.join(this.folder, folder), { recursive: true });
		this.copyModule('pusher-js/dist/web/pusher-with-encryption.min.js', 'pusher.js');
		this.copyModule('laravel-echo/dist/echo.iife.js', 'echo.js');
		this.database = await newDatabase();
		this.port = await freePort();
		this.url = `http://127.0.0.1:${this.port}`;
		this.envFile = path.join(this.folder, '.env');
		fs.writeFileSync(this.envFile, dotenv(this, reverb), { mode: 0o600 });
		await this.artisan('config:publish', 'broadcasting');
		await this.artisan('migrate', '--force');
		return this;
	}

	copyModule(from, to) {
		fs.copyFileSync(path.join(MODULES, from), path.join(this.folder, 'public/js', to));
	}

	get environment() {
		return { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', PHP_CLI_SERVER_WORKERS: '4' };
	}

	/** What `php artisan ...` said. */
	async artisan(...args) {
		const { stdout } = await promisify(execFile)('php', ['artisan', ...args],
			{ cwd: this.folder, env: this.environment });
		return stdout;
	}

	async start() {
		const router = path.join(this.folder,
			'vendor/laravel/framework/src/Illuminate/Foundation/resources/server.php');
		this.child = start('php', ['-S', `127.0.0.1:${this.port}`, '-t', '.', router],
			{ cwd: path.join(this.folder, 'public'), env: this.environment, detached: true });
		await logged(this.child, /Development Server .* started/);
		return this;
	}

	async stop() {
		if (this.child) await end(this.child);
		this.child = null;
	}

	/** The application's own log, for a failed test to show. */
	get log() {
		const file = path.join(this.folder, 'storage/logs/laravel.log');
		return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
	}
}
