/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include "base/log.h"
#include "base/mem.h"
#include "svc/activities.h"

#define PLACE_MS     1000
#define PLACE_BATCH  1000
#define EXPIRE_MS    60000
#define EXPIRE_BATCH 1000

/* A statement that does at most batch rows and answers how many; again at once while it is full. */
struct chore {
	struct pg_pool *pool;
	const struct pg_statement *statement;
	char arguments[2][24];
	unsigned n_arguments, batch;
	bool is_asked;
};

/* After activities_new() the pool's thread alone touches it. */
struct activities {
	struct chore place, expire;
};

static const struct pg_statement place = {
	.sql = "SELECT activities_place($1)",
	.repeatable = true,
};

static const struct pg_statement expire = {
	.sql = "SELECT activities_expire($1, $2)",
	.repeatable = true,
};

static void on_done(void *ctx, const struct pg_answer *a);

static void ask(void *ctx)
{
	struct chore *c = ctx;
	const char *values[] = { c->arguments[0], c->arguments[1] };

	if (c->is_asked)
		return;
	c->is_asked = true;
	pg_pool_query(c->pool, c->statement, (int)c->n_arguments, values, on_done, c);
}

static void on_done(void *ctx, const struct pg_answer *a)
{
	struct chore *c = ctx;

	c->is_asked = false;
	if (a->rc == -EINVAL)
		log_error("activities: the database refused: %s",
			  pg_answer_field(a, PG_DIAG_MESSAGE_PRIMARY));
	else if (a->rc == 0 && strtoul(pg_answer_text(a, 0, 0), NULL, 10) >= c->batch)
		ask(c);
}

struct activities *activities_new(struct pg_pool *pool, unsigned retention_days)
{
	struct activities *a = xcalloc(1, sizeof(*a));

	a->place = (struct chore){ pool, &place, { "", "" }, 1, PLACE_BATCH, false };
	snprintf(a->place.arguments[0], sizeof(a->place.arguments[0]), "%d", PLACE_BATCH);
	pg_pool_every(pool, PLACE_MS, ask, &a->place);
	if (!retention_days)
		return a;
	a->expire = (struct chore){ pool, &expire, { "", "" }, 2, EXPIRE_BATCH, false };
	snprintf(a->expire.arguments[0], sizeof(a->expire.arguments[0]), "%u", retention_days);
	snprintf(a->expire.arguments[1], sizeof(a->expire.arguments[1]), "%d", EXPIRE_BATCH);
	pg_pool_every(pool, EXPIRE_MS, ask, &a->expire);
	return a;
}

void activities_free(struct activities *a)
{
	free(a);
}
