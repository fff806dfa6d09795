/* SPDX-License-Identifier: MIT */
#ifndef BASE_WAKE_H
#define BASE_WAKE_H
/*
 * Wakes a thread that waits in poll(2).  Signals that come before the thread drains count as one.
 * The state that the thread then reads (a queue, a flag) is set before the signal.
 */
#include <stdbool.h>
#include "base/annotate.h"

struct wake {
	int fd_plus_1; /* 0: none; see wake_fd() */
};

/* 0 or -errno (no file descriptor is left). */
int wake_init(struct wake *w) MUSTCHECK;
void wake_release(struct wake *w); /* a zeroed or released wake is fine */
/* Becomes readable at a signal and stays so until wake_drain(). */
int wake_fd(const struct wake *w);
/* Any thread; never blocks. */
void wake_signal(struct wake *w);
/* Only the thread that waits. */
void wake_drain(struct wake *w);
/* Waits for a signal, at most ms (-1: without end), and drains it.  False: none came. */
bool wake_wait(struct wake *w, int ms);
#endif
