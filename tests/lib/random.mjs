// SPDX-License-Identifier: MIT
/** Numbers from 0 to below 1 that a seed repeats (mulberry32). */
export function randomFrom(seed) {
	let a = seed;
	return () => {
		a = (a + 0x6D2B79F5) | 0;
		let t = Math.imul(a ^ (a >>> 15), 1 | a);
		t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
	};
}
