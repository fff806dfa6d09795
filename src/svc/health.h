/* SPDX-License-Identifier: MIT */
#ifndef SVC_HEALTH_H
#define SVC_HEALTH_H
/*
 * Whether the daemon can do its work, for a load balancer that requests /ready.  The reasons are in
 * the log only: one line when a check fails, and one when all pass again.
 *
 * Each check is set by one thread.  Reading is one atomic load, on any thread.
 */
#include <stdbool.h>
#include "base/annotate.h"

struct health;

enum health_check {
	HEALTH_DATABASE, /* it answers, and this daemon is the one that uses it */
	HEALTH_LOCKS,	 /* no other session holds the log's locks */
	HEALTH_LOG,	 /* what is published is committed */
	HEALTH_STOP,	 /* the daemon is not about to stop */
};

/* All checks pass, but the database is not known yet. */
struct health *health_new(void) MUSTCHECK;
void health_free(struct health *h); /* NULL is fine */
/* why: one line, for the log; NULL: the check passes. */
void health_set(struct health *h, enum health_check check, const char *why);
bool health_is_ready(const struct health *h);
#define HEALTH_CHECKS (HEALTH_STOP + 1)
bool health_passes(const struct health *h, enum health_check check);
const char *health_check_name(enum health_check check); /* static */
#endif
