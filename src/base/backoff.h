/* SPDX-License-Identifier: MIT */
#ifndef BASE_BACKOFF_H
#define BASE_BACKOFF_H
/* Pauses between attempts that double up to a maximum.  For one thread. */

struct backoff {
	unsigned min_ms, max_ms, next_ms;
};

void backoff_init(struct backoff *b, unsigned min_ms, unsigned max_ms);
/* The pause after this failure, in ms: min_ms at first. */
unsigned backoff_next(struct backoff *b);
/* After a success. */
void backoff_reset(struct backoff *b);
#endif
