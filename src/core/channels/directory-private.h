/* SPDX-License-Identifier: MIT */
#ifndef CORE_CHANNELS_DIRECTORY_PRIVATE_H
#define CORE_CHANNELS_DIRECTORY_PRIVATE_H
/*
 * The directory, its shards and their channels, for the files that work on them.  reports and
 * dchannel serve the others: fan_out, members and directory do not call each other.
 *
 * An entry for a channel exists while the channel has subscriptions, members (in their grace too),
 * a cached event or a delayed count.
 *
 * Locks
 *
 * A channel's key hashes to one of DIRECTORY_SHARDS shards.  The shard's mutex guards the whole
 * of its channels: their counts, presence members, cached event, and the list of events that are
 * not in the log yet.  It is held for microseconds, never while a frame is built, a socket is
 * written or a database is used.
 *
 * Order.  Every message to a channel gets the next number of its shard and is put into the
 * mailboxes under the shard's lock, so all workers receive the messages of a channel in one
 * order.  A join returns the number that it saw (directory_join.seq); the worker skips messages
 * up to it, because the roster and the cached event that the join returned contain them.  The
 * numbers belong to the shard, so they keep rising when a channel's entry is deleted and made
 * again.  The log's position advances under the same lock, so a join knows which logged events
 * were delivered before it.
 *
 * Lock order.  No function holds two shards' locks.  Under a shard's lock only a mailbox's lock,
 * a clock, and the functions of directory_watch_users(), directory_watch_transitions() and
 * directory_watch_channels() are used.  The workers are woken after the lock is released, so that
 * they do not wait for it.  What concerns a channel of another shard (a user's watchers) is done by
 * the caller, without a lock: see users.c.
 *
 * Checked by clang.  shard_held stands for "this thread holds the lock of one shard".
 * dchannel_lock() and shard_lock() give it, their counterparts take it back, members marked
 * OWNED_BY(shard_held) and functions marked NEEDS_LOCK(shard_held) cannot be used without it.  It
 * is one token for all shards: clang 14 cannot name the mutex of one struct in another's member. So
 * clang does not see if the wrong shard is locked, but it refuses to compile code that locks two.
 */
#include <pthread.h>
#include "base/hash.h"
#include "base/map.h"
#include "core/channels/channel_cache.h"
#include "core/channels/directory.h"
#include "core/channels/log_position.h"
#include "core/channels/members.h"
#include "core/channels/presence.h"
#include "core/channels/unlogged.h"

extern struct TSA(capability("mutex")) shard_held {
	char unused;
} shard_held;

struct dchannel {
	struct msgbuf *key;
	struct app *app; /* of the last join, before the first one of a publish; counted */
	struct channel_traits traits;
	bool is_internal; /* not visible by the API, and its members have no limit */
	/* Of a channel of users_watch(): it has a state, which its subscribers have or will get. */
	bool is_known OWNED_BY(shard_held);
	bool is_online OWNED_BY(shard_held); /* the state */
	unsigned n_subscriptions OWNED_BY(shard_held);
	unsigned n_others OWNED_BY(shard_held);	     /* on other nodes */
	bool is_count_reported OWNED_BY(shard_held); /* MEMBER_COUNTED, and not taken since */
	uint64_t worker_mask OWNED_BY(shard_held);   /* workers with subscribers */
	struct presence presence OWNED_BY(shard_held);
	struct channel_cache cache OWNED_BY(shard_held);
	union {
		usec_t count_sent_at OWNED_BY(shard_held); /* monotonic, of the last count */
		/* of an internal channel, which has no count: user_state.seq of the state */
		uint64_t state_seq OWNED_BY(shard_held);
	};
	bool is_count_due OWNED_BY(shard_held);	    /* a count waits for COUNT_EVERY */
	unsigned per_worker[] OWNED_BY(shard_held); /* subscriptions */
};

struct shard {
	pthread_mutex_t lock;
	struct map channels OWNED_BY(shard_held); /* key -> struct dchannel */
	struct presence_leaving leaving OWNED_BY(shard_held);
	unsigned n_timed OWNED_BY(shard_held); /* channels that dchannel_is_timed_locked() */
	uint64_t seq OWNED_BY(shard_held);     /* of the last message */
	struct unlogged unlogged OWNED_BY(shard_held);
} __attribute__((aligned(64)));

struct directory {
	unsigned n_workers;
	struct worker_messages messages;
	usec_t started;		      /* monotonic */
	struct log_position position; /* advances under the lock of the event's shard */
	void (*user_changed)(void *ctx, struct app *app, struct str_view user_id, bool is_here);
	void *user_ctx;
	void (*on_transition)(void *ctx, const struct transition *t);
	void *transition_ctx;
	void (*on_ended)(void *ctx, const struct app *app, struct str_view user_id);
	void *ended_ctx;
	void (*channel_changed)(void *ctx, const struct app *app, struct str_view channel,
				bool is_wanted); /* NULL: not watched */
	void *channel_ctx;
	void (*report_member)(void *ctx, const struct member_report *r); /* NULL: no cluster */
	void *member_ctx;
	_Atomic usec_t missed_at;    /* monotonic: see directory_missed_events() */
	struct live_tail *live_tail; /* NULL: there is no watcher */
	struct shard shards[DIRECTORY_SHARDS];
};

void shard_lock(struct shard *s) TSA(acquire_capability(shard_held));
void shard_unlock(struct shard *s) TSA(release_capability(shard_held));

/* A channel whose shard is locked. */
struct channel_lock {
	struct msgbuf *key; /* counted */
	uint64_t hash;
	struct shard *shard;
};
/* Locks the shard of a channel and returns the channel's entry; NULL: there is none. */
struct dchannel *dchannel_lock(struct directory *d, const struct app *app, struct str_view channel,
			       struct channel_lock *l) TSA(acquire_capability(shard_held));
/* The same with the channel's key; takes the reference. */
struct dchannel *dchannel_lock_key(struct directory *d, struct msgbuf *key, struct channel_lock *l)
	TSA(acquire_capability(shard_held));
/* The entry again, after shard_unlock() and shard_lock(). */
struct dchannel *dchannel_find_locked(const struct channel_lock *l) NEEDS_LOCK(shard_held);
/* Unlocks the shard, and wakes the workers, one bit each.  Drops the key. */
void dchannel_unlock(struct directory *d, struct channel_lock *l, uint64_t wake)
	TSA(release_capability(shard_held));

/* The channel has no entry yet. */
struct dchannel *dchannel_new_locked(struct directory *d, const struct channel_lock *l,
				     struct app *app, struct channel_traits traits)
	NEEDS_LOCK(shard_held);
void dchannel_free(struct dchannel *c);
/* Deletes an entry that nothing needs any more. */
void dchannel_prune_locked(struct shard *s, struct dchannel *c) NEEDS_LOCK(shard_held);
/* Whether it has a cached event or a delayed count, which directory_tick_shard() looks at. */
bool dchannel_is_timed_locked(const struct dchannel *c) NEEDS_LOCK(shard_held);
/* Call it after a change to what dchannel_is_timed_locked() depends on. */
void dchannel_note_timed_locked(struct shard *s, const struct dchannel *c, bool was_timed)
	NEEDS_LOCK(shard_held);
void dchannel_cache_locked(struct shard *s, struct dchannel *c, struct event *e, usec_t until)
	NEEDS_LOCK(shard_held);

/*
 * These return the workers to wake once the lock is released, one bit each.
 *
 * Puts a copy of message into the mailbox of each worker with subscribers.
 */
uint64_t dchannel_post_locked(struct directory *d, struct shard *s, struct dchannel *c,
			      const struct worker_message *message) NEEDS_LOCK(shard_held);
/* Posts the JSON text in b as a frame and releases b. */
uint64_t dchannel_post_text_locked(struct directory *d, struct shard *s, struct dchannel *c,
				   struct strbuf *b, uint64_t exclude) NEEDS_LOCK(shard_held);
/* The number of subscriptions changed. */
uint64_t dchannel_send_count_locked(struct directory *d, struct shard *s, struct dchannel *c,
				    usec_t now) NEEDS_LOCK(shard_held);
/* The state of a channel of users_watch(), to the subscribers. */
uint64_t dchannel_send_state_locked(struct directory *d, struct shard *s, struct dchannel *c,
				    struct str_view user_id) NEEDS_LOCK(shard_held);
/* member_removed, to the subscribers. */
uint64_t dchannel_send_removed_locked(struct directory *d, struct shard *s, struct dchannel *c,
				      struct str_view user_id) NEEDS_LOCK(shard_held);
/* Notifies the subscribers of a change to the members. */
uint64_t dchannel_send_change_locked(struct directory *d, struct shard *s, struct dchannel *c,
				     enum presence_change change,
				     const struct directory_member *who) NEEDS_LOCK(shard_held);
/* The user has no connection here any more.  waited: since the last one was lost. */
uint64_t dchannel_member_left_locked(struct directory *d, struct shard *s, struct dchannel *c,
				     struct str_view user_id, usec_t waited) NEEDS_LOCK(shard_held);

/* The members that clients see have changed: see struct user_state. */
void dchannel_state_changed_locked(struct shard *s, const struct dchannel *c)
	NEEDS_LOCK(shard_held);
/* Its first subscription has begun, or its last one has ended. */
void dchannel_changed_locked(struct directory *d, const struct dchannel *c, bool is_wanted)
	NEEDS_LOCK(shard_held);
/* waited: how long ago a member's last connection was lost.  In a cluster the database decides what
 * webhooks report. */
void dchannel_report_locked(struct directory *d, const struct dchannel *c, enum webhook_event event,
			    struct str_view user_id, usec_t waited) NEEDS_LOCK(shard_held);
void dchannel_user_changed(struct directory *d, const struct dchannel *c, struct str_view user_id,
			   bool is_here);
/* In a cluster: sets app and channel of r, and passes it to directory_share_members()'s function.
 */
void dchannel_report_member_locked(struct directory *d, const struct dchannel *c,
				   struct member_report r) NEEDS_LOCK(shard_held);
/* An event of durability none was published on this node: in a cluster it is reported, once until
 * it is stored. */
void dchannel_report_cached_locked(struct directory *d, struct dchannel *c, const struct event *e)
	NEEDS_LOCK(shard_held);
/* Whether other nodes publish events of durability none to the cache channel. */
bool dchannel_is_shared(const struct directory *d, const struct app *app, struct str_view channel);
/* In a cluster: this node's number of subscriptions changed. */
void dchannel_report_count_locked(struct directory *d, struct dchannel *c, bool is_first)
	NEEDS_LOCK(shard_held);
#endif
