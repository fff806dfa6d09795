/* SPDX-License-Identifier: MIT */
/*
 * One lock, held while a function runs, so that a function that was unset is not running.  The
 * functions only wake threads and fill mailboxes.
 */
#include "bus/receivers.h"

struct bus_receivers_held bus_receivers_held;

static void receivers_lock(struct bus_receivers *r)
	TSA(acquire_capability(bus_receivers_held)) NO_TSA
{
	pthread_mutex_lock(&r->lock);
}

static void receivers_unlock(struct bus_receivers *r)
	TSA(release_capability(bus_receivers_held)) NO_TSA
{
	pthread_mutex_unlock(&r->lock);
}

void bus_receivers_init(struct bus_receivers *r) NO_TSA /* before other threads have it */
{
	*r = (struct bus_receivers){ .on_log = NULL };
	pthread_mutex_init(&r->lock, NULL);
}

void bus_receivers_release(struct bus_receivers *r)
{
	pthread_mutex_destroy(&r->lock);
}

void bus_receivers_set_log(struct bus_receivers *r, void (*fn)(void *ctx), void *ctx)
{
	receivers_lock(r);
	r->on_log = fn;
	r->log_ctx = ctx;
	receivers_unlock(r);
}

void bus_receivers_log(struct bus_receivers *r)
{
	receivers_lock(r);
	if (r->on_log)
		r->on_log(r->log_ctx);
	receivers_unlock(r);
}
