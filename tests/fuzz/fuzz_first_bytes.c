/* SPDX-License-Identifier: MIT */
/* Who a new connection is for: what was decided stays so when more bytes come. */
#include "front/acceptor.h"
#include "fuzz.h"

static enum first_bytes sort_exact(struct str_view input, const char *path)
{
	char *block = xmalloc(input.len ? input.len : 1);
	enum first_bytes what;

	if (input.len)
		memcpy(block, input.ptr, input.len);
	what = first_bytes_sort(block, input.len, path);
	free(block);
	return what;
}

static void fuzz(struct str_view input)
{
	static const char *const paths[] = { "", "/ws", "/a/b" };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		enum first_bytes what = first_bytes_sort(input.ptr, input.len, paths[i]);
		enum first_bytes half = sort_exact(sv_n(input.ptr, input.len / 2), paths[i]);

		MUST(what >= FIRST_UNDECIDED && what <= FIRST_TLS);
		MUST(half == FIRST_UNDECIDED || half == what);
		MUST(what != FIRST_UNDECIDED || input.len < FIRST_BYTES_MAX);
	}
}
