/* SPDX-License-Identifier: MIT */
/*
 * A worker's sessions: their list, their timers (a wheel of seconds, one entry a session, moved
 * only when it comes up), and deliveries to them.
 */
#include "base/log.h"
#include "base/mem.h"
#include "core/session-private.h"

struct hub *hub_new(const struct hub_conf *conf)
{
	struct hub *h = xcalloc(1, sizeof(*h));

	h->conf = *conf;
	registry_init(&h->registry);
	map_init(&h->catch_ups);
	strbuf_init(&h->text, 512);
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
	map_release(&h->catch_ups);
	strbuf_release(&h->text);
	free(h->scratch);
	free(h);
}

static void wheel_remove(struct hub *h, struct session *s)
{
	struct session **slot = &h->wheel[s->due_s % WHEEL_SLOTS];

	if (s->wheel_prev)
		s->wheel_prev->wheel_next = s->wheel_next;
	else if (*slot == s)
		*slot = s->wheel_next;
	if (s->wheel_next)
		s->wheel_next->wheel_prev = s->wheel_prev;
	s->wheel_prev = s->wheel_next = NULL;
}

void hub_schedule(struct hub *h, struct session *s, uint32_t due_s)
{
	struct session **slot;

	wheel_remove(h, s);
	s->due_s = due_s;
	if (due_s == 0)
		return;
	slot = &h->wheel[due_s % WHEEL_SLOTS];
	s->wheel_next = *slot;
	if (*slot)
		(*slot)->wheel_prev = s;
	*slot = s;
}

/* Takes note of frames that only the socket's layer saw. */
static void listen_below(struct hub *h, struct session *s)
{
	usec_t heard = h->conf.io->heard_at(s->conn);
	uint32_t heard_s = heard > h->started ? (uint32_t)((heard - h->started) / USEC_PER_SEC) : 0;

	if (heard_s > s->seen_s)
		s->seen_s = heard_s;
}

/* Its second came: ping the silent, close who did not answer. */
static void session_due(struct hub *h, struct session *s)
{
	const struct app *app = s->app;
	uint32_t next;

	listen_below(h, s);
	if (s->is_pinged && s->seen_s < s->pinged_s) {
		if (h->now_s - s->pinged_s >= app->pong_timeout_s) {
			session_refuse(s, PUSHER_PONG_TIMEOUT, "Pong reply not received in time");
			return;
		}
		next = s->pinged_s + app->pong_timeout_s;
	} else if (h->now_s - s->seen_s >= app->ping_interval_s) {
		strbuf_reset(&h->text);
		frame_ping(&h->text);
		s->is_pinged = true;
		s->pinged_s = h->now_s;
		next = h->now_s + app->pong_timeout_s;
		session_send_text(s);
	} else {
		s->is_pinged = false;
		next = s->seen_s + app->ping_interval_s;
	}
	if (!s->is_closing)
		hub_schedule(h, s, next > h->now_s ? next : h->now_s + 1);
}

static void tick_second(struct hub *h)
{
	struct session *s = h->wheel[h->now_s % WHEEL_SLOTS], *next;

	for (; s; s = next) {
		next = s->wheel_next;
		if (s->due_s > h->now_s)
			continue;
		hub_schedule(h, s, 0);
		session_due(h, s);
	}
}

void hub_tick(struct hub *h, usec_t now)
{
	uint32_t until = (uint32_t)((now - h->started) / USEC_PER_SEC);

	h->now = now;
	while (h->now_s < until) {
		h->now_s++;
		tick_second(h);
	}
	catch_up_tick(h);
}

void hub_begin(struct hub *h)
{
	h->is_batch = true;
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
}

/* What was posted before the subscription is not for it; what comes before it is live waits. */
static bool is_skipped_or_held(const struct subscription *sub, const struct worker_message *m)
	RUNS_ON(on_worker)
{
	if (sub->seq >= m->seq)
		return true;
	if (!sub->catch_up)
		return false;
	catch_up_hold(sub->catch_up, m);
	return true;
}

/* The frame to every subscriber it is for; returns how many got it. */
static unsigned deliver_frame(struct rchannel *c, const struct worker_message *m) RUNS_ON(on_worker)
{
	bool check = c->newest_seq >= m->seq || c->n_held;
	unsigned sent = 0;

	/* Backwards: a session that is cut off on the way leaves the array from its place on. */
	for (unsigned i = c->n; i-- > 0;) {
		struct session *s = c->subscribers[i].session;

		if (s->id == m->exclude)
			continue;
		if (check && is_skipped_or_held(c->subscribers[i].subscription, m))
			continue;
		sent += session_send(s, m->frame);
	}
	return sent;
}

static void close_subscribers(struct hub *h, struct rchannel *c)
{
	for (unsigned i = c->n; i-- > 0;)
		session_close(c->subscribers[i].session, PUSHER_UNAUTHORIZED,
			      "Connection terminated by the application");
	(void)h;
}

/* Walks all sessions for presence members of that user: a rare call of the API. */
static void close_presence_user(struct hub *h, const struct worker_message *m)
{
	unsigned number = channel_key_app(m->key);
	struct str_view user = channel_key_name(m->key);

	for (struct session *s = h->sessions; s; s = s->next) {
		struct subscription *sub;
		size_t at = 0;

		if (!s->app || s->app->runtime->number != number)
			continue;
		while ((sub = map_next(&s->subscriptions, &at))) {
			if (sub->user_id && sv_eq_c(user, sub->user_id)) {
				session_close(s, PUSHER_UNAUTHORIZED,
					      "Connection terminated by the application");
				break;
			}
		}
	}
}

void hub_deliver(struct hub *h, struct worker_message *m)
{
	struct rchannel *c;
	unsigned sent;

	if (m->kind == MESSAGE_CLOSE_MEMBER) {
		close_presence_user(h, m);
	} else if (m->kind == MESSAGE_LOG_PAGE) {
		catch_up_answer(h, m->seq, log_page_ref(m->page));
	} else if ((c = registry_find(&h->registry, msgbuf_view(m->key)))) {
		if (m->kind == MESSAGE_CLOSE) {
			close_subscribers(h, c);
		} else {
			sent = deliver_frame(c, m);
			h->stats.deliveries += sent;
			if (m->event && sent)
				atomic_fetch_add_explicit(&m->event->sockets, sent,
							  memory_order_relaxed);
		}
	}
	worker_message_free(m);
}

/* The app's snapshot in set, when the session may stay. */
static void session_reload(struct session *s, const struct app_set *set)
{
	struct app *now = app_set_by_key(set, sv(s->app->key));

	if (!now || now->runtime != s->app->runtime) {
		session_refuse(s, PUSHER_NO_APP, "Application does not exist");
	} else if (!now->enabled) {
		session_refuse(s, PUSHER_APP_DISABLED, "Application is disabled");
	} else if (now != s->app) {
		app_unref(s->app);
		s->app = app_ref(now);
	}
}

void hub_reload(struct hub *h)
{
	struct app_set *set = apps_current();

	for (struct session *s = h->sessions; s; s = s->next)
		if (s->app && !s->is_closing)
			session_reload(s, set);
	app_set_unref(set);
}

void hub_drain(struct hub *h, unsigned share_permille)
{
	unsigned quota = (unsigned)((uint64_t)h->stats.sessions * share_permille / 1000);

	if (share_permille >= 1000)
		quota = h->stats.sessions;
	else if (quota == 0)
		quota = 1;
	for (struct session *s = h->sessions; s && quota; s = s->next) {
		if (s->is_closing)
			continue;
		session_refuse(s, PUSHER_RECONNECT, "Server is restarting: please reconnect");
		quota--;
	}
}

unsigned hub_sessions(const struct hub *h)
{
	return h->stats.sessions;
}

const struct hub_stats *hub_stats(const struct hub *h)
{
	return &h->stats;
}
