/* SPDX-License-Identifier: MIT */
/*
 * libwebsockets' callbacks become calls of the session; struct session_io becomes calls of
 * libwebsockets.  Worker threads only.
 */
#include "base/log.h"
#include "base/mem.h"
#include "wire/handshake.h"
#include "wire/pusher.h"
#include "ws/frame_guard.h"
#include "ws/worker-private.h"

#define CLOSE_ACK_S 5 /* in which the client must answer a close frame */

static struct worker *worker_of(struct lws *wsi)
{
	return lws_context_user(lws_get_context(wsi));
}

/* ---- struct session_io: see core/sessions/session.h; called by sessions, on their worker ---- */

static bool io_write(void *conn, unsigned char *p, size_t n)
{
	struct conn *c = conn;

	return lws_write(c->wsi, p, n, LWS_WRITE_RAW) >= (int)n;
}

static bool io_is_blocked(void *conn)
{
	struct conn *c = conn;

	return lws_partial_buffered(c->wsi);
}

static void io_want_writable(void *conn)
{
	struct conn *c = conn;

	lws_callback_on_writable(c->wsi);
}

/* libwebsockets checks its timers only when it runs; worker_end_round() makes it run once. */
static void conn_set_timeout(struct conn *c, int seconds)
{
	lws_set_timeout(c->wsi, PENDING_TIMEOUT_CLOSE_ACK, seconds);
	worker_of(c->wsi)->needs_service = true;
}

/*
 * Sends the close frame and waits CLOSE_ACK_S for the client's.  libwebsockets' own way
 * (lws_close_reason and a callback that returns -1) loses the frame on a libuv loop in builds
 * with _DEBUG, as Debian's 4.1.6 is: they close a second time at once.
 */
static void conn_send_close(struct conn *c)
{
	struct msgbuf *frame = ws_close_frame(c->close_code, sv(c->close_reason));

	c->close_code = 0;
	c->is_close_sent = true;
	lws_write(c->wsi, frame->data, frame->len, LWS_WRITE_RAW);
	msgbuf_unref(frame);
	conn_set_timeout(c, CLOSE_ACK_S);
}

static void io_close(void *conn, unsigned code, const char *reason)
{
	struct conn *c = conn;

	c->close_code = code;
	c->close_reason = reason;
	if (!lws_partial_buffered(c->wsi)) {
		conn_send_close(c);
		return;
	}
	/* A client that does not read would keep its connection for ever. */
	lws_callback_on_writable(c->wsi);
	conn_set_timeout(c, CLOSE_ACK_S);
}

static void io_kill(void *conn)
{
	struct conn *c = conn;

	c->is_dead = true;
	conn_set_timeout(c, LWS_TO_KILL_ASYNC);
}

static void io_set_reading(void *conn, bool is_on)
{
	struct conn *c = conn;

	/* What was read before is kept by libwebsockets, and passed on the next time it runs. */
	lws_rx_flow_control(c->wsi, is_on ? 1 | LWS_RXFLOW_REASON_FLAG_PROCESS_NOW : 0);
	if (is_on)
		worker_of(c->wsi)->needs_service = true;
}

static usec_t io_heard_at(void *conn)
{
	struct conn *c = conn;

	return frame_guard_heard_at(lws_get_socket_fd(c->wsi));
}

const struct session_io ws_io = {
	.write = io_write,
	.is_blocked = io_is_blocked,
	.want_writable = io_want_writable,
	.close = io_close,
	.kill = io_kill,
	.set_reading = io_set_reading,
	.heard_at = io_heard_at,
};

static struct str_view ws_header_value(struct lws *wsi, enum lws_token_indexes token, char *buf,
				       int size)
{
	int n = lws_hdr_copy(wsi, buf, size, token);

	return sv_n(buf, n > 0 ? (size_t)n : 0);
}

/*
 * The headers are read from the head itself: libwebsockets gives one header of several with a name
 * that it does not know, and a buffer for its copies would need a size.  What does not fit would
 * count as absent, and the client could choose its address.
 */
static struct client_address ws_client(struct lws *wsi)
{
	const struct worker *w = worker_of(wsi);
	const struct trusted_proxies *proxies = w->all->conf.proxies;
	struct address peer = address_of_peer(lws_get_socket_fd(wsi));
	struct client_address client = { .address = peer, .is_secure = lws_is_ssl(wsi) };
	struct strbuf x_for, x_proto, forwarded;

	if (!trusted_proxies_contain(proxies, &peer))
		return client;
	strbuf_init(&x_for, 0);
	strbuf_init(&x_proto, 0);
	strbuf_init(&forwarded, 0);
	head_values(w->head, "X-Forwarded-For", &x_for);
	head_values(w->head, "X-Forwarded-Proto", &x_proto);
	head_values(w->head, "Forwarded", &forwarded);
	client = client_address_of(
		proxies, &peer, lws_is_ssl(wsi),
		&(struct forwarded_headers){ .x_forwarded_for = strbuf_view(&x_for),
					     .x_forwarded_proto = strbuf_view(&x_proto),
					     .forwarded = strbuf_view(&forwarded) });
	strbuf_release(&x_for);
	strbuf_release(&x_proto);
	strbuf_release(&forwarded);
	return client;
}

/*
 * The value of a query argument, of any length; NULL when there is none.  It is in *heap, which the
 * caller has initialized, and valid until the next call with it.  name ends with "=".
 */
static const char *ws_argument(struct lws *wsi, const char *name, struct strbuf *heap)
{
	/* lws_get_urlarg_by_name() ends at the first argument that its buffer has no room for. */
	for (int i = 0;; i++) {
		int n = lws_hdr_fragment_length(wsi, WSI_TOKEN_HTTP_URI_ARGS, i);

		if (n <= 0)
			return NULL;
		strbuf_reset(heap);
		strbuf_reserve(heap, (size_t)n + 1);
		if (lws_hdr_copy_fragment(wsi, heap->ptr, n + 1, WSI_TOKEN_HTTP_URI_ARGS, i) < 0)
			return NULL;
		if (strncmp(heap->ptr, name, strlen(name)) == 0)
			return heap->ptr + strlen(name);
	}
}

static void ws_on_established(struct lws *wsi, struct conn *c)
{
	char path[1024], origin[512];
	struct strbuf version, client;
	struct session_request r = {
		.path = ws_header_value(wsi, WSI_TOKEN_GET_URI, path, sizeof(path)),
		/* One that is too long must not count as absent: no list allows this text. */
		.origin = lws_hdr_total_length(wsi, WSI_TOKEN_ORIGIN) >= (int)sizeof(origin)
				  ? SV("too-long")
				  : ws_header_value(wsi, WSI_TOKEN_ORIGIN, origin, sizeof(origin)),
		.from = ws_client(wsi),
	};
	struct worker *w = worker_of(wsi);
	const char *v;

	ASSERT_ON(on_worker);
	strbuf_init(&version, 64);
	strbuf_init(&client, 64);
	v = ws_argument(wsi, "protocol=", &version);
	r.is_reserved = lws_get_socket_fd(wsi) >= w->all->conf.reserved_from;
	r.has_protocol = v != NULL;
	r.protocol = sv(v);
	r.client = sv(ws_argument(wsi, "client=", &client));
	c->wsi = wsi;
	c->session = session_open(w->hub, c, &r);
	strbuf_release(&version);
	strbuf_release(&client);
}

static int ws_on_receive(struct lws *wsi, struct conn *c, void *in, size_t len)
{
	bool last = lws_is_final_fragment(wsi) && !lws_remaining_packet_payload(wsi);

	ASSERT_ON(on_worker);
	if (c->is_dead)
		return -1;
	session_receive(c->session, sv_n(in, len), lws_is_first_fragment(wsi), last,
			lws_frame_is_binary(wsi));
	return 0;
}

static int ws_on_writable(struct lws *wsi, struct conn *c)
{
	ASSERT_ON(on_worker);
	if (c->is_dead)
		return -1;
	if (!c->close_code)
		session_writable(c->session);
	else if (lws_partial_buffered(wsi))
		lws_callback_on_writable(wsi);
	else
		conn_send_close(c);
	return 0;
}

static void ws_on_closed(struct conn *c)
{
	ASSERT_ON(on_worker);
	if (!c->session)
		return;
	session_closed(c->session);
	c->session = NULL;
}

/* Nonzero: both sides have sent a close frame, drop the connection; else libwebsockets answers it.
 */
static int ws_on_peer_close(struct conn *c, const unsigned char *frame, size_t len)
{
	/* RFC 6455 section 7.1.5: 1005 stands for a close frame without a code */
	unsigned code = len >= 2 ? (unsigned)frame[0] << 8 | frame[1] : 1005;

	ASSERT_ON(on_worker);
	session_peer_closing(c->session, code);
	return c->is_close_sent ? -1 : 0;
}

/* A socket is closed, whatever its protocol was. */
static void ws_on_destroy(struct lws *wsi)
{
	struct worker *w = worker_of(wsi);

	if (w)
		atomic_fetch_sub_explicit(&w->load, 1, memory_order_relaxed);
}

/* args->p is where the next header of the response to the handshake is written. */
static int ws_on_add_headers(struct lws *wsi, struct lws_process_html_args *args)
{
	static const char name[] = "Sec-WebSocket-Protocol: ";
	struct str_view protocol = worker_of(wsi)->subprotocol;
	size_t n = sizeof(name) - 1 + protocol.len + 2;

	if (!protocol.len)
		return 0;
	if (args->max_len < 0 || n > (size_t)args->max_len)
		return -1;
	memcpy(args->p, name, sizeof(name) - 1);
	memcpy(args->p + sizeof(name) - 1, protocol.ptr, protocol.len);
	memcpy(args->p + n - 2, "\r\n", 2);
	args->p += n;
	return 0;
}

int ws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct conn *c = user;

	switch (reason) {
	case LWS_CALLBACK_ESTABLISHED:
		ws_on_established(wsi, c);
		return 0;
	case LWS_CALLBACK_RECEIVE:
		return ws_on_receive(wsi, c, in, len);
	case LWS_CALLBACK_RECEIVE_PONG:
		ASSERT_ON(on_worker);
		session_alive(c->session);
		return 0;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return ws_on_writable(wsi, c);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		return ws_on_peer_close(c, in, len);
	case LWS_CALLBACK_CLOSED:
		ws_on_closed(c);
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		ws_on_destroy(wsi);
		return 0;
	case LWS_CALLBACK_ADD_HEADERS:
		return ws_on_add_headers(wsi, in);
	case LWS_CALLBACK_HTTP:
		return -1; /* the workers get handshakes only */
	default:
		return 0;
	}
}
