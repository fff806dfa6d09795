/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSIONS_SESSION_H
#define CORE_SESSIONS_SESSION_H
/*
 * One client's connection as the protocol sees it.  Its socket is behind struct session_io and
 * the time comes from hub_tick(), so tests run the same code on a fake clock and fake sockets.
 * Everything runs on the worker that owns the hub.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/str.h"
#include "base/thread.h"
#include "wire/address.h"
#include "wire/socket_id.h"

struct hub;
struct session;

struct session_io {
	/* Writes n bytes of complete frames; false: the connection is dead.  The MSGBUF_HEADROOM
	 * bytes before p may be overwritten. */
	bool (*write)(void *conn, unsigned char *p, size_t n);
	/* True while earlier bytes still wait below: do not write. */
	bool (*is_blocked)(void *conn);
	/* Call session_writable() once the socket takes more. */
	void (*want_writable)(void *conn);
	/* Start the close handshake with this code when all that was written has been sent. */
	void (*close)(void *conn, unsigned code, const char *reason);
	/* Drop the connection at once. */
	void (*kill)(void *conn);
	/* Stops or resumes reading from the client.  Bytes that were read already are kept. */
	void (*set_reading)(void *conn, bool is_on);
	/* When bytes were last received, those of frames that the session does not get too (pings,
	 * empty pongs); monotonic, 0: not known. */
	usec_t (*heard_at)(void *conn);
};

struct session_request {
	struct str_view path;	  /* without query, as received */
	struct str_view protocol; /* value of ?protocol=, empty when absent */
	bool has_protocol;
	struct str_view client; /* value of ?client=, empty when absent */
	struct str_view origin; /* empty when absent */
	struct client_address from;
	bool is_reserved; /* its descriptor is one of those that are kept for the API and the
			     database */
};

/*
 * A WebSocket was opened: greets the client, or sends the error and closes (protocol A1).
 * Never NULL; session_closed() frees it.  conn is passed to the functions of session_io.
 */
struct session *session_open(struct hub *h, void *conn, const struct session_request *r)
	MUSTCHECK RUNS_ON(on_worker);
/* Bytes of a message; first and last mark its ends.  binary: the type of its frame. */
void session_receive(struct session *s, struct str_view bytes, bool first, bool last, bool binary)
	RUNS_ON(on_worker);
/* The client sent a pong frame, or gave another sign of life. */
void session_alive(struct session *s) RUNS_ON(on_worker);
/* The socket takes more. */
void session_writable(struct session *s) RUNS_ON(on_worker);
/* The client began to close: nothing is sent any more. */
void session_peer_closing(struct session *s, unsigned code) RUNS_ON(on_worker);
/* The connection has ended: leaves all channels and frees s. */
void session_closed(struct session *s) RUNS_ON(on_worker);
#endif
