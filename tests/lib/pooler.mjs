// SPDX-License-Identifier: MIT
// A PgBouncer of its own in front of a test's database.
import fs from 'node:fs';
import path from 'node:path';
import pg from 'pg';
import { freePort, tempFolder } from './temp.mjs';
import { logged, start, unprivileged } from './process.mjs';

/**
 * Starts one for a database of newDatabase(): {port, dsn, connect(), child}.  The caller ends
 * child.  settings are PgBouncer's, over our own.
 */
export async function startPooler(database, settings = {}) {
	const folder = tempFolder('pgb');
	const port = await freePort();
	const file = path.join(folder, 'pgbouncer.ini');
	const how = unprivileged();
	const all = { listen_addr: '127.0.0.1', listen_port: port, unix_socket_dir: '', auth_type: 'any',
		pool_mode: 'session', default_pool_size: 30, server_lifetime: 3600, ...settings };
	fs.writeFileSync(file, `[databases]
${database.name} = host=${database.host} dbname=${database.name} user=${database.user}
[pgbouncer]
${Object.entries(all).map(([name, value]) => `${name} = ${value}`).join('\n')}
`);
	if (how.uid) fs.chownSync(folder, how.uid, how.gid);
	const child = start('pgbouncer', [file], how);
	await logged(child, /process up/);
	return {
		port, child,
		dsn: `host=127.0.0.1 port=${port} dbname=${database.name} user=${database.user}`,
		async connect() {
			const client = new pg.Client({ host: '127.0.0.1', port, database: database.name,
				user: database.user });
			await client.connect();
			return client;
		},
	};
}
