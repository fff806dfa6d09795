// SPDX-License-Identifier: MIT
// A plot of one or two series over the last hour, in the colours of the page.
import { LitElement, html } from 'lit';
import uPlot from 'uplot';

const HOUR_S = 3600, LEAST_S = 120;

/** What a variable of the style sheet is now, in the theme in force. */
function colour(element, name) {
	element.style.color = `var(${name})`;
	const value = getComputedStyle(element).color;
	element.style.color = '';
	return value;
}

/** rows: [[seconds, value, ...]]; series: [{label, color}]; print: a value as text. */
export class Plot extends LitElement {
	static properties = { label: {}, rows: { attribute: false }, series: { attribute: false }, print: { attribute: false } };

	#plot;
	#size;
	#dark = matchMedia('(prefers-color-scheme: dark)');
	#redraw = () => { this.#end(); this.#show(); };

	createRenderRoot() {
		return this;
	}

	connectedCallback() {
		super.connectedCallback();
		this.#dark.addEventListener('change', this.#redraw);
		window.addEventListener('sw-theme', this.#redraw);
		this.#size = new ResizeObserver(() => this.#plot?.setSize(this.#box()));
		this.#size.observe(this);
	}

	disconnectedCallback() {
		super.disconnectedCallback();
		this.#dark.removeEventListener('change', this.#redraw);
		window.removeEventListener('sw-theme', this.#redraw);
		this.#size.disconnect();
		this.#end();
	}

	#box() {
		return { width: Math.max(200, this.clientWidth), height: 168 };
	}

	#end() {
		this.#plot?.destroy();
		this.#plot = undefined;
	}

	#data() {
		return [this.rows.map((r) => r[0]), ...this.series.map((s, i) => this.rows.map((r) => r[i + 1]))];
	}

	/** The last hour, or less when the daemon started since. */
	#span() {
		const now = Date.now() / 1000;
		return [Math.max(now - HOUR_S, Math.min(this.rows[0][0], now - LEAST_S)), now];
	}

	#options() {
		const grid = { stroke: colour(this, '--line'), width: 1 };
		const axis = { stroke: colour(this, '--muted'), grid, ticks: { show: false }, font: '11px sans-serif', gap: 6 };
		return { ...this.#box(), legend: { show: false }, padding: [10, 26, 0, 0],
			cursor: { y: false, points: { size: 6 } },
			scales: { x: { range: () => this.#span() },
				y: { range: (u, low, high) => [0, high > 0 ? high * 1.15 : 1] } },
			axes: [{ ...axis, size: 28, space: 70, values: (u, splits, index, space, step) => splits.map((s) =>
				new Date(s * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', ...(step < 60 && { second: '2-digit' }) })) },
			{ ...axis, size: 58, space: 36, values: (u, splits) => splits.map((v) => this.print(v)) }],
			series: [{}, ...this.series.map((s) => ({ label: s.label, stroke: colour(this, s.color), width: 1.75,
				spanGaps: false, points: { show: false }, fill: s.fill ? colour(this, s.fill) : undefined }))],
			hooks: { setCursor: [(u) => this.#point(u.cursor.idx)] } };
	}

	/** The values under the pointer. */
	#point(index) {
		const out = this.querySelector('.plot-at');
		if (!out) return;
		const row = index === null || index === undefined ? undefined : this.rows[index];
		out.textContent = row ? `${new Date(row[0] * 1000).toLocaleTimeString()}  ${this.series
			.map((s, i) => `${this.series.length > 1 ? `${s.label} ` : ''}${this.print(row[i + 1])}`).join('  ')}` : '';
	}

	#show() {
		if (!this.rows?.length) return;
		if (this.#plot) this.#plot.setData(this.#data());
		else this.#plot = new uPlot(this.#options(), this.#data(), this.querySelector('.plot-area'));
	}

	updated() {
		this.#show();
	}

	/** The figures are text too, for those who cannot see the picture. */
	#summary() {
		const last = this.rows?.at(-1);
		return last ? this.series.map((s, i) => `${s.label} now ${this.print(last[i + 1])}`).join(', ') : 'no samples yet';
	}

	render() {
		return html`<div class="plot-head"><h2>${this.label}</h2><span class="plot-at" aria-hidden="true"></span>
			${this.series.length > 1 ? html`<span class="legend" aria-hidden="true">${this.series.map((s, i) => html`<i class="dot s${i}"></i>${s.label}`)}</span>` : ''}</div>
			<div class="plot-area" role="img" aria-label="${this.label}, last hour: ${this.#summary()}"></div>
			${this.rows?.length ? '' : html`<p class="plot-empty">The first sample comes within 10 seconds.</p>`}`;
	}
}
customElements.define('sw-plot', Plot);
