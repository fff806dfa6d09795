// SPDX-License-Identifier: MIT
// A database with the schema and nothing else, which newDatabase() copies.
import assert from 'node:assert/strict';
import { newDatabase } from './cluster.mjs';
import { runDaemon } from './daemon.mjs';

/** Its name; the daemon under test applies the migrations. */
export async function makeTemplate() {
	const { host, name, user } = await newDatabase();
	const { code, log } = await runDaemon(['--config', '/dev/null', '--migrate', `--database-host=${host}`,
		`--database-name=${name}`, `--database-user=${user}`], { deadlineMs: 120000 });
	assert.equal(code, 0, log);
	return name;
}
