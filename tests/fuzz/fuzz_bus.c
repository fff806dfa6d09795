/* SPDX-License-Identifier: MIT */
/* Notifications of other nodes, one in each line: every role of a database can send some. */
#include "bus/message.h"
#include "bus/packing.h"
#include "fuzz.h"

static void fuzz_message(const struct bus_message *m)
{
	struct strbuf text;
	struct bus_message again;
	struct str_view rest;

	MUST(m->data.len <= BUS_MESSAGE_MAX_BYTES);
	strbuf_init(&text, 256);
	if (bus_message_add(&text, m)) {
		rest = sv_n(text.ptr, text.len);
		MUST(bus_message_take(&rest, &again) && !rest.len);
		MUST(again.kind == m->kind && sv_eq(again.app, m->app));
		MUST(sv_eq(again.channel, m->channel) && sv_eq(again.data, m->data));
		MUST(sv_eq(again.name, m->name) && sv_eq(again.id, m->id));
		MUST(again.exclude == m->exclude && again.published_at == m->published_at);
	}
	strbuf_release(&text);
}

static void fuzz(struct str_view input)
{
	struct bus_unpacker u = { .n_parts = 0 };
	struct str_view rest = input, payload, messages;
	struct bus_message m;

	while (sv_split(&rest, '\n', &payload)) {
		if (bus_unpacker_take(&u, payload, &messages) != BUS_NEWS_MESSAGES)
			continue;
		while (bus_message_take(&messages, &m))
			fuzz_message(&m);
	}
	bus_unpacker_release(&u);
}
