/* SPDX-License-Identifier: MIT */
/* Who views or edits what: start-viewing, stop-viewing, viewers. */
#include "base/mem.h"
#include "api/sync_table.h"
#include "svc/viewers.h"
#include "wire/pusher.h"

/* clang-format off */
#define RESOURCE                                                                   \
	{ .name = "resource_type", .type = FIELD_TEXT, .flags = FIELD_REQUIRED,    \
	  .min = 1, .max = 64 },                                                   \
	{ .name = "resource_id", .type = FIELD_ID, .flags = FIELD_REQUIRED }
/* clang-format on */

enum start_field { RESOURCE_TYPE, RESOURCE_ID, USER_ID, MODE, SOCKET_ID, TTL, N_START_FIELDS };

static const struct sync_field start_fields[N_START_FIELDS] = {
	RESOURCE,
	[USER_ID] = { .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	[MODE] = { .name = "mode",
		   .type = FIELD_CHOICE,
		   .choices = "viewing|editing",
		   .fallback = "viewing" },
	[SOCKET_ID] = { .name = "socket_id", .type = FIELD_SOCKET },
	[TTL] = { .name = "ttl", .type = FIELD_INT, .min = 1, .max = 3600 },
};

static void start(struct sync_call *c)
{
	uint64_t socket_id;
	char ttl[12];

	if (!c->values[TTL]) {
		snprintf(ttl, sizeof(ttl), "%u", c->services->conf->sync.viewing_ttl_s);
		c->values[TTL] = xstrdup(ttl);
	}
	if (c->values[SOCKET_ID] && socket_id_parse(sv(c->values[SOCKET_ID]), &socket_id))
		viewers_watch(c->services->viewing, socket_id,
			      (unsigned)strtoul(c->values[TTL], NULL, 10));
	sync_run_statement(c);
}

const struct sync_action sync_start_viewing = {
	.fields = start_fields,
	.n_fields = N_START_FIELDS,
	.statement = { .sql = "SELECT status, body "
			      "FROM sync_start_viewing($1, $2, $3, $4, $5, $6, $7, $8)",
		       .repeatable = true },
	.run = start,
};

static const struct sync_field stop_fields[] = {
	RESOURCE,
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	{ .name = "socket_id", .type = FIELD_SOCKET },
};

const struct sync_action sync_stop_viewing = {
	.fields = stop_fields,
	.n_fields = ARRAY_SIZE(stop_fields),
	.statement = { .sql = "SELECT status, body "
			      "FROM sync_stop_viewing($1, $2, $3, $4, $5, $6)",
		       .repeatable = true },
};

static const struct sync_field viewers_fields[] = {
	RESOURCE,
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 200, .fallback = "100" },
};

const struct sync_action sync_viewers = {
	.fields = viewers_fields,
	.n_fields = ARRAY_SIZE(viewers_fields),
	.statement = { .sql = "SELECT status, body FROM sync_viewers($1, $2, $3, $4, $5)",
		       .repeatable = true },
};
