/* SPDX-License-Identifier: MIT */
/* No state; any thread. */
#include <string.h>
#include "bus/message.h"

#define FIELD_MAX_DIGITS 8

static const char kinds[] = { [BUS_CLIENT_EVENT] = 'C', [BUS_EVENT] = 'E', [BUS_MEMBER] = 'P' };

static void message_add_field(struct strbuf *out, struct str_view v)
{
	strbuf_addf(out, "%zu:", v.len);
	strbuf_add(out, v.ptr, v.len);
}

static void message_add_number(struct strbuf *out, uint64_t n)
{
	char text[STR_U64_SIZE];

	str_u64(text, n);
	message_add_field(out, sv(text));
}

static bool message_is_text(struct str_view v)
{
	return !v.len || !memchr(v.ptr, '\0', v.len);
}

bool bus_message_add(struct strbuf *out, const struct bus_message *m)
{
	size_t bytes = m->app.len + m->channel.len + m->name.len + m->id.len + m->data.len;

	if (bytes > BUS_MESSAGE_MAX_BYTES || !message_is_text(m->data) ||
	    !message_is_text(m->name) || !message_is_text(m->app) || !message_is_text(m->channel) ||
	    !message_is_text(m->id))
		return false;
	strbuf_add_c(out, kinds[m->kind]);
	message_add_field(out, m->app);
	message_add_field(out, m->channel);
	message_add_field(out, m->data);
	if (m->kind != BUS_EVENT)
		return true;
	message_add_field(out, m->name);
	message_add_field(out, m->id);
	message_add_number(out, m->exclude);
	message_add_number(out, (uint64_t)m->published_at);
	return true;
}

static bool message_take_field(struct str_view *text, struct str_view *out)
{
	size_t digits = 0;
	uint64_t len;

	while (digits < text->len && digits <= FIELD_MAX_DIGITS && text->ptr[digits] != ':')
		digits++;
	if (digits == text->len || text->ptr[digits] != ':' ||
	    !sv_to_u64(sv_n(text->ptr, digits), BUS_MESSAGE_MAX_BYTES, &len) ||
	    len > text->len - digits - 1)
		return false;
	*out = sv_n(text->ptr + digits + 1, (size_t)len);
	*text = sv_skip(*text, digits + 1 + (size_t)len);
	/* Also of a text that is UTF-8 a length can end within a character. */
	return message_is_text(*out) && sv_is_utf8(*out);
}

static bool message_take_number(struct str_view *text, uint64_t max, uint64_t *out)
{
	struct str_view field;

	return message_take_field(text, &field) && sv_to_u64(field, max, out);
}

bool bus_message_take(struct str_view *text, struct bus_message *out)
{
	struct str_view rest = *text;
	const char *kind = rest.len ? memchr(kinds, rest.ptr[0], sizeof(kinds)) : NULL;
	uint64_t published_at;

	if (!kind)
		return false;
	*out = (struct bus_message){ .kind = (enum bus_kind)(kind - kinds) };
	rest = sv_skip(rest, 1);
	if (!message_take_field(&rest, &out->app) || !message_take_field(&rest, &out->channel) ||
	    !message_take_field(&rest, &out->data))
		return false;
	if (out->kind == BUS_EVENT) {
		if (!message_take_field(&rest, &out->name) ||
		    !message_take_field(&rest, &out->id) ||
		    !message_take_number(&rest, UINT64_MAX, &out->exclude) ||
		    !message_take_number(&rest, INT64_MAX, &published_at))
			return false;
		out->published_at = (usec_t)published_at;
	}
	*text = rest;
	return true;
}
