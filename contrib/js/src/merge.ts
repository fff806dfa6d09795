// SPDX-License-Identifier: MIT
import { diff3Merge } from 'node-diff3';

export type Data = Record<string, unknown>;

export interface FieldConflict {
	field: string;
	base: unknown;
	mine: unknown;
	theirs: unknown;
	/** Both texts in one; absent for values that are not text. */
	merged?: string;
}

export const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Merges two edits of a text, word by word; isClean is false if both changed the same words. */
export function mergeText(base: string, mine: string, theirs: string): { text: string; isClean: boolean } {
	const words = (text: string) => text.split(/(\s+)/).filter((word) => word !== '');
	let isClean = true;
	const text = diff3Merge(words(mine), words(base), words(theirs), { excludeFalseConflicts: true }).map((region) => {
		if (region.ok) return region.ok.join('');
		isClean = false;
		const [a, b] = [(region.conflict?.a ?? []).join(''), (region.conflict?.b ?? []).join('')];
		const isJoined = !a || !b || /\s$/.test(a) || /^\s/.test(b);
		return a + (isJoined ? '' : ' ') + b;
	}).join('');
	return { text, isClean };
}

/** A side kept no word of the base: the merged text would put unrelated words side by side. */
export function isRewritten({ base, mine, theirs }: FieldConflict): boolean {
	const words = (value: unknown) => String(value ?? '').split(/\s+/).filter(Boolean);
	const known = new Set(words(base));
	return [mine, theirs].some((side) => !words(side).some((word) => known.has(word)));
}

/**
 * Field by field: a field that only one side changed takes that change, texts are merged word by word, and
 * what both changed is a conflict, for which data has this side's value.
 */
export function merge(base: Data, mine: Data, theirs: Data): { data: Data; conflicts: FieldConflict[] } {
	const data: Data = {};
	const conflicts: FieldConflict[] = [];
	for (const field of new Set([...Object.keys(theirs), ...Object.keys(mine)])) {
		const [o, a, b] = [base[field], mine[field], theirs[field]];
		let value = a;
		if (isSame(a, o)) value = b;
		else if (!isSame(b, o) && !isSame(a, b)) {
			const texts = [o ?? '', a, b].every((v) => typeof v === 'string');
			const merged = texts ? mergeText(String(o ?? ''), a as string, b as string) : null;
			if (merged?.isClean) value = merged.text;
			else conflicts.push({ field, base: o, mine: a, theirs: b, ...(merged && { merged: merged.text }) });
		}
		if (value !== undefined) data[field] = value;
	}
	return { data, conflicts };
}

/** A JSON Merge Patch (RFC 7396) from one object to another, of the first level. */
export function patchOf(from: Data, to: Data): Data {
	const patch: Data = {};
	for (const field of new Set([...Object.keys(from), ...Object.keys(to)]))
		if (!isSame(from[field], to[field])) patch[field] = to[field] ?? null;
	return patch;
}

export function applyPatch(data: Data, patch: Data): Data {
	const result = { ...data };
	for (const [field, value] of Object.entries(patch)) {
		if (value === null) delete result[field];
		else result[field] = value;
	}
	return result;
}
