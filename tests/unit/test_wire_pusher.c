/* SPDX-License-Identifier: MIT */
#include <jansson.h>
#include <errno.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "unit.h"
#include "base/hash.h"
#include "base/mem.h"
#include "wire/channel_name.h"
#include "wire/pusher.h"
#include "wire/socket_id.h"

static struct client_frame parse_view(struct str_view text)
{
	struct client_frame f;
	const char *why = "";

	ck_assert_msg(client_frame_parse(text, &f, &why) == 0, "%.*s: %s", SV_ARG(text), why);
	return f;
}

static struct client_frame parse(const char *text)
{
	return parse_view(sv(text));
}

static const char *refusal_of_view(struct str_view text)
{
	struct client_frame f;
	const char *why = NULL;

	ck_assert_msg(client_frame_parse(text, &f, &why) == -EINVAL, "%.*s", SV_ARG(text));
	ck_assert_ptr_nonnull(why);
	return why;
}

static const char *refusal_of(const char *text)
{
	return refusal_of_view(sv(text));
}

/* What the parsed value would be printed as is not what was sent. */
START_TEST(a_client_events_data_stays_as_it_was_written)
{
	static const char *const values[] = {
		"0.1",
		"1e3",
		"{ \"a\" : 1.10, \"b\":[1, {}] }",
		"\"a \\\"quote\\\" and } , ] \\u00e9\"",
		"[]",
		"null",
		"9007199254740993",
		"18446744073709551615",
		"-0",
		"1E+999",
		"-0.0e-0",
		"\"\\ud83d and \\u0000\"",
		"{\"\\u0000\":1,\"\":2,\"a\":3,\"a\":4,\"\\ud800\":5}"
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct client_frame f;
		struct strbuf b;

		strbuf_init(&b, 64);
		strbuf_addf(&b,
			    " { \"data\": 7, \"event\" : \"client-x\" , \"data\" : %s , "
			    "\"channel\":\"private-a\"}",
			    values[i]);
		f = parse_view(strbuf_view(&b));
		ck_assert_msg(sv_eq_c(f.data, values[i]), "%.*s for %s", SV_ARG(f.data), values[i]);
		client_frame_release(&f);
		strbuf_release(&b);
	}
}
END_TEST

START_TEST(a_members_info_stays_as_it_was_written)
{
	struct presence_member m;
	const char *why;

	ck_assert_int_eq(presence_member_parse(SV("{\"user_id\":1,\"user_info\": {\"r\": 0.1} }"),
					       0, 0, &m, &why),
			 0);
	ck_assert_str_eq(m.user_info, "{\"r\": 0.1}");
	presence_member_release(&m);
}
END_TEST

START_TEST(ping_and_pong_take_any_data)
{
	static const struct {
		const char *text;
		enum frame_kind kind;
	} cases[] = {
		{ "{\"event\":\"pusher:ping\",\"data\":{}}", FRAME_PING },
		{ "{\"event\":\"pusher:ping\",\"data\":\"\"}", FRAME_PING },
		{ "{\"event\":\"pusher:ping\"}", FRAME_PING },
		{ " {\"event\":\"pusher:pong\",\"data\":\"{}\"} ", FRAME_PONG },
		{ "{\"data\":null,\"event\":\"pusher:pong\"}", FRAME_PONG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct client_frame f = parse(cases[i].text);

		ck_assert_int_eq(f.kind, cases[i].kind);
		client_frame_release(&f);
	}
}
END_TEST

START_TEST(a_subscription_to_a_public_channel_is_read)
{
	struct client_frame f = parse(
		"{\"event\":\"pusher:subscribe\",\"data\":{\"auth\":\"\",\"channel\":\"x\"}}");

	ck_assert_int_eq(f.kind, FRAME_SUBSCRIBE);
	ck_view_eq(f.channel, "x");
	ck_view_eq(f.auth, "");
	ck_assert(!f.has_channel_data);
	ck_assert_uint_eq(f.since.len, 0);
	client_frame_release(&f);
}
END_TEST

START_TEST(a_subscription_to_a_presence_channel_keeps_its_channel_data)
{
	struct client_frame f = parse("{\"event\":\"pusher:subscribe\",\"data\":{\"auth\":\"k:s\","
				      "\"channel_data\":\"{\\\"user_id\\\": 10}\",\"channel\":"
				      "\"presence-x\",\"since\":\"e1:42\"}}");

	ck_view_eq(f.auth, "k:s");
	ck_assert(f.has_channel_data);
	ck_view_eq(f.channel_data, "{\"user_id\": 10}");
	ck_view_eq(f.since, "e1:42");
	client_frame_release(&f);
}
END_TEST

START_TEST(empty_channel_data_counts_as_given)
{
	struct client_frame f = parse("{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"x\","
				      "\"channel_data\":\"\"}}");

	ck_assert(f.has_channel_data);
	ck_assert_uint_eq(f.channel_data.len, 0);
	client_frame_release(&f);
}
END_TEST

START_TEST(null_fields_are_absent)
{
	struct client_frame f = parse("{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"x\","
				      "\"auth\":null,\"channel_data\":null,\"since\":null}}");

	ck_assert(!f.has_channel_data);
	ck_assert_uint_eq(f.auth.len, 0);
	client_frame_release(&f);
}
END_TEST

START_TEST(doubly_encoded_data_is_opened)
{
	struct client_frame f = parse("{\"event\":\"pusher:unsubscribe\",\"data\":\"{\\\"channel"
				      "\\\":\\\"x\\\"}\"}");

	ck_assert_int_eq(f.kind, FRAME_UNSUBSCRIBE);
	ck_view_eq(f.channel, "x");
	client_frame_release(&f);
}
END_TEST

START_TEST(a_sign_in_is_read)
{
	struct client_frame f = parse("{\"event\":\"pusher:signin\",\"data\":{\"auth\":\"k:s\","
				      "\"user_data\":\"{\\\"id\\\":\\\"1\\\"}\"}}");

	ck_assert_int_eq(f.kind, FRAME_SIGNIN);
	ck_view_eq(f.auth, "k:s");
	ck_view_eq(f.user_data, "{\"id\":\"1\"}");
	client_frame_release(&f);
}
END_TEST

START_TEST(a_client_event_keeps_its_data)
{
	static const char *const datas[] = { "{\"a\":[]}", "[]",   "\"text\"", "17",
					     "1.5",	   "true", "null",     "9007199254740993" };

	for (size_t i = 0; i < ARRAY_SIZE(datas); i++) {
		char text[200];
		struct client_frame f;

		snprintf(text, sizeof(text),
			 "{\"event\":\"client-typing\",\"channel\":\"private-x\",\"data\":%s}",
			 datas[i]);
		f = parse(text);
		ck_assert_int_eq(f.kind, FRAME_CLIENT_EVENT);
		ck_view_eq(f.event, "client-typing");
		ck_view_eq(f.channel, "private-x");
		ck_view_eq(f.data, datas[i]);
		client_frame_release(&f);
	}
}
END_TEST

START_TEST(a_client_event_needs_no_data)
{
	struct client_frame f = parse("{\"event\":\"client-x\",\"channel\":\"private-x\"}");

	ck_assert_uint_eq(f.data.len, 0);
	client_frame_release(&f);
}
END_TEST

START_TEST(a_heartbeat_has_an_object_or_nothing)
{
	static const struct {
		const char *data, *found;
	} cases[] = {
		{ ",\"data\":{\"status\":\"away\"}", "{\"status\":\"away\"}" },
		{ ",\"data\":\"{\\\"a\\\":1}\"", "{\"a\":1}" },
		{ ",\"channel\":\"presence-x\",\"data\":null", "" },
		{ "", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[200];
		struct client_frame f;

		snprintf(text, sizeof(text), "{\"event\":\"client-scopewire:heartbeat\"%s}",
			 cases[i].data);
		f = parse(text);
		ck_assert_int_eq(f.kind, FRAME_HEARTBEAT);
		ck_view_eq(f.data, cases[i].found);
		client_frame_release(&f);
	}
}
END_TEST

START_TEST(other_events_are_unknown)
{
	static const char *const events[] = { "pusher:other", "pusher:Ping", "my-client-x",
					      "Client-x",     "client",	     "" };

	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		char text[100];
		struct client_frame f;

		snprintf(text, sizeof(text), "{\"event\":\"%s\",\"data\":7}", events[i]);
		f = parse(text);
		ck_assert_int_eq(f.kind, FRAME_UNKNOWN);
		ck_view_eq(f.event, events[i]);
		client_frame_release(&f);
	}
}
END_TEST

START_TEST(what_is_no_json_object_is_refused)
{
	static const char *const bad[] = {
		"",  " ",    "hello",	 "{",	 "{}}",	    "{} x",
		"1", "null", "\"text\"", "[{}]", "{'a':1}", "{\"event\":\"pusher:ping\",}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_str_ne(refusal_of(bad[i]), "");
	ck_assert_str_eq(refusal_of("[]"), "Message is not a JSON object");
	ck_assert_str_eq(refusal_of("{"), "Message is not valid JSON");
	ck_assert_str_eq(refusal_of("{\"event\":\"\xff\"}"), "Message is not valid UTF-8");
	ck_assert_str_eq(refusal_of("{\"event\":\"\xed\xa0\x80\"}"), "Message is not valid UTF-8");
	ck_assert_str_eq(refusal_of_view(SV("{\"event\":\"a\0b\"}")), "Message is not valid JSON");
}
END_TEST

START_TEST(wrong_types_name_their_field)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "{}", "event must be a string" },
		{ "{\"event\":null}", "event must be a string" },
		{ "{\"event\":7}", "event must be a string" },
		{ "{\"event\":{}}", "event must be a string" },
		{ "{\"event\":[\"pusher:ping\"]}", "event must be a string" },
		{ "{\"event\":\"pusher:subscribe\"}", "data must be an object" },
		{ "{\"event\":\"pusher:subscribe\",\"data\":[]}", "data must be an object" },
		{ "{\"event\":\"pusher:subscribe\",\"data\":\"x\"}",
		  "data must be an object, or a string that holds one" },
		{ "{\"event\":\"pusher:subscribe\",\"data\":\"\"}",
		  "data must be an object, or a string that holds one" },
		{ "{\"event\":\"pusher:subscribe\",\"data\":{}}", "data.channel must be a string" },
		{ "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":5}}",
		  "data.channel must be a string" },
		{ "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":[\"x\"]}}",
		  "data.channel must be a string" },
		{ "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"x\",\"auth\":1}}",
		  "data.auth must be a string" },
		{ "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"x\",\"channel_data\":{}"
		  "}}",
		  "data.channel_data must be a string of JSON" },
		{ "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"x\",\"since\":5}}",
		  "data.since must be a string" },
		{ "{\"event\":\"pusher:unsubscribe\",\"data\":{\"channel\":true}}",
		  "data.channel must be a string" },
		{ "{\"event\":\"pusher:signin\",\"data\":{\"user_data\":\"{}\"}}",
		  "data.auth must be a string" },
		{ "{\"event\":\"pusher:signin\",\"data\":{\"auth\":\"\"}}",
		  "data.user_data must be a string of JSON" },
		{ "{\"event\":\"pusher:signin\",\"data\":{\"auth\":\"\",\"user_data\":{}}}",
		  "data.user_data must be a string of JSON" },
		{ "{\"event\":\"client-x\",\"data\":{}}", "channel must be a string" },
		{ "{\"event\":\"client-x\",\"channel\":{},\"data\":{}}",
		  "channel must be a string" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_str_eq(refusal_of(cases[i].text), cases[i].why);
}
END_TEST

START_TEST(depth_is_bounded)
{
	static char text[200000];
	struct client_frame f;
	int n;

	n = snprintf(text, sizeof(text), "{\"event\":\"client-x\",\"channel\":\"a\",\"data\":");
	memset(text + n, '[', 31);
	memset(text + n + 31, ']', 31);
	text[n + 62] = '}';
	f = parse_view(sv_n(text, (size_t)n + 63));
	client_frame_release(&f);
	memset(text + n, '[', 32);
	memset(text + n + 32, ']', 32);
	text[n + 64] = '}';
	ck_assert_str_eq(refusal_of_view(sv_n(text, (size_t)n + 65)),
			 "Message is nested too deeply: at most 32 levels");
	memset(text, '[', sizeof(text));
	refusal_of_view(sv_n(text, sizeof(text)));
	memset(text, '\\', sizeof(text));
	refusal_of_view(sv_n(text, sizeof(text)));
	/* brackets within strings are no nesting */
	n = snprintf(text, sizeof(text), "{\"event\":\"\\\"%s\"}",
		     "[[[[[[[[[[[[[[[[[[[[{{{{{{{{{{{{{{{{{{{{{{{{{{{");
	f = parse_view(sv_n(text, (size_t)n));
	client_frame_release(&f);
}
END_TEST

START_TEST(depth_of_inner_data_is_bounded_too)
{
	char text[400];
	int n = snprintf(text, sizeof(text), "{\"event\":\"pusher:subscribe\",\"data\":\"");

	memset(text + n, '[', 100);
	memcpy(text + n + 100, "\"}", 3);
	refusal_of(text);
}
END_TEST

START_TEST(a_nul_does_not_cut_a_name)
{
	struct client_frame f = parse("{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":"
				      "\"portal\\u0000private-x\"}}");
	struct channel_traits t;

	ck_assert_uint_eq(f.channel.len, 16);
	ck_assert_int_eq(channel_name_parse(f.channel, 200, &t), -EINVAL);
	client_frame_release(&f);
	f = parse("{\"event\":\"pusher:ping\\u0000\"}");
	ck_assert_int_eq(f.kind, FRAME_UNKNOWN);
	client_frame_release(&f);
}
END_TEST

START_TEST(a_refusal_leaves_the_output_unchanged)
{
	struct client_frame f = { .kind = FRAME_SIGNIN };
	const char *why;

	ck_assert_int_eq(client_frame_parse(SV("{}"), &f, &why), -EINVAL);
	ck_assert_int_eq(f.kind, FRAME_SIGNIN);
}
END_TEST

static struct presence_member member_of(const char *text)
{
	struct presence_member m;
	const char *why = "";

	ck_assert_msg(presence_member_parse(sv(text), 128, 1024, &m, &why) == 0, "%s: %s", text,
		      why);
	return m;
}

START_TEST(member_ids_become_text)
{
	static const struct {
		const char *text, *id, *info;
	} cases[] = {
		{ "{\"user_id\":\"7\",\"user_info\":{\"name\":\"A\"}}", "7", "{\"name\":\"A\"}" },
		{ "{\"user_id\":10}", "10", NULL },
		{ "{\"user_id\":-3,\"user_info\":null}", "-3", "null" },
		{ "{\"user_id\":9007199254740993}", "9007199254740993", NULL },
		{ "{\"user_id\":0}", "0", NULL },
		{ "{\"user_id\":18446744073709551616}", "18446744073709551616", NULL },
		{ "{\"user_id\":1,\"user_info\":{\"n\":1e999,\"\\u0000\":\"\\ud800\"}}", "1",
		  "{\"n\":1e999,\"\\u0000\":\"\\ud800\"}" },
		{ "{\"user_id\":1,\"\\u0075ser_id\":\"2\"}", "2", NULL },
		{ "{\"user_id\":\"\\u00e9\",\"user_info\":[ 1, 2 ]}", "\xc3\xa9", "[ 1, 2 ]" },
		{ "{\"user_id\":\"x\",\"user_info\":\"text\"}", "x", "\"text\"" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct presence_member m = member_of(cases[i].text);

		ck_assert_str_eq(m.user_id, cases[i].id);
		if (cases[i].info)
			ck_assert_str_eq(m.user_info, cases[i].info);
		else
			ck_assert_ptr_null(m.user_info);
		ck_assert_ptr_null(m.watchlist);
		presence_member_release(&m);
	}
}
END_TEST

START_TEST(a_member_without_a_valid_user_id_is_refused)
{
	static const char *const bad[] = {
		"",
		"x",
		"[]",
		"\"7\"",
		"{}",
		"{\"user_id\":null}",
		"{\"user_id\":\"\"}",
		"{\"user_id\":true}",
		"{\"user_id\":{}}",
		"{\"user_id\":1e3}",
		"{\"user_id\":7.0}",
		"{\"user_id\":1.5}",
		"{\"user_id\":-0}",
		"{\"user_id\":\"\\ud800\"}",
		"{\"user_id\":\"a\\u0000b\"}",
		"{\"user_id\":\"\\u0000\"}",
		"{\"user_id\":1}x",
	};
	struct presence_member m;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *why = NULL;

		ck_assert_msg(presence_member_parse(sv(bad[i]), 128, 1024, &m, &why) == -EINVAL,
			      "%s", bad[i]);
		ck_assert_ptr_nonnull(why);
	}
}
END_TEST

START_TEST(a_member_over_the_limits_is_refused)
{
	struct presence_member m;
	const char *why;

	ck_assert_int_eq(presence_member_parse(SV("{\"user_id\":\"1234\"}"), 3, 0, &m, &why),
			 -E2BIG);
	ck_assert_int_eq(presence_member_parse(SV("{\"user_id\":1234}"), 3, 0, &m, &why), -E2BIG);
	ck_assert_int_eq(presence_member_parse(SV("{\"user_id\":1,\"user_info\":\"12345\"}"), 3, 6,
					       &m, &why),
			 -E2BIG);
	ck_assert_int_eq(
		presence_member_parse(SV("{\"user_id\":1,\"user_info\":\"1234\"}"), 3, 6, &m, &why),
		0);
	presence_member_release(&m);
	ck_assert_int_eq(presence_member_parse(SV("{\"user_id\":123456,\"user_info\":\"12345\"}"),
					       0, 0, &m, &why),
			 0);
	presence_member_release(&m);
}
END_TEST

START_TEST(user_data_are_read_with_their_watchlist)
{
	struct presence_member m;
	const char *why;

	ck_assert_int_eq(user_data_parse(SV("{\"id\":\"12345\",\"user_info\":{\"a\":1},"
					    "\"watchlist\":[\"a\",\"b\"]}"),
					 128, &m, &why),
			 0);
	ck_assert_str_eq(m.user_id, "12345");
	ck_assert_str_eq(m.user_info, "{\"a\":1}");
	ck_assert_uint_eq(m.n_watchlist, 2);
	ck_assert_str_eq(m.watchlist[1], "b");
	presence_member_release(&m);
	ck_assert_int_eq(user_data_parse(SV("{\"id\":\"1\",\"watchlist\":null}"), 128, &m, &why),
			 0);
	ck_assert_ptr_null(m.watchlist);
	presence_member_release(&m);
}
END_TEST

START_TEST(wrong_user_data_are_refused)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		"{\"id\":\"\"}",
		"{\"id\":5}",
		"{\"id\":null}",
		"{\"id\":\"a\\u0000\"}",
		"{\"id\":\"a/b\"}",
		"{\"id\":\"\\u00e9\"}",
		"{\"id\":\"\\udc00\"}",
		"{\"id\":\"1\",\"watchlist\":[\"\\ud800\"]}",
		"{\"id\":\"1\",\"watchlist\":[\"a\\u0000\"]}",
		"{\"id\":\"1\",\"watchlist\":{}}",
		"{\"id\":\"1\",\"watchlist\":\"a\"}",
		"{\"id\":\"1\",\"watchlist\":[\"a\",5]}",
	};
	struct presence_member m;
	const char *why;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(user_data_parse(sv(bad[i]), 128, &m, &why) == -EINVAL, "%s", bad[i]);
	ck_assert_int_eq(user_data_parse(SV("{\"id\":\"1234\"}"), 3, &m, &why), -E2BIG);
}
END_TEST

START_TEST(a_socket_id_is_two_numbers_with_a_point)
{
	static const struct {
		const char *text;
		bool ok;
		uint64_t id;
	} cases[] = {
		{ "123.456", true, UINT64_C(123) << 32 | 456 },
		{ "0.0", true, 0 },
		{ "4294967295.1", true, UINT64_C(4294967295) << 32 | 1 },
		{ "4294967296.1", true, UINT64_MAX },
		{ "1.99999999999999999999999999", true, UINT64_MAX },
		{ "", false, 0 },
		{ ".", false, 0 },
		{ "1", false, 0 },
		{ "1.", false, 0 },
		{ ".1", false, 0 },
		{ "1.2.3", false, 0 },
		{ "1,2", false, 0 },
		{ "-1.2", false, 0 },
		{ "1.2\n", false, 0 },
		{ " 1.2", false, 0 },
		{ "0123.456", false, 0 },
		{ "123.0456", false, 0 },
		{ "00.0", false, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t id = 0;

		ck_assert_msg(socket_id_parse(sv(cases[i].text), &id) == cases[i].ok, "%s",
			      cases[i].text);
		ck_assert_uint_eq(id, cases[i].id);
	}
}
END_TEST

static unsigned char random_filler; /* 0: random bytes are the kernel's */

/* What base/random.c calls.  The last 16 bytes of its pool are taken first. */
ssize_t getrandom(void *out, size_t n, unsigned int flags)
{
	if (!random_filler)
		return syscall(SYS_getrandom, out, n, flags);
	memset(out, random_filler, n);
	if (n > 16)
		memset((unsigned char *)out + n - 16, 'k', 16);
	return (ssize_t)n;
}

struct drawn {
	uint64_t hash, id;
};

/* A hash and a socket id of a process with one key of the hash, and the filler as all else. */
static struct drawn draw_in_a_child(unsigned char filler)
{
	struct drawn d = { 0 };
	int fds[2], status;
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		random_filler = filler;
		d.hash = hash_bytes(SV("name"));
		d.id = socket_id_new(0);
		_exit(write(fds[1], &d, sizeof(d)) != sizeof(d));
	}
	ck_assert_int_eq(read(fds[0], &d, sizeof(d)), sizeof(d));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	close(fds[0]);
	close(fds[1]);
	return d;
}

START_TEST(socket_ids_do_not_come_from_the_key_of_the_hash)
{
	struct drawn one = draw_in_a_child(1), two = draw_in_a_child(2);

	ck_assert_uint_eq(one.hash, two.hash);
	ck_assert_uint_ne(one.id, two.id);
	ck_assert_uint_ne(socket_id_new(0), socket_id_new(0));
}
END_TEST

/* As node_of_socket() of SQL reads it. */
static unsigned node_of(uint64_t id)
{
	return (unsigned)(id >> 32 >> 19);
}

START_TEST(a_socket_id_has_the_number_of_its_node)
{
	static const unsigned nodes[] = { 1, 2, 77, SOCKET_ID_NODE_MAX };
	char text[SOCKET_ID_SIZE];
	uint64_t id;

	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		ck_assert_uint_eq(node_of(socket_id_new(nodes[i])), nodes[i]);
		ck_assert_uint_ne(socket_id_new(nodes[i]), socket_id_new(nodes[i]));
		socket_id_format(socket_id_new(nodes[i]), text);
		ck_assert(socket_id_parse(sv(text), &id));
		ck_assert_uint_eq(node_of(id), nodes[i]);
		ck_assert_uint_le(id >> 32, INT32_MAX);
	}
}
END_TEST

START_TEST(a_socket_id_is_read_as_it_was_written)
{
	static const uint64_t ids[] = { 0, 1, UINT64_C(1) << 32, UINT64_C(0xfffffffe00000001),
					UINT64_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		char text[SOCKET_ID_SIZE];
		uint64_t id = 7;

		ck_assert(socket_id_parse(sv(socket_id_format(ids[i], text)), &id));
		ck_assert_uint_eq(id, ids[i]);
	}
}
END_TEST

static struct strbuf out;

static void setup(void)
{
	strbuf_init(&out, 0);
}

static void teardown(void)
{
	strbuf_release(&out);
}

/* The frame is the text, and JSON. */
#define ck_frame(text)                                                                             \
	do {                                                                                       \
		json_t *json_ = json_loadb(out.ptr, out.len, 0, NULL);                             \
		ck_assert_str_eq(out.ptr, (text));                                                 \
		ck_assert_ptr_nonnull(json_);                                                      \
		json_decref(json_);                                                                \
		strbuf_reset(&out);                                                                \
	} while (0)

START_TEST(frames_of_a_connection_are_as_documented)
{
	frame_connection_established(&out, "123.456", 120, SV(""));
	ck_frame("{\"event\":\"pusher:connection_established\",\"data\":\"{\\\"socket_id\\\":"
		 "\\\"123.456\\\",\\\"activity_timeout\\\":120}\"}");
	frame_connection_established(&out, "123.456", 30, SV("e1"));
	ck_frame("{\"event\":\"pusher:connection_established\",\"data\":\"{\\\"socket_id\\\":"
		 "\\\"123.456\\\",\\\"activity_timeout\\\":30,\\\"epoch\\\":\\\"e1\\\"}\"}");
	frame_error(&out, PUSHER_NO_APP, SV("Application does not exist"));
	ck_frame("{\"event\":\"pusher:error\",\"data\":{\"code\":4001,\"message\":\"Application "
		 "does not exist\"}}");
	frame_error(&out, PUSHER_CODE_NULL, SV("a \"b\" \\ \n"));
	ck_frame("{\"event\":\"pusher:error\",\"data\":{\"code\":null,\"message\":\"a \\\"b\\\" "
		 "\\\\ \\n\"}}");
	frame_reconnect(&out, SV("Restart"), 3000);
	ck_frame("{\"event\":\"pusher:error\",\"data\":{\"code\":4200,\"message\":\"Restart\","
		 "\"reconnect_within_ms\":3000}}");
	frame_reconnect(&out, SV("Restart"), 0);
	ck_frame("{\"event\":\"pusher:error\",\"data\":{\"code\":4200,\"message\":\"Restart\"}}");
	frame_pong(&out);
	ck_frame("{\"event\":\"pusher:pong\",\"data\":{}}");
}
END_TEST

START_TEST(a_ping_is_a_ping_frame_and_an_event)
{
	static const char want[] = "\x89\x00\x81!{\"event\":\"pusher:ping\",\"data\":{}}";
	struct msgbuf *m = ws_ping_frames();

	ck_assert(sv_eq(msgbuf_view(m), sv_n(want, sizeof(want) - 1)));
	msgbuf_unref(m);
}
END_TEST

START_TEST(frames_of_a_channel_are_as_documented)
{
	frame_subscription_succeeded(&out, SV("x"), SV("{}"), SV(""));
	ck_frame("{\"event\":\"pusher_internal:subscription_succeeded\",\"data\":\"{}\","
		 "\"channel\":\"x\"}");
	frame_subscription_succeeded(&out, SV("presence-x"),
				     SV("{\"presence\":{\"ids\":[],\"hash\":{},\"count\":0}}"),
				     SV("e:7"));
	ck_frame("{\"event\":\"pusher_internal:subscription_succeeded\",\"data\":\"{\\\"presence"
		 "\\\":{\\\"ids\\\":[],\\\"hash\\\":{},\\\"count\\\":0}}\",\"channel\":\"presence-"
		 "x\",\"position\":\"e:7\"}");
	frame_replayed(&out, SV("x"), 3, SV("e:9"));
	ck_frame("{\"event\":\"scopewire:replayed\",\"channel\":\"x\",\"data\":\"{\\\"channel\\\":"
		 "\\\"x\\\",\\\"count\\\":3}\",\"position\":\"e:9\"}");
	frame_resync(&out, SV("x"), "expired", &(struct position){ "e", 9 });
	ck_frame("{\"event\":\"scopewire:resync\",\"channel\":\"x\",\"data\":\"{\\\"channel\\\":"
		 "\\\"x\\\",\\\"reason\\\":\\\"expired\\\",\\\"epoch\\\":\\\"e\\\",\\\"serial\\\":"
		 "9}\","
		 "\"position\":\"e:9\"}");
	frame_resync(&out, SV("x"), "unavailable", &(struct position){ "", 0 });
	ck_frame("{\"event\":\"scopewire:resync\",\"channel\":\"x\",\"data\":\"{\\\"channel\\\":"
		 "\\\"x\\\",\\\"reason\\\":\\\"unavailable\\\"}\"}");
	frame_subscription_error(&out, SV("x"), "AuthError", SV("no"), 401);
	ck_frame("{\"event\":\"pusher:subscription_error\",\"channel\":\"x\",\"data\":{\"type\":"
		 "\"AuthError\",\"error\":\"no\",\"status\":401}}");
	frame_member_added(&out, SV("presence-x"), SV("1"), SV("{\"n\":\"\xc3\xa9\"}"));
	ck_frame("{\"event\":\"pusher_internal:member_added\",\"channel\":\"presence-x\",\"data\":"
		 "\"{\\\"user_id\\\":\\\"1\\\",\\\"user_info\\\":{\\\"n\\\":\\\"\xc3\xa9\\\"}}\"}");
	frame_member_added(&out, SV("presence-x"), SV("\""), SV(""));
	ck_frame("{\"event\":\"pusher_internal:member_added\",\"channel\":\"presence-x\",\"data\":"
		 "\"{\\\"user_id\\\":\\\"\\\\\\\"\\\"}\"}");
	frame_member_removed(&out, SV("presence-x"), SV("1"));
	ck_frame("{\"event\":\"pusher_internal:member_removed\",\"channel\":\"presence-x\","
		 "\"data\":\"{\\\"user_id\\\":\\\"1\\\"}\"}");
	frame_subscription_count(&out, SV("x"), 3);
	ck_frame("{\"event\":\"pusher_internal:subscription_count\",\"channel\":\"x\",\"data\":"
		 "\"{\\\"subscription_count\\\":3}\"}");
	frame_cache_miss(&out, SV("cache-x"));
	ck_frame("{\"event\":\"pusher:cache_miss\",\"channel\":\"cache-x\",\"data\":"
		 "\"{}\"}");
}
END_TEST

START_TEST(frames_of_a_user_are_as_documented)
{
	const struct str_view ids[] = { SV("a"), SV("b\"") };

	frame_signin_success(&out, SV("{\"id\":\"1\"}"));
	ck_frame("{\"event\":\"pusher:signin_success\",\"data\":{\"user_data\":\"{\\\"id\\\":\\\"1"
		 "\\\"}\"}}");
	frame_watchlist(&out, "online", ids, 2);
	ck_frame("{\"event\":\"pusher_internal:watchlist_events\",\"data\":{\"events\":[{\"name\":"
		 "\"online\",\"user_ids\":[\"a\",\"b\\\"\"]}]}}");
	frame_watchlist(&out, "offline", ids, 0);
	ck_frame("{\"event\":\"pusher_internal:watchlist_events\",\"data\":{\"events\":[{\"name\":"
		 "\"offline\",\"user_ids\":[]}]}}");
}
END_TEST

START_TEST(frames_of_events_are_as_documented)
{
	struct frame_event e = { .event = SV("App\\Events\\X"),
				 .channel = SV("x"),
				 .data = SV("{\"a\": 1.10}") };

	frame_event(&out, &e);
	ck_frame("{\"event\":\"App\\\\Events\\\\X\",\"channel\":\"x\",\"data\":\"{\\\"a\\\": 1.10}"
		 "\"}");
	e.id = SV("01H");
	e.serial = INT64_MAX;
	e.data = SV("");
	frame_event(&out, &e);
	ck_frame("{\"event\":\"App\\\\Events\\\\X\",\"channel\":\"x\",\"data\":\"\",\"id\":\"01H\","
		 "\"serial\":9223372036854775807}");
	e = (struct frame_event){ .event = SV("client-t"),
				  .channel = SV("presence-x"),
				  .data = SV("{\"a\":[]}"),
				  .user_id = SV("7"),
				  .has_json_data = true };
	frame_event(&out, &e);
	ck_frame("{\"event\":\"client-t\",\"channel\":\"presence-x\",\"data\":{\"a\":[]},"
		 "\"user_id\":\"7\"}");
	e.data = SV("");
	frame_event(&out, &e);
	ck_frame("{\"event\":\"client-t\",\"channel\":\"presence-x\",\"user_id\":\"7\"}");
}
END_TEST

START_TEST(ws_frames_have_the_shortest_header)
{
	static const struct {
		size_t len, header;
		unsigned char bytes[10];
	} cases[] = {
		{ 0, 2, { 0x81, 0 } },
		{ 125, 2, { 0x81, 125 } },
		{ 126, 4, { 0x81, 126, 0, 126 } },
		{ 65535, 4, { 0x81, 126, 0xff, 0xff } },
		{ 65536, 10, { 0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0 } },
	};
	char *json = xmalloc(65536);

	memset(json, 'j', 65536);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct msgbuf *m = ws_text_frame(sv_n(json, cases[i].len));

		ck_assert_uint_eq(m->len, cases[i].header + cases[i].len);
		ck_assert_mem_eq(m->data, cases[i].bytes, cases[i].header);
		ck_assert_mem_eq(m->data + cases[i].header, json, cases[i].len);
		msgbuf_unref(m);
	}
	free(json);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("wire/pusher");
	TCase *in = tcase_create("frames in"), *members = tcase_create("members");
	TCase *frames = tcase_create("frames out");

	tcase_add_test(in, ping_and_pong_take_any_data);
	tcase_add_test(in, a_subscription_to_a_public_channel_is_read);
	tcase_add_test(in, a_subscription_to_a_presence_channel_keeps_its_channel_data);
	tcase_add_test(in, empty_channel_data_counts_as_given);
	tcase_add_test(in, null_fields_are_absent);
	tcase_add_test(in, doubly_encoded_data_is_opened);
	tcase_add_test(in, a_sign_in_is_read);
	tcase_add_test(in, a_client_event_keeps_its_data);
	tcase_add_test(in, a_client_event_needs_no_data);
	tcase_add_test(in, a_heartbeat_has_an_object_or_nothing);
	tcase_add_test(in, other_events_are_unknown);
	tcase_add_test(in, what_is_no_json_object_is_refused);
	tcase_add_test(in, wrong_types_name_their_field);
	tcase_add_test(in, depth_is_bounded);
	tcase_add_test(in, depth_of_inner_data_is_bounded_too);
	tcase_add_test(in, a_nul_does_not_cut_a_name);
	tcase_add_test(in, a_refusal_leaves_the_output_unchanged);
	suite_add_tcase(s, in);

	tcase_add_test(members, member_ids_become_text);
	tcase_add_test(members, a_member_without_a_valid_user_id_is_refused);
	tcase_add_test(members, a_member_over_the_limits_is_refused);
	tcase_add_test(members, user_data_are_read_with_their_watchlist);
	tcase_add_test(members, wrong_user_data_are_refused);
	tcase_add_test(members, a_socket_id_is_two_numbers_with_a_point);
	tcase_add_test(members, socket_ids_do_not_come_from_the_key_of_the_hash);
	tcase_add_test(members, a_socket_id_has_the_number_of_its_node);
	tcase_add_test(members, a_socket_id_is_read_as_it_was_written);
	suite_add_tcase(s, members);

	tcase_add_checked_fixture(frames, setup, teardown);
	tcase_add_test(frames, frames_of_a_connection_are_as_documented);
	tcase_add_test(frames, a_client_events_data_stays_as_it_was_written);
	tcase_add_test(frames, a_members_info_stays_as_it_was_written);
	tcase_add_test(frames, a_ping_is_a_ping_frame_and_an_event);
	tcase_add_test(frames, frames_of_a_channel_are_as_documented);
	tcase_add_test(frames, frames_of_a_user_are_as_documented);
	tcase_add_test(frames, frames_of_events_are_as_documented);
	tcase_add_test(frames, ws_frames_have_the_shortest_header);
	suite_add_tcase(s, frames);
	return s;
}

int main(void)
{
	return unit_run(suite());
}
