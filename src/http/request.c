/* SPDX-License-Identifier: MIT */
/*
 * What the other files need of a request: its references, the suspension of its connection while
 * its reply is not there, what its client has not read yet, and its counts.
 *
 * The server's lock guards the list of suspended requests; it is held for a few instructions, and
 * no other lock is taken under it.  http_suspend() and http_suspend_end() run on the http thread,
 * the others on any.
 */
#include "base/annotate.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/metric.h"
#include "http/server-private.h"

#define UNREAD_MIN 16384 /* smaller answers are bounded by the number of connections */

struct http_lock_held http_lock_held UNUSED;

void http_lock(struct http_server *s) NO_TSA
{
	pthread_mutex_lock(&s->lock);
}

void http_unlock(struct http_server *s) NO_TSA
{
	pthread_mutex_unlock(&s->lock);
}

static void on_resumption(struct loop_call *call)
{
	ASSERT_ON(on_http);
	MHD_resume_connection(CONTAINER_OF(call, struct http_request, resumption)->mhd);
}

void http_resume(struct http_request *req)
{
	struct http_server *s = req->server;

	req->resumption.fn = on_resumption;
	http_loop_post(s->loop, &req->resumption);
	atomic_fetch_sub(&s->resumptions, 1);
}

bool http_suspend(struct http_request *req)
{
	struct http_server *s = req->server;
	int was = RUNNING;
	bool ok;

	http_lock(s);
	ok = !s->is_closed;
	if (ok) {
		req->prev = NULL;
		req->next = s->waiting;
		if (s->waiting)
			s->waiting->prev = req;
		s->waiting = req;
		req->is_waiting = true;
		atomic_fetch_add(&s->resumptions, 1);
	}
	http_unlock(s);
	if (!ok)
		return false;
	MHD_suspend_connection(req->mhd);
	if (!atomic_compare_exchange_strong(&req->phase, &was, WAITING))
		http_resume(req); /* the reply was faster */
	return true;
}

void http_suspend_end(struct http_request *req)
{
	struct http_server *s = req->server;

	if (!req->is_waiting)
		return;
	req->is_waiting = false;
	http_lock(s);
	if (req->next)
		req->next->prev = req->prev;
	if (req->prev)
		req->prev->next = req->next;
	else
		s->waiting = req->next;
	http_unlock(s);
}

void http_request_unref(struct http_request *req)
{
	if (atomic_fetch_sub_explicit(&req->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (req->has_body)
		strbuf_release(&req->body);
	if (req->stream) {
		strbuf_release(&req->part);
		req->stream->release(req->stream);
	} else if (atomic_load(&req->phase) == REPLIED) {
		reply_release(&req->reply);
	}
	free(req);
}

static struct address_count *request_address(const struct http_request *req)
{
	return req->address ? req->address : req->conn->address;
}

void http_give_unread(struct http_request *req)
{
	address_limits_give_unread(req->server->conf.addresses, request_address(req), req->unread);
	metric_add(METRIC_HTTP_UNREAD, -(int64_t)req->unread);
	req->unread = 0;
}

/* The answer to a request that was carried out is sent. */
static bool http_is_write(const struct http_request *req)
{
	return !sv_eq(req->base.method, SV("GET")) && !sv_eq(req->base.method, SV("HEAD"));
}

bool http_may_route(const struct http_request *req)
{
	if (!http_is_write(req) ||
	    !address_limits_is_unread_full(req->server->conf.addresses, request_address(req)))
		return true;
	metric_add_at(METRIC_RATE_LIMITED, RATED_UNREAD, 1);
	return false;
}

bool http_take_unread(struct http_request *req, size_t n)
{
	http_give_unread(req);
	if (n < UNREAD_MIN)
		return true;
	if (http_is_write(req)) {
		address_limits_add_unread(req->server->conf.addresses, request_address(req), n);
	} else if (!address_limits_take_unread(req->server->conf.addresses, request_address(req),
					       n)) {
		metric_add_at(METRIC_RATE_LIMITED, RATED_UNREAD, 1);
		return false;
	}
	metric_add(METRIC_HTTP_UNREAD, (int64_t)n);
	req->unread = n;
	return true;
}

void http_count(const struct http_request *req, unsigned status)
{
	usec_t took = clock_mono() - req->started;
	char from[ADDRESS_TEXT_SIZE];

	metric_add_pair(METRIC_HTTP_REQUESTS, req->base.route,
			metric_number(METRIC_BY_STATUS, status), 1);
	metric_observe_at(METRIC_HTTP_SECONDS, req->base.route, took, 1);
	if (log_has_level(LOG_LEVEL_DEBUG))
		log_debug("request: %s %.*s: %u in %.3f ms, from %s", req->method,
			  SV_ARG(req->base.path), status, (double)took / USEC_PER_MSEC,
			  address_format(&req->base.peer, from));
}
