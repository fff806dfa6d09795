/* SPDX-License-Identifier: MIT */
#ifndef SVC_DATASYNC_H
#define SVC_DATASYNC_H
/*
 * What the tables of locks and of data sync need done from time to time: locks whose time is over
 * are freed and told, about a second late; old changes, deletions and unused locks are forgotten.
 * Several nodes may do it at once: each row is taken by one of them.
 */
#include "conf/conf.h"
#include "pg/pool.h"

struct datasync;

/* Before pg_pool_start(); conf is read at once, the pool must outlive what is returned. */
struct datasync *datasync_new(struct pg_pool *pool, const struct conf_sync *conf);
/* After pg_pool_stop(); NULL is fine. */
void datasync_free(struct datasync *d);
#endif
