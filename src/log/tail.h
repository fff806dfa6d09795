/* SPDX-License-Identifier: MIT */
#ifndef LOG_TAIL_H
#define LOG_TAIL_H
/*
 * How far this process has handed the log to its sockets: one cursor, shared by the writer (which
 * hands on what it committed itself) and the relay (which reads what others committed).  Rows go
 * in serial order and each once, whoever of the two gets there first; serial > cursor is gapless
 * because serials are given under one lock.
 *
 * The lock is held while events are handed on, never while the database is asked: a page is read
 * first, and what the other one has handed on meanwhile is left out of it.
 *
 * Async events are with the sockets before they have a serial.  While such are being written the
 * tail is on hold: the relay stops at rows that could be them, until it is known.
 */
#include "core/event.h"
#include "pg/conn.h"
#include "wire/position.h"

struct log_tail;

typedef void log_fan_out(void *ctx, struct event_batch *b);

/* fan_out is called under the tail's lock, in serial order.  node is copied. */
struct log_tail *log_tail_new(const char *node, log_fan_out *fan_out, void *ctx) MUSTCHECK;
void log_tail_free(struct log_tail *t);
/* Where to keep what was handed on last, so that the next process knows it; read now.  A log that
 * does not hold it any more gets a new epoch.  path is copied; before anything else. */
void log_tail_keep(struct log_tail *t, const char *path);
/* From now on nothing is handed on any more. */
void log_tail_close(struct log_tail *t);

/*
 * Once a connection, before anything else: prepares its statements, sees whether the log is still
 * the one that was handed on (docs/decisions/0009) and, the first time, sets the cursor to where
 * the node left it.  A log that is another one now is taken up at its end.
 */
enum pg_fault log_tail_begin(struct log_tail *t, struct pg_conn *c, usec_t deadline) MUSTCHECK;

/* The writer: a group that has async events is about to be sent; its outcome is known. */
void log_tail_hold(struct log_tail *t);
void log_tail_unhold(struct log_tail *t);
/*
 * The writer: the events from serial first on are committed.  Hands on what lies before them, by
 * reading it on c.  False when that failed: then log_tail_leave() all of them.
 */
bool log_tail_reach(struct log_tail *t, struct pg_conn *c, usec_t deadline, uint64_t first);
/* Hands a committed batch on (fan_out set), or passes over it (async).  Serials are set. */
void log_tail_deliver(struct log_tail *t, struct event_batch *b);
/* The batch is committed and not handed on: the relay will, but for what is async. */
void log_tail_leave(struct log_tail *t, const struct event_batch *b);

/* One page of what comes behind the cursor.  *more: there may be more at once. */
enum pg_fault log_tail_step(struct log_tail *t, struct pg_conn *c, usec_t deadline, bool *more)
	MUSTCHECK;
/* The last step stopped at a row on hold: look again soon. */
bool log_tail_is_stopped(struct log_tail *t);
/* Writes the cursor down for the node's next start, if it moved or a minute is over. */
enum pg_fault log_tail_save(struct log_tail *t, struct pg_conn *c, usec_t deadline) MUSTCHECK;

/* How far the log was handed on; false while that is not known.  Any thread. */
bool log_tail_position(struct log_tail *t, struct position *out);

/* Rows that somebody of this process gave serials to; the sum since the start. */
void log_tail_count_drained(struct log_tail *t, unsigned n);
uint64_t log_tail_drained(struct log_tail *t);
#endif
