// SPDX-License-Identifier: MIT
export interface Resync {
	channel: string;
	reason: 'expired' | 'epoch' | 'too_many' | 'unavailable' | 'malformed'
		| 'no_position';
	epoch?: string;
	serial?: number;
}

export interface ReplayOptions {
	storage?: Pick<Storage, 'getItem' | 'setItem'>;
	storageKey?: string;
	onResync?: (resync: Resync) => void;
	onEvent?: (event: { event: string; channel: string; data: Record<string, unknown> }) => void;
}

export interface ReplayHandle {
	position(channel: string): string | null;
	/** Ends the calls of onResync and onEvent; the replay goes on. */
	detach(): void;
}

export function attach(client: object, options?: ReplayOptions): ReplayHandle;
export default attach;
