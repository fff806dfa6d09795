/* SPDX-License-Identifier: MIT */
/* Who a new connection is for: what was decided stays so when more bytes come. */
#include "front/first_bytes.h"
#include "fuzz.h"
#include "wire/handshake.h"

#define MAX 300

static enum first_bytes sort_exact(struct str_view input, size_t *head)
{
	char *block = xmalloc(input.len ? input.len : 1);
	enum first_bytes what;

	if (input.len)
		memcpy(block, input.ptr, input.len);
	what = first_bytes_sort(block, input.len, MAX, head);
	free(block);
	return what;
}

/* The form for libwebsockets is a handshake as well, and the only one in its bytes. */
static void check_rewritten(struct str_view head)
{
	struct handshake h;
	struct strbuf b;

	strbuf_init(&b, 0);
	handshake_rewrite(head, &b);
	MUST(head_length(b.ptr, b.len) == b.len);
	MUST(handshake_read(strbuf_view(&b), &h) == 0);
	MUST(h.protocol.len == 0);
	strbuf_release(&b);
}

static void fuzz(struct str_view input)
{
	size_t head = 0, head_of_half = 0;
	enum first_bytes what = first_bytes_sort(input.ptr, input.len, MAX, &head);
	enum first_bytes half = sort_exact(sv_n(input.ptr, input.len / 2), &head_of_half);

	MUST(what >= FIRST_UNDECIDED && what <= FIRST_TLS);
	MUST(half == FIRST_UNDECIDED || half == what);
	MUST(what != FIRST_UNDECIDED || input.len < MAX);
	if (what == FIRST_WEBSOCKET) {
		MUST(head && head <= input.len && head <= MAX);
		check_rewritten(sv_n(input.ptr, head));
	}
}
