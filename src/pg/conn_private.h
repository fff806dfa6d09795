/* SPDX-License-Identifier: MIT */
#ifndef PG_CONN_PRIVATE_H
#define PG_CONN_PRIVATE_H
/*
 * What the modules of pg need of a connection beyond pg/conn.h: its libpq handle.
 *
 * libpq's own PGconn is a struct pg_conn by its tag, so the compiler takes one for the other:
 * libpq's functions get pg_conn_raw(c), never c.
 */
#include <libpq-fe.h>
#include "pg/conn.h"

PGconn *pg_conn_raw(struct pg_conn *c);

/* Waits until all that was queued is sent.  PG_FINE or PG_LOST. */
enum pg_fault pg_conn_flush(struct pg_conn *c, usec_t deadline) MUSTCHECK;
/* The next result as PQgetResult() gives it (NULL included).  PG_FINE or PG_LOST. */
enum pg_fault pg_conn_result(struct pg_conn *c, usec_t deadline, PGresult **out) MUSTCHECK;
/* PG_FINE when r is a command's or a query's success; else its fault, with the text kept. */
enum pg_fault pg_conn_check(struct pg_conn *c, const PGresult *r);
#endif
