/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSIONS_LIVENESS_H
#define CORE_SESSIONS_LIVENESS_H
/*
 * Pings silent clients and closes those that do not answer (protocol A2).
 *
 * A ping is a WebSocket PING and pusher:ping in one write: some clients answer only the first,
 * others only the second.  Any frame of the client counts as an answer.
 *
 * A wheel of seconds has one entry for each session.  A sign of life only writes the time; the
 * entry moves when its second comes.  So a message costs nothing here, and a second costs only the
 * sessions that are due in it.
 */
#include "core/sessions/session-private.h"

/* Puts the session into the wheel, for its app's ping_interval_s from now. */
void liveness_start(struct session *s) RUNS_ON(on_worker);
void liveness_stop(struct session *s) RUNS_ON(on_worker);
/* The client gave a sign of life. */
void liveness_seen(struct session *s) RUNS_ON(on_worker);
/* Moves the hub's clock to now, and does what is due in the seconds between. */
void liveness_tick(struct hub *h, usec_t now) RUNS_ON(on_worker);
#endif
