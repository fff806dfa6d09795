/* SPDX-License-Identifier: MIT */
/* Frames of a connection: the verdict does not depend on where the stream is cut. */
#include <errno.h>
#include "fuzz.h"
#include "ws/frame_guard.h"

/* Feeds pieces of that size. */
static int feed_by(struct str_view input, size_t piece)
{
	struct frame_guard g;
	int rc = 0;

	frame_guard_begin(&g);
	while (input.len && rc == 0) {
		size_t n = input.len < piece ? input.len : piece;

		rc = frame_guard_feed(&g, (const unsigned char *)input.ptr, n);
		input = sv_skip(input, n);
	}
	return rc;
}

static void fuzz(struct str_view input)
{
	int whole = feed_by(input, input.len ? input.len : 1);

	MUST(whole == 0 || whole == -EPROTO);
	MUST(feed_by(input, 1) == whole);
	MUST(feed_by(input, 7) == whole);
}
