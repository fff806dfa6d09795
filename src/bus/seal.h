/* SPDX-License-Identifier: MIT */
#ifndef BUS_SEAL_H
#define BUS_SEAL_H
/*
 * Signs what nodes send each other through Redis, with a secret that only nodes of the same
 * database know (docs/decisions/0061-signed-messages.md).  A signature is for one channel of Redis,
 * so that a message cannot be moved to another one.  Any thread, but for new and free.
 */
#include "base/annotate.h"
#include "base/str.h"
#include "wire/auth.h"

#define BUS_SIGNATURE_BYTES AUTH_HEX_BYTES

struct bus_seal;
struct bus_seal *bus_seal_new(void) MUSTCHECK;
void bus_seal_free(struct bus_seal *s); /* NULL is fine */
/* Until it is called, nothing can be signed or is accepted. */
void bus_seal_set(struct bus_seal *s, struct str_view secret);
/* channel: the name in Redis.  False: there is no secret yet. */
bool bus_seal_sign(struct bus_seal *s, struct str_view channel, struct str_view text,
		   char signature[BUS_SIGNATURE_BYTES]) MUSTCHECK;

enum bus_verdict {
	BUS_SIGNED,
	BUS_NOT_SIGNED,
	BUS_NO_SECRET, /* there is none yet */
};

/* Takes the same time wherever the signatures differ. */
enum bus_verdict bus_seal_check(struct bus_seal *s, struct str_view channel, struct str_view text,
				struct str_view signature) MUSTCHECK;
#endif
