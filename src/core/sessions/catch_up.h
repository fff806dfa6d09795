/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSIONS_CATCH_UP_H
#define CORE_SESSIONS_CATCH_UP_H
/*
 * A subscription that is not live yet.  What its client missed is read from the log and sent
 * (docs/replay.md) while new frames for it are held back; then the held frames follow, and it is
 * live.  The same for a cache channel whose last event must be read from the log first; for some
 * seconds after it was sent, that event is left out when it arrives as a message too.
 *
 * No gap and no overlap.  The join returned a position: every logged event up to it was sent to
 * the workers before the join, so it is in the log and not among the held frames; every event
 * above it is held.  A page may reach further than that position, but never further than what was
 * sent to the worker before the page itself.  So held frames that the last page covers are dropped,
 * and the rest follows it.
 */
#include "base/annotate.h"
#include "base/thread.h"
#include "core/channels/directory.h"
#include "wire/position.h"

struct hub;
struct session;
struct subscription;
struct catch_up;

/* What the client's subscribe message requested. */
struct catch_up_request {
	bool is_given; /* it has "since" */
	bool is_valid; /* since and was are well-formed */
	struct position since;
	struct str_view was; /* socket ids of the client's earlier connections */
};

/*
 * Sends subscription_succeeded and what the subscription begins with, now or later.  j: the results
 * of the join; takes over j->unlogged and j->cached.  now: the log's position at the join.
 */
void catch_up_begin(struct session *s, struct subscription *sub, const struct catch_up_request *req,
		    struct directory_join *j, const struct position *now) RUNS_ON(on_worker);
/* A frame arrived for a subscription that has a catch-up.  Takes references of its own. */
void catch_up_hold(struct catch_up *u, const struct worker_message *m) RUNS_ON(on_worker);
/* The subscription ends before it went live. */
void catch_up_drop(struct catch_up *u) RUNS_ON(on_worker);
/* The session has ended: its requests to the log are cancelled. */
void catch_up_session_closed(struct session *s) RUNS_ON(on_worker);
/* The session's socket takes more; it has s->catching_up. */
void catch_up_writable(struct session *s) RUNS_ON(on_worker);
/* The answer to the request with this token; takes the page. */
void catch_up_answer(struct hub *h, uint64_t token, struct log_page *page) RUNS_ON(on_worker);
/*
 * Continues the catch-ups whose position this node has reached, or has not reached in time; drops
 * connections that read nothing while they catch up.
 */
void catch_up_tick(struct hub *h) RUNS_ON(on_worker);
#endif
