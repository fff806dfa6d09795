/* SPDX-License-Identifier: MIT */
/* No state; any thread. */
#include "base/mem.h"
#include "svc/occupancy.h"

static const struct pg_statement list_statement = {
	.sql = "SELECT o.channel, o.subscriptions, o.users FROM cluster_occupied($1::text, "
	       "$2::text) o",
	.is_repeatable = true
};
static const struct pg_statement read_statement = {
	.sql = "SELECT o.subscriptions, o.users "
	       "FROM cluster_occupancy($1::text, string_to_array($2::text, ' ')) o",
	.is_repeatable = true
};
static const struct pg_statement users_statement = {
	.sql = "SELECT u FROM cluster_users($1::text, $2::text) u", .is_repeatable = true
};

bool occupancy_is_shared(const struct conf *conf)
{
	return conf->cluster.driver != CLUSTER_LOCAL;
}

struct occupancy_query {
	const struct pg_statement *statement;
	struct str_view what; /* its second parameter */
	pg_pool_done *done;
	void *ctx;
};

static void occupancy_query(struct pg_pool *p, const struct app *app,
			    const struct occupancy_query *q)
{
	char *what = sv_dup(q->what);
	const char *values[] = { app->id, what };
	const struct pg_call call = { q->statement, 2, values, { .app = app->runtime->number } };

	pg_pool_call(p, &call, q->done, q->ctx);
	free(what);
}

void occupancy_list(struct pg_pool *p, const struct app *app, struct str_view prefix,
		    pg_pool_done *done, void *ctx)
{
	occupancy_query(p, app, &(struct occupancy_query){ &list_statement, prefix, done, ctx });
}

void occupancy_read(struct pg_pool *p, const struct app *app, struct str_view channels,
		    pg_pool_done *done, void *ctx)
{
	occupancy_query(p, app, &(struct occupancy_query){ &read_statement, channels, done, ctx });
}

void occupancy_users(struct pg_pool *p, const struct app *app, struct str_view channel,
		     pg_pool_done *done, void *ctx)
{
	occupancy_query(p, app, &(struct occupancy_query){ &users_statement, channel, done, ctx });
}
