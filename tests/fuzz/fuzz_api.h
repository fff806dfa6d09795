/* SPDX-License-Identifier: MIT */
#ifndef TESTS_FUZZ_API_H
#define TESTS_FUZZ_API_H
/*
 * The HTTP API without a socket: a request is a struct.  It has all services of the daemon, but
 * their pools refuse each statement, as they do when too many wait.
 */
#include <stdio.h>
#include "fuzz.h"
#include "post.h"
#include "api/call.h"
#include "api/router.h"
#include "base/log.h"
#include "conf/conf.h"
#include "log/reader.h"
#include "svc/authorize.h"
#include "svc/health.h"
#include "svc/idempotency.h"
#include "svc/presence_db.h"
#include "svc/publish.h"
#include "svc/quotas.h"
#include "svc/sockets.h"
#include "svc/socket_ties.h"

#define FUZZ_KEY    "key-a"
#define FUZZ_SECRET "secret-a"

static struct {
	struct conf *conf;
	struct api_services services;
	struct app *app;
	struct str_view headers; /* lines "Name: value" of the request */
	struct str_view authorization;
	unsigned answers;
} fuzz_api;

static inline void fuzz_api_on_reply(struct request *r UNUSED, struct reply *reply)
{
	MUST(reply->status >= 200 && reply->status < 600);
	MUST(!reply->body.len || sv_is_utf8(strbuf_view(&reply->body)));
	fuzz_api.answers++;
	reply_release(reply);
}

static inline struct str_view fuzz_api_on_header(const struct request *r UNUSED, const char *name)
{
	struct str_view rest = fuzz_api.headers, line;
	size_t n = strlen(name);

	if (fuzz_api.authorization.len && strcmp(name, "Authorization") == 0)
		return fuzz_api.authorization;
	while (sv_split(&rest, '\n', &line))
		if (line.len > n + 2 && memcmp(line.ptr, name, n) == 0 && line.ptr[n] == ':')
			return sv_skip(line, n + 2);
	return SV("");
}

/* The defaults, with one application that has no limit of a rate. */
static inline void fuzz_api_configure(void)
{
	char program[] = "scopewired", file[] = "--config=/dev/null", *why = NULL;
	char *argv[] = { program, file, NULL }, *environment[] = { NULL };
	const struct app_option options[] = { { "key", FUZZ_KEY },
					      { "secret", FUZZ_SECRET },
					      { "durability", "none" },
					      { "max_backend_events_per_second", "0" },
					      { "max_read_requests_per_second", "0" },
					      { "max_user_requests_per_second", "0" },
					      { "max_user_bytes_per_second", "0" },
					      { "max_user_bytes_per_day", "0" },
					      { "max_all_users_requests_per_second", "0" } };
	struct app_set *set;

	MUST(conf_load(2, argv, environment, &fuzz_api.conf, &why) == 0);
	fuzz_api.conf->sync.max_user_calls = fuzz_api.conf->sync.max_app_calls = 0;
	fuzz_api.conf->sync.max_waiting = 0;
	MUST(app_build("a", options, ARRAY_SIZE(options), &fuzz_api.app, &why) == 0);
	MUST(app_set_build(&fuzz_api.app, 1, &set, &why) == 0);
	apps_install(set);
}

/* Once. */
static inline void fuzz_api_start(void)
{
	static const atomic_uint alone;
	const struct pg_pool_conf refuses = { .options = { .conninfo = "host=/nowhere" },
					      .connections = 1 };
	const struct authorizer_conf authorizer = { .predicates = refuses };
	struct api_services *s = &fuzz_api.services;

	log_set_level(LOG_LEVEL_ERROR);
	fuzz_api_configure();
	s->conf = fuzz_api.conf;
	s->directory = fake_post_directory(1);
	s->publisher = publisher_new(s->directory, NULL, NULL, 1000);
	s->health = health_new();
	s->pool = pg_pool_new(&refuses);
	s->replay = reader_new(&s->conf->database, refuses.options.conninfo, false);
	reader_stop(s->replay);
	s->once = idempotency_new(s->pool);
	s->presence = presence_db_new(s->pool, &s->conf->sync, &alone);
	s->sockets = sockets_new();
	s->ties = socket_ties_new(s->pool, s->sockets, &s->conf->sync, "{}", &alone);
	s->quotas = quotas_new(&s->conf->sync);
	MUST(authorizer_start(s->pool, &authorizer, &s->authorizer) == 0);
	router_init();
}

static inline struct request fuzz_api_request(const char *method, struct str_view body)
{
	fuzz_api.answers = 0;
	return (struct request){ .method = sv(method),
				 .path = SV("/"),
				 .body = body,
				 .peer = { { 0x20, 1, 0x0d, 0xb8, [15] = 1 }, 1 },
				 .header = fuzz_api_on_header,
				 .send = fuzz_api_on_reply };
}

static inline struct str_view fuzz_api_line(struct str_view *rest)
{
	ptrdiff_t end = sv_find(*rest, '\n');
	struct str_view line = end < 0 ? *rest : sv_n(rest->ptr, (size_t)end);

	*rest = sv_skip(*rest, end < 0 ? rest->len : (size_t)end + 1);
	return line;
}
#endif
