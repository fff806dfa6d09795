/* SPDX-License-Identifier: MIT */
/* Ids of users of both types, and their keys. */
#include "unit.h"
#include "base/macros.h"
#include "base/user_id.h"

static const struct {
	const char *text, *as_bigint, *as_text; /* NULL: refused */
} ids[] = {
	{ "7", "7", "7" },
	{ "007", "7", "007" },
	{ "9223372036854775807", "9223372036854775807", "9223372036854775807" },
	{ "9223372036854775808", NULL, "9223372036854775808" },
	{ "0", NULL, "0" },
	{ "-1", NULL, "-1" },
	{ "", NULL, NULL },
	{ "01JDY8Q5T3M8W2K4N6P7R9S0VX", NULL, "01JDY8Q5T3M8W2K4N6P7R9S0VX" },
	{ "b1946ac9-2f6b-4a51-8d1f-0b6c7d8e9f00", NULL, "b1946ac9-2f6b-4a51-8d1f-0b6c7d8e9f00" },
	{ "a_b=c@d;e", NULL, "a_b=c@d;e" },
	{ "a.b", NULL, NULL },
	{ "a,b", NULL, NULL },
	{ "a b", NULL, NULL },
	{ "a\"b", NULL, NULL },
	{ "\xc3\xa9", NULL, NULL },
};

START_TEST(an_id_is_read_as_its_type)
{
	char id[USER_ID_SIZE];

	user_id_set_type(_i ? USER_ID_TEXT : USER_ID_BIGINT);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		const char *expected = _i ? ids[i].as_text : ids[i].as_bigint;

		ck_assert_msg(user_id_read(sv(ids[i].text), id) == (expected != NULL), "%s",
			      ids[i].text);
		ck_assert_str_eq(id, expected ? expected : "");
	}
	ck_assert(!user_id_read(sv_n("a\0b", 3), id));
}
END_TEST

START_TEST(a_text_has_at_most_128_bytes)
{
	char text[USER_ID_MAX_BYTES + 1], id[USER_ID_SIZE];

	user_id_set_type(USER_ID_TEXT);
	memset(text, 'x', sizeof(text));
	ck_assert(user_id_read(sv_n(text, USER_ID_MAX_BYTES), id));
	ck_assert_uint_eq(strlen(id), USER_ID_MAX_BYTES);
	ck_assert(!user_id_read(sv_n(text, USER_ID_MAX_BYTES + 1), id));
}
END_TEST

START_TEST(keys_are_equal_only_for_the_same_id)
{
	user_id_set_type(_i ? USER_ID_TEXT : USER_ID_BIGINT);
	ck_assert(!user_key_is_set(user_key_of(NULL)));
	ck_assert(!user_key_is_set(user_key_of("")));
	ck_assert(user_key_is_set(user_key_of("7")));
	ck_assert(user_key_eq(user_key_of("7"), user_key_of("7")));
	ck_assert(!user_key_eq(user_key_of("7"), user_key_of("8")));
	ck_assert(user_key_eq(user_key_of("7"), user_key_of("007")) == !_i);
}
END_TEST

START_TEST(an_id_is_a_number_or_a_string_of_json)
{
	struct strbuf b;

	strbuf_init(&b, 0);
	user_id_set_type(_i ? USER_ID_TEXT : USER_ID_BIGINT);
	user_id_add_json(&b, "7");
	ck_assert_str_eq(b.ptr, _i ? "\"7\"" : "7");
	strbuf_release(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base/user_id");
	TCase *t = tcase_create("base_user_id");

	tcase_add_loop_test(t, an_id_is_read_as_its_type, 0, 2);
	tcase_add_test(t, a_text_has_at_most_128_bytes);
	tcase_add_loop_test(t, keys_are_equal_only_for_the_same_id, 0, 2);
	tcase_add_loop_test(t, an_id_is_a_number_or_a_string_of_json, 0, 2);
	suite_add_tcase(s, t);
	return unit_run(s);
}
