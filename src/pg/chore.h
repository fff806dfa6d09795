/* SPDX-License-Identifier: MIT */
#ifndef PG_CHORE_H
#define PG_CHORE_H
/*
 * A statement that runs about every so often on a connection (of a pg_runner).
 *
 * The server's refusal is logged and the chore runs again at its next time; only a lost connection
 * ends the caller's loop.
 */
#include "pg/conn.h"

struct pg_chore {
	struct pg_query query;
	usec_t every;
	usec_t timeout; /* of the client; longer than the server's statement_timeout */
	const char
		*on_refusal; /* logged with the server's words: "old partitions are not dropped" */
	/* Instead of the query, with the connection and the deadline; may be NULL. */
	enum pg_fault (*fn)(void *ctx, struct pg_conn *c, usec_t deadline);
	void *ctx;
	usec_t due; /* mono; 0: at once */
};

/*
 * Runs those of n chores that are due, in order.  *next is when the next one is due (mono).  name
 * is the thread's, for the log.  PG_FINE or PG_LOST.
 */
enum pg_fault pg_chores_run(struct pg_chore *chores, size_t n, struct pg_conn *c, const char *name,
			    usec_t *next) MUSTCHECK;
#endif
