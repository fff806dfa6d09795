/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSIONS_SIGNIN_H
#define CORE_SESSIONS_SIGNIN_H
/* Whose connection it is. */
#include "core/sessions/session-private.h"
#include "wire/pusher.h"

/* What the client receives when a sign-in succeeds. */
struct signing_in {
	char *user_data; /* heap */
	struct presence_member who;
	uint64_t token; /* of the directory's join */
};

/*
 * Signs the user in and watches the users of the watchlist, or sends the error.  Not NULL, in a
 * cluster: the caller calls session_signed_in() when the other nodes can know that the user is
 * online, and frees it.
 */
struct signing_in *session_sign_in(struct session *s, const struct client_frame *f)
	MUSTCHECK RUNS_ON(on_worker);
/* The sign-in does not wait any more. */
void session_signed_in(struct session *s, const struct signing_in *in) RUNS_ON(on_worker);
void signing_in_free(struct signing_in *in);
/* Notes whose connection it is, for the API: by sign-in, or as a presence member. */
void session_identify(const struct session *s, struct str_view user_id, bool is_signin)
	RUNS_ON(on_worker);
#endif
