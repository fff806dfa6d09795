/* SPDX-License-Identifier: MIT */
#ifndef LOG_WRITER_H
#define LOG_WRITER_H
/*
 * The db writer: one thread, one libpq connection, group commit of event batches, and the
 * delivery records behind them.  A batch goes as soon as the commit before it returned.
 * Serials are given under the advisory lock "serials" and only there.
 * A batch whose commit outcome is unknown is looked up by event_id before it is retried.
 */
#include "base/annotate.h"
#include "conf/conf.h"
#include "core/event.h"

struct eventlog;
struct log_tail;

struct eventlog_hooks {
	/*
	 * A batch with fan_out set is committed, its events' serials are set: hand them to the
	 * sockets.  On the log's thread or the relay's, one at a time, in serial order, before
	 * the batch's done is called.
	 */
	void (*fan_out)(void *ctx, struct event_batch *b);
	void *ctx;
};

struct eventlog_stats {
	uint64_t events, commits, failed_batches, reconnects, deliveries;
	unsigned queued_events;
	bool connected;
};

/* Connects in its own thread and keeps trying.  conf must outlive it. */
int eventlog_start(const struct conf *conf, const char *conninfo,
		   const struct eventlog_hooks *hooks, struct eventlog **out) MUSTCHECK;
/* Writes what waits (at most grace_ms), answers the rest -EHOSTDOWN, ends the thread, frees. */
void eventlog_stop(struct eventlog *l, unsigned grace_ms);
/*
 * Takes the batch.  0; -EAGAIN when the queue is at its bound, -EHOSTDOWN when a batch that
 * waits for commit finds the database gone for longer than commit_timeout_ms: then the batch
 * stays the caller's.  Any thread.
 */
int eventlog_append(struct eventlog *l, struct event_batch *b) MUSTCHECK;
/*
 * Counts the batch into the queue's bound before its events are delivered, so that what is
 * delivered can be logged: 0, or -EAGAIN.  eventlog_append must follow, or
 * eventlog_unreserve when it comes to nothing.  Any thread.
 */
int eventlog_reserve(struct eventlog *l, struct event_batch *b) MUSTCHECK;
void eventlog_unreserve(struct eventlog *l, struct event_batch *b);
/* The event is over: its delivery record is queued (when logged) and the event freed.  Any
 * thread; give it to event_set_done through a wrapper. */
void eventlog_event_done(struct eventlog *l, struct event *e);
void eventlog_stats(struct eventlog *l, struct eventlog_stats *out);
/* The log's epoch (heap copy), or NULL before the first connection.  Any thread. */
char *eventlog_epoch(struct eventlog *l);
/* Where it stands with handing events on; for the relay, that ends before the log does. */
struct log_tail *eventlog_tail(struct eventlog *l);
#endif
