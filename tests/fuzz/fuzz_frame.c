/* SPDX-License-Identifier: MIT */
/* Frames that clients send. */
#include "fuzz.h"
#include <jansson.h>
#include "wire/json.h"
#include "wire/pusher.h"

static void check_views(const struct client_frame *f)
{
	const struct str_view views[] = { f->event,	   f->channel,	 f->auth,
					  f->channel_data, f->user_data, f->since };

	for (size_t i = 0; i < ARRAY_SIZE(views); i++)
		MUST(sv_is_utf8(views[i]));
}

/* What a client event carried can be sent on, byte for byte. */
static void relay(const struct client_frame *f)
{
	const struct frame_event e = {
		.event = f->event, .channel = f->channel, .data = f->data, .has_json_data = true
	};
	struct str_view root;
	struct strbuf b;

	strbuf_init(&b, 0);
	frame_event(&b, &e);
	MUST(json_check(strbuf_view(&b), &root) == JSON_OK);
	MUST(sv_eq(json_member(root, SV("data")), f->data));
	strbuf_release(&b);
}

/* What jansson accepts is accepted: it refuses more (large numbers, NUL in names), never less. */
static void compare(struct str_view input)
{
	struct str_view root;
	enum json_fault fault = json_check(input, &root);
	json_t *j =
		memchr(input.ptr, '\0', input.len) /* jansson takes it for the end */
			? NULL
			: json_loadb(input.ptr, input.len, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);

	if (j)
		MUST(fault == JSON_OK || fault == JSON_TOO_DEEP);
	json_decref(j);
}

static void fuzz(struct str_view input)
{
	struct client_frame f;
	const char *why = NULL;

	compare(input);
	if (client_frame_parse(input, &f, &why) < 0) {
		MUST(why && *why);
		return;
	}
	check_views(&f);
	if (f.kind == FRAME_CLIENT_EVENT)
		relay(&f);
	client_frame_release(&f);
}
