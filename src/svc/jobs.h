/* SPDX-License-Identifier: MIT */
#ifndef SVC_JOBS_H
#define SVC_JOBS_H
/*
 * Statements that run at an interval: activities get their positions in the feed, expired edit
 * locks are freed, old activities, locks, changes and rows of admin_audit are deleted, and the
 * settings that SQL functions need are stored.
 *
 * Several nodes on one database may run them at once: each row is taken by one of them.  The
 * settings are common to all nodes; the node that started last decides.
 */
#include "conf/conf.h"
#include "pg/pool.h"

struct jobs;

/* Before pg_pool_start(); all is read at once, the pool must outlive what is returned. */
struct jobs *jobs_new(struct pg_pool *pool, const struct conf *all) MUSTCHECK;
/* After pg_pool_stop(); NULL is fine. */
void jobs_free(struct jobs *j);
#endif
