/* SPDX-License-Identifier: MIT */
#ifndef WEBHOOK_LANE_H
#define WEBHOOK_LANE_H
/*
 * Lanes: the webhooks of one channel for one endpoint, which are sent in their order.  All of it is
 * used by one thread.
 */
#include "base/backoff.h"
#include "base/clock.h"
#include "base/map.h"
#include "webhook/hook.h"

struct lane {
	struct lane *next;		      /* in a list of the owner */
	char *key;			      /* app, NUL, endpoint, NUL, channel */
	struct str_view view;		      /* key with its NULs, for the map */
	const char *app, *endpoint, *channel; /* inside key */
	struct hook_list waiting;
	struct hook_list done; /* delivered, and still in the table webhook_queue */
	bool is_memory;	       /* its webhooks are not in the queue */
	unsigned n_in_flight;  /* how many of waiting, from the first on, are being sent */
	bool is_finished;      /* its outcome goes to the queue; nothing more is sent */
	usec_t since;	       /* mono: when it was claimed */
	/* the first of waiting failed */
	bool has_failed, is_permanent; /* it is not retried */
	char *error;
	/* of a lane in memory */
	struct backoff backoff;
	usec_t first_at, next_at; /* mono */
};

struct lanes {
	struct map map;
};

void lanes_init(struct lanes *l);
void lanes_release(struct lanes *l);
struct lane *lanes_get(const struct lanes *l, const struct hook *h);
/* There is none yet. */
struct lane *lanes_add(struct lanes *l, const struct hook *h, usec_t now) MUSTCHECK;
/* Frees it with its webhooks. */
void lanes_remove(struct lanes *l, struct lane *lane);
size_t lanes_count(const struct lanes *l);
/* A lane of each endpoint that has at least n; their number.  The caller frees *out. */
size_t lanes_find_full(const struct lanes *l, size_t n, const struct lane ***out);
struct lane *lanes_next(const struct lanes *l, size_t *at);
#endif
