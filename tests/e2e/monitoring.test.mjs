// SPDX-License-Identifier: MIT
// contrib/prometheus and contrib/grafana: alerts that fire, and a board whose queries a real Prometheus
// answers.
import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { startDaemon, tempFolder, waitFor } from '../lib/harness.mjs';
import { promtool, startPrometheus } from './prometheus.mjs';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const ALERTS = path.join(REPOSITORY, 'contrib/prometheus/alerts.yml');
const BOARD = JSON.parse(fs.readFileSync(path.join(REPOSITORY, 'contrib/grafana/scopewire.json'), 'utf8'));
const DOCUMENT = fs.readFileSync(path.join(REPOSITORY, 'docs/metrics.md'), 'utf8');

/** What the document names, with the series of histograms; for the build and the process its text. */
function documented(name) {
	const base = name.replace(/_(bucket|sum|count)$/, '');
	return DOCUMENT.includes(`| \`${name}\` |`) || DOCUMENT.includes(`| \`${base}\` | histogram`)
		|| /^(scopewire_build_info|scopewire_ready|process_)/.test(name) && DOCUMENT.includes(name);
}

const metricsOf = (text) => new Set(text.match(/\b(?:scopewire|process)_[a-z_]+\b/g));
const expressions = () => BOARD.panels.flatMap((p) => (p.targets ?? []).map((target) => target.expr));

test('promtool accepts the alerts, and each fires for what it is about only', () => {
	const checked = promtool(['check', 'rules', ALERTS]);
	assert.equal(checked.status, 0, checked.output);
	const folder = tempFolder('alerts');
	fs.copyFileSync(ALERTS, path.join(folder, 'alerts.yml'));
	const tests = path.join(folder, 'alerts_test.yml');
	fs.copyFileSync(path.join(REPOSITORY, 'tests/e2e/alerts_test.yml'), tests);
	const { status, output } = promtool(['test', 'rules', tests]);
	assert.equal(status, 0, output);
	const text = fs.readFileSync(tests, 'utf8');
	for (const [, name] of fs.readFileSync(ALERTS, 'utf8').matchAll(/- alert: (\w+)/g))
		assert.ok(text.includes(`alertname="${name}"`), `${name} has no test`);
});

test('alerts and board use documented metrics only', () => {
	for (const name of metricsOf(`${fs.readFileSync(ALERTS, 'utf8')} ${expressions().join(' ')}`))
		assert.ok(documented(name), `${name} is not in docs/metrics.md`);
});

test('the board has unique panels that do not overlap, with variables that exist', () => {
	const ids = BOARD.panels.map((p) => p.id);
	assert.equal(new Set(ids).size, ids.length);
	const cells = new Set();
	for (const { title, gridPos: { x, y, w, h } } of BOARD.panels) {
		assert.ok(title && x + w <= 24);
		for (let i = x; i < x + w; i++) {
			for (let j = y; j < y + h; j++) {
				assert.ok(!cells.has(`${i},${j}`), `${title} overlaps`);
				cells.add(`${i},${j}`);
			}
		}
	}
	const variables = new Set(BOARD.templating.list.map((v) => v.name));
	for (const [, name] of JSON.stringify(BOARD).matchAll(/\$\{?([a-z]+)\b/g))
		assert.ok(variables.has(name), `$${name} is no variable of the board`);
});

test('a real Prometheus that scrapes the daemon answers each query of the board', async (t) => {
	const daemon = await startDaemon({
		sections: { admin: { listen: '127.0.0.1:0', local_read: 'yes' } } }, t);
	const [, target] = /admin: listening on (\S+)/.exec(daemon.logText);
	const prometheus = await startPrometheus([{ job: 'scopewire', target }], t, { rules: [ALERTS] });
	const client = await daemon.connect();
	await client.subscribe('news');
	const query = (expr) => prometheus.query(expr.replaceAll('$__rate_interval', '30s')
		.replaceAll('$job', '.*').replaceAll('$instance', '.*'));
	await waitFor(async () => {
		await daemon.api().trigger('news', 'hello', {});
		return (await query('sum(rate(scopewire_deliveries_total[$__rate_interval]))'))[0]?.value[1] > 0;
	}, 'deliveries');
	// those of things that have not happened have no series, or no number
	const quiet = /refused_total|closed_total|rate_limited|replay_|authorize_|pool_wait_|notification_queue/;
	for (const expr of expressions()) {
		const result = await query(expr);
		if (!quiet.test(expr)) assert.ok(result.length > 0, `${expr} has no result`);
	}
});
