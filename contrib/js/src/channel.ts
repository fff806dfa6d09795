// SPDX-License-Identifier: MIT
import type { Handler, PusherChannel, PusherLike } from './client.js';

const SUCCEEDED = 'pusher:subscription_succeeded';
const ENDED = 'pusher:subscription_error';

export interface Member { id: string; info: Record<string, unknown> }

/** One user of a channel: its listeners, removed together. */
export class Subscription {
	readonly #bound: [string, Handler][] = [];

	constructor(readonly name: string, private readonly channel: PusherChannel,
		private readonly namespace: string, private readonly release: () => void) {}

	/** Listens to an event with and without the application's namespace. */
	on(event: string, handler: (data: any, from?: { user_id?: string }) => void): this {
		for (const name of new Set([event, this.namespace + event])) this.#bind(name, handler);
		return this;
	}

	/** Calls the handler now, if the channel is subscribed, and after each later subscription. */
	onReady(handler: () => void): this {
		if (this.channel.subscribed) queueMicrotask(handler);
		return this.#bind(SUCCEEDED, handler);
	}

	/** status: of the authorization endpoint's answer; pusher-js passes on only the text of the batch's error. */
	onError(handler: (error: { status?: number }) => void): this {
		return this.#bind(ENDED, (error: { status?: number; error?: string }) => {
			const status = error.status ?? Number(/\((\d{3})\)$/.exec(error.error ?? '')?.[1]);
			handler({ ...error, status });
		});
	}

	/** Events were missed that cannot be replayed: load the state again. */
	onResync(handler: () => void): this {
		return this.#bind('scopewire:resync', handler);
	}

	/** Sends a client event to the other subscribers; it is not stored. */
	whisper(event: string, data: unknown): boolean {
		return Boolean(this.channel.subscribed && this.channel.trigger?.(`client-${event}`, data));
	}

	onWhisper(event: string, handler: (data: any, from?: { user_id?: string }) => void): this {
		return this.#bind(`client-${event}`, handler);
	}

	/** Of a presence channel; empty for others. */
	get members(): Member[] {
		const all: Member[] = [];
		this.channel.members?.each(({ id, info }) =>
			all.push({ id: String(id), info: (info ?? {}) as Record<string, unknown> }));
		return all;
	}

	get myId(): string | undefined {
		return this.channel.members?.myID;
	}

	get isSubscribed(): boolean {
		return Boolean(this.channel.subscribed);
	}

	#bind(event: string, handler: Handler): this {
		this.channel.bind(event, handler);
		this.#bound.push([event, handler]);
		return this;
	}

	leave(): void {
		for (const [event, handler] of this.#bound.splice(0)) this.channel.unbind(event, handler);
		this.release();
	}
}

interface Entry { count: number; isOurs: boolean; end?: () => void }

/** Counts the users of each channel, and leaves it after the last one, unless the application had it. */
export class Channels {
	readonly #users = new Map<string, Entry>();

	constructor(private readonly pusher: PusherLike, private readonly namespace: string) {}

	/** name: as on the wire, such as private-project.7. */
	join(name: string): Subscription {
		const entry: Entry = this.#users.get(name) ?? { count: 0, isOurs: !this.pusher.channel(name) };
		entry.count++;
		this.#users.set(name, entry);
		const channel = this.pusher.subscribe(name);
		// pusher-js takes a channel whose right was taken away for a subscribed one.
		if (entry.count === 1) channel.bind(ENDED, entry.end = () => { channel.subscribed = false; });
		let isJoined = true;
		return new Subscription(name, channel, this.namespace, () => {
			if (!isJoined) return;
			isJoined = false;
			if (--entry.count > 0) return;
			this.#users.delete(name);
			if (entry.end) channel.unbind(ENDED, entry.end);
			if (entry.isOurs) this.pusher.unsubscribe(name);
		});
	}
}
