/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MIGRATED_H
#define TESTS_MIGRATED_H
/* The schema without a daemon: opens a connection, applies migrations, closes it. */
#include "pg/migrate.h"

/* All migrations of the program, in this schema.  Returns as pg_conn_open() and migrate_run(). */
int migrated(const char *conninfo, const char *schema, char **why) MUSTCHECK;
/* Those of conf. */
int migrated_as(const char *conninfo, const struct migrate_conf *conf, char **why) MUSTCHECK;
#endif
