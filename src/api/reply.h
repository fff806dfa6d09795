/* SPDX-License-Identifier: MIT */
#ifndef API_REPLY_H
#define API_REPLY_H
/*
 * Replies.  Pusher routes report errors as a plain sentence, as Pusher's SDKs expect; the sync API
 * as {"error":{"code","message","field"?}}, and /broadcasting with a "message" next to "error", as
 * Laravel does.  Replies of the sync API carry CORS headers, and can be compressed and tagged.
 *
 * Any thread; each of these replies, so nothing of the request may be used afterwards.
 */
#include "api/call.h"

/* A plain sentence. */
void call_fail(struct call *c, unsigned status, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* In the form of the call's route.  code and field (may be NULL) are for JSON only. */
void call_fail_code(struct call *c, unsigned status, const char *code, const char *field,
		    const char *fmt, ...) PRINTF_LIKE(5, 6);
/* As router_refusal(), for a call that knows its path. */
void call_write_refusal(const struct call *c, struct refusal *refusal);
/* 405 with the methods that the path has. */
void call_fail_method(struct call *c, const char *allow);
/* Replies to a preflight request (OPTIONS) of CORS. */
void call_reply_preflight(struct call *c, const char *allow);
/* JSON; b is released. */
void call_reply_json(struct request *r, unsigned status, struct strbuf *b);
/* 503 with Retry-After, 400 or 500 for -errno of publish_submit(). */
void call_reply_failure(struct request *r, int rc);

/*
 * These free the call.  JSON, with ETag and 304 for GET, gzip where the client accepts it.  body is
 * released.
 */
void sync_reply(struct sync_call *sc, unsigned status, struct strbuf *body);
/* A body in parts, as lines of JSON.  */
void sync_reply_stream(struct sync_call *sc, struct reply_stream *stream);
void sync_fail(struct sync_call *sc, unsigned status, const char *code, const char *field,
	       const char *fmt, ...) PRINTF_LIKE(5, 6);
/* The same for a message of any length. */
void sync_fail_text(struct sync_call *sc, unsigned status, const char *code, const char *field,
		    const char *message);
/* For -errno of a pool's answer. */
void sync_fail_rc(struct sync_call *sc, int rc);
/* Errors as a line of a body whose status has been sent already: {"error":{...}}. */
void line_add_error(struct strbuf *b, const char *code, const char *message);
/* The same for -errno of a pool's answer to a call that reads. */
void line_add_error_rc(struct strbuf *b, int rc);
#endif
