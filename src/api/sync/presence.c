/* SPDX-License-Identifier: MIT */
/* Who is there: heartbeat, online-users. */
#include <inttypes.h>
#include "base/mem.h"
#include "api/sync_table.h"
#include "svc/presence_db.h"

#define STATUSES       "online|away|busy|offline"
#define INFO_MAX_BYTES 2048

static const struct sync_field heartbeat_fields[] = {
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	{ .name = "location", .type = FIELD_TEXT, .max = 255 },
	{ .name = "status", .type = FIELD_CHOICE, .choices = STATUSES, .fallback = "online" },
	{ .name = "info", .type = FIELD_OBJECT },
};

static void on_beat(void *ctx, const struct pg_answer *a, const struct presence_db_reply *said)
{
	struct sync_call *c = ctx;
	struct strbuf body;

	if (!said) {
		sync_reply_answer(c, a);
		return;
	}
	strbuf_init(&body, 160);
	strbuf_addf(&body,
		    "{\"user_id\":%s,\"status\":\"%s\",\"last_seen_at\":\"%s\",\"ttl\":%u,"
		    "\"unread_count\":%" PRId64 "}",
		    sync_value(c, "user_id"), said->status, said->seen_at, said->ttl_s,
		    said->unread);
	sync_reply(c, 200, &body);
}

static void heartbeat(struct sync_call *c)
{
	struct presence_db_heartbeat beat = { .app = c->app,
					      .user_id =
						      strtoll(sync_value(c, "user_id"), NULL, 10),
					      .status = sync_value(c, "status"),
					      .location = sync_value(c, "location"),
					      .info = sync_value(c, "info") };

	if (beat.info && strlen(beat.info) > INFO_MAX_BYTES)
		sync_fail(c, 400, "invalid_value", "info",
			  "info must be an object of at most %d bytes.", INFO_MAX_BYTES);
	else
		presence_db_heartbeat(c->services->presence, &beat, on_beat, c);
}

const struct sync_action sync_heartbeat = {
	.fields = heartbeat_fields,
	.n_fields = ARRAY_SIZE(heartbeat_fields),
	.run = heartbeat,
};

static const struct sync_field online_fields[] = {
	{ .name = "status", .type = FIELD_CHOICE, .choices = STATUSES },
	{ .name = "location", .type = FIELD_TEXT, .max = 255 },
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 200, .fallback = "50" },
	{ .name = "cursor", .type = FIELD_TEXT, .min = 1, .max = 128 },
};

static void online_users(struct sync_call *c)
{
	c->extra[0] = presence_db_ttl(c->services->presence);
	c->extra[1] = presence_db_channels(c->services->presence);
	c->n_extra = 2;
	sync_run_statement(c);
}

const struct sync_action sync_online_users = {
	.fields = online_fields,
	.n_fields = ARRAY_SIZE(online_fields),
	.statement = { .sql = "SELECT status, body "
			      "FROM sync_online_users($1, $2, $3, $4, $5, $6, $7, $8)",
		       .repeatable = true },
	.run = online_users,
};
