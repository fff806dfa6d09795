/* SPDX-License-Identifier: MIT */
#ifndef BENCH_STREAM_H
#define BENCH_STREAM_H
/*
 * Reading and writing a non-blocking socket, with TLS or without.  ssl is NULL without.
 */
#include <stdbool.h>
#include <sys/types.h>

struct ssl_st;
struct ssl_ctx_st;

/* Verifies no certificate: what is measured is the bench's own server. */
struct ssl_ctx_st *stream_client(void);
/* With files in PEM. */
struct ssl_ctx_st *stream_server(const char *certificate, const char *key);
/* TLS on the socket, which stays the caller's. */
struct ssl_st *stream_tls(struct ssl_ctx_st *ctx, int fd, bool is_client);
/* A client's handshake: 1 when it is done, 0 when it waits for the peer, -1 when it failed. */
int stream_handshake(struct ssl_st *ssl);
/* As recv() and send() without flags; -1 with EAGAIN when it would block, with EPROTO for TLS. */
ssize_t stream_recv(int fd, struct ssl_st *ssl, void *p, size_t len);
ssize_t stream_send(int fd, struct ssl_st *ssl, const void *p, size_t len);
void stream_free(struct ssl_st *ssl); /* NULL is fine */
#endif
