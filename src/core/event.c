/* SPDX-License-Identifier: MIT */
/*
 * An event's strings are in one block, text; its data is shared by all channels of one publish.
 * The count is atomic: workers, the log and the publisher each hold a reference.  Any thread.
 */
#include "base/mem.h"
#include "base/random.h"
#include "core/event.h"
#include "wire/pusher.h"

#define ULID_TIME_CHARS	  10
#define ULID_RANDOM_BYTES 10

struct event *event_new(struct app *app, struct str_view channel, struct str_view name,
			struct msgbuf *data)
{
	struct event *e = xcalloc(1, sizeof(*e));

	atomic_init(&e->refs, 1);
	e->app = app_ref(app);
	e->data = msgbuf_ref(data);
	e->text = xmalloc(channel.len + name.len + 2);
	memcpy(e->text, channel.ptr, channel.len);
	e->text[channel.len] = '\0';
	memcpy(e->text + channel.len + 1, name.ptr, name.len);
	e->text[channel.len + 1 + name.len] = '\0';
	e->channel = sv_n(e->text, channel.len);
	e->name = sv_n(e->text + channel.len + 1, name.len);
	e->origin = "http";
	e->published_at = clock_wall();
	atomic_init(&e->sockets, 0);
	event_id_make(e->id);
	return e;
}

struct event *event_ref(struct event *e)
{
	atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
	return e;
}

void event_unref(struct event *e)
{
	if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (e->deliveries)
		deliveries_add(
			e->deliveries,
			&(struct delivery){ .serial = e->serial,
					    .at = e->delivered_at ? e->delivered_at : clock_wall(),
					    .sockets = atomic_load_explicit(
						    &e->sockets, memory_order_relaxed) });
	msgbuf_unref(e->data);
	app_unref(e->app);
	free(e->text);
	free(e);
}

struct msgbuf *event_frame(const struct event *e, uint64_t up_to)
{
	uint64_t serial = atomic_load(&e->serial);
	struct frame_event f = {
		.event = e->name,
		.channel = e->channel,
		.data = msgbuf_view(e->data),
		.id = sv(e->id),
		.serial = serial <= up_to ? serial : 0,
	};
	struct strbuf b;
	struct msgbuf *frame;

	strbuf_init(&b, 128 + e->channel.len + e->name.len + e->data->len + e->data->len / 8);
	frame_event(&b, &f);
	frame = ws_text_frame(strbuf_view(&b));
	strbuf_release(&b);
	return frame;
}

void event_id_make(char out[EVENT_ID_BYTES + 1])
{
	static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
	uint64_t ms = (uint64_t)(clock_wall() / USEC_PER_MSEC);
	unsigned char random[ULID_RANDOM_BYTES];
	const unsigned char *r = random;
	char *p = out + ULID_TIME_CHARS;

	random_bytes(random, sizeof(random));
	for (char *t = p; t > out; ms >>= 5)
		*--t = digits[ms & 31];
	for (int half = 0; half < 2; half++) { /* 5 bytes are 8 digits */
		uint64_t bits = 0;

		for (int i = 0; i < 5; i++)
			bits = bits << 8 | *r++;
		for (int i = 35; i >= 0; i -= 5)
			*p++ = digits[bits >> i & 31];
	}
	*p = '\0';
}
