/* SPDX-License-Identifier: MIT */
#ifndef BUS_REDIS_MAP_H
#define BUS_REDIS_MAP_H
/*
 * Which server has which channels.  Channels are spread over REDIS_PARTITIONS by a hash, and the
 * name of a channel in Redis has the tag of its partition in braces, so that in a Redis Cluster a
 * partition is in one slot.  The slot of partition i is 128 * i + 64, or at most 2 beside it: so
 * the partitions are spread evenly over any number of servers that share the slots evenly.
 */
#include <hiredis.h>
#include "base/annotate.h"
#include "base/str.h"

#define REDIS_PARTITIONS 128
#define REDIS_SLOTS	 16384
#define REDIS_TAG_SIZE	 8
#define REDIS_PLACES_MAX 1000
#define REDIS_NOWHERE	 (-1)

struct redis_tags {
	char of[REDIS_PARTITIONS][REDIS_TAG_SIZE];
	unsigned slots[REDIS_PARTITIONS]; /* of the tags */
};

/* The same on every machine. */
void redis_tags_init(struct redis_tags *t);
/* The slot of a key: of what is between its first braces, if there is something. */
unsigned redis_slot(struct str_view key);
/* The partition of "APP:CHANNEL". */
unsigned redis_partition(struct str_view app_and_channel);

struct redis_place {
	char *host; /* heap */
	unsigned port;
};

struct redis_map {
	struct redis_place *places; /* servers that have slots, and can be written to */
	unsigned n;
	int of[REDIS_PARTITIONS]; /* index of the partition's place, or REDIS_NOWHERE */
};

/* All partitions at one place. */
void redis_map_of_one(struct redis_map *m, const char *host, unsigned port);
/*
 * Reads the answer of CLUSTER SLOTS.  from: the server that gave it, which can leave its own host
 * out.  False: it is malformed, or has no place; then *out is not set.
 */
bool redis_map_read(const redisReply *slots, const struct redis_place *from,
		    const struct redis_tags *tags, struct redis_map *out) MUSTCHECK;
void redis_map_release(struct redis_map *m);
#endif
