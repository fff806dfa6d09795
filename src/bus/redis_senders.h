/* SPDX-License-Identifier: MIT */
#ifndef BUS_REDIS_SENDERS_H
#define BUS_REDIS_SENDERS_H
/*
 * The messages of each sending process have a count that rises.  Messages of a partition come
 * through one server and in their order, so one whose count is not above the last one was sent
 * again by another client of Redis.  For one thread.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "bus/redis_map.h"

/* Processes that are remembered: of more, the one that was silent for longest is forgotten. */
#define REDIS_SENDERS_MAX 256

struct redis_senders {
	struct redis_sender *list; /* the one heard from last first */
	unsigned n;
};

void redis_senders_release(struct redis_senders *s);
/* False: this message, or a later one of the sender, was taken before. */
bool redis_senders_take(struct redis_senders *s, uint64_t sender, unsigned partition,
			uint64_t count) MUSTCHECK;
#endif
