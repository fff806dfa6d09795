/* SPDX-License-Identifier: MIT */
#ifndef WEBHOOK_HOOK_H
#define WEBHOOK_HOOK_H
/*
 * Webhooks in memory (hooks), and lists of them.  A hook is in one list at a time, which owns it.
 * All of it is used by one thread.
 */
#include <stdbool.h>
#include "base/clock.h"
#include "base/str.h"

/* A webhook, or (endpoint NULL) the note that a channel or member is reported as present. */
struct hook {
	struct hook *next;
	int64_t id; /* in webhook_queue; 0: it is in memory only */
	char *app, *endpoint, *channel;
	char *event;   /* JSON text of the event, without its envelope */
	char *user_id; /* of a note */
	char *member;  /* whose member_added comes before it at the endpoint; NULL: no one's */
	uint64_t held_after; /* it waits for that: decisions that had begun; 0: it did not wait */
	usec_t held_at;	     /* mono: since then */
	bool is_here;	     /* of a note */
};

struct hook *hook_new(const char *app, const char *endpoint, struct str_view channel,
		      struct str_view event) MUSTCHECK;
struct hook *hook_note(struct str_view app, struct str_view channel, struct str_view user_id,
		       bool is_here) MUSTCHECK;
void hook_free(struct hook *h);

struct hook_list {
	struct hook *first, *last;
	unsigned n;
};
void hook_list_add(struct hook_list *l, struct hook *h);
/* NULL when it is empty. */
struct hook *hook_list_take(struct hook_list *l);
/* Puts all of more in front of l; more is empty then. */
void hook_list_put_back(struct hook_list *l, struct hook_list *more);
void hook_list_free(struct hook_list *l);
#endif
