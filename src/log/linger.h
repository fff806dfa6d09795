/* SPDX-License-Identifier: MIT */
#ifndef LOG_LINGER_H
#define LOG_LINGER_H
/*
 * How long the db writer waits, after a commit, for the clients whom it has just answered.
 *
 * Clients that each wait for their commit fall into two groups that take turns: one's events
 * gather while the other's are committed, and each commit carries a part of what it could.  As
 * many batches as were under way when a commit returned are likely to come again; the writer waits
 * for them for half the time that the commit took.  Where they do not come (their senders do not
 * wait for answers, or are slow) it tries this ever more seldom.  Of the writer's thread.
 */
#include <stdbool.h>
#include "base/clock.h"

struct log_linger {
	unsigned crowd;	 /* batches under way when the last commit returned */
	usec_t took;	 /* that commit */
	unsigned pauses; /* commits without waiting after the last vain one; 0: it was not vain */
	unsigned paused; /* of them still to come */
};

/* A commit returned.  crowd: batches that it held or that waited behind it for theirs. */
void log_linger_commit(struct log_linger *g, unsigned crowd, usec_t took);
/*
 * How long to wait for *missing batches more when so many are here; 0: not at all.  Not longer
 * than most; and as long as that where busy.
 */
usec_t log_linger_wait(struct log_linger *g, unsigned here, usec_t most, bool busy,
		       unsigned *missing);
/* What the wait brought. */
void log_linger_done(struct log_linger *g, unsigned missing, unsigned came);
#endif
