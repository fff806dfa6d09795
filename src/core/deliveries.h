/* SPDX-License-Identifier: MIT */
#ifndef CORE_DELIVERIES_H
#define CORE_DELIVERIES_H
/*
 * Delivery records that wait to be written to realtime_deliveries.
 *
 * event_unref() adds the record of an event whose last reference it drops; the log writer takes
 * the records.  The queue outlives all events that name it.  While the database cannot be reached
 * it holds DELIVERIES_MAX records; then the oldest are dropped and counted.
 */
#include <stdbool.h>
#include "base/annotate.h"
#include "base/clock.h"
#include "base/wake.h"

#define DELIVERIES_MAX 65536

struct delivery {
	uint64_t serial;
	usec_t at; /* wall */
	unsigned sockets;
};

struct deliveries;

struct deliveries *deliveries_new(void);
void deliveries_free(struct deliveries *l); /* NULL is fine */

/* Any thread. */
void deliveries_add(struct deliveries *l, const struct delivery *d);
unsigned deliveries_count(struct deliveries *l);

/* The thread that takes records.  wake (not owned) is signalled by the first record that arrives
 * while the thread awaits records; set it before the first event. */
void deliveries_set_wake(struct deliveries *l, struct wake *wake);
void deliveries_await(struct deliveries *l, bool is_awaited);
/* Takes up to max of the oldest; returns their number. */
unsigned deliveries_take(struct deliveries *l, struct delivery *out, unsigned max);
/* Puts n back in front, as many as there is room for: they could not be written. */
void deliveries_put_back(struct deliveries *l, const struct delivery *d, unsigned n);
/* The number of dropped records since the last call. */
uint64_t deliveries_dropped(struct deliveries *l);
#endif
