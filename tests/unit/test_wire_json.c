/* SPDX-License-Identifier: MIT */
#include "base/macros.h"
#include "unit.h"
#include "wire/json.h"

/* Each is in an object, so that what follows a number is looked at too. */
static bool finds(const char *number, const char *expected)
{
	char text[512];
	struct str_view found;

	snprintf(text, sizeof(text), "{\"1e-400\":[true,%s,null]}", number);
	return json_find_inexact(sv(text), &found) && sv_eq(found, sv(expected));
}

START_TEST(a_number_that_a_double_keeps_is_not_found)
{
	static const char *const kept[] = {
		"0",
		"-0",
		"-0.0",
		"0.10",
		"1.50e3",
		"15e+1",
		"1E-5",
		"19.99",
		"5e-324",
		"5.00e-324",
		"0.30000000000000004",
		"1.7976931348623157e308",
		"0.12345678901234566",
		"100000000000000000000.0",
		"0.000000000000000000000000001",
		"9007199254740993",
		"18446744073709551616",
		"0e999999",
	};
	struct str_view found;

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		ck_assert_msg(!finds(kept[i], kept[i]), "%s", kept[i]);
	ck_assert(!json_find_inexact(SV("{\"a\":\"1e-400 \\\" 1e-400\"}"), &found));
	ck_assert(!json_find_inexact(SV(""), &found));
	ck_assert(!json_find_inexact((struct str_view){ NULL, 0 }, &found));
}
END_TEST

START_TEST(a_number_that_a_double_changes_is_found)
{
	static const char *const changed[] = {
		"1e-400",
		"-1e-400",
		"1e400",
		"4e-324",
		"0.123456789012345678",
		"1e-99999999999999999999",
		"9007199254740993.0",
		"0.12345678901234567",
		"0.10000000000000001",
		"0.30000000000000001",
		"-1.0000000000000001e-3",
		"4.9406564584124654e-324",
		"1.00000000000000000000000001",
	};
	struct str_view found;

	for (size_t i = 0; i < ARRAY_SIZE(changed); i++)
		ck_assert_msg(finds(changed[i], changed[i]), "%s", changed[i]);
	/* The last bytes of a text. */
	ck_assert(json_find_inexact(SV("1e-400"), &found));
	ck_assert(json_find_inexact(sv_n("1e-4009", 6), &found));
	ck_assert_uint_eq(found.len, 6);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("wire/json");
	TCase *t = tcase_create("json");

	tcase_add_test(t, a_number_that_a_double_keeps_is_not_found);
	tcase_add_test(t, a_number_that_a_double_changes_is_found);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_run(suite());
}
