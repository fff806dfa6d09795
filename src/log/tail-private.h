/* SPDX-License-Identifier: MIT */
#ifndef LOG_TAIL_PRIVATE_H
#define LOG_TAIL_PRIVATE_H
/*
 * The tail, for the files that work on it: tail.c calls tail_slices.c, and both call tail_rows.c.
 *
 * The lock guards the cursor and all that moves with it; log_tail_keep() and log_tail_new() come
 * before there are threads.  Order of locks: the tail's, then a shard's of the directory.
 */
#include <pthread.h>
#include <stdatomic.h>
#include "log/epoch.h"
#include "log/row.h"
#include "log/slice.h"
#include "log/sql_counts.h"
#include "log/tail.h"

#define PART_ROWS 16 /* events between two checks of the workers */

/* For clang: this thread holds the lock. */
extern struct TSA(capability("mutex")) tail_held {
	char unused;
} tail_held;

struct log_tail {
	char *node;
	bool expects_others;			       /* nodes, with other applications */
	struct sql_counts *counts OWNED_BY(tail_held); /* with other nodes; NULL: all rows count */
	struct bus_seal *seal; /* gets the secret; NULL: there are no slices */
	struct directory *directory;
	struct deliveries *deliveries; /* NULL: no records are kept */
	atomic_uint_fast64_t drained, sql_rows;
	struct wake caught_up; /* workers that were behind; the drainer waits */
	struct wake *drainer;  /* signalled when a batch is left to it; NULL: it polls */

	pthread_mutex_t lock;
	bool is_set OWNED_BY(tail_held);
	bool is_on_hold OWNED_BY(tail_held); /* async events are being written */
	/* The drainer stopped at a row on hold, or because workers are behind.  Its own: the writer
	 * reads up to its batch only, and leaves rows after that. */
	bool is_stopped OWNED_BY(tail_held);
	bool is_left OWNED_BY(tail_held);    /* the writer left a batch to the drainer */
	uint64_t cursor OWNED_BY(tail_held); /* all rows up to here were delivered */
	uint64_t saved OWNED_BY(tail_held);  /* the cursor as the database has it */
	usec_t saved_at OWNED_BY(tail_held); /* mono; 0: not yet */
	char *epoch OWNED_BY(tail_held);
	/* Of the server, as the last connection found it: slices of another one, which may have
	 * been promoted or be left behind, may have rows that this one does not have. */
	char timeline[LOG_TIMELINE_MAX + 1] OWNED_BY(tail_held);
	struct log_seen seen OWNED_BY(tail_held); /* the last event that was delivered */
	char *seen_path;			  /* NULL: kept in memory only */
	bool is_seen_stale;			  /* the drainer's: the file could not be written */
	uint64_t *passed OWNED_BY(
		tail_held); /* async events after the cursor, ascending serials: to be skipped */
	size_t n_passed OWNED_BY(tail_held), room_passed OWNED_BY(tail_held);
	usec_t complained OWNED_BY(tail_held); /* mono */
	/* Other nodes' slices that came before the one before them, by what is before them. */
	struct log_slice *kept OWNED_BY(tail_held);
	size_t n_kept OWNED_BY(tail_held), kept_bytes OWNED_BY(tail_held);
};

/* -- tail_rows.c -- */

void tail_lock(struct log_tail *t) TSA(acquire_capability(tail_held));
void tail_unlock(struct log_tail *t) TSA(release_capability(tail_held));
bool tail_workers_are_behind(struct log_tail *t);
/* The drainer is woken to read the log. */
void tail_leave_to_drainer_locked(struct log_tail *t) NEEDS_LOCK(tail_held);
/* To the subscribers of this node; a control row is for the node itself. */
void tail_fan_out(struct log_tail *t, struct event *e);
/* Skips the row of an async event.  The caller moves the cursor. */
void tail_deliver_row_locked(struct log_tail *t, const struct app_set *apps,
			     const struct log_row *row) NEEDS_LOCK(tail_held);
/* id: of the event at the cursor. */
void tail_note_seen_locked(struct log_tail *t, struct str_view id) NEEDS_LOCK(tail_held);

/* -- tail_slices.c -- */

/* The page that was read after serial from, before this node delivers it.  slicer: or NULL. */
void tail_slice_page(struct log_tail *t, const struct pg_answer *a, uint64_t from,
		     struct log_slicer *slicer);
/* Delivers kept slices, after the cursor has moved. */
void tail_take_kept(struct log_tail *t);
void tail_drop_kept_locked(struct log_tail *t) NEEDS_LOCK(tail_held);
#endif
