/* SPDX-License-Identifier: MIT */
/*
 * /broadcasting/auth and /broadcasting/user-auth: pusher-js requests a signature before it
 * subscribes and signs in.  Channel rules decide, or the application's auth_url; the reply is that
 * of Laravel's broadcaster (protocol A3, A4, A6), made on a pool's thread, or at once when the
 * verdict is known.
 */
#include <errno.h>
#include <jansson.h>
#include "base/mem.h"
#include "svc/socket_ties.h"
#include "trace/recorder.h"
#include "webhook/app_auth.h"
#include "wire/auth.h"
#include "wire/grant.h"
#include "wire/json.h"
#include "api/handlers.h"
#include "api/rates.h"
#include "api/reply.h"
#include "api/statement.h"

/* Of both actions; channels have both forms of the name. */
enum { AUTH_SOCKET_ID, AUTH_CHANNEL_NAME, AUTH_CHANNEL_NAMES, AUTH_FIELDS };

#define CHANNELS_MAX	     100
#define CHANNELS_PER_REQUEST 10 /* of the user's rate */

/* {"id":7,"name":"Ada","avatar":"..."}: id, because Echo's here() gives its users nothing else. */
static void broadcasting_add_user_info(struct strbuf *b, const struct sync_call *sc,
				       const struct authorize_answer *a, bool with_avatar)
{
	strbuf_add_str(b, "{\"id\":");
	user_id_add_json(b, sc->call.caller.user_id);
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
 * {"user_id":"7","user_info":{...}, or id for user_id, and no end.  An avatar that makes user_info
 * exceed max_presence_member_bytes is left out: with it the subscription would fail.
 */
static void broadcasting_make_member(struct strbuf *b, const struct sync_call *sc,
				     const char *id_name, const struct authorize_answer *a)
{
	unsigned max = sc->call.app->limits.max_presence_member_bytes;
	struct strbuf info;

	strbuf_init(&info, 64);
	broadcasting_add_user_info(&info, sc, a, true);
	if (max && info.len > max) {
		strbuf_reset(&info);
		broadcasting_add_user_info(&info, sc, a, false);
	}
	strbuf_init(b, info.len + 64);
	strbuf_addf(b, "{\"%s\":\"%s\",\"user_info\":", id_name, sc->call.caller.user_id);
	strbuf_add_sv(b, strbuf_view(&info));
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
static void broadcasting_claim_socket(const struct sync_call *sc)
{
	socket_ties_claim(sc->call.services->ties, sc->call.app,
			  sc->values[AUTH_SOCKET_ID].socket_id, sc->call.caller.user_id);
}

/* A step of the connection that the user named; status 0: it was authorized. */
static void broadcasting_note_authorization(const struct sync_call *sc, const char *channel,
					    unsigned status, const char *detail)
{
	struct recorder_step step = { .kind = status ? STEP_AUTHORIZE_REFUSED : STEP_AUTHORIZED,
				      .code = status,
				      .app = sc->call.app->id,
				      .channel = sv(channel),
				      .user_id = sv(sc->call.caller.user_id),
				      .detail = sv(detail) };

	recorder_note(sc->call.services->recorder, sc->values[AUTH_SOCKET_ID].socket_id, &step);
}

static void broadcasting_add_member(struct strbuf *b, const char *name, const struct strbuf *text)
{
	strbuf_addf(b, ",\"%s\":", name);
	strbuf_add_json(b, strbuf_view(text));
}

static void broadcasting_add_shared_secret(struct strbuf *b, const struct sync_call *sc,
					   struct str_view channel)
{
	char secret[AUTH_SHARED_SECRET_CHARS + 1];

	auth_shared_secret(sc->call.app->master_key, channel, secret);
	strbuf_addf(b, ",\"shared_secret\":\"%s\"", secret);
}

/* ---- channels ---------------------------------------------------------------- */

/* With the mark of the daemon, so that the right can be checked again. */
static void make_channel_data(struct strbuf *b, const struct sync_call *sc,
			      const struct authorize_answer *a)
{
	const struct grant_mark mark = {
		.roles = json_member(sv(sc->call.caller.user_json), SV("roles")),
		.as_of = a->as_of,
		.at = (uint64_t)a->asked,
		.exp = (uint64_t)((sc->call.caller.token_expires + USEC_PER_SEC - 1) /
				  USEC_PER_SEC),
		.is_of_app = *sc->call.app->auth_url,
	};

	if (sc->values[AUTH_CHANNEL_NAME].channel.is_presence) {
		broadcasting_make_member(b, sc, "user_id", a);
	} else {
		strbuf_init(b, 128);
		strbuf_addf(b, "{\"user_id\":\"%s\"", sc->call.caller.user_id);
	}
	strbuf_add_c(b, ',');
	grant_mark_add(b, &mark);
	strbuf_add_c(b, '}');
}

static void add_channel_auth(struct strbuf *b, const struct sync_call *sc,
			     const struct authorize_answer *a)
{
	const char *channel = sc->values[AUTH_CHANNEL_NAME].text;
	const struct channel_traits *t = &sc->values[AUTH_CHANNEL_NAME].channel;
	struct strbuf signed_text, data;

	make_channel_data(&data, sc, a);
	strbuf_init(&signed_text, data.len + 256);
	strbuf_add_str(&signed_text, channel);
	strbuf_add_c(&signed_text, ':');
	strbuf_add_sv(&signed_text, strbuf_view(&data));
	broadcasting_add_auth(b, sc, ":", strbuf_view(&signed_text));
	broadcasting_add_member(b, "channel_data", &data);
	if (t->is_encrypted)
		broadcasting_add_shared_secret(b, sc, sv(channel));
	strbuf_add_c(b, '}');
	strbuf_release(&data);
	strbuf_release(&signed_text);
}

/* Why a channel is refused. */
struct channel_refusal {
	unsigned status; /* 0: it is not */
	const char *code, *message;
};

static struct channel_refusal channel_refusal_of(const struct sync_call *sc,
						 const struct authorize_answer *a)
{
	if (!a->is_allowed)
		return (struct channel_refusal){
			403, "channel_forbidden",
			*sc->call.app->auth_url
				? "The application does not allow this user to join this channel"
				: "No channel rule allows this user to join this channel"
		};
	if (sc->values[AUTH_CHANNEL_NAME].channel.is_encrypted && !sc->call.app->has_master_key)
		return (struct channel_refusal){
			500, "no_master_key",
			"The application has no encryption_master_key; set it to the key that its "
			"publishers use"
		};
	return (struct channel_refusal){ 0, NULL, NULL };
}

static void on_channel(void *ctx, const struct authorize_answer *a)
{
	struct sync_call *sc = ctx;
	const struct sync_value *channel = &sc->values[AUTH_CHANNEL_NAME];
	struct channel_refusal refusal;
	struct strbuf body;

	if (a->failure) {
		statement_fail_verdict(sc, a);
		return;
	}
	refusal = channel_refusal_of(sc, a);
	broadcasting_note_authorization(sc, channel->text, refusal.status, refusal.message);
	if (refusal.status == 403) {
		sync_fail(sc, 403, refusal.code, "channel_name",
			  *sc->call.app->auth_url
				  ? "The application does not allow this user to join %s."
				  : "No channel rule allows this user to join %s.",
			  channel->text);
	} else if (refusal.status) {
		sync_fail(sc, refusal.status, refusal.code, NULL, "%s.", refusal.message);
	} else {
		broadcasting_claim_socket(sc);
		strbuf_init(&body, 256);
		add_channel_auth(&body, sc, a);
		sync_reply(sc, 200, &body);
	}
}

/* ---- several channels ----
 * The answer grows in verdicts.known; verdicts.n_read is how much of the list was read, and the
 * value of channel_name is the current channel.
 */

static void add_refusal(struct strbuf *b, const struct channel_refusal *refusal)
{
	strbuf_addf(b, "{\"status\":%u,\"message\":", refusal->status);
	strbuf_add_json(b, sv(refusal->message));
	strbuf_add_str(b, ",\"error\":{\"code\":");
	strbuf_add_json(b, sv(refusal->code));
	strbuf_add_str(b, ",\"message\":");
	strbuf_add_json(b, sv(refusal->message));
	strbuf_add_str(b, "}}");
}

/* Makes the next channel of the list the current one; false: there is none. */
static bool next_channel(struct sync_call *sc)
{
	const struct str_view list = sv(sc->values[AUTH_CHANNEL_NAMES].text);
	struct sync_value *current = &sc->values[AUTH_CHANNEL_NAME];
	struct str_view item, name;
	char *room, *text;
	bool ok;

	if (!json_next_element(list, &sc->verdicts.n_read, &item))
		return false;
	room = text = xmalloc(item.len + 1);
	ok = json_decode_string(item, &room, &name);
	free(current->text);
	current->text = ok ? sv_dup(name) : xstrdup("");
	free(text);
	return true;
}

static void authorize_next_channel(struct sync_call *sc);

/* Of the current channel. */
static void channel_add_verdict(struct sync_call *sc, const struct authorize_answer *a,
				struct channel_refusal refusal)
{
	broadcasting_note_authorization(sc, sc->values[AUTH_CHANNEL_NAME].text, refusal.status,
					refusal.message);
	if (refusal.status) {
		add_refusal(&sc->verdicts.known, &refusal);
	} else {
		broadcasting_claim_socket(sc);
		add_channel_auth(&sc->verdicts.known, sc, a);
	}
}

static void on_one_of_several(void *ctx, const struct authorize_answer *a)
{
	struct sync_call *sc = ctx;
	struct channel_refusal refusal;

	if (a->failure && !(a->is_in_predicate && a->failure->rc == -ETIMEDOUT)) {
		statement_fail_verdict(sc, a);
		return;
	}
	refusal = a->failure ? (struct channel_refusal){ 503, "rule_slow",
							 "The predicate of this channel's rule did "
							 "not answer in time; try again later" }
			     : channel_refusal_of(sc, a);
	channel_add_verdict(sc, a, refusal);
	authorize_next_channel(sc);
}

/* Makes the next channel that can be authorized the current one; the others are refused.  False:
 * there is none. */
static bool next_guarded_channel(struct sync_call *sc)
{
	static const struct channel_refusal
		invalid = { 400, "invalid_value", "This is not the name of a channel" },
		not_guarded = { 403, "not_guarded",
				"Only private and presence channels need authorization" };
	struct sync_value *current = &sc->values[AUTH_CHANNEL_NAME];

	while (next_channel(sc)) {
		bool is_valid = !channel_name_parse(sv(current->text),
						    sc->call.app->limits.max_channel_name_bytes,
						    &current->channel);

		if (sc->verdicts.n++)
			strbuf_add_c(&sc->verdicts.known, ',');
		strbuf_add_json(&sc->verdicts.known, sv(current->text));
		strbuf_add_c(&sc->verdicts.known, ':');
		if (is_valid && current->channel.is_guarded) {
			return true;
		}
		add_refusal(&sc->verdicts.known, is_valid ? &not_guarded : &invalid);
	}
	return false;
}

static void channel_reply_all(struct sync_call *sc)
{
	strbuf_add_str(&sc->verdicts.known, "}}");
	sync_reply(sc, 200, &sc->verdicts.known);
}

/* Requests the next channel's verdict, or replies after the last. */
static void authorize_next_channel(struct sync_call *sc)
{
	if (next_guarded_channel(sc))
		statement_check_channel(sc, sc->values[AUTH_CHANNEL_NAME].text, on_one_of_several);
	else
		channel_reply_all(sc);
}

/* ---- the application decides ---- */

/* What the application does not state: the name and avatar are those of the token. */
static struct authorize_answer channel_app_verdict(const json_t *user, bool is_allowed,
						   usec_t asked)
{
	return (struct authorize_answer){
		.is_allowed = is_allowed,
		.asked = asked,
		.name = json_string_value(json_object_get(user, "name")),
		.avatar = json_string_value(json_object_get(user, "avatar")),
	};
}

static void on_app_answer(void *ctx, const struct app_auth_answer *answer)
{
	struct sync_call *sc = ctx;
	json_t *user = json_loads(sync_caller_json(sc), 0, NULL);
	struct authorize_answer verdict;
	size_t n = 0;

	if (answer->failure) {
		sync_fail(sc, 503, answer->failure, NULL,
			  "The application did not answer whether this user may join; try again "
			  "later.");
	} else if (!sc->values[AUTH_CHANNEL_NAMES].text) {
		verdict = channel_app_verdict(user, answer->allowed[0], answer->asked);
		on_channel(sc, &verdict);
	} else {
		while (next_guarded_channel(sc)) {
			verdict = channel_app_verdict(user, answer->allowed[n++], answer->asked);
			channel_add_verdict(sc, &verdict, channel_refusal_of(sc, &verdict));
		}
		channel_reply_all(sc);
	}
	json_decref(user);
}

/* All channels of the request that can be authorized, in one question. */
static void channel_query_app(struct sync_call *sc)
{
	struct sync_value *current = &sc->values[AUTH_CHANNEL_NAME];
	char *names[CHANNELS_MAX];
	struct app_auth_question q = { .app = sc->call.app,
				       .user_id = sc->call.caller.user_id,
				       .channels = (const char *const *)names,
				       .done = on_app_answer,
				       .ctx = sc };

	if (!sc->values[AUTH_CHANNEL_NAMES].text)
		names[q.n++] = xstrdup(current->text);
	else
		while (q.n < CHANNELS_MAX && next_channel(sc))
			if (!channel_name_parse(sv(current->text),
						sc->call.app->limits.max_channel_name_bytes,
						&current->channel) &&
			    current->channel.is_guarded)
				names[q.n++] = xstrdup(current->text);
	sc->verdicts.n_read = 0;
	app_auth_check(sc->call.services->app_auth, &q);
	while (q.n)
		free(names[--q.n]);
}

static void authorize_channels(struct sync_call *sc)
{
	struct str_view list = sv(sc->values[AUTH_CHANNEL_NAMES].text), item;
	unsigned n = 0;

	for (size_t at = 0; json_next_element(list, &at, &item);)
		n++;
	if (!rates_take_more(sc, (n - 1) / CHANNELS_PER_REQUEST))
		return;
	strbuf_add_str(&sc->verdicts.known, "{\"channels\":{");
	if (*sc->call.app->auth_url)
		channel_query_app(sc);
	else
		authorize_next_channel(sc);
}

static void authorize_channel(struct sync_call *sc)
{
	bool has_one = sc->values[AUTH_CHANNEL_NAME].text != NULL;
	usec_t grace = (usec_t)sc->call.app->token_grace_s * USEC_PER_SEC;

	/* Between its end and the leeway for clocks a token is accepted for requests; but what it
	 * authorized here could not be used. */
	if (sc->call.caller.token_expires + grace <= clock_wall())
		sync_fail(sc, 401, "token_expired", NULL, "The bearer token has expired.");
	else if (sc->values[AUTH_CHANNEL_NAMES].text && has_one)
		sync_fail(sc, 400, "invalid_value", "channel_names",
			  "Give channel_name or channel_names, not both.");
	else if (sc->values[AUTH_CHANNEL_NAMES].text)
		authorize_channels(sc);
	else if (!has_one)
		sync_fail(sc, 400, "missing_field", "channel_name",
			  "channel_name is missing, or the list channel_names.");
	else if (sc->values[AUTH_CHANNEL_NAME].channel.is_guarded && *sc->call.app->auth_url)
		channel_query_app(sc);
	else if (sc->values[AUTH_CHANNEL_NAME].channel.is_guarded)
		statement_check_channel(sc, sc->values[AUTH_CHANNEL_NAME].text, on_channel);
	else
		sync_fail(sc, 403, "not_guarded", "channel_name",
			  "Only private and presence channels need authorization.");
}

static const struct sync_field channel_fields[AUTH_FIELDS] = {
	[AUTH_SOCKET_ID] = { .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_REQUIRED },
	[AUTH_CHANNEL_NAME] = { .name = "channel_name", .type = FIELD_CHANNEL },
	[AUTH_CHANNEL_NAMES] = { .name = "channel_names",
				 .type = FIELD_STRINGS,
				 .max = CHANNELS_MAX },
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
	broadcasting_claim_socket(sc);
	broadcasting_note_authorization(sc, NULL, 0, "to sign in");
	broadcasting_make_member(&data, sc, "id", a);
	strbuf_add_c(&data, '}');
	strbuf_init(&body, data.len + 256);
	broadcasting_add_auth(&body, sc, "::user::", strbuf_view(&data));
	broadcasting_add_member(&body, "user_data", &data);
	strbuf_add_c(&body, '}');
	strbuf_release(&data);
	sync_reply(sc, 200, &body);
}

/* Checks the user's own channel, which the user may always join: gives its name and avatar. */
static void broadcasting_authorize_user(struct sync_call *sc)
{
	char channel[sizeof(USER_CHANNEL_PREFIX) + USER_ID_SIZE];

	snprintf(channel, sizeof(channel), USER_CHANNEL_PREFIX "%s", sc->call.caller.user_id);
	statement_check_channel(sc, channel, on_user);
}

static const struct sync_field user_fields[] = {
	[AUTH_SOCKET_ID] = { .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_REQUIRED },
};

struct sync_action broadcasting_user_auth = {
	.fields = user_fields,
	.n_fields = ARRAY_SIZE(user_fields),
	.run = broadcasting_authorize_user,
};
