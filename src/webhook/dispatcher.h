/* SPDX-License-Identifier: MIT */
#ifndef WEBHOOK_DISPATCHER_H
#define WEBHOOK_DISPATCHER_H
/*
 * Sends the webhooks of the lanes: decides which are sent now, makes requests of them, and keeps
 * their result in the lane.
 */
#include "base/thread.h"
#include "conf/conf.h"
#include "webhook/lane.h"
#include "webhook/sender.h"

struct dispatcher {
	const struct conf_webhooks *conf;
	struct sender *sender;
	struct lanes lanes;    /* claimed ones, and those in memory */
	struct lane *finished; /* linked by next; still in lanes */
};

/* Starts the requests that can be sent.  While stopping, only those of lanes in memory. */
void dispatcher_run(struct dispatcher *d, usec_t now, bool is_stopping) RUNS_ON(on_webhook);
/* When the first lane can be sent (mono), or until if that is earlier. */
usec_t dispatcher_due(const struct dispatcher *d, usec_t now, usec_t until) RUNS_ON(on_webhook);
/*
 * How long (usec) a claimed lane belongs to this node.  Requests begin in the first half only, so
 * that the last one ends before the lease.
 */
usec_t dispatcher_lease(const struct dispatcher *d);
#endif
