// SPDX-License-Identifier: MIT
import { expect, test } from 'vitest';
import { applyPatch, isRewritten, merge, mergeText, patchOf } from '../../src/merge.js';
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

test('the same words changed by both are a conflict, with both in the merged text', () => {
	const { conflicts } = merge({ t: 'red car' }, { t: 'blue car' }, { t: 'green car' });
	expect(conflicts).toEqual([{ field: 't', base: 'red car', mine: 'blue car', theirs: 'green car',
		merged: 'blue green car' }]);
	expect(mergeText('Kick-off', 'Kick-off in Berlin', 'Kick-off in Paris').text).toBe('Kick-off in Berlin in Paris');
});

test('a text of which a side kept no word is rewritten', () => {
	const of = (base: string, mine: string, theirs: string) =>
		isRewritten(merge({ t: base }, { t: mine }, { t: theirs }).conflicts[0]!);
	expect(of('1 October', 'December 24', 'January 6')).toBe(true);
	expect(of('we meet on monday', 'we meet on tuesday', 'cancelled')).toBe(true);
	expect(of('', 'one', 'two')).toBe(true);
	expect(of('we meet on monday', 'we meet on tuesday', 'we meet on friday')).toBe(false);
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
