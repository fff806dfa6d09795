/* SPDX-License-Identifier: MIT */
#ifndef WS_WORKER_PRIVATE_H
#define WS_WORKER_PRIVATE_H
/* Shared by worker.c, adopt.c and ws_cb.c only. */
#include <libwebsockets.h>
#include <openssl/types.h>
#include <uv.h>
#include "ws/worker.h"

enum worker_command_kind { COMMAND_ADOPT, COMMAND_RELOAD, COMMAND_DRAIN, COMMAND_STOP };

struct worker_command {
	struct mailbox_entry entry;
	enum worker_command_kind kind;
	unsigned ms;
	/* COMMAND_ADOPT */
	int fd;
	SSL *ssl; /* NULL: without TLS */
	struct strbuf head;
};

struct worker {
	struct workers *all;
	unsigned index;
	pthread_t thread;
	uv_loop_t loop;
	bool has_handles; /* of the loop, which are to be closed */
	uv_async_t async;
	uv_timer_t timer;
	struct lws_context *context;
	struct lws_vhost *plain, *tls;
	struct hub *hub;
	struct mailbox messages, commands;
	atomic_uint load; /* connections passed to it and still open */
	atomic_uint sessions;
	/* of the handshake that is being answered; empty: none */
	struct str_view head, subprotocol;
	usec_t drain_until;		 /* mono; 0: not draining */
	unsigned drain_ms;		 /* over which the clients are sent away */
	usec_t observed_at, idle_before; /* mono; of METRIC_WORKER_BUSY */
	atomic_bool may_resume;		 /* workers have caught up: see hub_resume() */
	_Atomic usec_t turned_at;	 /* mono; when the timer last ran */
	bool is_stopping;
	bool needs_service; /* a timeout was set: libwebsockets has to check its timers */
	/* under start_lock: set by the thread, read by the main thread */
	int start_rc;
	bool is_started;
};

struct workers {
	struct workers_conf conf;
	struct directory *directory;
	atomic_uint connections;
	pthread_mutex_t start_lock;
	pthread_cond_t start_cond;
	struct worker w[];
};

/* Per connection, in libwebsockets' per-session space (zeroed by it). */
struct conn {
	struct lws *wsi;
	struct session *session;
	unsigned close_code; /* to send when writable; 0: none */
	const char *close_reason;
	bool is_close_sent; /* nothing may be written any more */
	bool is_dead;
};

extern const struct session_io ws_io;
/* libwebsockets' callback of all connections; on their worker's thread. */
int ws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
		size_t len);

/* adopt.c: gives the connection of a COMMAND_ADOPT to libwebsockets; takes all that it has. */
void worker_adopt(struct worker *w, struct worker_command *c) RUNS_ON(on_worker);
#endif
