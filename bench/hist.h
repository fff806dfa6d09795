/* SPDX-License-Identifier: MIT */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H
/*
 * Times, counted in buckets that are at most 1.6 % wide; the largest is kept exactly.
 */
#include <stdint.h>

#define HIST_SUB     64 /* buckets to each power of two */
#define HIST_BUCKETS (HIST_SUB * 48)

struct hist {
	uint64_t count;
	uint64_t max_ns;
	uint64_t bucket[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t ns);
/* The time that `percent` of all stayed at or under, in ms; 0 when there were none. */
double hist_ms(const struct hist *h, double percent);
#endif
