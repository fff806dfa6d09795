/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include "base/annotate.h"
#include "base/mem.h"
#include "log/batch.h"

struct event_batch *batch_next(const struct event_batch *b)
{
	return b->letter.next ? CONTAINER_OF(b->letter.next, struct event_batch, letter) : NULL;
}

void batch_list_push(struct batch_list *l, struct event_batch *b)
{
	b->letter.next = NULL;
	if (l->tail)
		l->tail->letter.next = &b->letter;
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
	more->tail->letter.next = l->head ? &l->head->letter : NULL;
	l->head = more->head;
	if (!l->tail)
		l->tail = more->tail;
	l->count += more->count;
	*more = (struct batch_list){ NULL, NULL, 0 };
}

static bool is_over(const struct event_batch *b, usec_t now)
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
		if (is_over(b, now))
			fn(ctx, b);
		else
			batch_list_push(l, b);
	}
}

static void stand_in_done(struct event_batch *b, int rc)
{
	(void)rc; /* the real one was answered */
	for (unsigned i = 0; i < b->n; i++)
		event_unref(b->events[i]);
	free(b->events);
	free(b);
}

bool batch_is_stand_in(const struct event_batch *b)
{
	return b->done == stand_in_done;
}

static struct event_batch *stand_in_new(const struct event_batch *b)
{
	struct event_batch *s = xmalloc(sizeof(*s));

	*s = *b;
	s->deadline = 0;
	s->key = NULL;
	s->done = stand_in_done;
	s->events = xcalloc(b->n, sizeof(*s->events));
	for (unsigned i = 0; i < b->n; i++)
		s->events[i] = event_ref(b->events[i]);
	return s;
}

void batch_list_answer_late(struct batch_list *l, usec_t now)
{
	struct batch_list all = *l;
	struct event_batch *b;

	*l = (struct batch_list){ NULL, NULL, 0 };
	while ((b = batch_list_pop(&all)) != NULL) {
		if (!is_over(b, now)) {
			batch_list_push(l, b);
			continue;
		}
		batch_list_push(l, stand_in_new(b));
		b->done(b, -ETIMEDOUT);
	}
}
