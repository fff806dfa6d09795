/* SPDX-License-Identifier: MIT */
/* No state; any thread. */
#include <string.h>
#include "bus/field.h"
#include "bus/message.h"
#include "wire/channel_name.h"

static const char kinds[] = {
	[BUS_CLIENT_EVENT] = 'C', [BUS_EVENT] = 'E', [BUS_MEMBER] = 'P', [BUS_SLICE] = 'S'
};

bool bus_message_add(struct strbuf *out, const struct bus_message *m)
{
	size_t bytes = m->app.len + m->channel.len + m->name.len + m->id.len + m->data.len;

	if (bytes > BUS_MESSAGE_MAX_BYTES || !bus_field_is_text(m->data) ||
	    !bus_field_is_text(m->name) || !bus_field_is_text(m->app) ||
	    !bus_field_is_text(m->channel) || !bus_field_is_text(m->id))
		return false;
	strbuf_add_c(out, kinds[m->kind]);
	bus_field_add(out, m->app);
	bus_field_add(out, m->channel);
	bus_field_add(out, m->data);
	if (m->kind != BUS_EVENT)
		return true;
	bus_field_add(out, m->name);
	bus_field_add(out, m->id);
	bus_field_add_number(out, m->exclude);
	bus_field_add_number(out, (uint64_t)m->published_at);
	return true;
}

bool bus_message_is_allowed(const struct bus_message *m)
{
	struct channel_traits t;

	switch (m->kind) {
	case BUS_CLIENT_EVENT: /* the frame is one of frame_event() */
		return !channel_name_parse(m->channel, BUS_MESSAGE_MAX_BYTES, &t) && t.is_guarded &&
		       !t.is_encrypted && sv_starts_with(m->data, SV("{\"event\":\"client-"));
	case BUS_EVENT:
		return !channel_name_parse(m->channel, BUS_MESSAGE_MAX_BYTES, &t) && m->name.len &&
		       !sv_starts_with(m->name, SV("pusher:")) &&
		       !sv_starts_with(m->name, SV("pusher_internal:"));
	case BUS_MEMBER:
	case BUS_SLICE:
		break;
	}
	return true;
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
	if (!bus_field_take(&rest, &out->app) || !bus_field_take(&rest, &out->channel) ||
	    !bus_field_take(&rest, &out->data))
		return false;
	if (out->kind == BUS_EVENT) {
		if (!bus_field_take(&rest, &out->name) || !bus_field_take(&rest, &out->id) ||
		    !bus_field_take_number(&rest, UINT64_MAX, &out->exclude) ||
		    !bus_field_take_number(&rest, INT64_MAX, &published_at))
			return false;
		out->published_at = (usec_t)published_at;
	}
	*text = rest;
	return true;
}
