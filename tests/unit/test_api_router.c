/* SPDX-License-Identifier: MIT */
/* Routes, signatures, rates, reads of channels, and the demo, without a socket (api_world.h). */
#include "api_world.h"

static char no_dsn[] = "", host[] = "portal"; /* options of [database] */

START_TEST(health_and_root_are_answered_without_a_signature)
{
	static const char *const ups[] = { "/up", "/ws/up", "//up", "/ws//up", "/up?x=1" };

	for (size_t i = 0; i < ARRAY_SIZE(ups); i++) {
		call("GET", ups[i], "");
		ck_reply(200, "{\"health\":\"OK\"}");
		ck_assert_ptr_null(got.type);
	}
	call("HEAD", "/up", "");
	ck_reply(200, "{\"health\":\"OK\"}");
	call("GET", "/", "");
	ck_reply(200, "OK");
	call("GET", "/ws", "");
	ck_reply(200, "OK");
}
END_TEST

START_TEST(an_unknown_path_is_404)
{
	static const char *const paths[] = { "/nothing",
					     "/upper",
					     "/up/",
					     "/wsup",
					     "/apps",
					     "/apps/",
					     "/apps/a",
					     "/apps/a/",
					     "/apps//events",
					     "/apps/a/events/",
					     "/apps/a/channels/",
					     "/ws/ws/up",
					     "/apps/a/users/7",
					     "/demo/config",
					     "/demo/x.js",
					     "/demo/../etc/passwd" };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		call("GET", paths[i], "");
		ck_error(404, "path does not exist");
	}
}
END_TEST

START_TEST(a_wrong_method_is_405_with_allow)
{
	call("GET", EVENTS, "");
	ck_error(405, "POST");
	ck_assert_str_eq(got.allow, "POST");
	call("POST", "/apps/a/channels", "");
	ck_error(405, "GET");
	ck_assert_str_eq(got.allow, "GET, HEAD");
	call("OPTIONS", "/up", "");
	ck_error(405, "GET");
	call("get", "/up", "");
	ck_error(405, "GET");
}
END_TEST

START_TEST(a_websocket_path_is_426_and_closes_the_connection)
{
	call("GET", "/app/key-a?protocol=7", "");
	ck_error(426, "WebSocket");
	ck_assert(got.wants_close);
	call("GET", "/ws/app/key-a", "");
	ck_error(426, "WebSocket");
}
END_TEST

START_TEST(the_limit_of_a_body_is_that_of_its_app)
{
	struct request r = { .path = SV("/apps/a/events") };

	ck_assert_uint_eq(router_body_limit(&services, &r), 5000);
	r.path = SV("/ws/apps/a/anything");
	ck_assert_uint_eq(router_body_limit(&services, &r), 5000);
	r.path = SV("/apps/none/events");
	ck_assert_uint_le(router_body_limit(&services, &r), 65536);
	r.path = SV("/up");
	ck_assert_uint_le(router_body_limit(&services, &r), 65536);
}
END_TEST

/* ---- who may call -------------------------------------------------------- */

#define HELLO "{\"name\":\"n\",\"channel\":\"c\",\"data\":\"d\"}"

START_TEST(a_signature_is_valid_for_ten_minutes_both_ways)
{
	event(HELLO);
	ck_reply(200, "{}");
	twisted("POST", EVENTS, HELLO, &(struct twist){ .age_s = 599 });
	ck_reply(200, "{}");
	twisted("POST", EVENTS, HELLO, &(struct twist){ .age_s = -590 });
	ck_reply(200, "{}");
}
END_TEST

START_TEST(a_wrong_signature_is_401)
{
	static const struct twist bad[] = {
		{ .age_s = 700 },
		{ .age_s = -700 },
		{ .key = "key-b" },
		{ .secret = "secret-b" },
		{ .version = "2.0" },
		{ .md5_of = "another" },
		{ .path_signed = "/x" },
		{ .path_signed = "/ws" EVENTS },
		{ .cut = 1 },
		{ .cut = 64 },
		{ .cut = 32 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		twisted("POST", EVENTS, HELLO, &bad[i]);
		ck_assert_msg(got.status == 401, "case %zu: %u %s", i, got.status, got.body);
		ck_assert_str_eq(got.type, REQUEST_TEXT);
		ck_assert_uint_gt(strlen(got.body), 10);
	}
	call("POST", EVENTS, HELLO);
	ck_assert_uint_eq(got.status, 401);
	call("GET", "/apps/a/channels?auth_key=key-a", "");
	ck_assert_uint_eq(got.status, 401);
}
END_TEST

START_TEST(a_signature_covers_method_and_body)
{
	const struct twist none = { .age_s = 0 };
	char *target = signed_target("GET", EVENTS, "", sv(HELLO), &none);

	call("POST", target, HELLO);
	ck_assert_uint_eq(got.status, 401);
	free(target);
	target = signed_target("POST", EVENTS, "", sv(""), &none);
	call("POST", target, HELLO);
	ck_assert_uint_eq(got.status, 401);
	free(target);
}
END_TEST

START_TEST(a_signature_covers_the_path_from_apps_on)
{
	char *target =
		signed_target("POST", EVENTS, "", sv(HELLO), &(struct twist){ .prefix = "/ws" });

	call("POST", target, HELLO);
	ck_reply(200, "{}");
	free(target);
	target = signed_target("POST", EVENTS, "", sv(HELLO), &(struct twist){ .prefix = "/ws/" });
	call("POST", target, HELLO);
	ck_reply(200, "{}");
	free(target);
}
END_TEST

START_TEST(an_unknown_app_is_404_and_a_disabled_one_403)
{
	post("/apps/none/events", HELLO);
	ck_error(404, "no application");
	twisted("POST", "/apps/off/events", HELLO, &(struct twist){ .age_s = 0 });
	ck_assert_uint_eq(got.status, 401);
	twisted("POST", "/apps/off/events", HELLO,
		&(struct twist){ .key = "key-off", .secret = "secret-off" });
	ck_error(403, "disabled");
	twisted("POST", "/apps/slow/events", HELLO, &(struct twist){ .age_s = 0 });
	ck_assert_uint_eq(got.status, 401);
}
END_TEST

START_TEST(a_request_over_the_rate_is_429_with_retry_after)
{
	const struct twist slow = { .key = "key-slow", .secret = "secret-slow" };
	unsigned refused = 0;

	for (int i = 0; i < 20; i++) {
		twisted("POST", "/apps/slow/events",
			"{\"name\":\"n\",\"channels\":[\"a\",\"b\"],\"data\":\"d\"}", &slow);
		if (got.status == 200)
			continue;
		refused++;
		ck_error(429, "try again later");
		ck_assert_uint_ge(got.retry_after_s, 1);
	}
	ck_assert_uint_ge(refused, 17);
	refused = 0;
	for (int i = 0; i < 20; i++) {
		twisted("GET", "/apps/slow/channels", "", &slow);
		refused += got.status == 429;
	}
	ck_assert_uint_ge(refused, 16);
}
END_TEST

/* ---- reading --------------------------------------------------------------- */

START_TEST(without_subscribers_lists_are_empty)
{
	get("/apps/a/channels", "");
	ck_reply(200, "{\"channels\":{}}");
	get("/apps/a/channels/c", "");
	ck_reply(200, "{\"occupied\":false}");
	get("/apps/a/channels/presence-p", "&info=user_count,subscription_count");
	ck_reply(200, "{\"occupied\":false,\"user_count\":0,\"subscription_count\":0}");
	get("/apps/a/channels/presence-p/users", "");
	ck_reply(200, "{\"users\":[]}");
	get("/apps/a/connections", "");
	ck_reply(200, "{\"connections\":0}");
}
END_TEST

START_TEST(channels_are_listed_by_prefix_with_attributes)
{
	join("presence-p", "u1");
	join("presence-p", "u2");
	join("c", "");
	get("/apps/a/channels", "&filter_by_prefix=presence-&info=user_count");
	ck_reply(200, "{\"channels\":{\"presence-p\":{\"user_count\":2}}}");
	get("/apps/a/channels", "&filter_by_prefix=c");
	ck_reply(200, "{\"channels\":{\"c\":{}}}");
	get("/apps/a/channels", "&filter_by_prefix=c&info=subscription_count");
	ck_reply(200, "{\"channels\":{\"c\":{\"subscription_count\":1}}}");
	get("/apps/a/channels", "&filter_by_prefix=presence-&info=user_count,subscription_count");
	ck_reply(200,
		 "{\"channels\":{\"presence-p\":{\"user_count\":2,\"subscription_count\":2}}}");
	get("/apps/a/channels", "");
	ck_assert_uint_eq(got.status, 200);
	ck_assert_ptr_nonnull(strstr(got.body, "\"c\":{}"));
	ck_assert_ptr_nonnull(strstr(got.body, "\"presence-p\":{}"));
	get("/apps/a/channels", "&info=user_count");
	ck_error(400, "filter_by_prefix");
	get("/apps/a/channels", "&filter_by_prefix=c&info=user_count");
	ck_error(400, "filter_by_prefix");
	get("/apps/a/channels", "&info=nonsense");
	ck_error(400, "Unknown attribute");
	get("/apps/a/channels", "&info=cache");
	ck_error(400, "cache");
}
END_TEST

START_TEST(a_channel_has_the_attributes_of_its_kind_only)
{
	join("presence-p", "u1");
	join("c", "");
	get("/apps/a/channels/presence-p", "&info=user_count,subscription_count");
	ck_reply(200, "{\"occupied\":true,\"user_count\":1,\"subscription_count\":1}");
	get("/apps/a/channels/c", "&info=subscription_count");
	ck_reply(200, "{\"occupied\":true,\"subscription_count\":1}");
	get("/apps/a/channels/c", "&info=user_count");
	ck_error(400, "presence channels");
	get("/apps/a/channels/c", "&info=cache");
	ck_error(400, "cache channels");
	get("/apps/a/channels/c d", "");
	ck_error(400, "Invalid channel name");
	get("/apps/a/channels/presence-p/users", "");
	ck_reply(200, "{\"users\":[{\"id\":\"u1\"}]}");
	get("/apps/a/channels/c/users", "");
	ck_error(400, "presence");
}
END_TEST

START_TEST(the_cached_event_is_returned_with_its_ttl)
{
	unsigned ttl = 0;

	get("/apps/a/channels/cache-c", "&info=cache");
	ck_reply(200, "{\"occupied\":false,\"cache\":null}");
	event("{\"name\":\"n\",\"channel\":\"cache-c\",\"data\":\"{\\\"a\\\":\\\"\xc3\xa4\\\"}\"}");
	get("/apps/a/channels/cache-c", "&info=cache,subscription_count");
	ck_assert_uint_eq(got.status, 200);
	ck_assert_int_eq(sscanf(got.body,
				"{\"occupied\":false,\"subscription_count\":0,\"cache\":{\"data\":"
				"\"{\\\"a\\\":\\\"\xc3\xa4\\\"}\",\"ttl\":%u}}",
				&ttl),
			 1);
	ck_assert_uint_gt(ttl, 0);
}
END_TEST

/* ---- the demo -------------------------------------------------------------- */

static char folder[] = "/tmp/scopewire-demo-XXXXXX";

static void write_file(const char *name, const char *text)
{
	struct strbuf path;
	FILE *f;

	strbuf_init(&path, 0);
	strbuf_addf(&path, "%s/%s", folder, name);
	f = fopen(path.ptr, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	strbuf_release(&path);
}

#define DEMO_HOST "Host: localhost:8080\n"

static void setup_demo(void)
{
	setup();
	memcpy(folder + sizeof(folder) - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	write_file("index.html", "<p>demo");
	write_file("app.js", "x");
	write_file("secret.conf", "s");
	conf.server.demo = true;
	conf.server.demo_dir = folder;
	conf.database =
		(struct conf_database){ .dsn = no_dsn, .host = host, .user = host, .name = host };
	headers = DEMO_HOST;
}

static void teardown_demo(void)
{
	static const char *const names[] = { "index.html", "app.js", "secret.conf" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct strbuf path;

		strbuf_init(&path, 0);
		strbuf_addf(&path, "%s/%s", folder, names[i]);
		unlink(path.ptr);
		strbuf_release(&path);
	}
	rmdir(folder);
	conf.server.demo = false;
	headers = NULL;
	teardown();
}

START_TEST(the_demo_serves_the_files_of_its_folder_only)
{
	static const char *const hidden[] = { "/demo/secret.conf",	 "/demo/../index.html",
					      "/demo/%2e%2e/index.html", "/demo/none.js",
					      "/demo/.hidden.js",	 "/demo//etc/passwd",
					      "/demo/sub/app.js",	 "/demo/%2e%2e%2fapp.js" };

	call("GET", "/", "");
	ck_reply(200, "<p>demo");
	ck_assert_str_eq(got.type, "text/html; charset=utf-8");
	call("GET", "/demo/", "");
	ck_reply(200, "<p>demo");
	call("GET", "/demo/app.js", "");
	ck_reply(200, "x");
	for (size_t i = 0; i < ARRAY_SIZE(hidden); i++) {
		call("GET", hidden[i], "");
		ck_error(404, "path does not exist");
	}
}
END_TEST

static const struct {
	const char *header;
	bool is_local;
} hosts[] = {
	{ "Host: localhost\n", true },
	{ "Host: 127.0.0.1:8080\n", true },
	{ "Host: [::1]:8080\n", true },
	{ "Host: [::1]\n", true },
	{ "Host: evil.example\n", false },
	{ "Host: localhost.evil.example\n", false },
	{ "Host: 127.0.0.1.evil.example:8080\n", false },
	{ "Host: [::1\n", false },
	{ "Host: \n", false },
	{ "", false },
};

START_TEST(the_demo_is_served_under_names_of_this_machine_only)
{
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		headers = hosts[i].header;
		call("GET", "/", "");
		ck_reply(200, hosts[i].is_local ? "<p>demo" : "OK");
		call("GET", "/demo/config", "");
		ck_assert_msg((got.status == 200) == hosts[i].is_local, "%s", hosts[i].header);
	}
}
END_TEST

START_TEST(the_demo_is_served_to_this_machine_only)
{
	static const char *const proxied[] = { DEMO_HOST "X-Forwarded-For: 1.2.3.4\n",
					       DEMO_HOST "Forwarded: for=1\n",
					       DEMO_HOST "X-Real-IP: 1.2.3.4\n" };

	call_from(false, "GET", "/", SV(""));
	ck_reply(200, "OK");
	call_from(false, "GET", "/demo/config", SV(""));
	ck_error(404, "does not exist");
	call_from(false, "POST", "/demo/publish", SV(HELLO));
	ck_error(404, "does not exist");
	for (size_t i = 0; i < ARRAY_SIZE(proxied); i++) {
		headers = proxied[i];
		call("POST", "/demo/auth", "{}");
		ck_error(404, "does not exist");
	}
}
END_TEST

#define JSON_TYPE "Content-Type: application/json\n"

START_TEST(the_demo_has_a_configuration_signs_and_publishes)
{
	headers = DEMO_HOST JSON_TYPE;
	call("GET", "/demo/config", "");
	ck_reply(200, "{\"app_id\":\"a\",\"key\":\"key-a\",\"path\":\"/ws\","
		      "\"psql\":\"psql -h portal -p 0 -U portal portal\"}");
	call("POST", "/demo/auth",
	     "{\"socket_id\":\"1234.1234\",\"channel_name\":\"private-foobar\"}");
	/* HMAC-SHA256 of 1234.1234:private-foobar with secret-a */
	ck_reply(200, "{\"auth\":\"key-a:"
		      "4c156d7bc99b84cf1d8a1fe7a704bf44e18dd718fd25057ea3a3121d751b81c6\"}");
	call("POST", "/demo/auth",
	     "{\"socket_id\":\"1.2\",\"channel_name\":\"presence-x\","
	     "\"user\":{\"id\":\"7\",\"name\":\"Ada\"}}");
	ck_assert_uint_eq(got.status, 200);
	ck_assert_ptr_nonnull(strstr(
		got.body, ",\"channel_data\":\"{\\\"user_id\\\":\\\"7\\\",\\\"user_info\\\":{"
			  "\\\"id\\\":\\\"7\\\",\\\"name\\\":\\\"Ada\\\"}}\"}"));
	call("POST", "/demo/auth", "{\"socket_id\":\"x\",\"channel_name\":\"private-x\"}");
	ck_error(400, "socket_id");
	join("c", "");
	call("POST", "/demo/publish", HELLO);
	ck_reply(200, "{}");
	ck_frame("c", "n", "d");
	call("POST", "/demo/publish", "[1]");
	ck_error(400, "object");
	headers = DEMO_HOST "Content-Type: text/plain\n";
	call("POST", "/demo/publish", HELLO);
	ck_error(415, "application/json");
	ck_no_frame();
}
END_TEST

static TCase *add_case(Suite *suite, const char *name, const TTest *const *tests)
{
	TCase *t = tcase_create(name);

	if (strcmp(name, "demo") == 0)
		tcase_add_checked_fixture(t, setup_demo, teardown_demo);
	else
		tcase_add_checked_fixture(t, setup, teardown);
	for (; *tests; tests++)
		tcase_add_test(t, *tests);
	suite_add_tcase(suite, t);
	return t;
}

static unsigned n_lists_read;

static void on_header_list(const struct request *r UNUSED, const char *name, struct strbuf *out)
{
	n_lists_read++;
	if (strcmp(name, "X-Forwarded-For") == 0)
		strbuf_add_str(out, "192.0.2.7");
}

START_TEST(a_late_reply_of_the_sync_api_reads_no_headers)
{
	struct trusted_proxies *proxies = &conf.server.trusted_proxies;
	struct app_set *set = apps_current();
	struct request r = { .peer = loopback_peer,
			     .header = on_header,
			     .header_list = on_header_list };
	struct call c = { .r = &r,
			  .services = &services,
			  .app = app_ref(app_set_by_id(set, SV("a"))) };
	struct client_address client;
	char text[ADDRESS_TEXT_SIZE];
	struct sync_call *sc;
	struct str_view bad;
	unsigned n;

	ck_assert(trusted_proxies_parse(SV("127.0.0.1, ::1"), proxies, &bad));
	atomic_fetch_add(&c.app->runtime->sync_calls, 1);
	sc = sync_call_new(&c);
	n = n_lists_read;
	client = call_client(&sc->call);
	ck_assert_str_eq(address_format(&client.address, text), "192.0.2.7");
	ck_assert_uint_eq(n_lists_read, n);
	sync_call_free(sc);
	trusted_proxies_release(proxies);
	*proxies = (struct trusted_proxies){ 0 };
	app_set_unref(set);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("api/router");

	add_case(suite, "routes",
		 (const TTest *const[]){ health_and_root_are_answered_without_a_signature,
					 an_unknown_path_is_404, a_wrong_method_is_405_with_allow,
					 a_websocket_path_is_426_and_closes_the_connection,
					 the_limit_of_a_body_is_that_of_its_app, NULL });
	add_case(suite, "rights",
		 (const TTest *const[]){ a_signature_is_valid_for_ten_minutes_both_ways,
					 a_wrong_signature_is_401,
					 a_signature_covers_method_and_body,
					 a_signature_covers_the_path_from_apps_on,
					 an_unknown_app_is_404_and_a_disabled_one_403,
					 a_request_over_the_rate_is_429_with_retry_after, NULL });
	add_case(suite, "reading",
		 (const TTest *const[]){ without_subscribers_lists_are_empty,
					 channels_are_listed_by_prefix_with_attributes,
					 a_channel_has_the_attributes_of_its_kind_only,
					 the_cached_event_is_returned_with_its_ttl, NULL });
	add_case(suite, "demo",
		 (const TTest *const[]){ the_demo_serves_the_files_of_its_folder_only,
					 the_demo_is_served_to_this_machine_only,
					 the_demo_is_served_under_names_of_this_machine_only,
					 the_demo_has_a_configuration_signs_and_publishes, NULL });
	add_case(suite, "late",
		 (const TTest *const[]){ a_late_reply_of_the_sync_api_reads_no_headers, NULL });
	return unit_run(suite);
}
