/* SPDX-License-Identifier: MIT */
/*
 * A window [first, first + n) of an array.  Events leave at its start only, so one that waits for
 * its serial keeps those after it in the array; unlogged_of_channel() leaves out those that are
 * done.  The array is freed when the window is empty.
 */
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "core/channels/unlogged.h"

/* How long an event that only this list still references waits for the position to cover it. */
#define UNLOGGED_MAX ((usec_t)60 * USEC_PER_SEC)

/*
 * The position covers its serial; or the log dropped its reference without giving it a serial; or
 * its serial is of an earlier epoch, and the position will not come to cover it.
 */
static bool unlogged_is_done(const struct event *e, uint64_t position)
{
	bool is_last_ref = atomic_load_explicit(&e->refs, memory_order_acquire) == 1;
	uint64_t serial = atomic_load(&e->serial);

	if (serial && serial > position)
		return is_last_ref && clock_wall() - e->delivered_at > UNLOGGED_MAX;
	return serial || is_last_ref;
}

void unlogged_release(struct unlogged *u)
{
	for (size_t i = 0; i < u->n; i++)
		event_unref(u->list[u->first + i]);
	free(u->list);
}

void unlogged_prune(struct unlogged *u, uint64_t position)
{
	while (u->n && unlogged_is_done(u->list[u->first], position)) {
		event_unref(u->list[u->first++]);
		u->n--;
	}
	if (u->n)
		return;
	free(u->list);
	*u = (struct unlogged){ NULL, 0, 0, 0 };
}

void unlogged_add(struct unlogged *u, struct event *e, uint64_t position)
{
	unlogged_prune(u, position);
	if (u->first + u->n == u->room) {
		if (u->n * 2 > u->room || !u->room) {
			u->room = u->room ? u->room * 2 : 16;
			u->list = xreallocarray(u->list, u->room, sizeof(struct event *));
		}
		memmove(u->list, u->list + u->first, u->n * sizeof(struct event *));
		u->first = 0;
	}
	u->list[u->first + u->n++] = event_ref(e);
}

unsigned unlogged_of_channel(const struct unlogged *u, const struct app *app,
			     struct str_view channel, uint64_t position, struct event ***out)
{
	unsigned n = 0;

	*out = NULL;
	for (size_t i = 0; i < u->n; i++) {
		struct event *e = u->list[u->first + i];

		if (unlogged_is_done(e, position) || e->app->runtime != app->runtime ||
		    !sv_eq(e->channel, channel))
			continue;
		*out = xreallocarray(*out, n + 1, sizeof(struct event *));
		(*out)[n++] = event_ref(e);
	}
	return n;
}
