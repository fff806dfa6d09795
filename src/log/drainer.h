/* SPDX-License-Identifier: MIT */
#ifndef LOG_DRAINER_H
#define LOG_DRAINER_H
/*
 * The drainer: one thread and connection that gives serials to what SQL published (drains the
 * pending rows) and has the tail deliver what this process has not committed itself, which other
 * nodes may have.  It waits for NOTIFY, and polls every database.sql_fallback_ms in any case. While
 * much is published it polls all the time and holds an advisory lock, which makes publishers skip
 * NOTIFY.  It is never in a transaction while it waits.
 */
#include "base/annotate.h"
#include "bus/bus.h"
#include "conf/conf.h"
#include "log/tail.h"

struct drainer;

/*
 * bus wakes it when another node has committed events, and notifies the others when it has drained
 * some; NULL: there are no other nodes.  conf, conninfo, tail and bus outlive it.  0 or -errno.
 */
int drainer_start(const struct conf *conf, const char *conninfo, struct log_tail *tail,
		  struct bus *bus, struct drainer **out) MUSTCHECK;
/*
 * Waits, at most ms, until everything that was in the log at the start is delivered, so that what
 * an earlier process left is delivered before a client connects.  False when it is not, or the
 * database cannot be reached.
 */
bool drainer_wait(struct drainer *d, unsigned ms);
void drainer_stop(struct drainer *d); /* NULL is fine */
#endif
