/* SPDX-License-Identifier: MIT */
/*
 * One catch-up: it is created, holds frames and pages, and is freed.  What it keeps is counted in
 * its session's struct catching_up.
 */
#include "base/mem.h"
#include "core/sessions/catch_up-private.h"

/* Whether catch_up_tick() may continue it. */
static bool catch_up_is_timed(const struct catch_up *u)
{
	return u->stage == STAGE_AHEAD || u->stage == STAGE_SENT ||
	       (u->stage != STAGE_EVENTS && u->is_cache_shared);
}

void catch_up_set_stage(struct catch_up *u, enum catch_up_stage stage)
{
	u->session->hub->n_timed -= catch_up_is_timed(u);
	u->stage = stage;
	u->session->hub->n_timed += catch_up_is_timed(u);
}

struct catch_up *catch_up_new(struct session *s, struct subscription *sub,
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

void catch_up_detach(struct catch_up *u)
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

struct held_frame *catch_up_take_held(struct catch_up *u)
{
	struct catching_up *c = u->session->catching_up;
	struct held_frame *h = u->held;

	if (!h)
		return NULL;
	u->held = h->next;
	c->n_held--;
	c->held_bytes -= h->frame->len;
	c->bytes -= h->frame->len;
	return h;
}

void held_frame_free(struct held_frame *h)
{
	msgbuf_unref(h->frame);
	event_unref(h->event);
	free(h);
}

void catch_up_drop_page(struct catch_up *u)
{
	struct log_page *p = u->pages[0];

	for (; u->chunk < p->n_chunks; u->chunk++)
		u->session->catching_up->bytes -= p->chunks[u->chunk]->len;
	u->session->catching_up->bytes -= p->n_excluded * (unsigned)sizeof(*p->excluded);
	u->chunk = u->excluded = u->n_own = 0;
	u->n_pages--;
	u->session->catching_up->n_pages--;
	for (unsigned i = 0; i < u->n_pages; i++)
		u->pages[i] = u->pages[i + 1];
	log_page_unref(p);
}

void catch_up_free(struct catch_up *u)
{
	struct held_frame *h;

	while ((h = catch_up_take_held(u)))
		held_frame_free(h);
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
