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

/* True when a signal says to stop. */
static bool read_signals(struct scopewired *d)
{
	struct signalfd_siginfo si;
	bool stop = false;

	while (read(d->signals, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGHUP && d->apps_watch)
			reload(d);
		else if (si.ssi_signo == SIGCHLD && d->postgres)
			embedded_pg_tend(d->postgres);
		else if (si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT)
			stop = true;
	}
	return stop;
}

/* Waits at most ms; true when a signal says to stop. */
bool wait_signals(struct scopewired *d, int ms)
{
	struct pollfd p = { .fd = d->signals, .events = POLLIN };

	return poll(&p, 1, ms) > 0 && read_signals(d);
}

/* While the daemon starts: a signal says to stop.  It stays so. */
bool is_stopped(void *ctx, int ms)
{
	struct scopewired *d = ctx;

	if (!d->is_done && wait_signals(d, ms)) {
		log_info("stopping before the start was complete");
		d->is_done = true;
	}
	return d->is_done;
}
