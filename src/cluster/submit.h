/* SPDX-License-Identifier: MIT */
#ifndef CLUSTER_SUBMIT_H
#define CLUSTER_SUBMIT_H
/*
 * Submits the changes of this node's members to the database, and takes their outcomes: what they
 * mean for the whole cluster.  On the cluster's thread.
 */
#include "cluster/change.h"
#include "cluster/cluster-private.h"

/* Submits the changes of a batch.  Its members are answered by submit_finish() or put back by
 * submit_put_back(), when what they miss has been read. */
enum pg_fault submit_run(struct cluster *c, struct pg_connection *conn) MUSTCHECK RUNS_ON(on_db);
/* The database knows the members of the batch, and the directory what the database knows. */
void submit_finish(struct cluster *c);
/* The next round reports the batch again. */
void submit_put_back(struct cluster *c);
/* A fault of a statement.  Returns it if the connection is lost; else a later round retries. */
enum pg_fault submit_on_fault(struct cluster *c, struct pg_connection *conn, enum pg_fault fault)
	MUSTCHECK;
/* Sends a change to the other nodes. */
void submit_publish(struct cluster *c, struct str_view app, struct str_view channel,
		    const struct change *change);
/* Changes were noted for webhooks in the database. */
void submit_note_webhooks(struct cluster *c);
#endif
