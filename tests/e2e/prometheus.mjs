// SPDX-License-Identifier: MIT
// Prometheus itself, as Debian packages it, and its tool promtool.
import fs from 'node:fs';
import path from 'node:path';
import { spawnSync } from 'node:child_process';
import { freePort, request, start, tempFolder, waitFor } from '../lib/harness.mjs';

/** Runs promtool: {status, output}. */
export function promtool(args, input = '') {
	const ran = spawnSync('promtool', args, { input, encoding: 'utf8' });
	return { status: ran.status, output: `${ran.stdout}${ran.stderr}` };
}

/**
 * A Prometheus that scrapes the targets each second: [{job, target, token?, path?}].
 * Its query() returns the result of an instant query and throws for an invalid one.
 */
export async function startPrometheus(targets, t, { rules = [] } = {}) {
	const folder = tempFolder('prometheus');
	const port = await freePort();
	const jobs = targets.map(({ job, target, token, path: path_ = '/metrics' }) => [
		`- job_name: ${job}`, `  metrics_path: ${path_}`,
		...token ? ['  authorization:', `    credentials: ${token}`] : [],
		'  static_configs:', `    - targets: ['${target}']`]).flat();
	const config = path.join(folder, 'prometheus.yml');
	fs.writeFileSync(config, ['global:', '  scrape_interval: 1s', '  scrape_timeout: 1s',
		'  evaluation_interval: 1s', 'rule_files:', ...rules.map((r) => `- ${r}`),
		'scrape_configs:', ...jobs, ''].join('\n'));
	const child = start('prometheus', [`--config.file=${config}`,
		`--storage.tsdb.path=${path.join(folder, 'data')}`,
		`--web.listen-address=127.0.0.1:${port}`, '--web.console.templates=/nonexistent',
		'--web.console.libraries=/nonexistent'], { cwd: folder, env: { PATH: process.env.PATH } });
	t.after(() => child.kill('SIGTERM'));
	const get = (path_, params) =>
		request(`http://127.0.0.1:${port}/api/v1/${path_}?${new URLSearchParams(params)}`);
	await waitFor(async () => (await request(`http://127.0.0.1:${port}/-/ready`).catch(() => ({}))).status === 200,
		'Prometheus is ready');
	return {
		async query(query) {
			const { json, text } = await get('query', { query });
			if (json?.status !== 'success') throw new Error(`${query}: ${json?.error ?? text}`);
			return json.data.result;
		},
		async targets() {
			return (await get('targets')).json.data.activeTargets;
		},
	};
}
