/* SPDX-License-Identifier: MIT */
#ifndef WS_WORKER_H
#define WS_WORKER_H
/*
 * The worker threads.  Each has one libwebsockets context on a libuv loop of our own, a plain
 * and, with TLS, a TLS virtual host, a hub of sessions, and two mailboxes: messages from the
 * directory, and commands (new sockets, reload, drain, stop).
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
	const struct trusted_proxies *proxies;
	int reserved_from; /* sockets from this descriptor on are refused */
	/* Of all hubs alike; a worker sets worker, directory, io and connections itself. */
	struct hub_conf hub;
};

struct workers *workers_new(const struct workers_conf *conf) MUSTCHECK;
/* What directory_new() needs; can be used as soon as workers_new() has returned. */
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
