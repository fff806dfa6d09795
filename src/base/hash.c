/* SPDX-License-Identifier: MIT */
/* The key is written once, before its first use; afterwards it is only read. */
#include <pthread.h>
#include <string.h>
#include "base/annotate.h"
#include "base/hash.h"
#include "base/random.h"

#define ROUNDS_OF_WORD 1
#define ROUNDS_AT_END  3

static uint64_t hash_key[2];
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static inline uint64_t hash_rotate(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

static ALWAYS_INLINE void hash_rounds(uint64_t v[4], unsigned n)
{
	while (n--) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = hash_rotate(v[1], 13) ^ v[0];
		v[3] = hash_rotate(v[3], 16) ^ v[2];
		v[0] = hash_rotate(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = hash_rotate(v[1], 17) ^ v[2];
		v[3] = hash_rotate(v[3], 21) ^ v[0];
		v[2] = hash_rotate(v[2], 32);
	}
}

/* The number in n <= 8 bytes at p, the first one lowest; n is a constant where it is used. */
static ALWAYS_INLINE uint64_t hash_little_endian(const char *p, size_t n)
{
	uint64_t word = 0;

	memcpy(&word, p, n);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

/* The n < 8 bytes at p, the first one lowest. */
static ALWAYS_INLINE uint64_t hash_tail(const char *p, size_t n)
{
	const unsigned char *u = (const unsigned char *)p;
	uint64_t word = 0;

	if (n >= 4)
		return hash_little_endian(p, 4) | hash_little_endian(p + n - 4, 4) << 8 * (n - 4);
	if (n) /* bytes 0, the middle and the last, which may be the same */
		word = u[0] | (uint64_t)u[n / 2] << 8 * (n / 2) | (uint64_t)u[n - 1] << 8 * (n - 1);
	return word;
}

uint64_t hash_with_key(const uint64_t key[2], struct str_view s)
{
	uint64_t v[4] = { key[0] ^ UINT64_C(0x736f6d6570736575),
			  key[1] ^ UINT64_C(0x646f72616e646f6d),
			  key[0] ^ UINT64_C(0x6c7967656e657261),
			  key[1] ^ UINT64_C(0x7465646279746573) };
	uint64_t last = (uint64_t)s.len << 56;
	size_t words = s.len / 8;

	for (size_t i = 0; i < words; i++) {
		uint64_t word = hash_little_endian(s.ptr + 8 * i, 8);

		v[3] ^= word;
		hash_rounds(v, ROUNDS_OF_WORD);
		v[0] ^= word;
	}
	last |= hash_tail(s.ptr + 8 * words, s.len % 8);
	v[3] ^= last;
	hash_rounds(v, ROUNDS_OF_WORD);
	v[0] ^= last;
	v[2] ^= 0xff;
	hash_rounds(v, ROUNDS_AT_END);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void hash_make_key(void)
{
	random_bytes(hash_key, sizeof(hash_key));
}

uint64_t hash_bytes(struct str_view s)
{
	pthread_once(&hash_once, hash_make_key);
	return hash_with_key(hash_key, s);
}
