// SPDX-License-Identifier: MIT
import { html, nothing } from 'lit';
import { get } from '../api.js';
import { ago, time } from '../format.js';
import { Page } from '../page.js';
import { badge, empty, heading, problem, table, waiting } from '../parts.js';

/** Seconds to the end of a lease, by the clock of the database. */
function lease(node, now) {
	if (!node.lease) return '–';
	const s = Math.round((new Date(node.lease) - new Date(now)) / 1000);
	return s >= 0 ? `${s} s` : `ended ${-s} s ago`;
}

class Nodes extends Page {
	connectedCallback() {
		super.connectedCallback();
		this.every(5000, () => this.reload());
	}

	async load() {
		const [{ nodes, now }, status] = await Promise.all([get('nodes'), get('status')]);
		return { nodes, now, own: status.node };
	}

	#rows({ nodes, now, own }) {
		return nodes.map((n) => [html`<code>${n.name}</code> ${n.name === own ? html`<span class="muted">this one</span>` : nothing}`,
			n.number ?? '–', html`<code>${n.address}</code>`, n.version ?? '–',
			html`${n.driver}${n.prefix ? html` <code>${n.prefix}</code>` : nothing}${n.redis ? html` <span class="muted">${n.redis}</span>` : nothing}`,
			html`${time(n.started)} <span class="muted">${ago(n.started)}</span>`, lease(n, now),
			n.live ? badge('running', 'good') : badge('ended', 'bad')]);
	}

	render() {
		const { data, error } = this.state;
		return html`${heading('Nodes', 'The daemons that use the database together. Other pages show this node.')}
			${data ? problem(error) : waiting(this.state)}
			${data ? html`<section class="card">${data.nodes.length ? table('Nodes', [{ name: 'Node' }, { name: 'Number', class: 'number' },
				{ name: 'Address' }, { name: 'Version' }, { name: 'Driver' }, { name: 'Started' }, { name: 'Lease', class: 'number' }, { name: 'State' }],
				this.#rows(data)) : empty('No node is registered', 'The nodes register again: the database was started just now.')}</section>` : nothing}`;
	}
}
customElements.define('sw-nodes', Nodes);
