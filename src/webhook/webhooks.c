/* SPDX-License-Identifier: MIT */
/*
 * One thread runs all parts in turn.  Nothing in it waits but sender_wait().
 *
 * transitions: the changes of the directory become webhooks in the backlog.
 * hook_db:     they go from there to the database, and come back in lanes that were claimed.
 * dispatcher:  the webhooks of a lane are sent; hook_db writes the outcome.
 *
 * While the database is not available, the dispatcher gets lanes that are made of the backlog.
 */
#include "base/log.h"
#include "base/mem.h"
#include "webhook/comparison.h"
#include "webhook/hook_db.h"
#include "webhook/transitions.h"
#include "webhook/webhooks.h"

#define AWAY_AFTER (2 * USEC_PER_SEC)
#define IDLE_MS	   1000

struct webhooks {
	const struct conf_webhooks *conf;
	struct pg_pool *pool;
	struct directory *directory;
	struct sender *sender;
	atomic_bool is_stopping;
	_Atomic usec_t stop_at; /* mono */
	bool is_started;
	pthread_t thread;

	/* used by this thread only, except the mailboxes in them */
	struct transitions transitions;
	struct backlog backlog;
	struct dispatcher dispatcher;
	struct hook_db db;
	bool is_away;	   /* the database is not available, and this was logged */
	usec_t up_at;	   /* mono: when it was last seen */
	usec_t compare_at; /* mono */
};

void webhooks_on_transition(void *ctx, const struct transition *t)
{
	struct webhooks *w = ctx;

	if (transitions_put(&w->transitions, t))
		sender_wake(w->sender);
}

void webhooks_on_noted(void *ctx)
{
	struct webhooks *w = ctx;

	if (!atomic_exchange(&w->db.is_noted, true))
		sender_wake(w->sender);
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

/* Whether the database can be used.  If it is available, moves lanes in memory back to the backlog;
 * if it has been away for AWAY_AFTER, makes lanes of the backlog. */
RUNS_ON(on_webhook) static bool webhooks_check_database(struct webhooks *w, usec_t now)
{
	if (pg_pool_is_up(w->pool)) {
		w->up_at = now;
		if (w->is_away)
			log_info("webhooks: the database is available again");
		w->is_away = false;
		backlog_take_lanes(&w->backlog, &w->dispatcher.lanes);
		return true;
	}
	if (now - w->up_at < AWAY_AFTER || !webhooks_has_endpoints())
		return false;
	if (!w->is_away)
		log_warn("webhooks: the database is not available; up to %u webhooks wait in "
			 "memory, and are lost if the daemon ends",
			 w->conf->memory_events);
	w->is_away = true;
	if (w->transitions.reported.is_held)
		reported_release_hold(&w->transitions.reported);
	transitions_take(&w->transitions);
	backlog_make_lanes(&w->backlog, &w->dispatcher.lanes, now);
	return false;
}

/* While stopping: the deadline has passed, or no request is under way and, if the database is up,
 * nothing is left to write. */
RUNS_ON(on_webhook) static bool webhooks_is_finished(struct webhooks *w, bool is_up)
{
	if (!atomic_load(&w->is_stopping))
		return false;
	if (clock_mono() >= atomic_load(&w->stop_at))
		return true;
	return !sender_in_flight(w->sender) && (!is_up || hook_db_is_idle(&w->db));
}

/* Milliseconds until something is due. */
RUNS_ON(on_webhook)
static int webhooks_pause(struct webhooks *w, usec_t now, bool is_up, usec_t leaving_at)
{
	usec_t until = now + IDLE_MS * USEC_PER_MSEC;

	if (leaving_at && leaving_at < until)
		until = leaving_at;
	if (is_up)
		until = hook_db_due(&w->db, until);
	else if (w->backlog.waiting.first || !w->db.is_loaded)
		until = now + HOOK_DB_RETRY;
	until = dispatcher_due(&w->dispatcher, now, until);
	return until <= now ? 0 : (int)((until - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC);
}

RUNS_ON(on_webhook) static void *webhooks_run(void *arg)
{
	struct webhooks *w = arg;
	bool is_up = false;

	w->up_at = clock_mono();
	w->compare_at = w->up_at + w->conf->compare_s * USEC_PER_SEC;
	while (!webhooks_is_finished(w, is_up)) {
		struct reported *reported = &w->transitions.reported;
		bool is_stopping;
		usec_t now, leaving_at;

		hook_db_take_answers(&w->db);
		transitions_take(&w->transitions);
		now = clock_mono();
		is_stopping = atomic_load(&w->is_stopping);
		if (now >= w->compare_at && !reported->is_held && !is_stopping) {
			if (w->db.queue.is_cluster)
				hook_db_compare(&w->db);
			else
				comparison_run(reported, w->directory,
					       now + w->conf->smoothing_ms * USEC_PER_MSEC);
			w->compare_at = now + w->conf->compare_s * USEC_PER_SEC;
		}
		leaving_at = is_stopping ? 0 : reported_tick(reported, now);
		is_up = webhooks_check_database(w, now);
		if (is_up)
			hook_db_run(&w->db, now, is_stopping);
		dispatcher_run(&w->dispatcher, now, is_stopping);
		sender_wait(w->sender, webhooks_pause(w, now, is_up, leaving_at));
	}
	sender_cancel(w->sender);
	return NULL;
}

struct webhooks *webhooks_new(const struct conf *conf, struct pg_pool *pool, bool is_cluster)
{
	struct webhooks *w = xcalloc(1, sizeof(*w));

	w->conf = &conf->webhooks;
	w->pool = pool;
	w->sender = sender_new(w->conf);
	if (!w->sender) {
		free(w);
		return NULL;
	}
	w->backlog.max = w->conf->memory_events;
	transitions_init(&w->transitions, w->conf, &w->backlog);
	w->dispatcher = (struct dispatcher){ .conf = w->conf, .sender = w->sender };
	lanes_init(&w->dispatcher.lanes);
	hook_db_init(&w->db,
		     &(const struct hook_db_parts){ .conf = w->conf,
						    .backlog = &w->backlog,
						    .dispatcher = &w->dispatcher,
						    .reported = &w->transitions.reported,
						    .pool = pool,
						    .is_cluster = is_cluster,
						    .has_deliveries = conf->database.deliveries });
	if (is_cluster) /* what was reported is only in the database */
		reported_release_hold(&w->transitions.reported);
	return w;
}

int webhooks_start(struct webhooks *w, struct directory *d)
{
	int rc;

	w->directory = w->db.directory = d;
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
	mailbox_close(&w->transitions.mailbox);
	mailbox_close(&w->db.answers);
	w->is_started = false;
}

void webhooks_free(struct webhooks *w)
{
	if (!w)
		return;
	hook_db_release(&w->db);
	transitions_release(&w->transitions);
	backlog_release(&w->backlog);
	lanes_release(&w->dispatcher.lanes);
	sender_free(w->sender);
	free(w);
}
