/* SPDX-License-Identifier: MIT */
#ifndef CLUSTER_REAP_H
#define CLUSTER_REAP_H
/* Removes members of nodes whose lease has ended.  On the cluster's thread. */
#include "cluster/cluster-private.h"

/* Some of them; reap_at: when the next are due. */
enum pg_fault reap_run(struct cluster *c, struct pg_connection *conn) MUSTCHECK RUNS_ON(on_db);
#endif
