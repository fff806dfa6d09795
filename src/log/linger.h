/* SPDX-License-Identifier: MIT */
#ifndef LOG_LINGER_H
#define LOG_LINGER_H
/*
 * How long the log writer waits, after a commit, for the clients that it has just answered.
 *
 * Clients that each wait for their commit form two groups that alternate: the events of one gather
 * while those of the other are committed, and each commit carries half of what it could.  As many
 * batches as were under way when a commit returned are likely to come again; the writer waits for
 * them half the time that the commit took.  Where they do not come (their senders do not wait for
 * answers, or are slow) it waits ever more rarely.  The log writer's thread only.
 */
#include <stdbool.h>
#include "base/clock.h"

struct log_linger {
	unsigned crowd;	 /* batches under way when the last commit returned */
	usec_t took;	 /* that commit */
	unsigned pauses; /* commits without a wait after the last wait that failed; 0: it succeeded
			  */
	unsigned paused; /* how many of them are still to come */
};

/* A commit returned.  crowd: batches in it, and batches that were queued for the next. */
void log_linger_commit(struct log_linger *g, unsigned crowd, usec_t took);
/*
 * How long to wait for *missing more batches when so many are queued; 0: not at all.  At most
 * most, and exactly that when busy.
 */
usec_t log_linger_wait(struct log_linger *g, unsigned here, usec_t most, bool busy,
		       unsigned *missing);
/* How many of the missing batches came during the wait. */
void log_linger_done(struct log_linger *g, unsigned missing, unsigned came);
#endif
