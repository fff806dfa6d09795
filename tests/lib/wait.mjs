// SPDX-License-Identifier: MIT
// Waiting for a state instead of for a time.

/**
 * How long a test waits for a state before it fails.  A passing test never waits so long, so it is
 * generous: a busy machine and a sanitizer's daemon are slow.
 */
export const DEADLINE_MS = Number(process.env.TEST_DEADLINE_MS ?? 180000);

/** Polls predicate (may be async) until it returns something truthy, which is the result. */
export async function waitFor(predicate, what = predicate.toString(), deadlineMs = DEADLINE_MS) {
	const end = Date.now() + deadlineMs;
	for (;;) {
		const answer = await predicate();
		if (answer) return answer;
		if (Date.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`);
		await new Promise((resolve) => setTimeout(resolve, 10));
	}
}

/** The pace of a load.  Never use it to wait for a state. */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The promise's result, or an error that names what did not happen before the deadline. */
export function within(promise, what, deadlineMs = DEADLINE_MS) {
	let timer;
	const late = new Promise((_, reject) => {
		timer = setTimeout(
			() => reject(new Error(`not within ${deadlineMs} ms: ${what}`)), deadlineMs);
	});
	return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
