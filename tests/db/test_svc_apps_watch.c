/* SPDX-License-Identifier: MIT */
/* The table apps overlays the configuration, against a real PostgreSQL. */
#include "unit_app.h"
#include "wait.h"
#include <poll.h>
#include "base/clock.h"
#include "base/mem.h"
#include "database.h"
#include "svc/apps_watch.h"

static struct conf conf;
static struct apps_watch *watch;
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
	ck_assert_int_eq(apps_watch_start(&conf, conninfo, on_change, NULL, &watch), 0);
	WAIT_UNTIL(atomic_load(&changes) > 0);
}

static void finish(void)
{
	apps_watch_stop(watch);
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

START_TEST(a_change_of_the_table_is_in_force_at_once)
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

START_TEST(a_row_replaces_the_app_of_the_file_with_its_id)
{
	begin("wins");
	run_sql("INSERT INTO apps(id, key, secret, max_connections) "
		"VALUES ('from-file', 'new-key', 's', 5)");
	WAIT_UNTIL(max_connections("new-key") == 5);
	ck_assert_int_eq(max_connections("file-key"), -1);
	finish();
}
END_TEST

START_TEST(a_bad_row_is_left_out_and_the_others_are_in_force)
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

START_TEST(apps_stay_in_force_while_the_database_is_away)
{
	struct app_set *file;

	begin("an_outage");
	run_sql("INSERT INTO apps(id, key, secret) VALUES ('a', 'a-key', 's')");
	WAIT_UNTIL(max_connections("a-key") == 0);
	pg_fixture_stop(pg, "immediate");
	file = one_app("other", "other-key");
	apps_watch_set_file(watch, file);
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

int main(void)
{
	Suite *s = suite_create("svc/apps_watch");
	TCase *t = tcase_create("apps_watch");

	tcase_add_unchecked_fixture(t, database_set_up, database_tear_down);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, a_change_of_the_table_is_in_force_at_once);
	tcase_add_test(t, a_row_replaces_the_app_of_the_file_with_its_id);
	tcase_add_test(t, a_bad_row_is_left_out_and_the_others_are_in_force);
	tcase_add_test(t, apps_stay_in_force_while_the_database_is_away);
	suite_add_tcase(s, t);
	return unit_run(s);
}
