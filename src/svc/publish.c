/* SPDX-License-Identifier: MIT */
/*
 * A publish becomes events, one for each item and channel, which share the item's data.  Room in
 * the log's queue is reserved for what is logged later (async); what needs a commit is appended;
 * the rest is fanned out only when that commit is done, or at once where there is none.  So a
 * publish that fails has delivered nothing, and the caller can try again.
 *
 * A publish without a commit allocates nothing of its own.  Otherwise a struct pending keeps the
 * rest until the log writer's thread has committed; the submitting thread does not touch it again.
 *
 * Any thread: the publisher itself does not change.
 */
#include <errno.h>
#include "base/annotate.h"
#include "base/clock.h"
#include "base/mem.h"
#include "bus/bus.h"
#include "log/control.h"
#include "log/queue.h"
#include "svc/publish.h"

struct publisher {
	struct directory *directory;
	struct log_queue *queue; /* NULL: no database */
	struct bus *bus;	 /* NULL: no other nodes */
	unsigned commit_timeout_ms;
};

/* A publish, sorted by the durability of its events. */
struct sorted {
	struct event_batch *commit, *async; /* NULL until an event needs them */
	const struct publish_key *key;	    /* NULL: without an idempotency key */
	struct event **now;		    /* durability none */
	size_t n_now;
	unsigned n_most; /* events of the whole publish */
};

/* A publish that waits for its commit. */
struct pending {
	struct publisher *p;
	struct sorted rest; /* commit is the log's */
	struct event_key key;
	char event_id[EVENT_ID_MAX + 1];
	void (*done)(void *ctx, int rc);
	void *ctx;
	struct event *now[];
};

struct publisher *publisher_new(struct directory *d, struct log_queue *queue, struct bus *bus,
				unsigned commit_timeout_ms)
{
	struct publisher *p = xmalloc(sizeof(*p));

	*p = (struct publisher){ d, queue, bus, commit_timeout_ms };
	return p;
}

void publisher_free(struct publisher *p)
{
	free(p);
}

/* The answer to an async publish was given when it was queued. */
static void publish_on_logged(struct event_batch *b, int rc UNUSED)
{
	batch_free(b);
}

static void sorted_add(struct sorted *s, struct event *e)
{
	switch (e->durability) {
	case DURABILITY_COMMIT:
		if (!s->commit)
			s->commit = batch_new(s->n_most, true);
		batch_add(s->commit, e);
		break;
	case DURABILITY_ASYNC:
		if (!s->async)
			s->async = batch_new(s->n_most, false);
		batch_add(s->async, e);
		break;
	case DURABILITY_NONE:
		s->now[s->n_now++] = e;
	}
}

static void sorted_add_item(struct sorted *s, struct app *app, const struct publish_item *item,
			    usec_t now)
{
	struct msgbuf *data = msgbuf_from(item->data);

	for (size_t i = 0; i < item->n_channels; i++) {
		struct event *e = event_new(app, item->channels[i], item->name, data);

		e->exclude_socket = item->exclude_socket;
		e->durability = app_durability(app, item->channels[i]);
		e->origin = "http";
		e->published_at = now;
		sorted_add(s, e);
	}
	msgbuf_unref(data);
}

static void sorted_release(struct sorted *s)
{
	batch_free(s->commit);
	batch_free(s->async);
	for (size_t i = 0; i < s->n_now; i++)
		event_unref(s->now[i]);
}

/* What waits for no commit, or whose commit is done.  Room for async was reserved. */
static int publish_deliver(struct publisher *p, struct sorted *s)
{
	struct event_batch *async = s->async;
	int rc;

	for (size_t i = 0; i < s->n_now; i++) {
		directory_fan_out(p->directory, s->now[i]);
		if (p->bus)
			bus_publish_event(p->bus, s->now[i]);
	}
	if (!async)
		return 0;
	async->done = publish_on_logged;
	/* Before it is appended: from then on the log may write the events' serials. */
	for (unsigned i = 0; i < async->n; i++)
		directory_fan_out(p->directory, async->events[i]);
	rc = log_queue_append(p->queue, async);
	if (!rc)
		s->async = NULL;
	return rc;
}

/* On the log writer's thread; the batch's events were fanned out. */
static void publish_on_committed(struct event_batch *b, int rc)
{
	struct pending *w = b->ctx;

	batch_free(b);
	if (!rc)
		rc = publish_deliver(w->p, &w->rest);
	else if (w->rest.async)
		log_queue_unreserve(w->p->queue, w->rest.async);
	w->done(w->ctx, rc);
	sorted_release(&w->rest);
	free(w);
}

/* Takes the sorted events, and calls done when the outcome is known. */
static void publish_commit(struct publisher *p, struct app *app, struct sorted *s,
			   void (*done)(void *ctx, int rc), void *ctx)
{
	struct event_batch *b = s->commit ? s->commit : batch_new(0, true);
	const struct publish_key *key = s->key;
	size_t now_bytes = s->n_now * sizeof(struct event *);
	struct pending *w = xmalloc(sizeof(*w) + now_bytes);
	int rc;

	*w = (struct pending){ .p = p, .rest = *s, .done = done, .ctx = ctx };
	if (now_bytes)
		memcpy(w->now, s->now, now_bytes);
	w->rest.now = w->now;
	w->rest.commit = NULL;
	*s = (struct sorted){ .now = NULL };
	if (key) {
		if (b->n)
			str_copy(w->event_id, sizeof(w->event_id), sv(b->events[0]->id));
		else
			event_id_make(w->event_id);
		w->key = (struct event_key){ sv(app->id), key->key, key->digest, key->answer,
					     sv(w->event_id) };
		b->key = &w->key;
		b->bytes += sizeof(w->key) + key->key.len + key->digest.len + key->answer.len;
	}
	b->deadline = clock_mono() + p->commit_timeout_ms * USEC_PER_MSEC;
	b->done = publish_on_committed;
	b->ctx = w;
	rc = log_queue_append(p->queue, b);
	if (rc)
		publish_on_committed(b, rc);
}

void publish_submit(struct publisher *p, const struct publish_request *r,
		    void (*done)(void *ctx, int rc), void *ctx)
{
	struct event *few[16], **many = NULL;
	struct sorted s = { .now = few, .key = r->key };
	usec_t now = clock_wall();
	int rc = 0;

	if (directory_is_behind(p->directory)) {
		done(ctx, -EAGAIN);
		return;
	}
	for (size_t i = 0; i < r->n; i++)
		s.n_most += (unsigned)r->items[i].n_channels;
	if (s.n_most > ARRAY_SIZE(few))
		s.now = many = xreallocarray(NULL, s.n_most, sizeof(*many));
	for (size_t i = 0; i < r->n; i++)
		sorted_add_item(&s, r->app, &r->items[i], now);
	if ((s.commit || s.async || s.key) && !p->queue)
		rc = -EHOSTDOWN;
	else if (s.async)
		rc = log_queue_reserve(p->queue, s.async);
	if (!rc && (s.commit || s.key)) {
		publish_commit(p, r->app, &s, done, ctx);
	} else {
		if (!rc)
			rc = publish_deliver(p, &s);
		done(ctx, rc);
	}
	sorted_release(&s);
	free(many);
}

unsigned publish_node(const struct publisher *p)
{
	return p->bus ? atomic_load(bus_node_number(p->bus)) : 0;
}

void publish_control(struct publisher *p, struct app *app, const struct control *c,
		     void (*done)(void *ctx, int rc), void *ctx)
{
	struct sorted s = { .n_most = 1 };

	if (!p->queue || !p->bus || !bus_is_cluster(p->bus)) {
		control_apply(p->directory, app, c);
		done(ctx, 0);
		return;
	}
	sorted_add(&s, control_event(app, c));
	publish_commit(p, app, &s, done, ctx);
	sorted_release(&s);
}
