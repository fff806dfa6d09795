/* SPDX-License-Identifier: MIT */
#ifndef SVC_SOCKET_TIES_H
#define SVC_SOCKET_TIES_H
/*
 * What ends with a socket: viewers of resources, edit locks, and the presence of users whose
 * heartbeats name a socket.  It ends when the grace after the socket was closed has passed, or when
 * its own TTL has.  The rest is in
 * sql/migrations/0027_socket_ties.sql.
 *
 * Sockets to which something is tied are in a set.
 */
#include "conf/conf.h"
#include "pg/pool.h"

struct sockets;
struct socket_ties;

/*
 * Before pg_pool_start(); the pool, the sockets and the channels outlive it.  channels: see
 * presence_db_channels().
 */
struct socket_ties *socket_ties_new(struct pg_pool *pool, struct sockets *sockets,
				    const struct conf_sync *conf, const char *channels);
/* After the pool and the sockets' threads have stopped.  NULL is fine. */
void socket_ties_free(struct socket_ties *t);
/* Something is tied to the socket for ttl_s from now, or will be when a call has been committed.
 * Any thread. */
void socket_ties_watch(struct socket_ties *t, const struct app *app, uint64_t socket_id,
		       unsigned ttl_s);
/* A connection was closed, and is in the set of sockets no more.  Any thread; cheap. */
void socket_ties_on_closed(struct socket_ties *t, uint64_t socket_id);
#endif
