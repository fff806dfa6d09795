/* SPDX-License-Identifier: MIT */
#ifndef LOG_TAIL_H
#define LOG_TAIL_H
/*
 * Delivers committed events to the directory, and remembers the position: one cursor that the log
 * writer (which delivers what it committed itself) and the drainer (which reads what others
 * committed) share.  Each row is delivered once and in serial order, whichever of the two comes
 * first: serials are given under one lock, so no row appears later below the cursor.
 *
 * The tail's lock is held while events are delivered, never during a statement: a page is read
 * first, and what the other thread has delivered meanwhile is skipped.
 *
 * In a cluster whose nodes send each other slices of the log, the bus's thread delivers too: a
 * slice that begins at the cursor or before it, so rows that would follow if the log was read.
 *
 * The drainer delivers only as fast as the workers keep up (base/worker_load.h), and the writer
 * leaves rows of others to it while they do not: what waits, waits in the table.
 *
 * Async events are delivered before they have a serial.  While some are being written the tail is
 * on hold: the drainer stops at rows that could be those, until their serials are known.
 */
#include "base/thread.h"
#include "base/wake.h"
#include "core/channels/directory.h"
#include "log/batch.h"
#include "pg/conn.h"
#include "wire/position.h"

struct bus_seal;
struct log_tail;
struct log_slicer;

/* node is copied.  deliveries (NULL: none are kept) and d outlive the tail. */
struct log_tail *log_tail_new(const char *node, struct directory *d, struct deliveries *deliveries)
	MUSTCHECK;
void log_tail_free(struct log_tail *t); /* NULL is fine */
/* Keeps the last delivered event in a file (path is copied), and reads the file now.  Before any
 * other call. */
void log_tail_keep(struct log_tail *t, const char *path);

/* There are other nodes.  They may serve applications that this one does not: their rows are
 * skipped and not logged.  A row of SQL counts in the metrics of the node that gave it its serial.
 * Before any other call. */
void log_tail_expect_others(struct log_tail *t);

/* Other nodes send slices of the log (log/slice.h), signed with the database's secret, which seal
 * gets with each connection.  Before any other call; seal outlives the tail. */
void log_tail_expect_slices(struct log_tail *t, struct bus_seal *seal);

/*
 * Once for each connection, before anything else: prepares its statements, checks the log's epoch
 * and, the first time, sets the cursor to where the node left it.  A log of another epoch is
 * delivered from its end on.  slicer (or NULL): of the rows that the
 * connection reads and writes.
 */
enum pg_fault log_tail_begin(struct log_tail *t, struct pg_connection *c, usec_t deadline,
			     struct log_slicer *slicer) MUSTCHECK RUNS_ON(on_db);

/* -- the log writer -- */

/* A group with async events is about to be sent (true); its outcome is known (false). */
void log_tail_set_hold(struct log_tail *t, bool hold) RUNS_ON(on_db);
/*
 * The events from serial first on are committed: delivers the rows before them, which it reads on
 * c.  False when that failed.  Those that came from SQL go to slicer, too (NULL: they do not).
 */
bool log_tail_reach(struct log_tail *t, struct pg_connection *c, usec_t deadline, uint64_t first,
		    struct log_slicer *slicer) RUNS_ON(on_db);
/*
 * A committed batch, serials set.  When is_reached (log_tail_reach() succeeded), delivers it, or
 * skips it if it was delivered before its commit (async); else leaves it to the drainer.
 */
void log_tail_offer(struct log_tail *t, struct event_batch *b, bool is_reached) RUNS_ON(on_db);

/* -- the drainer -- */

/* From now on drainer is signalled when a batch is left to the drainer; NULL: no more. */
void log_tail_notify(struct log_tail *t, struct wake *drainer);
/* Reads and delivers one page after the cursor.  *more: there may be more already.  slicer as for
 * log_tail_reach(). */
enum pg_fault log_tail_step(struct log_tail *t, struct pg_connection *c, usec_t deadline,
			    struct log_slicer *slicer, bool *more) MUSTCHECK RUNS_ON(on_db);
/* The last step stopped at a row on hold, or because the workers are behind: retry it soon. */
bool log_tail_is_stopped(struct log_tail *t);
/* That, or the writer left a batch to the drainer since the last step began. */
bool log_tail_is_due(struct log_tail *t);
/* Writes the cursor to node_cursor for the node's next start, when it moved or a minute passed. */
enum pg_fault log_tail_save(struct log_tail *t, struct pg_connection *c, usec_t deadline)
	MUSTCHECK RUNS_ON(on_db);

/* -- any thread -- */

/*
 * Another node's slice: delivers those of its rows that are after the cursor.  False: the log has
 * to be read, because rows before the slice are missing, or the workers are behind.  Does not wait.
 */
bool log_tail_take(struct log_tail *t, struct str_view slice) MUSTCHECK;
/* The epoch and the cursor; false while they are not known. */
bool log_tail_position(struct log_tail *t, struct position *out);
/* The log writer or the drainer gave n serials to rows of SQL, from first on. */
void log_tail_count_drained(struct log_tail *t, uint64_t first, unsigned n);
/* The same of another session of this process: not for the drainer's pace. */
void log_tail_note_drained(struct log_tail *t, uint64_t first, unsigned n);
/* Rows that log_tail_count_drained() counted, for the drainer's pace; the sum since the start. */
uint64_t log_tail_drained(struct log_tail *t);
/* How many events of SQL were delivered, whichever session drained them.  Any thread. */
uint64_t log_tail_sql_rows(struct log_tail *t);
#endif
