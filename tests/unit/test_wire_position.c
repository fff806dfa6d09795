/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "unit.h"
#include "wire/position.h"

static const char *long_epoch = "0123456789012345678901234567890123456789012345678901234567890123";

START_TEST(a_position_is_read_and_written)
{
	static const char *const good[] = { "e:0", "9f2c1e0b7d3a4c55a1b2c3d4e5f60718:81234",
					    "A-b_9:9223372036854775807" };
	struct position p;
	char text[POSITION_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ck_assert(position_parse(sv(good[i]), &p));
		ck_assert_str_eq(position_format(&p, text), good[i]);
	}
	ck_assert(position_parse(SV("e:007"), &p));
	ck_assert_uint_eq(p.serial, 7);
}
END_TEST

START_TEST(an_epoch_is_bounded)
{
	struct position p;
	char text[POSITION_SIZE], longest[200], longer[200];

	snprintf(longest, sizeof(longest), "%s:9223372036854775807", long_epoch);
	ck_assert(position_parse(sv(longest), &p));
	ck_assert_str_eq(position_format(&p, text), longest);
	snprintf(longer, sizeof(longer), "%sx:1", long_epoch);
	ck_assert(!position_parse(sv(longer), &p));
}
END_TEST

START_TEST(what_is_no_position_changes_nothing)
{
	static const char *const bad[] = { "",
					   ":",
					   "e",
					   "e:",
					   ":1",
					   "e:-1",
					   "e:+1",
					   "e: 1",
					   "e:1 ",
					   "e:1:2",
					   "e:x",
					   "é:1",
					   "a b:1",
					   "e:9223372036854775808",
					   "e:18446744073709551616",
					   "e';--:1",
					   "e\n:1" };
	struct position p = { "kept", 7 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(!position_parse(sv(bad[i]), &p), "%s", bad[i]);
	ck_assert(!position_parse(sv_n("e\0:1", 4), &p));
	ck_assert(!position_parse(sv_n("e:1\0", 4), &p));
	ck_assert_str_eq(p.epoch, "kept");
	ck_assert_uint_eq(p.serial, 7);
}
END_TEST

START_TEST(a_position_without_an_epoch_is_not_written)
{
	char text[POSITION_SIZE] = "x";

	ck_assert_str_eq(position_format(&(struct position){ "", 7 }, text), "");
}
END_TEST

START_TEST(only_a_list_of_up_to_eight_socket_ids_is_valid)
{
	static const char *const good[] = { "", "1.2", "4294967295.4294967295",
					    "1.1,2.2,3.3,4.4,5.5,6.6,7.7,8.8" };
	static const char *const bad[] = { ",",
					   "1.2,",
					   "1.2,,3.4",
					   "1",
					   "x.y",
					   " 1.2",
					   "1.2;3.4",
					   "{1.2}",
					   "1.1,2.2,3.3,4.4,5.5,6.6,7.7,8.8,9.9",
					   "99999999999999999999.1" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		ck_assert_msg(position_was_is_valid(sv(good[i])), "%s", good[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(!position_was_is_valid(sv(bad[i])), "%s", bad[i]);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("wire/position");
	TCase *t = tcase_create("position");

	tcase_add_test(t, a_position_is_read_and_written);
	tcase_add_test(t, an_epoch_is_bounded);
	tcase_add_test(t, what_is_no_position_changes_nothing);
	tcase_add_test(t, a_position_without_an_epoch_is_not_written);
	tcase_add_test(t, only_a_list_of_up_to_eight_socket_ids_is_valid);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_run(suite());
}
