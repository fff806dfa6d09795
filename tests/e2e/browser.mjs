// SPDX-License-Identifier: MIT
// A real Chromium with a profile of its own.
import { chromium } from 'playwright-core';
import { DEADLINE_MS, tempFolder } from '../lib/harness.mjs';

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
	'--disable-background-networking', '--disable-component-update', '--disable-sync',
	'--disable-dev-shm-usage'];

/** A browser window: playwright's BrowserContext, closed with t. errors gathers the pages' own. */
export async function openBrowser(t, options = {}) {
	const context = await chromium.launchPersistentContext(tempFolder('chromium'), {
		executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: FLAGS,
		...options });
	context.setDefaultTimeout(DEADLINE_MS);
	t.after(() => context.close());
	context.errors = [];
	context.on('page', (page) => page.on('pageerror', (error) => context.errors.push(error)));
	context.on('weberror', (error) => context.errors.push(error.error()));
	return context;
}

/**
 * One browser for several users: each context of it has cookies, storage and tabs of its own, and the
 * patience of waitFor().
 */
export async function launchBrowser(t) {
	const browser = await chromium.launch({ headless: true, args: FLAGS,
		executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium' });
	t.after(() => browser.close());
	const newContext = browser.newContext.bind(browser);
	browser.newContext = async (options) => {
		const context = await newContext(options);
		context.setDefaultTimeout(DEADLINE_MS);
		return context;
	};
	return browser;
}
