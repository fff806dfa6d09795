/* SPDX-License-Identifier: MIT */
#ifndef BUS_RECEIVERS_H
#define BUS_RECEIVERS_H
/*
 * The functions that are called for what arrives from other nodes.  The drivers call them, on their
 * own thread; other threads set them.
 */
#include <pthread.h>
#include "base/annotate.h"

/* For clang: this thread holds the lock. */
extern struct TSA(capability("mutex")) bus_receivers_held {
	char unused;
} bus_receivers_held;

struct bus_receivers {
	pthread_mutex_t lock; /* held while a function runs */
	void (*on_log)(void *ctx) OWNED_BY(bus_receivers_held);
	void *log_ctx OWNED_BY(bus_receivers_held);
};

void bus_receivers_init(struct bus_receivers *r);
void bus_receivers_release(struct bus_receivers *r);
/* As bus_watch_log(). */
void bus_receivers_set_log(struct bus_receivers *r, void (*fn)(void *ctx), void *ctx);
/* Another node's events are in the log. */
void bus_receivers_log(struct bus_receivers *r);
#endif
