/* SPDX-License-Identifier: MIT */
#ifndef CORE_TRANSITION_H
#define CORE_TRANSITION_H
/*
 * A change that webhooks report: a channel that was occupied or vacated, a presence member, a
 * client event, a cache channel without an event, a number of subscriptions.
 */
#include "base/clock.h"
#include "conf/app.h"

/* Everything is borrowed. */
struct transition {
	enum webhook_event event;
	struct app *app;
	struct str_view channel;
	struct str_view user_id; /* of a member, or of a client event on a presence channel */
	struct str_view name;	 /* of a client event */
	struct str_view data;	 /* of a client event: JSON text */
	uint64_t socket_id;	 /* of a client event */
	unsigned count;		 /* subscriptions */
	usec_t waited;		 /* a member removed: since its last connection was lost */
};
#endif
