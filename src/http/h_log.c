/* SPDX-License-Identifier: MIT */
/* What was published, out of the log: events. */
#include "base/mem.h"
#include "http/sync_table.h"
#include "svc/replay.h"

static const struct sync_field events_fields[] = {
	{ .name = "channels", .type = FIELD_STRINGS, .max = 100 },
	{ .name = "channel_prefix", .type = FIELD_TEXT, .min = 1, .max = 200 },
	{ .name = "event", .type = FIELD_TEXT, .min = 1, .max = 200 },
	{ .name = "since", .type = FIELD_TEXT, .min = 1, .max = POSITION_SIZE },
	{ .name = "from", .type = FIELD_TIME },
	{ .name = "until", .type = FIELD_TIME },
	{ .name = "delivered", .type = FIELD_BOOL },
	{ .name = "text", .type = FIELD_TEXT, .min = 1, .max = 200 },
	{ .name = "order", .type = FIELD_CHOICE, .choices = "oldest|newest", .fallback = "oldest" },
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 1000, .fallback = "100" },
	{ .name = "cursor", .type = FIELD_TEXT, .min = 1, .max = 200 },
};

/* Long searches keep nobody else waiting: they have a connection of their own. */
static void run_events(struct sync_call *c)
{
	sync_run_statement_on(c, replay_history_pool(c->services->replay));
}

const struct sync_action sync_events_get = {
	.fields = events_fields,
	.n_fields = ARRAY_SIZE(events_fields),
	.statement = { .sql = "SELECT status, body FROM sync_events($1, $2, $3, $4, $5, $6, $7, "
			      "$8, $9, $10, $11 = 'newest', $12, $13)",
		       .repeatable = true },
	.run = run_events,
};
