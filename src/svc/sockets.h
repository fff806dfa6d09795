/* SPDX-License-Identifier: MIT */
#ifndef SVC_SOCKETS_H
#define SVC_SOCKETS_H
/*
 * The connections that are open on this node, by socket id, and whose they are: so that a user of
 * the API cannot have something stored for a socket that does not exist, or name that of another
 * user.
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
/* The user whose it is; false: not known, or no user of the sync API. */
bool sockets_user(struct sockets *s, uint64_t id, char out[USER_ID_SIZE]) MUSTCHECK;
/* It is the user's; false too when it is not known whose it is. */
bool sockets_is_of(struct sockets *s, uint64_t id, const char *user_id);
#endif
