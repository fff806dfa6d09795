/* SPDX-License-Identifier: MIT */
/*
 * Pauses between attempts: each is twice as long as the one before, up to a maximum.  No lock; one
 * thread.
 */
#include "base/backoff.h"

void backoff_init(struct backoff *b, unsigned min_ms, unsigned max_ms)
{
	if (min_ms > max_ms)
		min_ms = max_ms;
	*b = (struct backoff){ .min_ms = min_ms, .max_ms = max_ms, .next_ms = min_ms };
}

unsigned backoff_next(struct backoff *b)
{
	unsigned ms = b->next_ms;

	b->next_ms = ms > b->max_ms / 2 ? b->max_ms : 2 * ms;
	return ms;
}

void backoff_reset(struct backoff *b)
{
	b->next_ms = b->min_ms;
}
