/* SPDX-License-Identifier: MIT */
/*
 * Presence of users: heartbeat, online-users.  Heartbeats share statements (svc/presence_db.h); the
 * reply is made on the pool's thread after the commit.
 */
#include <inttypes.h>
#include <jansson.h>
#include "base/mem.h"
#include "svc/presence_db.h"
#include "svc/socket_ties.h"
#include "api/handlers.h"
#include "api/reply.h"
#include "api/statement.h"

#define STATUSES       "online|away|busy|offline"
#define INFO_MAX_BYTES 2048

enum {
	BEAT_USER_ID,
	BEAT_LOCATION,
	BEAT_STATUS,
	BEAT_INFO,
	BEAT_USER_INFO, /* the same, as presence channels name it */
	BEAT_NAME,
	BEAT_AVATAR,
	BEAT_WAIT,
	BEAT_SOCKET_ID,
	BEAT_KEEP_SOCKETS,
	BEAT_FIELDS
};

static const struct sync_field heartbeat_fields[BEAT_FIELDS] = {
	[BEAT_USER_ID] = { .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	[BEAT_LOCATION] = { .name = "location", .type = FIELD_TEXT, .max = 255 },
	[BEAT_STATUS] = { .name = "status",
			  .type = FIELD_CHOICE,
			  .choices = STATUSES,
			  .fallback = "online" },
	[BEAT_INFO] = { .name = "info", .type = FIELD_OBJECT },
	[BEAT_USER_INFO] = { .name = "user_info", .type = FIELD_OBJECT },
	[BEAT_NAME] = { .name = "name", .type = FIELD_TEXT, .max = 255 },
	[BEAT_AVATAR] = { .name = "avatar", .type = FIELD_TEXT, .max = 2048 },
	[BEAT_WAIT] = { .name = "wait", .type = FIELD_BOOL, .fallback = "true" },
	[BEAT_SOCKET_ID] = { .name = "socket_id",
			     .type = FIELD_SOCKET,
			     .flags = FIELD_OWN | FIELD_OPEN },
	[BEAT_KEEP_SOCKETS] = { .name = "keep_sockets", .type = FIELD_BOOL, .fallback = "false" },
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
	strbuf_add_str(&body, "{\"user_id\":");
	user_id_add_json(&body, sc->values[BEAT_USER_ID].text);
	strbuf_addf(&body,
		    ",\"status\":\"%s\",\"last_seen_at\":\"%s\",\"ttl\":%u,"
		    "\"unread_count\":%" PRId64 "}",
		    said->status, said->seen_at, said->ttl_s, said->unread);
	sync_reply(sc, 200, &body);
}

static void presence_statement(struct sync_call *sc)
{
	sc->extra[0] = presence_db_ttl(sc->call.services->presence);
	sc->extra[1] = presence_db_channels(sc->call.services->presence);
	statement_run(sc);
}

/* Replies before the heartbeat is written. */
static void presence_post_heartbeat(struct sync_call *sc, const struct presence_db_heartbeat *beat)
{
	int rc = presence_db_post(sc->call.services->presence, beat);
	struct strbuf body;

	if (rc) {
		sync_fail_rc(sc, rc);
		return;
	}
	strbuf_init(&body, 64);
	strbuf_add_str(&body, "{\"user_id\":");
	user_id_add_json(&body, beat->user_id);
	strbuf_addf(&body, ",\"status\":\"%s\",\"ttl\":%s}", beat->status,
		    presence_db_ttl(sc->call.services->presence));
	sync_reply(sc, 202, &body);
}

/* What the field has, or the token; NULL: neither. */
static const char *presence_text_or_claim(const struct sync_value *v, const json_t *user,
					  const char *claim)
{
	return v->text ? v->text : json_string_value(json_object_get(user, claim));
}

/* With an idempotency key it has a transaction of its own, which has the key too. */
static void presence_take_heartbeat(struct sync_call *sc, const struct presence_db_heartbeat *beat)
{
	const struct sync_value *socket_id = &sc->values[BEAT_SOCKET_ID];

	if (socket_id->text)
		socket_ties_watch(sc->call.services->ties, sc->call.app, socket_id->socket_id,
				  sc->call.services->conf->sync.presence_ttl_s);
	if (sc->key)
		presence_statement(sc);
	else if (strcmp(sc->values[BEAT_WAIT].text, "false") == 0)
		presence_post_heartbeat(sc, beat);
	else
		presence_db_heartbeat(sc->call.services->presence, beat, on_beat, sc);
}

static void presence_heartbeat(struct sync_call *sc)
{
	const struct sync_value *v = sc->values;
	const char *info = v[BEAT_INFO].text ? v[BEAT_INFO].text : v[BEAT_USER_INFO].text;
	json_t *user = json_loads(sync_caller_json(sc), 0, NULL);
	struct presence_db_heartbeat beat = {
		.app = sc->call.app,
		.user_id = v[BEAT_USER_ID].text,
		.status = v[BEAT_STATUS].text,
		.location = v[BEAT_LOCATION].text,
		.info = info,
		.name = presence_text_or_claim(&v[BEAT_NAME], user, "name"),
		.avatar = presence_text_or_claim(&v[BEAT_AVATAR], user, "avatar"),
		.socket_id = v[BEAT_SOCKET_ID].text,
		.keeps_sockets = strcmp(v[BEAT_KEEP_SOCKETS].text, "true") == 0,
	};

	if (v[BEAT_INFO].text && v[BEAT_USER_INFO].text)
		sync_fail(sc, 400, "invalid_value", "user_info",
			  "info and user_info are the same field; give one.");
	else if (info && strlen(info) > INFO_MAX_BYTES)
		sync_fail(sc, 400, "invalid_value", v[BEAT_INFO].text ? "info" : "user_info",
			  "info must be an object of at most %d bytes.", INFO_MAX_BYTES);
	else
		presence_take_heartbeat(sc, &beat);
	json_decref(user);
}

struct sync_action sync_heartbeat = {
	.fields = heartbeat_fields,
	.n_fields = BEAT_FIELDS,
	.function = "sync_heartbeat",
	.n_extra = 2,
	.is_repeatable = true,
	.run = presence_heartbeat,
};

static const struct sync_field online_fields[] = {
	{ .name = "status", .type = FIELD_CHOICE, .choices = STATUSES },
	{ .name = "location", .type = FIELD_TEXT, .max = 255 },
	{ .name = "location_prefix", .type = FIELD_TEXT, .min = 1, .max = 255 },
	{ .name = "user_ids", .type = FIELD_STRINGS, .max = 200 },
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 200, .fallback = "50" },
	{ .name = "cursor", .type = FIELD_TEXT, .min = 1, .max = 300 },
};

struct sync_action sync_online_users = {
	.fields = online_fields,
	.n_fields = ARRAY_SIZE(online_fields),
	.function = "sync_online_users",
	.n_extra = 2,
	.is_repeatable = true,
	.run = presence_statement,
};
