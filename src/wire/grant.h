/* SPDX-License-Identifier: MIT */
#ifndef WIRE_GRANT_H
#define WIRE_GRANT_H
/*
 * The mark of an authorization that the daemon gave itself (POST /broadcasting/auth): the member
 * "scopewire" of the channel_data, which is signed.  It has what is needed to evaluate the rules
 * again for a client that is subscribed, and to end the subscription with the token:
 *   {"user_id":"7",...,"scopewire":{"roles":["staff"],"as_of":1764403200000000,"at":1764403200123456,
 *   "exp":1764406800}}
 * One of the application's auth_url has also "by":"app".
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "base/str.h"
#include "base/user_id.h"

/* Limit for times, so that adding to them cannot overflow. */
#define GRANT_EXP_MAX (UINT64_MAX >> 1)

struct grant_mark {
	char user_id[USER_ID_SIZE];
	struct str_view roles; /* JSON: the list of the user's token */
	uint64_t as_of;	       /* authorize_generation() of the verdict */
	uint64_t at;	       /* when the verdict was requested: microseconds since 1970 */
	uint64_t exp;	       /* when the token expires: seconds since 1970 */
	bool is_of_app;	       /* by the application's auth_url: no rule is evaluated again */
};

/* Appends the member "scopewire", without user_id. */
void grant_mark_add(struct strbuf *b, const struct grant_mark *m);
/* False: the daemon did not give this authorization.  out->roles points into channel_data. */
bool grant_mark_parse(struct str_view channel_data, struct grant_mark *out) MUSTCHECK;
#endif
