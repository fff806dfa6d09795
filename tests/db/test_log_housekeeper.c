/* SPDX-License-Identifier: MIT */
/* The housekeeper's chores against a real PostgreSQL; retention is in the integration tests. */
#include "unit.h"
#include "wait.h"
#include "database.h"
#include "log/housekeeper.h"

static struct conf conf = { .database = { .schema = (char *)"scopewire",
					  .password = (char *)"",
					  .connect_timeout_s = 5,
					  .partition_rows = 1000,
					  .partitions_ahead = 3 } };

START_TEST(partitions_are_made_ahead)
{
	struct housekeeper *housekeeper;
	PGconn *c;
	char *conninfo = database_new("partitions", &c);

	/* The migration's are of a million rows; then come three of a thousand. */
	database_run(c, "SELECT setval('realtime_events_serial', 1999999)");
	ck_assert_int_eq(housekeeper_start(&conf, conninfo, &housekeeper), 0);
	WAIT_UNTIL(pg_fixture_number(c, "SELECT log_partition_end('realtime_events')") == 2003001);
	ck_assert_int_eq(pg_fixture_number(c, "SELECT log_partition_end('realtime_deliveries')"),
			 2003001);
	housekeeper_stop(housekeeper);
	PQfinish(c);
	free(conninfo);
}
END_TEST

/* One more than a statement deletes: the next one follows at once, not after a minute. */
START_TEST(all_expired_idempotency_keys_are_deleted)
{
	struct housekeeper *housekeeper;
	PGconn *c;
	char *conninfo = database_new("keys", &c);

	database_run(
		c, "INSERT INTO idempotency_keys (app, key, digest, event_id, answer, created_at) "
		   "SELECT 'a', 'old ' || i, 'd', 'e1', '{}', now() - interval '1 year' "
		   "FROM generate_series(1, 50001) i "
		   "UNION ALL VALUES ('a', 'new', 'd', 'e2', '{}'::json, now())");
	ck_assert_int_eq(housekeeper_start(&conf, conninfo, &housekeeper), 0);
	WAIT_UNTIL(pg_fixture_number(c, "SELECT count(*) FROM idempotency_keys") == 1);
	ck_assert_int_eq(
		pg_fixture_number(c, "SELECT count(*) FROM idempotency_keys WHERE key = 'new'"), 1);
	housekeeper_stop(housekeeper);
	PQfinish(c);
	free(conninfo);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("log/housekeeper");
	TCase *t = tcase_create("housekeeper");

	tcase_add_unchecked_fixture(t, database_set_up, database_tear_down);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, partitions_are_made_ahead);
	tcase_add_test(t, all_expired_idempotency_keys_are_deleted);
	suite_add_tcase(s, t);
	return unit_run(s);
}
