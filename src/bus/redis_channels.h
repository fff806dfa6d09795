/* SPDX-License-Identifier: MIT */
#ifndef BUS_REDIS_CHANNELS_H
#define BUS_REDIS_CHANNELS_H
/*
 * The channels that this node wants from Redis.  A channel that is not wanted any more is left
 * after some seconds, because clients that reload a page come back.  For one thread.
 */
#include "base/clock.h"
#include "base/map.h"
#include "bus/redis_map.h"

struct redis_channel {
	char *name; /* heap: the name in Redis */
	unsigned partition;
	unsigned n_wanted; /* several channels can have the same name in Redis */
	bool is_sent;	   /* the command to subscribe was sent */
	bool is_confirmed; /* the server has answered it */
	bool is_leaving;   /* in the list of the next member */
	usec_t leave_at;   /* mono */
	struct redis_channel *next_leaving;
	struct redis_channel *next, *prev; /* of the partition: those that were not sent first */
};

struct redis_channels {
	struct map by_name;
	struct redis_channel *of[REDIS_PARTITIONS];
	struct redis_channel *leaving, **leaving_end; /* the oldest first */
	unsigned n_confirmed;
};

void redis_channels_init(struct redis_channels *c);
void redis_channels_release(struct redis_channels *c);
struct redis_channel *redis_channels_find(const struct redis_channels *c, struct str_view name);
/* One more wants it.  True: it is new in the list of its partition. */
bool redis_channels_want(struct redis_channels *c, struct str_view name, unsigned partition)
	MUSTCHECK;
/* One fewer wants it. */
void redis_channels_leave(struct redis_channels *c, struct str_view name, usec_t now);
/* Its server has answered. */
void redis_channels_confirm(struct redis_channels *c, struct redis_channel *ch);
/* The next channel that was not wanted for long enough, for redis_channel_free(); or NULL. */
struct redis_channel *redis_channels_take_left(struct redis_channels *c, usec_t now) MUSTCHECK;
void redis_channel_free(struct redis_channel *ch);
/* All channels of the partition have to be subscribed to again. */
void redis_channels_unsend(struct redis_channels *c, unsigned partition);
#endif
