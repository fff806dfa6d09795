/* SPDX-License-Identifier: MIT */
#ifndef BASE_HASH_H
#define BASE_HASH_H
/*
 * SipHash: a hash with a secret key, so that peers cannot choose names that collide.
 */
#include "base/str.h"

/* SipHash-1-3 with a key that is random once per process and never leaves it.  Any thread. */
uint64_t hash_bytes(struct str_view s);
/* The same with this key. */
uint64_t hash_with_key(const uint64_t key[2], struct str_view s);
#endif
