/* SPDX-License-Identifier: MIT */
/*
 * Publishers count a batch against the bounds, put it into the mailbox and wake the writer when
 * its state requires it; while a commit is under way the next batches gather here.
 *
 * Everything is atomic or has a lock of its own (the mailbox); any thread appends, the log
 * writer's takes.
 */
#include <errno.h>
#include <stdatomic.h>
#include "base/mem.h"
#include "base/metric.h"
#include "log/queue.h"

struct log_queue {
	const struct conf_database *conf;
	struct mailbox box;
	struct wake *wake;
	atomic_int state;   /* enum log_queue_state */
	atomic_int awaited; /* batches, while LOG_LINGERING; may fall below 0 */
	atomic_uint events;
	atomic_size_t bytes;
	_Atomic usec_t away_since; /* mono; 0: connected */
};

struct log_queue *log_queue_new(const struct conf_database *conf)
{
	struct log_queue *q = xcalloc(1, sizeof(*q));

	q->conf = conf;
	mailbox_init(&q->box, 0);
	return q;
}

void log_queue_free(struct log_queue *q)
{
	if (!q)
		return;
	mailbox_release(&q->box);
	free(q);
}

void log_queue_set_wake(struct log_queue *q, struct wake *wake)
{
	q->wake = wake;
}

/* -- publishers -- */

static void queue_uncount(struct log_queue *q, unsigned events, size_t bytes)
{
	atomic_fetch_sub_explicit(&q->events, events, memory_order_relaxed);
	atomic_fetch_sub_explicit(&q->bytes, bytes, memory_order_relaxed);
	metric_add(METRIC_LOG_QUEUE_EVENTS, -(int64_t)events);
	metric_add(METRIC_LOG_QUEUE_BYTES, -(int64_t)bytes);
}

static bool queue_has_room(size_t used, size_t more, size_t max)
{
	return used <= max && more <= max - used;
}

/* True when there was room, which is now taken. */
static bool queue_count(struct log_queue *q, unsigned events, size_t bytes)
{
	unsigned n = atomic_fetch_add_explicit(&q->events, events, memory_order_relaxed);
	size_t all = atomic_fetch_add_explicit(&q->bytes, bytes, memory_order_relaxed);

	metric_add(METRIC_LOG_QUEUE_EVENTS, events);
	metric_add(METRIC_LOG_QUEUE_BYTES, (int64_t)bytes);
	if (queue_has_room(n, events, q->conf->queue_events) &&
	    queue_has_room(all, bytes, q->conf->queue_bytes))
		return true;
	queue_uncount(q, events, bytes);
	return false;
}

int log_queue_reserve(struct log_queue *q, struct event_batch *b)
{
	b->is_reserved = queue_count(q, b->n, b->bytes);
	return b->is_reserved ? 0 : -EAGAIN;
}

void log_queue_unreserve(struct log_queue *q, struct event_batch *b)
{
	queue_uncount(q, b->n, b->bytes);
	b->is_reserved = false;
}

int log_queue_append(struct log_queue *q, struct event_batch *b)
{
	/* After mailbox_put() the batch is the writer's: keep what is needed then. */
	unsigned events = b->n;
	size_t bytes = b->bytes;
	bool is_durable = b->deadline != 0;
	usec_t away = atomic_load_explicit(&q->away_since, memory_order_relaxed);
	int rc, state;

	if (is_durable && away && clock_mono() - away > q->conf->commit_timeout_ms * USEC_PER_MSEC)
		return -EHOSTDOWN;
	if (!b->is_reserved && !queue_count(q, events, bytes))
		return -EAGAIN;
	rc = mailbox_put(&q->box, &b->entry);
	if (rc < 0) {
		queue_uncount(q, events, bytes);
		return -EHOSTDOWN; /* closed */
	}
	state = atomic_load(&q->state);
	if ((state == LOG_SLEEPING && rc == 1) || (state == LOG_GATHERING && is_durable) ||
	    (state == LOG_LINGERING && is_durable && atomic_fetch_sub(&q->awaited, 1) == 1))
		wake_signal(q->wake);
	return 0;
}

unsigned log_queue_events(const struct log_queue *q)
{
	return atomic_load_explicit(&q->events, memory_order_relaxed);
}

void log_queue_close(struct log_queue *q)
{
	mailbox_close(&q->box);
	wake_signal(q->wake);
}

/* -- the writer -- */

bool log_queue_take(struct log_queue *q, struct batch_list *to)
{
	struct mailbox_entry *next, *e = mailbox_take(&q->box);
	bool any = e != NULL;

	for (; e; e = next) {
		next = e->next;
		batch_list_push(to, CONTAINER_OF(e, struct event_batch, entry));
	}
	return any;
}

void log_queue_set_state(struct log_queue *q, enum log_queue_state state)
{
	atomic_store(&q->state, state);
}

void log_queue_linger(struct log_queue *q, unsigned batches)
{
	atomic_store(&q->awaited, (int)batches);
	atomic_store(&q->state, LOG_LINGERING);
}

bool log_queue_is_missing(struct log_queue *q, unsigned came)
{
	/* Those that came before the state was LOG_LINGERING have not counted themselves. */
	return atomic_fetch_sub(&q->awaited, (int)came) > (int)came;
}

void log_queue_finish(struct log_queue *q, struct event_batch *b, int rc)
{
	queue_uncount(q, b->n, b->bytes);
	b->done(b, rc);
}

usec_t log_queue_set_away(struct log_queue *q, usec_t since)
{
	return atomic_exchange(&q->away_since, since);
}

usec_t log_queue_away(const struct log_queue *q)
{
	return atomic_load_explicit(&q->away_since, memory_order_relaxed);
}
