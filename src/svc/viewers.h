/* SPDX-License-Identifier: MIT */
#ifndef SVC_VIEWERS_H
#define SVC_VIEWERS_H
/*
 * Expiry of viewers: a viewer expires when its TTL passes without a new call, or when the grace
 * after its socket was closed has passed.  The rest is in sql/migrations (viewing).
 *
 * Sockets that view something are in a set.
 */
#include "conf/conf.h"
#include "pg/pool.h"

struct sockets;
struct viewers;

/* Before pg_pool_start(); the pool and the sockets outlive it. */
struct viewers *viewers_new(struct pg_pool *pool, struct sockets *sockets,
			    const struct conf_sync *conf);
/* After the pool and the sockets' threads have stopped.  NULL is fine. */
void viewers_free(struct viewers *v);
/* The socket views something for ttl_s from now.  Any thread. */
void viewers_watch(struct viewers *v, const struct app *app, uint64_t socket_id, unsigned ttl_s);
/* A connection was closed, and is in the set of sockets no more.  Any thread; cheap. */
void viewers_on_closed(struct viewers *v, uint64_t socket_id);
#endif
