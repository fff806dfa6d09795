/* SPDX-License-Identifier: MIT */
#ifndef SVC_SOCKETS_H
#define SVC_SOCKETS_H
/*
 * The connections that are open on this node, by socket id: so that a caller of the API cannot have
 * something stored for a socket that does not exist.
 *
 * 16 shards with a mutex each, held for a lookup; about 40 bytes a connection.  Any thread.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"

struct sockets;

struct sockets *sockets_new(void) MUSTCHECK;
void sockets_free(struct sockets *s); /* NULL is fine */
/* app: its runtime's number. */
void sockets_add(struct sockets *s, uint64_t id, uint64_t app);
void sockets_remove(struct sockets *s, uint64_t id);
/* A connection of the application with this id is open. */
bool sockets_has(struct sockets *s, uint64_t id, uint64_t app);
#endif
