/* SPDX-License-Identifier: MIT */
/* The fields and their limits are those of POST heartbeat (src/api/sync/presence.c). */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include "base/mem.h"
#include "svc/heartbeat.h"
#include "svc/presence_db.h"
#include "svc/socket_ties.h"
#include "svc/sockets.h"
#include "wire/json.h"
#include "wire/json_dump.h"
#include "wire/socket_id.h"

#define LOCATION_MAX 255
#define NAME_MAX     255
#define AVATAR_MAX   2048
#define INFO_MAX     2048

#define REFUSED "Heartbeat rejected - "

/* Whether the value can be a status; not given: online. */
static bool heartbeat_read_status(const json_t *value, const char **out)
{
	static const char *const statuses[] = { "online", "away", "busy", "offline" };

	if (!value)
		*out = statuses[0];
	for (size_t i = 0; value && i < ARRAY_SIZE(statuses); i++)
		if (json_is_string(value) && strcmp(json_string_value(value), statuses[i]) == 0)
			*out = statuses[i];
	return *out;
}

/* Whether it is a string of at most max bytes, null, or not given. */
static bool heartbeat_read_text(const json_t *value, size_t max, const char **out)
{
	*out = json_string_value(value);
	return !value || json_is_null(value) || (*out && json_string_length(value) <= max);
}

/* info, or as presence channels name it, user_info; an empty array is PHP's empty object.  *out is
 * on the heap. */
static const char *heartbeat_read_info(const json_t *data, char **out)
{
	json_t *info = json_object_get(data, "info");
	json_t *other = json_object_get(data, "user_info");

	if (info && other)
		return REFUSED "info and user_info are the same field; give one";
	if (!info)
		info = other;
	if (!info || json_is_null(info))
		return NULL;
	if (json_is_array(info) && !json_array_size(info))
		*out = xstrdup("{}");
	else if (json_is_object(info))
		*out = json_dump_text(info);
	if (*out && strlen(*out) <= INFO_MAX)
		return NULL;
	free(*out);
	*out = NULL;
	return REFUSED "info must be an object of at most 2048 bytes";
}

static bool heartbeat_has_unknown_field(json_t *data)
{
	static const char *const known[] = { "status",	  "location", "info",
					     "user_info", "name",     "avatar" };
	const char *name;
	json_t *value;

	json_object_foreach(data, name, value)
	{
		size_t i = 0;

		while (i < ARRAY_SIZE(known) && strcmp(name, known[i]) != 0)
			i++;
		if (i == ARRAY_SIZE(known))
			return true;
	}
	return false;
}

/* beat points into data, except for *info, which is on the heap. */
static const char *heartbeat_read(json_t *data, struct presence_db_heartbeat *beat, char **info)
{
	if (!json_is_object(data))
		return REFUSED "data must be an object";
	if (heartbeat_has_unknown_field(data))
		return REFUSED "data has a field that is none of status, location, info, "
			       "user_info, name and avatar";
	if (!heartbeat_read_status(json_object_get(data, "status"), &beat->status))
		return REFUSED "status must be online, away, busy or offline";
	if (!heartbeat_read_text(json_object_get(data, "location"), LOCATION_MAX, &beat->location))
		return REFUSED "location must be a string of at most 255 bytes";
	if (!heartbeat_read_text(json_object_get(data, "name"), NAME_MAX, &beat->name))
		return REFUSED "name must be a string of at most 255 bytes";
	if (!heartbeat_read_text(json_object_get(data, "avatar"), AVATAR_MAX, &beat->avatar))
		return REFUSED "avatar must be a string of at most 2048 bytes";
	return heartbeat_read_info(data, info);
}

static const char *heartbeat_queue(const struct heartbeat_services *s,
				   const struct heartbeat_socket *from,
				   struct presence_db_heartbeat *beat)
{
	char id[SOCKET_ID_SIZE];
	int rc;

	beat->app = from->app;
	beat->socket_id = socket_id_format(from->id, id);
	rc = presence_db_post(s->presence, beat);
	if (rc)
		return rc == -EAGAIN ? REFUSED "too many wait to be written; try again later"
				     : REFUSED "the server is stopping";
	socket_ties_watch(s->ties, from->app, from->id, s->conf->presence_ttl_s);
	return NULL;
}

const char *heartbeat_take(const struct heartbeat_services *s, const struct heartbeat_socket *from,
			   struct str_view text)
{
	char user_id[USER_ID_SIZE];
	struct presence_db_heartbeat beat = { .user_id = user_id };
	struct str_view number;
	const char *fault;
	char *info = NULL;
	json_t *data;

	if (!sockets_user(s->sockets, from->id, user_id))
		return REFUSED "it is not known whose connection this is: sign in, join a presence "
			       "channel, or subscribe with an authorization of this server first; "
			       "the user's id must be one of the type sync.user_id";
	data = text.len ? json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL)
			: json_object();
	fault = data && json_find_inexact(text, &number) ? REFUSED
			"a number would be changed: send it as a string"
							 : heartbeat_read(data, &beat, &info);
	beat.info = info;
	if (!fault)
		fault = heartbeat_queue(s, from, &beat);
	json_decref(data);
	free(info);
	return fault;
}
