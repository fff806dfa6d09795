/* SPDX-License-Identifier: MIT */
#ifndef CONF_CONF_PG_H
#define CONF_CONF_PG_H
/* The configured database as options of a connection. */
#include "conf/conf.h"
#include "pg/conn.h"

/*
 * conninfo, password, schema and connect timeout; no tick, no timeouts of the server.  The strings
 * are conninfo's and db's.
 */
struct pg_options conf_pg_options(const struct conf_database *db, const char *conninfo);
#endif
