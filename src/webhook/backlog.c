/* SPDX-License-Identifier: MIT */
/* Webhooks outside the database: their bound, and lanes made of them while it is not available. */
#include "base/log_gate.h"
#include "base/mem.h"
#include "base/metric.h"
#include "webhook/backlog.h"

static struct log_gate dropped_gate = LOG_GATE("webhooks dropped");

void backlog_add(struct backlog *b, struct hook *h)
{
	if (b->waiting.n + b->writing.n + b->held.n < b->max) {
		hook_list_add(&b->waiting, h);
		return;
	}
	hook_free(h);
	metric_add(METRIC_WEBHOOK_FAILED, 1);
	log_gated(&dropped_gate,
		  "webhooks: %u wait outside the database (webhooks.memory_events), one more is "
		  "dropped",
		  b->max);
}

void backlog_make_lanes(struct backlog *b, struct lanes *lanes, usec_t now)
{
	struct hook_list kept = { 0 };
	struct hook *h;

	hook_list_put_back(&b->waiting, &b->held);
	while ((h = hook_list_take(&b->waiting))) {
		struct lane *lane = h->endpoint ? lanes_get(lanes, h) : NULL;

		if (!h->endpoint || (lane && !lane->is_memory)) {
			hook_list_add(&kept, h);
			continue;
		}
		if (!lane) {
			lane = lanes_add(lanes, h, now);
			lane->is_memory = true;
		}
		hook_list_add(&lane->waiting, h);
	}
	b->waiting = kept;
}

void backlog_take_lanes(struct backlog *b, struct lanes *lanes)
{
	struct lane *lane, **all = NULL;
	size_t at = 0, n = 0;

	while ((lane = lanes_next(lanes, &at))) {
		if (!lane->is_memory || lane->n_in_flight)
			continue;
		all = xreallocarray(all, n + 1, sizeof(struct lane *));
		all[n++] = lane;
	}
	for (size_t i = 0; i < n; i++) {
		hook_list_put_back(&b->waiting, &all[i]->waiting);
		lanes_remove(lanes, all[i]);
	}
	free(all);
}

void backlog_release(struct backlog *b)
{
	hook_list_free(&b->waiting);
	hook_list_free(&b->writing);
	hook_list_free(&b->held);
}
