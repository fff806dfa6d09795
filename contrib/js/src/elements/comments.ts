// SPDX-License-Identifier: MIT
import { ApiError, errorOf } from '../api.js';
import { csrf } from '../csrf.js';
import type { RealtimeManager } from '../manager.js';
import type { Person } from './base.js';

export interface Comment {
	id: string | number;
	body: string;
	user: Person | null;
	created_at: string;
	/** What the sender gave it, so that its copy is recognized. */
	client_ref?: string | null;
}

export interface CommentPage { comments: Comment[]; next_cursor: string | null }

/** Where comments are stored.  Newest first. */
export interface CommentSource {
	load(cursor?: string): Promise<CommentPage>;
	/** clientRef is the same when the comment is sent again, which is done by itself unless the error has a status
	 *  that makes it useless, such as 422. */
	send(body: string, clientRef: string): Promise<Comment>;
}

async function json<T>(request: Promise<Response>): Promise<T> {
	const response = await request.catch(() => { throw new ApiError(0, 'network', 'the server cannot be reached'); });
	if (!response.ok) throw await errorOf(response);
	return await response.json() as T;
}

/**
 * The application's own endpoint: GET gives {comments | data, next_cursor?}, POST {body, client_ref} gives
 * {comment | data} or the comment.
 */
export function endpointComments(manager: RealtimeManager, url: string): CommentSource {
	return {
		async load(cursor) {
			const address = new URL(url, location.href);
			if (cursor) address.searchParams.set('cursor', cursor);
			const page = await json<{ comments?: Comment[]; data?: Comment[]; next_cursor?: string | null }>(
				manager.fetch(address, { headers: { Accept: 'application/json' } }));
			return { comments: page.comments ?? page.data ?? [], next_cursor: page.next_cursor ?? null };
		},
		async send(body, client_ref) {
			const answer = await json<{ comment?: Comment; data?: Comment } & Comment>(manager.fetch(url, {
				method: 'POST', body: JSON.stringify({ body, client_ref }),
				headers: { Accept: 'application/json', 'Content-Type': 'application/json',
					'Idempotency-Key': client_ref, ...csrf() } }));
			return answer.comment ?? answer.data ?? answer;
		},
	};
}

interface Activity {
	id: number; description: string | null; user: Person | null; user_id: number | string | null;
	created_at: string; metadata: { client_ref?: string } | null;
}

export const commentOf = (a: Activity): Comment => ({ id: a.id, body: a.description ?? '',
	user: a.user ?? { id: a.user_id, name: null }, created_at: a.created_at, client_ref: a.metadata?.client_ref ?? null });

export const COMMENT_TYPE = 'comment_added';

/** Without an endpoint: activities of the type comment_added of the subject, which the option
 *  sync.user_activity_types must allow. */
export function activityComments({ api }: RealtimeManager, subject: { type: string; id: string },
	scope: Record<string, string>): CommentSource {
	const filter = { feed: 'subject', subject_type: subject.type, subject_id: subject.id, type: COMMENT_TYPE };
	return {
		async load(cursor) {
			const page = await api.get<{ activities: Activity[]; next_cursor: string | null }>('activities',
				{ ...filter, limit: 30, cursor });
			return { comments: page.activities.map(commentOf), next_cursor: page.next_cursor };
		},
		async send(body, client_ref) {
			const { activity } = await api.post<{ activity: Activity }>('activities', { type: COMMENT_TYPE,
				description: body, subject_type: subject.type, subject_id: subject.id,
				metadata: { ...scope, client_ref } }, { idempotencyKey: client_ref });
			return commentOf(activity);
		},
	};
}
