/* SPDX-License-Identifier: MIT */
/* A user's connections: users/{user}/terminate_connections.  Runs on a transport's thread. */
#include "core/users.h"
#include "api/handlers.h"
#include "api/reply.h"

void h_users_terminate(struct call *c)
{
	unsigned max = c->app->limits.max_user_id_bytes;

	if (max && c->arg[0].len > max) {
		call_fail(c, 400, "A user id may have at most %u bytes.", max);
		return;
	}
	if (!call_take_events(c, 1))
		return;
	users_terminate(c->services->directory, c->app, c->arg[0]);
	request_reply(c->r, 200, SV("{}"));
}
