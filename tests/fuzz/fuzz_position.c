/* SPDX-License-Identifier: MIT */
/* Positions in the log, and the list of a client's earlier socket ids. */
#include "fuzz.h"
#include "wire/position.h"

static void fuzz(struct str_view input)
{
	char text[POSITION_SIZE], again_text[POSITION_SIZE];
	struct position p, again;

	if (position_parse(input, &p)) {
		MUST(*p.epoch && strlen(p.epoch) <= POSITION_EPOCH_MAX);
		MUST(p.serial <= INT64_MAX);
		position_format(&p, text);
		MUST(position_parse(sv(text), &again));
		MUST(strcmp(p.epoch, again.epoch) == 0 && p.serial == again.serial);
		MUST(strcmp(text, position_format(&again, again_text)) == 0);
	}
	if (position_was_is_valid(input)) {
		struct str_view rest = input, one;
		unsigned n = 0;

		while (sv_split(&rest, ',', &one)) {
			MUST(one.len && sv_find(one, '.') > 0);
			n++;
		}
		MUST(n <= POSITION_WAS_MAX);
	}
}
