/* SPDX-License-Identifier: MIT */
#ifndef LOG_BATCH_H
#define LOG_BATCH_H
/* Event batches in order, linked by their letters.  Of one thread. */
#include "core/event.h"

struct batch_list {
	struct event_batch *head, *tail;
	unsigned count;
};

struct event_batch *batch_next(const struct event_batch *b);
void batch_list_push(struct batch_list *l, struct event_batch *b);
/* The first, taken out; NULL when empty. */
struct event_batch *batch_list_pop(struct batch_list *l);
/* Moves all of more to the front of l, order kept. */
void batch_list_prepend(struct batch_list *l, struct batch_list *more);
/* Takes out each batch whose deadline is over and gives it to fn. */
void batch_list_expire(struct batch_list *l, usec_t now,
		       void (*fn)(void *ctx, struct event_batch *b), void *ctx);

/*
 * A batch is answered while its commit is still under way: a stand-in keeps its events (own
 * references) in its place, so that they are delivered should they turn out to be committed, and
 * never written otherwise.
 */
void batch_list_answer_late(struct batch_list *l, usec_t now);
bool batch_is_stand_in(const struct event_batch *b);
#endif
