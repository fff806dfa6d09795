/* SPDX-License-Identifier: MIT */
#ifndef SVC_ACTIVITIES_H
#define SVC_ACTIVITIES_H
/*
 * The activity feed's chores: rows get their positions soon after their commit, so that a feed that
 * is read seldom does not have much to place; and old ones go, in small batches.  What is done
 * stands in 0016_activities.sql.
 */
#include "pg/pool.h"

struct activities;

/* Before pg_pool_start(); retention_days 0: nothing goes.  The pool must outlive it. */
struct activities *activities_new(struct pg_pool *pool, unsigned retention_days);
/* After pg_pool_stop(); NULL is fine. */
void activities_free(struct activities *a);
#endif
