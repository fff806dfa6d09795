/* SPDX-License-Identifier: MIT */
/*
 * Shards of channels, each under one mutex.  Lock order: a shard's lock is a leaf; no function
 * here holds two.  What concerns another channel (a user's watchers) is done after unlocking.
 *
 * A channel's entry lives while it has subscriptions, members in their grace, or a cached event.
 * Numbers come from the shard, not the channel, so that an entry made anew goes on counting.
 */
#include <errno.h>
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/directory.h"
#include "wire/pusher.h"

#define N_SHARDS     64
#define COUNT_EVERY  ((usec_t)5 * USEC_PER_SEC) /* above COUNT_FEW subscriptions (protocol A4) */
#define COUNT_FEW    100
#define UNLOGGED_MAX ((usec_t)60 * USEC_PER_SEC)

struct member {
	struct member *next_leaving; /* in the shard's list while leaving_at is set */
	struct dchannel *channel;
	char *user_id, *info; /* info: JSON text or NULL */
	unsigned connections;
	usec_t leaving_at; /* mono; 0: here */
};

struct dchannel {
	struct msgbuf *key;
	struct app *app; /* of the last join or publish; counted */
	struct channel_traits traits;
	bool internal; /* INTERNAL_*: nobody sees it from outside */
	unsigned total;
	uint64_t worker_mask;
	struct map members;    /* user_id -> struct member */
	struct msgbuf *roster; /* of members, or NULL when they changed since */
	struct event *cached;
	usec_t cached_until;
	bool is_log_asked; /* for an event to cache; what it had is here */
	usec_t count_sent; /* mono, of the last subscription_count */
	bool count_due;
	unsigned per_worker[];
};

/* Async events whose serial the position has not reached, in the order they were posted. */
struct unlogged {
	struct event **list; /* counted */
	size_t first, n, room;
};

struct shard {
	pthread_mutex_t lock;
	struct map channels; /* key -> struct dchannel */
	struct member *leaving;
	unsigned n_timed; /* channels with a cache or a count held back: worth a walk */
	uint64_t seq;
	struct unlogged unlogged;
} __attribute__((aligned(64)));

struct directory {
	unsigned n_workers;
	struct directory_post post;
	atomic_size_t mail_bytes; /* of letters that are not freed yet */
	usec_t started;		  /* mono */
	_Atomic uint64_t serial;  /* handed on up to here; moves under the shard's lock */
	pthread_mutex_t epoch_lock;
	char epoch[POSITION_EPOCH_MAX + 1];
	void (*user_changed)(void *ctx, struct app *app, struct str_view user_id, bool is_here);
	void *user_ctx;
	struct shard shards[N_SHARDS];
};

/* Workers whose mailbox was empty, woken after the lock is dropped. */
struct wake_set {
	uint64_t mask;
};

static void wake_all(struct directory *d, struct wake_set w)
{
	while (w.mask) {
		unsigned worker = (unsigned)__builtin_ctzll(w.mask);

		w.mask &= w.mask - 1;
		d->post.wake(d->post.ctx, worker);
	}
}

struct msgbuf *directory_key(const struct app *app, struct str_view channel)
{
	struct msgbuf *m = msgbuf_new(sizeof(app->runtime->number) + channel.len);

	memcpy(m->data, &app->runtime->number, sizeof(app->runtime->number));
	memcpy(m->data + sizeof(app->runtime->number), channel.ptr, channel.len);
	return m;
}

static struct str_view key_channel(const struct msgbuf *key)
{
	return sv_skip(msgbuf_view(key), sizeof(unsigned));
}

static struct str_view dchannel_name(const struct dchannel *c)
{
	return key_channel(c->key);
}

static struct shard *shard_of(struct directory *d, struct str_view key)
{
	return &d->shards[(sv_hash(key, map_process_seed()) >> 40) % N_SHARDS];
}

static size_t mail_weight(const struct channel_mail *m)
{
	return sizeof(*m) + (m->frame ? m->frame->len : 0) + (m->page ? m->page->bytes : 0);
}

/* The one way to a worker; true when it must be woken. */
static bool post(struct directory *d, unsigned worker, struct channel_mail *m)
{
	m->of = d;
	atomic_fetch_add_explicit(&d->mail_bytes, mail_weight(m), memory_order_relaxed);
	return d->post.put(d->post.ctx, worker, &m->letter);
}

bool directory_is_behind(struct directory *d)
{
	return atomic_load_explicit(&d->mail_bytes, memory_order_relaxed) >
	       DIRECTORY_MAIL_MAX_BYTES;
}

void channel_mail_free(struct channel_mail *m)
{
	atomic_fetch_sub_explicit(&m->of->mail_bytes, mail_weight(m), memory_order_relaxed);
	msgbuf_unref(m->key);
	msgbuf_unref(m->frame);
	log_page_unref(m->page);
	if (m->event)
		event_unref(m->event);
	free(m);
}

struct directory *directory_new(unsigned n_workers, const struct directory_post *how)
{
	struct directory *d = aligned_alloc(64, (sizeof(*d) + 63) / 64 * 64);

	if (!d)
		abort();
	d->n_workers = n_workers;
	atomic_init(&d->mail_bytes, 0);
	d->post = *how;
	d->started = clock_mono();
	atomic_init(&d->serial, 0);
	pthread_mutex_init(&d->epoch_lock, NULL);
	d->epoch[0] = '\0';
	d->user_changed = NULL;
	for (size_t i = 0; i < N_SHARDS; i++) {
		struct shard *s = &d->shards[i];

		pthread_mutex_init(&s->lock, NULL);
		map_init(&s->channels);
		s->leaving = NULL;
		s->n_timed = 0;
		s->seq = 0;
		s->unlogged = (struct unlogged){ NULL, 0, 0, 0 };
	}
	return d;
}

/* -- async events that are not in the log yet -- */

/* Over: the position covers its serial, or the log gave it up, or is another one now. */
static bool is_settled(const struct event *e, uint64_t position)
{
	bool is_last_ref = atomic_load_explicit(&e->refs, memory_order_acquire) == 1;
	uint64_t serial = atomic_load(&e->serial);

	if (serial && serial > position)
		return is_last_ref && clock_wall() - e->delivered_at > UNLOGGED_MAX;
	return serial || is_last_ref;
}

static void unlogged_prune(const struct directory *d, struct unlogged *u)
{
	uint64_t position = atomic_load(&d->serial);

	while (u->n && is_settled(u->list[u->first], position)) {
		event_unref(u->list[u->first++]);
		u->n--;
	}
	if (u->n)
		return;
	free(u->list);
	*u = (struct unlogged){ NULL, 0, 0, 0 };
}

static void unlogged_add(const struct directory *d, struct unlogged *u, struct event *e)
{
	unlogged_prune(d, u);
	if (u->first + u->n == u->room) {
		if (u->n * 2 > u->room || !u->room) {
			u->room = u->room ? u->room * 2 : 16;
			u->list = xreallocarray(u->list, u->room, sizeof(struct event *));
		}
		memmove(u->list, u->list + u->first, u->n * sizeof(struct event *));
		u->first = 0;
	}
	u->list[u->first + u->n++] = event_ref(e);
}

static void unlogged_release(struct unlogged *u)
{
	for (size_t i = 0; i < u->n; i++)
		event_unref(u->list[u->first + i]);
	free(u->list);
}

/* Those of the channel that j names, into j. */
static void unlogged_copy(const struct unlogged *u, struct directory_join *j)
{
	for (size_t i = 0; i < u->n; i++) {
		struct event *e = u->list[u->first + i];

		if (is_settled(e, j->position) || e->app->runtime != j->app->runtime ||
		    !sv_eq(e->channel, j->channel))
			continue;
		j->unlogged = xreallocarray(j->unlogged, j->n_unlogged + 1, sizeof(*j->unlogged));
		j->unlogged[j->n_unlogged++] = event_ref(e);
	}
}

/* -- how far the log was handed on -- */

/* Up to serial; never back. */
static void reach(struct directory *d, uint64_t serial)
{
	uint64_t now = atomic_load(&d->serial);

	while (now < serial && !atomic_compare_exchange_weak(&d->serial, &now, serial))
		;
}

void directory_position(struct directory *d, struct position *out)
{
	pthread_mutex_lock(&d->epoch_lock);
	memcpy(out->epoch, d->epoch, sizeof(out->epoch));
	out->serial = atomic_load(&d->serial);
	pthread_mutex_unlock(&d->epoch_lock);
}

void directory_log_reached(struct directory *d, const struct position *p)
{
	pthread_mutex_lock(&d->epoch_lock);
	if (strcmp(d->epoch, p->epoch) == 0) {
		reach(d, p->serial);
	} else {
		memcpy(d->epoch, p->epoch, sizeof(d->epoch));
		atomic_store(&d->serial, p->serial);
	}
	pthread_mutex_unlock(&d->epoch_lock);
}

void directory_post_page(struct directory *d, unsigned worker, uint64_t token,
			 struct log_page *page)
{
	struct channel_mail *m = xcalloc(1, sizeof(*m));

	m->kind = MAIL_LOG;
	m->seq = token;
	m->page = page;
	if (post(d, worker, m))
		d->post.wake(d->post.ctx, worker);
}

void directory_watch_users(struct directory *d,
			   void (*changed)(void *ctx, struct app *app, struct str_view user_id,
					   bool is_here),
			   void *ctx)
{
	d->user_changed = changed;
	d->user_ctx = ctx;
}

static void user_changed(struct directory *d, struct app *app, struct str_view user_id,
			 bool is_here)
{
	if (d->user_changed)
		d->user_changed(d->user_ctx, app, user_id, is_here);
}

static void member_free(struct member *m)
{
	free(m->user_id);
	free(m->info);
	free(m);
}

static void dchannel_free(struct dchannel *c)
{
	struct member *m;
	size_t at = 0;

	while ((m = map_next(&c->members, &at)))
		member_free(m);
	map_release(&c->members);
	msgbuf_unref(c->roster);
	if (c->cached)
		event_unref(c->cached);
	app_unref(c->app);
	msgbuf_unref(c->key);
	free(c);
}

void directory_free(struct directory *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < N_SHARDS; i++) {
		struct shard *s = &d->shards[i];
		struct dchannel *c;
		size_t at = 0;

		while ((c = map_next(&s->channels, &at)))
			dchannel_free(c);
		map_release(&s->channels);
		unlogged_release(&s->unlogged);
		pthread_mutex_destroy(&s->lock);
	}
	pthread_mutex_destroy(&d->epoch_lock);
	free(d);
}

static struct dchannel *channel_make(struct directory *d, struct shard *s, struct msgbuf *key,
				     struct app *app, struct channel_traits traits)
{
	struct dchannel *c = xcalloc(1, sizeof(*c) + d->n_workers * sizeof(c->per_worker[0]));

	c->key = msgbuf_ref(key);
	c->app = app_ref(app);
	c->traits = traits;
	c->internal = dchannel_name(c).len && dchannel_name(c).ptr[0] == '!';
	map_init(&c->members);
	map_put(&s->channels, msgbuf_view(c->key), c);
	return c;
}

static void note_timed(struct shard *s, bool before, bool after)
{
	s->n_timed += (unsigned)after - (unsigned)before;
}

static bool is_timed(const struct dchannel *c)
{
	return c->cached || c->count_due;
}

/* Forgets an entry that nothing holds any more. */
static void channel_prune(struct shard *s, struct dchannel *c)
{
	if (c->total || c->members.used || is_timed(c))
		return;
	map_del(&s->channels, msgbuf_view(c->key));
	dchannel_free(c);
}

/* One letter to each worker that has subscribers; the shard's lock is held. */
static void post_locked(struct directory *d, struct shard *s, struct dchannel *c,
			const struct channel_mail *letter, struct wake_set *w)
{
	uint64_t mask = c->worker_mask, seq = ++s->seq;

	while (mask) {
		unsigned worker = (unsigned)__builtin_ctzll(mask);
		struct channel_mail *m = xmalloc(sizeof(*m));

		mask &= mask - 1;
		*m = *letter;
		m->seq = seq;
		m->key = msgbuf_ref(c->key);
		if (m->frame)
			msgbuf_ref(m->frame);
		if (m->event)
			event_ref(m->event);
		if (post(d, worker, m))
			w->mask |= UINT64_C(1) << worker;
	}
}

/* Posts the JSON text in b as a frame and releases b. */
static void post_text_locked(struct directory *d, struct shard *s, struct dchannel *c,
			     struct strbuf *b, uint64_t exclude, struct wake_set *w)
{
	struct msgbuf *frame = ws_text_frame(strbuf_view(b));
	struct channel_mail letter = { .kind = MAIL_FRAME, .frame = frame, .exclude = exclude };

	post_locked(d, s, c, &letter, w);
	msgbuf_unref(frame);
	strbuf_release(b);
}

static void send_count_locked(struct directory *d, struct shard *s, struct dchannel *c, usec_t now,
			      struct wake_set *w)
{
	bool was = is_timed(c);
	struct strbuf b;

	if (!c->app->subscription_count || c->traits.presence || c->internal)
		return;
	c->count_due = c->total > COUNT_FEW && now - c->count_sent < COUNT_EVERY;
	note_timed(s, was, is_timed(c));
	if (c->count_due || !c->total)
		return;
	c->count_sent = now;
	strbuf_init(&b, 160);
	frame_subscription_count(&b, dchannel_name(c), c->total);
	post_text_locked(d, s, c, &b, 0, w);
}

/* The roster as JSON text, made once for all who join until it changes. */
static struct msgbuf *roster_locked(struct dchannel *c)
{
	struct strbuf b;
	struct member *m;
	size_t at;
	const char *sep = "";

	if (c->roster)
		return msgbuf_ref(c->roster);
	strbuf_init(&b, 64 + c->members.used * 64);
	strbuf_add_str(&b, "{\"presence\":{\"ids\":[");
	for (at = 0; (m = map_next(&c->members, &at)); sep = ",") {
		strbuf_add_str(&b, sep);
		strbuf_add_json(&b, sv(m->user_id));
	}
	strbuf_add_str(&b, "],\"hash\":{");
	for (at = 0, sep = ""; (m = map_next(&c->members, &at)); sep = ",") {
		strbuf_add_str(&b, sep);
		strbuf_add_json(&b, sv(m->user_id));
		strbuf_add_c(&b, ':');
		strbuf_add_str(&b, m->info ? m->info : "null");
	}
	strbuf_addf(&b, "},\"count\":%zu}}", c->members.used);
	c->roster = msgbuf_from(strbuf_view(&b));
	strbuf_release(&b);
	return msgbuf_ref(c->roster);
}

static void roster_changed(struct dchannel *c)
{
	msgbuf_unref(c->roster);
	c->roster = NULL;
}

/* A user of the app came online or went: tells those who watch it.  No lock held. */
static void tell_watchers(struct directory *d, const struct app *app, struct str_view user_id,
			  const char *what)
{
	struct strbuf name, b;
	struct msgbuf *frame;

	strbuf_init(&name, 64);
	strbuf_add_str(&name, INTERNAL_WATCH_PREFIX);
	strbuf_add_sv(&name, user_id);
	strbuf_init(&b, 160);
	frame_watchlist(&b, what, &user_id, 1);
	frame = ws_text_frame(strbuf_view(&b));
	directory_send(d, app, strbuf_view(&name), frame, 0);
	msgbuf_unref(frame);
	strbuf_release(&b);
	strbuf_release(&name);
}

static void leaving_drop(struct shard *s, struct member *m)
{
	struct member **at = &s->leaving;

	while (*at && *at != m)
		at = &(*at)->next_leaving;
	if (*at)
		*at = m->next_leaving;
	m->leaving_at = 0;
}

/* Counts a connection of the user in; *came when the user was not there before. */
static int member_join_locked(struct directory *d, struct shard *s, struct dchannel *c,
			      const struct directory_join *j, bool *came, struct wake_set *w)
{
	struct member *m = map_get(&c->members, j->user_id);
	unsigned max = c->internal ? 0 : j->app->limits.max_presence_members;
	struct strbuf b;

	if (m) {
		if (m->leaving_at)
			leaving_drop(s, m);
		m->connections++;
		return 0;
	}
	if (max && c->members.used >= max)
		return -EDQUOT;
	m = xcalloc(1, sizeof(*m));
	m->channel = c;
	m->user_id = sv_dup(j->user_id);
	m->info = j->user_info.len ? sv_dup(j->user_info) : NULL;
	m->connections = 1;
	map_put(&c->members, sv(m->user_id), m);
	roster_changed(c);
	user_changed(d, c->app, j->user_id, true);
	*came = true;
	if (c->internal)
		return 0;
	strbuf_init(&b, 256);
	frame_member_added(&b, dchannel_name(c), j->user_id, j->user_info);
	post_text_locked(d, s, c, &b, j->socket_id, w);
	return 0;
}

/* The user is gone for good; frees m.  The caller prunes the channel. */
static void member_gone_locked(struct directory *d, struct shard *s, struct member *m,
			       struct wake_set *w)
{
	struct dchannel *c = m->channel;
	struct strbuf b;

	map_del(&c->members, sv(m->user_id));
	roster_changed(c);
	user_changed(d, c->app, sv(m->user_id), false);
	if (!c->internal) {
		strbuf_init(&b, 160);
		frame_member_removed(&b, dchannel_name(c), sv(m->user_id));
		post_text_locked(d, s, c, &b, 0, w);
	}
	member_free(m);
}

static bool is_cache_fresh(const struct dchannel *c, usec_t now)
{
	return c->cached && c->cached_until > now;
}

/* Nothing is cached, and the log may hold an event of before the start that still would be. */
static bool is_cache_unknown(const struct directory *d, const struct dchannel *c,
			     const struct app *app, usec_t now)
{
	return !(c && (c->is_log_asked || is_cache_fresh(c, now))) &&
	       now - d->started < app->cache_ttl_s * USEC_PER_SEC;
}

static int join_locked(struct directory *d, struct shard *s, struct directory_join *j,
		       bool *user_came, struct wake_set *w)
{
	struct dchannel *c = map_get(&s->channels, msgbuf_view(j->key));
	usec_t now = clock_mono();
	int rc;

	if (!c)
		c = channel_make(d, s, j->key, j->app, j->traits);
	if (c->app != j->app) { /* a reload came between */
		app_unref(c->app);
		c->app = app_ref(j->app);
	}
	if (j->traits.presence) {
		rc = member_join_locked(d, s, c, j, user_came, w);
		if (rc) {
			channel_prune(s, c);
			return rc;
		}
	}
	c->total++;
	c->per_worker[j->worker]++;
	c->worker_mask |= UINT64_C(1) << j->worker;
	j->seq = s->seq;
	if (j->traits.presence && !c->internal)
		j->roster = roster_locked(c);
	if (j->traits.cache && is_cache_fresh(c, now))
		j->cached = event_ref(c->cached);
	j->cache_unknown = j->traits.cache && is_cache_unknown(d, c, j->app, now);
	j->position = atomic_load(&d->serial);
	if (j->wants_unlogged)
		unlogged_copy(&s->unlogged, j);
	send_count_locked(d, s, c, now, w);
	return 0;
}

int directory_join(struct directory *d, struct directory_join *j)
{
	struct wake_set w = { 0 };
	struct msgbuf *key = directory_key(j->app, j->channel);
	struct shard *s = shard_of(d, msgbuf_view(key));
	bool user_came = false;
	int rc;

	j->key = key;
	j->roster = NULL;
	j->cached = NULL;
	j->unlogged = NULL;
	j->n_unlogged = 0;
	pthread_mutex_lock(&s->lock);
	rc = join_locked(d, s, j, &user_came, &w);
	pthread_mutex_unlock(&s->lock);
	wake_all(d, w);
	if (rc) {
		msgbuf_unref(key);
		j->key = NULL;
	} else if (user_came && sv_starts_with(j->channel, SV(INTERNAL_USER_PREFIX))) {
		tell_watchers(d, j->app, j->user_id, "online");
	}
	return rc;
}

/* One connection less; true when the user is gone at once (no grace). */
static bool member_leave_locked(struct directory *d, struct shard *s, struct dchannel *c,
				struct app *app, struct str_view user_id, struct wake_set *w)
{
	struct member *m = map_get(&c->members, user_id);

	if (!m || --m->connections)
		return false;
	if (!app->member_removed_delay_ms) {
		member_gone_locked(d, s, m, w);
		return true;
	}
	m->leaving_at = clock_mono() + app->member_removed_delay_ms * USEC_PER_MSEC;
	m->next_leaving = s->leaving;
	s->leaving = m;
	return false;
}

void directory_leave(struct directory *d, struct app *app, struct str_view channel,
		     struct channel_traits traits, unsigned worker, struct str_view user_id)
{
	struct wake_set w = { 0 };
	struct msgbuf *key = directory_key(app, channel);
	struct shard *s = shard_of(d, msgbuf_view(key));
	struct dchannel *c;
	bool gone = false;

	pthread_mutex_lock(&s->lock);
	c = map_get(&s->channels, msgbuf_view(key));
	if (c) {
		c->total--;
		if (--c->per_worker[worker] == 0)
			c->worker_mask &= ~(UINT64_C(1) << worker);
		if (traits.presence)
			gone = member_leave_locked(d, s, c, app, user_id, &w);
		send_count_locked(d, s, c, clock_mono(), &w);
		channel_prune(s, c);
	}
	pthread_mutex_unlock(&s->lock);
	wake_all(d, w);
	msgbuf_unref(key);
	if (gone && sv_starts_with(channel, SV(INTERNAL_USER_PREFIX)))
		tell_watchers(d, app, user_id, "offline");
}

/* A watched user whose grace ended, to be told after the lock. */
struct gone_user {
	struct gone_user *next;
	struct app *app;
	char *user_id;
};

static struct gone_user *tick_leaving_locked(struct directory *d, struct shard *s, usec_t now,
					     struct wake_set *w)
{
	struct gone_user *gone = NULL;
	struct member **at = &s->leaving;

	while (*at) {
		struct member *m = *at;
		struct dchannel *c = m->channel;

		if (m->leaving_at > now) {
			at = &m->next_leaving;
			continue;
		}
		*at = m->next_leaving;
		if (c->internal) {
			struct gone_user *g = xmalloc(sizeof(*g));

			*g = (struct gone_user){ gone, app_ref(c->app), xstrdup(m->user_id) };
			gone = g;
		}
		member_gone_locked(d, s, m, w);
		channel_prune(s, c);
	}
	return gone;
}

static void drop_cache_locked(struct shard *s, struct dchannel *c)
{
	bool was = is_timed(c);

	event_unref(c->cached);
	c->cached = NULL;
	note_timed(s, was, is_timed(c));
}

static void tick_timed_locked(struct directory *d, struct shard *s, usec_t now, struct wake_set *w)
{
	struct dchannel **stale = NULL, *c;
	size_t n = 0, at = 0;

	if (!s->n_timed)
		return;
	stale = xreallocarray(NULL, s->n_timed, sizeof(struct dchannel *));
	while ((c = map_next(&s->channels, &at)))
		if (is_timed(c))
			stale[n++] = c;
	for (size_t i = 0; i < n; i++) {
		if (stale[i]->count_due)
			send_count_locked(d, s, stale[i], now, w);
		if (stale[i]->cached && !is_cache_fresh(stale[i], now))
			drop_cache_locked(s, stale[i]);
		channel_prune(s, stale[i]);
	}
	free(stale);
}

void directory_tick(struct directory *d, usec_t now)
{
	for (size_t i = 0; i < N_SHARDS; i++) {
		struct shard *s = &d->shards[i];
		struct wake_set w = { 0 };
		struct gone_user *g, *next;

		pthread_mutex_lock(&s->lock);
		g = tick_leaving_locked(d, s, now, &w);
		tick_timed_locked(d, s, now, &w);
		unlogged_prune(d, &s->unlogged);
		pthread_mutex_unlock(&s->lock);
		wake_all(d, w);
		for (; g; g = next) {
			next = g->next;
			tell_watchers(d, g->app, sv(g->user_id), "offline");
			app_unref(g->app);
			free(g->user_id);
			free(g);
		}
	}
}

static void cache_locked(struct directory *d, struct shard *s, struct msgbuf *key,
			 struct dchannel *c, struct channel_traits traits, struct event *e,
			 usec_t until)
{
	bool was;

	if (!c)
		c = channel_make(d, s, key, e->app, traits);
	was = is_timed(c);
	if (c->cached)
		event_unref(c->cached);
	c->cached = event_ref(e);
	c->cached_until = until;
	note_timed(s, was, is_timed(c));
}

void directory_cache_put(struct directory *d, struct app *app, struct str_view channel,
			 struct event *e, usec_t left)
{
	struct msgbuf *key = directory_key(app, channel);
	struct shard *s = shard_of(d, msgbuf_view(key));
	usec_t now = clock_mono();
	struct channel_traits traits;
	struct dchannel *c;

	if (channel_name_parse(channel, channel.len, &traits))
		traits = (struct channel_traits){ 0 };
	pthread_mutex_lock(&s->lock);
	c = map_get(&s->channels, msgbuf_view(key));
	if (e && !(c && is_cache_fresh(c, now)))
		cache_locked(d, s, key, c, traits, e, now + left);
	if (c)
		c->is_log_asked = true;
	pthread_mutex_unlock(&s->lock);
	msgbuf_unref(key);
}

void directory_fan_out(struct directory *d, struct event *e)
{
	struct wake_set w = { 0 };
	struct msgbuf *key = directory_key(e->app, e->channel);
	struct shard *s = shard_of(d, msgbuf_view(key));
	struct channel_mail letter = { .kind = MAIL_FRAME,
				       .event = e,
				       .exclude = e->exclude_socket };
	struct channel_traits traits;
	uint64_t serial = e->serial;
	struct dchannel *c;
	bool occupied;

	e->delivered_at = clock_wall();
	if (channel_name_parse(e->channel, e->channel.len, &traits))
		traits = (struct channel_traits){ 0 };
	pthread_mutex_lock(&s->lock);
	c = map_get(&s->channels, msgbuf_view(key));
	occupied = c && c->total;
	if (occupied) {
		/* The frame is made only when somebody listens, and not under the lock. */
		pthread_mutex_unlock(&s->lock);
		letter.frame = event_frame(e);
		pthread_mutex_lock(&s->lock);
		c = map_get(&s->channels, msgbuf_view(key));
	}
	if (c && letter.frame)
		post_locked(d, s, c, &letter, &w);
	if (traits.cache)
		cache_locked(d, s, key, c, traits, e,
			     clock_mono() + e->app->cache_ttl_s * USEC_PER_SEC);
	if (serial)
		reach(d, serial);
	else if (e->durability == DURABILITY_ASYNC)
		unlogged_add(d, &s->unlogged, e);
	pthread_mutex_unlock(&s->lock);
	wake_all(d, w);
	msgbuf_unref(letter.frame);
	msgbuf_unref(key);
}

/* Posts one letter to a channel; false when nobody is subscribed to it. */
static bool post_to(struct directory *d, const struct app *app, struct str_view channel,
		    const struct channel_mail *letter)
{
	struct wake_set w = { 0 };
	struct msgbuf *key = directory_key(app, channel);
	struct shard *s = shard_of(d, msgbuf_view(key));
	struct dchannel *c;
	bool occupied;

	pthread_mutex_lock(&s->lock);
	c = map_get(&s->channels, msgbuf_view(key));
	occupied = c && c->total;
	if (occupied)
		post_locked(d, s, c, letter, &w);
	pthread_mutex_unlock(&s->lock);
	wake_all(d, w);
	msgbuf_unref(key);
	return occupied;
}

void directory_send(struct directory *d, const struct app *app, struct str_view channel,
		    struct msgbuf *frame, uint64_t exclude)
{
	struct channel_mail letter = { .kind = MAIL_FRAME, .frame = frame, .exclude = exclude };

	post_to(d, app, channel, &letter);
}

void directory_terminate_user(struct directory *d, const struct app *app, struct str_view user_id)
{
	struct channel_mail letter = { .kind = MAIL_CLOSE };
	struct strbuf name;
	bool signed_in;

	strbuf_init(&name, 64);
	strbuf_add_str(&name, INTERNAL_USER_PREFIX);
	strbuf_add_sv(&name, user_id);
	signed_in = post_to(d, app, strbuf_view(&name), &letter);
	strbuf_release(&name);
	if (signed_in)
		return;
	for (unsigned worker = 0; worker < d->n_workers; worker++) {
		struct channel_mail *m = xcalloc(1, sizeof(*m));

		m->kind = MAIL_CLOSE_USER;
		m->key = directory_key(app, user_id);
		if (post(d, worker, m))
			d->post.wake(d->post.ctx, worker);
	}
}

bool directory_user_online(struct directory *d, const struct app *app, struct str_view user_id)
{
	struct msgbuf *key;
	struct strbuf name;
	struct shard *s;
	bool online;

	strbuf_init(&name, 64);
	strbuf_add_str(&name, INTERNAL_USER_PREFIX);
	strbuf_add_sv(&name, user_id);
	key = directory_key(app, strbuf_view(&name));
	s = shard_of(d, msgbuf_view(key));
	pthread_mutex_lock(&s->lock);
	online = map_get(&s->channels, msgbuf_view(key)) != NULL;
	pthread_mutex_unlock(&s->lock);
	msgbuf_unref(key);
	strbuf_release(&name);
	return online;
}

void channel_info_release(struct channel_info *i)
{
	free(i->cache_data);
	i->cache_data = NULL;
}

void directory_channel_info(struct directory *d, const struct app *app, struct str_view channel,
			    struct channel_info *out)
{
	struct msgbuf *key = directory_key(app, channel);
	struct shard *s = shard_of(d, msgbuf_view(key));
	usec_t now = clock_mono();
	struct dchannel *c;

	*out = (struct channel_info){ 0 };
	pthread_mutex_lock(&s->lock);
	c = map_get(&s->channels, msgbuf_view(key));
	if (c) {
		out->occupied = c->total > 0;
		out->subscription_count = c->total;
		out->user_count = (unsigned)c->members.used;
	}
	if (c && is_cache_fresh(c, now)) {
		out->has_cache = true;
		out->cache_data = sv_dup(msgbuf_view(c->cached->data));
		out->cache_ttl_s = (unsigned)((c->cached_until - now) / USEC_PER_SEC);
	}
	out->cache_unknown = is_cache_unknown(d, c, app, now);
	pthread_mutex_unlock(&s->lock);
	msgbuf_unref(key);
}

void directory_each_channel(struct directory *d, const struct app *app, struct str_view prefix,
			    void (*fn)(void *ctx, struct str_view channel,
				       unsigned subscription_count, unsigned user_count),
			    void *ctx)
{
	for (size_t i = 0; i < N_SHARDS; i++) {
		struct shard *s = &d->shards[i];
		struct dchannel *c;
		size_t at = 0;

		pthread_mutex_lock(&s->lock);
		while ((c = map_next(&s->channels, &at)))
			if (c->total && !c->internal && c->app->runtime == app->runtime &&
			    sv_starts_with(dchannel_name(c), prefix))
				fn(ctx, dchannel_name(c), c->total, (unsigned)c->members.used);
		pthread_mutex_unlock(&s->lock);
	}
}

void directory_each_member(struct directory *d, const struct app *app, struct str_view channel,
			   void (*fn)(void *ctx, struct str_view user_id), void *ctx)
{
	struct msgbuf *key = directory_key(app, channel);
	struct shard *s = shard_of(d, msgbuf_view(key));
	struct dchannel *c;
	struct member *m;
	size_t at = 0;

	pthread_mutex_lock(&s->lock);
	c = map_get(&s->channels, msgbuf_view(key));
	while (c && (m = map_next(&c->members, &at)))
		fn(ctx, sv(m->user_id));
	pthread_mutex_unlock(&s->lock);
	msgbuf_unref(key);
}
