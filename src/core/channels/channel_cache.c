/* SPDX-License-Identifier: MIT */
/* Holds one reference to the event that it caches. */
#include "core/channels/channel_cache.h"

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
