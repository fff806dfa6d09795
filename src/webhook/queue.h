/* SPDX-License-Identifier: MIT */
#ifndef WEBHOOK_QUEUE_H
#define WEBHOOK_QUEUE_H
/*
 * The statements of the tables webhook_queue and webhook_reported
 * (sql/migrations/0023_webhooks.sql, 0031_cluster_webhooks.sql), over the pool of the sync API.
 * Each answer is given to post, which takes it.
 */
#include "base/mailbox.h"
#include "conf/conf.h"
#include "pg/pool.h"
#include "webhook/lane.h"

enum queue_query {
	QUEUE_LOAD,    /* app, channel, user_id of what was reported as present */
	QUEUE_MEMBERS, /* numbers, from 1, of those that were not reported as added */
	QUEUE_WRITE,
	QUEUE_CLAIM,  /* id, app, endpoint, channel, event */
	QUEUE_SETTLE, /* the number of new dead letters */
	QUEUE_COUNT,  /* waiting, dead */
	QUEUE_PRUNE,
	QUEUE_UNDELIVERED, /* the number of notifications that were decided */
	QUEUE_DECIDE,	   /* the number of webhooks; ms until the next change is due */
	QUEUE_COMPARE,	   /* the number of differences */
	QUEUE_QUERIES
};

struct queue_answer {
	struct mailbox_entry entry;
	enum queue_query query;
	int rc;		 /* as pg_pool_done()'s */
	bool is_refused; /* the server will never accept this content */
	char *message;	 /* of the server's error; or NULL */
	int rows, columns;
	char **cells;
};
const char *queue_cell(const struct queue_answer *a, int row, int column);
void queue_answer_free(struct queue_answer *a);

struct queue {
	struct pg_pool *pool;
	bool is_cluster; /* other daemons may use the tables too */
	/* Takes the answer; any thread. */
	void (*post)(void *ctx, struct queue_answer *a);
	void *ctx;
};

void queue_load(struct queue *q);
/* In a cluster: which members of these client events were reported; those without one do not count.
 */
void queue_members(struct queue *q, const struct hook_list *hooks);
/* Webhooks and notes in their order; the list is not changed. */
void queue_write(struct queue *q, const struct hook_list *hooks);

struct queue_claim {
	unsigned lanes, run, lease_ms;
	const struct lane **full; /* a lane of each endpoint of which none is claimed */
	size_t n_full;
};
void queue_claim(struct queue *q, const struct queue_claim *wanted);
/* lanes: linked by next.  done is deleted, the first of waiting failed or was not tried. */
void queue_settle(struct queue *q, const struct lane *lanes, const struct conf_webhooks *conf);
void queue_count(struct queue *q);
/*
 * Decides about at most `most` notifications: whether they reached a socket within after_s.  Those
 * that did not are reported to the endpoints of apps; without apps (NULL) to none.
 */
void queue_undelivered(struct queue *q, unsigned after_s, unsigned most,
		       const struct app_set *apps);
#define QUEUE_PRUNE_MAX 1000
/* Deletes old dead letters; the answer is QUEUE_PRUNE_MAX while there may be more. */
void queue_prune(struct queue *q, const struct conf_webhooks *conf);
/* In a cluster: at most `most` changes of channels and members that are due become webhooks. */
void queue_decide(struct queue *q, unsigned most);
/* In a cluster: what was reported is compared with what is true; delay_ms is that of an end. */
void queue_compare(struct queue *q, unsigned delay_ms);
#endif
