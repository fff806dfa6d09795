// SPDX-License-Identifier: MIT
import { html, nothing } from 'lit';
import { repeat } from 'lit/directives/repeat.js';
import { canWrite, get, post } from '../api.js';
import { ago, count, time } from '../format.js';
import { block } from '../json.js';
import { Page, link } from '../page.js';
import { badge, confirm, empty, heading, problem, say, table, waiting, writeNotice } from '../parts.js';

class Webhooks extends Page {
	connectedCallback() {
		super.connectedCallback();
		this.every(10000, () => this.reload());
	}

	async load() {
		const { state = 'dead', endpoint, before } = this.params;
		return get('webhooks', { app: this.app, state, endpoint, before });
	}

	async #resend(what, question) {
		if (question && !await confirm(question)) return;
		try {
			const { webhooks } = await post('webhook-resend', what);
			say(`${count(webhooks)} webhook${webhooks === 1 ? ' is' : 's are'} in the queue again.`);
			this.reload();
		} catch (error) {
			say(error.message, 'bad');
		}
	}

	#endpoints({ endpoints }) {
		if (!endpoints.length) return empty('The queue is empty', 'Every webhook was delivered. Endpoints are in the option webhooks of an application.');
		return table('Endpoints', [{ name: 'Endpoint' }, { name: 'Waiting', class: 'number' }, { name: 'Oldest' },
			{ name: 'Dead letters', class: 'number' }, { name: '', class: 'action' }], endpoints.map((e) => [html`<span class="wrap">${e.endpoint}</span>`,
			html`<a href=${link('webhooks', { state: 'waiting', endpoint: e.endpoint })}>${count(e.waiting)}</a>`,
			e.oldest ? `${ago(e.oldest)}` : '–',
			html`<a href=${link('webhooks', { endpoint: e.endpoint })}>${count(e.dead)}</a>`,
			e.dead ? html`<button class="link" ?disabled=${!canWrite()} @click=${() => this.#resend({ app: e.app, endpoint: e.endpoint }, {
				title: `Send ${count(e.dead)} dead letters again?`, text: `They go to ${e.endpoint} in the order of their channels.`,
				action: 'Send again' })}>Send all again</button>` : nothing]));
	}

	#list(state, { webhooks }) {
		if (!webhooks.length) return state === 'dead' ? empty('No dead letters', 'Nothing was given up.')
			: empty('Nothing is waiting', 'Every webhook was delivered or given up.');
		return html`${repeat(webhooks, (w) => w.id, (w) => html`<details class="entry"><summary>
				${badge(w.event?.name ?? 'event')}<code>${w.channel}</code><span class="muted">${w.attempts} attempt${w.attempts === 1 ? '' : 's'}</span>
				${w.last_error ? html`<span class="bad-text">${w.last_error}</span>` : nothing}
				<span class="end">${time(state === 'dead' ? w.dead_at : w.created_at)}</span></summary>
			<p class="muted">${w.endpoint} · created ${time(w.created_at)} ${state === 'dead' ? html`· given up ${time(w.dead_at)}` : html`· next attempt ${time(w.next_at)}`}</p>
			${block(w.event, 'Event')}
			${state === 'dead' ? html`<div class="actions"><button class="button" ?disabled=${!canWrite()}
				@click=${() => this.#resend({ id: w.id })}>Send again</button></div>` : nothing}</details>`)}
			${webhooks.length === 50 ? html`<p><a class="button" href=${link('webhooks', { ...this.params, before: webhooks.at(-1).id })}>Older</a></p>` : nothing}`;
	}

	render() {
		const { data, error } = this.state;
		const { state = 'dead', endpoint } = this.params;
		const tab = (name, text) => html`<a href=${link('webhooks', { state: name, endpoint })} aria-current=${state === name ? 'true' : nothing}>${text}</a>`;
		return html`${heading('Webhooks', `What waits for the endpoints of ${this.app}, and what was given up.`)}
			${writeNotice('Sending again')}
			${data ? problem(error) : waiting(this.state)}
			${data ? html`<section class="card"><h2>Endpoints</h2>${this.#endpoints(data)}</section>
				<section class="card"><div class="tabs" role="group" aria-label="State">${tab('dead', 'Dead letters')}${tab('waiting', 'Waiting')}
					${endpoint ? html`<a class="end" href=${link('webhooks', { state })}>All endpoints</a>` : nothing}</div>
					${this.#list(state, data)}</section>` : nothing}`;
	}
}
customElements.define('sw-webhooks', Webhooks);
