/* SPDX-License-Identifier: MIT */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H
/*
 * Two clocks, both in microseconds: one that only goes forward, for timeouts, and
 * the wall, for what people and databases read.
 */
#include <stddef.h>
#include <stdint.h>

typedef int64_t usec_t;
#define USEC_PER_MSEC ((usec_t)1000)
#define USEC_PER_SEC  ((usec_t)1000000)

/* Monotonic time in µs; any thread. */
usec_t clock_mono(void);
/*
 * For tests: from now on clock_mono() returns what mono returns; NULL: the machine's clock again.
 * Before other threads run.
 */
void clock_set_source(usec_t (*mono)(void));
/* Microseconds since 1970-01-01 UTC; any thread. */
usec_t clock_wall(void);
/* Writes "YYYY-MM-DDThh:mm:ss.mmmZ" (RFC 3339) and its NUL; returns out. */
#define CLOCK_ISO_SIZE 25
char *clock_iso(usec_t wall, char out[CLOCK_ISO_SIZE]);
#endif
