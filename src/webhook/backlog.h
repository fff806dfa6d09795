/* SPDX-License-Identifier: MIT */
#ifndef WEBHOOK_BACKLOG_H
#define WEBHOOK_BACKLOG_H
/*
 * Webhooks and notes that are not in the database yet.  Their number has a bound.
 *
 * While the database is not available, lanes are made of them: these are in memory only.  When it
 * is back, what they still have is written to it.
 */
#include "base/thread.h"
#include "webhook/lane.h"

struct backlog {
	unsigned max;
	struct hook_list waiting;
	struct hook_list writing; /* in the statement that is running */
	struct hook_list held;	  /* wait for the member_added of who sent them, see hook_db.c */
};

void backlog_release(struct backlog *b);
/* Takes the hook.  At the bound it is dropped, which is logged and counted. */
void backlog_add(struct backlog *b, struct hook *h) RUNS_ON(on_webhook);
/* Makes lanes in memory of the webhooks that wait.  Notes stay where they are. */
void backlog_make_lanes(struct backlog *b, struct lanes *lanes, usec_t now) RUNS_ON(on_webhook);
/* What the lanes in memory still have waits here again, in front of newer webhooks. */
void backlog_take_lanes(struct backlog *b, struct lanes *lanes) RUNS_ON(on_webhook);
#endif
