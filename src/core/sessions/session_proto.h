/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSIONS_SESSION_PROTO_H
#define CORE_SESSIONS_SESSION_PROTO_H
/* What a client's messages do (protocol A2 to A6). */
#include "core/sessions/session-private.h"

/* Does what one whole message requests, and answers it. */
void session_handle(struct session *s, struct str_view message) RUNS_ON(on_worker);
/* Ends all subscriptions of the session, watches and sign-in too. */
void session_leave_all(struct session *s) RUNS_ON(on_worker);
/* Ends the subscriptions that users_revoke() is about, of a connection of the user. */
void session_revoke(struct session *s, struct str_view user_id, struct str_view patterns)
	RUNS_ON(on_worker);
/* Notifies clients of tokens that expire, and ends subscriptions whose tokens have expired. */
void sessions_expire(struct hub *h) RUNS_ON(on_worker);
/* The subscription with this token does not wait any more; is_refused: the channel has too many
 * members. */
void session_joined(struct hub *h, uint64_t token, bool is_refused) RUNS_ON(on_worker);
/* Lets subscriptions succeed that have waited too long. */
void sessions_admit(struct hub *h) RUNS_ON(on_worker);
/* Ends a subscription whose user lost the right to its channel. */
void session_end_granted(struct subscription *sub) RUNS_ON(on_worker);
#endif
