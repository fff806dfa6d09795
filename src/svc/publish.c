/* SPDX-License-Identifier: MIT */
/*
 * A publish is cut into events, one per item and channel, that share the item's data.  The log
 * promises room for what it is to write later (async) and takes what needs a commit; the rest is
 * fanned out only when that commit is done, or at once where there is none.  So a publish that
 * fails has delivered nothing, and the caller may simply try again.
 *
 * A publish without a commit allocates nothing of its own.  Otherwise a struct op keeps the rest
 * until the log's thread has committed; the submitting thread does not touch it any more.
 */
#include <errno.h>
#include <pthread.h>
#include "base/annotate.h"
#include "base/clock.h"
#include "base/mem.h"
#include "log/writer.h"
#include "svc/publish.h"

struct publisher {
	pthread_rwlock_t lock;	     /* held for writing by publisher_detach only */
	struct directory *directory; /* NULL once detached */
	struct eventlog *log;	     /* NULL: no database */
	unsigned commit_timeout_ms;
};

/* A publish while it is cut up. */
struct cut {
	struct event_batch *commit, *async; /* NULL until an event needs them */
	const struct publish_key *key;	    /* NULL: may be repeated */
	struct event **now;		    /* durability none */
	size_t n_now;
	unsigned n_most; /* events of the whole publish */
};

/* A publish that waits for its commit. */
struct op {
	struct publisher *p;
	struct cut rest; /* commit is the log's */
	struct event_key key;
	char event_id[EVENT_ID_MAX + 1];
	void (*done)(void *ctx, int rc);
	void *ctx;
	struct event *now[];
};

struct publisher *publisher_new(struct directory *d, struct eventlog *log,
				unsigned commit_timeout_ms)
{
	struct publisher *p = xcalloc(1, sizeof(*p));

	pthread_rwlock_init(&p->lock, NULL);
	p->directory = d;
	p->log = log;
	p->commit_timeout_ms = commit_timeout_ms;
	return p;
}

void publisher_set_log(struct publisher *p, struct eventlog *log)
{
	p->log = log;
}

void publisher_detach(struct publisher *p)
{
	pthread_rwlock_wrlock(&p->lock);
	p->directory = NULL;
	pthread_rwlock_unlock(&p->lock);
}

void publisher_free(struct publisher *p)
{
	if (!p)
		return;
	pthread_rwlock_destroy(&p->lock);
	free(p);
}

static void fan_out(struct publisher *p, struct event **events, size_t n)
{
	pthread_rwlock_rdlock(&p->lock);
	for (size_t i = 0; i < n && p->directory; i++)
		directory_fan_out(p->directory, events[i]);
	pthread_rwlock_unlock(&p->lock);
}

void publisher_fan_out(void *publisher, struct event_batch *b)
{
	fan_out(publisher, b->events, b->n);
}

static void batch_free(struct event_batch *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < b->n; i++)
		event_unref(b->events[i]);
	free(b);
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

/* What waits for no commit, or whose commit is done. */
static int deliver(struct publisher *p, struct cut *cut)
{
	if (cut->n_now)
		fan_out(p, cut->now, cut->n_now);
	return cut->async ? submit_async(p, cut) : 0;
}

static void cut_release(struct cut *cut)
{
	batch_free(cut->commit);
	batch_free(cut->async);
	for (size_t i = 0; i < cut->n_now; i++)
		event_unref(cut->now[i]);
}

static void op_free(struct op *op)
{
	cut_release(&op->rest);
	free(op);
}

/* On the log's thread; the batch's events are on their way to the sockets already. */
static void on_committed(struct event_batch *b, int rc)
{
	struct op *op = b->ctx;

	batch_free(b);
	if (!rc)
		rc = deliver(op->p, &op->rest);
	else if (op->rest.async)
		eventlog_unreserve(op->p->log, op->rest.async);
	op->done(op->ctx, rc);
	op_free(op);
}

/* Takes the cut's events over. */
static struct op *op_new(struct publisher *p, struct cut *cut, void (*done)(void *ctx, int rc),
			 void *ctx)
{
	size_t bytes = cut->n_now * sizeof(struct event *);
	struct op *op = xmalloc(sizeof(*op) + bytes);

	*op = (struct op){ .p = p, .rest = *cut, .done = done, .ctx = ctx };
	memcpy(op->now, cut->now, bytes);
	op->rest.now = op->now;
	op->rest.commit = NULL;
	*cut = (struct cut){ .now = NULL };
	return op;
}

/* The key goes with the batch; what it points to, op and the caller keep. */
static void set_key(struct op *op, struct event_batch *b, const struct publish_key *key,
		    struct str_view app)
{
	if (b->n)
		snprintf(op->event_id, sizeof(op->event_id), "%s", b->events[0]->id);
	else
		event_id_make(op->event_id);
	op->key = (struct event_key){ app, key->key, key->digest, key->answer, sv(op->event_id) };
	b->key = &op->key;
	b->bytes += sizeof(op->key) + key->key.len + key->digest.len + key->answer.len;
}

/* Takes the cut's events over and sees to the answer. */
static void submit_commit(struct publisher *p, struct app *app, struct cut *cut,
			  void (*done)(void *ctx, int rc), void *ctx)
{
	struct event_batch *b = cut->commit ? cut->commit : batch_new(0, true);
	const struct publish_key *key = cut->key;
	struct op *op = op_new(p, cut, done, ctx);
	int rc;

	if (key)
		set_key(op, b, key, sv(app->id));
	b->deadline = clock_mono() + p->commit_timeout_ms * USEC_PER_MSEC;
	b->done = on_committed;
	b->ctx = op;
	rc = eventlog_append(p->log, b);
	if (rc)
		on_committed(b, rc);
}

static void submit(struct publisher *p, struct app *app, struct cut *cut,
		   void (*done)(void *ctx, int rc), void *ctx)
{
	int rc = 0;

	if ((cut->commit || cut->async || cut->key) && !p->log)
		rc = -EHOSTDOWN;
	else if (cut->async)
		rc = eventlog_reserve(p->log, cut->async);
	if (!rc && (cut->commit || cut->key)) {
		submit_commit(p, app, cut, done, ctx);
		return;
	}
	if (!rc)
		rc = deliver(p, cut);
	done(ctx, rc);
}

void publish_submit(struct publisher *p, struct app *app, const struct publish_item *items,
		    size_t n, const struct publish_key *key, void (*done)(void *ctx, int rc),
		    void *ctx)
{
	struct event *few[16], **many = NULL;
	struct cut cut = { .now = few, .key = key };
	usec_t now = clock_wall();

	if (p->directory && directory_is_behind(p->directory)) {
		done(ctx, -EAGAIN);
		return;
	}
	for (size_t i = 0; i < n; i++)
		cut.n_most += (unsigned)items[i].n_channels;
	if (cut.n_most > ARRAY_SIZE(few))
		cut.now = many = xreallocarray(NULL, cut.n_most, sizeof(*many));
	for (size_t i = 0; i < n; i++)
		cut_item(&cut, app, &items[i], now);
	submit(p, app, &cut, done, ctx);
	cut_release(&cut);
	free(many);
}
