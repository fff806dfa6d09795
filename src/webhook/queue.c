/* SPDX-License-Identifier: MIT */
/*
 * Columns of a batch are passed as text[] literals.  An answer is copied on the pool's thread and
 * belongs to the message.
 */
#include "base/macros.h"
#include "base/mem.h"
#include "pg/fault.h"
#include "webhook/queue.h"

#define COLUMNS_MAX 8

static const struct pg_statement statements[QUEUE_QUERIES] = {
	[QUEUE_LOAD] = { .sql = "SELECT r.app, r.channel, r.user_id FROM webhook_reported r",
			 .is_repeatable = true },
	[QUEUE_MEMBERS] = { .sql = "SELECT u.number FROM unnest($1::text[], $2::text[], "
				   "$3::text[]) "
				   "WITH ORDINALITY u(app, channel, user_id, number) "
				   "WHERE NOT EXISTS (SELECT FROM webhook_reported r WHERE r.app = "
				   "u.app "
				   "AND r.channel = u.channel AND r.user_id = u.user_id) ORDER BY "
				   "1",
			    .is_repeatable = true },
	[QUEUE_WRITE] = { .sql = "SELECT webhook_write($1::text[], $2::text[], $3::text[], "
				 "$4::text[], $5::text[], $6::text[], $7::text[], $8::boolean[])",
			  .takes_locks = true },
	[QUEUE_CLAIM] = { .sql = "SELECT c.id, c.app, c.endpoint, c.channel, c.event "
				 "FROM webhook_claim($1::integer, $2::integer, $3::integer, "
				 "$4::text[], $5::text[], $6::text[]) c",
			  .takes_locks = true },
	[QUEUE_SETTLE] = { .sql = "SELECT webhook_settle($1::bigint[], $2::bigint[], $3::text[], "
				  "$4::integer, $5::integer, $6::integer, $7::bigint[], "
				  "$8::boolean[])",
			   .takes_locks = true },
	[QUEUE_COUNT] = { .sql = "SELECT c.waiting, c.dead FROM webhook_counts() c",
			  .is_repeatable = true },
	[QUEUE_UNDELIVERED] = { .sql = "SELECT webhook_undelivered($1::integer, $2::integer, "
				       "$3::text[], $4::text[], $5::text[], $6::text[], "
				       "$7::text[])",
				.takes_locks = true },
	[QUEUE_DECIDE] = { .sql = "SELECT d.queued, d.wait_ms FROM webhook_decide($1::text[], "
				  "$2::text[], $3::text[], $4::text[], $5::text[], $6::text[], "
				  "$7::integer) d",
			   .takes_locks = true },
	[QUEUE_COMPARE] = { .sql = "SELECT webhook_compare($1::text[], $2::text[], $3::text[], "
				   "$4::text[], $5::text[], $6::integer)",
			    .takes_locks = true },
	[QUEUE_PRUNE] = { .sql = "SELECT webhook_prune($1::integer, $2::integer)",
			  .takes_locks = true },
};

const char *queue_cell(const struct queue_answer *a, int row, int column)
{
	return a->cells[row * a->columns + column];
}

void queue_answer_free(struct queue_answer *a)
{
	for (int i = 0; i < a->rows * a->columns; i++)
		free(a->cells[i]);
	free(a->cells);
	free(a->message);
	free(a);
}

struct queue_call {
	struct queue *queue;
	enum queue_query query;
};

static void on_queue_answer(void *ctx, const struct pg_answer *answer)
{
	struct queue_call *call = ctx;
	struct queue_answer *a = xcalloc(1, sizeof(*a));

	a->query = call->query;
	a->rc = answer->rc;
	if (a->rc == 0) {
		a->rows = pg_answer_rows(answer);
		a->columns = pg_answer_columns(answer);
		a->cells = xcalloc((size_t)(a->rows * a->columns), sizeof(char *));
		for (int i = 0; i < a->rows * a->columns; i++)
			a->cells[i] =
				xstrdup(pg_answer_text(answer, i / a->columns, i % a->columns));
	} else if (answer->sqlstate && *answer->sqlstate) {
		a->is_refused = pg_fault_of(answer->sqlstate) == PG_REFUSED;
		a->message = xstrdup(pg_answer_message(answer));
	}
	call->queue->post(call->queue->ctx, a);
	free(call);
}

static void queue_call(struct queue *q, enum queue_query query, int n, const char *const *values)
{
	const struct pg_call call = { .statement = &statements[query], .n = n, .values = values };
	struct queue_call *ctx = xcalloc(1, sizeof(*ctx));

	*ctx = (struct queue_call){ q, query };
	pg_pool_call(q->pool, &call, on_queue_answer, ctx);
}

/* ---- array literals ---- */

struct columns {
	struct strbuf text[COLUMNS_MAX];
};

static void columns_init(struct columns *c)
{
	for (size_t i = 0; i < COLUMNS_MAX; i++) {
		strbuf_init(&c->text[i], 64);
		strbuf_add_c(&c->text[i], '{');
	}
}

static void columns_add(struct columns *c, size_t column, const char *value)
{
	struct strbuf *b = &c->text[column];

	if (b->len > 1)
		strbuf_add_c(b, ',');
	strbuf_add_c(b, '"');
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			strbuf_add_c(b, '\\');
		strbuf_add_c(b, *value);
	}
	strbuf_add_c(b, '"');
}

static void columns_add_id(struct columns *c, size_t column, int64_t id)
{
	char text[24];

	snprintf(text, sizeof(text), "%jd", (intmax_t)id);
	columns_add(c, column, text);
}

static const char *columns_finish(struct columns *c, size_t column)
{
	strbuf_add_c(&c->text[column], '}');
	return c->text[column].ptr;
}

static void columns_release(struct columns *c)
{
	for (size_t i = 0; i < COLUMNS_MAX; i++)
		strbuf_release(&c->text[i]);
}

/* ---- statements ---- */

void queue_load(struct queue *q)
{
	queue_call(q, QUEUE_LOAD, 0, NULL);
}

void queue_members(struct queue *q, const struct hook_list *hooks)
{
	struct columns c;

	columns_init(&c);
	for (const struct hook *h = hooks->first; h; h = h->next) {
		if (!h->member)
			continue;
		columns_add(&c, 0, h->app);
		columns_add(&c, 1, h->channel);
		columns_add(&c, 2, h->member);
	}
	queue_call(q, QUEUE_MEMBERS, 3,
		   (const char *const[]){ columns_finish(&c, 0), columns_finish(&c, 1),
					  columns_finish(&c, 2) });
	columns_release(&c);
}

void queue_write(struct queue *q, const struct hook_list *hooks)
{
	const char *values[COLUMNS_MAX];
	struct columns c;

	columns_init(&c);
	for (const struct hook *h = hooks->first; h; h = h->next) {
		if (h->endpoint) {
			columns_add(&c, 0, h->app);
			columns_add(&c, 1, h->endpoint);
			columns_add(&c, 2, h->channel);
			columns_add(&c, 3, h->event);
		} else {
			columns_add(&c, 4, h->app);
			columns_add(&c, 5, h->channel);
			columns_add(&c, 6, h->user_id);
			columns_add(&c, 7, h->is_here ? "t" : "f");
		}
	}
	for (size_t i = 0; i < COLUMNS_MAX; i++)
		values[i] = columns_finish(&c, i);
	queue_call(q, QUEUE_WRITE, COLUMNS_MAX, values);
	columns_release(&c);
}

/* The applications that this node serves, as an array in a column; a daemon that is alone: NULL. */
static const char *queue_served(const struct queue *q, struct columns *c, size_t column)
{
	struct app_set *apps;

	if (!q->is_cluster)
		return NULL;
	apps = apps_current();
	for (size_t i = 0; i < app_set_count(apps); i++)
		columns_add(c, column, app_set_at(apps, i)->id);
	app_set_unref(apps);
	return columns_finish(c, column);
}

void queue_claim(struct queue *q, const struct queue_claim *wanted)
{
	struct columns c;
	char text[3][12];

	columns_init(&c);
	snprintf(text[0], sizeof(text[0]), "%u", wanted->lanes);
	snprintf(text[1], sizeof(text[1]), "%u", wanted->run);
	snprintf(text[2], sizeof(text[2]), "%u", wanted->lease_ms);
	for (size_t i = 0; i < wanted->n_full; i++) {
		columns_add(&c, 1, wanted->full[i]->app);
		columns_add(&c, 2, wanted->full[i]->endpoint);
	}
	queue_call(q, QUEUE_CLAIM, 6,
		   (const char *const[]){ text[0], text[1], text[2], queue_served(q, &c, 0),
					  columns_finish(&c, 1), columns_finish(&c, 2) });
	columns_release(&c);
}

void queue_settle(struct queue *q, const struct lane *lanes, const struct conf_webhooks *conf)
{
	char min[12], max[12], last[12];
	struct columns c;

	columns_init(&c);
	for (const struct lane *lane = lanes; lane; lane = lane->next) {
		for (const struct hook *h = lane->done.first; h; h = h->next)
			columns_add_id(&c, 0, h->id);
		if (lane->has_failed) {
			columns_add_id(&c, 1, lane->waiting.first->id);
			columns_add(&c, 2, lane->error);
			columns_add(&c, 4, lane->is_permanent ? "t" : "f");
		} else if (lane->waiting.first) {
			columns_add_id(&c, 3, lane->waiting.first->id);
		}
	}
	snprintf(min, sizeof(min), "%u", conf->retry_min_ms);
	snprintf(max, sizeof(max), "%u", conf->retry_max_ms);
	snprintf(last, sizeof(last), "%u", conf->retry_for_s);
	queue_call(q, QUEUE_SETTLE, 8,
		   (const char *const[]){ columns_finish(&c, 0), columns_finish(&c, 1),
					  columns_finish(&c, 2), min, max, last,
					  columns_finish(&c, 3), columns_finish(&c, 4) });
	columns_release(&c);
}

void queue_count(struct queue *q)
{
	queue_call(q, QUEUE_COUNT, 0, NULL);
}

void queue_undelivered(struct queue *q, unsigned after_s, unsigned most, const struct app_set *apps)
{
	char after[12], limit[12];
	struct columns c;

	columns_init(&c);
	for (size_t i = 0; apps && i < app_set_count(apps); i++) {
		const struct app *app = app_set_at(apps, i);

		for (size_t n = 0; n < app->webhooks.n; n++) {
			const struct webhook_endpoint *e = &app->webhooks.endpoints[n];

			if (!(e->events & 1U << WEBHOOK_NOTIFICATION_UNDELIVERED))
				continue;
			columns_add(&c, 0, app->id);
			columns_add(&c, 1, e->name);
			columns_add(&c, 2, e->prefix ? e->prefix : "");
			columns_add(&c, 3, e->suffix ? e->suffix : "");
		}
	}
	snprintf(after, sizeof(after), "%u", after_s);
	snprintf(limit, sizeof(limit), "%u", most);
	queue_call(q, QUEUE_UNDELIVERED, 7,
		   (const char *const[]){ after, limit, columns_finish(&c, 0),
					  columns_finish(&c, 1), columns_finish(&c, 2),
					  columns_finish(&c, 3), queue_served(q, &c, 4) });
	columns_release(&c);
}

void queue_prune(struct queue *q, const struct conf_webhooks *conf)
{
	char days[12], most[12];

	snprintf(days, sizeof(days), "%u", conf->dead_days);
	snprintf(most, sizeof(most), "%d", QUEUE_PRUNE_MAX);
	queue_call(q, QUEUE_PRUNE, 2, (const char *const[]){ days, most });
}

/* Columns 0 to 4: a row for each event of channels, members and counts that an endpoint is sent. */
static void queue_wanted(struct columns *c)
{
	static const enum webhook_event events[] = { WEBHOOK_CHANNEL_OCCUPIED,
						     WEBHOOK_CHANNEL_VACATED, WEBHOOK_MEMBER_ADDED,
						     WEBHOOK_MEMBER_REMOVED,
						     WEBHOOK_SUBSCRIPTION_COUNT };
	struct app_set *apps = apps_current();

	for (size_t i = 0; i < app_set_count(apps); i++) {
		const struct app *app = app_set_at(apps, i);

		for (size_t n = 0; n < app->webhooks.n * ARRAY_SIZE(events); n++) {
			const struct webhook_endpoint *e =
				&app->webhooks.endpoints[n / ARRAY_SIZE(events)];
			enum webhook_event event = events[n % ARRAY_SIZE(events)];

			if (!(e->events & 1U << event))
				continue;
			columns_add(c, 0, app->id);
			columns_add(c, 1, e->name);
			columns_add(c, 2, webhook_event_name(event));
			columns_add(c, 3, e->prefix ? e->prefix : "");
			columns_add(c, 4, e->suffix ? e->suffix : "");
		}
	}
	app_set_unref(apps);
}

void queue_decide(struct queue *q, unsigned most)
{
	struct columns c;
	char limit[12];

	columns_init(&c);
	queue_wanted(&c);
	snprintf(limit, sizeof(limit), "%u", most);
	queue_call(q, QUEUE_DECIDE, 7,
		   (const char *const[]){ columns_finish(&c, 0), columns_finish(&c, 1),
					  columns_finish(&c, 2), columns_finish(&c, 3),
					  columns_finish(&c, 4), queue_served(q, &c, 5), limit });
	columns_release(&c);
}

void queue_compare(struct queue *q, unsigned delay_ms)
{
	struct columns c;
	char delay[12];

	columns_init(&c);
	queue_wanted(&c);
	snprintf(delay, sizeof(delay), "%u", delay_ms);
	queue_call(q, QUEUE_COMPARE, 6,
		   (const char *const[]){ columns_finish(&c, 0), columns_finish(&c, 2),
					  columns_finish(&c, 3), columns_finish(&c, 4),
					  queue_served(q, &c, 5), delay });
	columns_release(&c);
}
