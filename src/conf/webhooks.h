/* SPDX-License-Identifier: MIT */
#ifndef CONF_WEBHOOKS_H
#define CONF_WEBHOOKS_H
/*
 * Where an application's webhooks are sent (protocol A10): its option webhooks, a JSON array of
 * objects as in soketi's column and variable of that name.
 */
#include <stdbool.h>
#include "base/annotate.h"
#include "base/str.h"

enum webhook_event {
	WEBHOOK_CHANNEL_OCCUPIED,
	WEBHOOK_CHANNEL_VACATED,
	WEBHOOK_MEMBER_ADDED,
	WEBHOOK_MEMBER_REMOVED,
	WEBHOOK_CLIENT_EVENT,
	WEBHOOK_CACHE_MISS,
	WEBHOOK_SUBSCRIPTION_COUNT,
	WEBHOOK_NOTIFICATION_UNDELIVERED, /* of the database, not of the directory */
	WEBHOOK_EVENTS
};

#define WEBHOOKS_OF_CHANNELS (1U << WEBHOOK_CHANNEL_OCCUPIED | 1U << WEBHOOK_CHANNEL_VACATED)
#define WEBHOOKS_OF_MEMBERS  (1U << WEBHOOK_MEMBER_ADDED | 1U << WEBHOOK_MEMBER_REMOVED)

/* http or https, with a host, without a user and password: those would be in messages. */
bool webhook_url_is_valid(const char *url);

/* The name of the event on the wire. */
const char *webhook_event_name(enum webhook_event event);

enum webhook_batching { WEBHOOK_BATCHING_DEFAULT, WEBHOOK_BATCHING_OFF, WEBHOOK_BATCHING_ON };

struct webhook_endpoint {
	char *name; /* unique in the application: as configured, or the URL without its query */
	char *url;
	unsigned events;       /* a bit for each enum webhook_event */
	char *prefix, *suffix; /* of the names of channels; NULL for all */
	char **headers;	       /* "Name: value", NULL-terminated; NULL for none; may be secret */
	enum webhook_batching batching;
};

struct webhook_list {
	struct webhook_endpoint *endpoints;
	size_t n;
	/* Of all endpoints; with the opposites of those that report a state, which must be
	 * followed too. */
	unsigned watched;
	char *ignored; /* names of members that have no effect, between ", "; or NULL */
};

/*
 * Reads the option's text; empty text and JSON's null are an empty list.  0; or -EINVAL with what
 * is wrong in *complaint (heap), and out is not changed.  No complaint has a part of a URL or
 * header.
 */
int webhook_list_parse(struct str_view text, struct webhook_list *out, char **complaint) MUSTCHECK;
void webhook_list_release(struct webhook_list *l);
/* Why an endpoint is not sent an event that it wants, a sentence without its full stop; or NULL. */
const char *webhook_list_warning(const struct webhook_list *l, bool has_deliveries);
/* Whether the endpoint is sent this event of this channel. */
bool webhook_endpoint_wants(const struct webhook_endpoint *e, enum webhook_event event,
			    struct str_view channel);
/* Whether an endpoint of the list is sent one of these events (bits) of this channel. */
bool webhook_list_wants(const struct webhook_list *l, unsigned events, struct str_view channel);
/* NULL when there is none of that name. */
const struct webhook_endpoint *webhook_list_find(const struct webhook_list *l, const char *name);
#endif
