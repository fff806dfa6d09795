/* SPDX-License-Identifier: MIT */
#ifndef CORE_CHANNELS_DIRECTORY_H
#define CORE_CHANNELS_DIRECTORY_H
/*
 * What the workers share about channels: which workers have subscribers, presence members, the
 * last event of cache channels, and the position in the event log.  Each worker keeps its own
 * subscribers (core/sessions/registry.h).  Workers reach each other only through the directory,
 * which puts messages into their mailboxes.
 *
 * Channels are spread over shards, each with one mutex; see the head of directory-private.h.  Any
 * thread may call any function unless its comment restricts it.  What only a node of a cluster
 * uses is in members.h.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "core/channel_key.h"
#include "core/event.h"
#include "core/channels/channel_cache.h"
#include "core/channels/presence.h"
#include "core/transition.h"
#include "core/worker_message.h"
#include "wire/channel_name.h"
#include "wire/position.h"

struct directory;
struct live_tail;

#define DIRECTORY_MAX_WORKERS 64
#define DIRECTORY_SHARDS      64

struct directory *directory_new(unsigned n_workers, const struct directory_post *post) MUSTCHECK;
/* No other thread uses d any more. */
void directory_free(struct directory *d);
/*
 * Sets the function that is called when a user becomes a member of a presence channel or signs in
 * (is_here), and when that ends after its grace: once for each channel.  It runs on any thread,
 * under a shard's lock, and must not call the directory.  Call this before the first join.
 */
void directory_watch_users(struct directory *d,
			   void (*changed)(void *ctx, struct app *app, struct str_view user_id,
					   bool is_here),
			   void *ctx);

/*
 * Sets the function that is called for each transition.  It runs on any thread, mostly under a
 * shard's lock, must not wait, and must not call the directory.  The transitions of one channel
 * come in their order.  In a cluster, those of channels, members and counts are decided in the
 * database and are not reported here.  Call this before the first join.
 */
void directory_watch_transitions(struct directory *d,
				 void (*on_transition)(void *ctx, const struct transition *t),
				 void *ctx);
/*
 * Sets the function that is called when a channel gets its first subscription on this node
 * (is_wanted) and when it loses its last one, internal channels included.  As above; the calls for
 * one channel come in their order.
 */
void directory_watch_channels(struct directory *d,
			      void (*changed)(void *ctx, const struct app *app,
					      struct str_view channel, bool is_wanted),
			      void *ctx);
/*
 * Sets the function that users_terminate() and users_revoke() call, on any thread and without a
 * lock; it must not wait.  Call this before the first join.
 */
void directory_watch_ended(struct directory *d,
			   void (*on_ended)(void *ctx, const struct app *app,
					    struct str_view user_id),
			   void *ctx);
/* Calls that function. */
void directory_report_ended(struct directory *d, const struct app *app, struct str_view user_id);
/* Calls the function of directory_watch_transitions() for a transition that the caller saw. */
void directory_report(struct directory *d, const struct transition *t);

/* Sets the live tail that is shown each event.  Call this before the first join. */
void directory_set_live_tail(struct directory *d, struct live_tail *t);

/* ---- subscriptions ---- */

struct directory_join {
	/* in */
	struct app *app;
	struct str_view channel; /* can be internal: channel_is_internal() */
	struct channel_traits traits;
	unsigned worker;
	uint64_t socket_id;
	struct str_view user_id;   /* presence only */
	struct str_view user_info; /* JSON text; empty when absent */
	bool wants_unlogged;
	uint64_t token; /* in a cluster, of a presence channel: for directory_post_joined() */
	/* out */
	bool is_waiting;       /* the rest is not set: see directory_admit() */
	struct msgbuf *key;    /* counted */
	uint64_t seq;	       /* messages up to this one are contained in roster and cached */
	struct msgbuf *roster; /* counted; the presence data as JSON text, or NULL */
	struct event *cached;  /* counted; the cache channel's last event, or NULL */
	bool is_cache_unknown; /* the log or, in a cluster, the database may have a newer event */
	bool is_cache_shared;  /* with other nodes, which may have published a newer one already */
	bool is_new_member;    /* presence: the user was no member; never in a cluster */
	bool is_unknown;       /* of users_watch(): whether the user is online; else ... */
	bool is_online;	       /* ... this is the state, and each change of it follows */
	/* Every logged event of the channel up to this serial was delivered to the workers before
	 * the join, and none above it, ... */
	uint64_t position;
	/* ... except these: async events that were delivered and have no serial up to position
	 * yet.  Oldest first; each is counted, the array is heap. */
	struct event **unlogged;
	unsigned n_unlogged;
};
/* Counts a subscription in.  0, or -EDQUOT at the presence member limit (nothing changed). */
int directory_join(struct directory *d, struct directory_join *j) MUSTCHECK;
/*
 * For a subscription that was waiting, with the same values and the key: the results of the join.
 * If the user is not a member yet, it is from now on.
 */
void directory_admit(struct directory *d, struct directory_join *j);

struct directory_leave {
	/* the same values as at the join */
	struct app *app;
	struct str_view channel;
	struct channel_traits traits;
	unsigned worker;
	struct str_view user_id;
	bool is_lost; /* the connection ended: the user may return within its grace */
};
/* Counts a subscription out.  True: the user is no presence member any more; never in a cluster. */
bool directory_leave(struct directory *d, const struct directory_leave *l);

/* An internal channel's member whose grace has ended. */
struct directory_gone {
	struct directory_gone *next;
	struct app *app; /* counted */
	char *user_id;	 /* heap */
};
/*
 * Does what is due in one shard (0 to DIRECTORY_SHARDS - 1): removes members whose grace has
 * ended and expired cached events, and sends delayed subscription counts.  Returns the internal
 * members that it removed; the caller frees them.  See users_tick().
 */
struct directory_gone *directory_tick_shard(struct directory *d, unsigned shard, usec_t now)
	MUSTCHECK;

/* ---- messages to channels ---- */

/* Delivers an event to the workers of this node.  Takes no reference of the caller's. */
void directory_fan_out(struct directory *d, struct event *e);
/* Sends a frame that is no event, such as a client event, to all subscribers but exclude.  Returns
 * the workers that have some, one bit each. */
uint64_t directory_send(struct directory *d, const struct app *app, struct str_view channel,
			struct msgbuf *frame, uint64_t exclude);
/* Closes (4009) the connections of app that are signed in or on any presence channel as user_id. */
void directory_close_user(struct directory *d, const struct app *app, struct str_view user_id);
/* Closes (4009) one connection, if it is one of this node and still open. */
void directory_close_socket(struct directory *d, uint64_t socket_id);
/* Ends the subscriptions of these connections, and of those that hub_conf's is_socket_of() names,
 * to channels that match one of the patterns; see users_revoke(). */
void directory_revoke(struct directory *d, const struct app *app, struct str_view user_id,
		      struct str_view patterns);
/* Ends the subscriptions that have the grant: see core/sessions/registry.h. */
void directory_end_grant(struct directory *d, uint64_t grant);
/*
 * True while the messages that wait for the workers have more than DIRECTORY_MESSAGES_MAX_BYTES:
 * the workers deliver more slowly than events arrive, and publishers must retry later.
 */
bool directory_is_behind(struct directory *d);
#define DIRECTORY_MESSAGES_MAX_BYTES ((size_t)64 << 20)

/* ---- load: see base/worker_load.h ---- */

/* Adds what a message to the channel would add now. */
void directory_add_share(struct directory *d, const struct app *app, struct str_view channel,
			 struct load_share *share);
struct worker_loads *directory_loads(struct directory *d);

/* ---- the event log ---- */

/* The position up to which the log was delivered to the workers.  The epoch is "" until the first
 * directory_log_reached(). */
void directory_position(struct directory *d, struct position *out);
/* The log was delivered up to p, whether this node had subscribers for its events or not. */
void directory_log_reached(struct directory *d, const struct position *p);
/* Sends the page to the worker that requested it; takes the reference. */
void directory_post_page(struct directory *d, unsigned worker, uint64_t token,
			 struct log_page *page);
/* The last event of a cache channel was read; it does not replace a newer one.  Returns the
 * channel's last event, counted, or NULL. */
struct event *directory_cache_put(struct directory *d, struct app *app, struct str_view channel,
				  const struct cache_reading *r) MUSTCHECK;

/* ---- users who are signed in, and those who watch them: see users.c ---- */

/* Whether the user of a channel of users_sign_in() is online. */
struct user_state {
	bool is_online;
	uint64_t seq; /* of the user's shard: another state that is read later has a higher one */
};
void directory_user_state(struct directory *d, const struct app *app, struct str_view channel,
			  struct user_state *out);
/* A user, and the channel of users_watch() that has the user's state. */
struct user_watched {
	const struct app *app;
	struct str_view channel, user_id;
	bool has_joined; /* a subscription is the caller's: it gets the result, not the message */
};
/*
 * Makes state that of the channel, unless it has a newer one, and sends it to the subscribers when
 * that changes it, or they have none.  Returns the state of the channel, with seq as in
 * struct directory_join; all zero without subscriptions.
 */
struct user_state directory_set_state(struct directory *d, const struct user_watched *of,
				      const struct user_state *state);

/* ---- queries ---- */

/* In a cluster: with the other nodes' subscriptions and members, if this node has a subscription.
 */
struct channel_info {
	bool is_occupied;
	unsigned subscription_count;
	unsigned user_count; /* presence */
	bool has_cache;
	char *cache_data;      /* heap, when has_cache: the event's data */
	unsigned cache_ttl_s;  /* seconds left */
	bool is_cache_unknown; /* as in struct directory_join */
};
void channel_info_release(struct channel_info *i);
/* All zero for a channel without subscriptions, members and cached event. */
void directory_channel_info(struct directory *d, const struct app *app, struct str_view channel,
			    struct channel_info *out);
/* Calls fn for each occupied channel of app whose name starts with prefix, in no order; users' own
 * channels are left out.  fn runs under a shard's lock and must not call the directory. */
void directory_each_channel(struct directory *d, const struct app *app, struct str_view prefix,
			    void (*fn)(void *ctx, struct str_view channel,
				       unsigned subscription_count, unsigned user_count),
			    void *ctx);
/* The same for each member of a presence channel. */
void directory_each_member(struct directory *d, const struct app *app, struct str_view channel,
			   void (*fn)(void *ctx, struct str_view user_id), void *ctx);
#endif
