/* SPDX-License-Identifier: MIT */
/* The activity feed: activities, and activities/{bulk,delete,read}. */
#include "base/mem.h"
#include "api/handlers.h"
#include "api/statement.h"

#define ACTIVITY_TYPE_BYTES 100
#define DESCRIPTION_BYTES   2000

static const struct sync_field add_fields[] = {
	{ .name = "type",
	  .type = FIELD_TEXT,
	  .flags = FIELD_REQUIRED,
	  .min = 1,
	  .max = ACTIVITY_TYPE_BYTES },
	{ .name = "description", .type = FIELD_TEXT, .max = DESCRIPTION_BYTES },
	{ .name = "user_id", .type = FIELD_USER },
	{ .name = "user", .type = FIELD_USER },
	{ .name = "subject_type", .type = FIELD_TEXT, .min = 1, .max = ACTIVITY_TYPE_BYTES },
	{ .name = "subject_id", .type = FIELD_ID },
	{ .name = "metadata", .type = FIELD_OBJECT },
	{ .name = "client_id", .type = FIELD_ID },
	{ .name = "project_id", .type = FIELD_ID },
	{ .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_OWN },
};

struct sync_action sync_activity_add = {
	.fields = add_fields,
	.n_fields = ARRAY_SIZE(add_fields),
	.function = "sync_activity_add",
};

static const struct pg_statement place = {
	.sql = "SELECT activities_place(1000)",
	.is_repeatable = true,
	.takes_locks = true,
};

static void on_placed(void *ctx, const struct pg_answer *a)
{
	struct sync_call *sc = ctx;

	if (a->rc)
		statement_reply(sc, a);
	else
		statement_run(sc);
}

/* Committed activities get their positions first; in a transaction of its own, because it locks. */
static void activities_run_placed(struct sync_call *sc)
{
	struct pg_call call = { .statement = &place, .owner = statement_owner(sc) };

	pg_pool_call(sc->call.services->pool, &call, on_placed, sc);
}

/* clang-format off */
#define TYPE_NAME(name_) { .name = name_, .type = FIELD_TEXT, .min = 1, .max = ACTIVITY_TYPE_BYTES }

/* The feed, and the object that it is about. */
#define FEED_FIELDS									\
	{ .name = "feed", .type = FIELD_CHOICE, .fallback = "global",			\
	  .choices = "global|client|project|user|subject|type|mine" },			\
	{ .name = "client_id", .type = FIELD_ID },					\
	{ .name = "project_id", .type = FIELD_ID },					\
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_ANY_USER },		\
	TYPE_NAME("subject_type"),							\
	{ .name = "subject_id", .type = FIELD_ID },					\
	TYPE_NAME("type")
/* clang-format on */

static const struct sync_field list_fields[] = {
	FEED_FIELDS,
	{ .name = "metadata", .type = FIELD_OBJECT },
	{ .name = "types", .type = FIELD_STRINGS, .max = 20 },
	{ .name = "client_ids", .type = FIELD_STRINGS, .max = 20 },
	{ .name = "from", .type = FIELD_TIME },
	{ .name = "until", .type = FIELD_TIME },
	{ .name = "reader_id", .type = FIELD_USER },
	{ .name = "cursor", .type = FIELD_TEXT, .min = 1, .max = 200 },
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 200, .fallback = "50" },
};

struct sync_action sync_activities = {
	.fields = list_fields,
	.n_fields = ARRAY_SIZE(list_fields),
	.function = "sync_activities",
	.is_repeatable = true,
	.run = activities_run_placed,
};

static const struct sync_field read_fields[] = {
	FEED_FIELDS,
	{ .name = "reader_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	{ .name = "up_to", .type = FIELD_INT, .min = 1, .max = INT64_MAX },
};

struct sync_action sync_activity_read = {
	.fields = read_fields,
	.n_fields = ARRAY_SIZE(read_fields),
	.function = "sync_activity_read",
	.is_repeatable = true,
	.run = activities_run_placed,
};

static const struct sync_field import_fields[] = {
	{ .name = "activities",
	  .type = FIELD_ARRAY,
	  .flags = FIELD_REQUIRED,
	  .min = 1,
	  .max = 500 },
};

struct sync_action sync_activities_import = {
	.fields = import_fields,
	.n_fields = ARRAY_SIZE(import_fields),
	.function = "sync_activities_import",
};

static const struct sync_field delete_fields[] = {
	{ .name = "id", .type = FIELD_INT, .min = 1, .max = INT64_MAX },
	{ .name = "ids", .type = FIELD_ARRAY, .min = 1, .max = 500 },
	TYPE_NAME("subject_type"),
	{ .name = "subject_id", .type = FIELD_ID },
};

struct sync_action sync_activities_delete = {
	.fields = delete_fields,
	.n_fields = ARRAY_SIZE(delete_fields),
	.function = "sync_activities_delete",
	.is_repeatable = true,
};
