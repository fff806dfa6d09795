/* SPDX-License-Identifier: MIT */
/*
 * One thread with one connection (pg/runner.h).  In a round it takes what waits in its inbox,
 * writes the changes of this node's members to the database, and reads the members of each channel
 * of which it missed a change.  Then it applies both to the directory, and lets subscriptions
 * succeed that waited for it.  What arrives during a round waits for the next one, so a busy node
 * makes fewer and larger calls.
 *
 * Without a connection, members of this node come and go within the node.  After each connection,
 * and when the node was registered again, all its members are registered again, and all members are
 * read. Subscriptions have a deadline of their own (core/sessions/session_proto.c).
 *
 * The same thread stores the last events of cache channels that are not in the log
 * (cluster/cache_store.h).
 *
 * Shared with other threads: the inbox.  The rest is the thread's own.
 */
#include <errno.h>
#include "base/mem.h"
#include "base/wake.h"
#include "cluster/cluster-private.h"
#include "cluster/intake.h"
#include "cluster/reap.h"
#include "cluster/refresh.h"
#include "cluster/shown.h"
#include "cluster/submit.h"
#include "conf/conninfo.h"

#define NAME	       "cluster"
#define STATEMENT_MS   5000
#define EXPIRE_US      (60 * USEC_PER_SEC)
#define FORGET_US      (10 * USEC_PER_SEC)
#define STORE_US       (5 * USEC_PER_MSEC) /* between two calls that store cached events */
#define AWAY_MS	       100
#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 2000

/* -- a round -- */

/* Cached events: writes those of this node, deletes those that have expired. */
RUNS_ON(on_db)
static enum pg_fault cluster_store(struct cluster *c, struct pg_connection *conn, usec_t now)
{
	const struct cache_source from = { c->directory, c->apps,
					   atomic_load(bus_node_number(c->bus)) };
	enum pg_fault fault = PG_FINE;
	bool is_more;

	if (c->cache.first && now >= c->store_at) {
		fault = cache_store_run(&c->cache, conn, &from);
		c->store_at = now + STORE_US;
	}
	if (fault == PG_FINE && now >= c->expire_at) {
		fault = cache_store_expire(conn, &is_more);
		c->expire_at = now + (is_more ? 0 : EXPIRE_US);
	}
	if (fault != PG_FINE && fault != PG_LOST) {
		c->retry_at = now + RETRY_US;
		fault = PG_FINE;
	}
	return fault;
}

static bool cluster_is_unsettled(const struct cluster *c)
{
	return c->is_partial || !c->is_complete;
}

/* What is due.  *until: when the next is. */
RUNS_ON(on_db)
static enum pg_fault cluster_round(struct cluster *c, struct pg_connection *conn, usec_t *until)
{
	enum pg_fault fault = PG_FINE;
	usec_t now = clock_mono();
	struct own_member *due;

	if (now < c->retry_at || !atomic_load(bus_node_number(c->bus))) {
		*until = now < c->retry_at ? c->retry_at : now + RETRY_US;
		return PG_FINE;
	}
	if (c->registrations != bus_registrations(c->bus))
		fault = refresh_begin(c, conn);
	if (fault == PG_FINE && cluster_is_unsettled(c) && now >= c->settle_at)
		fault = refresh_settle(c, conn);
	while ((due = follow_take_due(&c->follow, now)))
		intake_count(c, due);
	if (fault == PG_FINE)
		fault = submit_run(c, conn);
	if (fault == PG_FINE)
		fault = refresh_read(c, conn);
	if (fault == PG_FINE)
		submit_finish(c);
	else
		submit_put_back(c);
	if (fault == PG_FINE && now >= c->reap_at)
		fault = reap_run(c, conn);
	if (fault == PG_FINE && now >= c->compare_at)
		fault = refresh_compare(c, conn);
	if (fault == PG_FINE)
		fault = cluster_store(c, conn, now);
	*until = c->reap_at < c->compare_at ? c->reap_at : c->compare_at;
	if (c->expire_at < *until)
		*until = c->expire_at;
	if (c->follow.delayed && c->follow.delayed->counted_at < *until)
		*until = c->follow.delayed->counted_at;
	if (c->cache.first && c->store_at < *until)
		*until = c->store_at;
	if (cluster_is_unsettled(c) && c->settle_at < *until)
		*until = c->settle_at;
	if (follow_has_queued(&c->follow) || c->follow.to_read)
		*until = c->retry_at;
	return fault;
}

/* -- the thread -- */

/* While the database is away, cached events expire and others come: what waits for it is bounded by
 * what the directory has. */
static void cluster_forget_cached(struct cluster *c)
{
	const struct cache_source from = { .directory = c->directory, .apps = c->apps };
	usec_t now = clock_mono();

	if (now < c->forget_at)
		return;
	cache_store_forget(&c->cache, &from);
	c->forget_at = now + FORGET_US;
}

static void cluster_begin_turn(struct cluster *c)
{
	c->apps = apps_current();
	intake_run(c);
	cluster_forget_cached(c);
}

static void cluster_end_turn(struct cluster *c)
{
	app_set_unref(c->apps);
	c->apps = NULL;
}

RUNS_ON(on_db) static enum pg_fault cluster_serve(void *ctx, struct pg_connection *conn)
{
	struct cluster *c = ctx;
	struct wake *wake = pg_runner_get_wake(c->runner);
	enum pg_fault fault = step_prepare(conn);

	if (fault == PG_FINE)
		fault = cache_store_prepare(conn);
	c->registrations = bus_registrations(c->bus) - 1;
	c->retry_at = c->reap_at = c->settle_at = 0;
	c->is_partial = true;
	while (fault == PG_FINE && !pg_runner_is_stopping(c->runner)) {
		usec_t until;

		wake_drain(wake);
		cluster_begin_turn(c);
		fault = cluster_round(c, conn, &until);
		cluster_end_turn(c);
		if (fault == PG_FINE && until > clock_mono())
			fault = pg_conn_idle(conn, wake_fd(wake), until);
	}
	return fault;
}

/* Without a connection: members come and go within this node. */
static void cluster_on_away(void *ctx)
{
	struct cluster *c = ctx;
	struct own_member *m;
	struct followed *of;
	size_t at = 0;

	c->is_partial = true; /* a message may come from a node that is connected again before */
	cluster_begin_turn(c);
	while ((m = follow_dequeue(&c->follow)))
		shown_settle(c, m);
	while ((of = map_next(&c->follow.channels, &at)))
		shown_answer_watchers(c, of);
	cluster_end_turn(c);
}

static void on_member_report(void *ctx, const struct member_report *r)
{
	struct cluster *c = ctx;

	if (inbox_put_report(&c->inbox, r))
		pg_runner_wake(c->runner);
}

static void on_bus_member(void *ctx, const struct bus_message *m)
{
	struct cluster *c = ctx;

	int rc = m ? inbox_put_change(&c->inbox, m->app, m->channel, m->data) : -EAGAIN;

	if (rc == -EAGAIN && !atomic_exchange(&c->has_missed, true))
		rc = 1;
	if (rc == 1)
		pg_runner_wake(c->runner);
}

/* -- start and stop -- */

struct cluster *cluster_new(const struct conf *conf, const char *conninfo, struct bus *b)
{
	struct cluster *c;

	if (!bus_is_cluster(b))
		return NULL;
	c = xcalloc(1, sizeof(*c));
	c->conf = conf;
	c->conninfo = conninfo;
	c->bus = b;
	c->read_max = READ_FIRST;
	inbox_init(&c->inbox);
	follow_init(&c->follow);
	step_init(&c->step);
	cache_store_init(&c->cache);
	return c;
}

void cluster_free(struct cluster *c)
{
	if (!c)
		return;
	inbox_release(&c->inbox);
	follow_release(&c->follow);
	step_release(&c->step);
	cache_store_release(&c->cache);
	free(c);
}

void cluster_watch_webhooks(struct cluster *c, void (*noted)(void *ctx), void *ctx)
{
	if (!c)
		return;
	c->webhooks_noted = noted;
	c->webhooks_ctx = ctx;
}

int cluster_start(struct cluster *c, struct directory *d)
{
	struct pg_runner_conf rc;
	int err;

	if (!c)
		return 0;
	rc = (struct pg_runner_conf){
		.name = NAME,
		.options = conf_pg_options(&c->conf->database, c->conninfo),
		.backoff_min_ms = BACKOFF_MIN_MS,
		.backoff_max_ms = BACKOFF_MAX_MS,
		.serve = cluster_serve,
		.on_away = cluster_on_away,
		.away_every_ms = AWAY_MS,
		.ctx = c,
	};
	rc.options.statement_timeout_ms = STATEMENT_MS;
	c->directory = d;
	err = pg_runner_start(&rc, &c->runner);
	if (err)
		return err;
	directory_share_members(d, on_member_report, c);
	bus_watch_members(c->bus, on_bus_member, c);
	return 0;
}

void cluster_stop(struct cluster *c)
{
	if (!c || !c->runner)
		return;
	bus_watch_members(c->bus, NULL, NULL);
	pg_runner_stop(c->runner);
	c->runner = NULL;
}
