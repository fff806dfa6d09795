/* SPDX-License-Identifier: MIT */
#ifndef LOG_CONTROL_H
#define LOG_CONTROL_H
/*
 * Control rows: what the application or an operator ends for a user, on every node of a cluster,
 * and a connection that an operator closes, whichever node has it. They are rows of the event log,
 * because they must not be lost and have their place among the events: each node acts on them when
 * its tail delivers them.  Their channel has a name that no client can subscribe to and no
 * publisher can use, so they are neither sent nor replayed.
 *
 * Any thread.
 */
#include "core/channels/directory.h"
#include "core/event.h"

#define CONTROL_CHANNEL "#control"
#define CONTROL_ORIGIN	"control"

enum control_kind {
	CONTROL_TERMINATE,  /* users_terminate() */
	CONTROL_REVOKE,	    /* users_revoke() */
	CONTROL_DISCONNECT, /* directory_close_socket() */
};

struct control {
	enum control_kind kind;
	struct str_view user_id;
	struct str_view patterns;  /* of CONTROL_REVOKE */
	struct str_view socket_id; /* of CONTROL_DISCONNECT, which has no user */
};

/* Acts on this node. */
void control_apply(struct directory *d, const struct app *app, const struct control *c);
/* The row for the log; one reference. */
struct event *control_event(struct app *app, const struct control *c) MUSTCHECK;
/* The kind concerns no application: a node acts on it too when it does not serve that of the row.
 */
bool control_is_for_node(struct str_view name);
/* Acts on this node on a row (e->is_control).  One that a later version wrote, or whose data was
 * erased, has no effect. */
void control_apply_event(struct directory *d, const struct event *e);
#endif
