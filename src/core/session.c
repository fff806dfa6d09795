/* SPDX-License-Identifier: MIT */
/* A session's life: open, bytes in and out, close.  What messages mean is in session_proto.c. */
#include <errno.h>
#include "base/log.h"
#include "base/mem.h"
#include "core/limit.h"
#include "core/session-private.h"

#define WS_INVALID_PAYLOAD 1007 /* RFC 6455 section 7.4.1 */

static void cut_off(struct session *s)
{
	s->is_closing = true;
	s->hub->stats.dropped_slow++;
	log_info("socket %u.%u: cut off, it does not read: %u bytes wait", (unsigned)(s->id >> 32),
		 (unsigned)s->id, s->outbox.bytes);
	outbox_release(&s->outbox);
	s->hub->conf.io->kill(s->conn);
}

static bool write_now(struct session *s, unsigned char *p, size_t n)
{
	s->hub->stats.writes++;
	if (s->hub->conf.io->write(s->conn, p, n))
		return true;
	s->is_closing = true;
	outbox_release(&s->outbox);
	s->hub->conf.io->kill(s->conn);
	return false;
}

static bool takes_more(const struct session *s)
{
	return outbox_is_empty(&s->outbox) && !s->hub->conf.io->is_blocked(s->conn);
}

static bool queue(struct session *s, struct msgbuf *frame)
{
	const struct app_limits *max = &s->app->limits;

	return outbox_put(&s->outbox, frame, max->max_outbox_bytes, max->max_outbox_messages) == 0;
}

/*
 * The outbox is at its cap.  In a batch it also holds what the socket would have taken: only
 * who is behind after a write is too slow.
 */
static bool write_or_cut_off(struct session *s, struct msgbuf *frame)
{
	session_flush(s);
	if (s->is_closing)
		return false;
	if (takes_more(s))
		return write_now(s, frame->data, frame->len);
	if (queue(s, frame))
		return true;
	cut_off(s);
	return false;
}

bool session_send(struct session *s, struct msgbuf *frame)
{
	struct hub *h = s->hub;

	if (s->is_closing)
		return false;
	if (!h->is_batch && takes_more(s))
		return write_now(s, frame->data, frame->len);
	if (!queue(s, frame))
		return write_or_cut_off(s, frame);
	if (!h->is_batch) {
		h->conf.io->want_writable(s->conn);
	} else if (!s->is_dirty) {
		s->is_dirty = true;
		s->next_dirty = h->dirty;
		h->dirty = s;
	}
	return true;
}

/* Takes frames that fit together into the scratch buffer; returns bytes. */
static size_t gather(struct session *s)
{
	unsigned char *to = s->hub->scratch + MSGBUF_HEADROOM;
	size_t n = 0;

	while (!outbox_is_empty(&s->outbox) && outbox_peek(&s->outbox)->len <= SCRATCH_BYTES - n) {
		struct msgbuf *m = outbox_take(&s->outbox);

		memcpy(to + n, m->data, m->len);
		n += m->len;
		msgbuf_unref(m);
	}
	return n;
}

void session_flush(struct session *s)
{
	const struct session_io *io = s->hub->conf.io;

	while (!s->is_closing && !outbox_is_empty(&s->outbox)) {
		struct msgbuf *m;
		size_t n;

		if (io->is_blocked(s->conn)) {
			io->want_writable(s->conn);
			return;
		}
		if (s->outbox.n > 1 && (n = gather(s))) {
			write_now(s, s->hub->scratch + MSGBUF_HEADROOM, n);
			continue;
		}
		m = outbox_take(&s->outbox);
		write_now(s, m->data, m->len);
		msgbuf_unref(m);
	}
}

void session_writable(struct session *s)
{
	session_flush(s);
	if (s->catching_up)
		catch_up_writable(s);
}

void session_send_text(struct session *s)
{
	struct msgbuf *frame = ws_text_frame(strbuf_view(&s->hub->text));

	session_send(s, frame);
	msgbuf_unref(frame);
}

void session_error(struct session *s, enum pusher_code code, struct str_view message)
{
	strbuf_reset(&s->hub->text);
	frame_error(&s->hub->text, code, message);
	session_send_text(s);
}

void session_close(struct session *s, unsigned code, const char *reason)
{
	if (s->is_closing)
		return;
	session_flush(s);
	if (s->is_closing)
		return;
	s->is_closing = true;
	hub_schedule(s->hub, s, 0);
	s->hub->conf.io->close(s->conn, code, reason);
}

void session_refuse(struct session *s, enum pusher_code code, const char *message)
{
	session_error(s, code, sv(message));
	session_close(s, code, message);
}

/* What stands behind ".../app/", when the path is prefix + "/app/" + key. */
static bool key_of_path(const struct hub *h, struct str_view path, struct str_view *key)
{
	if (h->conf.path.len && sv_starts_with(path, h->conf.path))
		path = sv_skip(path, h->conf.path.len);
	if (!sv_starts_with(path, SV("/app/")))
		return false;
	*key = sv_skip(path, 5);
	return key->len && sv_find(*key, '/') < 0;
}

struct refusal {
	enum pusher_code code;
	const char *text;
};

static const struct refusal accepted = { PUSHER_CODE_NULL, NULL };

static struct refusal check_protocol(const struct session_request *r)
{
	uint64_t version;

	if (!r->has_protocol)
		return accepted;
	if (!sv_to_u64(r->protocol, 1000, &version))
		return (struct refusal){
			PUSHER_BAD_VERSION,
			"Invalid version string format: protocol must be a number"
		};
	if (version < 4 || version > 7)
		return (struct refusal){ PUSHER_UNSUPPORTED_VERSION,
					 "Unsupported protocol version: use 7" };
	return accepted;
}

static bool count_up(atomic_uint *counter, unsigned max)
{
	if (atomic_fetch_add(counter, 1) < max || !max)
		return true;
	atomic_fetch_sub(counter, 1);
	return false;
}

/* Counts the connection in with the app and the node. */
static struct refusal count_in(struct session *s)
{
	struct hub *h = s->hub;

	if (!count_up(&s->app->runtime->connections, s->app->limits.max_connections))
		return (struct refusal){ PUSHER_OVER_QUOTA,
					 "Application is over its connection quota" };
	if (h->conf.connections && !count_up(h->conf.connections, h->conf.max_connections)) {
		atomic_fetch_sub(&s->app->runtime->connections, 1);
		return (struct refusal){ PUSHER_OVER_CAPACITY, "Server is over capacity" };
	}
	s->is_opened = true;
	return accepted;
}

static struct refusal admit(struct session *s, const struct session_request *r)
{
	struct app_set *set = apps_current();
	struct refusal no = check_protocol(r);
	struct str_view key;

	if (key_of_path(s->hub, r->path, &key)) {
		struct app *app = app_set_by_key(set, key);

		s->app = app ? app_ref(app) : NULL;
		if (!app)
			no = (struct refusal){ PUSHER_NO_APP, "Application does not exist" };
	} else {
		no = (struct refusal){ PUSHER_BAD_PATH, "Path not found: connect to /app/{key}" };
	}
	app_set_unref(set);
	if (no.code)
		return no;
	if (!s->app->enabled)
		return (struct refusal){ PUSHER_APP_DISABLED, "Application is disabled" };
	if (s->app->tls_only && !r->tls)
		return (struct refusal){ PUSHER_TLS_ONLY,
					 "Application only accepts TLS connections: use wss" };
	if (!app_allows_origin(s->app, r->origin))
		return (struct refusal){ PUSHER_UNAUTHORIZED, "Origin not allowed" };
	return count_in(s);
}

/* An app to refuse with, before there is one: its limits bound the outbox. */
static struct app *nobodys_app(void)
{
	static struct app_runtime runtime;
	static struct app app = { .refs = 1, .runtime = &runtime };

	return app_ref(&app);
}

static uint64_t next_id(struct hub *h)
{
	/* The low half is unique in the process, the high half hard to guess. */
	uint32_t low = h->next_number++ * h->conf.n_workers + h->conf.worker + 1;
	uint64_t high = sv_hash(sv_n((char *)&low, sizeof(low)), map_process_seed()) & 0x7fffffff;

	return high << 32 | low;
}

static void greet(struct session *s)
{
	char id[SOCKET_ID_SIZE];
	struct hub *h = s->hub;
	struct position now;

	strbuf_reset(&h->text);
	directory_position(h->conf.directory, &now);
	frame_connection_established(&h->text, socket_id_format(s->id, id),
				     s->app->activity_timeout_s, sv(now.epoch));
	session_send_text(s);
}

struct session *session_open(struct hub *h, void *conn, const struct session_request *r)
{
	struct session *s = xcalloc(1, sizeof(*s));
	struct refusal no;

	s->conn = conn;
	s->hub = h;
	s->id = next_id(h);
	s->seen_s = h->now_s;
	map_init(&s->subscriptions);
	map_init(&s->watches);
	s->next = h->sessions;
	if (h->sessions)
		h->sessions->prev = s;
	h->sessions = s;
	h->stats.sessions++;
	h->stats.opened++;
	no = admit(s, r);
	if (!s->app)
		s->app = nobodys_app();
	if (no.code) {
		session_refuse(s, no.code, no.text);
		return s;
	}
	greet(s);
	hub_schedule(h, s, h->now_s + s->app->ping_interval_s);
	return s;
}

void session_alive(struct session *s)
{
	s->seen_s = s->hub->now_s;
	s->is_pinged = false;
}

/* Reverb's rate_limiting: false when the message must not be looked at. */
static bool within_message_rate(struct session *s)
{
	const struct app_limits *l = &s->app->limits;

	if (!l->message_rate_max_attempts ||
	    limit_take(&s->message_bucket, l->message_rate_max_attempts,
		       l->message_rate_decay_s * USEC_PER_SEC, 1, clock_mono()))
		return true;
	if (l->message_rate_terminate)
		session_refuse(s, PUSHER_RECONNECT, "Rate limit exceeded: connection closed");
	else
		session_error(s, PUSHER_RATE_LIMIT, SV("Rate limit exceeded: send fewer messages"));
	return false;
}

static void refuse_message(struct session *s, bool last)
{
	s->is_receiving_junk = !last;
	if (s->message.ptr)
		strbuf_release(&s->message);
}

static void whole_message(struct session *s, struct str_view bytes)
{
	s->hub->stats.messages_in++;
	if (!sv_is_utf8(bytes))
		session_close(s, WS_INVALID_PAYLOAD, "text messages must be UTF-8");
	else if (within_message_rate(s))
		session_handle(s, bytes);
}

void session_receive(struct session *s, struct str_view bytes, bool first, bool last, bool binary)
{
	unsigned max = s->app->limits.max_message_bytes;

	session_alive(s);
	if (s->is_closing)
		return;
	if (s->is_receiving_junk && !first) {
		s->is_receiving_junk = !last;
		return;
	}
	s->is_receiving_junk = false;
	if (binary) {
		refuse_message(s, last);
		if (first)
			session_error(
				s, PUSHER_CODE_NULL,
				SV("Binary messages are not part of the protocol: send JSON text"));
		return;
	}
	if (max && bytes.len + s->message.len > max) {
		refuse_message(s, last);
		session_error(s, PUSHER_CODE_NULL, SV("Message is too large: it was not read"));
		return;
	}
	if (first && last) {
		whole_message(s, bytes);
		return;
	}
	if (!s->message.ptr)
		strbuf_init(&s->message, bytes.len * 2);
	strbuf_add_sv(&s->message, bytes);
	if (!last)
		return;
	whole_message(s, strbuf_view(&s->message));
	strbuf_release(&s->message);
}

void session_peer_closing(struct session *s)
{
	s->is_closing = true;
	hub_schedule(s->hub, s, 0);
	outbox_release(&s->outbox);
}

static void count_out(struct session *s)
{
	if (!s->is_opened)
		return;
	atomic_fetch_sub(&s->app->runtime->connections, 1);
	if (s->hub->conf.connections)
		atomic_fetch_sub(s->hub->conf.connections, 1);
}

static void forget_dirty(struct hub *h, struct session *s)
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
	if (h->conf.on_closed)
		h->conf.on_closed(h->conf.closed_ctx, s->id);
	hub_schedule(h, s, 0);
	forget_dirty(h, s);
	session_leave_all(s);
	count_out(s);
	if (s->prev)
		s->prev->next = s->next;
	else
		h->sessions = s->next;
	if (s->next)
		s->next->prev = s->prev;
	h->stats.sessions--;
	h->stats.closed++;
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

uint64_t session_id(const struct session *s)
{
	return s->id;
}
