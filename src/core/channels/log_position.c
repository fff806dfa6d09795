/* SPDX-License-Identifier: MIT */
/*
 * epoch_lock is held for a few instructions; no other lock is taken under it.  The serial of an
 * event advances without it: an event is delivered in the epoch that is set.
 */
#include <string.h>
#include "core/channels/log_position.h"

void log_position_init(struct log_position *l)
{
	atomic_init(&l->serial, 0);
	pthread_mutex_init(&l->epoch_lock, NULL);
	l->epoch[0] = '\0';
}

void log_position_release(struct log_position *l)
{
	pthread_mutex_destroy(&l->epoch_lock);
}

void log_position_advance(struct log_position *l, uint64_t serial)
{
	uint64_t now = atomic_load(&l->serial);

	while (now < serial && !atomic_compare_exchange_weak(&l->serial, &now, serial))
		;
}

void log_position_get(struct log_position *l, struct position *out)
{
	pthread_mutex_lock(&l->epoch_lock);
	memcpy(out->epoch, l->epoch, sizeof(out->epoch));
	out->serial = atomic_load(&l->serial);
	pthread_mutex_unlock(&l->epoch_lock);
}

void log_position_set(struct log_position *l, const struct position *p)
{
	pthread_mutex_lock(&l->epoch_lock);
	if (strcmp(l->epoch, p->epoch) == 0) {
		log_position_advance(l, p->serial);
	} else {
		memcpy(l->epoch, p->epoch, sizeof(l->epoch));
		atomic_store(&l->serial, p->serial);
	}
	pthread_mutex_unlock(&l->epoch_lock);
}
