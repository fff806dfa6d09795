/* SPDX-License-Identifier: MIT */
/*
 * A catch-up has one page at most on its way from the log, and up to PAGES that are not sent.
 *
 * Pages are sent as fast as the socket takes them: while the outbox is under half its cap.  The
 * other half is for the held frames, so that going live cannot overflow it.  The page after the
 * one that is being sent is requested ahead when the socket keeps up.
 *
 * Every catch-up ends in catch_up_go_live() or catch_up_drop(), which free it.  Functions here that
 * send may have ended it when they return.  All of it runs on the session's worker.
 */
#include "base/mem.h"
#include "core/session_out.h"
#include "wire/socket_id.h"

#define PAGES	     2
#define PAGE_FIRST   200 /* events; later pages depend on the size of the events */
#define PAGE_MIN     50
#define PAGE_MAX     2000
#define PAGE_BYTES   ((size_t)256 << 10)
#define NO_CAP_BYTES (1U << 20) /* the outbox's, for an app that has none */

struct held {
	struct held *next;
	struct msgbuf *frame;
	struct event *event; /* or NULL */
};

enum stage {
	STAGE_AHEAD,  /* waits until this node reaches the client's position */
	STAGE_EVENTS, /* reads and sends missed events */
	STAGE_CACHED, /* reads the last event of a cache channel */
};

struct catch_up {
	uint64_t token; /* its bytes are the key in the hub's map */
	struct session *session;
	struct subscription *sub;
	struct catch_up *prev, *next; /* of the session */
	enum stage stage;
	usec_t began; /* monotonic */
	struct position since;
	struct position now;	       /* the log at the join */
	char *was;		       /* the client's earlier socket ids, or NULL */
	uint64_t read_to;	       /* all events up to this serial are in a page */
	uint64_t sent_to;	       /* and up to this one in the outbox */
	uint64_t to;		       /* the replay ends here */
	unsigned limit;		       /* events of the next page */
	unsigned n_events;	       /* sent */
	bool is_first;		       /* no page was requested yet */
	bool is_requested;	       /* a page is on its way */
	struct log_page *pages[PAGES]; /* oldest first */
	unsigned n_pages, chunk;       /* of pages[0]: the next to send */
	struct held *held, **held_end;
	unsigned n_held, held_bytes;
	struct event **unlogged; /* counted */
	unsigned n_unlogged;
	struct event *cached; /* counted, or NULL */
	bool cache_unknown;
};

static struct str_view catch_up_key(const struct catch_up *u)
{
	return sv_n((const char *)&u->token, sizeof(u->token));
}

static struct str_view catch_up_channel(const struct catch_up *u)
{
	return subscription_channel(u->sub);
}

/* ---- beginning and end of a catch-up ---- */

static struct catch_up *catch_up_new(struct session *s, struct subscription *sub,
				     const struct catch_up_request *req, const struct position *now)
{
	struct hub *h = s->hub;
	struct catch_up *u = xcalloc(1, sizeof(*u));

	u->token = ++h->last_token;
	u->session = s;
	u->sub = sub;
	u->began = h->now;
	u->now = *now;
	if (req->is_valid) {
		u->since = req->since;
		u->was = sv_dup(req->was);
		u->read_to = req->since.serial;
	}
	u->limit = PAGE_FIRST;
	u->is_first = true;
	u->held_end = &u->held;
	u->next = s->catching_up;
	if (u->next)
		u->next->prev = u;
	s->catching_up = u;
	map_put(&h->catch_ups, catch_up_key(u), u);
	sub->catch_up = u;
	sub->channel->n_held++;
	return u;
}

/* From now on the subscription receives frames itself. */
static void catch_up_detach(struct catch_up *u)
{
	struct session *s = u->session;

	s->hub->n_ahead -= u->stage == STAGE_AHEAD;
	map_del(&s->hub->catch_ups, catch_up_key(u));
	if (u->prev)
		u->prev->next = u->next;
	else
		s->catching_up = u->next;
	if (u->next)
		u->next->prev = u->prev;
	u->sub->catch_up = NULL;
	u->sub->channel->n_held--;
}

static void catch_up_free(struct catch_up *u)
{
	struct held *h, *next;

	for (h = u->held; h; h = next) {
		next = h->next;
		msgbuf_unref(h->frame);
		if (h->event)
			event_unref(h->event);
		free(h);
	}
	for (unsigned i = 0; i < u->n_pages; i++)
		log_page_unref(u->pages[i]);
	for (unsigned i = 0; i < u->n_unlogged; i++)
		event_unref(u->unlogged[i]);
	if (u->cached)
		event_unref(u->cached);
	free(u->unlogged);
	free(u->was);
	free(u);
}

void catch_up_drop(struct catch_up *u)
{
	catch_up_detach(u);
	catch_up_free(u);
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

static void catch_up_send_event(struct session *s, struct event *e) RUNS_ON(on_worker)
{
	struct msgbuf *frame = event_frame(e);

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

	catch_up_detach(u);
	for (unsigned i = 0; i < u->n_unlogged; i++)
		if (!catch_up_is_covered(u->unlogged[i], floor) &&
		    !catch_up_is_own(u->was, u->unlogged[i]->exclude_socket))
			catch_up_send_event(s, u->unlogged[i]);
	for (struct held *h = u->held; h; h = h->next) {
		if (catch_up_is_covered(h->event, floor) || !session_send(s, h->frame))
			continue;
		s->hub->stats.deliveries++;
		if (h->event)
			atomic_fetch_add_explicit(&h->event->sockets, 1, memory_order_relaxed);
	}
	catch_up_free(u);
}

static void catch_up_request_page(struct catch_up *u, enum log_ask_kind kind)
{
	struct session *s = u->session;
	const struct log_reader *log = s->hub->conf.log;
	struct log_ask a = { .kind = kind,
			     .worker = s->hub->conf.worker,
			     .token = u->token,
			     .app = s->app,
			     .channel = catch_up_channel(u),
			     .epoch = u->since.epoch,
			     .from = u->read_to,
			     .to = u->to,
			     .was = sv(u->was),
			     .max = u->limit,
			     .cap = u->is_first ? s->app->limits.max_replay_events : 0 };

	u->is_requested = true;
	u->is_first = false;
	log->ask(log->ctx, &a);
}

/* Goes live; a cache channel gets its last event first. */
static void catch_up_begin_cached(struct catch_up *u) RUNS_ON(on_worker)
{
	struct session *s = u->session;

	if (u->sub->traits.cache && !u->cached && u->cache_unknown && s->hub->conf.log) {
		u->stage = STAGE_CACHED;
		/* A page that is on its way must not be taken for the answer. */
		map_del(&s->hub->catch_ups, catch_up_key(u));
		u->token = ++s->hub->last_token;
		map_put(&s->hub->catch_ups, catch_up_key(u), u);
		catch_up_request_page(u, LOG_ASK_CACHED);
		return;
	}
	if (u->cached) {
		catch_up_send_event(s, u->cached);
	} else if (u->sub->traits.cache) {
		strbuf_reset(&s->hub->text);
		frame_cache_miss(&s->hub->text, catch_up_channel(u));
		session_send_text(s);
	}
	catch_up_go_live(u, u->sent_to);
}

/* All events up to u->to were sent. */
static void catch_up_finish(struct catch_up *u) RUNS_ON(on_worker)
{
	struct session *s = u->session;
	struct position p = u->since;
	char text[POSITION_SIZE];

	p.serial = u->to;
	strbuf_reset(&s->hub->text);
	frame_replayed(&s->hub->text, catch_up_channel(u), u->n_events,
		       sv(position_format(&p, text)));
	session_send_text(s);
	if (u->cached && u->cached->durability == DURABILITY_NONE)
		catch_up_send_event(s, u->cached);
	catch_up_go_live(u, u->to);
}

static void catch_up_resync(struct catch_up *u, const char *reason) RUNS_ON(on_worker)
{
	struct session *s = u->session;

	s->hub->n_ahead -= u->stage == STAGE_AHEAD;
	u->stage = STAGE_EVENTS;
	strbuf_reset(&s->hub->text);
	frame_resync(&s->hub->text, catch_up_channel(u), reason, &u->now);
	session_send_text(s);
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
	unsigned bytes = s->app->limits.max_outbox_bytes;
	unsigned n = s->app->limits.max_outbox_messages;

	return s->outbox.bytes < (bytes ? bytes : NO_CAP_BYTES) / 2 && (!n || s->outbox.n <= n / 2);
}

/* When it has not, the socket's session_writable() continues. */
static bool catch_up_has_room(struct session *s) RUNS_ON(on_worker)
{
	if (!catch_up_outbox_is_low(s))
		session_flush(s);
	return !s->is_closing && catch_up_outbox_is_low(s);
}

static void catch_up_request_more(struct catch_up *u)
{
	if (!u->is_requested && u->n_pages < PAGES && u->read_to < u->to)
		catch_up_request_page(u, LOG_ASK_EVENTS);
}

/* Sends what the socket takes; goes live after the last page. */
static void catch_up_send_pages(struct catch_up *u) RUNS_ON(on_worker)
{
	struct session *s = u->session;

	while (u->n_pages) {
		struct log_page *p = u->pages[0];

		while (u->chunk < p->n_chunks) {
			if (!catch_up_has_room(s) || !session_send(s, p->chunks[u->chunk]))
				return;
			u->chunk++;
		}
		u->n_events += p->n_events;
		s->hub->stats.deliveries += p->n_events;
		u->sent_to = p->to;
		u->chunk = 0;
		u->pages[0] = u->pages[1];
		u->n_pages--;
		log_page_unref(p);
		catch_up_request_more(u);
	}
	if (!u->is_requested)
		catch_up_finish(u);
}

void catch_up_writable(struct session *s)
{
	struct catch_up *u, *next;

	for (u = s->catching_up; u && !s->is_closing; u = next) {
		next = u->next;
		if (u->stage == STAGE_EVENTS && u->n_pages)
			catch_up_send_pages(u);
	}
}

/* ---- answers of the log ---- */

static unsigned catch_up_next_limit(const struct log_page *p)
{
	size_t n = p->n_events ? PAGE_BYTES / (p->bytes / p->n_events + 1) : PAGE_MAX;

	return n < PAGE_MIN ? PAGE_MIN : n > PAGE_MAX ? PAGE_MAX : (unsigned)n;
}

static void catch_up_take_page(struct catch_up *u, struct log_page *page) RUNS_ON(on_worker)
{
	u->limit = catch_up_next_limit(page);
	u->read_to = page->to;
	if (u->to < page->to)
		u->to = page->to;
	u->pages[u->n_pages++] = log_page_ref(page);
	if (outbox_is_empty(&u->session->outbox))
		catch_up_request_more(u);
	catch_up_send_pages(u);
}

static void catch_up_take_events(struct catch_up *u, struct log_page *page) RUNS_ON(on_worker)
{
	if (page->outcome != LOG_SERVED)
		catch_up_resync(u, catch_up_reasons[page->outcome]);
	else if (page->to <= u->read_to && u->read_to < u->to)
		catch_up_resync(u, catch_up_reasons[LOG_UNAVAILABLE]);
	else
		catch_up_take_page(u, page);
}

static void catch_up_take_cached(struct catch_up *u, struct log_page *page) RUNS_ON(on_worker)
{
	u->cached = page->cached ? event_ref(page->cached) : NULL;
	u->cache_unknown = false;
	catch_up_begin_cached(u);
}

/*
 * The answer is a message that this worker sent itself.  It comes after all messages that were sent
 * before the node reached the position, so the events up to it are sent or held.
 */
static void catch_up_take_ahead(struct catch_up *u, struct log_page *page) RUNS_ON(on_worker)
{
	if (page->outcome != LOG_SERVED) {
		catch_up_resync(u, catch_up_reasons[page->outcome]);
		return;
	}
	u->to = u->since.serial;
	catch_up_finish(u);
}

static void (*const catch_up_take[])(struct catch_up *u, struct log_page *page) = {
	[STAGE_AHEAD] = catch_up_take_ahead,
	[STAGE_EVENTS] = catch_up_take_events,
	[STAGE_CACHED] = catch_up_take_cached,
};

void catch_up_answer(struct hub *h, uint64_t token, struct log_page *page)
{
	struct catch_up *u = map_get(&h->catch_ups, sv_n((const char *)&token, sizeof(token)));

	if (u && !u->session->is_closing) {
		u->is_requested = false;
		catch_up_take[u->stage](u, page);
	}
	log_page_unref(page);
}

void catch_up_tick(struct hub *h)
{
	struct position now;
	struct catch_up *u;
	size_t at = 0;

	if (!h->n_ahead)
		return;
	directory_position(h->conf.directory, &now);
	while ((u = map_next(&h->catch_ups, &at))) {
		bool is_there =
			now.serial >= u->since.serial && strcmp(now.epoch, u->since.epoch) == 0;

		if (u->stage != STAGE_AHEAD || u->is_requested ||
		    (!is_there && h->now - u->began < h->conf.ahead_max))
			continue;
		u->is_requested = true;
		directory_post_page(h->conf.directory, h->conf.worker, u->token,
				    log_page_new(is_there ? LOG_SERVED : LOG_OTHER_EPOCH));
	}
}

/* ---- frames that arrive meanwhile ---- */

static bool catch_up_is_full(const struct catch_up *u, const struct msgbuf *frame)
{
	const struct app_limits *max = &u->session->app->limits;

	return (max->max_outbox_messages && u->n_held >= max->max_outbox_messages / 2) ||
	       (max->max_outbox_bytes && u->held_bytes + frame->len > max->max_outbox_bytes / 2);
}

void catch_up_hold(struct catch_up *u, const struct worker_message *m)
{
	struct session *s = u->session;

	if (catch_up_is_own(u->was, m->exclude))
		return;
	if (!catch_up_is_full(u, m->frame)) {
		struct held *h = xmalloc(sizeof(*h));

		*h = (struct held){ NULL, msgbuf_ref(m->frame),
				    m->event ? event_ref(m->event) : NULL };
		*u->held_end = h;
		u->held_end = &h->next;
		u->n_held++;
		u->held_bytes += m->frame->len;
		return;
	}
	/* No room: it ends here, and m follows it. */
	u->cache_unknown = false;
	if (u->stage == STAGE_CACHED)
		catch_up_begin_cached(u);
	else
		catch_up_resync(u, catch_up_reasons[LOG_TOO_MANY]);
	if (session_send(s, m->frame) && m->event)
		atomic_fetch_add_explicit(&m->event->sockets, 1, memory_order_relaxed);
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

	u->stage = STAGE_EVENTS;
	u->to = u->now.serial;
	if (fault) {
		catch_up_resync(u, fault);
	} else if (u->since.serial > u->to) {
		u->stage = STAGE_AHEAD;
		u->session->hub->n_ahead++;
	} else if (u->since.serial == u->to) {
		catch_up_finish(u);
	} else {
		catch_up_request_page(u, LOG_ASK_EVENTS);
	}
}

void catch_up_begin(struct session *s, struct subscription *sub, const struct catch_up_request *req,
		    struct directory_join *j, const struct position *now)
{
	struct catch_up *u;

	if (!req->is_given && !sub->traits.cache)
		return;
	u = catch_up_new(s, sub, req, now);
	u->unlogged = j->unlogged;
	u->n_unlogged = j->n_unlogged;
	u->cached = j->cached;
	u->cache_unknown = j->cache_unknown;
	if (req->is_given)
		catch_up_begin_replay(u, req);
	else
		catch_up_begin_cached(u);
}
