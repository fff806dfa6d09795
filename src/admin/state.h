/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_STATE_H
#define ADMIN_STATE_H
/*
 * What is in the memory of this node, as JSON: its state, applications, channels, users.  Reading
 * it takes one lock of the directory at a time, as the HTTP API does.
 *
 * Each replies, on the thread that calls it.
 */
#include "admin/admin.h"

void admin_state_apps(const struct admin_services *s, struct request *r);
void admin_state_channels(const struct admin_services *s, struct request *r);
void admin_state_who(const struct admin_services *s, struct request *r);
/* Write members without braces, for a reply that also has a part of the database. */
void admin_state_status(const struct admin_services *s, struct strbuf *out);
/* As above; returns whether all checks pass. */
bool admin_state_health(const struct health *h, struct strbuf *out);
void admin_state_channel(const struct admin_services *s, const struct app *app,
			 struct str_view channel, struct strbuf *out);
/* The application of the parameter "app", or the only one (counted); NULL: it was replied to. */
struct app *admin_state_app(struct request *r) MUSTCHECK;
#endif
