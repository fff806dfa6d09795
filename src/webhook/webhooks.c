/* SPDX-License-Identifier: MIT */
/*
 * One thread.  It takes transitions and the answers of the database from a mailbox, follows what
 * was reported, and runs the requests.  Nothing in it waits but sender_wait().
 *
 * A webhook is in new_hooks first.  From there it goes to the database, and comes back in a lane
 * that was claimed.  When the lane's webhooks were sent, or the first of them failed, the outcome
 * is written to the database.
 * While the database is not available, lanes are made of new_hooks directly: they are in memory
 * only, and are retried here.  When it is back, what they still have is written to it.
 */
#include <errno.h>
#include "base/log.h"
#include "base/log_gate.h"
#include "base/mailbox.h"
#include "base/mem.h"
#include "base/metric.h"
#include "wire/socket_id.h"
#include "webhook/lane.h"
#include "webhook/queue.h"
#include "webhook/reported.h"
#include "webhook/sender.h"
#include "webhook/webhooks.h"

#define TRANSITIONS_MAX 100000
#define WRITE_MAX	1000 /* rows of one statement */
#define LANES_MAX	256
#define RUN_MAX		100 /* webhooks of a lane that are claimed together */
#define CLAIM_EVERY	(1 * USEC_PER_SEC)
#define COUNT_EVERY	(5 * USEC_PER_SEC)
#define PRUNE_EVERY	(3600 * USEC_PER_SEC)
#define RETRY_DATABASE	(200 * USEC_PER_MSEC)
#define AWAY_AFTER	(2 * USEC_PER_SEC)
#define IDLE_MS		1000

static struct log_gate dropped_gate = LOG_GATE("webhooks dropped");
static struct log_gate failed_gate = LOG_GATE("webhooks failed");

/* A message to the thread: a transition, or (answer) an answer of the database. */
struct webhook_letter {
	struct letter letter;
	struct queue_answer *answer;
	struct transition transition; /* its text is inside text; the app is counted */
	char text[];
};

struct webhooks {
	const struct conf_webhooks *conf;
	struct directory *directory;
	struct sender *sender;
	struct queue queue;
	struct mailbox mailbox;
	atomic_bool is_stopping;
	_Atomic usec_t stop_at; /* mono */
	bool is_started;
	pthread_t thread;

	/* the thread only */
	struct reported reported;
	struct letter *held, *held_last; /* transitions, while nothing is reported yet */
	unsigned n_held;
	struct hook_list new_hooks, writing;
	struct lanes lanes;
	struct lane *finished, *settling; /* lists of lanes */
	bool is_loaded, is_loading, is_claiming, is_counting, is_pruning;
	bool is_away; /* the database; that was logged */
	usec_t up_at; /* mono: when it was last seen */
	usec_t write_at, claim_at, settle_at, load_at, count_at, prune_at, compare_at; /* mono */
};

/* ---- transitions ---- */

static struct str_view text_put(char **at, struct str_view s)
{
	struct str_view copy = sv_n(*at, s.len);

	memcpy(*at, s.ptr ? s.ptr : "", s.len);
	*at += s.len;
	return copy;
}

static void webhook_letter_free(struct webhook_letter *l)
{
	app_unref(l->transition.app);
	free(l);
}

void webhooks_on_transition(void *ctx, const struct transition *t)
{
	struct webhooks *w = ctx;
	struct webhook_letter *l = xcalloc(1, sizeof(*l) + t->channel.len + t->user_id.len +
						      t->name.len + t->data.len);
	char *at = l->text;
	int rc;

	l->transition = *t;
	l->transition.app = app_ref(t->app);
	l->transition.channel = text_put(&at, t->channel);
	l->transition.user_id = text_put(&at, t->user_id);
	l->transition.name = text_put(&at, t->name);
	l->transition.data = text_put(&at, t->data);
	rc = mailbox_put(&w->mailbox, &l->letter);
	if (rc == 1)
		sender_wake(w->sender);
	if (rc >= 0)
		return;
	if (rc == -EAGAIN)
		log_gated(&dropped_gate, "webhooks: %u transitions wait, one more is dropped",
			  TRANSITIONS_MAX);
	webhook_letter_free(l);
}

static void webhooks_on_answer(void *ctx, struct queue_answer *a)
{
	struct webhooks *w = ctx;
	struct webhook_letter *l = xcalloc(1, sizeof(*l));
	int rc;

	l->answer = a;
	rc = mailbox_put_owed(&w->mailbox, &l->letter);
	if (rc == 1)
		sender_wake(w->sender);
	if (rc >= 0)
		return;
	queue_answer_free(a);
	webhook_letter_free(l);
}

/* ---- webhooks ---- */

static void event_json(struct strbuf *b, const struct transition *t)
{
	char id[SOCKET_ID_SIZE];

	strbuf_addf(b, "{\"name\":\"%s\",\"channel\":", webhook_event_name(t->event));
	strbuf_add_json(b, t->channel);
	if (t->event == WEBHOOK_CLIENT_EVENT) {
		strbuf_add_str(b, ",\"event\":");
		strbuf_add_json(b, t->name);
		strbuf_add_str(b, ",\"data\":");
		strbuf_add_json(b, t->data);
		strbuf_addf(b, ",\"socket_id\":\"%s\"", socket_id_format(t->socket_id, id));
	}
	if (t->user_id.len) {
		strbuf_add_str(b, ",\"user_id\":");
		strbuf_add_json(b, t->user_id);
	}
	if (t->event == WEBHOOK_SUBSCRIPTION_COUNT)
		strbuf_addf(b, ",\"subscription_count\":%u", t->count);
	strbuf_add_c(b, '}');
}

/* The webhooks that wait outside the database have a bound. */
RUNS_ON(on_webhook) static bool webhooks_has_room(struct webhooks *w)
{
	if (w->new_hooks.n + w->writing.n < w->conf->memory_events)
		return true;
	metric_add(METRIC_WEBHOOK_FAILED, 1);
	log_gated(&dropped_gate,
		  "webhooks: %u wait outside the database (webhooks.memory_events), one more is "
		  "dropped",
		  w->conf->memory_events);
	return false;
}

/* A webhook for each endpoint that wants the event. */
RUNS_ON(on_webhook) static void webhooks_emit(struct webhooks *w, const struct transition *t)
{
	const struct webhook_list *l = &t->app->webhooks;
	struct strbuf b;

	strbuf_init(&b, 256);
	for (size_t i = 0; i < l->n; i++) {
		if (!webhook_endpoint_wants(&l->endpoints[i], t->event, t->channel))
			continue;
		if (!b.len)
			event_json(&b, t);
		if (webhooks_has_room(w))
			hook_list_add(&w->new_hooks, hook_new(t->app->id, l->endpoints[i].name,
							      t->channel, strbuf_view(&b)));
	}
	strbuf_release(&b);
}

/* For reported_init(). */
static void on_reported(void *ctx, const struct reported_subject *s, bool is_here)
{
	struct webhooks *w = ctx;
	bool is_member = s->user_id.len > 0;
	struct app_set *apps = apps_current();
	struct transition t = { .channel = s->channel, .user_id = s->user_id };

	ASSERT_ON(on_webhook);
	t.app = app_set_by_id(apps, s->app);
	if (is_member)
		t.event = is_here ? WEBHOOK_MEMBER_ADDED : WEBHOOK_MEMBER_REMOVED;
	else
		t.event = is_here ? WEBHOOK_CHANNEL_OCCUPIED : WEBHOOK_CHANNEL_VACATED;
	if (t.app)
		webhooks_emit(w, &t);
	if (webhooks_has_room(w))
		hook_list_add(&w->new_hooks, hook_note(s->app, s->channel, s->user_id, is_here));
	app_set_unref(apps);
}

/* An endpoint wants to know of the channel, or of its members. */
static bool app_reports(const struct app *app, struct str_view channel, unsigned events)
{
	for (size_t i = 0; i < app->webhooks.n; i++)
		for (unsigned e = 0; e < WEBHOOK_EVENTS; e++)
			if ((events & 1U << e) &&
			    webhook_endpoint_wants(&app->webhooks.endpoints[i], e, channel))
				return true;
	return false;
}

RUNS_ON(on_webhook)
static void webhooks_take_transition(struct webhooks *w, const struct transition *t)
{
	const struct reported_subject s = { sv(t->app->id), t->channel, t->user_id };
	usec_t smoothing = w->conf->smoothing_ms * USEC_PER_MSEC;
	bool is_member = WEBHOOKS_OF_MEMBERS & 1U << t->event;

	if (!((WEBHOOKS_OF_CHANNELS | WEBHOOKS_OF_MEMBERS) & 1U << t->event)) {
		webhooks_emit(w, t);
		return;
	}
	if (!app_reports(t->app, t->channel,
			 is_member ? WEBHOOKS_OF_MEMBERS : WEBHOOKS_OF_CHANNELS))
		return;
	if (t->event == WEBHOOK_CHANNEL_OCCUPIED || t->event == WEBHOOK_MEMBER_ADDED)
		reported_add(&w->reported, &s);
	else
		reported_remove(&w->reported, &s,
				clock_mono() + (smoothing > t->waited ? smoothing - t->waited : 0));
}

/*
 * Until it is known what an earlier process reported, all transitions wait, so that they stay in
 * their order.
 */
RUNS_ON(on_webhook) static void webhooks_hold(struct webhooks *w, struct webhook_letter *m)
{
	if (w->n_held >= TRANSITIONS_MAX) {
		log_gated(&dropped_gate, "webhooks: %u transitions wait, one more is dropped",
			  TRANSITIONS_MAX);
		webhook_letter_free(m);
		return;
	}
	m->letter.next = NULL;
	*(w->held ? &w->held_last->next : &w->held) = &m->letter;
	w->held_last = &m->letter;
	w->n_held++;
}

RUNS_ON(on_webhook) static void webhooks_take_held(struct webhooks *w)
{
	struct letter *next;

	for (; w->held && !w->reported.is_held; w->held = next) {
		struct webhook_letter *m = CONTAINER_OF(w->held, struct webhook_letter, letter);

		next = w->held->next;
		webhooks_take_transition(w, &m->transition);
		webhook_letter_free(m);
		w->n_held--;
	}
}

/* ---- the comparison ---- */

struct seen_channels {
	const struct app *app;
	char **names;
	size_t n;
};

static void on_seen_channel(void *ctx, struct str_view channel, unsigned subscription_count,
			    unsigned user_count)
{
	struct seen_channels *seen = ctx;

	(void)subscription_count;
	(void)user_count;
	if (!app_reports(seen->app, channel, WEBHOOKS_OF_CHANNELS | WEBHOOKS_OF_MEMBERS))
		return;
	seen->names = xreallocarray(seen->names, seen->n + 1, sizeof(char *));
	seen->names[seen->n++] = sv_dup(channel);
}

static void on_seen_member(void *ctx, struct str_view user_id)
{
	struct seen_channels *users = ctx;

	users->names = xreallocarray(users->names, users->n + 1, sizeof(char *));
	users->names[users->n++] = sv_dup(user_id);
}

RUNS_ON(on_webhook)
static void webhooks_see_channel(struct webhooks *w, struct app *app, struct str_view channel)
{
	struct reported_subject s = { sv(app->id), channel, SV("") };
	struct seen_channels users = { .app = app };

	if (app_reports(app, channel, WEBHOOKS_OF_CHANNELS))
		reported_see(&w->reported, &s);
	if (sv_starts_with(channel, SV("presence-")) &&
	    app_reports(app, channel, WEBHOOKS_OF_MEMBERS))
		directory_each_member(w->directory, app, channel, on_seen_member, &users);
	for (size_t i = 0; i < users.n; i++) {
		s.user_id = sv(users.names[i]);
		reported_see(&w->reported, &s);
		free(users.names[i]);
	}
	free(users.names);
}

/* Repairs what a full mailbox, or an earlier process that crashed, has lost. */
RUNS_ON(on_webhook) static void webhooks_compare(struct webhooks *w)
{
	struct app_set *apps = apps_current();
	size_t n;

	reported_compare_begin(&w->reported);
	for (size_t i = 0; i < app_set_count(apps); i++) {
		struct app *app = app_set_at(apps, i);
		struct seen_channels seen = { .app = app };

		if (!(app->webhooks.watched & (WEBHOOKS_OF_CHANNELS | WEBHOOKS_OF_MEMBERS)))
			continue;
		directory_each_channel(w->directory, app, SV(""), on_seen_channel, &seen);
		for (size_t k = 0; k < seen.n; k++) {
			webhooks_see_channel(w, app, sv(seen.names[k]));
			free(seen.names[k]);
		}
		free(seen.names);
	}
	n = reported_compare_end(&w->reported,
				 clock_mono() + w->conf->smoothing_ms * USEC_PER_MSEC);
	if (n)
		log_debug("webhooks: %zu channels and members are not present any more", n);
	app_set_unref(apps);
}

/* ---- lanes ---- */

static void lane_fail(struct lane *lane, const char *error, bool is_hopeless)
{
	lane->has_failed = true;
	lane->is_hopeless = is_hopeless;
	free(lane->error);
	lane->error = xstrdup(error);
}

/* The lane's webhooks were sent, or its first one failed: the queue gets the outcome next. */
RUNS_ON(on_webhook) static void webhooks_finish_lane(struct webhooks *w, struct lane *lane)
{
	lane->is_finished = true;
	lane->next = w->finished;
	w->finished = lane;
}

/* After a failure of a lane in memory.  True: it is given up. */
RUNS_ON(on_webhook) static void webhooks_retry_memory(struct webhooks *w, struct lane *lane)
{
	const struct conf_webhooks *c = w->conf;
	usec_t now = clock_mono(), pause = c->retry_min_ms;

	if (lane->is_hopeless || now - lane->first_at >= c->retry_for_s * USEC_PER_SEC) {
		log_gated(&failed_gate,
			  "webhooks: one of the app %s for %s is given up and lost, because the "
			  "database is not available: %s",
			  lane->app, lane->endpoint, lane->error);
		hook_free(hook_list_take(&lane->waiting));
		lane->attempts = 0;
		lane->first_at = 0;
	} else {
		for (unsigned i = 0; i < lane->attempts && pause < c->retry_max_ms; i++)
			pause *= 2;
		lane->attempts++;
		lane->next_at =
			now + (pause < c->retry_max_ms ? pause : c->retry_max_ms) * USEC_PER_MSEC;
	}
	lane->has_failed = lane->is_hopeless = false;
}

struct webhook_request {
	struct webhooks *webhooks;
	struct lane **lanes;
	size_t n;
};

RUNS_ON(on_webhook)
static void webhooks_end_attempt(struct webhooks *w, struct lane *lane,
				 const struct sender_result *r)
{
	unsigned n = lane->n_in_flight;

	lane->n_in_flight = 0;
	metric_add(r->is_delivered ? METRIC_WEBHOOK_SENT : METRIC_WEBHOOK_FAILED, n);
	if (r->is_delivered) {
		while (n-- > 0)
			hook_list_add(&lane->done, hook_list_take(&lane->waiting));
		lane->attempts = 0;
		lane->first_at = 0;
	} else {
		lane_fail(lane, r->error, false);
	}
	if (lane->is_memory) {
		hook_list_free(&lane->done);
		if (lane->has_failed)
			webhooks_retry_memory(w, lane);
		if (!lane->waiting.first)
			lanes_remove(&w->lanes, lane);
	} else if (lane->has_failed || !lane->waiting.first) {
		webhooks_finish_lane(w, lane);
	}
}

static void on_webhook_sent(void *ctx, const struct sender_result *r)
{
	struct webhook_request *q = ctx;

	ASSERT_ON(on_webhook);
	if (!r->is_delivered)
		log_gated(&failed_gate, "webhooks: an attempt for the app %s at %s failed: %s",
			  q->lanes[0]->app, q->lanes[0]->endpoint, r->error);
	for (size_t i = 0; i < q->n; i++)
		webhooks_end_attempt(q->webhooks, q->lanes[i], r);
	free(q->lanes);
	free(q);
}

/* Sends the webhooks of those lanes that have n_in_flight set. */
RUNS_ON(on_webhook)
static void webhooks_send(struct webhooks *w, const struct app *app,
			  const struct webhook_endpoint *e, struct webhook_request *q)
{
	struct sender_request r = { .endpoint = e, .app = app, .done = on_webhook_sent, .ctx = q };
	struct strbuf body;
	const char *separator = "";

	q->webhooks = w;
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
		if (!q->lanes[i]->first_at)
			q->lanes[i]->first_at = clock_mono();
	}
	strbuf_add_str(&body, "]}");
	r.body = strbuf_view(&body);
	sender_send(w->sender, &r);
	strbuf_release(&body);
}

/* Adds the lane's webhooks to the request until it is full. */
static bool request_add(struct webhook_request *q, struct lane *lane, unsigned *events,
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

static bool lane_is_ready(const struct lane *lane, usec_t now)
{
	return !lane->n_in_flight && !lane->is_finished && lane->waiting.first &&
	       lane->next_at <= now;
}

/* With batching: one request with the webhooks of all lanes of the endpoint. */
RUNS_ON(on_webhook)
static void webhooks_send_batch(struct webhooks *w, const struct app *app,
				const struct webhook_endpoint *e, const struct lane *first,
				usec_t now)
{
	struct webhook_request *q = xcalloc(1, sizeof(*q));
	unsigned events = w->conf->batch_events;
	size_t bytes = w->conf->batch_bytes, at = 0;
	struct lane *lane;

	while ((lane = lanes_next(&w->lanes, &at)) && events)
		if (lane_is_ready(lane, now) && strcmp(lane->app, first->app) == 0 &&
		    strcmp(lane->endpoint, first->endpoint) == 0)
			(void)request_add(q, lane, &events, &bytes);
	webhooks_send(w, app, e, q);
}

static bool endpoint_has_batching(const struct conf_webhooks *c, const struct webhook_endpoint *e)
{
	return e->batching == WEBHOOK_BATCHING_DEFAULT ? c->batching
						       : e->batching == WEBHOOK_BATCHING_ON;
}

/* How many webhooks of the endpoint are ready. */
RUNS_ON(on_webhook)
static unsigned webhooks_ready(struct webhooks *w, const struct lane *of, usec_t now)
{
	const struct lane *lane;
	unsigned n = 0;
	size_t at = 0;

	while ((lane = lanes_next(&w->lanes, &at)))
		if (lane_is_ready(lane, now) && strcmp(lane->app, of->app) == 0 &&
		    strcmp(lane->endpoint, of->endpoint) == 0)
			n += lane->waiting.n;
	return n;
}

/* Starts what can be sent of the lane. */
RUNS_ON(on_webhook)
static void webhooks_run_lane(struct webhooks *w, struct app_set *apps, struct lane *lane,
			      usec_t now)
{
	const struct app *app = app_set_by_id(apps, sv(lane->app));
	const struct webhook_endpoint *e =
		app ? webhook_list_find(&app->webhooks, lane->endpoint) : NULL;
	struct webhook_request *q;
	unsigned events = 1;
	size_t bytes = SIZE_MAX;

	if (!e) {
		lane_fail(lane, "the endpoint is not configured any more", true);
		if (lane->is_memory)
			webhooks_retry_memory(w, lane);
		else
			webhooks_finish_lane(w, lane);
	} else if (!endpoint_has_batching(w->conf, e)) {
		q = xcalloc(1, sizeof(*q));
		(void)request_add(q, lane, &events, &bytes);
		webhooks_send(w, app, e, q);
	} else if (now - lane->since >= w->conf->batch_ms * USEC_PER_MSEC ||
		   webhooks_ready(w, lane, now) >= w->conf->batch_events) {
		webhooks_send_batch(w, app, e, lane, now);
	}
}

/*
 * How long a claimed lane belongs to this node.  Requests begin in the first half only, so that the
 * last one ends before the lease.
 */
static usec_t lease_us(const struct conf_webhooks *c)
{
	return (2 * c->timeout_ms + c->batch_ms + 10000) * USEC_PER_MSEC;
}

RUNS_ON(on_webhook) static void webhooks_run_lanes(struct webhooks *w, usec_t now)
{
	struct app_set *apps = apps_current();
	struct lane *lane, **ready = NULL;
	size_t at = 0, n = 0;

	while ((lane = lanes_next(&w->lanes, &at))) {
		if (!lane_is_ready(lane, now))
			continue;
		ready = xreallocarray(ready, n + 1, sizeof(struct lane *));
		ready[n++] = lane;
	}
	for (size_t i = 0; i < n; i++) {
		if (!lane_is_ready(ready[i], now))
			continue; /* it is in a batch that was just sent */
		if (!ready[i]->is_memory &&
		    (atomic_load(&w->is_stopping) || now - ready[i]->since > lease_us(w->conf) / 2))
			webhooks_finish_lane(w, ready[i]);
		else
			webhooks_run_lane(w, apps, ready[i], now);
		if (ready[i]->is_memory && !ready[i]->waiting.first)
			lanes_remove(&w->lanes, ready[i]);
	}
	free(ready);
	app_set_unref(apps);
}

/* ---- without the database ---- */

/* Makes lanes of the new webhooks.  Notes stay where they are. */
RUNS_ON(on_webhook) static void webhooks_use_memory(struct webhooks *w, usec_t now)
{
	struct hook_list kept = { 0 };
	struct hook *h;

	while ((h = hook_list_take(&w->new_hooks))) {
		struct lane *lane = h->endpoint ? lanes_get(&w->lanes, h) : NULL;

		if (!h->endpoint || (lane && !lane->is_memory)) {
			hook_list_add(&kept, h);
			continue;
		}
		if (!lane) {
			lane = lanes_add(&w->lanes, h, now);
			lane->is_memory = true;
		}
		hook_list_add(&lane->waiting, h);
	}
	w->new_hooks = kept;
}

/* What the lanes in memory still have goes to the database, in front of newer webhooks. */
RUNS_ON(on_webhook) static void webhooks_leave_memory(struct webhooks *w)
{
	struct lane *lane, **all = NULL;
	size_t at = 0, n = 0;

	while ((lane = lanes_next(&w->lanes, &at))) {
		if (!lane->is_memory || lane->n_in_flight)
			continue;
		all = xreallocarray(all, n + 1, sizeof(struct lane *));
		all[n++] = lane;
	}
	for (size_t i = 0; i < n; i++) {
		hook_list_put_back(&w->new_hooks, &all[i]->waiting);
		lanes_remove(&w->lanes, all[i]);
	}
	free(all);
}

RUNS_ON(on_webhook) static bool webhooks_has_endpoints(void)
{
	struct app_set *apps = apps_current();
	bool has = false;

	for (size_t i = 0; i < app_set_count(apps) && !has; i++)
		has = app_set_at(apps, i)->webhooks.n > 0;
	app_set_unref(apps);
	return has;
}

/* Whether the database can be used. */
RUNS_ON(on_webhook) static bool webhooks_check_database(struct webhooks *w, usec_t now)
{
	if (pg_pool_is_up(w->queue.pool)) {
		w->up_at = now;
		if (w->is_away)
			log_info("webhooks: the database is available again");
		w->is_away = false;
		webhooks_leave_memory(w);
		return true;
	}
	if (now - w->up_at < AWAY_AFTER || !webhooks_has_endpoints())
		return false;
	if (!w->is_away)
		log_warn("webhooks: the database is not available; up to %u webhooks wait in "
			 "memory, and are lost if the daemon ends",
			 w->conf->memory_events);
	w->is_away = true;
	if (w->reported.is_held)
		reported_release_hold(&w->reported);
	webhooks_take_held(w);
	webhooks_use_memory(w, now);
	return false;
}

/* ---- the database ---- */

RUNS_ON(on_webhook) static void webhooks_write(struct webhooks *w, usec_t now)
{
	struct hook *h;

	if (w->writing.first || !w->new_hooks.first || now < w->write_at)
		return;
	while (w->writing.n < WRITE_MAX && (h = hook_list_take(&w->new_hooks)))
		hook_list_add(&w->writing, h);
	queue_write(&w->queue, &w->writing);
}

RUNS_ON(on_webhook) static void webhooks_settle(struct webhooks *w, usec_t now)
{
	if (w->settling || !w->finished || now < w->settle_at)
		return;
	w->settling = w->finished;
	w->finished = NULL;
	queue_settle(&w->queue, w->settling, w->conf);
}

RUNS_ON(on_webhook) static void webhooks_claim(struct webhooks *w, usec_t now)
{
	unsigned lanes = (unsigned)w->lanes.map.used;

	if (w->is_claiming || lanes >= LANES_MAX || now < w->claim_at ||
	    atomic_load(&w->is_stopping))
		return;
	w->is_claiming = true;
	queue_claim(&w->queue, LANES_MAX - lanes, RUN_MAX,
		    (unsigned)(lease_us(w->conf) / USEC_PER_MSEC));
}

RUNS_ON(on_webhook) static void webhooks_use_database(struct webhooks *w, usec_t now)
{
	if (!w->is_loaded && !w->is_loading && now >= w->load_at) {
		w->is_loading = true;
		queue_load(&w->queue);
	}
	webhooks_write(w, now);
	webhooks_settle(w, now);
	webhooks_claim(w, now);
	if (!w->is_counting && now >= w->count_at) {
		w->is_counting = true;
		queue_count(&w->queue);
	}
	if (!w->is_pruning && now >= w->prune_at) {
		w->is_pruning = true;
		queue_prune(&w->queue, w->conf);
	}
}

/* ---- answers of the database ---- */

RUNS_ON(on_webhook) static void webhooks_on_loaded(struct webhooks *w, const struct queue_answer *a)
{
	usec_t now = clock_mono(), due = now + w->conf->compare_s * USEC_PER_SEC;

	w->is_loading = false;
	w->load_at = now + RETRY_DATABASE;
	if (a->rc)
		return;
	w->is_loaded = true;
	for (int i = 0; i < a->rows; i++) {
		struct reported_subject s = { sv(queue_cell(a, i, 0)), sv(queue_cell(a, i, 1)),
					      sv(queue_cell(a, i, 2)) };

		reported_load(&w->reported, &s, due);
	}
	reported_release_hold(&w->reported);
}

RUNS_ON(on_webhook)
static void webhooks_on_written(struct webhooks *w, const struct queue_answer *a)
{
	usec_t now = clock_mono();

	if (a->rc == 0) {
		hook_list_free(&w->writing);
		w->claim_at = now;
	} else if (a->is_refused) {
		log_error("webhooks: the database refused %u of them, which are dropped: %s",
			  w->writing.n, a->message);
		metric_add(METRIC_WEBHOOK_FAILED, w->writing.n);
		hook_list_free(&w->writing);
	} else {
		hook_list_put_back(&w->new_hooks, &w->writing);
		w->write_at = now + RETRY_DATABASE;
	}
}

RUNS_ON(on_webhook)
static void webhooks_on_claimed(struct webhooks *w, const struct queue_answer *a)
{
	usec_t now = clock_mono(), every = w->conf->retry_min_ms * USEC_PER_MSEC;

	w->is_claiming = false;
	if (w->claim_at <= now)
		w->claim_at = now + (every < CLAIM_EVERY ? every : CLAIM_EVERY);
	for (int i = 0; i < a->rows; i++) {
		struct hook *h = hook_new(queue_cell(a, i, 1), queue_cell(a, i, 2),
					  sv(queue_cell(a, i, 3)), sv(queue_cell(a, i, 4)));
		struct lane *lane = lanes_get(&w->lanes, h);

		if (!lane)
			lane = lanes_add(&w->lanes, h, now);
		h->id = strtoll(queue_cell(a, i, 0), NULL, 10);
		hook_list_add(&lane->waiting, h);
	}
	if (a->rows)
		w->claim_at = now;
}

RUNS_ON(on_webhook)
static void webhooks_on_settled(struct webhooks *w, const struct queue_answer *a)
{
	struct lane *lane, *next;
	long long n_dead;

	if (a->rc && !a->is_refused) {
		for (lane = w->settling; lane && lane->next; lane = lane->next)
			;
		lane->next = w->finished;
		w->finished = w->settling;
		w->settling = NULL;
		w->settle_at = clock_mono() + RETRY_DATABASE;
		return;
	}
	if (a->rc)
		log_error("webhooks: the database refused the outcome of requests, which are sent "
			  "again: %s",
			  a->message);
	n_dead = a->rc == 0 ? strtoll(queue_cell(a, 0, 0), NULL, 10) : 0;
	if (n_dead)
		log_warn(
			"webhooks: %lld are given up; SELECT * FROM webhook_queue WHERE dead_at IS "
			"NOT NULL shows them, and webhook_resend() sends them again",
			n_dead);
	for (lane = w->settling; lane; lane = next) {
		next = lane->next;
		lanes_remove(&w->lanes, lane);
	}
	w->settling = NULL;
	w->claim_at = clock_mono();
}

RUNS_ON(on_webhook) static void webhooks_take_answer(struct webhooks *w, struct queue_answer *a)
{
	usec_t now = clock_mono();

	if (a->rc && a->message && !a->is_refused)
		log_gated(&failed_gate, "webhooks: the database refused a statement: %s",
			  a->message);
	switch (a->query) {
	case QUEUE_LOAD:
		webhooks_on_loaded(w, a);
		break;
	case QUEUE_WRITE:
		webhooks_on_written(w, a);
		break;
	case QUEUE_CLAIM:
		webhooks_on_claimed(w, a);
		break;
	case QUEUE_SETTLE:
		webhooks_on_settled(w, a);
		break;
	case QUEUE_COUNT:
		w->is_counting = false;
		w->count_at = now + COUNT_EVERY;
		if (a->rc == 0) {
			metric_set(METRIC_WEBHOOK_QUEUE,
				   strtoll(queue_cell(a, 0, 0), NULL, 10) + w->new_hooks.n);
			metric_set(METRIC_WEBHOOK_DEAD, strtoll(queue_cell(a, 0, 1), NULL, 10));
		}
		break;
	case QUEUE_PRUNE:
	case QUEUE_QUERIES:
		w->is_pruning = false;
		w->prune_at = now + PRUNE_EVERY;
		break;
	}
	queue_answer_free(a);
}

/* ---- the thread ---- */

RUNS_ON(on_webhook) static void webhooks_take_letters(struct webhooks *w)
{
	struct letter *l = mailbox_take(&w->mailbox), *next;

	for (; l; l = next) {
		struct webhook_letter *m = CONTAINER_OF(l, struct webhook_letter, letter);

		next = l->next;
		if (!m->answer) {
			webhooks_hold(w, m);
			continue;
		}
		webhooks_take_answer(w, m->answer);
		webhook_letter_free(m);
	}
	webhooks_take_held(w);
}

/* Nothing is left to write, and no request is under way. */
RUNS_ON(on_webhook) static bool webhooks_is_finished(struct webhooks *w, bool is_up)
{
	if (!atomic_load(&w->is_stopping))
		return false;
	if (clock_mono() >= atomic_load(&w->stop_at))
		return true;
	return !sender_in_flight(w->sender) &&
	       (!is_up || !(w->new_hooks.first || w->writing.first || w->finished || w->settling ||
			    w->is_claiming || w->lanes.map.used));
}

/* Milliseconds until something is due. */
RUNS_ON(on_webhook)
static int webhooks_pause(struct webhooks *w, usec_t now, bool is_up, usec_t leaving_at)
{
	usec_t until = now + IDLE_MS * USEC_PER_MSEC;
	const struct lane *lane;
	size_t at = 0;

	if (leaving_at && leaving_at < until)
		until = leaving_at;
	if (is_up && w->claim_at < until && !w->is_claiming && w->lanes.map.used < LANES_MAX)
		until = w->claim_at;
	if (is_up && w->finished && !w->settling && w->settle_at < until)
		until = w->settle_at;
	if (is_up && w->new_hooks.first && !w->writing.first && w->write_at < until)
		until = w->write_at;
	if (!is_up && (w->new_hooks.first || !w->is_loaded))
		until = now + RETRY_DATABASE;
	while ((lane = lanes_next(&w->lanes, &at))) {
		usec_t ready = lane->is_memory ? lane->next_at
					       : lane->since + w->conf->batch_ms * USEC_PER_MSEC;

		if (!lane->n_in_flight && !lane->is_finished && lane->waiting.first &&
		    ready < until)
			until = ready > now ? ready : now + USEC_PER_MSEC;
	}
	return until <= now ? 0 : (int)((until - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC);
}

RUNS_ON(on_webhook) static void *webhooks_run(void *arg)
{
	struct webhooks *w = arg;
	bool is_up = false;

	w->up_at = clock_mono();
	w->compare_at = w->up_at + w->conf->compare_s * USEC_PER_SEC;
	while (!webhooks_is_finished(w, is_up)) {
		usec_t now, leaving_at;

		webhooks_take_letters(w);
		now = clock_mono();
		if (now >= w->compare_at && !w->reported.is_held && !atomic_load(&w->is_stopping)) {
			webhooks_compare(w);
			w->compare_at = now + w->conf->compare_s * USEC_PER_SEC;
		}
		leaving_at = atomic_load(&w->is_stopping) ? 0 : reported_tick(&w->reported, now);
		is_up = webhooks_check_database(w, now);
		if (is_up)
			webhooks_use_database(w, now);
		webhooks_run_lanes(w, now);
		sender_wait(w->sender, webhooks_pause(w, now, is_up, leaving_at));
	}
	sender_cancel(w->sender);
	return NULL;
}

struct webhooks *webhooks_new(const struct conf_webhooks *conf, struct pg_pool *pool)
{
	struct webhooks *w = xcalloc(1, sizeof(*w));

	w->conf = conf;
	w->sender = sender_new(conf);
	if (!w->sender) {
		free(w);
		return NULL;
	}
	w->queue = (struct queue){ .pool = pool, .post = webhooks_on_answer, .ctx = w };
	mailbox_init(&w->mailbox, TRANSITIONS_MAX);
	reported_init(&w->reported, on_reported, w);
	lanes_init(&w->lanes);
	return w;
}

int webhooks_start(struct webhooks *w, struct directory *d)
{
	int rc;

	w->directory = d;
	rc = thread_start(&w->thread, "webhooks", &on_webhook, webhooks_run, w);
	w->is_started = rc == 0;
	return rc;
}

void webhooks_stop(struct webhooks *w, unsigned ms)
{
	if (!w || !w->is_started)
		return;
	atomic_store(&w->stop_at, clock_mono() + ms * USEC_PER_MSEC);
	atomic_store(&w->is_stopping, true);
	sender_wake(w->sender);
	pthread_join(w->thread, NULL);
	mailbox_close(&w->mailbox);
	w->is_started = false;
}

void webhooks_free(struct webhooks *w)
{
	struct letter *l, *next;

	if (!w)
		return;
	for (l = mailbox_take(&w->mailbox); l; l = next) {
		struct webhook_letter *m = CONTAINER_OF(l, struct webhook_letter, letter);

		next = l->next;
		if (m->answer)
			queue_answer_free(m->answer);
		webhook_letter_free(m);
	}
	for (l = w->held; l; l = next) {
		next = l->next;
		webhook_letter_free(CONTAINER_OF(l, struct webhook_letter, letter));
	}
	mailbox_release(&w->mailbox);
	reported_free_all(&w->reported);
	hook_list_free(&w->new_hooks);
	hook_list_free(&w->writing);
	lanes_release(&w->lanes);
	sender_free(w->sender);
	free(w);
}
