/* SPDX-License-Identifier: MIT */
/*
 * A server sends a client the number of its process when the client connects.  A pooler has no such
 * process and makes a number up, which differs from pg_backend_pid().  Then two
 * connections take turns.  A client that has a session to itself gets the same process each time,
 * and no other client gets that process.  A shared session is given to the next one that comes.
 */
#include <errno.h>
#include "base/mem.h"
#include "pg/conn_private.h"
#include "pg/pooler.h"

#define TURNS 5

/* The number of the process that serves c's next transaction; 0: no answer. */
static int64_t pooler_backend(struct pg_connection *c, usec_t deadline)
{
	const struct pg_query q = { .sql = "SELECT pg_catalog.pg_backend_pid()" };
	struct pg_answer a = { 0 };
	int64_t pid = 0;

	if (pg_conn_run(c, deadline, &q, &a) == PG_FINE && pg_answer_rows(&a) == 1)
		pid = pg_answer_int(&a, 0, 0);
	pg_answer_release(&a);
	return pid;
}

static int pooler_is_shared(struct pg_connection *c)
{
	pg_conn_keep_error(
		c, "a pooler that shares sessions between transactions is in front of the "
		   "database, such as PgBouncer with pool_mode = transaction: give the daemon the "
		   "address of PostgreSQL itself, or a pool with pool_mode = session");
	return -ENOTSUP;
}

static int pooler_is_silent(struct pg_connection *c, const struct pg_connection *failed)
{
	char text[PG_ERROR_BYTES];

	snprintf(text, sizeof(text),
		 "a pooler is in front of the database and gave no second session (%.300s): its "
		 "pool may be too small",
		 pg_conn_error(failed));
	pg_conn_keep_error(c, text);
	return -EHOSTDOWN;
}

/* other is a second connection, mine the process that serves c. */
static int pooler_take_turns(struct pg_connection *c, struct pg_connection *other, int64_t mine,
			     usec_t deadline)
{
	for (int i = 0; i < TURNS; i++) {
		int64_t theirs = pooler_backend(other, deadline);

		if (!theirs)
			return pooler_is_silent(c, other);
		/* Twice: a pooler that goes round its sessions may have two for two that alternate.
		 */
		if (theirs == mine || pooler_backend(c, deadline) != mine ||
		    pooler_backend(c, deadline) != mine)
			return pooler_is_shared(c);
	}
	return 0;
}

int pg_pooler_check(struct pg_connection *c, unsigned host, usec_t deadline)
{
	struct pg_connection *other;
	int64_t mine = pooler_backend(c, deadline);
	int rc;

	if (!mine)
		return -EHOSTDOWN;
	if (mine == PQbackendPID(pg_conn_raw(c)))
		return 0;
	other = xcalloc(1, sizeof(*other));
	other->o = c->o;
	rc = pg_conn_connect(other, host, deadline);
	if (rc == 0)
		rc = pooler_take_turns(c, other, mine, deadline);
	else
		rc = pooler_is_silent(c, other);
	pg_conn_close(other);
	return rc;
}
