// SPDX-License-Identifier: MIT
// What all pages have: parameters of the address, requests with their state, timers that rest while
// the tab is hidden.
import { LitElement } from 'lit';
import { ApiError } from './api.js';

/** The address of a page with parameters. */
export function link(page, params = {}) {
	const query = new URLSearchParams(Object.entries(params)
		.filter(([, value]) => value !== undefined && value !== null && value !== ''));
	return `#/${page}${query.size ? `?${query}` : ''}`;
}

export const go = (page, params) => { location.hash = link(page, params); };

export class Page extends LitElement {
	static properties = { params: {}, app: {}, state: { state: true } };

	#timers = [];
	#wanted = 0;

	constructor() {
		super();
		this.params = {};
		this.state = { data: null, error: '', busy: true };
	}

	/** The style sheet is the page's own file; shadow roots would need one each. */
	createRenderRoot() {
		return this;
	}

	/** Calls fn now and about every ms while the page is looked at. */
	every(ms, fn) {
		const timer = setInterval(() => { if (!document.hidden) fn(); }, ms);
		this.#timers.push(timer);
	}

	disconnectedCallback() {
		super.disconnectedCallback();
		this.#timers.splice(0).forEach(clearInterval);
	}

	/** Requests again whenever the address or the application changes. */
	willUpdate(changed) {
		if (changed.has('params') || changed.has('app')) this.reload();
	}

	reload() {
		if (!this.load) return;
		const mine = ++this.#wanted;
		this.state = { ...this.state, busy: true };
		this.load().then(
			(data) => { if (mine === this.#wanted) this.state = { data, error: '', busy: false }; },
			(error) => {
				if (mine !== this.#wanted || error.name === 'AbortError') return;
				if (!(error instanceof ApiError)) throw error;
				this.state = { ...this.state, error: error.message, busy: false };
			});
	}
}
