// SPDX-License-Identifier: MIT
// The rules of axe, over a page as it stands when it has come to rest.
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';

const AXE = fileURLToPath(new URL('../node_modules/axe-core/axe.min.js', import.meta.url));

/** What fades in has less contrast: animations that end are brought to their end, in every shadow tree. */
function bringToRest() {
	const roots = [document];
	for (const root of roots) {
		for (const animation of root.getAnimations())
			if (Number.isFinite(animation.effect.getComputedTiming().endTime)) animation.finish();
		for (const element of root.querySelectorAll('*'))
			if (element.shadowRoot) roots.push(element.shadowRoot);
	}
}

/** Violations of the rules of axe, each with its elements. rules: those that are switched on or off. */
export async function violations(page, rules = {}) {
	const before = [...page.problems];
	await page.evaluate(fs.readFileSync(AXE, 'utf8'));
	await page.evaluate(bringToRest);
	const found = await page.evaluate((options) => window.axe.run(document, options),
		{ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'], rules });
	page.problems = before;     // axe itself sets styles
	return found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.flat().join(' ')).join(', ')}`);
}
