/* SPDX-License-Identifier: MIT */
#ifndef LOG_SEEN_H
#define LOG_SEEN_H
/*
 * The last event that a node handed on, in a file beside the database: what a database that was
 * set back to an earlier state cannot know of itself.  One line: epoch, serial, event_id.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "core/event.h"

#define LOG_EPOCH_MAX 64

struct log_seen {
	char epoch[LOG_EPOCH_MAX + 1]; /* "": nothing is known */
	uint64_t serial;
	char id[EVENT_ID_MAX + 1];
};

/* False, and nothing in *out, when there is no such file or it is no such line. */
bool log_seen_read(const char *path, struct log_seen *out) MUSTCHECK;
/* Puts a whole file in place of the old one.  0 or -errno. */
int log_seen_write(const char *path, const struct log_seen *s) MUSTCHECK;
#endif
