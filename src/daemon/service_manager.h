/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_SERVICE_MANAGER_H
#define DAEMON_SERVICE_MANAGER_H
/*
 * What the daemon reports to systemd, or to another manager with its protocol: sd_notify(3) and
 * sd_watchdog_enabled(3).  Without NOTIFY_SOCKET in the environment nothing is sent.
 *
 * The protocol is one datagram.  libsystemd is not used for it, because it reads the variables at
 * each call, and they must be out of the environment before the embedded PostgreSQL inherits them:
 * it would report itself.
 */
#include "base/clock.h"
#include "base/thread.h"

/* Takes the variables out of the environment.  At the start, before there are threads. */
void service_manager_take(void) RUNS_ON(on_main);
/* Each sends one state; a manager that does not listen is logged once. */
void service_manager_ready(void) RUNS_ON(on_main);
void service_manager_reloading(void) RUNS_ON(on_main); /* until service_manager_ready() */
void service_manager_stopping(void) RUNS_ON(on_main);
/*
 * Sends the watchdog's keep-alive message (WATCHDOG=1) when half of the manager's time limit has
 * passed since the last one.  turned_at: when the thread that is the furthest back last completed
 * an iteration (monotonic).  While that is longer ago than half of the limit, no message is sent,
 * and the manager restarts the daemon.
 */
void service_manager_watchdog(usec_t now, usec_t turned_at) RUNS_ON(on_main);
#endif
