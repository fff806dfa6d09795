/* SPDX-License-Identifier: MIT */
#ifndef CORE_SESSIONS_HUB_H
#define CORE_SESSIONS_HUB_H
/*
 * All sessions of one worker, and what comes to them from other threads.  A hub belongs to its
 * worker's thread.
 */
#include <stdatomic.h>
#include "core/channels/directory.h"
#include "core/sessions/session.h"
#include "trace/live_tail.h"
#include "trace/recorder.h"
#include "wire/grant.h"

struct hub_conf {
	unsigned worker;
	struct directory *directory;
	const struct session_io *io;
	unsigned max_connections;	  /* of the node; 0: no limit */
	atomic_uint *connections;	  /* of the node; shared by the hubs */
	struct address_limits *addresses; /* shared by the hubs; NULL: no limits */
	const atomic_uint *node_number;	  /* in the cluster; 0: alone; NULL: the same */
	struct recorder *recorder;	  /* shared by the hubs; NULL: nothing is recorded */
	struct live_tail *live_tail;	  /* the same; NULL: there is no watcher */
	struct str_view path;		  /* prefix before /app/ */
	const struct log_reader *log;	  /* NULL: there is no event log */
	usec_t ahead_max; /* how long a client's position may be ahead of this node's */
	/* A connection was established or has ended; may be NULL.  Must not wait. */
	void (*on_socket)(void *ctx, const struct app *app, uint64_t socket_id, bool is_open);
	/* It signed in, or joined a presence channel; may be NULL.  Must not wait. */
	void (*on_socket_user)(void *ctx, uint64_t socket_id, struct str_view user_id,
			       bool is_signin);
	/* A client sent a heartbeat: NULL, or why it is refused, a static sentence for the client.
	 * May be NULL: all are refused.  Must not wait. */
	const char *(*on_heartbeat)(void *ctx, struct app *app, uint64_t socket_id,
				    struct str_view data);
	/* The daemon authorized subscriptions of the connection for this user; may be NULL.  Must
	 * not wait. */
	bool (*is_socket_of)(void *ctx, uint64_t socket_id, struct str_view user_id);
	/* A subscription begins that the daemon authorized itself: returns the id of its
	 * grant, never 0.  And it has ended.  May be NULL.  Must not wait. */
	uint64_t (*on_granted)(void *ctx, struct app *app, struct str_view channel,
			       const struct grant_mark *mark);
	void (*on_grant_left)(void *ctx, uint64_t grant);
	/* A client event for the subscribers on other nodes; may be NULL.  Must not wait. */
	void (*on_client_event)(void *ctx, const struct app *app, struct str_view channel,
				struct str_view text);
	void *socket_ctx;
};

struct hub;
struct hub *hub_new(const struct hub_conf *conf) MUSTCHECK;
/* Closes the sessions that are left. */
void hub_free(struct hub *h) RUNS_ON(on_worker);
/* Once a second or more often: liveness, and catch-ups that wait.  now is monotonic. */
void hub_tick(struct hub *h, usec_t now) RUNS_ON(on_worker);
/* Carries out a message from the directory, and frees it. */
void hub_deliver(struct hub *h, struct worker_message *m) RUNS_ON(on_worker);
/* The beginning and the end of a batch of hub_deliver() calls. */
void hub_begin(struct hub *h) RUNS_ON(on_worker);
void hub_flush(struct hub *h) RUNS_ON(on_worker);
/* Workers have caught up: reads from clients whose events had to wait. */
void hub_resume(struct hub *h) RUNS_ON(on_worker);
/* The apps changed: sessions take their app's new snapshot, or are closed if it does not exist any
 * more. */
void hub_reload(struct hub *h) RUNS_ON(on_worker);
/* Closes share_permille of the sessions that are left with 4200, to return within so many ms. */
void hub_drain(struct hub *h, unsigned share_permille, unsigned within_ms) RUNS_ON(on_worker);
unsigned hub_sessions(const struct hub *h) RUNS_ON(on_worker);
#endif
