/* SPDX-License-Identifier: MIT */
/* Changes of members, as other nodes send them. */
#include "cluster/change.h"
#include "fuzz.h"

static void fuzz(struct str_view input)
{
	struct change c, again;
	struct strbuf text;

	if (!sv_is_utf8(input) || !change_read(input, &c))
		return;
	MUST(sv_is_utf8(c.user_id) && sv_is_utf8(c.info));
	MUST(c.user_id.len + c.info.len < input.len);
	strbuf_init(&text, 64);
	change_write(&text, &c);
	MUST(change_read(strbuf_view(&text), &again));
	MUST(again.outcome == c.outcome && again.before == c.before && again.version == c.version);
	MUST(sv_eq(again.user_id, c.user_id) && sv_eq(again.info, c.info));
	strbuf_release(&text);
}
