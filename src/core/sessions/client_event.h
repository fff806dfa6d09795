/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSIONS_CLIENT_EVENT_H
#define CORE_SESSIONS_CLIENT_EVENT_H
/* Client events (protocol A5) and heartbeats. */
#include "core/sessions/session-private.h"
#include "wire/pusher.h"

/* Forwards the event, or sends the error. */
void session_on_client_event(struct session *s, const struct client_frame *f) RUNS_ON(on_worker);
/* For the daemon itself: it is not forwarded, and the option client_events does not apply. */
void session_on_heartbeat(struct session *s, const struct client_frame *f) RUNS_ON(on_worker);
#endif
