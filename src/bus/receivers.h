/* SPDX-License-Identifier: MIT */
#ifndef BUS_RECEIVERS_H
#define BUS_RECEIVERS_H
/*
 * Where what arrives from other nodes goes.  The drivers call these functions, on their own thread;
 * other threads set the receivers.
 */
#include <pthread.h>
#include "base/annotate.h"
#include "bus/message.h"
#include "core/channels/directory.h"

/* For clang: this thread holds the lock. */
extern struct TSA(capability("mutex")) bus_receivers_held {
	char unused;
} bus_receivers_held;

struct bus_receivers {
	pthread_mutex_t lock; /* held while a receiver is in use */
	struct directory *directory OWNED_BY(bus_receivers_held); /* NULL: not yet, or no longer */
	void (*on_log)(void *ctx, struct str_view slice) OWNED_BY(bus_receivers_held);
	void *log_ctx OWNED_BY(bus_receivers_held);
	void (*on_member)(void *ctx, const struct bus_message *m) OWNED_BY(bus_receivers_held);
	void *member_ctx OWNED_BY(bus_receivers_held);
};

void bus_receivers_init(struct bus_receivers *r);
void bus_receivers_release(struct bus_receivers *r);
/* As bus_watch_log(). */
void bus_receivers_set_log(struct bus_receivers *r, void (*fn)(void *ctx, struct str_view slice),
			   void *ctx);
/* As bus_watch_members(). */
void bus_receivers_set_members(struct bus_receivers *r,
			       void (*fn)(void *ctx, const struct bus_message *m), void *ctx);
/* As bus_set_directory(). */
void bus_receivers_set_directory(struct bus_receivers *r, struct directory *d);
/* Another node's message. */
void bus_receivers_message(struct bus_receivers *r, const struct bus_message *m);
/* Another node's events are in the log; slice as for bus_watch_log(). */
void bus_receivers_log(struct bus_receivers *r, struct str_view slice);
/* The driver has begun to receive, at first or again: it may have missed anything before. */
void bus_receivers_begin(struct bus_receivers *r);
#endif
