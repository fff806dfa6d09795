/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include "unit.h"
#include "base/mem.h"
#include "wire/channel_name.h"

START_TEST(kinds_follow_the_anchored_prefix)
{
	static const struct {
		const char *name;
		bool guarded, presence, encrypted, cache, user;
	} cases[] = {
		{ "portal", 0, 0, 0, 0, 0 },
		{ "private", 0, 0, 0, 0, 0 },
		{ "privateer", 0, 0, 0, 0, 0 },
		{ "presence", 0, 0, 0, 0, 0 },
		{ "cached-x", 0, 0, 0, 0, 0 },
		{ "my-private-x", 0, 0, 0, 0, 0 },
		{ "Private-x", 0, 0, 0, 0, 0 },
		{ "private-App.Models.User.1", 1, 0, 0, 0, 0 },
		{ "private-encryptedx", 1, 0, 0, 0, 0 },
		{ "private-presence-x", 1, 0, 0, 0, 0 },
		{ "presence-presence-project.1", 1, 1, 0, 0, 0 },
		{ "presence-online", 1, 1, 0, 0, 0 },
		{ "private-encrypted-x", 1, 0, 1, 0, 0 },
		{ "cache-x", 0, 0, 0, 1, 0 },
		{ "private-cache-x", 1, 0, 0, 1, 0 },
		{ "presence-cache-x", 1, 1, 0, 1, 0 },
		{ "private-encrypted-cache-x", 1, 0, 1, 1, 0 },
		{ "#server-to-user-7", 0, 0, 0, 0, 1 },
		{ "-_=@,.;09azAZ", 0, 0, 0, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct channel_traits t;

		ck_assert_int_eq(channel_name_parse(sv(cases[i].name), 200, &t), 0);
		ck_assert_msg(t.is_guarded == cases[i].guarded &&
				      t.is_presence == cases[i].presence &&
				      t.is_encrypted == cases[i].encrypted &&
				      t.is_cache == cases[i].cache && t.is_user == cases[i].user,
			      "%s", cases[i].name);
	}
}
END_TEST

START_TEST(user_channel_tells_its_user)
{
	struct channel_traits t;

	ck_assert_int_eq(channel_name_parse(SV("#server-to-user-a.b@c"), 200, &t), 0);
	ck_view_eq(t.user_id, "a.b@c");
	ck_assert_int_eq(channel_name_parse(SV("portal"), 200, &t), 0);
	ck_assert_uint_eq(t.user_id.len, 0);
}
END_TEST

START_TEST(names_outside_the_grammar_are_refused)
{
	static const struct str_view bad[] = {
		SV(""),
		SV("a b"),
		SV("a/b"),
		SV("a:b"),
		SV("a\0b"),
		SV("a\n"),
		SV("\xc3\xa9"),
		SV("a#b"),
		SV("#x"),
		SV("#"),
		SV("#server-to-user-"),
		SV("#server-to-user-#"),
		SV("#private-x"),
		SV("a'b"),
		SV("a\"b"),
		SV("a*"),
	};
	struct channel_traits t = { .is_cache = true };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(channel_name_parse(bad[i], 200, &t) == -EINVAL, "name %zu", i);
	ck_assert_msg(t.is_cache, "the output stays untouched on failure");
}
END_TEST

START_TEST(names_are_bounded)
{
	char name[202];
	struct channel_traits t;

	memset(name, 'a', sizeof(name));
	ck_assert_int_eq(channel_name_parse(sv_n(name, 200), 200, &t), 0);
	ck_assert_int_eq(channel_name_parse(sv_n(name, 201), 200, &t), -ENAMETOOLONG);
	ck_assert_int_eq(channel_name_parse(sv_n(name, 202), 0, &t), 0);
}
END_TEST

START_TEST(every_byte_is_in_or_out)
{
	static const char ok[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				 "-_=@,.;";

	for (int c = 0; c < 256; c++) {
		char byte = (char)c;
		struct channel_traits t;
		int want = memchr(ok, c, sizeof(ok) - 1) ? 0 : -EINVAL;

		ck_assert_int_eq(channel_name_parse(sv_n(&byte, 1), 200, &t), want);
	}
}
END_TEST

START_TEST(a_star_of_a_pattern_matches_any_bytes)
{
	static const struct {
		const char *pattern, *name;
		bool match;
	} cases[] = {
		{ "", "", true },
		{ "", "a", false },
		{ "*", "", true },
		{ "*", "anything", true },
		{ "**", "anything", true },
		{ "a", "a", true },
		{ "a", "ab", false },
		{ "ab", "a", false },
		{ "cursor-*", "cursor-", true },
		{ "cursor-*", "cursor-1", true },
		{ "cursor-*", "cursor", false },
		{ "*-log", "private-log", true },
		{ "*-log", "private-log-", false },
		{ "a*b*c", "a1b2c", true },
		{ "a*b*c", "abbbcbc", true },
		{ "a*b*c", "acb", false },
		{ "*ab", "aab", true },
		{ "*aab*", "aaaab", true },
		{ "a?c", "abc", false },
		{ "a.c", "abc", false },
		{ "[a]", "a", false },
		{ "*.example.com", "x.example.com", true },
		{ "*.example.com", "example.com", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_msg(channel_pattern_match(sv(cases[i].pattern), sv(cases[i].name)) ==
				      cases[i].match,
			      "%s against %s", cases[i].pattern, cases[i].name);
}
END_TEST

/* Exponential matchers do not come back from this one. */
START_TEST(a_hostile_pattern_is_cheap)
{
	char pattern[200], name[200];

	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = i % 2 ? 'a' : '*';
	pattern[sizeof(pattern) - 1] = 'b';
	memset(name, 'a', sizeof(name));
	ck_assert(!channel_pattern_match(sv_n(pattern, sizeof(pattern)), sv_n(name, sizeof(name))));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("wire/channel_name");
	TCase *t = tcase_create("channel_name");

	tcase_add_test(t, kinds_follow_the_anchored_prefix);
	tcase_add_test(t, user_channel_tells_its_user);
	tcase_add_test(t, names_outside_the_grammar_are_refused);
	tcase_add_test(t, names_are_bounded);
	tcase_add_test(t, every_byte_is_in_or_out);
	tcase_add_test(t, a_star_of_a_pattern_matches_any_bytes);
	tcase_add_test(t, a_hostile_pattern_is_cheap);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_run(suite());
}
