/* SPDX-License-Identifier: MIT */
#ifndef SVC_HEARTBEAT_H
#define SVC_HEARTBEAT_H
/*
 * Heartbeats that clients send on their WebSocket.  The user is the one whose connection it is
 * (svc/sockets.h), and the heartbeat names that connection: presence ends with it.
 */
#include "conf/conf.h"
#include "conf/app.h"

struct presence_db;
struct socket_ties;
struct sockets;

/* Borrowed. */
struct heartbeat_services {
	struct presence_db *presence;
	struct sockets *sockets;
	struct socket_ties *ties;
	const struct conf_sync *conf;
};

struct heartbeat_socket {
	struct app *app;
	uint64_t id;
};

/*
 * Queues the heartbeat that data is (JSON: an object with status, location, info or user_info, name
 * and avatar, each of which can be absent; or empty).  NULL, or why it was refused: a static
 * sentence for the client.  Any thread; it does not wait.
 */
const char *heartbeat_take(const struct heartbeat_services *s, const struct heartbeat_socket *from,
			   struct str_view data) MUSTCHECK;
#endif
