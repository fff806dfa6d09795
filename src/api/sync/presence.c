/* SPDX-License-Identifier: MIT */
/*
 * Presence of users: heartbeat, online-users.  Heartbeats share statements (svc/presence_db.h); the
 * reply is made on the pool's thread after the commit.
 */
#include <inttypes.h>
#include "base/mem.h"
#include "svc/presence_db.h"
#include "api/handlers.h"
#include "api/reply.h"
#include "api/statement.h"

#define STATUSES       "online|away|busy|offline"
#define INFO_MAX_BYTES 2048

enum { BEAT_USER_ID, BEAT_LOCATION, BEAT_STATUS, BEAT_INFO, BEAT_FIELDS };

static const struct sync_field heartbeat_fields[BEAT_FIELDS] = {
	[BEAT_USER_ID] = { .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	[BEAT_LOCATION] = { .name = "location", .type = FIELD_TEXT, .max = 255 },
	[BEAT_STATUS] = { .name = "status",
			  .type = FIELD_CHOICE,
			  .choices = STATUSES,
			  .fallback = "online" },
	[BEAT_INFO] = { .name = "info", .type = FIELD_OBJECT },
};

static void on_beat(void *ctx, const struct pg_answer *a, const struct presence_db_reply *said)
{
	struct sync_call *sc = ctx;
	struct strbuf body;

	if (!said) {
		statement_reply(sc, a);
		return;
	}
	strbuf_init(&body, 160);
	strbuf_addf(&body,
		    "{\"user_id\":%" PRId64 ",\"status\":\"%s\",\"last_seen_at\":\"%s\",\"ttl\":%u,"
		    "\"unread_count\":%" PRId64 "}",
		    sc->values[BEAT_USER_ID].number, said->status, said->seen_at, said->ttl_s,
		    said->unread);
	sync_reply(sc, 200, &body);
}

static void presence_statement(struct sync_call *sc)
{
	sc->extra[0] = presence_db_ttl(sc->call.services->presence);
	sc->extra[1] = presence_db_channels(sc->call.services->presence);
	statement_run(sc);
}

/* With an idempotency key it has a transaction of its own, which has the key too. */
static void heartbeat(struct sync_call *sc)
{
	struct presence_db_heartbeat beat = { .app = sc->call.app,
					      .user_id = sc->values[BEAT_USER_ID].number,
					      .status = sc->values[BEAT_STATUS].text,
					      .location = sc->values[BEAT_LOCATION].text,
					      .info = sc->values[BEAT_INFO].text };

	if (beat.info && strlen(beat.info) > INFO_MAX_BYTES)
		sync_fail(sc, 400, "invalid_value", "info",
			  "info must be an object of at most %d bytes.", INFO_MAX_BYTES);
	else if (sc->key)
		presence_statement(sc);
	else
		presence_db_heartbeat(sc->call.services->presence, &beat, on_beat, sc);
}

struct sync_action sync_heartbeat = {
	.fields = heartbeat_fields,
	.n_fields = BEAT_FIELDS,
	.function = "sync_heartbeat",
	.n_extra = 2,
	.repeatable = true,
	.run = heartbeat,
};

static const struct sync_field online_fields[] = {
	{ .name = "status", .type = FIELD_CHOICE, .choices = STATUSES },
	{ .name = "location", .type = FIELD_TEXT, .max = 255 },
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 200, .fallback = "50" },
	{ .name = "cursor", .type = FIELD_TEXT, .min = 1, .max = 128 },
};

struct sync_action sync_online_users = {
	.fields = online_fields,
	.n_fields = ARRAY_SIZE(online_fields),
	.function = "sync_online_users",
	.n_extra = 2,
	.repeatable = true,
	.run = presence_statement,
};
