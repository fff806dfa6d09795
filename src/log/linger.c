/* SPDX-License-Identifier: MIT */
/*
 * How long the log writer waits: see the header for the reason.  After a wait that failed, so many
 * commits run without one, twice as many after each further failure, up to PAUSES_MAX.  The log
 * writer's thread only.
 */
#include "log/linger.h"

#define PAUSES_MAX 64

void log_linger_commit(struct log_linger *g, unsigned crowd, usec_t took)
{
	g->crowd = crowd;
	g->took = took;
}

usec_t log_linger_wait(struct log_linger *g, unsigned here, usec_t most, bool busy,
		       unsigned *missing)
{
	usec_t half = g->took / 2;

	if (here >= g->crowd)
		return 0;
	*missing = g->crowd - here;
	if (busy)
		return most;
	if (g->paused) {
		g->paused--;
		return 0;
	}
	return half < most ? half : most;
}

void log_linger_done(struct log_linger *g, unsigned missing, unsigned came)
{
	if (came >= missing / 2 + missing % 2)
		g->pauses = 0;
	else if (g->pauses < PAUSES_MAX)
		g->pauses = 2 * g->pauses + 1;
	g->paused = g->pauses;
}
