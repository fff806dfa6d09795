/* SPDX-License-Identifier: MIT */
/* The pool of connections, against a real PostgreSQL that is cut, stopped and started again. */
#include "unit.h"
#include "wait.h"
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "database.h"
#include "pg/chore.h"

static const struct pg_statement sum = { .sql = "SELECT $1::integer + $2::integer",
					 .is_repeatable = true };
static const struct pg_statement text_of = { .sql = "SELECT $1::text, $2::text IS NULL" };
static const struct pg_statement divide = { .sql = "SELECT 1 / $1::integer" };
static const struct pg_statement no_table = { .sql = "SELECT * FROM nowhere" };
static const struct pg_statement rest = { .sql = "SELECT pg_sleep(30)", .timeout_ms = 50 };
static const struct pg_statement rest_long = { .sql = "SELECT pg_sleep(30)" };
static const struct pg_statement once = {
	.sql = "WITH r AS (INSERT INTO seen SELECT $1::integer RETURNING 1) "
	       "SELECT pg_sleep(9) FROM r"
};

static struct pg_pool *pool;
static char *conninfo;

struct tally {
	atomic_uint n, fine, refused, lost, away, timeout, cancelled, busy;
	atomic_llong sum;
	char state[8], text[16];
};

static atomic_uint *counter(struct tally *t, int rc)
{
	switch (rc) {
	case 0:
		return &t->fine;
	case -EINVAL:
		return &t->refused;
	case -ECONNABORTED:
		return &t->lost;
	case -EHOSTDOWN:
		return &t->away;
	case -ETIMEDOUT:
		return &t->timeout;
	case -EAGAIN:
		return &t->busy;
	default:
		return &t->cancelled;
	}
}

static void on_done(void *ctx, const struct pg_answer *a)
{
	struct tally *t = ctx;

	if (a->rc == 0) {
		snprintf(t->text, sizeof(t->text), "%s", pg_answer_text(a, 0, 0));
		atomic_fetch_add(&t->sum, strtol(pg_answer_text(a, 0, 0), NULL, 10));
	} else {
		snprintf(t->state, sizeof(t->state), "%s", a->sqlstate);
	}
	atomic_fetch_add(counter(t, a->rc), 1);
	atomic_fetch_add(&t->n, 1);
}

static void begin_with(struct pg_pool_conf conf, const char *database)
{
	conninfo = pg_fixture_database(pg, database, NULL);
	conf.options.conninfo = conninfo;
	pool = pg_pool_new(&conf);
	ck_assert_int_eq(pg_pool_start(pool), 0);
	WAIT_UNTIL(pg_pool_is_up(pool));
}

static void begin(const char *database, unsigned connections, unsigned max_open)
{
	struct pg_pool_conf conf = { .options.password = "",
				     .options.schema = "public",
				     .connections = connections,
				     .max_open = max_open,
				     .options.connect_timeout_ms = 5000,
				     .options.statement_timeout_ms = 10000 };

	begin_with(conf, database);
}

static void finish(void)
{
	pg_pool_free(pool);
	free(conninfo);
}

static void ask(const struct pg_statement *st, const char *a, const char *b, struct tally *t)
{
	const char *values[] = { a, b };
	struct pg_call call = { .statement = st, .n = b ? 2 : a ? 1 : 0, .values = values };

	pg_pool_call(pool, &call, on_done, t);
}

static void close_all_connections(void)
{
	PGconn *c = pg_fixture_connect(conninfo);

	free(pg_fixture_value(c, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
				 "WHERE application_name = 'scopewired' "
				 "AND datname = current_database()"));
	PQfinish(c);
}

START_TEST(a_refusal_has_its_sqlstate)
{
	struct tally t = { .n = 0 };
	const char *values[] = { "a'b\"", NULL };
	struct pg_call call = { .statement = &text_of, .n = 2, .values = values };

	begin("answers", 2, 100);
	pg_pool_call(pool, &call, on_done, &t);
	WAIT_UNTIL(t.n == 1);
	ck_assert_str_eq(t.text, "a'b\"");
	ask(&divide, "0", NULL, &t);
	WAIT_UNTIL(t.n == 2);
	ck_assert_str_eq(t.state, "22012");
	ask(&divide, "x", NULL, &t);
	WAIT_UNTIL(t.n == 3);
	ck_assert_str_eq(t.state, "22P02");
	ask(&no_table, NULL, NULL, &t);
	ask(&no_table, NULL, NULL, &t);
	WAIT_UNTIL(t.n == 5);
	ck_assert_str_eq(t.state, "42P01");
	ask(&divide, "1", NULL, &t);
	WAIT_UNTIL(t.n == 6);
	ck_assert_uint_eq(t.fine, 2);
	ck_assert_uint_eq(t.refused, 4);
	finish();
}
END_TEST

START_TEST(each_statement_gets_its_own_answer)
{
	struct tally t = { .n = 0 };
	char a[12];

	begin("many", 3, 5000);
	for (int i = 0; i < 4000; i++) {
		snprintf(a, sizeof(a), "%d", i);
		ask(&sum, a, "1", &t);
	}
	WAIT_UNTIL(t.n == 4000);
	ck_assert_uint_eq(t.fine, 4000);
	ck_assert_int_eq(t.sum, 4000LL * 4001 / 2);
	finish();
}
END_TEST

START_TEST(a_statement_over_max_open_is_refused_at_once)
{
	struct tally t = { .n = 0 };

	begin("bound", 1, 3);
	for (int i = 0; i < 5; i++)
		ask(&rest_long, NULL, NULL, &t);
	ck_assert_uint_eq(t.busy, 2);
	finish();
	ck_assert_uint_eq(t.n, 5);
	ck_assert_uint_eq(t.cancelled, 3);
}
END_TEST

START_TEST(a_statement_has_its_own_timeout)
{
	struct tally t = { .n = 0 };

	begin("timeout", 1, 10);
	ask(&rest, NULL, NULL, &t);
	ask(&sum, "1", "1", &t);
	WAIT_UNTIL(t.n == 2);
	ck_assert_uint_eq(t.timeout, 1);
	ck_assert_uint_eq(t.fine, 1);
	finish();
}
END_TEST

START_TEST(only_repeatable_statements_are_retried)
{
	struct tally reads = { .n = 0 }, writes = { .n = 0 };
	PGconn *c;

	begin("cut", 1, 100);
	c = pg_fixture_connect(conninfo);
	free(pg_fixture_value(c, "CREATE TABLE seen (n integer)"));
	ask(&once, "1", NULL, &writes);
	ask(&sum, "2", "3", &reads);
	WAIT_UNTIL(pg_fixture_number(c,
				     "SELECT count(*) FROM pg_stat_activity WHERE "
				     "datname = current_database() AND "
				     "application_name = 'scopewired' AND state = 'active'") == 1);
	close_all_connections();
	WAIT_UNTIL(writes.n == 1 && reads.n == 1);
	ck_assert_uint_eq(writes.lost, 1);
	ck_assert_uint_eq(reads.fine, 1);
	ck_assert_int_eq(reads.sum, 5);
	ck_assert_int_eq(pg_fixture_number(c, "SELECT count(*) FROM seen"), 0);
	PQfinish(c);
	finish();
}
END_TEST

START_TEST(a_statement_fails_at_once_while_the_database_is_away)
{
	struct tally t = { .n = 0 };

	begin("away", 2, 100);
	pg_fixture_stop(pg, "immediate");
	WAIT_UNTIL(!pg_pool_is_up(pool));
	ask(&sum, "1", "1", &t);
	WAIT_UNTIL(t.n == 1);
	ck_assert_uint_eq(t.away, 1);
	pg_fixture_start(pg);
	WAIT_UNTIL(pg_pool_is_up(pool));
	ask(&sum, "1", "1", &t);
	WAIT_UNTIL(t.n == 2);
	ck_assert_uint_eq(t.fine, 1);
	finish();
}
END_TEST

static void count_tick(void *ctx)
{
	atomic_fetch_add((atomic_uint *)ctx, 1);
}

struct received {
	atomic_uint payloads, gaps;
	char last[16];
};

static void on_notify(void *ctx, const char *payload)
{
	struct received *h = ctx;

	if (!payload) {
		atomic_fetch_add(&h->gaps, 1);
		return;
	}
	snprintf(h->last, sizeof(h->last), "%s", payload);
	atomic_fetch_add(&h->payloads, 1);
}

static void notify(const char *payload)
{
	PGconn *c = pg_fixture_connect(conninfo);
	char sql[64];

	snprintf(sql, sizeof(sql), "SELECT pg_notify('news', '%s')", payload);
	free(pg_fixture_value(c, sql));
	PQfinish(c);
}

START_TEST(payloads_and_gaps_are_passed_to_the_listener)
{
	struct received h = { .last = "" };
	struct tally t = { .n = 0 };
	struct pg_pool_conf conf = { .options.password = "",
				     .options.schema = "public",
				     .connections = 2,
				     .max_open = 100,
				     .depth = 1,
				     .options.connect_timeout_ms = 5000,
				     .options.statement_timeout_ms = 10000,
				     .listen = "news",
				     .on_notify = on_notify,
				     .notify_ctx = &h };
	unsigned gaps;

	begin_with(conf, "heard");
	WAIT_UNTIL(h.gaps == 2);
	notify("first");
	WAIT_UNTIL(h.payloads == 2);
	ck_assert_str_eq(h.last, "first");
	gaps = h.gaps;
	close_all_connections();
	WAIT_UNTIL(h.gaps >= gaps + 4);
	notify("second");
	WAIT_UNTIL(h.payloads == 4);
	ck_assert_str_eq(h.last, "second");
	for (int i = 0; i < 50; i++)
		ask(&sum, "1", "2", &t);
	WAIT_UNTIL(t.n == 50);
	ck_assert_uint_eq(t.fine, 50);
	finish();
}
END_TEST

START_TEST(a_timer_runs_without_a_database)
{
	struct pg_pool_conf conf = { .options.conninfo = "host=/nowhere",
				     .options.schema = "public",
				     .connections = 1,
				     .options.connect_timeout_ms = 100 };
	atomic_uint ticks = 0;

	pool = pg_pool_new(&conf);
	pg_pool_every(pool, 5, count_tick, &ticks);
	ck_assert_int_eq(pg_pool_start(pool), 0);
	WAIT_UNTIL(ticks > 3);
	pg_pool_free(pool);
}
END_TEST

START_TEST(a_timer_for_open_statements_does_not_run_in_an_idle_pool)
{
	static const struct pg_statement short_rest = { .sql = "SELECT 0, pg_sleep(2)" };
	struct pg_pool_conf conf = { .options.schema = "public",
				     .connections = 1,
				     .max_open = 10,
				     .options.connect_timeout_ms = 5000,
				     .options.statement_timeout_ms = 10000 };
	atomic_uint ticks = 0, open_ticks = 0;
	struct tally t = { .n = 0 };

	conninfo = pg_fixture_database(pg, "timers", NULL);
	conf.options.conninfo = conninfo;
	pool = pg_pool_new(&conf);
	pg_pool_every(pool, 5, count_tick, &ticks);
	pg_pool_while_open(pool, 5, count_tick, &open_ticks);
	ck_assert_int_eq(pg_pool_start(pool), 0);
	WAIT_UNTIL(pg_pool_is_up(pool) && ticks > 3);
	ck_assert_uint_eq(open_ticks, 0);
	ask(&short_rest, NULL, NULL, &t);
	WAIT_UNTIL(t.n == 1);
	ck_assert_uint_eq(t.fine, 1);
	ck_assert_uint_gt(open_ticks, 0);
	finish();
}
END_TEST

/* -- chores: their lines are read from a file -- */

static char log_path[32], log_text[65536];
static atomic_uint chore_runs;

/* Called when no run is under way: what was counted before has its answer. */
static bool count_run(void *ctx)
{
	atomic_fetch_add((atomic_uint *)ctx, 1);
	return true;
}

static unsigned count_in_log(const char *words)
{
	FILE *f = fopen(log_path, "r");
	unsigned n = 0;

	ck_assert_ptr_nonnull(f);
	log_text[fread(log_text, 1, sizeof(log_text) - 1, f)] = '\0';
	fclose(f);
	for (const char *at = log_text; (at = strstr(at, words)); at += strlen(words))
		n++;
	return n;
}

/* Every 5 ms; until the words are in the log. */
static void run_chore(struct pg_pool_chore *chore, const char *words)
{
	struct pg_pool_conf conf = { .options.conninfo = conninfo,
				     .options.schema = "public",
				     .connections = 1,
				     .max_open = 10,
				     .options.connect_timeout_ms = 5000,
				     .options.lock_timeout_ms = 10,
				     .options.statement_timeout_ms = 10000 };
	int fd;

	snprintf(log_path, sizeof(log_path), "/tmp/test_pg_pool.XXXXXX");
	fd = mkstemp(log_path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	log_set_level(LOG_LEVEL_WARN);
	ck_assert_int_eq(log_use_file(log_path), 0);
	chore->every_ms = 5;
	chore->is_due = count_run;
	chore->ctx = &chore_runs;
	pool = pg_pool_new(&conf);
	pg_pool_chore_add(pool, chore);
	ck_assert_int_eq(pg_pool_start(pool), 0);
	WAIT_UNTIL(count_in_log(words));
}

static void finish_chore(void)
{
	finish();
	ck_assert_int_eq(log_use_file(""), 0);
	unlink(log_path);
}

START_TEST(a_chore_that_exceeds_its_timeout_is_logged_once)
{
	struct pg_pool_chore chore = { .name = "a long chore", .statement = &rest };
	unsigned seen;

	conninfo = pg_fixture_database(pg, "long_chore", NULL);
	run_chore(&chore, "a long chore: exceeded the timeout of its statement");
	ck_assert_ptr_nonnull(strstr(log_text, "Raise sync.statement_timeout_ms"));
	seen = chore_runs;
	WAIT_UNTIL(chore_runs > seen + 5);
	ck_assert_uint_eq(count_in_log("a long chore"), 1);
	finish_chore();
}
END_TEST

START_TEST(a_chore_that_gets_no_lock_is_logged_after_some_runs)
{
	static const struct pg_statement write = { .sql = "INSERT INTO held VALUES (1)",
						   .takes_locks = true };
	struct pg_pool_chore chore = { .name = "a blocked chore", .statement = &write };
	unsigned seen;
	PGconn *holder;

	conninfo = pg_fixture_database(pg, "blocked_chore", NULL);
	holder = pg_fixture_connect(conninfo);
	PQclear(PQexec(holder, "CREATE TABLE held (n integer)"));
	PQclear(PQexec(holder, "BEGIN; LOCK TABLE held"));
	run_chore(&chore, "a blocked chore: another transaction holds a lock");
	seen = chore_runs;
	ck_assert_uint_ge(seen, PG_DELAY_RUNS);
	WAIT_UNTIL(chore_runs > seen + PG_DELAY_RUNS);
	ck_assert_uint_eq(count_in_log("a blocked chore"), 1);
	PQfinish(holder);
	finish_chore();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pg/pool");
	TCase *t = tcase_create("pg_pool");

	tcase_add_unchecked_fixture(t, database_set_up, database_tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_refusal_has_its_sqlstate);
	tcase_add_test(t, each_statement_gets_its_own_answer);
	tcase_add_test(t, a_statement_over_max_open_is_refused_at_once);
	tcase_add_test(t, a_statement_has_its_own_timeout);
	tcase_add_test(t, only_repeatable_statements_are_retried);
	tcase_add_test(t, a_statement_fails_at_once_while_the_database_is_away);
	tcase_add_test(t, payloads_and_gaps_are_passed_to_the_listener);
	tcase_add_test(t, a_timer_runs_without_a_database);
	tcase_add_test(t, a_timer_for_open_statements_does_not_run_in_an_idle_pool);
	tcase_add_test(t, a_chore_that_exceeds_its_timeout_is_logged_once);
	tcase_add_test(t, a_chore_that_gets_no_lock_is_logged_after_some_runs);
	suite_add_tcase(s, t);
	return unit_run(s);
}
