/* SPDX-License-Identifier: MIT */
/*
 * Each session has CATCH_UP_PAGES slots for all of its catch-ups.  A slot is in use from the
 * request of a page to its answer, and while the page is not sent.  A catch-up that ends before the
 * answer leaves its slot in use: a client that subscribes and unsubscribes in a loop waits for the
 * log as often as one that does not.  Free slots go to the oldest catch-up without a page, then to
 * the page after the one that is being sent.
 *
 * Memory: pages, held frames and unlogged events count as the outbox does, so a session never keeps
 * more than max_outbox_bytes.  Of these, a quarter is for pages; replayed frames fill a quarter of
 * the outbox; held frames have a half, so that going live cannot overflow the outbox.
 *
 * Every catch-up ends in catch_up_go_live() or catch_up_drop(), which free it.  Functions here that
 * send may have ended it when they return.  All of it runs on the session's worker.
 */
#include "base/mem.h"
#include "base/metric.h"
#include "core/sessions/session_out.h"
#include "wire/socket_id.h"

#define PAGE_FIRST   200 /* events; later pages have more */
#define PAGE_NEXT    2000
#define PAGE_BYTES   (256U << 10)
#define NO_CAP_BYTES (1U << 20) /* the outbox's, for an app that has none */
#define STALLED_US   (30 * USEC_PER_SEC)
#define SHARED_US    USEC_PER_SEC /* how long a last event waits for what other nodes published */
#define FOLLOW_US    (10 * USEC_PER_SEC) /* how long an event that was read may arrive, too */

struct held {
	struct held *next;
	struct msgbuf *frame;
	struct event *event; /* or NULL */
};

enum stage {
	STAGE_AHEAD,  /* waits until this node reaches the client's position */
	STAGE_EVENTS, /* reads and sends missed events */
	STAGE_CACHED, /* reads the last event of a cache channel */
	STAGE_END,    /* waits until this node reaches the end of the log, as it is now */
	STAGE_SENT,   /* is live, and leaves out the last event, which was sent */
};

struct catch_up {
	struct session *session;
	struct subscription *sub;
	struct catch_up **link, *next; /* of the session; link points here */
	struct page_request *request;  /* NULL: none is under way */
	enum stage stage;
	bool is_in_log; /* STAGE_AHEAD, STAGE_END: the log is there, this node may not be */
	usec_t began;	/* monotonic */
	struct position since;
	struct position now;			/* the log at the join */
	char *was;				/* the client's earlier socket ids, or NULL */
	uint64_t read_to;			/* all events up to this serial are in a page */
	uint64_t sent_to;			/* and up to this one in the outbox */
	uint64_t to;				/* the replay ends here */
	unsigned n_events;			/* sent */
	bool is_first;				/* no page was requested yet */
	struct log_page *pages[CATCH_UP_PAGES]; /* oldest first */
	unsigned n_pages, chunk;		/* chunk: of pages[0], the next to send */
	struct held *held, **held_end;
	struct event **unlogged; /* counted */
	unsigned n_unlogged, unlogged_bytes;
	struct event *cached;			/* counted, or NULL */
	bool is_cache_unknown, is_cache_shared; /* of directory_join */
	bool must_reach_end;			/* of the log, before it has succeeded */
	struct msgbuf *roster;			/* counted, or NULL; until it has succeeded */
	bool may_follow;			/* of the page that cached was read from */
	bool is_replayed;			/* what the client missed was sent */
};

static struct str_view catch_up_channel(const struct catch_up *u)
{
	return subscription_channel(u->sub);
}

/* Whether catch_up_tick() may continue it. */
static bool catch_up_is_timed(const struct catch_up *u)
{
	return u->stage == STAGE_AHEAD || u->stage == STAGE_SENT ||
	       (u->stage != STAGE_EVENTS && u->is_cache_shared);
}

static void catch_up_set_stage(struct catch_up *u, enum stage stage)
{
	u->session->hub->n_timed -= catch_up_is_timed(u);
	u->stage = stage;
	u->session->hub->n_timed += catch_up_is_timed(u);
}

static unsigned catch_up_cap_bytes(const struct session *s)
{
	unsigned bytes = s->app->limits.max_outbox_bytes;

	return bytes ? bytes : NO_CAP_BYTES;
}

/* ---- the session's part ---- */

static struct catching_up *catching_up_of(struct session *s)
{
	struct catching_up *c = s->catching_up;

	if (c)
		return c;
	c = s->catching_up = xcalloc(1, sizeof(*c));
	c->session = s;
	c->list_end = &c->list;
	c->moved = s->hub->now;
	c->next = s->hub->catching_up;
	if (c->next)
		c->next->prev = c;
	s->hub->catching_up = c;
	return c;
}

static void catching_up_free(struct catching_up *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		c->session->hub->catching_up = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->session->catching_up = NULL;
	free(c);
}

/* ---- requests ---- */

static struct str_view page_request_key(const struct page_request *r)
{
	return sv_n((const char *)&r->token, sizeof(r->token));
}

/* The caller made sure that a slot is free. */
static struct page_request *page_request_begin(struct catch_up *u)
{
	struct hub *h = u->session->hub;
	struct page_request *r = u->session->catching_up->requests;

	while (r->token)
		r++;
	*r = (struct page_request){ .token = ++h->last_token,
				    .session = u->session,
				    .catch_up = u };
	map_put(&h->page_requests, page_request_key(r), r);
	u->request = r;
	return r;
}

static void page_request_end(struct page_request *r)
{
	map_del(&r->session->hub->page_requests, page_request_key(r));
	log_ticket_unref(r->ticket);
	*r = (struct page_request){ 0 };
}

/* The slot stays in use until the answer. */
static void page_request_abandon(struct page_request *r)
{
	if (!r)
		return;
	if (r->ticket)
		atomic_store(&r->ticket->is_cancelled, true);
	r->catch_up->request = NULL;
	r->catch_up = NULL;
}

static unsigned catching_up_n_requests(const struct catching_up *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < CATCH_UP_PAGES; i++)
		n += c->requests[i].token != 0;
	return n;
}

static bool catching_up_has_slot(const struct catching_up *c)
{
	return c->n_pages + catching_up_n_requests(c) < CATCH_UP_PAGES;
}

static void catch_up_request_page(struct catch_up *u)
{
	struct session *s = u->session;
	const struct log_reader *log = s->hub->conf.log;
	const struct app_limits *max = &s->app->limits;
	unsigned bytes = catch_up_cap_bytes(s) / 8;
	struct page_request *r = page_request_begin(u);
	struct log_request a = { .kind = u->stage == STAGE_CACHED ? LOG_REQUEST_CACHED
								  : LOG_REQUEST_EVENTS,
				 .worker = s->hub->conf.worker,
				 .token = r->token,
				 .ticket = r->ticket = log_ticket_new(),
				 .app = s->app,
				 .channel = catch_up_channel(u),
				 .epoch = u->since.epoch,
				 .from = u->read_to,
				 .to = u->to,
				 .was = sv(u->was),
				 .max = u->is_first ? PAGE_FIRST : PAGE_NEXT,
				 .max_bytes = bytes < PAGE_BYTES ? bytes : PAGE_BYTES,
				 .cap = u->is_first ? max->max_replay_events : 0,
				 .max_age_s = max->max_replay_age_s };

	if (u->stage == STAGE_END) /* with nothing in which two requests could differ */
		a = (struct log_request){ .kind = LOG_REQUEST_END,
					  .worker = a.worker,
					  .token = a.token,
					  .ticket = a.ticket,
					  .app = a.app };
	else
		u->is_first = false;
	log->request(log->ctx, &a);
}

static bool catch_up_wants_page(const struct catch_up *u)
{
	switch (u->stage) {
	case STAGE_AHEAD:
	case STAGE_END:
		return !u->request && !u->is_in_log;
	case STAGE_CACHED:
		return !u->request;
	case STAGE_SENT:
		return false;
	case STAGE_EVENTS:
		break;
	}
	return !u->request && !u->n_pages && u->read_to < u->to;
}

/* The page after the one that is being sent, while the socket keeps up. */
static bool catch_up_wants_next_page(const struct catch_up *u)
{
	return u->stage == STAGE_EVENTS && !u->request && u->n_pages && u->read_to < u->to &&
	       outbox_is_empty(&u->session->outbox);
}

/* Uses free slots.  Called when a function that may have freed one is done. */
static void catch_up_continue(struct session *s)
{
	struct catching_up *c = s->catching_up;

	if (!c)
		return;
	for (struct catch_up *u = c->list; u && !s->is_closing && catching_up_has_slot(c);
	     u = u->next)
		if (catch_up_wants_page(u))
			catch_up_request_page(u);
	for (struct catch_up *u = c->list; u && !s->is_closing && catching_up_has_slot(c);
	     u = u->next)
		if (catch_up_wants_next_page(u))
			catch_up_request_page(u);
	if (!c->list && !catching_up_n_requests(c))
		catching_up_free(c);
}

/* ---- beginning and end of a catch-up ---- */

static struct catch_up *catch_up_new(struct session *s, struct subscription *sub,
				     const struct catch_up_request *req, const struct position *now)
{
	struct catching_up *c = catching_up_of(s);
	struct catch_up *u = xcalloc(1, sizeof(*u));

	u->session = s;
	u->sub = sub;
	u->began = clock_mono();
	u->now = *now;
	if (req->is_valid) {
		u->since = req->since;
		u->was = sv_dup(req->was);
		u->read_to = req->since.serial;
	}
	u->is_first = true;
	u->stage = STAGE_EVENTS;
	u->held_end = &u->held;
	u->link = c->list_end;
	*u->link = u;
	c->list_end = &u->next;
	sub->catch_up = u;
	sub->channel->n_held++;
	return u;
}

/* From now on the subscription receives frames itself. */
static void catch_up_detach(struct catch_up *u)
{
	struct catching_up *c = u->session->catching_up;

	catch_up_set_stage(u, STAGE_EVENTS);
	page_request_abandon(u->request);
	*u->link = u->next;
	if (u->next)
		u->next->link = u->link;
	else
		c->list_end = u->link;
	u->sub->catch_up = NULL;
	u->sub->channel->n_held--;
}

/* NULL: none is left. */
static struct held *catch_up_take_held(struct catch_up *u)
{
	struct catching_up *c = u->session->catching_up;
	struct held *h = u->held;

	if (!h)
		return NULL;
	u->held = h->next;
	c->n_held--;
	c->held_bytes -= h->frame->len;
	c->bytes -= h->frame->len;
	return h;
}

static void held_free(struct held *h)
{
	msgbuf_unref(h->frame);
	event_unref(h->event);
	free(h);
}

/* The first page was sent, or is not needed any more. */
static void catch_up_drop_page(struct catch_up *u)
{
	struct log_page *p = u->pages[0];

	for (; u->chunk < p->n_chunks; u->chunk++)
		u->session->catching_up->bytes -= p->chunks[u->chunk]->len;
	u->chunk = 0;
	u->n_pages--;
	u->session->catching_up->n_pages--;
	for (unsigned i = 0; i < u->n_pages; i++)
		u->pages[i] = u->pages[i + 1];
	log_page_unref(p);
}

static void catch_up_free(struct catch_up *u)
{
	struct held *h;

	while ((h = catch_up_take_held(u)))
		held_free(h);
	while (u->n_pages)
		catch_up_drop_page(u);
	for (unsigned i = 0; i < u->n_unlogged; i++)
		event_unref(u->unlogged[i]);
	u->session->catching_up->bytes -= u->unlogged_bytes;
	event_unref(u->cached);
	msgbuf_unref(u->roster);
	free(u->unlogged);
	free(u->was);
	free(u);
}

void catch_up_drop(struct catch_up *u)
{
	struct session *s = u->session;

	catch_up_detach(u);
	catch_up_free(u);
	catch_up_continue(s);
}

void catch_up_session_closed(struct session *s)
{
	struct catching_up *c = s->catching_up;

	if (!c)
		return;
	for (unsigned i = 0; i < CATCH_UP_PAGES; i++)
		if (c->requests[i].token) {
			if (c->requests[i].ticket)
				atomic_store(&c->requests[i].ticket->is_cancelled, true);
			page_request_end(&c->requests[i]);
		}
	catching_up_free(c);
}

/* ---- going live ---- */

/* Whether the event was excluded for an earlier connection of this client. */
static bool catch_up_is_own(const char *was, uint64_t socket)
{
	struct str_view rest = sv(was);
	uint64_t id;

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

	session_send(s, frame);
	msgbuf_unref(frame);
}

/*
 * Sends the events that are not in the log yet, then the held frames, without those that the log
 * contained up to floor.
 */
static void catch_up_go_live(struct catch_up *u, uint64_t floor) RUNS_ON(on_worker)
{
	struct session *s = u->session;
	struct held *h;

	if (!u->may_follow)
		catch_up_detach(u);
	s->catching_up->bytes -= u->unlogged_bytes;
	u->unlogged_bytes = 0;
	for (unsigned i = 0; i < u->n_unlogged; i++)
		if (!catch_up_is_covered(u->unlogged[i], floor) &&
		    !catch_up_is_own(u->was, u->unlogged[i]->exclude_socket))
			catch_up_send_event(s, u->unlogged[i], floor);
	while ((h = catch_up_take_held(u))) {
		if (!catch_up_is_covered(h->event, floor) && session_send(s, h->frame)) {
			metric_add(METRIC_DELIVERIES, h->event != NULL);
			if (h->event)
				atomic_fetch_add_explicit(&h->event->sockets, 1,
							  memory_order_relaxed);
		}
		held_free(h);
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
	const struct held *h = u->held;

	while (h && (!h->event || !sv_eq_c(sv(h->event->id), e->id)))
		h = h->next;
	return h != NULL;
}

/* Whether the last event of a cache channel was held.  In a cluster any event that was held is
 * newer than the one before it. */
static bool catch_up_holds_last(const struct catch_up *u)
{
	const struct held *h = u->held;

	if (!u->is_cache_shared)
		return u->cached && catch_up_holds(u, u->cached);
	while (h && (!h->event || catch_up_is_covered(h->event, u->sent_to)))
		h = h->next;
	return h != NULL;
}

static void catch_up_send_succeeded(struct session *s, const struct subscription *sub,
				    const struct msgbuf *roster, const struct position *p)
	RUNS_ON(on_worker)
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

/* Goes live; a cache channel gets its last event first, unless that is among those that were held.
 */
static void catch_up_begin_cached(struct catch_up *u) RUNS_ON(on_worker)
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

/*
 * A cache channel in a cluster, whose events are logged: the subscription begins where the log
 * ended when it was requested, or, unless is_reached, with what this node had then.
 */
static void catch_up_succeed(struct catch_up *u, bool is_reached) RUNS_ON(on_worker)
{
	u->must_reach_end = false;
	if (is_reached)
		u->now.serial = u->to;
	u->sent_to = u->now.serial;
	for (const struct held *h = u->held; h; h = h->next) {
		if (!catch_up_is_covered(h->event, u->sent_to))
			continue;
		event_unref(u->cached);
		u->cached = event_ref(h->event);
		u->is_cache_unknown = false;
	}
	catch_up_send_succeeded(u->session, u->sub, u->roster, &u->now);
	catch_up_begin_cached(u);
}

/* All events up to u->to were sent. */
static void catch_up_finish(struct catch_up *u) RUNS_ON(on_worker)
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
	catch_up_begin_cached(u);
}

static void catch_up_resync(struct catch_up *u, const char *reason) RUNS_ON(on_worker)
{
	struct session *s = u->session;

	catch_up_set_stage(u, STAGE_EVENTS);
	metric_add_at(METRIC_REPLAY, metric_word(METRIC_BY_REPLAY, reason), 1);
	strbuf_reset(&s->hub->text);
	frame_resync(&s->hub->text, catch_up_channel(u), reason, &u->now);
	session_send_text(s);
	session_note(s, STEP_RESYNC, catch_up_channel(u), 0, reason);
	catch_up_begin_cached(u);
}

static const char *const catch_up_reasons[] = {
	[LOG_EXPIRED] = "expired",
	[LOG_OTHER_EPOCH] = "epoch",
	[LOG_TOO_MANY] = "too_many",
	[LOG_UNAVAILABLE] = "unavailable",
};

/* ---- sending pages ---- */

static bool catch_up_outbox_is_low(const struct session *s)
{
	unsigned n = s->app->limits.max_outbox_messages;

	return outbox_bytes(&s->outbox) < catch_up_cap_bytes(s) / 4 &&
	       (!n || s->outbox.n < n / 2 + 1);
}

/* Whether a chunk can be sent now.  If not, session_writable() continues later. */
static bool catch_up_has_room(struct session *s) RUNS_ON(on_worker)
{
	if (!catch_up_outbox_is_low(s))
		session_flush(s);
	return !s->is_closing && catch_up_outbox_is_low(s);
}

/* Sends what the socket takes; goes live after the last page. */
static void catch_up_send_pages(struct catch_up *u) RUNS_ON(on_worker)
{
	struct session *s = u->session;

	while (u->n_pages) {
		struct log_page *p = u->pages[0];

		while (u->chunk < p->n_chunks) {
			struct msgbuf *chunk = p->chunks[u->chunk];

			if (!catch_up_has_room(s))
				return;
			s->catching_up->bytes -= chunk->len;
			u->chunk++;
			if (!session_send(s, chunk))
				return;
		}
		u->n_events += p->n_events;
		metric_add(METRIC_DELIVERIES, p->n_events);
		u->sent_to = p->to;
		catch_up_drop_page(u);
	}
	if (u->read_to >= u->to)
		catch_up_finish(u);
}

void catch_up_writable(struct session *s)
{
	struct catch_up *u, *next;

	s->catching_up->moved = s->hub->now;
	for (u = s->catching_up->list; u && !s->is_closing; u = next) {
		next = u->next;
		if (u->stage == STAGE_EVENTS && u->n_pages)
			catch_up_send_pages(u);
	}
	catch_up_continue(s);
}

/* ---- answers of the log ---- */

static void catch_up_take_events(struct catch_up *u, struct log_page *page) RUNS_ON(on_worker)
{
	struct catching_up *c = u->session->catching_up;

	if (page->outcome != LOG_SERVED) {
		catch_up_resync(u, catch_up_reasons[page->outcome]);
		return;
	}
	if (page->to <= u->read_to && u->read_to < u->to) {
		catch_up_resync(u, catch_up_reasons[LOG_UNAVAILABLE]);
		return;
	}
	u->read_to = page->to;
	if (u->to < page->to)
		u->to = page->to;
	u->pages[u->n_pages++] = log_page_ref(page);
	c->n_pages++;
	c->bytes += (unsigned)page->bytes;
	catch_up_send_pages(u);
}

static void catch_up_take_cached(struct catch_up *u, struct log_page *page) RUNS_ON(on_worker)
{
	if (page->outcome == LOG_SERVED) {
		event_unref(u->cached);
		u->cached = page->cached ? event_ref(page->cached) : NULL;
		u->may_follow = page->may_follow;
	}
	u->is_cache_unknown = false;
	catch_up_begin_cached(u);
}

/* Continues a catch-up whose position this node has reached, or has not reached in time. */
static void catch_up_check_ahead(struct catch_up *u, const struct position *now)
{
	struct hub *h = u->session->hub;
	const char *epoch = u->stage == STAGE_END ? u->now.epoch : u->since.epoch;
	uint64_t serial = u->stage == STAGE_END ? u->to : u->since.serial;
	bool is_there = now->serial >= serial && strcmp(now->epoch, epoch) == 0;

	if ((u->stage != STAGE_AHEAD && u->stage != STAGE_END) || !u->is_in_log || u->request ||
	    (!is_there && h->now - u->began < h->conf.ahead_max) ||
	    !catching_up_has_slot(u->session->catching_up))
		return;
	directory_post_page(h->conf.directory, h->conf.worker, page_request_begin(u)->token,
			    log_page_new(is_there ? LOG_SERVED : LOG_OTHER_EPOCH));
}

/* The second answer is a message as that of catch_up_take_ahead(). */
static void catch_up_take_end(struct catch_up *u, struct log_page *page) RUNS_ON(on_worker)
{
	struct position now;

	if (page->outcome == LOG_SERVED && !u->is_in_log && page->to > u->now.serial) {
		u->is_in_log = true;
		u->to = page->to;
		directory_position(u->session->hub->conf.directory, &now);
		catch_up_check_ahead(u, &now);
		return;
	}
	catch_up_succeed(u, u->is_in_log && page->outcome == LOG_SERVED);
}

/*
 * The first answer is whether the log has reached the position.  The second is a message that
 * this worker sent itself.  It comes after all messages that were sent before the node reached the
 * position, so the events up to it are sent or held.
 */
static void catch_up_take_ahead(struct catch_up *u, struct log_page *page) RUNS_ON(on_worker)
{
	if (page->outcome != LOG_SERVED) {
		catch_up_resync(u, catch_up_reasons[page->outcome]);
	} else if (!u->is_in_log) {
		u->is_in_log = true;
	} else {
		u->to = u->since.serial;
		catch_up_finish(u);
	}
}

static void (*const catch_up_take[])(struct catch_up *u, struct log_page *page) = {
	[STAGE_AHEAD] = catch_up_take_ahead,
	[STAGE_EVENTS] = catch_up_take_events,
	[STAGE_CACHED] = catch_up_take_cached,
	[STAGE_END] = catch_up_take_end,
};

void catch_up_answer(struct hub *h, uint64_t token, struct log_page *page)
{
	struct page_request *r =
		map_get(&h->page_requests, sv_n((const char *)&token, sizeof(token)));

	if (r) {
		struct session *s = r->session;
		struct catch_up *u = r->catch_up;

		page_request_end(r);
		if (u)
			u->request = NULL;
		if (u && !s->is_closing)
			catch_up_take[u->stage](u, page);
		catch_up_continue(s);
	}
	log_page_unref(page);
}

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
			catch_up_begin_cached(u);
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

/* ---- frames that arrive meanwhile ---- */

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
	if (session_send(u->session, m->frame) && m->event)
		atomic_fetch_add_explicit(&m->event->sockets, 1, memory_order_relaxed);
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
	if (catch_up_is_own(u->was, m->exclude))
		return;
	if (!catch_up_is_full(u, m->frame)) {
		struct held *h = xmalloc(sizeof(*h));

		*h = (struct held){ NULL, msgbuf_ref(m->frame),
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
		catch_up_begin_cached(u);
	else
		catch_up_resync(u, catch_up_reasons[LOG_TOO_MANY]);
	if (session_send(s, m->frame) && m->event)
		atomic_fetch_add_explicit(&m->event->sockets, 1, memory_order_relaxed);
	catch_up_continue(s);
}

/* ---- the start ---- */

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
		catch_up_finish(u);
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
		catch_up_begin_cached(u);
	catch_up_continue(s);
}
