/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include "unit.h"
#include "database.h"
#include "migrated.h"
#include "pg/locks.h"

static void migrate(const char *conninfo)
{
	char *why = NULL;
	int rc = migrated(conninfo, "scopewire", &why);

	ck_assert_msg(rc == 0, "%d: %s", rc, why);
	ck_assert_ptr_null(why);
}

START_TEST(a_second_run_changes_nothing)
{
	char *conninfo = pg_fixture_database(pg, "twice", NULL);
	PGconn *c;

	migrate(conninfo);
	c = pg_fixture_connect(conninfo);
	ck_assert_int_eq(pg_fixture_number(c, "SELECT count(*) FROM schema_migrations"),
			 migrations_count);
	migrate(conninfo);
	ck_assert_int_eq(pg_fixture_number(c, "SELECT count(*) FROM schema_migrations"),
			 migrations_count);
	PQfinish(c);
	free(conninfo);
}
END_TEST

START_TEST(a_plain_insert_waits_as_pending)
{
	char *conninfo = pg_fixture_database(pg, "plain", NULL);
	PGconn *c;

	migrate(conninfo);
	c = pg_fixture_connect(conninfo);
	free(pg_fixture_value(c, "INSERT INTO realtime_events(channel, event_type, payload) "
				 "VALUES ('a', 'B', '{\"x\":  1}')"));
	ck_assert_int_eq(pg_fixture_number(c, "SELECT count(*) FROM realtime_events_pending "
					      "WHERE serial = 0 AND NOT delivered AND "
					      "payload::text = '{\"x\":  1}'"),
			 1);
	PQfinish(c);
	free(conninfo);
}
END_TEST

START_TEST(partitions_are_made_ahead)
{
	char *conninfo = pg_fixture_database(pg, "ahead", NULL);
	PGconn *c;

	migrate(conninfo);
	c = pg_fixture_connect(conninfo);
	ck_assert_int_eq(pg_fixture_number(c, "SELECT ensure_partitions(2, 1000000)"), 3000001);
	ck_assert_int_eq(pg_fixture_number(c, "SELECT ensure_partitions(2, 1000000)"), 3000001);
	free(pg_fixture_value(c, "SELECT setval('realtime_events_serial', 9000000)"));
	ck_assert_int_ge(pg_fixture_number(c, "SELECT ensure_partitions(1, 1000)"), 9001001);
	free(pg_fixture_value(c, "INSERT INTO realtime_events(serial, channel, event_type) "
				 "VALUES (9000001, 'a', 'B'), (1, 'a', 'B'), (3000000, 'a', 'B')"));
	PQfinish(c);
	free(conninfo);
}
END_TEST

START_TEST(a_schema_name_may_have_quotes_and_spaces)
{
	char *conninfo = pg_fixture_database(pg, "odd", NULL);
	char *why = NULL;
	PGconn *c;

	ck_assert_int_eq(migrated(conninfo, "My \"odd\"'s schema", &why), 0);
	c = pg_fixture_connect(conninfo);
	ck_assert_int_gt(pg_fixture_number(c, "SELECT \"My \"\"odd\"\"'s schema\".ensure_partitions"
					      "(1, 1000)"),
			 1000);
	PQfinish(c);
	free(conninfo);
}
END_TEST

static int refused(const char *conninfo, const char *word)
{
	char *why = NULL;
	int rc = migrated(conninfo, "scopewire", &why);

	ck_assert_int_lt(rc, 0);
	ck_assert_ptr_nonnull(why);
	ck_assert_msg(strstr(why, word) != NULL, "%s", why);
	free(why);
	return rc;
}

START_TEST(a_changed_migration_is_refused)
{
	char *conninfo = pg_fixture_database(pg, "changed", NULL);
	PGconn *c;

	migrate(conninfo);
	c = pg_fixture_connect(conninfo);
	free(pg_fixture_value(c, "UPDATE schema_migrations SET checksum = repeat('0', 64) "
				 "WHERE version = 1"));
	ck_assert_int_eq(refused(conninfo, "0001_event_log was changed"), -EILSEQ);
	PQfinish(c);
	free(conninfo);
}
END_TEST

START_TEST(a_newer_database_is_refused)
{
	char *conninfo = pg_fixture_database(pg, "newer", NULL);
	PGconn *c;

	migrate(conninfo);
	c = pg_fixture_connect(conninfo);
	free(pg_fixture_value(c, "INSERT INTO schema_migrations(version, name, checksum) "
				 "VALUES (9999, 'future', 'x')"));
	ck_assert_int_eq(refused(conninfo, "newer version"), -EPROTO);
	PQfinish(c);
	free(conninfo);
}
END_TEST

START_TEST(tables_and_functions_have_comments)
{
	char *conninfo = pg_fixture_database(pg, "comments", NULL);
	char *bare;
	PGconn *c;

	migrate(conninfo);
	c = pg_fixture_connect(conninfo);
	bare = pg_fixture_value(
		c, "SELECT string_agg(o.name, ', ') FROM ("
		   "SELECT proname AS name FROM pg_proc "
		   "WHERE pronamespace = 'scopewire'::regnamespace "
		   "AND obj_description(oid, 'pg_proc') IS NULL "
		   "UNION ALL SELECT relname FROM pg_class "
		   "WHERE relnamespace = 'scopewire'::regnamespace AND relkind IN ('r', 'p', 'v') "
		   "AND (NOT relispartition OR relname = 'realtime_events_pending') "
		   "AND obj_description(oid, 'pg_class') IS NULL) o");
	ck_assert_msg(!bare || !*bare, "no comment: %s", bare);
	free(bare);
	PQfinish(c);
	free(conninfo);
}
END_TEST

START_TEST(the_database_has_the_numbers_of_the_locks)
{
	static const struct {
		const char *name;
		enum pg_lock key;
	} locks[] = {
		{ "activities", PG_LOCK_ACTIVITIES },	{ "polling", PG_LOCK_POLLING },
		{ "sync_feed", PG_LOCK_SYNC_FEED },	{ "viewing", PG_LOCK_VIEWING },
		{ "sync_entity", PG_LOCK_SYNC_ENTITY }, { "daemon", PG_LOCK_DAEMON },
	};
	char *conninfo = pg_fixture_database(pg, "locks", NULL);
	char sql[64];
	PGconn *c;

	migrate(conninfo);
	c = pg_fixture_connect(conninfo);
	for (size_t i = 0; i < sizeof(locks) / sizeof(locks[0]); i++) {
		snprintf(sql, sizeof(sql), "SELECT lock_key('%s')", locks[i].name);
		ck_assert_int_eq(pg_fixture_number(c, sql), locks[i].key);
	}
	PQfinish(c);
	free(conninfo);
}
END_TEST

/* What the program left before its migrations were put together anew: 0003 was sql_publish. */
START_TEST(a_schema_from_before_the_first_release_is_refused)
{
	char *conninfo = pg_fixture_database(pg, "before", NULL);
	PGconn *c;

	migrate(conninfo);
	c = pg_fixture_connect(conninfo);
	free(pg_fixture_value(c, "UPDATE schema_migrations SET name = 'sql_publish', "
				 "checksum = repeat('0', 64) WHERE version = 3"));
	free(pg_fixture_value(c, "UPDATE schema_migrations SET checksum = repeat('0', 64) "
				 "WHERE version = 1"));
	ck_assert_int_eq(refused(conninfo, "docs/upgrading.md"), -EPROTO);
	PQfinish(c);
	free(conninfo);
}
END_TEST

START_TEST(a_failing_migration_leaves_nothing)
{
	static const struct migration list[] = {
		{ 1, "good", "CREATE TABLE good (a integer);" },
		{ 2, "bad", "CREATE TABLE half (a integer); SELECT 1/0;" },
	};
	char *conninfo = pg_fixture_database(pg, "failing", NULL);
	const struct migrate_conf conf = { .schema = "scopewire", .list = list, .n = 2 };
	char *why = NULL;
	PGconn *c;

	ck_assert_int_eq(migrated_as(conninfo, &conf, &why), -EIO);
	ck_assert_ptr_nonnull(strstr(why, "division by zero"));
	free(why);
	c = pg_fixture_connect(conninfo);
	ck_assert_int_eq(pg_fixture_number(c, "SELECT count(*) FROM pg_class "
					      "WHERE relname IN ('good', 'half')"),
			 1);
	ck_assert_int_eq(pg_fixture_number(c, "SELECT max(version) FROM schema_migrations"), 1);
	PQfinish(c);
	free(conninfo);
}
END_TEST

START_TEST(other_encodings_are_refused)
{
	char *conninfo = pg_fixture_database(pg, "latin", "ENCODING 'LATIN1' TEMPLATE template0");

	ck_assert_int_eq(refused(conninfo, "encoding LATIN1, but UTF8 is needed"), -EILSEQ);
	free(conninfo);
}
END_TEST

START_TEST(a_missing_role_database_or_server_has_its_own_error)
{
	char *conninfo = pg_fixture_database(pg, "there", NULL);
	char *other, *why = NULL;

	ck_assert_int_ge(asprintf(&other, "%s user=nobody_knows", conninfo), 0);
	ck_assert_int_eq(refused(other, "nobody_knows"), -EACCES);
	free(other);
	ck_assert_int_ge(asprintf(&other, "%s dbname=absent", conninfo), 0);
	ck_assert_int_eq(refused(other, "absent"), -ENODEV);
	free(other);
	ck_assert_int_eq(migrated("host=/nonexistent", "scopewire", &why), -EHOSTDOWN);
	free(why);
	free(conninfo);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pg/migrate");
	TCase *t = tcase_create("migrate");

	tcase_add_unchecked_fixture(t, database_set_up, database_tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_second_run_changes_nothing);
	tcase_add_test(t, a_plain_insert_waits_as_pending);
	tcase_add_test(t, partitions_are_made_ahead);
	tcase_add_test(t, a_schema_name_may_have_quotes_and_spaces);
	tcase_add_test(t, a_changed_migration_is_refused);
	tcase_add_test(t, tables_and_functions_have_comments);
	tcase_add_test(t, the_database_has_the_numbers_of_the_locks);
	tcase_add_test(t, a_newer_database_is_refused);
	tcase_add_test(t, a_schema_from_before_the_first_release_is_refused);
	tcase_add_test(t, a_failing_migration_leaves_nothing);
	tcase_add_test(t, other_encodings_are_refused);
	tcase_add_test(t, a_missing_role_database_or_server_has_its_own_error);
	suite_add_tcase(s, t);
	return unit_run(s);
}
