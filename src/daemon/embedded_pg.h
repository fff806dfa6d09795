/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_EMBEDDED_PG_H
#define DAEMON_EMBEDDED_PG_H
/*
 * A private PostgreSQL cluster in a folder, run as our child: made once with initdb, reached by
 * a unix socket only, never run as root, restarted when it ends, stopped cleanly at exit.  All
 * functions are for the main thread: the child ends with the thread that started it.
 */
#include <stdbool.h>
#include "base/annotate.h"

struct embedded_pg;

/*
 * Makes or finds the cluster in dir, starts it and waits until it answers.  0 with *conninfo
 * (heap; role and database scopewire); -ECANCELED when is_stopped(ctx, ms), which waits so long,
 * has returned true; or -errno with a sentence in *why (heap).
 */
int embedded_pg_start(const char *dir, bool (*is_stopped)(void *ctx, int ms), void *ctx,
		      struct embedded_pg **out, char **conninfo, char **why) MUSTCHECK;
/* Restarts the child, after a pause that grows, when it has ended.  Cheap. */
void embedded_pg_tend(struct embedded_pg *pg);
/* Fast shutdown, waits for it; NULL is fine. */
void embedded_pg_stop(struct embedded_pg *pg);
#endif
