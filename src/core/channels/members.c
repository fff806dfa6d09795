/* SPDX-License-Identifier: MIT */
/*
 * What a node of a cluster has of the others: members and numbers of subscriptions, as src/cluster
 * reads them from the database.
 */
#include "base/mem.h"
#include "core/channels/directory-private.h"

void directory_share_members(struct directory *d,
			     void (*report)(void *ctx, const struct member_report *r), void *ctx)
{
	d->report_member = report;
	d->member_ctx = ctx;
}

bool directory_is_shared(const struct directory *d)
{
	return d->report_member != NULL;
}

enum presence_change directory_put_member(struct directory *d, struct app *app,
					  struct str_view channel,
					  const struct directory_member *who, bool is_own)
{
	const struct presence_joining joining = { who->user_id, who->info };
	struct channel_lock lock;
	enum presence_change change;
	struct channel_traits traits;
	struct dchannel *c;
	uint64_t wake;

	if (channel_name_parse(channel, channel.len, &traits))
		traits = (struct channel_traits){ .is_presence = true };
	c = dchannel_lock(d, app, channel, &lock);
	if (!c)
		c = dchannel_new_locked(d, &lock, app, traits);
	change = presence_show(&c->presence, &joining, is_own);
	wake = dchannel_send_change_locked(d, lock.shard, c, change, who);
	dchannel_unlock(d, &lock, wake);
	return change;
}

enum presence_change directory_drop_member(struct directory *d, struct app *app,
					   struct str_view channel, struct str_view user_id)
{
	const struct directory_member who = { user_id, SV("") };
	struct channel_lock lock;
	enum presence_change change = PRESENCE_SAME;
	struct dchannel *c;
	uint64_t wake = 0;

	c = dchannel_lock(d, app, channel, &lock);
	if (c) {
		change = presence_hide(&c->presence, user_id);
		wake = dchannel_send_change_locked(d, lock.shard, c, change, &who);
		dchannel_prune_locked(lock.shard, c);
	}
	dchannel_unlock(d, &lock, wake);
	return change;
}

char **directory_other_members(struct directory *d, const struct app *app, struct str_view channel,
			       const struct directory_member *who, size_t n)
{
	struct channel_lock lock;
	char **others = xcalloc(1, sizeof(*others));
	struct presence_user *m;
	struct dchannel *c;
	struct map known;
	size_t at = 0, found = 0;

	map_init(&known);
	for (size_t i = 0; i < n; i++)
		map_put(&known, who[i].user_id, (void *)&who[i]);
	c = dchannel_lock(d, app, channel, &lock);
	while (c && (m = map_next(&c->presence.members, &at))) {
		if (!m->is_shown || m->is_held || map_get(&known, sv(m->user_id)))
			continue;
		others = xreallocarray(others, found + 2, sizeof(*others));
		others[found++] = xstrdup(m->user_id);
		others[found] = NULL;
	}
	dchannel_unlock(d, &lock, 0);
	map_release(&known);
	return others;
}

bool directory_has_own_member(struct directory *d, const struct app *app, struct str_view channel,
			      struct str_view user_id)
{
	struct channel_lock lock;
	struct dchannel *c = dchannel_lock(d, app, channel, &lock);
	bool has = c && presence_is_held(&c->presence, user_id);

	dchannel_unlock(d, &lock, 0);
	return has;
}

unsigned directory_count_own(struct directory *d, const struct app *app, struct str_view channel,
			     bool is_taken)
{
	struct channel_lock lock;
	struct dchannel *c;
	unsigned n = 0;

	c = dchannel_lock(d, app, channel, &lock);
	if (c) {
		n = c->n_subscriptions;
		c->is_count_reported &= !is_taken;
	}
	dchannel_unlock(d, &lock, 0);
	return n;
}

void directory_count_others(struct directory *d, const struct app *app, struct str_view channel,
			    unsigned n)
{
	struct channel_lock lock;
	struct dchannel *c;
	uint64_t wake = 0;

	c = dchannel_lock(d, app, channel, &lock);
	if (c && c->n_others != n) {
		c->n_others = n;
		wake = dchannel_send_count_locked(d, lock.shard, c, clock_mono());
	}
	dchannel_unlock(d, &lock, wake);
}

struct event *directory_cached(struct directory *d, const struct app *app, struct str_view channel,
			       usec_t *age)
{
	struct channel_lock lock;
	usec_t now = clock_mono();
	struct event *e = NULL;
	struct dchannel *c;

	c = dchannel_lock(d, app, channel, &lock);
	if (c && channel_cache_is_fresh(&c->cache, now)) {
		e = event_ref(c->cache.event);
		*age = now - (c->cache.until - e->app->cache_ttl_s * USEC_PER_SEC);
	} else if (c) {
		c->cache.is_reported = false;
	}
	dchannel_unlock(d, &lock, 0);
	return e;
}

bool directory_cached_is_stored(struct directory *d, const struct app *app, struct str_view channel,
				const struct event *e)
{
	struct channel_lock lock;
	bool is_stored = true;
	struct dchannel *c;

	c = dchannel_lock(d, app, channel, &lock);
	if (c) {
		is_stored = !c->cache.event || c->cache.event == e;
		c->cache.is_reported = !is_stored;
	}
	dchannel_unlock(d, &lock, 0);
	return is_stored;
}

void directory_missed_events(struct directory *d)
{
	atomic_store(&d->missed_at, clock_mono());
}

void directory_post_joined(struct directory *d, unsigned worker, uint64_t token, bool is_full)
{
	struct worker_message *m = xcalloc(1, sizeof(*m));

	m->kind = is_full ? MESSAGE_JOIN_REFUSED : MESSAGE_JOINED;
	m->seq = token;
	worker_messages_send(&d->messages, worker, m);
}
