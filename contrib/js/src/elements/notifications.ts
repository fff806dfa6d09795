// SPDX-License-Identifier: MIT
import { errorOf } from '../api.js';
import { csrf } from '../csrf.js';
import type { RealtimeManager } from '../manager.js';

export interface Notification {
	id: string;
	type: string;
	title: string;
	message: string | null;
	data: Record<string, unknown> | null;
	read_at: string | null;
	created_at: string;
}

export interface NotificationPage {
	notifications: Notification[];
	unread: number;
	next_cursor: string | null;
}

/** Where the bell reads: the daemon's table, or the application's own through an adapter. */
export interface NotificationSource {
	load(options: { cursor?: string | undefined; unread?: boolean }): Promise<NotificationPage>;
	/** Marks those, or all, as read; returns the unread count. */
	read(ids: string[] | 'all'): Promise<number>;
}

export function daemonNotifications({ api }: RealtimeManager): NotificationSource {
	return {
		load: ({ cursor, unread }) => api.get('notifications', { limit: 20, cursor, ...(unread && { unread }) }),
		read: async (ids) => (await api.post<{ unread: number }>('notifications/read',
			ids === 'all' ? { all: true } : { ids })).unread,
	};
}

/** The application's own table: an endpoint in the daemon's format, such as /scopewire/notifications of scopewire/laravel. */
export function endpointNotifications(manager: RealtimeManager, url: string): NotificationSource {
	const call = async <T>(address: URL | string, init: RequestInit = {}): Promise<T> => {
		const response = await manager.fetch(address, { ...init,
			headers: { Accept: 'application/json', 'Content-Type': 'application/json', ...csrf() } });
		if (!response.ok) throw await errorOf(response);
		return await response.json() as T;
	};
	return {
		load: ({ cursor, unread }) => {
			const address = new URL(url, location.href);
			if (cursor) address.searchParams.set('cursor', cursor);
			if (unread) address.searchParams.set('unread', 'true');
			return call(address);
		},
		read: async (ids) => (await call<{ unread: number }>(`${url}/read`, { method: 'POST',
			body: JSON.stringify(ids === 'all' ? { all: true } : { ids }) })).unread,
	};
}

/** What Echo's .notification() receives, as the API lists it. */
export function fromBroadcast(payload: Record<string, any>): Notification {
	const { id, type, title, message, body, created_at, ...data } = payload;
	return { id: String(id), type, title: title ?? '', message: message ?? body ?? null, data,
		read_at: null, created_at: created_at ?? new Date().toISOString() };
}

export const CREATED = 'Illuminate\\Notifications\\Events\\BroadcastNotificationCreated';

/** The address that a notification leads to. */
export function addressOf({ data }: Notification): string | null {
	const url = data?.url ?? data?.action_url ?? data?.link;
	return typeof url === 'string' && /^(https?:|\/(?!\/))/.test(url) ? url : null;
}
