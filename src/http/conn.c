/* SPDX-License-Identifier: MIT */
/*
 * A connection and the requests on it: head and body are collected within the limits, then the
 * router is called.
 *
 * libmicrohttpd cannot respond while a body is being received, so an error found then (413, a
 * deadline) is written to the bare socket, see http/deadlines.h.
 *
 * Everything runs on the http thread, but conn_on_deadline().
 */
#include <errno.h>
#include <strings.h>
#include "base/annotate.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/server-private.h"

/* A reply that comes after the server has dropped the request, at its stop, finds no headers: the
 * library frees them with the connection. */
static bool conn_has_headers(const struct http_request *req)
{
	return atomic_load_explicit(&req->phase, memory_order_acquire) != DROPPED;
}

static struct str_view conn_header(const struct request *r, const char *name)
{
	const struct http_request *req = (const struct http_request *)r;

	if (!conn_has_headers(req))
		return SV("");
	return sv(MHD_lookup_connection_value(req->mhd, MHD_HEADER_KIND, name));
}

struct header_list {
	const char *name;
	struct strbuf *out;
};

static enum MHD_Result conn_add_header(void *cls, enum MHD_ValueKind kind UNUSED, const char *name,
				       const char *value)
{
	struct header_list *list = cls;

	if (strcasecmp(name, list->name) == 0 && value) {
		if (list->out->len)
			strbuf_add_c(list->out, ',');
		strbuf_add_str(list->out, value);
	}
	return MHD_YES;
}

static void conn_header_list(const struct request *r, const char *name, struct strbuf *out)
{
	const struct http_request *req = (const struct http_request *)r;
	struct header_list list = { name, out };

	if (conn_has_headers(req))
		MHD_get_connection_values(req->mhd, MHD_HEADER_KIND, conn_add_header, &list);
}

static usec_t conn_request_deadline(const struct http_server *s)
{
	return clock_mono() + s->conf.request_timeout_ms * USEC_PER_MSEC;
}

/* ---- receiving -------------------------------------------------------------- */

/* What the thread of the deadlines may read of a request that the http thread is receiving. */
struct late_request {
	struct request base; /* first */
	const char *origin;
};

static struct str_view late_header(const struct request *r, const char *name)
{
	const struct late_request *late = (const struct late_request *)r;

	return strcmp(name, "Origin") == 0 ? sv(late->origin) : SV("");
}

void conn_on_deadline(struct deadline *d)
{
	struct http_conn *conn = CONTAINER_OF(d, struct http_conn, deadline);
	struct http_request *req = conn->request;
	struct late_request late = { .base = { .header = late_header, .peer = conn->peer } };
	struct refusal refusal = {
		.status = 408,
		.code = "request_timeout",
		.sentence = "The request did not arrive in time; send it again.",
	};

	if (!req || conn->server->conf.handle) {
		deadlines_refuse(d->fd, "408 Request Timeout",
				 SV("The request did not arrive in time; send it again"));
		return;
	}
	late.base.path = req->base.path;
	late.origin = atomic_load(&req->origin);
	strbuf_init(&refusal.headers, 256);
	strbuf_init(&refusal.body, 256);
	router_refusal(conn->server->services, &late.base, &refusal);
	deadlines_respond(d->fd, "408 Request Timeout", strbuf_view(&refusal.headers),
			  strbuf_view(&refusal.body));
	strbuf_release(&refusal.headers);
	strbuf_release(&refusal.body);
}

static enum MHD_Result conn_refuse_body(struct http_request *req) RUNS_ON(on_http)
{
	char text[96];

	snprintf(text, sizeof(text), "The request body is larger than the %zu bytes allowed here",
		 req->body_limit);
	return http_refuse(req, "413 Content Too Large", "too_large", text);
}

/* What the headers state about the body, and whether two readers could differ about it. */
struct framing {
	unsigned lengths, codings, hosts;
	bool has_bad_name, has_bad_value;
};

/* A name with a space before its colon is another name to some proxies, and a value with a bare CR
 * more than one line (RFC 9112 sections 2.2, 5.1). */
static enum MHD_Result conn_count_header(void *cls, enum MHD_ValueKind kind UNUSED,
					 const char *name, const char *value)
{
	struct framing *f = cls;

	f->lengths += strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0;
	f->codings += strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0;
	f->hosts += strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0;
	if (!*name || strpbrk(name, " \t\r"))
		f->has_bad_name = true;
	if (value && strchr(value, '\r'))
		f->has_bad_value = true;
	return MHD_YES;
}

/* Checks the headers that give the body's length before it arrives.  MHD_NO: refused. */
static enum MHD_Result conn_check_framing(struct http_request *req) RUNS_ON(on_http)
{
	struct str_view coding = conn_header(&req->base, MHD_HTTP_HEADER_TRANSFER_ENCODING);
	struct framing f = { 0 };
	const char *why = NULL;

	MHD_get_connection_values(req->mhd, MHD_HEADER_KIND, conn_count_header, &f);
	if (f.has_bad_name)
		why = "A header has no name, or a space before its colon";
	else if (f.has_bad_value)
		why = "A header contains a carriage return";
	else if (f.lengths > 1 || f.hosts > 1)
		why = "Send one Content-Length and one Host";
	else if (f.codings && (f.lengths || f.codings > 1 || coding.len != 7 ||
			       strncasecmp(coding.ptr, "chunked", 7) != 0))
		why = "Send Content-Length or Transfer-Encoding: chunked, not both";
	return why ? http_refuse(req, "400 Bad Request", "bad_request", why) : MHD_YES;
}

/* Makes room for the body.  MHD_NO: refused. */
static enum MHD_Result conn_expect_body(struct http_request *req) RUNS_ON(on_http)
{
	struct str_view length = conn_header(&req->base, MHD_HTTP_HEADER_CONTENT_LENGTH);
	struct str_view coding = conn_header(&req->base, MHD_HTTP_HEADER_TRANSFER_ENCODING);
	uint64_t n = 0;

	if (conn_check_framing(req) != MHD_YES)
		return MHD_NO;
	if (length.len && !sv_to_u64(length, UINT64_MAX, &n))
		return http_refuse(req, "400 Bad Request", "bad_request",
				   "Content-Length is not a number");
	if (!coding.len && !n)
		return MHD_YES;
	atomic_store(&req->origin,
		     MHD_lookup_connection_value(req->mhd, MHD_HEADER_KIND, "Origin"));
	req->body_limit = req->server->conf.handle
				  ? req->server->conf.body_max
				  : router_body_limit(req->server->services, &req->base);
	if (n > req->body_limit)
		return conn_refuse_body(req);
	strbuf_init(&req->body, n);
	req->has_body = true;
	return MHD_YES;
}

/*
 * Connections of a proxy are not counted, because they are not its clients'.  Instead each request
 * of a client counts as a connection of it while it is in progress.  MHD_NO: refused.
 */
static enum MHD_Result conn_count_client(struct http_request *req) RUNS_ON(on_http)
{
	const struct http_server_conf *conf = &req->server->conf;
	struct client_address client;

	if (!conf->proxies || !conf->addresses ||
	    !trusted_proxies_contain(conf->proxies, &req->conn->peer) ||
	    (!conn_header(&req->base, "X-Forwarded-For").len &&
	     !conn_header(&req->base, "Forwarded").len))
		return MHD_YES;
	client = request_client(&req->base, conf->proxies);
	if (trusted_proxies_contain(conf->proxies, &client.address) ||
	    address_limits_connect(conf->addresses, &client.address, clock_mono(), &req->address) ==
		    ADDRESS_ADMITTED)
		return MHD_YES;
	return http_refuse(req, "429 Too Many Requests\r\nRetry-After: 1", "rate_limited",
			   "Too many requests of this address are in progress (option "
			   "max_connections_per_address)");
}

static enum MHD_Result conn_take_headers(struct http_request *req, const char *method)
	RUNS_ON(on_http)
{
	size_t n = MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)
			   ->header_size;
	size_t method_len = strlen(method);

	req->progress = IN_BODY;
	if (n > req->server->conf.max_header_bytes)
		return http_refuse(req, "431 Request Header Fields Too Large", "headers_too_large",
				   "The request line and headers are too large");
	if (req->is_too_long)
		return http_refuse(req, "400 Bad Request", "bad_request",
				   "Too many query parameters");
	if (req->has_bad_path)
		return http_refuse(req, "400 Bad Request", "bad_request",
				   "The path contains a NUL byte");
	if (method_len >= HTTP_METHOD_SIZE)
		return http_refuse(req, "501 Not Implemented", "method_not_allowed",
				   "Unknown method");
	memcpy(req->method, method, method_len + 1);
	req->base.method = sv_n(req->method, method_len);
	return conn_count_client(req) == MHD_YES ? conn_expect_body(req) : MHD_NO;
}

/* The request is complete. */
static enum MHD_Result conn_route(struct http_request *req) RUNS_ON(on_http)
{
	struct http_server *s = req->server;

	if (!deadline_set(&req->conn->deadline, DEADLINE_NEVER))
		return MHD_NO;
	if (!http_may_route(req))
		return http_refuse_unread(req);
	req->progress = ROUTED;
	if (req->has_body)
		req->base.body = strbuf_view(&req->body);
	/* counted before the flag is read: http_server_stop() reads the count after it set it */
	atomic_fetch_add(&s->busy, 1);
	if (atomic_load(&s->is_stopping))
		return http_reply_stopping(req);
	atomic_fetch_add(&req->refs, 1);
	if (s->conf.handle)
		s->conf.handle(s->conf.handle_ctx, &req->base);
	else
		router_handle(s->services, &req->base);
	return http_reply_or_suspend(req);
}

enum MHD_Result conn_on_request(void *cls UNUSED, struct MHD_Connection *mhd UNUSED,
				const char *url UNUSED, const char *method,
				const char *version UNUSED, const char *upload, size_t *upload_len,
				void **ctx)
{
	struct http_request *req = *ctx;

	ASSERT_ON(on_http);
	if (!req)
		return MHD_NO;
	if (req->progress == IN_HEADERS)
		return conn_take_headers(req, method);
	if (*upload_len) {
		if (*upload_len > req->body_limit - req->body.len)
			return conn_refuse_body(req);
		strbuf_add(&req->body, upload, *upload_len);
		*upload_len = 0;
		return MHD_YES;
	}
	return req->progress == IN_BODY ? conn_route(req) : http_reply_resumed(req);
}

/* ---- begin and end of a request ------------------------------------------------- */

/* The request line is complete; target is its second word, still escaped. */
void *conn_on_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
	struct http_server *s = cls;
	struct http_conn *conn =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
	size_t len = strlen(target);
	struct http_request *req;
	int rc;

	ASSERT_ON(on_http);
	if (!deadline_set(&conn->deadline, DEADLINE_NEVER))
		return NULL;
	req = xmalloc(sizeof(*req) + len + 1);
	/* not the parameters, which are most of it */
	memset(&req->base, 0, offsetof(struct request, params));
	memset((char *)req + sizeof(req->base), 0, sizeof(*req) - sizeof(req->base));
	memcpy(req->target, target, len + 1);
	rc = request_set_target(&req->base, req->target, len);
	req->is_too_long = rc == -E2BIG;
	req->has_bad_path = rc == -EINVAL;
	req->base.body = sv_n("", 0);
	req->base.route = ROUTE_NONE;
	req->base.is_tls = conn->is_tls;
	req->base.is_unix = conn->is_unix;
	req->base.peer = conn->peer;
	req->base.header = conn_header;
	req->base.header_list = conn_header_list;
	req->base.send = http_reply;
	req->server = s;
	req->conn = conn;
	req->mhd = mhd;
	req->started = clock_mono();
	atomic_init(&req->refs, 1);
	atomic_init(&req->phase, RUNNING);
	atomic_init(&req->origin, NULL);
	conn->request = req;
	(void)deadline_set(&conn->deadline,
			   conn_request_deadline(s)); /* it has none, so none passed */
	return req;
}

void conn_on_completed(void *cls, struct MHD_Connection *mhd UNUSED, void **ctx,
		       enum MHD_RequestTerminationCode code)
{
	struct http_server *s = cls;
	struct http_request *req = *ctx;

	ASSERT_ON(on_http);
	if (!req)
		return;
	*ctx = NULL;
	http_suspend_end(req); /* resumed, but the client has closed the connection */
	req->conn->deadline.wants_linger = code != MHD_REQUEST_TERMINATED_COMPLETED_OK;
	if (!deadline_set(&req->conn->deadline, DEADLINE_NEVER)) {
		deadlines_wait(s->deadlines);
		log_debug("http: a request did not arrive in time");
	}
	req->conn->request = NULL;
	http_give_unread(req);
	address_limits_leave(s->conf.addresses, req->address);
	/* idle time does not count for the next request; the library limits it */
	(void)deadline_set(&req->conn->deadline,
			   conn_request_deadline(s) + s->conf.idle_timeout_s * USEC_PER_SEC);
	if (req->progress == ROUTED && atomic_fetch_sub(&s->busy, 1) == 1 &&
	    atomic_load(&s->is_stopping)) {
		http_lock(s);
		pthread_cond_signal(&s->changed);
		http_unlock(s);
	}
	http_request_unref(req);
}

/* ---- connections -------------------------------------------------------------------- */

void conn_on_connection(void *cls, struct MHD_Connection *mhd, void **ctx,
			enum MHD_ConnectionNotificationCode code)
{
	struct http_server *s = cls;
	struct http_conn *conn = *ctx;
	const struct sockaddr *peer;

	ASSERT_ON(on_http);
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		s->is_announced = true;
		*ctx = conn = xcalloc(1, sizeof(*conn));
		conn->server = s;
		conn->is_tls = s->is_tls;
		conn->address = s->adopting;
		peer = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)
			       ->client_addr;
		conn->peer = address_of_sockaddr(peer);
		conn->is_unix = peer && peer->sa_family == AF_UNIX;
		deadlines_add(
			s->deadlines, &conn->deadline,
			MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd,
			conn_request_deadline(s));
		return;
	}
	deadlines_remove(s->deadlines, &conn->deadline);
	address_limits_leave(s->conf.addresses, conn->address);
	free(conn);
	atomic_fetch_sub(&s->connections, 1);
}
