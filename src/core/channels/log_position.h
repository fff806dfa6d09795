/* SPDX-License-Identifier: MIT */
#ifndef CORE_CHANNELS_LOG_POSITION_H
#define CORE_CHANNELS_LOG_POSITION_H
/*
 * The position in the event log up to which this node has delivered events to its workers.
 *
 * The serial is atomic.  The epoch changes only when logged events were lost; it and the serial
 * that belongs to it are replaced together under a lock of their own.  Any thread.
 */
#include <pthread.h>
#include <stdatomic.h>
#include "wire/position.h"

struct log_position {
	_Atomic uint64_t serial;
	pthread_mutex_t epoch_lock;
	char epoch[POSITION_EPOCH_MAX + 1]; /* under epoch_lock; "" until the first set */
};

void log_position_init(struct log_position *l);
void log_position_release(struct log_position *l);
void log_position_get(struct log_position *l, struct position *out);
/* Moves to p: forward within the same epoch, to any serial in a new one. */
void log_position_set(struct log_position *l, const struct position *p);
/* Moves forward to serial; no change if it is there already. */
void log_position_advance(struct log_position *l, uint64_t serial);
static inline uint64_t log_position_serial(const struct log_position *l)
{
	return atomic_load(&l->serial);
}
#endif
