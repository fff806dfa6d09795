/* SPDX-License-Identifier: MIT */
/*
 * /broadcasting/auth and /broadcasting/user-auth: what pusher-js asks before it subscribes and
 * signs in, answered as Laravel's broadcaster does (protocol A3, A4, A6), by channel_rules.
 */
#include <inttypes.h>
#include "base/mem.h"
#include "conf/app.h"
#include "api/sync_table.h"
#include "wire/channel_name.h"

/* {"id":7,"name":"Ada","avatar":"..."}: id, because Echo's here() gives its users nothing else. */
static void add_user_info(struct strbuf *b, const struct sync_call *c,
			  const struct authorize_answer *a, bool with_avatar)
{
	strbuf_addf(b, "{\"id\":%" PRId64, c->caller.user_id);
	if (a->name) {
		strbuf_add_str(b, ",\"name\":");
		strbuf_add_json(b, sv(a->name));
	}
	if (a->avatar && with_avatar) {
		strbuf_add_str(b, ",\"avatar\":");
		strbuf_add_json(b, sv(a->avatar));
	}
	strbuf_add_c(b, '}');
}

/*
 * {"user_id":"7","user_info":{...}}, or id for user_id.  An avatar that makes the information
 * larger than members may have is left out: it would keep the user out of the channel.
 */
static void make_member(struct strbuf *b, const struct sync_call *c, const char *id_name,
			const struct authorize_answer *a)
{
	unsigned max = c->app->limits.max_presence_member_bytes;
	struct strbuf info;

	strbuf_init(&info, 64);
	add_user_info(&info, c, a, true);
	if (max && info.len > max) {
		strbuf_reset(&info);
		add_user_info(&info, c, a, false);
	}
	strbuf_init(b, info.len + 64);
	strbuf_addf(b, "{\"%s\":\"%" PRId64 "\",\"user_info\":", id_name, c->caller.user_id);
	strbuf_add_sv(b, strbuf_view(&info));
	strbuf_add_c(b, '}');
	strbuf_release(&info);
}

/* "auth":"key:signature" of the texts with a colon between. */
static void add_auth(struct strbuf *b, const struct sync_call *c, const char *middle,
		     struct str_view last)
{
	const struct str_view parts[] = { sv(sync_value(c, "socket_id")), sv(middle), last };
	char hex[AUTH_HEX_BYTES + 1];

	auth_sign(c->app->secret, parts, ARRAY_SIZE(parts), hex);
	strbuf_add_str(b, "{\"auth\":\"");
	strbuf_add_str(b, c->app->key);
	strbuf_add_c(b, ':');
	strbuf_add_str(b, hex);
	strbuf_add_c(b, '"');
}

static void add_member(struct strbuf *b, const char *name, const struct strbuf *text)
{
	strbuf_addf(b, ",\"%s\":", name);
	strbuf_add_json(b, strbuf_view(text));
}

static void add_shared_secret(struct strbuf *b, const struct sync_call *c, struct str_view channel)
{
	char secret[AUTH_SHARED_SECRET_CHARS + 1];

	auth_shared_secret(c->app->master_key, channel, secret);
	strbuf_addf(b, ",\"shared_secret\":\"%s\"", secret);
}

/* ---- channels ---------------------------------------------------------------- */

static void add_channel_auth(struct strbuf *b, const struct sync_call *c,
			     const struct channel_traits *t, const struct authorize_answer *a)
{
	struct strbuf signed_text, data;
	const char *channel = sync_value(c, "channel_name");

	strbuf_init(&signed_text, 0);
	strbuf_add_str(&signed_text, channel);
	if (t->presence) {
		make_member(&data, c, "user_id", a);
		strbuf_add_c(&signed_text, ':');
		strbuf_add_sv(&signed_text, strbuf_view(&data));
	}
	add_auth(b, c, ":", strbuf_view(&signed_text));
	if (t->presence) {
		add_member(b, "channel_data", &data);
		strbuf_release(&data);
	}
	if (t->encrypted)
		add_shared_secret(b, c, sv(channel));
	strbuf_add_c(b, '}');
	strbuf_release(&signed_text);
}

static void traits_of(const struct sync_call *c, struct channel_traits *t)
{
	/* its field took it: it is a name */
	if (channel_name_parse(sv(sync_value(c, "channel_name")),
			       c->app->limits.max_channel_name_bytes, t))
		*t = (struct channel_traits){ .guarded = false };
}

static void on_channel(void *ctx, const struct authorize_answer *a)
{
	struct sync_call *c = ctx;
	struct channel_traits t;
	struct strbuf body;

	traits_of(c, &t);
	if (a->failure) {
		sync_fail_unasked(c, a);
	} else if (!a->allowed) {
		sync_fail(c, 403, "channel_forbidden", "channel_name",
			  "No rule lets this user join %s.", sync_value(c, "channel_name"));
	} else if (t.encrypted && !c->app->has_master_key) {
		sync_fail(c, 500, "no_master_key", NULL,
			  "The application has no encryption_master_key: give it the one that its "
			  "publishers encrypt with.");
	} else {
		strbuf_init(&body, 256);
		add_channel_auth(&body, c, &t, a);
		sync_reply(c, 200, &body);
	}
}

static void authorize_channel(struct sync_call *c)
{
	struct channel_traits t;

	traits_of(c, &t);
	if (t.guarded)
		sync_ask_channel(c, sync_value(c, "channel_name"), on_channel);
	else
		sync_fail(c, 403, "not_guarded", "channel_name",
			  "Only private and presence channels are authorized.");
}

static const struct sync_field channel_fields[] = {
	{ .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_REQUIRED },
	{ .name = "channel_name", .type = FIELD_CHANNEL, .flags = FIELD_REQUIRED },
};

const struct sync_action broadcasting_auth = {
	.fields = channel_fields,
	.n_fields = ARRAY_SIZE(channel_fields),
	.run = authorize_channel,
};

/* ---- users --------------------------------------------------------------------- */

static void on_user(void *ctx, const struct authorize_answer *a)
{
	struct sync_call *c = ctx;
	struct strbuf body, data;

	if (a->failure) {
		sync_fail_unasked(c, a);
		return;
	}
	make_member(&data, c, "id", a);
	strbuf_init(&body, data.len + 256);
	add_auth(&body, c, "::user::", strbuf_view(&data));
	add_member(&body, "user_data", &data);
	strbuf_add_c(&body, '}');
	strbuf_release(&data);
	sync_reply(c, 200, &body);
}

/* By the user's own channel, which no rule can close to it. */
static void authorize_user(struct sync_call *c)
{
	char channel[sizeof(USER_CHANNEL_PREFIX) + 24];

	snprintf(channel, sizeof(channel), USER_CHANNEL_PREFIX "%" PRId64, c->caller.user_id);
	sync_ask_channel(c, channel, on_user);
}

static const struct sync_field user_fields[] = {
	{ .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_REQUIRED },
};

const struct sync_action broadcasting_user_auth = {
	.fields = user_fields,
	.n_fields = ARRAY_SIZE(user_fields),
	.run = authorize_user,
};
