/* SPDX-License-Identifier: MIT */
#ifndef PG_POOL_H
#define PG_POOL_H
/*
 * Database statements for those who must not wait: asked from any thread, answered later on the
 * pool's own thread.
 *
 * A few connections, each a pipeline (libpq 14 and later, "Pipeline Mode" in the PostgreSQL
 * manual): statements follow each other without waiting for answers, each in its own transaction,
 * prepared where it first comes by.  One after the other on a connection, so what must not stand
 * behind a slow statement needs more connections, not more depth.
 */
#include <libpq-fe.h>
#include <stdbool.h>
#include "base/annotate.h"
#include "pg/answer.h"
#include "pg/fault.h"

#define PG_POOL_PARAMS_MAX 32

struct pg_pool;

struct pg_pool_conf {
	const char *conninfo, *password, *schema; /* as struct pg_options; outlive the pool */
	unsigned connections;			  /* at least 1 */
	unsigned max_open;			  /* asked and not yet answered; more: -EAGAIN */
	unsigned connect_timeout_ms;
	unsigned statement_timeout_ms; /* the server's; an answer that never comes: 2 s more */
	unsigned depth;		       /* statements on their way on one connection; 0: a few */
	/*
	 * A channel that every connection listens on, or NULL.  on_notify gets each payload, and
	 * NULL when a connection came or went: something may not have been heard.  On the
	 * pool's thread.
	 */
	const char *listen;
	void (*on_notify)(void *ctx, const char *payload);
	void *notify_ctx;
};

/* A static object: connections know by its address whether they have it prepared. */
struct pg_statement {
	const char *sql;
	/* May be sent again when its connection broke: it only reads, or says the same twice. */
	bool repeatable;
	unsigned timeout_ms; /* instead of the pool's, when not 0 */
};

/* A field of the server's error (PG_DIAG_...), or "".  Use pg_answer_message() and its like. */
const char *pg_answer_field(const struct pg_answer *a, int code);

/*
 * The answer is the pool's, good until this returns.  Its rc: 0, result has the rows; -EINVAL, the
 * server refused: sqlstate and pg_answer_message() say why; -EAGAIN, too many are under way;
 * -EHOSTDOWN, the database is away and nothing was done; -ETIMEDOUT, it did not answer in time;
 * -ECONNABORTED, the connection broke and the statement may or may not have run; -ECANCELED, the
 * pool stops.
 */
typedef void pg_pool_done(void *ctx, const struct pg_answer *a);

/* Copies conf; connects from pg_pool_start() on. */
struct pg_pool *pg_pool_new(const struct pg_pool_conf *conf);
/* Calls fn(ctx) on the pool's thread about every ms.  Before pg_pool_start(). */
void pg_pool_every(struct pg_pool *p, unsigned ms, void (*fn)(void *ctx), void *ctx);
/* 0 or -errno. */
int pg_pool_start(struct pg_pool *p) MUSTCHECK;
/* From now on everything asked and waiting is answered -ECANCELED; ends the threads. */
void pg_pool_stop(struct pg_pool *p);
void pg_pool_free(struct pg_pool *p); /* NULL is fine */

/*
 * Asks.  values: n text parameters (NULL: SQL's NULL), copied.  done is called exactly once, on
 * the pool's thread, or before this returns when nothing can be asked (-EAGAIN, -ECANCELED).
 * It must not wait; it may ask again.  Any thread.
 */
void pg_pool_query(struct pg_pool *p, const struct pg_statement *st, int n,
		   const char *const *values, pg_pool_done *done, void *ctx);
/* A connection is up.  Any thread. */
bool pg_pool_is_up(const struct pg_pool *p);
#endif
