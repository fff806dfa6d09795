/* SPDX-License-Identifier: MIT */
#ifndef CORE_CATCH_UP_H
#define CORE_CATCH_UP_H
/*
 * A subscription that is not live yet: what its client missed is read from the log and sent
 * (docs/replay.md), while what comes for it is held back; then that follows, and it is live.
 * Also for a cache channel whose last event has to be read from the log first.
 *
 * The join told a position: every logged event up to it was posted before the join, so it is in
 * the log and not among what is held back; every one above it is held back.  A page may reach
 * further, never further than what was posted before the page itself.  So the two meet without
 * gap or overlap wherever the cut lies; what is held back and covered by the last page is dropped.
 */
#include "base/annotate.h"
#include "base/thread.h"
#include "core/directory.h"
#include "wire/position.h"

struct hub;
struct session;
struct subscription;
struct catch_up;

/* What a subscribe asked for. */
struct catch_up_request {
	bool is_given, is_valid;
	struct position since;
	struct str_view was;
};

/*
 * Behind subscription_succeeded, with what the join told (its references are taken over): sends
 * what a subscription begins with, now or later.  now: the log as it stood at the join.
 */
void catch_up_begin(struct session *s, struct subscription *sub, const struct catch_up_request *req,
		    struct directory_join *j, const struct position *now) RUNS_ON(on_worker);
/* Mail for a subscription that has one; keeps references of its own. */
void catch_up_hold(struct catch_up *u, const struct worker_message *m) RUNS_ON(on_worker);
/* The subscription ends: forgets it all. */
void catch_up_drop(struct catch_up *u) RUNS_ON(on_worker);
/* The session's socket takes more. */
void catch_up_writable(struct session *s) RUNS_ON(on_worker);
/* The answer to what was asked with this token; takes the page. */
void catch_up_answer(struct hub *h, uint64_t token, struct log_page *page) RUNS_ON(on_worker);
/* Looks after those that wait for this node to come as far as their position. */
void catch_up_tick(struct hub *h) RUNS_ON(on_worker);
#endif
