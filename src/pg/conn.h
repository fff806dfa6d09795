/* SPDX-License-Identifier: MIT */
#ifndef PG_CONN_H
#define PG_CONN_H
/*
 * One libpq connection that never blocks without end: each wait has a deadline, and while it
 * waits the caller's tick runs (so that a thread can keep other deadlines).
 *
 * A connection is for one thread at a time.  No message from here contains a password: *why is a
 * message of the server or of libpq, which do not repeat it.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "base/clock.h"
#include "pg/answer.h"
#include "pg/fault.h"

#define PG_TICK_MS 20 /* a waiting connection calls tick about this often */

struct pg_connection;

struct pg_options {
	const char *conninfo;
	const char *password; /* used when conninfo has none; NULL or "" for none */
	const char *schema;   /* the search_path, with pg_temp last */
	unsigned connect_timeout_ms;
	unsigned statement_timeout_ms; /* the server's; 0: none */
	unsigned lock_timeout_ms;      /* the server's; 0: none */
	const char *origin; /* of the events that this session publishes in SQL; NULL: "sql" */
	/* Called during a wait; non-zero ends the wait with -ECANCELED.  May be NULL. */
	int (*tick)(void *ctx);
	void *ctx;
};

/*
 * Connects and sets the session up: search_path (the schema only, so that a role which may create
 * functions, operators or tables elsewhere cannot have its own called here), jit off, UTF-8,
 * synchronous_commit on, the timeouts, and every other setting that our statements depend on.  Each
 * host of conninfo gets connect_timeout_ms, one after the other.
 *
 * 0; -EHOSTDOWN (cannot connect or no answer in time), -EROFS (read only: a standby, or
 * default_transaction_read_only), -ENOTSUP (a pooler shares the session with other clients),
 * -EACCES (the server refused the login), -ENODEV (no such database), -EILSEQ (its encoding is not
 * UTF8), -ECANCELED; *why (heap) is then a sentence for the operator.  why may be NULL.
 */
int pg_conn_open(const struct pg_options *o, struct pg_connection **out, char **why) MUSTCHECK;
void pg_conn_close(struct pg_connection *c); /* NULL is fine */
/* A server answers there and accepts connections.  Blocks while it connects. */
bool pg_conn_ping(const char *conninfo) MUSTCHECK;

/* Any number of statements in one text; no results. */
enum pg_fault pg_conn_script(struct pg_connection *c, usec_t deadline, const char *sql) MUSTCHECK;

struct pg_preparation {
	const char *name, *sql;
	int n; /* parameters whose types are given */
	const uint32_t
		*types; /* n of them, as enum pg_oid has them; the server infers the others */
};
enum pg_fault pg_conn_prepare(struct pg_connection *c, usec_t deadline,
			      const struct pg_preparation *p) MUSTCHECK;

/* A statement and its parameters. */
struct pg_query {
	const char *sql;	   /* its text, or the name of a prepared statement */
	int n;			   /* parameters */
	const char *const *values; /* n of them; NULL: SQL's NULL */
	const int *lengths;	   /* bytes, for binary values; NULL: all values are text */
	const int *formats;	   /* 1: binary; NULL: all values are text */
	bool is_prepared;	   /* sql is a name */
};
/*
 * Runs one statement, outside a pipeline.  deadline is mono; after it the connection counts as
 * lost (the server's own statement_timeout should be shorter).  PG_FINE: *out has the result, and
 * the caller releases it; out may be NULL.  On another fault *out is unchanged and pg_conn_error()
 * has the reason.
 */
enum pg_fault pg_conn_run(struct pg_connection *c, usec_t deadline, const struct pg_query *q,
			  struct pg_answer *out) MUSTCHECK;
/* A transaction is open, or was aborted and not yet rolled back. */
bool pg_conn_is_in_transaction(const struct pg_connection *c);

/* Waits until the server sends something unasked (a notification), fd (-1: none) is readable, or
 * the deadline; then reads what has arrived.  PG_FINE or PG_LOST. */
enum pg_fault pg_conn_idle(struct pg_connection *c, int fd, usec_t deadline) MUSTCHECK;

/* The last fault in one line without a newline; valid until the next call. */
const char *pg_conn_error(const struct pg_connection *c);

#endif
