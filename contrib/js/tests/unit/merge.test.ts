// SPDX-License-Identifier: MIT
import { expect, test } from 'vitest';
import { applyPatch, differences, merge, mergeText, patchOf } from '../../src/merge.js';
import { backoff } from '../../src/retry.js';

test('changes of different fields are merged', () => {
	const { data, conflicts } = merge({ a: 1, b: 1, c: 1 }, { a: 2, b: 1, c: 1 }, { a: 1, b: 3, c: 1 });
	expect(data).toEqual({ a: 2, b: 3, c: 1 });
	expect(conflicts).toEqual([]);
});

test('a field that one side removed stays removed', () => {
	expect(merge({ a: 1, b: 1 }, { b: 1 }, { a: 1, b: 2 }).data).toEqual({ b: 2 });
	expect(merge({ a: 1 }, { a: 1, n: 1 }, {}).data).toEqual({ n: 1 });
});

test('the same change of both sides is no conflict', () => {
	expect(merge({ a: 1 }, { a: 2 }, { a: 2 })).toEqual({ data: { a: 2 }, conflicts: [] });
});

test('different words of a text are merged', () => {
	expect(mergeText('the quick brown fox', 'the slow brown fox', 'the quick brown dog'))
		.toEqual({ text: 'the slow brown dog', isClean: true });
});

test('neighbouring words of a line, changed by one each, are a conflict: no user wrote that line', () => {
	expect(merge({ t: '1 October' }, { t: '2 October' }, { t: '1 November' }).conflicts)
		.toEqual([{ field: 't', base: '1 October', mine: '2 October', theirs: '1 November' }]);
});

test('neighbouring lines, changed by one each, are merged', () => {
	expect(mergeText('milk\nbread', 'oat milk\nbread', 'milk\nrye bread')).toEqual({ text: 'oat milk\nrye bread', isClean: true });
});

test('the same words changed by both are a conflict, without a merged text if it is of one line', () => {
	expect(merge({ t: 'red car' }, { t: 'blue car' }, { t: 'green car' }).conflicts)
		.toEqual([{ field: 't', base: 'red car', mine: 'blue car', theirs: 'green car' }]);
	expect(mergeText('Kick-off', 'Kick-off in Berlin', 'Kick-off in Paris').text).toBe(null);
	expect(mergeText('', 'one', 'two\nlines').text).toBe(null);
	expect(mergeText('we meet on monday', 'we meet on tuesday', 'cancelled').text).toBe(null);
});

test('different lines are merged, and a line that both changed is there twice', () => {
	const base = 'Design\nShop\nTexts', mine = 'Design and icons\nShop\nTexts by May';
	expect(mergeText(base, mine, 'Design\nShop\nTexts by June'))
		.toEqual({ text: 'Design and icons\nShop\nTexts by May\nTexts by June', isClean: false });
	expect(mergeText(base, 'Shop\nTexts by May', 'Design\nShop\nTexts by June').text).toBe('Shop\nTexts by May\nTexts by June');
	expect(mergeText(base, 'Drawings\nShop\nTexts', 'Sketches\nShop\nTexts').text, 'no other line').toBe(null);
});

test('lines that both added are both there', () => {
	expect(mergeText('Design\nShop', 'Design\nShop\nSearch', 'Design\nShop\nMail'))
		.toEqual({ text: 'Design\nShop\nSearch\nMail', isClean: false });
});

test('what differs in two texts are whole words; of texts without a common word it is not known', () => {
	expect(differences('by the end of May', 'by end of June')).toEqual([{ text: 'by', isSame: true }, { text: ' ', isSame: true },
		{ text: 'the', isSame: false }, { text: ' end of', isSame: true }, { text: ' ', isSame: true }, { text: 'May', isSame: false }]);
	expect(differences('cancelled', 'we meet')).toBe(null);
});

test('numbers changed by both are a conflict without a merged value', () => {
	expect(merge({ n: 1 }, { n: 2 }, { n: 3 }).conflicts).toEqual([{ field: 'n', base: 1, mine: 2, theirs: 3 }]);
});

test('a patch leads from one object to the other', () => {
	const from = { a: 1, b: 2, c: { d: 1 } };
	const to = { a: 1, c: { d: 2 }, e: 5 };
	expect(patchOf(from, to)).toEqual({ b: null, c: { d: 2 }, e: 5 });
	expect(applyPatch(from, patchOf(from, to))).toEqual(to);
});

test('pauses double, at random between half and all, up to a minute', () => {
	expect([0, 1, 2, 3].map((n) => backoff(n, 1))).toEqual([500, 1000, 2000, 4000]);
	expect(backoff(0, 0)).toBe(250);
	expect(backoff(50, 1)).toBe(60_000);
});
