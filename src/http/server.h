/* SPDX-License-Identifier: MIT */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H
/*
 * HTTP: libmicrohttpd on one thread of its own.  The acceptor and the TLS port pass it sockets;
 * complete requests go to the router (api/router.h).
 */
#include <sys/socket.h>
#include "base/annotate.h"
#include "core/limit.h"
#include "api/router.h"

struct admission;
struct http_server;

struct http_server_conf {
	const char *name; /* of its thread; NULL: "http" */
	/* Of another listener than the public port: gets complete requests, as the router does.
	 * NULL: the router gets them. */
	void (*handle)(void *ctx, struct request *r);
	void *handle_ctx;
	size_t body_max;		       /* bytes of a body, with handle */
	unsigned max_connections;	       /* of this server; 0: no limit */
	const struct trusted_proxies *proxies; /* not counted by address; NULL: there are none */
	struct address_limits *addresses;      /* NULL: no limits */
	struct admission *admission;	       /* run on the http thread; NULL: none */
	int reserved_from;	     /* sockets from this descriptor on are refused; 0: none */
	unsigned max_header_bytes;   /* request line and headers; more is refused with 431 */
	unsigned request_timeout_ms; /* from a request's first byte to its last */
	unsigned idle_timeout_s;     /* of a kept-alive connection between requests */
};

/* services must outlive the server; NULL with conf->handle. */
int http_server_start(const struct http_server_conf *conf, const struct api_services *services,
		      struct http_server **out) MUSTCHECK;
/*
 * Serves the connection from its first unread byte on.  is_tls: fd is a socket pair's, at whose
 * other end the bytes are encrypted for peer.  Owns fd from now on, whatever the result: 0, -EMFILE
 * at max_connections or reserved_from (the peer got a 503), -EDQUOT at the limit of its address
 * (429), -ESHUTDOWN while stopping.  Any thread, but not while http_server_stop runs.
 */
int http_server_adopt(struct http_server *s, int fd, const struct sockaddr *peer, socklen_t len,
		      bool is_tls);
/*
 * Lets requests under way finish for at most grace_ms, then replies 503 to those that still wait;
 * new ones get 503 at once.  Closes all connections, frees.  A late reply is discarded.
 */
void http_server_stop(struct http_server *s, unsigned grace_ms);
#endif
