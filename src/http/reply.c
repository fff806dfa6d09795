/* SPDX-License-Identifier: MIT */
/*
 * From the router's reply to libmicrohttpd's response.
 *
 * http_reply() runs on any thread; everything else on the http thread.
 */
#include "base/annotate.h"
#include "base/metric.h"
#include "http/server-private.h"

#define RETRY_S 1

void http_reply(struct request *r, struct reply *reply)
{
	struct http_request *req = (struct http_request *)r;
	int was = atomic_load(&req->phase);

	req->reply = *reply;
	while (was != DROPPED && !atomic_compare_exchange_weak(&req->phase, &was, REPLIED))
		;
	if (was == WAITING)
		http_resume(req);
	else if (was == DROPPED)
		reply_release(&req->reply);
	http_request_unref(req);
}

/* The reply to most publishes: its response is made once. */
static bool reply_is_empty_object(const struct http_request *req)
{
	const struct reply *reply = &req->reply;

	return !reply->content_type && !reply->retry_after_s && !reply->wants_close &&
	       !reply->n_headers && reply->body.len == 2 && memcmp(reply->body.ptr, "{}", 2) == 0 &&
	       !atomic_load_explicit(&req->server->is_stopping, memory_order_relaxed);
}

/* Takes the reply's body. */
static enum MHD_Result queue_reply(struct http_request *req, struct reply *reply) RUNS_ON(on_http)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		reply->body.len, reply->body.ptr, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result ok;

	if (!response)
		return MHD_NO;
	reply->body = (struct strbuf){ NULL, 0, 0 };
	http_add_headers(req->server, reply, response);
	ok = MHD_queue_response(req->mhd, reply->status, response);
	MHD_destroy_response(response);
	return ok;
}

enum MHD_Result http_refuse_unread(struct http_request *req)
{
	return http_refuse(req, "503 Service Unavailable\r\nRetry-After: 1", "unread_answers",
			   "This address has not read the answers to its other requests "
			   "(option max_unread_bytes_per_address)");
}

static enum MHD_Result send_reply(struct http_request *req) RUNS_ON(on_http)
{
	if (!req->reply.stream && !http_take_unread(req, req->reply.body.len))
		return http_refuse_unread(req);
	http_count(req, req->reply.status);
	if (req->reply.stream && sv_eq(req->base.method, SV("HEAD"))) {
		/* libmicrohttpd would write the end of a body */
		req->reply.stream->release(req->reply.stream);
		req->reply.stream = NULL;
	}
	if (req->reply.stream)
		return http_stream_send(req);
	if (reply_is_empty_object(req))
		return MHD_queue_response(req->mhd, req->reply.status, req->server->empty_object);
	return queue_reply(req, &req->reply);
}

enum MHD_Result http_reply_stopping(struct http_request *req)
{
	struct reply reply = { .status = MHD_HTTP_SERVICE_UNAVAILABLE,
			       .content_type = REQUEST_TEXT,
			       .retry_after_s = RETRY_S };
	enum MHD_Result ok;

	http_count(req, reply.status);
	strbuf_init(&reply.body, 0);
	strbuf_add_str(&reply.body, "The server is stopping; try again.");
	ok = queue_reply(req, &reply);
	strbuf_release(&reply.body);
	return ok;
}

enum MHD_Result http_reply_or_suspend(struct http_request *req)
{
	int was = RUNNING;

	if (atomic_load_explicit(&req->phase, memory_order_acquire) == REPLIED)
		return send_reply(req);
	if (http_suspend(req))
		return MHD_YES;
	if (atomic_compare_exchange_strong(&req->phase, &was, DROPPED))
		return http_reply_stopping(req);
	return send_reply(req);
}

enum MHD_Result http_reply_resumed(struct http_request *req)
{
	http_suspend_end(req);
	return atomic_load(&req->phase) == REPLIED ? send_reply(req) : http_reply_stopping(req);
}
