/* SPDX-License-Identifier: MIT */
#ifndef PG_CONN_PRIVATE_H
#define PG_CONN_PRIVATE_H
/*
 * What the modules of pg need of a connection beyond pg/conn.h.
 * The tag is not pg_conn: libpq's PGconn is a struct of that tag.
 */
#include <libpq-fe.h>
#include "pg/conn.h"

#define PG_ERROR_BYTES 512

struct pg_connection {
	PGconn *pg;
	struct pg_options o;
	bool is_cancelled; /* the tick ended a wait */
	char sqlstate[6];  /* of the last error of the server; "": it gave none */
	char error[PG_ERROR_BYTES];
};

PGconn *pg_conn_raw(struct pg_connection *c);

/* Keeps the message of libpq or the server, which is not empty then: one line, without the trailing
 * newline. */
void pg_conn_keep_error(struct pg_connection *c, const char *text);
/* Keeps why the connection is lost: a rc of pg_conn_wait(), or 0 for libpq's message.  PG_LOST. */
enum pg_fault pg_conn_lost(struct pg_connection *c, int rc);
/* Until the socket is ready: 0; -ETIMEDOUT, -ECANCELED, -ENOTCONN. */
int pg_conn_wait(struct pg_connection *c, short events, usec_t deadline);
/*
 * Connects to the host number i of conninfo (pg/hosts.h) and leaves the session as the server made
 * it.  Returns as pg_conn_open(); c is not connected after an error, and has the message.
 */
int pg_conn_connect(struct pg_connection *c, unsigned i, usec_t deadline);

/* Waits until all that was queued is sent.  PG_FINE or PG_LOST. */
enum pg_fault pg_conn_flush(struct pg_connection *c, usec_t deadline) MUSTCHECK;
/* The next result as PQgetResult() gives it (NULL included).  PG_FINE or PG_LOST. */
enum pg_fault pg_conn_result(struct pg_connection *c, usec_t deadline, PGresult **out) MUSTCHECK;
/* PG_FINE when r is a command's or a query's success; else its fault, with the text kept. */
enum pg_fault pg_conn_check(struct pg_connection *c, const PGresult *r);
#endif
