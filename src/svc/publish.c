/* SPDX-License-Identifier: MIT */
/*
 * A publish is cut into events, one per item and channel, that share the item's data.  First the
 * log takes what needs a commit and promises room for what is logged later: when it refuses,
 * nothing at all was delivered and the caller may simply try again.  Then the rest is fanned out.
 *
 * A publish that touches no log allocates nothing of its own.  Otherwise a struct op counts the
 * parts under way: the submitting thread holds one part until it has handed everything over, so
 * done never runs while the caller's items are still being read.
 */
#include <errno.h>
#include "base/annotate.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store/eventlog.h"
#include "svc/publish.h"

struct publisher {
	struct directory *directory;
	struct eventlog *log; /* NULL: no database */
	unsigned commit_timeout_ms;
};

struct op {
	atomic_uint parts;
	atomic_int rc; /* of the first part that failed */
	void (*done)(void *ctx, int rc);
	void *ctx;
};

/* A publish while it is cut up. */
struct cut {
	struct event_batch *commit, *async; /* NULL until an event needs them */
	struct event **now;		    /* durability none */
	size_t n_now;
	unsigned n_most; /* events of the whole publish */
};

struct publisher *publisher_new(struct directory *d, struct eventlog *log,
				unsigned commit_timeout_ms)
{
	struct publisher *p = xcalloc(1, sizeof(*p));

	*p = (struct publisher){ d, log, commit_timeout_ms };
	return p;
}

void publisher_set_log(struct publisher *p, struct eventlog *log)
{
	p->log = log;
}

void publisher_free(struct publisher *p)
{
	free(p);
}

void publisher_fan_out(void *publisher, struct event_batch *b)
{
	struct publisher *p = publisher;

	for (unsigned i = 0; i < b->n; i++)
		directory_fan_out(p->directory, b->events[i]);
}

static void op_part_done(struct op *op, int rc)
{
	int none = 0;

	if (rc)
		atomic_compare_exchange_strong(&op->rc, &none, rc);
	if (atomic_fetch_sub_explicit(&op->parts, 1, memory_order_acq_rel) != 1)
		return;
	op->done(op->ctx, atomic_load(&op->rc));
	free(op);
}

static void batch_free(struct event_batch *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < b->n; i++)
		event_unref(b->events[i]);
	free(b);
}

static void on_committed(struct event_batch *b, int rc)
{
	struct op *op = b->ctx;

	batch_free(b);
	op_part_done(op, rc);
}

/* The answer to an async publish was given when it was queued. */
static void on_logged(struct event_batch *b, int rc UNUSED)
{
	batch_free(b);
}

/* The batch and its array in one block. */
static struct event_batch *batch_new(unsigned room, bool fan_out)
{
	struct event_batch *b = xmalloc(sizeof(*b) + room * sizeof(struct event *));

	*b = (struct event_batch){ .fan_out = fan_out, .events = (struct event **)(b + 1) };
	return b;
}

static void batch_add(struct event_batch **batch, struct event *e, unsigned room, bool fan_out)
{
	struct event_batch *b = *batch ? *batch : (*batch = batch_new(room, fan_out));

	b->events[b->n++] = e;
	b->bytes += sizeof(*e) + e->channel.len + e->name.len + e->data->len;
}

static void cut_add(struct cut *cut, struct event *e)
{
	switch (e->durability) {
	case DURABILITY_COMMIT:
		batch_add(&cut->commit, e, cut->n_most, true);
		break;
	case DURABILITY_ASYNC:
		batch_add(&cut->async, e, cut->n_most, false);
		break;
	case DURABILITY_NONE:
		cut->now[cut->n_now++] = e;
	}
}

static void cut_item(struct cut *cut, struct app *app, const struct publish_item *item, usec_t now)
{
	struct msgbuf *data = msgbuf_from(item->data);

	for (size_t i = 0; i < item->n_channels; i++) {
		struct event *e = event_new(app, item->channels[i], item->name, data);

		e->exclude_socket = item->exclude_socket;
		e->durability = app_durability(app, item->channels[i]);
		e->origin = "http";
		e->published_at = now;
		cut_add(cut, e);
	}
	msgbuf_unref(data);
}

static struct op *op_new(void (*done)(void *ctx, int rc), void *ctx)
{
	struct op *op = xcalloc(1, sizeof(*op));

	atomic_init(&op->parts, 1); /* the submitter's own */
	op->done = done;
	op->ctx = ctx;
	return op;
}

/* Hands the part that must be committed over.  On error it is still the cut's. */
static int submit_commit(struct publisher *p, struct cut *cut, struct op *op)
{
	struct event_batch *b = cut->commit;
	int rc;

	b->deadline = clock_mono() + p->commit_timeout_ms * USEC_PER_MSEC;
	b->done = on_committed;
	b->ctx = op;
	atomic_fetch_add(&op->parts, 1);
	rc = eventlog_append(p->log, b);
	if (rc)
		atomic_fetch_sub(&op->parts, 1);
	else
		cut->commit = NULL;
	return rc;
}

/* Room in the log's queue is reserved: hands the part that is logged later over. */
static int submit_async(struct publisher *p, struct cut *cut)
{
	struct event_batch *b = cut->async;
	int rc;

	b->done = on_logged;
	/* fanned out first: from here on the log may write the events' serials */
	publisher_fan_out(p, b);
	rc = eventlog_append(p->log, b);
	if (!rc)
		cut->async = NULL;
	return rc;
}

static void fan_out_now(struct publisher *p, struct cut *cut)
{
	for (size_t i = 0; i < cut->n_now; i++) {
		directory_fan_out(p->directory, cut->now[i]);
		event_unref(cut->now[i]);
	}
	cut->n_now = 0;
}

static void cut_release(struct cut *cut)
{
	batch_free(cut->commit);
	batch_free(cut->async);
	for (size_t i = 0; i < cut->n_now; i++)
		event_unref(cut->now[i]);
}

/* Nothing has been delivered unless this succeeds; but for a log that is just being stopped. */
static int submit(struct publisher *p, struct cut *cut, struct op *op)
{
	int rc = 0;

	if ((cut->commit || cut->async) && !p->log)
		return -EHOSTDOWN;
	if (cut->async)
		rc = eventlog_reserve(p->log, cut->async);
	if (rc)
		return rc;
	if (cut->commit)
		rc = submit_commit(p, cut, op);
	if (rc && cut->async)
		eventlog_unreserve(p->log, cut->async);
	if (!rc && cut->async)
		rc = submit_async(p, cut);
	if (!rc)
		fan_out_now(p, cut);
	return rc;
}

void publish_submit(struct publisher *p, struct app *app, const struct publish_item *items,
		    size_t n, void (*done)(void *ctx, int rc), void *ctx)
{
	struct event *few[16];
	struct cut cut = { .now = few };
	usec_t now = clock_wall();
	struct op *op;
	int rc;

	for (size_t i = 0; i < n; i++)
		cut.n_most += (unsigned)items[i].n_channels;
	if (cut.n_most > ARRAY_SIZE(few))
		cut.now = xreallocarray(NULL, cut.n_most, sizeof(*cut.now));
	for (size_t i = 0; i < n; i++)
		cut_item(&cut, app, &items[i], now);
	op = cut.commit ? op_new(done, ctx) : NULL;
	rc = submit(p, &cut, op);
	cut_release(&cut);
	if (cut.now != few)
		free(cut.now);
	if (op)
		op_part_done(op, rc);
	else
		done(ctx, rc);
}
