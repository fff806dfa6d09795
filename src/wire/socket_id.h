/* SPDX-License-Identifier: MIT */
#ifndef WIRE_SOCKET_ID_H
#define WIRE_SOCKET_ID_H
/* A connection's socket_id, "123.456", and its number: the first part is the upper 32 bits. */
#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"

#define SOCKET_ID_SIZE	   24 /* with the NUL */
#define SOCKET_ID_NODE_MAX 4095

/*
 * True when text is a socket id: numbers without zeros before them, so that texts that differ name
 * different connections.  Parts beyond 32 bits are valid and match no connection: *out is
 * UINT64_MAX.
 */
bool socket_id_parse(struct str_view text, uint64_t *out);
/*
 * Random: it cannot be guessed, and does not occur twice.  Of a node of a cluster, 1 to
 * SOCKET_ID_NODE_MAX, it has the node's number, and 49 random bits; of a daemon that is alone
 * (0), 61 random bits.
 */
uint64_t socket_id_new(unsigned node);
/* The node's number in an id that such a node made; in another's: any number. */
unsigned socket_id_node(uint64_t id);
/* Returns out. */
char *socket_id_format(uint64_t id, char out[SOCKET_ID_SIZE]);
#endif
