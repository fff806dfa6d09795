/* SPDX-License-Identifier: MIT */
/* Lists are linked by the batches' own mailbox entries.  No thread of its own, no lock. */
#include <errno.h>
#include "base/mem.h"
#include "log/batch.h"

struct event_batch *batch_new(unsigned room, bool fan_out)
{
	struct event_batch *b = xmalloc(sizeof(*b) + room * sizeof(struct event *));

	*b = (struct event_batch){ .wants_fan_out = fan_out, .events = (struct event **)(b + 1) };
	return b;
}

void batch_add(struct event_batch *b, struct event *e)
{
	b->events[b->n++] = e;
	b->bytes += sizeof(*e) + e->channel.len + e->name.len + e->data->len;
}

void batch_free(struct event_batch *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < b->n; i++)
		event_unref(b->events[i]);
	free(b);
}

struct event_batch *batch_next(const struct event_batch *b)
{
	return b->entry.next ? CONTAINER_OF(b->entry.next, struct event_batch, entry) : NULL;
}

void batch_list_push(struct batch_list *l, struct event_batch *b)
{
	b->entry.next = NULL;
	if (l->tail)
		l->tail->entry.next = &b->entry;
	else
		l->head = b;
	l->tail = b;
	l->count++;
}

struct event_batch *batch_list_pop(struct batch_list *l)
{
	struct event_batch *b = l->head;

	if (!b)
		return NULL;
	l->head = batch_next(b);
	if (!l->head)
		l->tail = NULL;
	l->count--;
	return b;
}

void batch_list_prepend(struct batch_list *l, struct batch_list *more)
{
	if (!more->head)
		return;
	more->tail->entry.next = l->head ? &l->head->entry : NULL;
	l->head = more->head;
	if (!l->tail)
		l->tail = more->tail;
	l->count += more->count;
	*more = (struct batch_list){ NULL, NULL, 0 };
}

static bool batch_is_expired(const struct event_batch *b, usec_t now)
{
	return b->deadline && now >= b->deadline;
}

void batch_list_expire(struct batch_list *l, usec_t now,
		       void (*fn)(void *ctx, struct event_batch *b), void *ctx)
{
	struct batch_list all = *l;
	struct event_batch *b;

	*l = (struct batch_list){ NULL, NULL, 0 };
	while ((b = batch_list_pop(&all)) != NULL) {
		if (batch_is_expired(b, now))
			fn(ctx, b);
		else
			batch_list_push(l, b);
	}
}

static void batch_stand_in_done(struct event_batch *b, int rc UNUSED)
{
	batch_free(b); /* the batch that it stands for was answered */
}

bool batch_is_stand_in(const struct event_batch *b)
{
	return b->done == batch_stand_in_done;
}

static struct event_batch *batch_stand_in_new(const struct event_batch *b)
{
	struct event_batch *s = batch_new(b->n, b->wants_fan_out);

	s->is_reserved = b->is_reserved;
	s->done = batch_stand_in_done;
	for (unsigned i = 0; i < b->n; i++)
		batch_add(s, event_ref(b->events[i]));
	s->bytes = b->bytes;
	return s;
}

void batch_list_answer_late(struct batch_list *l, usec_t now)
{
	struct batch_list all = *l;
	struct event_batch *b;

	*l = (struct batch_list){ NULL, NULL, 0 };
	while ((b = batch_list_pop(&all)) != NULL) {
		if (!batch_is_expired(b, now)) {
			batch_list_push(l, b);
			continue;
		}
		batch_list_push(l, batch_stand_in_new(b));
		b->done(b, -ETIMEDOUT);
	}
}
