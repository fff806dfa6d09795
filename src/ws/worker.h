/* SPDX-License-Identifier: MIT */
#ifndef WS_WORKER_H
#define WS_WORKER_H
/*
 * The worker threads.  Each has one libwebsockets context on a libuv loop of our own, a plain
 * and, with TLS, a TLS virtual host, a hub of sessions, and two mailboxes: messages from the
 * directory, and control messages (new sockets, reload, drain).
 */
#include <openssl/types.h>
#include <stdatomic.h>
#include "base/annotate.h"
#include "base/mailbox.h"
#include "base/str.h"
#include "core/channels/directory.h"
#include "core/sessions/hub.h"

struct workers;

struct workers_conf {
	unsigned n;
	bool has_tls;
	unsigned max_head_bytes; /* of a handshake */
	unsigned request_timeout_ms;
	unsigned max_connections;
	const struct trusted_proxies *proxies;
	const atomic_uint *node_number;	  /* as in struct hub_conf */
	struct recorder *recorder;	  /* as in struct hub_conf */
	struct live_tail *live_tail;	  /* the same */
	struct address_limits *addresses; /* the same */
	int reserved_from;		  /* sockets from this descriptor on are refused */
	struct str_view path;
	const struct log_reader *log; /* for replays */
	unsigned replay_timeout_ms;
	/* as in struct hub_conf */
	void (*on_socket)(void *ctx, const struct app *app, uint64_t socket_id, bool is_open);
	void (*on_socket_user)(void *ctx, uint64_t socket_id, struct str_view user_id,
			       bool is_signin);
	const char *(*on_heartbeat)(void *ctx, struct app *app, uint64_t socket_id,
				    struct str_view data);
	bool (*is_socket_of)(void *ctx, uint64_t socket_id, struct str_view user_id);
	uint64_t (*on_granted)(void *ctx, struct app *app, struct str_view channel,
			       const struct grant_mark *mark);
	void (*on_grant_left)(void *ctx, uint64_t grant);
	void (*on_client_event)(void *ctx, const struct app *app, struct str_view channel,
				struct str_view text);
	void *socket_ctx;
};

/* What directory_new() needs; usable as soon as workers_new() returned. */
struct workers *workers_new(const struct workers_conf *conf) MUSTCHECK;
void workers_directory_post(struct workers *w, struct directory_post *out);
/* Starts all threads.  0, -ENOMEM, -EAGAIN. */
int workers_start(struct workers *w, struct directory *d) MUSTCHECK;
/*
 * Gives a connection to the worker with the fewest.  head is its complete and valid handshake,
 * which was read from it.  ssl is its TLS state after the TLS handshake; NULL: none.  Takes fd and
 * ssl.  Any thread.
 */
void workers_adopt(struct workers *w, int fd, SSL *ssl, struct str_view head);
/* The apps changed.  Any thread. */
void workers_reload(struct workers *w);
/* Sends all clients away with 4200, spread over ms, to return within as long.  Returns at once; any
 * thread. */
void workers_drain(struct workers *w, unsigned ms);
unsigned workers_sessions(struct workers *w);
/* The oldest of the times at which the workers' timers last ran (monotonic). */
usec_t workers_turned_at(const struct workers *w);
/* Ends the threads.  Until workers_free() any thread may still send to them, without effect. */
void workers_stop(struct workers *w);
void workers_free(struct workers *w);
#endif
