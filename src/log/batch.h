/* SPDX-License-Identifier: MIT */
#ifndef LOG_BATCH_H
#define LOG_BATCH_H
/*
 * Events that are written together and answered together, and lists of such batches.
 *
 * A batch belongs to one thread at a time: the publisher's until log_queue_append(), then the log
 * writer's.  Lists are for one thread.
 */
#include "base/annotate.h"
#include "core/event.h"

/* An idempotency key, written in the transaction of the batch's events. */
struct event_key {
	struct str_view app, key; /* the application's id; what the publisher chose */
	struct str_view digest;	  /* of the request, hex */
	struct str_view answer;	  /* that the publisher gets, now and when it retries */
	struct str_view event_id; /* of the first event; a new id when there are no events */
};

struct event_batch {
	struct mailbox_entry entry;
	usec_t deadline;  /* mono; of the answer.  0: none, the publish was answered (async) */
	size_t bytes;	  /* for the queue's bound */
	bool is_reserved; /* the queue has counted it already */
	/*
	 * Called exactly once, on the log writer's thread; frees the batch.
	 * 0: all rows are committed; -EHOSTDOWN: nothing is or will be written; -EINVAL: the
	 * database refused an event's content; -EEXIST: the key exists, nothing was written;
	 * -ETIMEDOUT: the deadline passed before the outcome was known.  What was not sent by
	 * then is never written; what turns out to be committed is still delivered, later.
	 */
	void (*done)(struct event_batch *b, int rc);
	void *ctx;
	bool wants_fan_out; /* deliver after the commit; false (async): that was done before */
	const struct event_key *key; /* or NULL; valid until done.  A batch may have only this */
	unsigned n;
	struct event **events; /* references owned by the batch */
};

/* room events at most.  The batch and its array are one block. */
struct event_batch *batch_new(unsigned room, bool fan_out) MUSTCHECK;
/* Takes the reference. */
void batch_add(struct event_batch *b, struct event *e);
void batch_free(struct event_batch *b); /* drops the events' references; NULL is fine */

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
/* Takes out each batch whose deadline has passed and passes it to fn. */
void batch_list_expire(struct batch_list *l, usec_t now,
		       void (*fn)(void *ctx, struct event_batch *b), void *ctx);

/*
 * Answers each batch whose deadline has passed with -ETIMEDOUT while its commit is under way.  A
 * stand-in takes its place with references to its events, so that they are delivered if they turn
 * out to be committed, and are never written otherwise.
 */
void batch_list_answer_late(struct batch_list *l, usec_t now);
bool batch_is_stand_in(const struct event_batch *b);
#endif
