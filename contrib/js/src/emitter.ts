// SPDX-License-Identifier: MIT
/** Typed listeners.  A listener that throws does not keep the others from being called. */
export class Emitter<Events extends object> {
	readonly #listeners = new Map<keyof Events, Set<(data: never) => void>>();

	/** Returns a function that removes the listener. */
	on<Name extends keyof Events>(name: Name, listener: (data: Events[Name]) => void): () => void {
		if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
		this.#listeners.get(name)!.add(listener);
		return () => { this.#listeners.get(name)?.delete(listener); };
	}

	protected emit<Name extends keyof Events>(name: Name, data: Events[Name]): void {
		for (const listener of [...this.#listeners.get(name) ?? []]) {
			try {
				(listener as (data: Events[Name]) => void)(data);
			} catch (error) {
				reportError(error);
			}
		}
	}
}
