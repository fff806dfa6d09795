/* SPDX-License-Identifier: MIT */
#ifndef CONF_CONNINFO_H
#define CONF_CONNINFO_H
/* The configured database as libpq's connection string, and as options of a connection. */
#include "base/str.h"
#include "conf/conf.h"
#include "pg/conn.h"

/* Appends keyword='value' with the quoting that libpq expects; nothing for an empty value. */
void conninfo_add(struct strbuf *b, const char *keyword, const char *value);
/*
 * libpq connection string of the database options (heap): the dsn as it is, or keywords and
 * quoted values.  The password is in it, so it goes to libpq and nowhere else.
 */
char *conf_conninfo(const struct conf *c) MUSTCHECK;
/*
 * conninfo, password, schema and connect timeout; no tick and none of the server's timeouts.  The
 * strings are conninfo's and db's.
 */
struct pg_options conf_pg_options(const struct conf_database *db, const char *conninfo);
#endif
