/* SPDX-License-Identifier: MIT */
/*
 * The whole API without a socket: requests as structs, behind them the real directory and
 * publisher without a database.  What workers would send to sockets is read from the mail.
 */
#include <errno.h>
#include <jansson.h>
#include <unistd.h>
#include "post.h"
#include "unit_app.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "core/directory.h"
#include "api/call.h"
#include "api/router.h"
#include "svc/publish.h"
#include "wire/auth.h"
#include "wire/pusher.h"

static struct directory *directory;
static struct publisher *publisher;
static struct conf conf;
static char no_dsn[] = "", host[] = "portal"; /* options of [database] */
static struct api_services services;

/* The answer to the last call. */
static struct {
	unsigned n, status, retry_after_s;
	const char *type;
	bool close;
	char *allow, *body;
} got;

static void on_reply(struct request *r UNUSED, struct reply *reply)
{
	got.n++;
	got.status = reply->status;
	got.type = reply->content_type;
	got.close = reply->close;
	got.retry_after_s = reply->retry_after_s;
	free(got.body);
	got.body = sv_dup(strbuf_view(&reply->body));
	free(got.allow);
	got.allow = NULL;
	for (unsigned i = 0; i < reply->n_headers; i++)
		if (strcmp(reply->headers[i].name, "Allow") == 0)
			got.allow = xstrdup(reply->headers[i].value);
	reply_release(reply);
}

static const char *headers; /* "Name: value\n..." of the next calls */

static struct str_view on_header(const struct request *r UNUSED, const char *name)
{
	const char *at = headers ? strstr(headers, name) : NULL;

	if (!at)
		return sv_n("", 0);
	at += strlen(name) + 2;
	return sv_n(at, strcspn(at, "\n"));
}

static const struct address loopback_peer = { { [15] = 1 }, 1 };
static const struct address other_peer = { { 0x20, 1, 0x0d, 0xb8, [15] = 1 }, 1 };

static void call_from(bool loopback, const char *method, const char *target, struct str_view body)
{
	struct request r = { .method = sv(method),
			     .body = body,
			     .peer = loopback ? loopback_peer : other_peer,
			     .header = on_header,
			     .send = on_reply };
	char *copy = xstrdup(target);
	unsigned before = got.n;

	ck_assert_int_eq(request_set_target(&r, copy, strlen(copy)), 0);
	router_handle(&services, &r);
	ck_assert_uint_eq(got.n, before + 1);
	free(copy);
}

static void call_sv(const char *method, const char *target, struct str_view body)
{
	call_from(true, method, target, body);
}

static void call(const char *method, const char *target, const char *body)
{
	call_sv(method, target, sv(body));
}

/* How a signed call is made wrong on purpose. */
struct twist {
	long age_s;
	const char *key, *secret, *version;
	const char *md5_of, *path_signed;
	size_t cut;	    /* digits of the signature left out */
	const char *prefix; /* before the path, not signed */
};

/* extra is "&name=value..." in order, behind what authenticates. */
static char *signed_target(const char *method, const char *path, const char *extra,
			   struct str_view body, const struct twist *t)
{
	const char *secret_text = t->secret ? t->secret : "secret-a";
	struct auth_secret *secret = auth_secret_new(sv(secret_text));
	char md5[AUTH_MD5_HEX_BYTES + 1], hex[AUTH_HEX_BYTES + 1];
	struct strbuf query, out;

	strbuf_init(&query, 0);
	strbuf_addf(&query, "auth_key=%s&auth_timestamp=%ld&auth_version=%s",
		    t->key ? t->key : "key-a", (long)(clock_wall() / USEC_PER_SEC) - t->age_s,
		    t->version ? t->version : "1.0");
	if (body.len) {
		auth_md5_hex(t->md5_of ? sv(t->md5_of) : body, md5);
		strbuf_addf(&query, "&body_md5=%s", md5);
	}
	strbuf_add_str(&query, extra);

	const struct str_view parts[] = { sv(method), SV("\n"),
					  sv(t->path_signed ? t->path_signed : path), SV("\n"),
					  strbuf_view(&query) };

	auth_sign(secret, parts, ARRAY_SIZE(parts), hex);
	strbuf_init(&out, 0);
	strbuf_addf(&out, "%s%s?%s&auth_signature=%.*s", t->prefix ? t->prefix : "", path,
		    query.ptr, (int)(AUTH_HEX_BYTES - t->cut), hex);
	strbuf_release(&query);
	auth_secret_free(secret);
	return out.ptr;
}

static void twisted(const char *method, const char *path, const char *body, const struct twist *t)
{
	char *target = signed_target(method, path, "", sv(body), t);

	call(method, target, body);
	free(target);
}

static void signed_sv(const char *method, const char *path, const char *extra, struct str_view body)
{
	const struct twist none = { .age_s = 0 };
	char *target = signed_target(method, path, extra, body, &none);

	call_sv(method, target, body);
	free(target);
}

static void signed_call(const char *method, const char *path, const char *extra, const char *body)
{
	signed_sv(method, path, extra, sv(body));
}

static void get(const char *path, const char *extra)
{
	signed_call("GET", path, extra, "");
}

static void post(const char *path, const char *body)
{
	signed_call("POST", path, "", body);
}

#define EVENTS "/apps/a/events"

static void event(const char *body)
{
	post(EVENTS, body);
}

#define ck_reply(want_status, want_body)                                                           \
	do {                                                                                       \
		ck_assert_msg(got.status == (want_status), "status %u: %s", got.status, got.body); \
		ck_assert_str_eq(got.body, want_body);                                             \
	} while (0)

/* An error: the status, and a sentence with this in it as plain text. */
#define ck_error(want_status, part)                                                                \
	do {                                                                                       \
		ck_assert_msg(got.status == (want_status), "status %u: %s", got.status, got.body); \
		ck_assert_msg(strstr(got.body, part) != NULL, "no \"%s\" in: %s", part, got.body); \
		ck_assert_str_eq(got.type, REQUEST_TEXT);                                          \
	} while (0)

/* ---- the world ---------------------------------------------------------- */

static void setup(void)
{
	static char prefix[] = "/ws";
	struct app *apps[3];

	apps[0] = UNIT_APP_AS("a", "key", "key-a", "secret", "secret-a", "durability", "none",
			      "channel_durability", "logged-*:commit", "max_event_channels", "20",
			      "max_batch_events", "3", "max_event_payload_bytes", "100",
			      "max_channel_name_bytes", "50", "max_event_name_bytes", "20",
			      "max_request_bytes", "5000", "max_user_id_bytes", "10");
	apps[1] = UNIT_APP_AS("off", "key", "key-off", "secret", "secret-off", "enabled", "no");
	apps[2] = UNIT_APP_AS("slow", "key", "key-slow", "secret", "secret-slow", "durability",
			      "none", "max_backend_events_per_second", "3",
			      "max_read_requests_per_second", "2");
	unit_apps_install(apps, 3);
	directory = fake_post_directory(1);
	publisher = publisher_new(directory, NULL, 1000);
	conf.server.path = prefix;
	services = (struct api_services){ .conf = &conf,
					  .directory = directory,
					  .publisher = publisher };
	router_init();
}

static void teardown(void)
{
	fake_post_release();
	publisher_free(publisher);
	directory_free(directory);
	unit_apps_install(NULL, 0);
	free(got.body);
	free(got.allow);
	got.body = got.allow = NULL;
	headers = NULL;
}

/* A subscription on worker 0. */
static void join(const char *channel, const char *user)
{
	struct app_set *set = apps_current();
	struct directory_join j = { .app = app_set_by_id(set, SV("a")),
				    .channel = sv(channel),
				    .socket_id = 7,
				    .user_id = sv(user) };

	ck_assert_int_eq(channel_name_parse(j.channel, 200, &j.traits), 0);
	ck_assert_int_eq(directory_join(directory, &j), 0);
	msgbuf_unref(j.key);
	msgbuf_unref(j.roster);
	event_unref(j.cached);
	app_set_unref(set);
	fake_post_drop();
}

/* The next frame that goes to sockets: its JSON text, or NULL. */
static char *next_frame(uint64_t *exclude)
{
	struct worker_message *m = fake_post_next(0);
	char *text;

	if (!m)
		return NULL;
	text = sv_dup(fake_post_text(m));
	if (exclude)
		*exclude = m->exclude;
	worker_message_free(m);
	return text;
}

/* The next frame has these members. */
static void ck_frame(const char *channel, const char *name, const char *data)
{
	char *text = next_frame(NULL);
	json_t *root;

	ck_assert_msg(text != NULL, "no frame for %s", channel);
	root = json_loads(text, 0, NULL);
	ck_assert_str_eq(json_string_value(json_object_get(root, "channel")), channel);
	ck_assert_str_eq(json_string_value(json_object_get(root, "event")), name);
	ck_assert_str_eq(json_string_value(json_object_get(root, "data")), data);
	json_decref(root);
	free(text);
}

static void ck_no_frame(void)
{
	ck_assert_ptr_null(next_frame(NULL));
}

/* ---- finding the route --------------------------------------------------- */

START_TEST(public_paths)
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

START_TEST(unknown_paths)
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

START_TEST(wrong_methods)
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

START_TEST(websocket_on_a_kept_connection)
{
	call("GET", "/app/key-a?protocol=7", "");
	ck_error(426, "WebSocket");
	ck_assert(got.close);
	call("GET", "/ws/app/key-a", "");
	ck_error(426, "WebSocket");
}
END_TEST

START_TEST(limits_of_bodies)
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

START_TEST(signatures)
{
	event(HELLO);
	ck_reply(200, "{}");
	twisted("POST", EVENTS, HELLO, &(struct twist){ .age_s = 599 });
	ck_reply(200, "{}");
	twisted("POST", EVENTS, HELLO, &(struct twist){ .age_s = -590 });
	ck_reply(200, "{}");
}
END_TEST

START_TEST(bad_signatures)
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

START_TEST(signature_of_another_method_or_body)
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

START_TEST(signature_stands_over_the_path_from_apps_on)
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

START_TEST(apps)
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

START_TEST(rates)
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

/* ---- publishing ---------------------------------------------------------- */

START_TEST(event_reaches_its_channels_once)
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

START_TEST(info_after_publishing)
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

START_TEST(wrong_bodies)
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

START_TEST(many_channels)
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

START_TEST(size_of_data)
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

START_TEST(encrypted_alone)
{
	event("{\"name\":\"n\",\"channels\":[\"private-encrypted-a\",\"private-encrypted-a\"],"
	      "\"data\":\"{}\"}");
	ck_reply(200, "{}");
}
END_TEST

START_TEST(durable_without_a_database)
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

START_TEST(batches)
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

START_TEST(wrong_batches)
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

START_TEST(legacy_call)
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

START_TEST(user_events)
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

START_TEST(terminating_a_user)
{
	post("/apps/a/users/7/terminate_connections", "{}");
	ck_reply(200, "{}");
	post("/apps/a/users/7/terminate_connections", "");
	ck_reply(200, "{}");
	post("/apps/a/users/12345678901/terminate_connections", "{}");
	ck_error(400, "at most 10 bytes");
}
END_TEST

/* ---- reading --------------------------------------------------------------- */

START_TEST(no_channels)
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

START_TEST(lists_of_channels)
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

START_TEST(one_channel)
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

START_TEST(cached_event)
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

START_TEST(demo_files)
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

START_TEST(demo_is_for_this_machine_only)
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

START_TEST(demo_helpers)
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

int main(void)
{
	Suite *suite = suite_create("http/router");

	add_case(suite, "routes",
		 (const TTest *const[]){ public_paths, unknown_paths, wrong_methods,
					 websocket_on_a_kept_connection, limits_of_bodies, NULL });
	add_case(suite, "rights",
		 (const TTest *const[]){
			 signatures, bad_signatures, signature_of_another_method_or_body,
			 signature_stands_over_the_path_from_apps_on, apps, rates, NULL });
	add_case(suite, "publishing",
		 (const TTest *const[]){ event_reaches_its_channels_once,
					 optional_members_may_be_null, info_after_publishing,
					 wrong_bodies, many_channels, size_of_data, encrypted_alone,
					 durable_without_a_database, batches, wrong_batches,
					 legacy_call, user_events, terminating_a_user, NULL });
	add_case(suite, "reading",
		 (const TTest *const[]){ no_channels, lists_of_channels, one_channel, cached_event,
					 NULL });
	add_case(suite, "demo",
		 (const TTest *const[]){ demo_files, demo_is_for_this_machine_only,
					 the_demo_is_served_under_names_of_this_machine_only,
					 demo_helpers, NULL });
	return unit_run(suite);
}
