// SPDX-License-Identifier: MIT
// The examples of docs/clients.md, with the real libraries.
import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { APP, startDaemon } from '../lib/harness.mjs';
import { installLaravel } from './portal.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));

/** The first block of a kind in the page, with the daemon's port. */
function example(kind, daemon) {
	const text = fs.readFileSync(path.join(HERE, '../../docs/clients.md'), 'utf8');
	const [, block] = text.match(new RegExp('```' + kind + '\\n(.*?)```', 's')) ?? [];
	assert.match(block ?? '', /8080/, kind);
	return block.replaceAll('8080', daemon.port);
}

test('the examples of PHP and Node publish, and call the sync API', async (t) => {
	const daemon = await startDaemon({}, t);
	const wire = await daemon.connect();
	await wire.subscribe('orders');
	const { key, secret, id: appId } = APP;
	const vendor = path.join(installLaravel(), 'vendor/autoload.php');
	const runs = {
		php: ['php', ['-r', `require $argv[1]; ['key' => $key, 'secret' => $secret, 'id' => $appId] = json_decode($argv[2], true);
			${example('php', daemon)} echo json_encode($online);`, '--', vendor, JSON.stringify({ key, secret, id: appId })]],
		js: ['node', ['--input-type=module', '-e', `${example('js', daemon).replace("from 'pusher';", `from 'pusher';
			const { key, secret, appId } = JSON.parse(process.argv[1]);`)} console.log(JSON.stringify(online));`,
		JSON.stringify({ key, secret, appId })]],
	};
	for (const [name, [command, args]] of Object.entries(runs)) {
		const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', cwd: path.join(HERE, '..') });
		assert.equal(status, 0, `${name}: ${stderr}`);
		assert.equal(JSON.parse(stdout).count, 0, name);
		assert.deepEqual(JSON.parse((await wire.next({ event: 'made' })).data), { n: 1 }, name);
	}
});
