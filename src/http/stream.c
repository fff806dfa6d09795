/* SPDX-License-Identifier: MIT */
/*
 * Replies whose body is made while it is sent, part by part.  The next part is requested when
 * libmicrohttpd has taken the one before; while it is not there the connection is suspended.  Not
 * more than one part is kept.
 *
 * The http thread requests and sends; stream_on_part() runs on any thread.
 */
#include "base/annotate.h"
#include "base/log_gate.h"
#include "http/server-private.h"

#define BLOCK_BYTES 65536

static struct log_gate unread_streams = LOG_GATE("streams ended because answers were not read");

/* Any thread. */
static void stream_on_part(struct reply_stream *stream, struct strbuf *text, enum stream_end end)
{
	struct http_request *req = stream->transport;
	int was = atomic_load(&req->phase);

	req->part = *text;
	req->end = end;
	while (was != DROPPED && !atomic_compare_exchange_weak(&req->phase, &was, REPLIED))
		;
	if (was == WAITING)
		http_resume(req);
	http_request_unref(req);
}

/* True: the part is there.  False: the connection is suspended, or the server stops (DROPPED). */
static bool stream_request_part(struct http_request *req) RUNS_ON(on_http)
{
	int was = RUNNING;

	http_give_unread(req);
	strbuf_release(&req->part);
	req->part = (struct strbuf){ NULL, 0, 0 };
	req->part_at = 0;
	atomic_store(&req->phase, RUNNING);
	atomic_fetch_add(&req->refs, 1);
	req->stream->next(req->stream);
	if (atomic_load_explicit(&req->phase, memory_order_acquire) == REPLIED)
		return true;
	if (!http_suspend(req))
		return !atomic_compare_exchange_strong(&req->phase, &was, DROPPED);
	return false;
}

/* libmicrohttpd's: fills buf, or returns that the body ends; 0: later. */
static ssize_t stream_on_read(void *cls, uint64_t pos UNUSED, char *buf, size_t max)
{
	struct http_request *req = cls;
	size_t n;

	ASSERT_ON(on_http);
	http_suspend_end(req);
	if (atomic_load_explicit(&req->phase, memory_order_acquire) == DROPPED)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	while (req->part_at == req->part.len) {
		if (req->end != STREAM_GOES_ON)
			return req->end == STREAM_ENDS ? MHD_CONTENT_READER_END_OF_STREAM
						       : MHD_CONTENT_READER_END_WITH_ERROR;
		if (!stream_request_part(req))
			return atomic_load(&req->phase) == DROPPED
				       ? MHD_CONTENT_READER_END_WITH_ERROR
				       : 0;
	}
	if (!req->unread && !http_take_unread(req, req->part.len)) {
		log_gated(&unread_streams,
			  "a stream was ended: this client address has too many unread answers "
			  "(option max_unread_bytes_per_address)");
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	n = req->part.len - req->part_at < max ? req->part.len - req->part_at : max;
	memcpy(buf, req->part.ptr + req->part_at, n);
	req->part_at += n;
	return (ssize_t)n;
}

enum MHD_Result http_stream_send(struct http_request *req)
{
	struct MHD_Response *response = MHD_create_response_from_callback(
		MHD_SIZE_UNKNOWN, BLOCK_BYTES, stream_on_read, req, NULL);
	enum MHD_Result ok;

	if (!response)
		return MHD_NO;
	http_add_headers(req->server, &req->reply, response);
	req->stream = req->reply.stream;
	req->stream->part = stream_on_part;
	req->stream->transport = req;
	req->reply.stream = NULL;
	ok = MHD_queue_response(req->mhd, req->reply.status, response);
	reply_release(&req->reply);
	MHD_destroy_response(response);
	return ok;
}
