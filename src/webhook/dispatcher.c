/* SPDX-License-Identifier: MIT */
/*
 * A lane has at most one request under way.  When its webhooks were sent, or the first of them
 * failed, it is finished: it waits in a list until its outcome is in the database.  A lane in
 * memory has no outcome to write, and is retried here.
 */
#include "base/log_gate.h"
#include "base/mem.h"
#include "base/metric.h"
#include "webhook/dispatcher.h"

static struct log_gate failed_gate = LOG_GATE("webhooks failed");

static void dispatcher_fail_lane(struct lane *lane, const char *error, bool is_permanent)
{
	lane->has_failed = true;
	lane->is_permanent = is_permanent;
	free(lane->error);
	lane->error = xstrdup(error);
}

/* The lane is done: its webhooks were sent, the first one failed, its endpoint does not exist any
 * more, the daemon is stopping, or half of its lease has passed.  Its outcome goes to the database.
 */
RUNS_ON(on_webhook) static void dispatcher_finish_lane(struct dispatcher *d, struct lane *lane)
{
	lane->is_finished = true;
	lane->next = d->finished;
	d->finished = lane;
}

/* After a failure of a lane in memory: it waits, or its first webhook is given up. */
RUNS_ON(on_webhook) static void dispatcher_retry_lane(struct dispatcher *d, struct lane *lane)
{
	const struct conf_webhooks *c = d->conf;
	usec_t now = clock_mono();

	if (lane->is_permanent || now - lane->first_at >= c->retry_for_s * USEC_PER_SEC) {
		log_gated(
			&failed_gate,
			"webhooks: one of the app %s for %s is dropped, and not stored because the "
			"database is not available: %s",
			lane->app, lane->endpoint, lane->error);
		hook_free(hook_list_take(&lane->waiting));
		lane->first_at = 0;
	} else {
		lane->next_at = now + backoff_next(&lane->backoff) * USEC_PER_MSEC;
	}
	lane->has_failed = lane->is_permanent = false;
}

struct dispatch {
	struct dispatcher *dispatcher;
	struct lane **lanes;
	size_t n;
};

RUNS_ON(on_webhook)
static void dispatcher_end_attempt(struct dispatcher *d, struct lane *lane,
				   const struct sender_result *r)
{
	unsigned n = lane->n_in_flight;

	lane->n_in_flight = 0;
	metric_add(r->is_delivered ? METRIC_WEBHOOK_SENT : METRIC_WEBHOOK_FAILED, n);
	if (r->is_delivered) {
		while (n-- > 0)
			hook_list_add(&lane->done, hook_list_take(&lane->waiting));
		lane->first_at = 0;
	} else {
		dispatcher_fail_lane(lane, r->error, false);
	}
	if (lane->is_memory) {
		hook_list_free(&lane->done);
		if (lane->has_failed)
			dispatcher_retry_lane(d, lane);
		if (!lane->waiting.first)
			lanes_remove(&d->lanes, lane);
	} else if (lane->has_failed || !lane->waiting.first) {
		dispatcher_finish_lane(d, lane);
	}
}

static void on_dispatched(void *ctx, const struct sender_result *r)
{
	struct dispatch *q = ctx;

	ASSERT_ON(on_webhook);
	if (!r->is_delivered)
		log_gated(&failed_gate, "webhooks: an attempt for the app %s at %s failed: %s",
			  q->lanes[0]->app, q->lanes[0]->endpoint, r->error);
	for (size_t i = 0; i < q->n; i++)
		dispatcher_end_attempt(q->dispatcher, q->lanes[i], r);
	free(q->lanes);
	free(q);
}

/* Sends the webhooks of those lanes that have n_in_flight set. */
RUNS_ON(on_webhook)
static void dispatcher_send(struct dispatcher *d, const struct app *app,
			    const struct webhook_endpoint *e, struct dispatch *q)
{
	struct sender_request r = {
		.url = e->url, .headers = e->headers, .app = app, .done = on_dispatched, .ctx = q
	};
	struct strbuf body;
	const char *separator = "";

	q->dispatcher = d;
	strbuf_init(&body, 512);
	strbuf_addf(&body, "{\"time_ms\":%jd,\"events\":[",
		    (intmax_t)(clock_wall() / USEC_PER_MSEC));
	for (size_t i = 0; i < q->n; i++) {
		const struct hook *h = q->lanes[i]->waiting.first;

		for (unsigned n = q->lanes[i]->n_in_flight; n > 0; n--, h = h->next) {
			strbuf_add_str(&body, separator);
			strbuf_add_str(&body, h->event);
			separator = ",";
		}
		if (!q->lanes[i]->first_at) {
			q->lanes[i]->first_at = clock_mono();
			backoff_init(&q->lanes[i]->backoff, d->conf->retry_min_ms,
				     d->conf->retry_max_ms);
		}
	}
	strbuf_add_str(&body, "]}");
	r.body = strbuf_view(&body);
	sender_send(d->sender, &r);
	strbuf_release(&body);
}

/* Adds the lane's webhooks to the request until it is full. */
static bool dispatch_add_lane(struct dispatch *q, struct lane *lane, unsigned *events,
			      size_t *bytes)
{
	for (struct hook *h = lane->waiting.first; h && *events; h = h->next) {
		size_t size = strlen(h->event) + 1;

		if (size > *bytes && (q->n || lane->n_in_flight))
			break;
		*bytes -= size < *bytes ? size : *bytes;
		--*events;
		lane->n_in_flight++;
	}
	if (!lane->n_in_flight)
		return false;
	q->lanes = xreallocarray(q->lanes, q->n + 1, sizeof(struct lane *));
	q->lanes[q->n++] = lane;
	return true;
}

static bool dispatcher_lane_is_ready(const struct lane *lane, usec_t now)
{
	return !lane->n_in_flight && !lane->is_finished && lane->waiting.first &&
	       lane->next_at <= now;
}

/* With batching: one request with webhooks of the endpoint's ready lanes, up to batch_events and
 * batch_bytes. */
RUNS_ON(on_webhook)
static void dispatcher_send_batch(struct dispatcher *d, const struct app *app,
				  const struct webhook_endpoint *e, const struct lane *first,
				  usec_t now)
{
	struct dispatch *q = xcalloc(1, sizeof(*q));
	unsigned events = d->conf->batch_events;
	size_t bytes = d->conf->batch_bytes, at = 0;
	struct lane *lane;

	while ((lane = lanes_next(&d->lanes, &at)) && events)
		if (dispatcher_lane_is_ready(lane, now) && strcmp(lane->app, first->app) == 0 &&
		    strcmp(lane->endpoint, first->endpoint) == 0)
			(void)dispatch_add_lane(q, lane, &events, &bytes);
	dispatcher_send(d, app, e, q);
}

static bool dispatcher_has_batching(const struct conf_webhooks *c, const struct webhook_endpoint *e)
{
	return e->batching == WEBHOOK_BATCHING_DEFAULT ? c->batching
						       : e->batching == WEBHOOK_BATCHING_ON;
}

/* How many webhooks of the endpoint are ready. */
RUNS_ON(on_webhook)
static unsigned dispatcher_count_ready(struct dispatcher *d, const struct lane *of, usec_t now)
{
	const struct lane *lane;
	unsigned n = 0;
	size_t at = 0;

	while ((lane = lanes_next(&d->lanes, &at)))
		if (dispatcher_lane_is_ready(lane, now) && strcmp(lane->app, of->app) == 0 &&
		    strcmp(lane->endpoint, of->endpoint) == 0)
			n += lane->waiting.n;
	return n;
}

/* Starts what can be sent of the lane. */
RUNS_ON(on_webhook)
static void dispatcher_run_lane(struct dispatcher *d, struct app_set *apps, struct lane *lane,
				usec_t now)
{
	const struct app *app = app_set_by_id(apps, sv(lane->app));
	const struct webhook_endpoint *e =
		app ? webhook_list_find(&app->webhooks, lane->endpoint) : NULL;
	struct dispatch *q;
	unsigned events = 1;
	size_t bytes = SIZE_MAX;

	if (!e) {
		dispatcher_fail_lane(lane, "the endpoint is not configured any more", true);
		if (lane->is_memory)
			dispatcher_retry_lane(d, lane);
		else
			dispatcher_finish_lane(d, lane);
	} else if (!dispatcher_has_batching(d->conf, e)) {
		q = xcalloc(1, sizeof(*q));
		(void)dispatch_add_lane(q, lane, &events, &bytes);
		dispatcher_send(d, app, e, q);
	} else if (now - lane->since >= d->conf->batch_ms * USEC_PER_MSEC ||
		   dispatcher_count_ready(d, lane, now) >= d->conf->batch_events) {
		dispatcher_send_batch(d, app, e, lane, now);
	}
}

usec_t dispatcher_lease(const struct dispatcher *d)
{
	const struct conf_webhooks *c = d->conf;

	return (2 * c->timeout_ms + c->batch_ms + 10000) * USEC_PER_MSEC;
}

void dispatcher_run(struct dispatcher *d, usec_t now, bool is_stopping)
{
	struct app_set *apps = apps_current();
	struct lane *lane, **ready = NULL;
	size_t at = 0, n = 0;

	while ((lane = lanes_next(&d->lanes, &at))) {
		if (!dispatcher_lane_is_ready(lane, now))
			continue;
		ready = xreallocarray(ready, n + 1, sizeof(struct lane *));
		ready[n++] = lane;
	}
	for (size_t i = 0; i < n; i++) {
		if (!dispatcher_lane_is_ready(ready[i], now))
			continue; /* it is in a batch that was just sent */
		if (!ready[i]->is_memory &&
		    (is_stopping || now - ready[i]->since > dispatcher_lease(d) / 2))
			dispatcher_finish_lane(d, ready[i]);
		else
			dispatcher_run_lane(d, apps, ready[i], now);
		if (ready[i]->is_memory && !ready[i]->waiting.first)
			lanes_remove(&d->lanes, ready[i]);
	}
	free(ready);
	app_set_unref(apps);
}

usec_t dispatcher_due(const struct dispatcher *d, usec_t now, usec_t until)
{
	const struct lane *lane;
	size_t at = 0;

	while ((lane = lanes_next(&d->lanes, &at))) {
		usec_t ready = lane->is_memory ? lane->next_at
					       : lane->since + d->conf->batch_ms * USEC_PER_MSEC;

		if (!lane->n_in_flight && !lane->is_finished && lane->waiting.first &&
		    ready < until)
			until = ready > now ? ready : now + USEC_PER_MSEC;
	}
	return until;
}
