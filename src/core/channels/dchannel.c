/* SPDX-License-Identifier: MIT */
/*
 * The entry of one channel: found under its shard's lock, and what is sent and reported for it.
 */
#include "base/mem.h"
#include "base/metric.h"
#include "core/channels/directory-private.h"
#include "wire/pusher.h"

/* Above COUNT_FEW subscriptions, the count is sent once in COUNT_EVERY (protocol A4). */
#define COUNT_EVERY ((usec_t)5 * USEC_PER_SEC)
#define COUNT_FEW   100

struct shard_held shard_held;

void shard_lock(struct shard *s) TSA(acquire_capability(shard_held)) NO_TSA
{
	pthread_mutex_lock(&s->lock);
}

void shard_unlock(struct shard *s) TSA(release_capability(shard_held)) NO_TSA
{
	pthread_mutex_unlock(&s->lock);
}

struct dchannel *dchannel_find_locked(const struct channel_lock *l)
{
	return map_find(&l->shard->channels, msgbuf_view(l->key), l->hash);
}

/* The hash of a channel's key selects the shard, and the channel's position in the shard's map. */
struct dchannel *dchannel_lock_key(struct directory *d, struct msgbuf *key, struct channel_lock *l)
{
	l->key = key;
	l->hash = hash_bytes(msgbuf_view(key));
	l->shard = &d->shards[(l->hash >> 40) % DIRECTORY_SHARDS];
	shard_lock(l->shard);
	return dchannel_find_locked(l);
}

struct dchannel *dchannel_lock(struct directory *d, const struct app *app, struct str_view channel,
			       struct channel_lock *l)
{
	return dchannel_lock_key(d, channel_key_new(app, channel), l);
}

void dchannel_unlock(struct directory *d, struct channel_lock *l, uint64_t wake)
{
	shard_unlock(l->shard);
	worker_messages_wake(&d->messages, wake);
	msgbuf_unref(l->key);
}

static unsigned dchannel_metric_type(const struct dchannel *c)
{
	return c->is_internal || c->traits.is_user ? CHANNEL_INTERNAL
						   : channel_metric_type(c->traits);
}

void dchannel_free(struct dchannel *c) NO_TSA
{
	metric_add_at(METRIC_CHANNELS, dchannel_metric_type(c), -1);
	presence_release(&c->presence);
	channel_cache_release(&c->cache);
	app_unref(c->app);
	msgbuf_unref(c->key);
	free(c);
}

struct dchannel *dchannel_new_locked(struct directory *d, const struct channel_lock *l,
				     struct app *app, struct channel_traits traits)
{
	struct dchannel *c = xcalloc(1, sizeof(*c) + d->n_workers * sizeof(c->per_worker[0]));

	c->key = msgbuf_ref(l->key);
	c->app = app_ref(app);
	c->traits = traits;
	c->is_internal = channel_is_internal(channel_key_name(l->key));
	metric_add_at(METRIC_CHANNELS, dchannel_metric_type(c), 1);
	presence_init(&c->presence, d->report_member != NULL);
	map_put(&l->shard->channels, msgbuf_view(c->key), c);
	return c;
}

bool dchannel_is_timed_locked(const struct dchannel *c)
{
	return c->cache.event || c->is_count_due;
}

void dchannel_note_timed_locked(struct shard *s, const struct dchannel *c, bool was_timed)
{
	s->n_timed += (unsigned)dchannel_is_timed_locked(c) - (unsigned)was_timed;
}

void dchannel_prune_locked(struct shard *s, struct dchannel *c)
{
	if (c->n_subscriptions || c->presence.members.used || dchannel_is_timed_locked(c))
		return;
	map_del(&s->channels, msgbuf_view(c->key));
	dchannel_free(c);
}

uint64_t dchannel_post_locked(struct directory *d, struct shard *s, struct dchannel *c,
			      const struct worker_message *message)
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

uint64_t dchannel_post_text_locked(struct directory *d, struct shard *s, struct dchannel *c,
				   struct strbuf *b, uint64_t exclude)
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

void dchannel_report_locked(struct directory *d, const struct dchannel *c, enum webhook_event event,
			    struct str_view user_id, usec_t waited)
{
	struct transition t = { .event = event,
				.app = c->app,
				.channel = channel_key_name(c->key),
				.user_id = user_id,
				.count = c->n_subscriptions,
				.waited = waited };

	if (!d->report_member && !c->is_internal && !c->traits.is_user)
		directory_report(d, &t);
}

void dchannel_changed_locked(struct directory *d, const struct dchannel *c, bool is_wanted)
{
	dchannel_report_locked(d, c, is_wanted ? WEBHOOK_CHANNEL_OCCUPIED : WEBHOOK_CHANNEL_VACATED,
			       SV(""), 0);
	if (d->channel_changed)
		d->channel_changed(d->channel_ctx, c->app, channel_key_name(c->key), is_wanted);
}

uint64_t dchannel_send_count_locked(struct directory *d, struct shard *s, struct dchannel *c,
				    usec_t now)
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
	dchannel_report_locked(d, c, WEBHOOK_SUBSCRIPTION_COUNT, SV(""), 0);
	if (!c->app->subscription_count)
		return 0;
	strbuf_init(&b, 160);
	frame_subscription_count(&b, channel_key_name(c->key), c->n_subscriptions + c->n_others);
	return dchannel_post_text_locked(d, s, c, &b, 0);
}

void dchannel_user_changed(struct directory *d, const struct dchannel *c, struct str_view user_id,
			   bool is_here)
{
	if (d->user_changed)
		d->user_changed(d->user_ctx, c->app, user_id, is_here);
}

uint64_t dchannel_send_removed_locked(struct directory *d, struct shard *s, struct dchannel *c,
				      struct str_view user_id)
{
	struct strbuf b;

	strbuf_init(&b, 160);
	frame_member_removed(&b, channel_key_name(c->key), user_id);
	return dchannel_post_text_locked(d, s, c, &b, 0);
}

uint64_t dchannel_send_state_locked(struct directory *d, struct shard *s, struct dchannel *c,
				    struct str_view user_id)
{
	struct strbuf b;

	strbuf_init(&b, 160);
	frame_watchlist(&b, c->is_online ? "online" : "offline", &user_id, 1);
	return dchannel_post_text_locked(d, s, c, &b, 0);
}

void dchannel_state_changed_locked(struct shard *s, const struct dchannel *c)
{
	s->seq += c->is_internal;
}

void dchannel_report_member_locked(struct directory *d, const struct dchannel *c,
				   struct member_report r)
{
	r.app = c->app;
	r.channel = channel_key_name(c->key);
	d->report_member(d->member_ctx, &r);
}

void dchannel_report_cached_locked(struct directory *d, struct dchannel *c, const struct event *e)
{
	if (!d->report_member || e->is_received || e->durability != DURABILITY_NONE ||
	    c->cache.is_reported)
		return;
	c->cache.is_reported = true;
	dchannel_report_member_locked(d, c, (struct member_report){ .kind = MEMBER_CACHED });
}

bool dchannel_is_shared(const struct directory *d, const struct app *app, struct str_view channel)
{
	return d->report_member && app_durability(app, channel) == DURABILITY_NONE;
}

void dchannel_report_count_locked(struct directory *d, struct dchannel *c, bool is_first)
{
	if (!d->report_member || c->is_internal || c->traits.is_user)
		return;
	if (c->is_count_reported && c->n_subscriptions && !is_first)
		return;
	c->is_count_reported = true;
	dchannel_report_member_locked(d, c, (struct member_report){ .kind = MEMBER_COUNTED });
}

uint64_t dchannel_member_left_locked(struct directory *d, struct shard *s, struct dchannel *c,
				     struct str_view user_id, usec_t waited)
{
	dchannel_user_changed(d, c, user_id, false);
	dchannel_state_changed_locked(s, c);
	dchannel_report_locked(d, c, WEBHOOK_MEMBER_REMOVED, user_id, waited);
	if (d->report_member) {
		dchannel_report_member_locked(d, c,
					      (struct member_report){ .kind = MEMBER_LEFT,
								      .user_id = user_id,
								      .waited = waited });
		return 0;
	}
	return c->is_internal ? 0 : dchannel_send_removed_locked(d, s, c, user_id);
}

void dchannel_cache_locked(struct shard *s, struct dchannel *c, struct event *e, usec_t until)
{
	bool was_timed = dchannel_is_timed_locked(c);

	channel_cache_put(&c->cache, e, until);
	dchannel_note_timed_locked(s, c, was_timed);
}

uint64_t dchannel_send_change_locked(struct directory *d, struct shard *s, struct dchannel *c,
				     enum presence_change change,
				     const struct directory_member *who)
{
	uint64_t wake = 0;
	struct strbuf b;

	if (change != PRESENCE_SAME)
		dchannel_state_changed_locked(s, c);
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
