/* SPDX-License-Identifier: MIT */
#ifndef SVC_OCCUPANCY_H
#define SVC_OCCUPANCY_H
/*
 * Who is where in the whole cluster, read from the database.  A count is at most a second old,
 * whether a channel is occupied at most some milliseconds.
 */
#include "conf/app.h"
#include "conf/conf.h"
#include "pg/pool.h"

/* False: the daemon is alone, and its directory has all. */
bool occupancy_is_shared(const struct conf *conf);

/* done is called as by pg_pool_call(). */

/* Columns: channel, subscriptions, members; of channels whose names begin with prefix. */
void occupancy_list(struct pg_pool *p, const struct app *app, struct str_view prefix,
		    pg_pool_done *done, void *ctx);
/* Subscriptions and members of each channel.  channels: their names with a space between. */
void occupancy_read(struct pg_pool *p, const struct app *app, struct str_view channels,
		    pg_pool_done *done, void *ctx);
/* The ids of the channel's members. */
void occupancy_users(struct pg_pool *p, const struct app *app, struct str_view channel,
		     pg_pool_done *done, void *ctx);
#endif
