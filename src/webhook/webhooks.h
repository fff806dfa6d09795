/* SPDX-License-Identifier: MIT */
#ifndef WEBHOOK_WEBHOOKS_H
#define WEBHOOK_WEBHOOKS_H
/*
 * Webhooks (protocol A10): transitions of the directory become rows of webhook_queue, and those
 * become HTTP requests.  At least once, in the order of each channel at each endpoint.
 */
#include "core/channels/directory.h"
#include "conf/conf.h"
#include "pg/pool.h"

struct webhooks;

/* conf and the pool outlive it.  is_cluster: the database decides about channels, members and
 * counts. */
struct webhooks *webhooks_new(const struct conf *conf, struct pg_pool *pool, bool is_cluster)
	MUSTCHECK;
/* 0 or -errno.  The directory outlives webhooks_stop(). */
int webhooks_start(struct webhooks *w, struct directory *d) MUSTCHECK;
/*
 * Writes what waits and records the outcome of requests under way, for at most ms; ends the thread.
 * Before pg_pool_stop().  NULL, and one that was not started, are fine.
 */
void webhooks_stop(struct webhooks *w, unsigned ms);
/* After the pool and the directory have stopped.  NULL is fine. */
void webhooks_free(struct webhooks *w);

/* For directory_watch_transitions(): ctx is the struct webhooks.  Any thread; does not wait. */
void webhooks_on_transition(void *ctx, const struct transition *t);
/* For cluster_watch_webhooks(): the same. */
void webhooks_on_noted(void *ctx);
#endif
