/* SPDX-License-Identifier: MIT */
/*
 * Identifies the caller of the API.  An application's server: by the Pusher signature in the query
 * below /apps/{id}/, elsewhere by HTTP Basic with the app's key and secret (RFC 7617).  A user: by
 * a bearer token (RFC 6750) signed with the app's token_secret or secret.
 *
 * Runs on the http thread; requests over TLS get there through front/tls_tunnel.c.
 */
#include <openssl/evp.h>
#include <strings.h>
#include "base/mem.h"
#include "wire/auth.h"
#include "wire/jwt.h"
#include "api/caller.h"
#include "api/reply.h"

/* How much a signature's timestamp may differ from the server's clock (protocol A9). */
#define AUTH_WINDOW_US	(600 * USEC_PER_SEC)
#define BASIC_MAX_BYTES 1024

/*
 * False, and the call has its reply, while applications that were not read yet may exist: what
 * names none of the known ones is not wrong then.
 */
static bool caller_knows_apps(struct call *c)
{
	struct app_set *set = apps_current();
	bool is_partial = app_set_is_partial(set);

	app_set_unref(set);
	if (is_partial)
		call_fail_code(c, 503, "database_away", NULL,
			       "The applications of the table apps have not been read yet, because "
			       "the database was not reachable; try again.");
	return !is_partial;
}

static bool caller_fail_auth(struct call *c, const char *code, const char *text)
{
	call_fail_code(c, 401, code, NULL, "%s", text);
	return false;
}

/* The app with that id or key, counted, or NULL. */
static struct app *caller_find_app(struct app *(*by)(const struct app_set *, struct str_view),
				   struct str_view name)
{
	struct app_set *set = apps_current();
	struct app *app = by(set, name);

	if (app)
		app_ref(app);
	app_set_unref(set);
	return app;
}

/* ---- the server ------------------------------------------------------------ */

static bool caller_by_signature(struct call *c)
{
	const struct request *r = c->r;
	struct auth_request a = { r->method, c->path, r->params, r->n_params, r->body };
	enum auth_verdict v;

	c->app = caller_find_app(app_set_by_id, c->app_id);
	if (!c->app) {
		if (caller_knows_apps(c))
			call_fail_code(c, 404, "unknown_app", NULL,
				       "There is no application with this id.");
		return false;
	}
	v = auth_check_request(sv(c->app->key), c->app->secret, &a, clock_wall(), AUTH_WINDOW_US);
	if (v == AUTH_SIGNATURE && !sv_eq(c->path, r->path)) {
		/* Most libraries sign the path without server.path, some the whole path. */
		a.path = r->path;
		v = auth_check_request(sv(c->app->key), c->app->secret, &a, clock_wall(),
				       AUTH_WINDOW_US);
	}
	if (v != AUTH_OK)
		return caller_fail_auth(c, "bad_signature", auth_verdict_text(v));
	c->caller.kind = BY_SERVER;
	return true;
}

/* Decodes "key:secret" from base64; its length, or -1. */
static int caller_decode_basic(struct str_view text, char out[BASIC_MAX_BYTES])
{
	int n, padding = 0;

	while (text.len && text.ptr[text.len - 1] == ' ')
		text.len--;
	if (!text.len || text.len % 4 || text.len > BASIC_MAX_BYTES)
		return -1;
	while (padding < 2 && text.ptr[text.len - 1 - (size_t)padding] == '=')
		padding++;
	n = EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)text.ptr, (int)text.len);
	return n < padding ? -1 : n - padding;
}

/* Or the previous secret; an application without one has "" there. */
static bool caller_secret_is_of(const struct app *app, struct str_view text)
{
	return auth_equal(text, sv(app->secret_text)) ||
	       (*app->previous_secret_text && auth_equal(text, sv(app->previous_secret_text)));
}

static bool caller_by_basic(struct call *c, struct str_view credentials)
{
	char plain[BASIC_MAX_BYTES];
	int n = caller_decode_basic(credentials, plain);
	struct str_view all = sv_n(plain, n < 0 ? 0 : (size_t)n);
	ptrdiff_t colon = sv_find(all, ':');

	if (colon >= 0)
		c->app = caller_find_app(app_set_by_key, sv_n(all.ptr, (size_t)colon));
	if (!c->app && !caller_knows_apps(c))
		return false;
	if (!c->app || !caller_secret_is_of(c->app, sv_skip(all, (size_t)colon + 1)))
		return caller_fail_auth(c, "bad_credentials",
					"The credentials are not an application's key and secret.");
	c->caller.kind = BY_SERVER;
	return true;
}

/* ---- a user ------------------------------------------------------------------ */

/* Finds the app of a token's audience, its id or key. */
static bool caller_take_audience(void *ctx, struct str_view name)
{
	struct call *c = ctx;

	c->app = caller_find_app(app_set_by_id, name);
	if (!c->app)
		c->app = caller_find_app(app_set_by_key, name);
	return c->app != NULL;
}

/* The app that the token names; a token without an audience is for the only app. */
static bool caller_take_app_of_token(struct call *c, struct str_view token)
{
	struct app_set *set;

	switch (jwt_audience(token, caller_take_audience, c)) {
	case JWT_AUDIENCE_OURS:
		return true;
	case JWT_AUDIENCE_OTHER:
		return false;
	case JWT_AUDIENCE_NONE:
		break;
	}
	set = apps_current();
	c->app = app_set_only(set);
	if (c->app)
		app_ref(c->app);
	app_set_unref(set);
	return c->app != NULL;
}

/* What tokens of the application may be signed with; how many. */
static size_t caller_token_keys(const struct app *app, struct str_view keys[4])
{
	const char *texts[] = { app->token_secret_text, app->secret_text,
				app->previous_token_secret_text, app->previous_secret_text };
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (*texts[i])
			keys[n++] = sv(texts[i]);
	return n;
}

static bool caller_by_token(struct call *c, struct str_view token)
{
	struct str_view keys[4];
	struct jwt_user user;
	enum jwt_verdict v;

	if (!caller_take_app_of_token(c, token))
		return caller_knows_apps(c) &&
		       caller_fail_auth(
			       c, "bad_token",
			       "The bearer token does not name an application of this server: "
			       "\"aud\" must be the application's id or key, or a list with one.");
	v = jwt_check(token, keys, caller_token_keys(c->app, keys), clock_wall(), &user);
	if (v != JWT_OK) {
		jwt_user_release(&user);
		return caller_fail_auth(c, v == JWT_EXPIRED ? "token_expired" : "bad_token",
					jwt_verdict_text(v));
	}
	c->caller = (struct caller){ .kind = BY_USER,
				     .user = user_key_of(user.id),
				     .token_expires = user.expires,
				     .user_json = user.json };
	str_copy(c->caller.user_id, sizeof(c->caller.user_id), sv(user.id));
	return true;
}

/* ---- either -------------------------------------------------------------------- */

static bool caller_by_header(struct call *c)
{
	struct str_view rest;

	if (call_has_scheme(c, "Basic", &rest))
		return caller_by_basic(c, rest);
	if (call_has_scheme(c, "Bearer", &rest))
		return caller_by_token(c, rest);
	return caller_fail_auth(
		c, "unauthorized",
		"Authorization is missing: send Basic with an application's key and "
		"secret, or Bearer with a user's token.");
}

bool caller_identify(struct call *c)
{
	if (!(c->app_id.len ? caller_by_signature(c) : caller_by_header(c)))
		return false;
	if (!c->app->enabled)
		call_fail_code(c, 403, "app_disabled", NULL, "This application is disabled.");
	else if (c->app->tls_only && !call_is_secure(c))
		call_fail_code(c, 403, "tls_only", NULL,
			       "This application accepts TLS only: use https.");
	else if (c->origin.len && !app_allows_origin(c->app, c->origin))
		call_fail_code(c, 403, "origin_not_allowed", NULL,
			       "Pages of this origin may not call the application: see "
			       "allowed_origins.");
	else if (!(c->route->rights & c->caller.kind))
		call_fail_code(c, 403, "forbidden", NULL,
			       c->caller.kind == BY_USER
				       ? "Only the application's server may make this request."
				       : "Only a user may make this request: send a user's bearer "
					 "token.");
	else
		return true;
	return false;
}
