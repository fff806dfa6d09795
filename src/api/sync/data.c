/* SPDX-License-Identifier: MIT */
/* Offline data sync: versions, changes.  The rules are sync_...() in 0019_data_sync.sql. */
#include "base/mem.h"
#include "api/handlers.h"

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
	.repeatable = true,
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
	.repeatable = true,
};

static const struct sync_field mutation_fields[] = {
	{ .name = "client_id", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	{ .name = "user_id", .type = FIELD_USER },
	{ .name = "socket_id", .type = FIELD_SOCKET },
	{ .name = "mutations", .type = FIELD_ARRAY, .flags = FIELD_REQUIRED, .min = 1, .max = 100 },
};

/* Repeatable: a mutation is known by its id. */
struct sync_action sync_change_post = {
	.fields = mutation_fields,
	.n_fields = ARRAY_SIZE(mutation_fields),
	.function = "sync_changes_post",
	.repeatable = true,
};
