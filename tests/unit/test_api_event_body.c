/* SPDX-License-Identifier: MIT */
#include "unit.h"
#include "base/mem.h"
#include "api/event_body.h"

/* In a block of the text's exact size. */
static bool scan(const char *text, struct event_body *e)
{
	size_t n = strlen(text);
	char *block = xmalloc(n ? n : 1);
	bool plain;

	memcpy(block, text, n);
	plain = event_body_scan(sv_n(block, n), e);
	free(block);
	return plain;
}

START_TEST(bodies_of_the_sdks_need_no_tree)
{
	struct event_body e;

	ck_assert(
		scan("{\"name\":\"App\\\\Events\\\\X\",\"data\":\"{\\\"a\\\":\\\"\\\\u00e4\\/"
		     "\\\"}\",\"channels\":[\"a\",\"b\",\"c\",\"d\",\"e\"],\"socket_id\":\"1.2\"}",
		     &e));
	ck_view_eq(e.name.text, "App\\Events\\X");
	ck_view_eq(e.data.text, "{\"a\":\"\\u00e4/\"}");
	ck_view_eq(e.socket_id.text, "1.2");
	ck_assert_int_eq(e.info.state, MEMBER_ABSENT);
	ck_assert_uint_eq(e.n_channels, 5);
	ck_view_eq(e.list[4], "e");
	event_body_add_channel(&e, SV("f"));
	ck_view_eq(e.list[5], "f");
	event_body_release(&e);

	ck_assert(scan(" { \"channel\" : \"c\" ,\n\t\"info\":\"x\",\"data\":\"\xc3\xa4\" } \r\n",
		       &e));
	ck_view_eq(e.channel.text, "c");
	ck_view_eq(e.data.text, "\xc3\xa4");
	ck_assert_int_eq(e.channels, MEMBER_ABSENT);
	event_body_release(&e);

	ck_assert(scan("{\"channels\":[]}", &e));
	ck_assert_int_eq(e.channels, MEMBER_TEXT);
	ck_assert_uint_eq(e.n_channels, 0);
	event_body_release(&e);
}
END_TEST

START_TEST(other_bodies_are_left_to_the_json_parser)
{
	static const char *const others[] = {
		"",
		"{}",
		"[]",
		"{\"name\"",
		"{\"name\":",
		"{\"name\":\"",
		"{\"name\":\"\\",
		"{\"name\":\"n\"",
		"{\"name\":\"n\"}x",
		"{\"name\":\"n\",}",
		"{\"name\":\"n\"\"data\":\"d\"}",
		"{\"name\":null}",
		"{\"name\":1}",
		"{\"name\":\"n\",\"name\":\"m\"}",
		"{\"channels\":[\"a\"],\"channels\":[]}",
		"{\"channels\":[\"a\",]}",
		"{\"channels\":[\"a\"",
		"{\"channels\":[1]}",
		"{\"channels\":\"a\"}",
		"{\"other\":\"x\"}",
		"{\"name\":\"\\u0041\"}",
		"{\"name\":\"\\x\"}",
		"{\"name\":\"a\nb\"}",
		"{\"name\":\"\xff\"}",
		"{\"name\":\"\xc3\"}",
		"{name:\"n\"}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		struct event_body e;

		ck_assert_msg(!scan(others[i], &e), "%s", others[i]);
		ck_assert_uint_eq(e.n_channels, 0);
		event_body_add_channel(&e, SV("c"));
		event_body_release(&e);
	}
}
END_TEST

START_TEST(a_tree_marks_members_of_a_wrong_type)
{
	json_t *root = json_loads("{\"name\":null,\"data\":{},\"channels\":[\"a\",1],\"info\":[]}",
				  0, NULL);
	struct event_body e;

	event_body_of_json(root, &e);
	ck_assert_int_eq(e.name.state, MEMBER_ABSENT);
	ck_assert_int_eq(e.data.state, MEMBER_WRONG);
	ck_assert_int_eq(e.info.state, MEMBER_WRONG);
	ck_assert_int_eq(e.channels, MEMBER_TEXT);
	ck_assert(e.has_wrong_channel);
	event_body_release(&e);
	json_decref(root);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("api/event_body");
	TCase *t = tcase_create("all");

	tcase_add_test(t, bodies_of_the_sdks_need_no_tree);
	tcase_add_test(t, other_bodies_are_left_to_the_json_parser);
	tcase_add_test(t, a_tree_marks_members_of_a_wrong_type);
	suite_add_tcase(suite, t);
	return unit_run(suite);
}
