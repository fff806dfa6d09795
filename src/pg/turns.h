/* SPDX-License-Identifier: MIT */
#ifndef PG_TURNS_H
#define PG_TURNS_H
/*
 * Jobs that wait for a connection of a pool, and which of them is next.
 *
 * A lane is a queue: the jobs of one owner that can wait for a lock, or the others.  Applications
 * take turns, and within an application its lanes.  Each has a limit of jobs on connections at the
 * same time, so that no user, no application, and no lock occupies all connections:
 *
 *     of N connections             at most
 *     one lane of a user           N / 4, at least 1
 *     one application              N - 1
 *     one application, with locks  N / 2
 *     all applications, with locks N - 1
 *
 * With one connection each limit is 1.  Jobs of the daemon itself have no limit.  A job is put and
 * taken in constant time, but for lanes and applications at their limit, which are passed over.
 * One thread.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/user_id.h"

/* On whose behalf a statement runs. */
struct pg_owner {
	uint64_t app;	      /* its runtime's number; 0: the daemon itself */
	struct user_key user; /* none: the application's server */
};

struct turn_app;
struct turn_lane;

/* The first member of a job. */
struct turn {
	struct turn *next;
	struct turn_lane *lane;
};

struct turns {
	unsigned most_of_user, most_of_app, most_locks_of_app, most_locks;
	unsigned n_locks; /* on connections, of all applications */
	unsigned n_waiting;
	struct turn_app *ring; /* the applications with lanes, the next one first; NULL: none */
	struct map apps, lanes;
};

void turns_init(struct turns *t, unsigned connections);
/* All jobs were taken and ended. */
void turns_release(struct turns *t);

/* The job waits after those of its lane. */
void turns_put(struct turns *t, struct turn *job, struct pg_owner owner, bool locks);
/* A job that was taken waits again: first of its lane, or after the others. */
void turns_put_back(struct turns *t, struct turn *job, bool first);
/* The next job, which is on a connection from now on; NULL: none may be. */
struct turn *turns_take(struct turns *t) MUSTCHECK;
/* A job that was taken is not on a connection any more; the caller frees it. */
void turns_end(struct turns *t, struct turn *job);
/*
 * Removes jobs that wait, each lane's from its first on while is_due, and calls end for each, which
 * frees it.  is_due NULL: all.
 */
void turns_expire(struct turns *t, bool (*is_due)(const struct turn *job, usec_t now),
		  void (*end)(struct turn *job, int rc), int rc);
#endif
