// SPDX-License-Identifier: MIT
// A real Prometheus scrapes the running daemon.
import test from 'node:test';
import assert from 'node:assert/strict';
import { request, startDaemon, waitFor } from '../lib/harness.mjs';
import { promtool, startPrometheus } from './prometheus.mjs';

const TOKEN = 'prometheus-token-0123456789';

/** A daemon with an admin listener, and where that is. */
async function monitored(t) {
	const daemon = await startDaemon({
		sections: { admin: { listen: '127.0.0.1:0', tokens: `prometheus:metrics:${TOKEN}` } } }, t);
	const [, target] = /admin: listening on (\S+)/.exec(daemon.logText);
	const scrape = async (path = '/metrics') => (await request(`http://${target}${path}`,
		{ headers: { Authorization: `Bearer ${TOKEN}` } })).text;
	return { daemon, target, scrape };
}

test('promtool finds no fault with /metrics and /metrics/apps', async (t) => {
	const { daemon, scrape } = await monitored(t);
	const client = await daemon.connect();
	await client.subscribe('news');
	await daemon.api().trigger('news', 'hello', {});
	await client.next({ event: 'hello' });
	for (const path of ['/metrics', '/metrics/apps']) {
		const { status, output } = promtool(['check', 'metrics'], await scrape(path));
		assert.equal(output, '');
		assert.equal(status, 0);
	}
});

test('Prometheus scrapes the daemon and sees connections and requests', async (t) => {
	const { daemon, target } = await monitored(t);
	const prometheus = await startPrometheus([
		{ job: 'scopewire', target, token: TOKEN },
		{ job: 'apps', target, token: TOKEN, path: '/metrics/apps' }], t);
	await daemon.connect();
	await daemon.connect();
	assert.equal((await daemon.api().trigger('news', 'hello', {})).status, 200);
	const value = async (query) => Number((await prometheus.query(query))[0]?.value[1]);
	await waitFor(async () => await value('scopewire_connections') === 2, 'two connections');
	await waitFor(async () => await value(
		'scopewire_http_requests_total{route="POST /apps/{app_id}/events",status="200"}') === 1,
	'the request');
	await waitFor(async () => await value(`scopewire_app_connections{app="${daemon.app.id}"}`) === 2,
		'the connections of the application');
	// On a busy machine a scrape can exceed its time; the next one is well.
	await waitFor(async () => (await prometheus.query('up == 1')).length === 2, 'both are scraped');
	await waitFor(async () => (await prometheus.targets()).every((one) => one.lastError === ''), 'without an error');
});
