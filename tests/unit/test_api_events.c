/* SPDX-License-Identifier: MIT */
/* Publishing over the HTTP API, without a socket (api_world.h). */
#include "api_world.h"

START_TEST(an_event_reaches_each_of_its_channels_once)
{
	uint64_t exclude;

	join("one", "");
	join("two", "");
	event("{\"name\":\"App\\\\Events\\\\X\",\"channels\":[\"one\",\"two\",\"one\"],"
	      "\"channel\":\"two\",\"data\":\"{\\\"a\\\":1}\"}");
	ck_reply(200, "{}");
	ck_frame("one", "App\\Events\\X", "{\"a\":1}");
	ck_frame("two", "App\\Events\\X", "{\"a\":1}");
	ck_no_frame();
	event("{\"name\":\"n\",\"channel\":\"one\",\"data\":\"\",\"socket_id\":\"1.2\"}");
	ck_reply(200, "{}");
	free(next_frame(&exclude));
	ck_assert_uint_eq(exclude, UINT64_C(1) << 32 | 2);
}
END_TEST

START_TEST(optional_members_may_be_null)
{
	event("{\"name\":\"n\",\"channel\":\"c\",\"channels\":null,\"data\":\"d\","
	      "\"socket_id\":null,\"info\":null,\"other\":[1]}");
	ck_reply(200, "{}");
	event("{\"name\":\"n\",\"channels\":[\"c\"],\"channel\":null,\"data\":\"d\",\"info\":"
	      "\"\"}");
	ck_reply(200, "{}");
}
END_TEST

START_TEST(a_publish_returns_the_requested_attributes)
{
	join("presence-p", "u1");
	join("presence-p", "u1");
	join("presence-p", "u2");
	join("c", "");
	event("{\"name\":\"n\",\"channels\":[\"presence-p\",\"c\",\"empty\"],\"data\":\"d\","
	      "\"info\":\"user_count,subscription_count\"}");
	ck_reply(200, "{\"channels\":{"
		      "\"presence-p\":{\"user_count\":2,\"subscription_count\":3},"
		      "\"c\":{\"subscription_count\":1},\"empty\":{\"subscription_count\":0}}}");
	event("{\"name\":\"n\",\"channels\":[\"presence-p\",\"c\"],\"data\":\"d\","
	      "\"info\":\"user_count\"}");
	ck_reply(200, "{\"channels\":{\"presence-p\":{\"user_count\":2},\"c\":{}}}");
}
END_TEST

START_TEST(a_wrong_body_is_400_and_names_the_fault)
{
	static const struct {
		const char *body, *part;
	} bad[] = {
		{ "", "not valid JSON" },
		{ "{", "not valid JSON" },
		{ "nope", "not valid JSON" },
		{ "{\"name\":\"n\",\"channel\":\"c\",\"data\":\"\xff\"}", "not valid UTF-8" },
		{ "{\"name\":\"n\",\"channel\":\"c\",\"data\":\"\xc3\x28\"}", "not valid UTF-8" },
		{ "{\"name\":\"n\",\"channel\":\"c\",\"data\":\"\\ud800\"}",
		  "half of a surrogate pair" },
		{ "{\"name\":\"n\",\"channel\":\"c\",\"data\":\"d\"} x", "not valid JSON" },
		{ "[]", "must be a JSON object" },
		{ "\"x\"", "must be a JSON object" },
		{ "null", "must be a JSON object" },
		{ "{}", "needs a name" },
		{ "{\"name\":\"\",\"channel\":\"c\",\"data\":\"d\"}", "needs a name" },
		{ "{\"name\":1,\"channel\":\"c\",\"data\":\"d\"}", "\"name\" must be a string" },
		{ "{\"name\":\"pusher:x\",\"channel\":\"c\",\"data\":\"d\"}", "must not start" },
		{ "{\"name\":\"pusher_internal:x\",\"channel\":\"c\",\"data\":\"d\"}",
		  "must not start" },
		{ "{\"name\":[\"n\"],\"channel\":\"c\",\"data\":\"d\"}", "\"name\" must" },
		{ "{\"name\":\"123456789012345678901\",\"channel\":\"c\",\"data\":\"d\"}",
		  "at most 20 bytes" },
		{ "{\"name\":\"n\",\"channel\":\"c\"}", "needs \"data\"" },
		{ "{\"name\":\"n\",\"channel\":\"c\",\"data\":null}", "needs \"data\"" },
		{ "{\"name\":\"n\",\"channel\":\"c\",\"data\":{\"a\":1}}", "\"data\" must be" },
		{ "{\"name\":\"n\",\"channel\":\"c\",\"data\":[1]}", "\"data\" must be" },
		{ "{\"name\":\"n\",\"channel\":\"c\",\"data\":true}", "\"data\" must be" },
		{ "{\"name\":\"n\",\"data\":\"d\"}", "needs \"channels\"" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channels\":[]}", "needs \"channels\"" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channels\":\"c\"}", "array of strings" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channels\":{\"0\":\"c\"}}", "array of" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channels\":[1]}", "must be a string" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channels\":[\"c\",null]}", "must be a string" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channel\":7}", "must be a string" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channel\":\"\"}", "Invalid channel name" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channel\":\"a b\"}", "Invalid channel name" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channel\":\"#x\"}", "Invalid channel name" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channel\":\"!user-1\"}", "Invalid channel" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channel\":\"\xc3\xa4\"}", "Invalid channel" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channel\":"
		  "\"123456789012345678901234567890123456789012345678901\"}",
		  "at most 50 bytes" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channel\":\"c\",\"socket_id\":1.2}",
		  "\"socket_id\" must" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channel\":\"c\",\"socket_id\":\"\"}",
		  "\"socket_id\" is empty" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channel\":\"c\",\"socket_id\":\"1\"}",
		  "Invalid socket_id" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channel\":\"c\",\"socket_id\":\"1.2\\n\"}",
		  "Invalid socket_id" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channel\":\"c\",\"info\":[]}",
		  "\"info\" must" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channel\":\"c\",\"info\":\"x\"}",
		  "Unknown attribute" },
		{ "{\"name\":\"n\",\"data\":\"d\",\"channels\":[\"private-encrypted-a\",\"b\"]}",
		  "encrypted channel" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		event(bad[i].body);
		ck_error(400, bad[i].part);
	}
	ck_no_frame();
}
END_TEST

static void add_channels(struct strbuf *b, unsigned n)
{
	strbuf_add_str(b, "{\"name\":\"n\",\"data\":\"d\",\"info\":\"subscription_count\","
			  "\"channels\":[\"c0\"");
	for (unsigned i = 1; i < n; i++)
		strbuf_addf(b, ",\"c%u\"", i / 2);
	strbuf_add_str(b, "]}");
}

START_TEST(channels_over_the_maximum_are_refused)
{
	struct strbuf b;
	json_t *root;

	strbuf_init(&b, 0);
	add_channels(&b, 20);
	event(b.ptr);
	ck_assert_uint_eq(got.status, 200);
	root = json_loads(got.body, 0, NULL);
	ck_assert_uint_eq(json_object_size(json_object_get(root, "channels")), 10);
	json_decref(root);
	strbuf_reset(&b);
	add_channels(&b, 21);
	event(b.ptr);
	ck_error(400, "at most 20 channels");
	strbuf_release(&b);
}
END_TEST

START_TEST(data_over_the_maximum_is_413)
{
	char body[400], data[102];

	memset(data, 'd', 101);
	data[101] = '\0';
	snprintf(body, sizeof(body), "{\"name\":\"n\",\"channel\":\"c\",\"data\":\"%s\"}",
		 data + 1);
	event(body);
	ck_reply(200, "{}");
	snprintf(body, sizeof(body), "{\"name\":\"n\",\"channel\":\"c\",\"data\":\"%s\"}", data);
	event(body);
	ck_error(413, "at most 100");
}
END_TEST

START_TEST(an_encrypted_channel_given_twice_is_one)
{
	event("{\"name\":\"n\",\"channels\":[\"private-encrypted-a\",\"private-encrypted-a\"],"
	      "\"data\":\"{}\"}");
	ck_reply(200, "{}");
}
END_TEST

START_TEST(a_durable_event_without_a_database_is_503)
{
	join("free", "");
	join("logged-x", "");
	event("{\"name\":\"n\",\"channel\":\"logged-x\",\"data\":\"d\"}");
	ck_error(503, "database");
	ck_assert_uint_ge(got.retry_after_s, 1);
	event("{\"name\":\"n\",\"channels\":[\"free\",\"logged-x\"],\"data\":\"d\"}");
	ck_error(503, "nothing was published");
	ck_no_frame();
}
END_TEST

START_TEST(a_batch_publishes_each_event_in_order)
{
	uint64_t exclude;

	join("c", "");
	post("/apps/a/batch_events",
	     "{\"batch\":[{\"name\":\"a\",\"channel\":\"c\",\"data\":\"1\"},"
	     "{\"name\":\"b\",\"channel\":\"c\",\"data\":\"2\"}]}");
	ck_reply(200, "{}");
	ck_frame("c", "a", "1");
	ck_frame("c", "b", "2");
	post("/apps/a/batch_events",
	     "{\"batch\":[{\"name\":\"a\",\"channel\":\"c\",\"data\":\"1\",\"socket_id\":"
	     "\"1.2\"},{\"name\":\"b\",\"channel\":\"c\",\"data\":\"2\"}]}");
	ck_reply(200, "{}");
	free(next_frame(&exclude));
	ck_assert_uint_eq(exclude, UINT64_C(1) << 32 | 2);
	free(next_frame(&exclude));
	ck_assert_uint_eq(exclude, 0);
	post("/apps/a/batch_events",
	     "{\"batch\":[{\"name\":\"a\",\"channel\":\"c\",\"data\":\"1\"},"
	     "{\"name\":\"b\",\"channel\":\"c\",\"data\":\"2\",\"info\":\"subscription_count\"},"
	     "{\"name\":\"b\",\"channel\":\"presence-x\",\"data\":\"2\",\"info\":\"user_count\"}]"
	     "}");
	ck_reply(200, "{\"batch\":[{},{\"subscription_count\":1},{\"user_count\":0}]}");
}
END_TEST

START_TEST(a_wrong_batch_is_400_and_publishes_nothing)
{
	static const struct {
		const char *body, *part;
	} bad[] = {
		{ "{}", "needs \"batch\"" },
		{ "[]", "must be a JSON object" },
		{ "{\"batch\":{}}", "needs \"batch\"" },
		{ "{\"batch\":[]}", "empty" },
		{ "{\"batch\":[1]}", "must be an object" },
		{ "{\"batch\":[null]}", "must be an object" },
		{ "{\"batch\":[{\"name\":\"n\",\"data\":\"d\"}]}", "needs a \"channel\"" },
		{ "{\"batch\":[{\"name\":\"n\",\"data\":\"d\",\"channels\":[\"c\"]}]}",
		  "needs a \"channel\"" },
		{ "{\"batch\":[{\"name\":\"n\",\"data\":\"d\",\"channel\":[\"c\"]}]}",
		  "must be a string" },
		{ "{\"batch\":[{},{},{},{}]}", "at most 3 events" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		post("/apps/a/batch_events", bad[i].body);
		ck_error(400, bad[i].part);
	}
	join("c", "");
	post("/apps/a/batch_events",
	     "{\"batch\":[{\"name\":\"a\",\"channel\":\"c\",\"data\":\"1\"},"
	     "{\"name\":\"b\",\"channel\":\"a b\",\"data\":\"2\"}]}");
	ck_error(400, "Invalid channel name");
	ck_no_frame();
}
END_TEST

START_TEST(the_legacy_endpoint_publishes_the_body_as_data)
{
	uint64_t exclude;

	join("c", "");
	signed_call("POST", "/apps/a/channels/c/events", "&name=n", "any {text}");
	ck_reply(202, "{}");
	ck_frame("c", "n", "any {text}");
	signed_call("POST", "/apps/a/channels/c/events", "&name=n&socket_id=1.2", "");
	ck_reply(202, "{}");
	free(next_frame(&exclude));
	ck_assert_uint_eq(exclude, UINT64_C(1) << 32 | 2);
	signed_call("POST", "/apps/a/channels/c/events", "", "x");
	ck_error(400, "needs a name");
	signed_call("POST", "/apps/a/channels/c/events", "&name=n&socket_id=x", "x");
	ck_error(400, "socket_id");
	signed_call("POST", "/apps/a/channels/a b/events", "&name=n", "x");
	ck_error(400, "Invalid channel name");
	signed_call("POST", "/apps/a/channels/c/events", "&name=n", "\xff");
	ck_error(400, "UTF-8");
	signed_call("POST", "/apps/a/channels/c/events", "&name=\xff", "x");
	ck_error(400, "UTF-8");
	signed_sv("POST", "/apps/a/channels/c/events", "&name=n", sv_n("a\0b", 3));
	ck_reply(202, "{}");
}
END_TEST

/* ---- users ---------------------------------------------------------------- */

START_TEST(a_user_event_reaches_the_channel_of_its_user)
{
	join("#server-to-user-7", "");
	post("/apps/a/users/7/events", "{\"name\":\"n\",\"data\":\"d\"}");
	ck_reply(200, "{}");
	ck_frame("#server-to-user-7", "n", "d");
	event("{\"name\":\"n\",\"channel\":\"#server-to-user-7\",\"data\":\"d\"}");
	ck_reply(200, "{}");
	ck_frame("#server-to-user-7", "n", "d");
	post("/apps/a/users/7 8/events", "{\"name\":\"n\",\"data\":\"d\"}");
	ck_error(400, "Invalid channel name");
	post("/apps/a/users/7/events", "{\"data\":\"d\"}");
	ck_error(400, "needs a name");
}
END_TEST

START_TEST(a_terminated_user_needs_a_valid_id)
{
	post("/apps/a/users/7/terminate_connections", "{}");
	ck_reply(200, "{}");
	post("/apps/a/users/7/terminate_connections", "");
	ck_reply(200, "{}");
	post("/apps/a/users/12345678901/terminate_connections", "{}");
	ck_error(400, "at most 10 bytes");
}
END_TEST

static TCase *add_case(Suite *suite, const char *name, const TTest *const *tests)
{
	TCase *t = tcase_create(name);

	tcase_add_checked_fixture(t, setup, teardown);
	for (; *tests; tests++)
		tcase_add_test(t, *tests);
	suite_add_tcase(suite, t);
	return t;
}

int main(void)
{
	Suite *suite = suite_create("api/events");

	add_case(suite, "publishing",
		 (const TTest *const[]){
			 an_event_reaches_each_of_its_channels_once, optional_members_may_be_null,
			 a_publish_returns_the_requested_attributes,
			 a_wrong_body_is_400_and_names_the_fault,
			 channels_over_the_maximum_are_refused, data_over_the_maximum_is_413,
			 an_encrypted_channel_given_twice_is_one,
			 a_durable_event_without_a_database_is_503,
			 a_batch_publishes_each_event_in_order,
			 a_wrong_batch_is_400_and_publishes_nothing,
			 the_legacy_endpoint_publishes_the_body_as_data,
			 a_user_event_reaches_the_channel_of_its_user,
			 a_terminated_user_needs_a_valid_id, NULL });
	return unit_run(suite);
}
