/* SPDX-License-Identifier: MIT */
/*
 * What the application ends for a user: users/{user}/terminate_connections and
 * users/{user}/revoke.  The handlers run on a transport's thread, on_users_ended() also on the log
 * writer's.
 */
#include <ctype.h>
#include "base/mem.h"
#include "log/control.h"
#include "svc/publish.h"
#include "wire/json.h"
#include "api/handlers.h"
#include "api/parameters.h"
#include "api/rates.h"
#include "api/reply.h"

#define REVOKED_CHANNELS_MAX 100
#define PATTERN_MAX_BYTES    200

/* False: replied 400. */
static bool users_check_id(struct call *c)
{
	unsigned max = c->app->limits.max_user_id_bytes;

	if (!max || c->arg[0].len <= max)
		return true;
	call_fail(c, 400, "A user id may have at most %u bytes.", max);
	return false;
}

static void on_users_ended(void *ctx, int rc)
{
	struct request *r = ctx;

	if (rc)
		call_reply_failure(r, rc);
	else
		request_reply(r, 200, SV("{}"));
}

void h_users_terminate(struct call *c)
{
	const struct control end = { .kind = CONTROL_TERMINATE, .user_id = c->arg[0] };

	if (users_check_id(c) && rates_take_events(c, 1))
		publish_control(c->services->publisher, c->app, &end, on_users_ended, c->r);
}

/* A text of the body; it points into the body or into room, which has the body's size. */
static bool users_read_text(struct str_view value, char *room, struct str_view *out)
{
	return json_kind(value) == '"' && json_decode_string(value, &room, out);
}

static bool users_pattern_is_valid(struct str_view pattern)
{
	if (!pattern.len || pattern.len > PATTERN_MAX_BYTES)
		return false;
	for (size_t i = 0; i < pattern.len; i++)
		if (!isalnum((unsigned char)pattern.ptr[i]) &&
		    !memchr("-_=@,.;#*", pattern.ptr[i], 9))
			return false;
	return true;
}

/* Adds the names with a space between; false: replied 400. */
static bool users_read_channels(struct call *c, struct str_view list, char *room,
				struct strbuf *out)
{
	struct channel_traits traits;
	struct str_view item, name;
	unsigned n = 0;

	for (size_t at = 0; json_kind(list) == '[' && json_next_element(list, &at, &item); n++) {
		if (!users_read_text(item, room, &name)) {
			call_fail(c, 400, "channels must be a list of names.");
			return false;
		}
		if (!parameters_read_channel(c, name, &traits))
			return false;
		if (n)
			strbuf_add_c(out, ' ');
		strbuf_add_sv(out, name);
	}
	if (n && n <= REVOKED_CHANNELS_MAX)
		return true;
	call_fail(c, 400, "channels must be a list of 1 to %d names.", REVOKED_CHANNELS_MAX);
	return false;
}

/* Reads what users_revoke() takes from {"channels":[...]} or {"pattern":"..."}; false: replied
 * 400. */
static bool users_read_patterns(struct call *c, char *room, struct strbuf *out)
{
	struct str_view body, channels = SV(""), pattern = SV(""), text;

	if (!json_check(c->r->body, &body) && json_kind(body) == '{') {
		channels = json_member(body, SV("channels"));
		pattern = json_member(body, SV("pattern"));
	}
	if ((channels.len == 0) == (pattern.len == 0)) {
		call_fail(c, 400,
			  "The body must be a JSON object with \"channels\", a list of "
			  "names, or \"pattern\", a name in which * stands for any text.");
		return false;
	}
	if (channels.len)
		return users_read_channels(c, channels, room, out);
	if (users_read_text(pattern, room, &text) && users_pattern_is_valid(text)) {
		strbuf_add_sv(out, text);
		return true;
	}
	call_fail(c, 400, "pattern must be 1 to %d letters, digits and -_=@,.;#*.",
		  PATTERN_MAX_BYTES);
	return false;
}

void h_users_revoke(struct call *c)
{
	char *room;
	struct strbuf patterns;

	if (!users_check_id(c))
		return;
	room = xmalloc(c->r->body.len + 1);
	strbuf_init(&patterns, 128);
	if (users_read_patterns(c, room, &patterns) && rates_take_events(c, 1)) {
		const struct control end = { .kind = CONTROL_REVOKE,
					     .user_id = c->arg[0],
					     .patterns = strbuf_view(&patterns) };

		publish_control(c->services->publisher, c->app, &end, on_users_ended, c->r);
	}
	strbuf_release(&patterns);
	free(room);
}
