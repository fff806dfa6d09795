/* SPDX-License-Identifier: MIT */
#ifndef WEBHOOK_APP_AUTH_H
#define WEBHOOK_APP_AUTH_H
/*
 * Requests the application's own answer to who may join channels: its option auth_url.
 *
 * One request for all channels of a question whose answers are not remembered; questions that are
 * the same share one.  An answer is remembered by application, address, user and channel, for the
 * time that the application states.  Without a valid answer within sync.auth_url_timeout_ms there
 * is none: nothing is ever allowed because of a failure.
 */
#include "base/user_id.h"
#include "conf/conf.h"

#define APP_AUTH_CHANNELS_MAX 100 /* of one question */

struct app_auth;

struct app_auth_answer {
	const char
		*failure; /* a code, "auth_url_failed", "busy" or "stopping"; NULL: there is none */
	const bool *allowed; /* of the question's channels, in their order */
	usec_t asked;	     /* wall, when the question was asked */
};

/* answer is valid until it returns.  It must not wait. */
typedef void app_auth_done(void *ctx, const struct app_auth_answer *answer);

struct app_auth_question {
	struct app *app;     /* has an auth_url */
	const char *user_id; /* text */
	const char *const *channels;
	size_t n;
	app_auth_done *done;
	void *ctx;
};

/* conf outlives it.  NULL: libcurl cannot be used. */
struct app_auth *app_auth_new(const struct conf *conf) MUSTCHECK;
/* 0 or -errno. */
int app_auth_start(struct app_auth *a) MUSTCHECK;
/* Answers what is open with "stopping".  NULL, and one that was not started, are fine. */
void app_auth_stop(struct app_auth *a);
void app_auth_free(struct app_auth *a); /* NULL is fine */

/* All is copied.  done is called exactly once, on another thread or before this returns.  Any
 * thread. */
void app_auth_check(struct app_auth *a, const struct app_auth_question *q);
/* Forgets the answers for the user, and does not remember those that are under way.  Any thread. */
void app_auth_forget(struct app_auth *a, const struct app *app, struct str_view user_id);
#endif
