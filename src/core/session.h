/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSION_H
#define CORE_SESSION_H
/*
 * One client's connection as the protocol sees it, and the hub: a worker's sessions, channel
 * registry and timers.  Sockets are behind struct session_io, time behind hub_tick(), so the
 * same code runs on a fake clock and a fake sink in tests.  Everything here runs on the one
 * worker that owns the hub.
 *
 * Sending: a frame goes to the socket at once when nothing waits before it; while a batch of
 * mail is worked off (hub_begin/hub_flush) frames gather and go out as one write a session.
 * What the socket does not take waits in the outbox, up to the app's cap; beyond it the
 * session is cut off.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/mailbox.h"
#include "base/thread.h"
#include "core/directory.h"
#include "core/log_page.h"
#include "core/registry.h"
#include "wire/pusher.h"

struct session;

struct session_io {
	/* Writes n bytes of finished frames; false: the connection is dead.  p has MSGBUF_HEADROOM
	 * before it. */
	bool (*write)(void *conn, unsigned char *p, size_t n);
	/* True while earlier bytes still wait below: do not write. */
	bool (*is_blocked)(void *conn);
	/* Ask for session_writable() once the socket takes more. */
	void (*want_writable)(void *conn);
	/* Start the close handshake with this code once what was written is out. */
	void (*close)(void *conn, unsigned code, const char *reason);
	/* Drop the connection at once. */
	void (*kill)(void *conn);
	/* When bytes came last, of frames that the session is not told of too (pings, empty pongs);
	 * monotonic, 0: not known. */
	usec_t (*heard_at)(void *conn);
};

struct hub_stats {
	uint64_t deliveries, writes, messages_in, opened, closed, dropped_slow;
	unsigned sessions;
};

struct hub_conf {
	unsigned worker, n_workers;
	struct directory *directory;
	const struct session_io *io;
	unsigned max_connections;     /* of the node; 0: none */
	atomic_uint *connections;     /* of the node; shared by the hubs */
	struct str_view path;	      /* prefix before /app/ */
	const struct log_reader *log; /* NULL: there is none to replay from */
	usec_t ahead_max;	      /* how long a position may be ahead of this node's */
	/* A connection is gone; may be NULL.  Must not wait. */
	void (*on_closed)(void *ctx, uint64_t socket_id);
	void *closed_ctx;
};

struct hub;
struct hub *hub_new(const struct hub_conf *conf) MUSTCHECK;
void hub_free(struct hub *h) RUNS_ON(on_worker); /* all sessions closed */
/* Once a second or oftener: liveness.  now is monotonic. */
void hub_tick(struct hub *h, usec_t now) RUNS_ON(on_worker);
/* Mail from the directory, already taken from the box; frees it. */
void hub_deliver(struct hub *h, struct worker_message *m) RUNS_ON(on_worker);
/* Brackets a batch of hub_deliver calls. */
void hub_begin(struct hub *h) RUNS_ON(on_worker);
void hub_flush(struct hub *h) RUNS_ON(on_worker);
/* The apps changed: sessions take their app's new snapshot, or are closed if it is gone. */
void hub_reload(struct hub *h) RUNS_ON(on_worker);
/* Sends share_permille of the sessions that are left away with 4200. */
void hub_drain(struct hub *h, unsigned share_permille) RUNS_ON(on_worker);
unsigned hub_sessions(const struct hub *h) RUNS_ON(on_worker);
const struct hub_stats *hub_stats(const struct hub *h) RUNS_ON(on_worker);

struct session_request {
	struct str_view path;	  /* without query, as received */
	struct str_view protocol; /* value of ?protocol=, empty when absent */
	bool has_protocol;
	struct str_view origin; /* empty when absent */
	bool tls;
};

/*
 * A WebSocket was opened: greets the client, or tells the error and closes (protocol A1).
 * Never NULL; session_closed() frees it.  conn is handed to io.
 */
struct session *session_open(struct hub *h, void *conn, const struct session_request *r)
	MUSTCHECK RUNS_ON(on_worker);
/* Bytes of a message; first and last frame it.  binary: as the frame said. */
void session_receive(struct session *s, struct str_view bytes, bool first, bool last, bool binary)
	RUNS_ON(on_worker);
/* A pong frame, or anything else that shows the peer lives. */
void session_alive(struct session *s) RUNS_ON(on_worker);
void session_writable(struct session *s) RUNS_ON(on_worker);
/* The peer began its close: nothing is sent any more. */
void session_peer_closing(struct session *s) RUNS_ON(on_worker);
/* The connection is gone: leaves all channels and frees s. */
void session_closed(struct session *s) RUNS_ON(on_worker);
uint64_t session_id(const struct session *s);
#endif
