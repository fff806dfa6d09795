/* SPDX-License-Identifier: MIT */
/*
 * Channel rules without a predicate: rules, rules/{id}.  The checks are in 0012_channel_rules.sql.
 */
#include "base/mem.h"
#include "api/handlers.h"

static const struct sync_field list_fields[] = {
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 200, .fallback = "50" },
	{ .name = "cursor", .type = FIELD_TEXT, .min = 1, .max = 128 },
};

struct sync_action sync_rules = {
	.fields = list_fields,
	.n_fields = ARRAY_SIZE(list_fields),
	.function = "sync_rules",
	.is_repeatable = true,
};

static const struct sync_field put_fields[] = {
	{ .name = "pattern", .type = FIELD_TEXT, .flags = FIELD_REQUIRED, .min = 1, .max = 200 },
	{ .name = "rule",
	  .type = FIELD_CHOICE,
	  .flags = FIELD_REQUIRED,
	  .choices = "anyone|owner|role" },
	{ .name = "argument", .type = FIELD_TEXT, .min = 1, .max = 2000 },
	{ .name = "can_write", .type = FIELD_BOOL, .fallback = "false" },
};

struct sync_action sync_rule_put = {
	.fields = put_fields,
	.n_fields = ARRAY_SIZE(put_fields),
	.function = "sync_rule_put",
	.is_repeatable = true,
};

static const struct sync_field delete_fields[] = {
	{ .name = "id", .type = FIELD_INT, .min = 1, .max = INT32_MAX },
};

struct sync_action sync_rule_delete = {
	.fields = delete_fields,
	.n_fields = ARRAY_SIZE(delete_fields),
	.function = "sync_rule_delete",
	.is_repeatable = true,
};
