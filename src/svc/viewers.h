/* SPDX-License-Identifier: MIT */
#ifndef SVC_VIEWERS_H
#define SVC_VIEWERS_H
/*
 * The time that passes for viewers: those who did not say again that they view expire, and those
 * whose socket died are gone after the grace.  The rest is in sql/migrations/0017_viewing.sql.
 *
 * Sockets that view are in a set; one that dies is looked up there and nowhere else.
 */
#include "conf/conf.h"
#include "pg/pool.h"

struct viewers;

/* Before pg_pool_start(); the pool outlives it. */
struct viewers *viewers_new(struct pg_pool *pool, const struct conf_sync *conf);
/* After the pool and the sockets' threads have stopped.  NULL is fine. */
void viewers_free(struct viewers *v);
/* The socket views something for ttl_s from now; call it before the database is told.  Any thread.
 */
void viewers_watch(struct viewers *v, uint64_t socket_id, unsigned ttl_s);
/* A connection is gone.  Any thread; cheap. */
void viewers_on_closed(struct viewers *v, uint64_t socket_id);
#endif
