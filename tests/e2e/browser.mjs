// SPDX-License-Identifier: MIT
// A real Chromium with a profile of its own.
import { chromium } from 'playwright-core';
import { DEADLINE_MS, tempFolder } from '../lib/harness.mjs';

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
	'--disable-background-networking', '--disable-component-update', '--disable-sync',
	'--disable-dev-shm-usage'];

/**
 * Pages wait as long as waitFor() does, and look again after a time: a busy machine draws no frames,
 * which is when playwright looks by itself.
 */
function patient(context) {
	context.setDefaultTimeout(DEADLINE_MS);
	const patch = (page) => {
		const wait = page.waitForFunction.bind(page);
		page.waitForFunction = (code, value, options) => wait(code, value, { polling: 50, ...options });
	};
	context.pages().forEach(patch);
	context.on('page', patch);
	return context;
}

/** A browser window: playwright's BrowserContext, closed with t. errors gathers the pages' own. */
export async function openBrowser(t, options = {}) {
	const context = await chromium.launchPersistentContext(tempFolder('chromium'), {
		executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: FLAGS,
		...options });
	t.after(() => context.close());
	patient(context);
	context.errors = [];
	context.on('page', (page) => page.on('pageerror', (error) => context.errors.push(error)));
	context.on('weberror', (error) => context.errors.push(error.error()));
	return context;
}

/** One browser for several users: each context of it has cookies, storage and tabs of its own. */
export async function launchBrowser(t) {
	const browser = await chromium.launch({ headless: true, args: FLAGS,
		executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium' });
	t.after(() => browser.close());
	const newContext = browser.newContext.bind(browser);
	browser.newContext = async (options) => patient(await newContext(options));
	return browser;
}
