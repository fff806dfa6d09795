/* SPDX-License-Identifier: MIT */
#ifndef FRONT_ACCEPTOR_H
#define FRONT_ACCEPTOR_H
/*
 * The listening sockets and the thread that sorts new connections: it reads the first bytes and
 * passes the socket on, to the workers, to the HTTP server, or to the TLS port.
 */
#include <sys/socket.h>
#include "base/annotate.h"
#include "base/str.h"

struct acceptor;

struct acceptor_conf {
	const char *option; /* that has the address, for messages; NULL: server.host */
	const char *name;   /* of its thread; NULL: "acceptor" */
	/* Listens there instead of on host and port; a socket that no process listens on is
	 * replaced.  NULL: no. */
	const char *unix_path;
	const char *host; /* "*": all addresses, IPv6 and IPv4; or a comma-separated list */
	unsigned port;	  /* 0: the kernel picks one, the same for all addresses */
	unsigned backlog;
	/* Sockets that listen already, taken over instead of host and port: see front/listen_fds.h.
	 */
	int first_fd;
	unsigned n_fds;
	int reserved_from;	 /* connections from this descriptor on are closed; 0: none */
	unsigned first_bytes_ms; /* a peer that sends less than a request head by then is dropped */
	unsigned max_head_bytes; /* of a WebSocket handshake; longer heads are HTTP's */
	const char *congestion_control; /* "" leaves the kernel's */
	/* Each owns fd from the call on.  On the acceptor's thread. */
	/* head is the complete handshake, and was taken from fd. */
	void (*on_websocket)(void *ctx, int fd, struct str_view head);
	/* Nothing was taken.  on_tls may be NULL: not configured, such peers are dropped. */
	void (*on_tls)(void *ctx, int fd, const struct sockaddr *peer, socklen_t len);
	void (*on_http)(void *ctx, int fd, const struct sockaddr *peer, socklen_t len);
	void *ctx;
};

/*
 * Binds and listens; nothing is accepted before acceptor_start.  0 or -errno, with *why a
 * sentence (heap) that names the address.
 */
int acceptor_new(const struct acceptor_conf *conf, struct acceptor **out, char **why) MUSTCHECK;
int acceptor_start(struct acceptor *a) MUSTCHECK;
/* The port that is listened on (the kernel's choice for 0). */
unsigned acceptor_port(const struct acceptor *a);
/* Ends the thread, closes the connections that were not passed on and the listening sockets, frees.
 */
void acceptor_stop(struct acceptor *a);
#endif
