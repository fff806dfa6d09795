/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_EMBEDDED_PG_H
#define DAEMON_EMBEDDED_PG_H
/*
 * A private PostgreSQL cluster in a folder, run as our child: made once with initdb, reached by
 * a unix socket only, never run as root, restarted when it ends, stopped cleanly at exit.  All
 * functions are for the main thread: the child ends with the thread that started it.
 */
#include <stdbool.h>
#include "base/thread.h"

struct embedded_pg;

struct embedded_pg_conf {
	const char *dir;
	/* Waits for at most ms; true when the start is to be given up. */
	bool (*is_stopped)(void *ctx, int ms);
	void *ctx;
};
/*
 * Makes or finds the cluster in conf->dir, starts it and waits until it answers.  0 with *conninfo
 * (heap; role and database scopewire); -ECANCELED when is_stopped() has returned true; or -errno
 * with a sentence in *why (heap).
 */
int embedded_pg_start(const struct embedded_pg_conf *conf, struct embedded_pg **out,
		      char **conninfo, char **why) MUSTCHECK RUNS_ON(on_main);
/* Restarts the child, after a pause that grows, when it has ended.  Cheap. */
void embedded_pg_tend(struct embedded_pg *pg) RUNS_ON(on_main);
/* Fast shutdown, waits for it; NULL is fine. */
void embedded_pg_stop(struct embedded_pg *pg) RUNS_ON(on_main);
#endif
