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

struct viewing_svc;

/* Before pg_pool_start(); the pool outlives it. */
struct viewing_svc *viewing_svc_new(struct pg_pool *pool, const struct conf_sync *conf);
/* After the pool and the sockets' threads have stopped.  NULL is fine. */
void viewing_svc_free(struct viewing_svc *v);
/* The socket views something for ttl_s from now; call it before the database is told.  Any thread.
 */
void viewing_svc_watch(struct viewing_svc *v, uint64_t socket_id, unsigned ttl_s);
/* A connection is gone.  Any thread; cheap. */
void viewing_svc_on_closed(struct viewing_svc *v, uint64_t socket_id);
#endif
