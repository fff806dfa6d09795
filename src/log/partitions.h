/* SPDX-License-Identifier: MIT */
#ifndef LOG_PARTITIONS_H
#define LOG_PARTITIONS_H
/* The event log's partitions, which must exist before rows come to them. */
#include "conf/conf.h"
#include "pg/conn.h"

/*
 * Makes those that are missing up to database.partitions_ahead.  *end (may be NULL) is the first
 * serial for which there is no partition.  On a fault pg_conn_error() has the reason.
 */
enum pg_fault log_partitions_ensure(struct pg_connection *c, usec_t deadline,
				    const struct conf_database *conf, uint64_t *end) MUSTCHECK;
#endif
