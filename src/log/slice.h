/* SPDX-License-Identifier: MIT */
#ifndef LOG_SLICE_H
#define LOG_SLICE_H
/*
 * A slice of the log: all rows after one serial up to another one, as the node that committed them
 * sends them to the other nodes (docs/decisions/0056-slices.md).  A node that has delivered the log
 * up to the first serial, or further, need not read these rows.
 *
 * It is text, of fields as bus/field.h has them: the version, the epoch of the log and
 * the timeline of the server as EPOCH/TIMELINE, the serial before; and for each row its serial,
 * event_id, application, channel, name, origin, excluded socket, form of the payload (P: as it was
 * published; J, T: as in the table, with payload_is_text false or true), and payload.  It is
 * taken for the log, so the driver passes on only what a node has signed (bus/seal.h).
 */
#include "core/event.h"
#include "log/epoch.h"
#include "log/row.h"

/* -- making; one thread -- */

/* Text of the database; 8 digits by now. */
#define LOG_TIMELINE_MAX 16

/* Rows in serial order become slices, of which each is at most as long as a message can be. */
struct log_slicer {
	/* What a slice is passed to; "": rows were left out, because one is too long. */
	void (*emit)(void *ctx, struct str_view slice);
	void *ctx;
	char timeline[LOG_TIMELINE_MAX + 1]; /* of the server that the rows were committed on */
	char epoch[LOG_EPOCH_MAX + 1];
	uint64_t last;	    /* serial of the row added last, or the serial before the first one */
	struct strbuf text; /* of the slice that is being made; "": none yet */
};

void log_slicer_init(struct log_slicer *s, void (*emit)(void *ctx, struct str_view slice),
		     void *ctx);
void log_slicer_release(struct log_slicer *s);
/* What follows is read and written on another connection. */
void log_slicer_connected(struct log_slicer *s, struct str_view timeline);
/* All rows after serial before follow.  Goes on where the last row was before; else emits that. */
void log_slicer_begin(struct log_slicer *s, const char *epoch, uint64_t before);
/* The next row. */
void log_slicer_add(struct log_slicer *s, const struct log_row *row);
void log_slicer_add_event(struct log_slicer *s, const struct event *e);
/* The next row is this one, and not for a slice: another node may send it. */
void log_slicer_pass(struct log_slicer *s, uint64_t serial);
/* Emits what is left. */
void log_slicer_end(struct log_slicer *s);

/* -- reading; any thread -- */

struct log_slice {
	struct str_view epoch; /* EPOCH/TIMELINE */
	uint64_t before, last;
	struct str_view rows; /* for log_slice_next() */
	/* for who keeps it */
	struct log_slice *next;
	usec_t kept_at; /* mono */
};

/* False: it is of another version, or malformed.  The views are of text. */
bool log_slice_read(struct str_view text, struct log_slice *out) MUSTCHECK;
/* One block, with the views of its own. */
struct log_slice *log_slice_copy(const struct log_slice *s) MUSTCHECK;
/* Takes the first row, whose views are of rows; false: there is no more. */
bool log_slice_next(struct str_view *rows, struct log_row *out) MUSTCHECK;
#endif
