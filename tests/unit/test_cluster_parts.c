/* SPDX-License-Identifier: MIT */
/* Changes of members as text, and the channels that a node follows. */
#include "unit.h"
#include "base/mem.h"
#include "base/macros.h"
#include "cluster/change.h"
#include "cluster/follow.h"

START_TEST(a_change_is_read_as_it_was_written)
{
	static const struct change cases[] = {
		{ CHANGE_ADDED, 0, 1700000000000000, SV("7"), SV("{\"name\":\"x y\"}") },
		{ CHANGE_REMOVED, 5, 6, SV("a 1 b:c"), SV("") },
		{ CHANGE_REPLACED, 6, 9, SV("\xc3\xa9"), SV("null") },
		{ CHANGE_COUNTED, 9, 9, SV(""), SV("12") },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct change got;
		struct strbuf text;

		strbuf_init(&text, 64);
		change_write(&text, &cases[i]);
		ck_assert(change_read(strbuf_view(&text), &got));
		ck_assert_int_eq((int)got.outcome, (int)cases[i].outcome);
		ck_assert_uint_eq(got.before, cases[i].before);
		ck_assert_uint_eq(got.version, cases[i].version);
		ck_assert(sv_eq(got.user_id, cases[i].user_id));
		ck_assert(sv_eq(got.info, cases[i].info));
		strbuf_release(&text);
	}
}
END_TEST

START_TEST(what_is_no_change_is_not_read)
{
	static const char *const cases[] = { "",
					     "A",
					     "A 1",
					     "A 1 2",
					     "Z 1 2 0 ",
					     "AA 1 2 0 ",
					     "A x 2 0 ",
					     "A 1 -2 0 ",
					     "A 1 2 5 u",
					     "A 1 2 x u",
					     "A 1 2 18446744073709551615 u" };
	struct change got;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_msg(!change_read(sv(cases[i]), &got), "%s", cases[i]);
}
END_TEST

START_TEST(a_change_is_applied_to_the_version_before_it_only)
{
	struct follow f;
	struct followed *c;

	follow_init(&f);
	c = follow_get(&f, SV("app"), SV("presence-c"));
	ck_assert(!follow_advance(&f, c, 0, 5));
	ck_assert_ptr_eq(follow_take_to_read(&f), c);
	c->is_known = true;
	c->version = 5;
	ck_assert(!follow_advance(&f, c, 4, 5));
	ck_assert_ptr_null(f.to_read);
	ck_assert(follow_advance(&f, c, 5, 8));
	ck_assert_uint_eq(c->version, 8);
	ck_assert(!follow_advance(&f, c, 9, 10));
	ck_assert(c->must_read);
	ck_assert(!follow_advance(&f, c, 8, 9));
	ck_assert_uint_eq(c->version, 8);
	ck_assert_ptr_eq(follow_take_to_read(&f), c);
	follow_compare(&f, c, 8);
	ck_assert_ptr_null(f.to_read);
	follow_compare(&f, c, 0);
	ck_assert_ptr_eq(f.to_read, c);
	follow_delete(&f, c);
	ck_assert_ptr_null(f.to_read);
	ck_assert_ptr_null(follow_find(&f, SV("app"), SV("presence-c")));
	follow_release(&f);
}
END_TEST

START_TEST(members_are_reported_once_and_in_their_order)
{
	struct follow f;
	struct followed *c;
	struct own_member *a, *b, *d;

	follow_init(&f);
	c = follow_get(&f, SV("app"), SV("presence-c"));
	a = follow_member(c, SV("a"));
	b = follow_member(c, SV("b"));
	d = follow_member(c, SV("d"));
	ck_assert_ptr_eq(follow_member(c, SV("a")), a);
	follow_enqueue(&f, b);
	follow_enqueue(&f, a);
	follow_enqueue(&f, b);
	follow_enqueue(&f, d);
	follow_delete_member(&f, a);
	ck_assert_ptr_eq(follow_dequeue(&f), b);
	ck_assert_ptr_eq(follow_dequeue(&f), d);
	ck_assert_ptr_null(follow_dequeue(&f));
	follow_set_registered(&f, b, true);
	follow_set_registered(&f, b, true);
	ck_assert_uint_eq(f.n_registered, 1);
	follow_begin_again(&f);
	ck_assert_uint_eq(f.n_registered, 0);
	ck_assert(b->is_queued && d->is_queued && c->must_read);
	follow_delete_member(&f, b);
	follow_delete_member(&f, d);
	ck_assert(follow_is_unused(c));
	follow_release(&f);
}
END_TEST

START_TEST(counts_that_are_reported_later_come_in_their_order)
{
	struct follow f;
	struct followed *c;
	struct own_member *a, *b, *d;

	follow_init(&f);
	c = follow_get(&f, SV("app"), SV("c"));
	a = follow_member(c, SV("a"));
	b = follow_member(c, SV("b"));
	d = follow_member(c, SV("d"));
	follow_delay(&f, a, 10);
	follow_delay(&f, b, 20);
	follow_delay(&f, d, 30);
	follow_delay(&f, a, 40);
	ck_assert_ptr_null(follow_take_due(&f, 9));
	ck_assert_ptr_eq(follow_take_due(&f, 10), a);
	follow_delete_member(&f, d);
	follow_delay(&f, a, 50);
	ck_assert_ptr_eq(follow_take_due(&f, 60), b);
	ck_assert_ptr_eq(follow_take_due(&f, 60), a);
	ck_assert_ptr_null(follow_take_due(&f, 60));
	follow_release(&f);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cluster/parts");
	TCase *t = tcase_create("parts");

	tcase_add_test(t, a_change_is_read_as_it_was_written);
	tcase_add_test(t, what_is_no_change_is_not_read);
	tcase_add_test(t, a_change_is_applied_to_the_version_before_it_only);
	tcase_add_test(t, members_are_reported_once_and_in_their_order);
	tcase_add_test(t, counts_that_are_reported_later_come_in_their_order);
	suite_add_tcase(s, t);
	return unit_run(s);
}
