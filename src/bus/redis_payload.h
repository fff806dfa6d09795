/* SPDX-License-Identifier: MIT */
#ifndef BUS_REDIS_PAYLOAD_H
#define BUS_REDIS_PAYLOAD_H
/*
 * What is before the messages in a payload of Redis: "2 SIGNATURE SENDER COUNT WORD".
 *
 * 2 is the version; SIGNATURE is for the channel and all that follows (bus/seal.h); SENDER is the
 * random number of the sending process; COUNT rises with each payload of the process; WORD is a
 * letter.  After WORD there can be a blank and more.
 */
#include <stdint.h>
#include "bus/seal.h"

/* Replaces what is in out; the caller appends what follows. */
void redis_payload_begin(struct strbuf *out, uint64_t sender, uint64_t count, char word);
/* Signs one that is complete.  False: there is no secret yet. */
bool redis_payload_sign(struct strbuf *payload, struct bus_seal *seal, struct str_view channel)
	MUSTCHECK;

struct redis_payload {
	struct str_view signature, text; /* text: what is signed */
	uint64_t sender, count;
	char word;		  /* J, L or M */
	struct str_view messages; /* what follows */
};

enum redis_payload_kind {
	REDIS_PAYLOAD_READ,
	REDIS_PAYLOAD_UNKNOWN,	 /* of another version */
	REDIS_PAYLOAD_MALFORMED, /* no node has made it */
};

enum redis_payload_kind redis_payload_read(struct str_view payload, struct redis_payload *out)
	MUSTCHECK;
#endif
