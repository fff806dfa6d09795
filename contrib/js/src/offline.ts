// SPDX-License-Identifier: MIT
import { openDB, type DBSchema, type IDBPDatabase } from 'idb';
import { ApiError, errorOf } from './api.js';
import { csrf } from './csrf.js';
import { Emitter } from './emitter.js';
import type { RealtimeManager } from './manager.js';
import { applyPatch, merge, patchOf, type Data, type FieldConflict } from './merge.js';
import { LONGEST_PAUSE_MS, backoff, whenBack } from './retry.js';

export type { Data, FieldConflict } from './merge.js';

interface Stored { type: string; id: string; version: number; data: Data | null; deleted: boolean }

interface Queued {
	seq?: number;
	mutationId: string;
	type: string;
	id: string;
	op: 'patch' | 'upsert' | 'delete';
	data?: Data;
	/** What the change started from. */
	base: Data | null;
	version: number;
	/** The server's state, when the change needs a decision. */
	current?: Stored;
	conflicts?: FieldConflict[];
}

interface Schema extends DBSchema {
	resources: { key: [string, string]; value: Stored };
	queue: { key: number; value: Queued };
	meta: { key: string; value: string };
}

/** As GET changes lists it. */
interface Remote { resource_type: string; resource_id: string; version: number; deleted: boolean; data: Data | null }
interface Result { status: number; mutation_id: string; version?: number; current?: Remote | null; error?: { code: string; message: string } }

export interface Resource {
	type: string;
	id: string;
	version: number;
	/** With the changes that wait; null: deleted, or not known. */
	data: Data | null;
	isPending: boolean;
	conflict: Conflict | null;
}

export interface Conflict {
	type: string;
	id: string;
	mine: Data | null;
	theirs: Data | null;
	/** Clean merges are in it already. */
	merged: Data;
	fields: FieldConflict[];
}

export interface OfflineEvents {
	change: { type: string; id: string };
	conflict: Conflict;
	queued: number;
	/** The server refused a change for good; it was dropped. */
	rejected: { type: string; id: string; code: string; message: string };
}

export interface OfflineOptions {
	manager: RealtimeManager;
	/** Types that are kept on this device; others are loaded by open(). */
	types?: string[];
	/** Default: of the application's key and the user. */
	name?: string;
}

const BATCH = 50;

const keyOf = (type: string, id: string | number): [string, string] => [type, String(id)];
const fromRemote = (r: Remote): Stored => ({ type: r.resource_type, id: String(r.resource_id), version: r.version,
	data: r.data, deleted: r.deleted });

/** To the application's endpoint, if there is one; otherwise to the daemon. */
async function postChanges(manager: RealtimeManager, body: Record<string, unknown>): Promise<{ results: Result[] }> {
	const { changesEndpoint } = manager;
	if (!changesEndpoint) return manager.api.post('changes', body);
	const response = await manager.fetch(changesEndpoint, { method: 'POST', body: JSON.stringify(body),
		headers: { Accept: 'application/json', 'Content-Type': 'application/json', ...csrf() } }).catch(() => {
		throw new ApiError(0, 'network', 'the server cannot be reached');
	});
	if (!response.ok) throw await errorOf(response);
	return await response.json() as { results: Result[] };
}

/**
 * Resources of the data sync on this device.  A change is stored, shown at once and queued; the queue is
 * sent in order, by one tab at a time, and a change that was sent twice counts once.
 */
export class OfflineStore extends Emitter<OfflineEvents> {
	readonly ready: Promise<void>;
	#db!: IDBPDatabase<Schema>;
	#name = '';
	#clientId = '';
	#tabs: BroadcastChannel | null = null;
	#isWaiting = false;
	#failures = 0;
	#isSignedOut = false;
	#retry: ReturnType<typeof setTimeout> | undefined;
	readonly #ending: (() => void)[] = [];
	readonly #opened = new Map<string, { count: number; close: () => void }>();

	constructor(private readonly options: OfflineOptions) {
		super();
		this.ready = this.#start();
	}

	async get(type: string, id: string | number): Promise<Resource> {
		await this.ready;
		const stored = await this.#db.get('resources', keyOf(type, id));
		const waiting = (await this.#db.getAll('queue')).filter((q) => q.type === type && q.id === String(id));
		const conflicting = waiting.find((q) => q.current);
		return { type, id: String(id), version: stored?.version ?? 0, isPending: waiting.length > 0,
			data: waiting.reduce<Data | null>((data, q) => applied(data, q), stored?.data ?? null),
			conflict: conflicting ? conflictOf(conflicting) : null };
	}

	async list(type: string): Promise<Resource[]> {
		await this.ready;
		const stored = (await this.#db.getAll('resources')).filter((r) => r.type === type).map((r) => r.id);
		const queued = (await this.#db.getAll('queue')).filter((q) => q.type === type).map((q) => q.id);
		const all = await Promise.all([...new Set([...stored, ...queued])].map((id) => this.get(type, id)));
		return all.filter((r) => r.data !== null);
	}

	/** Replaces the resource, or creates it. */
	put(type: string, id: string | number, data: Data): Promise<void> {
		return this.#enqueue(type, id, { op: 'upsert', data });
	}

	/** Changes the fields that are given; null removes one. */
	patch(type: string, id: string | number, data: Data): Promise<void> {
		return this.#enqueue(type, id, { op: 'patch', data });
	}

	delete(type: string, id: string | number): Promise<void> {
		return this.#enqueue(type, id, { op: 'delete' });
	}

	/** Follows one resource until the returned function is called. */
	async open(type: string, id: string | number): Promise<() => void> {
		await this.ready;
		const name = `private-${type}.${id}`;
		const entry = this.#opened.get(name) ?? { count: 0, close: this.#follow(name, type, String(id)) };
		entry.count++;
		this.#opened.set(name, entry);
		return () => {
			if (--entry.count > 0) return;
			this.#opened.delete(name);
			entry.close();
		};
	}

	/** Decides a conflict: with the data to keep, or the server's state. */
	async resolve({ type, id }: Pick<Conflict, 'type' | 'id'>, decision: Data | 'theirs'): Promise<void> {
		const all = (await this.#db.getAll('queue')).filter((q) => q.type === type && q.id === id);
		const first = all.find((q) => q.current);
		if (!first) return;
		const { current } = first;
		await this.#db.put('resources', current!);
		for (const q of all) await this.#db.delete('queue', q.seq!);
		if (decision !== 'theirs') {
			const patch = patchOf(current!.data ?? {}, decision);
			if (current!.data === null) await this.put(type, id, decision);
			else if (Object.keys(patch).length) await this.patch(type, id, patch);
		}
		await this.#changed(type, id);
	}

	/** Sends what waits and reads what is new; also done by itself. */
	async sync(): Promise<void> {
		await this.ready;
		clearTimeout(this.#retry);
		if (this.#isWaiting) return;
		this.#isWaiting = true;
		await navigator.locks.request(`scopewire:sync:${this.#name}`, async () => {
			this.#isWaiting = false;
			try {
				await this.#send();
				await this.#pull();
				this.#failures = 0;
				if (this.#isSignedOut) this.#signedOut(false);      // another tab may have sent the queue
			} catch (error) {
				this.#later(error);
			}
		});
	}

	close(): void {
		for (const end of this.#ending.splice(0)) end();
		for (const { close } of this.#opened.values()) close();
		clearTimeout(this.#retry);
		this.#tabs?.close();
		this.#db?.close();
	}

	async #start(): Promise<void> {
		const { manager, name } = this.options;
		await manager.token().catch(() => {});
		this.#name = name ?? `scopewire:${manager.pusher.key}:${manager.userId ?? ''}`;
		this.#db = await openDB<Schema>(this.#name, 1, { upgrade(db) {
			db.createObjectStore('resources', { keyPath: ['type', 'id'] });
			db.createObjectStore('queue', { keyPath: 'seq', autoIncrement: true });
			db.createObjectStore('meta');
		} });
		this.#clientId = await this.#db.get('meta', 'client') ?? crypto.randomUUID();
		await this.#db.put('meta', this.#clientId, 'client');
		this.#tabs = new BroadcastChannel(this.#name);
		this.#tabs.onmessage = ({ data }: MessageEvent<{ type: string; id: string }>) => {
			this.emit('change', data);
			void this.#count();
		};
		this.#ending.push(whenBack(manager, () => {
			if (this.#failures || this.#isSignedOut) void this.sync();
		}));
		const online = () => void this.sync();
		addEventListener('online', online);
		this.#ending.push(() => removeEventListener('online', online));
		queueMicrotask(() => void this.#count().then(() => this.sync()));
	}

	async #enqueue(type: string, id: string | number, change: Pick<Queued, 'op' | 'data'>): Promise<void> {
		const now = await this.get(type, id);
		await this.#db.add('queue', { mutationId: crypto.randomUUID(), type, id: String(id), ...change,
			base: now.data, version: now.version });
		await this.#changed(type, String(id));
		void this.sync();
	}

	async #changed(type: string, id: string): Promise<void> {
		this.#tabs?.postMessage({ type, id });
		this.emit('change', { type, id });
		await this.#count();
	}

	async #count(): Promise<void> {
		const queued = await this.#db.count('queue');
		this.options.manager.setQueued(queued);
		this.emit('queued', queued);
	}

	#later(error: unknown): void {
		if (error instanceof ApiError && error.isSignedOut) {
			this.#signedOut(true);
			this.#retry = setTimeout(() => void this.sync(), LONGEST_PAUSE_MS);
			return;
		}
		if (error instanceof ApiError && !error.isTemporary) {
			reportError(error);
			return;
		}
		const pause = error instanceof ApiError ? error.retryAfterMs : 0;
		this.#retry = setTimeout(() => void this.sync(), Math.max(pause, backoff(this.#failures++)));
	}

	/** By an answer of the server.  The queue is kept until the user has signed in. */
	#signedOut(isSignedOut: boolean): void {
		this.#isSignedOut = isSignedOut;
		this.options.manager.setSignedOut(isSignedOut);
	}

	/** The longest beginning of the queue with one change of each resource: the next one needs its version. */
	async #batch(): Promise<Queued[]> {
		const held = new Set<string>();
		const batch: Queued[] = [];
		for (const q of await this.#db.getAll('queue')) {
			const name = `${q.type}:${q.id}`;
			if (q.current) {
				held.add(name);       // and all later ones of that resource
				continue;
			}
			if (held.has(name)) continue;
			if (batch.some((b) => b.type === q.type && b.id === q.id) || batch.length === BATCH) break;
			batch.push(q);
		}
		return batch;
	}

	async #send(): Promise<void> {
		for (;;) {
			const batch = await this.#batch();
			if (!batch.length) return;
			const { results } = await postChanges(this.options.manager, {
				client_id: this.#clientId,
				mutations: batch.map((q) => ({ mutation_id: q.mutationId, resource_type: q.type, resource_id: q.id,
					op: q.op, ...(q.data && { data: q.data }), expected_version: q.version })),
			});
			this.#signedOut(false);
			for (const [i, q] of batch.entries()) await this.#decided(q, results[i]!);
		}
	}

	async #decided(q: Queued, result: Result): Promise<void> {
		if (result.status === 200) await this.#accepted(q, result.version ?? q.version);
		else if (result.status === 409 && result.error?.code === 'locked')
			throw new ApiError(429, 'locked', result.error.message, {}, 3000);
		else if (result.status === 409) await this.#conflicting(q, result.current ?? null);
		else {
			await this.#db.delete('queue', q.seq!);
			this.emit('rejected', { type: q.type, id: q.id, code: result.error?.code ?? '', message: result.error?.message ?? '' });
		}
		await this.#changed(q.type, q.id);
	}

	/** The optimistic copy becomes the stored one, and later changes of the resource start from it. */
	async #accepted(q: Queued, version: number): Promise<void> {
		const work = this.#db.transaction(['resources', 'queue'], 'readwrite');
		const resources = work.objectStore('resources');
		const stored = await resources.get(keyOf(q.type, q.id));
		if ((stored?.version ?? 0) < version)
			await resources.put({ type: q.type, id: q.id, version, data: applied(q.base, q), deleted: q.op === 'delete' });
		const queue = work.objectStore('queue');
		await queue.delete(q.seq!);
		for (const later of await queue.getAll())
			if (later.type === q.type && later.id === q.id && later.version < version)
				await queue.put({ ...later, version });
		await work.done;
	}

	/** Changes of different fields, or of different words, are merged; the rest is for the user. */
	async #conflicting(first: Queued, remote: Remote | null): Promise<void> {
		const current: Stored = remote ? fromRemote(remote)
			: { type: first.type, id: first.id, version: 0, data: null, deleted: true };
		const q = await this.#folded(first);
		const mine = applied(q.base, q);
		const isMergeable = mine !== null && current.data !== null;
		const merged = isMergeable ? merge(q.base ?? {}, mine, current.data!) : null;
		if (merged && !merged.conflicts.length) {
			await this.#db.put('resources', current);
			await this.#db.put('queue', { ...q, mutationId: crypto.randomUUID(), op: 'patch', base: current.data,
				data: patchOf(current.data!, merged.data), version: current.version });
			return;
		}
		const conflicting = { ...q, current, conflicts: merged?.conflicts ?? [] };
		await this.#db.put('queue', conflicting);
		this.emit('conflict', conflictOf(conflicting));
	}

	/** All changes of the resource that wait, as one. */
	async #folded(first: Queued): Promise<Queued> {
		const all = (await this.#db.getAll('queue')).filter((q) => q.type === first.type && q.id === first.id);
		const mine = all.reduce<Data | null>(applied, first.base);
		for (const later of all) if (later.seq !== first.seq) await this.#db.delete('queue', later.seq!);
		const { data: _data, ...rest } = first;
		return mine === null ? { ...rest, op: 'delete' } : { ...rest, op: 'upsert', data: mine };
	}

	async #pull(): Promise<void> {
		const { types } = this.options;
		if (!types?.length) return;
		const key = `since:${types.join()}`;
		for (;;) {
			const since = await this.#db.get('meta', key);
			const page = await this.options.manager.api.get<{ changes: Remote[]; has_more: boolean; resync: boolean;
				since: string | null }>('changes', { types: types.join(), limit: 200, since });
			if (page.resync) {
				await this.#db.clear('resources');
				await this.#db.delete('meta', key);
				continue;
			}
			await this.#store(page.changes);
			if (page.since) await this.#db.put('meta', page.since, key);
			if (!page.has_more) return;
		}
	}

	async #store(changes: Remote[]): Promise<void> {
		for (const change of changes.map(fromRemote)) {
			const known = await this.#db.get('resources', keyOf(change.type, change.id));
			if (known && known.version >= change.version) continue;
			await this.#db.put('resources', change);
			await this.#changed(change.type, change.id);
		}
	}

	#follow(name: string, type: string, id: string): () => void {
		const load = async () => {
			try {
				const page = await this.options.manager.api.get<{ changes: Remote[] }>('changes',
					{ resources: `${type}:${id}` });
				await this.#store(page.changes);
			} catch { /* offline: the next connection loads it */ }
		};
		const channel = this.options.manager.channel(name)
			.on('DataChanged', async ({ version }: { version: number }) => {
				const known = await this.#db.get('resources', keyOf(type, id));
				if (!known || known.version < version) await load();
			})
			.onReady(() => void load())
			.onResync(() => void load());
		return () => channel.leave();
	}
}

function applied(data: Data | null, { op, data: change }: Pick<Queued, 'op' | 'data'>): Data | null {
	if (op === 'delete') return null;
	return op === 'upsert' ? change ?? {} : applyPatch(data ?? {}, change ?? {});
}

function conflictOf(q: Queued): Conflict {
	const mine = applied(q.base, q);
	const theirs = q.current?.data ?? null;
	const merged = mine && theirs ? merge(q.base ?? {}, mine, theirs).data : mine ?? theirs ?? {};
	return { type: q.type, id: q.id, mine, theirs, merged, fields: q.conflicts ?? [] };
}
