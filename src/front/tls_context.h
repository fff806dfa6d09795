/* SPDX-License-Identifier: MIT */
#ifndef FRONT_TLS_CONTEXT_H
#define FRONT_TLS_CONTEXT_H
/* The certificate, its key and what is negotiated with clients of the TLS port. */
#include <openssl/types.h>
#include "base/annotate.h"

/*
 * certificate is a PEM file with the certificate and the ones that signed it, key the PEM file of
 * its key.  0; or -EINVAL, and *why is a sentence (heap) that names the file.
 */
int tls_context_new(const char *certificate, const char *key, SSL_CTX **out, char **why) MUSTCHECK;
#endif
