/* SPDX-License-Identifier: MIT */
#ifndef CORE_CHANNELS_CHANNEL_CACHE_H
#define CORE_CHANNELS_CHANNEL_CACHE_H
/*
 * The last event of one cache channel, for the app's cache_ttl.  After a start the event log may
 * hold a last event that the directory does not know; see channel_cache_is_unknown().
 *
 * In a cluster, events of durability none may have been missed at any time.  Their last one is in
 * the database (sql/migrations/0032_cluster_cache.sql): the node that published it reports it
 * there, and others read it; see channel_cache_is_checked().
 *
 * Not locked: the directory calls these functions under the shard's lock.
 */
#include <stdbool.h>
#include "base/clock.h"
#include "core/event.h"

struct channel_cache {
	struct event *event; /* counted, or NULL */
	usec_t until;	     /* monotonic, when event expires */
	bool is_log_read;    /* the log was read for this channel since the start */
	bool is_reported;    /* MEMBER_CACHED, and event is not in the database yet */
	usec_t wanted_at;    /* monotonic, when the first of this node's subscriptions began */
	usec_t checked_at;   /* monotonic, before the database was read; 0: it was not */
};

/* The last event as the log or the database has it. */
struct cache_reading {
	struct event *event; /* NULL: there is none */
	usec_t left;	     /* until it expires */
	usec_t began;	     /* monotonic, before it was read */
};

/* A zeroed struct is an empty cache. */
void channel_cache_release(struct channel_cache *c);
/* Takes a reference of its own. */
void channel_cache_put(struct channel_cache *c, struct event *e, usec_t until);
void channel_cache_clear(struct channel_cache *c);
bool channel_cache_is_fresh(const struct channel_cache *c, usec_t now);
/*
 * True when the log must be read to know the channel's last event: the cache is empty, and the
 * daemon started less than ttl_s ago.  c: NULL for a channel that the directory does not know.
 */
bool channel_cache_is_unknown(const struct channel_cache *c, unsigned ttl_s, usec_t started,
			      usec_t now);
/*
 * In a cluster, of a channel with events of durability none: whether the node has received all of
 * them since it read the database, as far as it knows.  It has subscriptions to the channel, and
 * had them before; missed_at: when the bus last may have missed messages.
 */
bool channel_cache_is_checked(const struct channel_cache *c, usec_t missed_at, usec_t now);
/* Whether r has a newer event than the cache. */
bool channel_cache_is_older(const struct channel_cache *c, const struct cache_reading *r,
			    usec_t now);
#endif
