/* SPDX-License-Identifier: MIT */
#ifndef LOG_HOUSEKEEPER_H
#define LOG_HOUSEKEEPER_H
/*
 * Keeps the event log's tables in order, on a thread and connection of its own: makes partitions
 * ahead each minute, so that the log writer rarely has to; drops those that retention_age and
 * retention_size let go; deletes expired idempotency keys.
 *
 * Partitions are detached while writers and readers run, then dropped; nothing is deleted row by
 * row.  Of several daemons on a database one does it at a time.
 */
#include "base/annotate.h"
#include "conf/conf.h"

struct housekeeper;

/* conf and conninfo outlive it.  0 or -errno. */
int housekeeper_start(const struct conf *conf, const char *conninfo, struct housekeeper **out)
	MUSTCHECK;
void housekeeper_stop(struct housekeeper *k); /* NULL is fine */
#endif
