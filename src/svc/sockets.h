/* SPDX-License-Identifier: MIT */
#ifndef SVC_SOCKETS_H
#define SVC_SOCKETS_H
/*
 * The connections that are open on this node (of others, only which nodes there are), by socket id,
 * and whose they are: so that a user of the API cannot have something stored for a socket that does
 * not exist, or name that of another user.
 *
 * A socket is a user's when it signed in or joined a presence channel as that user.  Before that it
 * is the user's for whom this daemon first authorized a subscription or a sign-in of it.
 *
 * 16 shards with a mutex each, held for a lookup; about 50 bytes a connection, and its user's id.
 * Any thread.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "base/str.h"
#include "base/user_id.h"

struct sockets;

#define SOCKETS_NODE_WORDS 64 /* 4,096 bits: socket_id_node() */

struct sockets *sockets_new(void) MUSTCHECK;
void sockets_free(struct sockets *s); /* NULL is fine */
/* app: its runtime's number. */
void sockets_add(struct sockets *s, uint64_t id, uint64_t app);
void sockets_remove(struct sockets *s, uint64_t id);
/* The connection signed in as the user, or joined a presence channel as the user; a text that
 * user_id_read() refuses is the id of no user of the sync API. */
void sockets_identify(struct sockets *s, uint64_t id, struct str_view user_id, bool is_signin);
/* The user was authorized to subscribe or to sign in with it. */
void sockets_claim(struct sockets *s, uint64_t id, uint64_t app, const char *user_id);
/* A connection of the application with this id is open. */
bool sockets_has(struct sockets *s, uint64_t id, uint64_t app);
/* A connection with this id is open, of whichever application. */
bool sockets_is_open(struct sockets *s, uint64_t id);
/* It has the number of another node that runs: whether it is open, and whose it is, only that node
 * knows. */
bool sockets_is_elsewhere(const struct sockets *s, uint64_t id);
/* The numbers of the nodes that run but this one, one bit each.  Returns whether one has ended
 * since the last call.  One thread calls it. */
bool sockets_set_nodes(struct sockets *s, const uint64_t bits[SOCKETS_NODE_WORDS]);
/* The user whose it is; false: not known, or no user of the sync API. */
bool sockets_user(struct sockets *s, uint64_t id, char out[USER_ID_SIZE]) MUSTCHECK;
/* It is the user's; false too when it is not known whose it is. */
bool sockets_is_of(struct sockets *s, uint64_t id, const char *user_id);
#endif
