/* SPDX-License-Identifier: MIT */
#ifndef FRONT_TLS_PORT_H
#define FRONT_TLS_PORT_H
/*
 * The threads for connections that begin with TLS.  They make the TLS handshake and read the first
 * head.  A WebSocket connection goes to a worker, with its TLS state.  For all other connections
 * the HTTP server gets one end of a socket pair; between the other end and the client these threads
 * decrypt and encrypt (front/tls_tunnel.h).  So there is one HTTP server for both kinds of
 * connections.
 */
#include <openssl/types.h>
#include <sys/socket.h>
#include "base/annotate.h"
#include "base/str.h"
#include "base/thread.h"

struct tls_port;

extern struct thread_role on_tls;

struct tls_port_conf {
	unsigned threads;
	unsigned first_bytes_ms; /* for the TLS handshake and a head */
	unsigned max_head_bytes; /* of a WebSocket handshake; longer heads are HTTP's */
	/* Each owns fd (and ssl) from the call on; head is the complete handshake, read from ssl.
	 */
	void (*on_websocket)(void *ctx, int fd, SSL *ssl, struct str_view head);
	void (*on_http)(void *ctx, int fd, const struct sockaddr *peer, socklen_t len);
	void *ctx;
};

/* Owns context from success on.  0 or -errno. */
int tls_port_start(const struct tls_port_conf *conf, SSL_CTX *context, struct tls_port **out)
	MUSTCHECK;
/* Owns fd, from which nothing was read.  One thread at a time, until tls_port_close(). */
void tls_port_adopt(struct tls_port *p, int fd, const struct sockaddr *peer, socklen_t len);
/* Handshakes from now on use context, which is owned.  Open connections stay.  Any thread. */
void tls_port_use(struct tls_port *p, SSL_CTX *context);
/* From now on no connection is passed on.  Those of the HTTP server are served.  NULL is fine. */
void tls_port_close(struct tls_port *p);
/*
 * After the HTTP server stopped: clients receive the rest of their answers, for at most grace_ms.
 * Closes all connections, frees.  NULL is fine.
 */
void tls_port_stop(struct tls_port *p, unsigned grace_ms);
#endif
