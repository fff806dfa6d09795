/* SPDX-License-Identifier: MIT */
#ifndef LOG_DRAINER_H
#define LOG_DRAINER_H
/*
 * The db listener: one thread and connection that gives serials to what SQL published (drains the
 * pending rows) and hands on what this process has not committed itself.  It waits for NOTIFY,
 * and looks every database.sql_fallback_ms in any case; while much is published it polls, and says
 * so by an advisory lock, so that nobody notifies.  Never in a transaction while idle.
 */
#include "base/annotate.h"
#include "conf/conf.h"
#include "log/tail.h"

struct relay;

/* Connects in its own thread and keeps trying.  conf and tail must outlive it. */
int relay_start(const struct conf *conf, const char *conninfo, struct log_tail *tail,
		struct relay **out) MUSTCHECK;
/*
 * Waits until all that was in the log at the start was handed on, at most so long, and not
 * for a database that is away: what an earlier process left goes before anybody is connected.
 * False when it was not reached.
 */
bool relay_wait(struct relay *r, unsigned ms);
void relay_stop(struct relay *r); /* NULL is fine */
#endif
