/* SPDX-License-Identifier: MIT */
/*
 * A session is in the slot due_s % WHEEL_SLOTS, or nowhere when due_s is 0.  Intervals may be
 * longer than the wheel: an entry whose second is still to come stays for another round.  A
 * session that is closing leaves the wheel when its second comes, if it still exists then.
 */
#include "base/metric.h"
#include "core/sessions/liveness.h"
#include "core/sessions/session_out.h"

void liveness_stop(struct session *s)
{
	struct session **slot = &s->hub->wheel[s->due_s % WHEEL_SLOTS];

	if (s->wheel_prev)
		s->wheel_prev->wheel_next = s->wheel_next;
	else if (*slot == s)
		*slot = s->wheel_next;
	if (s->wheel_next)
		s->wheel_next->wheel_prev = s->wheel_prev;
	s->wheel_prev = s->wheel_next = NULL;
	s->due_s = 0;
}

static void liveness_schedule(struct session *s, uint32_t due_s) RUNS_ON(on_worker)
{
	struct session **slot = &s->hub->wheel[due_s % WHEEL_SLOTS];

	liveness_stop(s);
	s->due_s = due_s;
	s->wheel_next = *slot;
	if (*slot)
		(*slot)->wheel_prev = s;
	*slot = s;
}

void liveness_start(struct session *s)
{
	liveness_schedule(s, s->hub->now_s + s->app->ping_interval_s);
}

void liveness_seen(struct session *s)
{
	s->seen_s = s->hub->now_s;
	if (s->is_pinged)
		metric_observe(METRIC_PING_PONG, clock_mono() - s->pinged_at, 1);
	s->is_pinged = false;
}

/* The session's second has come. */
static void liveness_check(struct hub *h, struct session *s) RUNS_ON(on_worker)
{
	const struct app *app = s->app;
	usec_t heard = h->conf.io->heard_at(s->conn);
	uint32_t heard_s = heard > h->started ? (uint32_t)((heard - h->started) / USEC_PER_SEC) : 0;
	uint32_t next;

	if (s->is_closing)
		return;
	if (heard_s > s->seen_s) /* frames that only the socket's layer saw */
		s->seen_s = heard_s;
	if (s->is_pinged && s->seen_s < s->pinged_s) {
		if (h->now_s - s->pinged_s >= app->pong_timeout_s) {
			session_refuse(s, PUSHER_PONG_TIMEOUT, "Pong reply not received in time");
			return;
		}
		next = s->pinged_s + app->pong_timeout_s;
	} else if (h->now_s - s->seen_s >= app->ping_interval_s) {
		s->is_pinged = true;
		s->pinged_s = h->now_s;
		s->pinged_at = clock_mono();
		next = h->now_s + app->pong_timeout_s;
		session_send(s, h->ping);
	} else {
		s->is_pinged = false;
		next = s->seen_s + app->ping_interval_s;
	}
	if (!s->is_closing)
		liveness_schedule(s, next > h->now_s ? next : h->now_s + 1);
}

void liveness_tick(struct hub *h, usec_t now)
{
	uint32_t until = (uint32_t)((now - h->started) / USEC_PER_SEC);

	h->now = now;
	while (h->now_s < until) {
		struct session *s, *next;

		h->now_s++;
		for (s = h->wheel[h->now_s % WHEEL_SLOTS]; s; s = next) {
			next = s->wheel_next;
			if (s->due_s > h->now_s)
				continue;
			liveness_stop(s);
			liveness_check(h, s);
		}
	}
}
