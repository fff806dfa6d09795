/* SPDX-License-Identifier: MIT */
#ifndef LOG_SQL_COUNTS_H
#define LOG_SQL_COUNTS_H
/*
 * Counts the events of SQL for the metrics of a cluster, whose nodes all deliver all rows: each row
 * counts on the node that gave it its serial (docs/decisions/0059-counts-of-sql-events.md).
 *
 * A node learns after the commit which serials it gave.  Another thread may have delivered the rows
 * by then: so the newest rows that are not known to be this node's are kept for a while.
 *
 * The tail has one, under its lock.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/annotate.h"

/* Rows that are kept: more than all nodes commit until the answer to a commit was read. */
#define SQL_COUNTS_KEPT 4096

struct sql_counts;

struct sql_row {
	uint64_t serial;
	size_t bytes; /* of its data */
	bool is_sync; /* published by the sync API */
};

struct sql_counts *sql_counts_new(void) MUSTCHECK;
void sql_counts_free(struct sql_counts *s); /* NULL is fine */
/* Counts the row in the metrics.  Without a cluster the tail calls it for each row. */
void sql_row_count(const struct sql_row *row);
/* The row is delivered; serials ascend from call to call. */
void sql_counts_deliver(struct sql_counts *s, const struct sql_row *row);
/* This node gave n serials from first on.  Rows up to cursor were delivered. */
void sql_counts_note(struct sql_counts *s, uint64_t first, unsigned n, uint64_t cursor);
/* The log was replaced: serials mean other rows now. */
void sql_counts_reset(struct sql_counts *s);
#endif
