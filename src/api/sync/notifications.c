/* SPDX-License-Identifier: MIT */
/* Notifications to users: notifications, and notifications/{counts,delete,read,unread}. */
#include "base/mem.h"
#include "api/handlers.h"

#define TITLE_BYTES   255
#define MESSAGE_BYTES 4000

static const struct sync_field send_fields[] = {
	{ .name = "recipient_type", .type = FIELD_CHOICE, .choices = "user|users|role|roles" },
	{ .name = "recipient_id", .type = FIELD_JSON },
	{ .name = "recipient_role", .type = FIELD_JSON },
	{ .name = "to", .type = FIELD_JSON },
	{ .name = "title",
	  .type = FIELD_TEXT,
	  .flags = FIELD_REQUIRED,
	  .min = 1,
	  .max = TITLE_BYTES },
	{ .name = "message", .type = FIELD_TEXT, .max = MESSAGE_BYTES },
	{ .name = "body", .type = FIELD_TEXT, .max = MESSAGE_BYTES },
	{ .name = "type", .type = FIELD_TEXT, .min = 1, .max = TITLE_BYTES },
	{ .name = "data", .type = FIELD_OBJECT },
	{ .name = "allow_empty", .type = FIELD_BOOL, .fallback = "false" },
	{ .name = "channel", .type = FIELD_TEXT, .min = 1, .max = 164 },
};

struct sync_action sync_notification_send = {
	.fields = send_fields,
	.n_fields = ARRAY_SIZE(send_fields),
	.function = "sync_notification_send",
};

static const struct sync_field list_fields[] = {
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	{ .name = "unread", .type = FIELD_BOOL, .fallback = "false" },
	{ .name = "type", .type = FIELD_STRINGS, .max = 20 },
	{ .name = "cursor", .type = FIELD_TEXT, .min = 1, .max = 200 },
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 200, .fallback = "50" },
};

struct sync_action sync_notifications = {
	.fields = list_fields,
	.n_fields = ARRAY_SIZE(list_fields),
	.function = "sync_notifications",
	.is_repeatable = true,
};

static const struct sync_field named_fields[] = {
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	{ .name = "id", .type = FIELD_TEXT, .min = 1, .max = 36 },
	{ .name = "ids", .type = FIELD_STRINGS, .max = 200 },
	{ .name = "all", .type = FIELD_BOOL },
};

struct sync_action sync_notifications_read = {
	.fields = named_fields,
	.n_fields = ARRAY_SIZE(named_fields),
	.function = "sync_notifications_read",
	.is_repeatable = true,
};

struct sync_action sync_notifications_unread = {
	.fields = named_fields,
	.n_fields = ARRAY_SIZE(named_fields),
	.function = "sync_notifications_unread",
	.is_repeatable = true,
};

struct sync_action sync_notifications_delete = {
	.fields = named_fields,
	.n_fields = ARRAY_SIZE(named_fields),
	.function = "sync_notifications_delete",
};

static const struct sync_field counts_fields[] = {
	{ .name = "user_ids", .type = FIELD_STRINGS, .flags = FIELD_REQUIRED, .max = 200 },
};

struct sync_action sync_notification_counts = {
	.fields = counts_fields,
	.n_fields = ARRAY_SIZE(counts_fields),
	.function = "sync_notification_counts",
	.is_repeatable = true,
};
