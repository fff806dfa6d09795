/* SPDX-License-Identifier: MIT */
/*
 * From a frame to the socket: session_send(), and session_flush() for what it had to queue.
 *
 * While is_closing is not set, frames leave in the order in which they were sent, and the outbox
 * is written before any later frame.  When is_closing is set, nothing is written any more; the
 * session itself lives until session_closed().
 */
#include "base/log.h"
#include "base/metric.h"
#include "core/sessions/session_out.h"
#include "wire/socket_id.h"

static bool session_out_takes_more(const struct session *s) RUNS_ON(on_worker)
{
	return outbox_is_empty(&s->outbox) && !s->hub->conf.io->is_blocked(s->conn);
}

static bool session_out_write(struct session *s, unsigned char *p, size_t n) RUNS_ON(on_worker)
{
	metric_add(METRIC_BYTES_OUT, (int64_t)n);
	if (s->hub->conf.io->write(s->conn, p, n))
		return true;
	s->is_closing = true;
	outbox_release(&s->outbox);
	s->hub->conf.io->kill(s->conn);
	return false;
}

static struct log_gate messages_refused = LOG_GATE("messages of clients refused"),
		       slow_dropped = LOG_GATE("connections of slow clients dropped");

void session_log_refusal(const struct session *s, struct log_gate *gate, const char *what,
			 const char *why)
{
	char id[SOCKET_ID_SIZE];

	log_gated(gate, "%s: %s; socket %s, application %s%s%s", what, why,
		  socket_id_format(s->id, id), s->app->id, s->user_id ? ", user " : "",
		  s->user_id ? s->user_id : "");
}

/* What the live tail calls the steps; 0: it shows another message, or none. */
static const unsigned char session_tail_kinds[STEP_KINDS] = {
	[STEP_CONNECTED] = TAIL_CONNECTION,
	[STEP_SIGNED_IN] = TAIL_CONNECTION,
	[STEP_SIGNIN_REFUSED] = TAIL_REFUSAL,
	[STEP_SUBSCRIBED] = TAIL_CONNECTION,
	[STEP_SUBSCRIBE_REFUSED] = TAIL_REFUSAL,
	[STEP_REPLAYED] = TAIL_CONNECTION,
	[STEP_RESYNC] = TAIL_CONNECTION,
	[STEP_TOKEN_EXTENDED] = TAIL_CONNECTION,
	[STEP_UNSUBSCRIBED] = TAIL_CONNECTION,
	[STEP_SUBSCRIPTION_ENDED] = TAIL_REFUSAL,
	[STEP_MESSAGE_REFUSED] = TAIL_REFUSAL,
	[STEP_PAUSED] = TAIL_CONNECTION,
	[STEP_SLOW] = TAIL_REFUSAL,
	[STEP_CLOSING] = TAIL_CONNECTION,
	[STEP_CLOSED] = TAIL_CONNECTION,
};

static void session_show(const struct session *s, const struct recorder_step *step)
	RUNS_ON(on_worker)
{
	const struct tail_message m = { .kind = session_tail_kinds[step->kind],
					.app = sv(s->app->id),
					.channel = step->channel,
					.event = sv(step_name(step->kind)),
					.user_id = sv(s->user_id),
					.reason = step->detail,
					.socket_id = s->id,
					.code = step->code,
					.reached = -1 };

	live_tail_add(s->hub->conf.live_tail, &m);
}

static void session_log_step(const struct session *s, const struct recorder_step *step)
{
	char id[SOCKET_ID_SIZE], code[16] = "";

	if (step->code)
		snprintf(code, sizeof(code), " %u", step->code);
	log_debug("socket %s, application %s%s%s: %s%s%s%.*s%s%.*s", socket_id_format(s->id, id),
		  s->app->id, s->user_id ? ", user " : "", s->user_id ? s->user_id : "",
		  step_name(step->kind), code, step->channel.len ? " " : "", SV_ARG(step->channel),
		  step->detail.len ? ": " : "", SV_ARG(step->detail));
}

void session_note(const struct session *s, enum step_kind kind, struct str_view channel,
		  unsigned code, const char *detail)
{
	const struct recorder_step step = {
		.kind = kind, .code = code, .channel = channel, .detail = sv(detail)
	};

	if (!s->is_opened)
		return;
	recorder_note(s->hub->conf.recorder, s->id, &step);
	session_show(s, &step);
	if (log_has_level(LOG_LEVEL_DEBUG))
		session_log_step(s, &step);
}

/* Of a cap, where 0 is no cap. */
static unsigned session_out_left(unsigned cap, unsigned used)
{
	return !cap ? 0 : cap > used ? cap - used : 1;
}

static bool session_out_queue(struct session *s, struct msgbuf *frame) RUNS_ON(on_worker)
{
	const struct app_limits *max = &s->app->limits;
	const struct catching_up *c = s->catching_up;

	if (!c)
		return outbox_put(&s->outbox, frame, max->max_outbox_bytes,
				  max->max_outbox_messages) == 0;
	/* What a catch-up keeps counts too. */
	return outbox_put(&s->outbox, frame, session_out_left(max->max_outbox_bytes, c->bytes),
			  session_out_left(max->max_outbox_messages, c->n_held)) == 0;
}

void session_drop_slow(struct session *s, const char *why)
{
	s->is_closing = s->is_closing_here = true;
	metric_add(METRIC_SLOW_CONSUMERS, 1);
	session_log_refusal(s, &slow_dropped, "connection dropped", why);
	session_note(s, STEP_SLOW, SV(""), 0, why);
	outbox_release(&s->outbox);
	s->hub->conf.io->kill(s->conn);
}

/*
 * The outbox is at its cap.  During a batch it also holds what the socket would take at once, so
 * only a client above the cap after a write is too slow.
 */
static bool session_out_write_or_drop(struct session *s, struct msgbuf *frame) RUNS_ON(on_worker)
{
	session_flush(s);
	if (s->is_closing)
		return false;
	if (session_out_takes_more(s))
		return session_out_write(s, frame->data, frame->len);
	if (session_out_queue(s, frame))
		return true;
	session_drop_slow(s, "the client reads too slowly (option max_outbox_bytes)");
	return false;
}

bool session_send(struct session *s, struct msgbuf *frame)
{
	struct hub *h = s->hub;

	if (s->is_closing)
		return false;
	if (!h->is_batch && session_out_takes_more(s))
		return session_out_write(s, frame->data, frame->len);
	if (!session_out_queue(s, frame))
		return session_out_write_or_drop(s, frame);
	if (!h->is_batch) {
		h->conf.io->want_writable(s->conn);
	} else if (!s->is_dirty) {
		s->is_dirty = true;
		s->next_dirty = h->dirty;
		h->dirty = s;
	}
	return true;
}

/* Moves the frames that fit together into the scratch buffer.  Returns their bytes. */
static size_t session_out_gather(struct session *s) RUNS_ON(on_worker)
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
		if (s->outbox.n > 1 && (n = session_out_gather(s))) {
			session_out_write(s, s->hub->scratch + MSGBUF_HEADROOM, n);
			continue;
		}
		m = outbox_take(&s->outbox);
		session_out_write(s, m->data, m->len);
		msgbuf_unref(m);
	}
}

void session_send_text(struct session *s)
{
	struct msgbuf *frame = ws_text_frame(strbuf_view(&s->hub->text));

	session_send(s, frame);
	msgbuf_unref(frame);
}

void session_send_error(struct session *s, enum pusher_code code, struct str_view message)
{
	strbuf_reset(&s->hub->text);
	frame_error(&s->hub->text, code, message);
	session_send_text(s);
}

void session_error(struct session *s, enum pusher_code code, struct str_view message)
{
	session_log_refusal(s, &messages_refused, "message refused", message.ptr);
	session_note(s, STEP_MESSAGE_REFUSED, SV(""), code, message.ptr);
	session_send_error(s, code, message);
}

bool session_sends_plain(const struct session *s, struct str_view channel)
{
	return s->is_pusher_js || !channel_name_is_encrypted(channel);
}

void session_close(struct session *s, unsigned code, const char *reason)
{
	if (s->is_closing)
		return;
	session_flush(s);
	if (s->is_closing)
		return;
	s->is_closing = s->is_closing_here = true;
	s->close_code = (unsigned short)code;
	session_note(s, STEP_CLOSING, SV(""), code, reason);
	s->hub->conf.io->close(s->conn, code, reason);
}

void session_refuse(struct session *s, enum pusher_code code, const char *message)
{
	session_send_error(s, code, sv(message));
	session_close(s, code, message);
}

void session_pause(struct session *s)
{
	struct hub *h = s->hub;

	if (s->is_paused || s->is_closing)
		return;
	if (!h->paused)
		log_debug("clients that send events are not read until the workers have caught up");
	session_note(s, STEP_PAUSED, SV(""), 0,
		     "the workers are behind: not read until they catch up");
	s->is_paused = true;
	s->paused_prev = NULL;
	s->paused_next = h->paused;
	if (h->paused)
		h->paused->paused_prev = s;
	h->paused = s;
	h->conf.io->set_reading(s->conn, false);
}

void session_end_pause(struct session *s)
{
	if (!s->is_paused)
		return;
	s->is_paused = false;
	if (s->paused_next)
		s->paused_next->paused_prev = s->paused_prev;
	if (s->paused_prev)
		s->paused_prev->paused_next = s->paused_next;
	else
		s->hub->paused = s->paused_next;
}
