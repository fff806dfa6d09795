/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include "base/mem.h"
#include "log/deliveries.h"

#define FIRST_ROOM 1024

struct delivery_list {
	pthread_mutex_t lock;
	struct delivery *ring;
	unsigned room; /* power of two */
	unsigned head; /* of the oldest; grows, folded by room */
	unsigned count;
	uint64_t dropped;
};

struct delivery_list *delivery_list_new(void)
{
	struct delivery_list *l = xcalloc(1, sizeof(*l));

	pthread_mutex_init(&l->lock, NULL);
	l->room = FIRST_ROOM;
	l->ring = xcalloc(l->room, sizeof(*l->ring));
	return l;
}

void delivery_list_free(struct delivery_list *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l->ring);
	free(l);
}

static struct delivery *at(struct delivery_list *l, unsigned i)
{
	return &l->ring[(l->head + i) & (l->room - 1)];
}

static void grow_locked(struct delivery_list *l)
{
	struct delivery *ring = xcalloc((size_t)l->room * 2, sizeof(*ring));

	for (unsigned i = 0; i < l->count; i++)
		ring[i] = *at(l, i);
	free(l->ring);
	l->ring = ring;
	l->room *= 2;
	l->head = 0;
}

static void make_room_locked(struct delivery_list *l)
{
	if (l->count < l->room)
		return;
	if (l->room < DELIVERY_LIST_MAX) {
		grow_locked(l);
		return;
	}
	l->head++;
	l->count--;
	l->dropped++;
}

int delivery_list_add(struct delivery_list *l, const struct delivery *d)
{
	int was_empty;

	pthread_mutex_lock(&l->lock);
	make_room_locked(l);
	was_empty = l->count == 0;
	*at(l, l->count++) = *d;
	pthread_mutex_unlock(&l->lock);
	return was_empty;
}

unsigned delivery_list_take(struct delivery_list *l, struct delivery *out, unsigned max)
{
	unsigned n;

	pthread_mutex_lock(&l->lock);
	n = l->count < max ? l->count : max;
	for (unsigned i = 0; i < n; i++)
		out[i] = *at(l, i);
	l->head += n;
	l->count -= n;
	pthread_mutex_unlock(&l->lock);
	return n;
}

void delivery_list_put_back(struct delivery_list *l, const struct delivery *d, unsigned n)
{
	pthread_mutex_lock(&l->lock);
	while (n && l->count < DELIVERY_LIST_MAX) {
		if (l->count == l->room)
			grow_locked(l);
		l->head--;
		l->count++;
		*at(l, 0) = d[--n];
	}
	l->dropped += n;
	pthread_mutex_unlock(&l->lock);
}

unsigned delivery_list_count(struct delivery_list *l)
{
	unsigned n;

	pthread_mutex_lock(&l->lock);
	n = l->count;
	pthread_mutex_unlock(&l->lock);
	return n;
}

uint64_t delivery_list_dropped(struct delivery_list *l)
{
	uint64_t n;

	pthread_mutex_lock(&l->lock);
	n = l->dropped;
	l->dropped = 0;
	pthread_mutex_unlock(&l->lock);
	return n;
}
