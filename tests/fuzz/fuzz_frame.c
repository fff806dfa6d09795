/* SPDX-License-Identifier: MIT */
/* Frames that clients send. */
#include "fuzz.h"
#include "wire/pusher.h"

static void check_views(const struct client_frame *f)
{
	const struct str_view views[] = { f->event,	   f->channel,	 f->auth,
					  f->channel_data, f->user_data, f->since };

	for (size_t i = 0; i < ARRAY_SIZE(views); i++)
		MUST(sv_is_utf8(views[i]));
}

/* What a client event carried can be sent on, and is what was parsed. */
static void relay(const struct client_frame *f)
{
	const struct frame_event e = { .event = f->event,
				       .channel = f->channel,
				       .data = f->data ? f->raw_data : SV("null"),
				       .data_is_json = true };
	struct strbuf b;
	json_t *again;

	strbuf_init(&b, 0);
	frame_event(&b, &e);
	again = json_loadb(b.ptr, b.len, JSON_ALLOW_NUL, NULL);
	MUST(again);
	if (f->data)
		MUST(json_equal(json_object_get(again, "data"), f->data));
	json_decref(again);
	strbuf_release(&b);
}

static void fuzz(struct str_view input)
{
	struct client_frame f;
	const char *why = NULL;

	if (client_frame_parse(input, &f, &why) < 0) {
		MUST(why && *why);
		return;
	}
	check_views(&f);
	if (f.kind == FRAME_CLIENT_EVENT)
		relay(&f);
	client_frame_release(&f);
}
