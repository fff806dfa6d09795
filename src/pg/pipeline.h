/* SPDX-License-Identifier: MIT */
#ifndef PG_PIPELINE_H
#define PG_PIPELINE_H
/*
 * Several prepared statements in one round trip ("Pipeline Mode" in the PostgreSQL manual).  Call
 * begin, add for each statement, send, read once for each statement in the same order, end.
 *
 * When one statement fails, the server skips those after it.  A function that returns false or
 * PG_LOST leaves a connection that can only be closed.
 */
#include "pg/conn.h"

bool pg_pipeline_begin(struct pg_connection *c) MUSTCHECK;
/* q->sql is a prepared statement's name.  The answer's columns are binary. */
bool pg_pipeline_add(struct pg_connection *c, const struct pg_query *q) MUSTCHECK;
/* Sends everything.  PG_FINE or PG_LOST. */
enum pg_fault pg_pipeline_send(struct pg_connection *c, usec_t deadline) MUSTCHECK;
/*
 * The answer to the next statement; the caller releases it.  PG_FINE without a result: the server
 * skipped the statement.  Another fault: pg_conn_error() has the reason, and out is unchanged.
 */
enum pg_fault pg_pipeline_read(struct pg_connection *c, usec_t deadline, struct pg_answer *out)
	MUSTCHECK;
/* Reads the end of the pipeline; the connection is as before.  PG_FINE or PG_LOST. */
enum pg_fault pg_pipeline_end(struct pg_connection *c, usec_t deadline) MUSTCHECK;
#endif
