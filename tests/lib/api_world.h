/* SPDX-License-Identifier: MIT */
#ifndef TESTS_API_WORLD_H
#define TESTS_API_WORLD_H
/*
 * The whole API without a socket: requests as structs, behind them the real directory and
 * publisher without a database.  The last reply is in got; what workers would send to sockets is
 * read from their mailbox.
 */
#include <errno.h>
#include <jansson.h>
#include <unistd.h>
#include "post.h"
#include "unit_app.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "core/channels/directory.h"
#include "api/call.h"
#include "api/router.h"
#include "svc/publish.h"
#include "wire/auth.h"
#include "wire/pusher.h"

static struct directory *directory;
static struct publisher *publisher;
static struct conf conf;
static struct api_services services;

/* The answer to the last call. */
static struct {
	unsigned n, status, retry_after_s;
	const char *type;
	bool wants_close;
	char *allow, *body;
} got;

static inline void on_reply(struct request *r UNUSED, struct reply *reply)
{
	got.n++;
	got.status = reply->status;
	got.type = reply->content_type;
	got.wants_close = reply->wants_close;
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

static inline struct str_view on_header(const struct request *r UNUSED, const char *name)
{
	const char *at = headers ? strstr(headers, name) : NULL;

	if (!at)
		return sv_n("", 0);
	at += strlen(name) + 2;
	return sv_n(at, strcspn(at, "\n"));
}

static const struct address loopback_peer = { { [15] = 1 }, 1 };
static const struct address other_peer = { { 0x20, 1, 0x0d, 0xb8, [15] = 1 }, 1 };

static inline void call_from(bool loopback, const char *method, const char *target,
			     struct str_view body)
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

static inline void call_sv(const char *method, const char *target, struct str_view body)
{
	call_from(true, method, target, body);
}

static inline void call(const char *method, const char *target, const char *body)
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

/* extra is "&name=value..." in order, after what authenticates. */
static inline char *signed_target(const char *method, const char *path, const char *extra,
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

static inline void twisted(const char *method, const char *path, const char *body,
			   const struct twist *t)
{
	char *target = signed_target(method, path, "", sv(body), t);

	call(method, target, body);
	free(target);
}

static inline void signed_sv(const char *method, const char *path, const char *extra,
			     struct str_view body)
{
	const struct twist none = { .age_s = 0 };
	char *target = signed_target(method, path, extra, body, &none);

	call_sv(method, target, body);
	free(target);
}

static inline void signed_call(const char *method, const char *path, const char *extra,
			       const char *body)
{
	signed_sv(method, path, extra, sv(body));
}

static inline void get(const char *path, const char *extra)
{
	signed_call("GET", path, extra, "");
}

static inline void post(const char *path, const char *body)
{
	signed_call("POST", path, "", body);
}

#define EVENTS "/apps/a/events"

static inline void event(const char *body)
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

static inline void setup(void)
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
	publisher = publisher_new(directory, NULL, NULL, 1000);
	conf.server.path = prefix;
	services = (struct api_services){ .conf = &conf,
					  .directory = directory,
					  .publisher = publisher };
	router_init();
}

static inline void teardown(void)
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
static inline void join(const char *channel, const char *user)
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
static inline char *next_frame(uint64_t *exclude)
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
static inline void ck_frame(const char *channel, const char *name, const char *data)
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

static inline void ck_no_frame(void)
{
	ck_assert_ptr_null(next_frame(NULL));
}
#endif
