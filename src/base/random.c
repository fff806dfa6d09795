/* SPDX-License-Identifier: MIT */
/* Each thread has a pool.  What was taken is erased from it. */
#include <string.h>
#include <sys/random.h>
#include "base/random.h"

#define POOL_BYTES 1024

static void random_fill(unsigned char *to, size_t n)
{
	size_t got = 0;

	while (got < n) {
		ssize_t more = getrandom(to + got, n - got, 0);

		if (more > 0)
			got += (size_t)more;
	}
}

void random_bytes(void *out, size_t n)
{
	static _Thread_local unsigned char pool[POOL_BYTES];
	static _Thread_local size_t left;

	if (n > POOL_BYTES) {
		random_fill(out, n);
		return;
	}
	if (left < n) {
		random_fill(pool, POOL_BYTES);
		left = POOL_BYTES;
	}
	left -= n;
	memcpy(out, pool + left, n);
	explicit_bzero(pool + left, n);
}
