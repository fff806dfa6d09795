/* SPDX-License-Identifier: MIT */
/*
 * The data that an application stores about its users: users, users/{id}; what they may see: may.
 */
#include "base/mem.h"
#include "svc/presence_db.h"
#include "trace/recorder.h"
#include "api/handlers.h"
#include "api/statement.h"

static const struct sync_field get_fields[] = {
	{ .name = "id", .type = FIELD_USER },
};

struct sync_action sync_user_get = {
	.fields = get_fields,
	.n_fields = ARRAY_SIZE(get_fields),
	.function = "sync_user_get",
	.is_repeatable = true,
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
	.is_repeatable = true,
};

static const struct sync_field bulk_fields[] = {
	{ .name = "users", .type = FIELD_ARRAY, .flags = FIELD_REQUIRED, .min = 1, .max = 1000 },
};

struct sync_action sync_users_put = {
	.fields = bulk_fields,
	.n_fields = ARRAY_SIZE(bulk_fields),
	.function = "sync_users_put",
	.is_repeatable = true,
};

static const struct sync_field list_fields[] = {
	{ .name = "ids", .type = FIELD_STRINGS, .max = 200 },
	{ .name = "role", .type = FIELD_TEXT, .min = 1, .max = 256 },
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 200, .fallback = "50" },
	{ .name = "cursor", .type = FIELD_TEXT, .min = 1, .max = 300 },
};

struct sync_action sync_users_list = {
	.fields = list_fields,
	.n_fields = ARRAY_SIZE(list_fields),
	.function = "sync_users_list",
	.is_repeatable = true,
};

/* Subscribers of the presence channels receive that the user is offline. */
static void user_delete(struct sync_call *sc)
{
	sc->extra[0] = presence_db_channels(sc->call.services->presence);
	statement_run(sc);
}

/* So that nothing of the user stays in memory either. */
static void user_forget(const struct sync_call *sc)
{
	recorder_forget_user(sc->call.services->recorder, sv(sc->call.app->id),
			     sv(sc->values[0].text));
}

struct sync_action sync_user_delete = {
	.fields = get_fields,
	.n_fields = ARRAY_SIZE(get_fields),
	.function = "sync_user_delete",
	.n_extra = 1,
	.is_repeatable = true,
	.run = user_delete,
	.done = user_forget,
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
	.is_repeatable = true,
	.runs_predicates = true,
};
