/* SPDX-License-Identifier: MIT */
#ifndef LOG_RETENTION_H
#define LOG_RETENTION_H
/*
 * Lets the log's old end go: what is due, and by which statements, sql/migrations/0005 says.
 * Whole partitions are detached beside running writers and readers, then dropped; nothing is
 * deleted row by row.  One daemon of a database does it at a time.
 */
#include "base/annotate.h"
#include "conf/conf.h"
#include "pg/conn.h"

/*
 * Does what is due by retention_age and retention_size.  A transaction that still looks at a
 * partition stops it for now; the next call goes on there, as after a crash.  Not within a
 * transaction.  PG_FINE, or PG_LOST; other faults are logged.
 */
enum pg_fault retention_run(struct pg_conn *c, const struct conf_database *conf) MUSTCHECK;
#endif
