// SPDX-License-Identifier: MIT
import { expect, test } from 'vitest';
import { Loading } from '../../src/elements/loading.js';

/** A list, and loads that end when the test answers them. */
function setUp() {
	const loading = new Loading();
	const shown = { rows: [] as number[] };
	const load = () => {
		let answer!: (rows: number[]) => void;
		let refuse!: (error: Error) => void;
		const end = loading.load(() => new Promise<number[]>((resolve, reject) => { answer = resolve; refuse = reject; }),
			(rows) => { shown.rows = rows; });
		return { answer, refuse, end };
	};
	const add = (n: number) => loading.apply(() => { shown.rows = [...shown.rows.filter((x) => x !== n), n]; });
	return { loading, shown, load, add };
}

test('what arrives while an older answer is under way stays', async () => {
	const { shown, load, add } = setUp();
	const first = load();
	add(3);
	expect(shown.rows).toEqual([3]);
	first.answer([1, 2]);
	await first.end;
	expect(shown.rows).toEqual([1, 2, 3]);
});

test('what arrived before a load began is as the answer has it', async () => {
	const { shown, load, add } = setUp();
	add(3);
	const first = load();
	first.answer([1]);
	await first.end;
	expect(shown.rows).toEqual([1]);
});

test('of two loads the later one counts, whichever is faster', async () => {
	const { shown, load } = setUp();
	const [first, second] = [load(), load()];
	second.answer([2]);
	await second.end;
	first.answer([1]);
	await first.end;
	expect(shown.rows).toEqual([2]);
});

test('an earlier answer is shown until the later one is there', async () => {
	const { shown, load } = setUp();
	const [first, second] = [load(), load()];
	first.answer([1]);
	await first.end;
	expect(shown.rows).toEqual([1]);
	second.answer([2]);
	await second.end;
	expect(shown.rows).toEqual([2]);
});

test('what is forgotten is not shown, and its error is not thrown', async () => {
	const { loading, shown, load } = setUp();
	const [first, second] = [load(), load()];
	loading.forget();
	first.answer([1]);
	second.refuse(new Error('away'));
	await Promise.all([first.end, second.end]);
	expect(shown.rows).toEqual([]);
	const third = load();
	third.refuse(new Error('away'));
	await expect(third.end).rejects.toThrow('away');
});
