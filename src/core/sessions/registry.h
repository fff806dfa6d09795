/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSIONS_REGISTRY_H
#define CORE_SESSIONS_REGISTRY_H
/*
 * The subscribers one worker has on each channel.  The subscribers of a channel are one
 * array, so that a delivery touches each once.  Adding and removing are O(1).
 *
 * Subscriptions that the daemon authorized itself are also found by their grant: one user's right
 * to one channel, whatever the number of connections (svc/grants.h).  A wheel of seconds has
 * each of them once, for the end of its token: a second costs only those that are due in it, and
 * those that are due in the same second of another round.
 */
#include "base/annotate.h"
#include "base/map.h"
#include "base/msgbuf.h"
#include "base/thread.h"
#include "base/user_id.h"
#include "wire/channel_name.h"

struct catch_up;
struct join_wait;
struct granted;
struct session;

struct subscription {
	struct session *session;
	struct rchannel *channel;
	unsigned at;  /* index in channel->subscribers */
	uint64_t seq; /* of the directory at the join: it skips messages up to this one */
	struct channel_traits traits;
	char *user_id;		   /* of the presence member or the watched user; heap or NULL */
	struct catch_up *catch_up; /* until it is live; or NULL */
	struct join_wait *waiting; /* until the other nodes know of it; or NULL */
	struct granted *granted;   /* NULL: the daemon did not authorize it itself */
};

struct subscriber {
	struct session *session;
	struct subscription *subscription;
};

struct granted {
	uint64_t id; /* of the grant; its bytes are the key in the map */
	struct user_key user;
	uint64_t exp;	    /* of its token: seconds since 1970 */
	uint64_t notify_at; /* when the client is notified of that; 0: it was */
	struct subscription *subscription;
	struct granted *prev, *next; /* with the same grant */
	struct granted *wheel_prev, *wheel_next;
	uint32_t due_s; /* 0: not in the wheel */
};

struct rchannel {
	struct msgbuf *key; /* see core/channel_key.h */
	struct subscriber *subscribers;
	unsigned n, cap;
	uint64_t newest_seq; /* the largest seq of its subscriptions, ever */
	unsigned n_held;     /* subscriptions with a catch_up, or that wait */
};

#define REGISTRY_WHEEL_SLOTS 256 /* one second each */

struct registry {
	struct map channels; /* key -> struct rchannel */
	struct map grants;   /* id -> the newest struct granted */
	struct granted *wheel[REGISTRY_WHEEL_SLOTS];
	uint32_t wheel_s; /* the second up to which the wheel was read */
};

void registry_init(struct registry *r);
void registry_release(struct registry *r) RUNS_ON(on_worker);
/* NULL when no session of this worker is on it. */
struct rchannel *registry_find(const struct registry *r, struct str_view key) RUNS_ON(on_worker);
/* Adds a subscription of the session; owned by the caller until registry_remove frees it. */
struct subscription *registry_add(struct registry *r, struct session *s, struct msgbuf *key,
				  uint64_t seq) MUSTCHECK RUNS_ON(on_worker);
/* Without a grant. */
void registry_remove(struct registry *r, struct subscription *sub) RUNS_ON(on_worker);
/* Gives the subscription, which has none, a grant; the caller sets user and exp. */
struct granted *registry_grant(struct registry *r, struct subscription *sub, uint64_t id)
	RUNS_ON(on_worker);
/* Takes it away; returns its id, 0 when there was none. */
uint64_t registry_ungrant(struct registry *r, struct subscription *sub) RUNS_ON(on_worker);
/* Puts it into the wheel for that second, which was not read yet. */
void registry_schedule(struct registry *r, struct granted *g, uint32_t due_s) RUNS_ON(on_worker);
/*
 * Takes what is due up to now_s out of the wheel and calls fn for it, which may schedule or ungrant
 * it, and no other.  What is more than most is due a second later.
 */
void registry_each_due(struct registry *r, uint32_t now_s, unsigned most,
		       void (*fn)(struct granted *g)) RUNS_ON(on_worker);
/* A subscription with that grant, or NULL. */
struct subscription *registry_first_of(const struct registry *r, uint64_t id) RUNS_ON(on_worker);
/* The channel's name inside its key. */
struct str_view subscription_channel(const struct subscription *sub);
#endif
