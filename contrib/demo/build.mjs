// SPDX-License-Identifier: MIT
// usage: node build.mjs SITE
// Bundles the portal's script and style into SITE/public/build, with the npm package of contrib/js and its
// dependencies, and a manifest as Vite writes it, which Laravel's @vite reads.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const KIT = fileURLToPath(new URL('../js', import.meta.url));
const { build } = await import(createRequire(path.join(KIT, 'package.json')).resolve('esbuild'));
const site = path.resolve(process.argv[2]);
const out = path.join(site, 'public/build');

fs.rmSync(out, { recursive: true, force: true });
const { metafile } = await build({
	absWorkingDir: site, entryPoints: ['resources/js/portal.js', 'resources/css/portal.css'], outdir: 'public/build',
	entryNames: 'assets/[name]-[hash]', bundle: true, minify: true, format: 'esm', target: 'es2022', metafile: true,
	legalComments: 'none', logLevel: 'warning', nodePaths: [path.join(KIT, 'node_modules')],
	alias: { scopewire: path.join(KIT, 'src/index.ts'), 'scopewire/replay': path.join(KIT, 'scopewire.js') },
	loader: { '.ts': 'ts' }, tsconfig: path.join(KIT, 'tsconfig.json'),
});
const manifest = {};
for (const [file, { entryPoint }] of Object.entries(metafile.outputs))
	if (entryPoint) manifest[entryPoint] = { file: path.relative('public/build', file), src: entryPoint, isEntry: true };
fs.writeFileSync(path.join(out, 'manifest.json'), JSON.stringify(manifest, null, '\t'));
