/* SPDX-License-Identifier: MIT */
/* Holds one reference to the event that it caches. */
#include <string.h>
#include "core/channels/channel_cache.h"

/* With the driver redis, messages arrive only some time after the first subscription. */
#define WANTED_US (2 * USEC_PER_SEC)
/* The bus may lose messages without notice. */
#define CHECKED_US (30 * USEC_PER_SEC)
/* How much later one event may be written to the database, or received, than another one. */
#define DELAY_US USEC_PER_SEC

void channel_cache_release(struct channel_cache *c)
{
	event_unref(c->event);
}

void channel_cache_put(struct channel_cache *c, struct event *e, usec_t until)
{
	event_ref(e);
	event_unref(c->event);
	c->event = e;
	c->until = until;
}

void channel_cache_clear(struct channel_cache *c)
{
	event_unref(c->event);
	c->event = NULL;
}

bool channel_cache_is_fresh(const struct channel_cache *c, usec_t now)
{
	return c->event && c->until > now;
}

bool channel_cache_is_unknown(const struct channel_cache *c, unsigned ttl_s, usec_t started,
			      usec_t now)
{
	if (c && (c->is_log_read || channel_cache_is_fresh(c, now)))
		return false;
	return now - started < ttl_s * USEC_PER_SEC;
}

bool channel_cache_is_checked(const struct channel_cache *c, usec_t missed_at, usec_t now)
{
	return c->checked_at > missed_at && c->checked_at - c->wanted_at >= WANTED_US &&
	       now - c->checked_at < CHECKED_US;
}

/*
 * The ages are compared, because the clocks of nodes need not agree.  Where they are about the
 * same, the time of the publisher is more exact.
 */
bool channel_cache_is_older(const struct channel_cache *c, const struct cache_reading *r,
			    usec_t now)
{
	usec_t later;

	if (!r->event)
		return false;
	if (!channel_cache_is_fresh(c, now))
		return true;
	if (strcmp(c->event->id, r->event->id) == 0)
		return false;
	later = now + r->left - c->until;
	if (later < -DELAY_US || later > DELAY_US)
		return later > 0;
	return r->event->published_at > c->event->published_at;
}
