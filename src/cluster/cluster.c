/* SPDX-License-Identifier: MIT */
/*
 * One thread with one connection (pg/runner.h).  In a round it takes what waits in its inbox,
 * writes the changes of this node's members to the database, and reads the members of each channel
 * of which it missed a change.  Then it applies both to the directory, and lets subscriptions
 * succeed that waited for it.  What arrives during a round waits for the next one, so a busy node
 * makes fewer and larger calls.
 *
 * The database gives each channel a version.  A change is applied only to the version before it;
 * when that is another one, the members are read.  A gap shows only when another change follows, so
 * versions are compared from time to time, and whenever messages of the bus may have been missed.
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
#include <string.h>
#include <errno.h>
#include "base/log_gate.h"
#include "base/macros.h"
#include "base/mem.h"
#include "base/wake.h"
#include "cluster/cache_store.h"
#include "cluster/change.h"
#include "cluster/cluster.h"
#include "cluster/inbox.h"
#include "cluster/step.h"
#include "conf/conninfo.h"
#include "core/channels/users.h"
#include "pg/runner.h"

#define NAME	       "cluster"
#define STATEMENT_MS   5000
#define REAP_US	       USEC_PER_SEC
#define COMPARE_US     (30 * USEC_PER_SEC)
#define EXPIRE_US      (60 * USEC_PER_SEC)
#define FORGET_US      (10 * USEC_PER_SEC)
#define STORE_US       (5 * USEC_PER_MSEC) /* between two calls that store cached events */
#define RETRY_US       (100 * USEC_PER_MSEC)
#define COUNT_US       USEC_PER_SEC /* between two counts of a channel that is occupied */
#define AWAY_MS	       100
#define READ_FIRST     100		     /* channels of the first read of members */
#define READ_SHORT_US  (200 * USEC_PER_MSEC) /* a read of members: the next may be larger */
#define READ_LONG_US   USEC_PER_SEC	     /* it must be smaller */
#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 2000
/* An index entry of PostgreSQL has at most 2,704 bytes. */
#define KEY_MAX 2000

struct cluster {
	const struct conf *conf;
	const char *conninfo;
	struct bus *bus;
	struct directory *directory;
	struct pg_runner *runner; /* NULL: not started */
	struct inbox inbox;
	atomic_bool has_missed; /* a change of another node: the versions are compared */
	void (*webhooks_noted)(void *ctx);
	void *webhooks_ctx;

	/* the thread's own */
	struct follow follow;
	struct step step;
	struct cache_store cache;
	struct app_set *apps;			/* of this round */
	struct own_member *batch[STEP_MEMBERS]; /* of this round */
	unsigned n_batch;
	bool is_noted;		/* webhooks may report a change of the batch */
	unsigned singles;	/* batches of one member that follow: one of them was refused */
	unsigned registrations; /* of the guard, when all was registered */
	usec_t retry_at, reap_at, compare_at, store_at, expire_at, forget_at; /* mono */
	unsigned read_max; /* channels of the next read of members */
};

static struct log_gate refused_gate = LOG_GATE("changes of members refused");

/* -- to the directory -- */

/* NULL: this node does not serve it any more. */
static struct app *cluster_app(const struct cluster *c, struct followed *of)
{
	struct app *app = app_set_by_id(c->apps, of->app);

	if (app && app != of->served) {
		app_unref(of->served);
		of->served = app_ref(app);
	}
	return app;
}

/* The same, or as it was while this node served it: members have to be removed then, too.  NULL:
 * it never did, so the directory has none. */
static struct app *cluster_last_app(const struct cluster *c, struct followed *of)
{
	struct app *app = cluster_app(c, of);

	return app ? app : of->served;
}

/* Watchers that will be answered are not notified before. */
static void cluster_put(struct cluster *c, struct followed *of, const struct directory_member *who,
			bool is_own)
{
	struct own_member *own = map_get(&of->own, who->user_id);
	struct app *app = cluster_app(c, of);

	/* Another node may have given the user this info.  One that is queued has a newer report.
	 */
	if (own && !own->is_queued)
		follow_set_info(own, who->info);
	if (app && of->is_answer_due)
		directory_put_member(c->directory, app, of->name, who, is_own);
	else if (app)
		users_put(c->directory, app, of->name, who, is_own);
}

static void cluster_drop(struct cluster *c, struct followed *of, struct str_view user_id)
{
	struct app *app = cluster_last_app(c, of);

	if (app && of->is_answer_due)
		directory_drop_member(c->directory, app, of->name, user_id);
	else if (app)
		users_drop(c->directory, app, of->name, user_id);
}

/* Clients that watch the user are answered. */
static void cluster_answer_watchers(struct cluster *c, struct followed *of)
{
	struct app *app = of->is_answer_due ? cluster_app(c, of) : NULL;

	if (app)
		users_set_known(c->directory, app, of->name);
	of->is_answer_due = false;
}

/* Drops the members that are not among who[0] to who[n - 1]. */
static void cluster_drop_others(struct cluster *c, struct followed *of,
				const struct directory_member *who, size_t n)
{
	struct app *app = cluster_last_app(c, of);
	char **others = app ? directory_other_members(c->directory, app, of->name, who, n) : NULL;

	for (size_t i = 0; others && others[i]; i++) {
		cluster_drop(c, of, sv(others[i]));
		free(others[i]);
	}
	free(others);
}

static unsigned cluster_number(struct str_view text)
{
	uint64_t n = 0;

	return sv_to_u64(text, UINT32_MAX, &n) ? (unsigned)n : 0;
}

/* The channel has so many subscriptions on all nodes. */
static void cluster_set_count(struct cluster *c, struct followed *of, unsigned total)
{
	const struct own_member *m = map_get(&of->own, SV(""));
	unsigned own = m && m->is_registered ? cluster_number(sv(m->info)) : 0;
	struct app *app = m ? cluster_app(c, of) : NULL;

	if (app)
		directory_count_others(c->directory, app, of->name, total > own ? total - own : 0);
}

static void cluster_apply(struct cluster *c, struct followed *of, const struct change *change)
{
	const struct directory_member who = { change->user_id, change->info };

	if (!change->user_id.len) {
		cluster_set_count(c, of, cluster_number(change->info));
		return;
	}
	if (!follow_advance(&c->follow, of, change->before, change->version))
		return;
	if (change->outcome == CHANGE_REMOVED) {
		cluster_drop(c, of, change->user_id);
		follow_retry(&c->follow, of);
	} else {
		cluster_put(c, of, &who, false);
	}
}

static void cluster_answer_waiters(struct cluster *c, struct own_member *m, bool is_full)
{
	struct own_waiter *w;

	while ((w = m->waiters)) {
		m->waiters = w->next;
		directory_post_joined(c->directory, w->worker, w->token, is_full);
		free(w);
	}
}

/*
 * Forgets the channel if this node has no subscription to it any more.  Sends nothing: for a
 * watcher who joins at this moment MEMBER_WATCHED is in the inbox, and the state is read again.
 */
static void cluster_prune(struct cluster *c, struct followed *of)
{
	if (!follow_is_unused(of))
		return;
	of->is_answer_due = true;
	cluster_drop_others(c, of, NULL, 0);
	follow_delete(&c->follow, of);
}

/* Shows clients its own member as this node has it; the database may change that later. */
static void cluster_settle(struct cluster *c, struct own_member *m)
{
	const struct directory_member who = { sv(m->user_id), sv(m->info) };

	if (!who.user_id.len)
		return;
	if (m->is_here)
		cluster_put(c, m->channel, &who, true);
	else
		cluster_drop(c, m->channel, who.user_id);
	cluster_answer_waiters(c, m, false);
}

/* -- the inbox -- */

static void cluster_take_watch(struct cluster *c, const struct inbox_item *item)
{
	struct strbuf name;
	struct followed *of;

	if (!users_watched(item->channel, &name))
		return;
	of = follow_get(&c->follow, item->app, strbuf_view(&name));
	of->is_watched = of->is_answer_due = item->report == MEMBER_WATCHED;
	if (of->is_watched && of->is_known && !of->must_read)
		cluster_answer_watchers(c, of);
	else if (of->is_watched)
		follow_read_later(&c->follow, of);
	cluster_prune(c, of);
	strbuf_release(&name);
}

/* The number of subscriptions here is in the next call. */
static void cluster_count(struct cluster *c, struct own_member *m)
{
	struct app *app = cluster_app(c, m->channel);
	unsigned n = app ? directory_count_own(c->directory, app, m->channel->name, true) : 0;
	char text[STR_U64_SIZE];

	str_u64(text, n);
	follow_set_info(m, sv(text));
	m->is_here = n > 0;
	m->counted_at = m->lost_at = clock_mono();
	follow_enqueue(&c->follow, m);
}

/* The first and the last subscription are reported at once, what is between them from time to time.
 */
static void cluster_take_count(struct cluster *c, const struct inbox_item *item)
{
	struct followed *of = follow_get(&c->follow, item->app, item->channel);
	struct own_member *m = follow_member(of, SV(""));
	struct app *app = cluster_app(c, of);
	usec_t now = clock_mono();

	if (app && m->is_here && m->counted_at + COUNT_US > now &&
	    directory_count_own(c->directory, app, of->name, false))
		follow_delay(&c->follow, m, now + COUNT_US);
	else
		cluster_count(c, m);
}

static void cluster_take_report(struct cluster *c, const struct inbox_item *item)
{
	struct followed *of;
	struct own_member *m;

	if (item->report == MEMBER_COUNTED) {
		cluster_take_count(c, item);
		return;
	}
	if (item->report == MEMBER_WATCHED || item->report == MEMBER_UNWATCHED) {
		cluster_take_watch(c, item);
		return;
	}
	of = follow_get(&c->follow, item->app, item->channel);
	m = follow_member(of, item->user_id);
	m->max = item->max;
	if (item->report != MEMBER_LEAVING && (item->report != MEMBER_WAITS || !m->is_here))
		follow_set_info(m, item->info);
	m->is_here = item->report != MEMBER_LEFT;
	m->is_leaving = item->report == MEMBER_LEAVING;
	m->lost_at = clock_mono() - item->waited;
	if (item->token) {
		struct own_waiter *w = xmalloc(sizeof(*w));

		*w = (struct own_waiter){ m->waiters, item->worker, item->token };
		m->waiters = w;
	}
	follow_enqueue(&c->follow, m);
}

static void cluster_take_change(struct cluster *c, const struct inbox_item *item)
{
	struct followed *of = follow_find(&c->follow, item->app, item->channel);
	struct change change;

	if (of && change_read(item->data, &change))
		cluster_apply(c, of, &change);
}

static void cluster_take_inbox(struct cluster *c)
{
	struct mailbox_entry *e = inbox_take(&c->inbox), *next;

	for (; e; e = next) {
		struct inbox_item *item = CONTAINER_OF(e, struct inbox_item, entry);

		next = e->next;
		if (item->kind == INBOX_REPORT && item->report == MEMBER_CACHED) {
			cache_store_add(&c->cache, item);
			continue;
		}
		if (item->kind == INBOX_REPORT)
			cluster_take_report(c, item);
		else
			cluster_take_change(c, item);
		inbox_item_free(&c->inbox, item);
	}
	if (atomic_exchange(&c->has_missed, false))
		c->compare_at = 0;
}

/* -- a round -- */

static void cluster_publish(struct cluster *c, struct str_view app, struct str_view channel,
			    const struct change *change)
{
	struct strbuf b;

	strbuf_init(&b, 128);
	change_write(&b, change);
	bus_publish_member(c->bus, app, channel, strbuf_view(&b));
	strbuf_release(&b);
}

/* Members that cannot be rows are members within the node. */
static bool cluster_fits(const struct own_member *m)
{
	return m->channel->app.len + m->channel->name.len + strlen(m->user_id) <= KEY_MAX;
}

/* After how many milliseconds webhooks report its end; -1: none reports this change.  The first and
 * the last subscription of the node may be those of the cluster. */
static int cluster_webhook_delay(const struct cluster *c, const struct own_member *m)
{
	usec_t waited = m->lost_at ? clock_mono() - m->lost_at : 0;
	usec_t smoothing = c->conf->webhooks.smoothing_ms * USEC_PER_MSEC;
	unsigned events = WEBHOOKS_OF_CHANNELS | 1U << WEBHOOK_SUBSCRIPTION_COUNT;
	struct app *app = cluster_app(c, m->channel);

	if (*m->user_id)
		events = WEBHOOKS_OF_MEMBERS;
	else if (m->is_here && m->is_registered)
		events = 1U << WEBHOOK_SUBSCRIPTION_COUNT;
	if (!app || channel_is_internal(m->channel->name) ||
	    !webhook_list_wants(&app->webhooks, events, m->channel->name))
		return -1;
	return waited < smoothing ? (int)((smoothing - waited) / USEC_PER_MSEC) : 0;
}

static void cluster_take_batch(struct cluster *c)
{
	unsigned max = c->singles ? 1 : STEP_MEMBERS;
	struct own_member *m;
	int delay_ms;

	step_reset(&c->step);
	c->n_batch = 0;
	c->is_noted = false;
	while (c->n_batch < max && (m = follow_dequeue(&c->follow))) {
		/* A channel that has come and gone since the last call costs none. */
		if (!cluster_fits(m) || (!*m->user_id && !m->is_here && !m->is_registered)) {
			struct followed *of = m->channel;

			cluster_settle(c, m);
			if (!m->is_here)
				follow_delete_member(&c->follow, m);
			cluster_prune(c, of);
			continue;
		}
		c->batch[c->n_batch++] = m;
		delay_ms = cluster_webhook_delay(c, m);
		c->is_noted |= delay_ms >= 0 && !(m->is_leaving && m->is_registered);
		step_add_member(&c->step, m, delay_ms);
	}
}

/* The next round reports them. */
static void cluster_put_back(struct cluster *c)
{
	for (unsigned i = 0; i < c->n_batch; i++)
		follow_enqueue(&c->follow, c->batch[i]);
	c->n_batch = 0;
}

static void cluster_take_outcomes(struct cluster *c, const struct pg_answer *a)
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
			cluster_answer_waiters(c, m, true);
			continue;
		}
		follow_set_registered(&c->follow, m, m->is_here);
		if (m->is_here && *m->user_id)
			follow_set_info(m, change.info);
		/* Also with the version that this node has: the database may have lost a user who
		 * was shown for a connection here. */
		if (change.outcome == CHANGE_GONE)
			cluster_drop(c, m->channel, change.user_id);
		if ((change.outcome == CHANGE_NONE && *m->user_id) ||
		    change.outcome == CHANGE_GONE) {
			follow_compare(&c->follow, m->channel, change.version);
			continue;
		}
		if (change.outcome != CHANGE_NONE)
			cluster_publish(c, m->channel->app, m->channel->name, &change);
		cluster_apply(c, m->channel, &change);
	}
}

/* The database knows the members of the batch, and the directory what the database knows. */
static void cluster_finish(struct cluster *c)
{
	for (unsigned i = 0; i < c->n_batch; i++) {
		struct own_member *m = c->batch[i];
		struct followed *of = m->channel;

		if (m->is_here && m->is_registered)
			cluster_settle(c, m);
		else if (!m->is_here)
			follow_delete_member(&c->follow, m);
		cluster_prune(c, of);
	}
	c->n_batch = 0;
}

/* A fault of the statement, other than a lost connection. */
static enum pg_fault cluster_on_fault(struct cluster *c, struct pg_connection *conn,
				      enum pg_fault fault)
{
	if (fault == PG_LOST)
		return fault;
	if (fault == PG_REFUSED && c->n_batch == 1) {
		log_gated(&refused_gate,
			  "cluster: the database refused a member, which only this node has: %s",
			  pg_conn_error(conn));
		cluster_settle(c, c->batch[0]);
		cluster_finish(c);
		return PG_FINE;
	}
	if (fault == PG_REFUSED)
		c->singles = c->n_batch;
	else if (fault != PG_BUSY)
		log_gated(&refused_gate, "cluster: a statement failed: %s", pg_conn_error(conn));
	c->retry_at = clock_mono() + RETRY_US;
	return PG_FINE;
}

static void cluster_note_webhooks(struct cluster *c)
{
	if (c->webhooks_noted)
		c->webhooks_noted(c->webhooks_ctx);
}

/* Reports to the database what has changed here. */
RUNS_ON(on_db)
static enum pg_fault cluster_step(struct cluster *c, struct pg_connection *conn)
{
	struct pg_answer a = { 0 };
	enum pg_fault fault;

	cluster_take_batch(c);
	if (!c->n_batch)
		return PG_FINE;
	fault = step_run(&c->step, conn, atomic_load(bus_node_number(c->bus)), &a);
	if (fault == PG_FINE && pg_answer_rows(&a)) {
		c->singles -= c->singles > 0;
		if (c->is_noted)
			cluster_note_webhooks(c);
		cluster_take_outcomes(c, &a);
	} else {
		if (fault == PG_FINE)
			c->retry_at = clock_mono() + RETRY_US; /* without a lease */
		else
			fault = cluster_on_fault(c, conn, fault);
		cluster_put_back(c);
	}
	pg_answer_release(&a);
	return fault;
}

/* The rows from *row on that are those of one channel. */
static void cluster_take_members(struct cluster *c, struct followed *of, const struct pg_answer *a,
				 int *row)
{
	int64_t index = pg_answer_int(a, *row, 0);
	struct directory_member *who = NULL;
	size_t n = 0;

	of->version = (uint64_t)pg_answer_int(a, *row, 1);
	of->is_known = true;
	for (; *row < pg_answer_rows(a) && pg_answer_int(a, *row, 0) == index; ++*row) {
		if (pg_answer_is_null(a, *row, 2))
			continue;
		who = xreallocarray(who, n + 1, sizeof(*who));
		who[n++] = (struct directory_member){ pg_answer_view(a, *row, 2),
						      pg_answer_view(a, *row, 3) };
	}
	cluster_drop_others(c, of, who, n);
	for (size_t i = 0; i < n; i++)
		cluster_put(c, of, &who[i], false);
	cluster_answer_watchers(c, of);
	free(who);
}

/* All members of a channel are in one answer, and it is not known before how many that are: the
 * time of a read decides how many channels the next one has. */
static void cluster_adapt_read(struct cluster *c, usec_t took, bool is_fine)
{
	if (!is_fine || took > READ_LONG_US)
		c->read_max = c->read_max > 1 ? c->read_max / 2 : 1;
	else if (took < READ_SHORT_US && c->read_max < STEP_CHANNELS)
		c->read_max *= 2;
	if (c->read_max > STEP_CHANNELS)
		c->read_max = STEP_CHANNELS;
}

/* Reads the members of the channels of which a change was missed. */
RUNS_ON(on_db)
static enum pg_fault cluster_read(struct cluster *c, struct pg_connection *conn)
{
	struct followed *list[STEP_CHANNELS], *of;
	usec_t started = clock_mono();
	struct pg_answer a = { 0 };
	enum pg_fault fault;
	unsigned n = 0;
	int row = 0;

	step_reset(&c->step);
	while (n < c->read_max && (of = follow_take_to_read(&c->follow))) {
		step_add_channel(&c->step, of);
		list[n++] = of;
	}
	if (!n)
		return PG_FINE;
	fault = step_read(&c->step, conn, &a);
	cluster_adapt_read(c, clock_mono() - started, fault == PG_FINE);
	while (fault == PG_FINE && row < pg_answer_rows(&a))
		cluster_take_members(c, list[pg_answer_int(&a, row, 0) - 1], &a, &row);
	pg_answer_release(&a);
	if (fault == PG_FINE)
		return fault;
	for (unsigned i = 0; i < n; i++)
		follow_read_later(&c->follow, list[i]);
	cluster_put_back(c);
	return cluster_on_fault(c, conn, fault);
}

/* Registers all again. */
RUNS_ON(on_db)
static enum pg_fault cluster_begin(struct cluster *c, struct pg_connection *conn)
{
	unsigned registrations = bus_registrations(c->bus);
	struct pg_answer a = { 0 };
	enum pg_fault fault = step_register(conn, atomic_load(bus_node_number(c->bus)), &a);

	if (fault == PG_FINE)
		follow_begin_again(&c->follow);
	for (int row = 0; row < pg_answer_rows(&a); row++) {
		struct followed *of = follow_get(&c->follow, pg_answer_view(&a, row, 0),
						 pg_answer_view(&a, row, 1));
		struct own_member *m = follow_member(of, pg_answer_view(&a, row, 2));

		follow_set_registered(&c->follow, m, true);
		follow_enqueue(&c->follow, m);
	}
	pg_answer_release(&a);
	if (fault != PG_FINE)
		return cluster_on_fault(c, conn, fault);
	c->registrations = registrations;
	c->compare_at = clock_mono() + COMPARE_US;
	return PG_FINE;
}

RUNS_ON(on_db)
static enum pg_fault cluster_reap(struct cluster *c, struct pg_connection *conn)
{
	struct pg_answer a = { 0 };
	enum pg_fault fault = step_reap(conn, c->conf->webhooks.smoothing_ms, &a);

	c->reap_at = clock_mono() + (pg_answer_rows(&a) ? 0 : REAP_US);
	for (int row = 0; row < pg_answer_rows(&a); row++) {
		struct str_view app = pg_answer_view(&a, row, 0), name = pg_answer_view(&a, row, 1);
		struct followed *of = follow_find(&c->follow, app, name);
		const struct change change = {
			.outcome = change_outcome_of(pg_answer_view(&a, row, 3)),
			.before = (uint64_t)pg_answer_int(&a, row, 4),
			.version = (uint64_t)pg_answer_int(&a, row, 5),
			.user_id = pg_answer_view(&a, row, 2),
			.info = pg_answer_view(&a, row, 6),
		};

		cluster_publish(c, app, name, &change);
		if (of)
			cluster_apply(c, of, &change);
	}
	if (pg_answer_rows(&a))
		cluster_note_webhooks(c);
	pg_answer_release(&a);
	return fault == PG_FINE ? fault : cluster_on_fault(c, conn, fault);
}

/* The versions in the database, and the number of members that it has of this node. */
RUNS_ON(on_db)
static enum pg_fault cluster_compare(struct cluster *c, struct pg_connection *conn)
{
	struct pg_answer a = { 0 };
	enum pg_fault fault = step_count(conn, atomic_load(bus_node_number(c->bus)), &a);
	struct followed *list[STEP_CHANNELS], *of = NULL;
	size_t at = 0;
	unsigned n;

	c->compare_at = clock_mono() + COMPARE_US;
	if (fault == PG_FINE && (size_t)pg_answer_int(&a, 0, 0) != c->follow.n_registered)
		c->registrations--;
	do {
		step_reset(&c->step);
		for (n = 0; fault == PG_FINE && n < STEP_CHANNELS &&
			    (of = map_next(&c->follow.channels, &at));)
			step_add_channel(&c->step, list[n++] = of);
		pg_answer_release(&a);
		a = (struct pg_answer){ 0 };
		if (n)
			fault = step_versions(&c->step, conn, &a);
		for (unsigned i = 0; fault == PG_FINE && i < n; i++) {
			follow_compare(&c->follow, list[i], (uint64_t)pg_answer_int(&a, (int)i, 0));
			cluster_set_count(c, list[i], (unsigned)pg_answer_int(&a, (int)i, 1));
			follow_retry(&c->follow, list[i]);
		}
	} while (fault == PG_FINE && n == STEP_CHANNELS);
	pg_answer_release(&a);
	return fault == PG_FINE ? fault : cluster_on_fault(c, conn, fault);
}

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
		fault = cluster_begin(c, conn);
	while ((due = follow_take_due(&c->follow, now)))
		cluster_count(c, due);
	if (fault == PG_FINE)
		fault = cluster_step(c, conn);
	if (fault == PG_FINE)
		fault = cluster_read(c, conn);
	if (fault == PG_FINE)
		cluster_finish(c);
	else
		cluster_put_back(c);
	if (fault == PG_FINE && now >= c->reap_at)
		fault = cluster_reap(c, conn);
	if (fault == PG_FINE && now >= c->compare_at)
		fault = cluster_compare(c, conn);
	if (fault == PG_FINE)
		fault = cluster_store(c, conn, now);
	*until = c->reap_at < c->compare_at ? c->reap_at : c->compare_at;
	if (c->expire_at < *until)
		*until = c->expire_at;
	if (c->follow.delayed && c->follow.delayed->counted_at < *until)
		*until = c->follow.delayed->counted_at;
	if (c->cache.first && c->store_at < *until)
		*until = c->store_at;
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
	cluster_take_inbox(c);
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
	c->retry_at = c->reap_at = 0;
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

	cluster_begin_turn(c);
	while ((m = follow_dequeue(&c->follow)))
		cluster_settle(c, m);
	while ((of = map_next(&c->follow.channels, &at)))
		cluster_answer_watchers(c, of);
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
