/* SPDX-License-Identifier: MIT */
#ifndef LOG_QUEUE_H
#define LOG_QUEUE_H
/*
 * Batches on their way to the log writer: a mailbox with bounds (database.queue_events and
 * queue_bytes) that wakes the writer only when it waits for what arrives.
 */
#include "base/wake.h"
#include "conf/conf.h"
#include "log/batch.h"

struct log_queue;

/* conf outlives it. */
struct log_queue *log_queue_new(const struct conf_database *conf) MUSTCHECK;
void log_queue_free(struct log_queue *q); /* NULL is fine */
/* What the writer waits for (not owned); before the first append. */
void log_queue_set_wake(struct log_queue *q, struct wake *wake);

/* -- publishers; any thread -- */

/*
 * Takes the batch.  0; -EAGAIN when the queue is full; -EHOSTDOWN when the queue is closed, or the
 * batch waits for its commit and the database has been away longer than commit_timeout_ms.  On an
 * error the batch stays the caller's.
 */
int log_queue_append(struct log_queue *q, struct event_batch *b) MUSTCHECK;
/*
 * Counts the batch against the bounds before its events are delivered, so that what is delivered
 * can be logged: 0, or -EAGAIN.  log_queue_append() follows, or log_queue_unreserve().
 */
int log_queue_reserve(struct log_queue *q, struct event_batch *b) MUSTCHECK;
void log_queue_unreserve(struct log_queue *q, struct event_batch *b);
/* Events that are queued or being written. */
unsigned log_queue_events(const struct log_queue *q);

/* -- the log writer's thread -- */

/* What the writer does, for publishers that may have to wake it. */
enum log_queue_state {
	LOG_AWAKE,
	LOG_SLEEPING,  /* any batch wakes it */
	LOG_GATHERING, /* a batch that waits for its commit wakes it */
	LOG_LINGERING, /* the last of the batches that it waits for wakes it */
};

/* Moves all batches to the end of to; whether there were any. */
bool log_queue_take(struct log_queue *q, struct batch_list *to);
/* Call log_queue_take() after it: what was appended before the state changed woke no one. */
void log_queue_set_state(struct log_queue *q, enum log_queue_state state);
/* LOG_LINGERING until this number of batches that wait for their commit has come. */
void log_queue_linger(struct log_queue *q, unsigned batches);
/* Whether batches are still missing, once these (taken since log_queue_linger()) have come. */
bool log_queue_is_missing(struct log_queue *q, unsigned came);
/* Answers the batch, which leaves the queue's count. */
void log_queue_finish(struct log_queue *q, struct event_batch *b, int rc);
/* Sets since when the database is unavailable (mono); 0: it is available.  Returns the earlier
 * value. */
usec_t log_queue_set_away(struct log_queue *q, usec_t since);
usec_t log_queue_away(const struct log_queue *q);

/* The stop: from now on nothing can be appended.  Any thread. */
void log_queue_close(struct log_queue *q);
#endif
