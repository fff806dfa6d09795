/* SPDX-License-Identifier: MIT */
#ifndef CLUSTER_CLUSTER_H
#define CLUSTER_CLUSTER_H
/*
 * Presence of the whole cluster: this node's members of presence channels, and its users who are
 * signed in, are registered in the database, and the directory gets the members of all nodes.
 * sql/migrations/0030_cluster_presence.sql decides what a change means for the cluster; the bus
 * carries it to the other nodes.
 */
#include "base/annotate.h"
#include "bus/bus.h"
#include "conf/conf.h"
#include "core/channels/directory.h"

struct cluster;

/* NULL: with cluster.driver = local there is nothing to do.  conf, conninfo and b outlive it. */
struct cluster *cluster_new(const struct conf *conf, const char *conninfo, struct bus *b) MUSTCHECK;
/* NULL is fine; after the directory is freed. */
void cluster_free(struct cluster *c);
/*
 * Sets the function that is called when the database has noted changes for webhooks
 * (sql/migrations/0031_cluster_webhooks.sql).  It runs on the cluster's thread and must not wait.
 * Call this before cluster_start().  NULL is fine.
 */
void cluster_watch_webhooks(struct cluster *c, void (*noted)(void *ctx), void *ctx);
/* Makes d that of a node, and starts the thread.  d outlives the thread.  0 or -errno.  NULL is
 * fine. */
int cluster_start(struct cluster *c, struct directory *d) MUSTCHECK;
/* No message from the bus or the thread reaches the directory any more.  NULL is fine. */
void cluster_stop(struct cluster *c);
#endif
