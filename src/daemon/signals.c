/* SPDX-License-Identifier: MIT */
/*
 * The signals of the daemon, read from one descriptor by the main thread: SIGTERM and SIGINT stop,
 * SIGHUP reloads, SIGCHLD reports that the embedded PostgreSQL has ended.
 */
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "daemon/embedded_pg.h"
#include "daemon/privs.h"
#include "daemon/service_manager.h"

int start_signals(struct scopewired *d)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	d->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	d->open_files = privs_raise_open_files();
	return d->signals < 0 ? give_up(EX_OSERR, xstrdup("signalfd failed")) : EX_OK;
}

void stop_signals(struct scopewired *d)
{
	if (d->signals >= 0)
		close(d->signals);
}

RUNS_ON(on_main) static void signals_reload(struct scopewired *d)
{
	service_manager_reloading();
	reload_conf(d);
	service_manager_ready();
}

/* True when a signal requests to stop. */
RUNS_ON(on_main) static bool signals_read(struct scopewired *d)
{
	struct signalfd_siginfo si;
	bool stop = false;

	while (read(d->signals, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGHUP && d->is_serving)
			signals_reload(d);
		else if (si.ssi_signo == SIGHUP)
			d->is_reload_due = true;
		else if (si.ssi_signo == SIGCHLD && d->postgres)
			embedded_pg_tend(d->postgres);
		else if (si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT)
			stop = true;
	}
	return stop;
}

bool signals_wait(struct scopewired *d, int ms)
{
	struct pollfd p = { .fd = d->signals, .events = POLLIN };

	return poll(&p, 1, ms) > 0 && signals_read(d);
}

bool is_stop_requested(void *ctx, int ms)
{
	struct scopewired *d = ctx;

	if (!d->is_done && signals_wait(d, ms)) {
		log_info("stopping before the start was complete");
		d->is_done = true;
	}
	return d->is_done;
}
