/* SPDX-License-Identifier: MIT */
/*
 * Tokens are verified by libjwt, claims are read by jansson.  Only HS256 is accepted (RFC 8725
 * section 3.1), and before the signature fits only "aud" is read, which names the application.  No
 * state; any thread.
 */
#include <jansson.h>
#include <jwt.h>
#include "base/mem.h"
#include "wire/jwt.h"

#define NAME_MAX_BYTES	 255
#define AVATAR_MAX_BYTES 2048
#define ROLES_MAX	 64
#define ROLE_MAX_BYTES	 64

static const char *const verdicts[] = {
	[JWT_OK] = "fine",
	[JWT_MALFORMED] = "The bearer token is not a JSON Web Token.",
	[JWT_BAD_ALGORITHM] = "The bearer token must be signed with HS256.",
	[JWT_BAD_SIGNATURE] = "The bearer token is not signed with this application's secret or "
			      "token_secret.",
	[JWT_NO_EXPIRY] = "The bearer token has no expiry: add the claim exp.",
	[JWT_BAD_TIME] = "In the bearer token exp, nbf and iat must be numbers of seconds since "
			 "1970, not text.",
	[JWT_EXPIRED] = "The bearer token has expired; get a new one.",
	[JWT_NOT_YET] = "The bearer token is not valid yet (nbf or iat is in the future).",
	[JWT_BAD_SUBJECT] = "The bearer token's sub must be the user's id, a positive integer.",
	[JWT_BAD_CLAIM] =
		"In the bearer token name and avatar must be short strings, roles a list.",
};

const char *jwt_verdict_text(enum jwt_verdict v)
{
	return verdicts[v];
}

/* NULL for what is no token; with a key, for what that key has not signed. */
static jwt_t *jwt_decode_token(struct str_view token, struct str_view key)
{
	jwt_t *jwt = NULL;
	char *text;
	int rc;

	if (token.len > JWT_MAX_BYTES || memchr(token.ptr, '\0', token.len))
		return NULL;
	text = sv_dup(token);
	rc = jwt_decode(&jwt, text, key.len ? (const unsigned char *)key.ptr : NULL, (int)key.len);
	free(text);
	return rc ? NULL : jwt;
}

/* All claims as one object; NULL when they are none. */
static json_t *jwt_claims(jwt_t *jwt)
{
	char *text = jwt_get_grants_json(jwt, NULL);
	json_t *claims = text ? json_loads(text, 0, NULL) : NULL;

	free(text);
	return claims;
}

enum jwt_audience jwt_audience(struct str_view token,
			       bool (*is_ours)(void *ctx, struct str_view name), void *ctx)
{
	jwt_t *jwt = jwt_decode_token(token, SV(""));
	json_t *claims = jwt ? jwt_claims(jwt) : NULL, *aud = json_object_get(claims, "aud");
	size_t n = json_is_array(aud) ? json_array_size(aud) : 1;
	enum jwt_audience found = aud ? JWT_AUDIENCE_OTHER : JWT_AUDIENCE_NONE;

	for (size_t i = 0; aud && found == JWT_AUDIENCE_OTHER && i < n; i++) {
		const json_t *name = json_is_array(aud) ? json_array_get(aud, i) : aud;

		if (json_is_string(name) && is_ours(ctx, sv(json_string_value(name))))
			found = JWT_AUDIENCE_OURS;
	}
	json_decref(claims);
	jwt_free(jwt);
	return found;
}

/* ---- claims ------------------------------------------------------------ */

/* Seconds as RFC 7519 has them, fractions allowed; false when it is no number. */
static bool jwt_read_time(const json_t *v, usec_t *out)
{
	double s = json_number_value(v);

	if (!json_is_number(v) || s < 0 || s > 1e11)
		return false;
	*out = (usec_t)(s * (double)USEC_PER_SEC);
	return true;
}

static enum jwt_verdict jwt_check_times(const json_t *claims, usec_t now, usec_t *expires)
{
	const json_t *exp = json_object_get(claims, "exp"), *nbf = json_object_get(claims, "nbf"),
		     *iat = json_object_get(claims, "iat");
	usec_t not_before = 0, issued = 0;

	if (!exp)
		return JWT_NO_EXPIRY;
	if (!jwt_read_time(exp, expires) || (nbf && !jwt_read_time(nbf, &not_before)) ||
	    (iat && !jwt_read_time(iat, &issued)))
		return JWT_BAD_TIME;
	if (*expires + JWT_LEEWAY_US <= now)
		return JWT_EXPIRED;
	if (not_before > now + JWT_LEEWAY_US || issued > now + JWT_LEEWAY_US)
		return JWT_NOT_YET;
	return JWT_OK;
}

static bool jwt_read_subject(const json_t *v, char out[USER_ID_SIZE])
{
	char digits[24];

	if (!json_is_integer(v))
		return json_is_string(v) &&
		       user_id_read(sv_n(json_string_value(v), json_string_length(v)), out);
	snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	return user_id_read(sv(digits), out);
}

static json_t *jwt_user_id(const char *id)
{
	struct strbuf text;
	json_t *v;

	strbuf_init(&text, USER_ID_SIZE + 8);
	user_id_add_json(&text, id);
	v = json_loadb(text.ptr, text.len, JSON_DECODE_ANY, NULL);
	strbuf_release(&text);
	return v;
}

static bool jwt_copy_text(json_t *to, const json_t *claims, const char *name, size_t max)
{
	json_t *v = json_object_get(claims, name);

	if (!v || json_is_null(v))
		return true;
	if (!json_is_string(v) || json_string_length(v) > max)
		return false;
	return json_object_set(to, name, v) == 0;
}

static bool jwt_copy_roles(json_t *to, const json_t *claims)
{
	json_t *roles = json_object_get(claims, "roles"), *role;
	size_t i;

	if (!roles || json_is_null(roles))
		return json_object_set_new(to, "roles", json_array()) == 0;
	if (!json_is_array(roles) || json_array_size(roles) > ROLES_MAX)
		return false;
	json_array_foreach(roles, i,
			   role) if (!json_is_string(role) ||
				     json_string_length(role) > ROLE_MAX_BYTES) return false;
	return json_object_set(to, "roles", roles) == 0;
}

static enum jwt_verdict jwt_read_user(const json_t *claims, struct jwt_user *out)
{
	enum jwt_verdict v = JWT_OK;
	json_t *user = json_object();

	if (!jwt_read_subject(json_object_get(claims, "sub"), out->id))
		v = JWT_BAD_SUBJECT;
	else if (json_object_set_new(user, "id", jwt_user_id(out->id)) ||
		 !jwt_copy_text(user, claims, "name", NAME_MAX_BYTES) ||
		 !jwt_copy_text(user, claims, "avatar", AVATAR_MAX_BYTES) ||
		 !jwt_copy_roles(user, claims))
		v = JWT_BAD_CLAIM;
	else
		out->json = json_dumps(user, JSON_COMPACT);
	json_decref(user);
	return v == JWT_OK && !out->json ? JWT_BAD_CLAIM : v;
}

/* Why no key can make it good, or JWT_OK. */
static enum jwt_verdict jwt_check_header(struct str_view token)
{
	jwt_t *jwt = jwt_decode_token(token, SV(""));
	/* jwt_get_alg() returns "none" for all that was not verified */
	const char *alg = jwt ? jwt_get_header(jwt, "alg") : NULL;
	enum jwt_verdict v = JWT_OK;

	if (!jwt)
		v = JWT_MALFORMED;
	else if (!alg || strcmp(alg, "HS256") != 0)
		v = JWT_BAD_ALGORITHM;
	jwt_free(jwt);
	return v;
}

/* The token, verified with the first key that signed it; NULL: none did. */
static jwt_t *jwt_verify(struct str_view token, const struct str_view *keys, size_t n_keys)
{
	for (size_t i = 0; i < n_keys; i++) {
		/* An empty key would mean to the library: do not verify. */
		jwt_t *jwt = keys[i].len ? jwt_decode_token(token, keys[i]) : NULL;

		if (jwt && jwt_get_alg(jwt) == JWT_ALG_HS256)
			return jwt;
		jwt_free(jwt);
	}
	return NULL;
}

enum jwt_verdict jwt_check(struct str_view token, const struct str_view *keys, size_t n_keys,
			   usec_t now, struct jwt_user *out)
{
	enum jwt_verdict v = jwt_check_header(token);
	json_t *claims = NULL;
	jwt_t *jwt;

	*out = (struct jwt_user){ .json = NULL };
	if (v != JWT_OK)
		return v;
	jwt = jwt_verify(token, keys, n_keys);
	if (!jwt)
		return JWT_BAD_SIGNATURE;
	claims = jwt_claims(jwt);
	v = claims ? jwt_check_times(claims, now, &out->expires) : JWT_MALFORMED;
	if (v == JWT_OK)
		v = jwt_read_user(claims, out);
	json_decref(claims);
	jwt_free(jwt);
	return v;
}

void jwt_user_release(struct jwt_user *u)
{
	free(u->json);
	u->json = NULL;
}
