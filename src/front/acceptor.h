/* SPDX-License-Identifier: MIT */
#ifndef FRONT_ACCEPTOR_H
#define FRONT_ACCEPTOR_H
/*
 * The listening sockets and the thread that sorts new connections: it looks at the first bytes
 * without taking them and hands the socket to who speaks that: WebSocket, HTTP or TLS.
 */
#include <sys/socket.h>
#include "base/annotate.h"

struct acceptor;

struct acceptor_conf {
	const char *host; /* "*": all addresses, IPv6 and IPv4; or a comma-separated list */
	unsigned port;	  /* 0: the kernel picks one, the same for all addresses */
	unsigned backlog;
	/* Sockets that listen already, taken over instead of host and port: see front/listen_fds.h.
	 */
	int first_fd;
	unsigned n_fds;
	unsigned first_bytes_ms; /* a peer that sends less than a request head by then is dropped */
	const char *path;	 /* prefix of "/app/" */
	const char *congestion_control; /* "" leaves the kernel's */
	/* Each owns fd from the call on.  On the acceptor's thread. */
	void (*on_websocket)(void *ctx, int fd);
	void (*on_tls)(void *ctx, int fd); /* NULL: not configured, such peers are dropped */
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
/* Stops accepting, drops who was not sorted yet, closes the listening sockets, frees. */
void acceptor_stop(struct acceptor *a);

/* What the first bytes of a connection ask for; pure, for tests and fuzzing. */
enum first_bytes { FIRST_UNDECIDED, FIRST_WEBSOCKET, FIRST_HTTP, FIRST_TLS };
enum first_bytes first_bytes_sort(const char *bytes, size_t n, const char *path);
#define FIRST_BYTES_MAX 4096 /* looked at; what is undecided then is HTTP's */
#endif
