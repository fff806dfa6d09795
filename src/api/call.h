/* SPDX-License-Identifier: MIT */
#ifndef API_CALL_H
#define API_CALL_H
/*
 * One call of the API on its way from the router to its handler.  A handler replies exactly once;
 * it runs on a transport's thread and does not wait.
 */
#include "base/annotate.h"
#include "api/router.h"

#define CALL_ARGS_MAX 2

/* Most bytes of a body where no application says otherwise. */
#define CALL_BODY_MAX 65536

struct call {
	struct request *r;
	const struct http_services *services;
	struct app *app; /* of the snapshot in force; NULL on public paths.  Ref it to keep it. */
	struct str_view arg[CALL_ARGS_MAX]; /* what the pattern's placeholders stood for */
};

/* Answers with a plain sentence. */
void call_fail(struct call *c, unsigned status, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Takes from the app's rates; false: it is used up for now. */
bool call_app_take_events(struct app *app, unsigned n) MUSTCHECK;
bool call_app_take_read(struct app *app) MUSTCHECK;
/* Takes n events from the app's rate; false: answered 429. */
bool call_take_events(struct call *c, unsigned n) MUSTCHECK;
/* 503 with Retry-After, 400 or 500 for what publish_submit or the database said. */
void call_reply_failure(struct request *r, int rc);
/* Answers with b, which is released. */
void call_reply_json(struct request *r, unsigned status, struct strbuf *b);

/* server.demo is on and the caller sits at this machine, not behind a proxy on it. */
bool call_may_demo(const struct call *c);

/* Attributes of the parameter "info". */
enum call_info { INFO_USER_COUNT = 1, INFO_SUBSCRIPTION_COUNT = 2, INFO_CACHE = 4 };

/* Reads "user_count,subscription_count"; false: answered 400. */
bool call_read_info(struct call *c, struct str_view text, unsigned *out) MUSTCHECK;
/* A channel's name within the app's limit; false: answered 400. */
bool call_read_channel(struct call *c, struct str_view name, struct channel_traits *out) MUSTCHECK;
/* "socket_id"; an empty text is nobody.  False: answered 400. */
bool call_read_socket(struct call *c, struct str_view text, uint64_t *out) MUSTCHECK;

/* Handlers, a resource a file. */
void h_events_post(struct call *c);
void h_events_post_batch(struct call *c);
void h_events_post_channel(struct call *c);
void h_events_post_user(struct call *c);
void h_channels_list(struct call *c);
void h_channels_get(struct call *c);
void h_channels_users(struct call *c);
void h_users_terminate(struct call *c);
void h_status_up(struct call *c);
void h_status_connections(struct call *c);
void h_status_websocket(struct call *c);
void h_demo_root(struct call *c);
void h_demo_file(struct call *c);
void h_demo_config(struct call *c);
void h_demo_auth(struct call *c);
void h_demo_publish(struct call *c);
#endif
