/* SPDX-License-Identifier: MIT */
#ifndef WEBHOOK_TRANSITIONS_H
#define WEBHOOK_TRANSITIONS_H
/*
 * Transitions become webhooks: one for each endpoint that wants the event.
 *
 * Until it is known what an earlier process reported, all transitions wait in the mailbox, so that
 * they stay in their order.
 */
#include "base/mailbox.h"
#include "base/thread.h"
#include "conf/conf.h"
#include "core/transition.h"
#include "webhook/backlog.h"
#include "webhook/reported.h"

struct transitions {
	const struct conf_webhooks *conf;
	struct backlog *backlog; /* where the webhooks go */
	struct mailbox mailbox;
	struct reported reported;
};

/* conf and backlog outlive it. */
void transitions_init(struct transitions *s, const struct conf_webhooks *conf,
		      struct backlog *backlog);
/* Also frees what is in the mailbox. */
void transitions_release(struct transitions *s);
/*
 * Copies the transition into the mailbox.  True: the mailbox was empty, and the thread of webhooks
 * must be woken.  When it is full or closed, the transition is dropped.  Any thread.
 */
bool transitions_put(struct transitions *s, const struct transition *t) MUSTCHECK;
/* Takes what is in the mailbox, unless reported is held. */
void transitions_take(struct transitions *s) RUNS_ON(on_webhook);
#endif
