/* SPDX-License-Identifier: MIT */
/*
 * Requests of pages.  Each session has CATCH_UP_PAGES slots for all of its catch-ups.  A slot is in
 * use from the request of a page to its answer, and while the page is not sent.  A catch-up that
 * ends before the answer leaves its slot in use: a client that subscribes and unsubscribes in a
 * loop waits for the log as often as one that does not.  Free slots go to the oldest catch-up
 * without a page, then to the page after the one that is being sent.
 */
#include "base/mem.h"
#include "core/sessions/catch_up-private.h"

#define PAGE_FIRST   200 /* events; later pages have more */
#define PAGE_NEXT    2000
#define PAGE_BYTES   (256U << 10)
#define NO_CAP_BYTES (1U << 20) /* the outbox's, for an app that has none */

unsigned catch_up_cap_bytes(const struct session *s)
{
	unsigned bytes = s->app->limits.max_outbox_bytes;

	return bytes ? bytes : NO_CAP_BYTES;
}

struct catching_up *catching_up_of(struct session *s)
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

static struct str_view page_request_key(const struct page_request *r)
{
	return sv_n((const char *)&r->token, sizeof(r->token));
}

struct page_request *page_request_begin(struct catch_up *u)
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

void page_request_end(struct page_request *r)
{
	map_del(&r->session->hub->page_requests, page_request_key(r));
	log_ticket_unref(r->ticket);
	*r = (struct page_request){ 0 };
}

void page_request_abandon(struct page_request *r)
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

bool catching_up_has_slot(const struct catching_up *c)
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

void catch_up_continue(struct session *s)
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
