// SPDX-License-Identifier: MIT

/**
 * Loads what events change, too.  An answer shows the moment when the server read it: what arrives while the
 * answer is under way may be newer, and is done once more on top of it.  Of several loads that overlap, the one
 * that began last counts.
 */
export class Loading {
	#underWay = new Set<(() => void)[]>();
	#begun = 0;
	#shown = 0;

	/** Does change now, and again after each load that is under way; so it must do no harm when it is done twice. */
	apply(change: () => void): void {
		change();
		for (const changes of this.#underWay) changes.push(change);
	}

	/**
	 * put receives what get loads, and the error of get is thrown, unless a later load was faster or forget() was
	 * called.
	 */
	async load<T>(get: () => Promise<T>, put: (answer: T) => void): Promise<void> {
		const turn = ++this.#begun;
		const changes: (() => void)[] = [];
		this.#underWay.add(changes);
		try {
			const answer = await get();
			if (turn < this.#shown) return;
			this.#shown = turn;
			put(answer);
			for (const change of changes) change();
		} catch (error) {
			if (turn >= this.#shown) throw error;
		} finally {
			this.#underWay.delete(changes);
		}
	}

	/** What is under way is for something that is not shown any more. */
	forget(): void {
		this.#shown = ++this.#begun;
	}
}
