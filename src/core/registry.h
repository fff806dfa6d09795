/* SPDX-License-Identifier: MIT */
#ifndef CORE_REGISTRY_H
#define CORE_REGISTRY_H
/*
 * The subscribers one worker has on each channel.  The subscribers of a channel are one
 * array, so that a delivery touches each once.  Adding and removing are O(1).  A registry belongs
 * to its worker's thread.
 *
 * Subscriptions that the daemon authorized itself are also found by their grant: one user's right
 * to one channel, whatever the number of connections (svc/grants.h).
 */
#include "base/annotate.h"
#include "base/map.h"
#include "base/msgbuf.h"
#include "base/thread.h"
#include "wire/channel_name.h"

struct catch_up;
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
	struct granted *granted;   /* NULL: the daemon did not authorize it itself */
};

struct subscriber {
	struct session *session;
	struct subscription *subscription;
};

struct granted {
	uint64_t id; /* of the grant; its bytes are the key in the map */
	struct subscription *subscription;
	struct granted *prev, *next; /* with the same grant */
};

struct rchannel {
	struct msgbuf *key; /* see core/channel_key.h */
	struct subscriber *subscribers;
	unsigned n, cap;
	uint64_t newest_seq; /* the largest seq of its subscriptions, ever */
	unsigned n_held;     /* subscriptions with a catch_up */
};

struct registry {
	struct map channels; /* key -> struct rchannel */
	struct map grants;   /* id -> the newest struct granted */
};

void registry_init(struct registry *r);
void registry_release(struct registry *r);
/* NULL when no session of this worker is on it. */
struct rchannel *registry_find(const struct registry *r, struct str_view key);
/* Adds a subscription of the session; owned by the caller until registry_remove frees it. */
struct subscription *registry_add(struct registry *r, struct session *s, struct msgbuf *key,
				  uint64_t seq) MUSTCHECK;
/* Without a grant. */
void registry_remove(struct registry *r, struct subscription *sub);
/* Gives the subscription, which has none, a grant. */
void registry_grant(struct registry *r, struct subscription *sub, uint64_t id);
/* Takes it away; returns its id, 0 when there was none. */
uint64_t registry_ungrant(struct registry *r, struct subscription *sub);
/* A subscription with that grant, or NULL. */
struct subscription *registry_first_of(const struct registry *r, uint64_t id);
/* The channel's name inside its key. */
struct str_view subscription_channel(const struct subscription *sub);
#endif
