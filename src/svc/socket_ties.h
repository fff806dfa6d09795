/* SPDX-License-Identifier: MIT */
#ifndef SVC_SOCKET_TIES_H
#define SVC_SOCKET_TIES_H
/*
 * What ends with a socket: viewers of resources, edit locks, and the presence of users whose
 * heartbeats name a socket.  It ends when the grace after the socket was closed has passed, or when
 * its own TTL has.  The rest is in
 * sql/migrations/0027_socket_ties.sql.
 *
 * Sockets to which something is tied are in a set.  In a cluster the socket can be one of another
 * node, which learns of it by the table node_sockets; and when a node has ended, the others end
 * what was tied to its sockets.
 */
#include <stdatomic.h>
#include "conf/conf.h"
#include "pg/chore.h"

struct sockets;
struct socket_ties;

/*
 * Before pg_pool_start(); the pool, the sockets and the channels outlive it.  channels: see
 * presence_db_channels().  node: bus_node_number().
 */
struct socket_ties *socket_ties_new(struct pg_pool *pool, struct sockets *sockets,
				    const struct conf_sync *conf, const char *channels,
				    const atomic_uint *node);
/* After the pool and the sockets' threads have stopped.  NULL is fine. */
void socket_ties_free(struct socket_ties *t);
/* Something is tied to the socket for ttl_s from now, or will be when a call has been committed.
 * Any thread. */
void socket_ties_watch(struct socket_ties *t, const struct app *app, uint64_t socket_id,
		       unsigned ttl_s);
/* The user was authorized to subscribe or to sign in with the socket: see sockets_claim().  Any
 * thread. */
void socket_ties_claim(struct socket_ties *t, const struct app *app, uint64_t socket_id,
		       const char *user_id);
/* A connection was closed, and is in the set of sockets no more.  Any thread; cheap. */
void socket_ties_on_closed(struct socket_ties *t, uint64_t socket_id);
#endif
