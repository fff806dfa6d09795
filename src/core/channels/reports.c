/* SPDX-License-Identifier: MIT */
/*
 * The functions that the directory calls: set once, before the first join.
 */
#include "core/channels/directory-private.h"

void directory_watch_users(struct directory *d,
			   void (*changed)(void *ctx, struct app *app, struct str_view user_id,
					   bool is_here),
			   void *ctx)
{
	d->user_changed = changed;
	d->user_ctx = ctx;
}

void directory_watch_channels(struct directory *d,
			      void (*changed)(void *ctx, const struct app *app,
					      struct str_view channel, bool is_wanted),
			      void *ctx)
{
	d->channel_changed = changed;
	d->channel_ctx = ctx;
}

void directory_watch_ended(struct directory *d,
			   void (*on_ended)(void *ctx, const struct app *app,
					    struct str_view user_id),
			   void *ctx)
{
	d->on_ended = on_ended;
	d->ended_ctx = ctx;
}

void directory_report_ended(struct directory *d, const struct app *app, struct str_view user_id)
{
	if (d->on_ended)
		d->on_ended(d->ended_ctx, app, user_id);
}

void directory_watch_transitions(struct directory *d,
				 void (*on_transition)(void *ctx, const struct transition *t),
				 void *ctx)
{
	d->on_transition = on_transition;
	d->transition_ctx = ctx;
}

void directory_set_live_tail(struct directory *d, struct live_tail *t)
{
	d->live_tail = t;
}

void directory_report(struct directory *d, const struct transition *t)
{
	if (d->on_transition && t->app->webhooks.watched & 1U << t->event)
		d->on_transition(d->transition_ctx, t);
}
