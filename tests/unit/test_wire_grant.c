/* SPDX-License-Identifier: MIT */
/* The mark of the daemon's own authorizations. */
#include "unit.h"
#include "wire/grant.h"

START_TEST(what_was_added_is_parsed)
{
	const struct grant_mark given = { .roles = SV("[\"a \\\"b\\\"\",\"c\"]"),
					  .as_of = UINT64_C(1764403200000001),
					  .at = UINT64_C(1764403200123456),
					  .exp = 1764406800 };
	struct grant_mark read;
	struct strbuf b;

	strbuf_init(&b, 0);
	strbuf_add_str(&b, "{\"user_id\":\"7\",\"user_info\":{\"scopewire\":1},");
	grant_mark_add(&b, &given);
	strbuf_add_c(&b, '}');
	ck_assert(grant_mark_parse(strbuf_view(&b), &read));
	ck_assert_str_eq(read.user_id, "7");
	ck_assert(sv_eq(read.roles, given.roles));
	ck_assert(read.as_of == given.as_of);
	ck_assert(read.at == given.at);
	ck_assert(read.exp == given.exp);
	strbuf_release(&b);
}
END_TEST

static const char *const no_marks[] = {
	"",
	"{",
	"[]",
	"\"scopewire\"",
	"{\"user_id\":\"7\"}",
	"{\"user_id\":\"7\",\"user_info\":{\"scopewire\":{\"roles\":[],\"as_of\":1,\"at\":1,"
	"\"exp\":1}}}",
	"{\"user_id\":\"7\",\"scopewire\":true}",
	"{\"user_id\":\"7\",\"scopewire\":{}}",
	"{\"user_id\":\"7\",\"scopewire\":{\"roles\":[]}}",
	"{\"user_id\":\"7\",\"scopewire\":{\"roles\":\"a\",\"as_of\":1,\"at\":1,\"exp\":1}}",
	"{\"user_id\":\"7\",\"scopewire\":{\"roles\":[],\"as_of\":\"1\",\"at\":1,\"exp\":1}}",
	"{\"user_id\":\"7\",\"scopewire\":{\"roles\":[],\"as_of\":-1,\"at\":1,\"exp\":1}}",
	"{\"user_id\":7,\"scopewire\":{\"roles\":[],\"as_of\":1,\"at\":1,\"exp\":1}}",
	"{\"user_id\":\"\",\"scopewire\":{\"roles\":[],\"as_of\":1,\"at\":1,\"exp\":1}}",
	"{\"user_id\":\"0\",\"scopewire\":{\"roles\":[],\"as_of\":1,\"at\":1,\"exp\":1}}",
	"{\"user_id\":\"x\",\"scopewire\":{\"roles\":[],\"as_of\":1,\"at\":1,\"exp\":1}}",
	"{\"user_id\":\"9223372036854775808\",\"scopewire\":{\"roles\":[],\"as_of\":1,\"at\":1,"
	"\"exp\":1}}",
	"{\"scopewire\":{\"roles\":[],\"as_of\":1,\"at\":1,\"exp\":1}}",
	"{\"user_id\":\"7\",\"scopewire\":{\"roles\":[],\"as_of\":1}}",
	"{\"user_id\":\"7\",\"scopewire\":{\"roles\":[],\"as_of\":1,\"exp\":1}}",
	"{\"user_id\":\"7\",\"scopewire\":{\"roles\":[],\"as_of\":1,\"at\":\"1\",\"exp\":1}}",
	"{\"user_id\":\"7\",\"scopewire\":{\"roles\":[],\"as_of\":1,\"at\":1,\"exp\":-1}}",
	"{\"user_id\":\"7\",\"scopewire\":{\"roles\":[],\"as_of\":1,\"at\":1,\"exp\":"
	"9223372036854775808}}",
};

START_TEST(other_data_has_no_mark)
{
	struct grant_mark read;

	ck_assert_msg(!grant_mark_parse(sv(no_marks[_i]), &read), "%s", no_marks[_i]);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("wire/grant");
	TCase *t = tcase_create("mark");

	tcase_add_test(t, what_was_added_is_parsed);
	tcase_add_loop_test(t, other_data_has_no_mark, 0, sizeof(no_marks) / sizeof(*no_marks));
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_run(suite());
}
