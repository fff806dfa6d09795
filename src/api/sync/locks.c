/* SPDX-License-Identifier: MIT */
/* Edit locks: locks, locks/release, and those by which a lock changes hands.  The rules are
 * sync_lock_...() in 0018_edit_locks.sql and 0026_lock_requests.sql. */
#include "base/mem.h"
#include "api/handlers.h"

#define TOKEN_MAX INT64_MAX

static const struct sync_field acquire_fields[] = {
	{ .name = "resource_type", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	{ .name = "resource_id", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	{ .name = "field", .type = FIELD_TEXT, .min = 1, .max = 64 },
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	{ .name = "ttl", .type = FIELD_INT, .min = 1, .max = 3600, .fallback = "150" },
	{ .name = "token", .type = FIELD_INT, .min = 1, .max = TOKEN_MAX },
	{ .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_OWN },
};

struct sync_action sync_lock_acquire = {
	.fields = acquire_fields,
	.n_fields = ARRAY_SIZE(acquire_fields),
	.function = "sync_lock_acquire",
	.repeatable = true,
};

static const struct sync_field release_fields[] = {
	{ .name = "resource_type", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	{ .name = "resource_id", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	{ .name = "field", .type = FIELD_TEXT, .min = 1, .max = 64 },
	{ .name = "user_id", .type = FIELD_USER },
	{ .name = "token", .type = FIELD_INT, .min = 1, .max = TOKEN_MAX },
	{ .name = "force", .type = FIELD_BOOL, .fallback = "false" },
	{ .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_OWN },
};

struct sync_action sync_lock_release = {
	.fields = release_fields,
	.n_fields = ARRAY_SIZE(release_fields),
	.function = "sync_lock_release",
	.repeatable = true,
};

static const struct sync_field request_fields[] = {
	{ .name = "resource_type", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	{ .name = "resource_id", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	{ .name = "field", .type = FIELD_TEXT, .min = 1, .max = 64 },
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	{ .name = "ttl", .type = FIELD_INT, .min = 1, .max = 3600, .fallback = "150" },
	{ .name = "wait", .type = FIELD_INT, .min = 1, .max = 300, .fallback = "30" },
};

struct sync_action sync_lock_request = {
	.fields = request_fields,
	.n_fields = ARRAY_SIZE(request_fields),
	.function = "sync_lock_request",
	.repeatable = true,
};

static const struct sync_field grant_fields[] = {
	{ .name = "resource_type", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	{ .name = "resource_id", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	{ .name = "field", .type = FIELD_TEXT, .min = 1, .max = 64 },
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	{ .name = "to", .type = FIELD_INT, .flags = FIELD_REQUIRED, .min = 1, .max = INT64_MAX },
	{ .name = "token", .type = FIELD_INT, .min = 1, .max = TOKEN_MAX },
	{ .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_OWN },
};

struct sync_action sync_lock_grant = {
	.fields = grant_fields,
	.n_fields = ARRAY_SIZE(grant_fields),
	.function = "sync_lock_grant",
	.repeatable = true,
};

static const struct sync_field refuse_fields[] = {
	{ .name = "resource_type", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	{ .name = "resource_id", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	{ .name = "field", .type = FIELD_TEXT, .min = 1, .max = 64 },
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	{ .name = "to", .type = FIELD_INT, .flags = FIELD_REQUIRED, .min = 1, .max = INT64_MAX },
	{ .name = "token", .type = FIELD_INT, .min = 1, .max = TOKEN_MAX },
	{ .name = "reason", .type = FIELD_TEXT, .min = 1, .max = 255 },
};

struct sync_action sync_lock_refuse = {
	.fields = refuse_fields,
	.n_fields = ARRAY_SIZE(refuse_fields),
	.function = "sync_lock_refuse",
	.repeatable = true,
};

static const struct sync_field steal_fields[] = {
	{ .name = "resource_type", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	{ .name = "resource_id", .type = FIELD_ID, .flags = FIELD_REQUIRED },
	{ .name = "field", .type = FIELD_TEXT, .min = 1, .max = 64 },
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	{ .name = "ttl", .type = FIELD_INT, .min = 1, .max = 3600, .fallback = "150" },
	{ .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_OWN },
};

struct sync_action sync_lock_steal = {
	.fields = steal_fields,
	.n_fields = ARRAY_SIZE(steal_fields),
	.function = "sync_lock_steal",
	.repeatable = true,
};

static const struct sync_field list_fields[] = {
	{ .name = "resource_type", .type = FIELD_ID },
	{ .name = "resource_id", .type = FIELD_ID },
	{ .name = "field", .type = FIELD_TEXT, .min = 1, .max = 64 },
	{ .name = "user_id", .type = FIELD_INT, .min = 1, .max = INT64_MAX },
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 200, .fallback = "50" },
	{ .name = "cursor", .type = FIELD_TEXT, .min = 1 },
};

struct sync_action sync_lock_list = {
	.fields = list_fields,
	.n_fields = ARRAY_SIZE(list_fields),
	.function = "sync_locks",
	.repeatable = true,
};
