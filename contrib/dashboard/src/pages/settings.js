// SPDX-License-Identifier: MIT
import { html, nothing } from 'lit';
import { canWrite, get, post } from '../api.js';
import { Page, go } from '../page.js';
import { badge, confirm, empty, heading, problem, say, table, waiting } from '../parts.js';

const COLUMNS = [{ name: 'Option' }, { name: 'Value' }, { name: 'Default' }, { name: 'Where it was set' }];

function shown(s) {
	if (s.secret) return s.source ? html`<span class="muted">set, not shown</span>` : html`<span class="muted">not set</span>`;
	return s.value === '' ? html`<span class="muted">empty</span>` : html`<code class="wrap">${s.value}</code>`;
}

class Settings extends Page {
	connectedCallback() {
		super.connectedCallback();
		this.every(5000, () => this.reload());
	}

	async load() {
		return get('settings', { all: this.params.all });
	}

	#onFilter(event) {
		const form = event.currentTarget;
		go('settings', { text: form.elements.text.value.trim(), all: form.elements.all.checked ? 'yes' : '' });
	}

	async #onReload() {
		if (!await confirm({ title: 'Read the configuration again?', text: 'As SIGHUP does: applications, limits and the certificate '
			+ 'are replaced, and no connection is closed.', action: 'Reload' })) return;
		try {
			await post('reload', {});
			say('The daemon reads its configuration again.');
			setTimeout(() => this.reload(), 1000);
		} catch (error) {
			say(error.message, 'bad');
		}
	}

	/** One table for each section, and for each application. */
	#sections(settings, restart) {
		const text = (this.params.text ?? '').toLowerCase();
		const groups = new Map();
		for (const s of settings) {
			if (!this.params.all && !s.secret && s.value === s.default) continue;
			if (text && !`${s.section}.${s.option} ${s.value ?? ''} ${s.source ?? ''}`.toLowerCase().includes(text)) continue;
			const name = s.app ? `app ${s.app}` : s.section;
			groups.set(name, [...groups.get(name) ?? [], s]);
		}
		if (!groups.size) return empty('No option fits', text ? 'Try another word, or show the defaults too.' : 'Every option has its default.');
		return [...groups].map(([name, list]) => html`<section class="card"><h2>[${name}]</h2>${table(`Options of ${name}`, COLUMNS,
			list.map((s) => [html`<span class="option"><b>${s.option}</b>${restart.includes(`${s.section}.${s.option}`) ? badge('waits for a restart', 'warn')
				: nothing}${!s.reloadable ? badge('read at start') : nothing}<small>${s.help}</small></span>`, shown(s),
			html`<code class="wrap muted">${s.default === '' ? '–' : s.default}</code>`,
			s.source ? html`<span class="wrap">${s.source}</span>` : html`<span class="muted">default</span>`]))}</section>`);
	}

	render() {
		const { data, error } = this.state;
		return html`${heading('Settings', 'What is in force, and where it was set. Values of secrets are not shown.',
			html`<button class="button" ?disabled=${!canWrite()} title=${canWrite() ? '' : 'Needs a token with the scope write'}
				@click=${this.#onReload}>Reload</button>`)}
			<form class="filter" @change=${this.#onFilter} @submit=${(e) => { e.preventDefault(); this.#onFilter(e); }}>
				<label class="field"><span>Find</span><input name="text" type="search" .value=${this.params.text ?? ''} placeholder="limit, file or value"></label>
				<label class="check"><input name="all" type="checkbox" ?checked=${Boolean(this.params.all)}> Show options that have their default</label></form>
			${data ? problem(error) : waiting(this.state)}
			${data?.restart.length ? html`<p class="notice warn">Changed since the start, and in force after a restart only:
				<b>${data.restart.join(', ')}</b></p>` : nothing}
			${data ? this.#sections(data.settings, data.restart) : nothing}`;
	}
}
customElements.define('sw-settings', Settings);
