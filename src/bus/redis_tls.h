/* SPDX-License-Identifier: MIT */
#ifndef BUS_REDIS_TLS_H
#define BUS_REDIS_TLS_H
/* TLS to Redis.  The server's certificate is always verified, and so is its name. */
#include <openssl/types.h>
#include "base/annotate.h"
#include "conf/conf.h"

/* 0; or -EINVAL, and *why is a sentence (heap) that names the option and the file. */
int redis_tls_new(const struct conf_cluster *conf, SSL_CTX **out, char **why) MUSTCHECK;
void redis_tls_free(SSL_CTX *ctx); /* NULL is fine */
/* A connection over fd to host, a name or an address; NULL: there is no memory. */
SSL *redis_tls_connect(SSL_CTX *ctx, int fd, const char *host) MUSTCHECK;
/* Why the last call for ssl failed (heap); NULL: the socket has the reason, or was closed. */
char *redis_tls_error(const SSL *ssl) MUSTCHECK;
#endif
