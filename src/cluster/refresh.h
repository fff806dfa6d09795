/* SPDX-License-Identifier: MIT */
#ifndef CLUSTER_REFRESH_H
#define CLUSTER_REFRESH_H
/*
 * Reads from the database what this node does not have: the members of channels of which it missed
 * a change, and versions; and registers all members of this node again.  On the cluster's thread.
 */
#include "cluster/cluster-private.h"

#define READ_FIRST 100 /* channels of the first read of members */

/* Registers all members again, after a connection or when the node was registered again. */
enum pg_fault refresh_begin(struct cluster *c, struct pg_connection *conn) MUSTCHECK RUNS_ON(on_db);
/* Reports that this node has registered all its members, once it has.  Ends is_partial when all
 * nodes have, or a lease has passed. */
enum pg_fault refresh_settle(struct cluster *c, struct pg_connection *conn)
	MUSTCHECK RUNS_ON(on_db);
/* Reads the members of the channels of which a change was missed. */
enum pg_fault refresh_read(struct cluster *c, struct pg_connection *conn) MUSTCHECK RUNS_ON(on_db);
/* Compares all versions, and the number of members that the database has of this node. */
enum pg_fault refresh_compare(struct cluster *c, struct pg_connection *conn)
	MUSTCHECK RUNS_ON(on_db);
#endif
