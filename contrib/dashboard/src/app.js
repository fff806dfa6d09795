// SPDX-License-Identifier: MIT
// The frame of all pages: navigation, the application that is looked at, signing in.
import { LitElement, html, nothing } from 'lit';
import { get, open, session, signIn, signOut } from './api.js';
import { go, link } from './page.js';
import { icon, problem, valuesOf } from './parts.js';
import './pages/overview.js';
import './pages/tail.js';
import './pages/channels.js';
import './pages/connections.js';
import './pages/nodes.js';
import './pages/events.js';
import './pages/send.js';
import './pages/settings.js';
import './pages/webhooks.js';
import './pages/sync.js';

const PAGES = [
	['overview', 'Overview', (p, app) => html`<sw-overview .params=${p} .app=${app}></sw-overview>`],
	['tail', 'Live tail', (p, app) => html`<sw-tail .params=${p} .app=${app}></sw-tail>`],
	['events', 'Events', (p, app) => html`<sw-events .params=${p} .app=${app}></sw-events>`],
	['channels', 'Channels', (p, app) => html`<sw-channels .params=${p} .app=${app}></sw-channels>`],
	['connections', 'Connections', (p, app) => html`<sw-connections .params=${p} .app=${app}></sw-connections>`],
	['nodes', 'Nodes', (p, app) => html`<sw-nodes .params=${p} .app=${app}></sw-nodes>`],
	['send', 'Send an event', (p, app) => html`<sw-send .params=${p} .app=${app}></sw-send>`],
	['sync', 'Sync', (p, app) => html`<sw-sync .params=${p} .app=${app}></sw-sync>`],
	['webhooks', 'Webhooks', (p, app) => html`<sw-webhooks .params=${p} .app=${app}></sw-webhooks>`],
	['settings', 'Settings', (p, app) => html`<sw-settings .params=${p} .app=${app}></sw-settings>`],
];
const THEME = 'scopewire.admin.theme', APP = 'scopewire.admin.app';
const THEMES = { system: 'System', light: 'Light', dark: 'Dark' };

function useTheme(name) {
	if (name === 'system') delete document.documentElement.dataset.theme;
	else document.documentElement.dataset.theme = name;
	localStorage.setItem(THEME, name);
	window.dispatchEvent(new CustomEvent('sw-theme'));
}

/** #/page?name=value */
function route() {
	const [, name, query] = /^#\/([a-z-]*)\??(.*)$/s.exec(location.hash) ?? [null, 'overview', ''];
	return { name: name || 'overview', params: Object.fromEntries(new URLSearchParams(query)) };
}

class App extends LitElement {
	static properties = { phase: { state: true }, at: { state: true }, apps: { state: true }, app: { state: true },
		reason: { state: true }, said: { state: true }, node: { state: true }, menu: { state: true } };

	#fading;

	constructor() {
		super();
		Object.assign(this, { phase: 'opening', at: route(), apps: [], app: localStorage.getItem(APP) ?? '',
			reason: '', said: null, node: null, menu: false });
	}

	createRenderRoot() {
		return this;
	}

	connectedCallback() {
		super.connectedCallback();
		window.addEventListener('hashchange', () => this.#moved());
		window.addEventListener('sw-signed-out', (e) => { this.reason = session.token ? e.detail : ''; this.phase = 'closed'; });
		window.addEventListener('sw-say', (e) => this.#say(e.detail));
		setInterval(() => { if (this.phase === 'open' && !document.hidden) this.#look(); }, 10000);
		this.#start();
	}

	async #start() {
		try {
			await open();
			await this.#look();
			const { apps } = await get('apps');
			this.apps = apps;
			if (!apps.some((a) => a.id === this.app)) this.app = apps[0]?.id ?? '';
			this.phase = 'open';
		} catch (error) {
			this.reason = error.status === 401 && !sessionStorage.length ? '' : error.message;
			this.phase = 'closed';
		}
	}

	async #look() {
		try {
			this.node = await get('status');
		} catch (error) {
			this.node = { error: error.message };
		}
	}

	async #moved() {
		this.at = route();
		this.menu = false;
		document.querySelectorAll('dialog.confirm[open]').forEach((d) => d.close());
		await this.updateComplete;
		if (!location.hash.includes('?')) this.querySelector('main h1')?.focus({ preventScroll: true });
		this.#title();
	}

	#title() {
		const title = PAGES.find(([name]) => name === this.at.name)?.[1];
		document.title = title ? `${title} · Scopewire` : 'Scopewire';
	}

	#say(said) {
		clearTimeout(this.#fading);
		this.said = said;
		this.#fading = setTimeout(() => { this.said = null; }, 6000);
	}

	async #onSignIn(event) {
		event.preventDefault();
		const { token } = valuesOf(event.target);
		try {
			await signIn(token);
		} catch (error) {
			this.reason = error.message;
			return;
		}
		this.reason = '';
		if (this.at.name === 'sign-in') location.hash = '#/overview';
		await this.#start();
	}

	#onSignOut() {
		signOut();
		this.phase = 'opening';
		this.#start();
	}

	#signIn() {
		return html`<main class="sign-in"><form @submit=${this.#onSignIn}>
			<img src="icon.svg" alt="" width="44" height="44">
			<h1>Scopewire</h1>
			<p>Sign in with a token of this admin listener. A token with the scope <b>read</b> shows everything;
				changes need <b>write</b>.</p>
			${problem(this.reason)}
			<label class="field"><span>Token</span><input name="token" type="password" required autocomplete="off"
				spellcheck="false" autofocus></label>
			<button class="button primary">Sign in</button>
			${this.phase === 'open' ? html`<a class="quiet" href="#/overview">Back</a>` : nothing}
			<details><summary>Where do I find a token?</summary>
				<p>In the option <code>tokens</code> of the section <code>[admin]</code> of the daemon's configuration, or
				made by <code>scopewirectl token add NAME write</code>. The token stays in this tab and ends with it.</p></details>
		</form></main>`;
	}

	#state() {
		const { node } = this;
		if (!node) return nothing;
		if (node.error) return html`<span class="state bad"><i></i>No answer</span>`;
		return node.ready ? html`<span class="state good"><i></i>Ready</span>`
			: html`<span class="state bad"><i></i>Not ready: ${node.failed.join(', ')}</span>`;
	}

	#nav() {
		return html`<nav aria-label="Pages"><ul>${PAGES.map(([name, title]) => html`<li><a href=${link(name)}
			aria-current=${this.at.name === name ? 'page' : nothing}>${icon(name)}<span>${title}</span></a></li>`)}</ul></nav>`;
	}

	#side() {
		return html`<aside class="side ${this.menu ? 'is-open' : ''}">
			<div class="brand"><a href="#/overview"><img src="icon.svg" alt="" width="26" height="26"><b>Scopewire</b></a>
				${this.#state()}
				<button class="menu" aria-expanded=${this.menu} aria-controls="side-body"
					@click=${() => { this.menu = !this.menu; }}>Menu</button></div>
			<div id="side-body">
				<label class="field app"><span>Application</span><select @change=${(e) => this.#use(e.target.value)}>
					${this.apps.map((a) => html`<option value=${a.id} ?selected=${a.id === this.app}>${a.id}</option>`)}</select></label>
				${this.#nav()}
				<footer><div class="who">${session.token ? html`<span>${session.token}</span>` : html`<span>No token</span>`}
					<span class="badge">${session.scope}</span></div>
					<div class="who">${session.token ? html`<button class="link" @click=${this.#onSignOut}>Sign out</button>`
						: html`<a href="#/sign-in">Sign in</a>`}
					<label class="theme"><span class="hidden">Theme</span><select @change=${(e) => useTheme(e.target.value)}>
						${Object.entries(THEMES).map(([value, text]) => html`<option value=${value}
							?selected=${(localStorage.getItem(THEME) ?? 'system') === value}>${text}</option>`)}</select></label></div>
				</footer></div></aside>`;
	}

	#use(app) {
		this.app = app;
		localStorage.setItem(APP, app);
	}

	#page() {
		const page = PAGES.find(([name]) => name === this.at.name);
		return page ? page[2](this.at.params, this.app)
			: html`<div class="empty"><h1>There is no such page</h1><p><a href="#/overview">Overview</a></p></div>`;
	}

	render() {
		if (this.phase === 'opening') return html`<p class="loading" role="status">Loading …</p>`;
		if (this.phase === 'closed' || this.at.name === 'sign-in') return this.#signIn();
		return html`<a class="skip" href="#main" @click=${(e) => { e.preventDefault(); this.querySelector('main').focus(); }}>Skip to the page</a>
			<div class="frame">${this.#side()}<main id="main" tabindex="-1">${this.#page()}</main></div>
			<div class="said" role="status">${this.said ? html`<p class=${this.said.kind}>${this.said.text}</p>` : nothing}</div>`;
	}

	firstUpdated() {
		this.#title();
	}
}

useTheme(localStorage.getItem(THEME) ?? 'system');
if (location.hash && !location.hash.startsWith('#/')) go('overview');
customElements.define('sw-app', App);
