/* SPDX-License-Identifier: MIT */
/*
 * Shards of channels: join, leave, and fan-out to the workers' mailboxes.
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
 * shard_lock() gives it, shard_unlock() takes it back, members marked OWNED_BY(shard_held) and
 * functions marked NEEDS_LOCK(shard_held) cannot be used without it.  It is one token for all
 * shards: clang 14 cannot name the mutex of one struct in another's member.  So clang does not
 * see if the wrong shard is locked, but it refuses to compile code that locks two.
 */
#include <errno.h>
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/channels/channel_cache.h"
#include "core/channels/directory.h"
#include "core/channels/log_position.h"
#include "core/channels/presence.h"
#include "core/channels/unlogged.h"
#include "trace/live_tail.h"
#include "wire/pusher.h"

/* Above COUNT_FEW subscriptions, the count is sent once in COUNT_EVERY (protocol A4). */
#define COUNT_EVERY ((usec_t)5 * USEC_PER_SEC)
#define COUNT_FEW   100

static struct TSA(capability("mutex")) shard_held {
	char unused;
} shard_held UNUSED;

struct dchannel {
	struct msgbuf *key;
	struct app *app; /* of the last join, before the first one of a publish; counted */
	struct channel_traits traits;
	bool is_internal; /* not visible by the API, and its members have no limit */
	bool is_known OWNED_BY(shard_held); /* see directory_set_known() */
	unsigned n_subscriptions OWNED_BY(shard_held);
	unsigned n_others OWNED_BY(shard_held);	     /* on other nodes */
	bool is_count_reported OWNED_BY(shard_held); /* MEMBER_COUNTED, and not taken since */
	uint64_t worker_mask OWNED_BY(shard_held);   /* workers with subscribers */
	struct presence presence OWNED_BY(shard_held);
	struct channel_cache cache OWNED_BY(shard_held);
	usec_t count_sent_at OWNED_BY(shard_held);  /* monotonic, of the last count */
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
	struct live_tail *live_tail; /* NULL: there is no watcher */
	struct shard shards[DIRECTORY_SHARDS];
};

static void shard_lock(struct shard *s) TSA(acquire_capability(shard_held)) NO_TSA
{
	pthread_mutex_lock(&s->lock);
}

static void shard_unlock(struct shard *s) TSA(release_capability(shard_held)) NO_TSA
{
	pthread_mutex_unlock(&s->lock);
}

/* The hash of a channel's key selects the shard, and the channel's position in the shard's map. */
static struct shard *shard_of(struct directory *d, uint64_t hash)
{
	return &d->shards[(hash >> 40) % DIRECTORY_SHARDS];
}

/* No other thread has d yet. */
struct directory *directory_new(unsigned n_workers, const struct directory_post *post) NO_TSA
{
	struct directory *d = aligned_alloc(64, (sizeof(*d) + 63) / 64 * 64);

	if (!d)
		abort();
	memset(d, 0, sizeof(*d));
	d->n_workers = n_workers;
	worker_messages_init(&d->messages, post, n_workers);
	d->started = clock_mono();
	log_position_init(&d->position);
	for (size_t i = 0; i < DIRECTORY_SHARDS; i++) {
		pthread_mutex_init(&d->shards[i].lock, NULL);
		map_init(&d->shards[i].channels);
	}
	return d;
}

static unsigned dchannel_metric_type(const struct dchannel *c)
{
	return c->is_internal || c->traits.is_user ? CHANNEL_INTERNAL
						   : channel_metric_type(c->traits);
}

static void dchannel_free(struct dchannel *c) NO_TSA
{
	metric_add_at(METRIC_CHANNELS, dchannel_metric_type(c), -1);
	presence_release(&c->presence);
	channel_cache_release(&c->cache);
	app_unref(c->app);
	msgbuf_unref(c->key);
	free(c);
}

void directory_free(struct directory *d) NO_TSA
{
	if (!d)
		return;
	for (size_t i = 0; i < DIRECTORY_SHARDS; i++) {
		struct shard *s = &d->shards[i];
		struct dchannel *c;
		size_t at = 0;

		while ((c = map_next(&s->channels, &at)))
			dchannel_free(c);
		map_release(&s->channels);
		unlogged_release(&s->unlogged);
		pthread_mutex_destroy(&s->lock);
	}
	log_position_release(&d->position);
	worker_messages_release(&d->messages);
	free(d);
}

void directory_watch_users(struct directory *d,
			   void (*changed)(void *ctx, struct app *app, struct str_view user_id,
					   bool is_here),
			   void *ctx)
{
	d->user_changed = changed;
	d->user_ctx = ctx;
}

void directory_watch_channels(struct directory *d,
			      void (*changed)(void *ctx, const struct app *app,
					      struct str_view channel, bool is_wanted),
			      void *ctx)
{
	d->channel_changed = changed;
	d->channel_ctx = ctx;
}

void directory_watch_ended(struct directory *d,
			   void (*on_ended)(void *ctx, const struct app *app,
					    struct str_view user_id),
			   void *ctx)
{
	d->on_ended = on_ended;
	d->ended_ctx = ctx;
}

void directory_report_ended(struct directory *d, const struct app *app, struct str_view user_id)
{
	if (d->on_ended)
		d->on_ended(d->ended_ctx, app, user_id);
}

void directory_watch_transitions(struct directory *d,
				 void (*on_transition)(void *ctx, const struct transition *t),
				 void *ctx)
{
	d->on_transition = on_transition;
	d->transition_ctx = ctx;
}

void directory_share_members(struct directory *d,
			     void (*report)(void *ctx, const struct member_report *r), void *ctx)
{
	d->report_member = report;
	d->member_ctx = ctx;
}

void directory_set_live_tail(struct directory *d, struct live_tail *t)
{
	d->live_tail = t;
}

void directory_report(struct directory *d, const struct transition *t)
{
	if (d->on_transition && t->app->webhooks.watched & 1U << t->event)
		d->on_transition(d->transition_ctx, t);
}

/* ---- channels ---- */

static struct dchannel *dchannel_new_locked(struct directory *d, struct shard *s,
					    struct msgbuf *key, struct app *app,
					    struct channel_traits traits) NEEDS_LOCK(shard_held)
{
	struct dchannel *c = xcalloc(1, sizeof(*c) + d->n_workers * sizeof(c->per_worker[0]));

	c->key = msgbuf_ref(key);
	c->app = app_ref(app);
	c->traits = traits;
	c->is_internal = sv_starts_with(channel_key_name(key), SV("!"));
	metric_add_at(METRIC_CHANNELS, dchannel_metric_type(c), 1);
	presence_init(&c->presence, d->report_member != NULL);
	map_put(&s->channels, msgbuf_view(c->key), c);
	return c;
}

/* Whether it has a cached event or a delayed count, which directory_tick_shard() looks at. */
static bool dchannel_is_timed_locked(const struct dchannel *c) NEEDS_LOCK(shard_held)
{
	return c->cache.event || c->is_count_due;
}

/* Call it after a change to what dchannel_is_timed_locked() depends on. */
static void dchannel_note_timed_locked(struct shard *s, const struct dchannel *c, bool was_timed)
	NEEDS_LOCK(shard_held)
{
	s->n_timed += (unsigned)dchannel_is_timed_locked(c) - (unsigned)was_timed;
}

/* Deletes an entry that nothing needs any more. */
static void dchannel_prune_locked(struct shard *s, struct dchannel *c) NEEDS_LOCK(shard_held)
{
	if (c->n_subscriptions || c->presence.members.used || dchannel_is_timed_locked(c))
		return;
	map_del(&s->channels, msgbuf_view(c->key));
	dchannel_free(c);
}

/*
 * Puts a copy of message into the mailbox of each worker with subscribers.  Returns the workers to
 * wake once the lock is released, one bit each.
 */
static uint64_t dchannel_post_locked(struct directory *d, struct shard *s, struct dchannel *c,
				     const struct worker_message *message) NEEDS_LOCK(shard_held)
{
	uint64_t left = c->worker_mask, seq = ++s->seq, wake = 0;

	while (left) {
		unsigned worker = (unsigned)__builtin_ctzll(left);
		struct worker_message *m = xmalloc(sizeof(*m));

		left &= left - 1;
		*m = *message;
		m->seq = seq;
		m->frames = c->per_worker[worker];
		m->key = msgbuf_ref(c->key);
		if (m->frame)
			msgbuf_ref(m->frame);
		if (m->event)
			event_ref(m->event);
		if (worker_messages_put(&d->messages, worker, m))
			wake |= UINT64_C(1) << worker;
	}
	return wake;
}

/* Posts the JSON text in b as a frame and releases b.  Returns the workers to wake. */
static uint64_t dchannel_post_text_locked(struct directory *d, struct shard *s, struct dchannel *c,
					  struct strbuf *b, uint64_t exclude) NEEDS_LOCK(shard_held)
{
	struct msgbuf *frame = ws_text_frame(strbuf_view(b));
	struct worker_message message = { .kind = MESSAGE_FRAME,
					  .frame = frame,
					  .exclude = exclude };
	uint64_t wake = dchannel_post_locked(d, s, c, &message);

	msgbuf_unref(frame);
	strbuf_release(b);
	return wake;
}

/*
 * Presence channels have members instead, a user's own channel is not visible to others, and on
 * encrypted channels some clients fail on any frame of ours.
 */
static bool dchannel_has_count(struct channel_traits t)
{
	return !t.is_presence && !t.is_encrypted && !t.is_user;
}

/* waited: how long ago a member's last connection was lost. */
static void dchannel_report_locked(struct directory *d, const struct dchannel *c,
				   enum webhook_event event, struct str_view user_id, usec_t waited)
	NEEDS_LOCK(shard_held)
{
	struct transition t = { .event = event,
				.app = c->app,
				.channel = channel_key_name(c->key),
				.user_id = user_id,
				.count = c->n_subscriptions + c->n_others,
				.waited = waited };

	if (!c->is_internal && !c->traits.is_user)
		directory_report(d, &t);
}

/* Its first subscription has come, or its last one has gone. */
static void dchannel_changed_locked(struct directory *d, const struct dchannel *c, bool is_wanted)
	NEEDS_LOCK(shard_held)
{
	dchannel_report_locked(d, c, is_wanted ? WEBHOOK_CHANNEL_OCCUPIED : WEBHOOK_CHANNEL_VACATED,
			       SV(""), 0);
	if (d->channel_changed)
		d->channel_changed(d->channel_ctx, c->app, channel_key_name(c->key), is_wanted);
}

/* The number of subscriptions changed; is_own: on this node, which reports that to webhooks.
 * Returns the workers to wake. */
static uint64_t dchannel_send_count_locked(struct directory *d, struct shard *s, struct dchannel *c,
					   usec_t now, bool is_own) NEEDS_LOCK(shard_held)
{
	bool was_timed = dchannel_is_timed_locked(c);
	struct strbuf b;

	if (!(c->app->subscription_count ||
	      c->app->webhooks.watched & 1U << WEBHOOK_SUBSCRIPTION_COUNT) ||
	    c->is_internal || !dchannel_has_count(c->traits))
		return 0;
	c->is_count_due = c->n_subscriptions + c->n_others > COUNT_FEW &&
			  now - c->count_sent_at < COUNT_EVERY;
	dchannel_note_timed_locked(s, c, was_timed);
	if (c->is_count_due || !c->n_subscriptions)
		return 0;
	c->count_sent_at = now;
	if (is_own)
		dchannel_report_locked(d, c, WEBHOOK_SUBSCRIPTION_COUNT, SV(""), 0);
	if (!c->app->subscription_count)
		return 0;
	strbuf_init(&b, 160);
	frame_subscription_count(&b, channel_key_name(c->key), c->n_subscriptions + c->n_others);
	return dchannel_post_text_locked(d, s, c, &b, 0);
}

static void dchannel_user_changed(struct directory *d, const struct dchannel *c,
				  struct str_view user_id, bool is_here)
{
	if (d->user_changed)
		d->user_changed(d->user_ctx, c->app, user_id, is_here);
}

static uint64_t dchannel_send_removed_locked(struct directory *d, struct shard *s,
					     struct dchannel *c, struct str_view user_id)
	NEEDS_LOCK(shard_held)
{
	struct strbuf b;

	strbuf_init(&b, 160);
	frame_member_removed(&b, channel_key_name(c->key), user_id);
	return dchannel_post_text_locked(d, s, c, &b, 0);
}

static void dchannel_report_member_locked(struct directory *d, const struct dchannel *c,
					  struct member_report r) NEEDS_LOCK(shard_held)
{
	r.app = c->app;
	r.channel = channel_key_name(c->key);
	d->report_member(d->member_ctx, &r);
}

/* In a cluster: this node's number of subscriptions changed. */
static void dchannel_report_count_locked(struct directory *d, struct dchannel *c, bool is_first)
	NEEDS_LOCK(shard_held)
{
	if (!d->report_member || c->is_internal || c->traits.is_user)
		return;
	if (c->is_count_reported && c->n_subscriptions && !is_first)
		return;
	c->is_count_reported = true;
	dchannel_report_member_locked(d, c, (struct member_report){ .kind = MEMBER_COUNTED });
}

/* The user has no connection here any more.  waited: since the last one was lost.  Returns the
 * workers to wake. */
static uint64_t dchannel_member_left_locked(struct directory *d, struct shard *s,
					    struct dchannel *c, struct str_view user_id,
					    usec_t waited) NEEDS_LOCK(shard_held)
{
	dchannel_user_changed(d, c, user_id, false);
	dchannel_report_locked(d, c, WEBHOOK_MEMBER_REMOVED, user_id, waited);
	if (d->report_member) {
		dchannel_report_member_locked(
			d, c, (struct member_report){ .kind = MEMBER_LEFT, .user_id = user_id });
		return 0;
	}
	return c->is_internal ? 0 : dchannel_send_removed_locked(d, s, c, user_id);
}

static void dchannel_cache_locked(struct shard *s, struct dchannel *c, struct event *e,
				  usec_t until) NEEDS_LOCK(shard_held)
{
	bool was_timed = dchannel_is_timed_locked(c);

	channel_cache_put(&c->cache, e, until);
	dchannel_note_timed_locked(s, c, was_timed);
}

/* ---- subscriptions ---- */

/* Notifies the subscribers of a change to the members.  Returns the workers to wake. */
static uint64_t dchannel_send_change_locked(struct directory *d, struct shard *s,
					    struct dchannel *c, enum presence_change change,
					    const struct directory_member *who)
	NEEDS_LOCK(shard_held)
{
	uint64_t wake = 0;
	struct strbuf b;

	if (c->is_internal)
		return 0;
	if (change == PRESENCE_REPLACED || change == PRESENCE_REMOVED)
		wake |= dchannel_send_removed_locked(d, s, c, who->user_id);
	if (change == PRESENCE_REPLACED || change == PRESENCE_ADDED) {
		strbuf_init(&b, 256);
		frame_member_added(&b, channel_key_name(c->key), who->user_id, who->info);
		wake |= dchannel_post_text_locked(d, s, c, &b, 0);
	}
	return wake;
}

/* In a cluster: what this node has to report of the user who joins. */
static void directory_report_join_locked(struct directory *d, const struct dchannel *c,
					 struct directory_join *j, enum presence_change change)
	NEEDS_LOCK(shard_held)
{
	struct member_report r = { .kind = MEMBER_JOINED,
				   .user_id = j->user_id,
				   .info = j->user_info,
				   .worker = j->worker,
				   .token = j->token };

	if (change == PRESENCE_SAME && (!j->token || presence_is_held(&c->presence, j->user_id)))
		return;
	if (change == PRESENCE_SAME)
		r.kind = MEMBER_WAITS;
	j->is_waiting = j->token != 0;
	dchannel_report_member_locked(d, c, r);
}

/* Returns as directory_join(). */
static int directory_join_member_locked(struct directory *d, struct shard *s, struct dchannel *c,
					struct directory_join *j, uint64_t *wake)
	NEEDS_LOCK(shard_held)
{
	unsigned max = c->is_internal ? 0 : j->app->limits.max_presence_members;
	struct presence_joining who = { j->user_id, j->user_info };
	enum presence_change change;
	struct strbuf b;
	int rc = presence_join(&c->presence, &s->leaving, &who, max, &change);

	if (rc)
		return rc;
	if (change == PRESENCE_ADDED)
		dchannel_user_changed(d, c, j->user_id, true);
	j->is_new_member = change == PRESENCE_ADDED;
	if (d->report_member) {
		directory_report_join_locked(d, c, j, change);
		return 0;
	}
	if (change == PRESENCE_REPLACED)
		*wake |= dchannel_send_removed_locked(d, s, c, j->user_id);
	if (change != PRESENCE_SAME && !c->is_internal) {
		strbuf_init(&b, 256);
		frame_member_added(&b, channel_key_name(c->key), j->user_id, j->user_info);
		*wake |= dchannel_post_text_locked(d, s, c, &b, j->socket_id);
	}
	return 0;
}

/* What the subscription begins with. */
static void directory_read_join_locked(struct directory *d, struct shard *s, struct dchannel *c,
				       struct directory_join *j) NEEDS_LOCK(shard_held)
{
	usec_t now = clock_mono();

	j->seq = s->seq;
	if (j->traits.is_presence && !c->is_internal)
		j->roster = presence_roster(&c->presence);
	if (j->traits.is_cache && channel_cache_is_fresh(&c->cache, now))
		j->cached = event_ref(c->cache.event);
	j->is_cache_unknown =
		j->traits.is_cache &&
		channel_cache_is_unknown(&c->cache, j->app->cache_ttl_s, d->started, now);
	j->position = log_position_serial(&d->position);
	if (j->wants_unlogged)
		j->n_unlogged = unlogged_of_channel(&s->unlogged, j->app, j->channel, j->position,
						    &j->unlogged);
}

static int directory_join_locked(struct directory *d, struct shard *s, struct directory_join *j,
				 uint64_t *wake) NEEDS_LOCK(shard_held)
{
	struct dchannel *c = map_get(&s->channels, msgbuf_view(j->key));

	if (!c)
		c = dchannel_new_locked(d, s, j->key, j->app, j->traits);
	if (c->app != j->app) { /* the apps were reloaded */
		app_unref(c->app);
		c->app = app_ref(j->app);
	}
	if (j->traits.is_presence) {
		int rc = directory_join_member_locked(d, s, c, j, wake);

		if (rc) {
			dchannel_prune_locked(s, c);
			return rc;
		}
	}
	if (!c->n_subscriptions++) {
		dchannel_changed_locked(d, c, true);
		if (d->report_member && c->is_internal && !j->traits.is_presence)
			dchannel_report_member_locked(
				d, c, (struct member_report){ .kind = MEMBER_WATCHED });
	}
	if (j->is_new_member)
		dchannel_report_locked(d, c, WEBHOOK_MEMBER_ADDED, j->user_id, 0);
	if (d->report_member)
		j->is_new_member = false;
	dchannel_report_count_locked(d, c, c->n_subscriptions == 1);
	j->is_unknown = d->report_member && !c->is_known;
	c->per_worker[j->worker]++;
	c->worker_mask |= UINT64_C(1) << j->worker;
	if (!j->is_waiting)
		directory_read_join_locked(d, s, c, j);
	*wake |= dchannel_send_count_locked(d, s, c, clock_mono(), true);
	return 0;
}

int directory_join(struct directory *d, struct directory_join *j)
{
	struct msgbuf *key = channel_key_new(j->app, j->channel);
	uint64_t hash = hash_bytes(msgbuf_view(key));
	struct shard *s = shard_of(d, hash);
	uint64_t wake = 0;
	int rc;

	j->key = key;
	j->is_waiting = false;
	j->roster = NULL;
	j->cached = NULL;
	j->is_new_member = false;
	j->unlogged = NULL;
	j->n_unlogged = 0;
	shard_lock(s);
	rc = directory_join_locked(d, s, j, &wake);
	shard_unlock(s);
	worker_messages_wake(&d->messages, wake);
	if (rc) {
		msgbuf_unref(key);
		j->key = NULL;
	}
	return rc;
}

void directory_admit(struct directory *d, struct directory_join *j)
{
	struct shard *s = shard_of(d, hash_bytes(msgbuf_view(j->key)));
	const struct directory_member who = { j->user_id, j->user_info };
	const struct presence_joining joining = { j->user_id, j->user_info };
	struct dchannel *c;
	uint64_t wake;

	j->is_waiting = false;
	j->roster = NULL;
	j->cached = NULL;
	j->unlogged = NULL;
	j->n_unlogged = 0;
	shard_lock(s);
	c = map_get(&s->channels, msgbuf_view(j->key)); /* it has the subscription */
	wake = dchannel_send_change_locked(d, s, c, presence_hold(&c->presence, &joining), &who);
	directory_read_join_locked(d, s, c, j);
	shard_unlock(s);
	worker_messages_wake(&d->messages, wake);
}

bool directory_leave(struct directory *d, const struct directory_leave *l)
{
	struct msgbuf *key = channel_key_new(l->app, l->channel);
	uint64_t hash = hash_bytes(msgbuf_view(key));
	struct shard *s = shard_of(d, hash);
	usec_t grace = l->is_lost ? l->app->member_removed_delay_ms * USEC_PER_MSEC : 0;
	usec_t now = clock_mono();
	struct dchannel *c;
	bool is_gone = false;
	uint64_t wake = 0;

	shard_lock(s);
	c = map_find(&s->channels, msgbuf_view(key), hash);
	if (c) {
		c->n_subscriptions--;
		dchannel_report_count_locked(d, c, false);
		if (--c->per_worker[l->worker] == 0)
			c->worker_mask &= ~(UINT64_C(1) << l->worker);
		if (l->traits.is_presence)
			is_gone = presence_leave(&c->presence, &s->leaving, l->user_id, now, grace);
		if (is_gone)
			wake |= dchannel_member_left_locked(d, s, c, l->user_id, 0);
		if (!c->n_subscriptions) {
			dchannel_changed_locked(d, c, false);
			if (d->report_member && c->is_internal && !l->traits.is_presence)
				dchannel_report_member_locked(
					d, c, (struct member_report){ .kind = MEMBER_UNWATCHED });
		}
		wake |= dchannel_send_count_locked(d, s, c, now, true);
		dchannel_prune_locked(s, c);
	}
	shard_unlock(s);
	worker_messages_wake(&d->messages, wake);
	msgbuf_unref(key);
	return is_gone && !d->report_member;
}

/* Removes the members whose grace has ended.  Returns the workers to wake. */
static uint64_t directory_tick_members_locked(struct directory *d, struct shard *s, usec_t now,
					      struct directory_gone **gone) NEEDS_LOCK(shard_held)
{
	struct presence_user *m = presence_leaving_expired(&s->leaving, now), *next;
	uint64_t wake = 0;

	for (; m; m = next) {
		struct dchannel *c = CONTAINER_OF(m->presence, struct dchannel, presence);
		char *user_id = xstrdup(m->user_id);

		next = m->next;
		presence_remove(m);
		wake |= dchannel_member_left_locked(
			d, s, c, sv(user_id), c->app->member_removed_delay_ms * USEC_PER_MSEC);
		if (c->is_internal && !d->report_member) {
			struct directory_gone *g = xmalloc(sizeof(*g));

			*g = (struct directory_gone){ *gone, app_ref(c->app), user_id };
			*gone = g;
		} else {
			free(user_id);
		}
		dchannel_prune_locked(s, c);
	}
	return wake;
}

/* Sends delayed counts and drops expired cached events.  Returns the workers to wake. */
static uint64_t directory_tick_timed_locked(struct directory *d, struct shard *s, usec_t now)
	NEEDS_LOCK(shard_held)
{
	struct dchannel **timed, *c;
	size_t n = 0, at = 0;
	uint64_t wake = 0;

	if (!s->n_timed)
		return 0;
	/* They are collected first: the map must not change while it is walked. */
	timed = xreallocarray(NULL, s->n_timed, sizeof(struct dchannel *));
	while ((c = map_next(&s->channels, &at)))
		if (dchannel_is_timed_locked(c))
			timed[n++] = c;
	for (size_t i = 0; i < n; i++) {
		c = timed[i];
		if (c->is_count_due)
			wake |= dchannel_send_count_locked(d, s, c, now, true);
		if (c->cache.event && !channel_cache_is_fresh(&c->cache, now)) {
			channel_cache_clear(&c->cache);
			dchannel_note_timed_locked(s, c, true);
		}
		dchannel_prune_locked(s, c);
	}
	free(timed);
	return wake;
}

struct directory_gone *directory_tick_shard(struct directory *d, unsigned shard, usec_t now)
{
	struct shard *s = &d->shards[shard];
	struct directory_gone *gone = NULL;
	uint64_t wake;

	shard_lock(s);
	wake = directory_tick_members_locked(d, s, now, &gone);
	wake |= directory_tick_timed_locked(d, s, now);
	unlogged_prune(&s->unlogged, log_position_serial(&d->position));
	shard_unlock(s);
	worker_messages_wake(&d->messages, wake);
	return gone;
}

/* ---- members of a cluster ---- */

enum presence_change directory_put_member(struct directory *d, struct app *app,
					  struct str_view channel,
					  const struct directory_member *who, bool is_own)
{
	const struct presence_joining joining = { who->user_id, who->info };
	struct msgbuf *key = channel_key_new(app, channel);
	struct shard *s = shard_of(d, hash_bytes(msgbuf_view(key)));
	enum presence_change change;
	struct channel_traits traits;
	struct dchannel *c;
	uint64_t wake;

	if (channel_name_parse(channel, channel.len, &traits))
		traits = (struct channel_traits){ .is_presence = true };
	shard_lock(s);
	c = map_get(&s->channels, msgbuf_view(key));
	if (!c)
		c = dchannel_new_locked(d, s, key, app, traits);
	change = presence_show(&c->presence, &joining, is_own);
	wake = dchannel_send_change_locked(d, s, c, change, who);
	shard_unlock(s);
	worker_messages_wake(&d->messages, wake);
	msgbuf_unref(key);
	return change;
}

enum presence_change directory_drop_member(struct directory *d, struct app *app,
					   struct str_view channel, struct str_view user_id)
{
	const struct directory_member who = { user_id, SV("") };
	struct msgbuf *key = channel_key_new(app, channel);
	struct shard *s = shard_of(d, hash_bytes(msgbuf_view(key)));
	enum presence_change change = PRESENCE_SAME;
	struct dchannel *c;
	uint64_t wake = 0;

	shard_lock(s);
	c = map_get(&s->channels, msgbuf_view(key));
	if (c) {
		change = presence_hide(&c->presence, user_id);
		wake = dchannel_send_change_locked(d, s, c, change, &who);
		dchannel_prune_locked(s, c);
	}
	shard_unlock(s);
	worker_messages_wake(&d->messages, wake);
	msgbuf_unref(key);
	return change;
}

char **directory_other_members(struct directory *d, const struct app *app, struct str_view channel,
			       const struct directory_member *who, size_t n)
{
	struct msgbuf *key = channel_key_new(app, channel);
	struct shard *s = shard_of(d, hash_bytes(msgbuf_view(key)));
	char **others = xcalloc(1, sizeof(*others));
	struct presence_user *m;
	struct dchannel *c;
	struct map known;
	size_t at = 0, found = 0;

	map_init(&known);
	for (size_t i = 0; i < n; i++)
		map_put(&known, who[i].user_id, (void *)&who[i]);
	shard_lock(s);
	c = map_get(&s->channels, msgbuf_view(key));
	while (c && (m = map_next(&c->presence.members, &at))) {
		if (!m->is_shown || m->is_held || map_get(&known, sv(m->user_id)))
			continue;
		others = xreallocarray(others, found + 2, sizeof(*others));
		others[found++] = xstrdup(m->user_id);
		others[found] = NULL;
	}
	shard_unlock(s);
	map_release(&known);
	msgbuf_unref(key);
	return others;
}

unsigned directory_count_own(struct directory *d, const struct app *app, struct str_view channel,
			     bool is_taken)
{
	struct msgbuf *key = channel_key_new(app, channel);
	struct shard *s = shard_of(d, hash_bytes(msgbuf_view(key)));
	struct dchannel *c;
	unsigned n = 0;

	shard_lock(s);
	c = map_get(&s->channels, msgbuf_view(key));
	if (c) {
		n = c->n_subscriptions;
		c->is_count_reported &= !is_taken;
	}
	shard_unlock(s);
	msgbuf_unref(key);
	return n;
}

void directory_count_others(struct directory *d, const struct app *app, struct str_view channel,
			    unsigned n)
{
	struct msgbuf *key = channel_key_new(app, channel);
	struct shard *s = shard_of(d, hash_bytes(msgbuf_view(key)));
	struct dchannel *c;
	uint64_t wake = 0;

	shard_lock(s);
	c = map_get(&s->channels, msgbuf_view(key));
	if (c && c->n_others != n) {
		c->n_others = n;
		wake = dchannel_send_count_locked(d, s, c, clock_mono(), false);
	}
	shard_unlock(s);
	worker_messages_wake(&d->messages, wake);
	msgbuf_unref(key);
}

void directory_post_joined(struct directory *d, unsigned worker, uint64_t token, bool is_full)
{
	struct worker_message *m = xcalloc(1, sizeof(*m));

	m->kind = is_full ? MESSAGE_JOIN_REFUSED : MESSAGE_JOINED;
	m->seq = token;
	worker_messages_send(&d->messages, worker, m);
}

void directory_set_known(struct directory *d, const struct app *app, struct str_view channel,
			 struct msgbuf *frame)
{
	struct worker_message message = { .kind = MESSAGE_FRAME, .frame = frame };
	struct msgbuf *key = channel_key_new(app, channel);
	struct shard *s = shard_of(d, hash_bytes(msgbuf_view(key)));
	struct dchannel *c;
	uint64_t wake = 0;

	shard_lock(s);
	c = map_get(&s->channels, msgbuf_view(key));
	if (c && frame)
		wake = dchannel_post_locked(d, s, c, &message);
	if (c)
		c->is_known = true;
	shard_unlock(s);
	worker_messages_wake(&d->messages, wake);
	msgbuf_unref(key);
}

/* ---- messages to channels ---- */

/* reached: subscriptions. */
static void directory_show_event(struct directory *d, const struct event *e, unsigned reached)
{
	const struct tail_message m = { .kind = TAIL_EVENT,
					.app = sv(e->app->id),
					.channel = e->channel,
					.event = e->name,
					.data = msgbuf_view(e->data),
					.serial = e->serial,
					.socket_id = e->exclude_socket,
					.reached = (int)reached };

	live_tail_add(d->live_tail, &m);
}

void directory_fan_out(struct directory *d, struct event *e)
{
	struct msgbuf *key = channel_key_new(e->app, e->channel);
	uint64_t hash = hash_bytes(msgbuf_view(key));
	struct shard *s = shard_of(d, hash);
	struct worker_message message = { .kind = MESSAGE_FRAME,
					  .event = e,
					  .exclude = e->exclude_socket };
	struct channel_traits traits;
	uint64_t serial = e->serial, wake = 0;
	unsigned reached = 0;
	struct dchannel *c;

	e->delivered_at = clock_wall();
	if (channel_name_parse(e->channel, e->channel.len, &traits))
		traits = (struct channel_traits){ 0 };
	shard_lock(s);
	c = map_find(&s->channels, msgbuf_view(key), hash);
	if (c && c->n_subscriptions) {
		/* The frame is built only if there are subscribers, and not under the lock. */
		shard_unlock(s);
		message.frame = event_frame(e);
		shard_lock(s);
		c = map_find(&s->channels, msgbuf_view(key), hash);
	}
	if (c && message.frame) {
		reached = c->n_subscriptions;
		wake = dchannel_post_locked(d, s, c, &message);
	}
	if (traits.is_cache) {
		if (!c)
			c = dchannel_new_locked(d, s, key, e->app, traits);
		dchannel_cache_locked(s, c, e, clock_mono() + e->app->cache_ttl_s * USEC_PER_SEC);
	}
	if (serial)
		log_position_advance(&d->position, serial);
	else if (e->durability == DURABILITY_ASYNC)
		unlogged_add(&s->unlogged, e, log_position_serial(&d->position));
	shard_unlock(s);
	worker_messages_wake(&d->messages, wake);
	if (live_tail_wants(d->live_tail, TAIL_EVENT))
		directory_show_event(d, e, reached);
	msgbuf_unref(message.frame);
	msgbuf_unref(key);
}

uint64_t directory_send(struct directory *d, const struct app *app, struct str_view channel,
			struct msgbuf *frame, uint64_t exclude)
{
	struct worker_message message = { .kind = MESSAGE_FRAME,
					  .frame = frame,
					  .exclude = exclude };
	struct msgbuf *key = channel_key_new(app, channel);
	uint64_t hash = hash_bytes(msgbuf_view(key));
	struct shard *s = shard_of(d, hash);
	struct dchannel *c;
	uint64_t wake = 0, workers = 0;

	shard_lock(s);
	c = map_find(&s->channels, msgbuf_view(key), hash);
	if (c && c->n_subscriptions) {
		workers = c->worker_mask;
		wake = dchannel_post_locked(d, s, c, &message);
	}
	shard_unlock(s);
	worker_messages_wake(&d->messages, wake);
	msgbuf_unref(key);
	return workers;
}

void directory_close_user(struct directory *d, const struct app *app, struct str_view user_id)
{
	for (unsigned worker = 0; worker < d->n_workers; worker++) {
		struct worker_message *m = xcalloc(1, sizeof(*m));

		m->kind = MESSAGE_CLOSE_USER;
		m->key = channel_key_new(app, user_id);
		worker_messages_send(&d->messages, worker, m);
	}
}

void directory_close_socket(struct directory *d, unsigned worker, uint64_t socket_id)
{
	struct worker_message *m = xcalloc(1, sizeof(*m));

	m->kind = MESSAGE_CLOSE_SOCKET;
	m->seq = socket_id;
	worker_messages_send(&d->messages, worker, m);
}

void directory_revoke(struct directory *d, const struct app *app, struct str_view user_id,
		      struct str_view patterns)
{
	struct msgbuf *shared = msgbuf_from(patterns);

	for (unsigned worker = 0; worker < d->n_workers; worker++) {
		struct worker_message *m = xcalloc(1, sizeof(*m));

		m->kind = MESSAGE_REVOKE;
		m->key = channel_key_new(app, user_id);
		m->patterns = msgbuf_ref(shared);
		worker_messages_send(&d->messages, worker, m);
	}
	msgbuf_unref(shared);
}

void directory_end_grant(struct directory *d, uint64_t grant)
{
	for (unsigned worker = 0; worker < d->n_workers; worker++) {
		struct worker_message *m = xcalloc(1, sizeof(*m));

		m->kind = MESSAGE_END_GRANT;
		m->seq = grant;
		worker_messages_send(&d->messages, worker, m);
	}
}

bool directory_is_behind(struct directory *d)
{
	return atomic_load_explicit(&d->messages.bytes, memory_order_relaxed) >
	       DIRECTORY_MESSAGES_MAX_BYTES;
}

/* ---- load ---- */

void directory_add_share(struct directory *d, const struct app *app, struct str_view channel,
			 struct load_share *share)
{
	struct msgbuf *key = channel_key_new(app, channel);
	uint64_t hash = hash_bytes(msgbuf_view(key));
	struct shard *s = shard_of(d, hash);
	struct dchannel *c;

	shard_lock(s);
	c = map_find(&s->channels, msgbuf_view(key), hash);
	if (c) {
		share->workers |= c->worker_mask;
		share->messages += c->n_subscriptions > 0;
		share->frames += c->n_subscriptions;
	}
	shard_unlock(s);
	msgbuf_unref(key);
}

struct worker_loads *directory_loads(struct directory *d)
{
	return &d->messages.loads;
}

/* ---- the event log ---- */

void directory_position(struct directory *d, struct position *out)
{
	log_position_get(&d->position, out);
}

void directory_log_reached(struct directory *d, const struct position *p)
{
	log_position_set(&d->position, p);
}

void directory_post_page(struct directory *d, unsigned worker, uint64_t token,
			 struct log_page *page)
{
	struct worker_message *m = xcalloc(1, sizeof(*m));

	m->kind = MESSAGE_LOG_PAGE;
	m->seq = token;
	m->page = page;
	worker_messages_send(&d->messages, worker, m);
}

void directory_cache_put(struct directory *d, struct app *app, struct str_view channel,
			 struct event *e, usec_t left)
{
	struct msgbuf *key = channel_key_new(app, channel);
	uint64_t hash = hash_bytes(msgbuf_view(key));
	struct shard *s = shard_of(d, hash);
	usec_t now = clock_mono();
	struct channel_traits traits;
	struct dchannel *c;

	if (channel_name_parse(channel, channel.len, &traits))
		traits = (struct channel_traits){ 0 };
	shard_lock(s);
	c = map_find(&s->channels, msgbuf_view(key), hash);
	if (e && !(c && channel_cache_is_fresh(&c->cache, now))) {
		if (!c)
			c = dchannel_new_locked(d, s, key, e->app, traits);
		dchannel_cache_locked(s, c, e, now + left);
	}
	if (c)
		c->cache.is_log_read = true;
	shard_unlock(s);
	msgbuf_unref(key);
}

/* ---- queries ---- */

void channel_info_release(struct channel_info *i)
{
	free(i->cache_data);
	i->cache_data = NULL;
}

void directory_channel_info(struct directory *d, const struct app *app, struct str_view channel,
			    struct channel_info *out)
{
	struct msgbuf *key = channel_key_new(app, channel);
	uint64_t hash = hash_bytes(msgbuf_view(key));
	struct shard *s = shard_of(d, hash);
	usec_t now = clock_mono();
	struct dchannel *c;

	*out = (struct channel_info){ 0 };
	shard_lock(s);
	c = map_find(&s->channels, msgbuf_view(key), hash);
	if (c) {
		out->subscription_count = c->n_subscriptions + c->n_others;
		out->is_occupied = out->subscription_count > 0;
		out->user_count = c->presence.n_shown;
	}
	if (c && channel_cache_is_fresh(&c->cache, now)) {
		out->has_cache = true;
		out->cache_data = sv_dup(msgbuf_view(c->cache.event->data));
		out->cache_ttl_s = (unsigned)((c->cache.until - now) / USEC_PER_SEC);
	}
	out->is_cache_unknown =
		channel_cache_is_unknown(c ? &c->cache : NULL, app->cache_ttl_s, d->started, now);
	shard_unlock(s);
	msgbuf_unref(key);
}

void directory_each_channel(struct directory *d, const struct app *app, struct str_view prefix,
			    void (*fn)(void *ctx, struct str_view channel,
				       unsigned subscription_count, unsigned user_count),
			    void *ctx)
{
	for (size_t i = 0; i < DIRECTORY_SHARDS; i++) {
		struct shard *s = &d->shards[i];
		struct dchannel *c;
		size_t at = 0;

		shard_lock(s);
		while ((c = map_next(&s->channels, &at)))
			if (c->n_subscriptions && !c->is_internal && !c->traits.is_user &&
			    c->app->runtime == app->runtime &&
			    sv_starts_with(channel_key_name(c->key), prefix))
				fn(ctx, channel_key_name(c->key), c->n_subscriptions + c->n_others,
				   c->presence.n_shown);
		shard_unlock(s);
	}
}

static void directory_walk_members(struct directory *d, struct msgbuf *key,
				   void (*fn)(void *ctx, struct str_view user_id), void *ctx,
				   bool is_own)
{
	struct shard *s = shard_of(d, hash_bytes(msgbuf_view(key)));
	struct dchannel *c;
	struct presence_user *m;
	size_t at = 0;

	shard_lock(s);
	c = map_get(&s->channels, msgbuf_view(key));
	while (c && (m = map_next(&c->presence.members, &at)))
		if (is_own ? m->connections || m->leaving_at : m->is_shown)
			fn(ctx, sv(m->user_id));
	shard_unlock(s);
	msgbuf_unref(key);
}

void directory_each_member(struct directory *d, const struct app *app, struct str_view channel,
			   void (*fn)(void *ctx, struct str_view user_id), void *ctx)
{
	directory_walk_members(d, channel_key_new(app, channel), fn, ctx, false);
}

void directory_each_own_member(struct directory *d, const struct app *app, struct str_view channel,
			       void (*fn)(void *ctx, struct str_view user_id), void *ctx)
{
	directory_walk_members(d, channel_key_new(app, channel), fn, ctx, true);
}
