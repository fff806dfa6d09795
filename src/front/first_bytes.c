/* SPDX-License-Identifier: MIT */
/* Distinguishes TLS, WebSocket and plain HTTP by their first bytes.  No state; any thread. */
#include "base/str.h"
#include "front/first_bytes.h"
#include "wire/handshake.h"

#define TLS_HANDSHAKE 0x16 /* record type (RFC 8446 section 5.1) */

enum first_bytes first_bytes_sort(const char *bytes, size_t n, size_t max, size_t *head)
{
	struct handshake h;

	if (n == 0)
		return FIRST_UNDECIDED;
	if ((unsigned char)bytes[0] == TLS_HANDSHAKE)
		return FIRST_TLS;
	if (!sv_starts_with(sv_n(bytes, n), sv_n("GET ", n < 4 ? n : 4)))
		return FIRST_HTTP;
	*head = head_length(bytes, n);
	if (*head == 0)
		return n >= max ? FIRST_HTTP : FIRST_UNDECIDED;
	if (*head > max)
		return FIRST_HTTP;
	return handshake_read(sv_n(bytes, *head), &h) ? FIRST_HTTP : FIRST_WEBSOCKET;
}
