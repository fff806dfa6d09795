// SPDX-License-Identifier: MIT
// The commands of "The first week" in docs/operations.md, run as they are written.
import test from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { binaries, tempFolder, waitFor } from '../lib/harness.mjs';
import { CTL, TOKEN, withAdmin } from '../lib/ctl.mjs';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const DOCUMENT = fs.readFileSync(path.join(REPOSITORY, 'docs/operations.md'), 'utf8');

/** The commands below the heading, in order. */
function commands() {
	const section = DOCUMENT.slice(DOCUMENT.indexOf('## The first week'), DOCUMENT.indexOf('## The admin listener'));
	return [...section.matchAll(/```sh\n([^]*?)```/g)].flatMap(([, block]) => block.trim().split('\n'))
		.map((line) => line.replace(/\s+#.*$/, ''));
}

test('each command of the first week works', async (t) => {
	const { daemon, url } = await withAdmin(t);
	const port = /:(\d+)$/.exec(url)[1];
	const config = path.join(daemon.folder, 'scopewire.conf'), folder = tempFolder('week');
	// Where the admin listener is: the harness let the kernel choose the port.
	daemon.options.sections.admin.listen = `127.0.0.1:${port}`;
	await daemon.stop();
	await daemon.start();
	const wire = await daemon.connect();
	await wire.subscribe('private-orders.12');
	await daemon.api().trigger('private-orders.12', 'made', { n: 1 });
	await wire.next({ event: 'made' });
	const { name, user, host } = daemon.database;
	const run = (line) => spawnSync('bash', ['-c', `scopewirectl() { ${CTL} --config ${config} "$@"; }; ${line
		.replace(/\bportal\b/, name).replace('contrib/', `${REPOSITORY}contrib/`).replace(':8081', `:${port}`)}`],
	{ cwd: folder, encoding: 'utf8', env: { PATH: `${binaries()}:${process.env.PATH}`, LC_ALL: 'C.UTF-8',
		SCOPEWIRECTL_TOKEN: TOKEN.write, PGHOST: host, PGUSER: user } });
	/** What only a machine with the package can do: tests/package does it. */
	const elsewhere = /^(contrib\/package|sudoedit|sudo apt) /, output = {};
	for (const line of commands()) {
		if (elsewhere.test(line)) continue;
		const [, verb] = /^sudo systemctl (stop|start|enable --now) scopewire$/.exec(line) ?? [];
		if (verb === 'stop') await daemon.stop();
		else if (verb === 'start') await daemon.start();
		if (verb) continue;
		const { status, stdout, stderr } = run(line);
		// A fault that tests always have: data is not flushed to the disk (a warning).
		assert.equal(status, 0, `${line}\n${stdout}${stderr}`);
		output[line] = stdout;
	}
	assert.match(output['scopewirectl status'], /^ready: true$/m);
	assert.match(output["scopewirectl events --channel 'private-orders.*' --limit 5"], /made/);
	assert.ok(Number(Object.entries(output).find(([line]) => line.startsWith('curl'))[1]) > 100);
	await waitFor(async () => (await daemon.query('SELECT FROM scopewire.realtime_events WHERE serial > 0')).length === 1,
		'the event of before the restore');
});
