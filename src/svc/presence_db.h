/* SPDX-License-Identifier: MIT */
#ifndef SVC_PRESENCE_DB_H
#define SVC_PRESENCE_DB_H
/*
 * Which users are present, in the table user_presence: heartbeats from any thread are collected and
 * written with one statement a batch (sql/migrations/0015_presence.sql).  A user that the directory
 * has a connection of is present without heartbeats.  Other users expire after the TTL, and those
 * whose heartbeats name sockets when the last of these has ended: svc/socket_ties.h.
 *
 * A batch starts every sync.presence_batch_ms; one is under way at a time.  A user is in a batch
 * once, however many heartbeats it sent.
 */
#include <stdatomic.h>
#include "conf/conf.h"
#include "core/channels/directory.h"
#include "pg/pool.h"

struct presence_db;

struct presence_db_heartbeat {
	struct app *app;
	const char *user_id;	     /* as user_id_read() gave it */
	const char *status;	     /* online, away, busy or offline */
	const char *location, *info; /* info: JSON text; NULL: as it was */
	const char *name, *avatar;   /* NULL: as it was */
	const char *socket_id;	     /* the user is offline when it ends; NULL: after the TTL */
	bool keeps_sockets; /* no socket_id: those that heartbeats named end it, as before */
};

struct presence_db_reply {
	const char *status, *seen_at; /* ISO 8601 */
	unsigned ttl_s;
	int64_t unread; /* notifications */
};

/* reply is NULL unless a->rc is 0; both are valid until it returns. */
typedef void presence_db_done(void *ctx, const struct pg_answer *a,
			      const struct presence_db_reply *reply);

/* Before pg_pool_start(); conf, the pool and the number of this node (bus_node_number()) outlive
 * it. */
struct presence_db *presence_db_new(struct pg_pool *pool, const struct conf_sync *conf,
				    const atomic_uint *node);
/* After pg_pool_stop(): answers all that wait, and those to come, with -ECANCELED. */
void presence_db_stop(struct presence_db *p);
/* After the directory, which it watches.  NULL is fine. */
void presence_db_free(struct presence_db *p);

/*
 * Everything is copied.  done is called exactly once, on the pool's thread after the commit, or
 * before this returns with -EAGAIN, when sync.max_waiting heartbeats wait, or -ECANCELED.  Any
 * thread.
 */
void presence_db_heartbeat(struct presence_db *p, const struct presence_db_heartbeat *beat,
			   presence_db_done *done, void *ctx);

/*
 * The same without an answer: 0, or -EAGAIN when sync.max_waiting users wait to be written, or
 * -ECANCELED.  Any thread.
 */
int presence_db_post(struct presence_db *p, const struct presence_db_heartbeat *beat) MUSTCHECK;

/* For directory_watch_users(): ctx is the service. */
void presence_db_on_user(void *ctx, struct app *app, struct str_view user_id, bool is_here);

/* sync.presence_channels as a text[], sync.presence_ttl_s in digits: parameters of functions.
 * Both are valid until presence_db_free(). */
const char *presence_db_channels(const struct presence_db *p);
const char *presence_db_ttl(const struct presence_db *p);
#endif
