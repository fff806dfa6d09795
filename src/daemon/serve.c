/* SPDX-License-Identifier: MIT */
/*
 * The main thread's loop while the daemon serves clients: signals, the directory's slow clock, and
 * the checks that an operator sees at /ready.
 */
#include <sysexits.h>
#include "base/log.h"
#include "base/log_gate.h"
#include "base/mem.h"
#include "base/thread.h"
#include "conf/conf.h"
#include "core/channels/users.h"
#include "log/writer.h"
#include "svc/grants.h"
#include "svc/health.h"
#include "ws/worker.h"
#include "daemon/daemon.h"
#include "daemon/embedded_pg.h"
#include "daemon/guard.h"
#include "daemon/service_manager.h"

#define TICK_MS	     250
#define LOG_STUCK_US (5 * USEC_PER_SEC)

/*
 * The log is stuck while events wait and nothing is committed.  Publishers that were refused go
 * away, so that is not forgotten at once.
 */
RUNS_ON(on_main) static void serve_check_log(struct scopewired *d)
{
	struct log_writer_stats stats;
	usec_t now = clock_mono();
	bool is_late;

	log_writer_stats(d->log, &stats);
	if (stats.commits != d->log_commits || (!stats.queued_events && now >= d->log_stuck_until))
		d->log_since = now;
	d->log_commits = stats.commits;
	is_late = now - d->log_since >= d->conf->database.commit_timeout_ms * USEC_PER_MSEC / 2;
	if (is_late && stats.queued_events)
		d->log_stuck_until = now + LOG_STUCK_US;
	health_set(d->health, HEALTH_LOG,
		   is_late ? "the log is stuck: events wait, and nothing is committed" : NULL);
}

/* True, with the exit status logged and kept, when the database belongs to another daemon now. */
RUNS_ON(on_main) static bool serve_is_replaced(struct scopewired *d)
{
	char *why = NULL;
	int status;

	if (guard_state(d->guard, &status, &why) == GUARD_ENDS)
		d->status = give_up(status, why);
	else
		free(why);
	return d->status != EX_OK;
}

static void serve_turn(struct scopewired *d) RUNS_ON(on_main)
{
	guard_report(d->guard);
	serve_check_log(d);
	update_log_position(d);
	users_tick(d->directory, clock_mono());
	grants_tick(d->grants, clock_mono());
	log_gates_flush(clock_mono());
	service_manager_watchdog(clock_mono(), workers_turned_at(d->workers));
	if (d->postgres)
		embedded_pg_tend(d->postgres);
}

void serve_until_signal(struct scopewired *d)
{
	if (d->is_reload_due)
		reload_conf(d);
	while (!signals_wait(d, TICK_MS) && !serve_is_replaced(d))
		serve_turn(d);
}

void serve_until_noticed(struct scopewired *d)
{
	unsigned ms = d->conf->server.drain_wait_ms;
	usec_t until = clock_mono() + ms * USEC_PER_MSEC;

	if (!ms || d->status != EX_OK)
		return;
	log_info("stopping: /ready answers 503; clients are served for %u ms more", ms);
	while (clock_mono() < until && !signals_wait(d, TICK_MS) && !serve_is_replaced(d))
		serve_turn(d);
}
