/* SPDX-License-Identifier: MIT */
#ifndef WEBHOOK_HOOK_DB_H
#define WEBHOOK_HOOK_DB_H
/*
 * Webhooks in the database: which statement of struct queue runs when, and what its answer changes.
 *
 * The backlog is written, lanes are claimed for the dispatcher, and the outcome of its finished
 * lanes is written.  All of it is done on the thread of webhooks.
 *
 * In a cluster the database decides about channels, members and counts (webhook_decide()): when
 * this node's changes were noted there, when the next one is due, and once a second because another
 * node may have ended.  A client event of a member that the database has not decided about is held
 * until it has, see docs/decisions/0058-order-of-cluster-webhooks.md.
 */
#include "base/mailbox.h"
#include "base/thread.h"
#include "webhook/backlog.h"
#include "webhook/dispatcher.h"
#include "webhook/queue.h"
#include "webhook/reported.h"

#define HOOK_DB_RETRY (200 * USEC_PER_MSEC) /* the pause after a statement that failed */

/* All of it outlives the struct hook_db. */
struct hook_db_parts {
	const struct conf_webhooks *conf;
	struct backlog *backlog;
	struct dispatcher *dispatcher;
	struct reported *reported;
	struct pg_pool *pool;
	bool has_deliveries; /* there are delivery records */
	bool is_cluster;     /* as in struct queue */
};

struct hook_db {
	const struct conf_webhooks *conf;
	struct backlog *backlog;
	struct dispatcher *dispatcher;
	struct reported *reported;
	struct queue queue;
	struct mailbox answers;
	struct lane *settling; /* lanes whose outcome is being written; linked by next */
	bool has_deliveries;
	bool is_loaded, is_loading, is_claiming, is_counting, is_pruning, is_checking;
	/* in a cluster */
	atomic_bool is_noted; /* changes, since the last decision began; any thread */
	bool is_deciding, is_comparing;
	bool must_write; /* before the next decision */
	usec_t decide_at;
	uint64_t n_begun, n_finished; /* the last decision that has begun, and that has succeeded */
	usec_t held_at;		      /* mono: what is held is looked at again */
	struct directory *directory;  /* set before the thread runs */
	usec_t write_at, claim_at, settle_at, load_at, count_at, prune_at, check_at; /* mono */
};

void hook_db_init(struct hook_db *db, const struct hook_db_parts *parts);
/* Also frees the answers that were not taken. */
void hook_db_release(struct hook_db *db);
/* Runs the statements that are due.  While stopping, no lane is claimed. */
void hook_db_run(struct hook_db *db, usec_t now, bool is_stopping) RUNS_ON(on_webhook);
void hook_db_take_answers(struct hook_db *db) RUNS_ON(on_webhook);
/* In a cluster, instead of comparison_run(). */
void hook_db_compare(struct hook_db *db) RUNS_ON(on_webhook);
/* Nothing is left to write, and no lane is claimed. */
bool hook_db_is_idle(const struct hook_db *db) RUNS_ON(on_webhook);
/* When hook_db_run() is due (mono), or until if that is earlier. */
usec_t hook_db_due(const struct hook_db *db, usec_t until) RUNS_ON(on_webhook);
#endif
