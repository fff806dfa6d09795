/* SPDX-License-Identifier: MIT */
/*
 * Messages from the directory to the sessions of one worker, and calls that concern all of its
 * sessions.
 *
 * A batch (hub_begin() to hub_flush()) collects the frames of each session, which then go out as
 * one write.  A delivery can close its session, but sessions are freed only by session_closed(),
 * which no function here calls while it walks them.
 */
#include "base/mem.h"
#include "base/metric.h"
#include "core/sessions/liveness.h"
#include "core/sessions/session_out.h"
#include "core/sessions/session_proto.h"

struct hub *hub_new(const struct hub_conf *conf)
{
	struct hub *h = xcalloc(1, sizeof(*h));

	h->conf = *conf;
	registry_init(&h->registry);
	map_init(&h->page_requests);
	map_init(&h->joins);
	strbuf_init(&h->text, 512);
	h->ping = ws_ping_frames();
	h->scratch = xmalloc(MSGBUF_HEADROOM + SCRATCH_BYTES);
	h->started = h->now = clock_mono();
	return h;
}

void hub_free(struct hub *h)
{
	if (!h)
		return;
	while (h->sessions)
		session_closed(h->sessions);
	registry_release(&h->registry);
	map_release(&h->page_requests);
	map_release(&h->joins);
	strbuf_release(&h->text);
	msgbuf_unref(h->ping);
	free(h->scratch);
	free(h);
}

void hub_tick(struct hub *h, usec_t now)
{
	liveness_tick(h, now);
	sessions_expire(h);
	sessions_admit(h);
	catch_up_tick(h);
}

void hub_begin(struct hub *h)
{
	h->is_batch = true;
}

/* The events of the batch are written, or wait in the outbox of a slow client. */
static void hub_observe(struct hub *h) RUNS_ON(on_worker)
{
	usec_t now = h->n_written ? clock_wall() : 0;

	for (unsigned i = 0; i < h->n_written; i++) {
		const struct hub_written *w = &h->written[i];

		metric_observe(METRIC_PUBLISH_TO_SOCKET, now - w->published_at, w->n);
		if (w->delivered_at)
			metric_observe(METRIC_COMMIT_TO_SOCKET, now - w->delivered_at, w->n);
	}
	h->n_written = 0;
}

static void hub_note_written(struct hub *h, const struct event *e, unsigned n) RUNS_ON(on_worker)
{
	h->written[h->n_written++] =
		(struct hub_written){ e->published_at, e->serial ? e->delivered_at : 0, n };
	if (!h->is_batch || h->n_written == HUB_WRITTEN_MAX)
		hub_observe(h);
}

void hub_flush(struct hub *h)
{
	h->is_batch = false;
	while (h->dirty) {
		struct session *s = h->dirty;

		h->dirty = s->next_dirty;
		s->is_dirty = false;
		s->next_dirty = NULL;
		session_flush(s);
	}
	hub_observe(h);
	if (!h->unwritten.messages)
		return;
	worker_loads_written(directory_loads(h->conf.directory), h->conf.worker, &h->unwritten,
			     h->unwritten_since, clock_mono());
	h->unwritten = (struct load_amount){ 0 };
}

/* The frames of a message are written at hub_flush() at the latest. */
static void hub_count_load(struct hub *h, const struct worker_message *m) RUNS_ON(on_worker)
{
	if (!m->frames)
		return;
	if (!h->unwritten.messages++)
		h->unwritten_since = clock_mono();
	h->unwritten.frames += m->frames;
	h->unwritten.bytes += worker_message_bytes(m);
}

/* Returns to how many subscribers the frame went. */
static unsigned hub_deliver_frame(struct rchannel *c, const struct worker_message *m)
	RUNS_ON(on_worker)
{
	bool is_checked = c->newest_seq >= m->seq || c->n_held;
	unsigned n_sent = 0;

	for (unsigned i = c->n; i-- > 0;) {
		struct session *s = c->subscribers[i].session;

		if (s->id == m->exclude)
			continue;
		if (is_checked) {
			const struct subscription *sub = c->subscribers[i].subscription;

			if (sub->seq >= m->seq) /* sent before it subscribed */
				continue;
			if (sub->catch_up) { /* what it missed comes first */
				catch_up_hold(sub->catch_up, m);
				continue;
			}
		}
		n_sent += session_send(s, m->frame);
	}
	return n_sent;
}

static bool hub_is_session_of(const struct session *s, struct str_view user_id)
{
	struct subscription *sub;
	size_t at = 0;

	if (s->user_id && sv_eq_c(user_id, s->user_id))
		return true;
	while ((sub = map_next(&s->subscriptions, &at)))
		if (sub->user_id && sv_eq_c(user_id, sub->user_id))
			return true;
	return false;
}

/* Walks all sessions of the worker: only a rare call of the HTTP API does this. */
static void hub_close_user(struct hub *h, const struct worker_message *m) RUNS_ON(on_worker)
{
	unsigned app = channel_key_app(m->key);

	for (struct session *s = h->sessions; s; s = s->next)
		if (!s->is_closing && s->app->runtime->number == app &&
		    hub_is_session_of(s, channel_key_name(m->key)))
			session_refuse(s, PUSHER_UNAUTHORIZED,
				       "Connection terminated by the application");
}

/* As hub_close_user(). */
static void hub_close_socket(struct hub *h, uint64_t id) RUNS_ON(on_worker)
{
	for (struct session *s = h->sessions; s; s = s->next)
		if (!s->is_closing && s->id == id)
			session_refuse(s, PUSHER_UNAUTHORIZED,
				       "Connection terminated by an operator");
}

/* Whether a node of the cluster authorized a subscription of the session for the user. */
static bool hub_is_granted_to(const struct session *s, struct user_key user)
{
	struct subscription *sub;
	size_t at = 0;

	if (!user_key_is_set(user))
		return false;
	while ((sub = map_next(&s->subscriptions, &at)))
		if (sub->granted && user_key_eq(sub->granted->user, user))
			return true;
	return false;
}

/*
 * As hub_close_user().  The table of sockets has those that this node authorized; the mark of a
 * grant is known on each.
 */
static void hub_revoke(struct hub *h, const struct worker_message *m) RUNS_ON(on_worker)
{
	unsigned app = channel_key_app(m->key);
	struct str_view user = channel_key_name(m->key);
	char id[USER_ID_SIZE];
	struct user_key key = user_key_of(user_id_read(user, id) ? id : NULL);

	for (struct session *s = h->sessions; s; s = s->next)
		if (!s->is_closing && s->app->runtime->number == app &&
		    (hub_is_session_of(s, user) || hub_is_granted_to(s, key) ||
		     (h->conf.is_socket_of &&
		      h->conf.is_socket_of(h->conf.socket_ctx, s->id, user))))
			session_revoke(s, user, msgbuf_view(m->patterns));
}

static void hub_end_grant(struct hub *h, uint64_t grant) RUNS_ON(on_worker)
{
	struct subscription *sub;

	while ((sub = registry_first_of(&h->registry, grant)))
		session_end_granted(sub);
}

void hub_deliver(struct hub *h, struct worker_message *m)
{
	struct rchannel *c;
	unsigned n_sent;

	hub_count_load(h, m);
	switch (m->kind) {
	case MESSAGE_FRAME:
		c = registry_find(&h->registry, msgbuf_view(m->key));
		n_sent = c ? hub_deliver_frame(c, m) : 0;
		if (m->event && n_sent) {
			metric_add(METRIC_DELIVERIES, n_sent);
			atomic_fetch_add_explicit(&m->event->sockets, n_sent, memory_order_relaxed);
			hub_note_written(h, m->event, n_sent);
		}
		break;
	case MESSAGE_CLOSE_USER:
		hub_close_user(h, m);
		break;
	case MESSAGE_CLOSE_SOCKET:
		hub_close_socket(h, m->seq);
		break;
	case MESSAGE_REVOKE:
		hub_revoke(h, m);
		break;
	case MESSAGE_END_GRANT:
		hub_end_grant(h, m->seq);
		break;
	case MESSAGE_JOINED:
	case MESSAGE_JOIN_REFUSED:
		session_joined(h, m->seq, m->kind == MESSAGE_JOIN_REFUSED);
		break;
	case MESSAGE_LOG_PAGE:
		catch_up_answer(h, m->seq, log_page_ref(m->page));
		break;
	}
	worker_message_free(m);
}

void hub_resume(struct hub *h)
{
	while (h->paused) {
		struct session *s = h->paused;

		session_end_pause(s);
		h->conf.io->set_reading(s->conn, true);
	}
}

void hub_reload(struct hub *h)
{
	struct app_set *set = apps_current();

	for (struct session *s = h->sessions; s; s = s->next) {
		struct app *now;

		if (!s->app || s->is_closing)
			continue;
		now = app_set_by_key(set, sv(s->app->key));
		if (!now || now->runtime != s->app->runtime) {
			session_refuse(s, PUSHER_NO_APP, "Application does not exist");
		} else if (!now->enabled) {
			session_refuse(s, PUSHER_APP_DISABLED, "Application is disabled");
		} else if (now != s->app) {
			app_unref(s->app);
			s->app = app_ref(now);
		}
	}
	app_set_unref(set);
}

void hub_drain(struct hub *h, unsigned share_permille, unsigned within_ms)
{
	static const char why[] = "Server is restarting: please reconnect";
	unsigned quota = (unsigned)((uint64_t)h->n_sessions * share_permille / 1000);

	if (share_permille >= 1000)
		quota = h->n_sessions;
	else if (quota == 0)
		quota = 1;
	for (struct session *s = h->sessions; s && quota; s = s->next) {
		if (s->is_closing)
			continue;
		strbuf_reset(&h->text);
		frame_reconnect(&h->text, SV(why), within_ms);
		session_send_text(s);
		session_close(s, PUSHER_RECONNECT, why);
		quota--;
	}
}

unsigned hub_sessions(const struct hub *h)
{
	return h->n_sessions;
}
