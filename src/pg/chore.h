/* SPDX-License-Identifier: MIT */
#ifndef PG_CHORE_H
#define PG_CHORE_H
/*
 * Statements that run at an interval: on a connection (of a pg_runner), or on a pool.
 *
 * When the server refuses one, that is logged, and the chore runs again at its next time.  So is
 * one that was not done in time (struct pg_delay).
 *
 * A statement whose values are collected for each run is not a chore: the function of
 * pg_pool_every() sends it when there is something to send (svc/presence_db.c, svc/socket_ties.c).
 */
#include "pg/pool.h"

/* On a connection: the caller runs its chores in its loop. */
struct pg_chore {
	struct pg_query query; /* its first column: true, run it again at once */
	usec_t every;
	usec_t timeout; /* of the client; longer than the server's statement_timeout */
	const char
		*on_refusal; /* logged with the server's words: "old partitions are not dropped" */
	/* Instead of the query, with the connection and the deadline; may be NULL. */
	enum pg_fault (*fn)(void *ctx, struct pg_connection *c, usec_t deadline);
	void *ctx;
	usec_t due; /* mono; 0: at once */
};

/*
 * Runs those of n chores that are due, in order.  *next is when the next one is due (mono).  name
 * is the thread's, for the log.  PG_FINE or PG_LOST.
 */
enum pg_fault pg_chores_run(struct pg_chore *chores, size_t n, struct pg_connection *c,
			    const char *name, usec_t *next) MUSTCHECK;

/*
 * Runs of one statement on a pool that were not done in time.  One that exceeded its timeout is
 * logged; of those that got no lock or no turn, which can be chance, the PG_DELAY_RUNSth without a
 * success between them.  One line in PG_DELAY_LOG_S seconds.
 */
#define PG_DELAY_RUNS  10
#define PG_DELAY_LOG_S 60

struct pg_delay {
	unsigned runs;	  /* since the last one with an answer of the server */
	usec_t logged_at; /* mono; 0: never */
};

/* The answer of a run.  name is the statement's, for the log.  One thread at a time. */
void pg_delay_note(struct pg_delay *d, const char *name, const struct pg_answer *a);

#define PG_CHORE_VALUES_MAX 2

/* On a pool: the pool's thread sends it, and one at a time is under way. */
struct pg_pool_chore {
	const char *name;		      /* for the log */
	const struct pg_statement *statement; /* its first column: true, run it again at once */
	/* Instead of that: gets the rows that the statement read, valid during the call only. */
	void (*on_rows)(void *ctx, const struct pg_answer *rows);
	unsigned every_ms;
	int n; /* parameters */
	const char *values[PG_CHORE_VALUES_MAX];
	bool (*is_due)(void *ctx); /* on the pool's thread, before each run; NULL: always */
	void *ctx;		   /* of is_due and on_rows */
	bool runs_once;		   /* not again after its first success */
	/* the pool's thread only */
	struct pg_pool *pool;
	bool is_open, is_done;
	struct pg_delay delay;
};

/* Before pg_pool_start().  The chore and its values outlive the pool's threads. */
void pg_pool_chore_add(struct pg_pool *p, struct pg_pool_chore *chore);
#endif
