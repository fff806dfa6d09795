/* SPDX-License-Identifier: MIT */
#ifndef CORE_LIMIT_H
#define CORE_LIMIT_H
/*
 * Token bucket in one 64-bit word (the theoretical arrival time of GCRA, in µs), so that it
 * can sit in an atomic shared by threads or in a session.  A rate of 0 is no limit.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"

/* Takes n of rate per window_us, bursts up to rate.  False: over the limit, nothing taken. */
bool limit_take(uint64_t *word, unsigned rate, usec_t window_us, unsigned n, usec_t now);
bool limit_take_shared(_Atomic uint64_t *word, unsigned rate, usec_t window_us, unsigned n,
		       usec_t now);
#endif
