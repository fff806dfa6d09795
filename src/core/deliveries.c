/* SPDX-License-Identifier: MIT */
/*
 * A ring under a mutex, which is held for the copy of a record.  Any thread adds; one thread, the
 * log writer, takes.  That thread is woken only while it sleeps and the ring was empty before.
 */
#include <pthread.h>
#include <stdatomic.h>
#include "base/mem.h"
#include "core/deliveries.h"

#define FIRST_ROOM 1024

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) deliveries_held {
	char unused;
} deliveries_held UNUSED;

struct deliveries {
	pthread_mutex_t lock;
	struct delivery *ring OWNED_BY(deliveries_held);
	unsigned room OWNED_BY(deliveries_held); /* power of two */
	unsigned head OWNED_BY(deliveries_held); /* of the oldest; grows, folded by room */
	unsigned count OWNED_BY(deliveries_held);
	uint64_t dropped OWNED_BY(deliveries_held);
	struct wake *wake; /* NULL: no thread waits */
	atomic_bool is_awaited;
};

static void deliveries_lock(struct deliveries *l) TSA(acquire_capability(deliveries_held)) NO_TSA
{
	pthread_mutex_lock(&l->lock);
}

static void deliveries_unlock(struct deliveries *l) TSA(release_capability(deliveries_held)) NO_TSA
{
	pthread_mutex_unlock(&l->lock);
}

struct deliveries *deliveries_new(void) NO_TSA /* before other threads have it */
{
	struct deliveries *l = xcalloc(1, sizeof(*l));

	pthread_mutex_init(&l->lock, NULL);
	l->room = FIRST_ROOM;
	l->ring = xcalloc(l->room, sizeof(*l->ring));
	return l;
}

void deliveries_free(struct deliveries *l) NO_TSA /* no other thread has it any more */
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l->ring);
	free(l);
}

static struct delivery *deliveries_at_locked(struct deliveries *l, unsigned i)
	NEEDS_LOCK(deliveries_held)
{
	return &l->ring[(l->head + i) & (l->room - 1)];
}

static void deliveries_grow_locked(struct deliveries *l) NEEDS_LOCK(deliveries_held)
{
	struct delivery *ring = xcalloc((size_t)l->room * 2, sizeof(*ring));

	for (unsigned i = 0; i < l->count; i++)
		ring[i] = *deliveries_at_locked(l, i);
	free(l->ring);
	l->ring = ring;
	l->room *= 2;
	l->head = 0;
}

void deliveries_set_wake(struct deliveries *l, struct wake *wake)
{
	l->wake = wake;
}

void deliveries_await(struct deliveries *l, bool is_awaited)
{
	atomic_store(&l->is_awaited, is_awaited);
}

void deliveries_add(struct deliveries *l, const struct delivery *d)
{
	bool was_empty;

	deliveries_lock(l);
	if (l->count == l->room && l->room < DELIVERIES_MAX) {
		deliveries_grow_locked(l);
	} else if (l->count == l->room) {
		l->head++;
		l->count--;
		l->dropped++;
	}
	was_empty = l->count == 0;
	*deliveries_at_locked(l, l->count++) = *d;
	deliveries_unlock(l);
	if (was_empty && l->wake && atomic_load(&l->is_awaited))
		wake_signal(l->wake);
}

unsigned deliveries_take(struct deliveries *l, struct delivery *out, unsigned max)
{
	unsigned n;

	deliveries_lock(l);
	n = l->count < max ? l->count : max;
	for (unsigned i = 0; i < n; i++)
		out[i] = *deliveries_at_locked(l, i);
	l->head += n;
	l->count -= n;
	deliveries_unlock(l);
	return n;
}

void deliveries_put_back(struct deliveries *l, const struct delivery *d, unsigned n)
{
	deliveries_lock(l);
	while (n && l->count < DELIVERIES_MAX) {
		if (l->count == l->room)
			deliveries_grow_locked(l);
		l->head--;
		l->count++;
		*deliveries_at_locked(l, 0) = d[--n];
	}
	l->dropped += n;
	deliveries_unlock(l);
}

unsigned deliveries_count(struct deliveries *l)
{
	unsigned n;

	deliveries_lock(l);
	n = l->count;
	deliveries_unlock(l);
	return n;
}

uint64_t deliveries_dropped(struct deliveries *l)
{
	uint64_t n;

	deliveries_lock(l);
	n = l->dropped;
	l->dropped = 0;
	deliveries_unlock(l);
	return n;
}
