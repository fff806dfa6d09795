/* SPDX-License-Identifier: MIT */
/*
 * /broadcasting/auth and /broadcasting/user-auth: pusher-js requests a signature before it
 * subscribes and signs in.  Channel rules decide; the reply is that of Laravel's broadcaster
 * (protocol A3, A4, A6), made on a pool's thread, or at once when the verdict is known.
 */
#include <inttypes.h>
#include "base/mem.h"
#include "svc/sockets.h"
#include "wire/auth.h"
#include "api/handlers.h"
#include "api/reply.h"
#include "api/statement.h"

/* Of both actions. */
enum { AUTH_SOCKET_ID, AUTH_CHANNEL_NAME, AUTH_FIELDS };

/* {"id":7,"name":"Ada","avatar":"..."}: id, because Echo's here() gives its users nothing else. */
static void add_user_info(struct strbuf *b, const struct sync_call *sc,
			  const struct authorize_answer *a, bool with_avatar)
{
	strbuf_addf(b, "{\"id\":%" PRId64, sc->call.caller.user_id);
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
 * {"user_id":"7","user_info":{...}}, or id for user_id.  An avatar that makes user_info
 * exceed max_presence_member_bytes is left out: with it the subscription would fail.
 */
static void make_member(struct strbuf *b, const struct sync_call *sc, const char *id_name,
			const struct authorize_answer *a)
{
	unsigned max = sc->call.app->limits.max_presence_member_bytes;
	struct strbuf info;

	strbuf_init(&info, 64);
	add_user_info(&info, sc, a, true);
	if (max && info.len > max) {
		strbuf_reset(&info);
		add_user_info(&info, sc, a, false);
	}
	strbuf_init(b, info.len + 64);
	strbuf_addf(b, "{\"%s\":\"%" PRId64 "\",\"user_info\":", id_name, sc->call.caller.user_id);
	strbuf_add_sv(b, strbuf_view(&info));
	strbuf_add_c(b, '}');
	strbuf_release(&info);
}

/* "auth":"key:signature" of the texts with a colon between. */
static void broadcasting_add_auth(struct strbuf *b, const struct sync_call *sc, const char *middle,
				  struct str_view last)
{
	const struct str_view parts[] = { sv(sc->values[AUTH_SOCKET_ID].text), sv(middle), last };
	char hex[AUTH_HEX_BYTES + 1];

	auth_sign(sc->call.app->secret, parts, ARRAY_SIZE(parts), hex);
	strbuf_add_str(b, "{\"auth\":\"");
	strbuf_add_str(b, sc->call.app->key);
	strbuf_add_c(b, ':');
	strbuf_add_str(b, hex);
	strbuf_add_c(b, '"');
}

/* The connection is this user's, as far as is known. */
static void claim_socket(const struct sync_call *sc)
{
	sockets_claim(sc->call.services->sockets, sc->values[AUTH_SOCKET_ID].socket_id,
		      sc->call.app->runtime->number, sc->call.caller.user_id);
}

static void add_member(struct strbuf *b, const char *name, const struct strbuf *text)
{
	strbuf_addf(b, ",\"%s\":", name);
	strbuf_add_json(b, strbuf_view(text));
}

static void add_shared_secret(struct strbuf *b, const struct sync_call *sc, struct str_view channel)
{
	char secret[AUTH_SHARED_SECRET_CHARS + 1];

	auth_shared_secret(sc->call.app->master_key, channel, secret);
	strbuf_addf(b, ",\"shared_secret\":\"%s\"", secret);
}

/* ---- channels ---------------------------------------------------------------- */

static void add_channel_auth(struct strbuf *b, const struct sync_call *sc,
			     const struct authorize_answer *a)
{
	const char *channel = sc->values[AUTH_CHANNEL_NAME].text;
	const struct channel_traits *t = &sc->values[AUTH_CHANNEL_NAME].channel;
	struct strbuf signed_text, data;

	strbuf_init(&signed_text, 0);
	strbuf_add_str(&signed_text, channel);
	if (t->presence) {
		make_member(&data, sc, "user_id", a);
		strbuf_add_c(&signed_text, ':');
		strbuf_add_sv(&signed_text, strbuf_view(&data));
	}
	broadcasting_add_auth(b, sc, ":", strbuf_view(&signed_text));
	if (t->presence) {
		add_member(b, "channel_data", &data);
		strbuf_release(&data);
	}
	if (t->encrypted)
		add_shared_secret(b, sc, sv(channel));
	strbuf_add_c(b, '}');
	strbuf_release(&signed_text);
}

static void on_channel(void *ctx, const struct authorize_answer *a)
{
	struct sync_call *sc = ctx;
	const struct sync_value *channel = &sc->values[AUTH_CHANNEL_NAME];
	struct strbuf body;

	if (a->failure) {
		statement_fail_verdict(sc, a);
	} else if (!a->allowed) {
		sync_fail(sc, 403, "channel_forbidden", "channel_name",
			  "No channel rule allows this user to join %s.", channel->text);
	} else if (channel->channel.encrypted && !sc->call.app->has_master_key) {
		sync_fail(sc, 500, "no_master_key", NULL,
			  "The application has no encryption_master_key; set it to the key that "
			  "its publishers use.");
	} else {
		claim_socket(sc);
		strbuf_init(&body, 256);
		add_channel_auth(&body, sc, a);
		sync_reply(sc, 200, &body);
	}
}

static void authorize_channel(struct sync_call *sc)
{
	if (sc->values[AUTH_CHANNEL_NAME].channel.guarded)
		statement_ask_channel(sc, sc->values[AUTH_CHANNEL_NAME].text, on_channel);
	else
		sync_fail(sc, 403, "not_guarded", "channel_name",
			  "Only private and presence channels need authorization.");
}

static const struct sync_field channel_fields[AUTH_FIELDS] = {
	[AUTH_SOCKET_ID] = { .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_REQUIRED },
	[AUTH_CHANNEL_NAME] = { .name = "channel_name",
				.type = FIELD_CHANNEL,
				.flags = FIELD_REQUIRED },
};

struct sync_action broadcasting_auth = {
	.fields = channel_fields,
	.n_fields = ARRAY_SIZE(channel_fields),
	.run = authorize_channel,
};

/* ---- users --------------------------------------------------------------------- */

static void on_user(void *ctx, const struct authorize_answer *a)
{
	struct sync_call *sc = ctx;
	struct strbuf body, data;

	if (a->failure) {
		statement_fail_verdict(sc, a);
		return;
	}
	claim_socket(sc);
	make_member(&data, sc, "id", a);
	strbuf_init(&body, data.len + 256);
	broadcasting_add_auth(&body, sc, "::user::", strbuf_view(&data));
	add_member(&body, "user_data", &data);
	strbuf_add_c(&body, '}');
	strbuf_release(&data);
	sync_reply(sc, 200, &body);
}

/* Checks the user's own channel, which the user may always join: gives its name and avatar. */
static void authorize_user(struct sync_call *sc)
{
	char channel[sizeof(USER_CHANNEL_PREFIX) + 24];

	snprintf(channel, sizeof(channel), USER_CHANNEL_PREFIX "%" PRId64, sc->call.caller.user_id);
	statement_ask_channel(sc, channel, on_user);
}

static const struct sync_field user_fields[] = {
	[AUTH_SOCKET_ID] = { .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_REQUIRED },
};

struct sync_action broadcasting_user_auth = {
	.fields = user_fields,
	.n_fields = ARRAY_SIZE(user_fields),
	.run = authorize_user,
};
