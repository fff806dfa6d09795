/* SPDX-License-Identifier: MIT */
#ifndef FRONT_TLS_TUNNEL_H
#define FRONT_TLS_TUNNEL_H
/*
 * Passes bytes between a TLS connection and the plain socket of the HTTP server.  Each direction
 * keeps at most one piece that its receiver did not take, and reads no further before it did, so a
 * slow side slows the other down.  An end is passed on when all bytes before it were.
 */
#include <openssl/types.h>
#include <stdbool.h>
#include "base/annotate.h"
#include "base/str.h"

struct tunnel {
	SSL *ssl;
	int pair;			  /* the socket to the HTTP server, non-blocking */
	struct strbuf to_http, to_client; /* what is left of one piece; ptr NULL: nothing */
	bool is_client_ended;		  /* the client sends no more */
	bool has_http_end;		  /* and the HTTP server knows */
	bool is_http_ended;		  /* all of its bytes were read */
	bool has_closed;		  /* close_notify was sent */
};

enum tunnel_state {
	TUNNEL_WAITS,  /* until a socket is ready */
	TUNNEL_BUSY,   /* there is more to do now; others first */
	TUNNEL_ENDED,  /* the client has all bytes and the end */
	TUNNEL_BROKEN, /* the client is not there any more */
};

/* first: bytes that the client sent already.  pair is the tunnel's from now on. */
void tunnel_init(struct tunnel *r, SSL *ssl, int pair, struct str_view first);
/* Closes the socket; ssl stays the caller's. */
void tunnel_release(struct tunnel *r);
/* Passes on what it can without waiting.  *moved: some bytes were. */
enum tunnel_state tunnel_run(struct tunnel *r, bool *moved) MUSTCHECK;
#endif
