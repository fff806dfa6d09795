/* SPDX-License-Identifier: MIT */
#ifndef BASE_MAP_H
#define BASE_MAP_H
/*
 * Hash map from bytes to pointers.  Keys live in the value (or elsewhere the caller
 * owns): the map keeps a view of them, so a key must outlive its entry.  Open
 * addressing, linear probing, at most 3/4 full; lookups O(1), also with keys that a peer
 * chose: the hash has a secret key (base/hash.h).  Not locked.
 */
#include "base/str.h"

struct map {
	struct map_slot *slots;
	size_t cap;  /* power of two, or 0 */
	size_t used; /* live entries */
};

void map_init(struct map *m);
void map_release(struct map *m); /* frees slots, not values */
void *map_get(const struct map *m, struct str_view key);
/* The same where the caller has hash_bytes(key) already. */
void *map_find(const struct map *m, struct str_view key, uint64_t hash);
/* Adds or replaces; returns the value it replaced, or NULL.  value must not be NULL. */
void *map_put(struct map *m, struct str_view key, void *value);
/* Takes the entry out; returns its value, or NULL. */
void *map_del(struct map *m, struct str_view key);
/* Walks entries: start with *at = 0; NULL at the end.  Do not add or delete meanwhile. */
void *map_next(const struct map *m, size_t *at);
#endif
