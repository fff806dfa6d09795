/* SPDX-License-Identifier: MIT */
#ifndef LOG_RESOLVE_H
#define LOG_RESOLVE_H
/*
 * Finds the outcome of a transaction whose connection was lost in it.  First the old backend must
 * have ended: it could still be waiting for a lock, or not have read what was sent, and commit
 * after the look-up.  Then the event_ids give the outcome: either all events of a transaction are
 * in the log, or none is.
 */
#include "base/thread.h"
#include "core/event.h"
#include "pg/conn.h"

/* The server process of a connection.  The pid alone could be another process after a restart. */
struct log_backend {
	char pid[16], started[48]; /* "" pid: none */
};

enum pg_fault log_backend_read(struct pg_connection *c, usec_t deadline, struct log_backend *out)
	MUSTCHECK RUNS_ON(on_db);
/* Ends b if it exists (same role: no right is needed); PG_BUSY while it does. */
enum pg_fault log_backend_end(struct pg_connection *c, usec_t deadline, const struct log_backend *b)
	MUSTCHECK RUNS_ON(on_db);

struct log_lookup; /* the committed ones, in serial order */

/* Events committed above serial after, by the ids in ids (a finished PG_TEXT array). */
enum pg_fault log_lookup_run(struct pg_connection *c, usec_t deadline, uint64_t after,
			     struct str_view ids, struct log_lookup **out) MUSTCHECK RUNS_ON(on_db);
bool log_lookup_found_any(const struct log_lookup *k) RUNS_ON(on_db);
/* The lowest serial found. */
uint64_t log_lookup_first(const struct log_lookup *k) RUNS_ON(on_db);
/* The serial of e, 0 when it has no row.  Call it in the order in which the events were written. */
uint64_t log_lookup_serial(struct log_lookup *k, const struct event *e) RUNS_ON(on_db);
void log_lookup_free(struct log_lookup *k) RUNS_ON(on_db);
#endif
