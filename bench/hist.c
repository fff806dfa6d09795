/* SPDX-License-Identifier: MIT */
/* A histogram of durations with buckets of less than 1 % width. */
#include "hist.h"

/* Below HIST_SUB one bucket a nanosecond, then HIST_SUB to each doubling. */
static unsigned bucket_of(uint64_t ns)
{
	unsigned shift = 0;
	unsigned index;

	while (ns >> shift >= 2 * HIST_SUB)
		shift++;
	index = shift * HIST_SUB + (unsigned)(ns >> shift);
	return index < HIST_BUCKETS ? index : HIST_BUCKETS - 1;
}

static uint64_t upper_end(unsigned index)
{
	unsigned shift = index < 2 * HIST_SUB ? 0 : index / HIST_SUB - 1;

	return ((uint64_t)(index - shift * HIST_SUB + 1) << shift) - 1;
}

void hist_add(struct hist *h, uint64_t ns)
{
	h->bucket[bucket_of(ns)]++;
	h->count++;
	if (ns > h->max_ns)
		h->max_ns = ns;
}

double hist_ms(const struct hist *h, double percent)
{
	uint64_t want = (uint64_t)((double)h->count * percent / 100.0 + 0.999999);
	uint64_t seen = 0;
	unsigned i;

	for (i = 0; i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= want && seen > 0)
			break;
	}
	if (i == HIST_BUCKETS || upper_end(i) > h->max_ns)
		return (double)h->max_ns / 1e6;
	return (double)upper_end(i) / 1e6;
}
