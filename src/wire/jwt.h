/* SPDX-License-Identifier: MIT */
#ifndef WIRE_JWT_H
#define WIRE_JWT_H
/*
 * The user of a bearer token: JSON Web Tokens (RFC 7519), HS256 (RFC 7518 section 3.2) and nothing
 * else.
 */
#include "base/annotate.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/user_id.h"

#define JWT_LEEWAY_US (30 * USEC_PER_SEC) /* between the issuer's clock and ours */
#define JWT_MAX_BYTES 8192

struct jwt_user {
	char id[USER_ID_SIZE]; /* sub */
	char *json;	       /* {"id","name"?,"avatar"?,"roles"}, compact; heap */
	usec_t expires;	       /* wall */
};

enum jwt_verdict {
	JWT_OK,
	JWT_MALFORMED,	   /* not three parts of base64url JSON */
	JWT_BAD_ALGORITHM, /* not HS256 */
	JWT_BAD_SIGNATURE,
	JWT_NO_EXPIRY,
	JWT_BAD_TIME, /* exp, nbf or iat is not a number of seconds */
	JWT_EXPIRED,
	JWT_NOT_YET,	 /* nbf, or iat, is in the future */
	JWT_BAD_SUBJECT, /* sub is not an id of a user */
	JWT_BAD_CLAIM,	 /* name, avatar or roles of another type, or too long */
};

enum jwt_audience { JWT_AUDIENCE_NONE, JWT_AUDIENCE_OURS, JWT_AUDIENCE_OTHER };

/*
 * Calls is_ours for the names in the claim "aud", a string or a list of strings (RFC 7519 section
 * 4.1.3), until one is.  Another type is JWT_AUDIENCE_OTHER; a token without the claim, or no
 * token, is JWT_AUDIENCE_NONE.  Nothing of the token is verified yet.
 */
enum jwt_audience jwt_audience(struct str_view token,
			       bool (*is_ours)(void *ctx, struct str_view name), void *ctx)
	MUSTCHECK;
/*
 * The token is good when one of the keys has signed it; empty keys sign nothing.  On JWT_OK *out
 * is filled (jwt_user_release).  now: wall.  Any thread.
 */
enum jwt_verdict jwt_check(struct str_view token, const struct str_view *keys, size_t n_keys,
			   usec_t now, struct jwt_user *out) MUSTCHECK;
void jwt_user_release(struct jwt_user *u);
/* One sentence for the caller: what is wrong and what to do. */
const char *jwt_verdict_text(enum jwt_verdict v);
#endif
