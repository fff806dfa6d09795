/* SPDX-License-Identifier: MIT */
/*
 * A channel exists as long as it has members of this node (one that has left exists until the
 * database knows), or watchers.  Each operation is O(1), but follow_begin_again(),
 * follow_read_all() and follow_retry().
 */
#include <string.h>
#include "base/mem.h"
#include "cluster/follow.h"
#include "conf/app.h"

#define PRESENCE_SHARE 4 /* of so many members that are dequeued, one is not of presence */

void follow_init(struct follow *f)
{
	*f = (struct follow){ .to_read = NULL };
	map_init(&f->channels);
}

static void follow_free_member(struct own_member *m)
{
	struct own_waiter *w;

	while ((w = m->waiters)) {
		m->waiters = w->next;
		free(w);
	}
	free(m->user_id);
	free(m->info);
	free(m);
}

static void followed_free(struct followed *c)
{
	struct own_member *m;
	size_t at = 0;

	while ((m = map_next(&c->own, &at)))
		follow_free_member(m);
	map_release(&c->own);
	app_unref(c->served);
	free(c->key);
	free(c);
}

void follow_release(struct follow *f)
{
	struct followed *c;
	size_t at = 0;

	while ((c = map_next(&f->channels, &at)))
		followed_free(c);
	map_release(&f->channels);
}

static char *followed_key(struct str_view app, struct str_view channel)
{
	char *key = xmalloc(app.len + channel.len + 2);

	memcpy(key, app.ptr, app.len);
	key[app.len] = '\0';
	memcpy(key + app.len + 1, channel.ptr, channel.len);
	key[app.len + 1 + channel.len] = '\0';
	return key;
}

struct followed *follow_find(const struct follow *f, struct str_view app, struct str_view channel)
{
	char *key = followed_key(app, channel);
	struct followed *c = map_get(&f->channels, sv_n(key, app.len + channel.len + 1));

	free(key);
	return c;
}

struct followed *follow_get(struct follow *f, struct str_view app, struct str_view channel)
{
	struct followed *c = follow_find(f, app, channel);

	if (c)
		return c;
	c = xcalloc(1, sizeof(*c));
	c->key = followed_key(app, channel);
	c->app = sv_n(c->key, app.len);
	c->name = sv_n(c->key + app.len + 1, channel.len);
	map_init(&c->own);
	map_put(&f->channels, sv_n(c->key, app.len + channel.len + 1), c);
	return c;
}

bool follow_is_unused(const struct followed *c)
{
	return !c->own.used && !c->is_watched;
}

/* The channel is not to be read any more. */
static void follow_unread(struct follow *f, struct followed *c)
{
	if (!c->must_read)
		return;
	c->must_read = false;
	if (c->prev_to_read)
		c->prev_to_read->next_to_read = c->next_to_read;
	else
		f->to_read = c->next_to_read;
	if (c->next_to_read)
		c->next_to_read->prev_to_read = c->prev_to_read;
}

void follow_delete(struct follow *f, struct followed *c)
{
	follow_unread(f, c);
	map_del(&f->channels, sv_n(c->key, c->app.len + c->name.len + 1));
	followed_free(c);
}

struct own_member *follow_member(struct followed *c, struct str_view user_id)
{
	struct own_member *m = map_get(&c->own, user_id);

	if (m)
		return m;
	m = xcalloc(1, sizeof(*m));
	m->channel = c;
	m->user_id = sv_dup(user_id);
	m->info = xstrdup("");
	map_put(&c->own, sv(m->user_id), m);
	return m;
}

void follow_set_info(struct own_member *m, struct str_view info)
{
	if (sv_eq_c(info, m->info))
		return;
	free(m->info);
	m->info = sv_dup(info);
}

void follow_set_registered(struct follow *f, struct own_member *m, bool is_registered)
{
	f->n_registered += (size_t)is_registered - (size_t)m->is_registered;
	m->is_registered = is_registered;
}

void follow_set_reported(struct follow *f, struct own_member *m)
{
	f->n_unreported -= m->is_unreported;
	m->is_unreported = m->was_registered = false;
}

/* Presence channels, and those of users who are signed in. */
static struct own_queue *follow_queue_of(struct follow *f, const struct own_member *m)
{
	struct str_view name = m->channel->name;

	return sv_starts_with(name, SV("presence-")) || sv_starts_with(name, SV("!"))
		       ? &f->of_presence
		       : &f->others;
}

void follow_enqueue(struct follow *f, struct own_member *m)
{
	struct own_queue *q = follow_queue_of(f, m);

	if (m->is_queued)
		return;
	m->is_queued = true;
	m->next = NULL;
	m->prev = q->last;
	if (q->last)
		q->last->next = m;
	else
		q->first = m;
	q->last = m;
}

static void follow_unqueue(struct follow *f, struct own_member *m)
{
	struct own_queue *q = follow_queue_of(f, m);

	if (!m->is_queued)
		return;
	m->is_queued = false;
	if (m->prev)
		m->prev->next = m->next;
	else
		q->first = m->next;
	if (m->next)
		m->next->prev = m->prev;
	else
		q->last = m->prev;
}

struct own_member *follow_dequeue(struct follow *f)
{
	bool is_turn_of_others = ++f->n_dequeued % PRESENCE_SHARE == 0;
	struct own_member *m = is_turn_of_others ? f->others.first : f->of_presence.first;

	if (!m)
		m = is_turn_of_others ? f->of_presence.first : f->others.first;
	if (m)
		follow_unqueue(f, m);
	return m;
}

bool follow_has_queued(const struct follow *f)
{
	return f->of_presence.first || f->others.first;
}

void follow_delay(struct follow *f, struct own_member *m, int64_t due)
{
	if (m->is_delayed)
		return;
	m->is_delayed = true;
	m->counted_at = due;
	m->next_delayed = NULL;
	m->prev_delayed = f->delayed_last;
	if (f->delayed_last)
		f->delayed_last->next_delayed = m;
	else
		f->delayed = m;
	f->delayed_last = m;
}

static void follow_undelay(struct follow *f, struct own_member *m)
{
	if (!m->is_delayed)
		return;
	m->is_delayed = false;
	if (m->prev_delayed)
		m->prev_delayed->next_delayed = m->next_delayed;
	else
		f->delayed = m->next_delayed;
	if (m->next_delayed)
		m->next_delayed->prev_delayed = m->prev_delayed;
	else
		f->delayed_last = m->prev_delayed;
}

struct own_member *follow_take_due(struct follow *f, int64_t now)
{
	struct own_member *m = f->delayed;

	if (!m || m->counted_at > now)
		return NULL;
	follow_undelay(f, m);
	return m;
}

void follow_delete_member(struct follow *f, struct own_member *m)
{
	follow_unqueue(f, m);
	follow_undelay(f, m);
	follow_set_registered(f, m, false);
	follow_set_reported(f, m);
	map_del(&m->channel->own, sv(m->user_id));
	follow_free_member(m);
}

void follow_read_later(struct follow *f, struct followed *c)
{
	if (c->must_read)
		return;
	c->must_read = true;
	c->prev_to_read = NULL;
	c->next_to_read = f->to_read;
	if (f->to_read)
		f->to_read->prev_to_read = c;
	f->to_read = c;
}

struct followed *follow_take_to_read(struct follow *f)
{
	struct followed *c = f->to_read;

	if (c)
		follow_unread(f, c);
	return c;
}

bool follow_advance(struct follow *f, struct followed *c, uint64_t before, uint64_t version)
{
	if (c->is_known && version <= c->version)
		return false;
	if (!c->is_known || c->must_read || before != c->version) {
		follow_read_later(f, c);
		return false;
	}
	c->version = version;
	return true;
}

void follow_retry(struct follow *f, struct followed *c)
{
	struct own_member *m;
	size_t at = 0;

	if (!c->has_refused)
		return;
	c->has_refused = false;
	while ((m = map_next(&c->own, &at)))
		if (m->is_here && !m->is_registered)
			follow_enqueue(f, m);
}

void follow_compare(struct follow *f, struct followed *c, uint64_t version)
{
	if (!c->is_known || c->version != version)
		follow_read_later(f, c);
}

void follow_read_all(struct follow *f)
{
	struct followed *c;
	size_t at = 0;

	while ((c = map_next(&f->channels, &at)))
		follow_read_later(f, c);
}

bool follow_is_new_count(const struct followed *c, uint64_t version)
{
	const struct own_member *m = map_get(&c->own, SV(""));

	return m && m->is_registered && version > c->count_version;
}

unsigned follow_take_count(struct followed *c, uint64_t version, unsigned total)
{
	const struct own_member *m = map_get(&c->own, SV(""));
	unsigned own = m && m->is_registered ? m->n_counted : 0;

	c->count_version = version;
	return total > own ? total - own : 0;
}

void follow_begin_again(struct follow *f)
{
	struct followed *c;
	struct own_member *m;
	size_t at = 0, k;

	while ((c = map_next(&f->channels, &at))) {
		follow_read_later(f, c);
		for (k = 0; (m = map_next(&c->own, &k));) {
			m->was_registered |= m->is_registered;
			follow_set_registered(f, m, false);
			f->n_unreported += !m->is_unreported;
			m->is_unreported = true;
			follow_enqueue(f, m);
		}
	}
}
