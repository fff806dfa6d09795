/* SPDX-License-Identifier: MIT */
/* The table apps and the log's partitions, against a real PostgreSQL. */
#include "unit_app.h"
#include "wait.h"
#include <poll.h>
#include "base/clock.h"
#include "base/mem.h"
#include "database.h"
#include "log/housekeeper.h"

static struct conf conf;
static struct keeper *keeper;
static char *conninfo;
static PGconn *c;
static atomic_uint changes;

static void on_change(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&changes, 1);
}

static struct app_set *one_app(const char *id, const char *key)
{
	struct app *app = UNIT_APP_AS(id, "key", key);

	return unit_app_set(&app, 1);
}

static void begin(const char *database)
{
	conf.database = (struct conf_database){ .schema = (char *)"scopewire",
						.password = (char *)"",
						.connect_timeout_s = 5,
						.partition_rows = 1000,
						.partitions_ahead = 3 };
	conf.apps = one_app("from-file", "file-key");
	conninfo = database_new(database, &c);
	apps_install(app_set_ref(conf.apps));
	ck_assert_int_eq(keeper_start(&conf, conninfo, on_change, NULL, &keeper), 0);
	WAIT_UNTIL(atomic_load(&changes) > 0);
}

static void finish(void)
{
	keeper_stop(keeper);
	apps_install(NULL);
	app_set_unref(conf.apps);
	PQfinish(c);
	free(conninfo);
}

static void run_sql(const char *sql)
{
	database_run(c, sql);
}

/* Of the app with that key; -1 when there is none. */
static int max_connections(const char *key)
{
	struct app_set *set = apps_current();
	struct app *app = app_set_by_key(set, sv(key));
	int n = app && app->enabled ? (int)app->limits.max_connections : -1;

	app_set_unref(set);
	return n;
}

START_TEST(the_table_is_followed)
{
	begin("followed");
	run_sql("INSERT INTO apps(id, key, secret, max_connections, enable_client_messages) "
		"VALUES ('a', 'a-key', 's', 100, true)");
	WAIT_UNTIL(max_connections("a-key") == 100);
	run_sql("UPDATE apps SET max_connections = -1");
	WAIT_UNTIL(max_connections("a-key") == 0);
	run_sql("UPDATE apps SET options = '{\"max_connections\": 7}', max_connections = NULL");
	WAIT_UNTIL(max_connections("a-key") == 7);
	run_sql("DELETE FROM apps");
	WAIT_UNTIL(max_connections("a-key") == -1);
	ck_assert_int_eq(max_connections("file-key"), 0);
	finish();
}
END_TEST

START_TEST(the_table_wins_over_the_file)
{
	begin("wins");
	run_sql("INSERT INTO apps(id, key, secret, max_connections) "
		"VALUES ('from-file', 'new-key', 's', 5)");
	WAIT_UNTIL(max_connections("new-key") == 5);
	ck_assert_int_eq(max_connections("file-key"), -1);
	finish();
}
END_TEST

START_TEST(a_bad_row_harms_no_other)
{
	begin("bad_row");
	run_sql("INSERT INTO apps(id, key, secret, options) VALUES "
		"('bad', 'bad-key', 's', '{\"durability\": \"sometimes\"}'), "
		"('good', 'good-key', 's', NULL)");
	WAIT_UNTIL(max_connections("good-key") == 0);
	ck_assert_int_eq(max_connections("bad-key"), -1);
	/* Two apps with the file's key: what was in force stays. */
	run_sql("INSERT INTO apps(id, key, secret) VALUES ('thief', 'file-key', 's')");
	run_sql("UPDATE apps SET max_connections = 9 WHERE id = 'good'");
	run_sql("DELETE FROM apps WHERE id = 'thief'");
	WAIT_UNTIL(max_connections("good-key") == 9);
	finish();
}
END_TEST

START_TEST(an_outage_changes_nothing)
{
	struct app_set *file;

	begin("an_outage");
	run_sql("INSERT INTO apps(id, key, secret) VALUES ('a', 'a-key', 's')");
	WAIT_UNTIL(max_connections("a-key") == 0);
	pg_fixture_stop(pg, "immediate");
	file = one_app("other", "other-key");
	keeper_set_file_apps(keeper, file);
	app_set_unref(file);
	WAIT_UNTIL(max_connections("other-key") == 0);
	ck_assert_int_eq(max_connections("file-key"), -1);
	ck_assert_int_eq(max_connections("a-key"), 0);
	pg_fixture_start(pg);
	PQfinish(c);
	c = pg_fixture_connect(conninfo);
	run_sql("UPDATE apps SET max_connections = 3");
	WAIT_UNTIL(max_connections("a-key") == 3);
	finish();
}
END_TEST

START_TEST(partitions_are_made_ahead)
{
	begin("partitions");
	/* The migration's are of a million; then come three of a thousand. */
	run_sql("SELECT setval('realtime_events_serial', 1999999)");
	keeper_stop(keeper);
	ck_assert_int_eq(keeper_start(&conf, conninfo, on_change, NULL, &keeper), 0);
	WAIT_UNTIL(pg_fixture_number(c, "SELECT log_partition_end('realtime_events')") == 2003001);
	ck_assert_int_eq(pg_fixture_number(c, "SELECT log_partition_end('realtime_deliveries')"),
			 2003001);
	finish();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("store/keeper");
	TCase *t = tcase_create("keeper");

	tcase_add_unchecked_fixture(t, database_set_up, database_tear_down);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, the_table_is_followed);
	tcase_add_test(t, the_table_wins_over_the_file);
	tcase_add_test(t, a_bad_row_harms_no_other);
	tcase_add_test(t, an_outage_changes_nothing);
	tcase_add_test(t, partitions_are_made_ahead);
	suite_add_tcase(s, t);
	return unit_run(s);
}
