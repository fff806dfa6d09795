/* SPDX-License-Identifier: MIT */
#ifndef WIRE_HANDSHAKE_H
#define WIRE_HANDSHAKE_H
/*
 * The WebSocket opening handshake (RFC 6455 section 4.2.1): whether the head of a request is one,
 * and the form of it that libwebsockets reads.
 */
#include "base/str.h"

/* Bytes of the request's head with its empty line; 0 while it is incomplete. */
size_t head_length(const char *bytes, size_t n);

/* A view into the head. */
struct handshake {
	struct str_view protocol; /* the first subprotocol that the client offers; empty: none */
};

/* head is complete.  0 with *out, or -EPROTO: not a valid handshake. */
int handshake_read(struct str_view head, struct handshake *out) MUSTCHECK;
/*
 * Appends the same handshake without subprotocols and extensions, and with the simplest Upgrade and
 * Connection.  The other headers stay as they are.
 */
void handshake_rewrite(struct str_view head, struct strbuf *out);
/* Appends the values of all headers with that name, in their order, with commas between them. */
void head_values(struct str_view head, const char *name, struct strbuf *out);
/* Whether a comma-separated list has that word, in any case. */
bool header_has_word(struct str_view list, const char *word);
#endif
