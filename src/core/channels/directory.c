/* SPDX-License-Identifier: MIT */
/*
 * Shards of channels: join, leave, and what is due later.  For the locks, see
 * directory-private.h.
 */
#include <errno.h>
#include "base/mem.h"
#include "core/channels/directory-private.h"
#include "wire/pusher.h"

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

/* ---- subscriptions ---- */

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
	bool is_known = (change == PRESENCE_SAME || change == PRESENCE_BACK) &&
			(!j->token || presence_is_held(&c->presence, j->user_id));

	if (is_known && (change == PRESENCE_SAME || c->is_internal))
		return;
	if (change == PRESENCE_SAME)
		r.kind = MEMBER_WAITS;
	if (is_known)
		r.token = 0;
	j->is_waiting = r.token != 0;
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
	if (change == PRESENCE_ADDED) {
		dchannel_user_changed(d, c, j->user_id, true);
		dchannel_state_changed_locked(s, c);
	}
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

/* c: NULL for a channel that the directory does not know. */
static bool directory_cache_is_unknown_locked(struct directory *d, const struct dchannel *c,
					      const struct app *app, struct str_view channel)
	NEEDS_LOCK(shard_held)
{
	usec_t now = clock_mono();

	if (dchannel_is_shared(d, app, channel))
		return !c || !c->n_subscriptions ||
		       !channel_cache_is_checked(&c->cache, atomic_load(&d->missed_at), now);
	return channel_cache_is_unknown(c ? &c->cache : NULL, app->cache_ttl_s, d->started, now);
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
	j->is_cache_shared = j->traits.is_cache && d->report_member;
	j->is_cache_unknown =
		j->traits.is_cache && directory_cache_is_unknown_locked(d, c, j->app, j->channel);
	j->position = log_position_serial(&d->position);
	if (j->wants_unlogged)
		j->n_unlogged = unlogged_of_channel(&s->unlogged, j->app, j->channel, j->position,
						    &j->unlogged);
}

static int directory_join_locked(struct directory *d, const struct channel_lock *lock,
				 struct dchannel *c, struct directory_join *j, uint64_t *wake)
	NEEDS_LOCK(shard_held)
{
	struct shard *s = lock->shard;

	if (!c)
		c = dchannel_new_locked(d, lock, j->app, j->traits);
	if (c->app != j->app) { /* the apps were reloaded */
		app_unref(c->app);
		c->app = app_ref(j->app);
	}
	/* Before the member, for the order of webhooks; the number is read later. */
	dchannel_report_count_locked(d, c, !c->n_subscriptions);
	if (j->traits.is_presence) {
		int rc = directory_join_member_locked(d, s, c, j, wake);

		if (rc) {
			dchannel_prune_locked(s, c);
			return rc;
		}
	}
	if (!c->n_subscriptions++) {
		if (d->report_member && j->traits.is_cache)
			c->cache.wanted_at = clock_mono();
		dchannel_changed_locked(d, c, true);
		if (d->report_member && c->is_internal && !j->traits.is_presence)
			dchannel_report_member_locked(
				d, c, (struct member_report){ .kind = MEMBER_WATCHED });
	}
	if (j->is_new_member)
		dchannel_report_locked(d, c, WEBHOOK_MEMBER_ADDED, j->user_id, 0);
	if (d->report_member)
		j->is_new_member = false;
	j->is_unknown = !c->is_known;
	j->is_online = c->is_online;
	c->per_worker[j->worker]++;
	c->worker_mask |= UINT64_C(1) << j->worker;
	if (!j->is_waiting)
		directory_read_join_locked(d, s, c, j);
	*wake |= dchannel_send_count_locked(d, s, c, clock_mono());
	return 0;
}

int directory_join(struct directory *d, struct directory_join *j)
{
	struct channel_lock lock;
	struct dchannel *c;
	uint64_t wake = 0;
	int rc;

	j->is_waiting = false;
	j->roster = NULL;
	j->cached = NULL;
	j->is_new_member = false;
	j->unlogged = NULL;
	j->n_unlogged = 0;
	c = dchannel_lock(d, j->app, j->channel, &lock);
	rc = directory_join_locked(d, &lock, c, j, &wake);
	j->key = rc ? NULL : msgbuf_ref(lock.key);
	dchannel_unlock(d, &lock, wake);
	return rc;
}

void directory_admit(struct directory *d, struct directory_join *j)
{
	const struct directory_member who = { j->user_id, j->user_info };
	const struct presence_joining joining = { j->user_id, j->user_info };
	struct channel_lock lock;
	struct dchannel *c;
	uint64_t wake;

	j->is_waiting = false;
	j->roster = NULL;
	j->cached = NULL;
	j->unlogged = NULL;
	j->n_unlogged = 0;
	c = dchannel_lock_key(d, msgbuf_ref(j->key), &lock); /* it has the subscription */
	wake = dchannel_send_change_locked(d, lock.shard, c, presence_hold(&c->presence, &joining),
					   &who);
	directory_read_join_locked(d, lock.shard, c, j);
	dchannel_unlock(d, &lock, wake);
}

bool directory_leave(struct directory *d, const struct directory_leave *l)
{
	struct channel_lock lock;
	usec_t grace = l->is_lost ? l->app->member_removed_delay_ms * USEC_PER_MSEC : 0;
	usec_t now = clock_mono();
	enum presence_change change = PRESENCE_SAME;
	struct dchannel *c;
	uint64_t wake = 0;

	c = dchannel_lock(d, l->app, l->channel, &lock);
	if (c) {
		c->n_subscriptions--;
		if (--c->per_worker[l->worker] == 0)
			c->worker_mask &= ~(UINT64_C(1) << l->worker);
		if (l->traits.is_presence)
			change = presence_leave(&c->presence, &lock.shard->leaving, l->user_id, now,
						grace);
		if (change == PRESENCE_REMOVED)
			wake |= dchannel_member_left_locked(d, lock.shard, c, l->user_id, 0);
		else if (change == PRESENCE_LEAVING && d->report_member && !c->is_internal)
			dchannel_report_member_locked(
				d, c,
				(struct member_report){ .kind = MEMBER_LEAVING,
							.user_id = l->user_id });
		dchannel_report_count_locked(d, c, false);
		if (!c->n_subscriptions) {
			dchannel_changed_locked(d, c, false);
			if (d->report_member && c->is_internal && !l->traits.is_presence)
				dchannel_report_member_locked(
					d, c, (struct member_report){ .kind = MEMBER_UNWATCHED });
		}
		wake |= dchannel_send_count_locked(d, lock.shard, c, now);
		dchannel_prune_locked(lock.shard, c);
	}
	dchannel_unlock(d, &lock, wake);
	return change == PRESENCE_REMOVED && !d->report_member;
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
			wake |= dchannel_send_count_locked(d, s, c, now);
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

/* ---- the event log ---- */

void directory_position(struct directory *d, struct position *out)
{
	log_position_get(&d->position, out);
}

void directory_log_reached(struct directory *d, const struct position *p)
{
	log_position_set(&d->position, p);
}

struct event *directory_cache_put(struct directory *d, struct app *app, struct str_view channel,
				  const struct cache_reading *r)
{
	bool is_shared = dchannel_is_shared(d, app, channel), is_older;
	struct event *last = NULL;
	struct channel_lock lock;
	usec_t now = clock_mono();
	struct channel_traits traits;
	struct dchannel *c;

	if (channel_name_parse(channel, channel.len, &traits))
		traits = (struct channel_traits){ 0 };
	c = dchannel_lock(d, app, channel, &lock);
	if (c && is_shared)
		is_older = channel_cache_is_older(&c->cache, r, now);
	else
		is_older = r->event && !(c && channel_cache_is_fresh(&c->cache, now));
	if (is_older) {
		if (!c)
			c = dchannel_new_locked(d, &lock, r->event->app, traits);
		dchannel_cache_locked(lock.shard, c, r->event, now + r->left);
	}
	if (c) {
		c->cache.is_log_read = true;
		c->cache.checked_at = r->began;
		if (channel_cache_is_fresh(&c->cache, now))
			last = event_ref(c->cache.event);
	}
	dchannel_unlock(d, &lock, 0);
	return last;
}

/* ---- states of users ---- */

void directory_user_state(struct directory *d, const struct app *app, struct str_view channel,
			  struct user_state *out)
{
	struct channel_lock lock;
	struct dchannel *c;

	c = dchannel_lock(d, app, channel, &lock);
	*out = (struct user_state){ c && c->presence.n_shown, lock.shard->seq };
	dchannel_unlock(d, &lock, 0);
}

struct user_state directory_set_state(struct directory *d, const struct user_watched *of,
				      const struct user_state *state)
{
	struct user_state now = { 0 };
	struct channel_lock lock;
	struct dchannel *c;
	uint64_t wake = 0;

	c = dchannel_lock(d, of->app, of->channel, &lock);
	if (c && (!c->is_known || state->seq >= c->state_seq)) {
		bool is_news = !c->is_known || c->is_online != state->is_online;

		c->is_known = true;
		c->is_online = state->is_online;
		c->state_seq = state->seq;
		if (is_news && c->n_subscriptions > of->has_joined)
			wake = dchannel_send_state_locked(d, lock.shard, c, of->user_id);
	}
	if (c)
		now = (struct user_state){ c->is_online, lock.shard->seq };
	dchannel_unlock(d, &lock, wake);
	return now;
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
	struct channel_lock lock;
	usec_t now = clock_mono();
	struct dchannel *c;

	*out = (struct channel_info){ 0 };
	c = dchannel_lock(d, app, channel, &lock);
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
	out->is_cache_unknown = directory_cache_is_unknown_locked(d, c, app, channel);
	dchannel_unlock(d, &lock, 0);
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

void directory_each_member(struct directory *d, const struct app *app, struct str_view channel,
			   void (*fn)(void *ctx, struct str_view user_id), void *ctx)
{
	struct channel_lock lock;
	struct dchannel *c = dchannel_lock_key(d, channel_key_new(app, channel), &lock);
	struct presence_user *m;
	size_t at = 0;

	while (c && (m = map_next(&c->presence.members, &at)))
		if (m->is_shown)
			fn(ctx, sv(m->user_id));
	dchannel_unlock(d, &lock, 0);
}
