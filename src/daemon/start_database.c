/* SPDX-License-Identifier: MIT */
/*
 * Starts and stops what the other parts need of the database: the embedded PostgreSQL, and the
 * guard, which makes sure that this daemon is the only one with this database.
 */
#include <poll.h>
#include <sysexits.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "conf/conf.h"
#include "conf/conninfo.h"
#include "svc/health.h"
#include "daemon/daemon.h"
#include "daemon/embedded_pg.h"
#include "daemon/guard.h"

#define GUARD_POLL_MS 250

int start_postgres(struct scopewired *d)
{
	const struct embedded_pg_conf pc = { d->conf->embedded_postgres, is_stop_requested, d };
	char *why = NULL;

	if (!d->conf->embedded_postgres) {
		d->conninfo = conf_conninfo(d->conf);
		return EX_OK;
	}
	if (d->conf->server.user[0] && geteuid() == 0)
		return give_up(EX_CONFIG,
			       xstrdup("server.user cannot be used with --embedded-postgres: the "
				       "server belongs to another user and could not be stopped; "
				       "leave it empty, or start the daemon as that user"));
	if (embedded_pg_start(&pc, &d->postgres, &d->conninfo, &why) == 0)
		return EX_OK;
	if (!d->is_done)
		return give_up(EX_UNAVAILABLE, why);
	free(why);
	return EX_OK;
}

void stop_postgres(struct scopewired *d)
{
	embedded_pg_stop(d->postgres);
	free(d->conninfo);
}

/* Waits for a change of the guard's state, or a moment; true when a signal requests to stop. */
RUNS_ON(on_main) static bool database_wait_guard(struct scopewired *d)
{
	struct pollfd p[] = { { .fd = d->signals, .events = POLLIN },
			      { .fd = guard_fd(d->guard), .events = POLLIN } };

	poll(p, ARRAY_SIZE(p), GUARD_POLL_MS);
	guard_report(d->guard);
	if (d->postgres)
		embedded_pg_tend(d->postgres);
	return is_stop_requested(d, 0);
}

/*
 * A database that is only away does not hinder the start when it is not required.  A fault that an
 * operator has to repair does, and so does another daemon.
 */
static int database_check_guard(struct scopewired *d, enum guard_state state, int status, char *why)
{
	if (state == GUARD_AWAY && !d->conf->database.required && !d->conf->migrate_only &&
	    status == EX_UNAVAILABLE) {
		log_warn("starting without a database: %s", why);
		free(why);
		return EX_OK;
	}
	if (status == EX_UNAVAILABLE && state == GUARD_AWAY && d->conf->database_hint)
		log_error("%s", d->conf->database_hint);
	return give_up(status, why);
}

int make_bus(struct scopewired *d)
{
	d->bus = bus_new(d->conf, d->conninfo);
	return EX_OK;
}

void free_bus(struct scopewired *d)
{
	bus_free(d->bus);
}

int start_guard(struct scopewired *d)
{
	enum guard_state state;
	char *why = NULL;
	int status = EX_OK;

	d->health = health_new();
	if (guard_start(d->conf, d->conninfo, d->health, d->bus, &d->guard))
		return give_up(EX_OSERR, xstrdup("the guard of the database could not be started"));
	while ((state = guard_state(d->guard, &status, &why)) == GUARD_STARTS)
		if (database_wait_guard(d))
			return EX_OK;
	if (state != GUARD_HOLDS)
		status = database_check_guard(d, state, status, why);
	guard_go_on(d->guard);
	if (!status && d->conf->migrate_only) {
		puts("The schema is up to date.");
		d->is_done = true;
	}
	return status;
}

void stop_guard(struct scopewired *d)
{
	if (guard_stop(d->guard))
		health_free(d->health);
	else
		d->bus = NULL; /* the guard's thread has both until the process ends */
}

/* It sends nothing before the guard has registered this node. */
int start_bus(struct scopewired *d)
{
	if (bus_start(d->bus))
		return give_up(EX_OSERR, xstrdup("the bus of the cluster could not be started"));
	return EX_OK;
}

void stop_bus(struct scopewired *d)
{
	bus_stop(d->bus);
}
