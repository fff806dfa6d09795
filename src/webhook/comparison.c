/* SPDX-License-Identifier: MIT */
/* Names are copied first: the directory calls back under a shard's lock. */
#include "base/log.h"
#include "base/mem.h"
#include "webhook/comparison.h"

struct seen_names {
	const struct app *app;
	char **names;
	size_t n;
};

static void on_seen_channel(void *ctx, struct str_view channel, unsigned subscription_count,
			    unsigned user_count)
{
	struct seen_names *seen = ctx;

	(void)subscription_count;
	(void)user_count;
	if (!webhook_list_wants(&seen->app->webhooks, WEBHOOKS_OF_CHANNELS | WEBHOOKS_OF_MEMBERS,
				channel))
		return;
	seen->names = xreallocarray(seen->names, seen->n + 1, sizeof(char *));
	seen->names[seen->n++] = sv_dup(channel);
}

static void on_seen_member(void *ctx, struct str_view user_id)
{
	struct seen_names *users = ctx;

	users->names = xreallocarray(users->names, users->n + 1, sizeof(char *));
	users->names[users->n++] = sv_dup(user_id);
}

RUNS_ON(on_webhook)
static void comparison_see_channel(struct reported *r, struct directory *d, struct app *app,
				   struct str_view channel)
{
	struct reported_subject s = { sv(app->id), channel, SV("") };
	struct seen_names users = { .app = app };

	if (webhook_list_wants(&app->webhooks, WEBHOOKS_OF_CHANNELS, channel))
		reported_see(r, &s);
	if (sv_starts_with(channel, SV("presence-")) &&
	    webhook_list_wants(&app->webhooks, WEBHOOKS_OF_MEMBERS, channel))
		directory_each_member(d, app, channel, on_seen_member, &users);
	for (size_t i = 0; i < users.n; i++) {
		s.user_id = sv(users.names[i]);
		reported_see(r, &s);
		free(users.names[i]);
	}
	free(users.names);
}

void comparison_run(struct reported *r, struct directory *d, usec_t due)
{
	struct app_set *apps = apps_current();
	size_t n;

	reported_compare_begin(r);
	for (size_t i = 0; i < app_set_count(apps); i++) {
		struct app *app = app_set_at(apps, i);
		struct seen_names seen = { .app = app };

		if (!(app->webhooks.watched & (WEBHOOKS_OF_CHANNELS | WEBHOOKS_OF_MEMBERS)))
			continue;
		directory_each_channel(d, app, SV(""), on_seen_channel, &seen);
		for (size_t k = 0; k < seen.n; k++) {
			comparison_see_channel(r, d, app, sv(seen.names[k]));
			free(seen.names[k]);
		}
		free(seen.names);
	}
	n = reported_compare_end(r, due);
	if (n)
		log_debug("webhooks: %zu channels and members are not present any more", n);
	app_set_unref(apps);
}
