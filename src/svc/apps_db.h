/* SPDX-License-Identifier: MIT */
#ifndef SVC_APPS_DB_H
#define SVC_APPS_DB_H
/* The table apps as apps: its rows overlay those of the configuration file. */
#include "conf/conf.h"
#include "pg/conn.h"

/*
 * Reads the table.  PG_FINE with *out set: its apps.  A row that makes no app is left out and
 * named in the log.  On a fault nothing is set; PG_REFUSED: the rows do not go together, the log
 * says why.
 */
enum pg_fault apps_db_read(struct pg_conn *c, usec_t deadline, struct app_set **out) MUSTCHECK;
/*
 * The file's apps, with those of the table in place of the same ids; table may be NULL.  0, or
 * -EEXIST when two of them share a key: the log says which.
 */
int apps_db_overlay(const struct app_set *file, const struct app_set *table, struct app_set **out)
	MUSTCHECK;
/* Tells SQL publishers which apps there are, and their limits: the table log_apps. */
enum pg_fault apps_db_publish(struct pg_conn *c, usec_t deadline, const struct app_set *apps)
	MUSTCHECK;
#endif
