/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_CONNECTIONS_H
#define ADMIN_CONNECTIONS_H
/*
 * The connections of this node and their last steps, as JSON, from the flight recorder
 * (trace/recorder.h).  Each replies on the thread that calls it.
 */
#include "admin/admin.h"

#define CONNECTIONS_PATH "/admin/api/connections"

void admin_connections_list(const struct admin_services *s, struct request *r);
/* The one of the path CONNECTIONS_PATH "/{socket_id}". */
void admin_connections_show(const struct admin_services *s, struct request *r);

/* An open connection. */
struct admin_connection {
	uint64_t id;
	unsigned worker;
	char *app; /* heap */
};
/* The one of the path CONNECTIONS_PATH "/{socket_id}/..."; false: there is none that is open. */
bool admin_connections_find(const struct admin_services *s, const struct request *r,
			    struct admin_connection *out) MUSTCHECK;
#endif
