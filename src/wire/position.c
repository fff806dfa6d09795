/* SPDX-License-Identifier: MIT */
/* Reads and writes positions, "epoch:serial" (docs/replay.md).  No state; any thread. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "wire/position.h"
#include "wire/socket_id.h"

#define WAS_ID_MAX 21 /* two numbers of 32 bits and the dot */

static bool position_is_epoch(struct str_view s)
{
	if (!s.len || s.len > POSITION_EPOCH_MAX)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		      c == '-' || c == '_'))
			return false;
	}
	return true;
}

bool position_parse(struct str_view text, struct position *out)
{
	ptrdiff_t colon = sv_find(text, ':');
	uint64_t serial;

	if (colon < 0 || !position_is_epoch(sv_n(text.ptr, (size_t)colon)) ||
	    !sv_to_u64(sv_skip(text, (size_t)colon + 1), INT64_MAX, &serial))
		return false;
	memcpy(out->epoch, text.ptr, (size_t)colon);
	out->epoch[colon] = '\0';
	out->serial = serial;
	return true;
}

char *position_format(const struct position *p, char out[POSITION_SIZE])
{
	out[0] = '\0';
	if (p->epoch[0])
		snprintf(out, POSITION_SIZE, "%s:%" PRIu64, p->epoch, p->serial);
	return out;
}

bool position_was_is_valid(struct str_view was)
{
	struct str_view one;
	unsigned n = 0;
	uint64_t id;

	if (sv_ends_with(was, SV(",")))
		return false;
	while (sv_split(&was, ',', &one))
		if (++n > POSITION_WAS_MAX || one.len > WAS_ID_MAX || !socket_id_parse(one, &id))
			return false;
	return true;
}
