/* SPDX-License-Identifier: MIT */
/* Names of channels, and patterns over them (the part before a newline). */
#include "fuzz.h"
#include "wire/channel_name.h"

static void fuzz(struct str_view input)
{
	ptrdiff_t newline = sv_find(input, '\n');
	struct channel_traits t;

	if (channel_name_parse(input, 200, &t) == 0) {
		MUST(input.len > 0 && input.len <= 200);
		MUST(t.is_user == (input.ptr[0] == '#'));
		MUST(t.is_user == (t.user_id.len > 0));
		MUST(!t.is_presence || t.is_guarded);
		MUST(!t.is_encrypted || (t.is_guarded && !t.is_presence));
		MUST(channel_pattern_match(input, input));
	}
	if (newline >= 0 && input.len < 4096)
		(void)channel_pattern_match(sv_n(input.ptr, (size_t)newline),
					    sv_skip(input, (size_t)newline + 1));
	MUST(channel_pattern_match(SV("*"), input));
}
