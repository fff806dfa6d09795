/* SPDX-License-Identifier: MIT */
/*
 * The beginning of a catch-up, frames that arrive during it, and what ends it by time.  Its
 * requests, its state, its pages and its end have files of their own.
 */
#include "base/mem.h"
#include "core/sessions/catch_up-private.h"
#include "core/sessions/session_out.h"

#define STALLED_US (30 * USEC_PER_SEC)
#define SHARED_US  USEC_PER_SEC /* how long a last event waits for what other nodes published */
#define FOLLOW_US  (10 * USEC_PER_SEC) /* how long an event that was read may arrive, too */

/* Ends what has lasted long enough.  When the database does not answer, or this node does not reach
 * the end of the log, a cache channel's last event is the one that this node has. */
static void catch_up_check_time(struct catch_up *u) RUNS_ON(on_worker)
{
	struct session *s = u->session;
	usec_t lasted = s->hub->now - u->began;

	if (s->is_closing)
		return;
	if (u->stage == STAGE_SENT && lasted >= FOLLOW_US) {
		catch_up_drop(u);
	} else if (u->is_cache_shared && lasted >= SHARED_US &&
		   (u->stage == STAGE_CACHED || u->stage == STAGE_END)) {
		u->is_cache_unknown = false;
		if (u->stage == STAGE_END)
			catch_up_succeed(u, false);
		else
			catch_up_begin_live(u);
		catch_up_continue(s);
	}
}

void catch_up_tick(struct hub *h)
{
	struct catching_up *next_c;
	struct position now;

	if (h->catching_up)
		directory_position(h->conf.directory, &now);
	for (struct catching_up *c = h->catching_up; c; c = next_c) {
		struct catch_up *next, *u = h->n_timed ? c->list : NULL;
		struct session *s = c->session;

		next_c = c->next;
		if (outbox_is_empty(&s->outbox))
			c->moved = h->now;
		else if (h->now - c->moved >= STALLED_US && !s->is_closing)
			session_drop_slow(s, "the client read nothing for 30 seconds of a replay");
		for (; u; u = next) {
			next = u->next;
			catch_up_check_ahead(u, &now);
			catch_up_check_time(u);
		}
	}
}

static bool catch_up_is_full(const struct catch_up *u, const struct msgbuf *frame)
{
	const struct app_limits *max = &u->session->app->limits;
	const struct catching_up *c = u->session->catching_up;
	unsigned bytes = max->max_outbox_bytes / 2;

	return (max->max_outbox_messages && c->n_held >= max->max_outbox_messages / 2) ||
	       (max->max_outbox_bytes &&
		(c->held_bytes > bytes || frame->len > bytes - c->held_bytes));
}

/* The subscription is live. */
static void catch_up_pass(struct catch_up *u, const struct worker_message *m) RUNS_ON(on_worker)
{
	if (m->event && strcmp(m->event->id, u->cached->id) == 0)
		return;
	catch_up_send_frame(u->session, m->frame, m->event);
}

/* The event that a cache channel waits for was held. */
static bool catch_up_is_at_end(const struct catch_up *u, const struct event *e)
{
	return u->stage == STAGE_END && u->is_in_log && !u->request && e &&
	       atomic_load(&e->serial) >= u->to;
}

void catch_up_hold(struct catch_up *u, const struct worker_message *m)
{
	struct session *s = u->session;
	struct catching_up *c = s->catching_up;

	if (u->stage == STAGE_SENT) {
		catch_up_pass(u, m);
		return;
	}
	if (catch_up_is_excluded(u, m->exclude))
		return;
	if (!catch_up_is_full(u, m->frame)) {
		struct held_frame *h = xmalloc(sizeof(*h));

		*h = (struct held_frame){ NULL, msgbuf_ref(m->frame),
					  m->event ? event_ref(m->event) : NULL };
		*u->held_end = h;
		u->held_end = &h->next;
		c->n_held++;
		c->held_bytes += m->frame->len;
		c->bytes += m->frame->len;
		if (catch_up_is_at_end(u, m->event)) {
			catch_up_succeed(u, true);
			catch_up_continue(s);
		}
		return;
	}
	/* No room to hold m: the replay ends here, and m is sent after what was held. */
	u->is_cache_unknown = false;
	if (u->stage == STAGE_END)
		catch_up_succeed(u, false);
	else if (u->stage == STAGE_CACHED)
		catch_up_begin_live(u);
	else
		catch_up_resync(u, catch_up_reasons[LOG_TOO_MANY]);
	catch_up_send_frame(s, m->frame, m->event);
	catch_up_continue(s);
}

/* NULL when the log can be read, else the reason of the resync. */
static const char *catch_up_fault(const struct catch_up *u, const struct catch_up_request *req)
{
	if (!req->is_valid)
		return "malformed";
	if (!u->now.epoch[0] || !u->session->hub->conf.log)
		return catch_up_reasons[LOG_UNAVAILABLE];
	if (strcmp(u->now.epoch, u->since.epoch) != 0)
		return catch_up_reasons[LOG_OTHER_EPOCH];
	return NULL;
}

static void catch_up_begin_replay(struct catch_up *u, const struct catch_up_request *req)
	RUNS_ON(on_worker)
{
	const char *fault = catch_up_fault(u, req);

	u->to = u->now.serial;
	if (fault) {
		catch_up_resync(u, fault);
	} else if (u->since.serial > u->to) {
		catch_up_set_stage(u, STAGE_AHEAD);
	} else if (u->since.serial == u->to) {
		catch_up_end_replay(u);
	}
}

void catch_up_begin(struct session *s, struct subscription *sub, const struct catch_up_request *req,
		    struct directory_join *j, const struct position *now)
{
	bool must_reach_end = !req->is_given && j->is_cache_shared && now->epoch[0] &&
			      s->hub->conf.log &&
			      app_durability(s->app, subscription_channel(sub)) != DURABILITY_NONE;
	struct catch_up *u;

	if (!must_reach_end)
		catch_up_send_succeeded(s, sub, j->roster, req->is_valid ? &req->since : now);
	if (!req->is_given && !sub->traits.is_cache)
		return;
	u = catch_up_new(s, sub, req, now);
	u->unlogged = j->unlogged;
	u->n_unlogged = j->n_unlogged;
	for (unsigned i = 0; i < j->n_unlogged; i++)
		u->unlogged_bytes += j->unlogged[i]->data->len;
	s->catching_up->bytes += u->unlogged_bytes;
	u->cached = j->cached;
	u->is_cache_unknown = j->is_cache_unknown;
	u->is_cache_shared = j->is_cache_shared;
	u->must_reach_end = must_reach_end;
	u->roster = must_reach_end && j->roster ? msgbuf_ref(j->roster) : NULL;
	if (req->is_given)
		catch_up_begin_replay(u, req);
	else
		catch_up_begin_live(u);
	catch_up_continue(s);
}
