// SPDX-License-Identifier: MIT
// The daemon's reader of .env files beside phpdotenv and Laravel's env(): the same files, the same values.
// DOTENV_FILES is their number, DOTENV_SEED repeats a run.
import test from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { randomFrom } from '../lib/random.mjs';
import { installLaravel } from './portal.mjs';

const PHP = fileURLToPath(new URL('laravel/dotenv.php', import.meta.url));
const BUILD = path.dirname(process.env.SCOPEWIRED ??
	fileURLToPath(new URL('../../build/scopewired', import.meta.url)));
const FILES = Number(process.env.DOTENV_FILES ?? 2000);
const SEED = Number(process.env.DOTENV_SEED ?? Date.now() % 1e6);

/** One line of JSON for each file; OUTSIDE is a variable that the process had before. */
function read(command, args, files) {
	const child = spawnSync(command, args, { input: files.map((f) => `${f}\0`).join(''),
		env: { PATH: process.env.PATH, OUTSIDE: 'from outside' }, maxBuffer: 1 << 30 });
	assert.equal(child.status, 0, `${child.error ?? ''}${child.stderr}`);
	return child.stdout.toString().trimEnd().split('\n').map((line) => JSON.parse(line));
}

function compare(files) {
	const ours = read(path.join(BUILD, 'dotenv_dump'), [], files);
	const theirs = read('php', [PHP, path.join(installLaravel(), 'vendor')], files);
	assert.equal(ours.length, files.length);
	assert.equal(theirs.length, files.length);
	files.forEach((file, i) => assert.deepEqual(ours[i], theirs[i], JSON.stringify(file)));
	return theirs;
}

test('known cases are read as phpdotenv reads them', () => {
	compare(['A=ab#cd', 'A= #x', 'A="a#b" # c', "'A'=1", 'export "A"=1', 'export\tA = 1', 'A=a b',
		"A='a'b", 'A="a\\qb"', 'A="a\\f\\n\\r\\t\\v\\$\\"\\\\"', 'A="1\n2"\nB=3', 'A="1\r\n2"',
		'A=1\rB=2', 'A', 'A=1\nA', ' A', 'A B=1', '=1', 'A=1\nB=${A}2', 'A=B\nAB=3\nC=${A${A}}',
		'A=${OUTSIDE}', 'OUTSIDE=x\nB=${OUTSIDE}', "A='${OUTSIDE}'", 'A="\\${OUTSIDE}"', 'A=${NONE}',
		'A="x', "A='x", 'A="x\ny', 'A=b="x\nB=1', '# A="x\nB=1', 'A=#="x\nB=1', '\ufeffA=1',
		'A=é"ü', 'A="${B}\u00e9${OUTSIDE}"', 'A=null', 'A=(Null)', 'A=TRUE', 'A=(false)', 'A=empty',
		'A="\'x\'"', "A='\"x\"'", 'A="\'\'"', 'A=\fb', 'A=b\fc', 'A=\v1\v', 'A=a\vb', 'A=$', 'A=$$', 'A=a$b',
		'A="', "A='", 'A=""', "A=''", 'A="\\"', 'A=1=2', 'A==', 'export=1', 'exportA=1', 'export =1', '""=1',
		'A.B=1\nC=${A.B}', '1=2\nB=${1}', 'A=\\', 'A=\\n', 'A=a\\"b', 'A="a\\\\"', 'A="a\\\\\\"b"']);
});

test('random files are read as phpdotenv reads them', (t) => {
	t.diagnostic(`DOTENV_SEED=${SEED}`);
	const random = randomFrom(SEED);
	const pick = (list) => list[Math.floor(random() * list.length)];
	const many = (max, make) => Array.from({ length: Math.floor(random() * (max + 1)) }, make).join('');
	const bytes = [...'abcAB019_.-=#"\'\\$ {}()\t', '\n', '\r', '\f', '\v', '${A}', '${B', '${OUTSIDE}',
		'\\n', '\\"', '\\$', 'é', '="', 'null', 'true', ' #', '\\\\'];
	const word = () => many(6, () => pick([...'abc019:/+']));
	const value = () => pick([word, word, () => `"${many(8, () => pick(bytes))}"`,
		() => `'${many(8, () => pick(bytes))}'`, () => many(8, () => pick(bytes)),
		() => pick(['null', '(Empty)', 'TRUE', '(false)', '"\'x\'"', '${A}${B}', '"a${A}b"', 'a#b', '#'])])();
	const name = () => pick(['A', 'B', 'C.D', '"A"', "'B'", 'export A', 'export\t"B"', ' A ', 'A']);
	const line = () => pick([() => `${name()}=${value()}`, () => `${name()}=${value()}`,
		() => `${name()} = ${value()} # note`, () => `# ${value()}`, () => '', () => name(),
		() => many(10, () => pick(bytes))])();
	const files = Array.from({ length: FILES }, () => Array.from({ length: 1 + Math.floor(random() * 4) },
		line).join(pick(['\n', '\n', '\r\n'])));
	const read = compare(files);
	const accepted = read.filter((r) => r !== null && Object.keys(r).length).length;
	assert(accepted > FILES / 10 && accepted < FILES, `${accepted} of ${FILES} were accepted`);
});
