/* SPDX-License-Identifier: MIT */
/* Chores on a connection (pg/chore.h, pg/runner.h).  Nothing is shared with other threads. */
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "conf/conninfo.h"
#include "log/housekeeper.h"
#include "log/partitions.h"
#include "pg/chore.h"
#include "pg/runner.h"

#define NAME		  "housekeeper"
#define STATEMENT_TIMEOUT (10 * USEC_PER_SEC)
#define CHORE_TIMEOUT	  (20 * USEC_PER_SEC)
#define MINUTE		  (60 * USEC_PER_SEC)
#define RETENTION_EVERY	  (5 * USEC_PER_SEC)
#define WATCHES_EVERY	  (10 * USEC_PER_SEC)
#define MEASURE_EVERY	  (5 * USEC_PER_SEC)
#define LOCK_TIMEOUT_MS	  2000
#define LONG_WAIT_S	  600
#define COMPLAIN_US	  (10 * MINUTE)
#define BACKOFF_MIN_MS	  100
#define BACKOFF_MAX_MS	  5000

enum { PARTITIONS, KEYS, WATCHES, MEASURE, RETENTION, CHORES };

struct housekeeper {
	const struct conf_database *conf;
	struct pg_runner *runner;
	struct pg_chore chores[CHORES];
	usec_t complained; /* mono; of a partition that waits, last */
};

static enum pg_fault housekeeper_partitions(void *ctx, struct pg_connection *c, usec_t deadline)
{
	struct housekeeper *k = ctx;

	return log_partitions_ensure(c, deadline, k->conf, NULL);
}

/* Watched tables can be changed and dropped at any time, and no other code of ours runs then. */
static enum pg_fault housekeeper_watches(void *ctx, struct pg_connection *c, usec_t deadline)
{
	const struct pg_query check = { .sql = "SELECT watches_check()" };
	struct pg_answer a = { 0 };
	enum pg_fault fault = pg_conn_run(c, deadline, &check, &a);

	(void)ctx;
	for (int i = 0; fault == PG_FINE && i < pg_answer_rows(&a); i++)
		log_warn(NAME ": %s", pg_answer_text(&a, i, 0));
	pg_answer_release(&a);
	return fault;
}

/* Sets the metrics of the log's state in the database. */
static enum pg_fault housekeeper_measure(void *ctx, struct pg_connection *c, usec_t deadline)
{
	struct housekeeper *k = ctx;
	char rows[12];
	const struct pg_query measure = {
		.sql = "SELECT m.pending, m.oldest_s, m.bytes, m.ahead FROM "
		       "log_measure($1::bigint) m",
		.n = 1,
		.values = (const char *const[]){ rows },
	};
	struct pg_answer a = { 0 };
	enum pg_fault fault;

	snprintf(rows, sizeof(rows), "%u", k->conf->partition_rows);
	fault = pg_conn_run(c, deadline, &measure, &a);
	if (fault == PG_FINE) {
		metric_set(METRIC_LOG_LAG_EVENTS, pg_answer_int(&a, 0, 0));
		metric_set(METRIC_LOG_OLDEST, pg_answer_int(&a, 0, 1) * (int64_t)USEC_PER_SEC);
		metric_set(METRIC_LOG_BYTES, pg_answer_int(&a, 0, 2));
		metric_set(METRIC_LOG_PARTITIONS_AHEAD, pg_answer_int(&a, 0, 3));
	}
	pg_answer_release(&a);
	return fault;
}

static void housekeeper_log_wait(struct housekeeper *k, long long waits_s)
{
	usec_t now = clock_mono();

	if (waits_s < LONG_WAIT_S || (k->complained && now - k->complained < COMPLAIN_US))
		return;
	k->complained = now;
	log_warn(NAME ": a partition could not be dropped for %lld s, because transactions of "
		      "other sessions keep locks on the log",
		 waits_s);
}

/* Drops what retention_plan() chose, one partition a transaction.  *n: their number. */
static enum pg_fault housekeeper_drop_old(struct housekeeper *k, struct pg_connection *c,
					  unsigned *n)
{
	const struct pg_query drop = { .sql = "SELECT dropped, waits_s FROM retention_drop()" };
	bool has_dropped = true;
	enum pg_fault fault = PG_FINE;

	while (fault == PG_FINE && has_dropped) {
		struct pg_answer a = { 0 };

		fault = pg_conn_run(c, clock_mono() + CHORE_TIMEOUT, &drop, &a);
		has_dropped = fault == PG_FINE && pg_answer_bool(&a, 0, 0);
		if (has_dropped)
			++*n;
		else if (fault == PG_FINE)
			housekeeper_log_wait(k, pg_answer_int(&a, 0, 1));
		pg_answer_release(&a);
	}
	return fault;
}

/*
 * A transaction that uses the log stops the retention for now; the next run continues there, as
 * after a crash.
 */
static enum pg_fault housekeeper_retention(void *ctx, struct pg_connection *c, usec_t deadline)
{
	struct housekeeper *k = ctx;
	char age[12], size[12], rows[12];
	const struct pg_query plan = {
		.sql = "SELECT retention_plan($1::bigint, $2::bigint, $3::bigint)",
		.n = 3,
		.values = (const char *const[]){ age, size, rows },
	};
	const struct pg_query horizon = { .sql = "SELECT log_horizon()" };
	struct pg_answer a = { 0 };
	unsigned n = 0;
	enum pg_fault fault;

	snprintf(age, sizeof(age), "%u", k->conf->retention_age);
	snprintf(size, sizeof(size), "%u", k->conf->retention_size);
	snprintf(rows, sizeof(rows), "%u", k->conf->partition_rows);
	fault = pg_conn_run(c, deadline, &plan, NULL);
	if (fault == PG_FINE)
		fault = housekeeper_drop_old(k, c, &n);
	if (fault == PG_BUSY)
		log_debug(NAME ": old partitions are still in use: %s", pg_conn_error(c));
	else if (fault != PG_FINE && fault != PG_LOST)
		log_warn(NAME ": old partitions are not dropped: %s", pg_conn_error(c));
	if (fault != PG_LOST && n &&
	    pg_conn_run(c, clock_mono() + CHORE_TIMEOUT, &horizon, &a) == PG_FINE)
		log_info(NAME ": events up to serial %s were removed", pg_answer_text(&a, 0, 0));
	pg_answer_release(&a);
	return fault == PG_LOST ? PG_LOST : PG_FINE;
}

RUNS_ON(on_db) static enum pg_fault housekeeper_serve(void *ctx, struct pg_connection *c)
{
	struct housekeeper *k = ctx;
	bool has_retention = k->conf->retention_age || k->conf->retention_size;
	size_t n = has_retention ? CHORES : RETENTION;
	enum pg_fault fault = PG_FINE;

	for (size_t i = 0; i < n; i++)
		k->chores[i].due = 0;
	while (fault == PG_FINE && !pg_runner_is_stopping(k->runner)) {
		struct pg_news news;
		usec_t next;

		fault = pg_chores_run(k->chores, n, c, NAME, &next);
		if (fault == PG_FINE)
			fault = pg_runner_wait(k->runner, c, next, &news);
	}
	return fault;
}

int housekeeper_start(const struct conf *conf, const char *conninfo, struct housekeeper **out)
{
	struct housekeeper *k = xcalloc(1, sizeof(*k));
	struct pg_runner_conf rc = {
		.name = NAME,
		.options = conf_pg_options(&conf->database, conninfo),
		.backoff_min_ms = BACKOFF_MIN_MS,
		.backoff_max_ms = BACKOFF_MAX_MS,
		.serve = housekeeper_serve,
		.ctx = k,
	};
	int err;

	k->conf = &conf->database;
	k->chores[PARTITIONS] = (struct pg_chore){ .fn = housekeeper_partitions,
						   .ctx = k,
						   .every = MINUTE,
						   .timeout = CHORE_TIMEOUT,
						   .on_refusal = "no new log partitions yet" };
	k->chores[KEYS] =
		(struct pg_chore){ .query = { .sql = "SELECT idempotency_prune(50000) = 50000" },
				   .every = MINUTE,
				   .timeout = CHORE_TIMEOUT,
				   .on_refusal = "old idempotency keys are not deleted" };
	k->chores[WATCHES] = (struct pg_chore){ .fn = housekeeper_watches,
						.ctx = k,
						.every = WATCHES_EVERY,
						.timeout = CHORE_TIMEOUT,
						.on_refusal = "watched tables are not checked" };
	k->chores[MEASURE] = (struct pg_chore){ .fn = housekeeper_measure,
						.ctx = k,
						.every = MEASURE_EVERY,
						.timeout = CHORE_TIMEOUT,
						.on_refusal = "the log is not measured" };
	k->chores[RETENTION] = (struct pg_chore){ .fn = housekeeper_retention,
						  .ctx = k,
						  .every = RETENTION_EVERY,
						  .timeout = CHORE_TIMEOUT,
						  .on_refusal = "old partitions are not dropped" };
	rc.options.statement_timeout_ms = STATEMENT_TIMEOUT / USEC_PER_MSEC;
	rc.options.lock_timeout_ms = LOCK_TIMEOUT_MS;
	err = pg_runner_start(&rc, &k->runner);
	if (err)
		free(k);
	else
		*out = k;
	return err;
}

void housekeeper_stop(struct housekeeper *k)
{
	if (!k)
		return;
	pg_runner_stop(k->runner);
	free(k);
}
