/* SPDX-License-Identifier: MIT */
#ifndef SVC_SYNC_SETTINGS_H
#define SVC_SYNC_SETTINGS_H
/*
 * Settings that the functions in the database need: written to the table sync_settings once, when
 * the database is first there.  Nodes on one database have them in common; the one that started
 * last says what they are.
 */
#include "conf/conf.h"
#include "pg/pool.h"

struct sync_settings;

/* Before pg_pool_start(); conf is read at once, the pool must outlive what is returned. */
struct sync_settings *sync_settings_new(struct pg_pool *pool, const struct conf_sync *conf);
/* After pg_pool_stop(); NULL is fine. */
void sync_settings_free(struct sync_settings *s);
#endif
