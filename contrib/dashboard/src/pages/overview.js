// SPDX-License-Identifier: MIT
import { html, nothing } from 'lit';
import { get } from '../api.js';
import { ago, count, duration } from '../format.js';
import { Page, link } from '../page.js';
import { badge, facts, heading, problem, table, waiting } from '../parts.js';
import '../plot.js';

const HOUR_MS = 3600000;
const PLOTS = [
	{ label: 'Connections', series: [{ label: 'Connections', color: '--s0', fill: '--s0-fill' }], print: count,
		row: (s) => [s.connections] },
	{ label: 'Deliveries per second', series: [{ label: 'Deliveries', color: '--s0', fill: '--s0-fill' }], print: count,
		row: (s) => [s.deliveries / s.seconds] },
	{ label: 'Publish to socket', series: [{ label: 'p50', color: '--s0' }, { label: 'p99', color: '--s1' }],
		print: duration, row: (s) => [s.p50_us, s.p99_us] },
	{ label: 'Events waiting for the log', series: [{ label: 'Events', color: '--s0', fill: '--s0-fill' }], print: count,
		row: (s) => [s.log_queue] },
];

const tile = (name, value, note, kind = '') => html`<div class="tile ${kind}"><dt>${name}</dt><dd>${value}</dd>
	<dd class="note">${note}</dd></div>`;

class Overview extends Page {
	static properties = { samples: { state: true }, trouble: { state: true } };

	constructor() {
		super();
		this.samples = [];
		this.trouble = '';
	}

	connectedCallback() {
		super.connectedCallback();
		this.every(5000, () => this.#more());
		this.every(10000, () => this.reload());
		this.#more();
	}

	async load() {
		const [status, apps] = await Promise.all([get('status'), get('apps')]);
		return { status, apps: apps.apps };
	}

	async #more() {
		try {
			const { columns, samples } = await get('history', { after: this.samples.at(-1)?.at });
			const fresh = samples.map((row) => Object.fromEntries(columns.map((c, i) => [c, row[i]])));
			const oldest = Date.now() - HOUR_MS;
			this.samples = [...this.samples, ...fresh].filter((s) => s.at > oldest);
			this.trouble = '';
		} catch (error) {
			this.trouble = error.message;
		}
	}

	#tiles() {
		const { status } = this.state.data;
		const last = this.samples.at(-1);
		const slowest = this.samples.findLast((s) => s.p99_us !== null);
		const sum = (name) => this.samples.reduce((n, s) => n + s[name], 0);
		const rate = (name) => (last ? count(last[name] / last.seconds) : '–');
		return html`<dl class="tiles">
			${tile('Connections', count(status.connections), `of ${status.apps} application${status.apps === 1 ? '' : 's'}`)}
			${tile('Deliveries', html`${rate('deliveries')}<small>/s</small>`, `${count(sum('deliveries'))} in the last hour`)}
			${tile('Events published', html`${rate('events')}<small>/s</small>`, `${count(sum('events'))} in the last hour`)}
			${tile('Publish to socket', duration(slowest?.p50_us), slowest ? `p99 ${duration(slowest.p99_us)}` : 'no deliveries yet')}
			${tile('Waiting for the log', count(last?.log_queue ?? 0), 'events', last?.log_queue > 1000 ? 'warn' : '')}
			${tile('Replays served', count(sum('replayed')), 'in the last hour')}
			${tile('Webhooks waiting', count(last?.webhook_queue ?? 0), html`<a href=${link('webhooks')}>Queue and dead letters</a>`)}
			${tile('Refused connections', count(sum('refused')), 'in the last hour', sum('refused') ? 'warn' : '')}
		</dl>`;
	}

	#plots() {
		return html`<section class="grid two" aria-label="The last hour">${PLOTS.map((p) => html`<div class="card">
			<sw-plot .label=${p.label} .series=${p.series} .print=${p.print}
				.rows=${this.samples.map((s) => [s.at / 1000, ...p.row(s)])}></sw-plot></div>`)}</section>`;
	}

	#node({ status, apps }) {
		const db = status.database;
		return html`<section class="grid two">
			<div class="card"><h2>Node</h2>${facts([
				['Name', html`<code>${status.node}</code>`],
				['Version', status.version],
				['Process', String(status.process)],
				['Database', db ? html`${db.database} <span class="muted">PostgreSQL ${db.server}</span>` : badge('away', 'bad')],
				db && ['Last serial', html`<a href=${link('events')}>${db.last_serial}</a>`],
				db && ['Waiting for a serial', count(db.pending)],
				db && ['Epoch', html`<code>${db.epoch}</code>`]])}</div>
			<div class="card"><h2>Applications</h2>${table('Applications', [{ name: 'Application' }, { name: 'Key' },
				{ name: 'Connections', class: 'number' }, { name: 'State' }], apps.map((a) => [a.id, html`<code>${a.key}</code>`,
				count(a.connections), a.enabled ? badge('enabled', 'good') : badge('disabled', 'warn')]))}</div></section>`;
	}

	render() {
		const { data, error } = this.state;
		const age = this.samples.length ? `The last ${ago(this.samples[0].at)}, in steps of 5 seconds.` : 'What the daemon does now.';
		return html`${heading('Overview', age)}
			${problem(error || this.trouble)}
			${data && !data.status.ready ? html`<p class="notice bad" role="alert">Not ready. Checks that fail:
				<b>${data.status.failed.join(', ')}</b></p>` : nothing}
			${data ? html`${this.#tiles()}${this.#plots()}${this.#node(data)}` : waiting(this.state)}`;
	}
}
customElements.define('sw-overview', Overview);
