/* SPDX-License-Identifier: MIT */
#ifndef BENCH_SIGN_H
#define BENCH_SIGN_H
/*
 * Signed requests of the Pusher HTTP API: body_md5, and auth_signature over method,
 * path and the sorted query.
 */
#include <stddef.h>
#include "util.h"

#define SIGNER_HEX 64 /* digits of a signature */

struct signer;

/* The strings are kept, not copied. */
struct signer *signer_new(const char *host, unsigned port, const char *app_id, const char *key,
			  const char *secret);
void signer_free(struct signer *s);
/* Appends a whole keep-alive POST /apps/{id}/events to out, signed for this moment. */
void signer_post(struct signer *s, const struct bytes *body, struct bytes *out);
/* The same for another time (seconds since 1970). */
void signer_post_at(struct signer *s, int64_t at, const struct bytes *body, struct bytes *out);
/* The signature of a subscription to a private channel, in hexadecimal. */
void signer_channel(struct signer *s, const char *socket_id, const char *channel,
		    char out[SIGNER_HEX + 1]);
#endif
