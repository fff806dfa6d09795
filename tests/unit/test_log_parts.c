/* SPDX-License-Identifier: MIT */
/* The parts of the log and of pg that need no database. */
#include "unit.h"
#include <errno.h>
#include <unistd.h>
#include "base/mem.h"
#include "log/batch.h"
#include "log/epoch.h"
#include "log/linger.h"
#include "core/deliveries.h"
#include "pg/json_text.h"
#include "pg/array.h"
#include "pg/fault.h"

START_TEST(text_is_json_or_is_not)
{
	static const char *const yes[] = {
		"{}",
		"[]",
		" [ 1 , -2.5e+3 , 0 ] ",
		"\"\\u00e9\\n\"",
		"null",
		"true",
		"false",
		"{\"a\":{\"b\":[{},\"\"]}}",
		"-0",
		"1E9",
		"[[[]]]",
		"\t1\r\n",
		"{\"a\":1,\"a\":2}",
	};
	static const char *const no[] = {
		"",   "{",   "[1,]",	  "{\"a\"}", "{a:1}", "01",	"1.",	 ".5",
		"+1", "nul", "truee",	  "\"\\x\"", "\"",    "\"\t\"", "[1 2]", "{\"a\":1,}",
		"1e", "--1", "\"\\u12\"", "[}",	     "'a'",   "{} {}",	"\\",	 "{\"a\":}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
		ck_assert_msg(json_text_valid(sv(yes[i])), "%s", yes[i]);
	for (size_t i = 0; i < ARRAY_SIZE(no); i++)
		ck_assert_msg(!json_text_valid(sv(no[i])), "%s", no[i]);
}
END_TEST

START_TEST(json_depth_is_bounded)
{
	char text[2 * JSON_TEXT_MAX_DEPTH + 2];

	memset(text, '[', JSON_TEXT_MAX_DEPTH + 1);
	memset(text + JSON_TEXT_MAX_DEPTH + 1, ']', JSON_TEXT_MAX_DEPTH + 1);
	ck_assert(!json_text_valid(sv_n(text, sizeof(text))));
	ck_assert(json_text_valid(sv_n(text + 1, sizeof(text) - 2)));
}
END_TEST

/* What PostgreSQL's array_send gives for ARRAY['a', NULL, 'bc']. */
START_TEST(arrays_are_encoded_as_postgresql_sends_them)
{
	static const char want[] = "\0\0\0\1\0\0\0\1\0\0\0\x19\0\0\0\3\0\0\0\1"
				   "\0\0\0\1a\377\377\377\377\0\0\0\2bc";
	struct pg_array a;
	struct str_view got;

	pg_array_init(&a, PG_TEXT);
	pg_array_add(&a, SV("thrown away"));
	pg_array_reset(&a);
	ck_assert_uint_eq(pg_array_view(&a).len, 12);
	pg_array_add(&a, SV("a"));
	pg_array_add_null(&a);
	pg_array_add(&a, SV("bc"));
	got = pg_array_view(&a);
	ck_assert(sv_eq(got, sv_n(want, sizeof(want) - 1)));
	pg_array_release(&a);
}
END_TEST

START_TEST(the_only_member_of_an_array_is_a_parameter_by_itself)
{
	struct pg_array a;

	pg_array_init(&a, PG_TEXT);
	pg_array_add(&a, SV("alone"));
	ck_assert(sv_eq(pg_array_only(&a), SV("alone")));
	pg_array_reset(&a);
	pg_array_add(&a, SV(""));
	ck_assert_uint_eq(pg_array_only(&a).len, 0);
	ck_assert_ptr_nonnull(pg_array_only(&a).ptr);
	pg_array_reset(&a);
	pg_array_add_null(&a);
	ck_assert_ptr_null(pg_array_only(&a).ptr);
	pg_array_release(&a);
}
END_TEST

START_TEST(deliveries_drop_the_oldest)
{
	struct deliveries *l = deliveries_new();
	struct delivery out[4];

	deliveries_add(l, &(struct delivery){ .serial = 1 });
	for (unsigned i = 2; i <= DELIVERIES_MAX + 3; i++)
		deliveries_add(l, &(struct delivery){ .serial = i });
	ck_assert_uint_eq(deliveries_count(l), DELIVERIES_MAX);
	ck_assert_uint_eq(deliveries_dropped(l), 3);
	ck_assert_uint_eq(deliveries_take(l, out, 4), 4);
	ck_assert_uint_eq(out[0].serial, 4);
	ck_assert_uint_eq(out[3].serial, 7);
	deliveries_add(l, &(struct delivery){ .serial = 9 });
	deliveries_put_back(l, out, 4); /* room for three: the oldest of them is dropped */
	ck_assert_uint_eq(deliveries_dropped(l), 1);
	ck_assert_uint_eq(deliveries_take(l, out, 1), 1);
	ck_assert_uint_eq(out[0].serial, 5);
	deliveries_free(l);
}
END_TEST

static unsigned expired;

static void count_expired(void *ctx, struct event_batch *b)
{
	(void)ctx;
	(void)b;
	expired++;
}

START_TEST(lists_keep_their_order)
{
	struct event_batch b[5] = { { .deadline = 9 },
				    { .deadline = 0 },
				    { .deadline = 10 },
				    { .deadline = 11 },
				    { .deadline = 5 } };
	struct batch_list l = { NULL, NULL, 0 }, more = { NULL, NULL, 0 };

	batch_list_push(&l, &b[3]);
	batch_list_push(&l, &b[4]);
	for (int i = 0; i < 3; i++)
		batch_list_push(&more, &b[i]);
	batch_list_prepend(&l, &more);
	ck_assert_uint_eq(l.count, 5);
	ck_assert_ptr_null(more.head);
	batch_list_expire(&l, 10, count_expired, NULL);
	ck_assert_uint_eq(expired, 3);
	ck_assert_ptr_eq(batch_list_pop(&l), &b[1]);
	ck_assert_ptr_eq(batch_list_pop(&l), &b[3]);
	ck_assert_ptr_null(batch_list_pop(&l));
	batch_list_prepend(&l, &more);
	ck_assert_ptr_null(l.tail);
}
END_TEST

START_TEST(sqlstates_have_meanings)
{
	ck_assert_int_eq(pg_fault_of(NULL), PG_LOST);
	ck_assert_int_eq(pg_fault_of("08006"), PG_LOST);
	ck_assert_int_eq(pg_fault_of("57P01"), PG_LOST);
	ck_assert_int_eq(pg_fault_of("57014"), PG_BUSY);
	ck_assert_int_eq(pg_fault_of("55P03"), PG_BUSY);
	ck_assert_int_eq(pg_fault_of("22021"), PG_REFUSED);
	ck_assert_int_eq(pg_fault_of("23514"), PG_NO_PARTITION);
	ck_assert_int_eq(pg_fault_of("23505"), PG_REFUSED);
	ck_assert_int_eq(pg_fault_of("53100"), PG_UNFIT);
	ck_assert_int_eq(pg_fault_of("42P01"), PG_UNFIT);
}
END_TEST

START_TEST(ids_sort_by_time_and_differ)
{
	char a[EVENT_ID_BYTES + 1], b[EVENT_ID_BYTES + 1];

	event_id_make(a);
	ck_assert_uint_eq(strlen(a), EVENT_ID_BYTES);
	ck_assert_uint_eq(strspn(a, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"), EVENT_ID_BYTES);
	for (int i = 0; i < 1000; i++) {
		event_id_make(b);
		ck_assert_str_ne(a, b);
		ck_assert_int_le(memcmp(a, b, 10), 0);
		memcpy(a, b, sizeof(a));
	}
}
END_TEST

START_TEST(the_linger_waits_for_the_publishers_that_were_answered)
{
	struct log_linger g = { .crowd = 0 };
	unsigned missing = 0;

	ck_assert_int_eq(log_linger_wait(&g, 1, 1000, false, &missing), 0);
	log_linger_commit(&g, 16, 600);
	ck_assert_int_eq(log_linger_wait(&g, 16, 1000, false, &missing), 0);
	ck_assert_int_eq(log_linger_wait(&g, 20, 1000, true, &missing), 0);
	ck_assert_int_eq(log_linger_wait(&g, 6, 1000, false, &missing), 300);
	ck_assert_uint_eq(missing, 10);
	ck_assert_int_eq(log_linger_wait(&g, 6, 200, false, &missing), 200);
	ck_assert_int_eq(log_linger_wait(&g, 6, 1000, true, &missing), 1000);
}
END_TEST

static unsigned commits_without_a_wait(struct log_linger *g)
{
	unsigned missing, n = 0;

	while (!log_linger_wait(g, 0, 1000, false, &missing))
		n++;
	return n;
}

START_TEST(a_wait_in_vain_is_followed_by_commits_without_a_wait)
{
	struct log_linger g = { .crowd = 0 };

	log_linger_commit(&g, 4, 600);
	for (unsigned want = 1; want < 64; want = 2 * want + 1) {
		log_linger_done(&g, 4, 1);
		ck_assert_uint_eq(commits_without_a_wait(&g), want);
	}
	for (int i = 0; i < 100; i++)
		log_linger_done(&g, 4, 1);
	ck_assert_uint_le(commits_without_a_wait(&g), 128);
	log_linger_done(&g, 4, 2);
	ck_assert_uint_eq(commits_without_a_wait(&g), 0);
	log_linger_done(&g, 1, 0);
	ck_assert_uint_eq(commits_without_a_wait(&g), 1);
}
END_TEST

static bool seen_in(const char *path, const char *text, struct log_seen *out)
{
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	return log_seen_read(path, out);
}

START_TEST(the_seen_position_is_read_as_it_was_written)
{
	static const char *const none[] = { "",
					    "e",
					    "e 1",
					    "e x id\n",
					    " 1 id\n",
					    "e -1 id\n",
					    "e 1 ",
					    "e 1 id\nmore",
					    "e 99999999999999999999 id\n" };
	char folder[] = "/tmp/sw-seen-XXXXXX", path[64];
	struct log_seen s = { "epoch", INT64_MAX, "an-id" }, got = { "", 0, "" };

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/position", folder);
	ck_assert(!log_seen_read(path, &got));
	ck_assert_int_eq(log_seen_write(path, &s), 0);
	ck_assert(log_seen_read(path, &got));
	ck_assert_str_eq(got.epoch, "epoch");
	ck_assert_uint_eq(got.serial, INT64_MAX);
	ck_assert_str_eq(got.id, "an-id");
	got = (struct log_seen){ "", 0, "" };
	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		ck_assert_msg(!seen_in(path, none[i], &got), "%s", none[i]);
		ck_assert_str_eq(got.epoch, "");
	}
	memset(s.epoch, 'e', LOG_EPOCH_MAX);
	memset(s.id, 'i', EVENT_ID_MAX);
	ck_assert_int_eq(log_seen_write(path, &s), 0);
	ck_assert(log_seen_read(path, &got));
	ck_assert_str_eq(got.id, s.id);
	unlink(path);
	rmdir(folder);
	ck_assert_int_eq(log_seen_write(path, &s), -ENOENT);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("log/parts");
	TCase *t = tcase_create("parts");

	tcase_add_test(t, text_is_json_or_is_not);
	tcase_add_test(t, json_depth_is_bounded);
	tcase_add_test(t, arrays_are_encoded_as_postgresql_sends_them);
	tcase_add_test(t, the_only_member_of_an_array_is_a_parameter_by_itself);
	tcase_add_test(t, deliveries_drop_the_oldest);
	tcase_add_test(t, lists_keep_their_order);
	tcase_add_test(t, sqlstates_have_meanings);
	tcase_add_test(t, ids_sort_by_time_and_differ);
	tcase_add_test(t, the_linger_waits_for_the_publishers_that_were_answered);
	tcase_add_test(t, a_wait_in_vain_is_followed_by_commits_without_a_wait);
	tcase_add_test(t, the_seen_position_is_read_as_it_was_written);
	suite_add_tcase(s, t);
	return unit_run(s);
}
