/* SPDX-License-Identifier: MIT */
/* Tells TLS, WebSocket and plain HTTP apart by their first bytes.  No state; any thread. */
#include <strings.h>
#include "base/str.h"
#include "front/acceptor.h"

#define TLS_HANDSHAKE 0x16 /* record type (RFC 8446 section 5.1) */

/* The target of "GET target HTTP/1.1"; empty while the line is incomplete. */
static struct str_view target_of(struct str_view line)
{
	ptrdiff_t space;

	line = sv_skip(line, 4);
	space = sv_find(line, ' ');
	return sv_n(line.ptr, space < 0 ? line.len : (size_t)space);
}

/* Whether head has a header line "Upgrade: websocket". */
static bool asks_upgrade(struct str_view head)
{
	static const char name[] = "upgrade:";

	for (ptrdiff_t nl; (nl = sv_find(head, '\n')) >= 0;) {
		head = sv_skip(head, (size_t)nl + 1);
		if (sv_starts_with(head, SV("\r\n")) || sv_starts_with(head, SV("\n")))
			return false; /* the end of the header */
		if (head.len < sizeof(name) - 1 || strncasecmp(head.ptr, name, sizeof(name) - 1))
			continue;
		head = sv_skip(head, sizeof(name) - 1);
		while (head.len && (*head.ptr == ' ' || *head.ptr == '\t'))
			head = sv_skip(head, 1);
		return head.len >= 9 && strncasecmp(head.ptr, "websocket", 9) == 0;
	}
	return false;
}

static bool is_head_whole(struct str_view head)
{
	return memmem(head.ptr, head.len, "\r\n\r\n", 4) || memmem(head.ptr, head.len, "\n\n", 2);
}

enum first_bytes first_bytes_sort(const char *bytes, size_t n, const char *path)
{
	struct str_view head = sv_n(bytes, n), prefix = sv(path), target;

	if (n == 0)
		return FIRST_UNDECIDED;
	if ((unsigned char)bytes[0] == TLS_HANDSHAKE)
		return FIRST_TLS;
	if (!sv_starts_with(head, sv_n("GET ", n < 4 ? n : 4)))
		return FIRST_HTTP;
	if (sv_find(head, '\n') < 0)
		return n >= FIRST_BYTES_MAX ? FIRST_HTTP : FIRST_UNDECIDED;
	target = target_of(sv_n(bytes, (size_t)sv_find(head, '\n')));
	if (sv_starts_with(target, SV("/app/")) ||
	    (prefix.len && sv_starts_with(target, prefix) &&
	     sv_starts_with(sv_skip(target, prefix.len), SV("/app/"))))
		return FIRST_WEBSOCKET;
	/* A WebSocket on a wrong path gets its error after the upgrade (protocol A1). */
	if (!is_head_whole(head) && n < FIRST_BYTES_MAX)
		return FIRST_UNDECIDED;
	return asks_upgrade(head) ? FIRST_WEBSOCKET : FIRST_HTTP;
}
