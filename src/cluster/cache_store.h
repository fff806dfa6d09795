/* SPDX-License-Identifier: MIT */
#ifndef CLUSTER_CACHE_STORE_H
#define CLUSTER_CACHE_STORE_H
/*
 * Cache channels whose last event this node published and the database does not have yet.  An event
 * stays in the directory until it is written; one that is replaced before is never written, so
 * there is one entry for each channel.  For the cluster's thread.
 */
#include "base/map.h"
#include "base/thread.h"
#include "cluster/inbox.h"
#include "conf/app.h"
#include "core/channels/directory.h"
#include "pg/array.h"
#include "pg/conn.h"

struct cache_store {
	struct inbox_item *first, **end;
	struct map queued; /* the same by application and channel */
	unsigned singles;  /* calls with one event that follow: one of them was refused */
	struct pg_array apps, channels, ids, types, data, published, ages, ttls;
};

/* Where the entries' channels and events are. */
struct cache_source {
	struct directory *directory;
	const struct app_set *apps;
	unsigned node; /* this one's number */
};

void cache_store_init(struct cache_store *s);
void cache_store_release(struct cache_store *s);
/* For each connection. */
enum pg_fault cache_store_prepare(struct pg_connection *c) MUSTCHECK RUNS_ON(on_db);
/* A report MEMBER_CACHED; takes it. */
void cache_store_add(struct cache_store *s, struct inbox_item *item);
/* Frees the entries whose event has expired meanwhile: for when nothing can be written. */
void cache_store_forget(struct cache_store *s, const struct cache_source *from);
/* Writes some of the events.  After a fault they stay. */
enum pg_fault cache_store_run(struct cache_store *s, struct pg_connection *c,
			      const struct cache_source *from) MUSTCHECK RUNS_ON(on_db);
/* Deletes expired events of all nodes.  *is_more: some are left. */
enum pg_fault cache_store_expire(struct pg_connection *c, bool *is_more) MUSTCHECK RUNS_ON(on_db);
#endif
