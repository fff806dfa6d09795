/* SPDX-License-Identifier: MIT */
#ifndef LOG_EPOCH_H
#define LOG_EPOCH_H
/*
 * Whether the log is still the one whose events were delivered (docs/decisions/0009-epoch.md).
 *
 * A database that is set back to an earlier state cannot know it.  So a node keeps the last event
 * that it delivered, in a file outside the database, and the database compares it with its rows.
 */
#include <stdint.h>
#include "base/annotate.h"
#include "core/event.h"
#include "pg/conn.h"

#define LOG_EPOCH_MAX 64

/* The last event that was delivered. */
struct log_seen {
	char epoch[LOG_EPOCH_MAX + 1]; /* "": not known */
	uint64_t serial;
	char id[EVENT_ID_MAX + 1];
};

/* The file has one line: epoch, serial, event_id.  False, and *out unchanged, without one. */
bool log_seen_read(const char *path, struct log_seen *out) MUSTCHECK;
/* Replaces the file as a whole.  0 or -errno. */
int log_seen_write(const char *path, const struct log_seen *s) MUSTCHECK;

/*
 * Has the database compare seen with its rows; it gives the log a new epoch when they differ.
 * *is_new: it did, and the log has a warning with the reason.
 */
enum pg_fault log_epoch_compare(struct pg_connection *c, usec_t deadline,
				const struct log_seen *seen, bool *is_new) MUSTCHECK;
#endif
