/* SPDX-License-Identifier: MIT */
/*
 * The API over TLS: an HTTP request that reaches a worker's TLS host becomes a struct request; the
 * answer returns as a control message to the worker.  A request outlives its connection when the
 * client closes first; then the answer is dropped.  A GET of /app/ without an upgrade is answered
 * with 426.  Worker threads only, except that any thread may reply.
 */
#include <ctype.h>
#include <errno.h>
#include "base/log.h"
#include "base/mem.h"
#include "ws/frame_guard.h"
#include "ws/worker-private.h"

#define HEAD_ROOM 2048

struct https_header {
	const char *name;
	enum lws_token_indexes token;
};

/* The headers that handlers use. */
static const struct https_header known_headers[] = {
	{ "Accept", WSI_TOKEN_HTTP_ACCEPT },
	{ "Accept-Encoding", WSI_TOKEN_HTTP_ACCEPT_ENCODING },
	{ "Authorization", WSI_TOKEN_HTTP_AUTHORIZATION },
	{ "Content-Type", WSI_TOKEN_HTTP_CONTENT_TYPE },
	{ "Host", WSI_TOKEN_HOST },
	{ "Origin", WSI_TOKEN_ORIGIN },
	{ "If-None-Match", WSI_TOKEN_HTTP_IF_NONE_MATCH },
	{ "X-Forwarded-For", WSI_TOKEN_X_FORWARDED_FOR },
	{ "X-Real-IP", WSI_TOKEN_COUNT }, /* no token: found by name */
	{ "Forwarded", WSI_TOKEN_COUNT },
	{ "Idempotency-Key", WSI_TOKEN_COUNT },
};

struct https_request {
	struct request request;
	struct control control; /* to post the reply with */
	struct worker *worker;
	struct conn *conn; /* NULL: the connection is closed */
	struct strbuf path, query, body;
	char *headers[ARRAY_SIZE(known_headers)];
	char method[8];
	size_t body_limit;
	struct reply reply;
	bool is_replied, is_handled, is_head;
	bool is_unreadable; /* its query has too many parameters */
};

static void https_free(struct https_request *r)
{
	if (r->is_replied)
		reply_release(&r->reply);
	for (size_t i = 0; i < ARRAY_SIZE(known_headers); i++)
		free(r->headers[i]);
	strbuf_release(&r->path);
	strbuf_release(&r->query);
	strbuf_release(&r->body);
	free(r);
}

static struct str_view https_header(const struct request *request, const char *name)
{
	const struct https_request *r = CONTAINER_OF(request, const struct https_request, request);

	for (size_t i = 0; i < ARRAY_SIZE(known_headers); i++)
		if (strcasecmp(known_headers[i].name, name) == 0)
			return sv(r->headers[i]);
	return SV("");
}

/* Any thread. */
static void https_send(struct request *request, struct reply *reply)
{
	struct https_request *r = CONTAINER_OF(request, struct https_request, request);

	r->reply = *reply;
	r->control = (struct control){ .kind = CONTROL_REPLY, .request = r };
	worker_tell(r->worker, &r->control);
}

void https_replied(struct https_request *r)
{
	r->is_replied = true;
	if (r->conn)
		lws_callback_on_writable(r->conn->wsi);
	else
		https_free(r);
}

struct method_token {
	enum lws_token_indexes token;
	const char *name;
};

static const struct method_token methods[] = {
	{ WSI_TOKEN_GET_URI, "GET" },	    { WSI_TOKEN_POST_URI, "POST" },
	{ WSI_TOKEN_HEAD_URI, "HEAD" },	    { WSI_TOKEN_PUT_URI, "PUT" },
	{ WSI_TOKEN_DELETE_URI, "DELETE" }, { WSI_TOKEN_OPTIONS_URI, "OPTIONS" },
	{ WSI_TOKEN_PATCH_URI, "PATCH" },
};

static void copy_token(struct lws *wsi, enum lws_token_indexes token, struct strbuf *b)
{
	int n = lws_hdr_total_length(wsi, token);

	strbuf_init(b, n > 0 ? (size_t)n + 1 : 1);
	if (n > 0 && (n = lws_hdr_copy(wsi, b->ptr, n + 1, token)) > 0)
		b->len = (size_t)n;
}

/* One argument, "name=value", escaped again. */
static void https_add_escaped(struct strbuf *b, const char *arg, size_t n)
{
	bool in_name = true;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)arg[i];

		if (isalnum(c) || memchr("-_.~[]", c, 6) || (c == '=' && in_name))
			strbuf_add_c(b, (char)c);
		else
			strbuf_addf(b, "%%%02X", c);
		in_name = in_name && c != '=';
	}
}

/*
 * libwebsockets hands the arguments over unescaped, one by one; they are put together again so
 * that both transports take a query apart with the same code.
 */
static int read_args(struct lws *wsi, struct https_request *r)
{
	int n, room = lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_URI_ARGS) + 1;
	char *arg = xmalloc((size_t)room);

	strbuf_init(&r->query, 256);
	for (int i = 0; (n = lws_hdr_copy_fragment(wsi, arg, room, WSI_TOKEN_HTTP_URI_ARGS, i)) > 0;
	     i++) {
		if (i)
			strbuf_add_c(&r->query, '&');
		https_add_escaped(&r->query, arg, (size_t)n);
	}
	free(arg);
	return request_parse_query(&r->request, r->query.ptr, r->query.len);
}

/* A header that libwebsockets has no token for; NULL when absent. */
static char *copy_by_name(struct lws *wsi, const char *name)
{
	char lower[32], *value;
	size_t n = 0;
	int len;

	for (; name[n] && n < sizeof(lower) - 2; n++)
		lower[n] = (char)tolower((unsigned char)name[n]);
	lower[n++] = ':';
	len = lws_hdr_custom_length(wsi, lower, (int)n);
	if (len <= 0)
		return NULL;
	value = xmalloc((size_t)len + 1);
	if (lws_hdr_custom_copy(wsi, value, len + 1, lower, (int)n) == len)
		return value;
	free(value);
	return NULL;
}

static void read_headers(struct lws *wsi, struct https_request *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(known_headers); i++) {
		enum lws_token_indexes token = known_headers[i].token;
		struct strbuf b;

		if (token == WSI_TOKEN_COUNT) {
			r->headers[i] = copy_by_name(wsi, known_headers[i].name);
		} else if (lws_hdr_total_length(wsi, token) > 0) {
			copy_token(wsi, token, &b);
			r->headers[i] = b.ptr;
		}
	}
}

static bool is_from_loopback(struct lws *wsi)
{
	char peer[64];

	lws_get_peer_simple(wsi, peer, sizeof(peer));
	return strncmp(peer, "127.", 4) == 0 || strcmp(peer, "::1") == 0 ||
	       strncmp(peer, "::ffff:127.", 11) == 0;
}

static struct https_request *request_begin(struct lws *wsi, struct conn *c)
{
	struct https_request *r = xcalloc(1, sizeof(*r));

	for (size_t i = 0; i < ARRAY_SIZE(methods) && !r->method[0]; i++) {
		if (lws_hdr_total_length(wsi, methods[i].token) <= 0)
			continue;
		snprintf(r->method, sizeof(r->method), "%s", methods[i].name);
		copy_token(wsi, methods[i].token, &r->path);
	}
	if (!r->path.ptr)
		strbuf_init(&r->path, 0);
	r->is_head = strcmp(r->method, "HEAD") == 0;
	read_headers(wsi, r);
	strbuf_init(&r->body, 0);
	r->worker = worker_of(wsi);
	r->conn = c;
	r->request = (struct request){
		.method = sv(r->method),
		.path = strbuf_view(&r->path),
		.tls = true,
		.loopback = is_from_loopback(wsi),
		.header = https_header,
		.send = https_send,
	};
	r->is_unreadable = read_args(wsi, r) != 0;
	return r;
}

static void handle(struct https_request *r)
{
	r->is_handled = true;
	r->request.body = strbuf_view(&r->body);
	router_handle(r->worker->all->conf.services, &r->request);
}

/* Answers without the api. */
static void https_refuse(struct https_request *r, unsigned status, struct str_view text)
{
	struct reply reply = { .status = status, .content_type = "text/plain", .close = true };

	r->is_handled = true;
	strbuf_init(&reply.body, text.len);
	strbuf_add_sv(&reply.body, text);
	r->reply = reply;
	https_replied(r);
}

static int on_https_request(struct lws *wsi, struct conn *c)
{
	const struct api_services *services = worker_of(wsi)->all->conf.services;
	struct strbuf length;
	struct https_request *r;
	uint64_t n = 0;

	frame_guard_forget(lws_get_socket_fd(wsi));
	c->wsi = wsi;
	r = c->request = request_begin(wsi, c);
	if (!lws_is_ssl(wsi)) {
		https_refuse(r, 426, SV("This is a WebSocket address: send an upgrade request"));
		return 0;
	}
	r->body_limit = router_body_limit(services, &r->request);
	copy_token(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH, &length);
	if (length.len && !sv_to_u64(strbuf_view(&length), UINT32_MAX, &n))
		n = UINT32_MAX;
	strbuf_release(&length);
	if (r->is_unreadable)
		https_refuse(r, 400, SV("The query has too many parameters"));
	else if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0)
		https_refuse(r, 411,
			     SV("Send a Content-Length: chunked bodies are not read over TLS"));
	else if (r->body_limit && n > r->body_limit)
		https_refuse(r, 413, SV("The request body is too large"));
	else if (n == 0)
		handle(r);
	return 0;
}

static int on_https_body(struct https_request *r, const void *in, size_t len)
{
	if (!r || r->is_handled)
		return 0;
	if (r->body_limit && len > r->body_limit - r->body.len) {
		https_refuse(r, 413, SV("The request body is too large"));
		return 0;
	}
	strbuf_add(&r->body, in, len);
	return 0;
}

/* name with its colon, as libwebsockets wants it; 0 or -ENOSPC. */
static int https_add_header(struct lws *wsi, const char *name, const char *value, unsigned char **p,
			    unsigned char *end)
{
	char with_colon[64];

	snprintf(with_colon, sizeof(with_colon), "%s:", name);
	return lws_add_http_header_by_name(wsi, (const unsigned char *)with_colon,
					   (const unsigned char *)value, (int)strlen(value), p, end)
		       ? -ENOSPC
		       : 0;
}

/* Status line and headers into buf; returns their length, 0 when they do not fit. */
static size_t write_head(struct lws *wsi, const struct https_request *r, unsigned char *start,
			 size_t room)
{
	const struct reply *reply = &r->reply;
	const char *type = reply->content_type ? reply->content_type : "application/json";
	unsigned char *p = start, *end = start + room;
	char retry[16];
	int rc = 0;

	snprintf(retry, sizeof(retry), "%u", reply->retry_after_s);
	if (lws_add_http_common_headers(wsi, reply->status, type, reply->body.len, &p, end))
		return 0;
	if (reply->retry_after_s)
		rc = https_add_header(wsi, "retry-after", retry, &p, end);
	if (!rc && reply->close)
		rc = https_add_header(wsi, "connection", "close", &p, end);
	for (unsigned i = 0; !rc && i < reply->n_headers; i++)
		rc = https_add_header(wsi, reply->headers[i].name, reply->headers[i].value, &p,
				      end);
	if (rc || lws_finalize_http_header(wsi, &p, end))
		return 0;
	return (size_t)(p - start);
}

static int on_https_writable(struct lws *wsi, struct conn *c)
{
	struct https_request *r = c->request;
	bool close;
	size_t head, n;
	unsigned char *buf;

	if (!r || !r->is_replied)
		return 0;
	close = r->reply.close;
	n = r->is_head ? 0 : r->reply.body.len;
	buf = xmalloc(LWS_PRE + HEAD_ROOM + n);
	head = write_head(wsi, r, buf + LWS_PRE, HEAD_ROOM);
	c->request = NULL;
	if (head) {
		/* One write for both: libwebsockets keeps what the socket does not take. */
		memcpy(buf + LWS_PRE + head, r->reply.body.ptr, n);
		if (lws_write(wsi, buf + LWS_PRE, head + n, LWS_WRITE_HTTP_FINAL) < (int)(head + n))
			close = true;
	}
	free(buf);
	https_free(r);
	if (!head || close || lws_http_transaction_completed(wsi))
		return -1;
	/* the next request may be an upgrade */
	frame_guard_watch(lws_get_socket_fd(wsi));
	return 0;
}

static void on_gone(struct conn *c)
{
	struct https_request *r = c ? c->request : NULL;

	if (!r)
		return;
	c->request = NULL;
	r->conn = NULL;
	if (r->is_replied || !r->is_handled)
		https_free(r);
}

int https_callback(struct lws *wsi, enum lws_callback_reasons reason, struct conn *c, void *in,
		   size_t len)
{
	switch (reason) {
	case LWS_CALLBACK_HTTP:
		return on_https_request(wsi, c);
	case LWS_CALLBACK_HTTP_BODY:
		return on_https_body(c->request, in, len);
	case LWS_CALLBACK_HTTP_BODY_COMPLETION:
		if (c->request && !c->request->is_handled)
			handle(c->request);
		return 0;
	case LWS_CALLBACK_HTTP_WRITEABLE:
		return on_https_writable(wsi, c);
	case LWS_CALLBACK_CLOSED_HTTP:
	case LWS_CALLBACK_HTTP_DROP_PROTOCOL:
		on_gone(c);
		return 0;
	default:
		return 0;
	}
}
