/* SPDX-License-Identifier: MIT */
#ifndef CORE_CHANNELS_MEMBERS_H
#define CORE_CHANNELS_MEMBERS_H
/*
 * The directory's part in a cluster: what this node reports of its members and subscriptions, and
 * what it has of the other nodes (src/cluster).  Any thread may call any function.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "core/channels/presence.h"

struct app;
struct directory;
struct event;

/* What a node of a cluster reports of its presence channels, and of users who are signed in. */
enum member_report_kind {
	MEMBER_JOINED,	  /* the user has its first connection, or is back within its grace */
	MEMBER_LEAVING,	  /* it has none any more, and its grace begins */
	MEMBER_LEFT,	  /* the same, and its grace has ended */
	MEMBER_WAITS,	  /* only token is new */
	MEMBER_CACHED,	  /* a cache channel has a new event: directory_cached() */
	MEMBER_COUNTED,	  /* the channel's number of subscriptions changed: directory_count_own() */
	MEMBER_WATCHED,	  /* channel is one of users_watch(): it has its first subscription */
	MEMBER_UNWATCHED, /* and the last one has ended */
};

/* Everything is borrowed. */
struct member_report {
	enum member_report_kind kind;
	struct app *app;
	struct str_view channel, user_id;
	struct str_view info; /* JSON text; empty when absent */
	usec_t waited;	      /* MEMBER_LEFT: since its last connection was lost */
	unsigned worker;
	uint64_t token; /* of the subscription that waits for directory_post_joined(); 0: none */
};

/*
 * Makes the directory that of a node in a cluster: only directory_put_member() and
 * directory_drop_member() change which members clients see.  report is called for what this node
 * has itself.  It runs on any thread, under a shard's lock, must not wait, and must not call the
 * directory.  Reports of one channel come in their order.  Call this before the first join.
 */
void directory_share_members(struct directory *d,
			     void (*report)(void *ctx, const struct member_report *r), void *ctx);
/* Whether it is that of a node in a cluster. */
bool directory_is_shared(const struct directory *d);

struct directory_member {
	struct str_view user_id;
	struct str_view info; /* JSON text; empty when absent */
};

/*
 * The user is a member in the cluster, or is none any more; clients are notified of what is new.
 * is_own: because of its connections here.  They return what changed.  See users_put(),
 * users_drop().
 */
enum presence_change directory_put_member(struct directory *d, struct app *app,
					  struct str_view channel,
					  const struct directory_member *who, bool is_own);
enum presence_change directory_drop_member(struct directory *d, struct app *app,
					   struct str_view channel, struct str_view user_id);
/* The members that are not among who[0] to who[n - 1]; the caller frees the array and each id. */
char **directory_other_members(struct directory *d, const struct app *app, struct str_view channel,
			       const struct directory_member *who, size_t n) MUSTCHECK;
/* Whether the user is a member because of its connections here, grace included. */
bool directory_has_own_member(struct directory *d, const struct app *app, struct str_view channel,
			      struct str_view user_id);
/* The subscriptions to the channel on this node.  is_taken: MEMBER_COUNTED is reported when it
 * changes again; before, only the first and the last one are. */
unsigned directory_count_own(struct directory *d, const struct app *app, struct str_view channel,
			     bool is_taken);
/* The subscriptions to the channel on other nodes. */
void directory_count_others(struct directory *d, const struct app *app, struct str_view channel,
			    unsigned n);
/* The last event of a cache channel, counted, or NULL; *age: since it was published or received. */
struct event *directory_cached(struct directory *d, const struct app *app, struct str_view channel,
			       usec_t *age) MUSTCHECK;
/* The other nodes can read the event.  False: the channel has another one, which is reported
 * already. */
bool directory_cached_is_stored(struct directory *d, const struct app *app, struct str_view channel,
				const struct event *e) MUSTCHECK;
/* Events of durability none may have been missed. */
void directory_missed_events(struct directory *d);
/* The subscription with the token does not wait any more; is_full: it is refused, because the
 * channel has too many members. */
void directory_post_joined(struct directory *d, unsigned worker, uint64_t token, bool is_full);
#endif
