/* SPDX-License-Identifier: MIT */
/*
 * Open addressing with linear probing; deletion moves later entries back, so there are no marks of
 * deleted ones.  Hashes are SipHash with a secret key (base/hash.h).  Not locked: the caller's
 * thread or lock.
 */
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"

#define CAP_MIN 2 /* most connections have one subscription */

struct map_slot {
	struct str_view key;
	void *value; /* NULL: free */
	uint64_t hash;
};

void map_init(struct map *m)
{
	*m = (struct map){ 0 };
}

void map_release(struct map *m)
{
	free(m->slots);
	m->slots = NULL;
	m->cap = m->used = 0;
}

/* Where key is, or the free slot where it would go; cap must not be 0. */
static size_t map_find_slot(const struct map *m, struct str_view key, uint64_t hash)
{
	size_t i = hash & (m->cap - 1);

	while (m->slots[i].value && !(m->slots[i].hash == hash && sv_eq(m->slots[i].key, key)))
		i = (i + 1) & (m->cap - 1);
	return i;
}

static void map_resize(struct map *m, size_t cap)
{
	struct map_slot *old = m->slots;
	size_t old_cap = m->cap;

	m->slots = xcalloc(cap, sizeof(*m->slots));
	m->cap = cap;
	for (size_t i = 0; i < old_cap; i++)
		if (old[i].value)
			m->slots[map_find_slot(m, old[i].key, old[i].hash)] = old[i];
	free(old);
}

void *map_get(const struct map *m, struct str_view key)
{
	return m->used ? map_find(m, key, hash_bytes(key)) : NULL;
}

void *map_find(const struct map *m, struct str_view key, uint64_t hash)
{
	return m->used ? m->slots[map_find_slot(m, key, hash)].value : NULL;
}

void *map_put(struct map *m, struct str_view key, void *value)
{
	uint64_t hash = hash_bytes(key);
	struct map_slot *s;
	void *old;

	if (m->used + 1 > m->cap * 3 / 4)
		map_resize(m, m->cap ? m->cap * 2 : CAP_MIN);
	s = &m->slots[map_find_slot(m, key, hash)];
	old = s->value;
	if (!old)
		m->used++;
	*s = (struct map_slot){ key, value, hash };
	return old;
}

/* Closes the gap at hole by moving back entries that probed past it. */
static void map_close_gap(struct map *m, size_t hole)
{
	size_t mask = m->cap - 1;
	size_t i = hole;

	for (;;) {
		size_t home;

		i = (i + 1) & mask;
		if (!m->slots[i].value)
			break;
		home = m->slots[i].hash & mask;
		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		m->slots[hole] = m->slots[i];
		hole = i;
	}
	m->slots[hole].value = NULL;
}

void *map_del(struct map *m, struct str_view key)
{
	size_t i;
	void *value;

	if (!m->used)
		return NULL;
	i = map_find_slot(m, key, hash_bytes(key));
	value = m->slots[i].value;
	if (!value)
		return NULL;
	map_close_gap(m, i);
	m->used--;
	if (m->cap > 64 && m->used < m->cap / 8)
		map_resize(m, m->cap / 2);
	return value;
}

void *map_next(const struct map *m, size_t *at)
{
	while (*at < m->cap) {
		void *value = m->slots[(*at)++].value;

		if (value)
			return value;
	}
	return NULL;
}
