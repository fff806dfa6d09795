/* SPDX-License-Identifier: MIT */
#ifndef CLUSTER_CLUSTER_PRIVATE_H
#define CLUSTER_CLUSTER_PRIVATE_H
/*
 * The state of the cluster's thread, for the files that it runs.  Each calls only those to its
 * right: cluster; intake, reap, refresh; submit; shown.
 */
#include "cluster/cache_store.h"
#include "cluster/cluster.h"
#include "cluster/follow.h"
#include "cluster/inbox.h"
#include "cluster/step.h"
#include "pg/runner.h"

#define RETRY_US (100 * USEC_PER_MSEC) /* after a statement that failed */

struct cluster {
	const struct conf *conf;
	const char *conninfo;
	struct bus *bus;
	struct directory *directory;
	struct pg_runner *runner; /* NULL: not started */
	struct inbox inbox;
	atomic_bool has_missed; /* a change of another node: the versions are compared */
	void (*webhooks_noted)(void *ctx);
	void *webhooks_ctx;

	/* the thread's own */
	struct follow follow;
	struct step step;
	struct cache_store cache;
	struct app_set *apps;			/* of this round */
	struct own_member *batch[STEP_MEMBERS]; /* of this round */
	unsigned n_batch;
	bool is_noted;		/* webhooks may report a change of the batch */
	unsigned singles;	/* batches of one member that follow: one of them was refused */
	unsigned registrations; /* of the guard, when all was registered */
	usec_t retry_at, reap_at, compare_at, store_at, expire_at, forget_at; /* mono */
	unsigned read_max; /* channels of the next read of members */
	/*
	 * After a connection, until the database has the members of all running nodes.  After a
	 * crash of the server its tables begin empty: what is not in them is not dropped, because
	 * it may be on a node that has not registered its members yet.
	 */
	bool is_partial;
	bool has_waited;  /* for other nodes: all is read again after that */
	bool is_complete; /* the database knows that this node has registered all that it had */
	usec_t settle_at; /* mono: when the next refresh_settle() is due, if one of these is open */
};
#endif
