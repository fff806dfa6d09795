/* SPDX-License-Identifier: MIT */
/* Notifications of other nodes, one in each line: every role of a database can send some, and
 * clients of Redis payloads there. */
#include <string.h>
#include "bus/message.h"
#include "bus/packing.h"
#include "bus/redis_payload.h"
#include "fuzz.h"

static void fuzz_message(const struct bus_message *m)
{
	struct strbuf text;
	struct bus_message again;
	struct str_view rest;

	(void)bus_message_is_allowed(m);
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

/* What is read is made again as it was, but for numbers with zeros in front. */
static void fuzz_payload(struct str_view payload)
{
	struct redis_payload p, again;
	struct strbuf made;

	if (redis_payload_read(payload, &p) != REDIS_PAYLOAD_READ)
		return;
	strbuf_init(&made, 256);
	redis_payload_begin(&made, p.sender, p.count, p.word);
	strbuf_add_c(&made, ' ');
	strbuf_add_sv(&made, p.messages);
	MUST(redis_payload_read(strbuf_view(&made), &again) == REDIS_PAYLOAD_MALFORMED);
	/* Blanks are in the place of the signature. */
	memset(made.ptr + 2, '0', BUS_SIGNATURE_BYTES);
	MUST(redis_payload_read(strbuf_view(&made), &again) == REDIS_PAYLOAD_READ);
	MUST(again.sender == p.sender && again.count == p.count && again.word == p.word);
	MUST(sv_eq(again.messages, p.messages));
	strbuf_release(&made);
}

static void fuzz(struct str_view input)
{
	struct bus_unpacker u = { .n_parts = 0 };
	struct str_view rest = input, payload, messages;
	struct bus_message m;

	while (sv_split(&rest, '\n', &payload)) {
		fuzz_payload(payload);
		if (bus_unpacker_take(&u, payload, &messages) != BUS_NEWS_MESSAGES)
			continue;
		while (bus_message_take(&messages, &m))
			fuzz_message(&m);
	}
	bus_unpacker_release(&u);
}
