/* SPDX-License-Identifier: MIT */
/* No state; any thread. */
#include <string.h>
#include "bus/redis_payload.h"

#define VERSION_WORD "2"
#define SIGNATURE_AT 2 /* after the version and a blank */
#define SIGNED_AT    (SIGNATURE_AT + BUS_SIGNATURE_BYTES + 1)

void redis_payload_begin(struct strbuf *out, uint64_t sender, uint64_t count, char word)
{
	strbuf_reset(out);
	strbuf_addf(out, VERSION_WORD " %*s ", BUS_SIGNATURE_BYTES, "");
	strbuf_add_u64(out, sender);
	strbuf_add_c(out, ' ');
	strbuf_add_u64(out, count);
	strbuf_add_c(out, ' ');
	strbuf_add_c(out, word);
}

bool redis_payload_sign(struct strbuf *payload, struct bus_seal *seal, struct str_view channel)
{
	return bus_seal_sign(seal, channel, sv_skip(strbuf_view(payload), SIGNED_AT),
			     payload->ptr + SIGNATURE_AT);
}

enum redis_payload_kind redis_payload_read(struct str_view payload, struct redis_payload *out)
{
	struct str_view version, number, count, word;

	*out = (struct redis_payload){ .count = 0 };
	if (!sv_split(&payload, ' ', &version) || !sv_eq_c(version, VERSION_WORD))
		return REDIS_PAYLOAD_UNKNOWN;
	if (!sv_is_utf8(payload) || !sv_split(&payload, ' ', &out->signature))
		return REDIS_PAYLOAD_MALFORMED;
	out->text = payload;
	if (!sv_split(&payload, ' ', &number) || !sv_to_u64(number, UINT64_MAX, &out->sender) ||
	    !sv_split(&payload, ' ', &count) || !sv_to_u64(count, UINT64_MAX, &out->count) ||
	    !sv_split(&payload, ' ', &word) || word.len != 1 || !strchr("JLM", *word.ptr))
		return REDIS_PAYLOAD_MALFORMED;
	out->word = *word.ptr;
	out->messages = payload;
	return REDIS_PAYLOAD_READ;
}
