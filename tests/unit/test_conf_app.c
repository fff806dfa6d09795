/* SPDX-License-Identifier: MIT */
/* Applications: their options, sets of them, and what their limits mean. */
#include <errno.h>
#include <pthread.h>
#include "unit.h"
#include "base/mem.h"
#include "conf/conf.h"

static struct app *build(const struct app_option *options, size_t n)
{
	struct app *a;
	char *text = NULL;

	ck_assert_msg(app_build("a", options, n, &a, &text) == 0, "%s", text);
	return a;
}

START_TEST(of_several_headers_members_of_a_webhook_the_last_one_counts)
{
	struct webhook_list l = { 0 };
	char *complaint = NULL;

	ck_assert_int_eq(webhook_list_parse(SV("[{\"url\":\"https://a.example/\","
					       "\"headers\":{\"A\":\"1\",\"B\":\"2\"},"
					       "\"headers\":{\"C\":\"3\"}}]"),
					    &l, &complaint),
			 0);
	ck_assert_str_eq(l.endpoints[0].headers[0], "C: 3");
	ck_assert_ptr_null(l.endpoints[0].headers[1]);
	webhook_list_release(&l); /* all of them, which LeakSanitizer checks */
}
END_TEST

START_TEST(texts_of_webhooks_may_have_escapes)
{
	static const char *const refused[] = {
		"[{\"url\":\"https://a.example/\\u0000\"}]",
		"[{\"url\":\"https://a.example/\\ud83d\"}]",
		"[{\"url\":\"https://a.example/\",\"headers\":{\"X-A\":\"b\\r\\nX-C: d\"}}]",
		"[{\"url\":\"https:\\/\\/user@a.example\\/\"}]",
	};
	struct webhook_list l = { 0 };
	char *complaint = NULL;

	ck_assert_int_eq(webhook_list_parse(SV("[{\"url\":\"https:\\/\\/a.example\\/in?t=\\u00e4\","
					       "\"event_types\":[\"channel_\\u006fccupied\"],"
					       "\"headers\":{\"X-A\":\"\\\"b\\\"\"}}]"),
					    &l, &complaint),
			 0);
	ck_assert_uint_eq(l.n, 1);
	ck_assert_str_eq(l.endpoints[0].url, "https://a.example/in?t=\xc3\xa4");
	ck_assert_str_eq(l.endpoints[0].name, "https://a.example/in");
	ck_assert_str_eq(l.endpoints[0].headers[0], "X-A: \"b\"");
	ck_assert_uint_eq(l.endpoints[0].events, 1U << WEBHOOK_CHANNEL_OCCUPIED);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		ck_assert_int_eq(webhook_list_parse(sv(refused[i]), &l, &complaint), -EINVAL);
		ck_assert_ptr_null(strstr(complaint, "example"));
		free(complaint);
	}
	ck_assert_uint_eq(l.n, 1);
	webhook_list_release(&l);
}
END_TEST

START_TEST(an_app_has_the_defaults)
{
	const struct app_option options[] = { { "key", "k" }, { "secret", "s" } };
	struct app *a = build(options, ARRAY_SIZE(options));

	ck_assert_str_eq(a->id, "a");
	ck_assert(a->enabled && !a->tls_only && !a->user_authentication && !a->subscription_count);
	ck_assert_int_eq(a->client_events, CLIENT_EVENTS_NONE);
	ck_assert_int_eq(a->durability, DURABILITY_COMMIT);
	ck_assert_uint_eq(a->activity_timeout_s, 120);
	ck_assert_uint_eq(a->ping_interval_s, 60);
	ck_assert_uint_eq(a->pong_timeout_s, 30);
	ck_assert_uint_eq(a->member_removed_delay_ms, 3000);
	ck_assert_uint_eq(a->cache_ttl_s, 1800);
	ck_assert_uint_eq(a->token_grace_s, 60);
	ck_assert_uint_eq(a->limits.max_message_bytes, 65536);
	ck_assert_uint_eq(a->limits.max_event_payload_bytes, 10240);
	ck_assert_uint_eq(a->limits.max_client_events_per_second, 10);
	ck_assert_uint_eq(a->limits.max_channel_name_bytes, 200);
	ck_assert_uint_eq(a->limits.max_event_name_bytes, 200);
	ck_assert_uint_eq(a->limits.max_event_channels, 100);
	ck_assert_uint_eq(a->limits.max_batch_events, 10);
	ck_assert_uint_eq(a->limits.max_channels_per_connection, 1000);
	ck_assert_uint_eq(a->limits.max_presence_members, 100);
	ck_assert_uint_eq(a->limits.max_presence_member_bytes, 1024);
	ck_assert_uint_eq(a->limits.max_user_id_bytes, 128);
	ck_assert_uint_eq(a->limits.max_watchlist, 100);
	ck_assert_uint_eq(a->limits.max_connections, 0);
	ck_assert_uint_eq(a->limits.message_rate_max_attempts, 0);
	ck_assert(app_allows_origin(a, SV("https://anything.example")));
	ck_assert_ptr_nonnull(a->secret);
	app_unref(a);
	app_unref(NULL);
}
END_TEST

START_TEST(option_names_of_soketi_and_reverb_are_accepted)
{
	const struct app_option options[] = {
		{ "key", "k" },
		{ "secret", "s" },
		{ "enable_client_messages", "1" },
		{ "enable_user_authentication", "true" },
		{ "max_backend_events_per_sec", "11" },
		{ "max_client_events_per_sec", "-1" },
		{ "max_read_req_per_sec", "12" },
		{ "max_presence_members_per_channel", "13" },
		{ "max_presence_member_size_in_kb", "2" },
		{ "max_channel_name_length", "14" },
		{ "max_event_channels_at_once", "15" },
		{ "max_event_name_length", "16" },
		{ "max_event_payload_in_kb", "100" },
		{ "max_event_batch_size", "unlimited" },
		{ "max_message_size", "17" },
		{ "max_request_size", "18" },
		{ "rate_limiting_enabled", "yes" },
	};
	struct app *a = build(options, ARRAY_SIZE(options));

	ck_assert_int_eq(a->client_events, CLIENT_EVENTS_MEMBERS);
	ck_assert(a->user_authentication);
	ck_assert_uint_eq(a->limits.max_backend_events_per_second, 11);
	ck_assert_uint_eq(a->limits.max_client_events_per_second, 0);
	ck_assert_uint_eq(a->limits.max_read_requests_per_second, 12);
	ck_assert_uint_eq(a->limits.max_presence_members, 13);
	ck_assert_uint_eq(a->limits.max_presence_member_bytes, 2048);
	ck_assert_uint_eq(a->limits.max_channel_name_bytes, 14);
	ck_assert_uint_eq(a->limits.max_event_channels, 15);
	ck_assert_uint_eq(a->limits.max_event_name_bytes, 16);
	ck_assert_uint_eq(a->limits.max_event_payload_bytes, 102400);
	ck_assert_uint_eq(a->limits.max_batch_events, 0);
	ck_assert_uint_eq(a->limits.max_message_bytes, 17);
	ck_assert_uint_eq(a->limits.max_request_bytes, 18);
	ck_assert_uint_eq(a->limits.message_rate_max_attempts, 60);
	app_unref(a);
}
END_TEST

START_TEST(a_refused_app_is_reported_with_the_reason)
{
	const struct app_option options[] = { { "key", "k" }, { "secret", "s" }, { "x", "y" } };
	struct app *a = NULL;
	char *text = NULL;

	ck_assert_int_eq(app_build("a", options, 3, &a, &text), -EINVAL);
	ck_assert_str_eq(text, "[app a] x: there is no such option");
	free(text);
	ck_assert_int_eq(app_build("", options, 2, &a, &text), -EINVAL);
	free(text);
	ck_assert_int_eq(app_build("a", options, 1, &a, &text), -EINVAL);
	ck_assert_str_eq(text, "[app a]: secret is missing");
	free(text);
	ck_assert_ptr_null(a);
}
END_TEST

static struct app *small_app(const char *id, const char *key)
{
	const struct app_option options[] = { { "key", key }, { "secret", "s" } };
	struct app *a;
	char *text = NULL;

	ck_assert_int_eq(app_build(id, options, ARRAY_SIZE(options), &a, &text), 0);
	return a;
}

START_TEST(a_later_app_replaces_one_with_its_id_and_keys_are_unique)
{
	struct app *apps[] = { small_app("a", "ka"), small_app("b", "kb"), small_app("a", "kc") };
	struct app *same[] = { small_app("a", "k"), small_app("b", "k") };
	struct app_set *s = NULL;
	char *text = NULL;

	ck_assert_int_eq(app_set_build(apps, ARRAY_SIZE(apps), &s, &text), 0);
	ck_assert_uint_eq(app_set_count(s), 2);
	ck_assert_ptr_eq(app_set_at(s, 0), apps[2]);
	ck_assert_ptr_eq(app_set_by_id(s, SV("a")), apps[2]);
	ck_assert_ptr_eq(app_set_by_key(s, SV("kc")), apps[2]);
	ck_assert_ptr_eq(app_set_by_key(s, SV("kb")), apps[1]);
	ck_assert_ptr_null(app_set_by_key(s, SV("ka")));
	ck_assert_ptr_null(app_set_by_key(NULL, SV("ka")));
	ck_assert_uint_eq(app_set_count(NULL), 0);
	app_set_unref(s);
	ck_assert_int_eq(app_set_build(same, ARRAY_SIZE(same), &s, &text), -EEXIST);
	ck_assert_str_eq(text, "[app a] and [app b] have the same key");
	free(text);
}
END_TEST

START_TEST(a_runtime_outlives_its_snapshots)
{
	struct app *first = small_app("same", "k"), *again, *other;
	struct app_runtime *r = first->runtime;

	app_unref(first);
	again = small_app("same", "k2");
	other = small_app("other", "k3");
	ck_assert_ptr_eq(again->runtime, r);
	ck_assert_ptr_ne(other->runtime, r);
	ck_assert_uint_ne(other->runtime->number, r->number);
	app_unref(again);
	app_unref(other);
}
END_TEST

static void *take_current(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		struct app_set *s = apps_current();

		if (s && !app_set_by_id(s, SV("a")))
			*(bool *)arg = false;
		app_set_unref(s);
	}
	return NULL;
}

START_TEST(the_set_in_force_changes_under_readers)
{
	bool ok = true;
	pthread_t reader;

	ck_assert_ptr_null(apps_current());
	ck_assert_int_eq(pthread_create(&reader, NULL, take_current, &ok), 0);
	for (int i = 0; i < 200; i++) {
		struct app *a = small_app("a", "k");
		struct app_set *s;
		char *text;

		ck_assert_int_eq(app_set_build(&a, 1, &s, &text), 0);
		apps_install(s);
	}
	pthread_join(reader, NULL);
	apps_install(NULL);
	ck_assert(ok);
	ck_assert_ptr_null(apps_current());
}
END_TEST

START_TEST(an_origin_is_allowed_by_host_port_and_scheme)
{
	static const struct {
		const char *allowed, *origin;
		bool ok;
	} cases[] = {
		{ "*", "https://a.example", true },
		{ "a.example", "", true },
		{ "", "https://a.example", false },
		{ "a.example", "https://a.example", true },
		{ "a.example", "http://A.Example:8080", true },
		{ "A.EXAMPLE", "http://a.example", true },
		{ "a.example", "https://b.a.example", false },
		{ "a.example", "https://a.example.evil.test", false },
		{ "*.a.example", "https://b.a.example", true },
		{ "*.a.example", "https://a.example", false },
		{ "b.test, a.example", "https://a.example", true },
		{ "https://a.example", "https://a.example", true },
		{ "https://a.example", "http://a.example", false },
		{ "https://a.example", "https://a.example:8443", false },
		{ "https://a.example:*", "https://a.example:8443", true },
		{ "https://*.a.example", "https://x.a.example", true },
		{ "a.example:8443", "https://a.example:8443", true },
		{ "a.example:8443", "https://a.example", false },
		{ "a.example:443", "https://a.example", true },
		{ "a.example:80", "http://a.example", true },
		{ "a.example:80", "https://a.example", false },
		{ "[::1]", "http://[::1]:3000", true },
		{ "[::1]:3000", "http://[::1]:3000", true },
		{ "[::1]:80", "http://[::1]", true },
		{ "a.example", "null", false },
		{ "null", "null", true },
		{ "a.example", "://", false },
		{ "localhost", "http://localhost:5173", true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct app_option options[] = { { "key", "k" },
						      { "secret", "s" },
						      { "allowed_origins", cases[i].allowed } };
		struct app *a = build(options, ARRAY_SIZE(options));

		ck_assert_msg(app_allows_origin(a, sv(cases[i].origin)) == cases[i].ok, "%s in %s",
			      cases[i].origin, cases[i].allowed);
		app_unref(a);
	}
}
END_TEST

START_TEST(a_huge_origin_matches_nothing)
{
	const struct app_option options[] = { { "key", "k" },
					      { "secret", "s" },
					      { "allowed_origins", "a.*" } };
	struct app *a = build(options, ARRAY_SIZE(options));
	char origin[600];

	memset(origin, 'a', sizeof(origin));
	origin[1] = '.';
	ck_assert(app_allows_origin(a, sv_n(origin, 512)));
	ck_assert(!app_allows_origin(a, sv_n(origin, 513)));
	app_unref(a);
}
END_TEST

START_TEST(the_first_matching_rule_gives_the_durability)
{
	const struct app_option options[] = {
		{ "key", "k" },
		{ "secret", "s" },
		{ "durability", "async" },
		{ "channel_durability", "cursor-*:none, private-log-*:commit,private-*:none" },
	};
	struct app *a = build(options, ARRAY_SIZE(options));

	ck_assert_int_eq(app_durability(a, SV("portal")), DURABILITY_ASYNC);
	ck_assert_int_eq(app_durability(a, SV("cursor-1")), DURABILITY_NONE);
	ck_assert_int_eq(app_durability(a, SV("private-log-1")), DURABILITY_COMMIT);
	ck_assert_int_eq(app_durability(a, SV("private-x")), DURABILITY_NONE);
	app_unref(a);
}
END_TEST

static void add_apps(Suite *s)
{
	TCase *t = tcase_create("apps");

	tcase_add_test(t, of_several_headers_members_of_a_webhook_the_last_one_counts);
	tcase_add_test(t, texts_of_webhooks_may_have_escapes);
	tcase_add_test(t, an_app_has_the_defaults);
	tcase_add_test(t, option_names_of_soketi_and_reverb_are_accepted);
	tcase_add_test(t, a_refused_app_is_reported_with_the_reason);
	tcase_add_test(t, a_later_app_replaces_one_with_its_id_and_keys_are_unique);
	tcase_add_test(t, a_runtime_outlives_its_snapshots);
	tcase_add_test(t, the_set_in_force_changes_under_readers);
	tcase_add_test(t, an_origin_is_allowed_by_host_port_and_scheme);
	tcase_add_test(t, a_huge_origin_matches_nothing);
	tcase_add_test(t, the_first_matching_rule_gives_the_durability);
	suite_add_tcase(s, t);
}

int main(void)
{
	Suite *s = suite_create("conf/app");

	add_apps(s);
	return unit_run(s);
}
