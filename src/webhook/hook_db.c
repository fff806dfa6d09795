/* SPDX-License-Identifier: MIT */
/*
 * At most one statement of each kind runs at a time.  Answers come from the pool's thread through a
 * mailbox.  After a failure without a verdict of the server, the same rows are sent again.
 */
#include "base/log.h"
#include "base/log_gate.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/channels/members.h"
#include "webhook/hook_db.h"

#define WRITE_MAX    1000 /* rows of one statement */
#define LANES_MAX    512
#define CLAIM_MAX    64	 /* lanes of one statement */
#define ENDPOINT_MAX 64	 /* lanes: of an endpoint that has so many, none is claimed */
#define RUN_MAX	     100 /* webhooks of a lane that are claimed together */
#define CLAIM_EVERY  (1 * USEC_PER_SEC)
#define COUNT_EVERY  (5 * USEC_PER_SEC)
#define PRUNE_EVERY  (3600 * USEC_PER_SEC)
#define PRUNE_PART   (1 * USEC_PER_SEC) /* while there may be more */
#define DECIDE_MAX   1000		/* changes of one statement */
#define DECIDE_EVERY (1 * USEC_PER_SEC)
#define HELD_EVERY   (200 * USEC_PER_MSEC) /* what is held is looked at again */
#define HELD_MAX     (30 * USEC_PER_SEC)   /* a member that the cluster has no room for */
#define HELD_MOST    (WRITE_MAX / 4)	   /* events: others have room in each statement */
#define CHECK_MAX    1000		   /* notifications of one statement */
#define CHECK_EVERY  (1 * USEC_PER_SEC)
#define CHECK_IDLE   (60 * USEC_PER_SEC) /* when no endpoint wants to know */

static struct log_gate refused_gate = LOG_GATE("statements of webhooks refused");

/*
 * Decisions and writes take turns: a client event that a member has sent is written after the
 * decision that it was added.  True: one is running, or has begun.
 */
RUNS_ON(on_webhook) static bool hook_db_decide(struct hook_db *db, usec_t now, bool is_stopping)
{
	if (!db->queue.is_cluster || db->is_deciding || db->backlog->writing.first)
		return db->is_deciding;
	if (is_stopping)
		db->decide_at = now + DECIDE_EVERY;
	if (is_stopping || (now < db->decide_at && !atomic_load(&db->is_noted)) ||
	    (db->must_write && db->backlog->waiting.first && now >= db->write_at))
		return false;
	atomic_store(&db->is_noted, false);
	db->is_deciding = true;
	db->n_begun++;
	queue_decide(&db->queue, DECIDE_MAX);
	return true;
}

void hook_db_compare(struct hook_db *db)
{
	if (db->is_comparing)
		return;
	db->is_comparing = true;
	queue_compare(&db->queue, db->conf->smoothing_ms);
}

/* While the daemon stops, no more decisions follow: nothing is held. */
RUNS_ON(on_webhook) static void hook_db_write(struct hook_db *db, usec_t now, bool is_stopping)
{
	struct backlog *b = db->backlog;
	bool has_member = false, is_held_due = b->held.first && (is_stopping || now >= db->held_at);
	struct hook *h;

	if (b->writing.first || !(b->waiting.first || is_held_due) || now < db->write_at)
		return;
	/* In front of what the same members have sent later. */
	hook_list_put_back(&b->waiting, &b->held);
	while (b->writing.n < WRITE_MAX && (h = hook_list_take(&b->waiting))) {
		has_member |= h->member != NULL;
		hook_list_add(&b->writing, h);
	}
	db->must_write = false;
	if (has_member && db->queue.is_cluster && !is_stopping)
		queue_members(&db->queue, &b->writing);
	else
		queue_write(&db->queue, &b->writing);
}

RUNS_ON(on_webhook) static void hook_db_settle(struct hook_db *db, usec_t now)
{
	if (db->settling || !db->dispatcher->finished || now < db->settle_at)
		return;
	db->settling = db->dispatcher->finished;
	db->dispatcher->finished = NULL;
	queue_settle(&db->queue, db->settling, db->conf);
}

RUNS_ON(on_webhook) static void hook_db_claim(struct hook_db *db, usec_t now, bool is_stopping)
{
	struct lanes *lanes = &db->dispatcher->lanes;
	unsigned room = LANES_MAX - (unsigned)lanes_count(lanes);
	struct queue_claim wanted = {
		.lanes = room < CLAIM_MAX ? room : CLAIM_MAX,
		.run = RUN_MAX,
		.lease_ms = (unsigned)(dispatcher_lease(db->dispatcher) / USEC_PER_MSEC),
	};

	if (db->is_claiming || !room || now < db->claim_at || is_stopping)
		return;
	db->is_claiming = true;
	/* An endpoint that does not answer keeps its lanes: it must not have all of them. */
	wanted.n_full = lanes_find_full(lanes, ENDPOINT_MAX, &wanted.full);
	queue_claim(&db->queue, &wanted);
	free(wanted.full);
}

/* Notifications that reached no socket.  If no endpoint wants them, what is due is forgotten. */
RUNS_ON(on_webhook) static void hook_db_check(struct hook_db *db, usec_t now)
{
	struct app_set *apps = apps_current();
	bool is_wanted = false;

	for (size_t i = 0; db->has_deliveries && i < app_set_count(apps) && !is_wanted; i++)
		is_wanted = app_set_at(apps, i)->webhooks.watched &
			    1U << WEBHOOK_NOTIFICATION_UNDELIVERED;
	if (now >= db->check_at + (is_wanted ? 0 : CHECK_IDLE)) {
		db->is_checking = true;
		queue_undelivered(&db->queue, db->conf->undelivered_s, CHECK_MAX,
				  is_wanted ? apps : NULL);
	}
	app_set_unref(apps);
}

void hook_db_run(struct hook_db *db, usec_t now, bool is_stopping)
{
	if (!db->is_loaded && !db->is_loading && now >= db->load_at) {
		db->is_loading = true;
		queue_load(&db->queue);
	}
	if (!hook_db_decide(db, now, is_stopping))
		hook_db_write(db, now, is_stopping);
	hook_db_settle(db, now);
	hook_db_claim(db, now, is_stopping);
	if (!db->is_counting && now >= db->count_at) {
		db->is_counting = true;
		queue_count(&db->queue);
	}
	if (!db->is_checking && !is_stopping && now >= db->check_at)
		hook_db_check(db, now);
	if (!db->is_pruning && now >= db->prune_at) {
		db->is_pruning = true;
		queue_prune(&db->queue, db->conf);
	}
}

/* ---- answers ---- */

RUNS_ON(on_webhook) static void hook_db_on_loaded(struct hook_db *db, const struct queue_answer *a)
{
	usec_t now = clock_mono(), due = now + db->conf->compare_s * USEC_PER_SEC;

	db->is_loading = false;
	db->load_at = now + HOOK_DB_RETRY;
	if (a->rc)
		return;
	db->is_loaded = true;
	for (int i = 0; i < a->rows; i++) {
		struct reported_subject s = { sv(queue_cell(a, i, 0)), sv(queue_cell(a, i, 1)),
					      sv(queue_cell(a, i, 2)) };

		reported_load(db->reported, &s, due);
	}
	reported_release_hold(db->reported);
}

/*
 * Whether a client event waits, whose member was not reported as added.  The database knows the
 * member in a moment, if it has a connection here; and else, if at all, before a decision that
 * begins now.
 */
RUNS_ON(on_webhook)
static bool hook_db_must_hold(struct hook_db *db, struct hook *h, usec_t now)
{
	struct app_set *apps;
	struct app *app;
	bool is_here;

	if (!h->held_at) {
		h->held_at = now;
		h->held_after = db->n_begun;
		db->decide_at = now;
		return true;
	}
	if (now - h->held_at >= HELD_MAX)
		return false;
	if (db->n_finished <= h->held_after)
		return true;
	apps = apps_current();
	app = app_set_by_id(apps, sv(h->app));
	is_here =
		app && directory_has_own_member(db->directory, app, sv(h->channel), sv(h->member));
	app_set_unref(apps);
	return is_here;
}

/* What is held is a small part of the backlog: more client events are written without waiting. */
RUNS_ON(on_webhook) static bool hook_db_can_hold(const struct hook_db *db)
{
	const struct backlog *b = db->backlog;

	return b->held.n < HELD_MOST && b->held.n < b->max / 4;
}

/* What does not wait for a member is written. */
RUNS_ON(on_webhook)
static void hook_db_on_members(struct hook_db *db, const struct queue_answer *a)
{
	struct backlog *b = db->backlog;
	struct hook_list all = b->writing;
	usec_t now = clock_mono();
	long long number = 0;
	struct hook *h;
	int row = 0;

	if (a->rc && !a->is_refused) {
		hook_list_put_back(&b->waiting, &b->writing);
		db->write_at = now + HOOK_DB_RETRY;
		return;
	}
	b->writing = (struct hook_list){ 0 };
	while ((h = hook_list_take(&all))) {
		bool is_unknown = h->member && row < a->rows &&
				  strtoll(queue_cell(a, row, 0), NULL, 10) == ++number;

		row += is_unknown;
		is_unknown = is_unknown && hook_db_can_hold(db) && hook_db_must_hold(db, h, now);
		hook_list_add(is_unknown ? &b->held : &b->writing, h);
	}
	db->held_at = now + HELD_EVERY;
	if (b->writing.first)
		queue_write(&db->queue, &b->writing);
}

RUNS_ON(on_webhook)
static void hook_db_on_written(struct hook_db *db, const struct queue_answer *a)
{
	usec_t now = clock_mono();

	if (a->rc == 0) {
		hook_list_free(&db->backlog->writing);
		db->claim_at = now;
	} else if (a->is_refused) {
		log_error("webhooks: the database refused %u of them, which are dropped: %s",
			  db->backlog->writing.n, a->message);
		metric_add(METRIC_WEBHOOK_FAILED, db->backlog->writing.n);
		hook_list_free(&db->backlog->writing);
	} else {
		hook_list_put_back(&db->backlog->waiting, &db->backlog->writing);
		db->write_at = now + HOOK_DB_RETRY;
	}
}

RUNS_ON(on_webhook)
static void hook_db_on_claimed(struct hook_db *db, const struct queue_answer *a)
{
	usec_t now = clock_mono(), every = db->conf->retry_min_ms * USEC_PER_MSEC;

	db->is_claiming = false;
	if (db->claim_at <= now)
		db->claim_at = now + (every < CLAIM_EVERY ? every : CLAIM_EVERY);
	for (int i = 0; i < a->rows; i++) {
		struct hook *h = hook_new(queue_cell(a, i, 1), queue_cell(a, i, 2),
					  sv(queue_cell(a, i, 3)), sv(queue_cell(a, i, 4)));
		struct lane *lane = lanes_get(&db->dispatcher->lanes, h);

		if (!lane)
			lane = lanes_add(&db->dispatcher->lanes, h, now);
		h->id = strtoll(queue_cell(a, i, 0), NULL, 10);
		hook_list_add(&lane->waiting, h);
	}
	if (a->rows)
		db->claim_at = now;
}

RUNS_ON(on_webhook)
static void hook_db_on_settled(struct hook_db *db, const struct queue_answer *a)
{
	struct lane *lane, *next;
	long long n_dead;

	if (a->rc && !a->is_refused) {
		for (lane = db->settling; lane && lane->next; lane = lane->next)
			;
		lane->next = db->dispatcher->finished;
		db->dispatcher->finished = db->settling;
		db->settling = NULL;
		db->settle_at = clock_mono() + HOOK_DB_RETRY;
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
	for (lane = db->settling; lane; lane = next) {
		next = lane->next;
		lanes_remove(&db->dispatcher->lanes, lane);
	}
	db->settling = NULL;
	db->claim_at = clock_mono();
}

RUNS_ON(on_webhook)
static void hook_db_on_checked(struct hook_db *db, const struct queue_answer *a, usec_t now)
{
	long long n = a->rc == 0 ? strtoll(queue_cell(a, 0, 0), NULL, 10) : 0;

	db->is_checking = false;
	db->check_at = n < CHECK_MAX ? now + CHECK_EVERY : now;
	if (n)
		db->claim_at = now;
	if (a->is_refused)
		log_gated(&refused_gate,
			  "webhooks: the database refused to look for notifications that reached "
			  "no socket: %s",
			  a->message);
}

RUNS_ON(on_webhook)
static void hook_db_on_decided(struct hook_db *db, const struct queue_answer *a, usec_t now)
{
	db->is_deciding = false;
	db->must_write = true;
	db->decide_at = now + (a->rc ? HOOK_DB_RETRY : DECIDE_EVERY);
	if (a->is_refused)
		log_gated(&refused_gate,
			  "webhooks: the database refused to decide about changes: %s", a->message);
	if (a->rc)
		return;
	db->n_finished = db->n_begun;
	db->held_at = now;
	if (*queue_cell(a, 0, 1)) {
		usec_t due = now + strtoull(queue_cell(a, 0, 1), NULL, 10) * USEC_PER_MSEC;

		if (due < db->decide_at)
			db->decide_at = due;
	}
	if (strtoll(queue_cell(a, 0, 0), NULL, 10))
		db->claim_at = now;
}

RUNS_ON(on_webhook) static void hook_db_take_answer(struct hook_db *db, struct queue_answer *a)
{
	usec_t now = clock_mono();

	if (a->rc && a->message && !a->is_refused)
		log_gated(&refused_gate, "webhooks: the database refused a statement: %s",
			  a->message);
	switch (a->query) {
	case QUEUE_LOAD:
		hook_db_on_loaded(db, a);
		break;
	case QUEUE_MEMBERS:
		hook_db_on_members(db, a);
		break;
	case QUEUE_WRITE:
		hook_db_on_written(db, a);
		break;
	case QUEUE_CLAIM:
		hook_db_on_claimed(db, a);
		break;
	case QUEUE_SETTLE:
		hook_db_on_settled(db, a);
		break;
	case QUEUE_COUNT:
		db->is_counting = false;
		db->count_at = now + COUNT_EVERY;
		if (a->rc == 0) {
			metric_set(METRIC_WEBHOOK_QUEUE, strtoll(queue_cell(a, 0, 0), NULL, 10) +
								 db->backlog->waiting.n +
								 db->backlog->held.n);
			metric_set(METRIC_WEBHOOK_DEAD, strtoll(queue_cell(a, 0, 1), NULL, 10));
		}
		break;
	case QUEUE_UNDELIVERED:
		hook_db_on_checked(db, a, now);
		break;
	case QUEUE_DECIDE:
		hook_db_on_decided(db, a, now);
		break;
	case QUEUE_COMPARE:
		db->is_comparing = false;
		db->decide_at = now;
		break;
	case QUEUE_PRUNE:
	case QUEUE_QUERIES:
		db->is_pruning = false;
		db->prune_at = now + PRUNE_EVERY;
		if (a->rc == 0 && strtoll(queue_cell(a, 0, 0), NULL, 10) == QUEUE_PRUNE_MAX)
			db->prune_at = now + PRUNE_PART;
		break;
	}
	queue_answer_free(a);
}

void hook_db_take_answers(struct hook_db *db)
{
	struct mailbox_entry *e, *next;

	for (e = mailbox_take(&db->answers); e; e = next) {
		next = e->next;
		hook_db_take_answer(db, CONTAINER_OF(e, struct queue_answer, entry));
	}
}

bool hook_db_is_idle(const struct hook_db *db)
{
	return !(db->backlog->waiting.first || db->backlog->writing.first ||
		 db->backlog->held.first || db->dispatcher->finished || db->settling ||
		 db->is_claiming || lanes_count(&db->dispatcher->lanes));
}

usec_t hook_db_due(const struct hook_db *db, usec_t until)
{
	if (db->claim_at < until && !db->is_claiming &&
	    lanes_count(&db->dispatcher->lanes) < LANES_MAX)
		until = db->claim_at;
	if (db->dispatcher->finished && !db->settling && db->settle_at < until)
		until = db->settle_at;
	if (!db->is_deciding && !db->backlog->writing.first) {
		if (db->backlog->waiting.first && db->write_at < until)
			until = db->write_at;
		if (db->backlog->held.first && db->write_at < until && db->held_at < until)
			until = db->held_at > db->write_at ? db->held_at : db->write_at;
	}
	if (db->queue.is_cluster && !db->is_deciding && !db->backlog->writing.first &&
	    db->decide_at < until)
		until = db->decide_at;
	return until;
}

/* For struct queue: on the pool's thread. */
static void hook_db_on_answer(void *ctx, struct queue_answer *a)
{
	struct hook_db *db = ctx;
	int rc = mailbox_put_owed(&db->answers, &a->entry);

	if (rc == 1)
		sender_wake(db->dispatcher->sender);
	else if (rc < 0)
		queue_answer_free(a);
}

void hook_db_init(struct hook_db *db, const struct hook_db_parts *parts)
{
	db->conf = parts->conf;
	db->backlog = parts->backlog;
	db->dispatcher = parts->dispatcher;
	db->reported = parts->reported;
	db->has_deliveries = parts->has_deliveries;
	db->queue = (struct queue){ .pool = parts->pool,
				    .is_cluster = parts->is_cluster,
				    .post = hook_db_on_answer,
				    .ctx = db };
	db->is_loaded = parts->is_cluster;
	mailbox_init(&db->answers, 0);
}

void hook_db_release(struct hook_db *db)
{
	struct mailbox_entry *e, *next;

	for (e = mailbox_take(&db->answers); e; e = next) {
		next = e->next;
		queue_answer_free(CONTAINER_OF(e, struct queue_answer, entry));
	}
	mailbox_release(&db->answers);
}
