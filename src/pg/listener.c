/* SPDX-License-Identifier: MIT */
/*
 * LISTEN, and notifications while nothing else runs on the connection.  On the thread that owns the
 * connection; waits in pg_conn_wait(), as everything in this folder.
 */
#include <libpq-fe.h>
#include <stdio.h>
#include "base/str.h"
#include "pg/conn_private.h"
#include "pg/listener.h"

static char listener_node[33]; /* "": of none */

void pg_listener_set_node(const char *instance)
{
	snprintf(listener_node, sizeof(listener_node), "%s", instance);
}

/* Before the session listens: from then on it can fill the server's queue of notifications. */
static enum pg_fault listener_note_session(struct pg_connection *c, usec_t deadline)
{
	const char *values[] = { listener_node };
	const struct pg_query q = { .sql = "SELECT node_session_add($1::text)",
				    .n = 1,
				    .values = values };

	return *listener_node ? pg_conn_run(c, deadline, &q, NULL) : PG_FINE;
}

enum pg_fault pg_listener_begin(struct pg_connection *c, usec_t deadline, const char *channel)
{
	enum pg_fault fault = listener_note_session(c, deadline);
	struct strbuf sql;

	if (fault != PG_FINE)
		return fault;
	strbuf_init(&sql, 64);
	strbuf_addf(&sql, "LISTEN %s", channel);
	fault = pg_conn_script(c, deadline, sql.ptr);
	strbuf_release(&sql);
	return fault;
}

unsigned pg_listener_take(struct pg_connection *c, void (*fn)(void *ctx, const char *payload),
			  void *ctx)
{
	unsigned n = 0;
	PGnotify *one;

	while ((one = PQnotifies(pg_conn_raw(c)))) {
		n++;
		if (fn)
			fn(ctx, one->extra);
		PQfreemem(one);
	}
	return n;
}

unsigned pg_listener_take_others(struct pg_connection *c,
				 void (*fn)(void *ctx, const char *payload), void *ctx)
{
	unsigned n = 0;
	PGnotify *one;

	while ((one = PQnotifies(pg_conn_raw(c)))) {
		if (one->be_pid != PQbackendPID(pg_conn_raw(c))) {
			n++;
			fn(ctx, one->extra);
		}
		PQfreemem(one);
	}
	return n;
}

enum pg_fault pg_listener_wait(struct pg_connection *c, int fd, usec_t deadline, unsigned *n)
{
	enum pg_fault fault = PG_FINE;

	/* What arrived during a query is inside libpq already: the socket is not readable for it.
	 */
	*n = pg_listener_take(c, NULL, NULL);
	if (*n)
		return PG_FINE;
	fault = pg_conn_idle(c, fd, deadline);
	if (fault == PG_FINE)
		*n = pg_listener_take(c, NULL, NULL);
	return fault;
}
