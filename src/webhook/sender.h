/* SPDX-License-Identifier: MIT */
#ifndef WEBHOOK_SENDER_H
#define WEBHOOK_SENDER_H
/*
 * Sends HTTP requests of webhooks, many at a time, on the thread that calls sender_wait().
 *
 * TLS is verified, redirects are not followed, proxies of the environment are not used.  The
 * address that is connected is checked, so that no name can lead to another one than was checked.
 * Of a webhook's response only the status counts; the body is read up to SENDER_RESPONSE_MAX_BYTES,
 * so that the connection can be used again, and dropped.  A request that wants the body gets it,
 * and fails when it is longer.
 */
#include "base/thread.h"
#include "conf/conf.h"

#define SENDER_RESPONSE_MAX_BYTES 65536

struct sender;

struct sender_result {
	bool is_delivered;
	const char *error;    /* why not, as text for the log and the table */
	struct str_view body; /* of a request that wants it */
};

struct sender_request {
	const char *url;
	char **headers; /* "Name: value", NULL-terminated; NULL for none */
	const struct app *app;
	struct str_view body;
	bool wants_body;					/* of the response */
	void (*done)(void *ctx, const struct sender_result *r); /* from sender_wait() */
	void *ctx;
};

/* conf outlives it.  NULL: libcurl cannot be used. */
struct sender *sender_new(const struct conf_webhooks *conf) MUSTCHECK;
/* No request is under way.  NULL is fine. */
void sender_free(struct sender *s);
/* Copies what it needs. */
void sender_send(struct sender *s, const struct sender_request *r) RUNS_ON(on_webhook);
unsigned sender_in_flight(const struct sender *s) RUNS_ON(on_webhook);
/* Waits at most ms for the network or sender_wake(), and calls done of what has finished. */
void sender_wait(struct sender *s, int ms) RUNS_ON(on_webhook);
/* Ends all requests: their done is called, with a failure. */
void sender_cancel(struct sender *s) RUNS_ON(on_webhook);
/* Ends a sender_wait(), or the next one.  Any thread. */
void sender_wake(struct sender *s);
#endif
