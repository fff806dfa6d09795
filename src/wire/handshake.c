/* SPDX-License-Identifier: MIT */
/* One pass over the lines of the head for each function.  No state; any thread. */
#include <ctype.h>
#include <errno.h>
#include <strings.h>
#include "wire/handshake.h"

#define KEY_BYTES 24 /* 16 bytes in base64 */

size_t head_length(const char *bytes, size_t n)
{
	const char *end = bytes + n;

	for (const char *p = bytes; (p = memchr(p, '\n', (size_t)(end - p)));) {
		p++;
		if (end - p >= 1 && p[0] == '\n')
			return (size_t)(p + 1 - bytes);
		if (end - p >= 2 && p[0] == '\r' && p[1] == '\n')
			return (size_t)(p + 2 - bytes);
	}
	return 0;
}

/* The next line without its end; false after the last one. */
static bool handshake_next_line(struct str_view *rest, struct str_view *line)
{
	ptrdiff_t nl = sv_find(*rest, '\n');

	if (nl < 0)
		return false;
	*line = sv_n(rest->ptr, (size_t)nl);
	if (line->len && line->ptr[line->len - 1] == '\r')
		line->len--;
	*rest = sv_skip(*rest, (size_t)nl + 1);
	return true;
}

static struct str_view handshake_trim(struct str_view s)
{
	while (s.len && (*s.ptr == ' ' || *s.ptr == '\t'))
		s = sv_skip(s, 1);
	while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
		s.len--;
	return s;
}

static bool handshake_is_word(struct str_view s, const char *word)
{
	return s.len == strlen(word) && strncasecmp(s.ptr, word, s.len) == 0;
}

bool header_has_word(struct str_view list, const char *word)
{
	struct str_view part;

	while (sv_split(&list, ',', &part))
		if (handshake_is_word(handshake_trim(part), word))
			return true;
	return false;
}

/* "GET target HTTP/1.1", the target without spaces. */
static bool handshake_is_request_line(struct str_view line)
{
	struct str_view target;
	ptrdiff_t space;

	if (!sv_starts_with(line, SV("GET /")))
		return false;
	target = sv_skip(line, 4);
	space = sv_find(target, ' ');
	return space > 0 && sv_eq(sv_skip(target, (size_t)space + 1), SV("HTTP/1.1"));
}

/* The canonical form of 16 bytes ends with four zero bits, which clients do not always observe. */
static bool handshake_is_key(struct str_view key)
{
	if (key.len != KEY_BYTES || !sv_ends_with(key, SV("==")))
		return false;
	for (size_t i = 0; i < KEY_BYTES - 2; i++)
		if (!isalnum((unsigned char)key.ptr[i]) && key.ptr[i] != '+' && key.ptr[i] != '/')
			return false;
	return true;
}

/* A header that may be there once only. */
struct once {
	unsigned count;
	struct str_view value;
};

static void once_add(struct once *o, struct str_view value)
{
	o->count++;
	o->value = value;
}

int handshake_read(struct str_view head, struct handshake *out)
{
	struct once host = { 0 }, key = { 0 }, version = { 0 };
	bool is_upgrade = false, is_connection = false;
	struct str_view line, name, value, protocol = SV("");

	if (memchr(head.ptr, '\0', head.len) || !handshake_next_line(&head, &line) ||
	    !handshake_is_request_line(line))
		return -EPROTO;
	while (handshake_next_line(&head, &line) && line.len) {
		ptrdiff_t colon = sv_find(line, ':');

		/* A continued line begins with a space. */
		if (colon <= 0 || memchr(line.ptr, ' ', (size_t)colon) ||
		    memchr(line.ptr, '\t', (size_t)colon))
			return -EPROTO;
		name = sv_n(line.ptr, (size_t)colon);
		value = handshake_trim(sv_skip(line, (size_t)colon + 1));
		if (handshake_is_word(name, "Host"))
			once_add(&host, value);
		else if (handshake_is_word(name, "Sec-WebSocket-Key"))
			once_add(&key, value);
		else if (handshake_is_word(name, "Sec-WebSocket-Version"))
			once_add(&version, value);
		else if (handshake_is_word(name, "Upgrade"))
			is_upgrade = is_upgrade || header_has_word(value, "websocket");
		else if (handshake_is_word(name, "Connection"))
			is_connection = is_connection || header_has_word(value, "upgrade");
		else if (handshake_is_word(name, "Sec-WebSocket-Protocol"))
			while (!protocol.len && sv_split(&value, ',', &protocol))
				protocol = handshake_trim(protocol);
	}
	if (!is_upgrade || !is_connection || host.count != 1 || !host.value.len || key.count != 1 ||
	    !handshake_is_key(key.value) || version.count != 1 || !sv_eq(version.value, SV("13")))
		return -EPROTO;
	out->protocol = protocol;
	return 0;
}

void head_values(struct str_view head, const char *name, struct strbuf *out)
{
	struct str_view line;
	bool is_first = true;

	if (!handshake_next_line(&head, &line)) /* the request line */
		return;
	while (handshake_next_line(&head, &line) && line.len) {
		ptrdiff_t colon = sv_find(line, ':');

		if (colon < 0 || !handshake_is_word(sv_n(line.ptr, (size_t)colon), name))
			continue;
		strbuf_add_str(out, is_first ? "" : ",");
		strbuf_add_sv(out, handshake_trim(sv_skip(line, (size_t)colon + 1)));
		is_first = false;
	}
}

void handshake_rewrite(struct str_view head, struct strbuf *out)
{
	static const char *const replaced[] = {
		"Upgrade:", "Connection:", "Sec-WebSocket-Protocol:", "Sec-WebSocket-Extensions:"
	};
	struct str_view line;

	while (handshake_next_line(&head, &line) && line.len) {
		bool keep = true;

		for (size_t i = 0; i < sizeof(replaced) / sizeof(replaced[0]); i++)
			keep = keep && (line.len < strlen(replaced[i]) ||
					strncasecmp(line.ptr, replaced[i], strlen(replaced[i])));
		if (!keep)
			continue;
		strbuf_add_sv(out, line);
		strbuf_add_str(out, "\r\n");
	}
	strbuf_add_str(out, "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
}
