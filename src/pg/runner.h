/* SPDX-License-Identifier: MIT */
#ifndef PG_RUNNER_H
#define PG_RUNNER_H
/*
 * A thread with one database connection of its own: it opens the connection, serves it until it is
 * lost, and opens the next one after a pause that grows (base/backoff.h).
 */
#include "base/thread.h"
#include "pg/conn.h"

struct pg_runner;

struct pg_runner_conf {
	const char *name; /* of the thread (15 bytes at most), and in front of its log lines */
	/*
	 * Its strings outlive the runner.  When options.tick is NULL, waits end as soon as the
	 * runner stops.
	 */
	struct pg_options options;
	unsigned backoff_min_ms, backoff_max_ms;
	/*
	 * Serves the connection until the runner stops (PG_FINE) or a fault makes a new connection
	 * necessary; the fault is logged, and the connection closed.
	 */
	enum pg_fault (*serve)(void *ctx, struct pg_connection *c);
	/* Called instead of logging why there is no connection, or no longer one.  May be NULL. */
	void (*on_down)(void *ctx, const char *why);
	/*
	 * Called without a connection: after each attempt that failed and each connection that was
	 * lost, and at a wake-up before the next attempt.  May be NULL.
	 */
	void (*on_away)(void *ctx);
	unsigned away_every_ms;		/* on_away is called this often too; 0: it is not */
	bool (*is_finished)(void *ctx); /* NULL: as pg_runner_is_stopping() */
	void *ctx;
};

struct pg_news {
	unsigned notifications; /* what arrived; all are taken */
	bool is_woken;		/* by pg_runner_wake() */
};

/* Copies conf.  *out is set before the thread starts.  0 or -errno. */
int pg_runner_start(const struct pg_runner_conf *conf, struct pg_runner **out) MUSTCHECK;
/* Ends the thread: waits until serve has returned and is_finished.  NULL is fine. */
void pg_runner_stop(struct pg_runner *r);

/* Any thread. */
void pg_runner_wake(struct pg_runner *r);
bool pg_runner_is_stopping(const struct pg_runner *r);

/*
 * For serve: waits for a notification, a wake-up or the deadline.  Returns at once when
 * notifications arrived during the last statement.  PG_FINE or PG_LOST.
 */
enum pg_fault pg_runner_wait(struct pg_runner *r, struct pg_connection *c, usec_t deadline,
			     struct pg_news *news) MUSTCHECK RUNS_ON(on_db);
/* For serve: the connection does its work, so the pause before the next one is the shortest again.
 * A connection that lasts a second has the same effect. */
void pg_runner_reset_backoff(struct pg_runner *r) RUNS_ON(on_db);
/* The wake-up itself, for a thread that waits in a way of its own. */
struct wake *pg_runner_get_wake(struct pg_runner *r);
#endif
