/* SPDX-License-Identifier: MIT */
/*
 * The word holds the time at which the bucket will be empty again.  A request moves it by its
 * share of the window, and is refused when the result is more than a window ahead of now.
 */
#include "base/annotate.h"
#include "core/limit.h"

static bool limit_next_word(uint64_t word, unsigned rate, usec_t window_us, unsigned n, usec_t now,
			    uint64_t *next)
{
	uint64_t start = word > (uint64_t)now ? word : (uint64_t)now;

	*next = start + (uint64_t)window_us * n / rate;
	return *next <= (uint64_t)(now + window_us);
}

bool limit_take(uint64_t *word, unsigned rate, usec_t window_us, unsigned n, usec_t now)
{
	uint64_t next;

	if (!rate)
		return true;
	if (!limit_next_word(*word, rate, window_us, n, now, &next))
		return false;
	*word = next;
	return true;
}

bool limit_take_shared(_Atomic uint64_t *word, unsigned rate, usec_t window_us, unsigned n,
		       usec_t now)
{
	uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);
	uint64_t next;

	if (!rate)
		return true;
	do {
		if (!limit_next_word(seen, rate, window_us, n, now, &next))
			return false;
	} while (!atomic_compare_exchange_weak_explicit(word, &seen, next, memory_order_relaxed,
							memory_order_relaxed));
	return true;
}
