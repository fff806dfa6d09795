// SPDX-License-Identifier: MIT
/**
 * One tab of this browser does the work that is needed once: the tab that holds a Web Lock.  When it is
 * closed, the browser gives the lock to another one.  Without Web Locks every tab is a leader.
 */
export class Leader {
	isLeader = false;
	#release: (() => void) | null = null;
	readonly #abort = new AbortController();

	constructor(name: string, private readonly onChange: (isLeader: boolean) => void) {
		const { locks } = navigator;
		if (!locks) {
			queueMicrotask(() => { if (!this.#abort.signal.aborted) this.#set(true); });
			return;
		}
		locks.request(name, { signal: this.#abort.signal }, () => {
			if (this.#abort.signal.aborted) return undefined;
			this.#set(true);
			return new Promise<void>((resolve) => { this.#release = resolve; });
		}).catch((error: Error) => {
			if (error.name !== 'AbortError') reportError(error);
		});
	}

	#set(isLeader: boolean): void {
		this.isLeader = isLeader;
		this.onChange(isLeader);
	}

	stop(): void {
		this.#abort.abort();
		this.#release?.();
		if (this.isLeader) this.#set(false);
	}
}
