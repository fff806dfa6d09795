/* SPDX-License-Identifier: MIT */
#ifndef TRACE_LIVE_TAIL_H
#define TRACE_LIVE_TAIL_H
/*
 * The live tail: operators watch events, refusals and connections of this node while they happen.
 *
 * Without a watcher an event costs one read of a flag, and a delivery costs nothing in any
 * case.  What a watcher has not read yet is bounded; what does not fit is left out and counted.
 *
 * Any thread may call any function.  A live tail that is NULL has no watchers.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include "base/annotate.h"
#include "base/clock.h"
#include "base/str.h"

#define LIVE_TAIL_WATCHERS 16	  /* at the same time */
#define LIVE_TAIL_BYTES	   262144 /* of what a watcher has not read */
#define LIVE_TAIL_DATA	   4096	  /* of an event's data; the rest is cut off */

enum tail_kind { TAIL_EVENT = 1, TAIL_REFUSAL = 2, TAIL_CONNECTION = 4, TAIL_ALL = 7 };

/* Something that happened; views that are empty are left out. */
struct tail_message {
	enum tail_kind kind;
	struct str_view app, channel;
	struct str_view event; /* its name, or that of the step */
	struct str_view data;
	struct str_view user_id;
	struct str_view reason;
	uint64_t serial;    /* 0: none */
	uint64_t socket_id; /* 0: none */
	unsigned code;	    /* 0: none */
	int reached;	    /* subscriptions on this node; -1: not known */
};

struct live_tail;

struct live_tail *live_tail_new(void) MUSTCHECK;
void live_tail_free(struct live_tail *t); /* without watchers; NULL is fine */
/* Whether there is a watcher of this kind, so that a message has to be made. */
bool live_tail_wants(const struct live_tail *t, enum tail_kind kind);
/* Passes it to the watchers whose filter it matches. */
void live_tail_add(struct live_tail *t, const struct tail_message *m);
/* Once a second: a comment for watchers that have received nothing for 15 seconds. */
void live_tail_tick(struct live_tail *t, usec_t now);
/* Ends the streams of those owners that may not watch any more.  The function is called with no
 * lock. */
void live_tail_review(struct live_tail *t, bool (*may_watch)(void *ctx, uint64_t owner), void *ctx);
/* Ends all streams; from now on there are no watchers. */
void live_tail_close(struct live_tail *t);

/* Empty views match all. */
struct tail_filter {
	struct str_view app, user;
	struct str_view channel, event; /* '*' stands for any text */
	unsigned kinds;			/* of enum tail_kind */
	uint64_t owner;			/* for live_tail_review(); not of the filter */
};

struct tail_watcher;
/*
 * Takes the text (server-sent events); is_end: it is the last.  Called once for each
 * tail_watcher_next(), on any thread.
 */
typedef void tail_give(void *ctx, struct strbuf *text, bool is_end);
/* filter is copied.  NULL: there are LIVE_TAIL_WATCHERS already, or the live tail is closed. */
struct tail_watcher *tail_watcher_new(struct live_tail *t, const struct tail_filter *filter,
				      tail_give *give, void *ctx) MUSTCHECK;
/* Requests the next text, which is given at once or when something happens. */
void tail_watcher_next(struct tail_watcher *w);
/* Not between tail_watcher_next() and the text that it requested. */
void tail_watcher_free(struct tail_watcher *w);
#endif
