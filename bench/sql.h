/* SPDX-License-Identifier: MIT */
#ifndef BENCH_SQL_H
#define BENCH_SQL_H
/*
 * A publisher by SQL: one connection to the daemon's database, one INSERT that commits by itself
 * under way.
 */
#include <libpq-fe.h>
#include <stdbool.h>
#include "util.h"

enum sql_answer { SQL_WAITING, SQL_COMMITTED, SQL_REFUSED };

/* Connects and prepares, blocking; or dies. */
PGconn *sql_open(const char *conninfo);
/* Sends the INSERT; false when that failed.  payload is JSON. */
bool sql_send(PGconn *c, const char *channel, const char *event, struct bytes *payload);
/* Reads the answer, if there is one; PQerrorMessage() has the reason of a refusal. */
enum sql_answer sql_read(PGconn *c);
#endif
