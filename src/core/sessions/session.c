/* SPDX-License-Identifier: MIT */
/*
 * A session's life: open, bytes in, close.  session_proto.c handles whole messages, session_out.c
 * writes frames.
 *
 * A session is in its hub's list from session_open() to session_closed(), which frees it.  The
 * socket's layer calls session_closed() at the end of an iteration of its loop, never from inside
 * a function of session_io.
 */
#include "base/mem.h"
#include "base/metric.h"
#include "core/limit.h"
#include "core/sessions/liveness.h"
#include "core/sessions/session_out.h"
#include "core/sessions/session_proto.h"

#define WS_INVALID_PAYLOAD 1007 /* RFC 6455 section 7.4.1 */

/* True and *key, when the path is the configured prefix + "/app/" + key. */
static bool session_read_key(const struct hub *h, struct str_view path, struct str_view *key)
{
	if (h->conf.path.len && sv_starts_with(path, h->conf.path))
		path = sv_skip(path, h->conf.path.len);
	if (!sv_starts_with(path, SV("/app/")))
		return false;
	*key = sv_skip(path, 5);
	return key->len && sv_find(*key, '/') < 0;
}

struct session_refusal {
	enum pusher_code code;
	const char *text;
};

static const struct session_refusal accepted = { PUSHER_CODE_NULL, NULL };

/* Digits, of any value. */
static bool session_is_number(struct str_view s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;
	return s.len > 0;
}

static struct session_refusal session_check_protocol(const struct session_request *r)
{
	uint64_t version;

	if (!r->has_protocol)
		return accepted;
	if (!session_is_number(r->protocol))
		return (struct session_refusal){
			PUSHER_BAD_VERSION,
			"Invalid version string format: protocol must be a number"
		};
	if (!sv_to_u64(r->protocol, 7, &version) || version < 4)
		return (struct session_refusal){ PUSHER_UNSUPPORTED_VERSION,
						 "Unsupported protocol version: use 7" };
	return accepted;
}

/* max: 0 is no limit. */
static bool session_count_up(atomic_uint *counter, unsigned max)
{
	if (atomic_fetch_add(counter, 1) < max || !max)
		return true;
	atomic_fetch_sub(counter, 1);
	return false;
}

/* Counts the connection with its app and the node, unless one of them is at its limit. */
static struct session_refusal session_count_in(struct session *s)
{
	struct hub *h = s->hub;

	if (!session_count_up(&s->app->runtime->connections, s->app->limits.max_connections))
		return (struct session_refusal){ PUSHER_OVER_QUOTA,
						 "Application is over its connection quota (option "
						 "max_connections)" };
	if (h->conf.connections &&
	    !session_count_up(h->conf.connections, h->conf.max_connections)) {
		atomic_fetch_sub(&s->app->runtime->connections, 1);
		return (struct session_refusal){ PUSHER_OVER_CAPACITY,
						 "Server is over capacity (option "
						 "server.max_connections)" };
	}
	s->is_opened = true;
	return accepted;
}

/* Before anything else is looked at: what a flood costs is the handshake. */
static struct session_refusal session_check_address(struct session *s,
						    const struct session_request *r)
{
	if (r->is_reserved)
		return (struct session_refusal){
			PUSHER_OVER_CAPACITY,
			"Server is over capacity: it has no file descriptors left"
		};
	switch (address_limits_enter(s->hub->conf.addresses, &r->from.address, clock_mono(),
				     &s->address)) {
	case ADDRESS_CONNECTIONS:
		return (struct session_refusal){ PUSHER_OVER_CAPACITY,
						 "Too many connections from this address "
						 "(option max_connections_per_address)" };
	case ADDRESS_HANDSHAKES:
		return (struct session_refusal){
			PUSHER_OVER_CAPACITY, "Too many handshakes from this address in a second "
					      "(option max_handshakes_per_address)"
		};
	case ADDRESS_ADMITTED:
		break;
	}
	return accepted;
}

/* Finds the session's app and checks what the client requests of it. */
static struct session_refusal session_admit(struct session *s, const struct session_request *r)
{
	struct session_refusal no = session_check_address(s, r);
	struct app_set *set;
	struct str_view key;

	if (no.code)
		return no;
	no = session_check_protocol(r);
	set = apps_current();

	if (session_read_key(s->hub, r->path, &key)) {
		struct app *app = app_set_by_key(set, key);

		s->app = app ? app_ref(app) : NULL;
		if (!app && app_set_is_partial(set)) /* 41xx: the client comes back */
			no = (struct session_refusal){ PUSHER_OVER_CAPACITY,
						       "The applications of the database have not "
						       "been read yet: connect again" };
		else if (!app)
			no = (struct session_refusal){ PUSHER_NO_APP,
						       "Application does not exist" };
	} else {
		no = (struct session_refusal){ PUSHER_BAD_PATH,
					       "Path not found: connect to /app/{key}" };
	}
	app_set_unref(set);
	if (no.code)
		return no;
	if (!s->app->enabled)
		return (struct session_refusal){ PUSHER_APP_DISABLED, "Application is disabled" };
	if (s->app->tls_only && !r->from.is_secure)
		return (struct session_refusal){
			PUSHER_TLS_ONLY, "Application only accepts TLS connections: use wss"
		};
	if (!app_allows_origin(s->app, r->origin))
		return (struct session_refusal){ PUSHER_UNAUTHORIZED, "Origin not allowed" };
	return session_count_in(s);
}

static enum metric_refusal session_refusal_reason(enum pusher_code code)
{
	switch (code) {
	case PUSHER_TLS_ONLY:
		return REFUSED_TLS_ONLY;
	case PUSHER_NO_APP:
		return REFUSED_NO_APP;
	case PUSHER_APP_DISABLED:
		return REFUSED_APP_DISABLED;
	case PUSHER_OVER_QUOTA:
		return REFUSED_APP_LIMIT;
	case PUSHER_BAD_PATH:
		return REFUSED_PATH;
	case PUSHER_UNAUTHORIZED:
		return REFUSED_ORIGIN;
	case PUSHER_OVER_CAPACITY:
		return REFUSED_CAPACITY;
	default:
		return REFUSED_VERSION;
	}
}

static struct log_gate connections_refused = LOG_GATE("connections refused"),
		       connections_closed = LOG_GATE("connections closed by limits");

/* The key is shown in part: it may be a secret that was set in the wrong place. */
static void session_log_refused_connection(const struct session *s, const struct session_request *r,
					   struct session_refusal no) RUNS_ON(on_worker)
{
	struct str_view key = SV(""), origin = r->origin.len ? r->origin : SV("none");
	char address[ADDRESS_TEXT_SIZE];

	if (!session_read_key(s->hub, r->path, &key))
		key = SV("");
	log_gated(&connections_refused,
		  "connection refused: %d, %s; client %s, application key %.*s..., origin %.*s",
		  no.code, no.text, address_format(&r->from.address, address),
		  key.len < 6 ? (int)key.len : 6, key.ptr, origin.len < 200 ? (int)origin.len : 200,
		  origin.ptr);
	live_tail_add(s->hub->conf.live_tail,
		      &(struct tail_message){ .kind = TAIL_REFUSAL,
					      .app = sv(s->app->id),
					      .event = SV("connection_refused"),
					      .data = sv(address),
					      .reason = sv(no.text),
					      .code = no.code,
					      .reached = -1 });
}

/* For a session that is refused before its app is known: the outbox needs an app's limits. */
static struct app *session_placeholder_app(void)
{
	static struct app_runtime runtime;
	static struct app app = { .refs = 1, .runtime = &runtime };

	return app_ref(&app);
}

/* For the flight recorder. */
static void session_record(const struct session *s, const struct session_request *r)
	RUNS_ON(on_worker)
{
	const struct recorder_opening o = { .id = s->id,
					    .app = s->app->id,
					    .address = r->from.address,
					    .worker = s->hub->conf.worker,
					    .outbox_bytes = &s->outbox.bytes };
	struct str_view origin = r->origin.len ? r->origin : SV("none");
	char text[256];

	recorder_open(s->hub->conf.recorder, &o);
	snprintf(text, sizeof(text), "%s, client %.*s, origin %.*s",
		 r->from.is_secure ? "TLS" : "no TLS", (int)(r->client.len ? r->client.len : 7),
		 r->client.len ? r->client.ptr : "unknown",
		 origin.len < 150 ? (int)origin.len : 150, origin.ptr);
	session_note(s, STEP_CONNECTED, SV(""), 0, text);
}

struct session *session_open(struct hub *h, void *conn, const struct session_request *r)
{
	struct session *s = xcalloc(1, sizeof(*s));
	char id[SOCKET_ID_SIZE];
	struct position now;
	struct session_refusal no;

	s->conn = conn;
	s->hub = h;
	s->id = socket_id_new(h->conf.node_number ? atomic_load(h->conf.node_number) : 0);
	s->seen_s = h->now_s;
	s->is_pusher_js = sv_eq(r->client, SV("js"));
	map_init(&s->subscriptions);
	map_init(&s->watches);
	s->next = h->sessions;
	if (h->sessions)
		h->sessions->prev = s;
	h->sessions = s;
	h->n_sessions++;
	no = session_admit(s, r);
	if (!s->app)
		s->app = session_placeholder_app();
	if (no.code) {
		metric_add_at(METRIC_CONNECTIONS_REFUSED, session_refusal_reason(no.code), 1);
		session_log_refused_connection(s, r, no);
		session_refuse(s, no.code, no.text);
		return s;
	}
	if (h->conf.on_socket)
		h->conf.on_socket(h->conf.socket_ctx, s->app, s->id, true);
	session_record(s, r);
	metric_add(METRIC_CONNECTIONS, 1);
	metric_add(METRIC_CONNECTIONS_OPENED, 1);
	strbuf_reset(&h->text);
	directory_position(h->conf.directory, &now);
	frame_connection_established(&h->text, socket_id_format(s->id, id),
				     s->app->activity_timeout_s, sv(now.epoch));
	session_send_text(s);
	liveness_start(s);
	return s;
}

void session_alive(struct session *s)
{
	liveness_seen(s);
}

void session_writable(struct session *s)
{
	session_flush(s);
	if (s->catching_up)
		catch_up_writable(s);
}

/* Laravel Reverb's rate_limiting.  False when the message must be ignored. */
static bool session_is_in_message_rate(struct session *s) RUNS_ON(on_worker)
{
	const struct app_limits *l = &s->app->limits;

	if (!l->message_rate_max_attempts ||
	    limit_take(&s->message_bucket, l->message_rate_max_attempts,
		       l->message_rate_decay_s * USEC_PER_SEC, 1, clock_mono()))
		return true;
	metric_add_at(METRIC_RATE_LIMITED, RATED_MESSAGES, 1);
	if (l->message_rate_terminate) {
		session_log_refusal(s, &connections_closed, "connection closed",
				    "more messages than rate_limiting_max_attempts allows");
		session_refuse(s, PUSHER_RECONNECT, "Rate limit exceeded: connection closed");
	} else {
		session_error(s, PUSHER_RATE_LIMIT,
			      SV("Rate limit exceeded: send fewer messages (option "
				 "rate_limiting_max_attempts)"));
	}
	return false;
}

/* Forgets the message, and the rest of it when it comes. */
static void session_refuse_message(struct session *s, bool last)
{
	s->is_receiving_junk = !last;
	if (s->message.ptr)
		strbuf_release(&s->message);
}

static void session_receive_whole(struct session *s, struct str_view bytes) RUNS_ON(on_worker)
{
	if (!sv_is_utf8(bytes))
		session_close(s, WS_INVALID_PAYLOAD, "text messages must be UTF-8");
	else if (session_is_in_message_rate(s))
		session_handle(s, bytes);
}

void session_receive(struct session *s, struct str_view bytes, bool first, bool last, bool binary)
{
	unsigned max = s->app->limits.max_message_bytes;

	liveness_seen(s);
	metric_add(METRIC_BYTES_IN, (int64_t)bytes.len);
	if (s->is_closing)
		return;
	if (s->is_receiving_junk && !first) {
		s->is_receiving_junk = !last;
		return;
	}
	s->is_receiving_junk = false;
	if (binary) {
		session_refuse_message(s, last);
		if (first)
			session_error(
				s, PUSHER_CODE_NULL,
				SV("Binary messages are not part of the protocol: send JSON text"));
		return;
	}
	if (max && (s->message.len > max || bytes.len > max - s->message.len)) {
		session_refuse_message(s, last);
		session_error(s, PUSHER_CODE_NULL,
			      SV("Message is too large: it was not read (option "
				 "max_message_bytes)"));
		return;
	}
	if (first && last) {
		session_receive_whole(s, bytes);
		return;
	}
	if (!s->message.ptr)
		strbuf_init(&s->message, bytes.len * 2);
	strbuf_add_sv(&s->message, bytes);
	if (!last)
		return;
	session_receive_whole(s, strbuf_view(&s->message));
	strbuf_release(&s->message);
}

void session_peer_closing(struct session *s, unsigned code)
{
	if (!s->is_closing_here) {
		s->is_closed_by_client = true;
		s->close_code = (unsigned short)code;
	}
	s->is_closing = true;
	outbox_release(&s->outbox);
}

static void session_forget_dirty(struct hub *h, struct session *s)
{
	struct session **at = &h->dirty;

	if (!s->is_dirty)
		return;
	while (*at && *at != s)
		at = &(*at)->next_dirty;
	if (*at)
		*at = s->next_dirty;
}

void session_closed(struct session *s)
{
	struct hub *h = s->hub;

	s->is_closing = true;
	if (h->conf.on_socket && s->is_opened)
		h->conf.on_socket(h->conf.socket_ctx, s->app, s->id, false);
	if (s->is_opened) {
		session_note(s, STEP_CLOSED, SV(""), s->close_code,
			     s->is_closed_by_client ? "by the client"
			     : s->is_closing_here   ? "by the daemon"
						    : "by the network");
		recorder_close(h->conf.recorder, s->id, s->close_code);
	}
	liveness_stop(s);
	session_forget_dirty(h, s);
	session_end_pause(s);
	session_leave_all(s);
	catch_up_session_closed(s);
	if (s->is_opened) {
		metric_add(METRIC_CONNECTIONS, -1);
		metric_add_pair(METRIC_CONNECTIONS_CLOSED,
				s->close_code ? metric_number(METRIC_BY_CLOSE_CODE, s->close_code)
					      : metric_word(METRIC_BY_CLOSE_CODE, "none"),
				s->is_closed_by_client ? CLOSED_BY_CLIENT
				: s->is_closing_here   ? CLOSED_BY_SERVER
						       : CLOSED_BY_NETWORK,
				1);
		atomic_fetch_sub(&s->app->runtime->connections, 1);
		if (h->conf.connections)
			atomic_fetch_sub(h->conf.connections, 1);
	}
	if (s->prev)
		s->prev->next = s->next;
	else
		h->sessions = s->next;
	if (s->next)
		s->next->prev = s->prev;
	h->n_sessions--;
	address_limits_leave(h->conf.addresses, s->address);
	outbox_release(&s->outbox);
	if (s->message.ptr)
		strbuf_release(&s->message);
	map_release(&s->subscriptions);
	map_release(&s->watches);
	free(s->user_id);
	free(s->user_info);
	app_unref(s->app);
	free(s);
}
