// SPDX-License-Identifier: MIT
// usage: node build.mjs [--check]
// Builds dist/, which is committed and compiled into scopewired, and prints the sizes, plain and
// compressed.  --check builds elsewhere and compares.
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = path.dirname(fileURLToPath(import.meta.url));
const dist = path.join(here, 'dist');
const AS_THEY_ARE = ['index.html', 'icon.svg'];
const PACKAGES = ['lit', '@lit/reactive-element', 'lit-element', 'lit-html', 'uplot'];
const LICENCE = 'SPDX-License-Identifier: MIT AND BSD-3-Clause';

/** What the licences of the packages require to go with them. */
function licences() {
	const one = (name) => `${name}\n\n${fs.readFileSync(path.join(here, 'node_modules', name, 'LICENSE'), 'utf8').trim()}\n`;
	return `${LICENCE}\n\nThe web pages contain parts of these packages.\n\n${PACKAGES.map(one).join('\n\n')}`;
}

/** The files of dist/, by name. */
async function make() {
	const { outputFiles } = await build({
		absWorkingDir: here, outdir: dist, entryPoints: ['src/app.js', 'src/app.css'], bundle: true, write: false,
		format: 'esm', target: 'es2022', minify: true, charset: 'utf8', legalComments: 'none',
		logLevel: 'warning',
		banner: { js: `// ${LICENCE}; see licences.txt`, css: `/* ${LICENCE}; see licences.txt */` },
	});
	const files = new Map(outputFiles.map((f) => [path.basename(f.path), Buffer.from(f.contents)]));
	for (const name of AS_THEY_ARE) files.set(name, fs.readFileSync(path.join(here, 'src', name)));
	files.set('licences.txt', Buffer.from(licences()));
	return files;
}

function printSizes(files) {
	const kb = (n) => `${(n / 1024).toFixed(1)} KB`.padStart(9);
	for (const [name, bytes] of [...files].sort())
		console.log(`${name.padEnd(12)} ${kb(bytes.length)} ${kb(zlib.gzipSync(bytes).length)} gzip`);
}

function differing(files) {
	const there = fs.existsSync(dist) ? fs.readdirSync(dist) : [];
	return [...new Set([...files.keys(), ...there])].filter((name) => !files.has(name)
		|| !there.includes(name) || !files.get(name).equals(fs.readFileSync(path.join(dist, name))));
}

const files = await make();
printSizes(files);
if (process.argv.includes('--check')) {
	const names = differing(files);
	if (names.length) console.log(`dist/ is not what the sources make; run node build.mjs: ${names.join(', ')}`);
	process.exitCode = names.length ? 1 : 0;
} else {
	fs.rmSync(dist, { recursive: true, force: true });
	fs.mkdirSync(dist);
	for (const [name, bytes] of files) fs.writeFileSync(path.join(dist, name), bytes);
}
