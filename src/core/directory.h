/* SPDX-License-Identifier: MIT */
#ifndef CORE_DIRECTORY_H
#define CORE_DIRECTORY_H
/*
 * What the workers share about channels: who has how many subscriptions, presence members,
 * the last event of cache channels, signed-in users.  Workers keep their own subscribers
 * (core/registry.h) and touch each other only through here and through mail.
 *
 * Locks: channels are spread over shards, each with one mutex held for a few microseconds,
 * never while a socket or a database is used.  Every message to a channel gets the channel's
 * next sequence number and is posted to the workers' mailboxes under the shard's lock, so all
 * workers see one order; a subscription remembers the number at its join and skips what was
 * posted before (it is in the roster or the cache it got).
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "core/event.h"
#include "wire/channel_name.h"

struct directory;

#define DIRECTORY_MAX_WORKERS 64

/* Fan-out of an event on this node, from any thread.  Takes no reference of the caller's. */
void directory_fan_out(struct directory *d, struct event *e);

struct channel_info {
	bool occupied;
	unsigned subscription_count;
	unsigned user_count; /* presence */
	bool has_cache;
	char *cache_data;     /* heap, when has_cache: the event's data */
	unsigned cache_ttl_s; /* seconds left */
};
void channel_info_release(struct channel_info *i);
/* All zero when nobody is there.  Any thread. */
void directory_channel_info(struct directory *d, const struct app *app, struct str_view channel,
			    struct channel_info *out);
/* Calls fn for each occupied channel of app whose name starts with prefix, in no order; fn must not
 * call the directory. */
void directory_each_channel(struct directory *d, const struct app *app, struct str_view prefix,
			    void (*fn)(void *ctx, struct str_view channel,
				       unsigned subscription_count, unsigned user_count),
			    void *ctx);
/* Each member of a presence channel. */
void directory_each_member(struct directory *d, const struct app *app, struct str_view channel,
			   void (*fn)(void *ctx, struct str_view user_id), void *ctx);
/* Closes (4009) every connection of app that signed in as user_id or, when none did, that is on a
 * presence channel as that user.  Returns at once. */
void directory_terminate_user(struct directory *d, const struct app *app, struct str_view user_id);
#endif
