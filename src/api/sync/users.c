/* SPDX-License-Identifier: MIT */
/* The data that an application stores about its users: users/{id}; what they may see: may. */
#include "base/mem.h"
#include "api/handlers.h"

static const struct sync_field get_fields[] = {
	{ .name = "id", .type = FIELD_USER },
};

struct sync_action sync_user_get = {
	.fields = get_fields,
	.n_fields = ARRAY_SIZE(get_fields),
	.function = "sync_user_get",
	.repeatable = true,
};

static const struct sync_field put_fields[] = {
	{ .name = "id", .type = FIELD_USER },
	{ .name = "name", .type = FIELD_TEXT, .max = 255 },
	{ .name = "avatar", .type = FIELD_TEXT, .max = 2048 },
	{ .name = "roles", .type = FIELD_ARRAY, .max = 64 },
};

struct sync_action sync_user_put = {
	.fields = put_fields,
	.n_fields = ARRAY_SIZE(put_fields),
	.function = "sync_user_put",
	.repeatable = true,
};

static const struct sync_field may_fields[] = {
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	{ .name = "roles", .type = FIELD_STRINGS, .max = 64 },
	{ .name = "channels", .type = FIELD_STRINGS, .flags = FIELD_REQUIRED, .max = 100 },
	{ .name = "write", .type = FIELD_BOOL, .fallback = "false" },
};

struct sync_action sync_may = {
	.fields = may_fields,
	.n_fields = ARRAY_SIZE(may_fields),
	.function = "sync_may",
	.repeatable = true,
	.runs_predicates = true,
};
