/* SPDX-License-Identifier: MIT */
#ifndef CORE_CHANNELS_UNLOGGED_H
#define CORE_CHANNELS_UNLOGGED_H
/*
 * Events of durability async that were delivered before they are in the event log, in the order
 * of their delivery.  A subscription with "since" gets them in addition to what it reads from the
 * log.  An event stays in the list until the node's position covers its serial, or it turned out
 * that it will not be in the log.
 *
 * Not locked: the directory calls these functions under the shard's lock.
 */
#include "base/annotate.h"
#include "core/event.h"

struct unlogged {
	struct event **list; /* counted */
	size_t first, n, room;
};

/* position, everywhere: the serial up to which this node has delivered the log. */

/* A zeroed struct is an empty list. */
void unlogged_release(struct unlogged *u);
/* Takes a reference of its own. */
void unlogged_add(struct unlogged *u, struct event *e, uint64_t position);
/* Drops the oldest events that need not be in the list any more. */
void unlogged_prune(struct unlogged *u, uint64_t position);
/* The events of one channel: counted, in a heap array (NULL when there are none).  Returns their
 * number. */
unsigned unlogged_of_channel(const struct unlogged *u, const struct app *app,
			     struct str_view channel, uint64_t position, struct event ***out);
#endif
