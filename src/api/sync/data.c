/* SPDX-License-Identifier: MIT */
/* Offline data sync: versions, changes.  The rules are sync_...() in 0019_data_sync.sql. */
#include "base/mem.h"
#include "api/handlers.h"
#include "api/rates.h"
#include "api/statement.h"

static const struct sync_field version_fields[] = {
	{ .name = "resources", .type = FIELD_STRINGS, .max = 100 },
	{ .name = "types", .type = FIELD_STRINGS, .max = 20 },
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 200, .fallback = "50" },
	{ .name = "cursor", .type = FIELD_TEXT, .min = 1 },
};

struct sync_action sync_version_list = {
	.fields = version_fields,
	.n_fields = ARRAY_SIZE(version_fields),
	.function = "sync_versions",
	.is_repeatable = true,
};

static const struct sync_field feed_fields[] = {
	{ .name = "since", .type = FIELD_TEXT, .min = 1 },
	{ .name = "types", .type = FIELD_STRINGS, .max = 20 },
	{ .name = "resources", .type = FIELD_STRINGS, .max = 100 },
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 200, .fallback = "50" },
};

struct sync_action sync_change_list = {
	.fields = feed_fields,
	.n_fields = ARRAY_SIZE(feed_fields),
	.function = "sync_changes",
	.is_repeatable = true,
};

enum { CHANGE_CLIENT_ID, CHANGE_USER_ID, CHANGE_SOCKET_ID, CHANGE_MUTATIONS, CHANGE_FIELDS };

static const struct sync_field mutation_fields[CHANGE_FIELDS] = {
	[CHANGE_CLIENT_ID] = { .name = "client_id", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	[CHANGE_USER_ID] = { .name = "user_id", .type = FIELD_USER },
	[CHANGE_SOCKET_ID] = { .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_OWN },
	[CHANGE_MUTATIONS] = { .name = "mutations",
			       .type = FIELD_ARRAY,
			       .flags = FIELD_REQUIRED | FIELD_EACH,
			       .min = 1,
			       .max = 100 },
};

/* Each mutation counts as a request of the user. */
static void data_post_change(struct sync_call *sc)
{
	if (rates_take_more(sc, (unsigned)sc->values[CHANGE_MUTATIONS].number - 1))
		statement_run(sc);
}

/* Repeatable: a mutation is known by its id. */
struct sync_action sync_change_post = {
	.fields = mutation_fields,
	.n_fields = CHANGE_FIELDS,
	.function = "sync_changes_post",
	.is_repeatable = true,
	.run = data_post_change,
};
