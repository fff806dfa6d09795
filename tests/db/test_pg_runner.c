/* SPDX-License-Identifier: MIT */
/* A thread's connection, its answers, pipelines, notifications and chores, with a PostgreSQL. */
#include "unit.h"
#include "wait.h"
#include <stdatomic.h>
#include <time.h>
#include "base/log.h"
#include "database.h"
#include "pg/chore.h"
#include "pg/listener.h"
#include "pg/pipeline.h"
#include "pg/runner.h"

static struct pg_options options_for(const char *conninfo)
{
	return (struct pg_options){ .conninfo = conninfo,
				    .schema = "public",
				    .connect_timeout_ms = 5000,
				    .statement_timeout_ms = 5000 };
}

static usec_t soon(void)
{
	return clock_mono() + 10 * USEC_PER_SEC;
}

static struct pg_connection *open_conn(const char *database, char **conninfo)
{
	struct pg_options o;
	struct pg_connection *c = NULL;

	*conninfo = pg_fixture_database(pg, database, NULL);
	o = options_for(*conninfo);
	ck_assert_int_eq(pg_conn_open(&o, &c, NULL), 0);
	return c;
}

START_TEST(an_answer_is_read_by_type)
{
	static const char sql[] = "SELECT $1::text, NULL::text, -5::int8, 7::int4, true, false";
	const char *values[] = { "a'b" };
	struct pg_query q = { .sql = sql, .n = 1, .values = values };
	struct pg_answer a = { 0 };
	char *conninfo, *copy;
	struct pg_connection *c = open_conn("typed", &conninfo);

	ck_assert_int_eq(pg_answer_rows(&a), 0);
	ck_assert_str_eq(pg_answer_text(&a, 0, 0), "");
	ck_assert_int_eq(pg_answer_int(&a, 0, 0), 0);
	ck_assert_int_eq(pg_conn_run(c, soon(), &q, &a), PG_FINE);
	ck_assert_int_eq(pg_answer_rows(&a), 1);
	ck_assert_int_eq(pg_answer_columns(&a), 6);
	ck_view_eq(pg_answer_view(&a, 0, 0), "a'b");
	ck_assert(!pg_answer_is_null(&a, 0, 0));
	ck_assert(pg_answer_is_null(&a, 0, 1));
	ck_assert_ptr_null(pg_answer_dup(&a, 0, 1));
	copy = pg_answer_dup(&a, 0, 0);
	ck_assert_str_eq(copy, "a'b");
	free(copy);
	ck_assert_int_eq(pg_answer_int(&a, 0, 1), 0);
	ck_assert_int_eq(pg_answer_int(&a, 0, 2), -5);
	ck_assert_int_eq(pg_answer_int(&a, 0, 3), 7);
	ck_assert(pg_answer_bool(&a, 0, 4));
	ck_assert(!pg_answer_bool(&a, 0, 5));
	pg_answer_release(&a);
	ck_assert_int_eq(pg_answer_rows(&a), 0);
	pg_conn_close(c);
	free(conninfo);
}
END_TEST

START_TEST(a_pipeline_skips_what_follows_a_failure)
{
	const struct pg_preparation types = { .name = "all_types",
					      .sql = "SELECT -5::int8, 7::int4, true" };
	const struct pg_preparation failing = { .name = "bad", .sql = "SELECT 1 / 0" };
	struct pg_query all = { .sql = "all_types", .is_prepared = true };
	struct pg_query bad = { .sql = "bad", .is_prepared = true };
	struct pg_answer a = { 0 };
	char *conninfo;
	struct pg_connection *c = open_conn("pipeline", &conninfo);

	ck_assert_int_eq(pg_conn_prepare(c, soon(), &types), PG_FINE);
	ck_assert_int_eq(pg_conn_prepare(c, soon(), &failing), PG_FINE);
	ck_assert(pg_pipeline_begin(c));
	ck_assert(pg_pipeline_add(c, &all));
	ck_assert(pg_pipeline_add(c, &bad));
	ck_assert(pg_pipeline_add(c, &all));
	ck_assert_int_eq(pg_pipeline_send(c, soon()), PG_FINE);
	ck_assert_int_eq(pg_pipeline_read(c, soon(), &a), PG_FINE);
	ck_assert_int_eq(pg_answer_int(&a, 0, 0), -5);
	ck_assert_int_eq(pg_answer_int(&a, 0, 1), 7);
	ck_assert(pg_answer_bool(&a, 0, 2));
	ck_assert_str_eq(pg_answer_command(&a), "SELECT 1");
	pg_answer_release(&a);
	ck_assert_int_eq(pg_pipeline_read(c, soon(), &a), PG_REFUSED);
	ck_assert_ptr_nonnull(strstr(pg_conn_error(c), "division by zero"));
	ck_assert_int_eq(pg_pipeline_read(c, soon(), &a), PG_FINE);
	ck_assert_ptr_null(a.result);
	ck_assert_int_eq(pg_pipeline_end(c, soon()), PG_FINE);
	ck_assert(!pg_conn_is_in_transaction(c));
	ck_assert_int_eq(pg_conn_script(c, soon(), "BEGIN"), PG_FINE);
	ck_assert(pg_conn_is_in_transaction(c));
	pg_conn_close(c);
	free(conninfo);
}
END_TEST

static void keep_payload(void *ctx, const char *payload)
{
	snprintf(ctx, 16, "%s", payload);
}

START_TEST(notifications_that_arrived_during_a_statement_end_the_wait)
{
	char *conninfo, payload[16] = "";
	struct pg_connection *c = open_conn("notify", &conninfo);
	unsigned n = 0;

	ck_assert_int_eq(pg_listener_begin(c, soon(), "news"), PG_FINE);
	ck_assert_int_eq(pg_conn_script(c, soon(), "NOTIFY news, 'a'"), PG_FINE);
	ck_assert_int_eq(pg_conn_script(c, soon(), "NOTIFY news, 'b'"), PG_FINE);
	ck_assert_int_eq(pg_listener_wait(c, -1, soon(), &n), PG_FINE);
	ck_assert_uint_eq(n, 2);
	ck_assert_int_eq(pg_listener_wait(c, -1, clock_mono(), &n), PG_FINE);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(pg_conn_script(c, soon(), "NOTIFY news, 'c'"), PG_FINE);
	ck_assert_uint_eq(pg_listener_take(c, keep_payload, payload), 1);
	ck_assert_str_eq(payload, "c");
	pg_conn_close(c);
	free(conninfo);
}
END_TEST

START_TEST(a_refused_chore_does_not_stop_the_others)
{
	struct pg_chore chores[] = {
		{ .query = { .sql = "SELECT 1 / 0" },
		  .every = 50 * USEC_PER_SEC,
		  .timeout = 30 * USEC_PER_SEC,
		  .on_refusal = "this cannot work" },
		{ .query = { .sql = "INSERT INTO done VALUES (1)" },
		  .every = 60 * USEC_PER_SEC,
		  .timeout = 30 * USEC_PER_SEC },
	};
	struct pg_query count = { .sql = "SELECT count(*) FROM done" };
	struct pg_answer a = { 0 };
	char *conninfo;
	struct pg_connection *c = open_conn("chores", &conninfo);
	usec_t next = 0, now = clock_mono();

	log_set_level(LOG_LEVEL_ERROR);
	ck_assert_int_eq(pg_conn_script(c, soon(), "CREATE TABLE done (n integer)"), PG_FINE);
	ck_assert_int_eq(pg_chores_run(chores, 2, c, "test", &next), PG_FINE);
	ck_assert_int_eq(pg_chores_run(chores, 2, c, "test", &next), PG_FINE);
	ck_assert(next >= now + 50 * USEC_PER_SEC && next < now + 60 * USEC_PER_SEC);
	ck_assert_int_eq(pg_conn_run(c, soon(), &count, &a), PG_FINE);
	ck_assert_int_eq(pg_answer_int(&a, 0, 0), 1);
	pg_answer_release(&a);
	pg_conn_close(c);
	free(conninfo);
}
END_TEST

START_TEST(a_chore_with_more_to_do_is_due_at_once)
{
	struct pg_chore chore = { .query = { .sql = "WITH gone AS (DELETE FROM old WHERE n IN "
						    "(SELECT n FROM old LIMIT 2) RETURNING 1) "
						    "SELECT count(*) = 2 FROM gone" },
				  .every = 60 * USEC_PER_SEC,
				  .timeout = 30 * USEC_PER_SEC };
	struct pg_query count = { .sql = "SELECT count(*) FROM old" };
	struct pg_answer a = { 0 };
	char *conninfo;
	struct pg_connection *c = open_conn("more", &conninfo);
	usec_t next = 0;

	ck_assert_int_eq(
		pg_conn_script(c, soon(), "CREATE TABLE old AS SELECT generate_series(1, 5) n"),
		PG_FINE);
	for (int runs = 1; runs <= 3; runs++) {
		ck_assert_int_eq(pg_chores_run(&chore, 1, c, "test", &next), PG_FINE);
		ck_assert_int_eq(next <= clock_mono(), runs < 3);
	}
	ck_assert_int_eq(pg_conn_run(c, soon(), &count, &a), PG_FINE);
	ck_assert_int_eq(pg_answer_int(&a, 0, 0), 0);
	pg_answer_release(&a);
	pg_conn_close(c);
	free(conninfo);
}
END_TEST

struct served {
	struct pg_runner *runner;
	atomic_uint connections, away, notifications, woken;
};

RUNS_ON(on_db) static enum pg_fault serve_news(void *ctx, struct pg_connection *c)
{
	struct served *s = ctx;
	enum pg_fault fault = pg_listener_begin(c, soon(), "news");

	atomic_fetch_add(&s->connections, 1);
	while (fault == PG_FINE && !pg_runner_is_stopping(s->runner)) {
		struct pg_news news;

		fault = pg_runner_wait(s->runner, c, soon(), &news);
		atomic_fetch_add(&s->notifications, news.notifications);
		atomic_fetch_add(&s->woken, news.is_woken);
	}
	return fault;
}

static void count_away(void *ctx)
{
	struct served *s = ctx;

	atomic_fetch_add(&s->away, 1);
}

START_TEST(a_runner_connects_again_until_it_is_stopped)
{
	struct served s = { .runner = NULL };
	char *conninfo = pg_fixture_database(pg, "runner", NULL);
	struct pg_runner_conf conf = { .name = "runner",
				       .options = options_for(conninfo),
				       .backoff_min_ms = 10,
				       .backoff_max_ms = 100,
				       .serve = serve_news,
				       .on_away = count_away,
				       .ctx = &s };
	PGconn *c;

	ck_assert_int_eq(pg_runner_start(&conf, &s.runner), 0);
	WAIT_UNTIL(s.connections == 1);
	pg_runner_wake(s.runner);
	WAIT_UNTIL(s.woken == 1);
	c = pg_fixture_connect(conninfo);
	WAIT_UNTIL(
		(free(pg_fixture_value(c, "SELECT pg_notify('news', '')")), s.notifications > 0));
	PQfinish(c);
	pg_fixture_stop(pg, "immediate");
	WAIT_UNTIL(s.away > 2);
	pg_fixture_start(pg);
	WAIT_UNTIL(s.connections == 2);
	pg_runner_stop(s.runner);
	free(conninfo);
}
END_TEST

static _Atomic usec_t clock_ahead_us;

static usec_t clock_moved(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000 + clock_ahead_us;
}

static atomic_uint refusals;

static void count_refusal(void *ctx, const char *why)
{
	(void)ctx;
	ck_assert_msg(*why != '\0', "a refusal has its cause");
	atomic_fetch_add(&refusals, 1);
}

/* Its pauses are so long that only the moved clock ends them. */
START_TEST(a_runner_connects_to_a_database_that_comes_minutes_later)
{
	static const usec_t minutes = 5 * 60 * USEC_PER_SEC;
	struct served s = { .runner = NULL };
	char *conninfo = pg_fixture_database(pg, "late", NULL);
	struct pg_runner_conf conf = { .name = "runner",
				       .options = options_for(conninfo),
				       .backoff_min_ms = 60000,
				       .backoff_max_ms = 240000,
				       .serve = serve_news,
				       .on_down = count_refusal,
				       .on_away = count_away,
				       .away_every_ms = 1,
				       .ctx = &s };

	clock_set_source(clock_moved);
	pg_fixture_stop(pg, "immediate");
	ck_assert_int_eq(pg_runner_start(&conf, &s.runner), 0);
	for (unsigned n = 1; n <= 4; n++) {
		unsigned away;

		WAIT_UNTIL(refusals == n);
		away = s.away;
		WAIT_UNTIL(s.away > away + 2);
		ck_assert_uint_eq(refusals, n);
		if (n == 4)
			pg_fixture_start(pg);
		clock_ahead_us += minutes;
	}
	WAIT_UNTIL(s.connections == 1);
	ck_assert_uint_eq(refusals, 4);
	pg_runner_stop(s.runner);
	clock_set_source(NULL);
	free(conninfo);
}
END_TEST

START_TEST(a_runner_is_woken_and_stops_while_the_database_is_away)
{
	struct served s = { .runner = NULL };
	struct pg_runner_conf conf = { .name = "runner",
				       .options = options_for("host=/nowhere"),
				       .backoff_min_ms = 60000,
				       .backoff_max_ms = 60000,
				       .serve = serve_news,
				       .on_away = count_away,
				       .ctx = &s };

	ck_assert_int_eq(pg_runner_start(&conf, &s.runner), 0);
	WAIT_UNTIL(s.away == 1);
	pg_runner_wake(s.runner);
	WAIT_UNTIL(s.away == 2);
	pg_runner_stop(s.runner);
	ck_assert_uint_eq(s.connections, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pg/runner");
	TCase *t = tcase_create("pg_runner");

	tcase_add_unchecked_fixture(t, database_set_up, database_tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, an_answer_is_read_by_type);
	tcase_add_test(t, a_pipeline_skips_what_follows_a_failure);
	tcase_add_test(t, notifications_that_arrived_during_a_statement_end_the_wait);
	tcase_add_test(t, a_refused_chore_does_not_stop_the_others);
	tcase_add_test(t, a_chore_with_more_to_do_is_due_at_once);
	tcase_add_test(t, a_runner_connects_again_until_it_is_stopped);
	tcase_add_test(t, a_runner_connects_to_a_database_that_comes_minutes_later);
	tcase_add_test(t, a_runner_is_woken_and_stops_while_the_database_is_away);
	suite_add_tcase(s, t);
	return unit_run(s);
}
