/* SPDX-License-Identifier: MIT */
#ifndef CLUSTER_STEP_H
#define CLUSTER_STEP_H
/*
 * The statements of the cluster's thread (sql/migrations/0030_cluster_presence.sql).  An answer is
 * the caller's, to release.
 */
#include "base/thread.h"
#include "cluster/follow.h"
#include "pg/array.h"
#include "pg/conn.h"

#define STEP_MEMBERS  100  /* changes in one call */
#define STEP_CHANNELS 1000 /* channels whose members or versions are read by one call */

/* The columns of a statement that is being made. */
struct step {
	struct pg_array apps, channels, users, infos, leaving, max, delays;
};

void step_init(struct step *s);
void step_release(struct step *s);
/* For each connection. */
enum pg_fault step_prepare(struct pg_connection *c) MUSTCHECK RUNS_ON(on_db);

void step_reset(struct step *s);
void step_add_channel(struct step *s, const struct followed *c);
/* max: members that the channel may have, 0: any number.  delay_ms: after which webhooks report
 * that it has ended; -1: none reports its change. */
void step_add_member(struct step *s, const struct own_member *m, unsigned max, int delay_ms);

/* Columns: index (from 1), outcome, version before, version, info.  No row: the node has no lease.
 */
enum pg_fault step_run(struct step *s, struct pg_connection *c, unsigned node,
		       struct pg_answer *out) MUSTCHECK RUNS_ON(on_db);
/* Index, version, user id, info.  User id is NULL for a channel without members. */
enum pg_fault step_read(struct step *s, struct pg_connection *c, struct pg_answer *out)
	MUSTCHECK RUNS_ON(on_db);
/* Of each channel: the version of its members, its subscriptions, and their version. */
enum pg_fault step_versions(struct step *s, struct pg_connection *c, struct pg_answer *out)
	MUSTCHECK RUNS_ON(on_db);
/* Application, channel, user id: what the database has of this node. */
enum pg_fault step_register(struct pg_connection *c, unsigned node, struct pg_answer *out)
	MUSTCHECK RUNS_ON(on_db);
/* Whether it has the members of all nodes; is_complete: it has those of this one. */
enum pg_fault step_settle(struct pg_connection *c, unsigned node, bool is_complete,
			  struct pg_answer *out) MUSTCHECK RUNS_ON(on_db);
/* How many members it has of this node. */
enum pg_fault step_count(struct pg_connection *c, unsigned node, struct pg_answer *out)
	MUSTCHECK RUNS_ON(on_db);
/* Application, channel, user id, outcome, version before, version, info: of a node that has ended.
 * delay_ms: after which webhooks report an end. */
enum pg_fault step_reap(struct pg_connection *c, unsigned delay_ms, struct pg_answer *out)
	MUSTCHECK RUNS_ON(on_db);
#endif
