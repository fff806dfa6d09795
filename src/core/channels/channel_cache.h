/* SPDX-License-Identifier: MIT */
#ifndef CORE_CHANNELS_CHANNEL_CACHE_H
#define CORE_CHANNELS_CHANNEL_CACHE_H
/*
 * The last event of one cache channel, for the app's cache_ttl.  After a start the event log may
 * hold a last event that the directory does not know; see channel_cache_is_unknown().
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
#endif
