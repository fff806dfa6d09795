/* SPDX-License-Identifier: MIT */
/*
 * Each shard is a table with linear probing, at most 3/4 full.  The ids are made by this daemon, so
 * they are not chosen to collide.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include "base/mem.h"
#include "svc/sockets.h"
#include "wire/socket_id.h"

#define SHARDS 16

struct socket_slot {
	uint64_t id; /* 0: free; no connection has this id */
	uint64_t app;
	char *user; /* heap; NULL: not known; "": not an id that the sync API knows */
	enum user_proof { USER_CLAIMED, USER_MEMBER, USER_SIGNED_IN } proof;
};

/* For clang: this thread holds the lock of a shard. */
static struct TSA(capability("mutex")) sockets_held {
	char unused;
} sockets_held UNUSED;

struct socket_shard {
	pthread_mutex_t lock;
	struct socket_slot *slots OWNED_BY(sockets_held);
	size_t cap OWNED_BY(sockets_held); /* a power of two, or 0 */
	size_t used OWNED_BY(sockets_held);
};

struct sockets {
	struct socket_shard shards[SHARDS];
	_Atomic uint64_t nodes[SOCKETS_NODE_WORDS];
};

static void socket_shard_lock(struct socket_shard *sh) TSA(acquire_capability(sockets_held)) NO_TSA
{
	pthread_mutex_lock(&sh->lock);
}

static void socket_shard_unlock(struct socket_shard *sh)
	TSA(release_capability(sockets_held)) NO_TSA
{
	pthread_mutex_unlock(&sh->lock);
}

static uint64_t socket_hash(uint64_t id)
{
	return (id * UINT64_C(0x9e3779b97f4a7c15)) >> 16;
}

static struct socket_shard *socket_shard_of(struct sockets *s, uint64_t id)
{
	return &s->shards[socket_hash(id) % SHARDS];
}

static size_t socket_home_locked(const struct socket_shard *sh, uint64_t id)
	NEEDS_LOCK(sockets_held)
{
	return socket_hash(id) / SHARDS & (sh->cap - 1);
}

/* Where the id is, or the free slot where it would go; cap must not be 0. */
static size_t socket_find_locked(const struct socket_shard *sh, uint64_t id)
	NEEDS_LOCK(sockets_held)
{
	size_t i = socket_home_locked(sh, id);

	while (sh->slots[i].id && sh->slots[i].id != id)
		i = (i + 1) & (sh->cap - 1);
	return i;
}

static void socket_shard_grow_locked(struct socket_shard *sh) NEEDS_LOCK(sockets_held)
{
	struct socket_shard old = *sh;

	sh->cap = old.cap ? 2 * old.cap : 16;
	sh->slots = xcalloc(sh->cap, sizeof(*sh->slots));
	for (size_t i = 0; i < old.cap; i++)
		if (old.slots[i].id)
			sh->slots[socket_find_locked(sh, old.slots[i].id)] = old.slots[i];
	free(old.slots);
}

void sockets_add(struct sockets *s, uint64_t id, uint64_t app)
{
	struct socket_shard *sh = socket_shard_of(s, id);
	size_t i;

	socket_shard_lock(sh);
	if (sh->used + 1 > sh->cap / 4 * 3)
		socket_shard_grow_locked(sh);
	i = socket_find_locked(sh, id);
	sh->used += !sh->slots[i].id;
	free(sh->slots[i].user);
	sh->slots[i] = (struct socket_slot){ .id = id, .app = app };
	socket_shard_unlock(sh);
}

/* Moves later entries of the same run up, so that none is after a free slot. */
static void socket_shard_clear_locked(struct socket_shard *sh, size_t hole) NEEDS_LOCK(sockets_held)
{
	size_t mask = sh->cap - 1;

	for (size_t i = (hole + 1) & mask; sh->slots[i].id; i = (i + 1) & mask) {
		size_t home = socket_home_locked(sh, sh->slots[i].id);

		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		sh->slots[hole] = sh->slots[i];
		hole = i;
	}
	sh->slots[hole] = (struct socket_slot){ .id = 0 };
	sh->used--;
}

void sockets_remove(struct sockets *s, uint64_t id)
{
	struct socket_shard *sh = socket_shard_of(s, id);

	socket_shard_lock(sh);
	if (sh->cap) {
		size_t i = socket_find_locked(sh, id);

		if (sh->slots[i].id) {
			free(sh->slots[i].user);
			socket_shard_clear_locked(sh, i);
		}
	}
	socket_shard_unlock(sh);
}

/* The stronger proof counts; of two that are equal, the first. */
static void socket_set_user(struct socket_slot *slot, const char *user, enum user_proof proof)
{
	if (slot->user && slot->proof >= proof)
		return;
	free(slot->user);
	slot->user = xstrdup(user);
	slot->proof = proof;
}

/* The socket's slot, NULL when it is not open. */
static struct socket_slot *socket_get_locked(const struct socket_shard *sh, uint64_t id)
	NEEDS_LOCK(sockets_held)
{
	struct socket_slot *slot = sh->cap && id ? &sh->slots[socket_find_locked(sh, id)] : NULL;

	return slot && slot->id == id ? slot : NULL;
}

void sockets_identify(struct sockets *s, uint64_t id, struct str_view user_id, bool is_signin)
{
	struct socket_shard *sh = socket_shard_of(s, id);
	struct socket_slot *slot;
	char user[USER_ID_SIZE];

	if (!user_id_read(user_id, user))
		user[0] = '\0';
	socket_shard_lock(sh);
	slot = socket_get_locked(sh, id);
	if (slot)
		socket_set_user(slot, user, is_signin ? USER_SIGNED_IN : USER_MEMBER);
	socket_shard_unlock(sh);
}

void sockets_claim(struct sockets *s, uint64_t id, uint64_t app, const char *user_id)
{
	struct socket_shard *sh = socket_shard_of(s, id);
	struct socket_slot *slot;

	socket_shard_lock(sh);
	slot = socket_get_locked(sh, id);
	if (slot && slot->app == app)
		socket_set_user(slot, user_id, USER_CLAIMED);
	socket_shard_unlock(sh);
}

bool sockets_user(struct sockets *s, uint64_t id, char out[USER_ID_SIZE])
{
	struct socket_shard *sh = socket_shard_of(s, id);
	const struct socket_slot *slot;

	socket_shard_lock(sh);
	slot = socket_get_locked(sh, id);
	str_copy(out, USER_ID_SIZE, sv(slot && slot->user ? slot->user : ""));
	socket_shard_unlock(sh);
	return *out;
}

bool sockets_is_of(struct sockets *s, uint64_t id, const char *user_id)
{
	char user[USER_ID_SIZE];

	return sockets_user(s, id, user) && strcmp(user, user_id) == 0;
}

bool sockets_has(struct sockets *s, uint64_t id, uint64_t app)
{
	struct socket_shard *sh = socket_shard_of(s, id);
	const struct socket_slot *slot;
	bool has;

	socket_shard_lock(sh);
	slot = socket_get_locked(sh, id);
	has = slot && slot->app == app;
	socket_shard_unlock(sh);
	return has;
}

bool sockets_is_open(struct sockets *s, uint64_t id)
{
	struct socket_shard *sh = socket_shard_of(s, id);
	bool is;

	socket_shard_lock(sh);
	is = socket_get_locked(sh, id) != NULL;
	socket_shard_unlock(sh);
	return is;
}

bool sockets_is_elsewhere(const struct sockets *s, uint64_t id)
{
	unsigned node = socket_id_node(id);

	return node / 64 < SOCKETS_NODE_WORDS && atomic_load(&s->nodes[node / 64]) >> node % 64 & 1;
}

bool sockets_set_nodes(struct sockets *s, const uint64_t bits[SOCKETS_NODE_WORDS])
{
	bool has_ended = false;

	for (size_t i = 0; i < SOCKETS_NODE_WORDS; i++)
		has_ended |= (atomic_exchange(&s->nodes[i], bits[i]) & ~bits[i]) != 0;
	return has_ended;
}

struct sockets *sockets_new(void)
{
	struct sockets *s = xcalloc(1, sizeof(*s));

	for (size_t i = 0; i < SHARDS; i++)
		pthread_mutex_init(&s->shards[i].lock, NULL);
	return s;
}

void sockets_free(struct sockets *s) NO_TSA /* no other thread has it any more */
{
	if (!s)
		return;
	for (size_t i = 0; i < SHARDS; i++) {
		for (size_t at = 0; at < s->shards[i].cap; at++)
			free(s->shards[i].slots[at].user);
		free(s->shards[i].slots);
		pthread_mutex_destroy(&s->shards[i].lock);
	}
	free(s);
}
