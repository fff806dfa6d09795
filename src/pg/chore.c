/* SPDX-License-Identifier: MIT */
/* On the thread that owns the connection, or the pool's. */
#include <errno.h>
#include "base/log.h"
#include "base/thread.h"
#include "pg/chore.h"

/* There may be more to do: the chore is due again at once, after the others. */
static enum pg_fault chore_query(struct pg_chore *chore, struct pg_connection *c, usec_t deadline,
				 usec_t now)
{
	struct pg_answer a = { 0 };
	enum pg_fault fault = pg_conn_run(c, deadline, &chore->query, &a);

	if (fault == PG_FINE && pg_answer_rows(&a) && pg_answer_bool(&a, 0, 0))
		chore->due = now;
	pg_answer_release(&a);
	return fault;
}

enum pg_fault pg_chores_run(struct pg_chore *chores, size_t n, struct pg_connection *c,
			    const char *name, usec_t *next)
{
	*next = INT64_MAX;
	for (size_t i = 0; i < n; i++) {
		struct pg_chore *chore = &chores[i];
		usec_t now = clock_mono();
		enum pg_fault fault = PG_FINE;

		if (now >= chore->due) {
			usec_t deadline = now + chore->timeout;

			chore->due = now + chore->every;
			fault = chore->fn ? chore->fn(chore->ctx, c, deadline)
					  : chore_query(chore, c, deadline, now);
		}
		if (fault == PG_LOST)
			return PG_LOST;
		if (fault != PG_FINE)
			log_warn("%s: %s: %s", name, chore->on_refusal, pg_conn_error(c));
		if (chore->due < *next)
			*next = chore->due;
	}
	return PG_FINE;
}

void pg_delay_note(struct pg_delay *d, const char *name, const struct pg_answer *a)
{
	usec_t now = clock_mono();

	if (a->rc == 0 || a->rc == -EINVAL)
		d->runs = 0;
	/* The others are logged by the pool: the connection was lost. */
	if (a->rc != -ETIMEDOUT && a->rc != -EBUSY && a->rc != -EAGAIN)
		return;
	d->runs++;
	if ((a->rc != -ETIMEDOUT && d->runs < PG_DELAY_RUNS) ||
	    (d->logged_at && now - d->logged_at < PG_DELAY_LOG_S * USEC_PER_SEC))
		return;
	d->logged_at = now;
	if (a->rc == -ETIMEDOUT)
		log_warn("%s: exceeded the timeout of its statement, runs without success: %u; "
			 "trying again. Raise sync.statement_timeout_ms, or look in "
			 "pg_stat_activity for what makes the database slow",
			 name, d->runs);
	else if (a->rc == -EBUSY)
		log_warn("%s: another transaction holds a lock that it needs, runs without "
			 "success: %u; trying again. Look for a long transaction in "
			 "pg_stat_activity (xact_start), and end it",
			 name, d->runs);
	else
		log_warn(
			"%s: no connection was free in time, runs without success: %u; trying "
			"again. Raise sync.connections, or look in pg_stat_activity for what makes "
			"the database slow",
			name, d->runs);
}

RUNS_ON(on_pool) static void chore_run(void *ctx);

static void on_chore_done(void *ctx, const struct pg_answer *a)
{
	struct pg_pool_chore *chore = ctx;

	ASSERT_ON(on_pool);
	chore->is_open = false;
	chore->is_done = chore->runs_once && a->rc == 0;
	pg_delay_note(&chore->delay, chore->name, a);
	if (a->rc == -EINVAL)
		log_error("%s: the database refused: %s", chore->name, pg_answer_message(a));
	else if (a->rc == 0 && chore->on_rows)
		chore->on_rows(chore->ctx, a);
	else if (a->rc == 0 && pg_answer_rows(a) && pg_answer_bool(a, 0, 0))
		chore_run(chore);
}

RUNS_ON(on_pool) static void chore_run(void *ctx)
{
	struct pg_pool_chore *chore = ctx;
	struct pg_call call = { .statement = chore->statement,
				.n = chore->n,
				.values = chore->values };

	if (chore->is_open || chore->is_done || (chore->is_due && !chore->is_due(chore->ctx)))
		return;
	chore->is_open = true;
	pg_pool_call(chore->pool, &call, on_chore_done, chore);
}

void pg_pool_chore_add(struct pg_pool *p, struct pg_pool_chore *chore)
{
	chore->pool = p;
	pg_pool_every(p, chore->every_ms, chore_run, chore);
}
