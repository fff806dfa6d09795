/* SPDX-License-Identifier: MIT */
/* What the application tells about its users: users/{id}. */
#include "base/mem.h"
#include "api/sync_table.h"

static const struct sync_field get_fields[] = {
	{ .name = "id", .type = FIELD_USER },
};

const struct sync_action sync_user_get = {
	.fields = get_fields,
	.n_fields = ARRAY_SIZE(get_fields),
	.statement = { .sql = "SELECT status, body FROM sync_user_get($1, $2, $3)",
		       .repeatable = true },
};

static const struct sync_field put_fields[] = {
	{ .name = "id", .type = FIELD_USER },
	{ .name = "name", .type = FIELD_TEXT, .max = 255 },
	{ .name = "avatar", .type = FIELD_TEXT, .max = 2048 },
	{ .name = "roles", .type = FIELD_ARRAY, .max = 64 },
};

const struct sync_action sync_user_put = {
	.fields = put_fields,
	.n_fields = ARRAY_SIZE(put_fields),
	.statement = { .sql = "SELECT status, body "
			      "FROM sync_user_put($1, $2, $3, $4, $5, $6)",
		       .repeatable = true },
};
