/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include "unit.h"
#include "base/mem.h"
#include "api/request.h"

static char *text;

/* The block has the target's exact size, so that a byte too far is seen by a sanitizer. */
static int take(struct request *r, const char *target, size_t len)
{
	free(text);
	text = xmalloc(len ? len : 1);
	memcpy(text, target, len);
	return request_set_target(r, text, len);
}

static void drop_text(void)
{
	free(text);
	text = NULL;
}

START_TEST(path_and_parameters_are_decoded)
{
	struct request r;

	ck_assert_int_eq(take(&r, "/apps/3/events?a=1&b=two+words&c=%2Fx%26y&d&=e&&f=", 50), 0);
	ck_view_eq(r.path, "/apps/3/events");
	ck_view_eq(request_param(&r, "a"), "1");
	ck_view_eq(request_param(&r, "b"), "two words");
	ck_view_eq(request_param(&r, "c"), "/x&y");
	ck_view_eq(request_param(&r, "d"), "");
	ck_view_eq(request_param(&r, "f"), "");
	ck_assert_uint_eq(request_param(&r, "g").len, 0);
	ck_assert_uint_eq(r.n_params, 6);
}
END_TEST

START_TEST(an_odd_target_is_read_as_far_as_it_goes)
{
	static const struct {
		const char *target, *path, *a;
	} cases[] = {
		{ "/", "/", "" },
		{ "", "", "" },
		{ "?a=1", "", "1" },
		{ "/%", "/%", "" },
		{ "/%4", "/%4", "" },
		{ "/%4g%41+", "/%4gA+", "" },
		{ "/x?a=%", "/x", "%" },
		{ "/x?a=%4", "/x", "%4" },
		{ "/x?a=1#a=2", "/x", "1" },
		{ "/x#?a=1", "/x", "" },
		{ "/x?a=?", "/x", "?" },
		{ "/x?a=1=2", "/x", "1=2" },
		{ "http://host:80/x?a=1", "/x", "1" },
		{ "https://host/x", "/x", "" },
		{ "http://host", "", "" },
		{ "/x?%61=1", "/x", "1" },
		{ "/x?a=1&a=2", "/x", "1" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct request r;

		ck_assert_int_eq(take(&r, cases[i].target, strlen(cases[i].target)), 0);
		ck_view_eq(r.path, cases[i].path);
		ck_view_eq(request_param(&r, "a"), cases[i].a);
	}
}
END_TEST

START_TEST(a_nul_is_refused_in_the_path_and_kept_in_a_parameter)
{
	struct request r;

	ck_assert_int_eq(take(&r, "/a%00b", 6), -EINVAL);
	ck_assert_int_eq(take(&r, "/a?b=c%00d", 10), 0);
	ck_assert_uint_eq(request_param(&r, "b").len, 3);
	ck_assert_int_eq(memcmp(request_param(&r, "b").ptr, "c\0d", 3), 0);
}
END_TEST

START_TEST(lists_as_php_writes_them_are_joined)
{
	static const struct {
		const char *target, *info, *z;
	} cases[] = {
		{ "/?info[0]=a&info[1]=b", "a,b", "" },
		{ "/?info%5B0%5D=a&info%5B1%5D=b&z=9", "a,b", "9" },
		{ "/?info[]=a&z=9&info[]=b", "a,b", "9" },
		{ "/?z=9&info[0]=a&y=8&x=&info[1]=bcd&w=%41&info[2]=e", "a,bcd,e", "9" },
		{ "/?info[0]=&info[1]=&z=long+value", ",", "long value" },
		{ "/?info[0]=%2C&z=1&info[1]=%2c", ",,,", "1" },
		{ "/?info[a]=1&z=2", "", "2" },
		{ "/?[0]=1&z=2", "", "2" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct request r;

		ck_assert_int_eq(take(&r, cases[i].target, strlen(cases[i].target)), 0);
		ck_view_eq(request_param(&r, "info"), cases[i].info);
		ck_view_eq(request_param(&r, "z"), cases[i].z);
	}
	{
		struct request r;

		ck_assert_int_eq(take(&r, cases[3].target, strlen(cases[3].target)), 0);
		ck_view_eq(request_param(&r, "y"), "8");
		ck_view_eq(request_param(&r, "x"), "");
		ck_view_eq(request_param(&r, "w"), "A");
	}
}
END_TEST

START_TEST(long_values_between_the_elements_of_lists_stay)
{
	struct request r;
	struct strbuf b, wanted;

	strbuf_init(&b, 0);
	strbuf_init(&wanted, 0);
	strbuf_add_str(&b, "/?");
	for (int i = 0; i < 60; i++) {
		strbuf_addf(&b, "%sk[]=%%41%d&z%d=", i ? "&" : "", i, i);
		strbuf_addf(&wanted, "%sA%d", i ? "," : "", i);
		for (int n = 0; n < 200; n++)
			strbuf_add_c(&b, (char)('a' + i % 26));
		strbuf_addf(&b, "&l[%d]=%d", i, i % 10);
	}
	ck_assert_int_eq(take(&r, b.ptr, b.len), 0);
	ck_assert_uint_eq(r.n_params, 62);
	ck_view_eq(request_param(&r, "k"), wanted.ptr);
	ck_assert_uint_eq(request_param(&r, "l").len, 119);
	for (int i = 0; i < 60; i++) {
		char name[8];
		struct str_view value;

		snprintf(name, sizeof(name), "z%d", i);
		value = request_param(&r, name);
		ck_assert_uint_eq(value.len, 200);
		for (size_t n = 0; n < value.len; n++)
			ck_assert_int_eq(value.ptr[n], 'a' + i % 26);
	}
	strbuf_release(&b);
	strbuf_release(&wanted);
}
END_TEST

START_TEST(too_many_parameters_are_refused)
{
	struct request r;
	struct strbuf b;

	strbuf_init(&b, 0);
	strbuf_add_str(&b, "/?a");
	for (int i = 1; i < REQUEST_PARAMS_MAX; i++)
		strbuf_add_str(&b, "&a");
	ck_assert_int_eq(take(&r, b.ptr, b.len), 0);
	ck_assert_uint_eq(r.n_params, REQUEST_PARAMS_MAX);
	strbuf_add_str(&b, "&a");
	ck_assert_int_eq(take(&r, b.ptr, b.len), -E2BIG);
	strbuf_reset(&b);
	strbuf_add_str(&b, "/?a[]");
	for (int i = 1; i < 256; i++)
		strbuf_add_str(&b, "&a[]");
	ck_assert_int_eq(take(&r, b.ptr, b.len), 0);
	ck_assert_uint_eq(request_param(&r, "a").len, 255);
	strbuf_add_str(&b, "&a[]");
	ck_assert_int_eq(take(&r, b.ptr, b.len), -E2BIG);
	strbuf_release(&b);
}
END_TEST

static struct reply sent;

static void keep(struct request *r UNUSED, struct reply *reply)
{
	sent = *reply;
}

START_TEST(replies_carry_their_type)
{
	struct request r = { .send = keep };

	request_reply(&r, 200, SV("{}"));
	ck_assert_uint_eq(sent.status, 200);
	ck_assert_ptr_null(sent.content_type);
	ck_view_eq(strbuf_view(&sent.body), "{}");
	strbuf_release(&sent.body);
	request_reply_text(&r, 404, SV("no"));
	ck_assert_uint_eq(sent.status, 404);
	ck_assert_str_eq(sent.content_type, "text/plain; charset=utf-8");
	strbuf_release(&sent.body);
}
END_TEST

static const struct {
	const char *list;
	bool accepts;
} encodings[] = {
	{ "gzip", true },
	{ "deflate, GZIP;q=0.5 , br", true },
	{ "*", true },
	{ "*;q=0.1", true },
	{ "gzip;q=1.0", true },
	{ "gzip; q=0.001", true },
	{ "", false },
	{ "gzip;q=0", false },
	{ "gzip;q=0.000, deflate", false },
	{ "gzip; Q=0", false },
	{ "gzip;q=0, *", false },
	{ "*;q=0", false },
	{ "x-gzip, gzippy, identity", false },
	{ ";q=1,,", false },
};

START_TEST(an_encoding_is_accepted_unless_its_weight_is_zero)
{
	ck_assert_msg(request_accepts(sv(encodings[_i].list), SV("gzip")) == encodings[_i].accepts,
		      "%s", encodings[_i].list);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("api/request");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, NULL, drop_text);
	tcase_add_test(t, path_and_parameters_are_decoded);
	tcase_add_loop_test(t, an_encoding_is_accepted_unless_its_weight_is_zero, 0,
			    ARRAY_SIZE(encodings));
	tcase_add_test(t, an_odd_target_is_read_as_far_as_it_goes);
	tcase_add_test(t, a_nul_is_refused_in_the_path_and_kept_in_a_parameter);
	tcase_add_test(t, lists_as_php_writes_them_are_joined);
	tcase_add_test(t, long_values_between_the_elements_of_lists_stay);
	tcase_add_test(t, too_many_parameters_are_refused);
	tcase_add_test(t, replies_carry_their_type);
	suite_add_tcase(suite, t);
	return unit_run(suite);
}
