/* SPDX-License-Identifier: MIT */
/*
 * Who calls the sync API.  The server: HTTP Basic with key and secret (RFC 7617), or the Pusher
 * signed query below /apps/{id}/sync/.  A user: a bearer token (RFC 6750) signed with the
 * application's secret.
 */
#include <openssl/evp.h>
#include <strings.h>
#include "base/mem.h"
#include "conf/app.h"
#include "api/sync_call.h"
#include "wire/jwt.h"

#define AUTH_WINDOW_US	(600 * USEC_PER_SEC)
#define BASIC_MAX_BYTES 1024

static bool fail_auth(struct sync_call *c, const char *code, const char *text)
{
	sync_fail(c, 401, code, NULL, "%s", text);
	return false;
}

/* The app may be used: enabled, and over TLS when it must be. */
static bool check_app(struct sync_call *c)
{
	if (!c->app->enabled)
		sync_fail(c, 403, "app_disabled", NULL, "This application is disabled.");
	else if (c->app->tls_only && !c->r->tls && !c->r->loopback)
		sync_fail(c, 403, "tls_only", NULL, "This application is for TLS only: use https.");
	else
		return true;
	return false;
}

static bool be_server(struct sync_call *c)
{
	c->caller.right = BY_SERVER;
	c->caller.json = xstrdup("{\"server\":true}");
	return check_app(c);
}

/* What stands behind "Basic " or "Bearer "; false: another scheme. */
static bool has_scheme(struct str_view header, const char *scheme, struct str_view *rest)
{
	size_t n = strlen(scheme);

	if (header.len <= n || strncasecmp(header.ptr, scheme, n) != 0 || header.ptr[n] != ' ')
		return false;
	while (n < header.len && header.ptr[n] == ' ')
		n++;
	*rest = sv_skip(header, n);
	return true;
}

/* Counted; NULL stays NULL. */
static struct app *take_app(struct app *app)
{
	return app ? app_ref(app) : NULL;
}

/* ---- the server ------------------------------------------------------------ */

static bool by_signature(struct sync_call *c, struct str_view path, struct str_view app_id)
{
	const struct request *r = c->r;
	struct auth_request a = { r->method, path, r->params, r->n_params, r->body };
	struct app_set *set = apps_current();
	enum auth_verdict v;

	c->app = take_app(app_set_by_id(set, app_id));
	app_set_unref(set);
	if (!c->app) {
		sync_fail(c, 404, "unknown_app", NULL, "There is no application with this id.");
		return false;
	}
	v = auth_check_request(sv(c->app->key), c->app->secret, &a, clock_wall(), AUTH_WINDOW_US);
	return v == AUTH_OK ? be_server(c) : fail_auth(c, "bad_signature", auth_verdict_text(v));
}

/* "key:secret" out of its base64; its length, or -1. */
static int decode_basic(struct str_view text, char out[BASIC_MAX_BYTES])
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

static bool by_basic(struct sync_call *c, struct str_view credentials)
{
	static const char text[] = "The credentials are not an application's key and secret.";
	char plain[BASIC_MAX_BYTES];
	int n = decode_basic(credentials, plain);
	struct str_view all = sv_n(plain, n < 0 ? 0 : (size_t)n);
	ptrdiff_t colon = sv_find(all, ':');
	struct app_set *set;

	if (colon < 0)
		return fail_auth(c, "bad_credentials", text);
	set = apps_current();
	c->app = take_app(app_set_by_key(set, sv_n(all.ptr, (size_t)colon)));
	app_set_unref(set);
	if (c->app && auth_equal(sv_skip(all, (size_t)colon + 1), sv(c->app->secret_text)))
		return be_server(c);
	return fail_auth(c, "bad_credentials", text);
}

/* ---- a user ------------------------------------------------------------------ */

/* By the token's audience (id or key); without one, the only app there is. */
static struct app *app_of_token(struct str_view token)
{
	char *aud = jwt_audience(token);
	struct app_set *set = apps_current();
	struct app *app = NULL;

	if (aud) {
		app = app_set_by_id(set, sv(aud));
		if (!app)
			app = app_set_by_key(set, sv(aud));
	} else if (app_set_count(set) == 1) {
		app = app_set_at(set, 0);
	}
	take_app(app);
	app_set_unref(set);
	free(aud);
	return app;
}

static bool by_token(struct sync_call *c, struct str_view token)
{
	struct jwt_user user;
	enum jwt_verdict v;

	c->app = app_of_token(token);
	if (!c->app)
		return fail_auth(c, "bad_token",
				 "The bearer token names no application of this server: its aud "
				 "must be the application's id or key.");
	v = jwt_check(token, sv(c->app->secret_text), clock_wall(), &user);
	if (v != JWT_OK) {
		jwt_user_release(&user);
		return fail_auth(c, v == JWT_EXPIRED ? "token_expired" : "bad_token",
				 jwt_verdict_text(v));
	}
	c->caller = (struct sync_caller){ BY_USER, user.id, user.json };
	return check_app(c);
}

bool sync_identify(struct sync_call *c, struct str_view path, struct str_view signed_app)
{
	struct str_view header = c->r->header(c->r, "Authorization"), rest;

	if (signed_app.len)
		return by_signature(c, path, signed_app);
	if (has_scheme(header, "Basic", &rest))
		return by_basic(c, rest);
	if (has_scheme(header, "Bearer", &rest))
		return by_token(c, rest);
	return fail_auth(c, "unauthorized",
			 "Say who calls: Basic with an application's key and secret, or Bearer "
			 "with a user's token.");
}
