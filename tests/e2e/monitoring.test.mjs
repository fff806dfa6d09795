// SPDX-License-Identifier: MIT
// contrib/prometheus and contrib/grafana: alerts that fire, and a board whose queries a real Prometheus
// answers.
import test from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { startDaemon, tempFolder, waitFor } from '../lib/harness.mjs';
import { recordRun, scrapeOf } from './normal_run.mjs';
import { promtool, startPrometheus } from './prometheus.mjs';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const ALERTS = path.join(REPOSITORY, 'contrib/prometheus/alerts.yml');
const BOARD = JSON.parse(fs.readFileSync(path.join(REPOSITORY, 'contrib/grafana/scopewire.json'), 'utf8'));
/** An hour of a normal run: a value each 15 s of each series that an alert uses. */
const NORMAL = path.join(REPOSITORY, 'tests/e2e/normal_run.json');
const STEP = 15;
const PROMISED = `connections connections_opened_total connections_refused_total connections_closed_total subscriptions
	channels subscribe_total events_in_total deliveries_total bytes_in_total bytes_out_total payload_bytes
	publish_to_socket_seconds commit_to_socket_seconds log_commit_seconds log_batch_rows log_queue_events log_queue_bytes
	log_lag_events log_oldest_partition_seconds replay_total replay_events replay_seconds authorize_total
	authorize_seconds rate_limited_total slow_consumers_total outbox_bytes ping_pong_seconds http_requests_total
	http_seconds pool_connections pool_waiting pool_wait_seconds database_up notification_queue_usage webhook_queue
	webhook_sent_total webhook_failed_total webhook_dead worker_busy_ratio worker_backlog_seconds`.split(/\s+/);
const DOCUMENT = fs.readFileSync(path.join(REPOSITORY, 'docs/metrics.md'), 'utf8');

/** What the document names, with the series of histograms; for the build and the process its text. */
function documented(name) {
	const base = name.replace(/_(bucket|sum|count)$/, '');
	return DOCUMENT.includes(`| \`${name}\` |`) || DOCUMENT.includes(`| \`${base}\` | histogram`)
		|| /^(scopewire_build_info|scopewire_ready|process_)/.test(name) && DOCUMENT.includes(name);
}

const metricsOf = (text) => new Set(text.match(/\b(?:scopewire|process)_[a-z_]+\b/g));
const expressions = () => BOARD.panels.flatMap((p) => (p.targets ?? []).map((target) => target.expr));

/** The series of an hour with one change, as promtool writes them; step is that of a minute. */
const up = (step) => `0+${step / 4}x240`;
const still = (value) => `${value}x240`;

/** What makes each alert, by the series that differ from those of a normal run; others may follow from it. */
const CONDITIONS = {
	ScopewireDown: { up: still(0) },
	ScopewireNotReady: { scopewire_ready: still(0) },
	ScopewireDatabaseAway: { scopewire_database_up: still(0) },
	ScopewireCommitSlow: { scopewire_log_commit_seconds_bucket: ({ le }) => up(le === '+Inf' || le >= 1 ? 60 : 1) },
	ScopewireDeliverySlow: { scopewire_publish_to_socket_seconds_bucket: ({ le }) =>
		up(le === '+Inf' || le >= 5 ? 60 : 1) },
	ScopewireLogQueue: { scopewire_log_queue_events: still(20000) },
	ScopewireNoDeliveries: { scopewire_deliveries_total: still(7), scopewire_connections: still(100),
		scopewire_events_in_total: up(60) },
	ScopewireConnectionsRefused: { scopewire_connections_refused_total: ({ reason }) =>
		(reason === 'capacity' ? up(60) : still(0)) },
	ScopewireSlowConsumers: { scopewire_slow_consumers_total: up(5) },
	ScopewireNotificationQueue: { scopewire_notification_queue_usage: still(0.5) },
	ScopewireFileDescriptors: { process_open_fds: still(900), process_max_fds: still(1024) },
	ScopewireWorkerBusy: { scopewire_worker_busy_ratio: still(0.95) },
	ScopewireServerErrors: { scopewire_http_requests_total: ({ status }) => (status === '503' ? up(60) : up(1)) },
	ScopewireLogLag: { scopewire_log_lag_events: still(50000) },
	ScopewirePartitions: { scopewire_log_partitions_ahead: still(0) },
	ScopewireLogShort: { scopewire_log_oldest_partition_seconds: '3000-7x240' },
	ScopewireDiskGrowth: { scopewire_log_bytes: '20000000000+15000000x240' },
	ScopewirePongSlow: { scopewire_ping_pong_seconds_bucket: ({ le }) => up(le === '+Inf' || le >= 10 ? 60 : 1) },
	ScopewireWorkerBacklog: { scopewire_worker_backlog_seconds: still(0.5) },
	ScopewireWebhooksDead: { scopewire_webhook_dead: still(1) },
	ScopewireWebhookQueue: { scopewire_webhook_queue: still(5000) },
};

const ALERT_METRICS = metricsOf([...fs.readFileSync(ALERTS, 'utf8').matchAll(/^ +expr: ([^]*?)\n +(for|labels):/gm)]
	.map(([, expr]) => expr).join(' '));
ALERT_METRICS.delete('up');

/** The values as promtool reads them: a value, or those of a straight line as a+bxn. */
function straightLines(values) {
	const out = [];
	for (let i = 0; i < values.length;) {
		const step = values[i + 1] - values[i];
		let end = i + 1;
		while (end < values.length && values[end] - values[end - 1] === step) end++;
		if (!Number.isInteger(step) || end - i < 2) out.push(values[(end = i + 1) - 1]);
		else out.push(step ? `${values[i]}${step > 0 ? '+' : ''}${step}x${end - i - 1}` : `${values[i]}x${end - i - 1}`);
		i = end;
	}
	return out.join(' ');
}

/**
 * Records an hour of a normal run into a file.  contrib/check --long does it; for NORMAL, when alerts use
 * further metrics: SCOPEWIRE_RECORD=tests/e2e/normal_run.json tests/run-node tests/e2e/monitoring.test.mjs
 */
async function recordNormal(t, file) {
	const scrapes = [];
	await recordRun(t, { seconds: 3600, step: STEP }, (scrape) => scrapes.push(scrape));
	const lines = Object.keys(scrapes.at(-1)).filter((series) => ALERT_METRICS.has(/^\w+/.exec(series)[0]))
		.map((series) => `\t${JSON.stringify(series)}: "${straightLines(scrapes.map((s) => s[series] ?? 0))}"`);
	fs.writeFileSync(file, `{\n${lines.join(',\n')}\n}\n`);
}

/** The recorded hour as [{name, labels, series, values}]. */
function normalHour(file) {
	const instance = 'job="scopewire",instance="a"';
	return [['up', still(1)], ...Object.entries(JSON.parse(fs.readFileSync(file, 'utf8')))].map(([key, values]) => {
		const [, name, labels = ''] = /^(\w+)(?:\{(.*)\})?$/.exec(key);
		return { name, values, series: `${name}{${[instance, labels].filter(Boolean).join(',')}}`,
			labels: Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, k, v]) => [k, v])) };
	});
}

/** One test of promtool: the alerts that fire with these series, at the end of the hour or (ever) at any time. */
function ruleTest(name, hour, change, alerts, ever = false) {
	const changed = hour.map(({ name: metric, labels, series, values }) => {
		const to = change[metric];
		return { series, values: typeof to === 'function' ? to(labels) : to ?? values };
	});
	const firing = `ALERTS{alertstate="firing"}${ever ? '[1h]' : ''}`;
	return { name, interval: `${STEP}s`, input_series: changed, promql_expr_test: [
		{ expr: `group by (alertname) (${ever ? `count_over_time(${firing})` : firing})`, eval_time: ever ? '60m' : '55m',
			exp_samples: alerts.map((alert) => ({ labels: `{alertname="${alert}"}`, value: 1 })) }] };
}

test('promtool accepts the alerts', () => {
	const { status, output } = promtool(['check', 'rules', ALERTS]);
	assert.equal(status, 0, output);
});

test('each alert fires with the series of its condition, and none during an hour of a normal run', async (t) => {
	const names = [...fs.readFileSync(ALERTS, 'utf8').matchAll(/- alert: (\w+)/g)].map(([, name]) => name);
	assert.deepEqual(Object.keys(CONDITIONS).sort(), names.sort());
	const file = process.env.SCOPEWIRE_RECORD ?? NORMAL;
	if (process.env.SCOPEWIRE_RECORD) await recordNormal(t, file);
	const hour = normalHour(file);
	for (const name of ALERT_METRICS) assert.ok(hour.some((one) => one.name === name), `${name} was not recorded`);
	// An error needs a series of its own: the normal run has none.
	hour.push({ name: 'scopewire_http_requests_total', labels: { status: '503' }, values: still(0),
		series: 'scopewire_http_requests_total{job="scopewire",instance="a",route="GET /up",status="503"}' });
	const folder = tempFolder('alerts');
	fs.copyFileSync(ALERTS, path.join(folder, 'alerts.yml'));
	const rules = path.join(folder, 'alerts_test.yml');
	const run = (tests) => {
		fs.writeFileSync(rules, JSON.stringify({ rule_files: ['alerts.yml'], evaluation_interval: `${STEP}s`, tests }));
		return promtool(['test', 'rules', rules]);
	};
	const normal = run([ruleTest('a normal run', hour, {}, [], true)]);
	assert.equal(normal.status, 0, normal.output);
	const each = run(Object.entries(CONDITIONS).map(([name, change]) => ruleTest(name, hour, change, [name])));
	assert.equal(each.status, 0, each.output);
	const wrong = run([ruleTest('an alert that does not fire is noticed', hour, {}, ['ScopewireDown'])]);
	assert.equal(wrong.status, 1, wrong.output);
	// five minutes of the hour are enough
	const once = run([ruleTest('an alert that ended is noticed', hour, { scopewire_database_up: '1x60 0x20 1x158' }, [],
		true)]);
	assert.match(once.output, /ScopewireDatabaseAway/);
});

test('a running daemon gives each series of the alerts, and each documented metric', async (t) => {
	const daemon = await startDaemon({ sections: { admin: { listen: '127.0.0.1:0', local_read: 'yes' } } }, t);
	const client = await daemon.connect();
	await client.subscribe('news');
	await daemon.api().trigger('news', 'hello', {});
	await client.close();
	await waitFor(async () => (await scrapeOf(daemon)).scopewire_connections === 0, 'the close');
	const table = [...DOCUMENT.matchAll(/^\| `(scopewire_\w+)` \| (\w+)/gm)];
	assert.ok(table.length > 40);
	const wanted = [...ALERT_METRICS, ...table.map(([, name, type]) => (type === 'histogram' ? `${name}_count` : name))];
	// Some are measured by threads that begin with the daemon.
	let missing;
	await waitFor(async () => {
		const found = new Set(Object.keys(await scrapeOf(daemon)).map((series) => /^\w+/.exec(series)[0]));
		missing = wanted.filter((name) => !found.has(name));
		return missing.length === 0;
	}, 'each series').catch(() => assert.deepEqual(missing, [], 'the daemon does not give them'));
	// What the overview of operations promises, by name.
	for (const name of PROMISED) assert.ok(table.some(([, one]) => one === `scopewire_${name}`), `there is no ${name}`);
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
	const quiet = /refused_total|closed_total|ping_pong|rate_limited|replay_|authorize_|pool_wait_|notification_queue/;
	for (const expr of expressions()) {
		const result = await query(expr);
		// A rate needs two scrapes of its series, which may have come later than others.
		if (!quiet.test(expr) && !result.length) await waitFor(async () => (await query(expr)).length > 0, `a result of ${expr}`);
	}
});
