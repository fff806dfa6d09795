/* SPDX-License-Identifier: MIT */
/* How heartbeats and sockets become batches, against a real PostgreSQL. */
#include "wait.h"
#include "unit_app.h"
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include "database.h"
#include "svc/presence_db.h"

static struct pg_pool *pool;
static struct presence_db *presence;
static struct conf_sync conf;
static atomic_uint alone;
static struct app *app;
static char *conninfo;
static PGconn *db;

struct tally {
	atomic_uint n, fine, refused, busy, stopped;
	char status[16], seen_at[32];
	unsigned ttl_s;
};

static char **words(const char *a)
{
	static char *list[2];

	list[0] = (char *)a;
	return list;
}

/* start: with the pool running, so that batches are sent. */
static void begin(const char *database, bool start)
{
	struct pg_pool_conf pc = { .options.password = "",
				   .options.schema = "scopewire",
				   .connections = 1,
				   .max_open = 100,
				   .options.connect_timeout_ms = 5000,
				   .options.statement_timeout_ms = 10000 };

	conninfo = database_new(database, &db);
	database_run(db, "INSERT INTO log_apps VALUES ('portal', 200, 200, 10000)");
	conf = (struct conf_sync){ .max_waiting = 5000,
				   .presence_channels = words("presence-online"),
				   .presence_ttl_s = 3600,
				   .presence_batch_ms = 10 };
	pc.options.conninfo = conninfo;
	pool = pg_pool_new(&pc);
	presence = presence_db_new(pool, &conf, &alone);
	app = UNIT_APP();
	if (!start)
		return;
	ck_assert_int_eq(pg_pool_start(pool), 0);
	WAIT_UNTIL(pg_pool_is_up(pool));
}

static void finish(void)
{
	pg_pool_stop(pool);
	presence_db_stop(presence);
	presence_db_free(presence);
	pg_pool_free(pool);
	PQfinish(db);
	free(conninfo);
	app_unref(app);
}

static void on_beat(void *ctx, const struct pg_answer *a, const struct presence_db_reply *said)
{
	struct tally *t = ctx;

	ck_assert_int_eq(said != NULL, a->rc == 0);
	if (said) {
		snprintf(t->status, sizeof(t->status), "%s", said->status);
		snprintf(t->seen_at, sizeof(t->seen_at), "%s", said->seen_at);
		t->ttl_s = said->ttl_s;
	}
	t->fine += a->rc == 0;
	t->refused += a->rc == -EINVAL;
	t->busy += a->rc == -EAGAIN;
	t->stopped += a->rc == -ECANCELED;
	t->n++;
}

static void beat(int id, const char *status, const char *location, struct tally *t)
{
	char user_id[USER_ID_SIZE];
	struct presence_db_heartbeat b = {
		.app = app, .user_id = user_id, .status = status, .location = location
	};

	snprintf(user_id, sizeof(user_id), "%d", id);
	presence_db_heartbeat(presence, &b, on_beat, t);
}

/* So many rows of user_presence fit the condition. */
static long long count(const char *condition)
{
	char sql[256];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM user_presence WHERE %s", condition);
	return pg_fixture_number(db, sql);
}

static long long told(void)
{
	return pg_fixture_number(db, "SELECT count(*) FROM realtime_events");
}

START_TEST(heartbeats_of_one_user_are_one_entry)
{
	struct tally t = { .n = 0 };

	begin("gathered", false);
	beat(7, "online", "/a", &t);
	beat(7, "away", NULL, &t);
	beat(8, "online", NULL, &t);
	beat(7, "busy", NULL, &t);
	ck_assert_int_eq(pg_pool_start(pool), 0);
	WAIT_UNTIL(t.n == 4);
	ck_assert_uint_eq(t.fine, 4);
	ck_assert_uint_eq(t.ttl_s, 3600);
	ck_assert_uint_eq(strlen(t.seen_at), CLOCK_ISO_SIZE - 1);
	ck_assert_int_eq(count("user_id = 7 AND status = 'busy' AND location = '/a'"), 1);
	ck_assert_int_eq(told(), 2); /* the states in between are not sent */
	ck_assert_int_eq(pg_fixture_number(db, "SELECT count(DISTINCT last_seen_at) "
					       "FROM user_presence"),
			 1);
	finish();
}
END_TEST

START_TEST(more_entries_than_a_batch_are_several_batches)
{
	struct tally t = { .n = 0 };

	begin("several", false);
	for (int i = 1; i <= 4500; i++)
		beat(i, "online", NULL, &t);
	ck_assert_int_eq(pg_pool_start(pool), 0);
	WAIT_UNTIL(t.n == 4500);
	ck_assert_uint_eq(t.fine, 4500);
	ck_assert_int_eq(count("true"), 4500);
	ck_assert_int_eq(pg_fixture_number(db, "SELECT count(DISTINCT last_seen_at) "
					       "FROM user_presence"),
			 3);
	finish();
}
END_TEST

START_TEST(a_heartbeat_over_max_waiting_is_refused_at_once)
{
	struct tally t = { .n = 0 };

	begin("bound", false);
	conf.max_waiting = 3;
	for (int i = 0; i < 5; i++)
		beat(1, "online", NULL, &t);
	ck_assert_uint_eq(t.busy, 2);
	ck_assert_int_eq(pg_pool_start(pool), 0);
	WAIT_UNTIL(t.fine == 3);
	beat(1, "online", NULL, &t); /* the places are free again */
	WAIT_UNTIL(t.fine == 4);
	finish();
}
END_TEST

START_TEST(a_refused_batch_is_retried_entry_by_entry)
{
	struct tally good = { .n = 0 }, bad = { .n = 0 };

	begin("refused", false);
	free(pg_fixture_value(db, "ALTER TABLE user_presence ADD CHECK (user_id <> 66)"));
	for (int i = 60; i < 70; i++)
		beat(i, "online", NULL, i == 66 ? &bad : &good);
	ck_assert_int_eq(pg_pool_start(pool), 0);
	WAIT_UNTIL(good.n == 9 && bad.n == 1);
	ck_assert_uint_eq(good.fine, 9);
	ck_assert_uint_eq(bad.refused, 1);
	ck_assert_int_eq(count("true"), 9);
	beat(70, "online", NULL, &good); /* and it goes on as before */
	WAIT_UNTIL(good.fine == 10);
	finish();
}
END_TEST

START_TEST(waiting_heartbeats_are_answered_at_stop)
{
	struct tally t = { .n = 0 };

	begin("at_end", false);
	beat(1, "online", NULL, &t);
	beat(2, "online", NULL, &t);
	presence_db_stop(presence);
	ck_assert_uint_eq(t.stopped, 2);
	beat(3, "online", NULL, &t);
	ck_assert_uint_eq(t.stopped, 3);
	finish();
}
END_TEST

START_TEST(a_user_is_present_until_its_last_connection_closes)
{
	struct tally t = { .n = 0 };

	begin("sockets", true);
	presence_db_on_user(presence, app, SV("7"), true);
	presence_db_on_user(presence, app, SV("7"), true);
	WAIT_UNTIL(count("user_id = 7 AND status = 'online'") == 1);
	presence_db_on_user(presence, app, SV("7"), false);
	presence_db_on_user(presence, app, SV("ada"), true);
	presence_db_on_user(presence, app, SV("0"), true);
	presence_db_on_user(presence, app, SV(""), true);
	presence_db_on_user(presence, app, SV("9223372036854775808"), true);
	beat(1, "online", NULL, &t);
	WAIT_UNTIL(t.fine == 1); /* whatever was to come of those has */
	ck_assert_int_eq(count("user_id = 7 AND status = 'online'"), 1);
	ck_assert_int_eq(count("true"), 2);
	presence_db_on_user(presence, app, SV("7"), false);
	WAIT_UNTIL(count("user_id = 7 AND status = 'offline'") == 1);
	finish();
}
END_TEST

START_TEST(a_heartbeat_overrides_a_connection_in_the_same_batch)
{
	struct tally t = { .n = 0 };

	begin("wins", false);
	presence_db_on_user(presence, app, SV("7"), true);
	beat(7, "busy", NULL, &t);
	presence_db_on_user(presence, app, SV("8"), true);
	beat(8, "away", NULL, &t);
	presence_db_on_user(presence, app, SV("8"), false);
	presence_db_on_user(presence, app, SV("9"), true);
	presence_db_on_user(presence, app, SV("9"), false);
	ck_assert_int_eq(pg_pool_start(pool), 0);
	WAIT_UNTIL(t.fine == 2);
	ck_assert_int_eq(count("user_id = 7 AND status = 'busy'"), 1);
	ck_assert_int_eq(count("user_id = 8 AND status = 'away'"), 1);
	ck_assert_int_eq(count("user_id = 9"), 0); /* came and went unseen */
	finish();
}
END_TEST

START_TEST(an_invalid_presence_channel_is_left_out)
{
	static char good[] = "presence-online", bad[] = "no channel", user[] = "#server-to-user-1";
	char *names[] = { bad, good, user, NULL };
	struct presence_db *p;

	begin("channels", false);
	conf.presence_channels = names;
	p = presence_db_new(pool, &conf, &alone);
	ck_assert_str_eq(presence_db_channels(p), "{\"presence-online\"}");
	ck_assert_str_eq(presence_db_ttl(p), "3600");
	presence_db_free(p);
	conf.presence_channels = NULL;
	p = presence_db_new(pool, &conf, &alone);
	ck_assert_str_eq(presence_db_channels(p), "{}");
	presence_db_free(p);
	finish();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("svc/presence_db");
	TCase *t = tcase_create("presence");

	tcase_set_timeout(t, 120);
	tcase_add_unchecked_fixture(t, database_set_up, database_tear_down);
	tcase_add_test(t, heartbeats_of_one_user_are_one_entry);
	tcase_add_test(t, more_entries_than_a_batch_are_several_batches);
	tcase_add_test(t, a_heartbeat_over_max_waiting_is_refused_at_once);
	tcase_add_test(t, a_refused_batch_is_retried_entry_by_entry);
	tcase_add_test(t, waiting_heartbeats_are_answered_at_stop);
	tcase_add_test(t, a_user_is_present_until_its_last_connection_closes);
	tcase_add_test(t, a_heartbeat_overrides_a_connection_in_the_same_batch);
	tcase_add_test(t, an_invalid_presence_channel_is_left_out);
	suite_add_tcase(s, t);
	return unit_run(s);
}
