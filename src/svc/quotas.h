/* SPDX-License-Identifier: MIT */
#ifndef SVC_QUOTAS_H
#define SVC_QUOTAS_H
/*
 * What one user and one application may request of the sync API: calls without an answer, requests
 * and bytes per second.  The limits of an application's server are in struct app_runtime; a user's
 * requests do not count there.
 *
 * A user is known here while it has an open call or used up a part of a rate.  One lock, held for a
 * lookup.  Any thread.
 */
#include "base/annotate.h"
#include "base/user_id.h"
#include "conf/conf.h"

struct quotas;

/* Why a call is refused. */
struct quota_refusal {
	const char *option; /* NULL: it is not */
	unsigned limit;
};

struct quotas *quotas_new(const struct conf_sync *conf) MUSTCHECK;
void quotas_free(struct quotas *q); /* NULL is fine */

/*
 * A call of the user (none: of the application's server) with a body of that size.  When it is not
 * refused, quotas_end() must follow.
 */
struct quota_refusal quotas_begin(struct quotas *q, const struct app *app, struct user_key user,
				  size_t bytes) MUSTCHECK;
void quotas_end(struct quotas *q, const struct app *app, struct user_key user);
/* n further requests of a user within a call that has begun. */
struct quota_refusal quotas_take(struct quotas *q, const struct app *app, struct user_key user,
				 unsigned n) MUSTCHECK;
#endif
