// SPDX-License-Identifier: MIT
import { defineConfig } from 'vitest/config';

export default defineConfig({
	test: { include: ['tests/unit/**/*.test.ts'], environment: 'node', reporters: ['dot', 'json'],
		outputFile: { json: 'dist/unit.json' } },
	resolve: { alias: { 'scopewire/replay': new URL('./scopewire.js', import.meta.url).pathname } },
});
