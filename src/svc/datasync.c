/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include "base/log.h"
#include "base/mem.h"
#include "svc/datasync.h"

#define EXPIRE_MS 1000
#define PRUNE_MS  60000

/* A statement that does a part of what there is to do, and says whether there may be more. */
struct chore {
	struct pg_pool *pool;
	const struct pg_statement *statement;
	const char *value; /* its parameter, or NULL for none */
	bool is_asked;
};

/* After datasync_new() the pool's thread alone touches it. */
struct datasync {
	struct chore expire, prune_locks, prune_changes;
	char days[12];
};

static const struct pg_statement expire = {
	.sql = "SELECT locks_expire(100) = 100",
	.repeatable = true,
};
static const struct pg_statement prune_locks = {
	.sql = "SELECT locks_prune(1000) = 1000",
	.repeatable = true,
};
static const struct pg_statement prune_changes = {
	.sql = "SELECT sync_prune($1, 1000)",
	.repeatable = true,
};

static void ask(void *ctx);

static void on_done(void *ctx, const struct pg_answer *a)
{
	struct chore *c = ctx;

	c->is_asked = false;
	if (a->rc == -EINVAL)
		log_error("%s: the database refused: %s", c->statement->sql,
			  pg_answer_field(a, PG_DIAG_MESSAGE_PRIMARY));
	else if (a->rc == 0 && pg_answer_text(a, 0, 0)[0] == 't')
		ask(c);
}

static void ask(void *ctx)
{
	struct chore *c = ctx;

	if (c->is_asked)
		return;
	c->is_asked = true;
	pg_pool_query(c->pool, c->statement, c->value != NULL, &c->value, on_done, c);
}

static void chore_init(struct chore *c, struct pg_pool *pool, const struct pg_statement *statement,
		       unsigned ms)
{
	c->pool = pool;
	c->statement = statement;
	pg_pool_every(pool, ms, ask, c);
}

struct datasync *datasync_new(struct pg_pool *pool, const struct conf_sync *conf)
{
	struct datasync *d = xcalloc(1, sizeof(*d));

	chore_init(&d->expire, pool, &expire, EXPIRE_MS);
	chore_init(&d->prune_locks, pool, &prune_locks, PRUNE_MS);
	if (conf->changes_retention_days) {
		snprintf(d->days, sizeof(d->days), "%u", conf->changes_retention_days);
		d->prune_changes.value = d->days;
		chore_init(&d->prune_changes, pool, &prune_changes, PRUNE_MS);
	}
	return d;
}

void datasync_free(struct datasync *d)
{
	free(d);
}
