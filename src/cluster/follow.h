/* SPDX-License-Identifier: MIT */
#ifndef CLUSTER_FOLLOW_H
#define CLUSTER_FOLLOW_H
/*
 * The channels that this node follows: those on which it has members, and those of users whom its
 * clients watch.  Of each: its version as this node has applied it, and the members of this node
 * with what the database knows of them.  No database and no directory here.  For one thread.
 *
 * A channel that needs no right can be joined by every client, as often as it likes.  So members of
 * presence channels, and the counts of these channels, have a queue of their own, of which most
 * of each call is taken.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "base/map.h"
#include "base/str.h"

struct app;

struct followed {
	char *key;		   /* heap: the id of the application, NUL, the channel's name */
	struct str_view app, name; /* inside key */
	uint64_t version;	   /* of the members that the directory has */
	unsigned n_others;	   /* subscriptions on other nodes, as the directory has them */
	uint64_t count_version;	   /* of the subscriptions of other nodes that it has */
	bool is_known;		   /* they were read at least once */
	bool must_read;		   /* in the list below */
	bool is_watched;	   /* clients watch its user */
	bool is_answer_due;	   /* and do not know yet whether it is online */
	bool has_refused;	   /* a member of this node had no room */
	struct app *served;	   /* counted: the application when this node last served it */
	struct map own;		   /* user id -> struct own_member */
	struct followed *next_to_read, *prev_to_read;
};

/* A subscription that waits. */
struct own_waiter {
	struct own_waiter *next;
	unsigned worker;
	uint64_t token;
};

struct own_member {
	struct followed *channel;
	char *user_id;	     /* empty: the subscriptions of this node to the channel */
	char *info;	     /* JSON text, empty when absent; or the number of subscriptions */
	unsigned max;	     /* members of the channel; 0: no limit */
	bool is_here;	     /* it has a connection, or a grace, on this node */
	bool is_leaving;     /* a grace */
	int64_t lost_at;     /* mono; unless it is here: its last connection was lost; 0: unknown */
	bool is_registered;  /* the database has a row of it, as far as this node knows */
	unsigned n_counted;  /* while it is registered: the subscriptions that its row has */
	bool is_queued;	     /* the next calls report it */
	bool is_unreported;  /* it was not reported since all were to be registered again */
	bool was_registered; /* and the database had a row of it before */
	struct own_waiter *waiters;
	struct own_member *next, *prev; /* in the queue */
	int64_t counted_at;		/* mono: subscriptions were reported */
	bool is_delayed;		/* in the list of those that are reported later */
	struct own_member *next_delayed, *prev_delayed;
};

struct own_queue {
	struct own_member *first, *last;
};

struct follow {
	struct map channels; /* key -> struct followed */
	struct own_queue of_presence, others;
	unsigned n_dequeued;
	struct followed *to_read;
	struct own_member *delayed, *delayed_last; /* counts, in the order of their time */
	size_t n_registered, n_unreported;
};

void follow_init(struct follow *f);
void follow_release(struct follow *f);

/* NULL: it is not followed. */
struct followed *follow_find(const struct follow *f, struct str_view app, struct str_view channel);
/* The channel, new if need be. */
struct followed *follow_get(struct follow *f, struct str_view app, struct str_view channel);
/* Whether it has neither members nor watchers of this node. */
bool follow_is_unused(const struct followed *c);
/* Frees it with its members. */
void follow_delete(struct follow *f, struct followed *c);

/* The member, new if need be. */
struct own_member *follow_member(struct followed *c, struct str_view user_id);
/* Copies info. */
void follow_set_info(struct own_member *m, struct str_view info);
/* Whether the database has a row of it, as far as this node knows. */
void follow_set_registered(struct follow *f, struct own_member *m, bool is_registered);
/* It was reported since all were to be registered again. */
void follow_set_reported(struct follow *f, struct own_member *m);
/* Takes it out of the queue and the list of counts, and frees it. */
void follow_delete_member(struct follow *f, struct own_member *m);
/* Puts it at the end of its queue, or leaves it in its place there. */
void follow_enqueue(struct follow *f, struct own_member *m);
/* Takes the first one of a queue, three times of four from that of presence; NULL: both are empty.
 */
struct own_member *follow_dequeue(struct follow *f) MUSTCHECK;
bool follow_has_queued(const struct follow *f);

/* Puts a count, once, at the end of the list of those that are reported later; due: mono. */
void follow_delay(struct follow *f, struct own_member *m, int64_t due);
/* The first one that is due now; NULL: there is none. */
struct own_member *follow_take_due(struct follow *f, int64_t now) MUSTCHECK;

/* The members of the channel are to be read again. */
void follow_read_later(struct follow *f, struct followed *c);
/* Takes one from that list; NULL: it is empty. */
struct followed *follow_take_to_read(struct follow *f) MUSTCHECK;
/*
 * A change from one version to the next.  True: the directory is to apply it.  False: it has it
 * already, or a change between was missed and the members will be read again.
 */
bool follow_advance(struct follow *f, struct followed *c, uint64_t before, uint64_t version)
	MUSTCHECK;
/* Reports the members again that the database has no row of, if it had no room for one. */
void follow_retry(struct follow *f, struct followed *c);
/* The channel has this version in the database. */
void follow_compare(struct follow *f, struct followed *c, uint64_t version);
/* All channels are to be read again. */
void follow_read_all(struct follow *f);
/*
 * Whether a sum of the channel's subscriptions that another node sent is newer than the one that
 * this node has.  False while its own are not registered: the answer to their report has the sum.
 */
bool follow_is_new_count(const struct followed *c, uint64_t version) MUSTCHECK;
/* The database has this sum.  Returns how many of them are on other nodes. */
unsigned follow_take_count(struct followed *c, uint64_t version, unsigned total);
/* All channels are to be read again, and all members to be registered: n_unreported of them are not
 * yet. */
void follow_begin_again(struct follow *f);
#endif
