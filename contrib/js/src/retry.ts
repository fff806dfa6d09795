// SPDX-License-Identifier: MIT
import type { RealtimeManager } from './manager.js';

export const LONGEST_PAUSE_MS = 60_000;

/** The pause after n failures: doubled each time, at random between half of it and all of it. */
export function backoff(failures: number, random = Math.random()): number {
	return Math.min(LONGEST_PAUSE_MS, 500 * 2 ** failures) * (0.5 + random / 2);
}

/**
 * Calls back when what has failed may succeed now: connected again, online again, signed in again, or the user has
 * returned to the window, perhaps after signing in in another one.
 */
export function whenBack(manager: RealtimeManager, callback: () => void): () => void {
	let before = manager.status;
	const end = manager.on('status', (status) => {
		const isBack = (status.state === 'connected' && before.state !== 'connected')
			|| (before.isSignedOut && !status.isSignedOut) || (before.isHidden && !status.isHidden);
		before = status;
		if (isBack) callback();
	});
	for (const name of ['online', 'focus']) addEventListener(name, callback);
	return () => {
		end();
		for (const name of ['online', 'focus']) removeEventListener(name, callback);
	};
}
