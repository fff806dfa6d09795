/* SPDX-License-Identifier: MIT */
#ifndef CORE_CHANNELS_USERS_H
#define CORE_CHANNELS_USERS_H
/*
 * Users who are signed in, and the watchlists that follow them (protocol A6).
 *
 * Both are channels of the directory whose names no client can use: "!user-ID" has the user as
 * its presence member and the user's connections as its subscriptions; "!watch-ID" has the
 * connections that watch the user.  So a user who reloads a page stays online for the same grace
 * as a presence member.
 *
 * Any thread, but for users_tick().
 */
#include "base/thread.h"
#include "core/channels/directory.h"
#include "core/channels/members.h"

/*
 * Subscribe a connection to the user's channels.  The caller sets app, worker, socket_id and
 * user_id of j, and for a sign-in token; the rest is set here, and the results are those of
 * directory_join(), with the name in j->channel, inside j->key.
 * The first connection of a user notifies its watchers.  j->is_unknown, in a cluster: the state of
 * the watched user follows.  Else it is j->is_online, and each change of it follows.
 */
void users_sign_in(struct directory *d, struct directory_join *j);
void users_watch(struct directory *d, struct directory_join *j);
/*
 * Ends a subscription made by one of them, as directory_leave(); l->channel is the name that j
 * got.  The watchers of a user who is offline now are notified.
 */
void users_leave(struct directory *d, const struct directory_leave *l);
/*
 * In a cluster: as directory_put_member() and directory_drop_member(), for a presence channel or
 * one of users_sign_in(); the watchers of a user who is online or offline now are notified.
 */
void users_put(struct directory *d, struct app *app, struct str_view channel,
	       const struct directory_member *who, bool is_own);
void users_drop(struct directory *d, struct app *app, struct str_view channel,
		struct str_view user_id);
/* The name of the channel of users_sign_in() whose user a channel of users_watch() follows; the
 * caller releases it.  False: it is another channel. */
bool users_watched(struct str_view channel, struct strbuf *name) MUSTCHECK;
/* It is known whether the user of a channel of users_sign_in() is online: watchers who do not know
 * it are notified. */
void users_set_known(struct directory *d, const struct app *app, struct str_view channel);
/* Whether a connection is signed in as the user, or the last one left within the grace. */
bool users_is_online(struct directory *d, const struct app *app, struct str_view user_id);
/*
 * Closes (4009) every connection that is signed in as the user or is on a presence channel as the
 * user.  Returns before they are closed.
 */
void users_terminate(struct directory *d, const struct app *app, struct str_view user_id);
/*
 * Ends the user's subscriptions to private, presence and user channels that match one of the
 * patterns, which have spaces between them; '*' stands for any text.  The client receives
 * pusher:subscription_error with status 403, and its connection stays open.  Returns before that.
 */
void users_revoke(struct directory *d, const struct app *app, struct str_view user_id,
		  struct str_view patterns);
/*
 * Does what is due in the directory: see directory_tick_shard().  Notifies the watchers of users
 * whose grace has ended.  One thread calls it, every 100 to 500 ms.
 */
void users_tick(struct directory *d, usec_t now) RUNS_ON(on_main);
#endif
