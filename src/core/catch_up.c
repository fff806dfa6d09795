/* SPDX-License-Identifier: MIT */
/*
 * Pages are sent as fast as the socket takes them: while the outbox is under half its cap.  The
 * other half is for what is held back, so that going live cannot overflow it.  The page behind
 * the one that is being sent is asked for ahead when the socket keeps up.
 */
#include "base/mem.h"
#include "core/session-private.h"

#define PAGES	     2
#define PAGE_FIRST   200 /* events; later pages by how large events turned out to be */
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
	STAGE_AHEAD,  /* this node has not come as far as the position */
	STAGE_EVENTS, /* missed events are read and sent */
	STAGE_CACHED, /* the last event is read */
};

struct catch_up {
	uint64_t token; /* its bytes are the key in the hub's map */
	struct session *session;
	struct subscription *sub;
	struct catch_up *prev, *next; /* of the session */
	enum stage stage;
	usec_t began;
	struct position since;
	struct position now; /* the log at the join */
	char *was;
	uint64_t read_to, sent_to; /* all up to here is in a page; went to the outbox */
	uint64_t to;		   /* that is enough */
	unsigned limit;		   /* events of the next page */
	unsigned n_events;	   /* sent */
	bool is_first, is_asked;
	struct log_page *pages[PAGES]; /* oldest first */
	unsigned n_pages, chunk;       /* of pages[0]: the next to send */
	struct held *held, **held_end;
	unsigned n_held, held_bytes;
	struct event **unlogged; /* counted */
	unsigned n_unlogged;
	struct event *cached; /* counted, or NULL */
	bool cache_unknown;
};

static struct str_view key_of(const struct catch_up *u)
{
	return sv_n((const char *)&u->token, sizeof(u->token));
}

static struct str_view name_of(const struct catch_up *u)
{
	return subscription_channel(u->sub);
}

/* -- a life -- */

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
	map_put(&h->catch_ups, key_of(u), u);
	sub->catch_up = u;
	sub->channel->n_held++;
	return u;
}

/* From now on what comes for the subscription is its own. */
static void detach(struct catch_up *u)
{
	struct session *s = u->session;

	s->hub->n_ahead -= u->stage == STAGE_AHEAD;
	map_del(&s->hub->catch_ups, key_of(u));
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
	detach(u);
	catch_up_free(u);
}

/* -- the end -- */

static bool is_own(const char *was, uint64_t socket)
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

static bool is_covered(const struct event *e, uint64_t floor)
{
	uint64_t serial = e ? atomic_load(&e->serial) : 0;

	return serial && serial <= floor;
}

static void send_event(struct session *s, struct event *e)
{
	struct msgbuf *frame = event_frame(e);

	session_send(s, frame);
	msgbuf_unref(frame);
}

/* What is not in the log yet, then what was held back, but for what the log gave up to floor. */
static void go_live(struct catch_up *u, uint64_t floor) RUNS_ON(on_worker)
{
	struct session *s = u->session;

	detach(u);
	for (unsigned i = 0; i < u->n_unlogged; i++)
		if (!is_covered(u->unlogged[i], floor) &&
		    !is_own(u->was, u->unlogged[i]->exclude_socket))
			send_event(s, u->unlogged[i]);
	for (struct held *h = u->held; h; h = h->next) {
		if (is_covered(h->event, floor) || !session_send(s, h->frame))
			continue;
		s->hub->stats.deliveries++;
		if (h->event)
			atomic_fetch_add_explicit(&h->event->sockets, 1, memory_order_relaxed);
	}
	catch_up_free(u);
}

static void send_cache_miss(struct session *s, struct str_view channel)
{
	strbuf_reset(&s->hub->text);
	frame_cache_miss(&s->hub->text, channel);
	session_send_text(s);
}

static void ask(struct catch_up *u, enum log_ask_kind kind)
{
	struct session *s = u->session;
	const struct log_reader *log = s->hub->conf.log;
	struct log_ask a = { .kind = kind,
			     .worker = s->hub->conf.worker,
			     .token = u->token,
			     .app = s->app,
			     .channel = name_of(u),
			     .epoch = u->since.epoch,
			     .from = u->read_to,
			     .to = u->to,
			     .was = sv(u->was),
			     .max = u->limit,
			     .cap = u->is_first ? s->app->limits.max_replay_events : 0 };

	u->is_asked = true;
	u->is_first = false;
	log->ask(log->ctx, &a);
}

/* A page that is under way is not for it any more. */
static void renew_token(struct catch_up *u)
{
	struct hub *h = u->session->hub;

	map_del(&h->catch_ups, key_of(u));
	u->token = ++h->last_token;
	map_put(&h->catch_ups, key_of(u), u);
}

/* On a cache channel its last event comes first. */
static void begin_with_cached(struct catch_up *u) RUNS_ON(on_worker)
{
	struct session *s = u->session;

	if (u->sub->traits.cache && !u->cached && u->cache_unknown && s->hub->conf.log) {
		u->stage = STAGE_CACHED;
		renew_token(u);
		ask(u, LOG_ASK_CACHED);
		return;
	}
	if (u->cached)
		send_event(s, u->cached);
	else if (u->sub->traits.cache)
		send_cache_miss(s, name_of(u));
	go_live(u, u->sent_to);
}

/* All up to u->to was sent. */
static void served(struct catch_up *u) RUNS_ON(on_worker)
{
	struct session *s = u->session;
	struct position p = u->since;
	char text[POSITION_SIZE];

	p.serial = u->to;
	strbuf_reset(&s->hub->text);
	frame_replayed(&s->hub->text, name_of(u), u->n_events, sv(position_format(&p, text)));
	session_send_text(s);
	if (u->cached && u->cached->durability == DURABILITY_NONE)
		send_event(s, u->cached);
	go_live(u, u->to);
}

static void resync(struct catch_up *u, const char *reason) RUNS_ON(on_worker)
{
	struct session *s = u->session;

	s->hub->n_ahead -= u->stage == STAGE_AHEAD;
	u->stage = STAGE_EVENTS;
	strbuf_reset(&s->hub->text);
	frame_resync(&s->hub->text, name_of(u), reason, &u->now);
	session_send_text(s);
	begin_with_cached(u);
}

static const char *const reasons[] = {
	[LOG_EXPIRED] = "expired",
	[LOG_OTHER_EPOCH] = "epoch",
	[LOG_TOO_MANY] = "too_many",
	[LOG_UNAVAILABLE] = "unavailable",
};

/* -- sending -- */

static bool is_low(const struct session *s)
{
	unsigned bytes = s->app->limits.max_outbox_bytes;
	unsigned n = s->app->limits.max_outbox_messages;

	return s->outbox.bytes < (bytes ? bytes : NO_CAP_BYTES) / 2 && (!n || s->outbox.n <= n / 2);
}

/* When not, session_writable() comes. */
static bool has_room(struct session *s)
{
	if (!is_low(s))
		session_flush(s);
	return !s->is_closing && is_low(s);
}

static void ask_more(struct catch_up *u)
{
	if (!u->is_asked && u->n_pages < PAGES && u->read_to < u->to)
		ask(u, LOG_ASK_EVENTS);
}

static void drop_first_page(struct catch_up *u)
{
	struct log_page *p = u->pages[0];

	u->n_events += p->n_events;
	u->session->hub->stats.deliveries += p->n_events;
	u->sent_to = p->to;
	u->chunk = 0;
	u->pages[0] = u->pages[1];
	u->n_pages--;
	log_page_unref(p);
}

static void pump(struct catch_up *u) RUNS_ON(on_worker)
{
	struct session *s = u->session;

	while (u->n_pages) {
		struct log_page *p = u->pages[0];

		while (u->chunk < p->n_chunks) {
			if (!has_room(s) || !session_send(s, p->chunks[u->chunk]))
				return;
			u->chunk++;
		}
		drop_first_page(u);
		ask_more(u);
	}
	if (!u->is_asked)
		served(u);
}

void catch_up_writable(struct session *s)
{
	struct catch_up *u, *next;

	for (u = s->catching_up; u && !s->is_closing; u = next) {
		next = u->next;
		if (u->stage == STAGE_EVENTS && u->n_pages)
			pump(u);
	}
}

/* -- answers -- */

static unsigned next_limit(const struct log_page *p)
{
	size_t n = p->n_events ? PAGE_BYTES / (p->bytes / p->n_events + 1) : PAGE_MAX;

	return n < PAGE_MIN ? PAGE_MIN : n > PAGE_MAX ? PAGE_MAX : (unsigned)n;
}

static void take_page(struct catch_up *u, struct log_page *page) RUNS_ON(on_worker)
{
	u->limit = next_limit(page);
	u->read_to = page->to;
	if (u->to < page->to)
		u->to = page->to;
	u->pages[u->n_pages++] = log_page_ref(page);
	if (outbox_is_empty(&u->session->outbox))
		ask_more(u);
	pump(u);
}

static void take_events(struct catch_up *u, struct log_page *page) RUNS_ON(on_worker)
{
	if (page->outcome != LOG_SERVED)
		resync(u, reasons[page->outcome]);
	else if (page->to <= u->read_to && u->read_to < u->to)
		resync(u, reasons[LOG_UNAVAILABLE]);
	else
		take_page(u, page);
}

static void take_cached(struct catch_up *u, struct log_page *page) RUNS_ON(on_worker)
{
	u->cached = page->cached ? event_ref(page->cached) : NULL;
	u->cache_unknown = false;
	begin_with_cached(u);
}

/* Its own letter: all that was posted before the node came that far is here. */
static void take_ahead(struct catch_up *u, struct log_page *page) RUNS_ON(on_worker)
{
	if (page->outcome != LOG_SERVED) {
		resync(u, reasons[page->outcome]);
		return;
	}
	u->to = u->since.serial;
	served(u);
}

static void (*const take[])(struct catch_up *u, struct log_page *page) = {
	[STAGE_AHEAD] = take_ahead,
	[STAGE_EVENTS] = take_events,
	[STAGE_CACHED] = take_cached,
};

void catch_up_answer(struct hub *h, uint64_t token, struct log_page *page)
{
	struct catch_up *u = map_get(&h->catch_ups, sv_n((const char *)&token, sizeof(token)));

	if (u && !u->session->is_closing) {
		u->is_asked = false;
		take[u->stage](u, page);
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

		if (u->stage != STAGE_AHEAD || u->is_asked ||
		    (!is_there && h->now - u->began < h->conf.ahead_max))
			continue;
		u->is_asked = true;
		directory_post_page(h->conf.directory, h->conf.worker, u->token,
				    log_page_new(is_there ? LOG_SERVED : LOG_OTHER_EPOCH));
	}
}

/* -- what comes meanwhile -- */

static bool is_full(const struct catch_up *u, const struct msgbuf *frame)
{
	const struct app_limits *max = &u->session->app->limits;

	return (max->max_outbox_messages && u->n_held >= max->max_outbox_messages / 2) ||
	       (max->max_outbox_bytes && u->held_bytes + frame->len > max->max_outbox_bytes / 2);
}

static void hold(struct catch_up *u, const struct worker_message *m)
{
	struct held *h = xmalloc(sizeof(*h));

	*h = (struct held){ NULL, msgbuf_ref(m->frame), m->event ? event_ref(m->event) : NULL };
	*u->held_end = h;
	u->held_end = &h->next;
	u->n_held++;
	u->held_bytes += m->frame->len;
}

/* Waits no longer. */
static void give_up(struct catch_up *u) RUNS_ON(on_worker)
{
	u->cache_unknown = false;
	if (u->stage == STAGE_CACHED)
		begin_with_cached(u);
	else
		resync(u, reasons[LOG_TOO_MANY]);
}

void catch_up_hold(struct catch_up *u, const struct worker_message *m)
{
	struct session *s = u->session;

	if (is_own(u->was, m->exclude))
		return;
	if (!is_full(u, m->frame)) {
		hold(u, m);
		return;
	}
	give_up(u);
	if (session_send(s, m->frame) && m->event)
		atomic_fetch_add_explicit(&m->event->sockets, 1, memory_order_relaxed);
}

/* -- the beginning -- */

/* NULL when the log can be asked, else why not. */
static const char *fault_of(const struct catch_up *u, const struct catch_up_request *req)
{
	if (!req->is_valid)
		return "malformed";
	if (!u->now.epoch[0] || !u->session->hub->conf.log)
		return reasons[LOG_UNAVAILABLE];
	if (strcmp(u->now.epoch, u->since.epoch) != 0)
		return reasons[LOG_OTHER_EPOCH];
	return NULL;
}

static void begin_replay(struct catch_up *u, const struct catch_up_request *req) RUNS_ON(on_worker)
{
	const char *fault = fault_of(u, req);

	u->stage = STAGE_EVENTS;
	u->to = u->now.serial;
	if (fault) {
		resync(u, fault);
	} else if (u->since.serial > u->to) {
		u->stage = STAGE_AHEAD;
		u->session->hub->n_ahead++;
	} else if (u->since.serial == u->to) {
		served(u);
	} else {
		ask(u, LOG_ASK_EVENTS);
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
		begin_replay(u, req);
	else
		begin_with_cached(u);
}
