/* SPDX-License-Identifier: MIT */
/* Viewers of resources: start-viewing, stop-viewing, viewers.  The rules are in 0017_viewing.sql.
 */
#include "base/mem.h"
#include "svc/socket_ties.h"
#include "api/handlers.h"
#include "api/rates.h"
#include "api/reply.h"
#include "api/statement.h"

/* clang-format off */
#define RESOURCE                                                                   \
	{ .name = "resource_type", .type = FIELD_TEXT, .flags = FIELD_REQUIRED,    \
	  .min = 1, .max = 64 },                                                   \
	{ .name = "resource_id", .type = FIELD_ID, .flags = FIELD_REQUIRED }
/* clang-format on */

enum { START_TYPE, START_ID, START_USER_ID, START_MODE, START_SOCKET_ID, START_TTL, START_FIELDS };

static const struct sync_field start_fields[START_FIELDS] = {
	RESOURCE, /* START_TYPE, START_ID */
	[START_USER_ID] = { .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	[START_MODE] = { .name = "mode",
			 .type = FIELD_CHOICE,
			 .choices = "viewing|editing",
			 .fallback = "viewing" },
	[START_SOCKET_ID] = { .name = "socket_id",
			      .type = FIELD_SOCKET,
			      .flags = FIELD_OWN | FIELD_OPEN },
	[START_TTL] = { .name = "ttl", .type = FIELD_INT, .min = 1, .max = 3600 },
};

static void start_viewing(struct sync_call *sc)
{
	struct sync_value *ttl = &sc->values[START_TTL];
	char text[12];

	if (!ttl->text) {
		ttl->number = sc->call.services->conf->sync.viewing_ttl_s;
		snprintf(text, sizeof(text), "%u", (unsigned)ttl->number);
		ttl->text = xstrdup(text);
	}
	statement_run(sc);
}

/* The viewer is stored; its socket may have closed meanwhile. */
static void viewing_started(const struct sync_call *sc)
{
	const struct sync_value *socket_id = &sc->values[START_SOCKET_ID];

	if (socket_id->text)
		socket_ties_watch(sc->call.services->ties, sc->call.app, socket_id->socket_id,
				  (unsigned)sc->values[START_TTL].number);
}

struct sync_action sync_start_viewing = {
	.fields = start_fields,
	.n_fields = START_FIELDS,
	.function = "sync_start_viewing",
	.is_repeatable = true,
	.run = start_viewing,
	.done = viewing_started,
};

static const struct sync_field stop_fields[] = {
	RESOURCE,
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	{ .name = "socket_id", .type = FIELD_SOCKET },
};

struct sync_action sync_stop_viewing = {
	.fields = stop_fields,
	.n_fields = ARRAY_SIZE(stop_fields),
	.function = "sync_stop_viewing",
	.is_repeatable = true,
};

/* One of: a resource, resources, a user.  Without any, the application's server gets all. */
enum {
	VIEWERS_TYPE,
	VIEWERS_ID,
	VIEWERS_RESOURCES,
	VIEWERS_USER_ID,
	VIEWERS_LIMIT,
	VIEWERS_CURSOR,
	VIEWERS_FIELDS
};

static const struct sync_field viewers_fields[VIEWERS_FIELDS] = {
	[VIEWERS_TYPE] = { .name = "resource_type", .type = FIELD_TEXT, .min = 1, .max = 64 },
	[VIEWERS_ID] = { .name = "resource_id", .type = FIELD_ID },
	[VIEWERS_RESOURCES] = { .name = "resources", .type = FIELD_STRINGS, .min = 1, .max = 100 },
	[VIEWERS_USER_ID] = { .name = "user_id", .type = FIELD_USER, .flags = FIELD_ANY_USER },
	[VIEWERS_LIMIT] = { .name = "limit",
			    .type = FIELD_INT,
			    .min = 1,
			    .max = 200,
			    .fallback = "100" },
	[VIEWERS_CURSOR] = { .name = "cursor", .type = FIELD_TEXT, .min = 1, .max = 300 },
};

/* Ten resources count as one request. */
static void viewing_list(struct sync_call *sc)
{
	const struct sync_value *resources = &sc->values[VIEWERS_RESOURCES];

	if (!resources->text || rates_take_more(sc, (unsigned)(resources->number - 1) / 10))
		statement_run(sc);
}

struct sync_action sync_viewers = {
	.fields = viewers_fields,
	.n_fields = VIEWERS_FIELDS,
	.function = "sync_viewers",
	.is_repeatable = true,
	.run = viewing_list,
};
