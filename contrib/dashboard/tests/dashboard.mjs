// SPDX-License-Identifier: MIT
// A daemon with an admin listener, and its pages in a real browser.
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Sync, waitFor } from '../../../tests/lib/harness.mjs';
import { TOKEN, TOKENS, withAdmin } from '../../../tests/lib/ctl.mjs';
import { launchBrowser } from '../../../tests/e2e/browser.mjs';

const AXE = fileURLToPath(new URL('../node_modules/axe-core/axe.min.js', import.meta.url));
const KEY = 'scopewire.admin.token';

export { Sync, TOKEN, waitFor };

class Dashboard {
	/** A window.  scope: a token with it is signed in; options are those of playwright's context. */
	async open(hash = '', { scope, ...options } = {}) {
		const context = await this.browser.newContext({ viewport: { width: 1280, height: 860 }, locale: 'en-GB',
			timezoneId: 'UTC', ...options });
		const page = await context.newPage();
		page.problems = [];
		page.on('pageerror', (error) => page.problems.push(error.stack));
		page.on('console', (message) => {
			if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) page.problems.push(message.text());
		});
		page.on('request', (request) => {
			const { origin, protocol } = new URL(request.url());
			if (origin !== this.url && protocol !== 'data:') page.problems.push(`a request to ${request.url()}`);
		});
		if (scope) await page.addInitScript(([key, token]) => sessionStorage.setItem(key, token), [KEY, TOKEN[scope]]);
		await page.goto(`${this.url}/admin/${hash}`);
		return page;
	}
}

/** admin: options of that section; options: those of startDaemon(). */
export async function startDashboard(t, admin = {}, options = {}) {
	const given = await withAdmin(t, { tokens: TOKENS, ...admin }, options);
	return Object.assign(new Dashboard(), given, { sync: Sync.server(given.daemon), browser: await launchBrowser(t) });
}

/** Violations of the rules of axe, each with its elements. */
export async function violations(page) {
	await page.evaluate(fs.readFileSync(AXE, 'utf8'));
	await page.evaluate(() => document.getAnimations().forEach((a) => a.finish()));
	const before = [...page.problems];
	const found = await page.evaluate(() => window.axe.run(document, {
		runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
	page.problems = before;     // axe itself sets styles
	return found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target.flat().join(' ')} ${n.failureSummary}`).join(' | ')}`);
}
