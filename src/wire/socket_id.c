/* SPDX-License-Identifier: MIT */
/* No state; any thread. */
#include <stdio.h>
#include "base/random.h"
#include "wire/socket_id.h"

#define NODE_SHIFT 19

static bool socket_id_is_number(struct str_view s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;
	return s.len == 1 || (s.len > 1 && s.ptr[0] != '0');
}

bool socket_id_parse(struct str_view text, uint64_t *out)
{
	ptrdiff_t dot = sv_find(text, '.');
	struct str_view hi, lo;
	uint64_t h, l;

	if (dot < 0)
		return false;
	hi = sv_n(text.ptr, (size_t)dot);
	lo = sv_skip(text, (size_t)dot + 1);
	if (!socket_id_is_number(hi) || !socket_id_is_number(lo))
		return false;
	if (sv_to_u64(hi, UINT32_MAX, &h) && sv_to_u64(lo, UINT32_MAX, &l))
		*out = h << 32 | l;
	else
		*out = UINT64_MAX;
	return true;
}

/* Both parts have 31 bits; the first 12 are the node's number. */
uint64_t socket_id_new(unsigned node)
{
	uint32_t halves[2];
	uint64_t high;

	random_bytes(halves, sizeof(halves));
	high = halves[0] >> 1;
	if (node)
		high = (uint64_t)node << NODE_SHIFT | (high & ((1U << NODE_SHIFT) - 1));
	return high << 32 | halves[1] >> 1 | 1;
}

unsigned socket_id_node(uint64_t id)
{
	return (unsigned)(id >> 32 >> NODE_SHIFT);
}

char *socket_id_format(uint64_t id, char out[SOCKET_ID_SIZE])
{
	snprintf(out, SOCKET_ID_SIZE, "%u.%u", (unsigned)(id >> 32), (unsigned)(id & UINT32_MAX));
	return out;
}
