/* SPDX-License-Identifier: MIT */
/*
 * How a catch-up ends: scopewire:replayed or scopewire:resync, the last event of a cache channel,
 * then what was held back, without what the client received already.
 */
#include "base/metric.h"
#include "core/sessions/catch_up-private.h"
#include "core/sessions/session_out.h"
#include "wire/socket_id.h"

const char *const catch_up_reasons[] = {
	[LOG_EXPIRED] = "expired",
	[LOG_OTHER_EPOCH] = "epoch",
	[LOG_TOO_MANY] = "too_many",
	[LOG_UNAVAILABLE] = "unavailable",
};

bool catch_up_is_excluded(const struct catch_up *u, uint64_t socket)
{
	struct str_view rest = sv(u->was);
	uint64_t id;

	if (socket == u->session->id)
		return true;
	while (socket && rest.len) {
		ptrdiff_t comma = sv_find(rest, ',');
		struct str_view one = sv_n(rest.ptr, comma < 0 ? rest.len : (size_t)comma);

		if (socket_id_parse(one, &id) && id == socket)
			return true;
		rest = sv_skip(rest, one.len + (comma >= 0));
	}
	return false;
}

static bool catch_up_is_covered(const struct event *e, uint64_t floor)
{
	uint64_t serial = e ? atomic_load(&e->serial) : 0;

	return serial && serial <= floor;
}

/*
 * Sends an event that does not come from the log.  Its serial is left out when it is greater than
 * the position that the client has reached: a client takes the serial for its position, and events
 * before it may still follow.
 */
static void catch_up_send_event(struct session *s, struct event *e, uint64_t reached)
	RUNS_ON(on_worker)
{
	struct msgbuf *frame = event_frame(e, reached);

	metric_add(METRIC_DELIVERIES, session_send(s, frame));
	msgbuf_unref(frame);
}

void catch_up_send_frame(struct session *s, struct msgbuf *frame, struct event *event)
{
	if (!session_send(s, frame) || !event)
		return;
	metric_add(METRIC_DELIVERIES, 1);
	atomic_fetch_add_explicit(&event->sockets, 1, memory_order_relaxed);
}

/*
 * Sends the events that are not in the log yet, then the held frames, without those that the log
 * contained up to floor.
 */
static void catch_up_go_live(struct catch_up *u, uint64_t floor) RUNS_ON(on_worker)
{
	struct session *s = u->session;
	struct held_frame *h;

	if (!u->may_follow)
		catch_up_detach(u);
	s->catching_up->bytes -= u->unlogged_bytes;
	u->unlogged_bytes = 0;
	for (unsigned i = 0; i < u->n_unlogged; i++)
		if (!catch_up_is_covered(u->unlogged[i], floor) &&
		    !catch_up_is_excluded(u, u->unlogged[i]->exclude_socket))
			catch_up_send_event(s, u->unlogged[i], floor);
	while ((h = catch_up_take_held(u))) {
		if (!catch_up_is_covered(h->event, floor))
			catch_up_send_frame(s, h->frame, h->event);
		held_frame_free(h);
	}
	if (u->may_follow) {
		u->began = clock_mono();
		catch_up_set_stage(u, STAGE_SENT);
	} else {
		catch_up_free(u);
	}
}

static void catch_up_report_miss(const struct catch_up *u) RUNS_ON(on_worker)
{
	const struct transition t = { .event = WEBHOOK_CACHE_MISS,
				      .app = u->session->app,
				      .channel = catch_up_channel(u) };

	directory_report(u->session->hub->conf.directory, &t);
}

static bool catch_up_holds(const struct catch_up *u, const struct event *e)
{
	const struct held_frame *h = u->held;

	while (h && (!h->event || !sv_eq_c(sv(h->event->id), e->id)))
		h = h->next;
	return h != NULL;
}

/* Whether the last event of a cache channel was held.  In a cluster any event that was held is
 * newer than the one before it. */
static bool catch_up_holds_last(const struct catch_up *u)
{
	const struct held_frame *h = u->held;

	if (!u->is_cache_shared)
		return u->cached && catch_up_holds(u, u->cached);
	while (h && (!h->event || catch_up_is_covered(h->event, u->sent_to)))
		h = h->next;
	return h != NULL;
}

void catch_up_send_succeeded(struct session *s, const struct subscription *sub,
			     const struct msgbuf *roster, const struct position *p)
{
	char text[POSITION_SIZE];

	strbuf_reset(&s->hub->text);
	frame_subscription_succeeded(&s->hub->text, subscription_channel(sub),
				     roster ? msgbuf_view(roster) : SV("{}"),
				     sv(position_format(p, text)));
	session_send_text(s);
}

/* Begins to read what the last event of a cache channel depends on.  False: nothing. */
static bool catch_up_reads_cache(struct catch_up *u)
{
	bool is_unknown = u->is_cache_unknown && !(u->is_cache_shared && catch_up_holds_last(u));

	if (!u->sub->traits.is_cache || !u->session->hub->conf.log ||
	    !(u->must_reach_end || is_unknown))
		return false;
	catch_up_set_stage(u, u->must_reach_end ? STAGE_END : STAGE_CACHED);
	u->is_in_log = false;
	u->began = clock_mono();
	/* A page that is under way must not be taken for the answer. */
	page_request_abandon(u->request);
	return true;
}

void catch_up_begin_live(struct catch_up *u)
{
	struct session *s = u->session;

	if (catch_up_reads_cache(u))
		return;
	if (catch_up_holds_last(u)) {
		u->may_follow = false;
	} else if (u->cached) {
		if (!u->is_replayed || u->cached->durability == DURABILITY_NONE)
			catch_up_send_event(s, u->cached, u->now.serial);
	} else if (u->sub->traits.is_cache && !u->is_replayed &&
		   session_sends_plain(s, catch_up_channel(u))) {
		strbuf_reset(&s->hub->text);
		frame_cache_miss(&s->hub->text, catch_up_channel(u));
		session_send_text(s);
		catch_up_report_miss(u);
	}
	catch_up_go_live(u, u->sent_to);
}

void catch_up_succeed(struct catch_up *u, bool is_reached)
{
	u->must_reach_end = false;
	if (is_reached)
		u->now.serial = u->to;
	u->sent_to = u->now.serial;
	for (const struct held_frame *h = u->held; h; h = h->next) {
		if (!catch_up_is_covered(h->event, u->sent_to))
			continue;
		event_unref(u->cached);
		u->cached = event_ref(h->event);
		u->is_cache_unknown = false;
	}
	catch_up_send_succeeded(u->session, u->sub, u->roster, &u->now);
	catch_up_begin_live(u);
}

void catch_up_end_replay(struct catch_up *u)
{
	struct session *s = u->session;
	struct position p = u->since;
	char text[POSITION_SIZE], events[32];

	p.serial = u->to;
	metric_add_at(METRIC_REPLAY, 0, 1);
	metric_observe(METRIC_REPLAY_EVENTS, u->n_events, 1);
	metric_observe(METRIC_REPLAY_SECONDS, clock_mono() - u->began, 1);
	strbuf_reset(&s->hub->text);
	frame_replayed(&s->hub->text, catch_up_channel(u), u->n_events,
		       sv(position_format(&p, text)));
	session_send_text(s);
	snprintf(events, sizeof(events), "%u events", u->n_events);
	session_note(s, STEP_REPLAYED, catch_up_channel(u), 0, events);
	u->is_replayed = true;
	u->sent_to = u->now.serial = u->to;
	/* What is in the log was replayed. */
	u->is_cache_unknown &= u->is_cache_shared &&
			       app_durability(s->app, catch_up_channel(u)) == DURABILITY_NONE;
	catch_up_begin_live(u);
}

void catch_up_resync(struct catch_up *u, const char *reason)
{
	struct session *s = u->session;

	catch_up_set_stage(u, STAGE_EVENTS);
	metric_add_at(METRIC_REPLAY, metric_word(METRIC_BY_REPLAY, reason), 1);
	strbuf_reset(&s->hub->text);
	frame_resync(&s->hub->text, catch_up_channel(u), reason, &u->now);
	session_send_text(s);
	session_note(s, STEP_RESYNC, catch_up_channel(u), 0, reason);
	catch_up_begin_live(u);
}
