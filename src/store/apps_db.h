/* SPDX-License-Identifier: MIT */
#ifndef STORE_APPS_DB_H
#define STORE_APPS_DB_H
/* The table apps as apps: its rows overlay those of the configuration file. */
#include "conf/conf.h"
#include "store/pg_conn.h"

/*
 * Reads the table.  PG_FINE with *out set: file's apps, those of the table in place of the same
 * ids.  A row that makes no app is left out and named in the log.  On a fault nothing is set.
 */
enum pg_fault apps_db_read(struct pg_conn *c, usec_t deadline, const struct app_set *file,
			   struct app_set **out) MUSTCHECK;
#endif
