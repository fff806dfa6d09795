/* SPDX-License-Identifier: MIT */
#ifndef CLUSTER_SHOWN_H
#define CLUSTER_SHOWN_H
/*
 * What this node shows its clients of the whole cluster: members and numbers of subscriptions in
 * the directory, and answers to subscriptions that wait.  On the cluster's thread.
 */
#include "cluster/change.h"
#include "cluster/cluster-private.h"

/* The application of the channel; NULL: this node does not serve it any more. */
struct app *shown_app(const struct cluster *c, struct followed *of);
/* The user is a member; is_own: by a connection of this node. */
void shown_put(struct cluster *c, struct followed *of, const struct directory_member *who,
	       bool is_own);
/* The database has the user on no node.  While it does not have all nodes, nothing is dropped; the
 * members are read again after that. */
void shown_drop_lost(struct cluster *c, struct followed *of, struct str_view user_id);
/* Drops the members that are not among who[0] to who[n - 1]. */
void shown_drop_others(struct cluster *c, struct followed *of, const struct directory_member *who,
		       size_t n);
/*
 * The channel has so many subscriptions on all nodes (at least, while the database does not have
 * all nodes), as this node has read it: nothing that it has received before is newer, and what is
 * newer is received later.
 */
void shown_set_count(struct cluster *c, struct followed *of, uint64_t version, unsigned total);
/* A change that the database decided; one that does not follow has the members read.  A sum of
 * subscriptions that is not newer than the known one is ignored. */
void shown_apply(struct cluster *c, struct followed *of, const struct change *change);
/* Clients that watch the user are answered. */
void shown_answer_watchers(struct cluster *c, struct followed *of);
/* Subscriptions that waited for the member succeed, or fail because the channel is full. */
void shown_answer_waiters(struct cluster *c, struct own_member *m, bool is_full);
/* Shows clients its own member as this node has it; the database may change that later. */
void shown_settle(struct cluster *c, struct own_member *m);
/* Forgets the channel if this node has no subscription to it any more. */
void shown_prune(struct cluster *c, struct followed *of);
#endif
