/* SPDX-License-Identifier: MIT */
#ifndef WIRE_JWT_H
#define WIRE_JWT_H
/*
 * Who a bearer token speaks for: JSON Web Tokens (RFC 7519), HS256 (RFC 7518 section 3.2) with
 * the application's secret, and nothing else.
 */
#include "base/annotate.h"
#include "base/clock.h"
#include "base/str.h"

#define JWT_LEEWAY_US (30 * USEC_PER_SEC) /* between the issuer's clock and ours */
#define JWT_MAX_BYTES 8192

struct jwt_user {
	int64_t id;	/* sub */
	char *json;	/* {"id","name"?,"avatar"?,"roles"}, compact; heap */
	usec_t expires; /* wall */
};

enum jwt_verdict {
	JWT_OK,
	JWT_MALFORMED,	   /* not three parts of base64url JSON */
	JWT_BAD_ALGORITHM, /* not HS256 */
	JWT_BAD_SIGNATURE,
	JWT_NO_EXPIRY,
	JWT_EXPIRED,
	JWT_NOT_YET,	 /* nbf, or iat, lies ahead */
	JWT_BAD_SUBJECT, /* sub is not a positive integer */
	JWT_BAD_CLAIM,	 /* name, avatar or roles of another type, or too long */
};

/*
 * The application that the token names for itself, in "aud" (its id or key); NULL when it names
 * none or is no token.  Heap.  Nothing of it is verified yet.
 */
char *jwt_audience(struct str_view token) MUSTCHECK;
/* On JWT_OK *out is filled (jwt_user_release).  now: wall.  Any thread. */
enum jwt_verdict jwt_check(struct str_view token, struct str_view secret, usec_t now,
			   struct jwt_user *out) MUSTCHECK;
void jwt_user_release(struct jwt_user *u);
/* One sentence for the caller: what is wrong and what to do. */
const char *jwt_verdict_text(enum jwt_verdict v);
#endif
