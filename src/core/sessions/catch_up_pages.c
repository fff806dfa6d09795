/* SPDX-License-Identifier: MIT */
/*
 * Answers of the log: what each means for its catch-up, and pages on their way to the socket, as
 * fast as it takes them.
 */
#include "base/metric.h"
#include "core/sessions/catch_up-private.h"
#include "core/sessions/session_out.h"

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

/*
 * The next chunk of the first page, counted, without the events that exclude this connection.  Few
 * pages have one: only then is the chunk copied.
 */
static struct msgbuf *catch_up_take_chunk(struct catch_up *u)
{
	const struct log_page *p = u->pages[0];
	struct msgbuf *chunk = p->chunks[u->chunk], *copy = NULL;
	unsigned at = 0;

	for (; u->excluded < p->n_excluded; u->excluded++) {
		const struct log_excluded *x = &p->excluded[u->excluded];

		if (x->chunk != u->chunk)
			break;
		if (x->socket != u->session->id)
			continue;
		if (!copy) {
			copy = msgbuf_new(chunk->len);
			copy->len = 0;
		}
		memcpy(copy->data + copy->len, chunk->data + at, x->offset - at);
		copy->len += x->offset - at;
		at = x->offset + x->len;
		u->n_own++;
	}
	u->session->catching_up->bytes -= chunk->len;
	u->chunk++;
	if (!copy)
		return msgbuf_ref(chunk);
	memcpy(copy->data + copy->len, chunk->data + at, chunk->len - at);
	copy->len += chunk->len - at;
	return copy;
}

/* Sends what the socket takes; goes live after the last page. */
static void catch_up_send_pages(struct catch_up *u) RUNS_ON(on_worker)
{
	struct session *s = u->session;

	while (u->n_pages) {
		struct log_page *p = u->pages[0];

		while (u->chunk < p->n_chunks) {
			struct msgbuf *chunk;
			bool is_sent;

			if (!catch_up_has_room(s))
				return;
			chunk = catch_up_take_chunk(u);
			is_sent = !chunk->len || session_send(s, chunk);
			msgbuf_unref(chunk);
			if (!is_sent)
				return;
		}
		u->n_events += p->n_events - u->n_own;
		metric_add(METRIC_DELIVERIES, p->n_events - u->n_own);
		u->sent_to = p->to;
		catch_up_drop_page(u);
	}
	if (u->read_to >= u->to)
		catch_up_end_replay(u);
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
	catch_up_begin_live(u);
}

void catch_up_check_ahead(struct catch_up *u, const struct position *now)
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
		catch_up_end_replay(u);
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
