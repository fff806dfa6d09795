/* SPDX-License-Identifier: MIT */
/*
 * One thread with one connection (pg/runner.h) that listens and notifies.
 *
 * A NOTIFY takes a lock of the whole server from its commit to the flush of what its transaction
 * has written.  So it has a transaction of its own, without writes, and there is at most one in a
 * tick.
 *
 * A payload is text: the version, the sender's number and a word.
 *     1 NUMBER J   the node has registered (sent by the SQL function node_take())
 *     1 NUMBER L   the log has grown
 * What this session sent itself is not received.  Other versions, and what is no message, are
 * ignored: every role of the database can notify.
 *
 * Shared with other threads: has_log, and what the conf has.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/wake.h"
#include "bus/postgres.h"
#include "conf/conninfo.h"
#include "pg/listener.h"
#include "pg/runner.h"

#define NAME	       "bus"
#define MESSAGES       "1" /* version of the messages */
#define QUERY_US       (10 * USEC_PER_SEC)
#define TICK_US	       (2 * USEC_PER_MSEC)
#define IDLE_US	       (60 * USEC_PER_SEC)
#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 2000

struct postgres {
	struct bus_driver_conf conf;
	struct pg_runner *runner;
	atomic_bool has_log; /* the log has grown; not sent yet */

	/* the thread's own */
	usec_t next_tick; /* mono */
};

/* -- sending -- */

static enum pg_fault postgres_notify(struct postgres *p, struct pg_connection *c, const char *word)
{
	struct strbuf payload;
	const char *values[2] = { p->conf.channel, NULL };
	const struct pg_query q = {
		.sql = "notify", .n = 2, .values = values, .is_prepared = true
	};
	enum pg_fault fault;

	strbuf_init(&payload, 64);
	strbuf_addf(&payload, MESSAGES " %u %s", atomic_load(p->conf.number), word);
	values[1] = payload.ptr;
	fault = pg_conn_run(c, clock_mono() + QUERY_US, &q, NULL);
	strbuf_release(&payload);
	return fault;
}

/* What waits, once a tick.  *until: when to send again. */
static enum pg_fault postgres_send(struct postgres *p, struct pg_connection *c, usec_t *until)
{
	usec_t now = clock_mono();

	*until = now + IDLE_US;
	if (!atomic_load(&p->has_log))
		return PG_FINE;
	if (now < p->next_tick) {
		*until = p->next_tick;
		return PG_FINE;
	}
	p->next_tick = now + TICK_US;
	atomic_store(&p->has_log, false);
	return postgres_notify(p, c, "L");
}

static void postgres_log_grew(void *driver)
{
	struct postgres *p = driver;

	if (!atomic_exchange(&p->has_log, true))
		pg_runner_wake(p->runner);
}

/* -- receiving -- */

static void postgres_on_notify(void *ctx, const char *payload)
{
	struct postgres *p = ctx;
	struct str_view rest = sv(payload), version, number;
	unsigned none = 0;

	if (!sv_split(&rest, ' ', &version) || !sv_eq_c(version, MESSAGES) ||
	    !sv_split(&rest, ' ', &number))
		return;
	/* Its sender is there.  The guard counts the nodes with each renewal of the lease. */
	atomic_compare_exchange_strong(p->conf.others, &none, 1);
	if (sv_eq_c(rest, "L"))
		bus_receivers_log(p->conf.receivers);
}

/* -- the thread -- */

/* What was notified before this session listened is in the log all the same. */
static enum pg_fault postgres_begin(struct postgres *p, struct pg_connection *c)
{
	static const struct pg_preparation notify = {
		.name = "notify", .sql = "SELECT pg_notify($1::text, $2::text)"
	};
	usec_t deadline = clock_mono() + QUERY_US;
	enum pg_fault fault = pg_listener_begin(c, deadline, p->conf.channel);

	if (fault == PG_FINE)
		fault = pg_conn_prepare(c, deadline, &notify);
	if (fault == PG_FINE)
		bus_receivers_log(p->conf.receivers);
	return fault;
}

RUNS_ON(on_db) static enum pg_fault postgres_serve(void *ctx, struct pg_connection *c)
{
	struct postgres *p = ctx;
	struct wake *wake = pg_runner_get_wake(p->runner);
	enum pg_fault fault = postgres_begin(p, c);

	while (fault == PG_FINE && !pg_runner_is_stopping(p->runner)) {
		usec_t until;

		fault = postgres_send(p, c, &until);
		/* What arrived during the statement is inside libpq already. */
		if (fault == PG_FINE && !pg_listener_take_others(c, postgres_on_notify, p)) {
			fault = pg_conn_idle(c, wake_fd(wake), until);
			wake_drain(wake);
			if (fault == PG_FINE)
				pg_listener_take_others(c, postgres_on_notify, p);
		}
	}
	return fault;
}

static int postgres_start(const struct bus_driver_conf *conf, void **out)
{
	struct postgres *p = xcalloc(1, sizeof(*p));
	const struct conf_database *db = &conf->conf->database;
	struct pg_runner_conf rc = {
		.name = NAME,
		.options = conf_pg_options(db, conf->conninfo),
		.backoff_min_ms = BACKOFF_MIN_MS,
		.backoff_max_ms = BACKOFF_MAX_MS,
		.serve = postgres_serve,
		.ctx = p,
	};
	int err;

	p->conf = *conf;
	rc.options.statement_timeout_ms = QUERY_US / USEC_PER_MSEC / 2;
	err = pg_runner_start(&rc, &p->runner);
	if (err)
		free(p);
	else
		*out = p;
	return err;
}

static void postgres_stop(void *driver)
{
	struct postgres *p = driver;

	pg_runner_stop(p->runner);
	free(p);
}

const struct bus_driver bus_postgres = {
	.start = postgres_start,
	.stop = postgres_stop,
	.log_grew = postgres_log_grew,
};
