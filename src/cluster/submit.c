/* SPDX-License-Identifier: MIT */
/*
 * A batch is taken from the queue of members that have changed, and is one call.  Of a batch that
 * the database refused, each member is a call of its own, so that only the one that is at fault
 * stays a member within this node.
 */
#include <string.h>
#include "base/log_gate.h"
#include "cluster/shown.h"
#include "cluster/submit.h"

/* An index entry of PostgreSQL has at most 2,704 bytes. */
#define KEY_MAX 2000

static struct log_gate refused_gate = LOG_GATE("changes of members refused");

void submit_publish(struct cluster *c, struct str_view app, struct str_view channel,
		    const struct change *change)
{
	struct strbuf b;

	strbuf_init(&b, 128);
	change_write(&b, change);
	bus_publish_member(c->bus, app, channel, strbuf_view(&b));
	strbuf_release(&b);
}

/* Members that cannot be rows are members within the node. */
static bool submit_fits(const struct own_member *m)
{
	return m->channel->app.len + m->channel->name.len + strlen(m->user_id) <= KEY_MAX;
}

/* After how many milliseconds webhooks report its end; -1: none reports this change.  The first and
 * the last subscription of the node may be those of the cluster. */
static int submit_webhook_delay(const struct cluster *c, const struct own_member *m)
{
	usec_t waited = m->lost_at ? clock_mono() - m->lost_at : 0;
	usec_t smoothing = c->conf->webhooks.smoothing_ms * USEC_PER_MSEC;
	unsigned events = WEBHOOKS_OF_CHANNELS | 1U << WEBHOOK_SUBSCRIPTION_COUNT;
	struct app *app = shown_app(c, m->channel);

	if (*m->user_id)
		events = WEBHOOKS_OF_MEMBERS;
	else if (m->is_here && m->is_registered)
		events = 1U << WEBHOOK_SUBSCRIPTION_COUNT;
	if (!app || channel_is_internal(m->channel->name) ||
	    !webhook_list_wants(&app->webhooks, events, m->channel->name))
		return -1;
	return waited < smoothing ? (int)((smoothing - waited) / USEC_PER_MSEC) : 0;
}

static void submit_take_batch(struct cluster *c)
{
	unsigned max = c->singles ? 1 : STEP_MEMBERS;
	struct own_member *m;
	int delay_ms;

	step_reset(&c->step);
	c->n_batch = 0;
	c->is_noted = false;
	while (c->n_batch < max && (m = follow_dequeue(&c->follow))) {
		/* A channel that has come and gone since the last call costs none. */
		if (!submit_fits(m) || (!*m->user_id && !m->is_here && !m->is_registered)) {
			struct followed *of = m->channel;

			shown_settle(c, m);
			follow_set_reported(&c->follow, m);
			if (!m->is_here)
				follow_delete_member(&c->follow, m);
			shown_prune(c, of);
			continue;
		}
		c->batch[c->n_batch++] = m;
		delay_ms = submit_webhook_delay(c, m);
		c->is_noted |= delay_ms >= 0 && !(m->is_leaving && m->is_registered);
		/* Others may have joined a channel before all that were on it are registered again.
		 */
		step_add_member(&c->step, m, c->is_partial && m->was_registered ? 0 : m->max,
				delay_ms);
	}
}

/* The next round reports them. */
void submit_put_back(struct cluster *c)
{
	for (unsigned i = 0; i < c->n_batch; i++)
		follow_enqueue(&c->follow, c->batch[i]);
	c->n_batch = 0;
}

/* The database has the number of subscriptions here that was submitted; change has all of them. */
static void submit_take_count(struct cluster *c, struct own_member *m, const struct change *change)
{
	const struct change own = { .info = sv(m->info) };

	m->n_counted = change_total(&own);
	shown_set_count(c, m->channel, change->version, change_total(change));
}

static void submit_take_outcomes(struct cluster *c, const struct pg_answer *a)
{
	for (int row = 0; row < pg_answer_rows(a); row++) {
		unsigned at = (unsigned)pg_answer_int(a, row, 0) - 1;
		struct own_member *m = c->batch[at < c->n_batch ? at : 0];
		const struct change change = {
			.outcome = change_outcome_of(pg_answer_view(a, row, 1)),
			.before = (uint64_t)pg_answer_int(a, row, 2),
			.version = (uint64_t)pg_answer_int(a, row, 3),
			.user_id = sv(m->user_id),
			.info = pg_answer_view(a, row, 4),
		};

		if (change.outcome == CHANGE_FULL) {
			/* No subscription of it has succeeded; or it is a member within the node
			 * until there is room. */
			m->channel->has_refused = true;
			if (!m->waiters)
				follow_compare(&c->follow, m->channel, change.version);
			shown_answer_waiters(c, m, true);
			continue;
		}
		follow_set_registered(&c->follow, m, m->is_here);
		if (m->is_here && *m->user_id)
			follow_set_info(m, change.info);
		/* Also with the version that this node has: the database may have lost a user who
		 * was shown for a connection here. */
		if (change.outcome == CHANGE_GONE)
			shown_drop_lost(c, m->channel, change.user_id);
		if ((change.outcome == CHANGE_NONE && *m->user_id) ||
		    change.outcome == CHANGE_GONE) {
			follow_compare(&c->follow, m->channel, change.version);
			continue;
		}
		if (change.outcome != CHANGE_NONE)
			submit_publish(c, m->channel->app, m->channel->name, &change);
		if (*m->user_id)
			shown_apply(c, m->channel, &change);
		else
			submit_take_count(c, m, &change);
	}
}

/* The database knows the members of the batch, and the directory what the database knows. */
void submit_finish(struct cluster *c)
{
	for (unsigned i = 0; i < c->n_batch; i++) {
		struct own_member *m = c->batch[i];
		struct followed *of = m->channel;

		follow_set_reported(&c->follow, m);
		if (m->is_here && m->is_registered)
			shown_settle(c, m);
		else if (!m->is_here)
			follow_delete_member(&c->follow, m);
		shown_prune(c, of);
	}
	c->n_batch = 0;
}

/* A fault of the statement, other than a lost connection. */
enum pg_fault submit_on_fault(struct cluster *c, struct pg_connection *conn, enum pg_fault fault)
{
	if (fault == PG_LOST)
		return fault;
	if (fault == PG_REFUSED && c->n_batch == 1) {
		log_gated(&refused_gate,
			  "cluster: the database refused a member, which only this node has: %s",
			  pg_conn_error(conn));
		shown_settle(c, c->batch[0]);
		submit_finish(c);
		return PG_FINE;
	}
	if (fault == PG_REFUSED)
		c->singles = c->n_batch;
	else if (fault != PG_BUSY)
		log_gated(&refused_gate, "cluster: a statement failed: %s", pg_conn_error(conn));
	c->retry_at = clock_mono() + RETRY_US;
	return PG_FINE;
}

void submit_note_webhooks(struct cluster *c)
{
	if (c->webhooks_noted)
		c->webhooks_noted(c->webhooks_ctx);
}

/* Reports to the database what has changed here. */
enum pg_fault submit_run(struct cluster *c, struct pg_connection *conn)
{
	struct pg_answer a = { 0 };
	enum pg_fault fault;

	submit_take_batch(c);
	if (!c->n_batch)
		return PG_FINE;
	fault = step_run(&c->step, conn, atomic_load(bus_node_number(c->bus)), &a);
	if (fault == PG_FINE && pg_answer_rows(&a)) {
		c->singles -= c->singles > 0;
		if (c->is_noted)
			submit_note_webhooks(c);
		submit_take_outcomes(c, &a);
	} else {
		if (fault == PG_FINE)
			c->retry_at = clock_mono() + RETRY_US; /* without a lease */
		else
			fault = submit_on_fault(c, conn, fault);
		submit_put_back(c);
	}
	pg_answer_release(&a);
	return fault;
}
