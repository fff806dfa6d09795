/* SPDX-License-Identifier: MIT */
#ifndef PG_POOL_H
#define PG_POOL_H
/*
 * Database statements for threads that must not wait: queried from any thread, answered later on
 * the pool's own thread.
 *
 * Each of the few connections is a pipeline ("Pipeline Mode" in the PostgreSQL manual): statements
 * follow each other without waiting for answers, each in its own transaction, and are prepared
 * at their first use on a connection.  A connection runs one statement after the other: with a
 * depth of 1 no statement waits behind a slow one while another connection has nothing to do.
 *
 * Owners take turns, and none occupies all connections (pg/turns.h).
 */
#include <stdbool.h>
#include "base/metric.h"
#include "pg/answer.h"
#include "pg/conn.h"
#include "pg/turns.h"

#define PG_POOL_PARAMS_MAX 32

struct pg_pool;

struct pg_pool_conf {
	/*
	 * Without a tick; its strings outlive the pool.  A statement that has no answer 2 s after
	 * the server's timeout counts as lost with its connection.
	 */
	struct pg_options options;
	enum metric_pool pool; /* its name in metrics */
	unsigned connections;  /* at least 1 */
	unsigned max_open;     /* statements without an answer; one more is refused with -EAGAIN */
	unsigned depth;	       /* statements under way on one connection; 0: a few */
	/*
	 * How long a statement may try to take locks that other transactions hold; 0: as
	 * options has it.  It does not wait on its connection meanwhile: after a short while the
	 * server ends it, and it is sent again in its turn.
	 */
	unsigned lock_wait_ms;
	/*
	 * A channel that each connection listens on, or NULL.  on_notify gets each payload, and
	 * NULL when a connection was opened or lost: notifications may have been missed.  On the
	 * pool's thread.
	 */
	const char *listen;
	void (*on_notify)(void *ctx, const char *payload);
	void *notify_ctx;
};

/* A static object: a connection knows by its address whether it is prepared there. */
struct pg_statement {
	const char *sql;
	/* Can be retried when its connection broke: to run it twice is as good as once. */
	bool is_repeatable;
	bool takes_locks;    /* can wait for a lock: it writes */
	unsigned timeout_ms; /* instead of the pool's, when not 0 */
	/* Not prepared under a name: it runs code that is not ours, which could prepare another
	 * statement under that name. */
	bool is_unnamed;
};

struct pg_call {
	const struct pg_statement *statement;
	int n;
	const char *const *values; /* n text parameters; NULL: SQL's NULL */
	struct pg_owner owner;	   /* all zero: the daemon itself */
};

/*
 * The answer is the pool's, valid until this returns.  Its rc: 0, result has the rows; -EINVAL, the
 * server refused: sqlstate and pg_answer_message() have the reason; -EAGAIN, too many are under
 * way, or it waited too long for its turn; -EBUSY, another transaction holds a lock that it needs,
 * and nothing was done; -EHOSTDOWN, the database is away and nothing was done; -ETIMEDOUT, it did
 * not answer in time; -ECONNABORTED, the connection broke and the statement may or may not have
 * run; -ECANCELED, the pool stops.
 */
typedef void pg_pool_done(void *ctx, const struct pg_answer *a);

/* Copies conf; connects from pg_pool_start() on. */
struct pg_pool *pg_pool_new(const struct pg_pool_conf *conf);
/*
 * Calls fn(ctx) on the pool's thread about every ms, with or without a database.  For a statement
 * at an interval use pg_pool_chore_add() (pg/chore.h).  Before pg_pool_start().
 */
void pg_pool_every(struct pg_pool *p, unsigned ms, void (*fn)(void *ctx), void *ctx);
/* The same, only while a statement is not answered: an idle pool is not woken for it. */
void pg_pool_while_open(struct pg_pool *p, unsigned ms, void (*fn)(void *ctx), void *ctx);
/* 0 or -errno. */
int pg_pool_start(struct pg_pool *p) MUSTCHECK;
/* Answers all open statements, and those to come, with -ECANCELED; ends the threads. */
void pg_pool_stop(struct pg_pool *p);
void pg_pool_free(struct pg_pool *p); /* NULL is fine */

/*
 * Sends a statement; its values are copied.  done is called exactly once: on the pool's thread, or
 * before this returns when it is refused (-EAGAIN, -ECANCELED).  done must not wait; it may query
 * again.  Any thread.
 */
void pg_pool_call(struct pg_pool *p, const struct pg_call *call, pg_pool_done *done, void *ctx);
/* A connection is up.  Any thread. */
bool pg_pool_is_up(const struct pg_pool *p);
#endif
