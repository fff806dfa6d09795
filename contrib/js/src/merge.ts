// SPDX-License-Identifier: MIT
import { diff3Merge, diffComm } from 'node-diff3';

export type Data = Record<string, unknown>;

export interface FieldConflict {
	field: string;
	base: unknown;
	mine: unknown;
	theirs: unknown;
	/** Both texts in one; only for texts of several lines, of which the two changed different ones. */
	merged?: string;
}

export const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Line ends, and words with the blanks before them. */
const tokens = (text: string): string[] => text.match(/\n|[^\S\n]*\S+|[^\S\n]+/g) ?? [];

/**
 * Merges two edits of a text.  Of a line that both changed, different words are merged if there is an unchanged
 * one between them: "2 October" and "1 November", both made of "1 October", are not "2 November".
 *
 * If that is not possible everywhere, isClean is false, and the text has the changes of different lines, and of
 * a line that both changed, both versions, each on a line of its own.  It is null if all of the changes are
 * of the same lines: such a text would be one that no user wrote.
 */
export function mergeText(base: string, mine: string, theirs: string): { text: string | null; isClean: boolean } {
	const words = mergeWords(base, mine, theirs);
	if (words !== null) return { text: words, isClean: true };
	const lines = (text: string) => text.split('\n');
	const regions = diff3Merge(lines(mine), lines(base), lines(theirs));
	type Conflict = NonNullable<(typeof regions)[0]['conflict']>;
	const text = (resolve: (conflict: Conflict) => string[]) =>
		regions.flatMap(({ ok, conflict }) => ok ?? resolve(conflict!)).join('\n');
	const hasBoth = text(({ a }) => a) !== mine || text(({ b }) => b) !== theirs
		|| regions.some(({ conflict }) => conflict?.o.length === 0);      // both added lines
	return { isClean: regions.every(({ ok }) => ok), text: !hasBoth ? null : text(({ a, b, o }) => {
		const merged = mergeWords(o.join('\n'), a.join('\n'), b.join('\n'));
		return merged === null ? [...a, ...b] : [merged];
	}) };
}

/** null if both changed the same words, or neighbours. */
function mergeWords(base: string, mine: string, theirs: string): string | null {
	const regions = diff3Merge(tokens(mine), tokens(base), tokens(theirs));
	return regions.every(({ ok }) => ok) ? regions.flatMap(({ ok }) => ok!).join('') : null;
}

/** A text in parts that are in another one too, and others; null if the two have no word in common. */
export function differences(text: string, other: string): { text: string; isSame: boolean }[] | null {
	const parts = diffComm(tokens(text), tokens(other)).flatMap(({ common, buffer1 }) => {
		const part = (common ?? buffer1!).join('');
		const blanks = common ? '' : /^\s*/.exec(part)![0];
		return [{ text: blanks, isSame: true }, { text: part.slice(blanks.length), isSame: Boolean(common) }];
	}).filter((part) => part.text);
	return parts.some((part) => part.isSame && part.text.trim()) ? parts : null;
}

/**
 * Field by field: a field that only one side changed takes that change, texts are merged by mergeText(), and
 * what cannot be merged is a conflict, for which data has this side's value.
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
			else conflicts.push({ field, base: o, mine: a, theirs: b, ...(merged?.text != null && { merged: merged.text }) });
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
