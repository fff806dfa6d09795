/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSIONS_SIGNIN_H
#define CORE_SESSIONS_SIGNIN_H
/* Whose connection it is. */
#include "core/sessions/session-private.h"
#include "wire/pusher.h"

/* Signs the user in and watches the users of the watchlist, or sends the error. */
void session_on_signin(struct session *s, const struct client_frame *f) RUNS_ON(on_worker);
/* Notes whose connection it is, for the API: by sign-in, or as a presence member. */
void session_identify(const struct session *s, struct str_view user_id, bool is_signin)
	RUNS_ON(on_worker);
#endif
