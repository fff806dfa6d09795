/* SPDX-License-Identifier: MIT */
/*
 * The http thread (http/loop.h) calls everything here but http_server_* and on_reply().
 *
 * A request is born when its request line is complete (on_target), collects its body, is handed to
 * the api, and dies when its answer was sent or its connection broke (on_completed) and the api
 * has replied.  It has two owners, hence two references: the connection, until on_completed, and
 * the api, until its reply.
 *
 * The reply may come during the call of the api, right after it on another thread, or much
 * later.  req->phase settles it: whoever comes second acts.
 *
 *   RUNNING -> REPLIED             the reply came before the suspension took effect
 *   RUNNING -> WAITING -> REPLIED  the replying thread has the connection resumed
 *   WAITING -> DROPPED             the server stops; a late reply is thrown away
 *   RUNNING -> DROPPED             the same, where nothing may be suspended any more
 *
 * A stream goes through the same for each of its parts: RUNNING while it is asked, REPLIED when the
 * part is there.
 *
 * The library cannot answer while a body is being received, so what is refused then (413, a
 * deadline) is written to the bare socket, see http/watch.h.  Its own connection limit is
 * not used: in 0.9.75 reaching it leaves a mutex locked.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <unistd.h>
#include "base/annotate.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/loop.h"
#include "http/server.h"
#include "http/deadlines.h"

#define METHOD_SIZE 16
#define RETRY_S	    1
#define BLOCK_BYTES 65536

struct http_server {
	struct MHD_Daemon *mhd; /* of the http thread, as soon as that runs */
	bool announced;		/* on_connection() knows the one that is being added; likewise */
	struct http_loop *loop;
	const struct api_services *services;
	struct http_server_conf conf;
	struct watch *watch;
	struct MHD_Response *empty_object; /* "{}": most publishes are answered so */
	atomic_uint connections;
	atomic_uint busy; /* requests between the call of the api and their end */
	/* resumptions that are owed or just being posted: the loop must outlive them */
	atomic_uint resumptions;
	atomic_bool stopping;
	pthread_mutex_t lock; /* of closed, waiting and changed */
	bool closed;	      /* nothing may be suspended any more */
	pthread_cond_t changed;
	struct http_request *waiting; /* suspended ones */
};

struct http_conn {
	struct watched watched;
	struct http_server *server;
	bool loopback;
};

/* A connection on its way to the http thread. */
struct adoption {
	struct loop_call call;
	struct http_server *server;
	int fd;
	socklen_t peer_len;
	struct sockaddr_storage peer;
};

enum phase { RUNNING, WAITING, REPLIED, DROPPED };

enum progress {
	IN_HEADERS, /* the request line came */
	IN_BODY,
	HANDED_OVER, /* the api was called */
};

struct http_request {
	struct request base; /* first */
	struct http_server *server;
	struct http_conn *conn;
	struct MHD_Connection *mhd;	  /* good while the connection holds its reference */
	struct loop_call resumption;	  /* while it is suspended the connection stays */
	struct http_request *next, *prev; /* in server->waiting */
	atomic_uint refs;
	atomic_int phase;
	enum progress progress;
	bool is_waiting; /* in server->waiting; of the http thread */
	bool too_long;	 /* the target has more parameters than we take */
	bool bad_path;
	bool has_body;
	size_t body_limit;
	struct strbuf body;
	struct reply reply;	     /* once REPLIED */
	struct reply_stream *stream; /* or NULL */
	struct strbuf part;	     /* of the stream, while REPLIED; sent up to part_at */
	size_t part_at;
	enum stream_end end; /* of that part */
	char method[METHOD_SIZE];
	char target[];
};

static struct http_request *from_base(const struct request *r)
{
	return (struct http_request *)r;
}

static struct http_conn *conn_of(struct MHD_Connection *mhd)
{
	return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static usec_t request_deadline(const struct http_server *s)
{
	return clock_mono() + s->conf.request_timeout_ms * USEC_PER_MSEC;
}

static void request_unref(struct http_request *req)
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

/* ---- replies -------------------------------------------------------- */

static struct str_view on_header(const struct request *r, const char *name)
{
	return sv(MHD_lookup_connection_value(from_base(r)->mhd, MHD_HEADER_KIND, name));
}

static void on_resumption(struct loop_call *call)
{
	MHD_resume_connection(CONTAINER_OF(call, struct http_request, resumption)->mhd);
}

/* Any thread; of one that is not the http thread the last touch of the server. */
static void resume(struct http_request *req)
{
	struct http_server *s = req->server;

	req->resumption.fn = on_resumption;
	http_loop_post(s->loop, &req->resumption);
	atomic_fetch_sub(&s->resumptions, 1);
}

/* Any thread. */
static void on_reply(struct request *r, struct reply *reply)
{
	struct http_request *req = from_base(r);
	int was = atomic_load(&req->phase);

	req->reply = *reply;
	while (was != DROPPED && !atomic_compare_exchange_weak(&req->phase, &was, REPLIED))
		;
	if (was == WAITING)
		resume(req);
	else if (was == DROPPED)
		reply_release(&req->reply);
	request_unref(req);
}

static void server_add_header(struct MHD_Response *response, const char *name, const char *value)
{
	if (MHD_add_response_header(response, name, value) == MHD_NO)
		log_debug("header %s could not be added", name);
}

static bool is_empty_object(const struct http_request *req)
{
	const struct reply *reply = &req->reply;

	return !reply->content_type && !reply->retry_after_s && !reply->close &&
	       !reply->n_headers && reply->body.len == 2 && memcmp(reply->body.ptr, "{}", 2) == 0 &&
	       !atomic_load_explicit(&req->server->stopping, memory_order_relaxed);
}

static void add_headers(struct http_server *s, const struct reply *reply,
			struct MHD_Response *response)
{
	char seconds[16];

	server_add_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
			  reply->content_type ? reply->content_type : "application/json");
	if (reply->retry_after_s) {
		snprintf(seconds, sizeof(seconds), "%u", reply->retry_after_s);
		server_add_header(response, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
	}
	for (unsigned i = 0; i < reply->n_headers; i++)
		server_add_header(response, reply->headers[i].name, reply->headers[i].value);
	if (reply->status == MHD_HTTP_UPGRADE_REQUIRED)
		server_add_header(response, MHD_HTTP_HEADER_UPGRADE, "websocket");
	if (reply->close || atomic_load(&s->stopping))
		server_add_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
}

/* Takes the reply's body over. */
static struct MHD_Response *make_response(struct http_server *s, struct reply *reply)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		reply->body.len, reply->body.ptr, MHD_RESPMEM_MUST_FREE);

	if (!response)
		return NULL;
	reply->body = (struct strbuf){ NULL, 0, 0 };
	add_headers(s, reply, response);
	return response;
}

static enum MHD_Result send_stream(struct http_request *req);

static enum MHD_Result send_reply(struct http_request *req)
{
	struct http_server *s = req->server;
	struct MHD_Response *response;
	enum MHD_Result ok;

	if (req->reply.stream)
		return send_stream(req);
	if (is_empty_object(req))
		return MHD_queue_response(req->mhd, req->reply.status, s->empty_object);
	response = make_response(s, &req->reply);
	if (!response)
		return MHD_NO;
	ok = MHD_queue_response(req->mhd, req->reply.status, response);
	MHD_destroy_response(response);
	return ok;
}

static enum MHD_Result send_stopping(struct http_request *req)
{
	struct reply reply = { .status = MHD_HTTP_SERVICE_UNAVAILABLE,
			       .content_type = REQUEST_TEXT,
			       .retry_after_s = RETRY_S };
	struct MHD_Response *response;
	enum MHD_Result ok;

	strbuf_init(&reply.body, 0);
	strbuf_add_str(&reply.body, "The server is stopping; try again.");
	response = make_response(req->server, &reply);
	if (!response)
		return MHD_NO;
	ok = MHD_queue_response(req->mhd, reply.status, response);
	MHD_destroy_response(response);
	return ok;
}

/* ---- waiting -------------------------------------------------------- */

static void waiting_add_locked(struct http_request *req)
{
	struct http_server *s = req->server;

	req->prev = NULL;
	req->next = s->waiting;
	if (s->waiting)
		s->waiting->prev = req;
	s->waiting = req;
	req->is_waiting = true;
	atomic_fetch_add(&s->resumptions, 1);
}

/* False once the server is closed. */
static bool waiting_add(struct http_request *req)
{
	struct http_server *s = req->server;
	bool ok;

	pthread_mutex_lock(&s->lock);
	ok = !s->closed;
	if (ok)
		waiting_add_locked(req);
	pthread_mutex_unlock(&s->lock);
	return ok;
}

static void waiting_del(struct http_request *req)
{
	struct http_server *s = req->server;

	if (!req->is_waiting)
		return;
	req->is_waiting = false;
	pthread_mutex_lock(&s->lock);
	if (req->next)
		req->next->prev = req->prev;
	if (req->prev)
		req->prev->next = req->next;
	else
		s->waiting = req->next;
	pthread_mutex_unlock(&s->lock);
}

static enum MHD_Result suspend(struct http_request *req)
{
	int was = RUNNING;

	if (!waiting_add(req)) {
		bool dropped = atomic_compare_exchange_strong(&req->phase, &was, DROPPED);

		return dropped ? send_stopping(req) : send_reply(req);
	}
	MHD_suspend_connection(req->mhd);
	if (!atomic_compare_exchange_strong(&req->phase, &was, WAITING))
		resume(req); /* the reply was faster */
	return MHD_YES;
}

/* ---- streams -------------------------------------------------------- */

/* Any thread. */
static void on_part(struct reply_stream *stream, struct strbuf *text, enum stream_end end)
{
	struct http_request *req = stream->transport;
	int was = atomic_load(&req->phase);

	req->part = *text;
	req->end = end;
	while (was != DROPPED && !atomic_compare_exchange_weak(&req->phase, &was, REPLIED))
		;
	if (was == WAITING)
		resume(req);
	request_unref(req);
}

/* False: the part is not here yet, and the connection suspended; or the server stops. */
static bool ask_part(struct http_request *req)
{
	int was = RUNNING;

	strbuf_release(&req->part);
	req->part = (struct strbuf){ NULL, 0, 0 };
	req->part_at = 0;
	atomic_store(&req->phase, RUNNING);
	atomic_fetch_add(&req->refs, 1);
	req->stream->next(req->stream);
	if (atomic_load_explicit(&req->phase, memory_order_acquire) == REPLIED)
		return true;
	if (!waiting_add(req))
		return !atomic_compare_exchange_strong(&req->phase, &was, DROPPED);
	MHD_suspend_connection(req->mhd);
	if (!atomic_compare_exchange_strong(&req->phase, &was, WAITING))
		resume(req);
	return false;
}

/* MHD's: fills buf, or says that the body ends. */
static ssize_t read_stream(void *cls, uint64_t pos UNUSED, char *buf, size_t max)
{
	struct http_request *req = cls;
	size_t n;

	waiting_del(req);
	if (atomic_load_explicit(&req->phase, memory_order_acquire) == DROPPED)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	while (req->part_at == req->part.len) {
		if (req->end != STREAM_GOES_ON)
			return req->end == STREAM_ENDS ? MHD_CONTENT_READER_END_OF_STREAM
						       : MHD_CONTENT_READER_END_WITH_ERROR;
		if (!ask_part(req))
			return atomic_load(&req->phase) == DROPPED
				       ? MHD_CONTENT_READER_END_WITH_ERROR
				       : 0;
	}
	n = req->part.len - req->part_at < max ? req->part.len - req->part_at : max;
	memcpy(buf, req->part.ptr + req->part_at, n);
	req->part_at += n;
	return (ssize_t)n;
}

static enum MHD_Result send_stream(struct http_request *req)
{
	struct MHD_Response *response = MHD_create_response_from_callback(
		MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_stream, req, NULL);
	enum MHD_Result ok;

	if (!response)
		return MHD_NO;
	add_headers(req->server, &req->reply, response);
	req->stream = req->reply.stream;
	req->stream->part = on_part;
	req->stream->transport = req;
	req->reply.stream = NULL;
	ok = MHD_queue_response(req->mhd, req->reply.status, response);
	reply_release(&req->reply);
	MHD_destroy_response(response);
	return ok;
}

/* The whole request is here. */
static enum MHD_Result server_pass_on(struct http_request *req)
{
	struct http_server *s = req->server;

	if (!watch_set(&req->conn->watched, WATCH_NEVER))
		return MHD_NO;
	req->progress = HANDED_OVER;
	if (req->has_body)
		req->base.body = strbuf_view(&req->body);
	/* counted before the look: http_server_stop looks at the count after it set the flag */
	atomic_fetch_add(&s->busy, 1);
	if (atomic_load(&s->stopping))
		return send_stopping(req);
	atomic_fetch_add(&req->refs, 1);
	router_handle(s->services, &req->base);
	if (atomic_load_explicit(&req->phase, memory_order_acquire) == REPLIED)
		return send_reply(req);
	return suspend(req);
}

static enum MHD_Result resumed(struct http_request *req)
{
	waiting_del(req);
	return atomic_load(&req->phase) == REPLIED ? send_reply(req) : send_stopping(req);
}

/* ---- a request comes in --------------------------------------------- */

/* Answers now, on the bare socket, and closes. */
static enum MHD_Result server_refuse(struct http_request *req, const char *status_line,
				     struct str_view sentence)
{
	struct watched *w = &req->conn->watched;

	if (watch_set(w, WATCH_NEVER))
		watch_refuse(w->fd, status_line, sentence);
	return MHD_NO;
}

static enum MHD_Result refuse_body(struct http_request *req)
{
	char text[96];

	snprintf(text, sizeof(text), "The request body is larger than the %zu bytes allowed here.",
		 req->body_limit);
	return server_refuse(req, "413 Content Too Large", sv(text));
}

static bool is_chunked(struct str_view coding)
{
	return coding.len == 7 && strncasecmp(coding.ptr, "chunked", 7) == 0;
}

/* Looks at what is said of the body before it comes.  MHD_NO: answered. */
static enum MHD_Result expect_body(struct http_request *req)
{
	struct str_view length = on_header(&req->base, MHD_HTTP_HEADER_CONTENT_LENGTH);
	struct str_view coding = on_header(&req->base, MHD_HTTP_HEADER_TRANSFER_ENCODING);
	uint64_t n = 0;

	if (coding.len && (length.len || !is_chunked(coding)))
		return server_refuse(
			req, "400 Bad Request",
			SV("Send Content-Length or Transfer-Encoding: chunked, not both."));
	if (length.len && !sv_to_u64(length, UINT64_MAX, &n))
		return server_refuse(req, "400 Bad Request", SV("Content-Length is not a number."));
	if (!coding.len && !n)
		return MHD_YES;
	req->body_limit = router_body_limit(req->server->services, &req->base);
	if (n > req->body_limit)
		return refuse_body(req);
	strbuf_init(&req->body, n);
	req->has_body = true;
	return MHD_YES;
}

static enum MHD_Result on_headers(struct http_request *req, const char *method)
{
	size_t n = MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)
			   ->header_size;
	size_t method_len = strlen(method);

	req->progress = IN_BODY;
	if (n > req->server->conf.max_header_bytes)
		return server_refuse(req, "431 Request Header Fields Too Large",
				     SV("The request line and headers are too large."));
	if (req->too_long)
		return server_refuse(req, "400 Bad Request", SV("Too many query parameters."));
	if (req->bad_path)
		return server_refuse(req, "400 Bad Request", SV("The path holds a NUL byte."));
	if (method_len >= METHOD_SIZE)
		return server_refuse(req, "501 Not Implemented", SV("Unknown method."));
	memcpy(req->method, method, method_len + 1);
	req->base.method = sv_n(req->method, method_len);
	return expect_body(req);
}

static enum MHD_Result on_http_body(struct http_request *req, const char *data, size_t *len)
{
	if (*len > req->body_limit - req->body.len)
		return refuse_body(req);
	strbuf_add(&req->body, data, *len);
	*len = 0;
	return MHD_YES;
}

static enum MHD_Result on_http_request(void *cls UNUSED, struct MHD_Connection *mhd UNUSED,
				       const char *url UNUSED, const char *method,
				       const char *version UNUSED, const char *upload,
				       size_t *upload_len, void **ctx)
{
	struct http_request *req = *ctx;

	if (!req)
		return MHD_NO;
	if (req->progress == IN_HEADERS)
		return on_headers(req, method);
	if (*upload_len)
		return on_http_body(req, upload, upload_len);
	if (req->progress == IN_BODY)
		return server_pass_on(req);
	return resumed(req);
}

/* The request line is complete: target is what stands in it, escaped. */
static void *on_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
	struct http_server *s = cls;
	struct http_conn *conn = conn_of(mhd);
	size_t len = strlen(target);
	struct http_request *req;
	int rc;

	if (!watch_set(&conn->watched, request_deadline(s)))
		return NULL;
	req = xmalloc(sizeof(*req) + len + 1);
	/* not the parameters, which are the most of it */
	memset(&req->base, 0, offsetof(struct request, params));
	memset((char *)req + sizeof(req->base), 0, sizeof(*req) - sizeof(req->base));
	memcpy(req->target, target, len + 1);
	rc = request_set_target(&req->base, req->target, len);
	req->too_long = rc == -E2BIG;
	req->bad_path = rc == -EINVAL;
	req->base.body = sv_n("", 0);
	req->base.tls = false;
	req->base.loopback = conn->loopback;
	req->base.header = on_header;
	req->base.send = on_reply;
	req->server = s;
	req->conn = conn;
	req->mhd = mhd;
	atomic_init(&req->refs, 1);
	atomic_init(&req->phase, RUNNING);
	return req;
}

static void on_completed(void *cls, struct MHD_Connection *mhd UNUSED, void **ctx,
			 enum MHD_RequestTerminationCode code)
{
	struct http_server *s = cls;
	struct http_request *req = *ctx;

	if (!req)
		return;
	*ctx = NULL;
	waiting_del(req); /* resumed, but the peer is gone */
	req->conn->watched.linger = code != MHD_REQUEST_TERMINATED_COMPLETED_OK;
	/* the next one may take its time to begin, the library sees to that */
	if (!watch_set(&req->conn->watched,
		       request_deadline(s) + s->conf.idle_timeout_s * USEC_PER_SEC))
		log_debug("a request came too slowly");
	if (req->progress == HANDED_OVER && atomic_fetch_sub(&s->busy, 1) == 1 &&
	    atomic_load(&s->stopping)) {
		pthread_mutex_lock(&s->lock);
		pthread_cond_signal(&s->changed);
		pthread_mutex_unlock(&s->lock);
	}
	request_unref(req);
}

/* ---- connections ---------------------------------------------------- */

static bool is_loopback(const struct sockaddr *a)
{
	if (a && a->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
	if (a && a->sa_family == AF_INET6) {
		const struct in6_addr *in6 = &((const struct sockaddr_in6 *)a)->sin6_addr;

		return IN6_IS_ADDR_LOOPBACK(in6) ||
		       (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127);
	}
	return false;
}

static void conn_start(struct http_server *s, struct MHD_Connection *mhd, void **ctx)
{
	struct http_conn *conn = xcalloc(1, sizeof(*conn));
	int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;

	s->announced = true;
	conn->server = s;
	conn->loopback = is_loopback(
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr);
	watch_add(s->watch, &conn->watched, fd, request_deadline(s));
	*ctx = conn;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **ctx,
			  enum MHD_ConnectionNotificationCode code)
{
	struct http_server *s = cls;
	struct http_conn *conn = *ctx;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		conn_start(s, mhd, ctx);
		return;
	}
	watch_remove(s->watch, &conn->watched);
	free(conn);
	atomic_fetch_sub(&s->connections, 1);
}

/* Keeps escapes as they are: the target is taken apart by request_set_target(). */
static size_t keep_escapes(void *cls UNUSED, struct MHD_Connection *mhd UNUSED, char *s)
{
	return strlen(s);
}

static void refuse_connection(int fd)
{
	watch_refuse(fd, "503 Service Unavailable\r\nRetry-After: 1",
		     SV("Too many connections; try again."));
	close(fd);
}

static void on_adoption(struct loop_call *call)
{
	struct adoption *a = CONTAINER_OF(call, struct adoption, call);

	struct http_server *s = a->server;

	s->announced = false;
	if (MHD_add_connection(s->mhd, a->fd, (struct sockaddr *)&a->peer, a->peer_len) == MHD_NO) {
		log_warn("http: a connection could not be taken: %s", strerror(errno));
		if (!s->announced)
			atomic_fetch_sub(&s->connections, 1);
	}
	free(a);
}

static void server_adopt(struct http_server *s, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct adoption *a = xmalloc(sizeof(*a));

	a->call.fn = on_adoption;
	a->server = s;
	a->fd = fd;
	a->peer_len = len < sizeof(a->peer) ? len : (socklen_t)sizeof(a->peer);
	memcpy(&a->peer, peer, a->peer_len);
	http_loop_post(s->loop, &a->call);
}

int http_server_adopt(struct http_server *s, int fd, const struct sockaddr *peer, socklen_t len)
{
	unsigned max = s->conf.max_connections;
	int on = 1;

	if (atomic_load(&s->stopping)) {
		close(fd);
		return -ESHUTDOWN;
	}
	if (atomic_fetch_add(&s->connections, 1) >= max && max) {
		atomic_fetch_sub(&s->connections, 1);
		refuse_connection(fd);
		return -EMFILE;
	}
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		log_debug("TCP_NODELAY could not be set");
	server_adopt(s, fd, peer, len);
	return 0;
}

unsigned http_server_connections(const struct http_server *s)
{
	return atomic_load(&s->connections);
}

/* ---- start and stop -------------------------------------------------- */

static void server_free(struct http_server *s)
{
	if (s->empty_object)
		MHD_destroy_response(s->empty_object);
	watch_stop(s->watch);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* The headers, an index of them, the answer's head, and room to read into. */
static size_t pool_bytes(const struct http_server_conf *conf)
{
	return (size_t)conf->max_header_bytes + conf->max_header_bytes / 4 + 4096;
}

static int start_mhd(struct http_server *s)
{
	int rc;

	s->mhd = MHD_start_daemon(
		LOOP_MHD_FLAGS, 0, NULL, NULL, on_http_request, s, MHD_OPTION_URI_LOG_CALLBACK,
		on_target, s, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, s,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, s, MHD_OPTION_CONNECTION_LIMIT, (unsigned)INT_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, s->conf.idle_timeout_s,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, pool_bytes(&s->conf),
		/* threads of ours block all signals */
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
	if (!s->mhd)
		return -EIO;
	rc = http_loop_start(s->mhd, &s->loop);
	if (rc)
		MHD_stop_daemon(s->mhd);
	return rc;
}

static struct MHD_Response *make_empty_object(void)
{
	static char text[] = "{}";
	struct MHD_Response *r = MHD_create_response_from_buffer(2, text, MHD_RESPMEM_PERSISTENT);

	if (r)
		server_add_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
	return r;
}

int http_server_start(const struct http_server_conf *conf, const struct api_services *services,
		      struct http_server **out)
{
	struct http_server *s = xcalloc(1, sizeof(*s));
	pthread_condattr_t attr;
	int rc;

	s->conf = *conf;
	s->services = services;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &attr);
	pthread_condattr_destroy(&attr);
	s->empty_object = make_empty_object();
	rc = s->empty_object ? watch_start(&s->watch) : -ENOMEM;
	if (!rc)
		rc = start_mhd(s);
	if (rc)
		server_free(s);
	else
		*out = s;
	return rc;
}

static void wait_until_idle_locked(struct http_server *s, unsigned ms)
{
	usec_t until = clock_mono() + ms * USEC_PER_MSEC;
	struct timespec ts = { .tv_sec = until / USEC_PER_SEC,
			       .tv_nsec = until % USEC_PER_SEC * 1000 };

	while (atomic_load(&s->busy))
		if (pthread_cond_timedwait(&s->changed, &s->lock, &ts))
			break;
}

static void drop_waiting_locked(struct http_server *s)
{
	for (struct http_request *req = s->waiting; req; req = req->next) {
		int was = WAITING;

		if (atomic_compare_exchange_strong(&req->phase, &was, DROPPED))
			resume(req);
	}
}

void http_server_stop(struct http_server *s, unsigned grace_ms)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	atomic_store(&s->stopping, true);
	wait_until_idle_locked(s, grace_ms);
	/* none may be left suspended, or the library aborts: what waits is resumed by us or by
	 * its reply, and no other will wait from now on */
	s->closed = true;
	while (s->waiting || atomic_load(&s->resumptions)) {
		drop_waiting_locked(s);
		wait_until_idle_locked(s, 10);
	}
	pthread_mutex_unlock(&s->lock);
	http_loop_stop(s->loop);
	server_free(s);
}
