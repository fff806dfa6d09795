/* SPDX-License-Identifier: MIT */
#ifndef WS_WORKER_PRIVATE_H
#define WS_WORKER_PRIVATE_H
/* Shared by worker.c, ws_cb.c and https.c only. */
#include <libwebsockets.h>
#include <uv.h>
#include "ws/worker.h"

enum control_kind { CONTROL_ADOPT, CONTROL_REPLY, CONTROL_RELOAD, CONTROL_DRAIN, CONTROL_STOP };

struct control {
	struct letter letter;
	enum control_kind kind;
	int fd;
	bool tls;
	unsigned ms;
	struct https_request *request;
};

struct worker {
	struct workers *all;
	unsigned index;
	pthread_t thread;
	uv_loop_t loop;
	uv_async_t async;
	uv_timer_t timer;
	struct lws_context *context;
	struct lws_vhost *plain, *tls;
	struct hub *hub;
	struct mailbox mail, control;
	atomic_uint load; /* connections handed to it and still open */
	atomic_uint sessions;
	usec_t drain_until; /* mono; 0: not draining */
	bool is_stopping;
	bool owes_turn; /* a timeout was set: libwebsockets has to look at its timers */
	/* start: the thread tells main how it went */
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
	struct https_request *request;
	unsigned close_code; /* to send when writable; 0: none */
	const char *close_reason;
	bool is_close_sent; /* nothing may be written any more */
	bool is_dead;
};

extern const struct session_io ws_io;
int ws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
		size_t len);
struct worker *worker_of(struct lws *wsi);
/* Puts control mail and wakes the worker; owned letters are never refused. */
void worker_tell(struct worker *w, struct control *c);

/* HTTP on a worker's TLS host (and answers to what should not have come here). */
int https_callback(struct lws *wsi, enum lws_callback_reasons reason, struct conn *c, void *in,
		   size_t len);
/* The answer came; on the worker's thread. */
void https_replied(struct https_request *r);
#endif
