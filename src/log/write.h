/* SPDX-License-Identifier: MIT */
#ifndef LOG_WRITE_H
#define LOG_WRITE_H
/*
 * One transaction of the log writer: events and delivery records gathered as columns, then
 *     BEGIN; lock "serials"; drain pending rows; take keys; INSERT events; INSERT deliveries;
 * COMMIT in one pipeline: one round trip whatever its size.  The lock is held from the first serial
 * to the commit, so a reader of "serial > last" misses no row.
 *
 * Serials are given here and in drain() (sql/migrations), and nowhere else.
 */
#include "base/thread.h"
#include "log/batch.h"
#include "pg/conn.h"

struct log_write;

/* Steps in the order they are sent; which one the server refused matters. */
enum log_step {
	LOG_BEGIN,
	LOG_LOCK,
	LOG_DRAIN,
	LOG_KEYS,
	LOG_EVENTS,
	LOG_DELIVERIES,
	LOG_COMMIT,
	LOG_STEPS
};

/* node (copied) is written to the delivery records. */
struct log_write *log_write_new(const char *node);
void log_write_free(struct log_write *w);
void log_write_reset(struct log_write *w) RUNS_ON(on_db);
/* All copy what they need. */
void log_write_event(struct log_write *w, const struct event *e) RUNS_ON(on_db);
void log_write_key(struct log_write *w, const struct event_key *k) RUNS_ON(on_db);
void log_write_delivery(struct log_write *w, const struct delivery *d) RUNS_ON(on_db);
unsigned log_write_events(const struct log_write *w) RUNS_ON(on_db);
size_t log_write_bytes(const struct log_write *w) RUNS_ON(on_db);

/* Once for each connection. */
enum pg_fault log_write_prepare(struct pg_connection *c, usec_t deadline) MUSTCHECK RUNS_ON(on_db);
/*
 * PG_FINE: committed.  PG_LOST: the outcome is unknown.  Another fault: rolled back, and *failed is
 * the step that the server refused.  Except after PG_LOST the connection can be used again.
 */
enum pg_fault log_write_run(struct log_write *w, struct pg_connection *c, usec_t deadline,
			    enum log_step *failed) MUSTCHECK RUNS_ON(on_db);
/* After PG_FINE: the serial of the i-th event. */
uint64_t log_write_serial(const struct log_write *w, unsigned i) RUNS_ON(on_db);
/* After PG_FINE: the number of pending rows that got serials before the events. */
unsigned log_write_drained(const struct log_write *w) RUNS_ON(on_db);
#endif
