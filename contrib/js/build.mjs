// SPDX-License-Identifier: MIT
// Builds dist/: ES modules with their dependencies left to the application's bundler, one bundle for
// pages without a bundler, and the types.  Prints the size of each, plain and compressed.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = path.dirname(fileURLToPath(import.meta.url));
const dist = path.join(here, 'dist');
const shared = {
	absWorkingDir: here, outdir: dist, bundle: true, format: 'esm', target: 'es2022', minify: true,
	sourcemap: true, legalComments: 'none', alias: { 'scopewire/replay': './scopewire.js' },
	banner: { js: '// SPDX-License-Identifier: MIT' }, logLevel: 'warning',
};
const modules = { ...shared, splitting: true, packages: 'external', chunkNames: 'parts/[name]-[hash]',
	entryPoints: { scopewire: 'src/index.ts', manager: 'src/manager.ts', elements: 'src/elements/index.ts' } };
const bundle = { ...shared, entryPoints: { 'scopewire.bundle': 'src/index.ts' } };

/** The text of the bundle, for tests: they run side by side, and leave dist/ alone. */
export async function bundleText() {
	const { outputFiles } = await build({ ...bundle, write: false, sourcemap: 'inline' });
	return outputFiles[0].text;
}

function printSizes() {
	for (const name of fs.readdirSync(dist).filter((f) => f.endsWith('.js')).sort()) {
		const bytes = fs.readFileSync(path.join(dist, name));
		const kb = (n) => `${(n / 1024).toFixed(1)} KB`.padStart(9);
		console.log(`${name.padEnd(22)} ${kb(bytes.length)} ${kb(zlib.gzipSync(bytes).length)} gzip`);
	}
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
	fs.rmSync(dist, { recursive: true, force: true });
	await build(modules);
	await build(bundle);
	execFileSync(path.join(here, 'node_modules/.bin/tsc'), { cwd: here, stdio: 'inherit' });
	printSizes();
}
