// SPDX-License-Identifier: MIT
// Whether the rules allow a user on a channel, and which connections that user has had.
import { LitElement, html, nothing } from 'lit';
import { get } from '../api.js';
import { link } from '../page.js';
import { badge, field, problem, valuesOf } from '../parts.js';

export const rulesList = (rules) => (rules.length ? html`<ul class="rules">${rules.map((r) => html`<li><code>${r.pattern}</code>
	<b>${r.rule}</b>${r.argument ? html`<code>${r.argument}</code>` : nothing}${r.can_write ? badge('may write') : nothing}</li>`)}</ul>`
	: html`<p class="muted">No channel rule fits this channel.</p>`);

class Explain extends LitElement {
	static properties = { app: {}, channel: {}, answer: { state: true }, trouble: { state: true } };

	createRenderRoot() {
		return this;
	}

	async #onAsk(event) {
		event.preventDefault();
		const { user } = valuesOf(event.target);
		this.trouble = '';
		this.answer = null;
		try {
			this.answer = { user, ...await get('explain', { app: this.app, channel: this.channel, user }) };
		} catch (error) {
			this.trouble = error.message;
		}
	}

	#verdict({ user, allowed, reason, roles, rules }) {
		const isOpen = !/^(private|presence)-/.test(this.channel);
		return html`<div class="verdict ${allowed || isOpen ? 'good' : 'bad'}" role="status">
			<p>${allowed || isOpen ? badge('allowed', 'good') : badge('refused', 'bad')} ${reason}</p>
			${roles?.length ? html`<p class="muted">Roles: ${roles.join(', ')}</p>` : nothing}${rulesList(rules)}
			<p><a href=${link('connections', { user })}>Connections of user ${user}, and what happened on them</a></p></div>`;
	}

	render() {
		return html`<form class="row" @submit=${this.#onAsk}>${field('User id', html`<input name="user" inputmode="numeric" required maxlength="200">`)}
			<button class="button">Why?</button></form>
			${problem(this.trouble)}${this.answer ? this.#verdict(this.answer) : nothing}`;
	}
}
customElements.define('sw-explain', Explain);
