/* SPDX-License-Identifier: MIT */
#ifndef TESTS_WAIT_H
#define TESTS_WAIT_H
/* Waiting for what another thread does: it is looked for again and again, up to a deadline. */
#include <check.h>
#include <poll.h>
#include "base/clock.h"

#define WAIT_US (60 * USEC_PER_SEC)

#define WAIT_UNTIL(condition)                                                                      \
	do {                                                                                       \
		usec_t end_ = clock_mono() + WAIT_US;                                              \
		while (!(condition)) {                                                             \
			ck_assert_msg(clock_mono() < end_, "never: %s", #condition);               \
			poll(NULL, 0, 1);                                                          \
		}                                                                                  \
	} while (0)
#endif
