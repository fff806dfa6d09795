/* SPDX-License-Identifier: MIT */
#ifndef SVC_GRANTS_H
#define SVC_GRANTS_H
/*
 * Ends subscriptions whose user lost the right to the channel.
 *
 * A grant is the right of one user, with the roles of the token, to one channel, by the daemon's
 * own authorization: all subscriptions of it share the grant.  When a rule or a user changes, the
 * rules are evaluated again, once for each grant and a few at a time, by authorize_check().  The
 * subscriptions of a grant that no rule allows any more are ended.  A grant whose verdict cannot be
 * had is kept, and checked again after a pause (docs/decisions/0035).
 */
#include "conf/app.h"
#include "core/channels/directory.h"
#include "svc/authorize.h"
#include "wire/grant.h"

struct grants;

struct grants *grants_new(void) MUSTCHECK;
void grants_free(struct grants *g); /* NULL is fine */
/* Both are borrowed, until grants_stop().  Before the first grants_join(). */
void grants_start(struct grants *g, struct authorizer *a, struct directory *d);
/* Begins no further check.  Before the pools stop, which answer those that are open. */
void grants_stop(struct grants *g);

/*
 * A subscription with this mark begins: returns the id of its grant, which is never 0.  If rules or
 * users changed since the authorization, the grant is checked.  Any thread.
 */
uint64_t grants_join(struct grants *g, struct app *app, struct str_view channel,
		     const struct grant_mark *mark) MUSTCHECK;
/* It has ended.  Any thread. */
void grants_leave(struct grants *g, uint64_t grant);

/* What struct authorizer_conf has as on_change.  Checks nothing yet: grants_tick() does. */
void grants_on_change(void *g, const char *app, const char *user_id);
/* Checks what is due.  One thread calls it, a few times a second.  now: mono. */
void grants_tick(struct grants *g, usec_t now);
#endif
