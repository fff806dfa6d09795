/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSIONS_SESSION_OUT_H
#define CORE_SESSIONS_SESSION_OUT_H
/*
 * What a session sends.  These functions alone write to its socket.
 *
 * A frame is written at once when nothing waits before it.  During a batch (hub_begin() to
 * hub_flush()) frames are collected and go out as one write for each session.  What the socket
 * does not take waits in the outbox, up to the app's cap; beyond it the connection is dropped.
 */
#include "base/log_gate.h"
#include "core/sessions/session-private.h"
#include "wire/pusher.h"

/* Takes a reference of its own.  False: the session is closing. */
bool session_send(struct session *s, struct msgbuf *frame) RUNS_ON(on_worker);
/* Builds a frame of the JSON text in hub->text and sends it. */
void session_send_text(struct session *s) RUNS_ON(on_worker);
/* Sends pusher:error, and writes to the log that the message was refused.  message ends with NUL.
 */
void session_error(struct session *s, enum pusher_code code, struct str_view message)
	RUNS_ON(on_worker);
/* Sends pusher:error only. */
void session_send_error(struct session *s, enum pusher_code code, struct str_view message)
	RUNS_ON(on_worker);
/* Writes what was refused and why to the log: "WHAT: WHY; socket, application, user". */
void session_log_refusal(const struct session *s, struct log_gate *gate, const char *what,
			 const char *why) RUNS_ON(on_worker);
/* A step of the connection, for the flight recorder and the live tail; code 0: none.  One that was
 * refused has none. */
void session_note(const struct session *s, enum step_kind kind, struct str_view channel,
		  unsigned code, const char *detail) RUNS_ON(on_worker);
/* Drops the connection of a client that reads too slowly, and logs it. */
void session_drop_slow(struct session *s, const char *why) RUNS_ON(on_worker);
/*
 * Whether a frame of the daemon that is not encrypted may be sent on the channel.  The Java client
 * decrypts every frame of an encrypted channel but subscription_succeeded, and throws; only
 * pusher-js is known not to.
 */
bool session_sends_plain(const struct session *s, struct str_view channel) RUNS_ON(on_worker);
/* Writes what waits in the outbox until the socket takes no more. */
void session_flush(struct session *s) RUNS_ON(on_worker);
/* Flushes and starts to close.  code: an enum pusher_code, or one of RFC 6455 section 7.4. */
void session_close(struct session *s, unsigned code, const char *reason) RUNS_ON(on_worker);
/* session_send_error(), then session_close() with the same code. */
void session_refuse(struct session *s, enum pusher_code code, const char *message)
	RUNS_ON(on_worker);
/* Does not read from the client until hub_resume(). */
void session_pause(struct session *s) RUNS_ON(on_worker);
/* Not paused any more, or it is closed.  The caller resumes reading. */
void session_end_pause(struct session *s) RUNS_ON(on_worker);
#endif
