/* SPDX-License-Identifier: MIT */
/*
 * Kinds and grammar of channel names (protocol A4, A8).  Patterns are matched without recursion, so
 * a name from the network cannot exhaust the stack.  No state; any thread.
 */
#include <errno.h>
#include <string.h>
#include "wire/channel_name.h"

/* Longer prefixes before those they start with. */
static const struct {
	struct str_view prefix;
	struct channel_traits traits;
} kinds[] = {
	{ { "private-encrypted-cache-", 24 },
	  { .is_guarded = true, .is_encrypted = true, .is_cache = true } },
	{ { "private-encrypted-", 18 }, { .is_guarded = true, .is_encrypted = true } },
	{ { "private-cache-", 14 }, { .is_guarded = true, .is_cache = true } },
	{ { "private-", 8 }, { .is_guarded = true } },
	{ { "presence-cache-", 15 },
	  { .is_guarded = true, .is_presence = true, .is_cache = true } },
	{ { "presence-", 9 }, { .is_guarded = true, .is_presence = true } },
	{ { "cache-", 6 }, { .is_cache = true } },
};

static bool channel_is_name_byte(unsigned char c)
{
	static const bool other[256] = { ['-'] = true, ['_'] = true, ['='] = true, ['@'] = true,
					 [','] = true, ['.'] = true, [';'] = true };

	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       other[c];
}

static struct channel_traits channel_traits_of(struct str_view name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (sv_starts_with(name, kinds[i].prefix))
			return kinds[i].traits;
	return (struct channel_traits){ .is_guarded = false };
}

bool channel_name_is_encrypted(struct str_view name)
{
	return channel_traits_of(name).is_encrypted;
}

int channel_name_parse(struct str_view name, size_t max_bytes, struct channel_traits *out)
{
	struct str_view rest = name;
	struct channel_traits t;

	if (max_bytes && name.len > max_bytes)
		return -ENAMETOOLONG;
	if (sv_starts_with(name, SV(USER_CHANNEL_PREFIX))) {
		rest = sv_skip(name, sizeof(USER_CHANNEL_PREFIX) - 1);
		t = (struct channel_traits){ .is_user = true, .user_id = rest };
	} else {
		t = channel_traits_of(name);
	}
	if (rest.len == 0)
		return -EINVAL;
	for (size_t i = 0; i < rest.len; i++)
		if (!channel_is_name_byte((unsigned char)rest.ptr[i]))
			return -EINVAL;
	*out = t;
	return 0;
}

/*
 * On a mismatch only the last '*' seen needs to take one byte more: what stood before it has
 * matched as early as it can.
 */
bool channel_pattern_match(struct str_view pattern, struct str_view name)
{
	size_t p = 0, n = 0, star = 0, resume = 0;
	bool has_star = false;

	while (n < name.len) {
		if (p < pattern.len && pattern.ptr[p] == '*') {
			has_star = true;
			star = ++p;
			resume = n;
		} else if (p < pattern.len && pattern.ptr[p] == name.ptr[n]) {
			p++;
			n++;
		} else if (has_star) {
			p = star;
			n = ++resume;
		} else {
			return false;
		}
	}
	while (p < pattern.len && pattern.ptr[p] == '*')
		p++;
	return p == pattern.len;
}

enum metric_channel_type channel_metric_type(struct channel_traits t)
{
	return t.is_encrypted  ? CHANNEL_ENCRYPTED
	       : t.is_presence ? CHANNEL_PRESENCE
	       : t.is_guarded  ? CHANNEL_PRIVATE
			       : CHANNEL_PUBLIC;
}
