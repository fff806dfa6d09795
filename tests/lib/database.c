/* SPDX-License-Identifier: MIT */
/* See database.h.  Nothing here is used by two threads. */
#include "database.h"
#include <stdio.h>
#include <stdlib.h>
#include "base/log.h"
#include "migrated.h"

struct pg_fixture *pg;

void database_set_up(void)
{
	log_set_level(LOG_LEVEL_ERROR);
	pg = pg_fixture_new(false);
}

void database_tear_down(void)
{
	pg_fixture_free(pg);
}

char *database_new(const char *name, PGconn **c)
{
	char *conninfo = pg_fixture_database(pg, name, NULL), *why = NULL;

	if (migrated(conninfo, "scopewire", &why)) {
		fprintf(stderr, "database: %s: %s\n", name, why ? why : "migrations failed");
		exit(1);
	}
	*c = pg_fixture_connect(conninfo);
	return conninfo;
}

void database_run(PGconn *c, const char *sql)
{
	free(pg_fixture_value(c, sql));
}
