/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_CLOCK_H
#define TESTS_UNIT_CLOCK_H
/* A monotonic clock that only the test moves: by unit_now. */
#include "base/clock.h"

static usec_t unit_now;

static inline usec_t unit_clock_read(void)
{
	return unit_now;
}

/* clock_mono() is at from now on, and moves with unit_now. */
static inline void unit_clock_begin(usec_t at)
{
	unit_now = at;
	clock_set_source(unit_clock_read);
}

static inline void unit_clock_end(void)
{
	clock_set_source(NULL);
}
#endif
