/* SPDX-License-Identifier: MIT */
/* Bodies of publishes: what is read in one pass is what jansson reads. */
#include "fuzz.h"
#include "api/event_body.h"

static void check_field(const struct event_member *a, const struct event_member *b)
{
	MUST(a->state == b->state);
	MUST(sv_eq(a->text, b->text));
}

static void check_same(const struct event_body *a, const struct event_body *b)
{
	check_field(&a->name, &b->name);
	check_field(&a->data, &b->data);
	check_field(&a->channel, &b->channel);
	check_field(&a->socket_id, &b->socket_id);
	check_field(&a->info, &b->info);
	check_field(&a->idempotency_key, &b->idempotency_key);
	MUST(a->channels == b->channels && a->has_wrong_channel == b->has_wrong_channel);
	MUST(a->n_channels == b->n_channels);
	for (size_t i = 0; i < a->n_channels; i++)
		MUST(sv_eq(a->list[i], b->list[i]));
}

static void fuzz(struct str_view input)
{
	json_t *root = json_loadb(input.ptr, input.len, 0, NULL);
	struct event_body fast, slow;

	if (event_body_scan(input, &fast)) {
		MUST(json_is_object(root));
		event_body_of_json(root, &slow);
		check_same(&fast, &slow);
		event_body_release(&slow);
		event_body_release(&fast);
	} else if (json_is_object(root)) {
		event_body_of_json(root, &slow);
		event_body_release(&slow);
	}
	json_decref(root);
}
