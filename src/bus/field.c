/* SPDX-License-Identifier: MIT */
/* No state; any thread. */
#include <string.h>
#include "bus/field.h"
#include "bus/message.h"

#define MAX_DIGITS 8

bool bus_field_is_text(struct str_view v)
{
	return !v.len || !memchr(v.ptr, '\0', v.len);
}

void bus_field_add(struct strbuf *out, struct str_view v)
{
	strbuf_add_u64(out, v.len);
	strbuf_add_c(out, ':');
	strbuf_add_sv(out, v);
}

void bus_field_add_number(struct strbuf *out, uint64_t n)
{
	char text[STR_U64_SIZE];

	bus_field_add(out, sv(str_u64(text, n)));
}

bool bus_field_take(struct str_view *text, struct str_view *out)
{
	size_t digits = 0;
	uint64_t len;

	while (digits < text->len && digits <= MAX_DIGITS && text->ptr[digits] != ':')
		digits++;
	if (digits == text->len || text->ptr[digits] != ':' ||
	    !sv_to_u64(sv_n(text->ptr, digits), BUS_MESSAGE_MAX_BYTES, &len) ||
	    len > text->len - digits - 1)
		return false;
	*out = sv_n(text->ptr + digits + 1, (size_t)len);
	*text = sv_skip(*text, digits + 1 + (size_t)len);
	/* Also of a text that is UTF-8 a length can end within a character. */
	return bus_field_is_text(*out) && sv_is_utf8(*out);
}

bool bus_field_take_number(struct str_view *text, uint64_t max, uint64_t *out)
{
	struct str_view field;

	return bus_field_take(text, &field) && sv_to_u64(field, max, out);
}
