/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_GUARD_H
#define DAEMON_GUARD_H
/*
 * The daemon's right to use its database: one thread, with one session that represents the
 * daemon as long as it runs (sql/migrations/0020_daemon.sql).
 *
 * It connects, waits for the end of another daemon on this database, migrates the schema, takes the
 * database over, and opens the gate (pg/gate.h) to all other connections.  From then on it
 * checks every second that the database answers and that no other session holds the log's
 * locks.  A session that is lost is replaced; if another daemon has taken the database meanwhile,
 * this one has to end.
 *
 * As a node of a cluster (sql/migrations/0029_nodes.sql) it waits only for a daemon that is alone
 * and for a node of the same name, registers, and renews its lease.
 */
#include "base/annotate.h"
#include "bus/bus.h"
#include "conf/conf.h"
#include "svc/health.h"

struct guard;

enum guard_state {
	GUARD_STARTS, /* nothing is known yet */
	GUARD_AWAY,  /* the last attempt failed; it tries again when the database is not required */
	GUARD_HOLDS, /* has the database; or, with migrate_only, the schema is up to date */
	GUARD_ENDS,  /* the daemon has to end */
};

/* Closes the gate.  conf, health and bus outlive it; strings are copied.  0 or -errno. */
int guard_start(const struct conf *conf, const char *conninfo, struct health *health,
		struct bus *bus, struct guard **out) MUSTCHECK;
/* NULL is fine.  Last, when no other connection is open.  False: its thread has not ended, and
 * still uses the bus. */
bool guard_stop(struct guard *g) MUSTCHECK;

/* Readable after a change of the state. */
int guard_fd(const struct guard *g);
/*
 * For GUARD_AWAY and GUARD_ENDS: *status is an exit status (sysexits.h), *why (heap) the reason.
 * Both are for main to log, until guard_go_on().
 */
enum guard_state guard_state(struct guard *g, int *status, char **why) RUNS_ON(on_main);
/* The daemon serves: from now on the guard logs by itself why it cannot have the database. */
void guard_go_on(struct guard *g);
/* Logs what it has been waiting for since a second, and again each minute.  Often. */
void guard_report(struct guard *g) RUNS_ON(on_main);
#endif
