/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_CHANGE_H
#define ADMIN_CHANGE_H
/* Changes that are requested on the admin listener.  On its http thread. */
#include "api/request.h"

struct admin;

/* The last part of the path is the action.  who is the token's name. */
void admin_on_write(struct admin *a, struct request *r, const char *who);
/* Closes one connection; the body is not read. */
void admin_on_connection_disconnect(struct admin *a, struct request *r, const char *who);
/* Records that a known token requested a change that it cannot have; result is the reason. */
void admin_audit_refused(struct admin *a, const struct request *r, const char *who,
			 const char *result);
#endif
