/* SPDX-License-Identifier: MIT */
/*
 * The lock guards the map and the lists of waiting calls; no callback is called under it.  A key
 * that is under way belongs to the call that put it into the map, and only that call removes it.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/hex.h"
#include "base/map.h"
#include "base/mem.h"
#include "svc/idempotency.h"

struct key_waiter {
	struct key_waiter *next;
	idempotency_done *done;
	void *ctx;
};

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) keys_held {
	char unused;
} keys_held UNUSED;

struct idempotency {
	struct pg_pool *pool;
	pthread_mutex_t lock;
	struct map keys OWNED_BY(keys_held); /* struct idempotent_call by id */
};

static void keys_lock(struct idempotency *t) TSA(acquire_capability(keys_held)) NO_TSA
{
	pthread_mutex_lock(&t->lock);
}

static void keys_unlock(struct idempotency *t) TSA(release_capability(keys_held)) NO_TSA
{
	pthread_mutex_unlock(&t->lock);
}

struct idempotent_call {
	struct idempotency *table;
	struct str_view id; /* app and key, each followed by a NUL, as the pool needs them */
	const char *app, *key;
	char digest[IDEMPOTENCY_DIGEST_HEX + 1];
	bool is_ended; /* the work was done, but another node committed the key first */
	struct key_waiter first;
	struct key_waiter *waiters OWNED_BY(keys_held);
	char text[];
};

static const struct pg_statement find_statement = {
	.sql = "SELECT is_same, answer FROM idempotency_find($1::text, $2::text, $3::text)",
	.takes_locks = true,
};

struct idempotency *idempotency_new(struct pg_pool *pool)
{
	struct idempotency *t = xcalloc(1, sizeof(*t));

	t->pool = pool;
	pthread_mutex_init(&t->lock, NULL);
	map_init(&t->keys);
	return t;
}

void idempotency_free(struct idempotency *t)
{
	if (!t)
		return;
	map_release(&t->keys);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

bool idempotency_key_is_valid(struct str_view key)
{
	for (size_t i = 0; i < key.len; i++)
		if (key.ptr[i] < '!' || key.ptr[i] > '~')
			return false;
	return key.len >= 1 && key.len <= IDEMPOTENCY_KEY_MAX;
}

void idempotency_digest(const struct str_view *parts, size_t n,
			char out[IDEMPOTENCY_DIGEST_HEX + 1])
{
	unsigned char digest[IDEMPOTENCY_DIGEST_HEX / 2] = { 0 };
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

	for (size_t i = 0; ok && i < n; i++)
		ok = EVP_DigestUpdate(ctx, &parts[i].len, sizeof(parts[i].len)) &&
		     EVP_DigestUpdate(ctx, parts[i].ptr, parts[i].len);
	if (!ok || !EVP_DigestFinal_ex(ctx, digest, NULL))
		abort(); /* out of memory */
	EVP_MD_CTX_free(ctx);
	hex_encode(digest, sizeof(digest), out);
}

static struct idempotent_call *idempotent_call_new(struct idempotency *t,
						   const struct idempotency_key *k)
{
	struct idempotent_call *o = xcalloc(1, sizeof(*o) + k->app.len + k->key.len + 2);
	size_t n = k->digest.len < IDEMPOTENCY_DIGEST_HEX ? k->digest.len : IDEMPOTENCY_DIGEST_HEX;

	o->table = t;
	o->app = memcpy(o->text, k->app.ptr, k->app.len);
	o->key = memcpy(o->text + k->app.len + 1, k->key.ptr, k->key.len);
	o->id = sv_n(o->text, k->app.len + 1 + k->key.len);
	memcpy(o->digest, k->digest.ptr, n);
	return o;
}

/* Answers all calls of this key, and removes it. */
static void idempotent_call_finish(struct idempotent_call *o, const struct idempotency_reply *reply)
{
	struct key_waiter *w, *next;
	struct idempotency_reply repeat = *reply;

	keys_lock(o->table);
	map_del(&o->table->keys, o->id);
	w = o->waiters;
	keys_unlock(o->table);
	repeat.is_repeat = true;
	for (; w; w = next) {
		next = w->next;
		w->done(w->ctx, NULL, &repeat);
		free(w);
	}
	/* Last: reply->text belongs to the first call and is freed with it. */
	o->first.done(o->first.ctx, o, reply);
	free(o);
}

static void on_key_found(void *ctx, const struct pg_answer *a)
{
	struct idempotent_call *o = ctx;
	struct idempotency_reply reply = { .result = IDEMPOTENCY_FAILED,
					   .rc = a->rc,
					   .is_repeat = true };

	if (a->rc) {
		/* Whether the call is a repeat is unknown, so the work was not done. */
		reply.rc = a->rc == -EAGAIN || a->rc == -EBUSY ? -EAGAIN : -EHOSTDOWN;
		idempotent_call_finish(o, &reply);
	} else if (pg_answer_rows(a)) {
		bool is_same = pg_answer_bool(a, 0, 0);

		reply.result = is_same ? IDEMPOTENCY_ANSWER : IDEMPOTENCY_DIFFERENT;
		reply.text = sv(pg_answer_text(a, 0, 1));
		idempotent_call_finish(o, &reply);
	} else if (o->is_ended) { /* the key was taken, and has expired since */
		reply.rc = -EAGAIN;
		idempotent_call_finish(o, &reply);
	} else {
		reply.result = IDEMPOTENCY_FIRST;
		o->first.done(o->first.ctx, o, &reply);
	}
}

static void idempotent_call_look_up(struct idempotent_call *o)
{
	const char *values[] = { o->app, o->key, o->digest };
	struct pg_call call = { .statement = &find_statement, .n = 3, .values = values };

	pg_pool_call(o->table->pool, &call, on_key_found, o);
}

static void idempotent_call_wait_locked(struct idempotent_call *o, idempotency_done *done,
					void *ctx) NEEDS_LOCK(keys_held)
{
	struct key_waiter *w = xmalloc(sizeof(*w));

	*w = (struct key_waiter){ o->waiters, done, ctx };
	o->waiters = w;
}

void idempotency_begin(struct idempotency *t, const struct idempotency_key *key,
		       idempotency_done *done, void *ctx)
{
	struct idempotent_call *mine = idempotent_call_new(t, key), *other;
	bool is_same;

	mine->first = (struct key_waiter){ NULL, done, ctx };
	keys_lock(t);
	other = map_get(&t->keys, mine->id);
	is_same = other && strcmp(other->digest, mine->digest) == 0;
	if (!other)
		map_put(&t->keys, mine->id, mine);
	else if (is_same)
		idempotent_call_wait_locked(other, done, ctx);
	keys_unlock(t);
	if (!other) {
		idempotent_call_look_up(mine);
		return;
	}
	if (!is_same)
		done(ctx, NULL, &(struct idempotency_reply){ .result = IDEMPOTENCY_DIFFERENT });
	free(mine);
}

void idempotency_end(struct idempotent_call *o, int rc, struct str_view answer)
{
	struct idempotency_reply reply = { .result = IDEMPOTENCY_ANSWER, .text = answer };

	if (rc == -EEXIST) {
		o->is_ended = true;
		idempotent_call_look_up(o);
		return;
	}
	if (rc)
		reply = (struct idempotency_reply){ .result = IDEMPOTENCY_FAILED, .rc = rc };
	idempotent_call_finish(o, &reply);
}
