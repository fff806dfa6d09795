/* SPDX-License-Identifier: MIT */
#ifndef WIRE_TLS_CONTEXT_H
#define WIRE_TLS_CONTEXT_H
/* The certificate, its key and what is negotiated with clients of the TLS port. */
#include <openssl/types.h>
#include "base/annotate.h"

/*
 * certificate is a PEM file with the certificate and the ones that signed it, key the PEM file of
 * its key.  0; or -EINVAL, and *why is a sentence (heap) that names the file.
 */
int tls_context_new(const char *certificate, const char *key, SSL_CTX **out, char **why) MUSTCHECK;
/*
 * What an administrator should know of files that can be used, in one sentence (heap), or NULL: the
 * certificate has expired, is not valid yet or expires within two weeks, or every user of the
 * machine can read the key.
 */
char *tls_context_warning(SSL_CTX *ctx, const char *certificate, const char *key) MUSTCHECK;
void tls_context_free(SSL_CTX *ctx); /* NULL is fine */
#endif
