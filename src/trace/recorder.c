/* SPDX-License-Identifier: MIT */
/*
 * Entries are spread over shards by their id, each with one mutex, so that a reader who walks all
 * of them stops a worker for one shard only.  The ids of closed connections are in one queue in the
 * order of their end; an id without an entry is skipped.
 *
 * The lock of a shard and that of the queue are leaves: neither is taken under the other.
 */
#include <pthread.h>
#include <string.h>
#include "base/mem.h"
#include "trace/recorder.h"

#define SHARDS	 64
#define TEXT_MAX 200 /* bytes of a step's channel, and of its detail */

static struct TSA(capability("mutex")) recorder_held {
	char unused;
} recorder_held UNUSED;

struct recorder_shard {
	pthread_mutex_t lock;
	struct map entries OWNED_BY(recorder_held); /* id -> struct recorded */
} __attribute__((aligned(64)));

struct closed_id {
	struct closed_id *next;
	uint64_t id;
};

struct recorder {
	size_t max_bytes;
	atomic_size_t bytes; /* of steps and of entries that are closed */
	_Atomic uint64_t last_number;
	pthread_mutex_t closed_lock;
	struct closed_id *closed, **closed_end; /* the oldest first; under closed_lock */
	struct recorder_shard shards[SHARDS];
};

static void recorder_lock(struct recorder_shard *s) TSA(acquire_capability(recorder_held)) NO_TSA
{
	pthread_mutex_lock(&s->lock);
}

static void recorder_unlock(struct recorder_shard *s) TSA(release_capability(recorder_held)) NO_TSA
{
	pthread_mutex_unlock(&s->lock);
}

static struct str_view recorded_key(const uint64_t *id)
{
	return sv_n((const char *)id, sizeof(*id));
}

static struct recorder_shard *recorder_shard_of(struct recorder *r, uint64_t id)
{
	return &r->shards[(id * UINT64_C(0x9e3779b97f4a7c15) >> 32) % SHARDS];
}

const char *step_name(enum step_kind kind)
{
	static const char *const names[STEP_KINDS] = {
		[STEP_CONNECTED] = "connected",
		[STEP_SIGNED_IN] = "signed_in",
		[STEP_SIGNIN_REFUSED] = "signin_refused",
		[STEP_AUTHORIZED] = "authorized",
		[STEP_AUTHORIZE_REFUSED] = "authorize_refused",
		[STEP_SUBSCRIBED] = "subscribed",
		[STEP_SUBSCRIBE_REFUSED] = "subscribe_refused",
		[STEP_REPLAYED] = "replayed",
		[STEP_RESYNC] = "resync",
		[STEP_TOKEN_EXTENDED] = "token_extended",
		[STEP_UNSUBSCRIBED] = "unsubscribed",
		[STEP_SUBSCRIPTION_ENDED] = "subscription_ended",
		[STEP_CLIENT_EVENT] = "client_event",
		[STEP_MESSAGE_REFUSED] = "message_refused",
		[STEP_PAUSED] = "paused",
		[STEP_SLOW] = "slow",
		[STEP_CLOSING] = "closing",
		[STEP_CLOSED] = "closed",
	};

	return names[kind];
}

struct recorder *recorder_new(size_t max_bytes) NO_TSA
{
	struct recorder *r = aligned_alloc(64, (sizeof(*r) + 63) / 64 * 64);

	if (!r)
		abort();
	memset(r, 0, sizeof(*r));
	r->max_bytes = max_bytes;
	r->closed_end = &r->closed;
	pthread_mutex_init(&r->closed_lock, NULL);
	for (size_t i = 0; i < SHARDS; i++) {
		pthread_mutex_init(&r->shards[i].lock, NULL);
		map_init(&r->shards[i].entries);
	}
	return r;
}

/* ---- entries ---- */

static size_t step_bytes(const struct recorded_step *s)
{
	return sizeof(*s) + s->channel_len + s->detail_len;
}

/* Of an entry that is closed, without its steps. */
static size_t recorded_bytes(const struct recorded *c)
{
	size_t n = sizeof(*c) + strlen(c->app) + (c->user_id ? strlen(c->user_id) : 0), at = 0;
	struct msgbuf *key;

	while ((key = map_next(&c->channels, &at)))
		n += sizeof(*key) + key->len + sizeof(void *) * 4;
	return n;
}

static void recorded_drop_step(struct recorder *r, struct recorded *c)
{
	struct recorded_step *s = c->first;

	c->first = s->next;
	if (!c->first)
		c->last = NULL;
	c->n_steps--;
	atomic_fetch_sub(&r->bytes, step_bytes(s));
	free(s);
}

static void recorded_free(struct recorder *r, struct recorded *c)
{
	struct msgbuf *key;
	size_t at = 0;

	if (c->closed_at)
		atomic_fetch_sub(&r->bytes, recorded_bytes(c));
	while (c->first)
		recorded_drop_step(r, c);
	while ((key = map_next(&c->channels, &at)))
		msgbuf_unref(key);
	map_release(&c->channels);
	free(c->app);
	free(c->user_id);
	free(c);
}

void recorder_free(struct recorder *r) NO_TSA
{
	struct recorded *c;

	if (!r)
		return;
	for (size_t i = 0; i < SHARDS; i++) {
		size_t at = 0;

		while ((c = map_next(&r->shards[i].entries, &at)))
			recorded_free(r, c);
		map_release(&r->shards[i].entries);
		pthread_mutex_destroy(&r->shards[i].lock);
	}
	for (struct closed_id *e = r->closed, *next; e; e = next) {
		next = e->next;
		free(e);
	}
	pthread_mutex_destroy(&r->closed_lock);
	free(r);
}

/*
 * Locks the shard of the id: *s, for recorder_unlock().  Returns the open connection; NULL: there
 * is none.
 */
static struct recorded *recorder_lock_open(struct recorder *r, uint64_t id,
					   struct recorder_shard **s)
	TSA(acquire_capability(recorder_held))
{
	struct recorded *c;

	*s = recorder_shard_of(r, id);
	recorder_lock(*s);
	c = map_get(&(*s)->entries, recorded_key(&id));
	return c && !c->closed_at ? c : NULL;
}

void recorder_open(struct recorder *r, const struct recorder_opening *o)
{
	struct recorder_shard *s;
	struct recorded *c;

	if (!r)
		return;
	c = xcalloc(1, sizeof(*c));
	c->id = o->id;
	c->number = atomic_fetch_add(&r->last_number, 1) + 1;
	c->app = xstrdup(o->app);
	c->address = o->address;
	c->worker = o->worker;
	c->connected_at = clock_wall();
	c->outbox_bytes = o->outbox_bytes;
	map_init(&c->channels);
	s = recorder_shard_of(r, o->id);
	recorder_lock(s);
	map_put(&s->entries, recorded_key(&c->id), c);
	recorder_unlock(s);
}

/* ---- the bound ---- */

static bool recorder_take_closed(struct recorder *r, uint64_t *id)
{
	struct closed_id *e;

	pthread_mutex_lock(&r->closed_lock);
	e = r->closed;
	if (e) {
		r->closed = e->next;
		if (!r->closed)
			r->closed_end = &r->closed;
		*id = e->id;
	}
	pthread_mutex_unlock(&r->closed_lock);
	free(e);
	return e != NULL;
}

static void recorder_put_closed(struct recorder *r, uint64_t id)
{
	struct closed_id *e = xmalloc(sizeof(*e));

	*e = (struct closed_id){ NULL, id };
	pthread_mutex_lock(&r->closed_lock);
	*r->closed_end = e;
	r->closed_end = &e->next;
	pthread_mutex_unlock(&r->closed_lock);
}

/* Forgets closed connections, the oldest first, until there is room for more bytes. */
static void recorder_make_room(struct recorder *r, size_t more)
{
	uint64_t id;

	while (atomic_load(&r->bytes) + more > r->max_bytes && recorder_take_closed(r, &id)) {
		struct recorder_shard *s = recorder_shard_of(r, id);
		struct recorded *c;

		recorder_lock(s);
		c = map_del(&s->entries, recorded_key(&id));
		recorder_unlock(s);
		if (c)
			recorded_free(r, c);
	}
}

/* ---- steps ---- */

/* The length at which the text is cut; not inside a character of UTF-8. */
static unsigned short step_cut(struct str_view text)
{
	size_t n = text.len;

	if (n > TEXT_MAX)
		for (n = TEXT_MAX; n && ((unsigned char)text.ptr[n] & 0xc0) == 0x80;)
			n--;
	return (unsigned short)n;
}

static bool step_is_again(const struct recorded_step *a, const struct recorded_step *b)
{
	return a && a->kind == b->kind && a->code == b->code && a->channel_len == b->channel_len &&
	       a->detail_len == b->detail_len &&
	       memcmp(a->text, b->text, (size_t)a->channel_len + a->detail_len) == 0;
}

static struct recorded_step *step_new(const struct recorder_step *step)
{
	unsigned short channel = step_cut(step->channel), detail = step_cut(step->detail);
	struct recorded_step *s = xcalloc(1, sizeof(*s) + channel + detail);

	s->at = clock_wall();
	s->kind = step->kind;
	s->code = step->code;
	s->times = 1;
	s->channel_len = channel;
	s->detail_len = detail;
	if (channel)
		memcpy(s->text, step->channel.ptr, channel);
	if (detail)
		memcpy(s->text + channel, step->detail.ptr, detail);
	return s;
}

/* Takes s. */
static void recorded_add_step(struct recorder *r, struct recorded *c, struct recorded_step *s)
{
	if (step_is_again(c->last, s)) {
		c->last->times++;
		c->last->at = s->at;
		free(s);
		return;
	}
	if (c->n_steps == RECORDER_STEPS)
		recorded_drop_step(r, c);
	while (c->first && atomic_load(&r->bytes) + step_bytes(s) > r->max_bytes)
		recorded_drop_step(r, c);
	if (atomic_load(&r->bytes) + step_bytes(s) > r->max_bytes) {
		free(s);
		return;
	}
	atomic_fetch_add(&r->bytes, step_bytes(s));
	if (c->last)
		c->last->next = s;
	else
		c->first = s;
	c->last = s;
	c->n_steps++;
}

/* Of several users the one with the better proof counts. */
static void recorded_set_user(struct recorded *c, struct str_view user_id,
			      enum recorder_proof proof)
{
	if (!user_id.len || proof <= c->user_proof)
		return;
	free(c->user_id);
	c->user_id = sv_dup(user_id);
	c->user_proof = (unsigned char)proof;
}

void recorder_note(struct recorder *r, uint64_t id, const struct recorder_step *step)
{
	struct recorder_shard *shard;
	struct recorded_step *s;
	struct recorded *c;

	if (!r || !r->max_bytes)
		return;
	s = step_new(step);
	recorder_make_room(r, step_bytes(s));
	c = recorder_lock_open(r, id, &shard);
	if (c && (!step->app || strcmp(step->app, c->app) == 0)) {
		recorded_set_user(c, step->user_id, PROOF_AUTHORIZED);
		recorded_add_step(r, c, s);
	} else {
		free(s);
	}
	recorder_unlock(shard);
}

void recorder_close(struct recorder *r, uint64_t id, unsigned code)
{
	struct recorder_shard *s;
	struct recorded *c;

	if (!r)
		return;
	c = recorder_lock_open(r, id, &s);
	if (c && !r->max_bytes) {
		map_del(&s->entries, recorded_key(&id));
	} else if (c) {
		c->outbox_bytes = NULL;
		c->close_code = code;
		c->closed_at = clock_wall();
		atomic_fetch_add(&r->bytes, recorded_bytes(c));
	}
	recorder_unlock(s);
	if (!c)
		return;
	if (!r->max_bytes) {
		recorded_free(r, c);
		return;
	}
	recorder_put_closed(r, id);
	recorder_make_room(r, 0);
}

/* ---- who and where ---- */

void recorder_set_user(struct recorder *r, uint64_t id, struct str_view user_id,
		       enum recorder_proof proof)
{
	struct recorder_shard *s;
	struct recorded *c;

	if (!r)
		return;
	c = recorder_lock_open(r, id, &s);
	if (c)
		recorded_set_user(c, user_id, proof);
	recorder_unlock(s);
}

void recorder_join(struct recorder *r, uint64_t id, struct msgbuf *key)
{
	struct recorder_shard *s;
	struct recorded *c;

	if (!r)
		return;
	c = recorder_lock_open(r, id, &s);
	if (c && !map_get(&c->channels, msgbuf_view(key)))
		map_put(&c->channels, msgbuf_view(key), msgbuf_ref(key));
	recorder_unlock(s);
}

void recorder_leave(struct recorder *r, uint64_t id, struct str_view key)
{
	struct recorder_shard *s;
	struct recorded *c;

	if (!r)
		return;
	c = recorder_lock_open(r, id, &s);
	if (c)
		msgbuf_unref(map_del(&c->channels, key));
	recorder_unlock(s);
}

/* ---- reading ---- */

bool recorder_find(struct recorder *r, uint64_t id, void (*fn)(void *ctx, const struct recorded *c),
		   void *ctx)
{
	struct recorder_shard *s;
	const struct recorded *c;

	if (!r)
		return false;
	s = recorder_shard_of(r, id);
	recorder_lock(s);
	c = map_get(&s->entries, recorded_key(&id));
	if (c)
		fn(ctx, c);
	recorder_unlock(s);
	return c != NULL;
}

void recorder_each(struct recorder *r, void (*fn)(void *ctx, const struct recorded *c), void *ctx)
{
	for (size_t i = 0; r && i < SHARDS; i++) {
		struct recorder_shard *s = &r->shards[i];
		const struct recorded *c;
		size_t at = 0;

		recorder_lock(s);
		while ((c = map_next(&s->entries, &at)))
			fn(ctx, c);
		recorder_unlock(s);
	}
}

/* Drops the steps of the user's open connections; returns the closed ones, taken out (heap). */
static struct recorded **recorder_take_of_user_locked(struct recorder *r, struct recorder_shard *s,
						      struct str_view app, struct str_view user_id)
	NEEDS_LOCK(recorder_held)
{
	struct recorded **found = xcalloc(s->entries.used + 1, sizeof(*found)), *c;
	size_t at = 0, n = 0;

	while ((c = map_next(&s->entries, &at))) {
		if (!c->user_id || !sv_eq_c(user_id, c->user_id) || !sv_eq_c(app, c->app))
			continue;
		if (c->closed_at)
			found[n++] = c;
		else
			while (c->first)
				recorded_drop_step(r, c);
	}
	for (size_t i = 0; i < n; i++)
		map_del(&s->entries, recorded_key(&found[i]->id));
	return found;
}

void recorder_forget_user(struct recorder *r, struct str_view app, struct str_view user_id)
{
	for (size_t i = 0; r && i < SHARDS; i++) {
		struct recorder_shard *s = &r->shards[i];
		struct recorded **found;

		recorder_lock(s);
		found = recorder_take_of_user_locked(r, s, app, user_id);
		recorder_unlock(s);
		for (size_t n = 0; found[n]; n++)
			recorded_free(r, found[n]);
		free(found);
	}
}
