// SPDX-License-Identifier: MIT
// Commands and settings of docs/install.md and docs/troubleshooting.md, run as they are written.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync, spawnSync } from 'node:child_process';
import { parse } from 'yaml';
import { fileURLToPath } from 'node:url';
import { PROGRAM, Sync, binaries, query, startCluster, startDaemon, tempFolder, waitFor } from '../lib/harness.mjs';

const file = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));

/** The fenced blocks of a kind below a heading, up to the next one of its level. */
function blocks(document, heading, kind) {
	const text = fs.readFileSync(file(document), 'utf8');
	const [, section] = text.match(new RegExp(`^## ${heading}\\n(.*?)(?=^## |(?![^]))`, 'ms')) ?? [];
	assert.ok(section, `${document} has a section "${heading}"`);
	return [...section.matchAll(new RegExp('```' + kind + '\\n(.*?)```', 'gs'))].map((m) => m[1]);
}

test('the database of the installation guide', async (t) => {
	const cluster = await startCluster();
	t.after(() => cluster.stop());
	const psql = (user, database, input, ...args) => execFileSync(path.join(binaries(), 'psql'),
		['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', cluster.socket, '-U', user, ...args, database],
		{ encoding: 'utf8', input });
	const [create] = blocks('docs/install.md', '2\\. The database', 'sql');
	// a role of this name is already there in a cluster of the tests
	psql('postgres', 'postgres', create.replaceAll(' scopewire', ' daemon'));

	const daemon = await startDaemon({ databaseMode: 'none',
		database: { host: cluster.socket, name: 'portal', user: 'daemon' } }, t);

	await t.test('is one in which the daemon makes its schema and publishes', async () => {
		assert.equal((await daemon.api().trigger('orders', 'made', {})).status, 200);
	});

	await t.test('an application gets its rights by the command of the guide', async () => {
		psql('postgres', 'postgres', 'CREATE ROLE portal LOGIN');
		const [command] = blocks('docs/install.md', '2\\. The database', 'sh');
		const words = command.trim().split(' ');
		assert.equal(words[0], 'psql');
		psql('daemon', words.at(-1), '', ...words.slice(3, -1).map((word) => word
			.replace('/usr/local/share/scopewire/grants.sql', file('sql/grants.sql'))));
		const [{ id }] = await query(cluster.socket, 'portal',
			'SELECT scopewire.broadcast(\'orders\', \'made\', \'{}\'::json) AS id', [], 'portal');
		assert.ok(id);
	});

	await t.test('the daemon starts again without the right to create', async () => {
		psql('postgres', 'portal', 'REVOKE CREATE ON DATABASE portal FROM daemon');
		await daemon.restart();
		assert.equal((await daemon.api().trigger('orders', 'made', {})).status, 200);
	});
});

test('each curl line of the guide of the sync API is accepted, and each call has one', async (t) => {
	const daemon = await startDaemon({}, t);
	const text = fs.readFileSync(file('docs/sync/guide.md'), 'utf8');
	const lines = [...text.matchAll(/```sh\n(.*?)```/gs)].flatMap(([, block]) => block.trim().split('\n'))
		.filter((line) => line.startsWith('curl '));
	const calls = new Set();
	for (const line of lines) {
		const variables = `API=${daemon.url}/api/sync AUTH=${daemon.app.key}:${daemon.app.secret}`;
		const { status, stdout, stderr } = spawnSync('bash', ['-c', `${variables}\n${line} -sS --fail-with-body`], { encoding: 'utf8' });
		assert.equal(status, 0, `${line}\n${stdout}\n${stderr}`);
		const method = /-X (\w+)/.exec(line)?.[1] ?? (line.includes('--json') ? 'POST' : 'GET');
		calls.add(`${method} ${/\$API(\/[a-z0-9/-]+)/.exec(line)[1].replace(/\/\d+$/, '/{id}')}`);
	}
	// The same by POST, for clients that cannot send DELETE or PUT; and the writes that the page names so.
	const others = ['DELETE /activities', 'POST /notifications/delete', 'DELETE /locks', 'POST /rules', 'POST /rules/{id}/delete',
		'POST /users', 'POST /users/{id}', 'POST /users/{id}/delete'];
	const routes = spawnSync(PROGRAM, ['--print-routes'], { encoding: 'utf8' }).stdout.split('\n')
		.map((line) => /^(\w+) +\/api\/sync(\/\S+)/.exec(line)).filter(Boolean).map(([, method, route]) => `${method} ${route}`);
	assert.ok(routes.length > 40, routes.join());
	assert.deepEqual([...calls, ...others].sort(), routes.sort());
});

test('the configurations of the installation guide are valid', () => {
	const folder = tempFolder('docs');
	const [first] = blocks('docs/install.md', '3\\. The configuration', 'ini');
	const [second] = blocks('docs/install.md', '5\\. The proxy, TLS and the firewall', 'ini');
	assert.match(first, /\[app client-portal\]/);
	for (const [n, text] of [first, second].entries()) {
		const config = path.join(folder, `${n}.conf`);
		fs.writeFileSync(config, text, { mode: 0o600 });
		const { status, stderr } = spawnSync(PROGRAM, ['--config', config, '--print-config'],
			{ encoding: 'utf8' });
		assert.equal(status, 0, stderr);
	}
});

test('tokens made by each example of the guide are accepted', async (t) => {
	const daemon = await startDaemon({}, t);
	const [php, python, js] = ['php', 'python', 'js'].map((kind) => blocks('docs/tokens.md', 'Issue', kind)[0]);
	const { secret } = daemon.app, claims = '{"sub":"7","name":"Ada"}';
	const runs = {
		php: ['php', ['-r', `${php} echo scopewireToken($argv[1], json_decode($argv[2], true));`, '--', secret, claims]],
		python: ['python3', ['-c', `${python}\nimport sys; print(scopewire_token(sys.argv[1], json.loads(sys.argv[2])))`, secret, claims]],
		js: ['node', ['--input-type=module', '-e', `${js}; console.log(scopewireToken(process.argv[1], JSON.parse(process.argv[2])))`, secret, claims]],
	};
	for (const [name, [command, args]] of Object.entries(runs)) {
		const token = execFileSync(command, args, { encoding: 'utf8' }).trim();
		const [curl] = blocks('docs/tokens.md', 'Issue', 'sh');
		const answer = execFileSync('sh', ['-c', curl.replace('https://ws.example.com', daemon.url).replace('curl', 'curl -s -w "%{http_code}"')],
			{ encoding: 'utf8', env: { ...process.env, TOKEN: token } });
		assert.match(answer, /"notifications":\[\].*200$/s, `${name}: ${answer}`);
	}
});

/** All fenced blocks of a kind in a document that match a pattern; there is one at least. */
function examples(document, kind, pattern) {
	const found = [...fs.readFileSync(file(document), 'utf8').matchAll(new RegExp('```' + kind + '\\n(.*?)```', 'gs'))]
		.map((m) => m[1]).filter((text) => pattern.test(text));
	assert.ok(found.length, `${document} has a block like ${pattern}`);
	return found;
}

test('the SQL of the pages of the sync API does what they say', async (t) => {
	const daemon = await startDaemon({}, t);
	const server = Sync.server(daemon);
	// As an application: the schema is not in its search_path.
	const session = await daemon.session();
	await session.query('SET search_path = public');
	const run = async (document, pattern) => {
		for (const block of examples(document, 'sql', pattern)) await session.query(block);
	};
	const joins = async (id, channel, claims) => (await Sync.user(daemon, id, claims).post('/broadcasting/auth',
		{ socket_id: '1.2', channel_name: channel })).status;

	await t.test('activities', async () => {
		await run('docs/sync/activities.md', /activity_add/);
		const { activities } = (await server.get('activities', { feed: 'client', client_id: 1001 })).json;
		assert.deepEqual(activities.map((a) => [a.type, a.description, a.subject_id]),
			[['invoice_paid', 'Paid', '42']]);
	});
	await t.test('notifications', async () => {
		await run('docs/sync/notifications.md', /notification_send/);
		const unread = async (id) => (await server.get('notifications', { user_id: id })).json.unread;
		assert.deepEqual([await unread(7), await unread(8)], [0, 1], 'user 7 has read it');
	});
	await t.test('channel rules', async () => {
		await session.query(`CREATE TABLE project_members (project_id bigint, user_id bigint);
			INSERT INTO project_members VALUES (5, 7)`);
		await run('docs/sync/authorization.md', /INSERT INTO scopewire\.channel_rules/);
		const expected = [[7, 'private-App.Models.User.7', 200], [8, 'private-App.Models.User.7', 403],
			[7, 'private-project.5', 200], [8, 'private-project.5', 403], [7, 'private-admin', 403]];
		// The daemon reads changed rules in a thread of its own.
		await waitFor(async () => await joins(7, 'private-document.1', { roles: ['editor'] }) === 200, 'the last rule');
		for (const [id, channel, status] of expected) assert.equal(await joins(id, channel), status, `${id} ${channel}`);
		assert.equal(await joins(7, 'private-admin', { roles: ['admin'] }), 200);
		assert.equal(await joins(7, 'private-document.1', { roles: ['editor'] }), 200);
	});
	await t.test('users, by the trigger of the application', async () => {
		await session.query('CREATE TABLE users (id bigint PRIMARY KEY, name text, is_admin boolean)');
		await run('docs/sync/users.md', /CREATE TRIGGER users_changed/);
		await session.query(`INSERT INTO users VALUES (70, 'Ada', true), (71, 'Grace', false)`);
		const user = async (id) => (await server.get(`users/${id}`)).json.user;
		assert.deepEqual([(await user(70)).roles, (await user(71)).roles], [['admin'], ['member']]);
		await session.query('UPDATE users SET id = 72 WHERE id = 71; DELETE FROM users WHERE id = 70');
		assert.equal((await user(72)).name, 'Grace');
		for (const id of [70, 71]) assert.equal((await server.get(`users/${id}`)).status, 404);
	});
	await t.test('publishing and watched tables', async () => {
		const wire = await daemon.connect();
		await wire.subscribe('private-client.42');
		await run('docs/sql.md', /^INSERT INTO scopewire\.realtime_events/);
		const published = await wire.next({ channel: 'private-client.42', event: 'App\\Events\\InvoiceCreated' });
		assert.equal(published.data, '{"id":7}');
		await session.query('CREATE TABLE invoices (id bigint PRIMARY KEY, client_id bigint)');
		const [watched] = examples('docs/sql.md', 'sql', /scopewire\.watch\('invoices'/);
		// The second statement of the block is the synopsis.
		const statements = watched.split('\n').filter((line) => /^SELECT .*;/.test(line));
		assert.equal(statements.length, 3);
		await session.query(statements[0]);
		await session.query('INSERT INTO invoices VALUES (1, 42)');
		await wire.next({ channel: 'private-client.42', event: 'invoices.insert' });
		await session.query(statements[1]);
		assert.deepEqual((await session.query(statements[2])).rows, []);
	});
});

/** The texts between backticks in a column of the tables of a document. */
const cells = (document, column) => fs.readFileSync(file(document), 'utf8').split('\n')
	.filter((line) => line.startsWith('| ')).map((line) => line.replace(/^\| /, '').split(' | ')[column])
	.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map((m) => m[1]));

test('every line of the log that the documents name is one of the program', () => {
	// Some lines are the results of SQL functions.
	const sources = ['src', 'sql/migrations'].flatMap((folder) => fs.readdirSync(file(folder), { recursive: true })
		.filter((name) => /\.(c|sql)$/.test(name))
		.map((name) => fs.readFileSync(path.join(file(folder), name), 'utf8').replace(/"\s*"/g, ''))).join('');
	const [guide, stable] = [cells('docs/troubleshooting.md', 1), cells('docs/log-messages.md', 0)];
	assert.ok(guide.length > 15 && stable.length > 40, `${guide.length} and ${stable.length} lines`);
	// What the program puts together from parts: codes, methods and paths; and PostgreSQL's own.
	const parts = (line) => line.replace(/(refused: )(POST|GET).*/, '$1')
		.split(/\b\d+\b,?|: /).map((part) => part.trim()).filter(Boolean);
	for (const line of [...guide, ...stable])
		for (const part of parts(line))
			assert.ok(sources.includes(part) || part === 'permission denied for database', line);
});

/** The documents, as {name: text}. */
const documents = () => Object.fromEntries(fs.readdirSync(file('docs'), { recursive: true })
	.filter((name) => name.endsWith('.md')).map((name) => [name, fs.readFileSync(file(`docs/${name}`), 'utf8')]));

test('each default that a document gives in parentheses is the option\'s', () => {
	const example = fs.readFileSync(file('etc/scopewire.conf'), 'utf8');
	const sections = [...example.matchAll(/^#?\[([a-z]+).*?\]$(.*?)(?=^#?\[|(?![^]))/gms)].map(([, name, text]) =>
		[name, new Map([...text.matchAll(/^#?([a-z_]+) = (\d+)$/gm)].map((m) => [m[1], Number(m[2])]))]);
	const units = { KiB: 1024, MiB: 1 << 20, day: 86400, days: 86400 };
	let found = 0;
	for (const [name, text] of Object.entries(documents()))
		for (const [all, section, option, number, unit] of text.matchAll(/`(?:([a-z]+)\.)?([a-z_]+)`\s\((\d[\d,]*)(?: ([a-zA-Z]+))?[),;]/g)) {
			const defaults = sections.filter(([of, options]) => (!section || section === of) && options.has(option))
				.map(([, options]) => options.get(option));
			if (!defaults.length) continue;
			const scale = units[unit] ?? (option.endsWith('_ms') && unit?.startsWith('s') ? 1000 : 1);
			const stated = Number(number.replaceAll(',', '')) * scale;
			assert.ok(defaults.includes(stated), `${name}: ${all}; it is ${defaults}`);
			found++;
		}
	assert.ok(found > 20, `${found} defaults`);
});

test('the table of limits has the defaults of each place, and the variables that set them', () => {
	const folder = tempFolder('limits'), config = path.join(folder, 'a.conf');
	fs.writeFileSync(config, '[app a]\nkey = k\nsecret = a-long-secret\n', { mode: 0o600 });
	/** What is set for the application: {option: value}. */
	const printed = (env, ...args) => {
		const { status, stdout, stderr } = spawnSync(PROGRAM, [...args, '--print-config'],
			{ encoding: 'utf8', cwd: folder, env: { PATH: process.env.PATH, ...env } });
		assert.equal(status, 0, stderr);
		return Object.fromEntries([...stdout.split(/^\[app .*\]$/m)[1].matchAll(/^([a-z_]+) = (.*)$/gm)]
			.map((m) => m.slice(1)));
	};
	const [, example] = fs.readFileSync(file('etc/scopewire.conf'), 'utf8').split(/^#\[app .*\]$/m);
	const defaults = Object.fromEntries([...example.matchAll(/^#([a-z_]+) = (.*)$/gm)].map((m) => m.slice(1)));
	const credentials = {
		REVERB: { REVERB_APP_ID: 'a', REVERB_APP_KEY: 'k', REVERB_APP_SECRET: 'a-long-secret' },
		SOKETI: { SOKETI_DEFAULT_APP_ID: 'a', SOKETI_DEFAULT_APP_KEY: 'k', SOKETI_DEFAULT_APP_SECRET: 'a-long-secret' },
	};
	const places = [printed({}, '--config', config), printed(credentials.REVERB), printed(credentials.SOKETI)];
	const units = { s: 1, K: 1024, KiB: 1024, M: 1 << 20, MiB: 1 << 20 };
	const value = (text) => {
		const [, number, unit] = text.match(/^(\d+) ?([A-Za-z]*)$/) ?? [];
		return number === undefined ? text : number * (units[unit] ?? 1);
	};
	const rows = fs.readFileSync(file('docs/limits.md'), 'utf8').split('\n## ')[0].split('\n')
		.filter((line) => line.startsWith('| `')).map((line) => line.split('|').map((cell) => cell.trim()));
	assert.ok(rows.length > 18, `${rows.length} rows`);
	let variables = 0;
	for (const [, name, ...cells] of rows) {
		const option = name.replaceAll('`', '');
		for (const [i, set] of places.entries()) {
			const has = (what) => value(set[what] ?? defaults[what] ?? assert.fail(`no option ${what}`));
			const larger = cells[i].match(/^the larger of `(\w+)` and `(\w+)`$/);
			assert.equal(larger ? Math.max(has(larger[1]), has(larger[2])) : value(cells[i]), has(option),
				`${option}, column ${i}`);
		}
		for (const [, variable, where] of cells[3].matchAll(/`((REVERB|SOKETI)_\w+)`/g)) {
			const given = option === 'client_events' ? { REVERB: 'all', SOKETI: 'true' }[where]
				: option === 'user_authentication' ? 'true' : '77';
			const before = places[where === 'REVERB' ? 1 : 2][option];
			const after = printed({ ...credentials[where], [variable]: given })[option];
			assert.notEqual(after, before, variable);
			if (given === '77') assert.match(after, /^77K?$/, variable);
			variables++;
		}
	}
	assert.ok(variables > 15, `${variables} variables`);
});

test('what surprises is stated, as the program has it', () => {
	const source = (name) => fs.readFileSync(file(name), 'utf8');
	const of = (text, pattern) => text.match(pattern)?.[1] ?? assert.fail(`nothing is like ${pattern}`);
	const all = documents(), states = (name, pattern) => assert.match(all[name], pattern, name);
	const leeway = of(source('src/wire/jwt.h'), /JWT_LEEWAY_US \((\d+) \* USEC_PER_SEC\)/);
	for (const name of ['delivery.md', 'tokens.md', 'sync/authorization.md'])
		states(name, new RegExp(`until ${leeway} s(econds)?\\s+after`));
	const example = source('etc/scopewire.conf');
	assert.equal(of(example, /^#retention_age = (.*)$/m), '0');
	states('production.md', /`database\.retention_age` is set: by default the log is kept for ever/);
	assert.notEqual(of(example, /^#member_removed_delay_ms = (\d+)$/m), '0');
	states('delivery.md', /lost is announced after `member_removed_delay_ms`/);
	states('troubleshooting.md', /After an hour every subscription fails.*bearer token has expired/);
	states('sql.md', /refuses one that shares sessions between transactions/);
	assert.match(source('docs/man/scopewired.8.in'), /^\.SH POOLERS/m);
	assert.match(source('README.md'), /\]\(docs\/webhooks\.md\)/);
});

test('the manual names the paths that are served, and no other', () => {
	const routes = execFileSync(PROGRAM, ['--print-routes'], { encoding: 'utf8' }).split('\n')
		.map((line) => line.split(/\s+/)[1]).filter((name) => name?.startsWith('/') && name !== '/');
	const [, section] = fs.readFileSync(file('docs/man/scopewired.8.in'), 'utf8')
		.match(/^\.SH PATHS SERVED\n(.*?)^\.PP/ms);
	const named = [...section.matchAll(/^\.TP\n\.BI? (.*)$/gm)].flatMap((m) => m[1].split(', '))
		.map((name) => name.replaceAll('\\-', '-').replace(/ [A-Z]+.*|\.\.\.$/, ''));
	assert.ok(routes.length > 50 && named.length > 6, `${routes.length} ${named.length}`);
	for (const route of routes)
		assert.ok(named.some((name) => name.endsWith('/') ? route.startsWith(name) : route === name), route);
	for (const name of named)
		assert.ok(routes.some((route) => name.endsWith('/') ? route.startsWith(name) : route === name), name);
});

test('the container is started with options and variables that the daemon has', () => {
	const folder = tempFolder('dk');
	const dockerfile = fs.readFileSync(file('contrib/docker/Dockerfile'), 'utf8');
	const { services } = parse(fs.readFileSync(file('contrib/docker/compose.yaml'), 'utf8'));
	const args = JSON.parse(dockerfile.match(/^CMD (\[.*\])$/m)[1]);
	const env = Object.fromEntries(Object.entries(services.scopewire.environment)
		.map(([name, value]) => [name, value.replace(/^\$\{.*\}$/, 'a-value')]));
	const run = (...more) => spawnSync(PROGRAM, [...args.map((a) =>
		a === '/etc/scopewire.conf' ? file('etc/scopewire.conf') : a), ...more],
	{ encoding: 'utf8', env, cwd: folder });

	const checked = run('--check-config');
	assert.equal(checked.status, 0, checked.stderr);
	assert.equal(checked.stderr, '', 'no setting is ignored');
	const printed = run('--print-config').stdout;
	assert.match(printed, /^host = database$/m);
	assert.match(printed, /^\[app portal\]$/m);
	assert.match(printed, /^required = no$/m);
	assert.ok(services.database.environment.POSTGRES_DB === env.SCOPEWIRE_DATABASE_NAME);
	assert.ok(services.database.environment.POSTGRES_USER === env.SCOPEWIRE_DATABASE_USER);
	assert.equal(args.at(-1), `--server-state-dir=${services.scopewire.volumes[0].split(':')[1]}`);
});

test('the container is built by commands that are there, from sources that are not left out', () => {
	const dockerfile = fs.readFileSync(file('contrib/docker/Dockerfile'), 'utf8');
	for (const [, script] of dockerfile.matchAll(/\b(contrib\/[a-z-]+)/g))
		assert.ok(fs.existsSync(file(script)), script);
	const words = dockerfile.match(/contrib\/apt-missing ([a-z ]+) &&/)[1].split(' ');
	const marked = new Set(fs.readFileSync(file('contrib/packages.txt'), 'utf8').split('\n')
		.map((line) => line.split(' ')[0]));
	for (const word of words) assert.ok(marked.has(word), word);
});
